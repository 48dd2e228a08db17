# SPDX-License-Identifier: Apache-2.0
"""Run a request in another thread. The thread ends before the `with` block ends."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import TypeVar

from s3crypt.local.workers import current_stop, stopping

Result = TypeVar("Result")

# A waiting thread checks at this interval whether it must stop.
_NOTICED_SECONDS = 0.05


@contextmanager
def beside(work: Callable[[], Result]) -> Iterator[Callable[[], Result]]:
    """Run `work` in a thread. Yield a function that waits for its result, or raises its error.

    At the end of the block, also after an error, the work stops pausing between attempts, and its
    running request is waited for. If the function is not called, an error of the work is ignored.
    """
    done: Future[Result] = Future()
    stop, above = threading.Event(), current_stop()

    def run() -> None:
        # If an interrupt arrived before the thread began, the future was cancelled.
        if not done.set_running_or_notify_cancel():
            return
        try:
            with stopping(stop):
                result = work()
        except BaseException as error:  # noqa: BLE001 - passed to the caller of the function, which raises it
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
            # No thread can be started, so the work is done here.
            run()
        yield result
    finally:
        stop.set()
        if not done.cancel():
            wait([done])
