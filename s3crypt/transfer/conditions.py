# SPDX-License-Identifier: Apache-2.0
"""Conditional requests: what must be there, or not, for a write or a delete to be done.

S3 itself checks the conditions. Other services ignore some of them without a word, so that there a
HEAD goes before the request; a moment stays between the two, in which another writer is not
noticed. `docs/modes.md` lists which service checks which condition.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from s3crypt.aws import is_aws
from s3crypt.aws_errors import http_status
from s3crypt.errors import ConflictError, ObjectNotFoundError, StorageError
from s3crypt.location import Location
from s3crypt.logs import logger_of
from s3crypt.requests import Attempts, Reply, call, cause_of

_log = logger_of(__name__)
# The service is not AWS's.
_BY_HEAD = "%s: whether it %s is asked by HEAD, as the service may ignore the condition"

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

IF_ABSENT: Mapping[str, str] = {"IfNoneMatch": "*"}


def if_unchanged(etag: str) -> dict[str, str]:
    """Return the condition that the object there still has this ETag."""
    return {"IfMatch": etag}


def must_be_absent(conditions: Mapping[str, str]) -> bool:
    """Return whether the conditions demand that there is no object."""
    return "IfNoneMatch" in conditions


def check_first(
    client: "S3Client",
    location: Location,
    conditions: Mapping[str, str],
    arguments: Mapping[str, Any],
    *,
    by_parts: bool,
    within: Attempts | None = None,
) -> None:
    """Ask for the object before it is written, where the write must find none.

    A service that is not AWS's may ignore the condition. AWS checks it only when an upload by
    parts is completed, and the parts would have been sent in vain.

    Args:
        client: The S3 client.
        location: The object.
        conditions: Of the write.
        arguments: Of a HEAD: the customer key of SSE-C.
        by_parts: Whether the object is written by parts.
        within: The attempts of the write, where it is to be repeated.

    Raises:
        ConflictError: There is an object.
    """
    if not must_be_absent(conditions) or (is_aws(client) and not by_parts):
        return
    if not is_aws(client):
        _log.info(_BY_HEAD, location, "exists")
    try:
        head(client, location, arguments, within=within)
    except ObjectNotFoundError:
        return
    except StorageError as error:
        # A writer need not be allowed to read, and an object under another customer key answers
        # with 400: then the condition decides.
        if http_status(error) in (400, 403):
            told = location, cause_of(error)
            _log.info("%s: HEAD was refused (%s); the service alone checks the condition", *told)
            return
        raise
    raise ConflictError(
        f"{location}: it exists or was changed by another writer",
        hint="Theirs was kept. Look at it, then decide.",
        code="PreconditionFailed",
    )


def in_another_spelling(
    client: "S3Client",
    location: Location,
    conditions: Mapping[str, str],
    arguments: Mapping[str, Any],
) -> dict[str, str] | None:
    """Return conditions for a service that refused them though they hold; None where they do not.

    Ceph compares `If-Match` with the ETag without its quotes, so that the ETag as S3 writes it
    never matches.
    """
    wanted = conditions.get("IfMatch", "")
    if is_aws(client) or not wanted.startswith('"'):
        return None
    try:
        is_there = head(client, location, arguments)["ETag"] == wanted
    except StorageError:
        return None
    if not is_there:
        return None
    _log.info("%s: unchanged, yet refused; If-Match is sent again without quotes", location)
    return {**conditions, "IfMatch": wanted.strip('"')}


def delete_unchanged(
    client: "S3Client",
    location: Location,
    etag: str,
    arguments: Mapping[str, Any],
    *,
    looks_first: bool = True,
) -> None:
    """Delete the object if it still has this ETag.

    Args:
        client: The S3 client.
        location: The object.
        etag: The ETag.
        arguments: Of a HEAD: the customer key of SSE-C.
        looks_first: Whether a HEAD goes before the request where the service may ignore the ETag.

    Raises:
        ConflictError: It has another one; it was kept.
        StorageError: S3 refused or failed.
    """

    def look(attempts: Attempts | None) -> Reply | None:
        # A delete whose reply was lost left nothing there, or what came after it.
        try:
            check_unchanged(client, location, etag, arguments, within=attempts)
        except ObjectNotFoundError:
            return {}
        return None

    if looks_first and not is_aws(client):
        _log.info(_BY_HEAD, location, "is unchanged")
        if look(None) is not None:
            return
    try:
        request = {**location.arguments, **if_unchanged(etag)}
        call(client, "delete_object", request, str(location), look=look)
    except ObjectNotFoundError:
        return
    except StorageError as error:
        if error.code != "NotImplemented":
            raise
        # The service knows no such condition. The refusal has taken its time.
        told = location, cause_of(error)
        _log.info("%s: the condition was refused (%s); deleted after a HEAD alone", *told)
        if look(None) is None:
            with suppress(ObjectNotFoundError):
                call(client, "delete_object", location.arguments, str(location), look=look)


def delete_written(
    client: "S3Client",
    location: Location,
    version_id: str | None,
    etag: str,
    arguments: Mapping[str, Any],
) -> None:
    """Delete an object just written: this very version, or this very content.

    The version "null" is whichever object was written last, so that its content is compared.

    Raises:
        ConflictError: Another writer's object took its place; it was kept.
        StorageError: S3 refused or failed.
    """
    if version_id in (None, "null"):
        delete_unchanged(client, location, etag, arguments)
        return
    request = {**location.arguments, "VersionId": version_id}
    call(client, "delete_object", request, str(location))


def with_etag(
    client: "S3Client", location: Location, reply: Mapping[str, Any], arguments: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return a reply to a write with the ETag, which some services leave out of a completion's."""
    if reply.get("ETag"):
        return reply
    return {**reply, "ETag": head(client, location, arguments)["ETag"]}


def check_unchanged(
    client: "S3Client",
    location: Location,
    etag: str,
    arguments: Mapping[str, Any],
    *,
    within: Attempts | None = None,
) -> None:
    """Refuse to go on where the object there has another ETag.

    Raises:
        ConflictError: It has.
        ObjectNotFoundError: There is no object.
    """
    found = str(head(client, location, arguments, within=within)["ETag"])
    if found.strip('"') != etag.strip('"'):
        raise ConflictError(
            f"{location} was replaced by another writer; theirs was kept.",
            hint="Look at it, then decide.",
            code="PreconditionFailed",
        )


def check_again(
    client: "S3Client",
    location: Location,
    conditions: Mapping[str, str],
    arguments: Mapping[str, Any],
    *,
    within: Attempts | None = None,
) -> None:
    """Check a write's conditions by HEAD, where the service may ignore them: not on AWS.

    Raises:
        ConflictError: They do not hold.
    """
    if is_aws(client):
        return
    if must_be_absent(conditions):
        check_first(client, location, conditions, arguments, by_parts=False, within=within)
    elif "IfMatch" in conditions:
        _log.info(_BY_HEAD, location, "is unchanged")
        try:
            check_unchanged(client, location, conditions["IfMatch"], arguments, within=within)
        except (ConflictError, ObjectNotFoundError):
            raise
        except StorageError as error:
            # The object there may be under another customer key than the new one is to be.
            if http_status(error) not in (400, 403):
                raise


def head(
    client: "S3Client",
    location: Location,
    arguments: Mapping[str, Any],
    *,
    within: Attempts | None = None,
) -> Reply:
    """Return S3's reply to a HEAD of the object."""
    request = {**location.arguments, **arguments}
    is_look = within is not None
    return call(client, "head_object", request, str(location), within=within, is_look=is_look)
