# SPDX-License-Identifier: Apache-2.0
"""The parts of an upload: their lengths and bytes. Each part is read and sealed exactly once."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from s3crypt.errors import StorageError
from s3crypt.framing import PartSealer
from s3crypt.local.buffers import RUN_LENGTH, Buffers, writable
from s3crypt.local.sources import Source, StreamSource

PART_LENGTH = 8 * 2**20
MAX_PARTS = 10_000
# S3's minimum length for all parts except the last. Uploads to a distant service use parts of this
# length, so more parts fit into the memory and are sent in parallel.
MIN_PART_LENGTH = 5 * 2**20
MAX_PART_LENGTH = 5 * 2**30
# Header and footer of any format are shorter than this.
_BESIDE_FRAMES = 160 * 2**10
# The length of a stream is unknown, so the length of its parts doubles every 1,250 parts. The parts
# have 8 MiB for the first 9.8 GiB, and 10,000 parts hold 2.4 TiB.
_STREAM_PARTS_A_SIZE = 1_250


def part_length(
    size: int | None,
    number: int,
    unit: int = 1,
    stride: int = 1,
    *,
    least: int = PART_LENGTH,
) -> int:
    """Return the number of plaintext bytes of part `number` (from 1). It is a multiple of `unit`.

    Args:
        size: The object's plaintext bytes. None for a stream.
        number: The part's number. For a known size, all parts but the last have the same length.
        unit: The frame length in plaintext bytes. 1 if there are no frames.
        stride: The number of stored bytes of a frame.
        least: The approximate length of a part, if the size is known. If 10,000 parts of this
            length are too short for the object, its parts are longer.

    Raises:
        StorageError: The object or the stream is too long for 10,000 parts.
    """
    if size is None:
        if number > MAX_PARTS:
            raise StorageError("The stream is longer than 10,000 parts hold (2.4 TiB).")
        wanted = PART_LENGTH << (number - 1) // _STREAM_PARTS_A_SIZE
    else:
        wanted = max(least, -(-size // MAX_PARTS))
    length = max(1, wanted // unit) * unit
    if length < MIN_PART_LENGTH or (size is not None and length * MAX_PARTS < size):
        length += unit
    # In addition to its frames, the first part contains the header and the last part the footer.
    sealed = length // unit * stride + (_BESIDE_FRAMES if unit > 1 else 0)
    if sealed > MAX_PART_LENGTH:
        raise StorageError(f"S3 does not accept objects of {size} bytes.")
    return length


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a part as it is sent, and the length of its plaintext."""

    number: int
    body: bytes
    plaintext_length: int
    is_final: bool


class PartMaker:
    """Makes the parts of one object, each exactly once. All workers share one instance.

    The parts of streams and of signed messages are made one after the other, under a lock. All
    other parts are made in parallel by the workers. The workers always send parts in parallel.

    Args:
        source: The plaintext.
        sealer: Seals the plaintext. None if S3 encrypts.
        is_far: Returns whether the service is far away. It is called once, for the first part.
    """

    def __init__(
        self,
        source: Source,
        sealer: PartSealer | None,
        is_far: Callable[[], bool] = lambda: False,
    ) -> None:
        self._source = source
        self._sealer = sealer
        self._is_far = is_far
        is_sequential = sealer is not None and sealer.is_sequential
        self._in_order = is_sequential or isinstance(source, StreamSource)
        self._unit, self._stride = (sealer.frame_length, sealer.stride) if sealer else (1, 1)
        self._lock = threading.Lock()
        self._number = 0
        self._offset = 0
        self._done = False

    @property
    def is_one_part(self) -> bool:
        """Return whether the size is known and one part is enough."""
        size = self._source.size
        return size is not None and part_length(size, 1, self._unit, self._stride) >= size

    @cached_property
    def least(self) -> int:
        """Return the approximate length of a part. It is the same for all parts of an object."""
        is_short = self._source.size is not None and not self.is_one_part and self._is_far()
        return MIN_PART_LENGTH if is_short else PART_LENGTH

    @property
    def worker_length(self) -> int:
        """Return the memory of a worker's buffers in bytes: its part, and a run of plaintext.

        For a stream, this is the memory for parts in the first 9.8 GiB.
        """
        size, cut = self._source.size, (self._unit, self._stride)
        length = part_length(size, 1, *cut, least=self.least)
        return (length if size is None else min(length, size)) + RUN_LENGTH // 2

    @property
    def is_waiting(self) -> bool:
        """Return whether a part is being made under the lock.

        The other workers then wait for the lock and not for S3, so more workers would not help.
        """
        return self._in_order and self._lock.locked()

    def make(self, buffers: Buffers) -> Body | None:
        """Return the next part, made in `buffers`. Return None after the final part."""
        with self._lock:
            if self._done:
                return None
            self._number += 1
            number, offset = self._number, self._offset
            size, cut = self._source.size, (self._unit, self._stride)
            length = part_length(size, number, *cut, least=self.least)
            if self._source.size is not None:
                length = min(length, self._source.size - offset)
                self._done = offset + length == self._source.size
            self._offset += length
            if self._in_order:
                return self._fill_in_order(buffers, number, offset, length)
        return self._fill(buffers, number, offset, length)

    def _fill_in_order(self, buffers: Buffers, number: int, offset: int, length: int) -> Body:
        try:
            return self._fill(buffers, number, offset, length)
        except BaseException:
            # If a read of a stream fails, bytes are lost. Later bytes of the stream must not become
            # the next part.
            self._done = True
            raise

    def _fill(self, buffers: Buffers, number: int, offset: int, length: int) -> Body:
        fill = self._seal if self._sealer else self._read
        buffers.resize(self._room(number, length, is_final=self._ends(offset + length)))
        with writable(buffers.part) as view:
            filled, written = fill(view, buffers, offset, length)
        buffers.resize(written)
        is_final = self._ends(offset + filled)
        return Body(number, buffers.part.getvalue(), filled, is_final)

    def _ends(self, offset: int) -> bool:
        """Return whether the plaintext ends at `offset`.

        For a stream, return whether it has ended.
        """
        return self._done if self._source.size is None else offset == self._source.size

    def _room(self, number: int, length: int, *, is_final: bool) -> int:
        """Return the length of a part's body. For a stream, return the maximum length."""
        sealer = self._sealer
        if sealer is None:
            return length
        header_length = len(sealer.header)
        room = header_length if number == 1 else 0
        if is_final or self._source.size is None:
            return room + sealer.sealed_length(length) - header_length
        return room + length // self._unit * self._stride

    def _read(
        self, view: memoryview, buffers: Buffers, offset: int, length: int
    ) -> tuple[int, int]:
        del buffers  # plaintext that is not sealed needs no second buffer
        filled = self._take(view[:length], offset)
        return filled, filled

    def _seal(
        self, view: memoryview, buffers: Buffers, offset: int, length: int
    ) -> tuple[int, int]:
        """Read and seal a part in runs. Return the lengths of its plaintext and of its body."""
        sealer = self._sealer
        if sealer is None:
            raise AssertionError("unreachable: only sealed parts are sealed")
        header = b"" if offset else sealer.header
        view[: len(header)] = header
        written, filled = len(header), 0
        # Seal runs that are half as long as the runs that a download opens. Longer runs took 5 %
        # more CPU time.
        run = max(1, RUN_LENGTH // 2 // self._unit) * self._unit
        while True:
            wanted = min(run, length - filled)
            plain = buffers.plain_of(wanted)
            taken = self._take(plain, offset + filled)
            first = (offset + filled) // self._unit + 1
            filled += taken
            is_final = self._ends(offset + filled)
            written += sealer.seal(plain[:taken], view[written:], first=first, is_final=is_final)
            if is_final:
                footer = sealer.footer()
                view[written : written + len(footer)] = footer
                written += len(footer)
            if is_final or filled == length:
                return filled, written

    def _take(self, view: memoryview, offset: int) -> int:
        """Fill `view` from the source, and return the number of bytes.

        For a stream, also determine whether it has ended.
        """
        filled = self._source.read_into(view, offset)
        if self._source.size is None:
            # The final frame is sealed differently, so the end must be known before the frame is
            # sealed.
            self._done = filled < len(view) or self._source.at_end()
        elif filled < len(view):
            raise StorageError(
                "The source ended before its announced length; nothing was stored.",
                hint="Put the object again.",
            )
        return filled
