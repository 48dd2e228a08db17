# SPDX-License-Identifier: Apache-2.0
"""Store objects: sealed here and sent in parts, or copied by S3 itself."""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import ReadTimeoutError

from s3crypt.aws import is_far
from s3crypt.errors import (
    ConflictError,
    ObjectNotFoundError,
    PolicyError,
    S3CryptError,
    StorageError,
)
from s3crypt.framing import PartSealer
from s3crypt.local.buffers import RUN_LENGTH, Buffers
from s3crypt.local.sources import Source
from s3crypt.local.workers import Resources, ScalingWorkers, check_stop, current_stop, stopping
from s3crypt.location import Location
from s3crypt.logs import logger_of
from s3crypt.requests import Attempts, Look, Reply, call, cause_of

from .checksums import Checksums, Part, begin
from .conditions import (
    check_again,
    check_first,
    delete_written,
    head,
    if_unchanged,
    in_another_spelling,
    quoted_etag,
)
from .marks import Mark, etag_of_parts
from .parts import MAX_PARTS, PART_LENGTH, Body, PartMaker

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

_log = logger_of(__name__)

Progress = Callable[[int], None]
_Begin = Callable[["S3Client", Mapping[str, Any], str], Mapping[str, Any]]

# The maximum length for CopyObject is 5 GB. It is unclear whether S3 means GB or GiB, so the lower
# limit is used.
MAX_COPY_LENGTH = 5 * 10**9
# botocore waits a minute for a reply. With this length, a service with ten parallel copies must
# copy 11 MiB/s in total.
_COPY_PART_LENGTH = 64 * 2**20
_STREAM_WORKERS = 10
# After a lost reply, the object of an upload counts as missing if this many looks do not find it.
_LOOKS = 3
# Of this many consecutive replies, at least one is assumed to be complete, even on a bad
# connection.
_REPLIES_WITHOUT_ECHO = 5


@dataclass(frozen=True, slots=True)
class Upload:
    """The destination of an object, and the arguments, conditions and checks of the requests.

    Attributes:
        client: The S3 client.
        location: The object.
        arguments: The arguments of the request that creates the object: mode, metadata, tags.
        part_arguments: The arguments of the requests for parts and for the completion, such as the
            customer key of SSE-C.
        conditions: `IfNoneMatch` or `IfMatch`. S3 checks them when the object would become visible.
        check: Raises a PolicyError if S3's reply does not confirm the requested encryption.
        confirm_first: Whether S3 must confirm the encryption before an existing object is
            overwritten, because the existing object must not be lost.
        checksums: Sends bodies with checksums, so S3 refuses bodies that the network changed.
        mark: A mark that only the object of this write has. None if there is no mark.
    """

    client: "S3Client"
    location: Location
    arguments: Mapping[str, Any] = field(repr=False)
    part_arguments: Mapping[str, Any] = field(repr=False)
    conditions: Mapping[str, str]
    check: Callable[[Mapping[str, Any]], None]
    confirm_first: bool = False
    checksums: Checksums = field(default_factory=Checksums)
    mark: Mark | None = None

    def look(self, mark: Mark | None) -> Look | None:
        """Return a function that looks for an object with this mark before a request is repeated.

        The function also checks the conditions again if the service may ignore them. The result is
        None if there is neither a mark nor a condition.
        """
        if mark is None and not self.conditions:
            return None

        def look(attempts: Attempts) -> Reply | None:
            # The reply to a look may break off before the mark, so the look is repeated.
            for _ in range(_LOOKS):
                if mark is None:
                    break
                with suppress(ObjectNotFoundError):
                    found = mark.found(self.client, self.location, self.part_arguments, attempts)
                    if found is not None:
                        return found
            self.check_again(within=attempts)
            return None

        return look

    def check_again(self, *, within: Attempts | None = None) -> None:
        """Check the conditions by HEAD if the service may ignore them."""
        check_again(self.client, self.location, self.conditions, self.part_arguments, within=within)


def upload(
    to: Upload,
    source: Source,
    sealer: PartSealer | None,
    *,
    resources: Resources,
    progress: Progress | None,
) -> tuple[Mapping[str, Any], int]:
    """Store the source as one object, or store nothing. Seal it if a sealer is given.

    If the size is known and the object needs several parts, the upload is begun before its first
    part is made, because S3's response time decides the length of the parts.

    Returns:
        S3's last reply, and the number of plaintext bytes that were stored.

    Raises:
        StorageError: S3 refused or failed, or the source changed. No unfinished upload is left.
        PolicyError: S3 did not encrypt as requested. The stored object was removed again.
    """
    # The header of a message contains a random id, so a sealed object needs no other mark.
    to = replace(to, mark=Mark(beginning=sealer.header) if sealer else to.mark)
    maker = PartMaker(source, sealer, lambda: is_far(to.client))
    # For an upload by parts, S3 confirms the encryption when the upload begins, and the object
    # becomes visible at the completion. The reply to a PutObject arrives after the previous object
    # was overwritten.
    by_parts = source.size is not None and (to.confirm_first or not maker.is_one_part)
    with resources.memory.share(_first_length(source.size)):
        check_stop()
        if not by_parts:
            return _put_measured(to, source, maker, resources, progress)
        check_first(to.client, to.location, to.conditions, to.part_arguments, by_parts=True)
        return _put_parts(to, source, maker, [], resources, progress)


def _first_length(size: int | None) -> int:
    """Return the memory of the first worker's buffers in bytes. Return 0 for a stream.

    The buffers of a stream are not counted. If they were counted, a caller that writes to several
    streams in turn would wait for memory that is released only when another stream ends.
    """
    if size is None:
        return 0
    return min(size, max(PART_LENGTH, -(-size // MAX_PARTS))) + RUN_LENGTH // 2


def _put_measured(
    to: Upload,
    source: Source,
    maker: PartMaker,
    resources: Resources,
    progress: Progress | None,
) -> tuple[Mapping[str, Any], int]:
    """Make the first part.

    Store it by one request if it is the whole source, otherwise by parts.
    """
    buffers = Buffers()
    first = maker.make(buffers)
    if first is None:
        raise AssertionError("unreachable: every object has a part")
    is_whole = first.is_final and not to.confirm_first
    check_first(to.client, to.location, to.conditions, to.part_arguments, by_parts=not is_whole)
    if is_whole:
        source.verify()
        return _put_whole(to, first, to.mark, progress), first.plaintext_length
    made = [(first, buffers)]
    # The worker that sends the part releases it. A reference here would keep its 8 MiB in memory
    # until the end.
    del first, buffers
    return _put_parts(to, source, maker, made, resources, progress)


def _put_whole(
    to: Upload, part: Body, mark: Mark | None, progress: Progress | None
) -> Mapping[str, Any]:
    stored = [_put(to, part, mark)]
    refusal = _refusal(to, stored[0])
    # The reply to a PUT has no body, so it is unknown whether its headers are complete. Therefore
    # the request is repeated a few times. A service that does not encrypt omits the confirmation
    # from every reply.
    while refusal is not None and len(stored) < _REPLIES_WITHOUT_ECHO:
        stored.append(_put_again(to, part, mark, stored[-1]))
        refusal = _refusal(to, stored[-1])
    if refusal is not None:
        for reply in stored[:-1]:
            if reply.get("VersionId"):
                _remove(to, reply, refusal)
        _remove(to, stored[-1], refusal)
        raise refusal
    reply = stored[-1]
    if progress:
        progress(part.plaintext_length)
    return reply


def _put(to: Upload, part: Body, mark: Mark | None) -> Mapping[str, Any]:
    def put(conditions: Mapping[str, str]) -> Mapping[str, Any]:
        arguments = {**to.location.arguments, **to.arguments, **conditions}
        subject, look = str(to.location), to.look(mark)
        return to.checksums.put(to.client, part.body, arguments, subject, look=look)

    try:
        return put(to.conditions)
    except ConflictError:
        spelt = in_another_spelling(to.client, to.location, to.conditions, to.part_arguments)
        if spelt is None:
            raise
        return put(spelt)


def _put_again(
    to: Upload, part: Body, mark: Mark | None, doubted: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Store the same bytes again if the reply did not confirm the encryption.

    The object is overwritten only if no other writer has replaced it.
    """
    again = replace(to, conditions=if_unchanged(doubted["ETag"]))
    try:
        again.check_again()
        return _put(again, part, mark)
    except (ConflictError, ObjectNotFoundError) as error:
        raise StorageError(
            f"{to.location}: another writer replaced it before the server confirmed its "
            "encryption. It is not known whether it was encrypted.",
            hint="The present object is the other writer's. Check it before you write again.",
            code=error.code,
        ) from error


def _refusal(to: Upload, reply: Mapping[str, Any]) -> PolicyError | None:
    try:
        to.check(reply)
    except PolicyError as refusal:
        return refusal
    return None


def _remove(to: Upload, reply: Mapping[str, Any], error: Exception) -> None:
    written = reply.get("VersionId"), reply.get("ETag", "")
    try:
        delete_written(to.client, to.location, *written, to.part_arguments)
    except ConflictError as conflict:
        error.add_note(str(conflict))
    except StorageError as failure:
        error.args = (f"{error} The stored object could not be removed. Remove it.",)
        error.add_note(f"Removing {to.location} failed: {failure}")
        told = to.location, cause_of(failure)
        _log.warning("%s: not encrypted as asked, and could not be removed (%s)", *told)


def _put_parts(
    to: Upload,
    source: Source,
    maker: PartMaker,
    made: list[tuple[Body, Buffers]],
    resources: Resources,
    progress: Progress | None,
) -> tuple[Mapping[str, Any], int]:
    def send(upload_id: str, buffers: Buffers) -> Part | None:
        part: Body | None
        try:
            # The part that is already made is sent first. Its buffers become the buffers of this
            # worker.
            part, held = made.pop()
            buffers.plain, buffers.part = held.plain, held.part
        except IndexError:
            part = maker.make(buffers)
        return _send_part(to, upload_id, part, progress) if part else None

    return _by_parts(
        to,
        send,
        begin=to.checksums.begin,
        crew_of=lambda work: ScalingWorkers(
            # The parts of a stream become longer, and each worker holds one, so fewer workers are
            # used.
            min(resources.workers, _STREAM_WORKERS) if source.size is None else resources.workers,
            work,
            may_grow=lambda: not maker.is_waiting,
            is_far=lambda: is_far(to.client),
            memory=resources.memory,
            length=maker.worker_length,
        ),
        size=source.size,
        last_check=source.verify,
    )


def _send_part(to: Upload, upload_id: str, part: Body, progress: Progress | None) -> Part:
    arguments = {
        **to.location.arguments,
        **to.part_arguments,
        "UploadId": upload_id,
        "PartNumber": part.number,
    }
    subject = f"{to.location} part {part.number}"
    sent = to.checksums.send_part(to.client, part.body, arguments, subject)
    if progress:
        progress(part.plaintext_length)
    return Part(part.number, sent.reply["ETag"], part.plaintext_length, len(part.body), sent.crc)


def _by_parts(
    to: Upload,
    send: Callable[[str, Buffers], Part | None],
    *,
    begin: _Begin,
    crew_of: Callable[[Callable[[Buffers], bool]], ScalingWorkers],
    size: int | None,
    last_check: Callable[[], None],
) -> tuple[Mapping[str, Any], int]:
    """Make an object of the parts that `send` sends. After an error, abort the upload.

    Args:
        to: The destination, and the arguments of the requests.
        send: Sends the next part, given the upload's id and the worker's buffers. Each worker calls
            it until it returns None.
        begin: Begins the upload, given the client, the request's arguments and a subject for
            errors.
        crew_of: Returns the workers. They call the given function.
        size: The sum of the lengths of all parts. None for a stream.
        last_check: Is called right before the object becomes visible. An error that it raises
            prevents this.

    Returns:
        S3's replies merged into one mapping, and the sum of the lengths of all parts.
    """
    begun: Future[Mapping[str, Any]] = Future()
    above = current_stop()
    stop = above or threading.Event()
    done: list[Part] = []

    def send_one(buffers: Buffers) -> bool:
        sent = send(begun.result()["UploadId"], buffers)
        if sent:
            done.append(sent)
        return sent is not None

    try:
        created = _begin(to, begin, begun, stop)
        with crew_of(send_one) as crew:
            crew.wait()
        _check_all_sent(done, size)
        last_check()
        reply = _complete(to, created, done)
    except BaseException as error:
        # After an interrupt, only one attempt is made to abort the upload, because the user does
        # not want to wait.
        in_haste = not isinstance(error, Exception) or stop.is_set()
        if above is None:
            stop.set()
        _abort(to, begun, error, in_haste=in_haste)
        raise
    return {**created, **reply}, sum(sent.length for sent in done)


def _check_all_sent(done: list[Part], size: int | None) -> None:
    if size is not None and sum(part.length for part in done) != size:
        raise AssertionError("unreachable: a crew that has not failed has sent all parts")


def _begin(
    to: Upload, begin: _Begin, begun: Future[Mapping[str, Any]], stop: threading.Event
) -> Mapping[str, Any]:
    """Begin an upload by parts and return S3's reply.

    `begun` has the reply even after an interrupt.

    The request runs in another thread, because an interrupt reaches only the main thread. An
    interrupt in the middle of the request would leave an upload in S3 whose id is unknown here.
    """

    def request() -> None:
        if begun.set_running_or_notify_cancel():
            try:
                arguments = {**to.location.arguments, **to.arguments}
                with stopping(stop):
                    begun.set_result(begin(to.client, arguments, str(to.location)))
            except BaseException as error:  # noqa: BLE001 - handed to result(), which raises it
                begun.set_exception(error)

    try:
        threading.Thread(target=request, name="s3crypt-begin", daemon=True).start()
    except RuntimeError:
        # No thread could be started, so the request runs in this thread.
        request()
    created = begun.result()
    to.check(created)
    return created


def _complete(to: Upload, created: Mapping[str, Any], done: list[Part]) -> Mapping[str, Any]:
    in_order = sorted(done, key=lambda sent: sent.number)
    arguments = {
        **to.location.arguments,
        "UploadId": created["UploadId"],
        **to.part_arguments,
        **to.conditions,
    }
    # Sending the parts may have taken hours. The object may have changed since the first check.
    to.check_again()
    mark = to.mark
    if mark is None and not to.conditions:
        mark = Mark(etag=etag_of_parts([part.etag for part in in_order]))
    return to.checksums.complete(
        to.client,
        in_order,
        arguments,
        str(to.location),
        look=to.look(mark),
        # Another upload of the same bytes has the same ETag. An object with this ETag comes from
        # this upload only if this upload no longer exists, so the completion is repeated first.
        repeats_first=mark is not None and mark.etag is not None,
    )


def _abort(
    to: Upload, begun: Future[Mapping[str, Any]], error: BaseException, *, in_haste: bool
) -> None:
    if begun.cancel() or begun.exception():
        return
    upload_id = begun.result()["UploadId"]
    stop = threading.Event()
    if in_haste:
        stop.set()
    try:
        with stopping(stop):
            request = {**to.location.arguments, "UploadId": upload_id}
            call(to.client, "abort_multipart_upload", request, str(to.location))
    except S3CryptError as failure:
        if failure.code != "NoSuchUpload":
            error.add_note(
                f"Upload {upload_id} of {to.location} could not be aborted and is left behind: "
                f"{failure} S3 charges for its parts until it is aborted: S3Crypt.many.uploads or "
                f"`s3crypt uploads {to.location}` lists it."
            )
            told = to.location, upload_id, cause_of(failure)
            _log.warning("%s: upload %s could not be aborted and is left behind (%s)", *told)


@dataclass(frozen=True, slots=True)
class CopySource:
    """The source of a copy inside S3: one version of an object.

    Attributes:
        location: The object.
        etag: The object's ETag. The copy fails if the object has another ETag when it is copied.
        version_id: The version id of the object. None in a bucket without versioning.
        size: The number of stored bytes.
        arguments: The request arguments for reading the source, such as its SSE-C customer key.
    """

    location: Location
    etag: str
    version_id: str | None
    size: int
    arguments: Mapping[str, Any] = field(repr=False)

    @property
    def request(self) -> dict[str, Any]:
        """Return the request arguments that identify the source."""
        named: dict[str, str] = {"Bucket": self.location.bucket, "Key": self.location.name}
        if self.version_id:
            named["VersionId"] = self.version_id
        return {"CopySource": named, "CopySourceIfMatch": quoted_etag(self.etag), **self.arguments}


def copy_inside_s3(  # noqa: PLR0913 - keyword arguments
    to: Upload,
    source: CopySource,
    *,
    workers: int,
    last_check: Callable[[], None],
    copy_limit: int = MAX_COPY_LENGTH,
    annotations: Literal["COPY", "EXCLUDE"] | None = None,
    replaces_tags: bool = False,
) -> Mapping[str, Any]:
    """Copy an object inside S3, onto itself or to another name. Its bytes are not transferred here.

    Args:
        to: The destination, all properties of the new object including its tags, and the
            conditions.
        source: The version that is copied.
        workers: The maximum number of parts that are copied in parallel.
        last_check: Is called right before the object becomes visible. An error that it raises
            prevents this.
        copy_limit: An object with up to this many stored bytes is copied by one request, a larger
            object by parts.
        annotations: The annotation directive of CopyObject. None for services that do not support
            annotations. An object that is copied by parts has no annotations.
        replaces_tags: Whether the new object gets the tags in `to`. If False, CopyObject keeps the
            source's tags. An object that is copied by parts always gets the tags in `to`.

    Raises:
        ConflictError: Another writer replaced the object. The new object was not overwritten.
        PolicyError: S3 did not encrypt as requested. A copy with another name was removed again.
        StorageError: S3 refused or failed. The object did not change.
    """
    if source.size > copy_limit:
        return _copy_parts(
            to, source, workers=workers, last_check=last_check, copy_limit=copy_limit
        )
    last_check()
    # CopyObject keeps the tags by default. The argument `Tagging` is used only to replace them.
    arguments = {
        name: value for name, value in to.arguments.items() if replaces_tags or name != "Tagging"
    }
    if replaces_tags:
        arguments["TaggingDirective"] = "REPLACE"
    request = {
        **to.location.arguments,
        **source.request,
        **arguments,
        **to.conditions,
        "MetadataDirective": "REPLACE",
    }
    if annotations is not None:
        request["AnnotationDirective"] = annotations
    with _explaining_timeouts():
        reply = call(to.client, "copy_object", request, str(to.location), look=to.look(to.mark))
    refusal = _refusal(to, reply)
    looks = 0
    while refusal is not None and "CopyObjectResult" not in reply and looks < _LOOKS:
        # The reply to the copy was lost, and a HEAD found the copy. The reply to the HEAD may break
        # off too, so it is repeated.
        reply, looks = head(to.client, to.location, to.part_arguments), looks + 1
        refusal = _refusal(to, reply)
    if refusal is not None:
        if to.location != source.location:
            etag = reply.get("CopyObjectResult", reply)["ETag"]
            _remove(to, {**reply, "ETag": etag}, refusal)
        raise refusal
    return reply


@contextmanager
def _explaining_timeouts() -> Iterator[None]:
    """Add a hint to a timeout error: how to give a service more time for its reply."""
    try:
        yield
    except S3CryptError as error:
        if isinstance(error.__cause__, ReadTimeoutError):
            longer = "S3CRYPT_READ_TIMEOUT=300 gives the service five minutes for each request."
            error.hint = f"{error.hint} {longer}" if error.hint else longer
        raise


def _copy_parts(
    to: Upload,
    source: CopySource,
    *,
    workers: int,
    last_check: Callable[[], None],
    copy_limit: int,
) -> Mapping[str, Any]:
    length = max(min(_COPY_PART_LENGTH, copy_limit), -(-source.size // MAX_PARTS))
    numbers = iter(range(1, -(-source.size // length) + 1))
    lock = threading.Lock()

    def copy(upload_id: str, _: Buffers) -> Part | None:
        with lock:
            number = next(numbers, None)
        if number is None:
            return None
        start, end = (number - 1) * length, min(number * length, source.size)
        request = {
            **to.location.arguments,
            **source.request,
            **to.part_arguments,
            "UploadId": upload_id,
            "PartNumber": number,
            "CopySourceRange": f"bytes={start}-{end - 1}",
        }
        with _explaining_timeouts():
            reply = call(to.client, "upload_part_copy", request, f"{to.location} part {number}")
        return Part(number, reply["CopyPartResult"]["ETag"], end - start, end - start)

    # The bytes stay inside S3, so a checksum that is computed here would verify nothing.
    def crew_of(work: Callable[[Buffers], bool]) -> ScalingWorkers:
        return ScalingWorkers(workers, work, is_far=lambda: is_far(to.client))

    size = source.size
    made = _by_parts(to, copy, begin=begin, crew_of=crew_of, size=size, last_check=last_check)
    return made[0]
