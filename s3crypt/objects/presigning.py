# SPDX-License-Identifier: Apache-2.0
"""URLs with which anyone can get or put one object, for a limited time and without credentials.

A URL is signed by SigV4. The headers of the encryption are signed too, but are not part of the URL.
S3 refuses a request in which such a header is missing or changed. The customer key of SSE-C is in
such a header.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from itertools import islice
from typing import Any, Literal, TypeAlias
from urllib.parse import parse_qs, urlsplit

from s3crypt.aws import presigned_url
from s3crypt.aws_errors import http_status, is_for_all, map_aws_errors
from s3crypt.errors import (
    ConfigError,
    FormatError,
    IntegrityError,
    ObjectNotFoundError,
    PolicyError,
    StorageError,
)
from s3crypt.formats import MAX_HEADER_LENGTH
from s3crypt.location import Location
from s3crypt.modes import ClientSide, Mode

from .access import ListedObject, Objects
from .opened import ReadOptions

Method: TypeAlias = Literal["GET", "PUT"]

# S3's limits are 1,024 bytes per name, and one week per URL.
_MAX_NAME = 1024
MAX_SECONDS = 7 * 24 * 60 * 60
_OPERATIONS = {"GET": ("get_object", "GetObject"), "PUT": ("put_object", "PutObject")}
# The arguments for headers with the customer key or a hash of it.
_OF_CUSTOMER_KEY = ("SSECustomerKey", "SSECustomerKeyMD5")
_LEVEL = 1000
_WHY_NOT = "S3 has no key for it, so that a URL would deliver ciphertext"


@dataclass(frozen=True, slots=True)
class Presigned:
    """A URL, and the headers that must be sent with it.

    Attributes:
        method: `GET` or `PUT`.
        url: The URL. Anyone who has the URL and the headers can access the object.
        headers: The headers that must be sent, except for `key_headers`.
        key_headers: The headers with the customer key of SSE-C and the MD5 of the key.
        expires: The time until which S3 accepts the URL.
        is_temporary: Whether the URL was signed with temporary credentials. If the credentials
            expire before `expires`, the URL is invalid from then on.
    """

    method: Method
    url: str = field(repr=False)
    headers: Mapping[str, str]
    key_headers: Mapping[str, str] = field(repr=False)
    expires: datetime
    is_temporary: bool


def presign_get(
    objects: Objects, location: Location, mode: Mode | None, seconds: int, version_id: str | None
) -> Presigned:
    """Return a URL that gets an object; see `S3Crypt.presign`.

    The object is looked at first, to check its mode.
    """
    _check_seconds(seconds)
    if isinstance(mode, ClientSide):
        raise _is_client_side(location)
    read_options = ReadOptions(mode, version_id)
    if mode is None:
        if objects.look(location, read_options).mode == ClientSide.name:
            raise _is_client_side(location)
    else:
        with objects.reading(location, read_options, first=MAX_HEADER_LENGTH):
            pass
    version = {"VersionId": version_id} if version_id else {}
    arguments = {**version, **(mode.read_arguments() if mode else {})}
    return _presigned(objects, location, "GET", arguments, seconds)


def presign_put(objects: Objects, location: Location, mode: Mode, seconds: int) -> Presigned:
    """Return a URL that puts an object in a server-side mode; see `S3Crypt.presign`."""
    _check_seconds(seconds)
    if location.is_prefix:
        raise ConfigError(f"{location} names a prefix, not an object.", hint="Add an object name.")
    if len(location.name.encode()) > _MAX_NAME:
        raise ConfigError(f"{location}: the name is too long; 1,024 bytes are S3's limit.")
    if isinstance(mode, ClientSide):
        raise ConfigError(
            f"{location}: mode client has no URL to put an object: the holder of the URL would "
            "store plaintext.",
            hint="Name a server-side mode, or have the holder put it with s3crypt and the key.",
        )
    _refuse_client_side_prefix(objects, location)
    return _presigned(objects, location, "PUT", mode.write_arguments(), seconds)


def _check_seconds(seconds: int) -> None:
    if isinstance(seconds, bool) or not isinstance(seconds, int):
        raise ConfigError("The time for which a URL is valid is a whole number of seconds.")
    if not 1 <= seconds <= MAX_SECONDS:
        raise ConfigError(
            f"A URL is valid for 1 second to 7 days, not for {seconds} seconds.",
            hint=f"7 days are {MAX_SECONDS} seconds.",
        )


def _is_client_side(location: Location) -> PolicyError:
    return PolicyError(
        f"{location} is encrypted client-side: {_WHY_NOT}.",
        hint="Give the reader the key, for `s3crypt get`; or copy the object to a server-side "
        "mode, with `s3crypt cp`, and presign the copy.",
    )


def _refuse_client_side_prefix(objects: Objects, location: Location) -> None:
    """Refuse to presign a put if a client-side object is at `location` or beside it.

    The holder of the URL would put plaintext among encrypted objects. Only the first object of the
    nearest prefix that has one is examined. Objects that the caller has no permission to read are
    skipped.
    """
    try:
        beside = _beside(objects, location)
    except StorageError as error:
        if not _is_hidden(error):
            raise
        beside = None
    for uri in (str(location), *((beside,) if beside else ())):
        if _is_sealed(objects, Location.parse(uri)):
            raise PolicyError(
                f"{location}: {uri} is encrypted client-side, and the holder of a URL would put "
                "plaintext there.",
                hint="Choose another prefix, or have the holder put it with s3crypt and the key.",
            )


def _beside(objects: Objects, location: Location) -> str | None:
    """Return the URI of the first object of the same prefix, or None if there is none.

    If the prefix has no object, the nearest prefix above it that has one is used, but not the whole
    bucket.
    """
    parent = _above(location.name)
    level = islice(objects.list_level(Location(location.bucket, parent)), _LEVEL)
    found = next((each for each in level if isinstance(each, ListedObject)), None)
    while found is None and parent:
        found = objects.first(Location(location.bucket, parent))
        parent = _above(parent[:-1])
    return found.uri if found else None


def _above(name: str) -> str:
    return name[: name.rfind("/") + 1]


def _is_sealed(objects: Objects, location: Location) -> bool:
    try:
        return objects.look(location, ReadOptions(None)).mode == ClientSide.name
    except ObjectNotFoundError as error:
        if error.code == "NoSuchBucket":
            raise
        return False
    except (FormatError, IntegrityError):
        return True
    except StorageError as error:
        if not _is_hidden(error):
            raise
        return False


def _is_hidden(error: StorageError) -> bool:
    """Return whether S3 refused to show an object because of a permission or a customer key."""
    refused = (HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN)
    return http_status(error) in refused and not is_for_all(error)


def _presigned(
    objects: Objects,
    location: Location,
    method: Method,
    encryption: Mapping[str, object],
    seconds: int,
) -> Presigned:
    name, operation = _OPERATIONS[method]
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)
    with map_aws_errors(str(location)):
        url, arguments = presigned_url(
            objects.client, name, {**location.arguments, **encryption}, seconds
        )
    query = parse_qs(urlsplit(url).query)
    shape = objects.client.meta.service_model.operation_model(operation).input_shape
    members: Mapping[str, Any] = shape.members if shape else {}
    sent = {
        argument: (members[argument].serialization["name"], _header_value(value))
        for argument, value in arguments.items()
        if members[argument].serialization.get("location") == "header"
    }
    signed = set(query.get("X-Amz-SignedHeaders", [""])[0].split(";"))
    if signed != {"host", *(header.lower() for header, _ in sent.values())}:
        raise ConfigError(
            f"{location}: the client does not sign URLs by SigV4 with all headers.",
            hint='A client that is passed in needs Config(signature_version="s3v4"), and '
            "credentials.",
        )
    return Presigned(
        method,
        url,
        dict(pair for argument, pair in sent.items() if argument not in _OF_CUSTOMER_KEY),
        dict(pair for argument, pair in sent.items() if argument in _OF_CUSTOMER_KEY),
        expires,
        "X-Amz-Security-Token" in query,
    )


def _header_value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
