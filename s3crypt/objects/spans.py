# SPDX-License-Identifier: Apache-2.0
"""A cache of an object's plaintext. It keeps spans, reads ahead, and fetches in parallel.

This module has offsets, but no file position. The module `reader` has the files.
"""

import io
import os
import threading
from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter

from s3crypt.errors import IntegrityError, S3CryptError, StorageError
from s3crypt.local.buffers import Buffers, build, reserve, writable
from s3crypt.local.workers import Pool

from .ranges import Plaintext

# Longer reads are not cached. They are fetched directly into their target, without a copy.
_IN_PLACE = 2**20
# The maximum number of bytes that one request fetches. A request that reads ahead fetches at most
# half as many.
_SECTION = 16 * 2**20
_FAR_SECTION = 2**20
# The number of parallel requests to a nearby service. Two requests use all cores of both sides.
_NEAR_WIDTH = 2
# After three sequential reads, the cache fetches bytes ahead: twice as many as were read.
_IN_ORDER, _AHEAD = 3, 2
# The memory of a span in addition to its plaintext. With short frames, this is most of the span's
# memory.
_SPAN_COST = 1024
# Readers of formats with an index at the end (Parquet, ORC, ZIP) first read about this many bytes
# there. These bytes are fetched together with the final frame.
_TAIL = 64 * 2**10


@dataclass(slots=True)
class _Span:
    """Consecutive whole blocks of plaintext. They are in memory or are being fetched."""

    start: int
    end: int
    data: Future[memoryview] = field(default_factory=Future)
    used: int = 0

    @property
    def cost(self) -> int:
        """Return the number of bytes of memory that the span uses."""
        return self.end - self.start + _SPAN_COST


class _Spans:
    """The spans of one file. They do not overlap. The least recently used span is evicted first.

    The caller must ensure that only one thread uses the object at a time. An interrupt leaves it
    consistent.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._spans: list[_Span] = []
        self._clock = 0

    def at(self, position: int) -> _Span | None:
        """Return the span that contains the byte at `position`, and mark it as just used.

        Return None if there is no such span.
        """
        index = bisect_right(self._spans, position, key=_start) - 1
        if index < 0 or self._spans[index].end <= position:
            return None
        self._clock += 1
        self._spans[index].used = self._clock
        return self._spans[index]

    def between(self, start: int, end: int) -> _Span | None:
        """Return the first span that contains a byte from `start` to before `end`, or None."""
        index = bisect_right(self._spans, start, key=_start)
        if index and self._spans[index - 1].end > start:
            return self._spans[index - 1]
        if index < len(self._spans) and self._spans[index].start < end:
            return self._spans[index]
        return None

    def add(self, span: _Span) -> None:
        """Add a span, unless it overlaps another span.

        Then evict old spans while the limit is exceeded.
        """
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
        """Remove a span. Do nothing if it is already removed."""
        self._spans = [kept for kept in self._spans if kept is not span]


_start = attrgetter("start")


class PlaintextCache:
    """One object's plaintext at any offset, for any thread. The cache has no file position.

    Recently read bytes are kept. During sequential reads, the following bytes are fetched ahead in
    parallel. Every byte comes from a verified block.

    Args:
        plaintext: Fetches and verifies blocks.
        name: The object's name, for error messages.
        limit: The maximum number of plaintext bytes that are kept. At most half as many are read
            ahead.
        workers: The maximum number of threads that fetch in parallel.
    """

    def __init__(self, plaintext: Plaintext, *, name: str, limit: int, workers: int) -> None:
        self.name = name
        self._plaintext = plaintext
        self._workers = workers
        self._most_ahead = limit // 2
        self._spans = _Spans(limit)
        self._lock = threading.RLock()
        self._local = threading.local()
        self._pool = Pool(workers)
        self._pid = os.getpid()
        self._is_closed = False
        self._is_verified = False
        # The current sequence of reads extends from `began` to `expected`. All bytes before
        # `horizon` were fetched or are being fetched.
        self._began = self._expected = self._horizon = -1
        self._reads = 0

    @property
    def block(self) -> int:
        """Return the number of bytes that are verified together."""
        return self._plaintext.block

    @property
    def claimed_size(self) -> int:
        """Return the number of plaintext bytes that follows from the object's size.

        It is not verified.
        """
        return self._plaintext.size

    @property
    def size(self) -> int:
        """Return the number of plaintext bytes, after the final frame has verified it."""
        self.verify_size()
        return self._plaintext.size

    def verify_size(self) -> None:
        """Verify the size by fetching the final frame. This is done once.

        Raises:
            IntegrityError: The object is truncated.
        """
        with self._lock:
            if not self._is_verified:
                try:
                    self._keep_tail(_TAIL)
                except IntegrityError:
                    # Only the final frame verifies the size. The earlier frames were fetched in
                    # advance, so an error in one of them does not matter here. The final frame is
                    # fetched again alone.
                    self._keep_tail(0)
                self._is_verified = True

    def _keep_tail(self, length: int) -> None:
        tail = _Tail()
        self._plaintext.fetch_tail(length, tail, self._buffers)
        self._keep(tail.start, b"".join(tail.pieces))

    def _keep(self, start: int, data: bytes) -> None:
        """Keep verified plaintext that is already in memory. It consists of whole blocks."""
        if data:
            span = _Span(start, start + len(data))
            span.data.set_result(memoryview(data))
            self._spans.add(span)

    def close(self) -> None:
        """Drop all plaintext. Running requests are not interrupted."""
        self._is_closed = True
        if self.is_of_this_process:
            with self._lock:
                self._spans = _Spans(0)
            self._pool.close()

    @property
    def is_of_this_process(self) -> bool:
        """Return whether the object was opened in this process. It is False after a fork."""
        return os.getpid() == self._pid

    def check_open(self) -> None:
        """Raise an error if the object is closed, or was opened before a fork.

        Raises:
            ValueError: The object is closed.
            StorageError: The object was opened before this process was forked.
        """
        if self._is_closed:
            raise ValueError("I/O operation on closed file.")
        if not self.is_of_this_process:
            # Parent and child would read from the same connection, and each would get parts of the
            # other's replies. Running fetches deliver their bytes only in the parent process.
            raise StorageError(
                f"{self.name} was opened before this process was forked.",
                hint="Open it in the process that reads it.",
            )

    def clip(self, start: int, end: int) -> int:
        """Return the end of a read, clipped to the size.

        A read that reaches the end verifies the size.
        """
        is_within = end <= self._plaintext.size or start < self._plaintext.size
        return min(end, self._plaintext.size if is_within else self.size)

    def read_at(self, start: int, view: memoryview) -> None:
        """Fill `view` with verified bytes. The range must lie within the object."""
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

    def read_from(self, start: int, length: int) -> bytes:
        """Return `length` bytes from `start` on. Return fewer bytes only at the object's end."""
        end = start + length
        # A short result means the end of the object, so the size must be verified first.
        size = self._plaintext.size if end <= self._plaintext.size else self.size
        return build(max(0, min(end, size) - start), lambda view: self.read_at(start, view))

    def read_ranges(self, ranges: Iterable[tuple[int | None, int | None]]) -> list[bytes]:
        """Return the bytes of several ranges.

        They are fetched in parallel; adjacent ranges share requests.
        """
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

    def _bounds(self, start: int | None, end: int | None) -> tuple[int, int]:
        """Return the start and end of a range in the object, by the rules of Python's slices."""
        is_within = (start or 0) >= 0 and end is not None and 0 <= end <= self._plaintext.size
        size = self._plaintext.size if is_within else self.size
        first, last, _ = slice(start, end).indices(size)
        return first, max(first, last)

    def _fill_gap(self, start: int, view: memoryview) -> None:
        """Fill `view`.

        Keep the block in which it ends, because the next read may continue there.
        """
        end, block = start + len(view), self._plaintext.block
        wanted = _Edge(start, end, view, end // block * block, block)
        self._fill([wanted])
        with self._lock:
            self._keep(wanted.edge, wanted.rest)

    def _block_at(self, position: int, end: int) -> memoryview:
        """Return bytes from `position` on. If they are not kept, fetch the blocks up to `end`."""
        while True:
            with self._lock:
                kept = self._spans.at(position)
                span = kept or self._new_span(position, end)
            if not kept:
                self._load(span)
                return span.data.result()[position - span.start :]
            # The span was fetched for another read, and may have failed at a block that this read
            # does not need. If it failed, this read fetches its own span.
            with suppress(S3CryptError):
                return span.data.result()[position - span.start :]

    def _new_span(self, position: int, end: int) -> _Span:
        """Return a new span that begins with the block at `position`.

        Its plaintext is not loaded yet.
        """
        block, size = self._plaintext.block, self._plaintext.size
        start = position - position % block
        longest = start + max(block, self._section // block * block)
        stop = min(-(-end // block) * block, longest, size)
        following = self._spans.between(position, stop)
        return _Span(start, min(stop, following.start if following else stop))

    def _load(self, span: _Span) -> None:
        """Fetch a span's plaintext.

        Threads that wait for the span get the plaintext or the error.
        """
        try:
            with self._lock:
                self._spans.add(span)
            self._fetch(span)
        except BaseException as error:
            self._give_up(span, error)
            raise

    def _load_ahead(self, span: _Span) -> None:
        """Fetch a span that was added in advance.

        An error is raised only when a read needs this span.
        """
        try:
            self._fetch(span)
        except BaseException as error:  # noqa: BLE001 - raised to the thread that reads the span
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
        """If the reads are sequential, start threads that fetch the following bytes."""
        with self._lock:
            if start != self._expected:
                self._began, self._horizon, self._reads = start, end, 0
            self._expected = end
            self._horizon = max(self._horizon, end)
            self._reads += 1
            ahead = min(self._most_ahead, _AHEAD * (start - self._began))
            # Instead of a few bytes at every read, fetch the bytes of a whole request from time to
            # time. Fetch nothing ahead if a block ahead would evict the block that is being read.
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
        """Fill the wanted ranges.

        Adjacent ranges share a request. The requests run in parallel if that is faster.
        """
        sections = self._sections(wanted)
        # For two requests to a nearby service, a second thread takes longer than it saves.
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
            # The other threads may still be writing, but only to buffers of this module. The
            # buffers are freed when the threads end.
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
        """Return the sections to fetch, with one request per section.

        Each wanted block is in one section.
        """
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
            # S3 delivers about 25 to 90 MB/s per connection, so more connections are faster.
            total = sum(section.end - section.start for section in merged)
            longest = min(_SECTION, max(_FAR_SECTION, total // self._workers))
        step = max(1, longest // block) * block
        return [part for section in merged for part in section.cut(step, size)]

    @property
    def _section(self) -> int:
        """Return the maximum length of one request if several requests run at the same time."""
        return _FAR_SECTION if self._plaintext.is_far else _SECTION // 2

    @property
    def _buffers(self) -> Buffers:
        """Return this thread's buffers."""
        if not hasattr(self._local, "buffers"):
            self._local.buffers = Buffers()
        return self._local.buffers  # type: ignore[no-any-return]  # a thread's own attributes


@dataclass(slots=True)
class _Wanted:
    """A range of the plaintext, and the buffer into which its bytes are written."""

    start: int
    end: int
    view: memoryview

    def __len__(self) -> int:
        return self.end - self.start

    def room(self, start: int, length: int) -> memoryview | None:
        """Return the part of the buffer for a piece.

        Return None if not all of the piece is wanted.
        """
        if start < self.start or start + length > self.end:
            return None
        return self.view[start - self.start : start - self.start + length]

    def take(self, start: int, piece: memoryview) -> None:
        """Copy those bytes of a piece that are wanted."""
        low, high = max(self.start, start), min(self.end, start + len(piece))
        if low < high:
            self.view[low - self.start : high - self.start] = piece[low - start : high - start]


@dataclass(slots=True)
class _Edge(_Wanted):
    """A wanted range that ends within the block at `edge`. The whole block is kept in `rest`."""

    edge: int
    block: int
    rest: bytes = b""

    def take(self, start: int, piece: memoryview) -> None:
        """Copy the wanted bytes of a piece. Keep the block at the edge."""
        _Wanted.take(self, start, piece)
        if start <= self.edge < min(self.end, start + len(piece)):
            self.rest = bytes(piece[self.edge - start : self.edge - start + self.block])


@dataclass(slots=True)
class _Section:
    """Whole blocks that one request fetches, and the wanted ranges that need their bytes."""

    start: int
    end: int
    members: list[_Wanted]

    def cut(self, step: int, size: int) -> "Iterator[_Section]":
        """Yield the section in pieces of `step` bytes. Clip the last piece to `size`."""
        if self.end - self.start <= step:
            yield _Section(self.start, min(self.end, size), self.members)
            return
        for start in range(self.start, self.end, step):
            end = min(start + step, self.end, size)
            members = [one for one in self.members if one.start < end and start < one.end]
            yield _Section(start, end, members)


@dataclass(frozen=True, slots=True)
class _Several:
    """Wanted ranges that may overlap. Each of them gets its own copy of the bytes."""

    wanted: Sequence[_Wanted]

    def room(self, start: int, length: int) -> None:
        """Return None: a piece may be needed by several ranges, so it is not written directly."""

    def take(self, start: int, piece: memoryview) -> None:
        """Copy the wanted bytes of a piece to each range."""
        for one in self.wanted:
            one.take(start, piece)


@dataclass(slots=True)
class _Tail:
    """The last blocks of the plaintext. `start` is the offset of the first of these blocks."""

    start: int = 0
    pieces: list[bytes] = field(default_factory=list)

    def room(self, start: int, length: int) -> None:
        """Return None: the tail keeps copies of the pieces."""

    def take(self, start: int, piece: memoryview) -> None:
        """Keep a copy of the piece."""
        self.start = self.start if self.pieces else start
        self.pieces.append(bytes(piece))
