# SPDX-License-Identifier: Apache-2.0
"""Requests that are made while others are, each in a thread that its block does not outlive."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import TypeVar

from s3crypt.local.workers import current_stop, stopping

Result = TypeVar("Result")

# How soon it is noticed that the thread that waits is to stop.
_NOTICED_SECONDS = 0.05


@contextmanager
def beside(work: Callable[[], Result]) -> Iterator[Callable[[], Result]]:
    """Do work in a thread; give a function that waits for its result, or raises its failure.

    Leaving the block, for whatever reason, ends the work's pauses between attempts and waits for
    its request. A failure that nobody asks for is not raised.
    """
    done: Future[Result] = Future()
    stop, above = threading.Event(), current_stop()

    def run() -> None:
        # Cancelled where an interrupt came before the thread did.
        if not done.set_running_or_notify_cancel():
            return
        try:
            with stopping(stop):
                result = work()
        except BaseException as error:  # noqa: BLE001 - handed to whoever asks, who raises it
            done.set_exception(error)
        else:
            done.set_result(result)

    def result() -> Result:
        while above is not None and not wait([done], _NOTICED_SECONDS).done:
            if above.is_set():
                stop.set()
        return done.result()

    try:
        try:
            threading.Thread(target=run, name="s3crypt-beside", daemon=True).start()
        except RuntimeError:
            # No thread is to be had.
            run()
        yield result
    finally:
        stop.set()
        if not done.cancel():
            wait([done])
