# SPDX-License-Identifier: Apache-2.0
"""Filters of names: order of rules, matching of patterns, and the prefix for a listing."""

from __future__ import annotations

import pytest

from s3crypt import NameFilter
from s3crypt.errors import ConfigError, ObjectNotFoundError
from s3crypt.jobs import selected
from s3crypt.objects.content_types import content_type_of

NAMES = ("a.csv", "b.txt", "sub/c.csv", "sub/d.TXT")


@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        ((), NAMES),
        ((("exclude", "*"),), ()),
        ((("exclude", "*"), ("include", "*.csv")), ("a.csv", "sub/c.csv")),
        ((("include", "*.csv"), ("exclude", "*")), ()),
        ((("include", "*.csv"),), NAMES),
        ((("exclude", "sub/*"), ("include", "*.TXT")), ("a.csv", "b.txt", "sub/d.TXT")),
        ((("exclude", "?.txt"),), ("a.csv", "sub/c.csv", "sub/d.TXT")),
        ((("exclude", "[ab].*"),), ("sub/c.csv", "sub/d.TXT")),
    ],
)
def test_the_last_rule_that_fits_decides(
    rules: tuple[tuple[str, str], ...], wanted: object
) -> None:
    """The last matching rule decides, as in `aws s3 cp`, and * also matches slashes."""
    names = NameFilter(rules)  # type: ignore[arg-type]  # the rules of a test are text
    assert tuple(name for name in NAMES if names.selects(name)) == wanted


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("2026/*.csv", ("2026/", "*.csv")),
        ("*", ("", "*")),
        ("a/b?/c", ("a/", "b?/c")),
        ("a/[xy]z", ("a/", "[xy]z")),
        ("a/b", None),
        ("a/[b", None),
        ("a/b]", None),
    ],
)
def test_a_name_with_wildcards_is_a_folder_and_a_pattern(
    name: str, split: tuple[str, str] | None
) -> None:
    """A name is split before its first wildcard; an unclosed bracket is no wildcard."""
    assert NameFilter.split(name) == split


def test_a_listing_begins_with_what_all_names_have() -> None:
    """A listing begins with the fixed beginning of the pattern, so it has no needless names."""
    assert NameFilter(pattern="ab*c").beginning == "ab"
    assert NameFilter().beginning == ""


def test_a_filter_that_selects_nothing_is_an_error() -> None:
    """A filter that matches no name is an error; an empty source without a filter is not."""
    with pytest.raises(ObjectNotFoundError, match="fits x"):
        list(selected(["a"], NameFilter(pattern="x"), str, "there"))
    with pytest.raises(ObjectNotFoundError, match=r"fits \*\."):
        list(selected([], NameFilter(pattern="*"), str, "there"))
    assert list(selected([], NameFilter(), str, "there")) == []


def test_a_rule_of_another_kind_is_refused() -> None:
    """A misspelt kind of rule is refused: it would include names that it should exclude."""
    with pytest.raises(ConfigError, match="rule of a filter"):
        NameFilter((("exlude", "*"),))  # type: ignore[arg-type]  # the mistake under test


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("q3.csv", "text/csv"),
        ("a/b.JSON", "application/json"),
        ("x.tar.gz", "application/gzip"),
        ("x.csv.zst", "application/zstd"),
        (".csv", None),
        ("csv", None),
        ("a.csv/b", None),
        ("x.unknown", None),
        ("", None),
    ],
)
def test_the_content_type_of_a_name(name: str, wanted: str | None) -> None:
    """The content type depends on the last suffix only, not on the machine's tables."""
    assert content_type_of(name) == wanted
