# SPDX-License-Identifier: Apache-2.0
"""Copy an object to another name. A copy is a step whose new object has another location."""

from contextlib import suppress
from dataclasses import replace

from s3crypt import formats
from s3crypt.errors import ConfigError, ConflictError, S3CryptError
from s3crypt.location import Location
from s3crypt.logs import logger_of
from s3crypt.modes import ClientSide
from s3crypt.objects.deleting import check_is_other, delete_source
from s3crypt.objects.describing import NO_CHANGES, Changes
from s3crypt.objects.info import ObjectInfo, describe_head, describe_plain
from s3crypt.objects.instruction_files import (
    refuse_instruction_file_of,
    refuse_move_of_instruction_file,
    refuse_move_of_split_object,
)
from s3crypt.objects.opened import Neighbour, ReadOptions
from s3crypt.requests import cause_of
from s3crypt.transfer import ObjectStream
from s3crypt.transfer.conditions import bare_etag, delete_written

from .looks import SHOWN_LENGTH, Job, until_whole
from .mechanisms import (
    Done,
    act,
    annotations_to_copy,
    check_context,
    check_opens,
    copy_annotations,
    finish_annotations,
    write,
)
from .steps import Seen, Step, decide_copy

# Headers that belong to the new version itself. They are not copied from the source.
_OF_A_VERSION = (
    "BucketKeyEnabled",
    "SSECustomerAlgorithm",
    "SSEKMSKeyId",
    "ServerSideEncryption",
    "VersionId",
)

_log = logger_of(__name__)


def copy(  # noqa: PLR0913 - keyword arguments for one copy
    job: Job,
    source: Location,
    target: Location,
    *,
    if_absent: bool = False,
    changes: Changes = NO_CHANGES,
    neighbour: Neighbour | None = None,
    move: bool = False,
    dry_run: bool = False,
) -> ObjectInfo | None:
    """Copy one object, and return the facts about the copy. See `S3Crypt.copy`.

    With `move`, the source is deleted after the copy is stored; see `S3Crypt.move`. With `dry_run`,
    nothing is stored, and the result is None.
    """
    if source == target and (job.origin.version_id is None or move):
        raise ConfigError(
            f"{source} is both the source and the target of the {'move' if move else 'copy'}.",
            hint="To change an object's mode or key, rotate it.",
        )
    if move:
        refuse_move_of_instruction_file(job.objects.client, source, job.source)
    context = {}
    if isinstance(job.to, ClientSide):
        context = job.objects.context_here(job.to, target)

    def copy_as(seen: Seen, stream: ObjectStream | None) -> tuple[ObjectInfo | None, Step]:
        step = decide_copy(
            seen,
            job.source,
            job.to,
            job.origin,
            context,
            target,
            if_absent=if_absent,
            changes=changes,
        )
        _confirm(job, seen, step, neighbour, move=move)
        if dry_run:
            check_opens(job, step, stream)
            if stream is not None:
                stream.leave()
            _check_absent(job, step)
            annotations_to_copy(job, step)
            return None, step
        if step.action == "re-encrypted":
            told = source, target, job.to.name
            _log.info("%s: re-encrypted as %s in mode %s, which S3 cannot make by copying", *told)
        return _described(job, seen, step, _act(job, step, stream)), step

    # The source must be in the store's mode, whatever the mode of the copy is. Therefore the target
    # mode's customer key is not tried (`may_be_done=False`).
    first = SHOWN_LENGTH if dry_run else formats.MAX_HEADER_LENGTH
    info, step = until_whole(job, source, copy_as, may_be_done=False, first=first)
    if move and info is not None:
        mode = job.mode(step.read_with)
        check_is_other(job.objects.client, source, target, job.to, source_mode=mode)
        delete_source(
            job.objects.client, source, target, step.etag, mode.read_arguments() if mode else {}
        )
    return info


def _check_absent(job: Job, step: Step) -> None:
    """Raise an error in a dry run if the target exists although it must not exist."""
    if step.if_absent and job.objects.exists(step.target):
        raise ConflictError(
            f"{step.target}: the object exists",
            hint="The object was kept. Choose another target.",
            code="PreconditionFailed",
        )


def _confirm(job: Job, seen: Seen, step: Step, neighbour: Neighbour | None, *, move: bool) -> None:
    if seen.envelope is None:
        _refuse_split(job, step, neighbour, move=move)
    elif step.action == "copied":
        check_context(job, step, seen.envelope)
    job.locks.check(step.location, step.head)


def _refuse_split(job: Job, step: Step, neighbour: Neighbour | None, *, move: bool) -> None:
    """Refuse an object that the copy or the move would separate from its instruction file."""
    is_listed = neighbour is not None and neighbour.etag == bare_etag(step.etag)
    if is_listed and neighbour is not None and not neighbour.is_there:
        return
    client, mode = job.objects.client, job.mode(step.read_with)
    if move:
        refuse_move_of_split_object(client, step.location, mode, is_listed=is_listed)
    elif job.source is None or isinstance(job.to, ClientSide):
        # The copy would have no instruction file beside it, so the copy's data key would be lost.
        refuse_instruction_file_of(client, step.location, mode, is_listed=is_listed)


def _act(job: Job, step: Step, stream: ObjectStream | None) -> Done:
    # An interrupted rotation of the source may have left some of its annotations at an older
    # version, so they are copied to the source first.
    finish_annotations(job, step)
    if not step.if_absent:
        return act(job, step, stream)
    # With `if_absent`, a copy without its annotations would prevent the next attempt, so it is
    # removed after an error.
    done, annotated = write(job, step, stream)
    try:
        copy_annotations(job, step, annotated, done)
    except BaseException as error:
        try:
            written = done.version_id, done.etag
            delete_written(job.objects.client, step.target, *written, job.to.read_arguments())
        except S3CryptError as failure:
            error.add_note(f"Removing {step.target} failed: {failure}")
            told = step.target, cause_of(failure)
            _log.warning("%s: a copy without its annotations could not be removed (%s)", *told)
        raise
    return done


def _described(job: Job, seen: Seen, step: Step, done: Done) -> ObjectInfo:
    """Return the facts about the copy. They come from S3's reply and from the source."""
    if done.info is not None:
        return done.info
    kept = {name: value for name, value in step.head.items() if name not in _OF_A_VERSION}
    given = {name: done.reply[name] for name in _OF_A_VERSION if name in done.reply}
    head = {
        **kept,
        **step.changes.headers,
        **given,
        "Metadata": step.written_metadata,
        "ETag": done.etag,
        "LastModified": done.reply.get("CopyObjectResult", {}).get("LastModified"),
    }
    if seen.envelope is None:
        return describe_plain(step.target, head)
    info = describe_head(step.target, head)
    if info is None:
        # s3crypt did not write this message, so only its header contains the lengths.
        with suppress(S3CryptError):
            found = job.objects.look(step.target, ReadOptions(job.to, done.version_id))
            if found.etag == done.etag:
                return found
        info = replace(describe_plain(step.target, head), mode=ClientSide.name, size=None)
    return replace(info, keys=seen.envelope.keys, context=seen.envelope.context)
