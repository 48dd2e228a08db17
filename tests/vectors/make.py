# SPDX-License-Identifier: Apache-2.0
"""Make the vectors: messages of the official SDK and of s3crypt, with the result of reading each.

    python tests/vectors/make.py

The command makes the files that do not exist yet. A file is never changed later, because s3crypt
must always be able to read messages that it could read once. The keys and plaintexts in the files
are used only here.

    messages.json             Messages in every suite, under every kind of key, in every layout. A
                              message of s3crypt whose plaintext fills its last frame ends with this
                              full frame. s3crypt no longer writes such messages.
    empty-final-frames.json   Messages around the frame length, as s3crypt writes them now. If the
                              plaintext fills its last frame, an empty final frame follows.
"""

import io
import json
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "message"), str(HERE.parents[1])]

import official  # noqa: E402 - found through the path above, as are the next
from cryptography.hazmat.primitives import serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: E402
from writers import UNSIGNED, ForeignWriter, pairs, split  # noqa: E402

from s3crypt import message  # noqa: E402
from s3crypt.keyrings import AESKeyring, MultiKeyring, RSAKeyring  # noqa: E402

F = 128
SIZES = (0, F, 3 * F + 17)
CONTEXT = {"purpose": "vector", "größe": "日本", "\U0001f511": "\uff5e"}
AES_KEY = {"kind": "aes", "namespace": official.NAMESPACE, "name": official.NAME}
AES = AESKeyring(official.NAMESPACE, official.NAME, official.WRAPPING_KEY)
OTHER = AESKeyring(official.NAMESPACE, "key-2", bytes(16))
OFFICIAL, OURS, BY_HAND = "aws-encryption-sdk 4.0.7", "s3crypt 0.1.0", "by hand"
Vector = dict[str, Any]


def plaintext_of(length: int) -> bytes:
    """Return the plaintext of every vector of this length."""
    return bytes(index * 7 % 256 for index in range(length))


def vector(name: str, writer: str, data: bytes, length: int, **more: Any) -> Vector:
    """Return one vector. The fields in `more` replace the defaults."""
    return {
        "name": name,
        "writer": writer,
        "message": b64encode(data).decode(),
        "plaintext_length": length,
        "key": {**AES_KEY, "key": b64encode(official.WRAPPING_KEY).decode()},
        "context": {},
        "result": "success",
        **more,
    }


def of_the_official_sdk() -> Iterator[Vector]:
    """Return messages of the official SDK in every suite, framed and in one block."""
    for suite_id in message.SUITES:
        for size in SIZES:
            data = official.encrypt(
                plaintext_of(size),
                official.native_aes(),
                suite_id=suite_id,
                encryption_context=CONTEXT,
                frame_length=F,
            )
            name = f"official {suite_id:04x} framed {size}"
            yield vector(name, OFFICIAL, data, size, context=CONTEXT)
        data = official.encrypt(
            plaintext_of(99), official.native_aes(), suite_id=suite_id, frame_length=0
        )
        yield vector(f"official {suite_id:04x} block 99", OFFICIAL, data, 99)
        keys = official.mpl_required(official.mpl_aes(), "purpose")
        data = official.encrypt(
            b"", keys, suite_id=suite_id, encryption_context=CONTEXT, frame_length=F
        )
        name = f"official {suite_id:04x} required context"
        yield vector(name, OFFICIAL, data, 0, context={"purpose": "vector"})


def of_ours() -> Iterator[Vector]:
    """Return messages of s3crypt in both suites, and under several keys."""
    for signed in (False, True):
        for size in SIZES:
            options = {"context": CONTEXT, "signed": signed}
            data = message.encrypt(plaintext_of(size), AES, frame_length=F, **options)  # type: ignore[arg-type]  # a table of both
            suite_id = "0578" if signed else "0478"
            yield vector(f"ours {suite_id} framed {size}", OURS, data, size, context=CONTEXT)
    data = message.encrypt(b"", MultiKeyring(OTHER, AES), frame_length=F)
    yield vector("ours under two keys", OURS, data, 0)


def with_empty_final_frames() -> Iterator[Vector]:
    """Return messages of all writers around the frame length, and changed messages."""
    for signed in (False, True):
        suite_id = 0x0578 if signed else 0x0478
        for size in (0, 1, F - 1, F, F + 1, 3 * F):
            source = io.BytesIO(plaintext_of(size))
            data = message.encrypt(
                plaintext_of(size), AES, context=CONTEXT, signed=signed, frame_length=F
            )
            yield vector(f"ours {suite_id:04x} {size}", OURS, data, size, context=CONTEXT)
            stream = message.EncryptingReader(
                source, AES, context=CONTEXT, signed=signed, frame_length=F
            )
            name = f"ours {suite_id:04x} {size} streamed"
            yield vector(name, OURS, stream.readall(), size, context=CONTEXT)
            data = official.encrypt(
                plaintext_of(size),
                official.native_aes(),
                suite_id=suite_id,
                encryption_context=CONTEXT,
                frame_length=F,
            )
            yield vector(f"official {suite_id:04x} {size}", OFFICIAL, data, size, context=CONTEXT)
        size = 2 * F
        data = message.encrypt(
            plaintext_of(size), AES, context=CONTEXT, signed=signed, frame_length=F
        )
        for name, result, changed in _changes(data, size, signed=signed):
            full_name = f"{suite_id:04x} {name}"
            yield vector(full_name, BY_HAND, changed, size, context=CONTEXT, result=result)
    for empty_final in (False, True):
        writer = ForeignWriter(frame_length=F)
        writer = ForeignWriter(frame_length=F, edks=AES.wrap(writer.data_key, {}))
        frames = split(plaintext_of(3 * F), F, empty_final=empty_final)
        name = f"by hand, {'empty' if empty_final else 'full'} final frame"
        yield vector(name, BY_HAND, writer.write(frames), 3 * F)


def of_rsa() -> Iterator[Vector]:
    """Return messages under an RSA key in every padding."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    for padding in official.RSA_PADDINGS:
        described = {
            "kind": "rsa",
            "namespace": official.NAMESPACE,
            "name": "rsa",
            "key": private.decode(),
            "padding": padding,
        }
        data = official.encrypt(b"", official.native_rsa("rsa", private, padding))
        yield vector(f"official rsa {padding}", OFFICIAL, data, 0, key=described)
        ours = RSAKeyring(official.NAMESPACE, "rsa", private=private, padding=padding)
        yield vector(f"ours rsa {padding}", OURS, message.encrypt(b"", ours), 0, key=described)


def of_other_layouts() -> Iterator[Vector]:
    """Return messages in layouts that the format allows, but neither writer uses."""
    foreign: dict[str, dict[str, Any]] = {
        "unsorted context": {"context": pairs([("b", "2"), ("a", "1")])},
        "foreign frame IVs": {"iv_prefix": b"\xff" * 8},
        "frames of 5 bytes": {"frame_length": 5},
    }
    for name, options in foreign.items():
        for suite_id in UNSIGNED:
            if suite_id not in {0x0078, 0x0478}:
                continue
            writer = ForeignWriter(suite_id, **options)
            writer = ForeignWriter(
                suite_id, edks=AES.wrap(writer.data_key, _context_of(name)), **options
            )
            size = 2 * writer.frame_length + 3
            data = writer.write(split(plaintext_of(size), writer.frame_length))
            yield vector(f"{name} {suite_id:04x}", BY_HAND, data, size)


def _context_of(name: str) -> dict[str, str]:
    return {"a": "1", "b": "2"} if name == "unsorted context" else {}


def refused() -> Iterator[Vector]:
    """Return messages that must be refused, each with the expected error."""
    size = 2 * F + 17
    for signed in (False, True):
        data = message.encrypt(
            plaintext_of(size), AES, context=CONTEXT, signed=signed, frame_length=F
        )
        suite_id = "0578" if signed else "0478"
        for name, result, changed in _changes(data, size, signed=signed):
            full_name = f"{suite_id} {name}"
            yield vector(full_name, BY_HAND, changed, size, context=CONTEXT, result=result)
        wrong = {**AES_KEY, "key": b64encode(bytes(32)).decode()}
        yield vector(f"{suite_id} wrong key", OURS, data, size, key=wrong, result="IntegrityError")
        for context in ({"purpose": "other"}, {"more": ""}):
            name = f"{suite_id} context {json.dumps(context)}"
            yield vector(name, OURS, data, size, context=context, result="IntegrityError")
    half = ForeignWriter(context=pairs([("aws-crypto-public-key", "A" * 68)]))
    half = ForeignWriter(context=half.context, edks=AES.wrap(half.data_key, {}))
    yield vector("half signed", BY_HAND, half.write([b""]), 0, result="FormatError")
    for suite in message.SUITES.values():
        if not suite.committing:
            data = official.encrypt(b"", official.native_aes(), suite_id=suite.id)
            name = f"official {suite.id:04x} without leave"
            yield vector(name, OFFICIAL, data, 0, result="PolicyError", allow_uncommitted=False)


def _changes(data: bytes, size: int, *, signed: bool) -> Iterator[tuple[str, str, bytes]]:
    header = len(message.read_header(io.BytesIO(data)))
    stride = F + 32
    second, final = header + stride, header + 2 * stride
    end = final + size - 2 * F + 40
    first_frame, second_frame, final_frame = (
        data[header:second],
        data[second:final],
        data[final:end],
    )
    footer = data[end:]
    flips = {
        "version flipped": (0, "FormatError"),
        "suite flipped": (1, "FormatError"),
        "message id flipped": (3, "IntegrityError"),
        "commitment flipped": (header - 48, "IntegrityError"),
        "header tag flipped": (header - 1, "IntegrityError"),
        "frame length flipped": (header - 50, "IntegrityError"),
        "first frame flipped": (header + 40, "IntegrityError"),
        "frame IV flipped": (header + 4, "IntegrityError"),
        "frame number flipped": (header + 3, "IntegrityError"),
        "second frame's tag flipped": (final - 1, "IntegrityError"),
        "final frame flipped": (final + 25, "IntegrityError"),
        "final length flipped": (final + 23, "IntegrityError"),
    }
    if signed:
        flips["signature flipped"] = (len(data) - 1, "IntegrityError")
        yield "footer dropped", "IntegrityError", data[:end]
    for name, (position, result) in flips.items():
        changed = bytearray(data)
        changed[position] ^= 1 if name != "version flipped" else 4
        yield name, result, bytes(changed)
    start = data[:header]
    bodies = {
        "frames swapped": second_frame + first_frame + final_frame,
        "frame dropped": first_frame + final_frame,
        "frame repeated": first_frame * 2 + second_frame + final_frame,
        "final frame dropped": first_frame + second_frame,
        "final frame repeated": first_frame + second_frame + final_frame * 2,
        "body dropped": b"",
    }
    for name, body in bodies.items():
        yield name, "IntegrityError", start + body + footer
    yield "byte behind", "IntegrityError", data + b"\x00"
    yield "last byte dropped", "IntegrityError", data[:-1]
    yield "header cut", "IntegrityError", data[: header - 1]


FILES: dict[str, tuple[Callable[[], Iterator[Vector]], ...]] = {
    "messages.json": (of_the_official_sdk, of_ours, of_rsa, of_other_layouts, refused),
    "empty-final-frames.json": (with_empty_final_frames,),
}


def main() -> None:
    """Write the files that are not there."""
    missing = {name: made for name, made in FILES.items() if not (HERE / name).exists()}
    if not missing:
        sys.exit("All are frozen. A new version is a new file, made for a new reason.")
    for name, makers in missing.items():
        lines = ",\n".join(
            json.dumps(each, ensure_ascii=True) for make in makers for each in make()
        )
        (HERE / name).write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
