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
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from s3crypt.errors import RotationError, S3CryptError
from s3crypt.location import Location
from s3crypt.modes import ClientSide, Mode, binds_bucket
from s3crypt.objects.access import Objects
from s3crypt.objects.checks import check_written_in
from s3crypt.objects.info import ObjectInfo
from s3crypt.objects.locks import Locks
from s3crypt.objects.opened import Neighbour

from . import copies
from .looks import Job, look, until_whole
from .mechanisms import Done, act, annotations_to_copy, finish_annotations
from .steps import Action, Origin, Seen, Step, decide

__all__ = ["Origin", "RotationOutcome", "copy", "needs_rotation", "rotate"]

# Beyond this an error would take more memory than its reader has patience: it then carries the
# failures, and counts the rest.
_MOST_IN_ERROR = 100_000


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
    action: Action | Literal["failed"]
    seconds: float = 0.0
    bytes_moved: int = 0
    version_id: str | None = None
    error: S3CryptError | None = None


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
    failed = [outcome for outcome in outcomes if outcome.action == "failed"]
    if failed:
        raise RotationError(
            f"{len(failed)} of {len(outcomes)} objects below {location} were not rotated.",
            outcomes=tuple(outcomes if len(outcomes) <= _MOST_IN_ERROR else failed),
            counts=Counter(outcome.action for outcome in outcomes),
            hint="Mend the causes and run it again: what is done is left alone.",
        )
    return tuple(outcomes)


def needs_rotation(
    objects: Objects, source: Mode | None, location: Location, to: Mode, origin: Origin
) -> bool:
    """Tell whether the object is other than `to` would write it; see `S3Crypt`."""
    job = _job(objects, source, to, origin)
    seen = look(job, location)
    step = _decide(job, seen)
    _confirm(job, step, None)
    return step.action != "unchanged"


def copy(  # noqa: PLR0913 - as the store's method has them
    objects: Objects,
    source: Mode | None,
    location: Location,
    target: Location,
    to: Mode,
    origin: Origin,
    *,
    if_absent: bool,
    drop_annotations: bool,
) -> ObjectInfo:
    """Copy one object; see `S3Crypt.copy`."""
    check_written_in(source, origin.written_in)
    job = _job(objects, source, to, origin, drop_annotations=drop_annotations)
    return copies.copy(job, location, target, if_absent=if_absent)


def _job(
    objects: Objects,
    source: Mode | None,
    to: Mode,
    origin: Origin,
    *,
    drop_annotations: bool = False,
) -> Job:
    check_written_in(source if binds_bucket(source) else to, origin.written_in)
    return Job(
        objects,
        source and objects.pinned(source),
        objects.pinned(to),
        origin,
        Locks(objects.client),
        drop_annotations,
    )


def _rotate_all(job: Job, prefix: Location, *, dry_run: bool) -> Iterator[RotationOutcome]:
    for listed, neighbour in job.objects.list_with_neighbours(prefix):
        try:
            yield _rotate_one(job, Location.parse(listed.uri), neighbour, dry_run=dry_run)
        except S3CryptError as error:
            yield RotationOutcome(listed.uri, "failed", error=error)


def _rotate_one(
    job: Job, location: Location, neighbour: Neighbour | None, *, dry_run: bool
) -> RotationOutcome:
    started = time.perf_counter()

    def rotate_as(seen: Seen) -> Done:
        step = _decide(job, seen)
        _confirm(job, step, neighbour)
        return _act(job, step, dry_run=dry_run)

    done = until_whole(job, location, rotate_as)
    seconds = time.perf_counter() - started
    return RotationOutcome(str(location), done.action, seconds, done.bytes_moved, done.version_id)


def _decide(job: Job, seen: Seen) -> Step:
    context = {}
    if isinstance(job.to, ClientSide) and seen.envelope:
        context = job.objects.context_here(job.to, seen.location, job.origin.written_in)
    return decide(seen, job.source, job.to, job.origin, context)


def _confirm(job: Job, step: Step, neighbour: Neighbour | None) -> None:
    """Refuse to encrypt an object that the S3 Encryption Client encrypted already.

    No client would open it again. Unlike a read, this looks for an instruction file whatever the
    object's bytes look like.
    """
    is_sealed_anew = isinstance(job.to, ClientSide) and not step.is_client_side
    if step.action == "unchanged" or not is_sealed_anew:
        return
    is_listed = neighbour is not None and neighbour.etag == step.etag
    if neighbour is None or not is_listed or neighbour.is_there:
        job.objects.refuse_instruction_file_of(step.location, is_listed=is_listed)


def _act(job: Job, step: Step, *, dry_run: bool) -> Done:
    if step.action != "unchanged":
        job.locks.check(step.location, step.head)
    if not dry_run:
        finish_annotations(job, step)
    annotated = annotations_to_copy(job, step)
    return Done(step.action) if dry_run else act(job, step, annotated)
