# SPDX-License-Identifier: Apache-2.0
"""A cache of an object's plaintext: spans that are kept, read ahead and fetched side by side.

It knows offsets, not positions: `reader` has the files.
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

# Longer reads than this are not kept: they go where they belong, without a copy.
_IN_PLACE = 2**20
# One request brings this much at most; read ahead, half as much.
_SECTION = 16 * 2**20
_FAR_SECTION = 2**20
# Parallel requests to a nearby service; two saturate both sides' cores.
_NEAR_WIDTH = 2
# Of so many reads that follow each other, twice their bytes are fetched ahead.
_IN_ORDER, _AHEAD = 3, 2
# What a span takes beside its plaintext: with short frames that is most of it.
_SPAN_COST = 1024
# Formats that keep their index at the end (Parquet, ORC, ZIP) read about this much of it first, so
# it comes with the final frame.
_TAIL = 64 * 2**10


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


class PlaintextCache:
    """One object's plaintext at any offset, for any thread; nothing here has a position.

    What was read last is kept, and reads that follow each other are fetched ahead, side by side.
    Every byte is of a verified block.

    Args:
        plaintext: Where blocks are fetched.
        name: The object's, for errors.
        limit: Bytes of plaintext that are kept; half as many are read ahead.
        workers: Threads that fetch side by side, at most.
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

    def close(self) -> None:
        """Forget all plaintext; requests under way end by themselves."""
        self._is_closed = True
        if self.is_of_this_process:
            with self._lock:
                self._spans = _Spans(0)
            self._pool.close()

    @property
    def is_of_this_process(self) -> bool:
        """Tell whether the object was opened here, and not before a fork."""
        return os.getpid() == self._pid

    def check_open(self) -> None:
        """Refuse to go on where the object is closed, or was opened before a fork.

        Raises:
            ValueError, StorageError: As the case may be.
        """
        if self._is_closed:
            raise ValueError("I/O operation on closed file.")
        if not self.is_of_this_process:
            # Both processes would read from one connection, each parts of the other's answers;
            # and what is on its way is on its way to the other.
            raise StorageError(
                f"{self.name} was opened before this process was forked.",
                hint="Open it in the process that reads it.",
            )

    def clip(self, start: int, end: int) -> int:
        """Return the end of a read; that there is no more is only said once it is proved."""
        is_within = end <= self._plaintext.size or start < self._plaintext.size
        return min(end, self._plaintext.size if is_within else self.size)

    def read_at(self, start: int, view: memoryview) -> None:
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

    def read_from(self, start: int, length: int) -> bytes:
        """Return as many bytes from `start` on, fewer only at the end."""
        end = start + length
        # Fewer bytes than asked for say that there are no more.
        size = self._plaintext.size if end <= self._plaintext.size else self.size
        return build(max(0, min(end, size) - start), lambda view: self.read_at(start, view))

    def read_ranges(self, ranges: Iterable[tuple[int | None, int | None]]) -> list[bytes]:
        """Return the bytes of several ranges, fetched side by side, neighbours at once."""
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
        """Return a range as Python's slices have it, within the object."""
        is_within = (start or 0) >= 0 and end is not None and 0 <= end <= self._plaintext.size
        size = self._plaintext.size if is_within else self.size
        first, last, _ = slice(start, end).indices(size)
        return first, max(first, last)

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
