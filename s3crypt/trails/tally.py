# SPDX-License-Identifier: Apache-2.0
"""Counts what a search has read and could not read, and words the limits of the result."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from s3crypt.errors import Remedy, S3CryptError

from .joining import Joined
from .records import CRYPTOGRAPHIC, SERVICES, Record, places_of

if TYPE_CHECKING:
    from .questions import Question

_EXAMPLES = 3


@dataclass(slots=True)
class Gap:
    """Evidence that exists and was not read. Accesses may therefore be missing from the answer.

    Attributes:
        cause: The problem, as the predicate of a sentence whose subject is a file, such as `breaks
            off`.
        count: The number of affected files or records.
        examples: The names of a few of the affected files.
        explanation: The requirement that was not met, such as a permission, or None.
        remedy: Another way to the answer, or None.
    """

    cause: str
    count: int = 0
    examples: list[str] = field(default_factory=list)
    explanation: str | None = None
    remedy: Remedy | None = None

    @property
    def hint(self) -> str | None:
        """The explanation and the remedy as text for users of the library.

        None if there is neither.
        """
        return self.worded(str)

    def worded(self, words: Callable[[Remedy], str]) -> str | None:
        """Return the explanation and the remedy as text, or None.

        `words` makes text from a remedy.
        """
        remedy = words(self.remedy) if self.remedy else None
        return " ".join(part for part in (self.explanation, remedy) if part) or None

    def __str__(self) -> str:
        if self.count == 1:
            return f"{self.examples[0]} {self.cause}"
        return f"{self.count} times, such as {', '.join(self.examples)}: {self.cause}"


@dataclass(slots=True)
class Tally:
    """The counts of a search so far, and its gaps.

    Attributes:
        files: The number of files that were opened.
        records: The number of records of all services.
        accesses: The number of accesses that answer the question.
        duplicates: The number of records that arrived a second time and were skipped.
        summaries: The number of aggregated and insight events, which name no single request.
        nameless: The number of records that may be about the question's object, key or principal,
            but do not name it.
        of_kms, of_s3: The number of records about uses of KMS keys, and about requests for objects
            in S3.
        of_bucket: The number of S3 records about the bucket of the question.
        first, last: The times of the earliest and the latest record of S3 or KMS.
        joined: The counts of the join.
        gaps: The evidence that was not read, by cause.
    """

    files: int = 0
    records: int = 0
    accesses: int = 0
    duplicates: int = 0
    summaries: int = 0
    nameless: int = 0
    of_kms: int = 0
    of_s3: int = 0
    of_bucket: int = 0
    first: str = ""
    last: str = ""
    joined: Joined = field(default_factory=Joined)
    gaps: dict[str, Gap] = field(default_factory=dict)

    def saw(self, record: Record, bucket: str | None) -> None:
        """Count a record by its service and its time, and if it is about `bucket`."""
        service = SERVICES.get(record.get("eventSource", ""))
        if service is None:
            return
        time = record.get("eventTime")
        if isinstance(time, str):
            self.first = min(self.first or time, time)
            self.last = max(self.last, time)
        if service == "kms":
            self.of_kms += record.get("eventName") in CRYPTOGRAPHIC
        elif record.get("managementEvent") is not True:
            self.of_s3 += 1
            if bucket:
                self.of_bucket += any(place.bucket == bucket for place in places_of(record))

    def missed(
        self, cause: str, where: str, explanation: str | None = None, remedy: Remedy | None = None
    ) -> None:
        """Count evidence that was not read."""
        gap = self.gaps.setdefault(cause, Gap(cause, explanation=explanation, remedy=remedy))
        gap.count += 1
        if len(gap.examples) < _EXAMPLES and where not in gap.examples:
            gap.examples.append(where)

    def left_out(self, where: str) -> None:
        """Count a path that was not read, because it is neither a file nor a folder to search."""
        self.missed("was not read", where)

    def refused(
        self, error: S3CryptError, where: str, rights: str, remedy: Remedy | None = None
    ) -> None:
        """Count evidence that a service or the operating system refused to return.

        Args:
            error: The refusal.
            where: The name of the evidence.
            rights: The permissions that are needed to read the evidence, in a sentence.
            remedy: Another way to the answer, or None.
        """
        code = f" ({error.code})" if error.code else ""
        explanation = rights if error.code else error.hint
        self.missed(f"could not be read{code}", where, explanation, remedy)

    def limits(self, question: "Question", *, is_lookup: bool) -> Iterator[str]:
        """Yield the facts that the search could not find in the records, as complete sentences.

        Args:
            question: The question.
            is_lookup: Whether the records came from LookupEvents.
        """
        bucket = question.location.bucket if question.location else question.bucket
        if is_lookup:
            yield (
                "LookupEvents has no S3 data events. Accesses in modes without KMS (sse-s3, sse-c, "
                "client-side under other keys) are not known from it."
            )
            if question.key:
                yield (
                    "LookupEvents finds a key's events by the resources in their records. Refused "
                    "requests whose records list none are not known from it."
                )
        elif not self.files:
            # No file was read. A gap already reports that, so no limits are added.
            return
        elif not self.of_s3:
            yield (
                "The files have no S3 data events. Accesses in modes without KMS are not known; "
                "does the trail select data events?"
            )
        elif bucket and not self.of_bucket:
            yield (
                f"The files have no S3 data events of {bucket}. Accesses in modes without KMS are "
                "not known; does the trail select data events of that bucket?"
            )
        if not is_lookup and not self.of_kms:
            yield (
                "The files have no uses of KMS keys. The trail may exclude kms.amazonaws.com: "
                "this is no evidence that no key was used."
            )
        if self.of_kms:
            yield (
                "A data key that is cached, by a caching keyring or a Bucket Key, is used without "
                "a further event of KMS: fewer uses are shown than there were."
            )
        if self.joined.without_bucket:
            yield (
                f"The bucket of {self.joined.without_bucket} uses of a KMS key is not known: they "
                "name the object alone, and no single S3 data event of the same caller, object "
                "and minute was found."
            )
        if self.nameless:
            about = "name no object" if question.location else "do not name the key or the caller"
            yield f"{self.nameless} records {about}, and may belong to the answer."
