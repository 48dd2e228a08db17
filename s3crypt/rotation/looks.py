# SPDX-License-Identifier: Apache-2.0
"""How an object looks before a rotation, and whether it still looks so: the requests that ask."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

from s3crypt import formats
from s3crypt import metadata as entries
from s3crypt.aws_errors import http_status
from s3crypt.errors import ConflictError, ObjectNotFoundError, S3CryptError
from s3crypt.formats import Envelope
from s3crypt.location import Location
from s3crypt.modes import ClientSide, Mode, reported_mode
from s3crypt.objects import annotations
from s3crypt.objects.access import Objects
from s3crypt.objects.checks import classify
from s3crypt.objects.info import check_metadata
from s3crypt.objects.locks import Locks
from s3crypt.transfer import ObjectStream
from s3crypt.transfer.conditions import head

from .steps import SHOWS_A_WRITE, Origin, ReadWith, Seen, Step

Result = TypeVar("Result")

# On a connection that breaks often, one HEAD's reply in twenty breaks off within its headers.
LOOKS = 4


@dataclass(frozen=True, slots=True)
class Job:
    """Who rotates, from which mode to which.

    Aliases are resolved in both modes: one that moved meanwhile would have one half of the objects
    under one key and the other half under another, and all of them "unchanged".

    Attributes:
        objects: The engine.
        source: The mode that objects are demanded to be in; None demands nothing.
        to: The mode that they become.
        origin: What the caller says of them besides.
        locks: Looks for locks that a caller is not shown.
        drop_annotations: Whether annotations that cannot be kept may be lost.
    """

    objects: Objects
    source: Mode | None
    to: Mode
    origin: Origin
    locks: Locks
    drop_annotations: bool

    def mode(self, read_with: ReadWith) -> Mode | None:
        """Return the mode that a step names."""
        return {"source": self.source, "to": self.to, None: None}[read_with]


def look(job: Job, location: Location, *, may_be_done: bool = True) -> Seen:
    """Return the object's head, asked with whichever customer key it answers to.

    With `may_be_done`, that of the mode that it is to become too: it then is as wanted.
    """
    tried: list[dict[str, object]] = []
    refusal: S3CryptError | None = None
    attempts: tuple[tuple[ReadWith, Mode | None], ...] = (
        ("source", job.source),
        (None, None),
        *((("to", job.to),) if may_be_done else ()),
    )
    for name, mode in attempts:
        arguments = mode.read_arguments() if mode else {}
        if arguments in tried:
            continue
        tried.append(arguments)
        try:
            found = head(job.objects.client, location, {**arguments, **job.origin.version})
        except S3CryptError as error:
            if http_status(error) == HTTPStatus.METHOD_NOT_ALLOWED and job.origin.version_id:
                raise ObjectNotFoundError(
                    f"{location}: its version {job.origin.version_id} is a delete marker.",
                    code=error.code,
                ) from error
            # A wrong or missing customer key is a bare 400 or 403; another may fit.
            if http_status(error) not in (400, 403):
                raise
            refusal = refusal or error
            continue
        check_metadata(location, found)
        # Only `to`'s customer key may stand in for the source's: the object then is as wanted.
        read_with: ReadWith = name if arguments else "source"
        with location.named_in_errors():
            envelope = _envelope(job, location, found, arguments)
        if job.origin.unencrypted and envelope is None and reported_mode(found) is None:
            read_with = None
        annotated = annotations.may_exist(job.objects.client, location, found)
        return Seen(location, found, read_with, envelope, annotated)
    if refusal is None:
        raise AssertionError("unreachable: every attempt succeeded or was refused")
    raise refusal


def until_whole(
    job: Job, location: Location, work: Callable[[Seen], Result], *, may_be_done: bool = True
) -> Result:
    """Return the result of work on an object as it was seen; begin anew if a reply was cut short.

    Without another writer, a HEAD's reply broke off within its headers; a later one is whole.

    Raises:
        ConflictError: Another writer was there.
    """
    seen = look(job, location, may_be_done=may_be_done)
    for left in reversed(range(LOOKS)):
        try:
            return work(seen)
        except ConflictError:
            before, seen = seen, look(job, location, may_be_done=may_be_done)
            is_cut = lacks_headers_of(before.head, seen.head) or lacks_headers_of(
                seen.head, before.head
            )
            if not left or not is_cut:
                raise
    raise AssertionError("unreachable: the last attempt returns or raises")


def _envelope(
    job: Job, location: Location, head: Mapping[str, Any], arguments: Mapping[str, object]
) -> Envelope | None:
    metadata = entries.of_reply(head)
    envelope = formats.of_metadata(metadata)
    if envelope is not None:
        # The metadata has all of it: not even the header has to be fetched.
        return envelope
    if not formats.claims_client_side(metadata) and not any(
        isinstance(mode, ClientSide) for mode in (job.source, job.to)
    ):
        return None
    with opened(job, location, arguments, str(head["ETag"])) as stream:
        return classify(stream)


@contextmanager
def opened(
    job: Job, location: Location, arguments: Mapping[str, object], etag: str
) -> Iterator[ObjectStream]:
    """Open the object for its header; refuse another one that has taken its place."""
    client, pinned = job.objects.client, {**arguments, **job.origin.version}
    with ObjectStream.open(client, location, pinned, first=formats.MAX_HEADER_LENGTH) as stream:
        check_etag(location, stream.reply, etag)
        yield stream


def check_etag(location: Location, reply: Mapping[str, Any], etag: str) -> None:
    """Refuse a reply about another object than the one seen first."""
    if reply.get("ETag") != etag:
        raise ConflictError(
            f"{location} was replaced meanwhile; the new object was left alone.",
            hint="Run it again.",
        )


def lacks_headers_of(cut: Mapping[str, Any], whole: Mapping[str, Any]) -> bool:
    """Return whether a reply to HEAD differs from another only as one that was cut short does.

    It lacks headers, and its last one may lack the end of the value.
    """
    old, new = cut.get("Metadata", {}), whole.get("Metadata", {})
    shown = [name for name in SHOWS_A_WRITE if name in cut and name != "Metadata"]
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
    return all(before.get(name) == now.get(name) for name in SHOWS_A_WRITE)


def check_replaced(job: Job, step: Step, error: S3CryptError) -> None:
    """Raise ConflictError where the object that could not be read is not the one first seen.

    Another writer's object may be a plain one, or wrapped by another key. The reader's error is
    then about that object, not about the one that was to be rotated.
    """
    try:
        check_unchanged(job, step)
    except ConflictError as conflict:
        raise conflict from error
    except S3CryptError:
        # HEAD shows no ETag: the object is gone, or answers to another customer key only.
        return


def check_unchanged(job: Job, step: Step) -> None:
    """Refuse to go on where anything that HEAD shows is other than at the first look.

    S3's conditions compare ETags, and where S3 keeps the keys an ETag is the body's MD5: it
    does not change for who only writes other metadata. This leaves the moment of one request.
    """
    mode = job.mode(step.read_with)
    arguments = {**(mode.read_arguments() if mode else {}), **job.origin.version}
    for _ in range(LOOKS):
        found = head(job.objects.client, step.location, arguments)
        if _show_the_same(step.head, found):
            return
        # This reply broke off within its headers: ask again. If the first look's reply did, the job
        # begins anew with a whole one, since a rotation would lose the headers that it lacked.
        if not lacks_headers_of(found, step.head):
            break
    raise replaced(step.location)


def replaced(location: Location) -> ConflictError:
    """Return the refusal to go on where another writer has been."""
    return ConflictError(
        f"{location} was written by someone else meanwhile; theirs was left alone.",
        hint="Run it again.",
    )
