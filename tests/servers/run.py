# SPDX-License-Identifier: Apache-2.0
"""Print which promises of s3crypt an S3 server keeps.

    python tests/servers/run.py ENDPOINT_URL [--kms-key KEY] [--only TEXT] [--json]

Credentials and Region are boto3's. A bucket is made on the server and left there. README.md in this
folder says how to start servers. The exit code is 1 if a promise is not kept.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import uuid
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

from servers.place import NO, Outcome, Place  # noqa: E402 - found by the path above
from servers.promises import PROMISES, check  # noqa: E402

# SSE-KMS is also requested of servers without a KMS, because some of them answer 200.
_INVENTED_KEY = "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-4000-8000-000000000000"


def arguments() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description="Print which promises an S3 server holds.")
    parser.add_argument("endpoint_url")
    parser.add_argument("--kms-key", help="default: made on the server if it has a KMS")
    parser.add_argument("--only", default="", help="promises that contain this text")
    parser.add_argument("--json", action="store_true", help="one object per promise and line")
    return parser.parse_args()


def prepare(endpoint_url: str, kms_key: str | None) -> Place:
    """Make a bucket that accepts SSE-C, and a KMS key if the server has a KMS."""
    # Only with this Region does boto3 leave the Region out of a CreateBucket request.
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    # In seconds: do not retry requests that a server does not support for a minute.
    os.environ.setdefault("S3CRYPT_RETRY_SECONDS", "5")
    os.environ["AWS_ENDPOINT_URL_KMS"] = endpoint_url
    session = boto3.Session()
    place = Place(session, endpoint_url, f"promises-{uuid.uuid4()}", kms_key or _INVENTED_KEY)
    place.raw().create_bucket(Bucket=place.bucket)
    rule = {
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
        "BlockedEncryptionTypes": {"EncryptionType": ["NONE"]},
    }
    with suppress(ClientError, BotoCoreError):
        place.raw().put_bucket_encryption(
            Bucket=place.bucket, ServerSideEncryptionConfiguration={"Rules": [rule]}
        )
    if kms_key:
        return place
    return Place(session, endpoint_url, place.bucket, _new_key(session) or _INVENTED_KEY)


def _new_key(session: boto3.Session) -> str | None:
    kms: Any = session.client(
        "kms", config=Config(retries={"total_max_attempts": 1}, read_timeout=10)
    )
    try:
        return str(kms.create_key()["KeyMetadata"]["Arn"])
    except (ClientError, BotoCoreError, KeyError):
        return None


def _line(promise: str, outcome: Outcome, *, as_json: bool) -> str:
    if as_json:
        return json.dumps({"promise": promise, **asdict(outcome)})
    return f"{promise:<52} {outcome.verdict:<18} {outcome.note}".rstrip()


def main() -> int:
    """Run the command; return its exit code."""
    given = arguments()
    place = prepare(given.endpoint_url, given.kms_key)
    verdicts = []
    for promise in PROMISES:
        if given.only not in promise:
            continue
        outcome = check(place, promise)
        verdicts.append(outcome.verdict)
        sys.stdout.write(_line(promise, outcome, as_json=given.json) + "\n")
        sys.stdout.flush()
    return 1 if NO in verdicts else 0


if __name__ == "__main__":
    sys.exit(main())
