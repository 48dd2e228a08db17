# SPDX-License-Identifier: Apache-2.0
"""Frames of a message: seal them and open them. Bytes to bytes.

    regular frame   sequence 4 | IV 12 | ciphertext F | tag 16
    final frame     FFFFFFFF | sequence 4 | IV 12 | length 4 | ciphertext n | tag 16

Source: aws-encryption-sdk-specification, data-format/message-body.md and message-body-aad.md.
"""

import hmac
import os
import struct
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from copy import copy
from os import urandom
from typing import NoReturn

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from s3crypt.errors import ConfigError, FormatError, IntegrityError, PolicyError, Remedy
from s3crypt.framing import Layout

from .geometry import FINAL_FRAME_OVERHEAD, MAX_FRAMES, Geometry
from .header import (
    MAX_EDKS,
    MAX_FRAME_LENGTH,
    PUBLIC_KEY_PAIR,
    RESERVED_PREFIX,
    Header,
    serialize_body,
    serialize_context,
)
from .keys import HEADER_FAILED, DataKey, Keyring, check_keyring, unwrap_fitting
from .suites import COMMITTING, COMMITTING_SIGNED, IV_LENGTH, TAG_LENGTH, Suite

BLOCK_OVERHEAD = IV_LENGTH + 8 + TAG_LENGTH
DEFAULT_FRAME_LENGTH = 256 * 2**10
"""Plaintext bytes per frame of a new message, if the caller names no length."""
# The official Python SDK writes and accepts only multiples of 128 bytes.
FRAME_LENGTH_STEP = 128
SIGNATURE_LENGTH = 103
# The longest possible signature is a DER sequence of two P-384 numbers (104 bytes). Its length
# field has 2 bytes.
MAX_FOOTER_LENGTH = 2 + 104
MAX_BLOCK_LENGTH = 2**36 - 32

_FINAL = 0xFFFFFFFF
_FRAME_AAD = b"AWSKMSEncryptionClient Frame"
_FINAL_AAD = b"AWSKMSEncryptionClient Final Frame"
_BLOCK_AAD = b"AWSKMSEncryptionClient Single Block"
_IV_PREFIX = bytes(IV_LENGTH - 4)  # before the sequence number
_NO_COPY = (
    "A sealer cannot be copied: both would seal different frames with one nonce. Create another "
    "one."
)
# One entry per fork between the first process and this process. A process id is not used: reading
# it for each message and run would need a system call, and the system may reuse an id, in another
# PID namespace or after the parent has ended.
_FORKS: list[int] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _FORKS.append(os.getpid()))


def check_context(context: Mapping[str, str]) -> None:
    """Refuse an encryption context with a reserved key, or with a key or a value that is not text.

    Raises:
        ConfigError: A key begins with `aws-crypto-`, or a key or a value is not text.
    """
    for key, value in context.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise ConfigError("Keys and values of an encryption context are text.")
        if key.startswith(RESERVED_PREFIX):
            raise ConfigError(f"Context keys must not begin with {RESERVED_PREFIX!r}: {key!r}.")


def unsigned() -> PolicyError:
    """Return the error for an unsigned message, for a caller that requires a signature."""
    return PolicyError(
        "The message is not signed, but a signature is demanded.",
        hint="Everyone who may open messages of its key can have written it.",
        remedy=Remedy("accept_unsigned", allow_unsigned=True),
    )


class Sealer:
    """Seals the frames of one message, each frame exactly once.

    For an unsigned message, runs of frames may be sealed in any order and by several threads,
    because IVs and offsets follow from the sequence numbers. The frames of a signed message must be
    sealed in order.

    A sealer cannot be copied, and seals only in the process that made it. Two copies would not know
    which frames the other copy has sealed, and would seal different plaintexts with the same nonce.

    Args:
        keyring: Makes and wraps the message's data key.
        context, signed, frame_length: As for `encrypt`.
        plaintext_length: The length of the whole plaintext in bytes, or None if it is unknown.
            Only a keyring that reuses data keys needs it.

    Attributes:
        header: The serialized header. It is the beginning of the message, and does not change.
        geometry: The offsets and lengths of the message's frames.
    """

    def __init__(
        self,
        keyring: Keyring,
        *,
        context: Mapping[str, str] | None = None,
        signed: bool = False,
        frame_length: int = DEFAULT_FRAME_LENGTH,
        plaintext_length: int | None = None,
    ) -> None:
        check_keyring(keyring)
        context = dict(context or {})
        check_context(context)
        if frame_length % FRAME_LENGTH_STEP or not 0 < frame_length <= MAX_FRAME_LENGTH:
            raise ConfigError(
                f"A frame length is a multiple of {FRAME_LENGTH_STEP} bytes of at most "
                f"{MAX_FRAME_LENGTH}; {frame_length} is not."
            )
        suite = COMMITTING_SIGNED if signed else COMMITTING
        self._signer = _Signer(suite) if signed else None
        if self._signer:
            context[PUBLIC_KEY_PAIR] = self._signer.public_key
        serialized = serialize_context(context)
        data_key = _generate(keyring, suite, context, plaintext_length)
        message_id = urandom(suite.message_id_length)
        self._frame_aad, self._final_aad = message_id + _FRAME_AAD, message_id + _FINAL_AAD
        content_key, commitment = suite.derive(data_key.plaintext, message_id)
        body = serialize_body(
            suite, message_id, serialized, data_key.edks, frame_length, commitment
        )
        self._cipher = AESGCM(content_key)
        # Under this key and the zero IV, only this header is ever authenticated. A tag of a second
        # header would reveal the authentication key.
        iv = bytes(IV_LENGTH)
        tag = self._cipher.encrypt(iv, b"", body)
        self.header = body + tag
        edks = data_key.edks  # the data key itself is not kept
        self._fields: Callable[[], Header] = lambda: Header(
            suite=suite,
            message_id=message_id,
            context=context,
            edks=edks,
            frame_length=frame_length,
            commitment=commitment,
            body=body,
            iv=iv,
            tag=tag,
        )
        self.geometry = Geometry(len(self.header), frame_length)
        self._sealed: list[tuple[int, int]] = []
        self._end: int | None = None
        self._lock = threading.Lock()
        self._forks = len(_FORKS)
        if self._signer:
            self._signer.update(self.header)

    def seal(self, plaintext: memoryview, out: memoryview, *, first: int, is_final: bool) -> int:
        """Seal a run of frames into `out`, and return the number of bytes written.

        The first frame of the run has the number `first`.

        All frames of a run must be full, except the final frame of the message. If `is_final`, the
        run ends with the final frame. If the plaintext fills whole frames, an empty final frame
        follows, because the official Python SDK 3.x refuses a full final frame.

        Raises:
            ConfigError: The process was forked after the sealer was made.
            AssertionError: A frame of the run was already sealed (its nonce must not be used
                twice), a frame that is not the final frame is not full, the message already has a
                final frame, or the frames of a signed message are not in order.
        """
        self.check_process()
        length = self.geometry.frame_length
        if not is_final and (not len(plaintext) or len(plaintext) % length):
            raise AssertionError("unreachable: only the final frame is not full")
        count = self.geometry.frames(len(plaintext)) if is_final else len(plaintext) // length
        self._claim(first, first + count - 1, is_final=is_final)
        regular = count - is_final
        position = self._regular(plaintext[: regular * length], out, first) if regular else 0
        if is_final:
            position = self._final(plaintext[regular * length :], out, position, first + regular)
        if self._signer:
            self._signer.update(out[:position])
        return position

    @property
    def frame_length(self) -> int:
        """Return the number of plaintext bytes in a regular frame."""
        return self.geometry.frame_length

    @property
    def stride(self) -> int:
        """Return the number of bytes that a regular frame takes in the message."""
        return self.geometry.stride

    def sealed_length(self, plaintext_length: int) -> int:
        """Return the length of a message with this many plaintext bytes and its signature."""
        return self.geometry.message_length(plaintext_length) + self.footer_length

    @property
    def fields(self) -> Header:
        """Return the fields of the header."""
        return self._fields()

    @property
    def is_sequential(self) -> bool:
        """Return whether frames must be sealed in order, because the message is signed."""
        return self._signer is not None

    @property
    def footer_length(self) -> int:
        """Return the length of the footer in bytes."""
        return 2 + SIGNATURE_LENGTH if self._signer else 0

    def footer(self) -> bytes:
        """Return the footer, which contains the signature.

        Return no bytes for an unsigned message.
        """
        if self._signer is None:
            return b""
        self.check_process()
        return self._signer.footer()

    def check_process(self) -> None:
        """Raise an error in a process that was forked after the sealer was made.

        Raises:
            ConfigError: The process was forked after the sealer was made.
        """
        if len(_FORKS) != self._forks:
            raise ConfigError(
                "The message was begun before this process was forked: both processes would seal "
                "its next frame with the same nonce.",
                hint="Begin the message in the process that writes it.",
            )

    def __copy__(self) -> NoReturn:
        raise TypeError(_NO_COPY)

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise TypeError(_NO_COPY)

    def __reduce__(self) -> NoReturn:
        raise TypeError(_NO_COPY)

    def _regular(self, plaintext: memoryview, out: memoryview, first: int) -> int:
        # This loop limits the throughput: for a short frame, the loop takes as long as the cipher.
        # Therefore it makes as few slices and calls as possible.
        length, stride = self.geometry.frame_length, self.geometry.stride
        aad, size, encrypt_into = self._frame_aad, length.to_bytes(8), self._cipher.encrypt_into
        start = position = 0
        for number in range(first, first + len(plaintext) // length):
            sequence = number.to_bytes(4)
            iv = _IV_PREFIX + sequence
            sealed, end = position + 4 + IV_LENGTH, position + stride
            out[position:sealed] = sequence + iv
            frame = plaintext[start : start + length]
            encrypt_into(iv, frame, aad + sequence + size, out[sealed:end])
            start, position = start + length, end
        return position

    def _final(self, frame: memoryview, out: memoryview, position: int, sequence: int) -> int:
        start = position + FINAL_FRAME_OVERHEAD - TAG_LENGTH
        end = start + len(frame) + TAG_LENGTH
        struct.pack_into(">IIQII", out, position, _FINAL, sequence, 0, sequence, len(frame))
        aad = self._final_aad + struct.pack(">IQ", sequence, len(frame))
        self._cipher.encrypt_into(out[position + 8 : start - 4], frame, aad, out[start:end])
        return end

    def _claim(self, first: int, last: int, *, is_final: bool) -> None:
        if first < 1:
            raise AssertionError("unreachable: frames are numbered from 1; IV 0 is the header's")
        if last > MAX_FRAMES - (not is_final):
            raise ConfigError(
                f"More than {MAX_FRAMES} frames of {self.geometry.frame_length} bytes.",
                hint="Use longer frames.",
            )
        with self._lock:
            self._check_order(first, last, is_final=is_final)
            merged = []
            for low, high in self._sealed:
                if first <= high and low <= last:
                    raise AssertionError("unreachable: a frame is sealed once")
                if high + 1 == first:
                    first = low
                elif last + 1 == low:
                    last = high
                else:
                    merged.append((low, high))
            self._sealed = [*merged, (first, last)]
            self._end = last if is_final else self._end

    def _check_order(self, first: int, last: int, *, is_final: bool) -> None:
        # With a second final frame, there would be two valid messages: the longer one, and a
        # truncated one.
        if is_final:
            misplaced = self._end or (self._sealed and any(high > last for _, high in self._sealed))
        else:
            misplaced = self._end is not None and last > self._end
        if misplaced:
            raise AssertionError("unreachable: a message has one final frame, its last")
        if self._signer and self._sealed != ([(1, first - 1)] if first > 1 else []):
            raise AssertionError("unreachable: a signed message is sealed in order, once")


def _generate(
    keyring: Keyring, suite: Suite, context: Mapping[str, str], plaintext_length: int | None
) -> DataKey:
    data_key = keyring.generate(suite.key_length, context, plaintext_length=plaintext_length)
    if len(data_key.plaintext) != suite.key_length or not data_key.edks:
        raise ConfigError("The keyring did not return a data key of the requested length.")
    if len(data_key.edks) > MAX_EDKS:
        raise ConfigError(f"More than {MAX_EDKS} wrapping keys; readers refuse such messages.")
    return data_key


class _HeaderProof:
    """Checks data keys with one header: with its commitment, if it has one, and with its tag."""

    __slots__ = ("_aad", "_cipher", "_header")

    def __init__(self, header: Header, aad: bytes) -> None:
        self._header = header
        self._aad = aad
        self._cipher: AESGCM | None = None

    def fits(self, data_key: bytes) -> bool:
        """Return whether this data key opens the header.

        If it does, keep the content key's cipher.
        """
        header, suite = self._header, self._header.suite
        if len(data_key) != suite.key_length:
            return False
        content_key, commitment = suite.derive(data_key, header.message_id)
        if not hmac.compare_digest(commitment, header.commitment):
            return False
        cipher = AESGCM(content_key)
        try:
            cipher.decrypt(header.iv, header.tag, self._aad)
        except InvalidTag:
            # The commitment has shown that the data key is right, so the header was changed.
            # Without a commitment, the key may be wrong.
            return suite.committing
        self._cipher = cipher
        return True

    def verified(self) -> AESGCM:
        """Return the content key's cipher.

        Raise an IntegrityError if it has not verified the header's tag.
        """
        if self._cipher is None:
            raise IntegrityError(HEADER_FAILED)
        return self._cipher


class Opener:
    """Opens the frames of one message.

    The constructor unwraps the data key and verifies the header.

    The runs of an unsigned message may be opened in any order and by several threads.

    Args:
        header: The header, as `read_header` returns it.
        keyring: Unwraps the message's data key.
        context, signed, allow_uncommitted: As for `decrypt`.

    Attributes:
        header: The verified header.
        context: The verified encryption context. It includes the pairs that the message does not
            store.
        geometry: The offsets and lengths of the frames. It has no meaning if the body is one block.
    """

    def __init__(
        self,
        header: Header,
        keyring: Keyring,
        *,
        context: Mapping[str, str] | None = None,
        signed: bool = False,
        allow_uncommitted: bool = False,
    ) -> None:
        check_keyring(keyring)
        suite = header.suite
        # These checks are made before a data key is unwrapped, so a refused message costs no
        # request.
        if signed and suite.curve is None:
            raise unsigned()
        if not suite.committing and not allow_uncommitted:
            raise PolicyError(
                f"The message has no key commitment (suite {suite.name}), and such messages are "
                "refused.",
                remedy=Remedy("accept_uncommitted", allow_uncommitted=True),
            )
        if (PUBLIC_KEY_PAIR in header.context) != (suite.curve is not None):
            raise FormatError(
                "The message's suite and context contradict each other about a signature."
            )
        self.header = header
        self.context, required = _expect(header, context or {})
        # The tag is verified over the bytes as they were received, because other writers may not
        # sort the context.
        proof = _HeaderProof(header, header.body + serialize_context(required))
        unwrap_fitting(keyring, header.edks, self.context, suite.key_length, proof.fits)
        self._cipher = proof.verified()
        self.geometry = header.geometry
        self._frame_aad = header.message_id + _FRAME_AAD
        self._verifier = _Verifier(suite, header.context[PUBLIC_KEY_PAIR]) if suite.curve else None
        if self._verifier:
            self._verifier.update(header.serialized)

    def layout(self, size: int) -> Layout:
        """Return the layout of a message with `size` bytes. The signature is not counted."""
        return self.geometry.layout(size)

    def without_signature(self) -> "Opener":
        """Return an opener of the same frames that does not verify the signature.

        It opens frames in any order.

        The frames are then as authentic as the frames of an unsigned message. Only the whole
        message with its footer shows that the signer wrote it.
        """
        opener = copy(self)
        opener._verifier = None  # noqa: SLF001 - its own
        return opener

    def open(self, run: memoryview, out: memoryview, *, first: int, is_final: bool = False) -> int:
        """Open a run of frames into `out`, and return the number of plaintext bytes.

        The first frame of the run has the number `first`.

        All frames must be regular frames. If `is_final`, the last frame must be the message's final
        frame.

        Raises:
            IntegrityError: A frame is not the frame that was sealed at its position. In this case
                no byte in `out` may be used.
        """
        if not is_final:
            return self._open_regular(run, out, first)
        regular = self.geometry.split(self.geometry.header_length + len(run))[0]
        cut = regular * self.geometry.stride
        # Nothing is called for an empty run, because short messages have only the final frame.
        written = self._open_regular(run[:cut], out, first) if cut else 0
        return written + self.open_final(run[cut:], out[written:], sequence=first + regular)

    def _open_regular(self, run: memoryview, out: memoryview, first: int) -> int:
        # This loop makes as few slices and calls as possible, for the same reason as
        # `Sealer._regular`.
        length, stride = self.geometry.frame_length, self.geometry.stride
        aad, size, decrypt_into = self._frame_aad, length.to_bytes(8), self._cipher.decrypt_into
        if first + len(run) // stride > MAX_FRAMES:
            raise IntegrityError("The message has more frames than its format allows.")
        written = 0
        for number, position in enumerate(range(0, len(run), stride), first):
            sequence, sealed, end = number.to_bytes(4), position + 4 + IV_LENGTH, position + stride
            if end > len(run) or run[position : position + 4] != sequence:
                raise IntegrityError(_frame_failed(number))
            iv, frame = run[position + 4 : sealed], out[written : written + length]
            try:
                decrypt_into(iv, run[sealed:end], aad + sequence + size, frame)
            except InvalidTag:
                raise IntegrityError(_frame_failed(number)) from None
            written += length
        if self._verifier:
            self._verifier.update(run)
        return written

    def open_final(self, frame: memoryview, out: memoryview, *, sequence: int) -> int:
        """Open the final frame, and return its plaintext length. Its number must be `sequence`."""
        if len(frame) < FINAL_FRAME_OVERHEAD:
            raise IntegrityError("The message ends within its final frame.")
        length: int
        marker, stored, length = struct.unpack_from(">II12xI", frame)
        if (
            (marker, stored) != (_FINAL, sequence)
            or length > self.header.frame_length
            or len(frame) != length + FINAL_FRAME_OVERHEAD
        ):
            raise IntegrityError(_frame_failed(sequence))
        self._decrypt(_FINAL_AAD, sequence, frame[8:20], frame[24:], out[:length])
        if self._verifier:
            self._verifier.update(frame)
        return length

    def open_block(self, block: memoryview, out: memoryview) -> int:
        """Open the body of a message with one block instead of frames.

        Return its plaintext length.
        """
        length = len(block) - BLOCK_OVERHEAD
        if length < 0 or int.from_bytes(block[12:20]) != length:
            raise IntegrityError("The message ends within its body.")
        self._decrypt(_BLOCK_AAD, 1, block[:12], block[20:], out[:length])
        if self._verifier:
            self._verifier.update(block)
        return length

    def verify_footer(self, footer: bytes) -> None:
        """Verify the signature after the body.

        For an unsigned message, verify that no bytes follow the body.

        Raises:
            IntegrityError: The signature does not match, or bytes follow the message.
        """
        if self._verifier:
            self._verifier.verify(footer)
        elif footer:
            raise IntegrityError("Bytes follow the end of the message.")

    def _decrypt(
        self, aad: bytes, sequence: int, iv: memoryview, sealed: memoryview, out: memoryview
    ) -> None:
        aad = self.header.message_id + aad + struct.pack(">IQ", sequence, len(out))
        try:
            self._cipher.decrypt_into(iv, sealed, aad, out)
        except InvalidTag:
            raise IntegrityError(_frame_failed(sequence)) from None


def _frame_failed(sequence: int) -> str:
    return f"Frame {sequence} failed verification: the message was changed or truncated."


def is_final(start: memoryview) -> bool:
    """Return whether a frame that begins with these four bytes is a final frame."""
    return int.from_bytes(start[:4]) == _FINAL


def final_frame_length(start: memoryview) -> int:
    """Return the length of a final frame in the message.

    It is computed from the first 24 bytes of the frame and is not verified.
    """
    return int.from_bytes(start[20:24]) + FINAL_FRAME_OVERHEAD


def _expect(header: Header, expected: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    if not expected:
        return dict(header.context), {}
    # If the message stores an expected pair, both values must be equal. If it does not, the writer
    # must have authenticated the pair without storing it. The tag of the header verifies this.
    required = {key: value for key, value in expected.items() if key not in header.context}
    for key, value in expected.items():
        if header.context.get(key, value) != value:
            raise IntegrityError(
                f"The encryption context's {key!r} is not the expected one.",
                remedy=Remedy("check_context"),
            )
    whole = {**header.context, **required}
    serialize_context(expected)
    try:
        serialize_context(whole)
    except ConfigError:
        # The pairs of the caller fit the format, but not together with the stored pairs. No writer
        # can have authenticated such a context.
        raise IntegrityError(HEADER_FAILED) from None
    return whole, required


class _Signer:
    """Signs one message with a new key pair. The public key is in the message's context."""

    def __init__(self, suite: Suite) -> None:
        # The import is here because it also loads SSH's key formats. This takes 30 ms, a tenth of
        # the time in which a command starts.
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

        if suite.curve is None:
            raise AssertionError("unreachable: only signed suites have a signer")
        self._key = ec.generate_private_key(suite.curve)
        self._hash = suite.signature_hash
        self._digest = hashes.Hash(self._hash)
        point = self._key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
        )
        self.public_key = b64encode(point).decode()

    def update(self, data: bytes | memoryview) -> None:
        """Add the next bytes of the message to the digest."""
        self._digest.update(data)

    def footer(self) -> bytes:
        """Return the signature over all bytes that were added, preceded by its length."""
        digest = self._digest.finalize()
        # Other SDKs always write 103 bytes, and some readers depend on it. A signature in DER has
        # 101 to 104 bytes, so signing is repeated until the length is right.
        while len(signature := self._sign(digest)) != SIGNATURE_LENGTH:
            pass
        return struct.pack(">H", len(signature)) + signature

    def _sign(self, digest: bytes) -> bytes:
        return self._key.sign(digest, ec.ECDSA(Prehashed(self._hash)))


class _Verifier:
    def __init__(self, suite: Suite, public_key: str) -> None:
        if suite.curve is None:
            raise AssertionError("unreachable: only signed suites have a verifier")
        try:
            self._key = ec.EllipticCurvePublicKey.from_encoded_point(
                suite.curve, b64decode(public_key, validate=True)
            )
        except ValueError:
            raise FormatError("The message's signing key is malformed.") from None
        self._hash = suite.signature_hash
        self._digest = hashes.Hash(self._hash)

    def update(self, data: bytes | memoryview) -> None:
        self._digest.update(data)

    def verify(self, footer: bytes) -> None:
        if len(footer) < 2 or int.from_bytes(footer[:2]) != len(footer) - 2:
            raise IntegrityError("The message's footer is truncated, or bytes follow it.")
        try:
            self._key.verify(footer[2:], self._digest.finalize(), ec.ECDSA(Prehashed(self._hash)))
        except InvalidSignature:
            raise IntegrityError("The message's signature does not match.") from None
