# SPDX-License-Identifier: Apache-2.0
"""Delete objects, singly or up to 1,000 per request.

The reply to DeleteObjects has one entry per object. An object counts as deleted only if the reply
names it; an object that the reply omits gets its own request. This module decides which objects may
share a request, how each entry of a reply is interpreted, and which requests can be repeated
safely. It does not list objects. It processes one batch at a time; callers may process several
batches in threads.

An ETag makes a delete conditional: only an unchanged object may be deleted. In the first request
only the service checks the condition, and a service that ignores ETags deletes any content. A HEAD
before each delete would prevent this, but would turn one request into 1,001. Before every
repetition a HEAD is sent, because a second delete could remove an object that another writer has
stored since the first.

A request names a version only if the caller does. S3 then deletes the version permanently.
"""

import copy
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from itertools import groupby, islice
from typing import TYPE_CHECKING, TypeVar

from botocore.exceptions import ClientError

from s3crypt.aws_errors import THROTTLES, http_status
from s3crypt.errors import ConflictError, ObjectNotFoundError, S3CryptError, StorageError
from s3crypt.local.workers import current_stop, each
from s3crypt.location import Location
from s3crypt.logs import logger_of
from s3crypt.modes import SSEC, Mode, is_access_point
from s3crypt.requests import Attempts, Reply, as_ours, call, cause_of, is_transient
from s3crypt.transfer.conditions import check_unchanged, delete_unchanged, head, quoted_etag

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

_log = logger_of(__name__)

Item = TypeVar("Item")

# S3's limit for the number of objects in one request.
MAX_BATCH = 1000
# Names that cannot be sent safely in XML. XML 1.0 cannot contain most control characters. Parsers
# turn a carriage return into a newline, and some remove spaces at the ends, so another object would
# be deleted.
_NOT_IN_XML = re.compile("^$|^\\s|\\s$|[^ -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# Error codes of services that do not support DeleteObjects or ETags in it, or that require a
# Content-MD5. Since version 1.36, botocore sends a CRC-32 instead of a Content-MD5.
_NOT_TOGETHER = frozenset(
    {
        "EntityTooLarge",
        "InvalidArgument",
        "InvalidRequest",
        "MalformedXML",
        "MaxMessageLengthExceeded",
        "MethodNotAllowed",
        "MissingContentMD5",
        "MissingSecurityHeader",
        "NotImplemented",
    }
)
# The minimum number of attempts for throttled objects. botocore treats the reply as a success, so
# the client does not repeat the request.
_ROUNDS = 5
# The parts of a reply to HEAD that differ for two objects that were written one after the other.
_SHOWS_A_WRITE = ("ETag", "LastModified", "Metadata", "VersionId")
# After this many consecutive failures, the remaining objects are not tried. Otherwise each object
# would use up the whole time of the retry policy, and a batch of 1,000 would take 16 hours.
_FAILURES_IN_A_ROW = 3


def delete_object(
    client: "S3Client",
    location: Location,
    version_id: str | None = None,
) -> None:
    """Delete an object, or permanently delete the version with this id.

    Without a version id, a versioned bucket only hides the object behind a delete marker.

    Raises:
        StorageError: S3 refused or failed.
    """
    version = {"VersionId": version_id} if version_id else {}

    def look(attempts: Attempts) -> Reply | None:
        # If the object is gone, the first delete was successful. A second delete would remove an
        # object that another writer has stored since.
        with suppress(ObjectNotFoundError):
            head(client, location, version, within=attempts)
            return None
        return {}

    call(client, "delete_object", {**location.arguments, **version}, str(location), look=look)


def delete_source(
    client: "S3Client",
    source: Location,
    target: object,
    etag: str,
    arguments: Mapping[str, object],
) -> None:
    """Delete the source of a move if it still has this ETag. The target is already stored.

    No version is named, so a versioned bucket only gets a delete marker. If the service may ignore
    the condition, a HEAD is sent first.

    Args:
        client: The S3 client.
        source: The object that was read.
        target: The location or path of the new object or file. It is used in error messages.
        etag: The ETag of the bytes that were read.
        arguments: Further arguments of a HEAD, such as the customer key of SSE-C.

    Raises:
        ConflictError: Another writer replaced the source since it was read.
        StorageError: S3 refused or failed. After either error, both source and target exist.
    """
    try:
        delete_unchanged(client, source, etag, arguments)
    except S3CryptError as error:
        error.args = (f"{source}: stored as {target}, but the source was not deleted: {error}",)
        error.hint = "Both source and target exist. Delete one of them."
        # The error code belongs to the deletion. It is removed, because callers would conclude that
        # writing the target failed.
        error.code = None
        raise


def may_be_same(one: Location, other: Location) -> bool:
    """Return whether two locations may be the same object, because its bucket has two names.

    S3 does not say which bucket an access point leads to.
    """
    is_hidden = is_access_point(one.bucket) or is_access_point(other.bucket)
    return is_hidden and one.name == other.name and one.bucket != other.bucket


def check_is_other(
    client: "S3Client",
    source: Location,
    target: Location,
    mode: Mode,
    *,
    source_mode: Mode | None,
) -> None:
    """Raise an error if the source of a move is the same object as the target.

    The target was already written, so deleting the source would delete the only copy. Equal ETags
    do not prove that it is the same object: in mode sse-s3, a copy has the ETag of its source. If
    both names lead to one object, the replies to a HEAD of each name describe the same write.

    Args:
        client: The S3 client.
        source, target: The locations.
        mode: The mode of the target.
        source_mode: The mode of the source. None if it is not known.

    Raises:
        ConflictError: The replies to both HEADs show the same object.
        StorageError: S3 refused or failed.
    """
    if not may_be_same(source, target):
        return
    arguments = mode.read_arguments()
    try:
        shown = head(client, source, arguments)
    except ObjectNotFoundError:
        return
    except StorageError as error:
        # If both names led to one object, S3 would not refuse a request with the arguments of the
        # target's mode.
        is_refused = http_status(error) in (HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN)
        if is_refused and (isinstance(mode, SSEC) or isinstance(source_mode, SSEC)):
            return
        raise
    written = head(client, target, arguments)
    if all(shown.get(name) == written.get(name) for name in _SHOWS_A_WRITE):
        raise ConflictError(
            f"{source} is the same object as {target}, by another name of its bucket; it was "
            "written, and not deleted.",
            hint="Move it to another name.",
        )


def batches(items: Iterable[Item], bucket_of: Callable[[Item], str | None]) -> Iterator[list[Item]]:
    """Yield the items in batches that fit into one request. All items of a batch have one bucket.

    Args:
        items: The items. One batch is consumed at a time. Only consecutive items of a bucket share
            a batch.
        bucket_of: Returns the bucket of an item. Returns None for an item that needs its own batch.
    """
    for bucket, neighbours in groupby(items, key=bucket_of):
        most = 1 if bucket is None else MAX_BATCH
        while batch := list(islice(neighbours, most)):
            yield batch


def delete_batch(
    client: "S3Client",
    bucket: str,
    items: Sequence[tuple[str, str | None]],
    *,
    workers: int = 1,
) -> list[S3CryptError | None]:
    """Delete up to 1,000 objects of one bucket.

    Return one value per item, in order: None if the object is gone, or the error.

    Args:
        client: The S3 client.
        bucket: The bucket.
        items: Pairs of a name and an ETag. The ETag is None to delete the object whatever its
            content is.
        workers: The maximum number of concurrent requests when objects are deleted singly.

    Raises:
        ValueError: There are more than 1,000 items.
    """
    if len(items) > MAX_BATCH:
        raise ValueError(f"A batch has at most {MAX_BATCH} objects, not {len(items)}.")
    batch = _Batch(client, bucket, items)
    batch.delete_together()
    batch.delete_singly(workers)
    return batch.errors


class _UnknownEffectError(Exception):
    """The reply to a request was lost. The request may have deleted any of its objects."""


class _Batch:
    """Objects of one bucket that are being deleted.

    Attributes:
        errors: The error of each object, by its index in the batch. None if the object is gone.
    """

    def __init__(
        self, client: "S3Client", bucket: str, items: Sequence[tuple[str, str | None]]
    ) -> None:
        self.errors: list[S3CryptError | None] = [None] * len(items)
        self._client = client
        self._items = [(Location(bucket, name), etag) for name, etag in items]
        self._bucket = bucket
        self._subject = f"{len(items)} objects of s3://{bucket}"
        self._attempts = Attempts(client, self._subject, least=_ROUNDS, operation="delete_objects")
        # The index of an object that must be deleted singly -> whether an earlier request may have
        # deleted it.
        self._single: dict[int, bool] = {}
        self._failures: list[S3CryptError] = []

    def delete_together(self) -> None:
        """Delete the objects that can share a request.

        The other objects are left to `delete_singly`.
        """
        waiting: dict[str, int] = {}
        for place, (location, _) in enumerate(self._items):
            # If two items have the same name, it is unknown to which of them an entry in the reply
            # belongs.
            if _NOT_IN_XML.search(location.name) or location.name in waiting:
                self._single[place] = False
            else:
                waiting[location.name] = place
        while waiting:
            waiting = self._ask(waiting)

    def _ask(self, waiting: Mapping[str, int]) -> dict[str, int]:
        """Request the deletion of these objects.

        Return the objects that were throttled, after a pause.
        """
        try:
            reply = call(
                self._client,
                "delete_objects",
                {"Bucket": self._bucket, "Delete": {"Objects": self._entries(waiting)}},
                self._subject,
                look=_stop,
                within=self._attempts,
            )
        except _UnknownEffectError:
            self._leave(waiting.values(), "the reply was lost", is_repeated=True)
        except S3CryptError as error:
            self._refuse(waiting, error)
        else:
            return self._read(reply, waiting)
        return {}

    def _entries(self, waiting: Mapping[str, int]) -> list[dict[str, str]]:
        etags = {name: self._items[place][1] for name, place in waiting.items()}
        return [
            {"Key": name, "ETag": quoted_etag(etag)} if etag else {"Key": name}
            for name, etag in etags.items()
        ]

    def _refuse(self, waiting: Mapping[str, int], error: S3CryptError) -> None:
        if error.code in _NOT_TOGETHER or http_status(error) in (
            HTTPStatus.METHOD_NOT_ALLOWED,
            HTTPStatus.NOT_IMPLEMENTED,
        ):
            self._leave(waiting.values(), cause_of(error), is_repeated=False)
        else:
            self._fail(waiting, error)

    def _fail(self, waiting: Mapping[str, int], error: S3CryptError) -> None:
        """Record the error of a shared request for each of its objects, with the object's name."""
        for place in waiting.values():
            mine = copy.copy(error)
            text = str(error).replace(self._subject, str(self._items[place][0]), 1)
            mine.args = (text, *error.args[1:])
            mine.__cause__ = error.__cause__
            self.errors[place] = mine

    def _read(self, reply: Reply, waiting: Mapping[str, int]) -> dict[str, int]:
        """Record the results in a reply. Return the objects that were throttled, after a pause."""
        refused = {entry["Key"]: entry for entry in reply.get("Errors") or ()}
        deleted = {entry["Key"] for entry in reply.get("Deleted") or ()}
        unnamed = [place for name, place in waiting.items() if name not in refused.keys() | deleted]
        if unnamed:
            self._leave(unnamed, "the reply does not name these objects", is_repeated=True)
        throttled: dict[str, int] = {}
        last = None
        for name, place in waiting.items():
            if name not in refused:
                continue
            code, error = refused[name]["Code"], _refusal(reply, refused[name])
            if code in THROTTLES:
                throttled[name], last = place, error
            else:
                self._take(place, code, error)
        if last is not None:
            try:
                self._attempts.after(last)
            except S3CryptError as final:
                self._fail(throttled, final)
                return {}
        return throttled

    def _take(self, place: int, code: str, error: ClientError) -> None:
        """Record the refusal of one object, or leave the object to be deleted singly."""
        location, etag = self._items[place]
        if code == "NoSuchKey":
            # S3 replies with this code to a delete with an ETag if the object does not exist any
            # more.
            return
        if is_transient(error) or code == "PreconditionFailed":
            # A HEAD then distinguishes three cases: another writer's object, a delete marker (no
            # ETag matches it), and an unchanged object on a service that compares the ETag without
            # its quotes.
            self._single[place] = True
        elif code in _NOT_TOGETHER:
            self._single[place] = False
        else:
            refused = as_ours(error, str(location), StorageError)
            refused.__cause__ = error
            if etag and code == "AccessDenied":
                refused.hint = f"{refused.hint} With an ETag, a delete needs s3:GetObject too."
            self.errors[place] = refused

    def _leave(self, places: Iterable[int], why: str, *, is_repeated: bool) -> None:
        """Leave objects to be deleted singly. The reason `why` is logged."""
        single = dict.fromkeys(places, is_repeated)
        _log.info("s3://%s: %d objects are deleted singly (%s)", self._bucket, len(single), why)
        self._single |= single

    def delete_singly(self, workers: int) -> None:
        """Delete each remaining object with its own request."""
        if workers == 1 or len(self._single) < 2:
            for place in self._single:
                self._delete_single(place)
        else:
            each(iter(self._single), lambda place, _: self._delete_single(place), workers)

    def _delete_single(self, place: int) -> None:
        location, etag = self._items[place]
        is_repeated = self._single[place]
        stop = current_stop()
        if stop is not None and stop.is_set():
            self.errors[place] = _left_out(location, is_repeated=is_repeated)
            return
        if len(self._failures) >= _FAILURES_IN_A_ROW:
            self.errors[place] = _not_asked(location, self._failures[-1], is_repeated=is_repeated)
            return
        try:
            _delete(self._client, location, etag, is_repeated=is_repeated)
        except S3CryptError as error:
            self.errors[place] = error
            if _has_failed(error):
                self._failures.append(error)
                return
        self._failures.clear()


def _stop(_: Attempts) -> Reply | None:
    # A single HEAD cannot show which of the objects are gone, so they are deleted singly.
    raise _UnknownEffectError


def _refusal(reply: Reply, entry: Mapping[str, str]) -> ClientError:
    """Return an entry in a reply's list of errors as an exception of a request."""
    said = {"Code": entry["Code"], "Message": entry.get("Message", "")}
    return ClientError(
        {("Error"): said, "ResponseMetadata": reply["ResponseMetadata"]},  # type: ignore[typeddict-item]
        "DeleteObjects",
    )


def _delete(client: "S3Client", location: Location, etag: str | None, *, is_repeated: bool) -> None:
    if is_repeated and _is_gone(client, location, etag):
        return
    if etag:
        delete_unchanged(client, location, etag, {}, looks_first=False)
    else:
        delete_object(client, location)


def _is_gone(client: "S3Client", location: Location, etag: str | None) -> bool:
    """Return whether an object no longer exists, after a request that may have deleted it.

    Raises:
        ConflictError: The name now belongs to an object of another writer.
        StorageError: S3 failed.
    """
    try:
        if etag:
            check_unchanged(client, location, etag, {})
        else:
            head(client, location, {})
    except ObjectNotFoundError:
        return True
    except StorageError as error:
        # A caller with the permission to delete objects may lack the permission to read them, and
        # S3 replies 400 for an SSE-C object. In these cases only the service checks the ETag.
        if http_status(error) not in (HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN):
            raise
    return False


def _has_failed(error: S3CryptError) -> bool:
    """Return whether a later attempt of the failed request might succeed."""
    return isinstance(error.__cause__, Exception) and is_transient(error.__cause__)


def _left_out(location: Location, *, is_repeated: bool) -> StorageError:
    unknown = " It is not known whether it was deleted." if is_repeated else ""
    return StorageError(
        f"{location}: skipped, because the job was stopped.{unknown}", hint="Run the command again."
    )


def _not_asked(location: Location, before: S3CryptError, *, is_repeated: bool) -> StorageError:
    unknown = " It is not known whether it was deleted." if is_repeated else ""
    error = StorageError(
        f"{location}: skipped, because the service failed for the earlier objects.{unknown}",
        hint="Run the command again.",
        code=before.code,
    )
    error.__cause__ = before.__cause__
    return error
