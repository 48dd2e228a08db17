# SPDX-License-Identifier: Apache-2.0
"""A server under test, s3crypt's stores on it, and a second writer that acts at a chosen moment."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.config import Config

from s3crypt import S3Crypt, S3CryptError
from s3crypt.location import Location

if TYPE_CHECKING:
    from collections.abc import Callable

    import boto3

    from s3crypt import Mode

YES = "yes"
# The server ignores the condition of a request. s3crypt compares by a HEAD right before it.
BY_HEAD = "by HEAD"
# The server cannot copy the object, so s3crypt reads and writes it.
BY_RE_ENCRYPTION = "by re-encryption"
# The server answers 200, but does not encrypt. s3crypt raises PolicyError and removes the object.
REMOVED = "refused, removed"
UNSUPPORTED = "not supported"
NO = "no"
VERDICTS = (YES, BY_HEAD, BY_RE_ENCRYPTION, REMOVED, UNSUPPORTED, NO)

THEIRS = b"another writer's"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result for one promise on one server.

    `note` has the reason if the result is not `yes`.
    """

    verdict: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket on a server.

    Attributes:
        session: The session with the credentials.
        endpoint_url: The URL of the server.
        bucket: An empty bucket that accepts SSE-C.
        kms_key: A key for SSE-KMS; an invented key if the server has no KMS.
    """

    session: boto3.Session
    endpoint_url: str
    bucket: str
    kms_key: str

    def store(self, mode: Mode | None = None) -> S3Crypt:
        """Return a store with its own client."""
        return S3Crypt(mode, session=self.session, endpoint_url=self.endpoint_url)

    def raw(self) -> Any:
        """Return a plain boto3 client, which acts as the other writer."""
        config = Config(
            retries={"total_max_attempts": 1}, request_checksum_calculation="when_required"
        )
        return self.session.client("s3", endpoint_url=self.endpoint_url, config=config)

    def fresh(self) -> Location:
        """Return the location of an object that does not exist yet."""
        return Location(self.bucket, f"object-{uuid.uuid4()}")

    def stored(self, location: Location) -> bytes:
        """Return the bytes that the server stores."""
        body: bytes = self.raw().get_object(**location.arguments)["Body"].read()
        return body

    def is_there(self, location: Location) -> bool:
        """Return whether a listing of the bucket contains the object."""
        found = self.raw().list_objects_v2(Bucket=location.bucket, Prefix=location.name)
        return bool(found.get("Contents"))


@dataclass(slots=True)
class Watch:
    """Counts the requests of a store, and calls `then` right before one of them is sent.

    Attributes:
        store: The store whose requests are counted.
        operation: The operation before which `then` is called; by default no operation.
        number: Which request of `operation` is meant, counted from 1.
        then: Receives the request's arguments before botocore signs them, and may change them.
        made: The requested operations in order.
    """

    store: S3Crypt
    operation: str = ""
    number: int = 0
    then: Callable[[dict[str, Any]], None] = field(default=lambda _: None)
    made: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store.client.meta.events.register("before-call.s3", self._before)

    def _before(self, model: Any, params: dict[str, Any], **_: Any) -> None:
        self.made.append(model.name)
        is_meant = model.name == self.operation
        if is_meant and self.number in (0, self.made.count(model.name)):
            self.then(params)

    def last(self, operation: str) -> int:
        """Return the number of requests of an operation."""
        return self.made.count(operation)

    def looks_before_last(self, operation: str) -> int:
        """Return the number of HEAD requests before the last request of an operation."""
        end = len(self.made) - 1 - self.made[::-1].index(operation)
        return self.made[:end].count("HeadObject")


def because(error: S3CryptError) -> str:
    """Return an error's text as a note, without the parts that differ between runs."""
    text = str(error)
    cause = f"{type(error).__name__}: {text}"
    return f"{cause} [{error.code}]" if error.code else cause
