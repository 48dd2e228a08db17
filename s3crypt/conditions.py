# SPDX-License-Identifier: Apache-2.0
"""Conditional requests: what must be there, or not, for a write or a delete to be done.

S3 itself checks the conditions. Other services ignore some of them without a word, so that there a
HEAD goes before the request; a moment stays between the two, in which another writer is not
noticed. `docs/modes.md` lists which service checks which condition.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from .aws import http_status, is_aws
from .errors import ConflictError, ObjectNotFoundError, StorageError
from .location import Location
from .requests import Attempts, Reply, call

IF_ABSENT: Mapping[str, str] = {"IfNoneMatch": "*"}


def if_unchanged(etag: str) -> dict[str, str]:
    """Return the condition that the object there still has this ETag."""
    return {"IfMatch": etag}


def must_be_absent(conditions: Mapping[str, str]) -> bool:
    """Return whether the conditions demand that there is no object."""
    return "IfNoneMatch" in conditions


def check_first(
    client: Any,
    location: Location,
    conditions: Mapping[str, str],
    arguments: Mapping[str, Any],
    *,
    by_parts: bool,
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

    Raises:
        ConflictError: There is an object.
    """
    if not must_be_absent(conditions) or (is_aws(client) and not by_parts):
        return
    try:
        head(client, location, arguments)
    except ObjectNotFoundError:
        return
    except StorageError as error:
        # A writer need not be allowed to read, and an object under another customer key answers
        # with 400: then the condition decides.
        if http_status(error) in (400, 403):
            return
        raise
    raise ConflictError(
        f"{location}: it exists or was changed by another writer",
        hint="Theirs was kept. Look at it, then decide.",
        code="PreconditionFailed",
    )


def in_another_spelling(
    client: Any, location: Location, conditions: Mapping[str, str], arguments: Mapping[str, Any]
) -> dict[str, str] | None:
    """Return conditions for a service that refused them though they hold; None where they do not.

    Ceph compares `If-Match` with the ETag without its quotes, so that the ETag as S3 writes it
    never matches.
    """
    wanted = conditions.get("IfMatch", "")
    if is_aws(client) or not wanted.startswith('"'):
        return None
    if head(client, location, arguments).get("ETag") != wanted:
        return None
    return {**conditions, "IfMatch": wanted.strip('"')}


def delete_unchanged(
    client: Any, location: Location, etag: str, arguments: Mapping[str, Any]
) -> None:
    """Delete the object if it still has this ETag.

    Raises:
        ConflictError: It has another one; it was kept.
        StorageError: S3 refused or failed.
    """
    if not is_aws(client) and not _is_unchanged(client, location, etag, arguments):
        return

    def look(attempts: Attempts) -> Reply | None:
        # A delete whose reply was lost left nothing there.
        try:
            head(client, location, arguments, within=attempts)
        except ObjectNotFoundError:
            return {}
        return None

    try:
        request = {**location.arguments, **if_unchanged(etag)}
        call(client, "delete_object", request, str(location), look=look)
    except ObjectNotFoundError:
        return
    except StorageError as error:
        if error.code != "NotImplemented":
            raise
        # The service knows no such condition. The refusal has taken its time.
        if _is_unchanged(client, location, etag, arguments):
            with suppress(ObjectNotFoundError):
                call(client, "delete_object", location.arguments, str(location))


def _is_unchanged(client: Any, location: Location, etag: str, arguments: Mapping[str, Any]) -> bool:
    """Return whether the object still has this ETag; False if there is none.

    Raises:
        ConflictError: It has another one.
    """
    try:
        found = head(client, location, arguments).get("ETag")
    except ObjectNotFoundError:
        return False
    if found != etag:
        raise ConflictError(
            f"{location} was replaced by another writer; theirs was kept.",
            code="PreconditionFailed",
        )
    return True


def head(
    client: Any,
    location: Location,
    arguments: Mapping[str, Any],
    *,
    within: Attempts | None = None,
) -> Reply:
    """Return S3's reply to a HEAD of the object."""
    request = {**location.arguments, **arguments}
    return call(client, "head_object", request, str(location), within=within)
