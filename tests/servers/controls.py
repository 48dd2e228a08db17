# SPDX-License-Identifier: Apache-2.0
"""Print whether Prowler passes the bucket that `s3crypt bucket init` makes.

    python tests/servers/controls.py PROWLER

PROWLER is Prowler's command, from an environment of its own; README.md in this folder says how to
install it. A sandbox is started, and a bucket is made in it and looked at by Prowler over HTTP. The
exit code is 1 if a check does not pass, or says nothing of the bucket, its key or its trail.

S3.1 is about the account: `bucket init` does not set it, and names it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s3crypt import sandbox

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS)]

from relay import Answer, Asked, relaying  # noqa: E402 - found by the path above

if TYPE_CHECKING:
    from collections.abc import Callable

BUCKET = "acme-controls"
# What `bucket init` is asked for, so that there is a trail for S3.22 and S3.23.
INIT = ("bucket", "init", BUCKET, "--trail", "--yes")
# Security Hub's control -> Prowler's check of it.
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
# These look at each bucket; the others look at the account, its trails and its keys.
OF_BUCKETS = frozenset({"S3.5", "S3.6", "S3.8", "S3.9", "S3.14", "S3.17"})


# Prowler asks EC2, which the sandbox does not have, in which Regions to look.
REGIONS = f"""<DescribeRegionsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
<requestId>1</requestId><regionInfo><item><regionName>{sandbox.REGION}</regionName>
<regionEndpoint>ec2.{sandbox.REGION}.amazonaws.com</regionEndpoint>
<optInStatus>opt-in-not-required</optInStatus></item></regionInfo></DescribeRegionsResponse>
"""


def with_regions(asked: Asked, forward: Callable[[], Answer]) -> Answer:
    """Answer the one question to EC2; leave all others to the sandbox."""
    if b"Action=DescribeRegions" in asked.body:
        return Answer(200, {"content-type": "text/xml"}, REGIONS.encode())
    return forward()


def findings(prowler: str, environment: dict[str, str], folder: Path) -> list[dict[str, Any]]:
    """Return what Prowler finds in the sandbox."""
    command = [prowler, "aws", "-f", sandbox.REGION, "-c", *CHECKS.values()]
    command += ["-M", "json-ocsf", "-o", str(folder), "-F", "found", "--no-banner"]
    # Its exit code is 3 if a check fails.
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    files = list(folder.rglob("found*.ocsf.json"))
    if not files:
        sys.exit(f"Prowler wrote no findings:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    found: list[dict[str, Any]] = json.loads(files[0].read_text())
    return found


def verdicts(found: list[dict[str, Any]]) -> dict[str, list[tuple[str, str, str]]]:
    """Return the verdict, the resource and the reason of each finding, by control."""
    controls = {check: control for control, check in CHECKS.items()}
    told: dict[str, list[tuple[str, str, str]]] = {control: [] for control in CHECKS}
    for each in found:
        control = controls[each["metadata"]["event_code"]]
        name = str(each["resources"][0]["name"])
        if control not in OF_BUCKETS or name == BUCKET:
            told[control].append((each["status_code"], name, each["status_detail"]))
    return told


def main() -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description="Have Prowler look at what bucket init makes.")
    parser.add_argument("prowler")
    prowler = parser.parse_args().prowler
    with sandbox.running() as running, tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, **sandbox.environment(running)}
        command = [sys.executable, "-m", "s3crypt_cli", *INIT]
        subprocess.run(
            command,
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with relaying(running.endpoint_url, with_regions) as relay:
            leading = [name for name in environment if name.startswith("AWS_ENDPOINT_URL")]
            environment |= dict.fromkeys(leading, relay.url)
            told = verdicts(findings(prowler, environment, Path(folder)))
    for control, rows in told.items():
        for verdict, name, reason in rows or [("NOTHING", "", "Prowler says nothing of it.")]:
            sys.stdout.write(f"{control:<6} {CHECKS[control]:<40} {verdict:<8} {name}: {reason}\n")
    passed = [rows and all(verdict == "PASS" for verdict, _, _ in rows) for rows in told.values()]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
