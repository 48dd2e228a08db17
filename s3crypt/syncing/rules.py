# SPDX-License-Identifier: Apache-2.0
"""Decide whether a source and its target differ. No requests, and no files are read.

Modification times of both sides are known if the object's metadata has the entry `mtime`. If it
does not, or if its metadata was not requested, the time at which the object was stored is compared,
as `aws s3 sync` does.
"""

from dataclasses import dataclass
from typing import Literal

from s3crypt import metadata as entries
from s3crypt.jobs import FoundFile
from s3crypt.modes import ClientSide
from s3crypt.objects.access import ListedObject
from s3crypt.objects.info import ObjectInfo, time_ns

# `unclear` means that the times in the listing are different, but the modification times in the
# metadata may be equal. Then the metadata must be requested.
Verdict = Literal["same", "different", "unclear"]

# The time resolutions of file systems and tools in nanoseconds: a second, a microsecond, and the
# 100 ns of NTFS.
_RESOLUTIONS = (10**9, 10**3, 10**2)


@dataclass(frozen=True, slots=True)
class State:
    """The known facts about one side of a pair.

    Attributes:
        size: The number of plaintext bytes. None if it cannot be computed.
        stored_ns: The time at which the file or the object was last written, in nanoseconds.
        modified_ns: The modification time of the content in nanoseconds: of the file, or from the
            object's `mtime` entry. None if unknown.
        is_file: Whether it is a file.
        is_sealed: Whether this side is encrypted client-side.
        is_known: Whether `modified_ns` is final. It is False for an object from a listing, because
            its metadata was not requested.
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
    """Return the state of an object that S3 decrypts, from its entry in a listing."""
    return State(listed.stored_size, time_ns(listed.last_modified), is_known=False)


def of_info(info: ObjectInfo, listed: ListedObject) -> State:
    """Return the state of an object, from its metadata and its entry in a listing."""
    return State(
        info.size,
        time_ns(info.last_modified or listed.last_modified),
        entries.time_of(info.metadata),
        is_sealed=info.mode == ClientSide.name,
    )


def compare(source: State, target: State, *, size_only: bool = False) -> Verdict:
    """Compare source and target. For `different`, the target must be written again."""
    if source.size != target.size or source.size is None:
        return "different"
    if size_only:
        return "same"
    if source.modified_ns is not None and target.modified_ns is not None:
        if is_same_time(source.modified_ns, target.modified_ns):
            return "same"
        if source.is_sealed or target.is_sealed:
            # The modification times are known for both sides, because they were requested together
            # with the sizes. So these times decide.
            return "different"
    if _is_current(source, target):
        return "same"
    return "different" if source.is_known and target.is_known else "unclear"


def _is_current(source: State, target: State) -> bool:
    """Return whether the target is current, by the times at which both sides were written.

    A file that is not newer than its object was stored as this object or fetched from it. A file
    that is newer was written after that.
    """
    if target.is_file:
        return target.stored_ns <= source.stored_ns
    return source.stored_ns <= target.stored_ns


def is_same_time(one: int, other: int) -> bool:
    """Return whether two times in nanoseconds are equal in the coarser of their two resolutions."""
    step = next((each for each in _RESOLUTIONS if not one % each or not other % each), 1)
    return one // step == other // step
