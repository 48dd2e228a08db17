# SPDX-License-Identifier: Apache-2.0
"""The engine's interface to client-side formats: protocols, and the values that they exchange.

A format recognises an object by its metadata and first bytes, describes it without keys, seals,
opens and rewraps.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from s3crypt.framing import PartSealer, RunOpener
from s3crypt.local.readers import ByteReader
from s3crypt.modes import ClientSide

# The difference between an object and one that a mode would write: `wrapping` if only the wrapping
# keys of its data key differ, `content` if more differs.
Difference = Literal["nothing", "wrapping", "content"]


class Stored(ByteReader, Protocol):
    """An object's stored bytes, readable sequentially from the first byte, and by ranges."""

    @property
    def size(self) -> int:
        """Return the number of stored bytes."""
        ...

    @property
    def beginning(self) -> bytes:
        """Return the first 4 KiB, or all bytes of a shorter object."""
        ...

    def rewind(self) -> None:
        """Go back to the first byte."""
        ...

    def take(self, length: int) -> memoryview:
        """Return the next bytes."""
        ...

    def section(self, start: int, end: int) -> AbstractContextManager[ByteReader]:
        """Return the bytes from `start` to before `end`, with a request of their own."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The facts that a client-side object shows without keys; `ObjectInfo` explains the fields.

    Attributes:
        committing: Whether the suite commits to the data key; None if the suite is not known.
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
        metadata: Entries of the format in the object's metadata.
        facts: Returns the facts about the object, given the number of sealed plaintext bytes.
        advisory: Further entries, left out if the object's metadata has no room for them.
    """

    sealer: PartSealer
    metadata: Mapping[str, str]
    facts: Callable[[int], Facts]
    advisory: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rewrapping:
    """An object whose key was wrapped again; its body stays.

    Attributes:
        mark: The entries with the newly wrapped key, which no other writer's object can have.
        metadata: The complete metadata of the object, with `mark`.
        advisory: Further entries, left out if the object's metadata has no room for them.
        key_materials: The key material that wrapped the key now; `ObjectInfo` explains the field.
    """

    mark: Mapping[str, str]
    metadata: Mapping[str, str]
    advisory: Mapping[str, str]
    key_materials: Mapping[str, str]


class OpenObject(Protocol):
    """An object whose key was unwrapped and whose header was verified."""

    @property
    def opener(self) -> RunOpener:
        """Return the opener of the frames."""
        ...

    @property
    def is_sequential(self) -> bool:
        """Return whether the object must be read from end to end, by `reader`."""
        ...

    @property
    def reader(self) -> "PlaintextReader":
        """Return the plaintext sequentially; it ends only after all bytes are verified."""
        ...

    def matches(self, digest: "Digest") -> bool | None:
        """Return whether the stored digest of the plaintext is that of another plaintext.

        Return None if no digest is stored; `digest` is then not called.
        """
        ...

    def seekable(self, *, allow_unverified_signature: bool) -> tuple[RunOpener, int] | None:
        """Return an opener of frames in any order, and the number of bytes after the final frame.

        Return None if no byte is verified before all bytes are.

        Raises:
            PolicyError: The object is signed, and frames alone do not verify its signature.
        """
        ...


class PlaintextReader(ByteReader, Protocol):
    """Sequential plaintext."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill `buffer` with the next verified bytes; return their number, 0 at the end."""
        ...

    def readall(self) -> bytes:
        """Return the remaining bytes."""
        ...


class Envelope(Protocol):
    """A client-side object's description of itself, which is not verified before `open`."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Return the keys that wrap the object's key, as written on the command line."""
        ...

    @property
    def key_materials(self) -> Mapping[str, str]:
        """Return the ids of the key material that wrapped the object's key, as metadata claims."""
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
        """Return all facts that the envelope shows.

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
    ) -> OpenObject:
        """Unwrap the key and verify the header of an object that was read up to its first frame.

        Args:
            stored: The object.
            mode: The mode whose keyring unwraps the key.
            context: Pairs that the object's context must contain.
            signed: Whether to demand a signature.
            allow_uncommitted: Whether to accept suites without key commitment.

        Raises:
            IntegrityError, FormatError, PolicyError, KeyUnavailableError: As `message.decrypt`.
        """
        ...

    def difference(self, mode: ClientSide, context: Mapping[str, str]) -> Difference:
        """Return the difference between this object and one that `mode` writes under `context`."""
        ...

    def rewrapped(self, source: ClientSide, target: ClientSide, fetch: "Fetch") -> Rewrapping:
        """Return the metadata of the same object with its key wrapped by `target`.

        The difference must be `wrapping`. `fetch` opens the stored object if it is needed.
        """
        ...


Fetch = Callable[[], AbstractContextManager[Stored]]
# Returns the HMAC-SHA256 of a plaintext under a key.
Digest = Callable[[bytes], bytes]


class Format(Protocol):
    """A format of client-side objects."""

    def claims(self, metadata: Mapping[str, str]) -> bool:
        """Return whether an object's metadata says that its body is of this format."""
        ...

    def classify(self, metadata: Mapping[str, str], stored: Stored | None) -> "Envelope | None":
        """Return the envelope of an object of this format, read up to its first frame.

        Args:
            metadata: The object's metadata, with names in lower case.
            stored: The object at its first byte; None to use the metadata alone.

        Raises:
            FormatError, IntegrityError: The object has this format, and cannot be read.
        """
        ...

    def measure(self, metadata: Mapping[str, str], stored_size: int) -> Facts | None:
        """Return the facts and sizes that the metadata claims, or None if it has no sizes."""
        ...

    def seal(
        self,
        mode: ClientSide,
        context: Mapping[str, str],
        plaintext_length: int | None,
        digest: "Digest | None" = None,
    ) -> Sealing:
        """Begin an object under this context; `plaintext_length` is None if it is unknown.

        `digest` returns the HMAC-SHA256 of the plaintext under a key. If it is given, it is called
        once, and the result is stored for later comparisons.

        Raises:
            KeyUnavailableError: A wrapping key cannot be used.
        """
        ...
