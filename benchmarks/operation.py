# SPDX-License-Identifier: Apache-2.0
"""How long does one operation on one file take, and how much memory, in a process of its own?

    python operation.py OPERATION SOURCE TARGET REPORT [--endpoint-url URL] [--mode MODE] ...

A source or target `-` is standard input or output. The target of `put` and the source of `get` are
object URIs. The report is a JSON file. The clock starts once everything is imported and one request
was made, and stops when the operation is done.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import boto3
from botocore.config import Config

from s3crypt import SSEC, SSEKMS, SSES3, AESKeyring, ClientSide, S3Crypt, message
from s3crypt.modes import Mode

KMS_KEY = "arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012"
Prepared = Callable[[], int]


def keyring() -> AESKeyring:
    """Return the keyring that every process of the benchmarks uses."""
    # The key is not secret, because the data is made up.
    return AESKeyring("benchmark", "memory", bytes(32))


MODES: dict[str, Callable[[], Mode]] = {
    "client": lambda: ClientSide(keyring(), bind_name=False),
    "client-metadata": lambda: ClientSide(keyring(), bind_name=False, key_location="metadata"),
    "sse-s3": SSES3,
    "sse-kms": lambda: SSEKMS(KMS_KEY),
    "sse-c": lambda: SSEC(bytes(32)),
}


def client(endpoint_url: str, workers: int | None = None) -> Any:
    """Return an S3 client that does not hash payloads for its signatures, as boto3 over https."""
    settings = Config(
        # Over plain http, boto3 would spend more time on the SHA-256 of payloads than on all other
        # work.
        s3={"payload_signing_enabled": False, "addressing_style": "path"},
        # botocore's default is 10 connections. With more workers than connections, many parts would
        # open a new connection.
        max_pool_connections=max(10, workers or 0),
    )
    return boto3.client(
        "s3",
        endpoint_url=endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",
        config=settings,
    )


def _reading(source: str) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdin.buffer) if source == "-" else Path(source).open("rb")


def _writing(target: str) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdout.buffer) if target == "-" else Path(target).open("wb")


def _copy(given: argparse.Namespace) -> Prepared:
    # This operation shows the time of the disk alone, for comparison with the other operations.
    def copy() -> int:
        with _reading(given.source) as file, _writing(given.target) as copied:
            shutil.copyfileobj(file, copied)
            return copied.tell()

    return copy


def _encrypt(given: argparse.Namespace) -> Prepared:
    def encrypt() -> int:
        with _reading(given.source) as plain, _writing(given.target) as sealed:
            shutil.copyfileobj(message.EncryptingReader(plain, keyring()), sealed)
            return sealed.tell()

    return encrypt


def _decrypt(given: argparse.Namespace) -> Prepared:
    def decrypt() -> int:
        with _reading(given.source) as sealed, _writing(given.target) as plain:
            shutil.copyfileobj(message.DecryptingReader(sealed, keyring()), plain)
            return sealed.tell()

    return decrypt


def _warm(given: argparse.Namespace) -> Any:
    """Return a client after its first request, so its connection and imports exist."""
    made = client(given.endpoint_url, given.workers)
    made.put_object(Bucket="benchmark", Key="warm-up", Body=b"")
    return made


def _store(given: argparse.Namespace, made: Any) -> S3Crypt:
    workers = {"workers": given.workers} if given.workers else {}
    return S3Crypt(MODES[given.mode](), client=made, **workers)


def _place(uri: str) -> tuple[str, str]:
    bucket, _, name = uri.removeprefix("s3://").partition("/")
    return bucket, name


def _put(given: argparse.Namespace) -> Prepared:
    made = _warm(given)
    if given.mode == "plain":
        return lambda: _put_plain(made, given)
    store = _store(given, made)

    def put() -> int:
        with _reading(given.source) as plain:
            # If there is a path, it is passed to `put`, as a caller would do.
            source = plain if given.source == "-" else given.source
            return store.put(source, given.target).stored_size

    return put


def _put_plain(made: Any, given: argparse.Namespace) -> int:
    made.upload_file(given.source, *_place(given.target))
    return os.stat(given.source).st_size  # noqa: PTH116  as light as can be


def _get(given: argparse.Namespace) -> Prepared:
    made = _warm(given)
    if given.mode == "plain":
        return lambda: _get_plain(made, given)
    store = _store(given, made)

    def get() -> int:
        if given.target != "-":
            return store.get(given.source, given.target).stored_size
        with _writing(given.target) as plain:
            return store.get(given.source, plain).stored_size

    return get


def _get_plain(made: Any, given: argparse.Namespace) -> int:
    made.download_file(*_place(given.source), given.target)
    return os.stat(given.target).st_size  # noqa: PTH116


OPERATIONS: dict[str, Callable[[argparse.Namespace], Prepared]] = {
    "copy": _copy,
    "encrypt": _encrypt,
    "decrypt": _decrypt,
    "put": _put,
    "get": _get,
}


def _peak_rss() -> int:
    # ru_maxrss is not used here, because on Linux it begins with the parent's peak.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure one operation.")
    parser.add_argument("operation", choices=OPERATIONS)
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("report", type=Path)
    parser.add_argument("--endpoint-url")
    parser.add_argument("--mode", choices=["plain", *MODES], default="client")
    parser.add_argument("--workers", type=int, help="threads of a transfer (s3crypt's own choice)")
    return parser.parse_args()


def main() -> None:
    """Run the operation that the arguments name, and write the report."""
    given = _arguments()
    baseline = _peak_rss()
    operation = OPERATIONS[given.operation](given)
    started, before = time.perf_counter(), os.times()
    stored_size = operation()
    seconds, after = time.perf_counter() - started, os.times()
    measured = {
        "stored_size": stored_size,
        "seconds": seconds,
        "user_seconds": after.user - before.user,
        "system_seconds": after.system - before.system,
        "baseline_rss": baseline,
        "peak_rss": _peak_rss(),
    }
    given.report.write_text(json.dumps(measured))


if __name__ == "__main__":
    main()
