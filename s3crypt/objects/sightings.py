# SPDX-License-Identifier: Apache-2.0
"""Report how one object is encrypted, as far as this is visible without unwrapping a key.

A GET of the first bytes shows all facts of a HEAD, and also the header of a client-side object. If
S3 refuses the GET, a HEAD shows the server-side encryption and the metadata. If a refusal hides
facts, they are unknown, and `hidden` contains the reason. This module does not judge the
encryption.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from http import HTTPStatus
from typing import Any, Literal, Protocol, Self, TypeAlias

from s3crypt import formats, s3ec
from s3crypt import metadata as entries
from s3crypt.aws_errors import http_status, is_for_all
from s3crypt.errors import (
    FormatError,
    IntegrityError,
    ObjectNotFoundError,
    S3CryptError,
    StorageError,
)
from s3crypt.formats import Facts
from s3crypt.location import Location
from s3crypt.modes import BOUND_NAME, SSEC, reported_mode
from s3crypt.transfer import ObjectStream
from s3crypt.transfer.conditions import head

from .access import Objects
from .checks import classify
from .opened import Neighbour

Layer: TypeAlias = Literal["none", "message", "s3ec", "unknown"]
"""The client-side format of an object: no client-side encryption, an Encryption SDK message, the
format of the S3 Encryption Client, or unknown because it was not seen."""

Wrap: TypeAlias = Literal["kms", "raw"]
"""The kind of key that wraps the data key of an S3 Encryption Client object: a KMS key, or a raw
AES or RSA key."""

UNSEEN = "unknown"

# This is enough for the header of a message with several keys. A longer header needs a second
# request.
_FIRST_LENGTH = 4 * 2**10
_ARCHIVED = frozenset({"GLACIER", "DEEP_ARCHIVE"})
_FAILED = "S3 failed"
_SEEN = "seen"
_NULL = "null"
_KMS_CONTEXT_KEY = "kms_cmk_id"
# The codes in format V3 for wrap algorithms that use a KMS key: `kms` and `kms+context`.
_KMS_WRAP_CODES = frozenset({"11", "12"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """The visible facts about the encryption of one object.

    Attributes:
        server_mode: The server-side mode that S3 reports. None if the object is not encrypted, and
            `unknown` if no reply shows the mode.
        kms_key: The KMS key of the server-side mode. None if there is no KMS key or it is unknown.
        opens: Whether one of the given customer keys fits an SSE-C object. None if no key was given
            or tried.
        layer: The client-side format.
        is_claimed: Whether the client-side facts come only from metadata, which any writer can
            choose.
        commits: Whether the client-side format has key commitment. None if this is unknown.
        signed: Whether the message is signed. None if this is unknown.
        keys: The names of the keys that wrapped the data key, as on the command line. None if
            unknown.
        key_materials: For each key, the id of the KMS key material that wrapped the data key. The
            ids come from the metadata, which any writer can choose. None without ids.
        key_location: The place of a message's wrapped keys, `header` or `metadata`. None if
            unknown.
        wrap: The kind of key that wrapped the data key of an S3 Encryption Client object. None if
            it is unknown.
        named_key: The KMS key in the material description of an S3 Encryption Client object, as its
            writer named it: an ARN, an id or an alias. None if the description does not contain a
            key.
        size: The number of stored bytes. None if no reply shows it.
        is_bound: Whether the encryption context contains the object's name. None if this is
            unknown.
        bound_name: The object's name in the encryption context. None if there is none.
        hidden: The reason why facts are unknown, as a clause. Empty if all facts are known.
        denied: The IAM actions that the caller would need to see the hidden facts.
    """

    server_mode: str | None = UNSEEN
    kms_key: str | None = None
    opens: bool | None = None
    layer: Layer = "unknown"
    is_claimed: bool = False
    commits: bool | None = None
    signed: bool | None = None
    keys: tuple[str, ...] | None = None
    key_materials: Mapping[str, str] | None = None
    key_location: str | None = None
    wrap: Wrap | None = None
    named_key: str | None = None
    size: int | None = None
    is_bound: bool | None = None
    bound_name: str | None = None
    hidden: str = ""
    denied: tuple[str, ...] = ()

    @property
    def is_settled(self) -> bool:
        """Whether another attempt would give the same result.

        False if a permission was missing or a request failed.
        """
        return not self.denied and not self.hidden.startswith(_FAILED)

    def dump(self) -> str:
        """Return the sighting as one line of JSON. Fields with their default value are omitted."""
        said = {each.name: getattr(self, each.name) for each in fields(self)}
        defaults = {each.name: each.default for each in fields(self)}
        return json.dumps({name: value for name, value in said.items() if value != defaults[name]})

    @classmethod
    def load(cls, text: str) -> Self | None:
        """Return the sighting that `dump` wrote. Return None if the text has another format."""
        try:
            said = json.loads(text).items()
            values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in said}
            return cls(**values)
        except (AttributeError, TypeError, ValueError):
            return None


@dataclass(frozen=True, slots=True)
class Candidate:
    """An object to be examined.

    Attributes:
        location: The object.
        version_id: The version id. None for the current version.
        etag: The object's ETag. Empty if it is unknown.
        neighbour: What the listing shows about the object's instruction file. None if it is
            unknown.
        is_archived: Whether the object is archived. The bytes of an archived object cannot be
            fetched.
        is_null: Whether this is the null version, and was the current version when it was listed.
            If another version or a delete marker is current by now, the null version is examined by
            its version id.
    """

    location: Location
    version_id: str | None = None
    etag: str = ""
    neighbour: Neighbour | None = None
    is_archived: bool = False
    is_null: bool = False

    @property
    def version(self) -> dict[str, str]:
        """The request argument that names the version."""
        return {"VersionId": self.version_id} if self.version_id else {}


def candidates(objects: Objects, location: Location) -> Iterator[Candidate]:
    """Yield the current objects below a prefix, from a listing.

    Raises:
        StorageError: S3 refused the listing, or failed.
    """
    for listed, neighbour in objects.list_with_neighbours(location):
        at = Location.parse(listed.uri)
        yield Candidate(at, None, listed.etag, neighbour, is_archived(listed.storage_class))


def is_archived(storage_class: str) -> bool:
    """Return whether objects of a storage class must be restored before they can be fetched."""
    return storage_class in _ARCHIVED


def sight(
    objects: Objects,
    candidate: Candidate,
    *,
    customer_keys: Sequence[SSEC] = (),
    by_head: bool = False,
) -> Sighting | None:
    """Return the visible facts about an object. Return None if it is gone or is a delete marker.

    Args:
        objects: The object engine.
        candidate: The object.
        customer_keys: The keys to try on an SSE-C object, one after the other.
        by_head: Use only HEAD requests. They fetch no byte of the object.

    Raises:
        S3CryptError: A failure that would occur for every object, such as expired credentials.
    """
    try:
        if not by_head and not candidate.is_archived:
            seen = _by_get(objects, candidate, {})
            if seen is not None:
                return seen
        return _by_head(objects, candidate, customer_keys, is_enough=by_head)
    except (ObjectNotFoundError, _NotCurrentError):
        if not candidate.is_null:
            return None
        older = replace(candidate, version_id=_NULL, is_null=False)
        return sight(objects, older, customer_keys=customer_keys, by_head=by_head)
    except S3CryptError as error:
        if is_for_all(error):
            raise
        if http_status(error) == HTTPStatus.METHOD_NOT_ALLOWED:
            return None
        return Sighting(hidden=f"{_FAILED} ({error.code or type(error).__name__})")


class _NotCurrentError(Exception):
    """The null version is no longer the current version."""


class Notes(Protocol):
    """A store for facts about the items of a job, such as the job's journal."""

    def detail_of(self, key: str, version: str = "") -> str | None:
        """Return the detail that was recorded for an item in this version.

        Return None if no detail was recorded.
        """
        ...

    def note(self, key: str, action: str, detail: str | None = None, *, version: str = "") -> None:
        """Record a detail for an item."""
        ...


def sight_once(
    objects: Objects,
    candidate: Candidate,
    notes: Notes | None,
    *,
    customer_keys: Sequence[SSEC] = (),
    by_head: bool = False,
) -> Sighting | None:
    """Return the result of `sight`. If the notes contain it for this content, make no request.

    A result is recorded only if it is settled. A missing object is not recorded, because an object
    with the same ETag may be stored later.
    """
    key = f"{candidate.location} {candidate.version_id or ''}"
    noted = notes.detail_of(key, candidate.etag) if notes else None
    seen = None if noted is None else Sighting.load(noted)
    if seen is None:
        seen = sight(objects, candidate, customer_keys=customer_keys, by_head=by_head)
        if notes and seen is not None and seen.is_settled:
            notes.note(key, _SEEN, seen.dump(), version=candidate.etag)
    return seen


def _by_get(objects: Objects, candidate: Candidate, key: Mapping[str, object]) -> Sighting | None:
    """Return the facts from a GET of the first bytes. Return None if S3 refuses the GET."""
    at, arguments = candidate.location, {**candidate.version, **key}
    try:
        stream = ObjectStream.open(objects.client, at, arguments, first=_FIRST_LENGTH)
    except S3CryptError as error:
        if _is_refusal(error):
            return None
        raise
    with stream:
        _check_current(candidate, stream.reply)
        inside = _of_body(objects, candidate, stream)
        return Sighting(**_of_server(stream.reply), **inside, size=stream.size)


def _of_body(objects: Objects, candidate: Candidate, stream: ObjectStream) -> dict[str, Any]:
    """Return the client-side facts from an open object's metadata and first bytes."""
    metadata = entries.of_reply(stream.reply)
    if formats.is_instruction_file(metadata, stream):
        return {"layer": "none"}
    if s3ec.marks(metadata):
        return _of_s3ec(metadata)
    stream.rewind()
    try:
        envelope = classify(stream)
        if envelope is not None:
            return _of_facts(envelope.facts(stream))
    except (FormatError, IntegrityError) as error:
        hidden = f"the header cannot be read, or contradicts the metadata ({type(error).__name__})"
        return {"layer": "message", "hidden": hidden}
    return _of_instruction_file(objects, candidate, stream)


def _of_instruction_file(
    objects: Objects, candidate: Candidate, stream: ObjectStream
) -> dict[str, Any]:
    """Return the client-side facts about an object whose metadata and bytes show no format.

    It may still have an instruction file beside it.
    """
    try:
        objects.refuse_headless_ciphertext(
            candidate.location, stream, candidate.neighbour, is_strict=True
        )
    except ObjectNotFoundError:
        return {"hidden": "its instruction file was deleted: only older versions of it are left"}
    except StorageError as error:
        if not _is_refusal(error):
            raise
        return {"hidden": "S3 refuses its instruction file", "denied": ("s3:GetObject",)}
    except FormatError:
        # The instruction file must belong to format V1 or V2: an object in V3 also has marks in its
        # metadata.
        return _of_s3ec({})
    return {"layer": "none"}


def _by_head(
    objects: Objects, candidate: Candidate, customer_keys: Sequence[SSEC], *, is_enough: bool
) -> Sighting:
    try:
        reply = head(objects.client, candidate.location, candidate.version)
    except S3CryptError as error:
        if not _is_refusal(error):
            raise
        if http_status(error) == HTTPStatus.BAD_REQUEST:
            return _under_customer_key(objects, candidate, customer_keys, is_enough=is_enough)
        return Sighting(hidden="S3 refuses HEAD", denied=(_action(candidate),))
    _check_current(candidate, reply)
    return _of_head(reply, candidate, is_enough=is_enough)


def _check_current(candidate: Candidate, reply: Mapping[str, Any]) -> None:
    """Raise _NotCurrentError if the null version is wanted and S3 replied with another version."""
    if candidate.is_null and reply.get("VersionId", _NULL) != _NULL:
        raise _NotCurrentError


def _under_customer_key(
    objects: Objects, candidate: Candidate, customer_keys: Sequence[SSEC], *, is_enough: bool
) -> Sighting:
    """Return the facts about an object after S3 replied 400 to a HEAD without a customer key."""
    for key in customer_keys:
        arguments = key.read_arguments()
        try:
            reply = head(objects.client, candidate.location, {**candidate.version, **arguments})
        except S3CryptError as error:
            if not _is_refusal(error):
                raise
            continue
        _check_current(candidate, reply)
        seen = None
        if not is_enough and not candidate.is_archived:
            seen = _by_get(objects, candidate, arguments)
        return replace(seen or _of_head(reply, candidate, is_enough=is_enough), opens=True)
    why = "no given customer key fits" if customer_keys else "no customer key was given"
    return Sighting(server_mode=SSEC.name, opens=False if customer_keys else None, hidden=why)


def _of_head(reply: Mapping[str, Any], candidate: Candidate, *, is_enough: bool) -> Sighting:
    """Return the facts from a HEAD, and the reason why the first bytes are unknown."""
    server = {**_of_server(reply), "size": reply["ContentLength"]}
    inside = _of_metadata(entries.of_reply(reply))
    if inside.get("layer") in ("none", "s3ec"):
        return Sighting(**server, **inside)
    denied: tuple[str, ...] = ()
    if candidate.is_archived:
        hidden = "archived objects have no first bytes to fetch"
    elif is_enough:
        hidden = "the first bytes were not asked for"
    else:
        hidden = "S3 refuses the first bytes"
        denied = (_action(candidate), *(("kms:Decrypt",) if server["kms_key"] else ()))
    return Sighting(**server, **inside, hidden=hidden, denied=denied)


def _action(candidate: Candidate) -> str:
    return "s3:GetObjectVersion" if candidate.version_id else "s3:GetObject"


def _of_server(reply: Mapping[str, Any]) -> dict[str, Any]:
    return {"server_mode": reported_mode(reply), "kms_key": reply.get("SSEKMSKeyId")}


def _of_facts(facts: Facts) -> dict[str, Any]:
    return {
        "layer": "message",
        "commits": facts.committing,
        "signed": facts.signed,
        "keys": facts.keys,
        "key_materials": facts.key_materials or None,
        "key_location": facts.key_location,
        **_bound(facts.context),
    }


def _of_s3ec(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the facts in the metadata of an S3 Encryption Client object.

    If an instruction file has the envelope, `metadata` contains no envelope.
    """
    older = any(metadata.get(name) for name in ("x-amz-key", "x-amz-key-v2", "x-amz-iv"))
    newer = bool(metadata.get("x-amz-d")) and bool(metadata.get("x-amz-i"))
    key = _kms_key(metadata.get("x-amz-matdesc", ""))
    return {
        "layer": "s3ec",
        "commits": newer and not older,
        "signed": False,
        "keys": (f"kms:{key}",) if key and key.startswith("arn:") else None,
        "wrap": _wrap(metadata),
        "named_key": key,
        "is_bound": False,
    }


def _wrap(metadata: Mapping[str, str]) -> Wrap | None:
    """Return the kind of key that wrapped a data key.

    Return None if the metadata does not show it.
    """
    algorithm = metadata.get("x-amz-wrap-alg") or metadata.get("x-amz-w")
    if algorithm:
        is_kms = algorithm.lower().startswith("kms") or algorithm in _KMS_WRAP_CODES
        return "kms" if is_kms else "raw"
    # Format V1 does not name the algorithm, and uses only raw keys.
    return "raw" if metadata.get("x-amz-key") else None


def _kms_key(description: str) -> str | None:
    """Return the KMS key in a material description, or None. Only old clients write it there."""
    try:
        said = json.loads(description)
    except (ValueError, RecursionError):
        return None
    key = said.get(_KMS_CONTEXT_KEY) if isinstance(said, dict) else None
    return key if isinstance(key, str) and key else None


def _of_metadata(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the client-side facts that the metadata alone shows."""
    if s3ec.INSTRUCTION_MARK in metadata:
        return {"layer": "none"}
    if s3ec.marks(metadata):
        return _of_s3ec(metadata)
    if not formats.claims_client_side(metadata):
        return {}
    claimed: dict[str, Any] = {"layer": "message", "is_claimed": True}
    facts = formats.measure(metadata, 0)
    if facts is not None:
        claimed["signed"] = facts.signed
    try:
        envelope = formats.of_metadata(metadata)
    except (FormatError, IntegrityError):
        # The metadata is malformed. It only shows that the object is meant to be a message.
        return claimed
    if envelope is None:
        return claimed
    known: dict[str, Any] = {"keys": envelope.keys, "key_location": "metadata"}
    known["key_materials"] = envelope.key_materials or None
    return {**claimed, **known, **_bound(envelope.context)}


def _bound(context: Mapping[str, str]) -> dict[str, Any]:
    return {"is_bound": BOUND_NAME in context, "bound_name": context.get(BOUND_NAME)}


def _is_refusal(error: S3CryptError) -> bool:
    """Return whether S3 refused only this request. Another request for the object may succeed."""
    statuses = (HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN)
    return http_status(error) in statuses and not is_for_all(error)
