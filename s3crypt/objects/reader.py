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
from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol, Self

from s3crypt.errors import ConfigError, IntegrityError, S3CryptError, StorageError
from s3crypt.local.buffers import Buffers, build, reserve, writable
from s3crypt.local.workers import Pool
from s3crypt.location import Location
from s3crypt.message import Opener
from s3crypt.message.geometry import Layout, Run
from s3crypt.transfer import ObjectStream, Sink, fetch

from .info import ObjectInfo

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

# The first request's length: a header, and all of a small object.
FIRST_LENGTH = 64 * 2**10
DEFAULT_CACHE_LENGTH = 32 * 2**20

# What S3 decrypts has no frames. It is kept by blocks of this length, and so is the buffer's.
_BLOCK = 64 * 2**10
# Longer reads than this are not kept: they go where they belong, without a copy.
_IN_PLACE = 2**20
# One request brings this much at most; read ahead, half as much.
_SECTION = 16 * 2**20
# From a service that takes as long as this (in seconds) to answer, more is had side by side.
_FAR = 0.01
_FAR_SECTION = 2**20
# From a near one, by so many: they keep its and our cores busy.
_NEAR_WIDTH = 2
# Of so many reads that follow each other, twice their bytes are fetched ahead.
_IN_ORDER, _AHEAD = 3, 2
# What a span takes beside its plaintext: with short frames that is most of it.
_SPAN_COST = 1024
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
    used: int = 0

    @property
    def cost(self) -> int:
        """Return the bytes of memory that it takes."""
        return self.end - self.start + _SPAN_COST


class _Spans:
    """The spans of one file: none overlaps another, and the least used go first.

    Not to be used by two threads at a time. An interrupt leaves it in order.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._spans: list[_Span] = []
        self._clock = 0

    def at(self, position: int) -> _Span | None:
        """Return the span that has the byte at `position`, now the last used."""
        index = bisect_right(self._spans, position, key=_start) - 1
        if index < 0 or self._spans[index].end <= position:
            return None
        self._clock += 1
        self._spans[index].used = self._clock
        return self._spans[index]

    def between(self, start: int, end: int) -> _Span | None:
        """Return the first span that has a byte from `start` to before `end`."""
        index = bisect_right(self._spans, start, key=_start)
        if index and self._spans[index - 1].end > start:
            return self._spans[index - 1]
        if index < len(self._spans) and self._spans[index].start < end:
            return self._spans[index]
        return None

    def add(self, span: _Span) -> None:
        """Keep a span unless some of it is kept; forget others, as long as all are too many."""
        if self.between(span.start, span.end):
            return
        self._clock += 1
        span.used = self._clock
        insort(self._spans, span, key=_start)
        total = sum(span.cost for span in self._spans)
        while total > self._limit and len(self._spans) > 1:
            oldest = min(self._spans, key=attrgetter("used"))
            total -= oldest.cost
            self.drop(oldest)

    def drop(self, span: _Span) -> None:
        """Forget a span, if it is still there."""
        self._spans = [kept for kept in self._spans if kept is not span]


_start = attrgetter("start")


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
        self._pool = Pool(workers)
        self._pid = os.getpid()
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
    def claimed_size(self) -> int:
        """Return the plaintext's bytes as the object's size claims them."""
        return self._plaintext.size

    @property
    def size(self) -> int:
        """Return the plaintext's bytes, once they are proved."""
        self.check_open()
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
        if data:
            span = _Span(start, start + len(data))
            span.data.set_result(memoryview(data))
            self._spans.add(span)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        self.check_open()
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a position, beyond the end if need be."""
        self.check_open()
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
        self.check_open()
        view = memoryview(buffer).cast("B")
        start = self._position
        view = view[: max(0, self._clip(start, start + len(view)) - start)]
        if len(view) > _BLOCK:
            # Not into memory of others: what fails, or goes on after an interrupt, would write to
            # what may be somebody else's by then.
            view[:] = self.read_from(start, len(view))
        elif len(view):
            # Asked for by a buffer: what lies in the next block, no one may ever want.
            view = view[: self._plaintext.block - start % self._plaintext.block]
            self._read_at(start, view)
        self._position = start + len(view)
        return len(view)

    def read_from(self, start: int, length: int) -> bytes:
        """Return as many bytes from `start` on, fewer only at the end; the position stays."""
        self.check_open()
        end = start + length
        # Fewer bytes than asked for say that there are no more.
        size = self._plaintext.size if end <= self._plaintext.size else self.size
        return build(max(0, min(end, size) - start), lambda view: self._read_at(start, view))

    def readall(self) -> bytes:
        """Return the rest."""
        self.check_open()
        start, size = self._position, self.size
        data = build(max(0, size - start), lambda view: self._read_at(start, view))
        self._position += len(data)
        return data

    def read_ranges(self, ranges: Iterable[tuple[int | None, int | None]]) -> list[bytes]:
        """Return the bytes of several ranges, fetched side by side, neighbours at once."""
        self.check_open()
        bounds = [self._bounds(start, end) for start, end in ranges]
        results = [io.BytesIO(bytes(end - start)) for start, end in bounds]
        wanted = [
            _Wanted(start, end, writable(result))
            for (start, end), result in zip(bounds, results, strict=True)
        ]
        self._fill(wanted)
        for one in wanted:
            one.view.release()
        return [result.getvalue() for result in results]

    def close(self) -> None:
        """Forget all plaintext; requests under way end by themselves."""
        super().close()
        if self.is_of_this_process:
            with self._lock:
                self._spans = _Spans(0)
            self._pool.close()

    @property
    def is_of_this_process(self) -> bool:
        """Tell whether it was opened here, and not before a fork."""
        return os.getpid() == self._pid

    def check_open(self) -> None:
        """Refuse to go on where it is closed, or was opened before a fork.

        Raises:
            ValueError, StorageError: As the case may be.
        """
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        if not self.is_of_this_process:
            # Both processes would read from one connection, each parts of the other's answers;
            # and what is on its way is on its way to the other.
            raise StorageError(
                f"{self.name} was opened before this process was forked.",
                hint="Open it in the process that reads it.",
            )

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
        position = start
        while position < end:
            with self._lock:
                kept, following = self._spans.at(position), self._spans.between(position, end)
            gap = (following.start if following else end) - position
            here = view[position - start :]
            if kept or gap <= _IN_PLACE:
                data = self._block_at(position, end)[: end - position]
                here[: len(data)] = data
                position += len(data)
            else:
                self._fill_gap(position, here[:gap])
                position += gap

    def _fill_gap(self, start: int, view: memoryview) -> None:
        """Fill `view`; keep the block that it ends within, where another read may go on."""
        end, block = start + len(view), self._plaintext.block
        wanted = _Edge(start, end, view, end // block * block, block)
        self._fill([wanted])
        with self._lock:
            self._keep(wanted.edge, wanted.rest)

    def _block_at(self, position: int, end: int) -> memoryview:
        """Return bytes from `position` on, fetching the blocks that have those before `end`."""
        while True:
            with self._lock:
                kept = self._spans.at(position)
                span = kept or self._new_span(position, end)
            if not kept:
                self._load(span)
                return span.data.result()[position - span.start :]
            # Another's span may have failed by a block that this read does not touch.
            with suppress(S3CryptError):
                return span.data.result()[position - span.start :]

    def _new_span(self, position: int, end: int) -> _Span:
        """Return a span, still to be loaded, that begins with the block at `position`."""
        block, size = self._plaintext.block, self._plaintext.size
        start = position - position % block
        longest = start + max(block, self._section // block * block)
        stop = min(-(-end // block) * block, longest, size)
        following = self._spans.between(position, stop)
        return _Span(start, min(stop, following.start if following else stop))

    def _load(self, span: _Span) -> None:
        """Fetch a span's plaintext; whoever waits for it gets that, or what failed."""
        try:
            with self._lock:
                self._spans.add(span)
            self._fetch(span)
        except BaseException as error:
            self._give_up(span, error)
            raise

    def _load_ahead(self, span: _Span) -> None:
        """Fetch a span that is kept already, and that nobody may ever want."""
        try:
            self._fetch(span)
        except BaseException as error:  # noqa: BLE001 - whoever reads there gets it
            self._give_up(span, error)

    def _fetch(self, span: _Span) -> None:
        self.check_open()
        data = reserve(span.end - span.start)
        sink = _Wanted(span.start, span.end, data)
        self._plaintext.fetch(span.start, span.end, sink, self._buffers)
        span.data.set_result(data)

    def _give_up(self, span: _Span, error: BaseException) -> None:
        with self._lock:
            self._spans.drop(span)
        if not span.data.done():
            span.data.set_exception(error)

    def _look_ahead(self, start: int, end: int) -> None:
        """Let threads fetch what comes next, where reads follow each other."""
        with self._lock:
            if start != self._expected:
                self._began, self._horizon, self._reads = start, end, 0
            self._expected = end
            self._horizon = max(self._horizon, end)
            self._reads += 1
            ahead = min(self._most_ahead, _AHEAD * (start - self._began))
            # Not at every read a little, but now and then a whole request's worth; and nothing
            # where a block ahead would push out the one being read.
            if (
                self._reads < _IN_ORDER
                or self._horizon - end >= ahead / 2
                or 3 * self._plaintext.block > 2 * self._most_ahead
            ):
                return
            until = min(end + ahead, self._plaintext.size)
            while self._horizon < until:
                if kept := self._spans.at(self._horizon):
                    self._horizon = kept.end
                else:
                    span = self._new_span(self._horizon, until)
                    self._begin(span)
                    self._horizon = span.end

    def _begin(self, span: _Span) -> None:
        try:
            self._spans.add(span)
            self._pool.submit(partial(self._load_ahead, span))
        except BaseException as error:
            self._give_up(span, error)
            raise

    def _fill(self, wanted: Sequence["_Wanted"]) -> None:
        """Fill what is wanted, neighbours by one request; side by side where that is quicker."""
        sections = self._sections(wanted)
        # From a near service one request in two pieces is not worth a second thread.
        least, most = (2, self._workers) if self._plaintext.is_far else (3, _NEAR_WIDTH)
        width = min(len(sections), most) if len(sections) >= least else 1
        waiting = iter(sections)
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                with self._lock:
                    section = next(waiting, None)
                if section is None:
                    return
                self._serve(section)

        try:
            others = [self._pool.submit(serve) for _ in range(width - 1)]
            serve()
            for other in others:
                other.result()
        except BaseException:
            # What the others still write to is ours, and nobody's when they end.
            stop.set()
            raise

    def _serve(self, section: "_Section") -> None:
        self.check_open()
        members = section.members
        sink = members[0] if len(members) == 1 else _Several(members)
        with self._lock:
            kept = self._spans.at(section.start)
        if kept and kept.end >= section.end and kept.data.done() and not kept.data.exception():
            sink.take(kept.start, kept.data.result())
        else:
            self._plaintext.fetch(section.start, section.end, sink, self._buffers)

    def _sections(self, wanted: Iterable["_Wanted"]) -> list["_Section"]:
        """Return the blocks that are wanted, once each, in pieces for a request each."""
        block, size = self._plaintext.block, self._plaintext.size
        merged: list[_Section] = []
        for one in sorted(filter(len, wanted), key=_start):
            low, high = one.start // block * block, -(-one.end // block) * block
            if merged and low <= merged[-1].end:
                merged[-1].end = max(high, merged[-1].end)
                merged[-1].members.append(one)
            else:
                merged.append(_Section(low, high, [one]))
        longest = _SECTION
        if self._plaintext.is_far:
            # A connection to S3 gives some 25 to 90 MB/s: the more, the sooner.
            total = sum(section.end - section.start for section in merged)
            longest = min(_SECTION, max(_FAR_SECTION, total // self._workers))
        step = max(1, longest // block) * block
        return [part for section in merged for part in section.cut(step, size)]

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


@dataclass(slots=True)
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


@dataclass(slots=True)
class _Edge(_Wanted):
    """A range that ends within the block that begins at `edge`, all of which is kept as `rest`."""

    edge: int
    block: int
    rest: bytes = b""

    def take(self, start: int, piece: memoryview) -> None:
        """Copy what is wanted of a piece, and the block at the edge."""
        _Wanted.take(self, start, piece)
        if start <= self.edge < min(self.end, start + len(piece)):
            self.rest = bytes(piece[self.edge - start : self.edge - start + self.block])


@dataclass(slots=True)
class _Section:
    """Whole blocks to be fetched by one request, and the ranges that want some of them."""

    start: int
    end: int
    members: list[_Wanted]

    def cut(self, step: int, size: int) -> "Iterator[_Section]":
        """Yield it in pieces of `step` bytes, none beyond `size`."""
        if self.end - self.start <= step:
            yield _Section(self.start, min(self.end, size), self.members)
            return
        for start in range(self.start, self.end, step):
            end = min(start + step, self.end, size)
            members = [one for one in self.members if one.start < end and start < one.end]
            yield _Section(start, end, members)


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
    read last is kept. Several threads may use it at once: what one reads after its own `seek`
    begins there, and `read_ranges` needs no position.

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
        # Some libraries (DuckDB) seek and read from several threads, and hold no lock in between.
        self._moving = threading.RLock()
        self._local = threading.local()
        self._reads = 0
        self._buffered = min(_BLOCK, raw.block)
        self.info = info

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes, `size` of them where there are as many."""
        with self._moving_here():
            self._go()
            if size is None or size <= self._buffered:
                return super().read(size)
            # In one piece: through the buffer it would be two, and the last frame fetched twice.
            start = super().tell()
            end = super().seek(max(start, min(start + size, self._ranges.claimed_size)))
        try:
            return self._ranges.read_from(start, size)
        except BaseException:
            with self._moving:
                if super().tell() == end:
                    super().seek(start)
            raise

    def read1(self, size: int = -1, /) -> bytes:
        """Return the next bytes, by one request at most."""
        with self._moving_here():
            self._go()
            return super().read1(size)

    def readinto(self, buffer: "Buffer", /) -> int:
        """Fill `buffer` with the next bytes; return how many."""
        with self._moving_here():
            self._go()
            return super().readinto(buffer)

    def readinto1(self, buffer: "Buffer", /) -> int:
        """Read the next bytes into `buffer`, by one request at most; return how many."""
        with self._moving_here():
            self._go()
            return super().readinto1(buffer)

    def readline(self, size: int | None = -1, /) -> bytes:
        """Return the next line."""
        with self._moving_here():
            self._go()
            return super().readline(size)

    def peek(self, size: int = 0, /) -> bytes:
        """Return some of the next bytes, and stay."""
        with self._moving_here():
            self._go()
            return super().peek(size)

    def tell(self) -> int:
        """Return the position."""
        with self._moving_here():
            sought = self._sought
            return super().tell() if sought is None else sought

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a position; the next read of this thread begins there, whatever others do."""
        with self._moving_here():
            if whence == io.SEEK_CUR:
                self._go()
            position = super().seek(offset, whence)
            self._local.sought = position, self._reads
            return position

    def close(self) -> None:
        """Close it."""
        if not self._ranges.is_of_this_process:
            # What holds the locks may be in the other.
            self._ranges.close()
            return
        with self._moving:
            super().close()

    def _moving_here(self) -> threading.RLock:
        """Return the lock, which in a forked process nobody might ever release."""
        self._ranges.check_open()
        return self._moving

    @property
    def _sought(self) -> int | None:
        """Return where this thread has gone, not read since, and no other has read on."""
        position, reads = getattr(self._local, "sought", (None, 0))
        return position if reads == self._reads else None

    def _go(self) -> None:
        """Go where this thread has gone before others went elsewhere."""
        sought, self._local.sought = self._sought, (None, 0)
        if sought is None:
            # On from where another may have gone, or been: that was for this one, then.
            self._reads += 1
        elif sought != super().tell():
            super().seek(sought)

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
