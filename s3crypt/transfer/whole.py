# SPDX-License-Identifier: Apache-2.0
"""Verify an object that is read completely, with S3's CRC-64/NVME checksum.

This is for objects that S3 decrypts. A client-side message is verified by the tags of its frames.
The checksum detects bytes that the network changed. TLS protects against an attacker.
"""

import io
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

from awscrt.checksums import combine_crc64nvme, crc64nvme

from s3crypt.local.workers import Pool

if TYPE_CHECKING:
    from .stream import ObjectStream


class Whole:
    """Compares all stored bytes of an object with S3's checksum. Bytes can be added in any order.

    If the first reply does not contain S3's checksum of the whole object, a HEAD requests it while
    the other bytes are received. An object for which S3 has no checksum is not compared. If the
    client is configured with `response_checksum_validation = when_required`, no object is compared.

    Args:
        stream: The object. Its first reply must have been received.
        is_compared: Whether to compare. For a message it is False, and all methods do nothing.
    """

    def __init__(self, stream: "ObjectStream", *, is_compared: bool = True) -> None:
        self._stream = stream
        self._is_compared = bool(is_compared and stream.size and stream.validates_checksums)
        self._lock = threading.Lock()
        # `_crc` is the checksum of the bytes before `_end`. `_waiting` has the checksums of later
        # runs that do not follow directly.
        self._end, self._crc = 0, 0
        self._waiting: dict[int, tuple[int, int]] = {}
        self._expected: Future[int | None] = Future()
        self._is_asked = True
        if not self._is_compared:
            return
        if stream.first_checksum is not None:
            self._expected.set_result(stream.first_checksum)
        elif stream.came_at_once:
            self._is_asked = False
        else:
            pool = Pool(1)
            pool.submit(self._ask)
            pool.close()

    def _ask(self) -> None:
        try:
            found = self._stream.ask_checksum()
        except BaseException as error:  # noqa: BLE001 - raised in the waiting verify()
            self._expected.set_exception(error)
        else:
            self._expected.set_result(found)

    def add(self, start: int, data: bytes | memoryview) -> None:
        """Add the bytes that begin at the offset `start`."""
        if not self._is_compared:
            return
        crc = crc64nvme(data)
        with self._lock:
            self._waiting[start] = start + len(data), crc
            while found := self._waiting.pop(self._end, None):
                end, crc = found
                self._crc = combine_crc64nvme(self._crc, crc, end - self._end)
                self._end = end

    def verify(self) -> None:
        """Compare the checksums, after all bytes were added.

        Raises:
            IntegrityError: The bytes do not match S3's checksum.
        """
        if not self._is_compared:
            return
        if self._end != self._stream.size:
            raise AssertionError("unreachable: only what was read whole is compared")
        if not self._is_asked:
            self._ask()
        if self._expected.result() not in (None, self._crc):
            raise self._stream.changed_error()


class WholeStream(io.RawIOBase):
    """An object's stored bytes, in order. The read of the last bytes first verifies all bytes.

    If a byte was changed, a caller that stores the bytes elsewhere gets the error before it has
    stored all of them.
    """

    def __init__(self, stream: "ObjectStream") -> None:
        super().__init__()
        self._stream = stream
        self._whole = Whole(stream)
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer has no len
        """Read the next bytes into `buffer`, and return their number. Return 0 at the end.

        Raises:
            IntegrityError: This was the read of the last bytes, and the network changed a byte of
                the object.
        """
        view = memoryview(buffer).cast("B")
        count = self._stream.readinto(view)
        self._whole.add(self._position, view[:count])
        self._position += count
        if count and self._position == self._stream.size:
            self._whole.verify()
        return count
