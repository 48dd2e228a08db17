# SPDX-License-Identifier: Apache-2.0
"""Objects that are written as files: one thread writes bytes, and another thread uploads them."""

import atexit
import io
import os
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import BinaryIO, NoReturn, cast

from s3crypt.errors import StorageError
from s3crypt.local.garbage import Collections
from s3crypt.local.sources import Source, StreamSource, as_bytes
from s3crypt.local.workers import current_stop, stopping
from s3crypt.logs import logger_of

from .info import ObjectInfo

_log = logger_of(__name__)

_ABORTED = "nothing was stored, since writing it was not completed."
_COLLECTIONS = Collections()


class _Pipe(io.RawIOBase):
    """A pipe from a writing thread to a reading thread. It has no buffer of its own.

    The writer copies its bytes directly into the reader's buffer, so written bytes need no memory
    besides the memory of the parts.

    Attributes:
        name: The object's URI.
        position: The number of bytes written so far.
        is_aborted: Whether the reader must raise an error.
        is_kept: Whether the bytes will be stored although the file was dropped without `close`.
        is_told: Whether the caller already knows from an error or a warning that nothing is stored.
        stop: Set to end the pauses between the attempts of a request.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.position = 0
        self.is_aborted = self.is_kept = self.is_told = False
        # Callers acquire the lock itself and not the condition, because an interrupt may leave the
        # condition half released. The lock is reentrant because the garbage collector may run in a
        # thread that holds the lock, and may finalize the file, which then aborts.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._room = memoryview(b"")
        self._filled = 0
        # Bytes that a finalizer wrote. A finalizer must not wait for the reader's buffer, so the
        # bytes are kept here.
        self._rest = bytearray()
        self._has_ended = False
        self._is_read = True
        self.stop = threading.Event()

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer has no len
        """Wait until `buffer` is full or the writer has ended. Return the number of bytes in it."""
        room = memoryview(buffer).cast("B")
        with self._lock:
            self._room, self._filled = room, 0
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._filled == len(room) or self._has_ended or self.is_aborted
            )
            if self.is_aborted:
                self._room = memoryview(b"")
                raise StorageError(f"The file was aborted: {_ABORTED}")
            del self._rest[: self._fill(memoryview(bytes(self._rest)))]
            self._room = memoryview(b"")
            return self._filled

    def _fill(self, data: memoryview) -> int:
        """Copy as much of `data` as fits into the reader's buffer.

        Return the number of copied bytes.
        """
        count = min(len(data), len(self._room) - self._filled)
        self._room[self._filled : self._filled + count] = data[:count]
        self._filled += count
        return count

    def feed(self, data: memoryview) -> None:
        """Pass all of `data` to the reader. Return early if the reader has stopped reading.

        In a finalizer that the garbage collector calls, this method only keeps `data` and does not
        wait.
        """
        with self._lock:
            if _COLLECTIONS.is_here():
                self._rest += data
                return
            if self._rest:
                data, self._rest = memoryview(bytes(self._rest) + data), bytearray()
            while data:
                self._changed.wait_for(lambda: self._filled < len(self._room) or not self._is_read)
                if not self._is_read:
                    return
                data = data[self._fill(data) :]
                if self._filled == len(self._room):
                    self._changed.notify_all()

    def end(self) -> None:
        """Signal the end of the file to the reader."""
        with self._lock:
            self._has_ended = True
            self._changed.notify_all()

    def keep(self) -> None:
        """Signal the end of a dropped file to the reader, so its bytes are stored."""
        with self._lock:
            self.is_kept = True
            self.end()

    def abort(self) -> None:
        """Make the reader raise an error, so nothing is stored."""
        with self._lock:
            self.is_aborted = True
            self.stop.set()
            self._changed.notify_all()

    def fail(self) -> None:
        """Abort after an error that the caller gets. No warning that nothing is stored follows."""
        self.is_told = True
        self.abort()

    def leave(self) -> None:
        """Signal to the writer that the reader has stopped reading."""
        with self._lock:
            self._is_read = False
            self._changed.notify_all()


class ObjectWriter(io.BufferedIOBase):
    """An object as a binary file for sequential writing, made by `S3Crypt.open`.

    `close` stores the object. Until then the object is not visible, and the written bytes are in
    memory or in parts of an upload. An exception that leaves the `with` block aborts the file. If
    the file is dropped without `close`, nothing is stored, because the content may be incomplete. A
    `RuntimeWarning` and a log record then report the file's name and the number of bytes.

    Attributes:
        name: The object's URI.
        advice: The advice in the warning about a file that was dropped.

    Raises:
        StorageError, KeyUnavailableError, PolicyError, ConflictError: `write` or `close` raises
            these for the reasons that `S3Crypt.put` documents. Nothing is stored in this case.
    """

    mode = "wb"
    advice = "Close it, or write inside its `with` block."
    _pid = 0
    _keeps_dropped = False
    _is_dropped = False
    _is_settled = False

    def __init__(self, store: Callable[[Source], ObjectInfo], name: str) -> None:
        super().__init__()
        self.name = name
        self._pipe = _Pipe(name)
        self._stored: Future[ObjectInfo] = Future()
        self._before = id(sys.exception())
        self._pid = os.getpid()
        # The thread must not refer to this file. Otherwise a file without other references would
        # never be finalized and aborted.
        thread = threading.Thread(
            target=_store, args=(store, self._pipe, self._stored), name="s3crypt-write", daemon=True
        )
        _UNDER_WAY[self._pipe] = thread
        try:
            thread.start()
        except RuntimeError as error:
            del _UNDER_WAY[self._pipe]
            super().close()
            raise StorageError(
                f"{name}: there is no thread to store it.", hint="Close other files first."
            ) from error

    def keep_dropped(self) -> None:
        """Store the file's bytes even if the file is dropped without `close`.

        There are two exceptions: nothing is stored if the file still exists when the interpreter
        exits, or if it is dropped while an exception is handled that was raised after the file was
        opened.
        """
        _COLLECTIONS.watch()
        self._keeps_dropped = True

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True, although `seek` raises an error: text files need it for `tell` and a BOM."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Raise UnsupportedOperation: the file is written sequentially."""
        raise io.UnsupportedOperation(f"{self.name} is written in order: seek is not possible.")

    def tell(self) -> int:
        """Return the number of bytes written so far."""
        self._check_open()
        return self._pipe.position

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]  # typeshed's Buffer has no cast
        """Write all of `data`, and return the number of bytes."""
        self._check_open()
        view = as_bytes(data)
        if self._is_dropped and self._pipe.is_aborted:
            # A wrapper that is being finalized writes its last bytes. They are discarded with the
            # rest of the file.
            self._pipe.position += len(view)
            return len(view)
        try:
            self._pipe.feed(view)
            if self._stored.done():
                self._raise_failure()
            self._pipe.position += len(view)
            return len(view)
        except BaseException as error:
            # After an interrupt, it is unknown how much of `data` was passed to the reader. The
            # caller cannot repeat the write, so the file is aborted.
            self._pipe.fail()
            if self._is_dropped:
                # The finalizer of a wrapper called this method, and suppresses the error. A warning
                # is shown instead.
                _tell_lost(self._pipe, str(error))
            raise

    @property
    def info(self) -> ObjectInfo:
        """Return the facts about the stored object.

        Raises:
            ValueError: The object is not stored yet.
        """
        if not self._stored.done():
            raise ValueError("The object is known once the file is closed.")
        return self._stored.result()

    def close(self) -> None:
        """Store the object. Raise an error if that fails.

        If an exception is propagating or being handled, `close` aborts the file and raises this
        exception again, because a wrapper calls `close` when its own `with` block fails. To store a
        file in an exception handler, leave the `with` block of the file instead of calling `close`.
        """
        if self.closed:
            return
        if self._is_dropped:
            try:
                self.drop()
            finally:
                super().close()
            return
        error = sys.exception()
        if error is None:
            self._complete()
            return
        self.abort()
        message = f"{self.name}: {_ABORTED}"
        # If the exception existed before the file was opened, it may be propagating or already
        # handled; this cannot be distinguished. A StopIteration that is raised here would be taken
        # for the end of an iterator. In both cases a StorageError is raised instead.
        if id(error) == self._before or isinstance(error, StopIteration | StopAsyncIteration):
            raise StorageError(
                message,
                hint="It was closed while an exception was handled: use the file's own `with`.",
            ) from error
        error.add_note(message)
        raise error

    def _complete(self) -> None:
        if self.closed:
            return
        self._check_open()
        self._pipe.end()
        try:
            self._stored.exception()
        except BaseException:
            # After an interrupt, an object that is not stored yet must not be stored later.
            self._pipe.fail()
            raise
        finally:
            super().close()
        self._raise_failure()

    def abort(self) -> None:
        """Store nothing. Return after S3 has discarded the parts that were already sent."""
        if not self.closed:
            super().close()
            if os.getpid() == self._pid:
                self._pipe.abort()
                self._stored.exception()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._complete()
        else:
            self.abort()

    def __reduce__(self) -> NoReturn:
        raise TypeError("A file that is being written cannot be copied. Open another one.")

    def __del__(self) -> None:
        self.drop()

    def _dealloc_warn(self, source: object) -> None:
        # Python's own wrappers call this method when they are dropped without `close`. After that
        # they flush their remaining bytes and close this file.
        del source
        self._is_dropped = True
        if os.getpid() != self._pid:
            super().close()
        elif not self._is_to_be_kept():
            self._pipe.abort()

    def drop(self, on_stored: Callable[[], None] | None = None) -> None:
        """Discard the file, or store it if `keep_dropped` was called. Finalizers call this method.

        The method waits until the object is stored. It does not wait if the garbage collector or a
        thread that transfers objects calls it, because the upload itself could then be blocked.

        Args:
            on_stored: Is called after a kept file was stored, or could not be stored.
        """
        if not self.closed and not self._is_settled:
            self._is_dropped = self._is_settled = True
            if os.getpid() != self._pid:
                return
            if self._is_to_be_kept():
                self._keep()
            elif not self._pipe.is_told:
                self._pipe.abort()
                _tell_lost(self._pipe, f"it was dropped before close. {self.advice}")
        if on_stored and self._is_settled and self._keeps_dropped:
            self._stored.add_done_callback(lambda _: on_stored())

    def _is_to_be_kept(self) -> bool:
        if not self._keeps_dropped or self._pipe.is_aborted:
            return False
        error = sys.exception()
        # The garbage collector may run while an exception is handled that has nothing to do with
        # this file.
        return error is None or id(error) == self._before or _COLLECTIONS.is_here()

    def _keep(self) -> None:
        if _COLLECTIONS.is_here():
            # The wrappers of the file are garbage too, and must flush their remaining bytes first.
            _COLLECTIONS.afterwards(self._pipe.keep)
        else:
            self._pipe.keep()
            if current_stop() is None:
                self._stored.exception()
        self._stored.add_done_callback(partial(_tell_kept, self._pipe))

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        if os.getpid() != self._pid:
            # The thread that stores the file exists only in the parent process, so no thread reads
            # the bytes that are written here.
            raise StorageError(
                f"{self.name} was opened before this process was forked.",
                hint="Open it in the process that writes it.",
            )

    def _raise_failure(self) -> None:
        failure = self._stored.exception()
        if failure:
            raise failure


# The pipe of each running upload -> the thread of the upload.
_UNDER_WAY: dict[_Pipe, threading.Thread] = {}


def _store(store: Callable[[Source], ObjectInfo], pipe: _Pipe, stored: Future[ObjectInfo]) -> None:
    try:
        with stopping(pipe.stop):
            info = store(StreamSource(cast("BinaryIO", pipe)))
    except BaseException as error:  # noqa: BLE001 - handed to the writer, which raises it
        stored.set_exception(error)
    else:
        stored.set_result(info)
    finally:
        pipe.leave()
        _UNDER_WAY.pop(pipe, None)


def _tell_lost(pipe: _Pipe, reason: str) -> None:
    pipe.is_told = True
    told = pipe.name, pipe.position
    _log.warning("%s: dropped without close; nothing is stored of %d bytes", *told)
    # Python shows a RuntimeWarning by default, but not a ResourceWarning. The stack level selects
    # the line that dropped the file: it is above this function, `drop`, and the caller of `drop`.
    warnings.warn(
        f"{pipe.name}: nothing is stored of the {pipe.position} bytes written to it: {reason}",
        RuntimeWarning,
        stacklevel=4,
    )


def _tell_kept(pipe: _Pipe, stored: Future[ObjectInfo]) -> None:
    failure = stored.exception()
    if failure is None:
        _log.info("%s: dropped without close; its %d bytes are stored", pipe.name, pipe.position)
        return
    _log.warning("%s: dropped without close; it could not be stored", pipe.name)
    warnings.warn(
        f"{pipe.name}: nothing is stored of the {pipe.position} bytes written to it: {failure}",
        RuntimeWarning,
        stacklevel=2,
    )


@atexit.register
def _abort_all() -> None:
    """When the interpreter exits, abort the uploads that are still open."""
    under_way = [(pipe, thread) for pipe, thread in list(_UNDER_WAY.items()) if thread.is_alive()]
    lost = [pipe for pipe, _ in under_way if not (pipe.is_kept or pipe.is_aborted)]
    for pipe in lost:
        pipe.abort()
    try:
        for pipe in lost:
            _tell_lost(pipe, "the interpreter ended before close.")
    finally:
        for _, thread in under_way:
            thread.join()
