# SPDX-License-Identifier: Apache-2.0
"""Annotations: named texts that AWS stores with an object version, separate from its bytes.

CopyObject copies annotations. An object that is put, or copied by parts, has no annotations at
first; each annotation is then written by a separate request. This module lists and copies
annotations. It must not know modes, or decide when an object may lose its annotations.

When all annotations were copied, the source gets an annotation `copied-to.s3crypt` with the
target's version id. Without it, an interrupted copy could not be distinguished from a complete copy
whose annotations the user deleted later.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import FlexibleChecksumError

from s3crypt.aws import is_aws
from s3crypt.errors import ObjectNotFoundError, StorageError
from s3crypt.location import Location
from s3crypt.requests import BROKEN, Attempts, BrokenReplyError, call, pages

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

# The header that identifies the sandbox. The sandbox supports annotations.
_SANDBOX = "x-s3crypt-sandbox"
# AWS's error codes in a Region that does not support annotations.
_UNKNOWN = frozenset({"MethodNotAllowed", "NotImplemented"})
# S3's error codes if the version no longer exists. Another 404, such as one from a proxy, does not
# prove this.
_GONE = frozenset({"NoSuchKey", "NoSuchVersion"})
# The name does not begin with "s3" or "aws", because such names are reserved for Amazon.
_COPIED_TO = "copied-to.s3crypt"

# botocore does not repeat a request if reading the body fails, so this module does.
_READ_ATTEMPTS = 5


def may_exist(client: "S3Client", location: Location, head: Mapping[str, Any]) -> bool:
    """Return whether an object can have annotations.

    Only AWS and the sandbox support them, and not for SSE-C objects.

    Other services treat a request for an annotation as a request for the object itself, so no such
    request must be sent to them.
    """
    if head.get("SSECustomerAlgorithm") or not are_taken_at(location):
        return False
    headers = head.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return is_aws(client) or _SANDBOX in headers


def are_taken_at(location: Location) -> bool:
    """Return whether objects in this bucket can have annotations.

    Directory buckets do not support them.
    """
    return not location.is_in_directory_bucket


def names(client: "S3Client", location: Location, version_id: str | None) -> tuple[str, ...]:
    """Return the sorted names of a version's annotations. Return () if the version is gone.

    Raises:
        StorageError: S3 refused or failed.
    """
    found: list[str] = []
    subject = f"{location} (its annotations)"
    arguments = {**location.arguments, **_version(version_id)}
    try:
        for page in pages(client, "list_object_annotations", arguments, subject):
            found.extend(entry["AnnotationName"] for entry in page.get("Annotations") or ())
            _check_counted(location, page)
    except StorageError as error:
        if error.code in _UNKNOWN | _GONE:
            return ()
        raise
    return tuple(sorted(set(found) - {_COPIED_TO}))


def _check_counted(location: Location, page: Mapping[str, Any]) -> None:
    if page["AnnotationCount"] != len(page.get("Annotations") or ()):
        raise StorageError(
            f"{location}: S3's list of the object's annotations is incomplete.",
            hint="Run the command again.",
        )


def copy(
    client: "S3Client",
    source: tuple[Location, str | None],
    target: tuple[Location, str | None],
    wanted: Sequence[str],
) -> None:
    """Copy annotations, in order. Source and target are pairs of a location and a version id.

    Raises:
        StorageError: S3 refused or failed. The annotations before the failed one were copied.
    """
    (location, version_id), (destination, target_version) = source, target
    for name in wanted:
        subject = f"{destination} (its annotation {name!r})"
        named = {"AnnotationName": name}
        try:
            read = {**location.arguments, **named, **_version(version_id)}
            payload = _read(client, read, subject)
            write = {**destination.arguments, **named, **_version(target_version)}
            _write(client, write, payload, subject)
        except StorageError as error:
            at = f"version {version_id}" if version_id else str(location)
            still = f"The object still exists at {at}. Run the command again."
            error.hint = f"{error.hint} {still}" if error.hint else still
            raise


def note_copied(
    client: "S3Client", location: Location, *, source_version: str, target_version: str
) -> None:
    """Write an annotation to the source which says that all its annotations were copied.

    A failure is ignored: without this annotation, a later run only compares the two versions again.
    """
    with contextlib.suppress(StorageError):
        note = _note(location, source_version)
        _write(client, note, target_version.encode(), f"{location} (its annotations)")


def is_copied(
    client: "S3Client", location: Location, *, source_version: str, target_version: str
) -> bool:
    """Return whether all annotations were copied to the target version, or the source is gone.

    Raises:
        StorageError: S3 refused or failed, or it is unknown whether the annotation or the version
            is missing.
    """
    note, subject = _note(location, source_version), f"{location} (its annotations)"
    try:
        return _read(client, note, subject) == target_version.encode()
    except ObjectNotFoundError as error:
        if error.code not in {"NoSuchAnnotation", *_GONE}:
            raise
        return error.code in _GONE


def _note(location: Location, source_version: str) -> dict[str, Any]:
    return {**location.arguments, "AnnotationName": _COPIED_TO, "VersionId": source_version}


def _write(client: "S3Client", arguments: Mapping[str, Any], payload: bytes, subject: str) -> None:
    more = {"AnnotationPayload": payload, "ChecksumAlgorithm": "CRC64NVME"}
    call(client, "put_object_annotation", {**arguments, **more}, subject)


def _read(client: "S3Client", arguments: Mapping[str, Any], subject: str) -> bytes:
    """Return the complete text of an annotation. It has at most 1 MiB."""
    asked = {**arguments, "ChecksumMode": "ENABLED"}
    attempts = Attempts(client, subject, least=_READ_ATTEMPTS)
    while True:
        reply = call(client, "get_object_annotation", asked, subject, within=attempts)
        try:
            payload: bytes = reply["AnnotationPayload"].read()
        except (*BROKEN, FlexibleChecksumError, ValueError) as error:
            # botocore raises ValueError for a checksum that is not base64.
            attempts.after(BrokenReplyError(error))
            continue
        if len(payload) == reply["ContentLength"]:
            return payload
        attempts.after(BrokenReplyError())


def _version(version_id: str | None) -> dict[str, str]:
    return {"VersionId": version_id} if version_id else {}
