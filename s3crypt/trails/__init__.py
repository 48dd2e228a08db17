# SPDX-License-Identifier: Apache-2.0
"""Finds which principal opened which object, and when, by joining CloudTrail's KMS and S3 records.

    from s3crypt.trails import Question, Trails

    for access in Trails().search(Question(principal="arn:aws:iam::123456789012:role/reader")):
        print(access.time, access.actions, access.bucket, access.name)

The package is read-only and never unwraps a key. Without trail files it calls
`cloudtrail:LookupEvents`. To read a trail's bucket it needs `s3:ListBucket` and `s3:GetObject`, and
`kms:Decrypt` if the trail files are encrypted under a KMS key. A key that is named by an alias is
resolved with `kms:DescribeKey`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s3crypt.aws import Clients
from s3crypt.errors import ConfigError, Remedy, S3CryptError
from s3crypt.kms.policies import KeyPolicies
from s3crypt.kms.service import KMS
from s3crypt.location import Location
from s3crypt.objects.access import Objects

from .accesses import Access, Level, Outcome
from .files import Period, TrailFile, fetched, files_in_bucket, local_files
from .joining import WINDOW
from .lookup import KEPT, UnfinishedError, looked_up
from .questions import Question
from .reading import Reading
from .records import Principal
from .tally import Gap, Tally
from .unpacking import MAX_UNPACKED

if TYPE_CHECKING:
    import boto3
    from types_boto3_cloudtrail.client import CloudTrailClient
    from types_boto3_kms.client import KMSClient

__all__ = [
    "KEPT",
    "MAX_UNPACKED",
    "WINDOW",
    "Access",
    "Gap",
    "Level",
    "Outcome",
    "Principal",
    "Question",
    "Search",
    "Tally",
    "Trails",
]

# The two records of one access are joined if at most this many records are between them. Up to
# twice as many records wait in memory, about 1 KB each.
_OTHERS = 10_000
_RIGHTS_OF_TRAIL = (
    "The trail's bucket needs s3:ListBucket and s3:GetObject, and its key kms:Decrypt."
)
_NO_FILES = "CloudTrail's files end in .json.gz and are below AWSLogs/ of the trail's prefix."
_RIGHTS_OF_LOOKUP = "It needs cloudtrail:LookupEvents."


class Trails:
    """Searches the CloudTrail records that one boto3 session can reach.

    Args:
        session: The boto3 session from which clients are created; by default boto3's default
            session.
        allow_plain_http: Allow requests to other machines over plain HTTP.
    """

    def __init__(
        self, *, session: "boto3.Session | None" = None, allow_plain_http: bool = False
    ) -> None:
        how: dict[str, Any] = {"session": session, "allow_plain_http": allow_plain_http}
        self._cloudtrail: Clients[CloudTrailClient] = Clients("cloudtrail", **how)
        kms: Clients[KMSClient] = Clients("kms", **how)
        self._keys = KeyPolicies(KMS(kms))
        self._objects = Objects(
            client=None,
            endpoint_url=None,
            workers=1,
            written_in=None,
            expected_bucket_owner=None,
            request_payer=None,
            **how,
        )

    def search(self, question: Question, trails: Sequence[str | Path] = ()) -> "Search":
        """Return the accesses that answer a question. The result can be iterated over only once.

        Args:
            question: The question. The key in it may be an alias.
            trails: The `s3://bucket/prefix` of a trail, folders, or files. If the sequence is
                empty, LookupEvents is called in the Region of the key, or in the session's Region
                if the question has no key.

        Raises:
            ConfigError: A trail is neither a URI nor a path.
            KeyUnavailableError: KMS did not resolve the alias.
        """
        key = question.key
        if key and (not trails or "alias/" in key):
            question = replace(question, key=self._keys.resolve(key))
        if trails:
            reading = Reading(question, others=_OTHERS)
            found = self._in_files(reading, [_parsed(each) for each in trails])
        else:
            # LookupEvents returns no S3 data events, so KMS records have no S3 records to be joined
            # with.
            reading = Reading(question, others=0)
            found = self._looked_up(reading)
        return Search(question, reading.tally, found, is_lookup=not trails)

    def _looked_up(self, reading: Reading) -> Iterator[Access]:
        question = reading.question
        client = self._cloudtrail.get(question.key.split(":")[3] if question.key else None)
        where = f"the events of CloudTrail in {client.meta.region_name}"
        if question.since and question.since < datetime.now(UTC) - KEPT:
            reading.tally.missed("begin 90 days ago, and before that nothing is kept", where)
        try:
            for value in looked_up(client, question):
                yield from reading.take(value, where)
        except UnfinishedError:
            reading.tally.missed("break off: a page names itself as the next one", where)
        except ConfigError:
            raise
        except S3CryptError as error:
            other = Remedy("name_trail_files")
            reading.tally.refused(error, where, _RIGHTS_OF_LOOKUP, other)
        yield from reading.end()

    def _in_files(self, reading: Reading, trails: Iterable[Location | Path]) -> Iterator[Access]:
        for trail in trails:
            before = reading.tally.files, len(reading.tally.gaps)
            for file in self._files(reading, trail):
                yield from reading.read(file, _RIGHTS_OF_TRAIL)
            if before == (reading.tally.files, len(reading.tally.gaps)):
                reading.tally.missed("has no trail file of that time", str(trail), _NO_FILES)
        yield from reading.end()

    def _files(self, reading: Reading, trail: Location | Path) -> Iterator[TrailFile]:
        period = Period(reading.question.since, reading.question.until)
        try:
            if isinstance(trail, Path):
                yield from local_files(trail, period, reading.tally.left_out)
            else:
                listed = files_in_bucket(self._objects, trail, period)
                yield from fetched(listed, lambda: self._objects.is_far)
        except (ConfigError, FileNotFoundError):
            raise
        except S3CryptError as error:
            reading.tally.refused(error, str(trail), _RIGHTS_OF_TRAIL)


class Search:
    """The accesses that answer a question, approximately in the order in which records are read.

    LookupEvents returns the newest records first. A search can be iterated over only once. `tally`
    and `limits` are complete when the iteration has ended. Memory use does not grow with the number
    of files, records or accesses.

    Attributes:
        question: The question. The key in it is an ARN or an id.
        tally: Counts of the records read so far, and the evidence that could not be read.
    """

    def __init__(
        self, question: Question, tally: Tally, found: Iterator[Access], *, is_lookup: bool
    ) -> None:
        self.question = question
        self.tally = tally
        self._found = found
        self._is_lookup = is_lookup

    def __iter__(self) -> Iterator[Access]:
        for access in self._found:
            if self.question.is_answered_by(access):
                self.tally.accesses += 1
                yield access

    @property
    def limits(self) -> tuple[str, ...]:
        """The facts that the search could not find in the records, as complete sentences."""
        return tuple(self.tally.limits(self.question, is_lookup=self._is_lookup))


def _parsed(trail: str | Path) -> Location | Path:
    if isinstance(trail, str) and "://" in trail:
        return Location.parse(trail)
    return Path(trail)
