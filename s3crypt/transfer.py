# SPDX-License-Identifier: Apache-2.0
"""Parts to and from S3: the only module that moves object bytes.

A worker owns a part: it reads the part's plaintext, seals it in its one buffer and sends it; on
the way back it fetches, opens and writes it in place. A part is made once and kept until S3 has
it, so botocore's retries send the same bytes. Peak memory is about
`workers * (2 * part_length)`, with parts of 8 MiB up to objects of 78 GiB.
"""

import io
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol, Self

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)
from urllib3.exceptions import HTTPError

from .aws import error_code, translating
from .errors import ConflictError, S3CryptError, StorageError
from .location import Location
from .message import MAX_HEADER_LENGTH, Opener, Sealer
from .message.geometry import FRAME_OVERHEAD
from .message.header import read_exactly

Progress = Callable[[int], None]

PART_LENGTH = 8 * 2**20
MAX_PARTS = 10_000
MIN_PART_LENGTH = 5 * 2**20  # all but the last
MAX_PART_LENGTH = 5 * 2**30
MAX_OBJECT_LENGTH = 50_000 * 2**30  # S3's "50 TB": 10,000 parts of 5 GiB
# CopyObject takes 5 GB; which giga S3 means is not worth finding out.
MAX_COPY_LENGTH = 5 * 10**9
_COPY_PART_LENGTH = 512 * 2**20
# A stream's length is not known, so its parts double every 1,250: 8 MiB up to 9.8 GiB sent, and
# room for 2.4 TiB in 10,000 parts.
_STREAM_PARTS_A_SIZE = 1_250
_STREAM_PIECE = 2**20
_READ_ATTEMPTS = 5


def part_length(size: int | None, number: int, unit: int = 1) -> int:
    """Return the plaintext bytes of part `number` (from 1): a multiple of `unit`.

    Args:
        size: The object's plaintext bytes; None for a stream.
        number: Which part; all parts but the last of an object of known size are equal.
        unit: The frame length, or 1.

    Raises:
        StorageError: No 10,000 parts hold that much.
    """
    if size is None:
        if number > MAX_PARTS:
            raise StorageError("The stream is longer than 10,000 parts hold (2.4 TiB).")
        wanted = PART_LENGTH << (number - 1) // _STREAM_PARTS_A_SIZE
    else:
        wanted = max(PART_LENGTH, -(-size // MAX_PARTS))
    length = max(1, wanted // unit) * unit
    if length < MIN_PART_LENGTH or (size is not None and length * MAX_PARTS < size):
        length += unit
    # Frames are sealed, and the first and the last part have more than their frames.
    sealed = length // unit * (unit + FRAME_OVERHEAD) + MAX_HEADER_LENGTH
    if (length if unit == 1 else sealed) > MAX_PART_LENGTH:
        raise StorageError(f"S3 does not take objects of {size} bytes.")
    return length


class Source(Protocol):
    """Plaintext to be put."""

    @property
    def size(self) -> int | None:
        """Return its bytes, or None where only its end will tell."""
        ...

    def read_into(self, view: memoryview, offset: int) -> int:
        """Fill `view` from `offset`; fewer bytes only at the end. Streams ignore the offset."""
        ...

    def at_end(self) -> bool:
        """Tell whether a stream has no byte left; asked of streams only."""
        ...

    def verify(self) -> None:
        """Raise StorageError if what was read is not one state of the source."""
        ...


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except S3CryptError:
        raise
    except OSError as error:
        raise StorageError(f"Cannot read {name}: {error.strerror or error}.") from error


class BytesSource:
    """Bytes in memory."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._view = memoryview(data).cast("B")
        self.size: int | None = len(self._view)

    def read_into(self, view: memoryview, offset: int) -> int:
        """Copy from `offset`."""
        chunk = self._view[offset : offset + len(view)]
        view[: len(chunk)] = chunk
        return len(chunk)

    def at_end(self) -> bool:
        """Never asked: the size is known."""
        raise AssertionError("unreachable: only streams are asked")

    def verify(self) -> None:
        """Do nothing: the caller keeps the bytes as they are during the call."""


class FileSource:
    """A regular file, read at any offset by any worker."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._descriptor = file.fileno()
        self._name = name
        self._start = file.tell()
        self._state = os.fstat(self._descriptor)
        self.size: int | None = max(0, self._state.st_size - self._start)

    def read_into(self, view: memoryview, offset: int) -> int:
        """Read from `offset`."""
        filled = 0
        while filled < len(view):
            with _reading(self._name):
                count = os.preadv(self._descriptor, [view[filled:]], self._start + offset + filled)
            if not count:
                break
            filled += count
        return filled

    def at_end(self) -> bool:
        """Never asked: the size is known."""
        raise AssertionError("unreachable: only streams are asked")

    def verify(self) -> None:
        """Refuse a file that was written to while it was read."""
        now = os.fstat(self._descriptor)
        if (now.st_size, now.st_mtime_ns) != (self._state.st_size, self._state.st_mtime_ns):
            raise StorageError(
                f"{self._name} changed while it was read; nothing was stored.", hint="Put it again."
            )


class StreamSource:
    """A pipe, socket or other file that is read once, in order.

    Args:
        file: Where to read.
        size: Its bytes where they are known; then it must give just as many.
    """

    def __init__(self, file: BinaryIO, size: int | None = None) -> None:
        self._file = file
        self._ahead = b""
        self.size = size

    def read_into(self, view: memoryview, offset: int) -> int:
        """Read on; `offset` is where the stream is."""
        del offset
        filled = len(self._ahead)
        view[:filled] = self._ahead
        self._ahead = b""
        with _reading("the source"):
            # In pieces: a part's worth of bytes at a time would double a worker's memory.
            while filled < len(view):
                piece = read_exactly(self._file, min(_STREAM_PIECE, len(view) - filled))
                if not piece:
                    break
                view[filled : filled + len(piece)] = piece
                filled += len(piece)
        return filled

    def at_end(self) -> bool:
        """Read one byte ahead."""
        with _reading("the source"):
            self._ahead = self._ahead or read_exactly(self._file, 1)
        return not self._ahead

    def verify(self) -> None:
        """Read to the end: what is still to be verified there must be."""
        if not self.at_end():
            raise StorageError(f"The stream is longer than the {self.size} bytes announced.")


@dataclass(slots=True)
class _Part:
    number: int
    body: bytearray
    plaintext_length: int
    is_final: bool


@dataclass(slots=True)
class _Buffers:
    """One worker's memory: a part's plaintext, and the part."""

    plain: bytearray = field(default_factory=bytearray)
    body: bytearray = field(default_factory=bytearray)


class _PartMaker:
    """Makes the parts of one object, each exactly once; shared by the workers.

    Streams and signed messages are made in order, under the lock; everything else by the
    workers side by side. Sending always goes side by side.
    """

    def __init__(self, source: Source, sealer: Sealer | None, *, in_order: bool) -> None:
        self._source = source
        self._sealer = sealer
        self._in_order = in_order or source.size is None or isinstance(source, StreamSource)
        self._unit = sealer.geometry.frame_length if sealer else 1
        self._lock = threading.Lock()
        self._number = 0
        self._offset = 0
        self._done = False

    def make(self, buffers: _Buffers) -> _Part | None:
        """Return the next part in `buffers`, or None once the final one has been made."""
        with self._lock:
            if self._done:
                return None
            self._number += 1
            number, offset = self._number, self._offset
            length = part_length(self._source.size, number, self._unit)
            if self._source.size is not None:
                length = min(length, self._source.size - offset)
                self._done = offset + length == self._source.size
            self._offset += length
            if self._in_order:
                return self._fill_in_order(buffers, number, offset, length)
        return self._fill(buffers, number, offset, length)

    def _fill_in_order(self, buffers: _Buffers, number: int, offset: int, length: int) -> _Part:
        try:
            return self._fill(buffers, number, offset, length)
        except BaseException:
            # What a broken stream gives next is not the next part.
            self._done = True
            raise

    def _fill(self, buffers: _Buffers, number: int, offset: int, length: int) -> _Part:
        if self._sealer:
            plain = buffers.plain = _fit(buffers.plain, length)
        else:
            plain = buffers.body = _fit(buffers.body, length)
        with memoryview(plain) as view:
            filled = self._source.read_into(view, offset)
        if self._source.size is None:
            self._done = filled < length or self._source.at_end()
        elif filled < length:
            raise StorageError("The source ended early; nothing was stored.", hint="Put it again.")
        is_final = self._done if self._source.size is None else offset + filled == self._source.size
        if self._sealer:
            self._seal(buffers, number, offset, filled, is_final=is_final)
        else:
            buffers.body = _fit(buffers.body, filled)
        return _Part(number, buffers.body, filled, is_final)

    def _seal(
        self, buffers: _Buffers, number: int, offset: int, filled: int, *, is_final: bool
    ) -> None:
        sealer = self._sealer
        if sealer is None:
            raise AssertionError("unreachable: only sealed parts are sealed")
        geometry = sealer.geometry
        header = sealer.header if number == 1 else b""
        if is_final:
            sealed = geometry.message_length(filled) - geometry.header_length
        else:
            sealed = filled // geometry.frame_length * geometry.stride
        buffers.body = _fit(buffers.body, len(header) + sealed)
        buffers.body[: len(header)] = header
        with memoryview(buffers.plain) as plain, memoryview(buffers.body) as body:
            sealer.seal(
                plain[:filled],
                body[len(header) :],
                first=offset // geometry.frame_length + 1,
                is_final=is_final,
            )
        if is_final:
            buffers.body += sealer.footer()


def _fit(buffer: bytearray, length: int) -> bytearray:
    """Return `buffer` cut to `length` bytes, or another one where it is too short.

    botocore takes a bytearray whole, not a view of one. Growing one by `extend` would allot an
    eighth more than asked for, and twice the length while it does.
    """
    if len(buffer) < length:
        return bytearray(length)
    del buffer[length:]
    return buffer


@dataclass(frozen=True, slots=True)
class Upload:
    """Where an object goes and what goes along.

    Attributes:
        client: The S3 client.
        location: The object.
        arguments: Of the request that makes the object: mode, metadata, tags.
        part_arguments: Of every part and of the completion: the customer key of SSE-C.
        conditions: `IfNoneMatch` or `IfMatch`, checked by S3 when the object would appear.
        check: Raises where S3's reply shows another encryption than asked for.
    """

    client: Any
    location: Location
    arguments: Mapping[str, Any]
    part_arguments: Mapping[str, Any]
    conditions: Mapping[str, str]
    check: Callable[[Mapping[str, Any]], None]


def upload(
    to: Upload, source: Source, sealer: Sealer | None, *, workers: int, progress: Progress | None
) -> tuple[Mapping[str, Any], int]:
    """Store the source as one object, sealed where a sealer is given, or store nothing.

    Returns:
        S3's last reply, and the plaintext bytes that were stored.

    Raises:
        StorageError: S3 refused or failed, or the source changed. No upload is left open.
        PolicyError: S3 did not encrypt as asked; what it stored was removed again.
    """
    in_order = sealer is not None and sealer.is_signed
    maker = _PartMaker(source, sealer, in_order=in_order)
    buffers = _Buffers()
    first = maker.make(buffers)
    if first is None:
        raise AssertionError("unreachable: every object has a part")
    if first.is_final:
        source.verify()
        return _put_whole(to, first, progress), first.plaintext_length
    return _put_parts(to, source, maker, (first, buffers), workers, progress)


def _put_whole(to: Upload, part: _Part, progress: Progress | None) -> Mapping[str, Any]:
    with translating(str(to.location)):
        reply: Mapping[str, Any] = to.client.put_object(
            **to.location.arguments, Body=part.body, **to.arguments, **to.conditions
        )
    try:
        to.check(reply)
    except Exception as error:
        _remove(to, reply, error)
        raise
    if progress:
        progress(part.plaintext_length)
    return reply


def _remove(to: Upload, reply: Mapping[str, Any], error: Exception) -> None:
    version = {"VersionId": reply["VersionId"]} if reply.get("VersionId") else {}
    try:
        to.client.delete_object(**to.location.arguments, **version)
    except (ClientError, BotoCoreError) as failure:
        error.args = (f"{error} What it stored could not be removed; remove it.",)
        error.add_note(f"Removing {to.location} failed: {failure}")


def _put_parts(
    to: Upload,
    source: Source,
    maker: _PartMaker,
    made: tuple[_Part, _Buffers],
    workers: int,
    progress: Progress | None,
) -> tuple[Mapping[str, Any], int]:
    begun: Future[Mapping[str, Any]] = Future()
    done: dict[int, tuple[str, int]] = {}
    ready = iter([made])

    def send_one(buffers: _Buffers) -> bool:
        part, held = next(ready, (None, buffers))
        if part:
            # The part already made goes first, and its buffers become this worker's.
            buffers.plain, buffers.body = held.plain, held.body
            held.plain = bytearray()
        else:
            part = maker.make(buffers)
        if part is None:
            return False
        with translating(f"{to.location} part {part.number}"):
            reply = to.client.upload_part(
                **to.location.arguments,
                UploadId=begun.result()["UploadId"],
                PartNumber=part.number,
                Body=part.body,
                **to.part_arguments,
            )
        done[part.number] = (reply["ETag"], part.plaintext_length)
        if progress:
            progress(part.plaintext_length)
        return True

    try:
        created = _begin(to, begun)
        with _Crew(workers, send_one) as crew:
            crew.wait()
        source.verify()
        reply = _complete(to, created, done)
    except BaseException as error:
        _abort(to, begun, error)
        raise
    return {**created, **reply}, sum(length for _, length in done.values())


def _begin(to: Upload, begun: Future[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Begin an upload by parts and return S3's reply; `begun` has it whatever happens here.

    In a thread, because an interrupt only reaches the main one: in the middle of the request
    it would leave an upload behind that S3 has made and whose id nobody here knows.
    """

    def request() -> None:
        if begun.set_running_or_notify_cancel():
            try:
                begun.set_result(
                    to.client.create_multipart_upload(**to.location.arguments, **to.arguments)
                )
            except BaseException as error:  # noqa: BLE001 - handed to result(), which raises it
                begun.set_exception(error)

    threading.Thread(target=request, name="s3crypt-begin", daemon=True).start()
    with translating(str(to.location)):
        created = begun.result()
    to.check(created)
    return created


def _complete(
    to: Upload, created: Mapping[str, Any], done: Mapping[int, tuple[str, int]]
) -> dict[str, Any]:
    parts = [{"PartNumber": number, "ETag": done[number][0]} for number in sorted(done)]
    with translating(str(to.location)):
        reply: dict[str, Any] = to.client.complete_multipart_upload(
            **to.location.arguments,
            UploadId=created["UploadId"],
            MultipartUpload={"Parts": parts},
            **to.part_arguments,
            **to.conditions,
        )
    return reply


def _abort(to: Upload, begun: Future[Mapping[str, Any]], error: BaseException) -> None:
    if begun.cancel() or begun.exception():
        return
    upload_id = begun.result()["UploadId"]
    try:
        to.client.abort_multipart_upload(**to.location.arguments, UploadId=upload_id)
    except (ClientError, BotoCoreError) as failure:
        if error_code(failure) != "NoSuchUpload":
            error.add_note(f"Upload {upload_id} of {to.location} could not be aborted: {failure}")


class _Crew:
    """Threads that each call `work(buffers)` until it returns False, or one of them fails.

    Leaving the block, for whatever reason, waits for the parts under way: an upload may only
    be aborted, and a file only be removed, when nothing writes to it any more.
    """

    def __init__(self, workers: int, work: Callable[[_Buffers], bool]) -> None:
        self._work = work
        self._stop = threading.Event()
        self._busy = 0
        self._idle = threading.Condition()
        self._failures: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, name=f"s3crypt-{index}", daemon=True)
            for index in range(workers)
        ]

    def __enter__(self) -> Self:
        try:
            for thread in self._threads:
                thread.start()
        except BaseException:
            # An interrupt; without __enter__'s end there is no __exit__.
            self._halt()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._halt()

    def _halt(self) -> None:
        # By count, since a thread whose start was interrupted can be running and not be joined.
        with self._idle:
            self._stop.set()
            self._idle.wait_for(lambda: not self._busy)

    def wait(self) -> None:
        """Return when all is done; raise the first failure."""
        for thread in self._threads:
            thread.join()
        if self._failures:
            raise self._failures[0]

    def _run(self) -> None:
        with self._idle:
            if self._stop.is_set():
                return
            self._busy += 1
        buffers = _Buffers()
        try:
            while not self._stop.is_set() and self._work(buffers):
                pass
        except BaseException as error:  # noqa: BLE001 - handed to wait(), which raises it
            self._failures.append(error)
            self._stop.set()
        finally:
            with self._idle:
                self._busy -= 1
                self._idle.notify_all()


class ObjectStream(io.RawIOBase):
    """The stored bytes of one object, from `position` to `end`, pinned to one version.

    A connection that breaks is taken up again where it broke. Every request demands the ETag
    of the first, so the bytes are those of one version or an error.

    Attributes:
        reply: The first reply's headers: metadata, ETag, encryption.
        size: The stored bytes of the whole object.
    """

    def __init__(
        self,
        client: Any,
        location: Location,
        pinned: Mapping[str, Any],
        reply: Mapping[str, Any],
        *,
        start: int = 0,
        end: int | None = None,
    ) -> None:
        super().__init__()
        self.reply = reply
        self.size = _total(reply)
        self._client = client
        self._location = location
        self._pinned = pinned
        self._position = start
        self._end = self.size if end is None else end
        self._body: Any = None

    @classmethod
    def open(
        cls,
        client: Any,
        location: Location,
        arguments: Mapping[str, Any],
        *,
        first: int = PART_LENGTH,
    ) -> "ObjectStream":
        """Open the object at its beginning; the first request asks for at most `first` bytes.

        Raises:
            ObjectNotFoundError: There is no such object or version.
            StorageError: S3 refused or failed.
        """
        request = {**location.arguments, **arguments, "Range": f"bytes=0-{first - 1}"}
        with translating(str(location)):
            try:
                reply = client.get_object(**request)
            except ClientError as error:
                # An empty object has no first byte to ask for.
                if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != 416:
                    raise
                del request["Range"]
                reply = client.get_object(**request)
        version = reply.get("VersionId")
        if version and version != "null":
            request["VersionId"] = version
        request.pop("Range", None)
        stream = cls(client, location, {**request, "IfMatch": reply["ETag"]}, reply)
        stream._body = reply["Body"]
        return stream

    def section(self, start: int, end: int) -> "ObjectStream":
        """Return the same version's bytes from `start` to before `end`, not yet requested."""
        return ObjectStream(
            self._client, self._location, self._pinned, self.reply, start=start, end=end
        )

    def rewind(self) -> None:
        """Go back to the object's first byte."""
        self._drop()
        self._position = 0

    @property
    def position(self) -> int:
        """Return the offset in the object of the next byte."""
        return self._position

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer has no len
        """Read the next bytes; 0 at the end."""
        view = memoryview(buffer).cast("B")[: self._end - self._position]
        if not len(view):
            return 0
        for attempt in range(1, _READ_ATTEMPTS + 1):
            if self._body is None:
                self._body = self._request()
            try:
                count = int(self._body.readinto(view))
            except _BROKEN as error:
                self._drop()
                if attempt == _READ_ATTEMPTS:
                    raise StorageError(
                        f"{self._location}: reading broke {attempt} times at byte "
                        f"{self._position}: {error}"
                    ) from error
                continue
            if count:
                self._position += count
                return count
            self._drop()
        raise StorageError(f"{self._location}: S3 sent fewer bytes than it announced.")

    def fill(self, view: memoryview) -> int:
        """Read until `view` is full or the end is reached; return the bytes read."""
        filled = 0
        while filled < len(view) and (count := self.readinto(view[filled:])):
            filled += count
        return filled

    def close(self) -> None:
        """Close the connection under way, if any."""
        self._drop()
        super().close()

    def _request(self) -> Any:
        wanted = f"bytes={self._position}-{self._end - 1}"
        try:
            with translating(str(self._location)):
                reply = self._client.get_object(**self._pinned, Range=wanted)
        except ConflictError as error:
            raise ConflictError(
                f"{self._location} was replaced while it was read.",
                hint="Read it again.",
                code=error.code,
                request_id=error.request_id,
            ) from error.__cause__
        # A service that ignores ranges or If-Match would otherwise pass off other bytes.
        starts = f"bytes {self._position}-"
        if reply["ETag"] != self.reply["ETag"] or not str(reply.get("ContentRange", "")).startswith(
            starts
        ):
            reply["Body"].close()
            raise StorageError(
                f"{self._location}: the service sent other bytes than were asked for.",
                hint="It must honour Range and If-Match.",
            )
        return reply["Body"]

    def _drop(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.close()


_BROKEN = (
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
    BotoConnectionError,
    HTTPClientError,
    HTTPError,
    OSError,
)


def _total(reply: Mapping[str, Any]) -> int:
    content_range = reply.get("ContentRange")
    return int(content_range.rpartition("/")[2]) if content_range else int(reply["ContentLength"])


def download(
    stream: ObjectStream,
    opener: Opener | None,
    target: BinaryIO,
    *,
    workers: int,
    progress: Progress | None,
) -> int:
    """Write the object's plaintext to `target` in place; return its bytes.

    Every frame is verified before it is written, the final one too: once this returns, the
    file is whole. While it has not, the file is not to be believed.

    Args:
        stream: The object, read up to its first frame (or not at all, without an opener).
        opener: Opens its frames; None where the stored bytes are the plaintext.
        target: A regular file, empty.
        workers: Threads.
        progress: Called with plaintext bytes written.

    Raises:
        IntegrityError: A frame failed, or the length fits no message.
        StorageError: S3 refused or failed, or the object was replaced meanwhile.
    """
    plan = _Sections(stream.size, opener)
    descriptor = target.fileno()
    # What the first request already brings is taken from it; small objects need no other.
    brought = min(stream.size, PART_LENGTH)

    def fetch(part: "_Section", source: ObjectStream, buffers: _Buffers) -> None:
        count = _open_section(part, source, opener, buffers)
        with memoryview(buffers.plain if opener else buffers.body) as view:
            _write_at(descriptor, view[:count], part.plaintext_offset)
        if progress:
            progress(count)

    sections = plan.sections(stream.position)
    buffers = _Buffers()
    waiting: list[_Section] = []
    for part in sections:
        if part.end > brought:
            waiting.append(part)
            break
        fetch(part, stream, buffers)
    stream.close()
    del buffers
    lock = threading.Lock()

    def fetch_one(buffers: _Buffers) -> bool:
        with lock:
            part = waiting.pop() if waiting else next(sections, None)
        if part is None:
            return False
        with closing(stream.section(part.start, part.end)) as source:
            fetch(part, source, buffers)
        return True

    if waiting:
        with _Crew(workers, fetch_one) as crew:
            crew.wait()
    return plan.plaintext_length


@dataclass(frozen=True, slots=True)
class _Section:
    """A run of whole frames: bytes `start` to `end` of the object."""

    start: int
    end: int
    plaintext_offset: int
    first: int = 1
    is_final: bool = False


class _Sections:
    """Cuts an object into sections of about a part each, the final frame in the last."""

    def __init__(self, size: int, opener: Opener | None) -> None:
        self._size = size
        self._header = opener.header if opener else None
        self.plaintext_length = size
        if self._header:
            self._regular, self._final = self._header.geometry.split(size)
            frame_length = self._header.frame_length
            self.plaintext_length = self._regular * frame_length + self._final

    def sections(self, start: int) -> Iterator[_Section]:
        """Yield the sections from `start`, which is the first frame or the object's first byte."""
        if not self._header:
            for offset in range(start, self._size, PART_LENGTH):
                yield _Section(offset, min(offset + PART_LENGTH, self._size), offset)
            return
        geometry, total = self._header.geometry, self._regular + 1
        # The header's bytes come off the first request too, hence one frame less fits it.
        run = max(1, (PART_LENGTH - len(self._header)) // geometry.stride)
        for first in range(1, total + 1, run):
            is_final = first + run > total
            end = self._size if is_final else geometry.offset(first + run)
            yield _Section(
                geometry.offset(first),
                end,
                (first - 1) * geometry.frame_length,
                first,
                is_final,
            )


def _open_section(
    part: _Section, source: ObjectStream, opener: Opener | None, buffers: _Buffers
) -> int:
    """Fetch a section and open its frames; return the plaintext bytes now in the buffers."""
    length = part.end - part.start
    buffers.body = _fit(buffers.body, length)
    with memoryview(buffers.body) as sealed:
        if source.fill(sealed) < length:
            raise StorageError("S3 sent fewer bytes than it announced.")
        if opener is None:
            return length
        if len(buffers.plain) < length:
            buffers.plain = bytearray(length)
        with memoryview(buffers.plain) as plain:
            return _open_run(part, sealed, plain, opener)


def _open_run(part: _Section, sealed: memoryview, plain: memoryview, opener: Opener) -> int:
    if not part.is_final:
        return opener.open(sealed, plain, first=part.first)
    stride = opener.header.geometry.stride
    # The final frame is the rest; it may be longer than a regular one by its eight more bytes.
    regular = opener.header.geometry.split(len(sealed) + len(opener.header))[0]
    cut = regular * stride
    written = opener.open(sealed[:cut], plain, first=part.first)
    return written + opener.open_final(sealed[cut:], plain[written:], sequence=part.first + regular)


def _write_at(descriptor: int, view: memoryview, offset: int) -> None:
    written = 0
    while written < len(view):
        written += os.pwrite(descriptor, view[written:], offset + written)


@dataclass(frozen=True, slots=True)
class CopySource:
    """One version of an object, pinned, that S3 itself is to copy onto its own name.

    Attributes:
        location: The object, source and target.
        etag: Its ETag; the copy fails where the object has another by then.
        version_id: Its version, in a versioned bucket.
        size: Stored bytes.
        arguments: The customer key of SSE-C, as a copy's source takes it.
    """

    location: Location
    etag: str
    version_id: str | None
    size: int
    arguments: Mapping[str, Any]

    @property
    def request(self) -> dict[str, Any]:
        """Return the request arguments that name the source."""
        named: dict[str, str] = {"Bucket": self.location.bucket, "Key": self.location.name}
        if self.version_id and self.version_id != "null":
            named["VersionId"] = self.version_id
        return {"CopySource": named, "CopySourceIfMatch": self.etag, **self.arguments}


def copy_in_place(
    to: Upload, source: CopySource, *, workers: int, copy_limit: int = MAX_COPY_LENGTH
) -> Mapping[str, Any]:
    """Have S3 rewrite an object onto itself with other arguments; no body byte comes here.

    Args:
        to: The same location, all that the object is to have (tags too), and `IfMatch`.
        source: The version that is copied.
        workers: Part copies at once, where the object needs them.
        copy_limit: Stored bytes up to which one CopyObject serves; larger objects go by parts.

    Raises:
        ConflictError: The object was replaced meanwhile; the other writer's is kept.
        StorageError: S3 refused or failed; the object is as it was.
    """
    if source.size > copy_limit:
        return _copy_parts(to, source, workers)
    # CopyObject keeps the tags by itself; the tag argument is for objects made anew.
    arguments = {name: value for name, value in to.arguments.items() if name != "Tagging"}
    with translating(str(to.location)):
        reply = to.client.copy_object(
            **to.location.arguments,
            **source.request,
            **arguments,
            **to.conditions,
            MetadataDirective="REPLACE",
        )
    to.check(reply)
    return {**reply, "ETag": reply["CopyObjectResult"]["ETag"]}


def _copy_parts(to: Upload, source: CopySource, workers: int) -> Mapping[str, Any]:
    begun: Future[Mapping[str, Any]] = Future()
    length = max(_COPY_PART_LENGTH, -(-source.size // MAX_PARTS))
    numbers = iter(range(1, -(-source.size // length) + 1))
    lock = threading.Lock()
    done: dict[int, tuple[str, int]] = {}

    def copy_one(_: _Buffers) -> bool:
        with lock:
            number = next(numbers, None)
        if number is None:
            return False
        start, end = (number - 1) * length, min(number * length, source.size)
        with translating(f"{to.location} part {number}"):
            reply = to.client.upload_part_copy(
                **to.location.arguments,
                **source.request,
                **to.part_arguments,
                UploadId=begun.result()["UploadId"],
                PartNumber=number,
                CopySourceRange=f"bytes={start}-{end - 1}",
            )
        done[number] = (reply["CopyPartResult"]["ETag"], end - start)
        return True

    try:
        created = _begin(to, begun)
        with _Crew(workers, copy_one) as crew:
            crew.wait()
        return {**created, **_complete(to, created, done)}
    except BaseException as error:
        _abort(to, begun, error)
        raise
