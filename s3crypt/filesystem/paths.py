# SPDX-License-Identifier: Apache-2.0
"""Paths of fsspec (`bucket/name`), and errors with the types that Python's files raise."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsspec.utils import check_contained

from s3crypt.errors import ConflictError, ObjectNotFoundError, PolicyError, StorageError
from s3crypt.location import split_bucket

from .remedies import in_storage_options


def split(path: str) -> tuple[str, str]:
    """Return the bucket and the object's name. The name is empty if the path is a bucket."""
    return split_bucket(path)


def uri_of(path: str) -> str:
    """Return the S3 URI of a path."""
    return f"s3://{path}"


def object_uri(path: str) -> str:
    """Return the S3 URI of an object. Raise IsADirectoryError for a path without a name."""
    bucket, name = split(path)
    if not name:
        raise IsADirectoryError(f"{bucket or 'This'} is a bucket or all of them, not an object.")
    return uri_of(path)


def is_within(name: str, path: str) -> bool:
    """Return whether `name` is the path itself or is below it."""
    return not path or name == path or name.startswith(f"{path}/")


def equally_many(sources: Sequence[Any], targets: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Return pairs of a source and its target. Raise ValueError if their numbers differ."""
    if len(sources) != len(targets):
        raise ValueError("Paths and their targets must be equally many.")
    return list(zip(sources, targets, strict=True))


def check_targets(pairs: Iterable[tuple[Any, Any]]) -> None:
    """Check that no two sources have the same target.

    Otherwise it would depend on the timing which source the target gets.

    Raises:
        ValueError: Two sources have the same target.
    """
    taken: dict[Any, Any] = {}
    for source, target in pairs:
        if taken.setdefault(target, source) != source:
            raise ValueError(f"{taken[target]} and {source} would both become {target}.")


def check_copies(pairs: Sequence[tuple[str, str]]) -> None:
    """Check that each copy has its own target, and that no target is the source of another copy.

    Raises:
        ValueError: Two copies have the same target, or a target is the source of another copy.
    """
    sources = {source for source, _ in pairs}
    taken: set[str] = set()
    for source, target in pairs:
        if target in taken:
            raise ValueError(f"Two objects would become {target}; nothing was copied.")
        if target != source and target in sources:
            raise ValueError(f"{target} is also a source of this copy; nothing was copied.")
        taken.add(target)


def check_inside(root: str, targets: Sequence[str]) -> None:
    """Check that neither the names of objects nor existing links lead out of a directory.

    Raises:
        ValueError: The name of an object leads out of the directory.
        PolicyError: A link leads out of the directory.
    """
    # Anyone who can write objects can choose their names, which may contain `..`.
    check_contained(root, targets)
    real_root = Path(root).resolve()
    below = [Path(target) for target in targets if target.rstrip("/") != root.rstrip("/")]
    links = {path for path in below if path.is_symlink()}
    for path in sorted({path.parent for path in below} | links):
        if not path.resolve().is_relative_to(real_root):
            raise PolicyError(
                f"{path}: its path leads through a link out of {root}; nothing was fetched.",
                hint="Remove the link, or fetch to another directory.",
            )


@contextmanager
def as_files(*, is_exclusive: bool = False) -> Iterator[None]:
    """Raise errors of the types that Python's files raise, such as FileNotFoundError."""
    try:
        with in_storage_options():
            yield
    except ConflictError as error:
        if not is_exclusive:
            raise
        raise FileExistsError(str(error)) from error
    except StorageError as error:
        if error.code not in ("NoSuchBucket", "NoSuchAccessPoint"):
            raise
        raise ObjectNotFoundError(
            str(error), hint=error.hint, code=error.code, request_id=error.request_id
        ) from error
