# SPDX-License-Identifier: Apache-2.0
"""One operation of s3crypt, measured: the process that memory.py starts for each.

    python operation.py OPERATION ENDPOINT_URL SOURCE TARGET REPORT

A source or target `-` is standard input or output. For `put` the target, and for `get` the
source, is an object's URI. The report is a JSON file.
"""

import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO

import boto3

from s3crypt import AESKeyring, ClientSide, S3Crypt, message


def _keyring() -> AESKeyring:
    # The data is made up and so is the key: every process has to have the same.
    return AESKeyring("benchmark", "memory", bytes(32))


def _store(endpoint_url: str) -> S3Crypt:
    client = boto3.client(
        "s3",
        endpoint_url=endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",
    )
    return S3Crypt(ClientSide(_keyring(), bind_name=False), client=client)


def _reading(source: str) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdin.buffer) if source == "-" else Path(source).open("rb")


def _writing(target: str) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdout.buffer) if target == "-" else Path(target).open("wb")


def _copy(_: str, source: str, target: str) -> int:
    # What the disk alone takes, to hold the others against.
    with _reading(source) as file, _writing(target) as copied:
        shutil.copyfileobj(file, copied)
        return copied.tell()


def _encrypt(_: str, source: str, target: str) -> int:
    with _reading(source) as plain, _writing(target) as sealed:
        shutil.copyfileobj(message.EncryptingReader(plain, _keyring()), sealed)
        return sealed.tell()


def _decrypt(_: str, source: str, target: str) -> int:
    with _reading(source) as sealed, _writing(target) as plain:
        shutil.copyfileobj(message.DecryptingReader(sealed, _keyring()), plain)
        return sealed.tell()


def _put(endpoint_url: str, source: str, target: str) -> int:
    with _reading(source) as plain:
        # A path, where there is one, is what a caller would give.
        given = plain if source == "-" else source
        return _store(endpoint_url).put(given, target).stored_size


def _get(endpoint_url: str, source: str, target: str) -> int:
    store = _store(endpoint_url)
    if target != "-":
        return store.get(source, target).stored_size
    with _writing(target) as plain:
        return store.get(source, plain).stored_size


OPERATIONS: dict[str, Callable[[str, str, str], int]] = {
    "copy": _copy,
    "encrypt": _encrypt,
    "decrypt": _decrypt,
    "put": _put,
    "get": _get,
}


def _peak_rss() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB


def main() -> None:
    """Do what the arguments say and write the report."""
    name, endpoint_url, source, target, report = sys.argv[1:]
    baseline = _peak_rss()
    started, before = time.perf_counter(), os.times()
    stored_size = OPERATIONS[name](endpoint_url, source, target)
    seconds, after = time.perf_counter() - started, os.times()
    measured = {
        "stored_size": stored_size,
        "seconds": seconds,
        "user_seconds": after.user - before.user,
        "system_seconds": after.system - before.system,
        "baseline_rss": baseline,
        "peak_rss": _peak_rss(),
    }
    Path(report).write_text(json.dumps(measured))


if __name__ == "__main__":
    main()
