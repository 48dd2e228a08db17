# SPDX-License-Identifier: Apache-2.0
"""The caller's description of an object to be written: it is checked and converted to arguments."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypedDict, cast

from s3crypt import metadata as entries
from s3crypt.errors import ConfigError
from s3crypt.location import Location

from .content_types import content_type_of
from .info import Description

LockMode = Literal["GOVERNANCE", "COMPLIANCE"]


class Described(TypedDict, total=False):
    """The properties of a new object that a caller can set.

    Attributes:
        metadata, tags, content_type, content_encoding: As for `S3Crypt.put`.
        cache_control, content_disposition, content_language, storage_class: As for `S3Crypt.put`.
        object_lock_mode, object_lock_retain_until, object_lock_legal_hold: As for `S3Crypt.put`.
    """

    metadata: Mapping[str, str] | None
    tags: Mapping[str, str] | None
    content_type: str | None
    content_encoding: str | None
    cache_control: str | None
    content_disposition: str | None
    content_language: str | None
    storage_class: str | None
    object_lock_mode: LockMode | None
    object_lock_retain_until: datetime | None
    object_lock_legal_hold: bool | None


DESCRIBED = tuple(Described.__annotations__)


def described_among(arguments: Mapping[str, Any]) -> Described:
    """Return the arguments of a method (by name) that describe an object to be written."""
    found = {name: value for name, value in arguments.items() if name in DESCRIBED}
    return cast("Described", found)


# The name of an argument -> the name of the request argument.
_HEADERS = {
    "content_type": "ContentType",
    "content_encoding": "ContentEncoding",
    "cache_control": "CacheControl",
    "content_disposition": "ContentDisposition",
    "content_language": "ContentLanguage",
    "storage_class": "StorageClass",
}


@dataclass(frozen=True, slots=True)
class Changes:
    """The properties in which a copy differs from its source. All other properties are copied.

    Attributes:
        metadata: New user metadata. None if the copy keeps the source's metadata.
        tags: New tags. None if the copy keeps the source's tags.
        headers: Content headers, storage class and Object Lock settings, by the name of the request
            argument.
    """

    metadata: Mapping[str, str] | None = None
    tags: Mapping[str, str] | None = None
    headers: Mapping[str, Any] = field(default_factory=dict)


NO_CHANGES = Changes()


def describe_target(
    location: Location,
    metadata: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    **headers: Any,
) -> Description:
    """Return the description of an object that will be written at `location`.

    `headers` are the other arguments of `Described`.

    Raises:
        ConfigError: The location is a prefix, or S3 cannot store the description.
    """
    if location.is_prefix:
        raise ConfigError(
            f"{str(location)!r} names a prefix, not an object.", hint="Add an object name."
        )
    texts = {name: headers.pop(name) for name in _HEADERS if headers.get(name)}
    entries.check_headers(texts)
    found = {_HEADERS[name]: value for name, value in texts.items()}
    described = Description(metadata or {}, tags or {}, {**found, **_locks(headers)})
    entries.check_user(described.metadata)
    entries.check_tags(described.tags)
    return described


def describe_new(location: Location, said: Described, source: object = "") -> Description:
    """Return the description of a new object. Its content type is guessed if it is not given.

    The type is guessed from the object's name, or else from the name of the source file.
    """
    guessed = content_type_of(location.name) or content_type_of(str(source))
    whole: Described = {**said, "content_type": said.get("content_type") or guessed}
    return describe_target(location, **whole)


def changes_to(location: Location, said: Described) -> Changes:
    """Return the changes that a caller wants for a copy at `location`."""
    described = describe_target(location, **said)
    return Changes(said.get("metadata"), said.get("tags"), described.headers)


def _locks(given: dict[str, Any]) -> dict[str, Any]:
    """Remove the Object Lock settings from `given`; return them as checked request arguments."""
    mode = given.pop("object_lock_mode", None)
    until = given.pop("object_lock_retain_until", None)
    hold = given.pop("object_lock_legal_hold", None)
    if unknown := [name for name in given if name not in DESCRIBED]:
        raise TypeError(f"An object is not described by {unknown[0]!r}.")
    if (mode is None) != (until is None):
        raise ConfigError(
            "object_lock_mode and object_lock_retain_until must be given together.",
            hint="A legal hold needs neither.",
        )
    locks: dict[str, Any] = {}
    if mode is not None:
        if mode not in ("GOVERNANCE", "COMPLIANCE"):
            raise ConfigError("object_lock_mode is GOVERNANCE or COMPLIANCE.")
        if not isinstance(until, datetime) or until.tzinfo is None:
            raise ConfigError("object_lock_retain_until is a datetime with a time zone.")
        locks = {"ObjectLockMode": mode, "ObjectLockRetainUntilDate": until}
    if hold is not None:
        if not isinstance(hold, bool):
            raise ConfigError("object_lock_legal_hold is True or False.")
        locks["ObjectLockLegalHoldStatus"] = "ON" if hold else "OFF"
    return locks
