# SPDX-License-Identifier: Apache-2.0
"""Facts about an object: from its writer, from S3's replies, and from its message's header."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from s3crypt import formats
from s3crypt import metadata as entries
from s3crypt.errors import StorageError
from s3crypt.formats import Envelope, Facts
from s3crypt.location import Location
from s3crypt.modes import ClientSide, Mode, reported_mode
from s3crypt.transfer import ObjectStream
from s3crypt.transfer.conditions import bare_etag

# Headers that S3 stores with an object. When an object is rewritten, S3 removes the headers that
# the request does not repeat.
DESCRIBING_HEADERS = (
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "ContentType",
    "Expires",
    "StorageClass",
    "WebsiteRedirectLocation",
)


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """The facts about one object that are known without its plaintext.

    Attributes:
        uri: The object's URI.
        mode: `sse-s3`, `sse-kms`, `dsse-kms`, `sse-c` or `client`. None if S3 reports no mode.
        size: The number of plaintext bytes, computed from the stored size. None if it cannot be
            computed.
        stored_size: The number of bytes that S3 stores.
        etag: The ETag, without quotes. It identifies the content.
        version_id: The version id. None in a bucket without versioning, and for the version that S3
            calls `null`, which was written while the bucket had no versioning.
        last_modified: The time at which the object was stored. None in the result of a put.
        content_type, storage_class, metadata: The values that were given to `put`.
        kms_key: The ARN of the KMS key with which S3 encrypts the object. A client-side object can
            have one, too.
        bucket_key: Whether S3 uses a bucket key.
        suite: The algorithm suite. This attribute and all following attributes are set only for
            client-side objects.
        signed: Whether the object has a signature.
        frame_length: The number of plaintext bytes per frame.
        frames: The number of frames.
        key_location: The place of the wrapped keys, `header` or `metadata`.
        keys: The names of the keys that wrap the object's data key, as on the command line.
        key_materials: For each key in `keys`, the id of the KMS key material that wrapped the data
            key, if it is known. It is known right after writing, and later for objects with
            `key_location="metadata"`. In the second case, the id comes from the metadata, which any
            writer can change.
        context: The encryption context. It is verified only if the object was decrypted.
    """

    uri: str
    mode: str | None
    size: int | None
    stored_size: int
    etag: str
    version_id: str | None = None
    last_modified: datetime | None = None
    content_type: str | None = None
    storage_class: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    kms_key: str | None = None
    bucket_key: bool = False
    suite: str | None = None
    signed: bool = False
    frame_length: int | None = None
    frames: int | None = None
    key_location: str | None = None
    keys: tuple[str, ...] = ()
    key_materials: Mapping[str, str] = field(default_factory=dict)
    context: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Description:
    """The properties that S3 stores with an object's bytes, as request arguments.

    Attributes:
        metadata: User metadata.
        tags: Object tags.
        headers: Content headers, storage class and Object Lock settings, by the name of the request
            argument.
    """

    metadata: Mapping[str, str]
    tags: Mapping[str, str]
    headers: Mapping[str, Any]

    def arguments(self, metadata: Mapping[str, str]) -> dict[str, Any]:
        """Return the arguments of a request that creates the object.

        `metadata` is the complete metadata, with the entries of s3crypt.
        """
        arguments: dict[str, Any] = dict(self.headers)
        if metadata:
            arguments["Metadata"] = dict(metadata)
        if self.tags:
            arguments["Tagging"] = urlencode(dict(self.tags))
        return arguments


def modified_ns(info: ObjectInfo) -> int | None:
    """Return the modification time of an object's content in nanoseconds. Return None if unknown.

    This is the file's modification time if the writer recorded it, otherwise the time at which the
    object was stored.
    """
    recorded = entries.time_of(info.metadata)
    if recorded is None and info.last_modified is not None:
        return time_ns(info.last_modified)
    return recorded


def time_ns(time: datetime) -> int:
    """Return a time in nanoseconds since 1970. The result is exact to a microsecond."""
    return round(time.timestamp() * 10**6) * 10**3


def copied(info: ObjectInfo | None) -> ObjectInfo:
    """Return the facts about a copy.

    `info` is None only in a dry run, and a dry run must not call this function.
    """
    if info is None:
        raise AssertionError("unreachable: only a dry run stores no copy")
    return info


def describing(reply: Mapping[str, Any], more: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the headers of a reply that a rewritten object must have too.

    `more` names further headers.
    """
    return {name: reply[name] for name in (*DESCRIBING_HEADERS, *more) if reply.get(name)}


def check_metadata(location: Location, reply: Mapping[str, Any]) -> None:
    """Refuse to rewrite an object if S3's reply does not contain all its metadata."""
    if reply.get("MissingMeta"):
        raise StorageError(
            f"{location} has metadata that S3 cannot send; the metadata would be lost.",
            hint="The names or values are not ASCII. Store the object again.",
        )


def describe(location: Location, stream: ObjectStream, envelope: Envelope | None) -> ObjectInfo:
    """Return the facts in an open object's reply and envelope."""
    common = _of_reply(location, stream.reply, stream.size)
    if envelope is None:
        return ObjectInfo(mode=reported_mode(stream.reply), size=stream.size, **common)
    facts = envelope.facts(stream)
    return ObjectInfo(mode=ClientSide.name, size=facts.size, **common, **_of_facts(facts))


def describe_plain(location: Location, head: Mapping[str, Any]) -> ObjectInfo:
    """Return the facts in the reply to a HEAD of an object that S3 decrypts."""
    size = head["ContentLength"]
    return ObjectInfo(mode=reported_mode(head), size=size, **_of_reply(location, head, size))


def describe_head(location: Location, head: Mapping[str, Any]) -> ObjectInfo | None:
    """Return the facts in the reply to a HEAD of a client-side object.

    Return None if its metadata does not contain the lengths.

    The size follows from the metadata. It is verified only by a read, which compares the metadata
    with the header.
    """
    stored_size = head["ContentLength"]
    facts = formats.measure(entries.of_reply(head), stored_size)
    if facts is None:
        return None
    common = _of_reply(location, head, stored_size)
    return ObjectInfo(mode=ClientSide.name, size=facts.size, **common, **_of_facts(facts))


def version_of(reply: Mapping[str, Any]) -> str | None:
    """Return the version id in a reply or in a listing's entry.

    Return None for the version `null`.
    """
    version: str | None = reply.get("VersionId")
    return None if version == "null" else version


def _of_reply(location: Location, reply: Mapping[str, Any], stored_size: int) -> dict[str, Any]:
    return {
        "uri": str(location),
        "stored_size": stored_size,
        "etag": bare_etag(reply["ETag"]),
        "version_id": version_of(reply),
        "last_modified": reply.get("LastModified"),
        "content_type": reply.get("ContentType"),
        "storage_class": reply.get("StorageClass", "STANDARD"),
        "metadata": entries.of_user(entries.of_reply(reply)),
        "kms_key": reply.get("SSEKMSKeyId"),
        "bucket_key": bool(reply.get("BucketKeyEnabled")),
    }


def _of_facts(facts: Facts) -> dict[str, Any]:
    return {
        "suite": facts.suite,
        "signed": facts.signed,
        "frame_length": facts.frame_length,
        "frames": facts.frames,
        "key_location": facts.key_location,
        "keys": facts.keys,
        "key_materials": facts.key_materials,
        "context": facts.context,
    }


def describe_written(
    location: Location,
    mode: Mode,
    described: Description,
    reply: Mapping[str, Any],
    stored: tuple[int, int, Facts | None],
) -> ObjectInfo:
    """Return the facts about an object that was just written.

    `stored` has the plaintext size, the stored size, and the format's facts.
    """
    size, stored_size, facts = stored
    return ObjectInfo(
        uri=str(location),
        mode=mode.name,
        size=size,
        stored_size=stored_size,
        etag=bare_etag(reply["ETag"]),
        version_id=version_of(reply),
        content_type=described.headers.get("ContentType"),
        storage_class=described.headers.get("StorageClass", "STANDARD"),
        metadata=dict(described.metadata),
        kms_key=reply.get("SSEKMSKeyId"),
        bucket_key=bool(reply.get("BucketKeyEnabled")),
        **(_of_facts(facts) if facts else {}),
    )
