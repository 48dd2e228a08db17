# SPDX-License-Identifier: Apache-2.0
"""The selection of a command's objects and files: sources, wildcards, --include, --exclude."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import click

import s3crypt
from s3crypt.errors import ConfigError, StorageError

from .completion import complete_path
from .help import MANY, DocumentedCommand
from .options import Command, option
from .own_keys import OwnKeys
from .places import prefix_of, split_uri

if TYPE_CHECKING:
    from s3crypt import ListedObject, NameFilter, S3Crypt

Rules = tuple[tuple[str, str], ...]
_KINDS = ("include", "exclude")


class FilteringCommand(DocumentedCommand):
    """A command with --include and --exclude, passed to it as `rules` in the given order."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        """Parse the arguments, and keep the order of both options, which click does not keep."""
        values, _, order = self.make_parser(context).parse_args(list(arguments))
        given = {kind: iter(values.get(kind) or ()) for kind in _KINDS}
        rules = [
            (str(each.name), next(given[str(each.name)])) for each in order if each.name in _KINDS
        ]
        rest = super().parse_args(context, arguments)
        for kind in _KINDS:
            context.params.pop(kind, None)
        context.params["rules"] = tuple(rules)
        return rest


sources_argument = click.argument(
    "sources", metavar="SOURCE...", nargs=-1, required=True, shell_complete=complete_path
)


def filter_options(command: Command) -> Command:
    """Give a `FilteringCommand` --include and --exclude."""
    for kind, text in (
        ("exclude", "Skip names that fit; the last rule that fits a name decides."),
        ("include", "Include names that fit nevertheless; * also matches slashes."),
    ):
        command = option(
            f"--{kind}", multiple=True, environment=False, group=MANY, metavar="PATTERN", help=text
        )(command)
    return command


@dataclass(frozen=True, slots=True)
class Tree:
    """The objects below a prefix, or the objects that match a pattern.

    Attributes:
        prefix: The URI up to its last slash.
        names: Selects objects by the rest of their names.
        own_name: The folder below the target for these objects if there are several sources, or ''
            for a pattern.
    """

    prefix: str
    names: "NameFilter"
    own_name: str


@dataclass(frozen=True, slots=True)
class Sources:
    """The sources of a command in S3: single objects, and trees."""

    objects: tuple[str, ...]
    trees: tuple[Tree, ...]

    @property
    def single(self) -> str | None:
        """Return the URI of the only source if it is one object."""
        return self.objects[0] if len(self.objects) == 1 and not self.trees else None


def sources_of(
    store: "S3Crypt", uris: Sequence[str], rules: Rules, *, recursive: bool, verb: str
) -> Sources:
    """Return the objects and trees that the URIs name.

    A name with a wildcard is a pattern, unless an object has exactly this name.

    Raises:
        ConfigError: A URI is a prefix without -r, or there are rules without a tree.
    """
    objects, trees = [], []
    for uri in uris:
        bucket, name = split_uri(uri)
        if split := _glob(store, uri, name):
            folder, pattern = split
            names = _filter(rules, pattern)
            trees.append(Tree(f"s3://{bucket}/{folder}", names, ""))
        elif recursive:
            prefix = prefix_of(uri)
            own = prefix.rstrip("/").rpartition("/")[2]
            trees.append(Tree(prefix, _filter(rules), own))
        elif not name:
            raise ConfigError(f"{uri} is a prefix.", hint=f"Give -r to {verb} all below it.")
        else:
            objects.append(uri)
    if rules and not trees:
        raise ConfigError("--include and --exclude need -r.", hint="Give -r, or omit them.")
    return Sources(tuple(objects), tuple(trees))


def _glob(store: "S3Crypt", uri: str, name: str) -> tuple[str, str] | None:
    split = s3crypt.NameFilter.split(name)
    try:
        return None if split is None or store.exists(uri) else split
    except StorageError as error:
        # Without the permission to list, a pattern finds nothing anyway.
        if error.code not in ("403", "AccessDenied"):
            raise
        return None


def _filter(rules: Rules, pattern: str | None = None) -> "NameFilter":
    return s3crypt.NameFilter(rules, pattern)  # type: ignore[arg-type]  # click has checked them


def local_filter(rules: Rules) -> "NameFilter":
    """Return the filter for the files below a folder."""
    return _filter(rules)


def sparing(
    names: "NameFilter",
    folder: str | Path,
    key_files: Iterable[str],
    report: Callable[[str, str], None],
) -> "NameFilter":
    """Return a filter that also leaves out the command's own key files below a folder.

    An object must not be the only copy of the key that encrypts it. If an object or a file were
    written over the key file, everything encrypted under the key would be lost.
    """
    if not (keys := OwnKeys.of(key_files)).paths:
        return names
    from .sparing import SparingFilter  # noqa: PLC0415 - it loads SQLite

    return SparingFilter(
        names.rules,
        names.pattern,
        folder=str(folder),
        keys=keys,
        report=report,
        paths=keys.names_below(folder),
    )


def listed(store: "S3Crypt", sources: Sources) -> "Iterator[tuple[ListedObject, Any]]":
    """Yield the objects of trees, as `Many.list` does."""
    for tree in sources.trees:
        yield from store.many.list(tree.prefix, names=tree.names)


def last_part(uri: str) -> str:
    """Return the last part of an object's name, which is its file's name.

    Raises:
        ConfigError: The name has no part that can be a file's name.
    """
    name = PurePosixPath(split_uri(uri)[1]).name
    if not name or name == "..":
        raise ConfigError(f"{uri} has no file name; name the target.")
    return name


def check_distinct(names: Iterable[str], told: Sequence[str]) -> None:
    """Refuse several sources that would have the same target.

    Raises:
        ConfigError: Two names are equal.
    """
    seen: dict[str, str] = {}
    for name, source in zip(names, told, strict=True):
        if name in seen:
            raise ConfigError(
                f"{seen[name]} and {source} have the same target, {name}.",
                hint="Give one of them another target.",
            )
        seen[name] = source
