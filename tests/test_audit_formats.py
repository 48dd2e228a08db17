# SPDX-License-Identifier: Apache-2.0
"""The audit's formats against their owners' validators, offline, and against hostile names."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import audit_report_samples as samples
import botocore.session
import jsonschema
import pytest
from botocore.validate import ParamValidator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from s3crypt.audit.rendering import FORMATS
from s3crypt.audit.report import make_report
from s3crypt.audit.values import ResourceKind

TESTS = Path(__file__).parent
_PACKAGE = json.loads((TESTS / "format_oracle/package.json").read_text())
SARIF_VERSION = _PACKAGE["dependencies"]["@microsoft/sarif-multitool"]


def rendered(name: str, *findings: Any) -> str:
    """Return a report in a format."""
    return "".join(FORMATS[name](samples.report(*findings)))


def test_the_samples_have_every_kind_of_resource() -> None:
    """Every kind of resource has a sample, so that every format is tested with it."""
    assert samples.kinds() == set(get_args(ResourceKind))


# --- SARIF -------------------------------------------------------------------------------------


def _multitool() -> Path:
    cache_folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    default = Path(cache_folder) / "s3crypt-tests" / f"sarif-multitool-{SARIF_VERSION}"
    return Path(os.environ.get("S3CRYPT_FORMAT_ORACLE") or default)


needs_multitool = pytest.mark.skipif(
    not (shutil.which("node") and (_multitool() / "installed").exists()),
    reason="needs sarif-multitool: run tests/format_oracle/install.sh",
)


def _sarif_errors(text: str, folder: Path) -> list[str]:
    """Return the ids of the rules that Microsoft's validator reports at level error."""
    written, said = folder / "audit.sarif", folder / "said.sarif"
    written.write_text(text, encoding="utf-8")
    command = _multitool() / "node_modules/.bin/sarif-multitool"
    done = subprocess.run(
        [command, "validate", written, "--output", said, "--log", "ForceOverwrite"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.exists(), done.stdout + done.stderr
    results = json.loads(said.read_text("utf-8-sig"))["runs"][0]["results"]
    # The validator reports nothing about a file that it cannot read. For our reports it always
    # notes that the tool has no page, so an empty result is a failure.
    assert results, done.stdout
    return [each["ruleId"] for each in results if each.get("level", "warning") == "error"]


@needs_multitool
@pytest.mark.parametrize(
    ("old", "new", "broken"),
    [
        ("", "", []),
        ('"results"', '"outcomes"', ["JSON1005"]),
        ('"version": "2.1.0"', '"version": "2.2.0"', ["JSON1019"]),
    ],
    ids=["as it is", "unknown property", "unknown version"],
)
def test_sarif_is_valid(tmp_path: Path, old: str, new: str, broken: list[str]) -> None:
    """Microsoft's validator finds no error in a report, and finds errors that the test adds."""
    assert _sarif_errors(rendered("sarif").replace(old, new), tmp_path) == broken


def test_sarif_has_a_result_per_finding() -> None:
    """The kind of a result is the finding's verdict. Its fingerprint is the finding's id.

    An accepted finding is suppressed.
    """
    run = json.loads(rendered("sarif"))["runs"][0]
    found = {each["partialFingerprints"]["s3cryptFinding/v1"]: each for each in run["results"]}
    assert found.keys() == {each.id for each in samples.FINDINGS}
    kinds = {"pass": "pass", "fail": "fail", "unknown": "open"}
    for each in samples.FINDINGS:
        result = found[each.id]
        assert result["kind"] == kinds[each.verdict]
        assert (result["level"] == "none") == (each.verdict != "fail")
        assert ("suppressions" in result) == (each.control.id == "KMS.1")
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == each.control.id


# --- ASFF --------------------------------------------------------------------------------------


@cache
def _batch_import() -> Any:
    hub = botocore.session.get_session().get_service_model("securityhub")
    return hub.operation_model("BatchImportFindings").input_shape


def _asff_errors(line: str) -> str:
    # Validate as a botocore client does, but without a request.
    return str(ParamValidator().validate(json.loads(line), _batch_import()).generate_report())


def test_asff_is_what_security_hub_takes() -> None:
    """Botocore's model of BatchImportFindings accepts every line."""
    lines = rendered("asff").splitlines()
    assert [_asff_errors(line) for line in lines] == [""] * len(lines) == [""]


@pytest.mark.parametrize(
    ("old", "new"),
    [('"GeneratorId"', '"Generator"'), ('"RecordState": "ACTIVE"', '"RecordState": 1')],
)
def test_the_validator_of_asff_finds_an_error(old: str, new: str) -> None:
    """The validator reports a missing field and a wrong type."""
    assert _asff_errors(rendered("asff").replace(old, new))


def test_asff_keeps_to_the_lengths_of_the_service() -> None:
    """No text exceeds the service's limit; a command that is too long is left out, not cut."""
    findings = json.loads(rendered("asff"))["Findings"]
    for each in findings:
        assert len(each["Id"]) <= 512
        assert len(each["Title"]) <= 256
        assert len(each["Description"]) <= 1024
        assert len(json.dumps(each)) <= 240_000
        text = each.get("Remediation", {}).get("Recommendation", {}).get("Text", "")
        assert len(text) <= 512
        assert not text.startswith("yyy")


def test_asff_has_a_hundred_findings_per_line() -> None:
    """201 findings make three requests: a request has at most a hundred."""
    many = [samples.finding(cause=str(number)) for number in range(201)]
    lines = rendered("asff", *many).splitlines()
    assert [len(json.loads(line)["Findings"]) for line in lines] == [100, 100, 1]


def test_asff_says_what_is_unknown() -> None:
    """An unknown finding is neither passed nor failed, and names the missing actions."""
    (unknown,) = [
        each
        for each in json.loads(rendered("asff"))["Findings"]
        if each["Compliance"]["Status"] == "NOT_AVAILABLE"
    ]
    assert unknown["Compliance"]["StatusReasons"][0]["ReasonCode"] == "ACCESS_DENIED"
    missing = unknown["ProductFields"]["s3crypt/MissingActions"]
    assert missing == "s3:GetAccountPublicAccessBlock"


# --- OCSF --------------------------------------------------------------------------------------


@cache
def _detection_finding() -> Any:
    schemas = OcsfJsonSchemaEmbedded(get_ocsf_schema(version="1.5.0"))
    schema = schemas.get_class_schema(class_name="detection_finding", profiles=["cloud"])
    return jsonschema.Draft202012Validator(schema)


def _ocsf_errors(text: str) -> list[str]:
    return [
        error.message
        for each in json.loads(text)
        for error in _detection_finding().iter_errors(each)
    ]


def test_ocsf_is_valid() -> None:
    """Every finding is a Detection Finding of OCSF 1.5.0 with the profile cloud."""
    assert _ocsf_errors(rendered("ocsf")) == []
    found = json.loads(rendered("ocsf"))
    assert [each["metadata"]["profiles"] for each in found] == [["cloud"]] * len(samples.FINDINGS)


@pytest.mark.parametrize(
    ("old", "new"),
    [('"class_uid": 2004', '"class_uid": "x"'), ('"finding_info"', '"info"'),
     ('"provider"', '"supplier"')],
)  # fmt: skip
def test_the_validator_of_ocsf_finds_an_error(old: str, new: str) -> None:
    """The validator reports a wrong type and missing fields, including the profile's fields."""
    assert _ocsf_errors(rendered("ocsf").replace(old, new))


def test_ocsf_says_what_is_accepted_and_unknown() -> None:
    """An accepted or unknown finding has OCSF's status and Prowler's status code."""
    found = {
        each["metadata"]["event_code"]: (each["status"], each["status_code"])
        for each in json.loads(rendered("ocsf"))
    }
    assert found["S3.5"] == ("New", "FAIL")
    assert found["KMS.1"] == ("Suppressed", "FAIL")
    assert found["S3.1"] == ("Unknown", "MANUAL")
    assert found["S3.17"] == ("Resolved", "PASS")


# --- JSON Lines --------------------------------------------------------------------------------


def test_json_lines_have_what_is_documented() -> None:
    """The fields of a finding are the fields in the table in docs/audit.md."""
    page = (TESTS.parent / "docs/audit.md").read_text("utf-8")
    table = page.partition("## JSON Lines")[2].partition("\n## ")[0]
    documented = set(re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE))
    lines = [json.loads(line) for line in rendered("jsonl").splitlines()]
    found = [set(each) for each in lines if each["type"] == "finding"]
    assert found == [documented] * len(samples.FINDINGS)
    assert lines[-1]["type"] == "summary"


# --- HTML --------------------------------------------------------------------------------------


class _Page(HTMLParser):
    """Collects the elements, attributes and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, str] = {}
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = tag

    def handle_endtag(self, _tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        self.inside[self._open] = self.inside.get(self._open, "") + data


def test_the_page_loads_nothing() -> None:
    """No element refers to another file, and the policy allows only the page's own script."""
    text = rendered("html")
    page = _Page(text)
    names = [tag for tag, _ in page.elements]
    assert not {"img", "link", "iframe", "object", "embed", "base", "a"} & set(names)
    assert (names.count("script"), names.count("style")) == (1, 1)
    for _, attributes in page.elements:
        assert not {"src", "href", "action", "style"} & attributes.keys()
        assert not any(name.startswith("on") for name in attributes)
    metas = [attributes for tag, attributes in page.elements if tag == "meta"]
    (policy,) = [m["content"] for m in metas if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    for tag in ("script", "style"):
        digest = hashlib.sha256(page.inside[tag].encode()).digest()
        assert f"{tag}-src 'sha256-{base64.b64encode(digest).decode()}'" in policy


def test_a_hostile_name_is_text() -> None:
    """Markup is escaped; characters that reorder or hide text are spelled out."""
    text = rendered("html")
    assert "<img" not in text
    assert not [c for c in text if not c.isprintable() and c != "\n"]
    assert "\\u202e" in text


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_has_no_characters_that_a_terminal_obeys(name: str) -> None:
    """No format contains terminal control characters, whatever the names of objects are."""
    assert not [c for c in rendered(name) if not c.isprintable() and c != "\n"]


@pytest.mark.parametrize("name", FORMATS)
def test_a_report_without_findings_is_one_too(name: str) -> None:
    """Each format renders a report without findings."""
    empty = make_report(samples.run(), [])
    text = "".join(FORMATS[name](empty))
    if name in ("sarif", "ocsf"):
        json.loads(text)


@pytest.mark.parametrize("name", FORMATS)
def test_the_order_of_findings_does_not_matter(name: str) -> None:
    """Two runs with the same findings write the same bytes."""
    backwards = make_report(samples.run(), reversed(samples.FINDINGS))
    forwards = make_report(samples.run(), samples.FINDINGS)
    assert "".join(FORMATS[name](backwards)) == "".join(FORMATS[name](forwards))
