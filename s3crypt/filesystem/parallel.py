# SPDX-License-Identifier: Apache-2.0
"""The same work for many paths, side by side, with each result in its place."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from s3crypt.local.workers import each

# Requests without a body that are under way at once: what the plaintext's size needs of each
# object of a listing, 10,000 of them in a minute where each takes 0.2 s.
LOOKUPS = 32

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def side_by_side(
    items: Sequence[_Item],
    work: Callable[[_Item], _Result],
    *,
    workers: int = LOOKUPS,
    keep_errors: bool = False,
) -> list[Any]:
    """Return the result of each, in order; raise the first failure, or keep them all."""
    results: list[Any] = [None] * len(items)

    def work_on(index: int, _: object) -> None:
        results[index] = or_error(work, items[index]) if keep_errors else work(items[index])

    if len(items) == 1:
        work_on(0, None)
    elif items:
        each(iter(range(len(items))), work_on, workers)
    return results


def or_error(work: Callable[[_Item], _Result], item: _Item) -> "_Result | Exception":
    """Return the result, or the error."""
    try:
        return work(item)
    except Exception as error:  # noqa: BLE001 - handed to the caller, who asked for it
        return error
