# SPDX-License-Identifier: Apache-2.0
"""The join of KMS's events with S3's, in bounded memory.

S3 and KMS each record their own part of an access. The encryption context in KMS's record names
the object, its bucket or both. The record of S3 about the same object, of the same caller and at
about the same time, shows the bucket where the context lacks it. This module reads no record.
"""

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count

from .accesses import Access, access_of
from .records import NOWHERE, Event, Place

WINDOW = timedelta(seconds=60)
"""How far apart the records of S3 and of KMS about one access may be."""

# What is asked of S3 for a read, and for a write whose data key is new.
_OF_READS = frozenset({"GetObject", "HeadObject", "SelectObjectContent"})
_OF_WRITES = frozenset({"PutObject", "CreateMultipartUpload", "PostObject"})
_SECONDS = int(WINDOW.total_seconds())
# Seconds from an event to others, the nearest first.
_NEAREST_FIRST = sorted(range(-_SECONDS, _SECONDS + 1), key=abs)


@dataclass(slots=True)
class Joined:
    """How many of KMS's events found S3's.

    Attributes:
        joined: Events of KMS with a record of S3 beside them.
        without_bucket: Those that name an object, and of which no record shows the bucket.
        ambiguous: Those among them that fit records of S3 about several buckets.
    """

    joined: int = 0
    without_bucket: int = 0
    ambiguous: int = 0


@dataclass(slots=True)
class _Entry:
    """An event that waits, and whether an event of KMS has been joined with it."""

    event: Event
    is_taken: bool = False


class Join:
    """Joins events as they come.

    Up to `most` events wait, and the earliest is decided first. Whatever order the records have,
    those of one access are joined unless more than `most` others came between them.

    Args:
        most: Events that wait, at most. With 0 nothing is joined.
    """

    def __init__(self, most: int) -> None:
        self.counts = Joined()
        self._most = most
        self._heap: list[tuple[datetime, int, _Entry]] = []
        self._numbers = count()
        self._of_s3 = _OfS3()
        self._shared: dict[str, _Entry] = {}

    def add(self, event: Event) -> Iterator[Access]:
        """Let an event wait; yield what is decided by now."""
        if event.shared_id and self._is_second_record(event, event.shared_id):
            return
        entry = _Entry(event)
        if event.shared_id:
            self._shared[event.shared_id] = entry
        due = event.time
        if event.service == "s3":
            # Later than every event of KMS that it may be joined with.
            due += WINDOW
            self._of_s3.add(entry)
        heapq.heappush(self._heap, (due, next(self._numbers), entry))
        yield from self._decide_until(self._most)

    def turn(self) -> Iterator[Access]:
        """Yield the accesses of events that wait, where records of an earlier time follow.

        Those would be decided before the ones that wait, and too early. A buffer that is less
        than half full has room for them.
        """
        if len(self._heap) > self._most // 2:
            yield from self.end()

    def end(self) -> Iterator[Access]:
        """Yield the accesses of all events that wait."""
        yield from self._decide_until(0)

    def _decide_until(self, most: int) -> Iterator[Access]:
        while len(self._heap) > most:
            entry = heapq.heappop(self._heap)[2]
            if entry.event.shared_id:
                self._shared.pop(entry.event.shared_id, None)
            if entry.event.service == "kms":
                for place in entry.event.places or (NOWHERE,):
                    yield self._of_kms(entry.event, place)
                continue
            self._of_s3.remove(entry)
            if not entry.is_taken:
                # A copy is an access to its source as well.
                for place in entry.event.places:
                    yield access_of(entry.event, place)

    def _is_second_record(self, event: Event, shared_id: str) -> bool:
        """Return whether an event that waits is the same one, recorded for another account.

        The record that names the caller by an ARN is kept.
        """
        entry = self._shared.get(shared_id)
        if entry is None:
            return False
        if event.principal.has_arn and not entry.event.principal.has_arn:
            # Both have the same mark, by which the entry is found.
            entry.event = replace(entry.event, principal=event.principal, id=event.id)
        return True

    def _of_kms(self, event: Event, place: Place) -> Access:
        bucket, entry = self._of_s3.find(event, place)
        if bucket is None or entry is None:
            if place.name is not None and place.bucket is None:
                self.counts.without_bucket += 1
                self.counts.ambiguous += entry is not None
            return access_of(event, place)
        self.counts.joined += 1
        where = Place(bucket, place.name)
        if entry.is_taken or len(entry.event.places) > 1:
            # The record of S3 stands for itself: another event has it, or it is about two objects.
            alone = access_of(event, where)
            return replace(alone, is_joined=True, event_ids=(event.id, entry.event.id))
        entry.is_taken = True
        return access_of(entry.event, where, event)


class _OfS3:
    """The events of S3 that wait, by caller, object, second and bucket."""

    def __init__(self) -> None:
        self._names: Counter[tuple[str, str]] = Counter()
        self._entries: dict[tuple[str, str, int], dict[str, list[_Entry]]] = {}

    def add(self, entry: _Entry) -> None:
        """Let an event be found."""
        for mark, second, bucket in _marks(entry.event):
            self._names[mark] += 1
            at_once = self._entries.setdefault((*mark, second), {})
            at_once.setdefault(bucket, []).append(entry)

    def remove(self, entry: _Entry) -> None:
        """Forget an event."""
        for mark, second, bucket in _marks(entry.event):
            self._names[mark] -= 1
            if not self._names[mark]:
                del self._names[mark]
            at_once = self._entries[*mark, second]
            at_once[bucket] = [each for each in at_once[bucket] if each is not entry]
            if not at_once[bucket]:
                del at_once[bucket]
            if not at_once:
                del self._entries[*mark, second]

    def find(self, event: Event, place: Place) -> tuple[str | None, _Entry | None]:
        """Return the bucket and the nearest event of S3 that one of KMS may belong to.

        An event that none of KMS has is preferred. The bucket is None where there is no event, or
        where there are events about several buckets.
        """
        if place.name is None or not self._names.get((event.principal.mark, place.name)):
            return None, None
        nearest: dict[str, _Entry] = {}
        for bucket, entry in self._around(event, place.name):
            if place.bucket not in (None, bucket):
                continue
            if place.bucket and not entry.is_taken:
                return bucket, entry
            known = nearest.setdefault(bucket, entry)
            if known.is_taken and not entry.is_taken:
                nearest[bucket] = entry
        first = next(iter(nearest), None)
        if first is None:
            return None, None
        return (first if len(nearest) == 1 else None), nearest[first]

    def _around(self, event: Event, name: str) -> Iterator[tuple[str, _Entry]]:
        second = int(event.time.timestamp())
        for distance in _NEAREST_FIRST:
            at_once = self._entries.get((event.principal.mark, name, second + distance), {})
            for bucket, entries in at_once.items():
                fitting = [each for each in entries if _fit(event, each.event)]
                if fitting:
                    # All that are taken serve alike.
                    yield bucket, next((each for each in fitting if not each.is_taken), fitting[0])


def _marks(event: Event) -> Iterator[tuple[tuple[str, str], int, str]]:
    for place in event.places:
        if place.name is not None and place.bucket is not None:
            yield (event.principal.mark, place.name), int(event.time.timestamp()), place.bucket


def _fit(kms: Event, s3: Event) -> bool:
    """Return whether a request to KMS can belong to one to S3."""
    if kms.action.startswith("GenerateDataKey"):
        return s3.action not in _OF_READS
    return kms.action != "Decrypt" or s3.action not in _OF_WRITES
