# SPDX-License-Identifier: Apache-2.0
"""Guess the type of input that is not a message, for the errors that refuse such input."""

import codecs
import string

_STARTS = (
    (b"\x01\x02\x02\x00\x78", "it looks like a KMS ciphertext blob; open it with kms:Decrypt"),
    (b"\x01\x02\x03\x00\x78", "it looks like a KMS ciphertext blob; open it with kms:Decrypt"),
    (b"AQICAH", "it looks like a KMS ciphertext blob in base64; decode it, then kms:Decrypt"),
    (b"AQIDAH", "it looks like a KMS ciphertext blob in base64; decode it, then kms:Decrypt"),
    (b"AgR4", "it looks like an encrypted message in base64; decode it first"),
    (b"AgV4", "it looks like an encrypted message in base64; decode it first"),
    (b"AYAA", "it looks like an encrypted message in base64; decode it first"),
    (b"AYAB", "it looks like an encrypted message in base64; decode it first"),
    (b"AYAC", "it looks like an encrypted message in base64; decode it first"),
    (b"AYAD", "it looks like an encrypted message in base64; decode it first"),
    (b"age-encryption.org/", "it looks like an age file"),
    (b"-----BEGIN AGE", "it looks like an armoured age file"),
    (b"RCLONE\x00\x00", "it looks like an rclone crypt file"),
    (b"Salted__", "it looks like an OpenSSL enc file"),
    (b"gAAAAA", "it looks like a Fernet token"),
    (b"-----BEGIN ", "it looks like a PEM file"),
    (b"\x1f\x8b", "it looks like gzip data"),
    (b"\x28\xb5\x2f\xfd", "it looks like Zstandard data"),
    (b"PK\x03\x04", "it looks like a ZIP archive"),
    (b"PAR1", "it looks like a Parquet file"),
    (b"%PDF", "it looks like a PDF file"),
    (b"\x89PNG", "it looks like a PNG image"),
    (b"\x7fELF", "it looks like an ELF program"),
)
_BASE64 = frozenset(string.ascii_letters.encode() + string.digits.encode() + b"+/=\r\n")
_TEXT = frozenset(string.printable.encode())


def describe(start: bytes) -> str:
    """Return the likely type of input that begins with these bytes. The bytes are not quoted."""
    if not start:
        return "it is empty"
    for prefix, description in _STARTS:
        if start.startswith(prefix):
            return description
    if start[0] == 2:
        return "it has an unknown algorithm suite"
    if len(start) >= 16 and _BASE64.issuperset(start):
        return "it looks like base64 text"
    if _TEXT.issuperset(start) or _is_utf8(start):
        return "it looks like plain text"
    return "its first bytes are not the beginning of a message"


def is_known(start: bytes) -> bool:
    """Return whether input that begins with these bytes is text or has a type in `_STARTS`.

    Ciphertext without a header is neither, except by chance.
    """
    return (
        any(start.startswith(prefix) for prefix, _ in _STARTS)
        or _TEXT.issuperset(start)
        or _is_utf8(start)
    )


def _is_utf8(start: bytes) -> bool:
    try:
        # An incremental decoder accepts an incomplete last character, which `start` may have.
        text = codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return len(text) > 1 and "\x00" not in text
