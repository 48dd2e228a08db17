# SPDX-License-Identifier: Apache-2.0
"""Memory for long results, built in place and returned without a copy, and for workers' buffers."""

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

# Bytes per step of reading, sealing or opening, and writing: few enough that input and output fit
# a core's cache, and enough that the cost of a call does not matter. The length is a little more
# than a power of two, since frames are some bytes longer than their plaintext.
RUN_LENGTH = 2**20 + 2**13

# The kernel clears and maps fresh memory page by page. Beyond some MiB this takes longer than the
# cipher: with pages of 2 MiB, a message of 256 MiB takes half the time.
_LARGE = 4 * 2**20
# Since Python 3.12 the garbage collector knows the link between a BytesIO and its views.
_IS_GUARDED = sys.version_info >= (3, 12)
# Up to this length a copy of the result costs less than a BytesIO with a guarded view.
_COPIED = 8 * 2**10 if _IS_GUARDED else -1
# Up to this length clearing a bytearray costs less than a BytesIO with a guarded view.
_CLEARED = 64 * 2**10


def build(length: int, fill: Callable[[memoryview], object]) -> bytes:
    """Return `length` bytes that `fill` writes through a view, which initially has zero bytes.

    A BytesIO returns its bytes without a copy, unless a view can still write to them.
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
    """Return a buffer of `length` zero bytes; a long buffer takes memory only for written pages.

    A bytearray is cleared when it is made, which takes memory for its whole length: for a short
    message in buffers of a MiB, clearing would be most of the work.
    """
    if length <= _CLEARED:
        return memoryview(bytearray(length))
    # Not an anonymous mapping: the kernel maps its pages again for each buffer, which made reading
    # a message of a MiB take three times as long.
    return writable(io.BytesIO(bytes(length)))


def writable(memory: io.BytesIO) -> memoryview:
    """Return a view to write to a BytesIO's bytes, as `getbuffer` does, safe in reference cycles.

    From Python 3.12 on, the garbage collector knows the link between a BytesIO and its views. If
    it finds all of them in one cycle, 3.12.0 and 3.12.1 clear the link before the view that
    returns the memory through it, and crash (CPython issue 111049); versions up to 3.14 print
    "Exception ignored", since the BytesIO cannot be closed while it has views (issue 111331).
    A caught exception is enough for such a cycle: its traceback has the frames, which have
    pieces of the view. Therefore every view refers to the BytesIO through an exporter, and the
    link itself is referenced from outside any cycle until the exporter is freed.
    """
    return memoryview(_Exporter(memory)) if _IS_GUARDED else memory.getbuffer()


class _Exporter:
    """The object that views refer to instead of the BytesIO."""

    __slots__ = ("__weakref__", "_view")

    def __init__(self, memory: io.BytesIO) -> None:
        self._view = memory.getbuffer()
        # The entry is removed when this object is freed, or found in a cycle but not yet cleared.
        _EXPORTED[weakref.ref(self, _EXPORTED.pop)] = self._view

    def __buffer__(self, flags: int) -> memoryview:
        return self._view


_EXPORTED: dict[weakref.ref[_Exporter], memoryview] = {}


@atexit.register
def _keep_exported() -> None:
    """Keep the references past this module's end: the main thread's context is freed last."""
    contextvars.ContextVar[Any]("s3crypt exported views").set(_EXPORTED)


def _ask_for_large_pages(view: memoryview) -> None:
    """Ask the kernel for large pages under `view`: a hint that affects only speed."""
    madvise = _madvise()
    if madvise is None:
        return
    import ctypes  # noqa: PLC0415 - not every Python has it

    # Whole pages only: the first and the last page may also hold memory outside the view.
    start = -(-ctypes.addressof(ctypes.c_char.from_buffer(view)) // mmap.PAGESIZE) * mmap.PAGESIZE
    madvise(start, len(view) // mmap.PAGESIZE * mmap.PAGESIZE - mmap.PAGESIZE, mmap.MADV_HUGEPAGE)


@cache
def _madvise() -> Any:
    """Return the C library's madvise, or None without large pages or without access to madvise."""
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
    """One worker's memory: runs of plaintext and of frames, and the part that is uploaded.

    `part` is a BytesIO because it returns its bytes without a copy. If a caller still holds the
    bytes when the next part is written, the BytesIO copies them first, so that they do not change.
    botocore sends bytes without a copy, but would copy a view of a longer buffer.
    """

    plain: memoryview = field(default_factory=lambda: reserve(0))
    sealed: memoryview = field(default_factory=lambda: reserve(0))
    part: io.BytesIO = field(default_factory=io.BytesIO)

    def plain_of(self, length: int) -> memoryview:
        """Return a buffer of `length` bytes for plaintext, allocated at its first use."""
        if len(self.plain) < length:
            self.plain = reserve(length)
        return self.plain[:length]

    def sealed_of(self, length: int) -> memoryview:
        """Return a buffer of `length` bytes for frames, allocated at its first use."""
        if len(self.sealed) < length:
            self.sealed = reserve(length)
        return self.sealed[:length]

    def resize(self, length: int) -> None:
        """Make the part `length` bytes long."""
        now = self.part.seek(0, os.SEEK_END)
        if now > length:
            self.part.truncate(length)
        elif not now:
            # Fresh memory: pages that are never touched take no memory.
            self.part = io.BytesIO(bytes(length))
        elif now < length:
            self.part.seek(length - 1)
            self.part.write(b"\0")
