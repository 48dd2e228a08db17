# SPDX-License-Identifier: Apache-2.0
"""AWS Encryption SDK messages as objects.

The wrapped keys are in the message's header or in the object's metadata.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from hmac import compare_digest
from os import urandom
from typing import Any, NoReturn

from s3crypt.errors import IntegrityError, KeyUnavailableError, PolicyError, Remedy
from s3crypt.framing import RunOpener
from s3crypt.keyrings import AESKeyring, key_materials, key_names
from s3crypt.keyrings.capabilities import rewrap
from s3crypt.local.readers import read_into
from s3crypt.message import (
    DecryptingReader,
    EncryptedDataKey,
    Header,
    Keyring,
    Opener,
    Sealer,
    find_header,
    read_header,
)
from s3crypt.message.digests import SALT_LENGTH
from s3crypt.message.frames import BLOCK_OVERHEAD, MAX_FOOTER_LENGTH
from s3crypt.message.geometry import Geometry
from s3crypt.message.header import PUBLIC_KEY_PAIR
from s3crypt.message.keys import unwrap_fitting
from s3crypt.modes import ClientSide

from . import entries
from .digests import DIGEST, DigestKeyring, dump_digest, load_digest
from .seam import Difference, Digest, Facts, Fetch, Rewrapping, Sealing, Stored


@dataclass(frozen=True, slots=True)
class MessageEnvelope:
    """A message's header, and the entries of its object's metadata.

    Attributes:
        metadata: The object's metadata, with names in lower case.
        wrapped: The wrapped object key. Empty if the header contains the wrapped data key.
        header: The header. None if it was not fetched, because a rewrap needs only `wrapped`.
    """

    metadata: Mapping[str, str]
    wrapped: tuple[EncryptedDataKey, ...]
    header: Header | None

    @property
    def edks(self) -> tuple[EncryptedDataKey, ...]:
        """Return the EDKs of the object key, or else of the data key, for the mode's keyring."""
        return self.wrapped or self._known.edks

    @property
    def keys(self) -> tuple[str, ...]:
        """Return the names of the keys in `edks`, as they are written on the command line."""
        return key_names(self.edks)

    @property
    def key_materials(self) -> Mapping[str, str]:
        """Return the ids of the key material that wrapped the object key.

        The ids come from the metadata and are not verified.
        """
        return key_materials(self.wrapped)

    @property
    def context(self) -> Mapping[str, str]:
        """Return the stored encryption context."""
        return self.header.context if self.header else entries.load_context(self.metadata)

    @property
    def is_signed(self) -> bool:
        """Return whether the object has a signature."""
        return PUBLIC_KEY_PAIR in self.context

    @property
    def key_location(self) -> str:
        """Return the place of the wrapped key, `header` or `metadata`."""
        return "metadata" if self.wrapped else "header"

    def facts(self, stored: Stored) -> Facts:
        """Return all facts that the envelope shows.

        The size of the plaintext is computed from the number of stored bytes.
        """
        header = self._known
        entries.check_recorded(self.metadata, header)
        size, frames = _extent(header, self.metadata, stored)
        return _facts(header, self.wrapped, size=size, frames=frames)

    def open(
        self,
        stored: Stored,
        mode: ClientSide,
        context: Mapping[str, str],
        *,
        signed: bool,
        allow_uncommitted: bool,
    ) -> "OpenMessage":
        """Unwrap the data key, and verify the header.

        `stored` must be positioned after the header.
        """
        entries.check_recorded(self.metadata, self._known)
        keyring: Keyring = mode.keyring
        if self.wrapped:
            keyring = entries.ObjectKeyring(mode.keyring, self.wrapped)
        stored_digest = load_digest(self.metadata)
        digesting = stored_digest and DigestKeyring(keyring, stored_digest[0])
        reader = DecryptingReader(
            stored,
            digesting or keyring,
            context=context,
            signed=signed,
            allow_uncommitted=allow_uncommitted,
            header=self._known,
        )
        known = (digesting.key, stored_digest[1]) if digesting and stored_digest else None
        return OpenMessage(reader, stored, self.metadata, known)

    def difference(self, mode: ClientSide, context: Mapping[str, str]) -> Difference:
        """Return how this object differs from an object that `mode` writes under `context`."""
        is_alike = (
            mode.key_location == self.key_location
            and mode.signed == self.is_signed
            and context.items() <= self.context.items()
            # A missing header means that the metadata contains the key. Only s3crypt writes such
            # objects, and always with a suite with key commitment.
            and (self.header is None or self.header.suite.committing)
        )
        if not is_alike:
            return "content"
        if mode.keyring.wrote(self.edks):
            return "nothing"
        return "wrapping" if self.wrapped else "content"

    def rewrapped(self, source: ClientSide, target: ClientSide, fetch: Fetch) -> Rewrapping:
        """Return the object's metadata with the object key wrapped by the target's keyring."""
        # KMS unwraps the object key only under the context with which it was wrapped, so the
        # context in the metadata need not be compared with the context in the header.
        wrapped = rewrap(self.wrapped, self.context, source=source.keyring, target=target.keyring)
        if wrapped is None:
            wrapped = self._rewrapped_here(source.keyring, target.keyring, fetch)
        mark = {entries.EDKS: entries.dump_edks(wrapped)}
        # The recorded material belongs to the earlier wrapping, so it is removed.
        kept = {name: text for name, text in self.metadata.items() if name != entries.MATERIAL}
        materials = entries.dump_materials(wrapped)
        return Rewrapping(mark, {**kept, **mark}, materials, key_materials(wrapped))

    def _rewrapped_here(
        self, source: Keyring, target: Keyring, fetch: Fetch
    ) -> tuple[EncryptedDataKey, ...]:
        """Unwrap the object key here, verify that it opens the header, and wrap it again."""
        with fetch() as stored:
            header = find_header(stored)
        context = self.context
        if header is None or dict(header.context) != dict(context):
            # RSA does not bind the context, so only this check detects a mismatch. Without it, the
            # rewrapped object could not be read.
            raise IntegrityError("The object's metadata and its header contradict each other.")

        def opens(object_key: bytes) -> bool:
            try:
                Opener(header, AESKeyring(*entries.OBJECT_KEY, object_key))
            except (IntegrityError, KeyUnavailableError):
                return False
            return True

        length = entries.OBJECT_KEY_LENGTH
        object_key = unwrap_fitting(source, self.wrapped, context, length, opens)
        return target.wrap(object_key, context)

    @property
    def _known(self) -> Header:
        if self.header is None:
            raise AssertionError("unreachable: only rewrapping does without the header")
        return self.header


class OpenMessage:
    """A message whose data key was unwrapped and whose header was verified."""

    def __init__(
        self,
        reader: DecryptingReader,
        stored: Stored,
        metadata: Mapping[str, str],
        digest: tuple[bytes, bytes] | None = None,
    ) -> None:
        self.reader = reader
        self._digest = digest
        self._stored = stored
        self._metadata = metadata

    @property
    def opener(self) -> RunOpener:
        """Return the opener of the frames."""
        return self.reader.opener

    @property
    def is_sequential(self) -> bool:
        """Return whether the message must be read from end to end.

        This is so if it is signed, or consists of one block instead of frames.
        """
        return self.reader.header.is_in_order

    def matches(self, digest: Digest) -> bool | None:
        """Return whether a plaintext has the stored digest. Return None if no digest is stored."""
        if self._digest is None:
            return None
        key, expected = self._digest
        return compare_digest(digest(key), expected)

    def seekable(self, *, allow_unverified_signature: bool) -> tuple[RunOpener, int] | None:
        """Return an opener for frames in any order, and the footer's length.

        Return None for a message of one block.
        """
        header = self.reader.header
        if not header.frame_length:
            # A block is verified only as a whole.
            return None
        if header.suite.curve and not allow_unverified_signature:
            raise PolicyError(
                "The object's signature covers the whole object, so it cannot be verified for a "
                "range.",
                remedy=Remedy("accept_unverified_signature", allow_unverified_signature=True),
            )
        footer_length = _footer_length(header, self._metadata, self._stored)
        if footer_length is None:
            raise IntegrityError("The message does not end with a signature: it is truncated.")
        return self.reader.opener.without_signature(), footer_length


class _Messages:
    """The format of AWS Encryption SDK messages. The class has no state."""

    def claims(self, metadata: Mapping[str, str]) -> bool:
        """Return whether the metadata has an entry that only objects of this format have."""
        return entries.FRAME_LENGTH in metadata or entries.EDKS in metadata

    def classify(
        self, metadata: Mapping[str, str], stored: Stored | None
    ) -> MessageEnvelope | None:
        """Return the envelope of a message. Return None if the object is not a message."""
        if stored is None:
            wrapped = entries.load_edks(metadata)
            return MessageEnvelope(metadata, wrapped, None) if wrapped else None
        header = find_header(stored)
        if header is None:
            return None
        return MessageEnvelope(metadata, entries.load_edks(metadata), header)

    def measure(self, metadata: Mapping[str, str], stored_size: int) -> Facts | None:
        """Return the facts that follow from the lengths in the metadata.

        Return None if the metadata does not contain the lengths.
        """
        recorded = entries.recorded_geometry(metadata)
        if recorded is None:
            return None
        geometry, footer_length = recorded
        size, frames = _size_of(geometry, stored_size - footer_length)
        wrapped = entries.load_edks(metadata)
        return Facts(
            size=size,
            signed=footer_length > 0,
            frame_length=geometry.frame_length,
            frames=frames,
            key_location="metadata" if wrapped else "header",
            keys=key_names(wrapped),
            key_materials=key_materials(wrapped),
        )

    def seal(
        self,
        mode: ClientSide,
        context: Mapping[str, str],
        plaintext_length: int | None,
        digest: Digest | None = None,
    ) -> Sealing:
        """Begin a message; see `Format.seal`."""
        keyring: Keyring = mode.keyring
        object_keyring = None
        if mode.key_location == "metadata":
            keyring = object_keyring = entries.ObjectKeyring(mode.keyring)
        digesting = DigestKeyring(keyring, urandom(SALT_LENGTH)) if digest else None
        sealer = Sealer(
            digesting or keyring,
            context=context,
            signed=mode.signed,
            frame_length=mode.frame_length,
            plaintext_length=plaintext_length,
        )
        wrapped = object_keyring.wrapped if object_keyring else ()
        metadata = entries.described(sealer.fields, object_keyring)
        if digesting and digest:
            metadata[DIGEST] = dump_digest(digesting.salt, digest(digesting.key))
        advisory = entries.dump_materials(wrapped)
        return Sealing(sealer, metadata, partial(_written, sealer, wrapped), advisory)


MESSAGES = _Messages()


def refuse(stored: Stored) -> NoReturn:
    """Raise a FormatError for an object that is not a message.

    The error describes its first bytes.
    """
    stored.rewind()
    read_header(stored)
    raise AssertionError("unreachable: the object is no message")


def _written(sealer: Sealer, wrapped: tuple[EncryptedDataKey, ...], size: int) -> Facts:
    return _facts(sealer.fields, wrapped, size=size, frames=sealer.geometry.frames(size))


def _facts(header: Header, wrapped: tuple[EncryptedDataKey, ...], **more: Any) -> Facts:
    return Facts(
        suite=header.suite.name,
        committing=header.suite.committing,
        signed=header.suite.curve is not None,
        frame_length=header.frame_length or None,
        key_location="metadata" if wrapped else "header",
        keys=key_names(wrapped or header.edks),
        key_materials=key_materials(wrapped or header.edks),
        context=header.context,
        **more,
    )


def _extent(
    header: Header, metadata: Mapping[str, str], stored: Stored
) -> tuple[int | None, int | None]:
    """Return the numbers of plaintext bytes and of frames, computed from the stored size.

    A number is None if it does not follow from the stored size.
    """
    footer_length = _footer_length(header, metadata, stored)
    if footer_length is None:
        return None, None
    length = stored.size - footer_length
    if not header.frame_length:
        size = length - len(header) - BLOCK_OVERHEAD
        return (size, None) if size >= 0 else (None, None)
    return _size_of(header.geometry, length)


def _size_of(geometry: Geometry, length: int) -> tuple[int | None, int | None]:
    try:
        regular, final = geometry.split(length)
    except IntegrityError:
        return None, None
    return regular * geometry.frame_length + final, regular + 1


def _footer_length(header: Header, metadata: Mapping[str, str], stored: Stored) -> int | None:
    """Return the number of bytes after the final frame. Return None if they are not a signature.

    The number comes from the metadata or from the object's last bytes. It is verified only when the
    final frame has been opened at the position that follows from the number.
    """
    if header.suite.curve is None:
        return 0
    recorded = entries.recorded_geometry(metadata)
    if recorded:
        return recorded[1]
    # A footer is a length field and a signature in DER, which has its own length field. Search for
    # a position at which the two lengths agree.
    start = max(0, stored.size - MAX_FOOTER_LENGTH)
    end = bytearray(stored.size - start)
    with stored.section(start, stored.size) as tail, memoryview(end) as view:
        read_into(tail, view)
    for length in range(8, len(end) - 1):
        footer = end[-length - 2 :]
        if int.from_bytes(footer[:2]) == length and footer[2:4] == bytes([0x30, length - 2]):
            return length + 2
    return None
