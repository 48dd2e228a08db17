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

# What is read, sealed or opened, and written at a time: few enough bytes that both they and what
# becomes of them stay in a core's cache, enough that a call more or less does not matter. A little
# more than a power of two, since frames take some bytes more than their plaintext.
RUN_LENGTH = 2**20 + 2**13

# The kernel clears and maps fresh memory page by page. Beyond some MiB that, not the cipher, is
# what a message waits for: with pages of 2 MiB, 256 MiB take half the time.
_LARGE = 4 * 2**20
# From this version on the garbage collector knows the link between a BytesIO and its views.
_IS_GUARDED = sys.version_info >= (3, 12)
# Up to here a copy of the result costs less than a BytesIO with a guarded view.
_COPIED = 8 * 2**10 if _IS_GUARDED else -1
# Up to here clearing a bytearray costs less than a BytesIO with its guarded view.
_CLEARED = 64 * 2**10


def build(length: int, fill: Callable[[memoryview], object]) -> bytes:
    """Return `length` bytes that `fill` has written to the view it is given, zero before that.

    A BytesIO hands its bytes out as they are, and copies them only where someone still writes.
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
    """Return a buffer of `length` zero bytes; a long one takes memory only where it is written.

    A bytearray is cleared when it is made, and all of it is then there: for a short message in
    buffers of a MiB that would be most of the work.
    """
    if length <= _CLEARED:
        return memoryview(bytearray(length))
    # Not an anonymous mapping, whose pages the kernel maps anew each time: a reader of a message
    # of a MiB took three times as long.
    return writable(io.BytesIO(bytes(length)))


def writable(memory: io.BytesIO) -> memoryview:
    """Return a view to write to a BytesIO's bytes, as `getbuffer` does, safe in reference cycles.

    From Python 3.12 on, the garbage collector knows the link between a BytesIO and its views. Where
    it finds all of them in one cycle, 3.12.0 and 3.12.1 clear the link before the view that
    returns the memory through it, and crash (CPython issue 111049); versions up to 3.14 print
    "Exception ignored", since the BytesIO cannot be closed while it has views (issue 111331).
    Such a cycle needs no more than a caught exception: its traceback has the frames, which have
    pieces of the view. So every view leads to the BytesIO through an exporter here, and the link
    itself is referenced from outside any cycle until the exporter is gone.
    """
    return memoryview(_Exporter(memory)) if _IS_GUARDED else memory.getbuffer()


class _Exporter:
    """What views of a BytesIO refer to instead of the BytesIO."""

    __slots__ = ("__weakref__", "_view")

    def __init__(self, memory: io.BytesIO) -> None:
        self._view = memory.getbuffer()
        # Removed when this object is freed or found in a cycle, before the collector clears it.
        _EXPORTED[weakref.ref(self, _EXPORTED.pop)] = self._view

    def __buffer__(self, flags: int) -> memoryview:
        return self._view


_EXPORTED: dict[weakref.ref[_Exporter], memoryview] = {}


@atexit.register
def _keep_exported() -> None:
    """Keep the references: this module is soon garbage itself, the main thread's context last."""
    contextvars.ContextVar[Any]("s3crypt exported views").set(_EXPORTED)


def _ask_for_large_pages(view: memoryview) -> None:
    """Ask for large pages under `view`: a hint, which changes nothing but speed."""
    madvise = _madvise()
    if madvise is None:
        return
    import ctypes  # noqa: PLC0415 - not every Python has it

    # Whole pages only: what lies beside the view in its first and last one is not ours.
    start = -(-ctypes.addressof(ctypes.c_char.from_buffer(view)) // mmap.PAGESIZE) * mmap.PAGESIZE
    madvise(start, len(view) // mmap.PAGESIZE * mmap.PAGESIZE - mmap.PAGESIZE, mmap.MADV_HUGEPAGE)


@cache
def _madvise() -> Any:
    """Return the C library's madvise, or None where there are no large pages, or no way to ask."""
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
    """One worker's memory: runs of plaintext and of frames, and the part that is sent.

    `part` is a BytesIO because it hands its bytes out without a copy, and keeps them as they are
    for whoever still has them when the next part is written: then, and only then, it copies.
    botocore takes bytes whole; a view of a longer buffer it would copy.
    """

    plain: memoryview = field(default_factory=lambda: reserve(0))
    sealed: memoryview = field(default_factory=lambda: reserve(0))
    part: io.BytesIO = field(default_factory=io.BytesIO)

    def plain_of(self, length: int) -> memoryview:
        """Return `length` bytes for plaintext, made when first needed."""
        if len(self.plain) < length:
            self.plain = reserve(length)
        return self.plain[:length]

    def sealed_of(self, length: int) -> memoryview:
        """Return `length` bytes for frames, made when first needed."""
        if len(self.sealed) < length:
            self.sealed = reserve(length)
        return self.sealed[:length]

    def resize(self, length: int) -> None:
        """Make the part `length` bytes long."""
        now = self.part.seek(0, os.SEEK_END)
        if now > length:
            self.part.truncate(length)
        elif not now:
            # Fresh memory: bytes that are never touched take none.
            self.part = io.BytesIO(bytes(length))
        elif now < length:
            self.part.seek(length - 1)
            self.part.write(b"\0")
