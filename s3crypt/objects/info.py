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

# Headers that S3 keeps with an object, and drops when the object is rewritten unless the request
# repeats them.
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
        mode: `sse-s3`, `sse-kms`, `dsse-kms`, `sse-c` or `client`; None if S3 reports no mode.
        size: Plaintext bytes, computed from the stored size; None if they cannot be computed.
        stored_size: Bytes in S3.
        etag: S3's tag of this content, without quotes.
        version_id: The version; None in buckets without versioning, and for the version that was
            written while the bucket had none, which S3 calls `null`.
        last_modified: The time at which the object was stored; None right after a put.
        content_type, storage_class, metadata: As given to `put`.
        kms_key: ARN of the key that S3 encrypts with, in any mode.
        bucket_key: Whether S3 uses a bucket key.
        suite: Algorithm suite. This and the following attributes are set for client-side objects.
        signed: Whether the object has a signature.
        frame_length: Plaintext bytes per frame.
        frames: The number of frames.
        key_location: `header` or `metadata`.
        keys: The keys that wrap the object's data key, as written on the command line.
        key_materials: The id of the KMS key material that wrapped the data key, per key in `keys`,
            where it is known: right after writing, and later for objects with
            `key_location="metadata"`. Then the metadata claims it, and any writer can change that.
        context: The encryption context; unverified unless the object was decrypted.
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
    """The properties that S3 stores beside an object's bytes, as request arguments.

    Attributes:
        metadata: User metadata.
        tags: Object tags.
        headers: Content headers, storage class and Object Lock settings, by request argument.
    """

    metadata: Mapping[str, str]
    tags: Mapping[str, str]
    headers: Mapping[str, Any]

    def arguments(self, metadata: Mapping[str, str]) -> dict[str, Any]:
        """Return the arguments of a request that creates the object; `metadata` is complete."""
        arguments: dict[str, Any] = dict(self.headers)
        if metadata:
            arguments["Metadata"] = dict(metadata)
        if self.tags:
            arguments["Tagging"] = urlencode(dict(self.tags))
        return arguments


def modified_ns(info: ObjectInfo) -> int | None:
    """Return the modification time of an object's content in nanoseconds, as far as it is known.

    It is the file's, if the writer has recorded it, or else the time at which the object was
    stored.
    """
    recorded = entries.time_of(info.metadata)
    if recorded is None and info.last_modified is not None:
        return time_ns(info.last_modified)
    return recorded


def time_ns(time: datetime) -> int:
    """Return a time in nanoseconds since 1970, exact to a microsecond."""
    return round(time.timestamp() * 10**6) * 10**3


def copied(info: ObjectInfo | None) -> ObjectInfo:
    """Return the facts about a copy, which only a dry run has not."""
    if info is None:
        raise AssertionError("unreachable: only a dry run stores no copy")
    return info


def describing(reply: Mapping[str, Any], more: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the headers of a reply, with those in `more`, that a new object must have as well."""
    return {name: reply[name] for name in (*DESCRIBING_HEADERS, *more) if reply.get(name)}


def check_metadata(location: Location, reply: Mapping[str, Any]) -> None:
    """Refuse to rewrite an object if S3's reply does not contain all its metadata."""
    if reply.get("MissingMeta"):
        raise StorageError(
            f"{location} has metadata that S3 cannot send, and that would be lost.",
            hint="Its names or values are not ASCII; write the object anew.",
        )


def describe(location: Location, stream: ObjectStream, envelope: Envelope | None) -> ObjectInfo:
    """Return the facts in an open object's reply and envelope."""
    common = _of_reply(location, stream.reply, stream.size)
    if envelope is None:
        return ObjectInfo(mode=reported_mode(stream.reply), size=stream.size, **common)
    facts = envelope.facts(stream)
    return ObjectInfo(mode=ClientSide.name, size=facts.size, **common, **_of_facts(facts))


def describe_plain(location: Location, head: Mapping[str, Any]) -> ObjectInfo:
    """Return the facts in a HEAD's reply about an object that S3 decrypts."""
    size = head["ContentLength"]
    return ObjectInfo(mode=reported_mode(head), size=size, **_of_reply(location, head, size))


def describe_head(location: Location, head: Mapping[str, Any]) -> ObjectInfo | None:
    """Return the facts in a HEAD's reply about a client-side object, or None if they are too few.

    The size is claimed by the metadata. The claim is compared with the header on reading.
    """
    stored_size = head["ContentLength"]
    facts = formats.measure(entries.of_reply(head), stored_size)
    if facts is None:
        return None
    common = _of_reply(location, head, stored_size)
    return ObjectInfo(mode=ClientSide.name, size=facts.size, **common, **_of_facts(facts))


def version_of(reply: Mapping[str, Any]) -> str | None:
    """Return the version id in a reply or an entry of a listing; None for the version `null`."""
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
    """Return the facts about an object that was just written; `stored` has its sizes and facts."""
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
