# SPDX-License-Identifier: Apache-2.0
"""An application that keeps its users' documents, encrypted before they leave its process.

A web service has one `Documents` and calls it from any thread. To try it as a command:

    python examples/documents.py s3://acme/documents/ kms:alias/reports ann letter.txt

stores the file for the user `ann` and prints its first and last bytes. Both are read as ranges: the
service fetches and verifies only the frames that contain them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import quote

from s3crypt import (
    ClientSide,
    ConflictError,
    IntegrityError,
    KeyUnavailableError,
    ObjectNotFoundError,
    PolicyError,
    S3Crypt,
    S3CryptError,
)


class Documents:
    """The documents of all users below one prefix, under one key."""

    def __init__(self, prefix: str, key: str) -> None:
        self._prefix = prefix
        self._store = S3Crypt(ClientSide(key))

    def add(self, user: str, name: str, document: Path | bytes) -> None:
        """Store a new document; raise `ConflictError` if the user has one of this name."""
        self._store.put(document, self._uri(user, name), if_absent=True)

    def read(self, user: str, name: str, start: int, length: int) -> bytes:
        """Return a range of a document; a negative `start` counts from the end."""
        with self._store.open(self._uri(user, name)) as file:
            file.seek(start, 2 if start < 0 else 0)
            return file.read(length)

    def _uri(self, user: str, name: str) -> str:
        # A user must not reach another user's documents by a slash in a name.
        return f"{self._prefix}{quote(user, safe='')}/{quote(name, safe='')}"


def status_of(error: S3CryptError) -> int:
    """Return the HTTP status with which a web service answers after an error."""
    if isinstance(error, ObjectNotFoundError):
        return 404
    if isinstance(error, ConflictError):
        return 409
    if isinstance(error, IntegrityError | PolicyError):
        return 500  # The object was changed, or its writer is not this application: alert.
    if isinstance(error, KeyUnavailableError):
        return 503  # The key is disabled, or this process has no permission: call the operator.
    return 502  # S3 or KMS failed; s3crypt has already retried the request.


def main(arguments: list[str]) -> int:
    """Add a file to a user's documents and print both of its ends; return the exit code."""
    prefix, key, user, path = arguments
    documents, name = Documents(prefix, key), Path(path).name
    try:
        documents.add(user, name, Path(path))
        print(documents.read(user, name, 0, 20), documents.read(user, name, -20, 20))
    except S3CryptError as error:
        print(f"status {status_of(error)}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
