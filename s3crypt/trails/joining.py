# SPDX-License-Identifier: Apache-2.0
"""Joins KMS's records with S3's, in bounded memory.

S3 and KMS each record their own part of an access. The encryption context in KMS's record names the
object, the bucket or both. If the context does not name the bucket, the bucket is taken from an S3
record with the same object name and the same caller, within `WINDOW` of the KMS record.
"""

import marshal
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

from .accesses import Access, access_of
from .records import (
    DRY_RUN,
    NOWHERE,
    Event,
    Place,
    Record,
    error_of,
    essence_of,
    event_of,
    is_for_s3,
    keys_of,
    mark_of,
    places_of,
    principal_of,
    time_of,
)

WINDOW = timedelta(seconds=60)
"""The maximum time between S3's and KMS's records of one access."""

_SECONDS = int(WINDOW.total_seconds())
# The S3 operations that read an object, and the S3 operations that write an object under a new data
# key.
_OF_READS = frozenset({"GetObject", "HeadObject", "SelectObjectContent"})
_OF_WRITES = frozenset({"PutObject", "CreateMultipartUpload", "PostObject"})


@dataclass(slots=True)
class Joined:
    """Counts of KMS events that were joined with S3 records, and of events that were not.

    Attributes:
        joined: KMS events that were joined with an S3 record.
        without_bucket: KMS events that name an object whose bucket no record shows.
        ambiguous: Those events of `without_bucket` that match S3 records about several buckets.
    """

    joined: int = 0
    without_bucket: int = 0
    ambiguous: int = 0


class Sighting:
    """A record that waits for its partner, serialized to save memory.

    The record is deserialized on first use. Most records are never matched and stay packed.

    Attributes:
        shared_id: The id that is the same in both records if two accounts record the same request.
            None for most records.
        is_of_kms: Whether this is a record of KMS.
        is_partner: Whether the record is no access by itself, but can complete the access of a KMS
            record.
        uses: The operations and keys of the KMS records that were joined with this record.
        number: The record's position in the order of arrival.
        found_by: The place of an S3 record in the index: the second, and pairs of caller and object
            name. None while the record is not indexed.
    """

    __slots__ = (
        "_packed", "_record", "found_by", "is_of_kms", "is_partner", "number", "shared_id", "uses",
    )  # fmt: skip

    def __init__(self, record: Record, *, is_partner: bool) -> None:
        shared_id = record.get("sharedEventID")
        self.shared_id = shared_id if isinstance(shared_id, str) else None
        self.is_of_kms = record["eventSource"] == "kms.amazonaws.com"
        self.is_partner = is_partner
        self.uses: list[str] = []
        self.number = 0
        self.found_by: tuple[int, list[tuple[str, str]]] | None = None
        # The record is packed, because most records are never inspected again. As Python objects, a
        # record would take 4 KB and far more time.
        self._packed = marshal.dumps(essence_of(record))
        self._record: Record | None = None

    @property
    def record(self) -> Record:
        """The fields of the record that `event_of` reads."""
        if self._record is None:
            self._record = marshal.loads(self._packed)  # noqa: S302 - our own bytes
            self._packed = b""
        return self._record

    @record.setter
    def record(self, record: Record) -> None:
        self._record = record

    @property
    def second(self) -> int:
        """The time of the request, in seconds since 1970."""
        return int(time_of(self.record).timestamp())

    @property
    def places(self) -> tuple[Place, ...]:
        """The objects and buckets that the record is about."""
        return places_of(self.record)

    @property
    def is_taken(self) -> bool:
        """Whether a KMS record was joined with this record."""
        return bool(self.uses)

    @property
    def has_failed(self) -> bool:
        """Whether the request failed."""
        return self.error is not None

    @property
    def error(self) -> str | None:
        """The error's code; None for a success."""
        return error_of(self.record)

    @property
    def use(self) -> str:
        """The operation and the keys of a KMS record."""
        return " ".join((self.action, *keys_of(self.record)))

    @property
    def action(self) -> str:
        """The operation."""
        return str(self.record["eventName"])


class Join:
    """Joins records as they arrive.

    A KMS record waits until `others` more records have arrived. An S3 record waits until twice as
    many have arrived. So the two records of one access are joined if at most `others` records
    arrived between them, in either order.

    Args:
        others: The number of records for which a KMS record waits. With 0, no records are joined.
    """

    def __init__(self, others: int) -> None:
        self.counts = Joined()
        self._others = others
        self._number = 0
        self._of_kms: deque[Sighting] = deque()
        self._of_s3: deque[Sighting] = deque()
        # The latest S3 records. They are added to the index only when a KMS record is decided.
        self._new: deque[Sighting] = deque()
        self._found = _OfS3()
        self._shared: dict[str, Sighting] = {}

    def add(self, seen: Sighting) -> Iterator[Access]:
        """Queue a record, and yield the accesses whose records have waited long enough."""
        if seen.shared_id is not None:
            if self._is_second_record(seen, seen.shared_id):
                return
            self._shared[seen.shared_id] = seen
        self._number += 1
        seen.number = self._number
        if seen.is_of_kms:
            self._of_kms.append(seen)
        else:
            self._of_s3.append(seen)
            self._new.append(seen)
        yield from self._decide(self._number - self._others)

    def end(self) -> Iterator[Access]:
        """Yield the accesses of all records that are still waiting."""
        yield from self._decide(self._number + self._others)

    def _decide(self, until: int) -> Iterator[Access]:
        """Yield the accesses of KMS records up to number `until`, and of S3 records of that age."""
        while self._of_kms and self._of_kms[0].number <= until:
            while self._new:
                self._found.add(self._new.popleft())
            seen = self._forgotten(self._of_kms)
            event = event_of(seen.record)
            for place in seen.places or (NOWHERE,):
                yield self._joined(seen, event, place)
        while self._of_s3 and self._of_s3[0].number <= until - self._others:
            seen = self._forgotten(self._of_s3)
            if self._new and self._new[0] is seen:
                self._new.popleft()
            else:
                self._found.remove(seen)
            if not seen.is_taken and not seen.is_partner:
                # A copy has two places: it is also an access to its source.
                event = event_of(seen.record)
                for place in seen.places:
                    yield access_of(event, place)

    def _forgotten(self, waiting: deque[Sighting]) -> Sighting:
        seen = waiting.popleft()
        if seen.shared_id is not None:
            self._shared.pop(seen.shared_id, None)
        return seen

    def _is_second_record(self, seen: Sighting, shared_id: str) -> bool:
        """Return whether another account's record of the same request is already waiting.

        The waiting record is replaced if only the new record names the caller by an ARN.
        """
        known = self._shared.get(shared_id)
        if known is None:
            return False
        if principal_of(seen.record).has_arn and not principal_of(known.record).has_arn:
            # Both records have the same `mark_of`, so the index of sightings stays valid.
            known.record = seen.record
        return True

    def _joined(self, seen: Sighting, event: Event, place: Place) -> Access:
        bucket, partner = self._found.find(seen, place)
        if bucket is None or partner is None:
            if place.name is not None and place.bucket is None:
                self.counts.without_bucket += 1
                self.counts.ambiguous += partner is not None
            return access_of(event, place)
        self.counts.joined += 1
        where, other = Place(bucket, place.name), event_of(partner.record)
        is_taken = partner.is_taken
        # A failed use is stored as an empty text, because the same use may be repeated for the same
        # S3 request.
        partner.uses.append("" if seen.has_failed else seen.use)
        if is_taken or len(partner.places) > 1:
            # The S3 record was already joined with another KMS record, or is about two objects. So
            # the access takes only the bucket and the id from the S3 record.
            alone = access_of(event, where)
            return replace(alone, is_joined=True, event_ids=(event.id, other.id))
        return access_of(other, where, event)


class _OfS3:
    """An index of the waiting S3 records by caller, object name and second."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], dict[int, list[Sighting]]] = {}

    def add(self, seen: Sighting) -> None:
        """Add a record to the index."""
        second, mark = seen.second, mark_of(seen.record)
        found_by = [(mark, place.name) for place in seen.places if place.name is not None]
        seen.found_by = second, found_by
        for each in found_by:
            self._seen.setdefault(each, {}).setdefault(second, []).append(seen)

    def remove(self, seen: Sighting) -> None:
        """Remove a record from the index."""
        second, found_by = seen.found_by or (0, [])
        for each in found_by:
            seconds = self._seen[each]
            seconds[second].remove(seen)
            if not seconds[second]:
                del seconds[second]
                if not seconds:
                    del self._seen[each]

    def find(self, of_kms: Sighting, place: Place) -> tuple[str | None, Sighting | None]:
        """Return the nearest S3 record to which a KMS record may belong, and its bucket.

        S3 records that are not joined yet are preferred. The bucket is None if no record matches,
        or if the matching records are about several buckets.
        """
        nearest: dict[str, Sighting] = {}
        for bucket, seen in self._around(of_kms, place):
            if place.bucket and not seen.is_taken:
                return bucket, seen
            if place.bucket is None and of_kms.use in seen.uses:
                # One S3 request causes each use only once, and this S3 record already has this use.
                # So the KMS record belongs to an S3 request without a record, perhaps in another
                # bucket.
                continue
            known = nearest.setdefault(bucket, seen)
            if known.is_taken and not seen.is_taken:
                nearest[bucket] = seen
        first = next(iter(nearest), None)
        if first is None:
            return None, None
        return (first if len(nearest) == 1 else None), nearest[first]

    def _around(self, of_kms: Sighting, place: Place) -> Iterator[tuple[str, Sighting]]:
        """Yield the bucket and the S3 record of each match. The nearest in time comes first."""
        if place.name is None:
            return
        seconds = self._seen.get((mark_of(of_kms.record), place.name))
        if seconds is None:
            return
        at = of_kms.second
        near = (each for each in seconds if abs(each - at) <= _SECONDS)
        for second in sorted(near, key=lambda each: abs(each - at)):
            for seen in seconds[second]:
                for each in seen.places if _fit(of_kms, seen) else ():
                    is_it = each.name == place.name and place.bucket in (None, each.bucket)
                    if is_it and each.bucket:
                        yield each.bucket, seen


def _fit(of_kms: Sighting, of_s3: Sighting) -> bool:
    """Return whether a request to KMS can belong to a request to S3.

    If KMS refuses a request that S3 made, the caller's request to S3 fails too. A client asks KMS
    to decrypt a data key only after S3 has returned the object.
    """
    if of_kms.error == DRY_RUN:
        return False
    by_s3 = is_for_s3(of_kms.record)
    if by_s3 and of_kms.has_failed and not of_s3.has_failed:
        return False
    if of_kms.action.startswith("GenerateDataKey"):
        return of_s3.action not in _OF_READS
    if of_kms.action != "Decrypt":
        return True
    return of_s3.action not in _OF_WRITES and (by_s3 or not of_s3.has_failed)
