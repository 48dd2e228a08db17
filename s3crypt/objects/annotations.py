# SPDX-License-Identifier: Apache-2.0
"""Annotations: named texts that AWS keeps beside an object version, apart from its bytes.

CopyObject copies them. An object that is put, or copied by parts, has no annotations at first; each
annotation is then written by a request of its own. This module lists and copies annotations. It
must know neither modes nor when an object may lose its annotations.

A complete copy is noted at its source, in an annotation `copied-to.s3crypt` with the target's
version id. Without that note, an interrupted copy would look like a complete copy whose annotations
the user has deleted since.
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

# The header that identifies the sandbox, which supports annotations.
_SANDBOX = "x-s3crypt-sandbox"
# AWS's error codes in a Region without annotations.
_UNKNOWN = frozenset({"MethodNotAllowed", "NotImplemented"})
# S3's error codes if the version is gone. Any other 404, such as a proxy's, does not prove that.
_GONE = frozenset({"NoSuchKey", "NoSuchVersion"})
# Names that begin with "s3" or "aws" are Amazon's.
_COPIED_TO = "copied-to.s3crypt"

# botocore does not retry the read of a body.
_READ_ATTEMPTS = 5


def may_exist(client: "S3Client", location: Location, head: Mapping[str, Any]) -> bool:
    """Return whether an object can have annotations: in AWS and in the sandbox, without SSE-C.

    Other services mistake a request for an annotation for a request for the object itself.
    """
    if head.get("SSECustomerAlgorithm") or not are_taken_at(location):
        return False
    headers = head.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return is_aws(client) or _SANDBOX in headers


def are_taken_at(location: Location) -> bool:
    """Return whether objects there may have annotations: directory buckets do not support them."""
    return not location.is_in_directory_bucket


def names(client: "S3Client", location: Location, version_id: str | None) -> tuple[str, ...]:
    """Return the sorted names of a version's annotations; an empty tuple if the version is gone.

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
            f"{location}: S3's list of its annotations came without its end.", hint="Run it again."
        )


def copy(
    client: "S3Client",
    source: tuple[Location, str | None],
    target: tuple[Location, str | None],
    wanted: Sequence[str],
) -> None:
    """Copy annotations between two versions, each given as a location and a version id, in order.

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
            still = f"It is still at {at}: run it again."
            error.hint = f"{error.hint} {still}" if error.hint else still
            raise


def note_copied(
    client: "S3Client", location: Location, *, source_version: str, target_version: str
) -> None:
    """Note at the source that all its annotations were copied to a later version.

    Without the note, a later run only has to compare the two versions again.
    """
    with contextlib.suppress(StorageError):
        note = _note(location, source_version)
        _write(client, note, target_version.encode(), f"{location} (its annotations)")


def is_copied(
    client: "S3Client", location: Location, *, source_version: str, target_version: str
) -> bool:
    """Return whether a copy from one version to the other is complete, or its source is gone.

    Raises:
        StorageError: S3 refused or failed, or did not say whether the note or version is missing.
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
    """Return an annotation's text, which is 1 MiB at most, whole."""
    asked = {**arguments, "ChecksumMode": "ENABLED"}
    attempts = Attempts(client, subject, least=_READ_ATTEMPTS)
    while True:
        reply = call(client, "get_object_annotation", asked, subject, within=attempts)
        try:
            payload: bytes = reply["AnnotationPayload"].read()
        except (*BROKEN, FlexibleChecksumError, ValueError) as error:
            # botocore raises ValueError if a checksum is not base64.
            attempts.after(BrokenReplyError(error))
            continue
        if len(payload) == reply["ContentLength"]:
            return payload
        attempts.after(BrokenReplyError())


def _version(version_id: str | None) -> dict[str, str]:
    return {"VersionId": version_id} if version_id else {}
