# SPDX-License-Identifier: Apache-2.0
"""Concurrent requests, each in a thread that ends before the `with` block does."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import TypeVar

from s3crypt.local.workers import current_stop, stopping

Result = TypeVar("Result")

# The interval at which a waiting thread checks whether it must stop.
_NOTICED_SECONDS = 0.05


@contextmanager
def beside(work: Callable[[], Result]) -> Iterator[Callable[[], Result]]:
    """Run `work` in a thread; yield a function that waits for its result or raises its error.

    On every exit from the block, the work's pauses between attempts end and its running request is
    awaited. If the function is not called, an error of the work is not raised.
    """
    done: Future[Result] = Future()
    stop, above = threading.Event(), current_stop()

    def run() -> None:
        # The future is cancelled if an interrupt came before the thread began.
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
            # No thread can be started, so the work runs here.
            run()
        yield result
    finally:
        stop.set()
        if not done.cancel():
            wait([done])
