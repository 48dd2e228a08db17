# SPDX-License-Identifier: Apache-2.0
"""Threads that share the work of one transfer, each with buffers of its own."""

import io
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self


@dataclass(slots=True)
class Buffers:
    """One worker's memory: runs of plaintext and of frames, and the part that is sent.

    `part` is a BytesIO because it hands its bytes out without a copy, and keeps them as they are
    for whoever still has them when the next part is written: then, and only then, it copies.
    botocore takes bytes whole; a view of a longer buffer it would copy.
    """

    plain: bytearray = field(default_factory=bytearray)
    sealed: bytearray = field(default_factory=bytearray)
    part: io.BytesIO = field(default_factory=io.BytesIO)

    def plain_of(self, length: int) -> memoryview:
        """Return `length` bytes for plaintext, made when first needed."""
        if len(self.plain) < length:
            self.plain = bytearray(length)
        return memoryview(self.plain)[:length]

    def sealed_of(self, length: int) -> memoryview:
        """Return `length` bytes for frames, made when first needed."""
        if len(self.sealed) < length:
            self.sealed = bytearray(length)
        return memoryview(self.sealed)[:length]

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


class Crew:
    """Threads that each call `work(buffers)` until it returns False, or one of them fails.

    Leaving the block, for whatever reason, waits for the parts under way: an upload may only
    be aborted, and a file only be removed, when nothing writes to it any more.
    """

    def __init__(self, workers: int, work: Callable[[Buffers], bool]) -> None:
        self._work = work
        self._stop = threading.Event()
        self._busy = 0
        self._idle = threading.Condition()
        self._failures: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, name=f"s3crypt-{index}", daemon=True)
            for index in range(workers)
        ]

    def __enter__(self) -> Self:
        try:
            for thread in self._threads:
                thread.start()
        except BaseException:
            # An interrupt; without __enter__'s end there is no __exit__.
            self._halt()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._halt()

    def _halt(self) -> None:
        # By count, since a thread whose start was interrupted can be running and not be joined.
        with self._idle:
            self._stop.set()
            self._idle.wait_for(lambda: not self._busy)

    def wait(self) -> None:
        """Return when all is done; raise the first failure."""
        for thread in self._threads:
            thread.join()
        if self._failures:
            raise self._failures[0]

    def _run(self) -> None:
        with self._idle:
            if self._stop.is_set():
                return
            self._busy += 1
        buffers = Buffers()
        try:
            while not self._stop.is_set() and self._work(buffers):
                pass
        except BaseException as error:  # noqa: BLE001 - handed to wait(), which raises it
            self._failures.append(error)
            self._stop.set()
        finally:
            with self._idle:
                self._busy -= 1
                self._idle.notify_all()
