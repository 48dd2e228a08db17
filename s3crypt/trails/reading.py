# SPDX-License-Identifier: Apache-2.0
"""Reads records for one question, one at a time: counts, filters and joins them."""

from collections.abc import Iterator
from contextlib import closing

from s3crypt.errors import ConfigError, S3CryptError

from .accesses import Access
from .files import TrailFile
from .joining import Join, Sighting
from .questions import Looker, Question
from .records import Record, kind_of, unwrapped
from .tally import Tally
from .unpacking import MAX_UNPACKED, BrokenFileError, Cause, values

# The number of record ids that are kept to detect duplicates. Each takes about 200 bytes.
_KNOWN = 100_000
_CAUSES: dict[Cause, str] = {
    "broken": "breaks off or is damaged, and the rest of it is not known",
    "too long": f"has more than {MAX_UNPACKED // 2**20} MiB, and the rest of it is not known",
    "record too long": "has a value that is no record, and the rest of it is not known",
}
_OTHER_FORM = "has a record of another form than CloudTrail's"
_OTHER_VERSION = "has a record of another event version than 1"


class Reading:
    """Reads records for one question, in bounded memory.

    Args:
        question: The question.
        others: The two records of one access are joined if at most this many records are between
            them.

    Attributes:
        question: The question.
        tally: Counts of the records read so far, and the evidence that could not be read.
    """

    def __init__(self, question: Question, *, others: int) -> None:
        self.question = question
        self._join = Join(others)
        self.tally = Tally(joined=self._join.counts)
        self._looker = Looker(question)
        self._bucket = question.location.bucket if question.location else question.bucket
        self._known: dict[tuple[str, str], None] = {}

    def read(self, file: TrailFile, hint: str) -> Iterator[Access]:
        """Read a file. Yield the complete accesses so far, not yet filtered by the question.

        If the file cannot be read, it is counted in the tally. If a service refused it, the tally
        also gets `hint`.
        """
        self.tally.files += 1
        try:
            with closing(file.open()) as source:
                for value in values(source):
                    yield from self.take(value, file.name)
        except BrokenFileError as error:
            self.tally.missed(_CAUSES[error.cause], file.name)
        except ConfigError:
            raise
        except S3CryptError as error:
            self.tally.refused(error, file.name, hint)
        except OSError as error:
            self.tally.missed(f"cannot be read: {error.strerror}", file.name)

    def take(self, value: object, where: str) -> Iterator[Access]:
        """Take one record.

        Yield the accesses that are complete so far. They are not yet filtered by the question.
        """
        tally = self.tally
        tally.records += 1
        record = unwrapped(value)
        kind = kind_of(record) if record is not None else "other form"
        if record is None or kind == "other form":
            tally.missed(_OTHER_FORM, where)
        elif kind == "other version":
            tally.missed(_OTHER_VERSION, where)
        elif kind == "summary":
            tally.summaries += 1
        else:
            tally.saw(record, self._bucket)
            look = self._looker.look(record)
            if look == "nameless":
                tally.nameless += 1
            elif look != "other":
                yield from self._add(record, is_partner=look == "partner")

    def end(self) -> Iterator[Access]:
        """Yield the accesses of all records that are still waiting to be joined."""
        yield from self._join.end()

    def _add(self, record: Record, *, is_partner: bool) -> Iterator[Access]:
        identity = str(record.get("recipientAccountId")), str(record["eventID"])
        if identity in self._known:
            self.tally.duplicates += 1
            return
        self._known[identity] = None
        if len(self._known) > _KNOWN:
            del self._known[next(iter(self._known))]
        yield from self._join.add(Sighting(record, is_partner=is_partner))
