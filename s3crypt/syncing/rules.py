# SPDX-License-Identifier: Apache-2.0
"""When a source and its target differ. This module is pure: it sends no request and reads no file.

Modification times exist on both sides if the object has the `mtime` entry. An object without it, or
whose metadata was not requested, is compared by the time at which it was stored, as `aws s3 sync`
compares it.
"""

from dataclasses import dataclass
from typing import Literal

from s3crypt import metadata as entries
from s3crypt.jobs import FoundFile
from s3crypt.modes import ClientSide
from s3crypt.objects.access import ListedObject
from s3crypt.objects.info import ObjectInfo, time_ns

# `unclear`: the listing says that they differ; equal modification times would prove the opposite.
Verdict = Literal["same", "different", "unclear"]

# Resolutions of file systems and tools in nanoseconds: a second, a microsecond, NTFS's 100 ns.
_RESOLUTIONS = (10**9, 10**3, 10**2)


@dataclass(frozen=True, slots=True)
class State:
    """What is known about one side of a pair.

    Attributes:
        size: Plaintext bytes; None if they cannot be computed.
        stored_ns: The time at which the file or the object was last written, in nanoseconds.
        modified_ns: The modification time of the content: a file's, or an object's `mtime` entry.
        is_file: Whether it is a file.
        is_sealed: Whether it is encrypted client-side.
        is_known: Whether `modified_ns` is final: a listing shows no metadata.
    """

    size: int | None
    stored_ns: int
    modified_ns: int | None = None
    is_file: bool = False
    is_sealed: bool = False
    is_known: bool = True


def of_file(found: FoundFile) -> State:
    """Return the state of a file."""
    return State(found.size, found.mtime_ns, found.mtime_ns, is_file=True)


def of_listing(listed: ListedObject) -> State:
    """Return the state of an object that S3 decrypts, by its entry in a listing."""
    return State(listed.stored_size, time_ns(listed.last_modified), is_known=False)


def of_info(info: ObjectInfo, listed: ListedObject) -> State:
    """Return the state of an object whose metadata was requested."""
    return State(
        info.size,
        time_ns(info.last_modified or listed.last_modified),
        entries.time_of(info.metadata),
        is_sealed=info.mode == ClientSide.name,
    )


def compare(source: State, target: State, *, size_only: bool = False) -> Verdict:
    """Return whether the target must be written again."""
    if source.size != target.size or source.size is None:
        return "different"
    if size_only:
        return "same"
    if source.modified_ns is not None and target.modified_ns is not None:
        if is_same_time(source.modified_ns, target.modified_ns):
            return "same"
        if source.is_sealed or target.is_sealed:
            # Requests for the sizes have shown the modification times, too: they decide.
            return "different"
    if _is_current(source, target):
        return "same"
    return "different" if source.is_known and target.is_known else "unclear"


def _is_current(source: State, target: State) -> bool:
    """Return whether the times of writing show no newer source.

    A file that is as old as its object, or older, was stored as that object or fetched from it. A
    file that is newer was written since.
    """
    if target.is_file:
        return target.stored_ns <= source.stored_ns
    return source.stored_ns <= target.stored_ns


def is_same_time(one: int, other: int) -> bool:
    """Return whether two times in nanoseconds are equal in the coarser of their resolutions."""
    step = next((each for each in _RESOLUTIONS if not one % each or not other % each), 1)
    return one // step == other // step
