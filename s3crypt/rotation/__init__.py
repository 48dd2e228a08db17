# SPDX-License-Identifier: Apache-2.0
"""Rotation: convert objects to another mode or key.

Each object is converted in the cheapest safe way.

    server side to server side       copied: S3 copies the object onto itself; no body is downloaded
    client, key in metadata, both    rewrapped: the wrapped key is replaced, the body stays
    all other cases                  re-encrypted: streamed through this process with a new key

A header is never changed in place, because two headers for one message would share a nonce. Every
step requires that the object still has the ETag that was seen first. If another writer replaces the
object, the rotation fails for this object and no data is lost. The rotation of a *key* (new key
material in KMS) is in `s3crypt.kms`, and changes no object.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from http import HTTPStatus
from typing import Literal, TypeAlias

from s3crypt.aws_errors import http_status
from s3crypt.errors import (
    FormatError,
    KeyUnavailableError,
    PolicyError,
    RotationError,
    S3CryptError,
    StorageError,
)
from s3crypt.jobs import Journal, journaled, run, telling
from s3crypt.keyrings.materials import opened_materials
from s3crypt.location import Location
from s3crypt.logs import logger_of
from s3crypt.modes import ClientSide, Mode, binds_bucket
from s3crypt.objects.access import ListedObject, Objects
from s3crypt.objects.checks import check_written_in
from s3crypt.objects.info import ObjectInfo
from s3crypt.objects.instruction_files import refuse_instruction_file_of
from s3crypt.objects.locks import Locks
from s3crypt.objects.opened import Neighbour
from s3crypt.transfer import PART_LENGTH, ObjectStream
from s3crypt.transfer.conditions import bare_etag

from . import copies
from .looks import SHOWN_LENGTH, Job, look, until_whole
from .mechanisms import ARCHIVED, Done, act, annotations_to_copy, check_opens, finish_annotations
from .steps import Action, Origin, Seen, Step, decide

__all__ = ["Origin", "RotationOutcome", "copier", "needs_rotation", "rotate", "rotate_each"]

_log = logger_of(__name__)

# If there are more outcomes than this, an error with all of them would take too much memory. It
# then contains only the failures, and the numbers of the other outcomes.
_MOST_IN_ERROR = 100_000


@dataclass(frozen=True, slots=True)
class RotationOutcome:
    """The outcome of a rotation for one object. With `dry_run`, it is the planned outcome.

    Attributes:
        uri: The URI of the object.
        action: `unchanged`, `copied`, `rewrapped`, `re-encrypted`, `failed`, or `skipped`. With
            `skip_others`, an object that is not in the store's mode is skipped.
        seconds: The duration in seconds.
        bytes_moved: The number of plaintext bytes that were streamed through this process.
        version_id: The id of the new version. None in a bucket without versioning. The old version
            still exists, under the old key, until it is deleted.
        error: The error if the rotation failed, otherwise None.
        from_material: The id of the KMS key material that unwrapped the data key before. It is set
            for a rewrapped or re-encrypted object, if KMS reported it.
        material: The id of the KMS key material that wraps the object's data key now, if KMS
            reported it. KMS reports it in its replies to GenerateDataKey and ReEncrypt, but not to
            Encrypt.
    """

    uri: str
    action: Action | Literal["failed", "skipped"]
    seconds: float = 0.0
    bytes_moved: int = 0
    version_id: str | None = None
    error: S3CryptError | None = None
    from_material: str | None = None
    material: str | None = None


def rotate(  # noqa: PLR0913 - the arguments of the store's method
    objects: Objects,
    source: Mode | None,
    location: Location,
    to: Mode,
    origin: Origin,
    *,
    dry_run: bool,
    drop_annotations: bool,
    skip_others: bool = False,
    on_outcome: Callable[[RotationOutcome], None] | None,
) -> tuple[RotationOutcome, ...]:
    """Rotate one object, or all objects below a prefix.

    `S3Crypt.rotate` documents the arguments.
    """
    job = _job(objects, source, to, origin, drop_annotations=drop_annotations)
    if not location.is_prefix:
        outcome, _ = _rotate_one(job, location, None, dry_run=dry_run, skip_others=skip_others)
        if on_outcome:
            on_outcome(outcome)
        return (outcome,)
    outcomes = []
    listed = objects.list_with_neighbours(location)
    with closing(_rotate_all(job, listed, dry_run=dry_run, skip_others=skip_others)) as rotated:
        for outcome in rotated:
            outcomes.append(outcome)
            if on_outcome:
                on_outcome(outcome)
    # Sort the outcomes in the order of S3's listing, because the objects were completed in any
    # order.
    outcomes.sort(key=lambda outcome: outcome.uri.encode())
    failed = [outcome for outcome in outcomes if outcome.action == "failed"]
    if failed:
        raise RotationError(
            f"{len(failed)} of {len(outcomes)} objects below {location} were not rotated.",
            outcomes=tuple(outcomes if len(outcomes) <= _MOST_IN_ERROR else failed),
            counts=Counter(outcome.action for outcome in outcomes),
            hint="Fix the causes and run the command again. It skips the rotated objects.",
        )
    return tuple(outcomes)


def needs_rotation(
    objects: Objects, source: Mode | None, location: Location, to: Mode, origin: Origin
) -> bool:
    """Return whether a rotation would change the object. `S3Crypt.needs_rotation` documents it."""
    job = _job(objects, source, to, origin)
    seen = look(job, location)
    step = _decide(job, seen)
    _confirm(job, step, None)
    return step.action != "unchanged"


def copier(
    objects: Objects,
    source: Mode | None,
    to: Mode,
    origin: Origin,
    *,
    drop_annotations: bool,
) -> Callable[..., ObjectInfo | None]:
    """Return a function that copies one object to another location; see `copies.copy`.

    Aliases of keys are resolved once, so all copies use the same keys.
    """
    check_written_in(source, origin.written_in)
    job = _job(objects, source, to, origin, drop_annotations=drop_annotations)
    return partial(copies.copy, job)


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
        source and objects.with_resolved_aliases(source),
        objects.with_resolved_aliases(to),
        origin,
        Locks(objects.client),
        drop_annotations,
    )


_Listed: TypeAlias = tuple[ListedObject, Neighbour | None]


def rotate_each(  # noqa: PLR0913 - the arguments of the store's method
    objects: Objects,
    source: Mode | None,
    listed: Iterator[_Listed],
    to: Mode,
    origin: Origin,
    *,
    dry_run: bool,
    drop_annotations: bool,
    skip_others: bool = False,
    jobs: int | None = None,
    journal: Journal | None = None,
    found: Callable[[int | None], None] | None = None,
) -> Iterator[RotationOutcome]:
    """Rotate listed objects. Yield each outcome when it is complete; see `Many`."""
    job = _job(objects, source, to, origin, drop_annotations=drop_annotations)
    how = {"dry_run": dry_run, "skip_others": skip_others}
    return _rotate_all(job, listed, jobs=jobs, journal=journal, found=found, **how)


def _rotate_all(  # noqa: PLR0913 - keyword arguments
    job: Job,
    items: Iterator[_Listed],
    *,
    dry_run: bool,
    skip_others: bool,
    jobs: int | None = None,
    journal: Journal | None = None,
    found: Callable[[int | None], None] | None = None,
) -> Generator[RotationOutcome, None, None]:
    def rotate_one(item: _Listed) -> tuple[RotationOutcome, str]:
        listed, neighbour = item
        # The body of a large object needs a second GET anyway, so the first GET fetches only the
        # header.
        is_large = listed.stored_size > PART_LENGTH
        location = Location.parse(listed.uri)
        how = {"dry_run": dry_run, "skip_others": skip_others, "is_large": is_large}
        return _rotate_one(job, location, neighbour, **how)

    work: Callable[[_Listed], tuple[RotationOutcome, str]] = rotate_one
    if journal is not None and not dry_run:
        # The version in the journal contains a hash of the modes with resolved aliases, because an
        # alias may be moved to another key before the job is resumed.
        modes = sha256(repr((job.source, job.to)).encode()).hexdigest()[:16]
        items, work = journaled(
            journal,
            items,
            work,
            named=lambda item: (item[0].uri, f"{item[0].etag} {modes}"),
            # The new ETag is recorded, so a later run recognises the object that this run has
            # written.
            done=lambda rotated: (rotated[0].action, rotated[1] and f"{rotated[1]} {modes}"),
            detail=lambda rotated: _materials(rotated[0]),
        )
    items = telling(items, lambda item: item[0].stored_size, found)
    for outcome in run(items, work, most=jobs, is_far=lambda: job.objects.is_far):
        if outcome.result is not None:
            yield outcome.result[0]
        else:
            uri, seconds = outcome.item[0].uri, outcome.seconds
            yield RotationOutcome(uri, "failed", seconds, error=outcome.error)


def _materials(outcome: RotationOutcome) -> str | None:
    """Return the ids of key material in an outcome as JSON. Return None if there are no ids."""
    ids = {"from_material": outcome.from_material, "material": outcome.material}
    known = {name: text for name, text in ids.items() if text}
    return json.dumps(known) if known else None


def _rotate_one(
    job: Job,
    location: Location,
    neighbour: Neighbour | None,
    *,
    dry_run: bool,
    skip_others: bool,
    is_large: bool = False,
) -> tuple[RotationOutcome, str]:
    """Rotate one object. Return its outcome and its ETag after the rotation, or "" if unknown."""
    started = time.perf_counter()

    def rotate_as(seen: Seen, stream: ObjectStream | None) -> tuple[Done, str]:
        step = _decide(job, seen)
        _confirm(job, step, neighbour)
        done = _act(job, step, stream, dry_run=dry_run)
        return done, bare_etag(step.etag) if done.action == "unchanged" else done.etag

    # A dry run does not need the body.
    first = SHOWN_LENGTH if dry_run or is_large else PART_LENGTH
    try:
        with opened_materials() as opened:
            done, etag = until_whole(job, location, rotate_as, first=first)
    except S3CryptError as error:
        if not skip_others or not _is_of_another(error):
            raise
        _log.info("%s: skipped (%s)", location, error)
        return RotationOutcome(str(location), "skipped", time.perf_counter() - started), ""
    outcome = RotationOutcome(
        str(location),
        done.action,
        seconds=time.perf_counter() - started,
        bytes_moved=done.bytes_moved,
        version_id=done.version_id,
        from_material=opened[-1] if opened else None,
        material=done.material,
    )
    return outcome, etag


def _is_of_another(error: S3CryptError) -> bool:
    """Return whether an object has another mode or other keys, or comes from another client."""
    if isinstance(error, PolicyError):
        return error.remedy is None or error.remedy.action in _OTHER_MODES
    if isinstance(error, KeyUnavailableError):
        # If KMS refused a key, the error has a code. This is not a reason to skip the object.
        return error.code is None and error.__cause__ is None
    # S3 replies 400 for an SSE-C object if the request does not have its customer key.
    return isinstance(error, FormatError) or http_status(error) == HTTPStatus.BAD_REQUEST


# The remedies in the errors about objects in another mode. The errors about a missing signature, or
# about annotations that would be lost, have other remedies, and such objects are not skipped.
_OTHER_MODES = frozenset(
    {"name_source_mode", "read_in_mode", "read_with_key", "read_with_its_tool"}
)


def _decide(job: Job, seen: Seen) -> Step:
    context = {}
    if isinstance(job.to, ClientSide) and seen.envelope:
        context = job.objects.context_here(job.to, seen.location, job.origin.written_in)
    return decide(seen, job.source, job.to, job.origin, context)


def _confirm(job: Job, step: Step, neighbour: Neighbour | None) -> None:
    """Refuse to encrypt an object that the S3 Encryption Client has already encrypted.

    No client could decrypt the result. Unlike a read, this function looks for an instruction file
    whatever the object's bytes are.
    """
    is_sealed_anew = isinstance(job.to, ClientSide) and not step.is_client_side
    if step.action == "unchanged" or not is_sealed_anew:
        return
    is_listed = neighbour is not None and neighbour.etag == bare_etag(step.etag)
    if neighbour is None or not is_listed or neighbour.is_there:
        mode = job.mode(step.read_with)
        refuse_instruction_file_of(job.objects.client, step.location, mode, is_listed=is_listed)


def _act(job: Job, step: Step, stream: ObjectStream | None, *, dry_run: bool) -> Done:
    if step.action != "unchanged":
        job.locks.check(step.location, step.head)
    if dry_run:
        try:
            check_opens(job, step, stream)
        except StorageError as error:
            # An archived object cannot be decrypted for a test. Its headers are enough for the
            # plan.
            if error.code not in ARCHIVED:
                raise
        if stream is not None:
            stream.leave()
        annotations_to_copy(job, step)
        return Done(step.action)
    finish_annotations(job, step)
    return act(job, step, stream)
