# SPDX-License-Identifier: Apache-2.0
"""Objects read at any offset: a seekable file whose every byte is of a verified frame.

A read fetches the frames that it touches, neighbours by one request, and opens them before it
returns a byte. How long the plaintext is follows from the object's size by arithmetic, and is
believed once the final frame has been opened.
"""

import io
import os
import re
import threading
import time
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from .errors import ConfigError, IntegrityError, S3CryptError, StorageError
from .info import ObjectInfo
from .location import Location
from .message import Opener
from .message.geometry import Layout, Run
from .message.memory import build, reserve
from .transfer import ObjectStream, Sink, fetch
from .workers import Buffers, each

# The first request's length: a header, and all of a small object.
FIRST_LENGTH = 64 * 2**10
DEFAULT_CACHE_LENGTH = 32 * 2**20

# What S3 decrypts has no frames. It is kept by blocks of this length, and so is the buffer's.
_BLOCK = 64 * 2**10
# One request brings this much at most; read ahead, half as much.
_SECTION = 16 * 2**20
# From a service that takes as long as this (in seconds) to answer, more is had side by side.
_FAR = 0.01
_FAR_SECTION = 2**20
# As many sections are begun as there are; more are worked on by as many threads as that needs.
_SIDE_BY_SIDE = 16
# Of so many reads that follow each other, twice their bytes are fetched ahead.
_IN_ORDER, _AHEAD = 3, 2
# Formats that keep their index at the end (Parquet, ORC, ZIP) read about this much of it first, so
# it comes with the final frame.
_TAIL = 64 * 2**10


_RANGE = re.compile(r"(\d{0,19})-(\d{0,19})", re.ASCII)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A range as HTTP and S3 have it: `0-99`, `100-` or, of the last bytes, `-100`.

    Attributes:
        first: Its first byte; None for the last bytes.
        last: Its last byte, included; how many bytes, where `first` is None.
    """

    first: int | None
    last: int | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the range of a text.

        Raises:
            ConfigError: It is none.
        """
        match = _RANGE.fullmatch(text)
        first, last = (
            (int(part) if part else None for part in match.groups()) if match else (None, None)
        )
        if (first is None and last is None) or (
            first is not None and last is not None and last < first
        ):
            raise ConfigError(
                f"{text!r} is no range of bytes.",
                hint="Write 0-99 (the first hundred), 100- (all after them) or -100 (the last).",
            )
        return cls(first, last)

    def within(self, size: int, name: str) -> tuple[int, int]:
        """Return where it begins and ends in an object of `size` bytes, as S3 would.

        Raises:
            StorageError: No byte of it is there; code `InvalidRange`.
        """
        start, end = (
            (size - min(self.last or 0, size), size)
            if self.first is None
            else (self.first, size if self.last is None else min(self.last + 1, size))
        )
        if start >= end:
            raise StorageError(
                f"{name} has no byte in that range.",
                hint=f"Its plaintext has {size} bytes.",
                code="InvalidRange",
            )
        return start, end


class Plaintext(Protocol):
    """The plaintext of one version of an object.

    Attributes:
        size: Its bytes, as the object's size claims.
        block: What is verified, and kept, in one piece: plaintext bytes of a frame.
        is_far: Whether the service takes long to answer.
    """

    size: int
    block: int

    @property
    def is_far(self) -> bool: ...  # noqa: D102

    def fetch(self, start: int, end: int, sink: Sink, buffers: Buffers) -> None:
        """Let the sink have the verified blocks of a range, in order, by one request."""
        ...

    def fetch_tail(self, length: int, sink: Sink, buffers: Buffers) -> None:
        """Let it have the last blocks, those of `length` bytes; that they come proves the size.

        Nothing where it needs no proof.
        """
        ...


class RangedPlaintext:
    """Plaintext fetched by ranges of whole frames.

    Args:
        stream: The object, pinned to one version.
        opener: Opens its frames; None where S3 decrypts.
        footer_length: Bytes after the final frame.
        location: The object, for errors.
    """

    def __init__(
        self, stream: ObjectStream, opener: Opener | None, footer_length: int, location: Location
    ) -> None:
        geometry = opener.geometry if opener else None
        self._stream = stream
        self._opener = opener
        self._layout = Layout(stream.size - footer_length, geometry)
        self._location = location
        self._pid = os.getpid()
        self._quickest: float | None = None
        self.size = self._layout.plaintext_length
        self.block = geometry.frame_length if geometry else _BLOCK

    @property
    def is_far(self) -> bool:
        """Tell whether even the quickest request took as long as to a service far away."""
        return self._quickest is not None and self._quickest > _FAR

    def fetch(self, start: int, end: int, sink: Sink, buffers: Buffers) -> None:
        """Fetch the frames of a range."""
        self._fetch(self._layout.covering(start, end), sink, buffers)

    def fetch_tail(self, length: int, sink: Sink, buffers: Buffers) -> None:
        """Fetch the final frame, and those before it."""
        # S3 vouches for the size of what it decrypts.
        if self._opener:
            start = max(0, self.size - length)
            # Of an empty final frame too: `size` itself is in no other.
            self._fetch(self._layout.covering(start, self.size + 1), sink, buffers)

    def _fetch(self, run: Run, sink: Sink, buffers: Buffers) -> None:
        if os.getpid() != self._pid:
            # Both processes would read from one connection, each parts of the other's answers.
            raise StorageError(
                f"{self._location} was opened before this process was forked.",
                hint="Open it in the process that reads it.",
            )
        began = time.monotonic()
        with self._location.named_in_errors():
            fetch(self._stream, self._opener, self._layout, run, sink, buffers)
        took = time.monotonic() - began
        self._quickest = min(took, took if self._quickest is None else self._quickest)


class BytesPlaintext:
    """Plaintext that had to be read and verified whole."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self.size = len(data)
        self.block = max(1, self.size)

    @property
    def is_far(self) -> bool:
        """Return False: it is here."""
        return False

    def fetch(self, start: int, end: int, sink: Sink, buffers: Buffers) -> None:
        """Give it."""
        del buffers
        sink.take(start, self._data[start:end])

    def fetch_tail(self, length: int, sink: Sink, buffers: Buffers) -> None:
        """Give nothing: it is proved."""


@dataclass(slots=True)
class _Span:
    """Whole blocks of plaintext, here or on their way."""

    start: int
    end: int
    data: Future[memoryview] = field(default_factory=Future)


class _Spans:
    """The spans of one file: none overlaps another, and the least used go first.

    Not to be used by two threads at a time.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._starts: list[int] = []
        self._spans: OrderedDict[int, _Span] = OrderedDict()
        self._length = 0

    def at(self, position: int) -> _Span | None:
        """Return the span that has the byte at `position`, now the last used."""
        index = bisect_right(self._starts, position) - 1
        if index < 0:
            return None
        span = self._spans[self._starts[index]]
        if span.end <= position:
            return None
        self._spans.move_to_end(span.start)
        return span

    def next_start(self, position: int, end: int | None = None) -> int | None:
        """Return where the first span after `position` begins, if that is before `end`."""
        index = bisect_right(self._starts, position)
        if index == len(self._starts) or (end is not None and self._starts[index] >= end):
            return None
        return self._starts[index]

    def add(self, span: _Span) -> None:
        """Keep a span; forget others, as long as all together are longer than the limit."""
        self._starts.insert(bisect_left(self._starts, span.start), span.start)
        self._spans[span.start] = span
        self._length += span.end - span.start
        while self._length > self._limit and len(self._spans) > 1:
            self.drop(next(iter(self._spans.values())))

    def drop(self, span: _Span) -> None:
        """Forget a span, if it is still there."""
        if self._spans.get(span.start) is span:
            del self._spans[span.start]
            del self._starts[bisect_left(self._starts, span.start)]
            self._length -= span.end - span.start


class RawReader(io.RawIOBase):
    """The plaintext as a raw file; may return less than asked for where a block ends.

    Args:
        plaintext: Where it comes from.
        name: Of the object.
        cache_length: Bytes of plaintext that are kept, and half as many read ahead.
        workers: Threads that fetch side by side, at most.
    """

    mode = "rb"

    def __init__(self, plaintext: Plaintext, *, name: str, cache_length: int, workers: int) -> None:
        super().__init__()
        self.name = name
        self._plaintext = plaintext
        self._workers = workers
        self._most_ahead = cache_length // 2
        self._spans = _Spans(cache_length)
        self._lock = threading.RLock()
        self._local = threading.local()
        self._pool: ThreadPoolExecutor | None = None
        self._is_verified = False
        self._position = 0
        # Reads follow each other from `began` to `expected`; up to `horizon` all is fetched.
        self._began = self._expected = self._horizon = -1
        self._reads = 0

    @property
    def block(self) -> int:
        """Return the bytes that are verified in one piece."""
        return self._plaintext.block

    @property
    def size(self) -> int:
        """Return the plaintext's bytes, once they are proved."""
        self._check_open()
        self.verify_size()
        return self._plaintext.size

    def verify_size(self) -> None:
        """Let the final frame prove the size, once.

        Raises:
            IntegrityError: The object is truncated.
        """
        with self._lock:
            if not self._is_verified:
                try:
                    self._keep_tail(_TAIL)
                except IntegrityError:
                    # It is the final frame that counts; nobody has asked for the others.
                    self._keep_tail(0)
                self._is_verified = True

    def _keep_tail(self, length: int) -> None:
        tail = _Tail()
        self._plaintext.fetch_tail(length, tail, self._buffers)
        self._keep(tail.start, b"".join(tail.pieces))

    def _keep(self, start: int, data: bytes) -> None:
        """Keep verified plaintext that is here already: whole blocks from `start` on."""
        span = _Span(start, start + len(data))
        span.data.set_result(memoryview(data))
        with self._lock:
            following = self._spans.next_start(start)
            is_new = self._spans.at(start) is None
            if data and is_new and (following is None or following >= span.end):
                self._spans.add(span)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a position, beyond the end if need be."""
        self._check_open()
        if whence not in (io.SEEK_SET, io.SEEK_CUR, io.SEEK_END):
            raise ValueError(f"whence is 0, 1 or 2, not {whence}")
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position}.get(whence)
        position = offset + (self.size if start is None else start)
        if position < 0:
            raise ValueError(f"negative position {position}")
        self._position = position
        return position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer has no len
        """Read the next bytes; 0 at the end."""
        self._check_open()
        view = memoryview(buffer).cast("B")
        start = self._position
        view = view[: max(0, self._clip(start, start + len(view)) - start)]
        if not len(view):
            return 0
        if len(view) <= _BLOCK:
            # Asked for by a buffer: what lies in the next block, no one may ever want.
            view = view[: self._plaintext.block - start % self._plaintext.block]
        try:
            self._read_at(start, view)
        except BaseException:
            # It may hold what has not been verified.
            view[:] = bytes(len(view))
            raise
        self._position = start + len(view)
        return len(view)

    def read_from(self, start: int, length: int) -> bytes:
        """Return as many bytes from `start` on, fewer only at the end; the position stays."""
        self._check_open()
        end = start + length
        # Fewer bytes than asked for say that there are no more.
        size = self._plaintext.size if end <= self._plaintext.size else self.size
        return build(max(0, min(end, size) - start), lambda view: self._read_at(start, view))

    def readall(self) -> bytes:
        """Return the rest."""
        self._check_open()
        start, size = self._position, self.size
        data = build(max(0, size - start), lambda view: self._read_at(start, view))
        self._position += len(data)
        return data

    def read_ranges(self, ranges: Iterable[tuple[int | None, int | None]]) -> list[bytes]:
        """Return the bytes of several ranges, fetched side by side, neighbours at once."""
        self._check_open()
        bounds = [self._bounds(start, end) for start, end in ranges]
        results = [io.BytesIO(bytes(end - start)) for start, end in bounds]
        wanted = [
            _Wanted(start, end, result.getbuffer())
            for (start, end), result in zip(bounds, results, strict=True)
        ]
        self._fill(wanted)
        for one in wanted:
            one.view.release()
        return [result.getvalue() for result in results]

    def close(self) -> None:
        """Forget all plaintext; requests under way end by themselves."""
        with self._lock:
            self._spans = _Spans(0)
            pool, self._pool = self._pool, None
        if pool:
            pool.shutdown(wait=False, cancel_futures=True)
        super().close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")

    def _clip(self, start: int, end: int) -> int:
        """Return the end of a read; that there is no more is only said once it is proved."""
        is_within = end <= self._plaintext.size or start < self._plaintext.size
        return min(end, self._plaintext.size if is_within else self.size)

    def _bounds(self, start: int | None, end: int | None) -> tuple[int, int]:
        """Return a range as Python's slices have it, within the object."""
        is_within = (start or 0) >= 0 and end is not None and 0 <= end <= self._plaintext.size
        size = self._plaintext.size if is_within else self.size
        first, last, _ = slice(start, end).indices(size)
        return first, max(first, last)

    def _read_at(self, start: int, view: memoryview) -> None:
        """Fill `view` with verified bytes, which must be there."""
        end = start + len(view)
        self._look_ahead(start, end)
        with self._lock:
            is_new = self._spans.at(start) is None and self._spans.next_start(start, end) is None
        if is_new and len(view) > _BLOCK:
            # Whole columns, whole files: they are not asked for again, and go where they belong.
            self._fill([_Wanted(start, end, view)])
            return
        position = start
        while position < end:
            data = self._block_at(position, end)[: end - position]
            view[position - start : position - start + len(data)] = data
            position += len(data)

    def _block_at(self, position: int, end: int) -> memoryview:
        """Return bytes from `position` on, fetching the blocks that have those before `end`."""
        while True:
            with self._lock:
                span = self._spans.at(position)
                if span is None:
                    span = self._new_span(position, end)
                    break
            # Another's span may have failed by a block that this read does not touch.
            with suppress(S3CryptError):
                return span.data.result()[position - span.start :]
        self._load(span)
        return span.data.result()[position - span.start :]

    def _new_span(self, position: int, end: int) -> _Span:
        """Keep a span, still to be loaded, that begins with the block at `position`."""
        block, size = self._plaintext.block, self._plaintext.size
        start = position - position % block
        longest = start + max(block, self._section // block * block)
        limits = (-(-end // block) * block, longest, size, self._spans.next_start(position))
        span = _Span(start, min(limit for limit in limits if limit is not None))
        self._spans.add(span)
        return span

    def _load(self, span: _Span) -> None:
        """Fetch a span's plaintext; whoever waits for it gets that, or what failed."""
        try:
            data = reserve(span.end - span.start)
            sink = _Wanted(span.start, span.end, data)
            self._plaintext.fetch(span.start, span.end, sink, self._buffers)
        except BaseException as error:
            with self._lock:
                self._spans.drop(span)
            span.data.set_exception(error)
            raise
        span.data.set_result(data)

    def _look_ahead(self, start: int, end: int) -> None:
        """Let threads fetch what comes next, where reads follow each other."""
        with self._lock:
            if start != self._expected:
                self._began, self._horizon, self._reads = start, end, 0
            self._expected = end
            self._horizon = max(self._horizon, end)
            self._reads += 1
            if self._reads < _IN_ORDER:
                return
            ahead = min(self._most_ahead, _AHEAD * (start - self._began))
            # Not at every read a little, but now and then a whole request's worth.
            if self._horizon - end >= ahead / 2:
                return
            until = min(end + ahead, self._plaintext.size)
            while self._horizon < until:
                if kept := self._spans.at(self._horizon):
                    self._horizon = kept.end
                    continue
                span = self._new_span(self._horizon, until)
                self._horizon = span.end
                self._submit(self._load, span)

    def _submit(self, work: Callable[..., None], *arguments: Any) -> Future[None]:
        """Let another thread do the work; do it here where there is none."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._workers, "s3crypt-read")
        with suppress(RuntimeError):
            return self._pool.submit(work, *arguments)
        done: Future[None] = Future()
        try:
            work(*arguments)
        except S3CryptError as error:
            done.set_exception(error)
        else:
            done.set_result(None)
        return done

    def _fill(self, wanted: Sequence["_Wanted"]) -> None:
        """Fill what is wanted, neighbours by one request."""
        sections = list(self._sections(wanted))
        if len(sections) > _SIDE_BY_SIDE:
            each(
                iter(sections),
                lambda one, buffers: self._serve(*one, wanted, buffers),
                self._workers,
            )
            return
        others = sections[1:] if self._plaintext.is_far else []
        under_way = [self._submit(self._serve, *one, wanted) for one in others]
        for one in sections[: len(sections) - len(others)]:
            self._serve(*one, wanted)
        for future in under_way:
            future.result()

    def _serve(
        self, start: int, end: int, wanted: Sequence["_Wanted"], buffers: Buffers | None = None
    ) -> None:
        here = [one for one in wanted if one.start < end and start < one.end]
        sink = here[0] if len(here) == 1 else _Several(here)
        with self._lock:
            kept = self._spans.at(start)
        if kept and kept.end >= end and kept.data.done() and not kept.data.exception():
            sink.take(kept.start, kept.data.result())
        else:
            self._plaintext.fetch(start, end, sink, buffers or self._buffers)

    def _sections(self, wanted: Iterable["_Wanted"]) -> Iterator[tuple[int, int]]:
        """Yield the blocks that are wanted, once each, in pieces for a request each."""
        block, size = self._plaintext.block, self._plaintext.size
        merged: list[tuple[int, int]] = []
        for one in sorted(
            (one for one in wanted if one.start < one.end), key=lambda one: one.start
        ):
            low, high = one.start // block * block, -(-one.end // block) * block
            if merged and low <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
            else:
                merged.append((low, high))
        longest = _SECTION
        if self._plaintext.is_far:
            # A connection to S3 gives some 25 to 90 MB/s: the more, the sooner.
            total = sum(high - low for low, high in merged)
            longest = min(_SECTION, max(_FAR_SECTION, total // self._workers))
        step = max(1, longest // block) * block
        for low, high in merged:
            for start in range(low, high, step):
                yield start, min(start + step, high, size)

    @property
    def _section(self) -> int:
        """Return the bytes that a request brings at most, where more of them are under way."""
        return _FAR_SECTION if self._plaintext.is_far else _SECTION // 2

    @property
    def _buffers(self) -> Buffers:
        """Return this thread's."""
        if not hasattr(self._local, "buffers"):
            self._local.buffers = Buffers()
        return self._local.buffers  # type: ignore[no-any-return]  # a thread's own attributes


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A range of the plaintext, and where its bytes go."""

    start: int
    end: int
    view: memoryview

    def __len__(self) -> int:
        return self.end - self.start

    def room(self, start: int, length: int) -> memoryview | None:
        """Return where a piece goes that is wanted whole."""
        if start < self.start or start + length > self.end:
            return None
        return self.view[start - self.start : start - self.start + length]

    def take(self, start: int, piece: memoryview) -> None:
        """Copy what is wanted of a piece."""
        low, high = max(self.start, start), min(self.end, start + len(piece))
        if low < high:
            self.view[low - self.start : high - self.start] = piece[low - start : high - start]


@dataclass(frozen=True, slots=True)
class _Several:
    """Ranges that may overlap, so that each gets a copy."""

    wanted: Sequence[_Wanted]

    def room(self, start: int, length: int) -> None:
        """Return none."""

    def take(self, start: int, piece: memoryview) -> None:
        """Give each what it wants of a piece."""
        for one in self.wanted:
            one.take(start, piece)


@dataclass(slots=True)
class _Tail:
    """The last blocks, from wherever the first of them begins."""

    start: int = 0
    pieces: list[bytes] = field(default_factory=list)

    def room(self, start: int, length: int) -> None:
        """Return none."""

    def take(self, start: int, piece: memoryview) -> None:
        """Keep it."""
        self.start = self.start if self.pieces else start
        self.pieces.append(bytes(piece))


class ObjectReader(io.BufferedReader):
    """An object's plaintext as a seekable binary file; made by `S3Crypt.open`.

    Every byte it returns is of a verified frame. All are of one version of the object: when it
    is replaced, reads fail. Reads that follow each other are fetched ahead, side by side; what was
    read last is kept. Several threads may use it; they share one position, which `read_ranges` does
    not touch.

    Attributes:
        info: What is known of the object.
        name: Its URI.

    Raises:
        IntegrityError: While reading: a frame that is read was changed.
        ConflictError: While reading: the object was replaced since it was opened.
        StorageError: While reading: S3 refused or failed.
    """

    def __init__(self, raw: RawReader, info: ObjectInfo) -> None:
        super().__init__(raw, _BLOCK)
        self._ranges = raw
        self._buffered = min(_BLOCK, raw.block)
        self.info = info

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes, `size` of them where there are as many."""
        if size is None or size <= self._buffered:
            return super().read(size)
        # In one piece: through the buffer it would be two, and the last frame fetched twice.
        start = self.tell()
        data = self._ranges.read_from(start, size)
        self.seek(start + len(data))
        return data

    @property
    def size(self) -> int:
        """Return the plaintext's bytes; verified."""
        return self._ranges.size

    def read_ranges(self, ranges: Iterable[tuple[int | None, int | None]]) -> list[bytes]:
        """Return the bytes of several ranges, fetched side by side.

        Args:
            ranges: `(start, end)` each, as slices are: `end` excluded, negative ones from the
                end, None for the object's, clipped to what there is.
        """
        return self._ranges.read_ranges(ranges)
