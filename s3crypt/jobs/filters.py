# SPDX-License-Identifier: Apache-2.0
"""Which names of a tree a job works on: patterns of shells, in the order in which they are given.

This module knows neither files nor S3: a name is a text with slashes, relative to the tree.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from typing import Literal, TypeVar

from s3crypt.errors import ConfigError, ObjectNotFoundError

Item = TypeVar("Item")
# An opening bracket that is never closed is no wildcard.
_WILDCARD = re.compile(r"[*?]|\[[^\]/]+\]")


@dataclass(frozen=True, slots=True)
class NameFilter:
    """Selects names of a tree. Without rules and without a pattern it selects every name.

    `*` stands for any characters, slashes too, `?` for one character, `[abc]` and `[!a-c]` for one
    character of a set. Case matters.

    Attributes:
        rules: Pairs of `include` or `exclude` and a pattern. The last rule whose pattern fits a
            name decides, as in `aws s3 cp`. A name that no rule fits is included.
        pattern: A pattern that every selected name fits as well; None for no pattern. With a
            pattern, even `*`, it is an error if no name is selected.
    """

    rules: tuple[tuple[Literal["include", "exclude"], str], ...] = ()
    pattern: str | None = None

    def __post_init__(self) -> None:
        if any(kind not in ("include", "exclude") for kind, _ in self.rules):
            raise ConfigError("A rule of a filter is ('include', PATTERN) or ('exclude', PATTERN).")

    @staticmethod
    def split(name: str) -> tuple[str, str] | None:
        """Return the folder and the pattern of a name with wildcards; None for a name without.

        The folder ends at the last slash before the first wildcard.
        """
        found = _WILDCARD.search(name)
        if found is None:
            return None
        folder = name[: name.rfind("/", 0, found.start()) + 1]
        return folder, name[len(folder) :]

    def __bool__(self) -> bool:
        """Return whether names are selected: by rules or by a pattern, even by `*`."""
        return bool(self.rules) or self.pattern is not None

    def selects(self, name: str) -> bool:
        """Return whether the filter selects a name."""
        if self.pattern is not None and not _fits(self.pattern, name):
            return False
        kinds = (kind for kind, pattern in reversed(self.rules) if _fits(pattern, name))
        return next(kinds, "include") == "include"

    def __str__(self) -> str:
        pattern = [self.pattern] if self.pattern is not None else []
        return " ".join([*pattern, *(f"--{kind} {each}" for kind, each in self.rules)])

    @property
    def beginning(self) -> str:
        """Return the text that every selected name begins with: the pattern up to a wildcard."""
        return _WILDCARD.split(self.pattern or "", maxsplit=1)[0]


EVERY_NAME = NameFilter()
# The code of the error for a filter that selected nothing.
NOTHING_SELECTED = "NothingSelected"


def selected(
    items: Iterable[Item], names: NameFilter, name_of: Callable[[Item], str | None], where: str
) -> Iterator[Item]:
    """Yield the items whose names a filter selects, and those whose name is None.

    Raises:
        ObjectNotFoundError: No item was yielded although there is a filter.
    """
    is_empty = True
    for item in items:
        name = name_of(item)
        if name is None or names.selects(name):
            is_empty = False
            yield item
    if is_empty and names:
        raise ObjectNotFoundError(
            f"{where}: nothing below it has a name that fits {names}.",
            hint="Quote patterns, so that the shell leaves them alone.",
            code=NOTHING_SELECTED,
        )


def _fits(pattern: str, name: str) -> bool:
    return pattern == "*" or _compiled(pattern).match(name) is not None


@lru_cache(256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))
