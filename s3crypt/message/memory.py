# SPDX-License-Identifier: Apache-2.0
"""Memory for what is large: results written in place and handed out as they are, and buffers."""

import io
import mmap
from collections.abc import Callable
from functools import cache
from typing import Any

# The kernel clears and maps fresh memory page by page. Beyond some MiB that, not the cipher, is
# what a message waits for: with pages of 2 MiB, 256 MiB take half the time.
_LARGE = 4 * 2**20


def build(length: int, fill: Callable[[memoryview], object]) -> bytes:
    """Return `length` bytes that `fill` has written to the view it is given, zero before that.

    A BytesIO hands its bytes out as they are, and copies them only where someone still writes.
    """
    result = io.BytesIO(bytes(length))
    with result.getbuffer() as view:
        if length >= _LARGE:
            _ask_for_large_pages(view)
        fill(view)
    return result.getvalue()


def reserve(length: int) -> memoryview:
    """Return a buffer of `length` bytes that takes memory only where it is written.

    A bytearray is cleared when it is made, and all of it is then there: for a short message in
    buffers of a MiB that would be most of the work.
    """
    return io.BytesIO(bytes(length)).getbuffer()


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
