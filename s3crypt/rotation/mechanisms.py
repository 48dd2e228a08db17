# SPDX-License-Identifier: Apache-2.0
"""Perform steps: copy, rewrap or re-encrypt an object, if its ETag is unchanged."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from s3crypt import formats
from s3crypt import metadata as entries
from s3crypt.errors import IntegrityError, PolicyError, Remedy, S3CryptError, StorageError
from s3crypt.formats import Envelope
from s3crypt.local.sources import StreamSource
from s3crypt.logs import logger_of
from s3crypt.modes import SSEC, ClientSide, binds_bucket
from s3crypt.objects import annotations
from s3crypt.objects.checks import check_written
from s3crypt.objects.deleting import may_be_same
from s3crypt.objects.info import Description, ObjectInfo, describing, version_of
from s3crypt.objects.locks import HEADERS as _LOCKS
from s3crypt.objects.opened import Neighbour, ReadOptions
from s3crypt.objects.tags import ensure_tags
from s3crypt.requests import cause_of
from s3crypt.transfer import (
    MAX_COPY_LENGTH,
    CopySource,
    Mark,
    ObjectStream,
    Upload,
    copy_inside_s3,
)
from s3crypt.transfer.conditions import IF_ABSENT, bare_etag, if_unchanged, with_etag
from s3crypt.transfer.conditions import check_unchanged as check_current

from .beside import beside
from .looks import SHOWN_LENGTH, Job, check_etag, check_replaced, check_unchanged, opened, replaced
from .steps import Action, Step

_log = logger_of(__name__)

# S3's error codes for a copy whose source is archived.
ARCHIVED = frozenset({"InvalidObjectState", "ObjectNotInActiveTierError"})

# When the request for the new object is sent, the last look at the old object must not be older
# than this.
_LATE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Done:
    """The result of a step.

    Attributes:
        action: The action that was performed. It may be more expensive than the planned action.
        reply: S3's reply about the new object. Empty if the object was not changed.
        bytes_moved: The number of plaintext bytes that were streamed through this process.
        info: The facts about the new object if this process wrote it, otherwise None.
        rewrapped: For each key of a rewrapped object, the id of the key material that wrapped the
            data key.
    """

    action: Action
    reply: Mapping[str, Any] = field(default_factory=dict)
    bytes_moved: int = 0
    info: ObjectInfo | None = None
    rewrapped: Mapping[str, str] = field(default_factory=dict)

    @property
    def version_id(self) -> str | None:
        """Return the id of the new version. Return None in a bucket without versioning."""
        return self.info.version_id if self.info else version_of(self.reply)

    @property
    def material(self) -> str | None:
        """Return the id of the key material that wraps the data key now.

        Return None if unknown.
        """
        found = self.info.key_materials if self.info else self.rewrapped
        return next(iter(found.values()), None)

    @property
    def etag(self) -> str:
        """Return the new object's ETag, without quotes."""
        copied = self.reply.get("CopyObjectResult", {}).get("ETag")
        return (
            self.info.etag if self.info else bare_etag(str(copied or self.reply.get("ETag") or ""))
        )


def act(job: Job, step: Step, stream: ObjectStream | None = None) -> Done:
    """Perform a step. `stream` is the object's stream if it is open, otherwise None."""
    done, annotated = write(job, step, stream)
    copy_annotations(job, step, annotated, done)
    return done


def write(job: Job, step: Step, stream: ObjectStream | None) -> tuple[Done, tuple[str, ...]]:
    """Write the new object. Return the result, and the annotations that must still be copied."""
    if step.action == "re-encrypted":
        return _re_encrypt(job, step, stream)
    if stream is not None:
        # This makes the stream's connection available for the following requests.
        stream.leave()
    if step.action == "unchanged":
        return Done(step.action), ()
    how = {"copied": _copy, "rewrapped": _rewrap}[step.action]
    return how(job, step, annotations_to_copy(job, step))


def _copy(job: Job, step: Step, annotated: tuple[str, ...]) -> tuple[Done, tuple[str, ...]]:
    written = entries.without_token(step.written_metadata)
    metadata = {**written, **_annotations_of(step, annotated)}
    # A token identifies the new object after a lost reply. Without a condition on the target, the
    # copy can be repeated, so it needs no token. If the target may be the source itself, the token
    # shows whether it is. See `check_is_other`.
    needs_token = _conditions(step) or may_be_same(step.location, step.target)
    token = entries.new_token(metadata) if needs_token else {}
    encryption = {} if step.is_client_side else job.to.write_arguments()
    try:
        reply = _copy_inside_s3(job, step, encryption, {**metadata, **token}, token)
    except StorageError as error:
        if error.code != "NotImplemented":
            raise
        # Some S3 services cannot copy encrypted objects. In this case the bytes are streamed
        # through this process.
        told = step.location, cause_of(error)
        _log.info("%s: re-encrypted, as the service does not copy it (%s)", *told)
        return write(job, replace(step, action="re-encrypted"), None)
    if "CopyObjectResult" not in reply:
        reply = with_etag(job.objects.client, step.target, reply, job.to.read_arguments())
    return Done("copied", reply), annotated


def _rewrap(job: Job, step: Step, annotated: tuple[str, ...]) -> tuple[Done, tuple[str, ...]]:
    source, sealed = job.mode(step.read_with), formats.of_metadata(step.metadata)
    if not isinstance(job.to, ClientSide) or not isinstance(source, ClientSide) or not sealed:
        raise AssertionError("unreachable: only client-side objects are rewrapped")
    check_context(job, step, sealed)
    with step.location.named_in_errors():
        done = sealed.rewrapped(source, job.to, lambda: opened(job, step.location, {}, step.etag))
    kept = entries.without_token(done.metadata)
    metadata = {**kept, **_annotations_of(step, annotated)}
    metadata |= entries.fitting(metadata, done.advisory)
    entries.check_length(metadata)
    # The newly wrapped keys identify the new object, because no other writer can produce the same
    # wrapped keys.
    reply = _copy_inside_s3(job, step, _at_rest(step.head), metadata, done.mark)
    return Done("rewrapped", reply, rewrapped=done.key_materials), annotated


def check_opens(job: Job, step: Step, stream: ObjectStream | None) -> None:
    """Check in a dry run that the key opens the object. The content is not read.

    A rewrap is done except for its last request, which would store the newly wrapped key.

    Raises:
        S3CryptError: For the reasons for which the step itself would fail.
    """
    source = job.mode(step.read_with)
    if not isinstance(source, ClientSide):
        return
    sealed = formats.of_metadata(step.metadata)
    if step.action == "rewrapped" and isinstance(job.to, ClientSide) and sealed:
        check_context(job, step, sealed)
        with step.location.named_in_errors():
            sealed.rewrapped(source, job.to, lambda: opened(job, step.location, {}, step.etag))
    elif step.action == "re-encrypted":
        read_options = _demand(job, step)
        with job.objects.reading(step.location, read_options, first=SHOWN_LENGTH, opened=stream):
            if stream is not None:
                stream.leave()


def check_context(job: Job, step: Step, envelope: Envelope) -> None:
    """Refuse an object whose encryption context a reader would refuse. Nothing is decrypted.

    Without this check, anyone who can write to the bucket could make the caller rewrap or copy an
    object that was written for another name or bucket.

    Raises:
        IntegrityError: The context does not contain the expected pairs.
    """
    expected = job.objects.context_demanded(step.location, _demand(job, step))
    if not expected.items() <= envelope.context.items():
        raise IntegrityError(
            f"{step.location}: the object's encryption context is not the expected one.",
            remedy=Remedy("check_context"),
        )


def _at_rest(head: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request arguments that keep S3's own encryption of a client-side object."""
    kept = {name: head[name] for name in ("ServerSideEncryption", "SSEKMSKeyId") if head.get(name)}
    if head.get("BucketKeyEnabled"):
        kept["BucketKeyEnabled"] = True
    return kept


def _copy_inside_s3(
    job: Job,
    step: Step,
    encryption: Mapping[str, object],
    metadata: Mapping[str, str],
    mark: Mapping[str, str],
) -> Mapping[str, Any]:
    client, to = job.objects.client, job.to
    size = int(step.head["ContentLength"])
    # CopyObject keeps the tags. A copy by parts is a new object without tags, so they are set.
    changes_tags = step.changes.tags is not None
    tags = _tags(job, step) if step.is_large or changes_tags else {}
    described = Description(entries.of_user(step.written_metadata), tags, _headers(step))
    upload = Upload(
        client,
        step.target,
        {**described.arguments(metadata), **encryption},
        to.read_arguments(),
        _conditions(step),
        lambda reply: check_written(to, reply, step.target),
        mark=Mark(metadata=mark) if mark else None,
    )

    def last_check() -> None:
        check_unchanged(job, step)
        if step.if_absent:
            upload.check_again()

    mode = job.mode(step.read_with)
    key = mode.copy_source_arguments() if isinstance(mode, SSEC) else {}
    source = CopySource(step.location, step.etag, _source_version(job, step), size, key)
    with _source_named(step):
        reply = copy_inside_s3(
            upload,
            source,
            workers=job.objects.workers,
            last_check=last_check,
            copy_limit=MAX_COPY_LENGTH,
            annotations=_annotation_directive(job, step),
            replaces_tags=changes_tags,
        )
    ensure_tags(client, step.target, to, tags, reply)
    return reply


@contextmanager
def _source_named(step: Step) -> Iterator[None]:
    """Name the source, and not the target, in the error of a copy whose source is archived."""
    try:
        yield
    except StorageError as error:
        if error.code in ARCHIVED:
            text = str(error).replace(str(step.target), str(step.location), 1)
            error.args = (text, *error.args[1:])
        raise


def _source_version(job: Job, step: Step) -> str | None:
    """Return the id of the version to read. Return None for the object in an unversioned bucket.

    Some services report the id "null" for such an object, but refuse this id in requests. If the
    caller gives "null", the version from the time before versioning is meant.
    """
    return job.origin.version_id or step.version_id


def _shown_version(job: Job, step: Step) -> str | None:
    """Return the version id that S3 reported, even if it is "null".

    Tags and annotations are read from this version.
    """
    return job.origin.version_id or step.head.get("VersionId")


def _conditions(step: Step) -> Mapping[str, str]:
    if step.copy_to is None:
        return if_unchanged(step.etag)
    return IF_ABSENT if step.if_absent else {}


def _demand(job: Job, step: Step) -> ReadOptions:
    mode = job.mode(step.read_with)
    return ReadOptions(
        mode,
        version_id=job.origin.version_id,
        written_as=job.origin.written_as,
        allow_unsigned=job.origin.unsigned,
        # The plan has already looked for an instruction file, so the read must not look again. The
        # same is true if this re-encryption replaces a copy inside S3.
        neighbour=Neighbour(step.etag, is_there=False),
        written_in=job.origin.written_in if binds_bucket(mode) else None,
    )


def _re_encrypt(job: Job, step: Step, stream: ObjectStream | None) -> tuple[Done, tuple[str, ...]]:
    headers = _headers(step)
    # A re-encryption in place keeps S3's own encryption of a client-side object.
    is_in_place = step.copy_to is None
    if isinstance(job.to, ClientSide) and step.is_client_side and is_in_place:
        headers |= _at_rest(step.head)
    user = entries.of_user(step.written_metadata)
    with ExitStack() as stack:
        # Tags and annotations are requested after the first look. They belong to this object or to
        # a later object; in the second case the condition of the write fails. These requests run in
        # parallel to the following requests, which do not have to wait.
        tags = stack.enter_context(beside(lambda: _tags(job, step)))
        annotated: Callable[[], tuple[str, ...]] = tuple
        if step.may_have_annotations:
            annotated = stack.enter_context(beside(lambda: annotations_to_copy(job, step)))

        def described() -> Description:
            return Description({**user, **_annotations_of(step, annotated())}, tags(), headers)

        def last_check() -> None:
            check_unchanged(job, step)
            since = time.monotonic()
            described()
            if time.monotonic() - since > _LATE_SECONDS:
                check_unchanged(job, step)

        try:
            read_options = _demand(job, step)
            reading = stack.enter_context(
                job.objects.reading(step.location, read_options, opened=stream)
            )
        except S3CryptError as error:
            check_replaced(job, step, error)
            raise
        check_etag(step.location, reading.stream.reply, step.etag)
        if reading.info.metadata != entries.of_user(step.metadata):
            raise replaced(step.location)
        source = StreamSource(reading.plaintext, reading.info.size, last_check)
        # In a server-side mode the description must be complete now, because a token is added if
        # the metadata has room for it.
        is_late = isinstance(job.to, ClientSide)
        written = job.objects.write(
            source,
            step.target,
            job.to,
            Description(user, {}, headers) if is_late else described(),
            conditions=_conditions(step),
            written_in=None if step.copy_to else job.origin.written_in,
            complete=described if is_late else None,
        )
        return Done("re-encrypted", bytes_moved=written.size or 0, info=written), annotated()


def _headers(step: Step) -> dict[str, Any]:
    headers = describing(step.head, _LOCKS)
    until = headers.get("ObjectLockRetainUntilDate")
    if step.copy_to and headers.get("ObjectLockLegalHoldStatus") == "OFF":
        # OFF means the same as no header, but a bucket without Object Lock accepts only a request
        # without the header.
        headers.pop("ObjectLockLegalHoldStatus")
    if until is not None and until <= datetime.now(UTC):
        # S3 refuses a date in the past. The retention has ended anyway.
        for name in ("ObjectLockRetainUntilDate", "ObjectLockMode"):
            headers.pop(name, None)
    return {**headers, **step.changes.headers}


def _tags(job: Job, step: Step) -> dict[str, str]:
    if step.changes.tags is not None:
        return dict(step.changes.tags)
    return job.objects.tags(step.location, _shown_version(job, step))


def annotations_to_copy(job: Job, step: Step) -> tuple[str, ...]:
    """Return the names of the annotations that must be copied to the new object one by one.

    If S3 copies the object with one request, it copies the annotations too. The result is then
    empty, and no request is sent.

    Raises:
        PolicyError: Annotations would be lost, because the new object replaces the old object
            permanently or cannot have annotations.
    """
    is_one_copy = step.action in ("copied", "rewrapped") and not step.is_large
    takes_any = _takes_annotations(job, step)
    is_kept = step.action == "unchanged" or (is_one_copy and takes_any)
    if is_kept or not step.may_have_annotations:
        return ()
    # If the object is rotated in place, its annotations can be copied only if its old version
    # remains.
    can_be_kept = takes_any and (step.copy_to is not None or step.version_id is not None)
    if job.drop_annotations and not can_be_kept:
        return ()
    found = annotations.names(job.objects.client, step.location, _shown_version(job, step))
    if found and not can_be_kept:
        reason = (
            "the bucket keeps no old version from which they could be copied"
            if takes_any
            else "objects of mode sse-c cannot have annotations"
            if isinstance(job.to, SSEC)
            else "objects of directory buckets cannot have annotations"
        )
        raise PolicyError(
            f"{step.location} has annotations that would be lost ({', '.join(found[:3])}"
            f"{', ...' if len(found) > 3 else ''}): {reason}.",
            remedy=Remedy("drop_annotations", drop_annotations=True),
        )
    return found


def _annotation_directive(job: Job, step: Step) -> Literal["COPY", "EXCLUDE"] | None:
    if not step.may_have_annotations:
        return None
    # Annotations are excluded only if they may be dropped. Otherwise S3 must refuse the copy and
    # not lose an annotation.
    is_dropped = job.drop_annotations and not _takes_annotations(job, step)
    return "EXCLUDE" if is_dropped else "COPY"


def _takes_annotations(job: Job, step: Step) -> bool:
    """Return whether the new object may have annotations."""
    return not isinstance(job.to, SSEC) and annotations.are_taken_at(step.target)


def _annotations_of(step: Step, annotated: tuple[str, ...]) -> dict[str, str]:
    """Return the metadata entry that lets a later run find annotations not copied yet."""
    is_in_place = step.copy_to is None
    return {entries.ANNOTATIONS_OF: str(step.version_id)} if annotated and is_in_place else {}


def copy_annotations(job: Job, step: Step, annotated: tuple[str, ...], done: Done) -> None:
    """Copy the annotations of the old object to the new object.

    Raises:
        ConflictError: Another writer has replaced the new object.
        StorageError: S3 refused or failed. The new object has only some of the annotations.
    """
    if not annotated:
        return
    client, source = job.objects.client, (step.location, _source_version(job, step))
    if done.version_id is None:
        # Without a version id, S3 adds the annotations to the latest object, which another writer
        # may have written.
        check_current(client, step.target, done.etag, job.to.read_arguments())
    annotations.copy(client, source, (step.target, done.version_id), annotated)
    if step.copy_to is not None:
        return
    target_version = done.version_id or "null"
    versions = {"source_version": str(step.version_id), "target_version": target_version}
    annotations.note_copied(client, step.location, **versions)


def finish_annotations(job: Job, step: Step) -> None:
    """Copy annotations that an interrupted rotation has left at the previous version."""
    source = entries.of_reply(step.head).get(entries.ANNOTATIONS_OF)
    if source is None or step.version_id is None or not step.may_have_annotations:
        return
    client, location = job.objects.client, step.location
    versions = {"source_version": source, "target_version": step.version_id}
    if annotations.is_copied(client, location, **versions):
        return
    there = annotations.names(client, location, step.version_id)
    wanted = annotations.names(client, location, source)
    left = [name for name in wanted if name not in there]
    annotations.copy(client, (location, source), (location, step.version_id), left)
    annotations.note_copied(client, location, **versions)
