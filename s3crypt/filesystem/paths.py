# SPDX-License-Identifier: Apache-2.0
"""Paths of fsspec, `bucket/name`, and errors as Python's files raise them."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from s3crypt.errors import ConflictError, ObjectNotFoundError, StorageError
from s3crypt.location import split_bucket

from .remedies import in_storage_options


def split(path: str) -> tuple[str, str]:
    """Return the bucket and the name in it, which is empty for the bucket itself."""
    return split_bucket(path)


def uri_of(path: str) -> str:
    """Return what the store calls it."""
    return f"s3://{path}"


def object_uri(path: str) -> str:
    """Return what the store calls an object; refuse what can be none."""
    bucket, name = split(path)
    if not name:
        raise IsADirectoryError(f"{bucket or 'This'} is a bucket or all of them, not an object.")
    return uri_of(path)


def is_within(name: str, path: str) -> bool:
    """Tell whether a name is a directory's, or of something in it."""
    return not path or name == path or name.startswith(f"{path}/")


def equally_many(sources: Sequence[Any], targets: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Return pairs of a source and its target."""
    if len(sources) != len(targets):
        raise ValueError("Paths and their targets must be equally many.")
    return list(zip(sources, targets, strict=True))


def check_targets(pairs: Iterable[tuple[Any, Any]]) -> None:
    """Check that no two sources have one target: chance would decide which of them it gets.

    Raises:
        ValueError: Two have.
    """
    taken: dict[Any, Any] = {}
    for source, target in pairs:
        if taken.setdefault(target, source) != source:
            raise ValueError(f"{taken[target]} and {source} would both become {target}.")


@contextmanager
def as_files(*, is_exclusive: bool = False) -> Iterator[None]:
    """Raise what Python's files do: to their users a bucket is a directory, missing as one."""
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
