# SPDX-License-Identifier: Apache-2.0
"""Objects written as files: what one thread writes, the part engine reads in another."""

import io
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import BinaryIO, cast

from .errors import StorageError
from .info import ObjectInfo
from .sources import Source, StreamSource

_ABORTED = "nothing was stored, since writing it was not completed."


class _Pipe(io.RawIOBase):
    """Bytes on their way from a writer to a reader, without a buffer of its own.

    The reader lends its buffer, and the writer fills it: what is written waits for no memory but
    the parts'.
    """

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()
        self._room = memoryview(b"")
        self._filled = 0
        self._has_ended = False
        self._is_aborted = False
        self._is_read = True

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer has no len
        """Wait until `buffer` is full or the writer has ended; return the bytes in it."""
        room = memoryview(buffer).cast("B")
        with self._changed:
            self._room, self._filled = room, 0
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._filled == len(room) or self._has_ended or self._is_aborted
            )
            self._room = memoryview(b"")
            if self._is_aborted:
                raise StorageError(f"The file was aborted: {_ABORTED}")
            return self._filled

    def feed(self, data: memoryview) -> None:
        """Hand over all of `data`; return early where nobody reads any more."""
        with self._changed:
            while len(data):
                self._changed.wait_for(lambda: self._filled < len(self._room) or not self._is_read)
                if not self._is_read:
                    return
                count = min(len(data), len(self._room) - self._filled)
                self._room[self._filled : self._filled + count] = data[:count]
                self._filled += count
                data = data[count:]
                if self._filled == len(self._room):
                    self._changed.notify_all()

    def end(self) -> None:
        """Let the reader come to its end."""
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def abort(self) -> None:
        """Let the reader fail."""
        with self._changed:
            self._is_aborted = True
            self._changed.notify_all()

    def leave(self) -> None:
        """Let the writer know that nobody reads any more."""
        with self._changed:
            self._is_read = False
            self._changed.notify_all()


class ObjectWriter(io.BufferedIOBase):
    """An object as a binary file to write to, in order; made by `S3Crypt.open`.

    `close` stores it; until then nothing is visible, and what was written is in memory or in
    parts of an upload. An exception that leaves the `with` block aborts, and so does a file that
    is dropped without `close`.

    Attributes:
        name: The object's URI.

    Raises:
        StorageError, KeyUnavailableError, PolicyError, ConflictError: By `write` or `close`, as
            `S3Crypt.put`; nothing was stored then.
    """

    mode = "wb"

    def __init__(self, store: Callable[[Source], ObjectInfo], name: str) -> None:
        super().__init__()
        self.name = name
        self._pipe = _Pipe()
        self._stored: Future[ObjectInfo] = Future()
        self._position = 0
        self._exception_before = sys.exception()
        self._pid = os.getpid()
        # It must not know this file: a file that nobody has any more is to be aborted.
        thread = threading.Thread(
            target=_store, args=(store, self._pipe, self._stored), name="s3crypt-write", daemon=True
        )
        thread.start()
        # Where the interpreter ends first, no upload is left open either.
        self._at_exit = weakref.finalize(self, _abandon, self._pipe, thread)

    def writable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the bytes written so far."""
        self._check_open()
        return self._position

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]  # typeshed's Buffer has no cast
        """Write all of `data`; return its bytes."""
        self._check_open()
        view = memoryview(data).cast("B")
        self._pipe.feed(view)
        if self._stored.done():
            self._raise_failure()
        self._position += len(view)
        return len(view)

    @property
    def info(self) -> ObjectInfo:
        """Return what is known of the object, once it is stored."""
        if not self._stored.done():
            raise ValueError("The object is known once the file is closed.")
        return self._stored.result()

    def close(self) -> None:
        """Store the object; raise if that fails.

        Called while an exception is on its way that was not there when the file was opened, as
        by wrappers whose own `with` block fails, it aborts and lets the exception go on.
        """
        error = sys.exception()
        if not self.closed and error is not None and error is not self._exception_before:
            self.abort()
            error.add_note(f"{self.name}: {_ABORTED}")
            raise error
        self._complete()

    def _complete(self) -> None:
        if self.closed:
            return
        self._check_open()
        self._pipe.end()
        try:
            self._stored.exception()
        except BaseException:
            # An interrupt: the caller will take it for failed, so it must not succeed later.
            self._pipe.abort()
            raise
        finally:
            super().close()
            self._at_exit.detach()
        self._raise_failure()

    def abort(self) -> None:
        """Store nothing; return once what was sent is discarded."""
        if not self.closed:
            self._pipe.abort()
            super().close()
            self._at_exit.detach()
            if os.getpid() == self._pid:
                self._stored.exception()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._complete()
        else:
            self.abort()

    def __del__(self) -> None:
        if not getattr(self, "closed", True):
            warnings.warn(f"{self.name}: {_ABORTED}", ResourceWarning, stacklevel=2, source=self)
            self._pipe.abort()
            # Not waited for: who collects garbage may hold what the upload needs.
            self._at_exit.detach()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        if os.getpid() != self._pid:
            # The thread that stores it is not in this process: nobody would read what is written.
            raise StorageError(
                f"{self.name} was opened before this process was forked.",
                hint="Open it in the process that writes it.",
            )

    def _raise_failure(self) -> None:
        failure = self._stored.exception()
        if failure:
            raise failure


def _store(store: Callable[[Source], ObjectInfo], pipe: _Pipe, stored: Future[ObjectInfo]) -> None:
    try:
        info = store(StreamSource(cast("BinaryIO", pipe)))
    except BaseException as error:  # noqa: BLE001 - handed to the writer, which raises it
        stored.set_exception(error)
    else:
        stored.set_result(info)
    finally:
        pipe.leave()


def _abandon(pipe: _Pipe, thread: threading.Thread) -> None:
    pipe.abort()
    if thread is not threading.current_thread():
        thread.join()
