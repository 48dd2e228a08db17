# SPDX-License-Identifier: Apache-2.0
"""Requests that examine an object before a rotation, and check that it has not changed since."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar

from s3crypt import formats
from s3crypt import metadata as entries
from s3crypt.aws_errors import http_status, is_for_all
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

# The maximum number of looks at one object. On a connection that often breaks, one of twenty
# replies to a HEAD breaks off within its headers.
LOOKS = 4
# The number of bytes that a look fetches. Almost all headers are shorter, so this is enough for a
# decision.
SHOWN_LENGTH = 16 * 2**10


@dataclass(frozen=True, slots=True)
class Job:
    """The engine, the modes and the options of one rotation.

    Aliases are resolved in both modes. Otherwise, if an alias is moved during the job, some objects
    would get the old key and others the new key, and all of them would count as "unchanged".

    Attributes:
        objects: The engine.
        source: The mode in which objects must be. None accepts any mode.
        to: The mode into which objects are converted.
        origin: Further statements of the caller about the objects.
        locks: Finds locks that S3's replies may have omitted.
        drop_annotations: Whether annotations that cannot be kept may be lost. If False, the object
            is refused.
    """

    objects: Objects
    source: Mode | None
    to: Mode
    origin: Origin
    locks: Locks
    drop_annotations: bool

    def mode(self, read_with: ReadWith) -> Mode | None:
        """Return the mode to which `read_with` refers."""
        return {"source": self.source, "to": self.to, None: None}[read_with]


def look(job: Job, location: Location) -> Seen:
    """Return the object's state. Its plaintext is not read."""
    with looking(job, location) as (seen, _):
        return seen


@contextmanager
def looking(
    job: Job,
    location: Location,
    *,
    may_be_done: bool = True,
    first: int = SHOWN_LENGTH,
    by_head: bool = False,
) -> Iterator[tuple[Seen, ObjectStream | None]]:
    """Yield the object's current state, and its stream if a GET was sent, otherwise None.

    If the object may have to be re-encrypted, a GET is sent, because it shows the same facts as a
    HEAD and also fetches the header and the body. If S3 refuses the GET, a HEAD is sent: the object
    may be archived, or may be under a KMS key that the caller has no permission to use.

    Args:
        job: The rotation or copy.
        location: The object.
        may_be_done: Whether to try the customer key of the target mode, too. If it fits, the object
            is already rotated.
        first: The maximum number of bytes that the first GET fetches.
        by_head: Whether to send a HEAD first, whatever the modes are.
    """
    client, attempts = job.objects.client, _attempts(job, may_be_done=may_be_done)
    with ExitStack() as stack:
        got = (
            None if by_head or not _may_need_body(job) else _by_get(job, location, attempts, first)
        )
        stream: ObjectStream | None = None
        if got is None:
            ask = partial(head, client, location)
            read_with, arguments, shown = _answered(job, location, attempts, ask)
        else:
            read_with, arguments, stream = got
            stack.enter_context(closing(stream))
            shown = _as_head(stream)
        check_metadata(location, shown)

        def stored() -> ObjectStream:
            nonlocal stream
            if stream is None:
                etag = str(shown["ETag"])
                stream = stack.enter_context(opened(job, location, arguments, etag, first=first))
            return stream

        with location.named_in_errors():
            envelope = _envelope(job, shown, stored)
        if job.origin.unencrypted and envelope is None and reported_mode(shown) is None:
            read_with = None
        annotated = annotations.may_exist(client, location, shown)
        yield Seen(location, shown, read_with, envelope, annotated), stream
        if stream is not None:
            stream.leave()


def _may_need_body(job: Job) -> bool:
    """Return whether the header or the body may be needed, according to the modes."""
    modes = [mode for mode in (job.source, job.to) if isinstance(mode, ClientSide)]
    # If both modes store the wrapped key in the metadata, a HEAD shows the wrapped key, and the
    # body does not change.
    return bool(modes) and not (
        len(modes) == 2 and all(mode.key_location == "metadata" for mode in modes)
    )


def _attempts(job: Job, *, may_be_done: bool) -> list[tuple[ReadWith, dict[str, Any]]]:
    """Return the request arguments to try, each with its mode. They have different customer keys.

    If `may_be_done`, the customer key of the target mode is tried too. If it fits, the object is
    already rotated.
    """
    modes: tuple[tuple[ReadWith, Mode | None], ...] = (
        ("source", job.source),
        (None, None),
        *((("to", job.to),) if may_be_done else ()),
    )
    found: list[tuple[ReadWith, dict[str, Any]]] = []
    for name, mode in modes:
        arguments = mode.read_arguments() if mode else {}
        if all(arguments != tried for _, tried in found):
            # Arguments without a customer key belong to the source mode. Only a customer key of
            # `to` means that the object is already rotated.
            found.append((name if arguments else "source", arguments))
    return found


def _answered(
    job: Job,
    location: Location,
    attempts: list[tuple[ReadWith, dict[str, Any]]],
    ask: Callable[[dict[str, Any]], Result],
) -> tuple[ReadWith, dict[str, Any], Result]:
    """Return the first reply that is not a refusal, with the mode and arguments of its request."""
    refusal: S3CryptError | None = None
    for read_with, arguments in attempts:
        try:
            return read_with, arguments, ask({**arguments, **job.origin.version})
        except S3CryptError as error:
            if http_status(error) == HTTPStatus.METHOD_NOT_ALLOWED and job.origin.version_id:
                raise ObjectNotFoundError(
                    f"{location}: the version {job.origin.version_id} is a delete marker.",
                    code=error.code,
                ) from error
            if not _is_refusal(error):
                raise
            refusal = refusal or error
    if refusal is None:
        raise AssertionError("unreachable: every attempt succeeded or was refused")
    raise refusal


def _is_refusal(error: S3CryptError) -> bool:
    """Return whether the cause of an error may be a wrong or a missing customer key."""
    return http_status(error) in (400, 403) and not is_for_all(error)


def _by_get(
    job: Job,
    location: Location,
    attempts: list[tuple[ReadWith, dict[str, Any]]],
    first: int,
) -> tuple[ReadWith, dict[str, Any], ObjectStream] | None:
    """Return the open object. Return None if S3 refuses the GET."""

    def ask(arguments: dict[str, Any]) -> ObjectStream:
        return ObjectStream.open(job.objects.client, location, arguments, first=first)

    try:
        return _answered(job, location, attempts, ask)
    except S3CryptError as error:
        if _is_refusal(error):
            return None
        raise


def _as_head(stream: ObjectStream) -> dict[str, Any]:
    """Return the reply to a GET in the form of a reply to a HEAD. It has the whole object's length.

    Only a HEAD shows the archive tier of an object. But S3 refuses a GET of an archived object, so
    the tier is never missing here.
    """
    shown = {name: stream.reply[name] for name in stream.reply.keys() - {"Body", "ContentRange"}}
    return {**shown, "ContentLength": stream.size}


def until_whole(
    job: Job,
    location: Location,
    work: Callable[[Seen, ObjectStream | None], Result],
    *,
    may_be_done: bool = True,
    first: int = SHOWN_LENGTH,
) -> Result:
    """Return the result of `work` for an object's state. Start again if a reply was cut short.

    If a conflict occurs although no other writer changed the object, there are two possible causes.
    First, a reply to a HEAD broke off within its headers, and a later reply was complete. Second,
    the service shows other headers in a GET than in a HEAD. Therefore the next attempts begin with
    a HEAD.

    Raises:
        ConflictError: Another writer changed the object.
    """
    before: Seen | None = None
    conflict: ConflictError | None = None
    for left in reversed(range(LOOKS)):
        with looking(
            job, location, may_be_done=may_be_done, first=first, by_head=conflict is not None
        ) as (seen, stream):
            if conflict and before and not _is_cut(before, seen):
                raise conflict
            try:
                return work(seen, stream)
            except ConflictError as error:
                if not left:
                    raise
                before, conflict = seen, error
    raise AssertionError("unreachable: the last attempt returns or raises")


def _is_cut(one: Seen, other: Seen) -> bool:
    """Return whether two looks differ only because one of the replies was cut short."""
    return lacks_headers_of(one.head, other.head) or lacks_headers_of(other.head, one.head)


def _envelope(
    job: Job, shown: Mapping[str, Any], stored: Callable[[], ObjectStream]
) -> Envelope | None:
    metadata = entries.of_reply(shown)
    envelope = formats.of_metadata(metadata)
    if envelope is not None:
        # The metadata contains the whole envelope, so not even the header must be fetched.
        return envelope
    if not formats.claims_client_side(metadata) and not any(
        isinstance(mode, ClientSide) for mode in (job.source, job.to)
    ):
        return None
    return classify(stored())


@contextmanager
def opened(
    job: Job,
    location: Location,
    arguments: Mapping[str, object],
    etag: str,
    *,
    first: int = formats.MAX_HEADER_LENGTH,
) -> Iterator[ObjectStream]:
    """Open the object to read its header. Refuse it if it does not have the ETag `etag`."""
    client, pinned = job.objects.client, {**arguments, **job.origin.version}
    with ObjectStream.open(client, location, pinned, first=first) as stream:
        check_etag(location, stream.reply, etag)
        yield stream


def check_etag(location: Location, reply: Mapping[str, Any], etag: str) -> None:
    """Refuse a reply whose ETag is not the ETag of the first look."""
    if reply.get("ETag") != etag:
        raise ConflictError(
            f"{location} was replaced meanwhile; the new object was not changed.",
            hint="Run the command again.",
        )


def lacks_headers_of(cut: Mapping[str, Any], whole: Mapping[str, Any]) -> bool:
    """Return whether two replies to a HEAD differ only because the reply `cut` was cut short.

    Such a reply lacks headers, and the value of its last header may lack its end.
    """
    old, new = cut.get("Metadata", {}), whole.get("Metadata", {})
    shown = [name for name in SHOWS_A_WRITE if name in cut and name != "Metadata"]
    return (
        not _show_the_same(cut, whole)
        and all(_begins(whole.get(name), cut[name]) for name in shown)
        and all(_begins(new.get(name), value) for name, value in old.items())
    )


def _begins(whole: object, cut: object) -> bool:
    """Return whether the value `cut` of a header is the value `whole`, or its beginning."""
    is_text = isinstance(cut, str | int) and not isinstance(cut, bool)
    return whole == cut or (is_text and whole is not None and str(whole).startswith(str(cut)))


def _show_the_same(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    return all(before.get(name) == now.get(name) for name in SHOWS_A_WRITE)


def check_replaced(job: Job, step: Step, error: S3CryptError) -> None:
    """Raise a ConflictError if the object that could not be read was written by another writer.

    The new object of another writer may be unencrypted or wrapped by another key. The error `error`
    is then about the new object, and not about the object that was to be rotated.
    """
    try:
        check_unchanged(job, step)
    except ConflictError as conflict:
        raise conflict from error
    except S3CryptError:
        # A HEAD shows no ETag: the object is gone, or needs another customer key. In this case the
        # caller raises `error`.
        return


def check_unchanged(job: Job, step: Step) -> None:
    """Raise a ConflictError if any fact that a HEAD shows has changed since the first look.

    S3's conditions compare only ETags. In modes whose keys S3 keeps, an ETag is the MD5 of the
    body, and does not change if a writer replaces only the metadata. After this check, such a
    change can only remain undetected during the next request.
    """
    mode = job.mode(step.read_with)
    arguments = {**(mode.read_arguments() if mode else {}), **job.origin.version}
    for _ in range(LOOKS):
        found = head(job.objects.client, step.location, arguments)
        if _show_the_same(step.head, found):
            return
        # If this reply broke off within its headers, send the HEAD again. If the first reply broke
        # off, the job starts again with a complete reply, because otherwise the new object would
        # lack the headers that the first reply lacked.
        if not lacks_headers_of(found, step.head):
            break
    raise replaced(step.location)


def replaced(location: Location) -> ConflictError:
    """Return the error for an object that another writer has changed."""
    return ConflictError(
        f"{location}: another writer wrote the object meanwhile; that object was not changed.",
        hint="Run the command again.",
    )
