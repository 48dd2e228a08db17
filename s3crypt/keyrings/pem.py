# SPDX-License-Identifier: Apache-2.0
"""Describe the content of a file that contains no RSA key in PEM, with a hint for the user.

This module examines only labels and object identifiers. The module `raw_keys` loads keys and checks
their kind.
"""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterator

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END ", re.DOTALL)
_SSH_PUBLIC = (b"ssh-", b"ecdsa-sha2-", b"sk-ssh-", b"sk-ecdsa-", b"---- BEGIN SSH2 PUBLIC KEY")
# The identifier id-RSASSA-PSS of RFC 4055 in DER. It is searched for in the first
# `_IDENTIFIER_LENGTH` bytes of a key.
_PSS_ONLY = bytes.fromhex("06092a864886f70d01010a")
_IDENTIFIER_LENGTH = 64
# The DER tag SEQUENCE. Keys and certificates in DER begin with it.
_DER_START = b"\x30"

MAKE_KEY = "`(umask 077; openssl genrsa -out FILE.pem 4096)` makes a key."
_OF_CERTIFICATE = "`openssl x509 -in FILE -noout -pubkey > FILE.pem` extracts its public key."
_OF_REQUEST = "`openssl req -in FILE -noout -pubkey > FILE.pem` extracts its public key."
# The label of a PEM block -> a description of the block, and a hint.
_OTHERS = {
    "OPENSSH PRIVATE KEY": (
        "an OpenSSH private key",
        f'{MAKE_KEY} To use this one, convert a copy: `ssh-keygen -p -N "" -m PKCS8 -f COPY.pem`.',
    ),
    "CERTIFICATE": ("a certificate", _OF_CERTIFICATE),
    "TRUSTED CERTIFICATE": ("a certificate", _OF_CERTIFICATE),
    "X509 CERTIFICATE": ("a certificate", _OF_CERTIFICATE),
    "CERTIFICATE REQUEST": ("a certificate request", _OF_REQUEST),
    "NEW CERTIFICATE REQUEST": ("a certificate request", _OF_REQUEST),
    "EC PRIVATE KEY": ("an elliptic-curve key, which cannot encrypt", MAKE_KEY),
    "DSA PRIVATE KEY": ("a DSA key, which cannot encrypt", MAKE_KEY),
    "PGP PUBLIC KEY BLOCK": ("an OpenPGP key", MAKE_KEY),
    "PGP PRIVATE KEY BLOCK": ("an OpenPGP key", MAKE_KEY),
}


def found_instead(content: bytes) -> tuple[str, str] | None:
    """Return a description of a file that contains no RSA key in PEM, and a hint.

    The result is None if the file may contain such a key. It may contain a certificate, too.
    """
    blocks = dict(_blocks(content))
    if any(_is_for_signatures(body) for body in blocks.values()):
        return "an RSA key for PSS signatures only, which must not encrypt", MAKE_KEY
    known = [_OTHERS[label] for label in blocks if label in _OTHERS]
    if known and len(known) == len(blocks):
        return known[0]
    if blocks:
        return None
    if content.lstrip().startswith(_SSH_PUBLIC):
        return (
            "an OpenSSH public key",
            "`ssh-keygen -e -m PKCS8 -f FILE > FILE.pem` converts it.",
        )
    if content.startswith(_DER_START):
        return (
            "not PEM: it may be a key in DER",
            (
                "`openssl pkey -in FILE -out FILE.pem` converts a private key; add -pubin for a "
                "public key."
            ),
        )
    return "not a PEM file", MAKE_KEY


def _blocks(content: bytes) -> Iterator[tuple[str, bytes]]:
    for label, body in _BLOCK.findall(content):
        yield label.decode(), body


def _is_for_signatures(body: bytes) -> bool:
    try:
        return _PSS_ONLY in b64decode(body)[:_IDENTIFIER_LENGTH]
    except Base64Error:
        return False
