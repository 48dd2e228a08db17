# SPDX-License-Identifier: Apache-2.0
"""Tests whether a service behaves as s3crypt needs it, with requests on scratch objects.

Each trial makes requests without s3crypt's workarounds, and compares the results. The tests in
tests/servers measure which of s3crypt's promises hold on a server with the workarounds.
"""

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from awscrt.checksums import crc64nvme

from s3crypt import buckets
from s3crypt.aws_errors import http_status
from s3crypt.errors import ConfigError, S3CryptError, StorageError
from s3crypt.modes import SSEC, reported_mode
from s3crypt.operations import S3Operation
from s3crypt.requests import BrokenReplyError
from s3crypt.transfer.scratch import Scratch, scratch

from .refusals import is_denied, is_throttled

if TYPE_CHECKING:
    from s3crypt.location import Location

    from .known import Services

_BODY = b"0123456789"
_PART = 5 * 2**20
_WRONG_ETAG = '"00000000000000000000000000000000"'
_METADATA = {"colour": "blue", "q_3": "a, b; c=d", "long": "x" * 1000}
_TAGS = {"project": "ledger", "owner": "a+b@example.com"}
_CONFLICTS = (HTTPStatus.PRECONDITION_FAILED, HTTPStatus.CONFLICT)
_CUSTOMER_KEY = SSEC(bytes(range(32)))


class Verdict(StrEnum):
    """Whether a service behaves as it should in one trial."""

    KEPT = "yes"
    NOT_KEPT = "no"
    UNSUPPORTED = "not supported"
    UNKNOWN = "not known"


@dataclass(frozen=True, slots=True)
class Kept:
    """The result of one trial.

    Attributes:
        trial: The name of the trial.
        verdict: `no` if the service reports success but did not do what was requested. `not
            supported` if the service refuses the operation. `not known` if the service denies the
            caller, throttles the request, or does not reply.
        note: The reason for a verdict other than `yes`.
    """

    trial: str
    verdict: Verdict
    note: str = ""


Trial = Callable[[Scratch], str | None]
"""A function that tests one behaviour. It returns the fault, or None if there is no fault.

Raises S3CryptError if the service refuses a request.
"""


def try_server(services: "Services", at: "Location") -> Iterator[Kept]:
    """Run the trials one after the other, yield their results, and remove the scratch objects.

    Args:
        services: Creates the S3 client.
        at: The bucket, and the prefix below which the scratch objects are created.

    Raises:
        ConfigError: The bucket has Object Lock, so scratch objects might not be removable.
        StorageError: Scratch objects could not be removed, or the bucket cannot be inspected.
    """
    client = services.s3.get()
    if buckets.may_lock_objects(client, at.bucket):
        raise ConfigError(
            f"s3://{at.bucket} has Object Lock, so the test objects might not be removable.",
            hint="Name a bucket without Object Lock.",
        )
    with scratch(client, at.bucket, at.name if at.is_prefix else f"{at.name}/") as made:
        for name, trial in TRIALS.items():
            yield _tried(name, trial, made)
    if made.left:
        names = ", ".join(map(str, made.left[:3]))
        raise StorageError(
            f"{len(made.left)} test objects could not be removed: {names}",
            hint=f"Remove them: s3crypt rm -r s3://{at.bucket}/{made.prefix}",
        )


def _tried(name: str, trial: Trial, made: Scratch) -> Kept:
    try:
        why = trial(made)
    except S3CryptError as error:
        return Kept(name, _verdict(error), _said(error))
    return Kept(name, Verdict.NOT_KEPT if why else Verdict.KEPT, why or "")


def _verdict(error: S3CryptError) -> Verdict:
    is_broken = isinstance(error.__cause__, BrokenReplyError)
    is_unanswered = http_status(error) == 0 and not is_broken
    # A denied caller, a throttled request or a missing reply does not show whether the service
    # supports the operation.
    is_unknown = is_denied(error) or is_throttled(error) or is_unanswered
    return Verdict.UNKNOWN if is_unknown else Verdict.UNSUPPORTED


def _is_of_server(error: S3CryptError) -> bool:
    """Return whether a request failed because of the server (5xx), or got no reply."""
    return http_status(error) in (0, *range(HTTPStatus.INTERNAL_SERVER_ERROR, 600))


def _said(error: S3CryptError) -> str:
    if isinstance(error.__cause__, BrokenReplyError):
        return "the reply is incomplete"
    status = http_status(error)
    code = error.code if error.code and error.code != str(status) else ""
    return f"{status} {code}".rstrip() if status else " ".join(str(error).split())


def _put(made: Scratch, name: str, **arguments: Any) -> Any:
    return made.ask("put_object", name, Body=_BODY, **arguments)


def _is_refused(made: Scratch, operation: S3Operation, name: str, **arguments: Any) -> bool:
    """Return whether the service refuses a request because its condition does not hold.

    Raises:
        S3CryptError: The service refused the request for another reason.
    """
    try:
        made.ask(operation, name, **arguments)
    except S3CryptError as error:
        if http_status(error) in _CONFLICTS:
            return True
        raise
    return False


# --- Conditions -------------------------------------------------------------------------------


def _put_if_absent(made: Scratch) -> str | None:
    name = made.new()
    _put(made, name, IfNoneMatch="*")
    if not _is_refused(made, "put_object", name, Body=b"other", IfNoneMatch="*"):
        return "an existing object was overwritten"
    return None if made.read(name)[1] == _BODY else "the object was changed"


def _put_if_match(made: Scratch) -> str | None:
    name = made.new()
    etag = _put(made, name)["ETag"]
    if not _is_refused(made, "put_object", name, Body=b"other", IfMatch=_WRONG_ETAG):
        return "an object with another ETag was overwritten"
    if _is_refused(made, "put_object", name, Body=b"new", IfMatch=etag):
        return "the object's own ETag is refused"
    return None if made.read(name)[1] == b"new" else "the object was not overwritten"


def _copy_if_absent(made: Scratch) -> str | None:
    source, name = made.new(), made.new()
    made.ask("put_object", source, Body=b"other")
    _put(made, name)
    of = made.source(source)
    if not _is_refused(made, "copy_object", name, CopySource=of, IfNoneMatch="*"):
        return "an existing object was overwritten"
    return None


def _copy_source_if_match(made: Scratch) -> str | None:
    source = made.new()
    _put(made, source)
    of = {"CopySource": made.source(source), "CopySourceIfMatch": _WRONG_ETAG}
    return None if _is_refused(made, "copy_object", made.new(), **of) else "the object was copied"


def _complete(made: Scratch, name: str, **conditions: str) -> bool:
    """Upload an object in one part. Return whether the completion was refused by its conditions."""
    upload = made.ask("create_multipart_upload", name)["UploadId"]
    part = made.ask("upload_part", name, UploadId=upload, PartNumber=1, Body=b"other")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    return _is_refused(
        made, "complete_multipart_upload", name,
        UploadId=upload, MultipartUpload=parts, **conditions,
    )  # fmt: skip


def _complete_if_absent(made: Scratch) -> str | None:
    name = made.new()
    _put(made, name)
    refused = _complete(made, name, IfNoneMatch="*")
    return None if refused else "an existing object was overwritten"


def _complete_if_match(made: Scratch) -> str | None:
    name = made.new()
    _put(made, name)
    refused = _complete(made, name, IfMatch=_WRONG_ETAG)
    return None if refused else "an object with another ETag was overwritten"


def _delete_if_match(made: Scratch) -> str | None:
    name = made.new()
    _put(made, name)
    refused = _is_refused(made, "delete_object", name, IfMatch=_WRONG_ETAG)
    return None if refused and name in made.names() else "an object with another ETag was deleted"


def _delete_many_if_match(made: Scratch) -> str | None:
    name = made.new()
    _put(made, name)
    made.delete_many({"Key": name, "ETag": _WRONG_ETAG})
    return None if name in made.names() else "an object with another ETag was deleted"


# --- Encryption -------------------------------------------------------------------------------


def _echoes(made: Scratch, arguments: dict[str, Any], mode: str) -> str | None:
    """Return which replies do not report the requested mode, or None if all replies report it."""
    name, large = made.new(), made.new()
    again = _CUSTOMER_KEY.read_arguments() if mode == "sse-c" else {}
    of_source = _CUSTOMER_KEY.copy_source_arguments() if mode == "sse-c" else {}
    replies: dict[str, Any] = {"put": _put(made, name, **arguments)}
    replies["HEAD"] = made.ask("head_object", name, **again)
    replies["GET"] = made.read(name, **again)[0]
    create = made.ask("create_multipart_upload", large, **arguments)
    replies["upload"] = create
    part = {"UploadId": create["UploadId"], "PartNumber": 1, "Body": _BODY}
    replies["part"] = made.ask("upload_part", large, **part, **again)
    replies["copy"] = _copied(made, name, {**arguments, **of_source})
    silent = [which for which, reply in replies.items() if reported_mode(reply) != mode]
    if silent == ["copy"] and not replies["copy"]:
        return "the object is not copied"
    return f"missing in the reply to: {', '.join(silent)}" if silent else None


def _copied(made: Scratch, name: str, arguments: dict[str, Any]) -> Any:
    """Return the reply to a copy, or an empty reply if the copy is refused."""
    try:
        return made.ask("copy_object", made.new(), CopySource=made.source(name), **arguments)
    except S3CryptError:
        return {}


def _echoes_sse_s3(made: Scratch) -> str | None:
    return _echoes(made, {"ServerSideEncryption": "AES256"}, "sse-s3")


def _echoes_sse_c(made: Scratch) -> str | None:
    return _echoes(made, dict(_CUSTOMER_KEY.write_arguments()), "sse-c")


def _demands_customer_key(made: Scratch) -> str | None:
    name = made.new()
    _put(made, name, **_CUSTOMER_KEY.write_arguments())
    other = SSEC(bytes(32)).read_arguments()
    for arguments in ({}, other):
        try:
            made.ask("head_object", name, **arguments)
        except S3CryptError as error:
            # Continue: S3 replies 400 to a request without a key, and 403 to a request with a wrong
            # key.
            if is_throttled(error) or _is_of_server(error):
                raise
            continue
        return f"the service answered a HEAD {'with another' if arguments else 'without its'} key"
    return None


# --- Checksums --------------------------------------------------------------------------------


def _crc(body: bytes) -> str:
    return base64.b64encode(crc64nvme(body).to_bytes(8)).decode()


def _returns_checksum(made: Scratch) -> str | None:
    name = made.new()
    _put(made, name, ChecksumCRC64NVME=_crc(_BODY))
    head = made.ask("head_object", name, ChecksumMode="ENABLED")
    return None if head.get("ChecksumCRC64NVME") == _crc(_BODY) else "a HEAD does not return it"


def _verifies_checksum(made: Scratch) -> str | None:
    return _takes_wrong(made, {"ChecksumCRC64NVME": _crc(b"other")})


def _verifies_md5(made: Scratch) -> str | None:
    return _takes_wrong(made, {"ContentMD5": base64.b64encode(bytes(16)).decode()})


def _takes_wrong(made: Scratch, checksum: dict[str, str]) -> str | None:
    name = made.new()
    try:
        _put(made, name, **checksum)
    except S3CryptError as error:
        if _verdict(error) is Verdict.UNKNOWN or _is_of_server(error):
            raise
        return None
    return "a body with another checksum was stored"


# --- Metadata, tags, annotations and names ----------------------------------------------------


def _keeps_metadata(made: Scratch) -> str | None:
    name = made.new()
    _put(made, name, Metadata=_METADATA)
    return _difference(_METADATA, made.ask("head_object", name)["Metadata"])


def _lowers_names(made: Scratch) -> str | None:
    name = made.new()
    _put(made, name, Metadata={"MixedCase": "Kept"})
    found = made.ask("head_object", name)["Metadata"]
    return None if found == {"mixedcase": "Kept"} else f"it became {found}"


def _keeps_encoded_text(made: Scratch) -> str | None:
    # S3 itself returns text that is not ASCII in this encoding (RFC 2047).
    text = "=?UTF-8?B?w6k=?="
    name = made.new()
    _put(made, name, Metadata={"text": text})
    return _difference({"text": text}, made.ask("head_object", name)["Metadata"])


def _difference(given: Mapping[str, str], found: Mapping[str, str]) -> str | None:
    # The case of names is ignored here, because it has a trial of its own.
    kept = {name.lower(): value for name, value in found.items()}
    changed = sorted(name for name in given if kept.get(name.lower()) != given[name])
    return f"not kept: {', '.join(changed)}" if changed else None


def _copies_metadata(made: Scratch) -> str | None:
    source, name = made.new(), made.new()
    _put(made, source, Metadata=_METADATA)
    made.ask("copy_object", name, CopySource=made.source(source))
    return _difference(_METADATA, made.ask("head_object", name)["Metadata"])


def _replaces_metadata(made: Scratch) -> str | None:
    name = made.new()
    _put(made, name, Metadata={"old": "1"})
    made.ask(
        "copy_object", name,
        CopySource=made.source(name), MetadataDirective="REPLACE", Metadata={"new": "2"},
    )  # fmt: skip
    found = made.ask("head_object", name)["Metadata"]
    return None if found == {"new": "2"} else f"it became {found}"


def _keeps_tags(made: Scratch) -> str | None:
    name = made.new()
    _put(made, name, Tagging="project=ledger&owner=a%2Bb%40example.com")
    return _difference(_TAGS, _tags(made, name))


def _copies_tags(made: Scratch) -> str | None:
    source, name = made.new(), made.new()
    _put(made, source, Tagging="project=ledger&owner=a%2Bb%40example.com")
    made.ask("copy_object", name, CopySource=made.source(source))
    return _difference(_TAGS, _tags(made, name))


def _tags(made: Scratch, name: str) -> dict[str, str]:
    return {each["Key"]: each["Value"] for each in made.ask("get_object_tagging", name)["TagSet"]}


def _keeps_annotations(made: Scratch) -> str | None:
    name = made.new()
    _put(made, name)
    made.ask("put_object_annotation", name, AnnotationName="note", AnnotationPayload=b"kept")
    found = made.ask("list_object_annotations", name).get("Annotations", ())
    if [each["AnnotationName"] for each in found] != ["note"]:
        return "it is not listed"
    return None if made.read(name)[1] == _BODY else "the object was overwritten"


def _keeps_names(made: Scratch) -> str | None:
    name = made.new(" +%2F/é/\u4f8b")
    _put(made, name)
    return None if name in made.names() else "a listing shows another name"


# --- Reading and parts ------------------------------------------------------------------------


def _reads_ranges(made: Scratch) -> str | None:
    name = made.new()
    _put(made, name)
    for asked, expected in (("bytes=2-5", b"2345"), ("bytes=-3", b"789"), ("bytes=8-", b"89")):
        reply, found = made.read(name, Range=asked)
        if found != expected or not reply.get("ContentRange"):
            return f"{asked} gave {len(found)} bytes"
    return None


def _takes_parts(made: Scratch) -> str | None:
    name, first = made.new(), bytes(_PART)
    upload = made.ask("create_multipart_upload", name)["UploadId"]
    tags = [
        made.ask("upload_part", name, UploadId=upload, PartNumber=number, Body=body)["ETag"]
        for number, body in ((1, first), (2, _BODY))
    ]
    parts = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
    made.ask("complete_multipart_upload", name, UploadId=upload, MultipartUpload={"Parts": parts})
    return None if made.read(name)[1] == first + _BODY else "the returned bytes differ"


def _copies_parts(made: Scratch) -> str | None:
    source, name = made.new(), made.new()
    _put(made, source)
    upload = made.ask("create_multipart_upload", name)["UploadId"]
    part = {"UploadId": upload, "PartNumber": 1, "CopySource": made.source(source)}
    tag = made.ask("upload_part_copy", name, **part)["CopyPartResult"]["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": tag}]}
    made.ask("complete_multipart_upload", name, UploadId=upload, MultipartUpload=parts)
    return None if made.read(name)[1] == _BODY else "the returned bytes differ"


def _makes_versions(made: Scratch) -> str | None:
    name = made.new()
    first = _put(made, name).get("VersionId")
    made.ask("put_object", name, Body=b"new")
    if not first:
        raise StorageError("the bucket has no versioning")
    return None if made.read(name, VersionId=first)[1] == _BODY else "another version was returned"


TRIALS: Mapping[str, Trial] = {
    "If-None-Match on put": _put_if_absent,
    "If-Match on put": _put_if_match,
    "If-None-Match on copy": _copy_if_absent,
    "If-Match of a copy's source": _copy_source_if_match,
    "If-None-Match on completion": _complete_if_absent,
    "If-Match on completion": _complete_if_match,
    "If-Match on delete": _delete_if_match,
    "ETag in DeleteObjects": _delete_many_if_match,
    "SSE-S3 in every reply": _echoes_sse_s3,
    "SSE-C in every reply": _echoes_sse_c,
    "SSE-C demands its key": _demands_customer_key,
    "CRC-64/NVME is returned": _returns_checksum,
    "a wrong CRC-64/NVME is refused": _verifies_checksum,
    "a wrong Content-MD5 is refused": _verifies_md5,
    "metadata": _keeps_metadata,
    "metadata: names in lower case": _lowers_names,
    "metadata: text that is not ASCII": _keeps_encoded_text,
    "metadata of a copy": _copies_metadata,
    "metadata replaced by a copy": _replaces_metadata,
    "tags": _keeps_tags,
    "tags of a copy": _copies_tags,
    "annotations": _keeps_annotations,
    "names in any characters": _keeps_names,
    "ranges": _reads_ranges,
    "uploads in parts": _takes_parts,
    "parts by copy": _copies_parts,
    "versions": _makes_versions,
}
