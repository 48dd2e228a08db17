# SPDX-License-Identifier: Apache-2.0
"""Do the same work for many items in parallel. The results are in the order of the items."""

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, TypeVar

from s3crypt.jobs import run

from .connection import Connection

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def parallel_map(
    connection: Connection,
    work: Callable[[_Item], _Result],
    items: Sequence[_Item],
    *,
    most: int | None = None,
    keep_errors: bool = False,
) -> list[Any]:
    """Return the result of `work` for each item, in the order of the items.

    After the first error, no further item is started. The error is raised when the items in
    progress have ended.

    Args:
        connection: The connection. Its `is_far` decides how many items are in progress at the same
            time.
        work: Is called with an item. Several threads call it at the same time.
        items: The items.
        most: The maximum number of items in progress. None for 64.
        keep_errors: Whether to return an error in the place of a result, instead of raising the
            first error.
    """

    def work_on(place: int) -> Any:
        return or_error(work, items[place])

    results: list[Any] = [None] * len(items)
    if len(items) == 1:
        results[0] = work_on(0) if keep_errors else work(items[0])
    elif items:
        job = run(range(len(items)), work_on, most=most, is_far=lambda: connection.is_far)
        with closing(job) as outcomes:
            for outcome in outcomes:
                if isinstance(outcome.result, Exception) and not keep_errors:
                    raise outcome.result
                results[outcome.item] = outcome.result
    return results


def or_error(work: Callable[[_Item], _Result], item: _Item) -> "_Result | Exception":
    """Return the result of `work`, or the exception that it raised."""
    try:
        return work(item)
    except Exception as error:  # noqa: BLE001 - returned to the caller
        return error
