# SPDX-License-Identifier: Apache-2.0
"""Conditional requests: writes and deletes that require the object to be absent or unchanged.

S3 itself checks the conditions. Other services silently ignore some of them, so a HEAD precedes the
request there; another writer's change between the HEAD and the request is not noticed.
`docs/modes.md` lists which service checks which condition.
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
    """Return the condition that the object still has this ETag, with or without its quotes."""
    return {"IfMatch": quoted_etag(etag)}


def bare_etag(etag: str) -> str:
    """Return an ETag without the quotes around it, as the public face shows ETags."""
    return etag[1:-1] if len(etag) > 1 and etag[0] == etag[-1] == '"' else etag


def quoted_etag(etag: str) -> str:
    """Return an ETag with the quotes around it, as S3's conditions need it."""
    return etag if etag.endswith('"') else f'"{etag}"'


def must_be_absent(conditions: Mapping[str, str]) -> bool:
    """Return whether the conditions demand that the object does not exist."""
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
    """Check by HEAD, before a write that must not replace an object, that the object is absent.

    A service that is not AWS's may ignore the condition. AWS checks the condition of an upload by
    parts only at its completion, after all parts have been sent.

    Args:
        client: The S3 client.
        location: The object.
        conditions: The write's conditions.
        arguments: Further arguments of the HEAD: the customer key of SSE-C.
        by_parts: Whether the object is written by parts.
        within: The attempts of the write, if it is about to be repeated.

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
        # A writer may lack the permission to read (403), and S3 answers 400 for an object under
        # another customer key: then only the service checks the condition.
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
    """Return conditions for a service that refused them although they hold; None if they do not.

    Ceph compares `If-Match` with the ETag without its quotes, so the quoted ETag of S3 never
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
        arguments: Further arguments of a HEAD: the customer key of SSE-C.
        looks_first: Whether a HEAD precedes the request if the service may ignore the ETag.

    Raises:
        ConflictError: The object has another ETag; it was kept.
        StorageError: S3 refused or failed.
    """

    def look(attempts: Attempts | None) -> Reply | None:
        # After a delete whose reply was lost, the object is absent, or another writer has made a
        # new one since.
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
        # The service does not support the condition. Look again: the object may have changed since
        # the first HEAD.
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
    """Delete an object just written, by its version id, or by its ETag if it has no version id.

    The version "null" is always the object written last, so its ETag is compared.

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
    """Return a write's reply with the ETag, which some services omit when completing an upload."""
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
    """Check a write's conditions by HEAD if the service may ignore them; AWS does not.

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
            # The existing object may be under another customer key than the new object.
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
