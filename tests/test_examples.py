# SPDX-License-Identifier: Apache-2.0
"""The programs of examples/ do what their docstrings say."""

from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from s3crypt import S3Crypt
from s3crypt.kms import KeyManager

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = Path(__file__).parents[1] / "examples"
KEY = "kms:alias/reports"
pytestmark = pytest.mark.usefixtures("s3crypt_sandbox")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """Return a function that runs an example with arguments, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, *arguments: str) -> int:
        return int(load(name).main(list(arguments)))

    return run


def load(name: str) -> Any:
    """Return the module of an example."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_tested_and_short() -> None:
    """Each program has a test of its own here, at most 80 lines, and the line that runs it."""
    tests = Path(__file__).read_text(encoding="utf-8")
    for path in EXAMPLES.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert f'run("{path.stem}"' in tests
        assert len(text.splitlines()) <= 80
        assert f"    python examples/{path.name} " in text


def test_documents(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    """Both ends of a document are read; a second document of the same name is refused."""
    Path("letter.txt").write_bytes(b"Dear Ann," + bytes(300_000) + b"Yours, Bob")
    arguments = ("s3://acme/documents/", KEY, "ann/bob", "letter.txt")
    assert run("documents", *arguments) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("b'Dear Ann,")
    assert printed.endswith("Yours, Bob'\n")
    (stored,) = S3Crypt().list("s3://acme/documents/")
    assert stored.uri == "s3://acme/documents/ann%2Fbob/letter.txt"
    assert run("documents", *arguments) == 1
    assert capsys.readouterr().err.startswith("status 409: ")


def test_documents_answers_each_error() -> None:
    """An absent document, a tampered document and a key that is out of use differ in status."""
    example = load("documents")
    documents = example.Documents("s3://acme/", KEY)
    documents.add("ann", "a", b"content")
    assert status(example, lambda: documents.read("ann", "b", 0, 1)) == 404
    s3, kms = boto3.client("s3"), boto3.client("kms")
    body = bytearray(s3.get_object(Bucket="acme", Key="ann/a")["Body"].read())
    body[-20] ^= 1
    s3.put_object(Bucket="acme", Key="ann/a", Body=bytes(body))
    assert status(example, lambda: documents.read("ann", "a", 0, 1)) == 500
    kms.disable_key(KeyId=kms.describe_key(KeyId="alias/reports")["KeyMetadata"]["KeyId"])
    assert status(example, lambda: documents.read("ann", "a", 0, 1)) == 503


def status(example: Any, work: Callable[[], object]) -> int:
    """Return the status for the error that a call raises."""
    with pytest.raises(example.S3CryptError) as raised:
        work()
    return int(example.status_of(raised.value))


def test_rotate_prefix(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    """A failed object is reported; the second run skips the finished objects and does the rest."""
    KeyManager().create(alias="new")
    old, new = S3Crypt(KEY), S3Crypt("kms:alias/new")
    old.put(b"one", "s3://acme/2026/1")
    old.put(b"two", "s3://acme/2026/2", mode="sse-s3")
    arguments = ("s3://acme/2026/", KEY, "kms:alias/new", "rotation.journal", "report.csv")
    assert run("rotate_prefix", *arguments) == 1
    assert capsys.readouterr().out == "1 failed, 1 re-encrypted\n"
    old.put(b"two", "s3://acme/2026/2")
    assert run("rotate_prefix", *arguments) == 0
    assert capsys.readouterr().out == "1 re-encrypted\n"
    assert [new.read(f"s3://acme/2026/{n}") for n in (1, 2)] == [b"one", b"two"]
    with Path("report.csv").open(newline="", encoding="utf-8") as file:
        rows = [(uri, action) for uri, action, *_ in csv.reader(file)]
    assert sorted(rows) == [
        ("s3://acme/2026/1", "re-encrypted"),
        ("s3://acme/2026/2", "failed"),
        ("s3://acme/2026/2", "re-encrypted"),
    ]
    assert run("rotate_prefix", "s3://acme/other/", *arguments[1:]) == 2
    assert "another job" in capsys.readouterr().err


def test_data_set(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    """The amounts of one region are printed, and every file in S3 is encrypted client-side."""
    pytest.importorskip("pandas")
    assert run("data_set", "acme/orders", KEY) == 0
    assert capsys.readouterr().out == "{'ann': 90, 'cid': 30}\n"
    store = S3Crypt()
    modes = {item.uri: store.inspect(item.uri).mode for item in store.list("s3://acme/")}
    assert len(modes) == 3
    assert set(modes.values()) == {"client"}


def test_tenants(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    """The object of one tenant is refused to another tenant that names it."""
    assert run("tenants", "s3://acme/tenants/", KEY) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "alpha reads: alpha owes 90"
    assert printed[1].startswith("beta is refused: s3://acme/tenants/alpha/invoice.txt")
    assert "tenant" in printed[1]


def test_audit_in_ci(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    """An object in another mode makes the step fail until it is deleted; SARIF has each finding."""
    store = S3Crypt(KEY)
    store.put(b"eu,90", "s3://acme/q3.csv")
    store.put(b"eu,90", "s3://acme/plain.csv", mode="sse-s3")
    assert run("audit_in_ci", "acme", "findings.sarif") == 1
    assert "S3CRYPT.14 fail (high): " in capsys.readouterr().out
    (found,) = json.loads(Path("findings.sarif").read_text(encoding="utf-8"))["runs"]
    assert "S3CRYPT.14" in {each["ruleId"] for each in found["results"] if each["kind"] == "fail"}
    store.delete("s3://acme/plain.csv")
    assert run("audit_in_ci", "acme", "findings.sarif") == 0
    assert run("audit_in_ci", "nothing-here", "findings.sarif") == 2
