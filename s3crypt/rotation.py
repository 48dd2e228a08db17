# SPDX-License-Identifier: Apache-2.0
"""Rotation: objects brought to another mode or key, each by the cheapest sound mechanism.

    server side to server side       copied: S3 rewrites it onto itself; no body byte comes here
    client, key in metadata, both    rewrapped: the wrapped key is replaced, the body stays
    everything else                  re-encrypted: streamed through here, with a new data key

A header is never edited in place: two headers for one message would share a nonce. Every step
is conditional on the ETag seen first, so a concurrent writer wins and nothing is lost.
Rotating a *key* (new key material in KMS) is `s3crypt.kms`, and changes no object.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError

from . import metadata as entries
from .aws import translate, translating
from .errors import (
    ConflictError,
    IntegrityError,
    PolicyError,
    RotationError,
    S3CryptError,
    StorageError,
)
from .keyrings import KMSKeyring, key_names
from .location import Location
from .message import MAX_HEADER_LENGTH, EncryptedDataKey, Keyring
from .message.header import PUBLIC_KEY_PAIR
from .modes import DSSEKMS, SSEC, SSEKMS, ClientSide, Mode, reported_mode
from .store import Demand, Description, S3Crypt, check_written, recognise
from .transfer import MAX_COPY_LENGTH, CopySource, ObjectStream, StreamSource, Upload, copy_in_place

Action = Literal["unchanged", "copied", "rewrapped", "re-encrypted", "failed"]

# What a copy resets unless it is said again.
_KEPT_HEADERS = (
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "ContentType",
    "Expires",
    "ObjectLockLegalHoldStatus",
    "ObjectLockMode",
    "ObjectLockRetainUntilDate",
    "StorageClass",
    "WebsiteRedirectLocation",
)


@dataclass(frozen=True, slots=True)
class RotationOutcome:
    """What a rotation did to one object, or with `dry_run` would do.

    Attributes:
        uri: The object.
        action: `unchanged`, `copied`, `rewrapped`, `re-encrypted` or `failed`.
        seconds: How long it took.
        bytes_moved: Body bytes that came through this process.
        version_id: The new version, in a versioned bucket. The old one is still there, under
            the old key, until it is deleted.
        error: Why it failed.
    """

    uri: str
    action: Action
    seconds: float = 0.0
    bytes_moved: int = 0
    version_id: str | None = None
    error: S3CryptError | None = None


def rotate(
    store: S3Crypt,
    location: Location,
    to: Mode,
    *,
    dry_run: bool,
    on_outcome: Callable[[RotationOutcome], None] | None,
) -> tuple[RotationOutcome, ...]:
    """Rotate one object, or all below a prefix; see `S3Crypt.rotate`."""
    if not location.is_prefix:
        outcome = _rotate_one(store, location, to, dry_run=dry_run)
        if on_outcome:
            on_outcome(outcome)
        return (outcome,)
    outcomes = []
    for outcome in _rotate_all(store, location, to, dry_run=dry_run):
        outcomes.append(outcome)
        if on_outcome:
            on_outcome(outcome)
    failed = sum(outcome.action == "failed" for outcome in outcomes)
    if failed:
        raise RotationError(
            f"{failed} of {len(outcomes)} objects below {location} were not rotated.",
            outcomes=tuple(outcomes),
            hint="Mend the causes and run it again: what is done is left alone.",
        )
    return tuple(outcomes)


def needs_rotation(store: S3Crypt, location: Location, to: Mode) -> bool:
    """Tell whether the object is other than `to` would write it; see `S3Crypt`."""
    return _plan(store, _look(store, location, to), to) != "unchanged"


def _rotate_all(
    store: S3Crypt, prefix: Location, to: Mode, *, dry_run: bool
) -> Iterator[RotationOutcome]:
    for listed in store.list(str(prefix)):
        try:
            yield _rotate_one(store, Location.parse(listed.uri), to, dry_run=dry_run)
        except S3CryptError as error:
            yield RotationOutcome(listed.uri, "failed", error=error)


@dataclass(frozen=True, slots=True)
class _Object:
    """An object as it was first seen; every later step is conditional on its ETag.

    Attributes:
        location: Where it is.
        head: S3's reply to the first HEAD.
        read_with: The mode that it is read with; it decides what is demanded of the object.
        sealed: How it is encrypted client-side; None where it is not.
    """

    location: Location
    head: Mapping[str, Any]
    read_with: Mode | None
    sealed: "_Sealed | None"

    @property
    def etag(self) -> str:
        return str(self.head["ETag"])

    @property
    def metadata(self) -> Mapping[str, str]:
        return entries.of_reply(self.head)


@dataclass(frozen=True, slots=True)
class _Sealed:
    """Who wrapped a client-side object's key, and under which context."""

    edks: tuple[EncryptedDataKey, ...]
    context: Mapping[str, str]
    key_location: Literal["header", "metadata"]


def _look(store: S3Crypt, location: Location, to: Mode) -> _Object:
    """Return the object's head, asked with whichever customer key it answers to."""
    tried: list[dict[str, object]] = []
    refusal: ClientError | None = None
    for mode in (store.mode, None, to):
        arguments = mode.read_arguments() if mode else {}
        if arguments in tried:
            continue
        tried.append(arguments)
        try:
            head = store.client.head_object(**location.arguments, **arguments)
        except BotoCoreError as error:
            raise translate(error, str(location)) from error
        except ClientError as error:
            # A wrong or missing customer key is a bare 400 or 403; another may fit.
            if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (400, 403):
                raise translate(error, str(location)) from error
            refusal = refusal or error
            continue
        read_with = mode if arguments or not isinstance(store.mode, SSEC) else None
        return _Object(location, head, read_with, _sealed(store, location, head, to, arguments))
    if refusal is None:
        raise AssertionError("unreachable: every attempt succeeded or was refused")
    raise translate(refusal, str(location)) from refusal


def _sealed(
    store: S3Crypt,
    location: Location,
    head: Mapping[str, Any],
    to: Mode,
    arguments: Mapping[str, object],
) -> _Sealed | None:
    metadata = entries.of_reply(head)
    wrapped = entries.load_edks(metadata)
    if wrapped:
        # All in the metadata: not even the header has to be fetched.
        return _Sealed(wrapped, entries.load_context(metadata), "metadata")
    if entries.FRAME_LENGTH not in metadata and not any(
        isinstance(mode, ClientSide) for mode in (store.mode, to)
    ):
        return None
    with ObjectStream.open(store.client, location, arguments, first=MAX_HEADER_LENGTH) as stream:
        header = recognise(stream)
    return _Sealed(header.edks, header.context, "header") if header else None


def _plan(store: S3Crypt, seen: _Object, to: Mode) -> Action:
    if isinstance(to, ClientSide) and (action := _plan_client(seen, to)) == "unchanged":
        return action
    if seen.sealed and not isinstance(seen.read_with, ClientSide):
        raise PolicyError(
            f"{seen.location} is encrypted client-side.",
            hint=f"Read it with ClientSide and one of: {', '.join(key_names(seen.sealed.edks))}",
        )
    if isinstance(to, ClientSide):
        return action
    if seen.sealed:
        return "re-encrypted"
    if _is_in_mode(store, seen.head, to):
        return "unchanged"
    if isinstance(seen.read_with, ClientSide):
        raise PolicyError(f"{seen.location} is not encrypted client-side, as it was to be.")
    store.check_mode(seen.read_with, seen.head, seen.location)
    return "copied"


def _plan_client(seen: _Object, to: ClientSide) -> Action:
    sealed = seen.sealed
    if sealed is None:
        return "re-encrypted"
    alike = (
        to.key_location == sealed.key_location
        and to.signed == (PUBLIC_KEY_PAIR in sealed.context)
        and to.object_context(seen.location.name).items() <= sealed.context.items()
    )
    if alike and to.keyring.wrote(sealed.edks):
        return "unchanged"
    return "rewrapped" if alike and sealed.key_location == "metadata" else "re-encrypted"


def _is_in_mode(store: S3Crypt, head: Mapping[str, Any], to: Mode) -> bool:
    if reported_mode(head) != to.name:
        return False
    if isinstance(to, SSEC):
        return head.get("SSECustomerKeyMD5") == to.key_md5
    if isinstance(to, SSEKMS | DSSEKMS):
        key = str(head.get("SSEKMSKeyId"))
        bucket_key = isinstance(to, SSEKMS) and to.bucket_key
        return (
            key == store.kms_key_arn(to.key, key)
            and bool(head.get("BucketKeyEnabled")) == bucket_key
        )
    return True


def _rotate_one(store: S3Crypt, location: Location, to: Mode, *, dry_run: bool) -> RotationOutcome:
    started = time.perf_counter()
    seen = _look(store, location, to)
    action = _plan(store, seen, to)
    version_id, moved = None, 0
    if not dry_run:
        if action == "copied":
            action, version_id, moved = _copy(store, seen, to)
        elif action == "rewrapped":
            version_id = _rewrap(store, seen, to)
        elif action == "re-encrypted":
            version_id, moved = _re_encrypt(store, seen, to)
    seconds = time.perf_counter() - started
    return RotationOutcome(str(location), action, seconds, moved, version_id)


def _copy(store: S3Crypt, seen: _Object, to: Mode) -> tuple[Action, str | None, int]:
    try:
        reply = _copy_in_place(store, seen, to.write_arguments(), to, seen.metadata)
    except StorageError as error:
        if error.code != "NotImplemented":
            raise
        # Some S3 services cannot copy encrypted objects; the bytes then go through here.
        version_id, moved = _re_encrypt(store, seen, to)
        return "re-encrypted", version_id, moved
    return "copied", reply.get("VersionId"), 0


def _rewrap(store: S3Crypt, seen: _Object, to: Mode) -> str | None:
    source, sealed = seen.read_with, seen.sealed
    if not isinstance(to, ClientSide) or not isinstance(source, ClientSide) or not sealed:
        raise AssertionError("unreachable: only client-side objects are rewrapped")
    # What reading demands is demanded here too, or KMS would move keys for whoever can write.
    if not source.object_context(seen.location.name).items() <= sealed.context.items():
        raise IntegrityError(
            f"{seen.location}: its encryption context is not the one expected.",
            hint="The object was moved or replaced, or the expected context is wrong.",
        )
    wrapped = _rewrapped(sealed.edks, sealed.context, source.keyring, to.keyring)
    metadata = {**seen.metadata, entries.EDKS: entries.dump_edks(wrapped)}
    entries.check_length(metadata)
    reply = _copy_in_place(store, seen, _at_rest(seen.head), to, metadata)
    version_id: str | None = reply.get("VersionId")
    return version_id


def _rewrapped(
    edks: Sequence[EncryptedDataKey], context: Mapping[str, str], source: Keyring, target: Keyring
) -> tuple[EncryptedDataKey, ...]:
    if isinstance(source, KMSKeyring) and isinstance(target, KMSKeyring):
        edk = next((edk for edk in edks if source.wrote([edk])), None)
        if edk and target.is_reachable_from(source):
            return (target.rewrap(edk, context, source=source),)
    object_key = source.unwrap(edks, context, entries.OBJECT_KEY_LENGTH)
    return target.wrap(object_key, context)


def _at_rest(head: Mapping[str, Any]) -> dict[str, Any]:
    """Return what keeps S3's own encryption of a client-side object as it is."""
    kept = {name: head[name] for name in ("ServerSideEncryption", "SSEKMSKeyId") if head.get(name)}
    if head.get("BucketKeyEnabled"):
        kept["BucketKeyEnabled"] = True
    return kept


def _copy_in_place(
    store: S3Crypt,
    seen: _Object,
    encryption: Mapping[str, object],
    to: Mode,
    metadata: Mapping[str, str],
) -> Mapping[str, Any]:
    size = int(seen.head["ContentLength"])
    # CopyObject keeps the tags by itself; a copy by parts is a new object without them.
    tags = _tags(store, seen) if size > MAX_COPY_LENGTH else {}
    described = Description(entries.of_user(seen.metadata), tags, _headers(seen))
    upload = Upload(
        store.client,
        seen.location,
        {**described.arguments(metadata), **encryption},
        to.read_arguments(),
        {"IfMatch": seen.etag},
        lambda reply: check_written(to, reply, seen.location),
    )
    key = seen.read_with.copy_source_arguments() if isinstance(seen.read_with, SSEC) else {}
    source = CopySource(seen.location, seen.etag, seen.head.get("VersionId"), size, key)
    return copy_in_place(upload, source, workers=store.workers)


def _re_encrypt(store: S3Crypt, seen: _Object, to: Mode) -> tuple[str | None, int]:
    described = Description(entries.of_user(seen.metadata), _tags(store, seen), _headers(seen))
    with store.reading(seen.location, Demand(seen.read_with)) as reading:
        if reading.info.etag != seen.etag:
            raise ConflictError(
                f"{seen.location} was replaced meanwhile; the new object was left alone.",
                hint="Run it again.",
            )
        source = StreamSource(reading.plaintext, reading.info.size)
        written = store.write(
            source, seen.location, to, described, conditions={"IfMatch": seen.etag}
        )
    return written.version_id, written.size or 0


def _headers(seen: _Object) -> dict[str, Any]:
    return {name: seen.head[name] for name in _KEPT_HEADERS if seen.head.get(name)}


def _tags(store: S3Crypt, seen: _Object) -> dict[str, str]:
    version = {"VersionId": seen.head["VersionId"]} if seen.head.get("VersionId") else {}
    try:
        with translating(f"{seen.location} (its tags)"):
            reply = store.client.get_object_tagging(**seen.location.arguments, **version)
    except StorageError as error:
        # A service without tags has none to lose. A denied permission must not lose them.
        if error.code == "NotImplemented":
            return {}
        raise
    return {tag["Key"]: tag["Value"] for tag in reply["TagSet"]}
