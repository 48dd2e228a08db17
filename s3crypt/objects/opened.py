# SPDX-License-Identifier: Apache-2.0
"""An object that is being read: the reader's demands, the object's stream, and its plaintext."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from s3crypt import formats
from s3crypt import metadata as entries
from s3crypt.errors import ConfigError, FormatError, IntegrityError, Remedy, StorageError
from s3crypt.formats import Envelope, OpenMessage
from s3crypt.framing import RunOpener
from s3crypt.local.buffers import RUN_LENGTH, reserve
from s3crypt.local.readers import ByteReader
from s3crypt.local.sources import is_regular
from s3crypt.local.workers import Resources, check_stop
from s3crypt.location import Location
from s3crypt.modes import BOUND_BUCKET, BOUND_NAME, ClientSide, Mode, reported_mode
from s3crypt.transfer import ObjectStream, Progress, WholeStream, download, pour
from s3crypt.transfer.conditions import if_unchanged

from .info import ObjectInfo
from .ranges import BytesPlaintext, Plaintext, RangedPlaintext
from .spans import PlaintextCache


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Whether an object `NAME.instruction` existed when the object NAME had this ETag.

    Such a neighbour may be an instruction file of the Amazon S3 Encryption Client.
    """

    etag: str
    is_there: bool


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """The reader's demands on an object. `S3Crypt.get` documents the attributes.

    Attributes:
        etag: The ETag that the caller has seen. If the object has another ETag, the read raises a
            ConflictError. None for no check.
    """

    mode: Mode | None
    version_id: str | None = None
    written_as: str | None = None
    allow_uncommitted: bool = False
    allow_unverified_signature: bool = False
    allow_unsigned: bool = False
    neighbour: Neighbour | None = None
    written_in: str | None = None
    etag: str | None = None

    def __post_init__(self) -> None:
        for name in ("version_id", "written_as", "written_in"):
            if not isinstance(getattr(self, name), str | None):
                raise ConfigError(f"{name} is text.")


@dataclass(frozen=True, slots=True)
class OpenObject:
    """An object that is being read: its stored bytes and, if client-side, their decryption."""

    location: Location
    stream: ObjectStream
    opened: OpenMessage | None
    info: ObjectInfo
    read_options: "ReadOptions"

    @property
    def plaintext(self) -> ByteReader:
        """Return the plaintext as a stream.

        It reports the end only after all bytes are verified.
        """
        return self.opened.reader if self.opened else WholeStream(self.stream)

    def into_stream(self, target: BinaryIO, progress: Progress | None) -> ObjectInfo:
        """Write the plaintext in order."""

        def write(view: memoryview) -> None:
            write_all(target, view)

        if self.opened and self.opened.is_sequential:
            # A sequential format verifies the end of the body only in its own reader.
            buffer = reserve(RUN_LENGTH)
            while count := self.opened.reader.readinto(buffer):
                check_stop()
                write(buffer[:count])
                if progress:
                    progress(count)
        else:
            pour(self.stream, self._opener, write, progress=progress)
        return self.info

    def into_file(
        self, file: BinaryIO, resources: Resources, progress: Progress | None
    ) -> ObjectInfo:
        """Write the plaintext to a file. Use parallel requests if the format allows it."""
        if (self.opened and self.opened.is_sequential) or not is_regular(file):
            return self.into_stream(file, progress)
        plaintext = self.stream, self._opener, file
        download(*plaintext, resources=resources, progress=progress)
        return self.info

    def cached(self, workers: int, limit: int) -> PlaintextCache:
        """Return a cache that reads the plaintext at any offset and keeps up to `limit` bytes."""
        plaintext = self._plaintext()
        return PlaintextCache(plaintext, name=str(self.location), limit=limit, workers=workers)

    def _plaintext(self) -> Plaintext:
        if self.opened is None:
            self.stream.hold()
            return RangedPlaintext(self.stream, None, 0, self.location)
        with self.location.named_in_errors():
            found = self.opened.seekable(
                allow_unverified_signature=self.read_options.allow_unverified_signature
            )
        if found is None:
            # The format can verify only the whole object at once.
            return BytesPlaintext(self.opened.reader.readall())
        self.stream.hold()
        return RangedPlaintext(self.stream, *found, self.location)

    @property
    def _opener(self) -> RunOpener | None:
        return self.opened.opener if self.opened else None


def write_all(target: BinaryIO, view: memoryview) -> None:
    """Write all bytes of the view to the target."""
    # An unbuffered file may write only some of the bytes, and returns their number. Any other file
    # writes all bytes and may return None.
    while len(view):
        taken = target.write(view)
        if taken is None and isinstance(target, io.RawIOBase):
            raise StorageError("The target does not block.", hint="Open it in blocking mode.")
        view = view[len(view) if taken is None else taken :]


def decrypting(
    mode: ClientSide, context: Mapping[str, str], stream: ObjectStream, read_options: ReadOptions
) -> tuple[Envelope, OpenMessage]:
    """Return an object's envelope, and the opened object, whose header meets the reader's demands.

    Raises:
        FormatError: The object has no format that this version reads.
        IntegrityError, PolicyError, KeyUnavailableError: The object does not meet the demands.
    """
    try:
        envelope = formats.read(entries.of_reply(stream.reply), stream)
    except FormatError as error:
        reported = reported_mode(stream.reply)
        is_marked = formats.claims_client_side(entries.of_reply(stream.reply))
        if error.hint is None and reported and not is_marked:
            error.hint = f"S3 stores it in mode {reported}."
            error.remedy = Remedy("read_in_mode", mode=reported)
        raise
    if mode.bind_name and BOUND_NAME not in envelope.context:
        raise IntegrityError(
            "The object is not bound to its name.",
            remedy=Remedy("accept_unbound_name", bind_name=False),
        )
    if mode.bind_bucket and BOUND_BUCKET not in envelope.context:
        raise IntegrityError(
            "The object is not bound to its bucket.",
            remedy=Remedy("accept_unbound_bucket", bind_bucket=False),
        )
    opened = envelope.open(
        stream,
        mode,
        context,
        signed=mode.signed and not read_options.allow_unsigned,
        allow_uncommitted=read_options.allow_uncommitted,
    )
    return envelope, opened


def read_arguments(
    mode: Mode | None, version_id: str | None, etag: str | None = None
) -> dict[str, Any]:
    """Return the arguments of a request that reads an object in this mode."""
    arguments: dict[str, Any] = mode.read_arguments() if mode else {}
    if version_id:
        arguments["VersionId"] = version_id
    return {**arguments, **if_unchanged(etag)} if etag else arguments
