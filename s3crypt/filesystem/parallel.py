# SPDX-License-Identifier: Apache-2.0
"""The same work for many paths in parallel, with results in the order of the paths."""

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
    """Return the result of each item, in order.

    After the first failure no further item is started. The error is raised once the items under
    way have ended.

    Args:
        connection: Its `is_far` decides how many items are under way at once.
        work: Called with an item, in several threads at once.
        items: The items to work on.
        most: Maximum number of items under way at once; 64 if left out.
        keep_errors: Return errors in the places of results instead of raising the first one.
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
    """Return the result of `work`, or the error that it raised."""
    try:
        return work(item)
    except Exception as error:  # noqa: BLE001 - handed to the caller, who asked for it
        return error
