# SPDX-License-Identifier: Apache-2.0
"""Our frozen vectors, which tests/vectors/make.py made, tested with every reader.

Another implementation can use the same files: byte `index` of a plaintext is `7 * index % 256`.
"""

import io
import json
from base64 import b64decode
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from readers import READERS, Reader

from s3crypt import errors, message
from s3crypt.keyrings import AESKeyring, RSAKeyring

FOLDER = Path(__file__).parents[1] / "vectors"
FILES: dict[str, list[dict[str, Any]]] = {
    name: json.loads((FOLDER / name).read_text())
    for name in ("messages.json", "empty-final-frames.json")
}
VECTORS = [vector for vectors in FILES.values() for vector in vectors]
RESULTS = {
    "messages.json": {"success": 78, "IntegrityError": 46, "FormatError": 5, "PolicyError": 9},
    "empty-final-frames.json": {"success": 38, "IntegrityError": 40, "FormatError": 4},
}


@cache
def _rsa_keyring(namespace: str, name: str, pem: str, padding: str) -> RSAKeyring:
    return RSAKeyring(namespace, name, private=pem.encode(), padding=padding)


def keyring_of(key: dict[str, str]) -> message.Keyring:
    """Return the keyring for a vector's key description."""
    if key["kind"] == "rsa":
        return _rsa_keyring(key["namespace"], key["name"], key["key"], key["padding"])
    return AESKeyring(key["namespace"], key["name"], b64decode(key["key"]))


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_whole_and_small(name: str) -> None:
    """Each frozen file still has all its vectors, and is small."""
    vectors = FILES[name]
    assert Counter(vector["result"] for vector in vectors) == RESULTS[name]
    assert len({vector["name"] for vector in vectors}) == len(vectors)
    assert (FOLDER / name).stat().st_size < 200_000


@pytest.mark.parametrize(
    "vector",
    [
        vector
        for vector in FILES["empty-final-frames.json"]
        if vector["writer"].startswith(("s3crypt", "aws-encryption-sdk"))
    ],
    ids=lambda vector: vector["name"],
)
def test_frozen_lengths(vector: dict[str, Any]) -> None:
    """A message that is written today has the length of the frozen message, for both writers."""
    data = b64decode(vector["message"])
    header = message.read_header(io.BytesIO(data))
    footer = 105 if header.suite.curve else 0
    assert len(data) == header.geometry.message_length(vector["plaintext_length"]) + footer


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_frozen_vectors(vector: dict[str, Any], reader: Reader) -> None:
    """Every reader returns each vector's plaintext, or raises the error that the vector states."""
    data, keyring = b64decode(vector["message"]), keyring_of(vector["key"])
    options = {
        "context": vector["context"],
        "allow_uncommitted": vector.get("allow_uncommitted", True),
    }
    if vector["result"] != "success":
        with pytest.raises(errors.S3CryptError) as raised:
            reader(data, keyring, **options)
        assert type(raised.value).__name__ == vector["result"]
        return
    expected = bytes(index * 7 % 256 for index in range(vector["plaintext_length"]))
    assert reader(data, keyring, **options) == expected
