# SPDX-License-Identifier: Apache-2.0
"""How long does it take to encrypt or decrypt a message in one call, against other libraries?

The official SDK writes the same suite and frame length as s3crypt. Tink's streaming AEAD and age
(pyrage) have segment lengths of their own; pycryptodome's AES-GCM is one call without a format.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, NamedTuple

import official_sdk as official
import peers
import pytest
from workload import size_name

from s3crypt import message

if TYPE_CHECKING:
    from collections.abc import Callable

    from suite import Measure

    from s3crypt import AESKeyring

_KIB, _MIB = 2**10, 2**20
SMALL = (0, _KIB, 64 * _KIB)
FRAME_LENGTHS = (4 * _KIB, 64 * _KIB, 256 * _KIB, _MIB)
VERBS = ("encrypt", "decrypt")
WRITERS = ("s3crypt", "aws-encryption-sdk", "MPL")


class Codec(NamedTuple):
    """A function that encrypts bytes, and the function that decrypts them."""

    encrypt: Callable[[bytes], bytes]
    decrypt: Callable[[bytes], bytes]


def _codec(writer: str, keyring: AESKeyring, frame_length: int) -> Codec:
    if writer == "s3crypt":
        return Codec(
            lambda data: message.encrypt(data, keyring, frame_length=frame_length),
            lambda data: message.decrypt(data, keyring),
        )
    keys = official.mpl() if writer == "MPL" else official.native()
    return Codec(
        lambda data: official.encrypt(data, keys, frame_length),
        lambda data: official.decrypt(data, keys),
    )


def _measured(
    measure: Measure, codec: Codec, verb: str, data: bytes, writer: str, frame_length: int = 0
) -> None:
    sealed = codec.encrypt(data)
    assert codec.decrypt(sealed) == data
    work = (lambda: codec.encrypt(data)) if verb == "encrypt" else (lambda: codec.decrypt(sealed))
    large = len(data) > _MIB
    measure(
        work,
        group=f"{verb} {size_name(len(data))}",
        size=len(data),
        rounds=5 if large else 11,
        writer=writer,
        direction=verb,
        frame_length=frame_length,
    )


@pytest.mark.parametrize("size", SMALL, ids=size_name)
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("writer", WRITERS)
def bench_small(measure: Measure, keyring: AESKeyring, writer: str, verb: str, size: int) -> None:
    """Encrypt or decrypt a small message under an AES key."""
    codec = _codec(writer, keyring, 4 * _KIB)
    _measured(measure, codec, verb, os.urandom(size), writer)


@pytest.fixture(scope="session")
def large(tiny: bool) -> bytes:
    """Return a plaintext of 256 MiB, or of 1 MiB with `--tiny`."""
    return os.urandom(_MIB if tiny else 256 * _MIB)


@pytest.mark.parametrize("frame_length", FRAME_LENGTHS, ids=size_name)
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("writer", WRITERS[:2])
def bench_large(
    measure: Measure,
    keyring: AESKeyring,
    large: bytes,
    writer: str,
    verb: str,
    frame_length: int,
) -> None:
    """Encrypt or decrypt 256 MiB in one piece."""
    codec = _codec(writer, keyring, frame_length)
    _measured(measure, codec, verb, large, writer, frame_length=frame_length)


def _tink(segment: str) -> Codec:
    peers.find("tink")
    import tink  # noqa: PLC0415 - a peer, where there is one
    from tink import streaming_aead  # noqa: PLC0415

    streaming_aead.register()
    template = getattr(streaming_aead.streaming_aead_key_templates, f"AES256_GCM_HKDF_{segment}")
    primitive = tink.new_keyset_handle(template).primitive(streaming_aead.StreamingAead)

    def encrypt(data: bytes) -> bytes:
        sealed = io.BytesIO()
        # Otherwise the stream would close this file, and its bytes would be lost.
        sealed.close = lambda: None  # type: ignore[method-assign]
        with primitive.new_encrypting_stream(sealed, b"") as stream:
            stream.write(data)
        return sealed.getvalue()

    def decrypt(data: bytes) -> bytes:
        with primitive.new_decrypting_stream(io.BytesIO(data), b"") as stream:
            return bytes(stream.read())

    return Codec(encrypt, decrypt)


def _pyrage() -> Codec:
    peers.find("pyrage")
    import pyrage  # noqa: PLC0415 - a peer, where there is one

    identity = pyrage.x25519.Identity.generate()
    recipient = identity.to_public()
    return Codec(
        lambda data: bytes(pyrage.encrypt(data, [recipient])),
        lambda data: bytes(pyrage.decrypt(data, [identity])),
    )


def _pycryptodome() -> Codec:
    peers.find("pycryptodome")
    from Crypto.Cipher import AES  # noqa: PLC0415 - a peer, where there is one

    key = bytes(32)

    def encrypt(data: bytes) -> bytes:
        cipher = AES.new(key, AES.MODE_GCM, nonce=bytes(12))
        sealed, tag = cipher.encrypt_and_digest(data)
        return bytes(sealed + tag)

    def decrypt(data: bytes) -> bytes:
        cipher = AES.new(key, AES.MODE_GCM, nonce=bytes(12))
        return bytes(cipher.decrypt_and_verify(data[:-16], data[-16:]))

    return Codec(encrypt, decrypt)


PEERS = {
    "tink 4 KiB": lambda: _tink("4KB"),
    "tink 1 MiB": lambda: _tink("1MB"),
    "pyrage": _pyrage,
    "pycryptodome": _pycryptodome,
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("writer", PEERS)
def bench_large_peer(measure: Measure, large: bytes, writer: str, verb: str) -> None:
    """Encrypt or decrypt 256 MiB in one piece by a library that has another format."""
    _measured(measure, PEERS[writer](), verb, large, writer)
