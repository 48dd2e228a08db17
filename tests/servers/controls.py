# SPDX-License-Identifier: Apache-2.0
"""Compare s3crypt's controls with Prowler's checks, over HTTP.

    python tests/servers/controls.py PROWLER

PROWLER is the command of Prowler in a separate environment; README.md in this folder says how to
install it. Sandboxes are started, and three things are printed:

- Whether Prowler passes the bucket that `s3crypt bucket init` makes. S3.1 is about the account:
  `bucket init` does not set it, but mentions it.
- The different verdicts of `s3crypt audit` and of Prowler about an account with resources that
  pass and resources that fail each shared check.
- Numbers of standards in `s3crypt.audit.controls` that are not in Prowler's files.

The exit code is 1 if a check fails the new bucket or has no verdict on it, if a difference has no
reason in this file, or if a number is not in the files.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s3crypt import sandbox
from s3crypt.audit import Auditor
from s3crypt.audit.controls import (
    CIS_3,
    CIS_5,
    CIS_6,
    CIS_7,
    CONTROLS,
    ISO,
    NIST,
    PROWLER,
)

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS)]

import audited  # noqa: E402 - found by the path above
from relay import Answer, Asked, relaying  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from s3crypt.audit.values import Control
    from s3crypt.sandbox import Running

BUCKET = "acme-controls"
# With these options `bucket init` also makes a trail, which S3.22 and S3.23 need.
INIT = ("bucket", "init", BUCKET, "--trail", "--yes")
# A control of Security Hub -> the check of Prowler that corresponds to it.
CHECKS = {
    "S3.5": "s3_bucket_secure_transport_policy",
    "S3.6": "s3_bucket_cross_account_access",
    "S3.8": "s3_bucket_level_public_access_block",
    "S3.9": "s3_bucket_server_access_logging_enabled",
    "S3.14": "s3_bucket_object_versioning",
    "S3.17": "s3_bucket_kms_encryption",
    "S3.22": "cloudtrail_s3_dataevents_write_enabled",
    "S3.23": "cloudtrail_s3_dataevents_read_enabled",
    "KMS.4": "kms_cmk_rotation_enabled",
}
# These checks are about single buckets. The others are about the account, its trails or keys.
OF_BUCKETS = frozenset({"S3.5", "S3.6", "S3.8", "S3.9", "S3.14", "S3.17"})


# Prowler requests the list of Regions from EC2. The sandbox has no EC2, so this reply is sent.
REGIONS = f"""<DescribeRegionsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
<requestId>1</requestId><regionInfo><item><regionName>{sandbox.REGION}</regionName>
<regionEndpoint>ec2.{sandbox.REGION}.amazonaws.com</regionEndpoint>
<optInStatus>opt-in-not-required</optInStatus></item></regionInfo></DescribeRegionsResponse>
"""


def with_regions(asked: Asked, forward: Callable[[], Answer]) -> Answer:
    """Answer the only request to EC2, and forward all other requests to the sandbox."""
    if b"Action=DescribeRegions" in asked.body:
        return Answer(200, {"content-type": "text/xml"}, REGIONS.encode())
    return forward()


def findings(prowler: str, running: Running, checks: Sequence[str]) -> list[dict[str, Any]]:
    """Return Prowler's findings about a sandbox."""
    environment = {**os.environ, **sandbox.environment(running)}
    with (
        tempfile.TemporaryDirectory() as folder,
        relaying(running.endpoint_url, with_regions) as relay,
    ):
        leading = [name for name in environment if name.startswith("AWS_ENDPOINT_URL")]
        environment |= dict.fromkeys(leading, relay.url)
        command = [prowler, "aws", "-f", sandbox.REGION, "-c", *checks]
        command += ["-M", "json-ocsf", "-o", folder, "-F", "found", "--no-banner"]
        # The exit code is 3 if a check fails.
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        files = list(Path(folder).rglob("found*.ocsf.json"))
        if not files:
            sys.exit(f"Prowler wrote no findings:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        found: list[dict[str, Any]] = json.loads(files[0].read_text())
    return found


def verdicts(found: list[dict[str, Any]]) -> dict[str, list[tuple[str, str, str]]]:
    """Return the verdict, the resource and the reason of each of Prowler's findings, by control."""
    controls = {check: control for control, check in CHECKS.items()}
    told: dict[str, list[tuple[str, str, str]]] = {control: [] for control in CHECKS}
    for each in found:
        control = controls[each["metadata"]["event_code"]]
        name = str(each["resources"][0]["name"])
        if control not in OF_BUCKETS or name == BUCKET:
            told[control].append((each["status_code"], name, each["status_detail"]))
    return told


def of_new_bucket(prowler: str) -> bool:
    """Print Prowler's verdicts on a bucket that `bucket init` made.

    Return whether all of them are a pass.
    """
    with sandbox.running() as running:
        environment = {**os.environ, **sandbox.environment(running)}
        command = [sys.executable, "-m", "s3crypt_cli", *INIT]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        told = verdicts(findings(prowler, running, tuple(CHECKS.values())))
    for control, rows in told.items():
        for verdict, name, reason in rows or [("NOTHING", "", "Prowler says nothing of it.")]:
            sys.stdout.write(f"{control:<6} {CHECKS[control]:<40} {verdict:<8} {name}: {reason}\n")
    return all(rows and all(verdict == "PASS" for verdict, _, _ in rows) for rows in told.values())


SHARED = {each.id: each.prowler_check for each in CONTROLS.values() if each.prowler_check}
# For these controls, Security Hub judges the account and Prowler a trail. So only the verdicts are
# compared, not the ARNs.
OF_TRAILS = frozenset({"S3.22", "S3.23"})


def explanation(control: str, ours: str, theirs: str) -> str | None:
    """Return the reason why s3crypt and Prowler differ about a resource.

    Return None if this file has no reason.
    """
    if (control, ours, theirs) == ("S3.20", "nothing", "fail"):
        return "Security Hub has no finding for a bucket with lifecycle rules"
    if (control, theirs) == ("S3.1", "nothing"):
        return "Prowler asks a host that begins with the account, which no address has"
    if theirs == "nothing" and control.startswith("KMS."):
        return "Prowler leaves out keys that are not enabled"
    return None


def make_account() -> None:
    """Make resources that pass and resources that fail each shared check."""
    audited.hardened("--lock")
    for make in (audited.bare, audited.administered, audited.dying, audited.unrotated):
        make()
    for make in (audited.public, audited.disabled, audited.good_key, audited.closed_to_public):
        make()
    audited.trail(recording=["WriteOnly"])
    audited.trail(key_arn=audited.key())


def compared(prowler: str) -> bool:
    """Print the differences between s3crypt and Prowler; return whether all are explained."""
    with sandbox.running() as running:
        os.environ.update(sandbox.environment(running))
        make_account()
        ours = dict(of_s3crypt())
        theirs = dict(of_prowler(findings(prowler, running, tuple(SHARED.values()))))
    pairs = sorted(ours.keys() | theirs.keys())
    differing = [pair for pair in pairs if ours.get(pair) != theirs.get(pair)]
    is_explained = True
    for control, name in differing:
        mine = ours.get((control, name), "nothing")
        other = theirs.get((control, name), "nothing")
        why = explanation(control, mine, other)
        is_explained = is_explained and why is not None
        sys.stdout.write(f"{control:<12} {name}: {mine}, Prowler {other}: {why or 'WHY?'}\n")
    sys.stdout.write(f"{len(pairs)} verdicts, {len(pairs) - len(differing)} the same\n")
    return is_explained


def of_s3crypt() -> Iterator[tuple[tuple[str, str], str]]:
    """Yield s3crypt's verdict on each resource, for the controls that Prowler also checks."""
    for each in Auditor().configuration([], account=True):
        if each.control.id in SHARED:
            name = "" if each.control.id in OF_TRAILS else each.resource.arn
            yield (each.control.id, name), each.verdict.value


def of_prowler(found: list[dict[str, Any]]) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield Prowler's verdict on each resource, for the same controls."""
    controls = {check: control for control, check in SHARED.items()}
    for each in found:
        control = controls[each["metadata"]["event_code"]]
        name = "" if control in OF_TRAILS else str(each["resources"][0]["uid"])
        yield (control, name), str(each["status_code"]).lower()


# A standard -> Prowler's file with the requirements of this standard.
FILES = {
    CIS_3: "cis_3.0_aws",
    CIS_5: "cis_5.0_aws",
    CIS_6: "cis_6.0_aws",
    CIS_7: "cis_7.0_aws",
    ISO: "iso27001_2022_aws",
    NIST: "nist_800_53_revision_5_aws",
}


def are_numbers_there(prowler: str) -> bool:
    """Print each number of a standard that is not in Prowler's files.

    Return whether all numbers are there.
    """
    python = Path(prowler).with_name("python")
    told = subprocess.run(
        [python, "-c", "import prowler; print(prowler.__path__[0])"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    folder = Path(told.stdout.strip()) / "compliance" / "aws"
    missing = [
        f"{control.id}: {each.standard} {each.number}"
        for control in CONTROLS.values()
        for each in control.requirements
        if each.source == PROWLER
        and each.number not in numbers_of(folder / f"{FILES[each.standard]}.json", control)
    ]
    for each in missing:
        sys.stdout.write(f"{each} is not in Prowler's file\n")
    return not missing


def numbers_of(file: Path, control: Control) -> set[str]:
    """Return the numbers of the requirements with the control's check, in a file of Prowler."""
    found = set()
    for each in json.loads(file.read_text())["Requirements"]:
        if control.prowler_check in each["Checks"]:
            # In Prowler's files NIST's numbers are part of the name, as in "AC-4(22) Access Only".
            name = re.search(r"[A-Z]{2}-\d+(\(\w+\))*", str(each.get("Name") or ""))
            found.add(name[0] if file.name.startswith("nist") and name else each["Id"])
    return found


def main() -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        description="Compare s3crypt's controls with Prowler's checks."
    )
    parser.add_argument("prowler")
    prowler = parser.parse_args().prowler
    done = [are_numbers_there(prowler), of_new_bucket(prowler), compared(prowler)]
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(main())
