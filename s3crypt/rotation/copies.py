# SPDX-License-Identifier: Apache-2.0
"""Copies an object to another name: a step whose new object has another location."""

from contextlib import suppress
from dataclasses import replace

from s3crypt import formats
from s3crypt.errors import ConfigError, S3CryptError
from s3crypt.location import Location
from s3crypt.logs import logger_of
from s3crypt.modes import ClientSide
from s3crypt.objects.info import ObjectInfo, describe_head, describe_plain
from s3crypt.objects.opened import Demand
from s3crypt.requests import cause_of
from s3crypt.transfer import ObjectStream
from s3crypt.transfer.conditions import delete_written

from .looks import Job, until_whole
from .mechanisms import (
    Done,
    act,
    check_context,
    copy_annotations,
    finish_annotations,
    write,
)
from .steps import Seen, Step, decide_copy

# Headers that belong to the new version itself and are not copied from the source.
_OF_A_VERSION = (
    "BucketKeyEnabled",
    "SSECustomerAlgorithm",
    "SSEKMSKeyId",
    "ServerSideEncryption",
    "VersionId",
)

_log = logger_of(__name__)


def copy(job: Job, source: Location, target: Location, *, if_absent: bool) -> ObjectInfo:
    """Copy one object; return the facts about the copy. See `S3Crypt.copy`."""
    if source == target and job.origin.version_id is None:
        raise ConfigError(
            f"{source} is both the source and the target of the copy.",
            hint="To bring an object to another mode or key, rotate it.",
        )
    context = {}
    if isinstance(job.to, ClientSide):
        context = job.objects.context_here(job.to, target)

    def copy_as(seen: Seen, stream: ObjectStream | None) -> ObjectInfo:
        step = decide_copy(
            seen, job.source, job.to, job.origin, context, target, if_absent=if_absent
        )
        _confirm(job, seen, step)
        if step.action == "re-encrypted":
            told = source, target, job.to.name
            _log.info("%s: re-encrypted as %s in mode %s, which S3 cannot make by copying", *told)
        return _described(job, seen, step, _act(job, step, stream))

    # The source must be in the store's mode, regardless of the copy's mode.
    first = formats.MAX_HEADER_LENGTH
    return until_whole(job, source, copy_as, may_be_done=False, first=first)


def _confirm(job: Job, seen: Seen, step: Step) -> None:
    if seen.envelope is None:
        if job.source is None or isinstance(job.to, ClientSide):
            # The copy at another location would have no instruction file beside it.
            job.objects.refuse_instruction_file_of(step.location)
    elif step.action == "copied":
        check_context(job, step, seen.envelope)
    job.locks.check(step.location, step.head)


def _act(job: Job, step: Step, stream: ObjectStream | None) -> Done:
    # An interrupted rotation may have left some of the source's annotations at an older version.
    finish_annotations(job, step)
    if not step.if_absent:
        return act(job, step, stream)
    # With `if_absent`, a copy without its annotations would prevent the next attempt.
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
    """Return the facts about the copy, from S3's reply and the source."""
    if done.info is not None:
        return done.info
    kept = {name: value for name, value in step.head.items() if name not in _OF_A_VERSION}
    given = {name: done.reply[name] for name in _OF_A_VERSION if name in done.reply}
    head = {
        **kept,
        **given,
        "ETag": done.etag,
        "LastModified": done.reply.get("CopyObjectResult", {}).get("LastModified"),
    }
    if seen.envelope is None:
        return describe_plain(step.target, head)
    info = describe_head(step.target, head)
    if info is None:
        # A message that s3crypt did not write: only its header has the lengths.
        version_id = None if done.version_id == "null" else done.version_id
        with suppress(S3CryptError):
            found = job.objects.look(step.target, Demand(job.to, version_id))
            if found.etag == done.etag:
                return found
        info = replace(describe_plain(step.target, head), mode=ClientSide.name, size=None)
    return replace(info, keys=seen.envelope.keys, context=seen.envelope.context)
