# SPDX-License-Identifier: Apache-2.0
"""Objects written as files: what one thread writes, the part engine reads in another."""

import atexit
import io
import os
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from typing import BinaryIO, NoReturn, cast

from s3crypt.errors import StorageError
from s3crypt.local.sources import Source, StreamSource, as_bytes
from s3crypt.local.workers import stopping
from s3crypt.logs import logger_of

from .info import ObjectInfo

_log = logger_of(__name__)

_ABORTED = "nothing was stored, since writing it was not completed."


class _Pipe(io.RawIOBase):
    """Bytes on their way from a writer to a reader, without a buffer of its own.

    The reader lends its buffer, and the writer fills it: what is written waits for no memory but
    the parts'.
    """

    def __init__(self) -> None:
        super().__init__()
        # The lock itself is held, not its condition: leaving that may be interrupted in between.
        # And a file that is collected in here, by this thread, aborts in here.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._room = memoryview(b"")
        self._filled = 0
        self._has_ended = False
        self._is_aborted = False
        self._is_read = True
        # Ends the pauses between the attempts of a request.
        self.stop = threading.Event()

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer has no len
        """Wait until `buffer` is full or the writer has ended; return the bytes in it."""
        room = memoryview(buffer).cast("B")
        with self._lock:
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
        with self._lock:
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
        with self._lock:
            self._has_ended = True
            self._changed.notify_all()

    def abort(self) -> None:
        """Let the reader fail."""
        with self._lock:
            self._is_aborted = True
            self.stop.set()
            self._changed.notify_all()

    def leave(self) -> None:
        """Let the writer know that nobody reads any more."""
        with self._lock:
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
    _pid = 0

    def __init__(self, store: Callable[[Source], ObjectInfo], name: str) -> None:
        super().__init__()
        self.name = name
        self._pipe = _Pipe()
        self._stored: Future[ObjectInfo] = Future()
        self._position = 0
        self._before = id(sys.exception())
        self._pid = os.getpid()
        # It must not know this file: a file that nobody has any more is to be aborted.
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
        view = as_bytes(data)
        try:
            self._pipe.feed(view)
            if self._stored.done():
                self._raise_failure()
            self._position += len(view)
            return len(view)
        except BaseException:
            # An interrupt: how much of it was taken nobody knows, so it cannot be written again.
            self._pipe.abort()
            raise

    @property
    def info(self) -> ObjectInfo:
        """Return what is known of the object, once it is stored."""
        if not self._stored.done():
            raise ValueError("The object is known once the file is closed.")
        return self._stored.result()

    def close(self) -> None:
        """Store the object; raise if that fails.

        Called while an exception is on its way or handled, as by wrappers whose own `with` block
        fails, it aborts and lets the exception go on: leave the file's own `with` block instead.
        """
        if self.closed:
            return
        error = sys.exception()
        if error is None:
            self._complete()
            return
        self.abort()
        message = f"{self.name}: {_ABORTED}"
        # Where it was there already, whether it goes on cannot be told; and one that ends an
        # iterator would be taken for that.
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
            # An interrupt: what is not stored by now is not going to be.
            self._pipe.abort()
            raise
        finally:
            super().close()
        self._raise_failure()

    def abort(self) -> None:
        """Store nothing; return once what was sent is discarded."""
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
        raise TypeError("A file that is being written is not copied; open another one.")

    def __del__(self) -> None:
        if not self.closed:
            self._drop()

    def _dealloc_warn(self, source: object) -> None:
        # Python's own wrappers, when they are dropped unclosed, call this before they close it.
        del source
        self._drop()

    def _drop(self) -> None:
        super().close()
        if os.getpid() == self._pid:
            # Not waited for: who collects garbage may hold what the upload needs.
            self._pipe.abort()
            _log.warning("%s: dropped without close; nothing is stored", self.name)
            warnings.warn(f"{self.name}: {_ABORTED}", ResourceWarning, stacklevel=3, source=self)

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


# Uploads under way, and the threads that they are in.
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


@atexit.register
def _abort_all() -> None:
    """Where the interpreter ends first, leave no upload open either."""
    under_way = [(pipe, thread) for pipe, thread in list(_UNDER_WAY.items()) if thread.is_alive()]
    for pipe, _ in under_way:
        pipe.abort()
    for _, thread in under_way:
        thread.join()
