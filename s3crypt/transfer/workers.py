# SPDX-License-Identifier: Apache-2.0
"""Threads that share the work of one transfer, each with buffers of its own."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self


@dataclass(slots=True)
class Buffers:
    """One worker's memory: a part's plaintext, and the part."""

    plain: bytearray = field(default_factory=bytearray)
    body: bytearray = field(default_factory=bytearray)


def fit(buffer: bytearray, length: int) -> bytearray:
    """Return `buffer` cut to `length` bytes, or another one where it is too short.

    botocore takes a bytearray whole, not a view of one. Growing one by `extend` would allot an
    eighth more than asked for, and twice the length while it does.
    """
    if len(buffer) < length:
        return bytearray(length)
    del buffer[length:]
    return buffer


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
