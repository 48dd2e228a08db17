# SPDX-License-Identifier: Apache-2.0
"""Memory for long results, which are built and returned without a copy, and workers' buffers."""

import atexit
import contextvars
import io
import mmap
import os
import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

# The number of bytes that one step reads, seals or opens, and writes. Input and output of a step
# fit into the cache of a core, and the cost of a call does not matter. The number is a little more
# than a power of two, because a frame is some bytes longer than its plaintext.
RUN_LENGTH = 2**20 + 2**13

# For memory of at least this length, large pages are requested. The kernel clears and maps new
# memory page by page, and for more than some MiB this takes longer than the cipher. With pages of 2
# MiB, a message of 256 MiB takes half the time.
_LARGE = 4 * 2**20
# From Python 3.12 on, a view must be guarded against the garbage collector; see `writable`.
_IS_GUARDED = sys.version_info >= (3, 12)
# Up to this length, copying the result takes less time than making a BytesIO with a guarded view.
_COPIED = 8 * 2**10 if _IS_GUARDED else -1
# Up to this length, clearing a bytearray takes less time than making a BytesIO with a guarded view.
_CLEARED = 64 * 2**10


def build(length: int, fill: Callable[[memoryview], object]) -> bytes:
    """Return `length` bytes that `fill` writes. `fill` gets a writable view of zero bytes.

    The result is not copied: a BytesIO returns its bytes without a copy if no view can write to
    them any more.
    """
    if length <= _COPIED:
        short = bytearray(length)
        with memoryview(short) as view:
            fill(view)
        return bytes(short)
    result = io.BytesIO(bytes(length))
    with writable(result) as view:
        if length >= _LARGE:
            _ask_for_large_pages(view)
        fill(view)
    return result.getvalue()


def reserve(length: int) -> memoryview:
    """Return a buffer of `length` zero bytes.

    Of a long buffer, only the pages that are written to use memory.

    A long buffer is not a bytearray: a bytearray is cleared when it is made, so all its pages use
    memory. For a short message in buffers of 1 MiB, clearing would be most of the work.
    """
    if length <= _CLEARED:
        return memoryview(bytearray(length))
    # A long buffer is not an anonymous mapping either: the kernel would map its pages again for
    # each buffer, and reading a message of 1 MiB would take three times as long.
    return writable(io.BytesIO(bytes(length)))


def writable(memory: io.BytesIO) -> memoryview:
    """Return a writable view of a BytesIO's bytes that is safe in reference cycles.

    It is used like the result of `getbuffer`.

    From Python 3.12 on, the garbage collector knows the link between a BytesIO and its views. If it
    finds all of them in one cycle, Python 3.12.0 and 3.12.1 clear the link before the view, which
    returns the memory through the link, and crash (CPython issue 111049). Versions up to 3.14 print
    "Exception ignored", because the BytesIO cannot be closed while it has views (issue 111331). A
    caught exception is enough for such a cycle: its traceback refers to the frames, which refer to
    parts of the view. Therefore every view refers to the BytesIO through an exporter object, and a
    reference from outside any cycle protects the link until the exporter is freed.
    """
    return memoryview(_Exporter(memory)) if _IS_GUARDED else memory.getbuffer()


class _Exporter:
    """The object to which views refer, instead of to the BytesIO."""

    __slots__ = ("__weakref__", "_view")

    def __init__(self, memory: io.BytesIO) -> None:
        self._view = memory.getbuffer()
        # The entry is removed when this object is freed. If it is in a cycle, the entry is removed
        # before the cycle is cleared.
        _EXPORTED[weakref.ref(self, _EXPORTED.pop)] = self._view

    def __buffer__(self, flags: int) -> memoryview:
        return self._view


_EXPORTED: dict[weakref.ref[_Exporter], memoryview] = {}


@atexit.register
def _keep_exported() -> None:
    """Keep the references until the interpreter's end. It frees the main thread's context last."""
    contextvars.ContextVar[Any]("s3crypt exported views").set(_EXPORTED)


def _ask_for_large_pages(view: memoryview) -> None:
    """Ask the kernel for large pages for the memory of `view`. This is only a hint for speed."""
    madvise = _madvise()
    if madvise is None:
        return
    import ctypes  # noqa: PLC0415 - not every Python has it

    # Only whole pages are used, because the first and the last page may also contain other memory.
    start = -(-ctypes.addressof(ctypes.c_char.from_buffer(view)) // mmap.PAGESIZE) * mmap.PAGESIZE
    madvise(start, len(view) // mmap.PAGESIZE * mmap.PAGESIZE - mmap.PAGESIZE, mmap.MADV_HUGEPAGE)


@cache
def _madvise() -> Any:
    """Return the C library's function madvise.

    Return None if there are no large pages or the function cannot be called.
    """
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return None
    try:
        import ctypes  # noqa: PLC0415

        madvise = ctypes.CDLL(None).madvise
    except (ImportError, OSError, AttributeError):
        return None
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return madvise


@dataclass(slots=True)
class Buffers:
    """The memory of one worker: runs of plaintext, runs of frames, and the part that is uploaded.

    `part` is a BytesIO because a BytesIO returns its bytes without a copy. If a caller still refers
    to these bytes when the next part is written, the BytesIO makes a copy first, so the caller's
    bytes do not change. botocore sends bytes without a copy, but would copy a view of a longer
    buffer.
    """

    plain: memoryview = field(default_factory=lambda: reserve(0))
    sealed: memoryview = field(default_factory=lambda: reserve(0))
    part: io.BytesIO = field(default_factory=io.BytesIO)

    def plain_of(self, length: int) -> memoryview:
        """Return a buffer of `length` bytes for plaintext. It is allocated at its first use."""
        if len(self.plain) < length:
            self.plain = reserve(length)
        return self.plain[:length]

    def sealed_of(self, length: int) -> memoryview:
        """Return a buffer of `length` bytes for frames. It is allocated at its first use."""
        if len(self.sealed) < length:
            self.sealed = reserve(length)
        return self.sealed[:length]

    def resize(self, length: int) -> None:
        """Make the part `length` bytes long."""
        now = self.part.seek(0, os.SEEK_END)
        if now > length:
            self.part.truncate(length)
        elif not now:
            # Make a new BytesIO: pages of new memory that are never written to use no memory.
            self.part = io.BytesIO(bytes(length))
        elif now < length:
            self.part.seek(length - 1)
            self.part.write(b"\0")
