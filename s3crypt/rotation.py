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
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from . import annotations
from . import metadata as entries
from .aws import http_status
from .conditions import head, if_unchanged
from .errors import (
    ConflictError,
    IntegrityError,
    KeyUnavailableError,
    PolicyError,
    RotationError,
    S3CryptError,
    StorageError,
)
from .keyrings import AESKeyring, key_names, reading_hint, uncached
from .kms_keyrings import KMSKeyring
from .local.sources import StreamSource
from .location import Location
from .locks import HEADERS as _LOCKS
from .locks import Locks
from .message import MAX_HEADER_LENGTH, EncryptedDataKey, Header, Keyring, Opener
from .message.frames import unsigned
from .message.header import PUBLIC_KEY_PAIR
from .message.keys import unwrap_fitting
from .modes import DSSEKMS, SSEC, SSEKMS, ClientSide, Mode, binds_bucket, reported_mode
from .objects.access import Objects
from .objects.checks import check_written, check_written_in, recognise, refuse_s3ec
from .objects.info import DESCRIBING_HEADERS, Description, check_metadata, describing
from .objects.opened import Demand, Neighbour
from .objects.tags import ensure_tags
from .transfer import MAX_COPY_LENGTH, CopySource, Mark, ObjectStream, Upload, copy_in_place

Action = Literal["unchanged", "copied", "rewrapped", "re-encrypted", "failed"]

# All that a rotation keeps or goes by, too: were the first look's reply cut short on its way, then
# what it lacks would be lost.
_SHOWS_A_WRITE = (
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

# On a connection that breaks often, one HEAD's reply in twenty breaks off within its headers.
_LOOKS = 4


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


@dataclass(frozen=True, slots=True)
class Origin:
    """What a caller says of the objects to be rotated, beside the store's mode.

    Attributes:
        unsigned: They may be unsigned where the mode demands a signature.
        unencrypted: S3 may report no encryption of those that are not client-side.
        written_in: The bucket that they are bound to, if not the one where they are.
    """

    unsigned: bool = False
    unencrypted: bool = False
    written_in: str | None = None


def rotate(  # noqa: PLR0913 - as the store's method has them
    objects: Objects,
    source: Mode | None,
    location: Location,
    to: Mode,
    origin: Origin,
    *,
    dry_run: bool,
    drop_annotations: bool,
    on_outcome: Callable[[RotationOutcome], None] | None,
) -> tuple[RotationOutcome, ...]:
    """Rotate one object, or all below a prefix; see `S3Crypt.rotate`."""
    job = _job(objects, source, to, origin, drop_annotations=drop_annotations)
    if not location.is_prefix:
        outcome = _rotate_one(job, location, None, dry_run=dry_run)
        if on_outcome:
            on_outcome(outcome)
        return (outcome,)
    outcomes = []
    for outcome in _rotate_all(job, location, dry_run=dry_run):
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


def needs_rotation(
    objects: Objects, source: Mode | None, location: Location, to: Mode, origin: Origin
) -> bool:
    """Tell whether the object is other than `to` would write it; see `S3Crypt`."""
    job = _job(objects, source, to, origin)
    return _plan(job, _look(job, location), None) != "unchanged"


@dataclass(frozen=True, slots=True)
class _Job:
    """What is asked for: by whom it is done, how objects are read, and what they become.

    Aliases are resolved in both modes: one that moved meanwhile would have one half of the
    objects under one key and the other half under another, and all of them "unchanged".
    """

    objects: Objects
    source: Mode | None
    to: Mode
    origin: Origin
    locks: Locks
    drop_annotations: bool


def _job(
    objects: Objects,
    source: Mode | None,
    to: Mode,
    origin: Origin,
    *,
    drop_annotations: bool = False,
) -> _Job:
    check_written_in(source if binds_bucket(source) else to, origin.written_in)
    return _Job(
        objects,
        source and objects.pinned(source),
        objects.pinned(to),
        origin,
        Locks(objects.client),
        drop_annotations,
    )


def _rotate_all(job: _Job, prefix: Location, *, dry_run: bool) -> Iterator[RotationOutcome]:
    for listed, neighbour in job.objects.list_with_neighbours(prefix):
        try:
            yield _rotate_one(job, Location.parse(listed.uri), neighbour, dry_run=dry_run)
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
        """All entries but the one that is about this version only."""
        found = entries.of_reply(self.head)
        found.pop(entries.ANNOTATIONS_OF, None)
        return found

    @property
    def version_id(self) -> str | None:
        """The version's id, None where another object takes this one's place."""
        version_id = self.head.get("VersionId")
        return None if version_id == "null" else version_id

    @property
    def is_large(self) -> bool:
        """Whether S3 copies it by parts only."""
        return int(self.head["ContentLength"]) > MAX_COPY_LENGTH


@dataclass(frozen=True, slots=True)
class _Sealed:
    """Who wrapped a client-side object's key, and under which context."""

    edks: tuple[EncryptedDataKey, ...]
    context: Mapping[str, str]
    key_location: Literal["header", "metadata"]
    is_committed: bool = True

    @property
    def is_signed(self) -> bool:
        return PUBLIC_KEY_PAIR in self.context


def _look(job: _Job, location: Location) -> _Object:
    """Return the object's head, asked with whichever customer key it answers to."""
    tried: list[dict[str, object]] = []
    refusal: S3CryptError | None = None
    for mode in (job.source, None, job.to):
        arguments = mode.read_arguments() if mode else {}
        if arguments in tried:
            continue
        tried.append(arguments)
        try:
            found = head(job.objects.client, location, arguments)
        except S3CryptError as error:
            # A wrong or missing customer key is a bare 400 or 403; another may fit.
            if http_status(error) not in (400, 403):
                raise
            refusal = refusal or error
            continue
        check_metadata(location, found)
        # Only `to`'s customer key may stand in for the source's: the object then is as wanted.
        read_with = mode if arguments else job.source
        with location.named_in_errors():
            sealed = _sealed(job, location, found, arguments)
        if job.origin.unencrypted and sealed is None and reported_mode(found) is None:
            read_with = None
        return _Object(location, found, read_with, sealed)
    if refusal is None:
        raise AssertionError("unreachable: every attempt succeeded or was refused")
    raise refusal


def _sealed(
    job: _Job, location: Location, head: Mapping[str, Any], arguments: Mapping[str, object]
) -> _Sealed | None:
    metadata = entries.of_reply(head)
    refuse_s3ec(metadata)
    wrapped = entries.load_edks(metadata)
    if wrapped:
        # All in the metadata: not even the header has to be fetched.
        return _Sealed(wrapped, entries.load_context(metadata), "metadata")
    if not entries.claims_client_side(metadata) and not any(
        isinstance(mode, ClientSide) for mode in (job.source, job.to)
    ):
        return None
    header = _header(job, location, arguments, str(head["ETag"]))
    if header is None:
        return None
    return _Sealed(header.edks, header.context, "header", header.suite.committing)


def _header(
    job: _Job, location: Location, arguments: Mapping[str, object], etag: str
) -> Header | None:
    client = job.objects.client
    with ObjectStream.open(client, location, arguments, first=MAX_HEADER_LENGTH) as stream:
        _check_etag(location, stream.reply, etag)
        return recognise(stream)


def _check_etag(location: Location, reply: Mapping[str, Any], etag: str) -> None:
    if reply.get("ETag") != etag:
        raise ConflictError(
            f"{location} was replaced meanwhile; the new object was left alone.",
            hint="Run it again.",
        )


def _plan(job: _Job, seen: _Object, neighbour: Neighbour | None) -> Action:
    action = _wanted(job, seen)
    if action != "unchanged":
        _check_readable(job, seen)
        if isinstance(job.to, ClientSide) and not seen.sealed:
            _refuse_headless_ciphertext(job, seen, neighbour)
    return action


def _refuse_headless_ciphertext(job: _Job, seen: _Object, neighbour: Neighbour | None) -> None:
    """Refuse to encrypt what the S3 Encryption Client did already: no client would open it again.

    Unlike a read, this looks for an instruction file whatever the object's bytes look like.
    """
    is_listed = neighbour is not None and neighbour.etag == seen.etag
    if neighbour is None or not is_listed or neighbour.is_there:
        job.objects.refuse_instruction_file_of(seen.location, is_listed=is_listed)


def _wanted(job: _Job, seen: _Object) -> Action:
    if isinstance(job.to, ClientSide):
        return _plan_client(job, seen, job.to)
    if seen.sealed:
        return "re-encrypted"
    return "unchanged" if _is_in_mode(job.objects, seen.head, job.to) else "copied"


def _check_readable(job: _Job, seen: _Object) -> None:
    """Demand here what reading demands.

    A rotation must not lend its keys to an object that someone without any put there.
    """
    reads_sealed = isinstance(seen.read_with, ClientSide)
    if seen.sealed and not reads_sealed:
        raise PolicyError(
            f"{seen.location} is encrypted client-side.",
            hint=reading_hint(key_names(seen.sealed.edks)),
        )
    if reads_sealed and not seen.sealed:
        raise PolicyError(f"{seen.location} is not encrypted client-side, as it was to be.")
    if isinstance(seen.read_with, ClientSide) and seen.sealed:
        demands_signature = seen.read_with.signed and not job.origin.unsigned
        if demands_signature and not seen.sealed.is_signed:
            with seen.location.named_in_errors():
                raise unsigned()
    job.objects.keys.check_mode(seen.read_with, seen.head, seen.location)
    if isinstance(job.to, ClientSide) and seen.read_with is None:
        _check_named(job, seen)


def _check_named(job: _Job, seen: _Object) -> None:
    """Refuse to seal an object whose mode nobody named.

    Whoever can write to the bucket can put a plain object there. Sealed, it would be believed as
    what a holder of the key wrote.
    """
    reported = reported_mode(seen.head)
    if reported is None and job.origin.unencrypted:
        return
    is_now = f"stored as {reported}" if reported else "not encrypted"
    name = (
        f"name the store's mode: {reported}."
        if reported
        else "name allow_unencrypted: S3 reports no encryption of it."
    )
    raise PolicyError(
        f"{seen.location} is {is_now}, and no mode was named that it is to be read with.",
        hint=f"Anyone who can write to the bucket can have put it there. Where they are trusted, "
        f"{name}",
    )


def _plan_client(job: _Job, seen: _Object, to: ClientSide) -> Action:
    sealed = seen.sealed
    if sealed is None:
        return "re-encrypted"
    context = job.objects.context_here(to, seen.location, job.origin.written_in)
    alike = (
        to.key_location == sealed.key_location
        and to.signed == sealed.is_signed
        and context.items() <= sealed.context.items()
        and sealed.is_committed
    )
    if alike and to.keyring.wrote(sealed.edks):
        return "unchanged"
    return "rewrapped" if alike and sealed.key_location == "metadata" else "re-encrypted"


def _is_in_mode(objects: Objects, head: Mapping[str, Any], to: Mode) -> bool:
    if reported_mode(head) != to.name:
        return False
    if isinstance(to, SSEC):
        return head.get("SSECustomerKeyMD5") == to.key_md5
    if isinstance(to, SSEKMS | DSSEKMS):
        key = str(head.get("SSEKMSKeyId"))
        bucket_key = isinstance(to, SSEKMS) and to.bucket_key
        return (
            key == objects.keys.of(to.key, key) and bool(head.get("BucketKeyEnabled")) == bucket_key
        )
    return True


def _rotate_one(
    job: _Job, location: Location, neighbour: Neighbour | None, *, dry_run: bool
) -> RotationOutcome:
    started = time.perf_counter()
    seen = _look(job, location)
    for left in reversed(range(_LOOKS)):
        action = _plan(job, seen, neighbour)
        version_id, moved = None, 0
        try:
            if action != "unchanged":
                job.locks.check(seen.location, seen.head)
            if not dry_run:
                _finish_annotations(job, seen)
            annotated = _annotations(job, seen, action)
            if not dry_run:
                action, version_id, moved = _act(job, seen, action, annotated)
            break
        except ConflictError:
            before, seen = seen, _look(job, location)
            # Without another writer, a HEAD's reply broke off within its headers; a later one is
            # whole.
            is_cut = _lacks_headers_of(before.head, seen.head) or _lacks_headers_of(
                seen.head, before.head
            )
            if not left or not is_cut:
                raise
    seconds = time.perf_counter() - started
    return RotationOutcome(str(location), action, seconds, moved, version_id)


def _lacks_headers_of(cut: Mapping[str, Any], whole: Mapping[str, Any]) -> bool:
    """Return whether a reply to HEAD differs from another only as one that was cut short does.

    It lacks headers, and its last one may lack the end of the value.
    """
    old, new = cut.get("Metadata", {}), whole.get("Metadata", {})
    shown = [name for name in _SHOWS_A_WRITE if name in cut and name != "Metadata"]
    return (
        not _show_the_same(cut, whole)
        and all(_begins(whole.get(name), cut[name]) for name in shown)
        and all(_begins(new.get(name), value) for name, value in old.items())
    )


def _begins(whole: object, cut: object) -> bool:
    """Return whether a header's value is the other one, or the beginning of it."""
    is_text = isinstance(cut, str | int) and not isinstance(cut, bool)
    return whole == cut or (is_text and whole is not None and str(whole).startswith(str(cut)))


def _show_the_same(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    return all(before.get(name) == now.get(name) for name in _SHOWS_A_WRITE)


def _act(
    job: _Job, seen: _Object, action: Action, annotated: tuple[str, ...]
) -> tuple[Action, str | None, int]:
    """Do what was planned; return what was done, the new version, and the bytes moved."""
    if action == "copied":
        return _copy(job, seen, annotated)
    if action == "rewrapped":
        return action, _rewrap(job, seen, annotated), 0
    if action == "re-encrypted":
        return action, *_re_encrypt(job, seen, annotated)
    return action, None, 0


def _copy(job: _Job, seen: _Object, annotated: tuple[str, ...]) -> tuple[Action, str | None, int]:
    metadata = {**entries.without_token(seen.metadata), **_annotations_of(seen, annotated)}
    token = entries.new_token(metadata)
    encryption = job.to.write_arguments()
    try:
        reply = _copy_in_place(job, seen, encryption, {**metadata, **token}, token)
    except StorageError as error:
        if error.code != "NotImplemented":
            raise
        # Some S3 services cannot copy encrypted objects; the bytes then go through here.
        annotated = _annotations(job, seen, "re-encrypted")
        version_id, moved = _re_encrypt(job, seen, annotated)
        return "re-encrypted", version_id, moved
    version_id = reply.get("VersionId")
    _copy_annotations(job, seen, annotated, version_id)
    return "copied", version_id, 0


def _rewrap(job: _Job, seen: _Object, annotated: tuple[str, ...]) -> str | None:
    source, sealed = seen.read_with, seen.sealed
    if not isinstance(job.to, ClientSide) or not isinstance(source, ClientSide) or not sealed:
        raise AssertionError("unreachable: only client-side objects are rewrapped")
    # What reading demands is demanded here too, or KMS would move keys for whoever can write.
    expected = job.objects.context_demanded(seen.location, _demand(job, seen))
    if not expected.items() <= sealed.context.items():
        raise IntegrityError(
            f"{seen.location}: its encryption context is not the one expected.",
            hint="The object was moved or replaced, or the expected context is wrong.",
        )
    wrapped = _rewrapped_by_kms(sealed, source.keyring, job.to.keyring)
    if wrapped is None:
        wrapped = _rewrapped_here(job, seen, sealed, source.keyring, job.to.keyring)
    # Newly wrapped keys are on no object that another writer made.
    mark = {entries.EDKS: entries.dump_edks(wrapped)}
    metadata = {**seen.metadata, **mark, **_annotations_of(seen, annotated)}
    entries.check_length(metadata)
    reply = _copy_in_place(job, seen, _at_rest(seen.head), metadata, mark)
    version_id: str | None = reply.get("VersionId")
    _copy_annotations(job, seen, annotated, version_id)
    return version_id


def _rewrapped_by_kms(
    sealed: _Sealed, source: Keyring, target: Keyring
) -> tuple[EncryptedDataKey, ...] | None:
    """Return the object key rewrapped by kms:ReEncrypt, or None where that cannot be done."""
    # Neither needs its data keys here, cached or not.
    source, target = uncached(source), uncached(target)
    if not isinstance(source, KMSKeyring) or not isinstance(target, KMSKeyring):
        return None
    edk = next(filter(source.opens, sealed.edks), None)
    if edk is None or not target.is_reachable_from(source):
        return None
    # KMS opens it under the context it was wrapped under and no other, so that need not be
    # compared with the header's.
    return (target.rewrap(edk, sealed.context, source=source),)


def _rewrapped_here(
    job: _Job, seen: _Object, sealed: _Sealed, source: Keyring, target: Keyring
) -> tuple[EncryptedDataKey, ...]:
    """Return the object key unwrapped and wrapped again, once it is proved to open the header."""
    header = _header(job, seen.location, {}, seen.etag)
    if header is None or dict(header.context) != dict(sealed.context):
        # RSA binds no context, so nothing else would notice; the reader would then find neither.
        raise IntegrityError(f"{seen.location}: its metadata and its header contradict each other.")

    def opens(object_key: bytes) -> bool:
        try:
            Opener(header, AESKeyring(*entries.OBJECT_KEY, object_key))
        except (IntegrityError, KeyUnavailableError):
            return False
        return True

    length = entries.OBJECT_KEY_LENGTH
    with seen.location.named_in_errors():
        object_key = unwrap_fitting(source, sealed.edks, sealed.context, length, opens)
    return target.wrap(object_key, sealed.context)


def _at_rest(head: Mapping[str, Any]) -> dict[str, Any]:
    """Return what keeps S3's own encryption of a client-side object as it is."""
    kept = {name: head[name] for name in ("ServerSideEncryption", "SSEKMSKeyId") if head.get(name)}
    if head.get("BucketKeyEnabled"):
        kept["BucketKeyEnabled"] = True
    return kept


def _copy_in_place(
    job: _Job,
    seen: _Object,
    encryption: Mapping[str, object],
    metadata: Mapping[str, str],
    mark: Mapping[str, str],
) -> Mapping[str, Any]:
    client, to = job.objects.client, job.to
    size = int(seen.head["ContentLength"])
    # CopyObject keeps the tags by itself; a copy by parts is a new object without them.
    tags = _tags(job, seen) if seen.is_large else {}
    described = Description(entries.of_user(seen.metadata), tags, _headers(seen))
    upload = Upload(
        client,
        seen.location,
        {**described.arguments(metadata), **encryption},
        to.read_arguments(),
        if_unchanged(seen.etag),
        lambda reply: check_written(to, reply, seen.location),
        mark=Mark(metadata=mark) if mark else None,
    )
    key = seen.read_with.copy_source_arguments() if isinstance(seen.read_with, SSEC) else {}
    source = CopySource(seen.location, seen.etag, seen.head.get("VersionId"), size, key)
    reply = copy_in_place(
        upload,
        source,
        workers=job.objects.workers,
        last_check=lambda: _check_unchanged(job, seen),
        copy_limit=MAX_COPY_LENGTH,
        annotations=_annotation_directive(job, seen),
    )
    ensure_tags(client, seen.location, to, tags, reply)
    return reply


def _demand(job: _Job, seen: _Object) -> Demand:
    return Demand(
        seen.read_with,
        allow_unsigned=job.origin.unsigned,
        # The plan has looked for an instruction file; a copy inside S3 needs no look, nor its
        # fallback.
        neighbour=Neighbour(seen.etag, is_there=False),
        written_in=job.origin.written_in if binds_bucket(seen.read_with) else None,
    )


def _re_encrypt(job: _Job, seen: _Object, annotated: tuple[str, ...]) -> tuple[str | None, int]:
    headers = _headers(seen)
    if isinstance(job.to, ClientSide) and seen.sealed:
        headers |= _at_rest(seen.head)
    metadata = {**entries.of_user(seen.metadata), **_annotations_of(seen, annotated)}
    described = Description(metadata, _tags(job, seen), headers)
    with ExitStack() as stack:
        try:
            reading = stack.enter_context(job.objects.reading(seen.location, _demand(job, seen)))
        except S3CryptError as error:
            _check_replaced(job, seen, error)
            raise
        _check_etag(seen.location, {"ETag": reading.info.etag}, seen.etag)
        if reading.info.metadata != entries.of_user(seen.metadata):
            raise _replaced(seen.location)
        source = StreamSource(
            reading.plaintext, reading.info.size, lambda: _check_unchanged(job, seen)
        )
        written = job.objects.write(
            source,
            seen.location,
            job.to,
            described,
            conditions=if_unchanged(seen.etag),
            written_in=job.origin.written_in,
        )
    _copy_annotations(job, seen, annotated, written.version_id)
    return written.version_id, written.size or 0


def _check_replaced(job: _Job, seen: _Object, error: S3CryptError) -> None:
    """Raise ConflictError where the object that could not be read is not the one first seen.

    Another writer's object may be a plain one, or wrapped by another key. The reader's error is
    then about that object, not about the one that was to be rotated.
    """
    try:
        _check_unchanged(job, seen)
    except ConflictError as conflict:
        raise conflict from error
    except S3CryptError:
        # HEAD shows no ETag: the object is gone, or answers to another customer key only.
        return


def _check_unchanged(job: _Job, seen: _Object) -> None:
    """Refuse to go on where anything that HEAD shows is other than at the first look.

    S3's conditions compare ETags, and where S3 keeps the keys an ETag is the body's MD5: it
    does not change for who only writes other metadata. This leaves the moment of one request.
    """
    arguments = seen.read_with.read_arguments() if seen.read_with else {}
    for _ in range(_LOOKS):
        found = head(job.objects.client, seen.location, arguments)
        if _show_the_same(seen.head, found):
            return
        # This reply broke off within its headers: ask again. If the first look's reply did, the job
        # begins anew with a whole one, since a rotation would lose the headers that it lacked.
        if not _lacks_headers_of(found, seen.head):
            break
    raise _replaced(seen.location)


def _replaced(location: Location) -> ConflictError:
    return ConflictError(
        f"{location} was written by someone else meanwhile; theirs was left alone.",
        hint="Run it again.",
    )


def _headers(seen: _Object) -> dict[str, Any]:
    headers = describing(seen.head, _LOCKS)
    until = headers.get("ObjectLockRetainUntilDate")
    if until is not None and until <= datetime.now(UTC):
        # S3 refuses a date that is past, and there is nothing left to retain.
        for name in ("ObjectLockRetainUntilDate", "ObjectLockMode"):
            headers.pop(name, None)
    return headers


def _tags(job: _Job, seen: _Object) -> dict[str, str]:
    return job.objects.tags(seen.location, seen.head.get("VersionId"))


def _may_have_annotations(job: _Job, seen: _Object) -> bool:
    return annotations.may_exist(job.objects.client, seen.location, seen.head)


def _annotations(job: _Job, seen: _Object, action: Action) -> tuple[str, ...]:
    """Return the annotations that are to be written to the new version one by one.

    Where S3 copies an object in one request, it copies them too, and nothing is asked.

    Raises:
        PolicyError: They would be lost: the new object replaces the old one for good, or takes
            none.
    """
    is_one_copy = action in ("copied", "rewrapped") and not seen.is_large
    takes_any = not isinstance(job.to, SSEC)
    is_kept = action == "unchanged" or (is_one_copy and takes_any)
    if is_kept or not _may_have_annotations(job, seen):
        return ()
    can_be_kept = takes_any and seen.version_id is not None
    if job.drop_annotations and not can_be_kept:
        return ()
    found = annotations.names(job.objects.client, seen.location, seen.head.get("VersionId"))
    if found and not can_be_kept:
        reason = (
            "its bucket keeps no old version to take them from"
            if takes_any
            else "objects of mode sse-c have none"
        )
        raise PolicyError(
            f"{seen.location} has annotations that would be lost ({', '.join(found[:3])}"
            f"{', ...' if len(found) > 3 else ''}): {reason}.",
            hint="Save them elsewhere, then name drop_annotations (--drop-annotations).",
        )
    return found


def _annotation_directive(job: _Job, seen: _Object) -> Literal["COPY", "EXCLUDE"] | None:
    if not _may_have_annotations(job, seen):
        return None
    # Only where they may be dropped: otherwise S3 is to refuse rather than lose one.
    return "EXCLUDE" if job.drop_annotations and isinstance(job.to, SSEC) else "COPY"


def _annotations_of(seen: _Object, annotated: tuple[str, ...]) -> dict[str, str]:
    """Return the entry by which a later run finds annotations that this run did not get to."""
    return {entries.ANNOTATIONS_OF: str(seen.version_id)} if annotated else {}


def _copy_annotations(
    job: _Job, seen: _Object, annotated: tuple[str, ...], new_version: str | None
) -> None:
    if not annotated:
        return
    if new_version is None:
        raise StorageError(
            f"{seen.location} was written, but S3 did not say as which version: its annotations "
            f"are still at version {seen.version_id}.",
            hint="Run it again.",
        )
    annotations.copy(
        job.objects.client,
        seen.location,
        annotated,
        source_version=str(seen.version_id),
        target_version=new_version,
    )


def _finish_annotations(job: _Job, seen: _Object) -> None:
    """Copy those annotations that an interrupted rotation has left at the version before."""
    source = entries.of_reply(seen.head).get(entries.ANNOTATIONS_OF)
    if source is None or seen.version_id is None or not _may_have_annotations(job, seen):
        return
    client, location = job.objects.client, seen.location
    versions = {"source_version": source, "target_version": seen.version_id}
    if annotations.is_copied(client, location, **versions):
        return
    there = annotations.names(client, location, seen.version_id)
    wanted = annotations.names(client, location, source)
    left = [name for name in wanted if name not in there]
    annotations.copy(client, location, left, **versions)
