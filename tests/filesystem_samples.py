# SPDX-License-Identifier: Apache-2.0
"""A client-side file system, a small data set in it, and the kinds of requests that it made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from samples import aes, payload

from s3crypt import ClientSide
from s3crypt.filesystem import S3CryptFileSystem

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RequestsLog

FRAME = 4096
MODE = ClientSide(aes(), frame_length=FRAME)
# File systems of this mode share a client while one of them exists, so keep this one.
_KEPT = S3CryptFileSystem(MODE)


def make_tree(fs: S3CryptFileSystem, bucket: str) -> str:
    """Make a small data set; return its directory."""
    for number, name in enumerate(("a", "b/one", "b/two", "b/deep/three", "c-1", "c")):
        fs.pipe_file(f"{bucket}/data/{name}", payload(100 + number))
    return f"{bucket}/data"


def options(key_file: Path, **more: Any) -> dict[str, Any]:
    """Return storage options that name a key file."""
    return {"key": f"aes:tests/one={key_file}", **more}


def asked(log: RequestsLog) -> list[str]:
    """Return the kinds of the requests to S3 so far, such as HEAD, LIST or GET; clear the log."""
    kinds = ["LIST" if "list-type" in entry["query"] else entry["method"] for entry in log.list()]
    log.clear()
    return kinds
