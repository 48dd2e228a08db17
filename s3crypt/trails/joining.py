# SPDX-License-Identifier: Apache-2.0
"""The join of KMS's records with S3's, in bounded memory.

S3 and KMS each record their own part of an access. The encryption context in KMS's record names
the object, its bucket or both. The record of S3 about the same object, of the same caller and at
about the same time, shows the bucket where the context lacks it.
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
"""How far apart the records of S3 and of KMS about one access may be."""

_SECONDS = int(WINDOW.total_seconds())
# What is asked of S3 for a read, and for a write whose data key is new.
_OF_READS = frozenset({"GetObject", "HeadObject", "SelectObjectContent"})
_OF_WRITES = frozenset({"PutObject", "CreateMultipartUpload", "PostObject"})


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


class Sighting:
    """A record that waits, packed. Its value is made once it is known to be a part of an access.

    Attributes:
        shared_id: The id that the records of two accounts about one request share; None for most.
        is_of_kms: Whether KMS made the record.
        is_partner: Whether it only completes an access that KMS's record shows.
        uses: The operations and keys of the records of KMS that were joined with it.
        number: Its place in the order in which the records came.
        found_by: The second, and the callers and names of objects by which a record of S3 is found;
            None while no record of KMS has been looked for.
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
        # Most records are never looked at again. As objects they would take 4 KB and much longer.
        self._packed = marshal.dumps(essence_of(record))
        self._record: Record | None = None

    @property
    def record(self) -> Record:
        """The part of the record that values are made of."""
        if self._record is None:
            self._record = marshal.loads(self._packed)  # noqa: S302 - our own bytes
            self._packed = b""
        return self._record

    @record.setter
    def record(self, record: Record) -> None:
        self._record = record

    @property
    def second(self) -> int:
        """When the request was made, in seconds since 1970."""
        return int(time_of(self.record).timestamp())

    @property
    def places(self) -> tuple[Place, ...]:
        """What the record is about."""
        return places_of(self.record)

    @property
    def is_taken(self) -> bool:
        """Whether a record of KMS was joined with it."""
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
        """The operation and the keys of a record of KMS."""
        return " ".join((self.action, *keys_of(self.record)))

    @property
    def action(self) -> str:
        """The operation."""
        return str(self.record["eventName"])


class Join:
    """Joins records as they come.

    A record of KMS waits until `others` further ones have come, one of S3 until twice as many
    have. Records of one access are therefore joined unless more than `others` came between them,
    whatever the order of their times.

    Args:
        others: The number. With 0 nothing is joined.
    """

    def __init__(self, others: int) -> None:
        self.counts = Joined()
        self._others = others
        self._number = 0
        self._of_kms: deque[Sighting] = deque()
        self._of_s3: deque[Sighting] = deque()
        # The last of them, which are not found yet.
        self._new: deque[Sighting] = deque()
        self._found = _OfS3()
        self._shared: dict[str, Sighting] = {}

    def add(self, seen: Sighting) -> Iterator[Access]:
        """Let a record wait; yield what is decided by now."""
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
        """Yield the accesses of all records that wait."""
        yield from self._decide(self._number + self._others)

    def _decide(self, until: int) -> Iterator[Access]:
        """Decide the records of KMS up to a number, and those of S3 that none of them needs."""
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
                # A copy is an access to its source as well.
                event = event_of(seen.record)
                for place in seen.places:
                    yield access_of(event, place)

    def _forgotten(self, waiting: deque[Sighting]) -> Sighting:
        seen = waiting.popleft()
        if seen.shared_id is not None:
            self._shared.pop(seen.shared_id, None)
        return seen

    def _is_second_record(self, seen: Sighting, shared_id: str) -> bool:
        """Return whether a record that waits is about the same request, for another account.

        The record that names the caller by an ARN is kept.
        """
        known = self._shared.get(shared_id)
        if known is None:
            return False
        if principal_of(seen.record).has_arn and not principal_of(known.record).has_arn:
            # Both have the same mark, by which the sighting is found.
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
        # A use that failed may be repeated.
        partner.uses.append("" if seen.has_failed else seen.use)
        if is_taken or len(partner.places) > 1:
            # The record of S3 stands for itself: it is another's, or it is about two objects.
            alone = access_of(event, where)
            return replace(alone, is_joined=True, event_ids=(event.id, other.id))
        return access_of(other, where, event)


class _OfS3:
    """The records of S3 that wait, by caller, object and second."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], dict[int, list[Sighting]]] = {}

    def add(self, seen: Sighting) -> None:
        """Let a record be found."""
        second, mark = seen.second, mark_of(seen.record)
        found_by = [(mark, place.name) for place in seen.places if place.name is not None]
        seen.found_by = second, found_by
        for each in found_by:
            self._seen.setdefault(each, {}).setdefault(second, []).append(seen)

    def remove(self, seen: Sighting) -> None:
        """Forget a record."""
        second, found_by = seen.found_by or (0, [])
        for each in found_by:
            seconds = self._seen[each]
            seconds[second].remove(seen)
            if not seconds[second]:
                del seconds[second]
                if not seconds:
                    del self._seen[each]

    def find(self, of_kms: Sighting, place: Place) -> tuple[str | None, Sighting | None]:
        """Return the bucket and the nearest record of S3 that one of KMS may belong to.

        A record that no other of KMS has is preferred. The bucket is None where there is no
        record, or where there are records about several buckets.
        """
        nearest: dict[str, Sighting] = {}
        for bucket, seen in self._around(of_kms, place):
            if place.bucket and not seen.is_taken:
                return bucket, seen
            if place.bucket is None and of_kms.use in seen.uses:
                # One request to S3 needs each use once: this one is of a request that no record
                # shows, perhaps in another bucket.
                continue
            known = nearest.setdefault(bucket, seen)
            if known.is_taken and not seen.is_taken:
                nearest[bucket] = seen
        first = next(iter(nearest), None)
        if first is None:
            return None, None
        return (first if len(nearest) == 1 else None), nearest[first]

    def _around(self, of_kms: Sighting, place: Place) -> Iterator[tuple[str, Sighting]]:
        """Yield the records that fit, the nearest first, with the bucket of the object in each."""
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
    """Return whether a request to KMS can belong to one to S3.

    A request that S3 made fails S3's own request if KMS refuses it. A client asks KMS to decrypt
    only what S3 gave it.
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
