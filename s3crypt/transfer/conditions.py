# SPDX-License-Identifier: Apache-2.0
"""Conditional requests: writes and deletes that require that the object is absent or unchanged.

S3 itself checks the conditions. Other services silently ignore some conditions, so a HEAD is sent
before the request there. A change by another writer between the HEAD and the request is then not
detected. `docs/modes.md` lists the conditions that each service checks.
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
# This message is for services other than AWS.
_BY_HEAD = "%s: whether it %s is asked by HEAD, as the service may ignore the condition"

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

IF_ABSENT: Mapping[str, str] = {"IfNoneMatch": "*"}


def if_unchanged(etag: str) -> dict[str, str]:
    """Return the condition that the object still has this ETag. The ETag may have quotes or not."""
    return {"IfMatch": quoted_etag(etag)}


def bare_etag(etag: str) -> str:
    """Return an ETag without its quotes. `S3Crypt` shows ETags in this form."""
    return etag[1:-1] if len(etag) > 1 and etag[0] == etag[-1] == '"' else etag


def quoted_etag(etag: str) -> str:
    """Return an ETag with quotes. S3's conditions require this form."""
    return etag if etag.endswith('"') else f'"{etag}"'


def must_be_absent(conditions: Mapping[str, str]) -> bool:
    """Return whether the conditions require that the object does not exist."""
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
    """Check by HEAD that an object does not exist, before a write that must not replace it.

    A service other than AWS may ignore the condition. AWS checks the condition of an upload by
    parts only when the upload is completed, after all parts have been sent. For other writes to
    AWS, no HEAD is sent.

    Args:
        client: The S3 client.
        location: The object.
        conditions: The write's conditions.
        arguments: Further arguments of the HEAD, such as the customer key of SSE-C.
        by_parts: Whether the object is written by parts.
        within: The attempts of the write if it is about to be repeated. None before the first
            attempt.

    Raises:
        ConflictError: The object exists.
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
        # A HEAD is refused if the writer has no permission to read (403), or the object has another
        # customer key (400). In these cases only the service checks the condition.
        if http_status(error) in (400, 403):
            told = location, cause_of(error)
            _log.info("%s: HEAD was refused (%s); the service alone checks the condition", *told)
            return
        raise
    raise ConflictError(
        f"{location}: the object exists, or another writer changed it",
        hint="The other writer's object was kept. Check it before you write again.",
        code="PreconditionFailed",
    )


def in_another_spelling(
    client: "S3Client",
    location: Location,
    conditions: Mapping[str, str],
    arguments: Mapping[str, Any],
) -> dict[str, str] | None:
    """Return conditions in another form after a service refused conditions although they hold.

    Return None if they do not hold, or there is no other form.

    Ceph compares the ETag in `If-Match` with an ETag without quotes, so S3's form with quotes never
    matches.
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
        arguments: Further arguments of a HEAD, such as the customer key of SSE-C.
        looks_first: Whether to send a HEAD first if the service may ignore the ETag.

    Raises:
        ConflictError: The object has another ETag. It was not deleted.
        StorageError: S3 refused or failed.
    """

    def look(attempts: Attempts | None) -> Reply | None:
        # The reply to a delete may be lost. If the object was deleted, it is now absent, or another
        # writer has stored a new object, which must not be deleted.
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
        # The service does not support the condition. Send a HEAD, because the object may have
        # changed since the first HEAD.
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
    """Delete an object that was just written: by its version id, or else by its ETag.

    The version id "null" does not identify the written object, because another writer may have
    replaced it. In this case the ETag is compared.

    Raises:
        ConflictError: Another writer has replaced the object. The new object was not deleted.
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
    """Return a write's reply with the ETag.

    Some services omit the ETag when an upload is completed. In this case a HEAD fetches it.
    """
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
    """Check by HEAD that the object still has this ETag.

    Raises:
        ConflictError: The object has another ETag.
        ObjectNotFoundError: The object does not exist.
    """
    found = str(head(client, location, arguments, within=within)["ETag"])
    if found.strip('"') != etag.strip('"'):
        raise ConflictError(
            f"{location}: another writer replaced the object, and that writer's object was kept.",
            hint="Check the object before you write again.",
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
    """Check a write's conditions by HEAD. Do nothing on AWS, because AWS never ignores them.

    Raises:
        ConflictError: The conditions do not hold.
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
            # The existing object may have another customer key than the new object.
            if http_status(error) not in (400, 403):
                raise


def head(
    client: "S3Client",
    location: Location,
    arguments: Mapping[str, Any],
    *,
    within: Attempts | None = None,
) -> Reply:
    """Return S3's reply to a HEAD of the object.

    `within` has the attempts of another request if this HEAD looks for the effect of that request.
    It is None for any other HEAD.
    """
    request = {**location.arguments, **arguments}
    is_look = within is not None
    return call(client, "head_object", request, str(location), within=within, is_look=is_look)
