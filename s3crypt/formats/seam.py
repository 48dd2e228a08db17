# SPDX-License-Identifier: Apache-2.0
"""What a client-side format is to the engine: protocols, and the values that they exchange.

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

# What differs between an object and how a mode would write it: only who wrapped its key, or more.
Difference = Literal["nothing", "wrapping", "content"]


class Stored(ByteReader, Protocol):
    """An object's stored bytes, read in order from the first one, and by ranges."""

    @property
    def size(self) -> int:
        """Return the stored bytes."""
        ...

    @property
    def beginning(self) -> bytes:
        """Return the first 4 KiB, or all."""
        ...

    def rewind(self) -> None:
        """Go back to the first byte."""
        ...

    def take(self, length: int) -> memoryview:
        """Return the next bytes."""
        ...

    def section(self, start: int, end: int) -> AbstractContextManager[ByteReader]:
        """Return the bytes from `start` to before `end`, by a request of their own."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a client-side object says of itself, without keys; `ObjectInfo` explains the fields.

    Attributes:
        committing: Whether its suite commits to the data key; None where the suite is not known.
    """

    size: int | None = None
    suite: str | None = None
    committing: bool | None = None
    signed: bool = False
    frame_length: int | None = None
    frames: int | None = None
    key_location: str = "header"
    keys: tuple[str, ...] = ()
    context: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sealing:
    """An object that is being written.

    Attributes:
        sealer: Makes its stored bytes.
        metadata: Entries of the format in the object's metadata.
        facts: Returns what is known of it, by the plaintext bytes that were sealed.
    """

    sealer: PartSealer
    metadata: Mapping[str, str]
    facts: Callable[[int], Facts]


class OpenObject(Protocol):
    """An object whose key was unwrapped and whose header was verified."""

    @property
    def opener(self) -> RunOpener:
        """Return what opens the frames."""
        ...

    @property
    def is_sequential(self) -> bool:
        """Return whether the object must be read from end to end, by `reader`."""
        ...

    @property
    def reader(self) -> "PlaintextReader":
        """Return the plaintext in order; its end is only reached once all is verified."""
        ...

    def seekable(self, *, allow_unverified_signature: bool) -> tuple[RunOpener, int] | None:
        """Return what opens frames in any order, and the stored bytes after the final frame.

        None where no byte is verified before all are.

        Raises:
            PolicyError: The object is signed, and frames alone do not verify its signature.
        """
        ...


class PlaintextReader(ByteReader, Protocol):
    """Plaintext in order."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill `buffer` with the next verified bytes; 0 at the end."""
        ...

    def readall(self) -> bytes:
        """Return the rest."""
        ...


class Envelope(Protocol):
    """What a client-side object says of itself; nothing of it is verified before it is opened."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Return who wrapped its key, as written on the command line."""
        ...

    @property
    def context(self) -> Mapping[str, str]:
        """Return its encryption context."""
        ...

    @property
    def is_signed(self) -> bool:
        """Return whether it has a signature."""
        ...

    def facts(self, stored: Stored) -> Facts:
        """Return all that it says.

        Raises:
            IntegrityError: Its metadata and its header contradict each other.
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
            mode: Its keyring unwraps.
            context: Pairs that its context must have.
            signed: Demand a signature.
            allow_uncommitted: Read suites without key commitment too.

        Raises:
            IntegrityError, FormatError, PolicyError, KeyUnavailableError: As `message.decrypt`.
        """
        ...

    def difference(self, mode: ClientSide, context: Mapping[str, str]) -> Difference:
        """Return what differs between this object and one that `mode` writes under `context`."""
        ...

    def rewrapped(self, source: ClientSide, target: ClientSide, fetch: "Fetch") -> dict[str, str]:
        """Return the metadata entries of the same object with its key wrapped by `target`.

        For a difference of `wrapping` only. `fetch` opens the stored object, where it is needed.
        """
        ...


Fetch = Callable[[], AbstractContextManager[Stored]]


class Format(Protocol):
    """A format of client-side objects."""

    def claims(self, metadata: Mapping[str, str]) -> bool:
        """Return whether an object's metadata says that its body is of this format."""
        ...

    def classify(self, metadata: Mapping[str, str], stored: Stored | None) -> "Envelope | None":
        """Return the envelope of an object of this format, read up to its first frame.

        Args:
            metadata: The object's, with names in lower case.
            stored: The object at its first byte; without it, the metadata alone must do.

        Raises:
            FormatError, IntegrityError: The object is of this format, and cannot be read.
        """
        ...

    def measure(self, metadata: Mapping[str, str], stored_size: int) -> Facts | None:
        """Return what the metadata claims, sizes included; None where it does not say them."""
        ...

    def seal(
        self, mode: ClientSide, context: Mapping[str, str], plaintext_length: int | None
    ) -> Sealing:
        """Begin an object under this context, of so many bytes where that is known.

        Raises:
            KeyUnavailableError: A wrapping key cannot be used.
        """
        ...
