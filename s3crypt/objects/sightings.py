# SPDX-License-Identifier: Apache-2.0
"""How one object is encrypted, as far as that can be seen without opening it. Unwraps no key.

A GET of the first bytes shows all that a HEAD does, and the header of a client-side object. Where
S3 refuses the GET, a HEAD shows the rest. What a refusal hides is unknown, and `hidden` says why.
Nothing here judges.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from http import HTTPStatus
from typing import Any, Literal, Self, TypeAlias

from s3crypt import formats, s3ec
from s3crypt import metadata as entries
from s3crypt.aws_errors import http_status, is_for_all
from s3crypt.errors import FormatError, IntegrityError, ObjectNotFoundError, S3CryptError
from s3crypt.formats import Facts
from s3crypt.location import Location
from s3crypt.modes import BOUND_NAME, SSEC, reported_mode
from s3crypt.transfer import ObjectStream
from s3crypt.transfer.conditions import head

from .access import Objects
from .checks import classify
from .opened import Neighbour

Layer: TypeAlias = Literal["none", "message", "s3ec", "unknown"]
"""The client-side format of an object: none, an Encryption SDK message, the S3 Encryption
Client's, or one that was not seen."""

UNSEEN = "unknown"

# The header of a message with several keys; a longer one takes another request.
_FIRST_LENGTH = 4 * 2**10
_ARCHIVED = frozenset({"GLACIER", "DEEP_ARCHIVE"})
_FAILED = "S3 failed"
_KMS_CONTEXT_KEY = "kms_cmk_id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What was seen of one object.

    Attributes:
        server_mode: The server-side mode that S3 reports; None for no encryption; `unknown`.
        kms_key: The KMS key of the server-side mode; None where there is none, or it is unknown.
        opens: Whether one of the given customer keys opens an SSE-C object; None if none was given.
        layer: The client-side format.
        is_claimed: Whether the client-side facts are from metadata, which any writer chooses.
        commits: Whether the client-side format has key commitment; None if unknown, as below.
        signed: Whether it is signed.
        keys: The keys that wrapped the data key, as the command line writes them.
        is_bound: Whether the encryption context has a name.
        bound_name: That name.
        hidden: Why something is unknown, in a clause; empty if all was seen.
        denied: The IAM actions without which it stays unknown.
    """

    server_mode: str | None = UNSEEN
    kms_key: str | None = None
    opens: bool | None = None
    layer: Layer = "unknown"
    is_claimed: bool = False
    commits: bool | None = None
    signed: bool | None = None
    keys: tuple[str, ...] | None = None
    is_bound: bool | None = None
    bound_name: str | None = None
    hidden: str = ""
    denied: tuple[str, ...] = ()

    @property
    def is_settled(self) -> bool:
        """Whether another look would show the same: nothing was refused, and no request failed."""
        return not self.denied and not self.hidden.startswith(_FAILED)

    def dump(self) -> str:
        """Return the sighting as one line of JSON, without the fields that have their defaults."""
        said = {each.name: getattr(self, each.name) for each in fields(self)}
        defaults = {each.name: each.default for each in fields(self)}
        return json.dumps({name: value for name, value in said.items() if value != defaults[name]})

    @classmethod
    def load(cls, text: str) -> Self | None:
        """Return the sighting that `dump` wrote; None of what another version of s3crypt wrote."""
        try:
            said = json.loads(text).items()
            values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in said}
            return cls(**values)
        except (AttributeError, TypeError, ValueError):
            return None


@dataclass(frozen=True, slots=True)
class Candidate:
    """An object to be looked at.

    Attributes:
        location: The object.
        version_id: The version; None for the current one.
        etag: Its ETag, if known.
        neighbour: What a listing says of its instruction file, if known.
        is_archived: Whether its bytes cannot be fetched.
    """

    location: Location
    version_id: str | None = None
    etag: str = ""
    neighbour: Neighbour | None = None
    is_archived: bool = False

    @property
    def version(self) -> dict[str, str]:
        """The request argument that names the version."""
        return {"VersionId": self.version_id} if self.version_id else {}


def candidates(objects: Objects, location: Location) -> Iterator[Candidate]:
    """Yield the current objects below a prefix, as a listing has them.

    Raises:
        StorageError: S3 refused to list them, or failed.
    """
    for listed, neighbour in objects.list_with_neighbours(location):
        at = Location.parse(listed.uri)
        yield Candidate(at, None, listed.etag, neighbour, is_archived(listed.storage_class))


def is_archived(storage_class: str) -> bool:
    """Return whether objects of a storage class cannot be fetched before they are restored."""
    return storage_class in _ARCHIVED


def sight(
    objects: Objects,
    candidate: Candidate,
    *,
    customer_keys: Sequence[SSEC] = (),
    by_head: bool = False,
) -> Sighting | None:
    """Return what can be seen of an object; None where it is gone, or is a delete marker.

    Args:
        objects: The engine.
        candidate: The object.
        customer_keys: Tried one after the other on an SSE-C object.
        by_head: Ask by HEAD alone: no byte of the object is fetched.

    Raises:
        S3CryptError: The refusal would meet every object, such as credentials that expired.
    """
    try:
        if not by_head and not candidate.is_archived:
            seen = _by_get(objects, candidate, {})
            if seen is not None:
                return seen
        return _by_head(objects, candidate, customer_keys, is_enough=by_head)
    except ObjectNotFoundError:
        return None
    except S3CryptError as error:
        if is_for_all(error):
            raise
        if http_status(error) == HTTPStatus.METHOD_NOT_ALLOWED:
            return None
        return Sighting(hidden=f"{_FAILED} ({error.code or type(error).__name__})")


def _by_get(objects: Objects, candidate: Candidate, key: Mapping[str, object]) -> Sighting | None:
    """Return what the first bytes show; None where S3 refuses to send them."""
    at, arguments = candidate.location, {**candidate.version, **key}
    try:
        stream = ObjectStream.open(objects.client, at, arguments, first=_FIRST_LENGTH)
    except S3CryptError as error:
        if _is_refusal(error):
            return None
        raise
    with stream:
        inside = _of_body(objects, candidate, stream)
        return Sighting(**_of_server(stream.reply), **inside)


def _of_body(objects: Objects, candidate: Candidate, stream: ObjectStream) -> dict[str, Any]:
    """Return what an open object's metadata and first bytes say of its client-side encryption."""
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
    try:
        objects.refuse_headless_ciphertext(candidate.location, stream, candidate.neighbour)
    except FormatError:
        # Of format V1 or V2: an object of V3 has marks of its own.
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
    return _of_head(reply, candidate, is_enough=is_enough)


def _under_customer_key(
    objects: Objects, candidate: Candidate, customer_keys: Sequence[SSEC], *, is_enough: bool
) -> Sighting:
    """Return what is seen of an object whose HEAD without a key was refused with 400."""
    for key in customer_keys:
        arguments = key.read_arguments()
        try:
            reply = head(objects.client, candidate.location, {**candidate.version, **arguments})
        except S3CryptError as error:
            if not _is_refusal(error):
                raise
            continue
        seen = None
        if not is_enough and not candidate.is_archived:
            seen = _by_get(objects, candidate, arguments)
        return replace(seen or _of_head(reply, candidate, is_enough=is_enough), opens=True)
    why = "no given customer key fits" if customer_keys else "no customer key was given"
    return Sighting(server_mode=SSEC.name, opens=False if customer_keys else None, hidden=why)


def _of_head(reply: Mapping[str, Any], candidate: Candidate, *, is_enough: bool) -> Sighting:
    """Return what a HEAD shows, with the reason why the first bytes are not known."""
    server = _of_server(reply)
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
        **_bound(facts.context),
    }


def _of_s3ec(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return what the envelope of the S3 Encryption Client says; none is kept in the metadata."""
    older = any(metadata.get(name) for name in ("x-amz-key", "x-amz-key-v2", "x-amz-iv"))
    newer = bool(metadata.get("x-amz-d")) and bool(metadata.get("x-amz-i"))
    key = _kms_key(metadata.get("x-amz-matdesc", ""))
    return {
        "layer": "s3ec",
        "commits": newer and not older,
        "signed": False,
        "keys": (f"kms:{key}",) if key else None,
        "is_bound": False,
    }


def _kms_key(description: str) -> str | None:
    """Return the KMS key in a material description; only the first clients wrote one."""
    try:
        said = json.loads(description)
    except (ValueError, RecursionError):
        return None
    key = said.get(_KMS_CONTEXT_KEY) if isinstance(said, dict) else None
    return key if isinstance(key, str) and key.startswith("arn:") else None


def _of_metadata(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return what the metadata alone says of the client-side encryption."""
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
        # Malformed: it claims no more than that there is a message.
        return claimed
    return {**claimed, "keys": envelope.keys, **_bound(envelope.context)} if envelope else claimed


def _bound(context: Mapping[str, str]) -> dict[str, Any]:
    return {"is_bound": BOUND_NAME in context, "bound_name": context.get(BOUND_NAME)}


def _is_refusal(error: S3CryptError) -> bool:
    """Return whether S3 refused this request, and may answer another one about the object."""
    statuses = (HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN)
    return http_status(error) in statuses and not is_for_all(error)
