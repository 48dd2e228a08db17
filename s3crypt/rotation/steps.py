# SPDX-License-Identifier: Apache-2.0
"""What a rotation does to an object: decided here, from what was seen of it. Makes no request.

A `Step` can be pickled and holds no secret: it names the modes, and so their keys, by reference.
Whoever acts on it resolves them from the modes, files and sessions of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from s3crypt import formats
from s3crypt import metadata as entries
from s3crypt.errors import PolicyError, Remedy
from s3crypt.formats import Envelope
from s3crypt.keyrings import reading_remedy
from s3crypt.location import Location
from s3crypt.modes import ClientSide, Mode, reported_mode
from s3crypt.objects.checks import check_read, compare
from s3crypt.objects.info import DESCRIBING_HEADERS
from s3crypt.objects.locks import HEADERS as _LOCKS
from s3crypt.transfer import MAX_COPY_LENGTH

Action = Literal["unchanged", "copied", "rewrapped", "re-encrypted"]
# Of a job's two modes, the one that an object is read with; None for neither.
ReadWith = Literal["source", "to"] | None

# Headers of a HEAD's reply that another write may change, and all that a rotation keeps or goes by:
# if the first reply was cut short, the new object would lack the headers that the reply lacked.
SHOWS_A_WRITE = (
    "BucketKeyEnabled",
    "ContentLength",
    "ETag",
    "LastModified",
    "Metadata",
    "SSEKMSKeyId",
    "ServerSideEncryption",
    "VersionId",
    *DESCRIBING_HEADERS,
    *_LOCKS,
)


@dataclass(frozen=True, slots=True)
class Origin:
    """What a caller says of the objects to be rotated, beside the store's mode.

    Attributes:
        unsigned: They may be unsigned where the mode demands a signature.
        unencrypted: S3 may report no encryption of those that are not client-side.
        written_in: The bucket that they are bound to, if not the one where they are.
        written_as: The name that the object is bound to, if not the one that it has.
        version_id: Of the object, if not the current one.
    """

    unsigned: bool = False
    unencrypted: bool = False
    written_in: str | None = None
    written_as: str | None = None
    version_id: str | None = None

    @property
    def version(self) -> dict[str, str]:
        """Return the request argument that names the version."""
        return {"VersionId": self.version_id} if self.version_id else {}


@dataclass(frozen=True, slots=True)
class Seen:
    """An object as it was first seen.

    Attributes:
        location: Where it is.
        head: S3's reply to the first HEAD, or to the GET in its place, with the object's length.
        read_with: The mode that it is read with; it decides what is demanded of the object.
        envelope: What it says of its client-side encryption; None where it is not client-side.
        may_have_annotations: Whether the service has annotations, and the object may.
    """

    location: Location
    head: Mapping[str, Any]
    read_with: ReadWith
    envelope: Envelope | None
    may_have_annotations: bool


@dataclass(frozen=True, slots=True)
class Step:
    """What to do to one object, on condition that it is still as it was seen.

    Attributes:
        location: Where it is.
        action: What to do.
        head: The headers that show whether the object was written meanwhile.
        read_with: The mode to read it with.
        is_client_side: Whether it is encrypted client-side now.
        may_have_annotations: Whether the service has annotations, and the object may.
        copy_to: Where the new object goes; None where it replaces the old one.
        if_absent: For copies: only where there is no object yet.
    """

    location: Location
    action: Action
    head: Mapping[str, Any]
    read_with: ReadWith
    is_client_side: bool
    may_have_annotations: bool
    copy_to: Location | None = None
    if_absent: bool = False

    @property
    def target(self) -> Location:
        """Return where the new object goes."""
        return self.copy_to or self.location

    @property
    def etag(self) -> str:
        """Return the ETag that every request is conditional on."""
        return str(self.head["ETag"])

    @property
    def metadata(self) -> Mapping[str, str]:
        """Return all entries but the one that is about this version only."""
        found = entries.of_reply(self.head)
        found.pop(entries.ANNOTATIONS_OF, None)
        return found

    @property
    def version_id(self) -> str | None:
        """Return the version's id, None where another object takes this one's place."""
        version_id = self.head.get("VersionId")
        return None if version_id == "null" else version_id

    @property
    def is_large(self) -> bool:
        """Return whether S3 copies it by parts only."""
        return int(self.head["ContentLength"]) > MAX_COPY_LENGTH


def decide(
    seen: Seen, source: Mode | None, to: Mode, origin: Origin, context: Mapping[str, str]
) -> Step:
    """Return the cheapest sound step that makes an object what `to` would write.

    Args:
        seen: The object.
        source: The mode that objects are demanded to be in; None demands nothing.
        to: The mode that they become.
        origin: What the caller says of them besides.
        context: The encryption context that `to` writes this object under.

    The keys of server-side modes must be ARNs, since aliases are compared with what S3 reports.

    Raises:
        PolicyError: The object is not as demanded. A rotation must not lend its keys to an object
            that somebody without any put there.
    """
    action = _action(seen, to, context)
    if action != "unchanged":
        mode = {"source": source, "to": to, None: None}[seen.read_with]
        _check_readable(seen, mode, to, origin)
    return _step(seen, action)


def _has_only(envelope: Envelope, context: Mapping[str, str]) -> bool:
    """Return whether an object's context has no pair beside `context` but the format's own."""
    return all(
        name in context or name.startswith(formats.RESERVED_PREFIX) for name in envelope.context
    )


def _step(seen: Seen, action: Action) -> Step:
    return Step(
        location=seen.location,
        action=action,
        head={name: seen.head[name] for name in SHOWS_A_WRITE if name in seen.head},
        read_with=seen.read_with,
        is_client_side=seen.envelope is not None,
        may_have_annotations=seen.may_have_annotations,
    )


def decide_copy(  # noqa: PLR0913 - as `decide`, and where the copy goes
    seen: Seen,
    source: Mode | None,
    to: Mode,
    origin: Origin,
    context: Mapping[str, str],
    copy_to: Location,
    *,
    if_absent: bool,
) -> Step:
    """Return the step that makes a copy in mode `to`, sealed under `context` if client-side.

    S3 copies server-side encrypted objects itself. It copies a client-side one where the copy
    would have the same keys, context and bindings; any other copy is re-encrypted.

    Raises:
        PolicyError: The object is not as demanded.
    """
    if isinstance(to, ClientSide) and seen.envelope:
        is_alike = _action(seen, to, context) == "unchanged" and _has_only(seen.envelope, context)
    else:
        is_alike = not isinstance(to, ClientSide) and seen.envelope is None
    action: Action = "copied" if is_alike else "re-encrypted"
    mode = {"source": source, "to": to, None: None}[seen.read_with]
    _check_readable(seen, mode, to, origin)
    return replace(_step(seen, action), copy_to=copy_to, if_absent=if_absent)


def _action(seen: Seen, to: Mode, context: Mapping[str, str]) -> Action:
    if not isinstance(to, ClientSide):
        if seen.envelope:
            return "re-encrypted"
        return "copied" if compare(to, seen.head) else "unchanged"
    if seen.envelope is None:
        return "re-encrypted"
    return _BY_DIFFERENCE[seen.envelope.difference(to, context)]


_BY_DIFFERENCE: dict[formats.Difference, Action] = {
    "nothing": "unchanged",
    "wrapping": "rewrapped",
    "content": "re-encrypted",
}


def _check_readable(seen: Seen, mode: Mode | None, to: Mode, origin: Origin) -> None:
    """Demand what reading demands."""
    if isinstance(mode, ClientSide):
        if seen.envelope is None:
            raise PolicyError(f"{seen.location} is not encrypted client-side, as it was to be.")
        if mode.signed and not origin.unsigned and not seen.envelope.is_signed:
            with seen.location.named_in_errors():
                raise formats.unsigned()
    elif seen.envelope:
        raise PolicyError(
            f"{seen.location} is encrypted client-side.", remedy=reading_remedy(seen.envelope.keys)
        )
    elif mode is not None:
        check_read(mode, seen.head, seen.location)
    elif isinstance(to, ClientSide):
        _check_named(seen, origin)


def _check_named(seen: Seen, origin: Origin) -> None:
    """Refuse to seal an object whose mode nobody named.

    Whoever can write to the bucket can put a plain object there. Sealed, it would be believed as
    what a holder of the key wrote.
    """
    reported = reported_mode(seen.head)
    if reported is None and origin.unencrypted:
        return
    is_now = f"stored as {reported}" if reported else "not encrypted"
    remedy = (
        Remedy("name_source_mode", mode=reported)
        if reported
        else Remedy("accept_unencrypted", allow_unencrypted=True)
    )
    raise PolicyError(
        f"{seen.location} is {is_now}, and no mode was named that it is to be read with.",
        hint="Anyone who can write to the bucket can have put it there.",
        remedy=remedy,
    )
