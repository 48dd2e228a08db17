# SPDX-License-Identifier: Apache-2.0
"""fsspec's paths, `bucket/name`, and errors of the types that Python's files raise."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsspec.utils import check_contained

from s3crypt.errors import ConflictError, ObjectNotFoundError, PolicyError, StorageError
from s3crypt.location import split_bucket

from .remedies import in_storage_options


def split(path: str) -> tuple[str, str]:
    """Return the bucket and the object's name, which is empty for the bucket itself."""
    return split_bucket(path)


def uri_of(path: str) -> str:
    """Return the S3 URI of a path."""
    return f"s3://{path}"


def object_uri(path: str) -> str:
    """Return the S3 URI of an object; raise IsADirectoryError for a path without a name."""
    bucket, name = split(path)
    if not name:
        raise IsADirectoryError(f"{bucket or 'This'} is a bucket or all of them, not an object.")
    return uri_of(path)


def is_within(name: str, path: str) -> bool:
    """Return whether a name is `path` itself or below it."""
    return not path or name == path or name.startswith(f"{path}/")


def equally_many(sources: Sequence[Any], targets: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Return pairs of a source and its target; raise ValueError if the numbers differ."""
    if len(sources) != len(targets):
        raise ValueError("Paths and their targets must be equally many.")
    return list(zip(sources, targets, strict=True))


def check_targets(pairs: Iterable[tuple[Any, Any]]) -> None:
    """Check that no two sources have the same target: timing would decide which source it gets.

    Raises:
        ValueError: Two sources have the same target.
    """
    taken: dict[Any, Any] = {}
    for source, target in pairs:
        if taken.setdefault(target, source) != source:
            raise ValueError(f"{taken[target]} and {source} would both become {target}.")


def check_copies(pairs: Sequence[tuple[str, str]]) -> None:
    """Check that each copy has a target of its own, which is not itself the source of another.

    Raises:
        ValueError: A target is shared, or is another copy's source.
    """
    sources = {source for source, _ in pairs}
    taken: set[str] = set()
    for source, target in pairs:
        if target in taken:
            raise ValueError(f"Two objects would become {target}; nothing was copied.")
        if target != source and target in sources:
            raise ValueError(f"{target} is to be copied itself; nothing was copied.")
        taken.add(target)


def check_inside(root: str, targets: Sequence[str]) -> None:
    """Check that neither names of objects nor existing links lead out of a directory.

    Raises:
        ValueError: A name leads out of the directory.
        PolicyError: A link leads out of the directory.
    """
    # Anyone who may write objects chooses their names, which may contain `..`.
    check_contained(root, targets)
    real_root = Path(root).resolve()
    below = [Path(target) for target in targets if target.rstrip("/") != root.rstrip("/")]
    links = {path for path in below if path.is_symlink()}
    for path in sorted({path.parent for path in below} | links):
        if not path.resolve().is_relative_to(real_root):
            raise PolicyError(
                f"{path}: a link leads it out of {root}; nothing was fetched.",
                hint="Remove the link, or fetch to another directory.",
            )


@contextmanager
def as_files(*, is_exclusive: bool = False) -> Iterator[None]:
    """Raise errors as Python's files do: a missing bucket as FileNotFoundError, for example."""
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
