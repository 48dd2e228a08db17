# SPDX-License-Identifier: Apache-2.0
"""Decide which action a rotation takes for an object, by the state that was seen. No requests.

A `Step` can be pickled and contains no secret: it names modes as `source` or `to`, so it contains
no keys. The process that performs the step finds the modes by these names in its own job.
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
from s3crypt.objects.describing import NO_CHANGES, Changes
from s3crypt.objects.info import DESCRIBING_HEADERS
from s3crypt.objects.locks import HEADERS as _LOCKS
from s3crypt.transfer import MAX_COPY_LENGTH

Action = Literal["unchanged", "copied", "rewrapped", "re-encrypted"]
# The mode of the job with which an object is read. None if it is read with neither mode.
ReadWith = Literal["source", "to"] | None

# The headers of a reply to HEAD that another write may change, or that a rotation keeps or depends
# on. If the first reply was cut short, the new object would lack the same headers, so they are
# compared later.
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
    """Further statements of the caller about the objects, in addition to the store's mode.

    Attributes:
        unsigned: Whether objects may be unsigned although the mode requires a signature.
        unencrypted: Whether objects may be unencrypted: neither client-side nor by S3.
        written_in: The bucket to which the objects are bound. None if it is their present bucket.
        written_as: The name to which the object is bound. None if it is its present name.
        version_id: The version id of the object. None for the current version.
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
    """The state of an object at the first look.

    Attributes:
        location: The object's location.
        head: S3's reply to the first HEAD. If a GET was sent instead, its reply in the same form.
        read_with: The mode with which the object is read. The object must meet the demands of this
            mode.
        envelope: The client-side envelope. None if the object is not encrypted client-side.
        may_have_annotations: Whether the service supports annotations for this object.
    """

    location: Location
    head: Mapping[str, Any]
    read_with: ReadWith
    envelope: Envelope | None
    may_have_annotations: bool


@dataclass(frozen=True, slots=True)
class Step:
    """The planned action for one object. It may be performed only if the object has not changed.

    Attributes:
        location: The object's location.
        action: The action to perform.
        head: The headers that show whether the object was written after the first look.
        read_with: The mode with which the object is read.
        is_client_side: Whether the object is encrypted client-side now.
        may_have_annotations: Whether the service supports annotations for this object.
        copy_to: The location of the new object. None if it replaces the old object.
        if_absent: For a copy: whether to write only if the target does not exist.
        changes: For a copy: the properties in which the copy differs from the source.
    """

    location: Location
    action: Action
    head: Mapping[str, Any]
    read_with: ReadWith
    is_client_side: bool
    may_have_annotations: bool
    copy_to: Location | None = None
    if_absent: bool = False
    changes: Changes = NO_CHANGES

    @property
    def target(self) -> Location:
        """Return the location of the new object."""
        return self.copy_to or self.location

    @property
    def etag(self) -> str:
        """Return the ETag that the object must have in every request."""
        return str(self.head["ETag"])

    @property
    def metadata(self) -> Mapping[str, str]:
        """Return all metadata entries of the object, except `ANNOTATIONS_OF`.

        That entry belongs only to this version.
        """
        found = entries.of_reply(self.head)
        found.pop(entries.ANNOTATIONS_OF, None)
        return found

    @property
    def written_metadata(self) -> dict[str, str]:
        """Return the metadata entries of the new object, without the entries that its mode adds."""
        user, kept = self.changes.metadata, self.metadata
        if user is None:
            return dict(kept)
        return {**{name: kept[name] for name in kept.keys() - entries.of_user(kept)}, **user}

    @property
    def version_id(self) -> str | None:
        """Return the version id. Return None if a new object would replace this version."""
        version_id = self.head.get("VersionId")
        return None if version_id == "null" else version_id

    @property
    def is_large(self) -> bool:
        """Return whether S3 can copy the object only by parts."""
        return int(self.head["ContentLength"]) > MAX_COPY_LENGTH


def decide(
    seen: Seen, source: Mode | None, to: Mode, origin: Origin, context: Mapping[str, str]
) -> Step:
    """Return the cheapest safe step that brings an object into the form that `to` would write.

    Args:
        seen: The object's state.
        source: The mode in which objects must be. None accepts any mode.
        to: The mode into which the object is converted.
        origin: Further statements of the caller about the objects.
        context: The encryption context with which `to` would write this object.

    The keys in server-side modes must be ARNs, because they are compared with the ARNs in S3's
    replies.

    Raises:
        PolicyError: The object does not meet the demands. A rotation must not encrypt an object
            under keys that its writer did not have.
    """
    action = _action(seen, to, context)
    if action != "unchanged":
        mode = {"source": source, "to": to, None: None}[seen.read_with]
        _check_readable(seen, mode, to, origin)
    return _step(seen, action)


def _has_only(envelope: Envelope, context: Mapping[str, str]) -> bool:
    """Return whether an object's context has only pairs of `context` and pairs of the format."""
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


def decide_copy(  # noqa: PLR0913 - the arguments of `decide`, and the copy's target
    seen: Seen,
    source: Mode | None,
    to: Mode,
    origin: Origin,
    context: Mapping[str, str],
    copy_to: Location,
    *,
    if_absent: bool,
    changes: Changes,
) -> Step:
    """Return the step that makes a copy in the mode `to`.

    `context` is the encryption context of a client-side copy.

    S3 itself copies an object without client-side encryption into a server-side mode. It also
    copies a client-side object if the copy would have the same keys, context and bindings. Any
    other copy is re-encrypted.

    Raises:
        PolicyError: The object does not meet the demands.
    """
    if isinstance(to, ClientSide) and seen.envelope:
        is_alike = _action(seen, to, context) == "unchanged" and _has_only(seen.envelope, context)
    else:
        is_alike = not isinstance(to, ClientSide) and seen.envelope is None
    action: Action = "copied" if is_alike else "re-encrypted"
    mode = {"source": source, "to": to, None: None}[seen.read_with]
    _check_readable(seen, mode, to, origin)
    return replace(_step(seen, action), copy_to=copy_to, if_absent=if_absent, changes=changes)


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
    """Refuse an object if a read in this mode would refuse it."""
    if isinstance(mode, ClientSide):
        if seen.envelope is None:
            raise PolicyError(
                f"{seen.location} is not encrypted client-side, but the command expects it."
            )
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
    """Refuse to encrypt an object client-side if the caller did not name its present mode.

    Anyone who can write to the bucket can store an unencrypted object there. After the encryption,
    readers would believe that a holder of the key had written it.
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
        f"{seen.location} is {is_now}, and no mode was given to read it.",
        hint="Every principal that can write to the bucket may have stored it.",
        remedy=remedy,
    )
