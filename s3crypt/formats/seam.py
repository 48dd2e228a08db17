# SPDX-License-Identifier: Apache-2.0
"""The engine's interface to client-side formats: protocols, and the values that they exchange.

A format recognises an object by its metadata and first bytes. It describes an object without keys,
and seals, opens and rewraps objects.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from s3crypt.framing import PartSealer, RunOpener
from s3crypt.local.readers import ByteReader
from s3crypt.modes import ClientSide

# How an object differs from an object that a mode would write. `nothing`: it does not differ.
# `wrapping`: only the keys that wrap its object key differ. `content`: something else differs, so
# the object must be encrypted again.
Difference = Literal["nothing", "wrapping", "content"]


class Stored(ByteReader, Protocol):
    """The stored bytes of an object. They can be read from the first byte on, and by ranges."""

    @property
    def size(self) -> int:
        """Return the total number of stored bytes."""
        ...

    @property
    def beginning(self) -> bytes:
        """Return the first 4 KiB of the object, or all bytes if the object is shorter."""
        ...

    def rewind(self) -> None:
        """Continue reading at the first byte."""
        ...

    def take(self, length: int) -> memoryview:
        """Read and return the next `length` bytes, or fewer at the end of the object."""
        ...

    def section(self, start: int, end: int) -> AbstractContextManager[ByteReader]:
        """Open the bytes from `start` to before `end`. S3 receives a separate request for them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The facts that a client-side object shows without keys. `ObjectInfo` explains the fields.

    Attributes:
        committing: Whether the suite commits to the data key. None if the suite is unknown.
    """

    size: int | None = None
    suite: str | None = None
    committing: bool | None = None
    signed: bool = False
    frame_length: int | None = None
    frames: int | None = None
    key_location: str = "header"
    keys: tuple[str, ...] = ()
    key_materials: Mapping[str, str] = field(default_factory=dict)
    context: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sealing:
    """An object that is being written.

    Attributes:
        sealer: Produces the object's stored bytes.
        metadata: The entries that the format adds to the object's metadata.
        facts: Returns the facts about the object. The argument is the number of plaintext bytes
            that were sealed.
        advisory: Further metadata entries. They are left out if the metadata has no room for them.
    """

    sealer: PartSealer
    metadata: Mapping[str, str]
    facts: Callable[[int], Facts]
    advisory: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rewrapping:
    """The new metadata of an object whose object key was wrapped again. Its body does not change.

    Attributes:
        mark: The entries with the newly wrapped key. No other writer can produce the same entries,
            so they identify this rewrap.
        metadata: The complete metadata of the object, including `mark`.
        advisory: Further metadata entries. They are left out if the metadata has no room for them.
        key_materials: The ids of the key material that wrapped the key now. `ObjectInfo` explains
            the field.
    """

    mark: Mapping[str, str]
    metadata: Mapping[str, str]
    advisory: Mapping[str, str]
    key_materials: Mapping[str, str]


class OpenMessage(Protocol):
    """An object whose data key was unwrapped and whose header was verified."""

    @property
    def opener(self) -> RunOpener:
        """Return the opener of the frames."""
        ...

    @property
    def is_sequential(self) -> bool:
        """Return whether the object must be read from end to end with `reader`."""
        ...

    @property
    def reader(self) -> "PlaintextReader":
        """Return a reader of the plaintext.

        It reports the end only after all bytes are verified.
        """
        ...

    def matches(self, digest: "Digest") -> bool | None:
        """Return whether the plaintext that `digest` stands for has the stored digest.

        Return None if no digest is stored. `digest` is not called in this case.
        """
        ...

    def seekable(self, *, allow_unverified_signature: bool) -> tuple[RunOpener, int] | None:
        """Return an opener for frames in any order, and the number of bytes after the final frame.

        Return None if the format can verify only the whole object at once.

        Raises:
            PolicyError: The object is signed, and `allow_unverified_signature` is False: the
                signature can be verified only by reading the whole object.
        """
        ...


class PlaintextReader(ByteReader, Protocol):
    """A reader of plaintext from the beginning to the end."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill `buffer` with the next verified bytes.

        Return their number, which is 0 at the end.
        """
        ...

    def readall(self) -> bytes:
        """Return all remaining bytes, verified."""
        ...


class Envelope(Protocol):
    """The description of a client-side object, before any key is used.

    The contents are not verified before `open`.
    """

    @property
    def keys(self) -> tuple[str, ...]:
        """Return the names of the keys that wrap the object's key, as on the command line."""
        ...

    @property
    def key_materials(self) -> Mapping[str, str]:
        """Return the ids of the key material that wrapped the object's key.

        The ids come from the metadata and are not verified.
        """
        ...

    @property
    def context(self) -> Mapping[str, str]:
        """Return the object's encryption context."""
        ...

    @property
    def is_signed(self) -> bool:
        """Return whether the object has a signature."""
        ...

    def facts(self, stored: Stored) -> Facts:
        """Return all facts that the envelope shows. They are not verified.

        Raises:
            IntegrityError: The object's metadata and its header contradict each other.
        """
        ...

    def open(
        self,
        stored: Stored,
        mode: ClientSide,
        context: Mapping[str, str],
        *,
        signed: bool,
        allow_uncommitted: bool,
    ) -> OpenMessage:
        """Unwrap the data key, and verify the header.

        `stored` must be positioned at the first frame.

        Args:
            stored: The object.
            mode: The mode whose keyring unwraps the data key.
            context: Pairs that the object's encryption context must contain.
            signed: Whether the object must have a signature.
            allow_uncommitted: Whether to accept suites without key commitment.

        Raises:
            IntegrityError, FormatError, PolicyError, KeyUnavailableError: For the reasons that
                `message.decrypt` documents.
        """
        ...

    def difference(self, mode: ClientSide, context: Mapping[str, str]) -> Difference:
        """Return how this object differs from an object that `mode` writes under `context`."""
        ...

    def rewrapped(self, source: ClientSide, target: ClientSide, fetch: "Fetch") -> Rewrapping:
        """Return the object's metadata with its object key wrapped by the keyring of `target`.

        `difference` must have returned `wrapping`. `fetch` opens the stored object; it is called
        only if the header is needed.
        """
        ...


Fetch = Callable[[], AbstractContextManager[Stored]]
# Returns the HMAC-SHA256 of a certain plaintext under the key in the argument.
Digest = Callable[[bytes], bytes]


class Format(Protocol):
    """A format of client-side objects."""

    def claims(self, metadata: Mapping[str, str]) -> bool:
        """Return whether the metadata says that the object's body has this format."""
        ...

    def classify(self, metadata: Mapping[str, str], stored: Stored | None) -> "Envelope | None":
        """Return the envelope of an object. Return None if it does not have this format.

        `stored` is then positioned after the header.

        Args:
            metadata: The object's metadata, with names in lower case.
            stored: The object at its first byte. None to use only the metadata.

        Raises:
            FormatError, IntegrityError: The object has this format, but cannot be read.
        """
        ...

    def measure(self, metadata: Mapping[str, str], stored_size: int) -> Facts | None:
        """Return the facts that the metadata states, with sizes.

        Return None if the metadata has no sizes. The facts are not verified.
        """
        ...

    def seal(
        self,
        mode: ClientSide,
        context: Mapping[str, str],
        plaintext_length: int | None,
        digest: "Digest | None" = None,
    ) -> Sealing:
        """Begin a new object with this encryption context.

        `plaintext_length` is the number of plaintext bytes, or None if it is unknown.

        `digest` returns the HMAC-SHA256 of the plaintext under a key. If it is given, it is called
        once, and its result is stored in the metadata for later comparisons.

        Raises:
            KeyUnavailableError: A wrapping key cannot be used.
        """
        ...
