# SPDX-License-Identifier: Apache-2.0
"""Select the names in a tree on which a job works, by shell patterns.

This module does not know files or S3: a name is a text with slashes, relative to the tree.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from typing import Literal, TypeVar

from s3crypt.errors import ConfigError, ObjectNotFoundError

Item = TypeVar("Item")
# A bracket that is opened and never closed is not a wildcard.
_WILDCARD = re.compile(r"[*?]|\[[^\]/]+\]")


@dataclass(frozen=True, slots=True)
class NameFilter:
    """Selects names in a tree. Without rules and without a pattern, it selects every name.

    `*` matches any characters including slashes, `?` matches one character, and `[abc]` and
    `[!a-c]` match one character of a set. Upper and lower case are different.

    Attributes:
        rules: Pairs of `include` or `exclude` and a pattern. The last rule whose pattern matches a
            name decides, as in `aws s3 cp`. A name that no rule matches is included.
        pattern: A pattern that every selected name must match, too.
    """

    rules: tuple[tuple[Literal["include", "exclude"], str], ...] = ()
    pattern: str | None = None

    def __post_init__(self) -> None:
        if any(kind not in ("include", "exclude") for kind, _ in self.rules):
            raise ConfigError("A rule of a filter is ('include', PATTERN) or ('exclude', PATTERN).")

    @staticmethod
    def split(name: str) -> tuple[str, str] | None:
        """Return the folder and the pattern of a name with wildcards.

        Return None if the name has no wildcard.

        The folder ends at the last slash before the first wildcard.
        """
        found = _WILDCARD.search(name)
        if found is None:
            return None
        folder = name[: name.rfind("/", 0, found.start()) + 1]
        return folder, name[len(folder) :]

    def __bool__(self) -> bool:
        """Return whether the filter has rules or a pattern. The pattern `*` counts, too."""
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
        """Return the text before the first wildcard: every selected name begins with it."""
        return _WILDCARD.split(self.pattern or "", maxsplit=1)[0]


EVERY_NAME = NameFilter()
# The error code for a filter that selected nothing.
NOTHING_SELECTED = "NothingSelected"


def selected(
    items: Iterable[Item], names: NameFilter, name_of: Callable[[Item], str | None], where: str
) -> Iterator[Item]:
    """Yield the items whose names the filter selects, and the items whose name is None.

    Raises:
        ObjectNotFoundError: The filter can exclude names, and no item was yielded.
    """
    is_empty = True
    for item in items:
        name = name_of(item)
        if name is None or names.selects(name):
            is_empty = False
            yield item
    if is_empty and names:
        raise ObjectNotFoundError(
            f"{where}: no name below it fits {names}.",
            hint="Quote the patterns, so that the shell does not expand them.",
            code=NOTHING_SELECTED,
        )


def _fits(pattern: str, name: str) -> bool:
    return pattern == "*" or _compiled(pattern).match(name) is not None


@lru_cache(256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))
