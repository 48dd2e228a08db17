# SPDX-License-Identifier: Apache-2.0
"""How long does it take to read trail files, against a bare `json.loads(gzip.decompress(...))`?

    python trails.py [--rounds 5] [--tiny]

Prints JSON. For every round, it has our CPU seconds and the CPU seconds of the bare read. For each
number of files, it has the peak memory in bytes of a process that reads them. One record in four is
of KMS; two in a thousand are about the object of the question.
"""

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from s3crypt.location import Location
from s3crypt.trails import Question, Trails

_ACCOUNT, _BUCKET, _NAME = "123456789012", "acme-data", "2026/asked.parquet"
_KEY = f"arn:aws:kms:us-east-1:{_ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
_RECORDS = 1000


def record(number: int) -> dict[str, Any]:
    """Return a record of KMS or S3 that has the usual length."""
    name = _NAME if number % 1000 < 2 else f"2026/{number}.parquet"
    role = {"type": "Role", "arn": f"arn:aws:iam::{_ACCOUNT}:role/reader", "accountId": _ACCOUNT}
    identity = {
        "type": "AssumedRole",
        "principalId": f"AROAEXAMPLE:{number % 7}",
        "arn": f"arn:aws:sts::{_ACCOUNT}:assumed-role/reader/{number % 7}",
        "accountId": _ACCOUNT,
        "accessKeyId": "ASIAEXAMPLE",
        "sessionContext": {"sessionIssuer": role, "attributes": {"mfaAuthenticated": "false"}},
    }
    common = {
        "eventVersion": "1.11",
        "userIdentity": identity,
        "eventTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_790_000_000 + number // 50)),
        "awsRegion": "us-east-1",
        "sourceIPAddress": f"198.51.100.{number % 250}",
        "userAgent": "[Boto3/1.44.8 md/Botocore#1.44.8 ua/2.1 os/linux#6.1 lang/python#3.13]",
        "responseElements": None,
        "requestID": str(uuid.UUID(int=number)),
        "eventID": str(uuid.UUID(int=2**100 + number)),
        "readOnly": True,
        "eventType": "AwsApiCall",
        "recipientAccountId": _ACCOUNT,
        "tlsDetails": {"tlsVersion": "TLSv1.3", "cipherSuite": "TLS_AES_128_GCM_SHA256"},
    }
    return {**common, **(_of_kms(name) if number % 4 == 0 else _of_s3(name))}


def _of_kms(name: str) -> dict[str, Any]:
    return {
        "eventSource": "kms.amazonaws.com",
        "eventName": "Decrypt",
        "requestParameters": {
            "encryptionAlgorithm": "SYMMETRIC_DEFAULT",
            "encryptionContext": {"s3crypt:key": name},
        },
        "resources": [{"accountId": _ACCOUNT, "type": "AWS::KMS::Key", "ARN": _KEY}],
        "managementEvent": True,
        "eventCategory": "Management",
    }


def _of_s3(name: str) -> dict[str, Any]:
    arn = f"arn:aws:s3:::{_BUCKET}"
    return {
        "eventSource": "s3.amazonaws.com",
        "eventName": "GetObject",
        "requestParameters": {
            "bucketName": _BUCKET,
            "Host": f"{_BUCKET}.s3.us-east-1.amazonaws.com",
            "key": name,
        },
        "additionalEventData": {"SignatureVersion": "SigV4", "bytesTransferredOut": 5120},
        "resources": [
            {"type": "AWS::S3::Object", "ARN": f"{arn}/{name}"},
            {"accountId": _ACCOUNT, "type": "AWS::S3::Bucket", "ARN": arn},
        ],
        "managementEvent": False,
        "eventCategory": "Data",
    }


def make(folder: Path, files: int) -> list[Path]:
    """Write `files` trail files. Return their paths."""
    folder.mkdir()
    paths = []
    for file in range(files):
        records = [record(number) for number in range(file * _RECORDS, (file + 1) * _RECORDS)]
        path = folder / f"{_ACCOUNT}_CloudTrail_us-east-1_20261101T0005Z_{file:016}.json.gz"
        path.write_bytes(gzip.compress(json.dumps({"Records": records}).encode(), 6))
        paths.append(path)
    return paths


def read(folder: Path) -> float:
    """Search a folder for one object's records. Return the CPU seconds."""
    question = Question(location=Location(_BUCKET, _NAME))
    started = time.process_time()
    search = Trails().search(question, [folder])
    found = list(search)
    seconds = time.process_time() - started
    assert found
    assert not search.tally.gaps
    return seconds


def bare(paths: Sequence[Path]) -> float:
    """Decompress and parse the files without s3crypt. Return the CPU seconds."""
    started = time.process_time()
    for path in paths:
        json.loads(gzip.decompress(path.read_bytes()))
    return time.process_time() - started


def peak(folder: Path) -> int:
    """Read the files in a new process. Return the process's peak memory in bytes."""
    command = [sys.executable, __file__, "--read", str(folder)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the reading of trail files.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument(
        "--read", type=Path, help="only read this folder, and print the peak memory"
    )
    given = parser.parse_args()
    if given.read:
        read(given.read)
        status = Path("/proc/self/status").read_text()
        print(int(status.partition("VmHWM:")[2].split()[0]) * 1024)
        return
    counts = (2, 4) if given.tiny else (20, 200)
    with tempfile.TemporaryDirectory(prefix="s3crypt-trails-") as folder:
        paths = {count: make(Path(folder, str(count)), count) for count in counts}
        measured = paths[counts[0]]
        rounds = [
            {"bare": bare(measured), "ours": read(measured[0].parent)} for _ in range(given.rounds)
        ]
        peaks = {count: peak(paths[count][0].parent) for count in counts}
    print(json.dumps({"rounds": rounds, "peaks": peaks}))


if __name__ == "__main__":
    main()
