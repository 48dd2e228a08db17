# SPDX-License-Identifier: Apache-2.0
"""The engine: write, read, copy, list and delete objects, by location and typed values.

This module must not know the spelling of an argument or a default mode: these belong to the public
class in `s3crypt.store`. This module decides which requests are sent to S3 and which replies are
accepted. `transfer` moves the bytes, and `message` encrypts and decrypts them.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, SupportsIndex

from s3crypt import formats, s3ec
from s3crypt import metadata as entries
from s3crypt.aws import Clients, is_far
from s3crypt.errors import (
    ConfigError,
)
from s3crypt.keyrings.capabilities import with_resolved_aliases
from s3crypt.keyrings.sessions import SessionKeyrings
from s3crypt.local.buffers import RUN_LENGTH, reserve
from s3crypt.local.files import atomic_write, keep_time
from s3crypt.local.memory import Memory, default_limit
from s3crypt.local.sources import Source, StreamSource
from s3crypt.local.workers import Resources
from s3crypt.location import Location
from s3crypt.modes import DSSEKMS, SSEKMS, ClientSide, Mode, is_access_point
from s3crypt.requests import pages
from s3crypt.transfer import PART_LENGTH, Checksums, Mark, ObjectStream, Progress, Upload, upload
from s3crypt.transfer.conditions import IF_ABSENT, bare_etag, head, with_etag

from .checks import check_written_in, classify, refuse_client_side
from .deleting import delete_object
from .describing import describe_target
from .info import (
    Description,
    ObjectInfo,
    check_metadata,
    describe,
    describe_head,
    describe_plain,
    describe_written,
    describing,
    modified_ns,
)
from .instruction_files import refuse_instruction_file_of
from .key_arns import KeyARNs
from .opened import Neighbour, OpenObject, ReadOptions, decrypting, read_arguments, write_all
from .ranges import ByteRange
from .reader import DEFAULT_CACHE_LENGTH, FIRST_LENGTH, FIRST_LENGTH_OF_SMALL, ObjectReader
from .refusals import explaining
from .tags import ensure_tags, tags_of
from .writer import ObjectWriter

if TYPE_CHECKING:
    import boto3
    from types_boto3_kms.client import KMSClient
    from types_boto3_s3.client import S3Client

    from s3crypt.aws import Observer

# The first request of a check fetches this many bytes. Almost all headers are shorter.
_HEAD_LENGTH = 16 * 2**10
# A distant service delivers about 25 to 90 MB/s per connection, so many connections are needed.
DEFAULT_WORKERS = 32
# Enough connections for one job: 64 objects at the same time, and three concurrent requests per
# object during a rotation.
_CONNECTIONS = 192
# The number of threads that fetch ranges of one open file in parallel.
_RANGE_WORKERS = 10


@dataclass(frozen=True, slots=True)
class ListedObject:
    """An object as S3 lists it. A listing does not say how an object is encrypted.

    Attributes:
        uri: The object's URI.
        stored_size: The bytes in S3. For a client-side object, these are the bytes of the message.
        etag: S3's tag of this content, without quotes.
        last_modified: The time at which the object was stored.
        storage_class: The storage class, as S3 names it.
    """

    uri: str
    stored_size: int
    etag: str
    last_modified: datetime
    storage_class: str = "STANDARD"


@dataclass(frozen=True, slots=True)
class ListedPrefix:
    """The common prefix of several objects' names, up to and including a slash.

    Attributes:
        uri: The prefix's URI.
    """

    uri: str


class Objects:
    """The S3 objects that one store can access.

    Several threads may use an instance, also after a fork.

    The arguments are those of `S3Crypt`, without the mode.
    """

    def __init__(  # noqa: PLR0913 - keyword arguments for the access to AWS
        self,
        *,
        session: "boto3.Session | None",
        client: "S3Client | None",
        endpoint_url: str | None,
        workers: int,
        max_memory: int | None = None,
        allow_plain_http: bool,
        written_in: str | None,
        expected_bucket_owner: str | None,
        request_payer: Literal["requester"] | None,
        no_sign_request: bool = False,
        observe: "Observer | None" = None,
    ) -> None:
        self.written_in = written_in
        self.workers = workers
        self._max_memory = default_limit() if max_memory is None else max_memory
        # Each process has its own `Memory`. During a fork, another thread of the parent may hold
        # the lock of the parent's `Memory`, and the lock would never be released in the child.
        self._memories: dict[int, Memory] = {}
        self._clients = Clients(
            "s3",
            session=session,
            client=client,
            endpoint_url=endpoint_url,
            connections=max(workers, _CONNECTIONS),
            allow_plain_http=allow_plain_http,
            expected_bucket_owner=expected_bucket_owner,
            request_payer=request_payer,
            no_sign_request=no_sign_request,
            observe=observe,
        )
        kms: Clients[KMSClient] = Clients(
            "kms", session=session, allow_plain_http=allow_plain_http, observe=observe
        )
        self.keys = KeyARNs(self._clients, kms)
        self._keyrings = SessionKeyrings(session) if session is not None else None
        self._checksums = Checksums(self._clients)

    @property
    def client(self) -> "S3Client":
        """Return the S3 client of this process."""
        return self._clients.get()

    @property
    def resources(self) -> Resources:
        """Return the threads for one transfer, and the memory for all transfers in this process."""
        memory = self._memories.setdefault(os.getpid(), Memory(self._max_memory))
        return Resources(self.workers, memory)

    @property
    def is_far(self) -> bool:
        """Return whether measurements have shown that the service is far away."""
        return is_far(self.client)

    def write(  # noqa: PLR0913 - keyword arguments
        self,
        source: Source,
        location: Location,
        mode: Mode,
        described: "Description",
        *,
        conditions: Mapping[str, str],
        progress: Progress | None = None,
        written_in: str | None = None,
        complete: Callable[[], "Description"] | None = None,
        digest: "formats.Digest | None" = None,
    ) -> ObjectInfo:
        """Encrypt plaintext and store it at `location`, if the `conditions` hold.

        With `IfMatch`, the write replaces an object that must not be lost, so S3 must first confirm
        that it encrypts. `written_in` is the bucket behind an access point. `described` has the
        metadata, tags and headers. If it is still incomplete, `complete` returns the whole
        description; it is called right before the request that creates the object. `digest` is
        documented in `Format.seal`.
        """
        mode = self._with_session(mode)
        sealing, ours = None, {}
        if isinstance(mode, ClientSide):
            context = self.context_here(mode, location, written_in)
            sealing = formats.seal(mode, context, source.size, digest)
            ours = dict(sealing.metadata)
        mark = None
        if conditions and not sealing:
            # The token shows whether a stored object comes from this write. Equal content does not
            # show this: another writer may store the same content.
            ours = entries.new_token(described.metadata)
            mark = Mark(metadata=ours) if ours else None

        def arguments(described: Description) -> dict[str, Any]:
            whole = {**described.metadata, **ours}
            if sealing:
                whole |= entries.fitting(whole, sealing.advisory)
            entries.check_length(whole)
            return {**described.arguments(whole), **mode.write_arguments()}

        known = arguments(described)
        to = Upload(
            self.client,
            location,
            _LateArguments(lambda: arguments(complete())) if complete else known,
            mode.read_arguments(),
            conditions,
            lambda reply: self.keys.check_written(mode, reply, location),
            confirm_first="IfMatch" in conditions and not isinstance(mode, ClientSide),
            checksums=self._checksums,
            mark=mark,
        )
        with explaining(mode, is_write=True):
            sealer = sealing.sealer if sealing else None
            reply, size = upload(to, source, sealer, resources=self.resources, progress=progress)
        described = complete() if complete else described
        ensure_tags(self.client, location, mode, described.tags, reply)
        reply = with_etag(self.client, location, reply, mode.read_arguments())
        stored = sealer.sealed_length(size) if sealer else size
        facts = sealing.facts(size) if sealing else None
        return describe_written(location, mode, described, reply, (size, stored, facts))

    def copy(
        self,
        source: Location,
        read_options: ReadOptions,
        target: Location,
        mode: Mode,
        described: Mapping[str, Any],
    ) -> tuple[ObjectInfo, ObjectInfo]:
        """Verify an object, and store it under another name.

        Return the facts about source and copy.

        The object's metadata, tags, content headers and storage class are copied. Its locks, event
        hold, annotations and ACL are not copied.

        Args:
            source: The object.
            read_options: The reader's demands on the source.
            target: The location of the copy.
            mode: The mode of the copy.
            described: Arguments of `describe_target`, for the properties in which the copy differs
                from the source.

        Raises:
            ObjectNotFoundError, IntegrityError, PolicyError, ConflictError: For the reasons that
                `S3Crypt.get` documents.
        """
        with self.reading(source, read_options) as reading:
            info, reply = reading.info, reading.stream.reply
            check_metadata(source, reply)
            if "metadata" not in described:
                formats.refuse_s3ec(info.metadata)
            kept = {
                "metadata": info.metadata,
                # S3 reports the number of tags only if the caller may read the tags.
                "tags": self.tags(source, info.version_id) if reply.get("TagCount") else None,
            }
            given = describe_target(target, **{**kept, **described})
            given = replace(given, headers={**describing(reply), **given.headers})
            plain = StreamSource(reading.plaintext, info.size)
            return info, self.write(plain, target, mode, given, conditions={})

    def tags(self, location: Location, version_id: str | None) -> dict[str, str]:
        """Return an object's tags."""
        return tags_of(self.client, location, version_id)

    @contextmanager
    def reading(
        self,
        location: Location,
        read_options: ReadOptions,
        *,
        first: int = PART_LENGTH,
        opened: ObjectStream | None = None,
    ) -> "Iterator[OpenObject]":
        """Open an object after checking that its encryption meets the demand.

        The first request fetches `first` bytes.

        `opened` is a stream that was already opened with the arguments of the demanded mode. If it
        is given, no new request is sent for the object.
        """
        mode = read_options.mode and self._with_session(read_options.mode)
        context = self.context_demanded(location, read_options)
        arguments = read_arguments(mode, read_options.version_id, read_options.etag)
        with (
            location.named_in_errors(),
            explaining(mode),
            opened or ObjectStream.open(self.client, location, arguments, first=first) as stream,
        ):
            stream.rewind()
            envelope, plain = None, None
            if isinstance(mode, ClientSide):
                envelope, plain = decrypting(mode, context, stream, read_options)
            else:
                self.keys.check_mode(mode, stream.reply, location)
                refuse_client_side(mode, stream)
                if mode is None:
                    self.refuse_headless_ciphertext(location, stream, read_options.neighbour)
            info = describe(location, stream, envelope)
            yield OpenObject(location, stream, plain, info, read_options)

    def check(self, location: Location, read_options: ReadOptions) -> ObjectInfo:
        """Check the mode and the key of an object as a read does, and return the facts about it.

        Only the first bytes are fetched. The header of a client-side object is verified, but its
        content is not.
        """
        with self.reading(location, read_options, first=_HEAD_LENGTH) as reading:
            return reading.info

    def look(
        self, location: Location, read_options: ReadOptions, *, first: int = _HEAD_LENGTH
    ) -> ObjectInfo:
        """Return the facts in an object's headers and first bytes. Nothing is decrypted."""
        arguments = read_arguments(read_options.mode, read_options.version_id)
        with (
            location.named_in_errors(),
            explaining(read_options.mode),
            ObjectStream.open(self.client, location, arguments, first=first) as stream,
        ):
            envelope = classify(stream)
            if envelope is None and read_options.mode is None:
                self.refuse_headless_ciphertext(location, stream, read_options.neighbour)
            return describe(location, stream, envelope)

    def refuse_headless_ciphertext(
        self,
        location: Location,
        stream: ObjectStream,
        neighbour: Neighbour | None,
        *,
        is_strict: bool = False,
    ) -> None:
        """Refuse an object whose data key is in an instruction file beside it.

        The metadata of such an object does not show that it is ciphertext.

        If a listing contains the name of an instruction file, the file is fetched. Without a
        listing, the object's first bytes decide whether to look for the file.

        Raises:
            FormatError: The object has an instruction file.
            StorageError: `is_strict` is True, and it cannot be determined whether the object has an
                instruction file.
        """
        if neighbour and neighbour.etag == bare_etag(stream.reply["ETag"]):
            if neighbour.is_there:
                refuse_instruction_file_of(
                    self.client, location, None, is_listed=True, is_strict=is_strict
                )
        elif stream.size >= s3ec.MIN_CIPHERTEXT_LENGTH and not formats.is_known(stream.beginning):
            refuse_instruction_file_of(self.client, location, None, is_strict=is_strict)

    def fetch(  # noqa: PLR0913 - keyword arguments
        self,
        location: Location,
        read_options: ReadOptions,
        target: str | Path | BinaryIO,
        *,
        wanted: ByteRange | None = None,
        if_absent: bool = False,
        keeps_time: bool = False,
        progress: Progress | None = None,
    ) -> ObjectInfo:
        """Write an object's plaintext, or a range of it, to a file.

        `S3Crypt.get` documents the arguments.

        With `keeps_time`, the file gets the modification time of the content; see `modified_ns`.
        """
        if not isinstance(target, str | os.PathLike):
            return self._read_into(target, location, read_options, wanted, progress)
        with atomic_write(target, if_absent=if_absent) as file:
            if wanted:
                return self._read_into(file, location, read_options, wanted, progress)
            with self.reading(location, read_options) as reading:
                info = reading.into_file(file, self.resources, progress)
            if keeps_time:
                keep_time(file, modified_ns(info))
            return info

    def open_reader(
        self,
        location: Location,
        read_options: ReadOptions,
        *,
        cache_length: int = DEFAULT_CACHE_LENGTH,
        allow_unverified_length: bool = False,
        first: int = FIRST_LENGTH_OF_SMALL,
    ) -> ObjectReader:
        """Open an object for reads at any offset. `S3Crypt.open` documents the arguments.

        The first request fetches `first` bytes.
        """
        if not isinstance(cache_length, SupportsIndex) or cache_length < 0:
            raise ConfigError(f"A cache has a length of 0 bytes or more, not {cache_length}.")
        with self.reading(location, read_options, first=first) as reading:
            cache = reading.cached(min(self.workers, _RANGE_WORKERS), cache_length)
            if not allow_unverified_length:
                cache.verify_size()
            return ObjectReader(cache, reading.info)

    def open_writer(
        self,
        location: Location,
        mode: Mode,
        described: Description,
        *,
        if_absent: bool,
    ) -> ObjectWriter:
        """Open an object for sequential writing. `S3Crypt.open` documents the arguments."""
        store = partial(
            self.write,
            location=location,
            mode=mode,
            described=described,
            conditions=IF_ABSENT if if_absent else {},
        )
        return ObjectWriter(store, str(location))

    def _read_into(
        self,
        target: BinaryIO,
        location: Location,
        read_options: ReadOptions,
        wanted: ByteRange | None,
        progress: Progress | None,
    ) -> ObjectInfo:
        """Write an object's plaintext, or a range of it, to `target` in order."""
        if wanted is None:
            with self.reading(location, read_options) as reading:
                return reading.into_stream(target, progress)
        with (
            self.reading(location, read_options, first=FIRST_LENGTH) as reading,
            closing(
                reading.cached(min(self.workers, _RANGE_WORKERS), DEFAULT_CACHE_LENGTH)
            ) as cache,
        ):
            start, end = wanted.within(cache.size, str(location))
            buffer = reserve(min(RUN_LENGTH, end - start))
            for position in range(start, end, RUN_LENGTH):
                run = buffer[: end - position]
                cache.read_at(position, run)
                write_all(target, run)
                if progress:
                    progress(len(run))
            return reading.info

    def head(self, location: Location, read_options: ReadOptions) -> ObjectInfo:
        """Return an object's size and the other facts with one request; see `S3Crypt.head`."""
        if read_options.mode is None:
            # Without a mode, only the object's first bytes show its format.
            return self.look(location, read_options)
        with location.named_in_errors(), explaining(read_options.mode):
            arguments = read_arguments(read_options.mode, read_options.version_id)
            reply = head(self.client, location, arguments)
        info = describe_head(location, reply)
        if info is None and isinstance(read_options.mode, ClientSide):
            return self.look(location, read_options)
        return info or describe_plain(location, reply)

    def list(self, location: Location, *, after: str = "") -> Iterator[ListedObject]:
        """Yield the objects whose URI begins with the URI of `location`, in S3's order.

        If `after` is given, only objects with later names are yielded.
        """
        for found in self._listed(location, **({"StartAfter": after} if after else {})):
            if isinstance(found, ListedObject):
                yield found

    def list_level(self, location: Location) -> Iterator[ListedObject | ListedPrefix]:
        """Yield the objects and prefixes directly below `location`.

        Names with a further slash are combined into one `ListedPrefix` per common prefix.
        """
        return self._listed(location, Delimiter="/")

    def exists(self, location: Location) -> bool:
        """Return whether an object with this name exists.

        The name is looked up in a listing, because a HEAD of an SSE-C object would need its
        customer key.
        """
        found = self.first(location)
        return found is not None and found.uri == str(location)

    def first(self, location: Location) -> ListedObject | None:
        """Return the first object whose URI begins with the URI of `location`, or None."""
        found = next(self._listed(location, MaxKeys=1), None)
        return found if isinstance(found, ListedObject) else None

    def _listed(
        self, location: Location, **arguments: Any
    ) -> Iterator[ListedObject | ListedPrefix]:
        bucket = location.bucket
        request = {"Bucket": bucket, "Prefix": location.name, **arguments}
        for page in pages(self.client, "list_objects_v2", request, str(location)):
            found: list[ListedObject | ListedPrefix] = [
                ListedObject(
                    uri=str(Location(bucket, listed["Key"])),
                    stored_size=listed["Size"],
                    etag=bare_etag(listed["ETag"]),
                    last_modified=listed["LastModified"],
                    storage_class=listed.get("StorageClass", "STANDARD"),
                )
                for listed in page.get("Contents", ())
            ]
            if page.get("CommonPrefixes"):
                # A page has separate lists of objects and prefixes, so they are merged. All names
                # of a page follow the names of the page before it.
                found += [
                    ListedPrefix(str(Location(bucket, common["Prefix"])))
                    for common in page["CommonPrefixes"]
                ]
                found.sort(key=lambda entry: entry.uri.encode())
            yield from found

    def list_with_neighbours(
        self, location: Location
    ) -> Iterator[tuple[ListedObject, Neighbour | None]]:
        """Yield each object that `list` yields, with its `Neighbour`, or None if it is unknown."""
        for listed, is_there in s3ec.with_neighbours(self.list(location), lambda item: item.uri):
            # The listing of a directory bucket is not sorted, so the neighbour cannot be
            # determined.
            is_unknown = is_there is None or location.is_in_directory_bucket
            yield listed, None if is_unknown else Neighbour(listed.etag, bool(is_there))

    def delete(self, location: Location, version_id: str | None = None) -> None:
        """Delete an object, or permanently delete the version with this id.

        Without a version id, a versioned bucket only hides the object behind a delete marker.
        """
        delete_object(self.client, location, version_id)

    def with_resolved_aliases(self, mode: Mode) -> Mode:
        """Return the mode with KMS aliases replaced by ARNs, so a moved alias cannot affect a job.

        Keyrings without their own session get the store's session.
        """
        mode = self._with_session(mode)
        if isinstance(mode, ClientSide):
            return replace(mode, keyring=with_resolved_aliases(mode.keyring))
        return self.keys.with_resolved_aliases(mode) if isinstance(mode, SSEKMS | DSSEKMS) else mode

    def _with_session(self, mode: Mode) -> Mode:
        """Return the mode with keyrings that use the store's session for KMS, if it has one."""
        if self._keyrings is None or not isinstance(mode, ClientSide):
            return mode
        keyring = self._keyrings.of(mode.keyring)
        return mode if keyring is mode.keyring else replace(mode, keyring=keyring)

    def context_here(
        self, mode: ClientSide, location: Location, written_in: str | None = None
    ) -> dict[str, str]:
        """Return the encryption context of an object that is to be written at `location`."""
        behind = written_in if is_access_point(location.bucket) else None
        bucket = self.written_in or behind or location.bucket
        return mode.object_context(location.name, bucket)

    def context_demanded(self, location: Location, read_options: ReadOptions) -> dict[str, str]:
        """Return the pairs that the encryption context of an object at `location` must contain."""
        if read_options.written_in:
            check_written_in(read_options.mode, read_options.written_in)
        if not isinstance(read_options.mode, ClientSide):
            return {}
        check_written_in(read_options.mode, self.written_in)
        name = read_options.written_as or location.name
        bucket = read_options.written_in or self.written_in or location.bucket
        return read_options.mode.object_context(name, bucket)


class _LateArguments(Mapping[str, Any]):
    """Request arguments that are computed on first use.

    All attempts of a request use the same values.
    """

    def __init__(self, make: Callable[[], Mapping[str, Any]]) -> None:
        self._made = cache(make)

    def __getitem__(self, name: str) -> Any:
        return self._made()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._made())

    def __len__(self) -> int:
        return len(self._made())
