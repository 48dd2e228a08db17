# SPDX-License-Identifier: Apache-2.0
"""S3Crypt: objects put, got, inspected, listed and deleted in every mode.

Decides what to ask of S3 and what to believe of its answers; bytes move in `transfer`, ciphers
live in `message`.
"""

import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, overload
from urllib.parse import parse_qsl

from . import metadata as entries
from . import s3ec
from .aws import Clients, http_status, is_aws, reply_headers
from .conditions import IF_ABSENT, check_unchanged, head
from .errors import (
    ConfigError,
    ConflictError,
    FormatError,
    IntegrityError,
    KeyUnavailableError,
    ObjectNotFoundError,
    PolicyError,
    S3CryptError,
    StorageError,
)
from .files import replacing
from .info import (
    Description,
    ObjectInfo,
    check_metadata,
    describe,
    describe_head,
    describe_plain,
    describe_written,
    describing,
    footer_length,
    keys_of,
)
from .keyrings import reading_hint
from .kms_keyrings import SessionKeyrings, pinned, resolve_key_arn
from .location import Location
from .message import (
    MAX_HEADER_LENGTH,
    DecryptingReader,
    Header,
    Keyring,
    Opener,
    Sealer,
    find_header,
    read_header,
)
from .message.memory import reserve
from .message.recognise import is_known
from .modes import (
    BOUND_BUCKET,
    BOUND_NAME,
    DSSEKMS,
    SSEC,
    SSEKMS,
    ClientSide,
    Mode,
    binds_bucket,
    is_access_point,
    reported_mode,
)
from .reader import (
    DEFAULT_CACHE_LENGTH,
    FIRST_LENGTH,
    ByteRange,
    BytesPlaintext,
    ObjectReader,
    Plaintext,
    RangedPlaintext,
    RawReader,
)
from .requests import Attempts, Reply, call, pages
from .sources import BytesSource, FileSource, Source, StreamSource, is_regular, opening
from .transfer import (
    PART_LENGTH,
    Checksums,
    Mark,
    ObjectStream,
    Progress,
    Upload,
    WholeStream,
    download,
    pour,
    upload,
)
from .workers import RUN_LENGTH
from .writer import ObjectWriter

if TYPE_CHECKING:
    import boto3

    from .rotation import RotationOutcome

# As many as boto3 has connections.
DEFAULT_WORKERS = 10
# Longer than the header of all but few messages.
_HEAD_LENGTH = 16 * 2**10
# HEAD has no body to carry a code.
_UNREADABLE = ("400", "403", "404", "AccessDenied", "InvalidObjectState", "InvalidRequest")


@dataclass(frozen=True, slots=True)
class ListedObject:
    """What a listing says of an object; it never says how it is encrypted."""

    uri: str
    stored_size: int
    etag: str
    last_modified: datetime


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Whether `NAME.instruction` was there when an object NAME had this ETag.

    Such a neighbour may be the instruction file of the Amazon S3 Encryption Client.
    """

    etag: str
    is_there: bool


class S3Crypt:
    """Objects in S3, encrypted in one of five modes.

    Safe to use from several threads, and after a fork.

    Args:
        mode: How objects are written, and what is demanded of those read: the same mode, its
            key, its context. Without a mode nothing is written, and what can be read is read.
        session: boto3 session to make clients from; the default one if left out. Keyrings
            that were given no session use it too, by copies that the store makes of them.
        client: An S3 client to use instead. It is not changed. Keyrings that were given no
            session then use the default one.
        endpoint_url: The S3 service's address, if not AWS's; KMS keeps its own.
        workers: Threads of one transfer, at most: there is one for each core, and more while
            a server far away keeps them waiting. Each takes about 11 MiB for a put, 3 for a get.
        allow_plain_http: Let customer keys (`SSEC`), and this store's own requests to KMS, go to
            other machines over plain HTTP. Keyrings have an argument of their own.
        written_in: Where the mode binds buckets: the bucket that all objects of this store are
            bound to, read and written, whatever bucket or access point their URIs name. For a
            replica, and for access points.
        expected_bucket_owner: The id of the AWS account that owns the buckets. S3 refuses every
            request to the bucket of another account, so that a bucket that was deleted and made
            anew by somebody else is neither read nor written. Copies demand it of both buckets.
        request_payer: `requester`, for buckets whose reader pays.

    Every method raises `ConfigError` for what is wrong with the call, `StorageError` for what
    S3 refuses, `KeyUnavailableError` for what KMS refuses.
    """

    def __init__(  # noqa: PLR0913 - how it reaches AWS, by name
        self,
        mode: Mode | None = None,
        *,
        session: "boto3.Session | None" = None,
        client: Any = None,
        endpoint_url: str | None = None,
        workers: int = DEFAULT_WORKERS,
        allow_plain_http: bool = False,
        written_in: str | None = None,
        expected_bucket_owner: str | None = None,
        request_payer: Literal["requester"] | None = None,
    ) -> None:
        if mode is not None:
            check_written_in(mode, written_in)
        if workers < 1:
            raise ConfigError(f"A store needs at least one worker, not {workers}.")
        self.mode = mode
        self.written_in = written_in
        self.workers = workers
        self._clients = Clients(
            "s3",
            session=session,
            client=client,
            endpoint_url=endpoint_url,
            connections=workers,
            allow_plain_http=allow_plain_http,
            expected_bucket_owner=expected_bucket_owner,
            request_payer=request_payer,
        )
        self._kms_clients = Clients("kms", session=session, allow_plain_http=allow_plain_http)
        self._keyrings = SessionKeyrings(session) if session is not None else None
        self._checksums = Checksums(self._clients)
        self._key_arns: dict[tuple[str, str | None], str] = {}

    @property
    def client(self) -> Any:
        """Return the S3 client of this process."""
        return self._clients.get()

    def put(  # noqa: PLR0913 - what S3 lets one say of an object, by name
        self,
        source: str | Path | bytes | BinaryIO,
        uri: str,
        *,
        mode: Mode | None = None,
        metadata: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        content_type: str | None = None,
        storage_class: str | None = None,
        if_absent: bool = False,
        progress: Progress | None = None,
    ) -> ObjectInfo:
        """Store an object, encrypted; it appears whole or not at all.

        Args:
            source: A path, bytes, or a binary file, read from its position to its end. A
                stream of unknown length is read once, in bounded memory; an interrupt waits
                for the read under way.
            uri: `s3://bucket/name`.
            mode: Instead of the store's.
            metadata: User metadata, in the clear in S3.
            tags: Object tags.
            content_type: Of the plaintext.
            storage_class: S3's name of it, `STANDARD_IA`.
            if_absent: Fail where the object exists.
            progress: Called with plaintext bytes stored since the last call, from any thread.

        Raises:
            ConflictError: It exists, and `if_absent` was given.
            PolicyError: S3 did not encrypt as asked; what it stored was removed again.
        """
        location, described = _target(uri, metadata, tags, content_type, storage_class)
        with _opened(source) as opened:
            return self.write(
                opened,
                location,
                self._demanded(mode),
                described,
                conditions=IF_ABSENT if if_absent else {},
                progress=progress,
            )

    def get(  # noqa: PLR0913 - what may be demanded of an object, by name
        self,
        uri: str,
        target: str | Path | BinaryIO,
        *,
        mode: Mode | None = None,
        version_id: str | None = None,
        written_as: str | None = None,
        written_in: str | None = None,
        byte_range: str | None = None,
        allow_uncommitted: bool = False,
        allow_unsigned: bool = False,
        allow_unverified_signature: bool = False,
        neighbour: Neighbour | None = None,
        progress: Progress | None = None,
    ) -> ObjectInfo:
        """Fetch an object's plaintext, verified.

        Args:
            uri: `s3://bucket/name`.
            target: A path: the file appears complete and verified, or not at all. Or a binary
                file to write to: it gets verified bytes in order, and *only when this returns*
                has it got all of them.
            mode: Instead of the store's.
            version_id: Instead of the current version.
            written_as: The name under which the object was put, where it was moved since.
            written_in: The bucket that the object is bound to, where that is another: this one is
                its replica, or the URI names an access point.
            byte_range: Only these bytes of the plaintext, as in HTTP: `0-99`, `100-` or, for
                the last ones, `-100`. The frames that have them are fetched and verified, and the
                final one.
            allow_uncommitted: Read client-side objects without key commitment too.
            allow_unsigned: Read unsigned objects too where the mode demands a signature.
            allow_unverified_signature: Read ranges of signed objects too, as `open` says.
            neighbour: As `list_with_neighbours` yields it, where the object was listed.
            progress: Called with plaintext bytes written since the last call, from any thread.

        Raises:
            ObjectNotFoundError: There is none.
            FormatError: The Amazon S3 Encryption Client encrypted it.
            IntegrityError: It is not what was written, or not under this name.
            PolicyError: It is not encrypted as demanded.
            ConflictError: It was replaced while it was read.
        """
        demand = Demand(
            self._mode(mode),
            version_id,
            written_as,
            allow_uncommitted,
            allow_unverified_signature,
            allow_unsigned,
            neighbour,
            written_in,
        )
        location = Location.parse_object(uri)
        if isinstance(target, io.TextIOBase):
            raise ConfigError("The target is open as text.", hint='Open it in binary mode: "wb".')
        wanted = ByteRange.parse(byte_range) if byte_range is not None else None
        if not isinstance(target, str | os.PathLike):
            return self._get_into(target, location, demand, wanted, progress)
        with replacing(target) as file:
            if wanted:
                return self._get_into(file, location, demand, wanted, progress)
            with self.reading(location, demand) as reading:
                return reading.into_file(file, self.workers, progress)

    def read(  # noqa: PLR0913 - as `get` has them
        self,
        uri: str,
        *,
        mode: Mode | None = None,
        version_id: str | None = None,
        written_as: str | None = None,
        written_in: str | None = None,
        byte_range: str | None = None,
        allow_uncommitted: bool = False,
        allow_unsigned: bool = False,
        allow_unverified_signature: bool = False,
    ) -> bytes:
        """Return an object's plaintext, verified; arguments and errors as `get`."""
        target = io.BytesIO()
        self.get(
            uri,
            target,
            mode=mode,
            version_id=version_id,
            written_as=written_as,
            written_in=written_in,
            byte_range=byte_range,
            allow_uncommitted=allow_uncommitted,
            allow_unsigned=allow_unsigned,
            allow_unverified_signature=allow_unverified_signature,
        )
        return target.getvalue()

    @overload
    def open(
        self,
        uri: str,
        how: Literal["rb"] = "rb",
        /,
        *,
        mode: Mode | None = None,
        version_id: str | None = None,
        written_as: str | None = None,
        written_in: str | None = None,
        allow_uncommitted: bool = False,
        allow_unsigned: bool = False,
        allow_unverified_length: bool = False,
        allow_unverified_signature: bool = False,
        cache_length: int = DEFAULT_CACHE_LENGTH,
    ) -> ObjectReader: ...

    @overload
    def open(
        self,
        uri: str,
        how: Literal["wb", "xb"],
        /,
        *,
        mode: Mode | None = None,
        metadata: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        content_type: str | None = None,
        storage_class: str | None = None,
    ) -> ObjectWriter: ...

    def open(
        self, uri: str, how: Literal["rb", "wb", "xb"] = "rb", /, **options: Any
    ) -> ObjectReader | ObjectWriter:
        """Open an object as a binary file, to be read at any offset or written in order.

        Args:
            uri: `s3://bucket/name`.
            how: `rb` to read; `wb` to write, and `xb` to write only where there is none.
            mode: Instead of the store's.
            version_id: Instead of the current version.
            written_as: The name under which the object was put, where it was moved since.
            written_in: The bucket that the object is bound to, where that is another: this one is
                its replica, or the URI names an access point.
            allow_uncommitted: Read client-side objects without key commitment too.
            allow_unsigned: Read unsigned objects too where the mode demands a signature.
            allow_unverified_length: Return bytes before the final frame has proved the length:
                one request less, for who reads a known range. A truncated object is then
                noticed only once its end, or its size, is asked for.
            allow_unverified_signature: Read signed objects too. Their signature covers the whole
                and is not verified: whoever may read such objects can forge what is read.
            cache_length: Plaintext bytes that are kept of what was read, and read ahead.
            metadata, tags, content_type, storage_class: As `put`.

        Returns:
            An `ObjectReader`, or an `ObjectWriter` whose `close` stores the object.

        Raises:
            ObjectNotFoundError, IntegrityError, ConflictError: As `get`.
            PolicyError: As `get`, or it is signed.
        """
        if how == "rb":
            return self._open_to_read(uri, **options)
        if how in ("wb", "xb"):
            return self._open_to_write(uri, if_absent=how == "xb", **options)
        raise ConfigError(
            f"Objects are opened as 'rb', 'wb' or 'xb', not {how!r}.",
            hint="They are written whole: nothing can be appended or changed in place.",
        )

    def head(
        self, uri: str, *, mode: Mode | None = None, version_id: str | None = None
    ) -> ObjectInfo:
        """Say how large an object's plaintext is, and what else one request tells.

        The size is exact, by arithmetic: where s3crypt wrote the object, its metadata has the
        lengths that takes, and whoever reads the object compares them with its header; of other
        writers' objects the header is read here. What only the header tells (`keys`, `context`,
        `suite`) may be missing.
        """
        location = Location.parse_object(uri)
        chosen = self._mode(mode)
        if chosen is None:
            # Only its first bytes tell whose it is.
            return self._look(location, Demand(None, version_id), first=_HEAD_LENGTH)
        with location.named_in_errors(), _explaining(chosen):
            arguments = _read_arguments(chosen, version_id)
            reply = head(self.client, location, arguments)
        info = describe_head(location, reply)
        if info is None and isinstance(chosen, ClientSide):
            return self._look(location, Demand(chosen, version_id), first=_HEAD_LENGTH)
        return info or describe_plain(location, reply)

    def inspect(
        self,
        uri: str,
        *,
        mode: Mode | None = None,
        version_id: str | None = None,
        neighbour: Neighbour | None = None,
    ) -> ObjectInfo:
        """Say how an object is encrypted, by whose key and how large it is; decrypts nothing.

        An object of mode `sse-c` answers only to its key, so it needs `mode`. `neighbour` is as
        `get` has it.
        """
        location = Location.parse_object(uri)
        demand = Demand(self._mode(mode), version_id, neighbour=neighbour)
        return self._look(location, demand, first=MAX_HEADER_LENGTH)

    def list(self, uri: str) -> Iterator[ListedObject]:
        """Yield the objects whose URI begins with `uri`, in S3's order."""
        location = Location.parse(uri)
        request = {"Bucket": location.bucket, "Prefix": location.name}
        for page in pages(self.client, "list_objects_v2", request, str(location)):
            for listed in page.get("Contents", ()):
                yield ListedObject(
                    str(Location(location.bucket, listed["Key"])),
                    listed["Size"],
                    listed["ETag"],
                    listed["LastModified"],
                )

    def list_with_neighbours(self, uri: str) -> "Iterator[tuple[ListedObject, Neighbour | None]]":
        """Yield as `list` does, each object with what `get` and `inspect` take as `neighbour`.

        Those then know, without a request, of most objects that the Amazon S3 Encryption Client
        did not encrypt them. None where the listing cannot tell.
        """
        for listed, is_there in s3ec.with_neighbours(self.list(uri), lambda item: item.uri):
            # A directory bucket lists in no order.
            is_unknown = is_there is None or Location.parse(listed.uri).bucket.endswith("--x-s3")
            yield listed, None if is_unknown else Neighbour(listed.etag, bool(is_there))

    def delete(self, uri: str, *, version_id: str | None = None) -> None:
        """Delete an object (in a versioned bucket: hide it), or one version for good."""
        location = Location.parse_object(uri)
        version = {"VersionId": version_id} if version_id else {}

        def look(attempts: Attempts) -> Reply | None:
            # A second delete would remove what another writer has stored since the first one.
            with suppress(ObjectNotFoundError):
                head(self.client, location, version, within=attempts)
                return None
            return {}

        request = {**location.arguments, **version}
        call(self.client, "delete_object", request, str(location), look=look)

    def needs_rotation(
        self,
        uri: str,
        *,
        to: Mode,
        allow_unsigned: bool = False,
        allow_unencrypted: bool = False,
        written_in: str | None = None,
    ) -> bool:
        """Tell whether `rotate` with the same arguments would change it; reads no plaintext."""
        from . import rotation  # noqa: PLC0415 - the face is here, the work above in the layers

        origin = rotation.Origin(allow_unsigned, allow_unencrypted, written_in)
        return rotation.needs_rotation(self, Location.parse_object(uri), to, origin)

    def rotate(  # noqa: PLR0913 - what may be said of objects, by name
        self,
        uri: str,
        *,
        to: Mode,
        dry_run: bool = False,
        allow_unsigned: bool = False,
        allow_unencrypted: bool = False,
        written_in: str | None = None,
        drop_annotations: bool = False,
        on_outcome: "Callable[[RotationOutcome], None] | None" = None,
    ) -> "tuple[RotationOutcome, ...]":
        """Bring an object, or all below a prefix, to another mode or key.

        Each by the cheapest sound way: copied inside S3, rewrapped (only the wrapped key
        changes), or re-encrypted through this process. Objects that are as `to` says already
        are left alone. A concurrent writer wins.

        Args:
            uri: An object, or a prefix: a bucket, or a URI that ends with a slash.
            to: The mode to bring them to. The store's own mode is what they are read with.
                Where `to` is client-side it must have one, since without a mode anyone who can
                write to the bucket chooses what is sealed: `S3Crypt(SSES3()).rotate(...)`.
            dry_run: Only say what would be done.
            allow_unsigned: Take unsigned objects too where the store's mode demands a signature.
            allow_unencrypted: Take objects too that S3 reports no encryption of, as other servers
                than AWS's do of plain objects.
            written_in: The bucket that the objects are bound to now. With `to` they are bound to
                the bucket that they are in, or to the store's `written_in`.
            drop_annotations: Rotate also objects whose annotations cannot be kept, without them:
                in buckets without versioning where the object is written anew, and to SSE-C.
            on_outcome: Called with each object's outcome as it is known.

        Raises:
            RotationError: Some objects below a prefix failed; the others are done. One object's
                failure is raised as it is.
        """
        from . import rotation  # noqa: PLC0415

        return rotation.rotate(
            self,
            Location.parse(uri),
            to,
            rotation.Origin(allow_unsigned, allow_unencrypted, written_in),
            drop_annotations=drop_annotations,
            dry_run=dry_run,
            on_outcome=on_outcome,
        )

    # What follows is for rotation, for the file system and for the methods above.

    def write(  # noqa: PLR0913 - by name
        self,
        source: Source,
        location: Location,
        mode: Mode,
        described: "Description",
        *,
        conditions: Mapping[str, str],
        progress: Progress | None = None,
        written_in: str | None = None,
    ) -> ObjectInfo:
        """Store plaintext at `location` under `conditions`, described as given.

        With `IfMatch` it replaces an object that must not be lost. `written_in` is the bucket
        behind an access point.
        """
        mode = self._with_session(mode)
        sealer, header = None, None
        ours: dict[str, str] = {}
        if isinstance(mode, ClientSide):
            sealer, header, ours = self._sealed(
                mode, self.context_here(mode, location, written_in), source.size
            )
        mark = None
        if conditions and not sealer:
            # The object's content would not tell it from another writer's.
            ours = entries.new_token(described.metadata)
            mark = Mark(metadata=ours) if ours else None
        whole = {**described.metadata, **ours}
        entries.check_length(whole)
        to = Upload(
            self.client,
            location,
            {**described.arguments(whole), **mode.write_arguments()},
            mode.read_arguments(),
            conditions,
            lambda reply: self._check_written(mode, reply, location),
            confirm_first="IfMatch" in conditions and not isinstance(mode, ClientSide),
            checksums=self._checksums,
            mark=mark,
        )
        with _explaining(mode, is_write=True):
            reply, size = upload(to, source, sealer, workers=self.workers, progress=progress)
        self.ensure_tags(location, mode, described.tags, reply)
        if not reply.get("ETag"):
            # Some services leave it out of their reply to CompleteMultipartUpload.
            found = head(self.client, location, mode.read_arguments())
            reply = {**reply, "ETag": found["ETag"]}
        stored = header.geometry.message_length(size) if header else size
        if sealer and sealer.is_signed:
            stored += sealer.footer_length
        return describe_written(location, mode, described, reply, (size, stored, header, whole))

    def copy(
        self, source: Location, uri: str, demand: "Demand", **described: Any
    ) -> tuple[ObjectInfo, ObjectInfo]:
        """Store an object, verified, under another name too; return what is known of both.

        Its metadata, tags, content headers and storage class are copied; its locks, event hold,
        annotations and ACL are not.

        Args:
            source: The object.
            uri: Of its copy.
            demand: What is demanded of the object.
            described: As `open` has it, for the copy.

        Raises:
            ObjectNotFoundError, IntegrityError, PolicyError, ConflictError: As `get`.
        """
        mode = self._demanded(described.pop("mode", None))
        with self.reading(source, demand) as reading:
            info, reply = reading.info, reading.stream.reply
            check_metadata(source, reply)
            if "metadata" not in described:
                refuse_s3ec(info.metadata)
            kept = {
                "metadata": info.metadata,
                # S3 counts those that the caller may read.
                "tags": self.tags(source, info.version_id) if reply.get("TagCount") else None,
                "content_type": None,
                "storage_class": None,
            }
            target, given = _target(uri, **{**kept, **described})
            given = replace(given, headers={**describing(reply), **given.headers})
            plain = StreamSource(reading.plaintext, info.size)
            return info, self.write(plain, target, mode, given, conditions={})

    def tags(self, location: Location, version_id: str | None) -> dict[str, str]:
        """Return an object's tags."""
        try:
            return self._asked_tags(location, version_id)
        except StorageError as error:
            # A service without tags has none to lose. A denied permission must not lose them.
            if error.code == "NotImplemented":
                return _tags_in_headers(error)
            raise

    def ensure_tags(
        self, location: Location, mode: Mode, tags: Mapping[str, str], reply: Mapping[str, Any]
    ) -> None:
        """Set the tags of an object that was just made by parts, where the service dropped them.

        Ceph 16.2 drops those that an upload by parts begins with; AWS does not. An object that
        another writer replaced or deleted meanwhile is left as it is.

        Raises:
            StorageError: They could not be set. The object is there.
        """
        if not tags or "UploadId" not in reply or is_aws(self.client):
            return
        version = {"VersionId": reply["VersionId"]} if reply.get("VersionId") else {}
        pairs = [{"Key": name, "Value": value} for name, value in tags.items()]
        request = {**location.arguments, **version, "Tagging": {"TagSet": pairs}}
        try:
            if self._asked_tags(location, reply.get("VersionId")) == tags:
                return
            # A version of this name is whichever object was written last.
            if reply.get("VersionId", "null") == "null" and reply.get("ETag"):
                check_unchanged(self.client, location, reply["ETag"], mode.read_arguments())
            call(self.client, "put_object_tagging", request, f"{location} (its tags)")
        except (ConflictError, ObjectNotFoundError):
            return
        except StorageError as error:
            # A service without tags would take them for the object's new content.
            if error.code == "NotImplemented" or http_status(error) == HTTPStatus.FORBIDDEN:
                return
            raise

    def _asked_tags(self, location: Location, version_id: str | None) -> dict[str, str]:
        version = {"VersionId": version_id} if version_id else {}

        def look(attempts: Attempts) -> Reply | None:
            # Ceph drops the tags of an upload by parts, and answers with nothing instead. AWS
            # leaves the count out where it is 0.
            count = head(self.client, location, version, within=attempts).get("TagCount")
            return {"TagSet": []} if count == 0 else None

        request = {**location.arguments, **version}
        subject = f"{location} (its tags)"
        reply = call(self.client, "get_object_tagging", request, subject, look=look)
        return {tag["Key"]: tag["Value"] for tag in reply["TagSet"]}

    @contextmanager
    def reading(
        self, location: Location, demand: "Demand", *, first: int = PART_LENGTH
    ) -> "Iterator[Reading]":
        """Open an object whose encryption is as demanded; ask for `first` bytes at first."""
        mode = demand.mode and self._with_session(demand.mode)
        context = self.context_demanded(location, demand)
        arguments = _read_arguments(mode, demand.version_id)
        with (
            location.named_in_errors(),
            _explaining(mode),
            ObjectStream.open(self.client, location, arguments, first=first) as stream,
        ):
            reader = None
            if isinstance(mode, ClientSide):
                reader = _decrypting(mode, context, stream, demand)
            else:
                self.check_mode(mode, stream.reply, location)
                _refuse_client_side(mode, stream)
                if mode is None:
                    self._refuse_headless_ciphertext(location, stream, demand.neighbour)
            header = reader.header if reader else None
            info = describe(location, stream, header)
            yield Reading(location, stream, reader, info, demand)

    def _look(self, location: Location, demand: "Demand", *, first: int) -> ObjectInfo:
        arguments = _read_arguments(demand.mode, demand.version_id)
        with (
            location.named_in_errors(),
            _explaining(demand.mode),
            ObjectStream.open(self.client, location, arguments, first=first) as stream,
        ):
            header = recognise(stream)
            if header:
                entries.check_recorded(entries.of_reply(stream.reply), header)
            elif demand.mode is None:
                self._refuse_headless_ciphertext(location, stream, demand.neighbour)
            return describe(location, stream, header)

    def _refuse_headless_ciphertext(
        self, location: Location, stream: ObjectStream, neighbour: Neighbour | None
    ) -> None:
        """Refuse an object without a mark whose key an instruction file beside it holds.

        A listing says whether to look for the file; without one, the object's first bytes do.
        """
        if neighbour and neighbour.etag == stream.reply["ETag"]:
            if neighbour.is_there:
                self.refuse_instruction_file_of(location, is_listed=True)
        elif stream.size >= s3ec.MIN_CIPHERTEXT_LENGTH and not is_known(stream.beginning):
            self.refuse_instruction_file_of(location)

    def refuse_instruction_file_of(self, location: Location, *, is_listed: bool = False) -> None:
        """Refuse an object beside which there is an instruction file of the S3 Encryption Client.

        A name that ends like that of one is not enough: metadata or body must show it. A neighbour
        that may not be read is taken for none.

        Args:
            location: The object.
            is_listed: `NAME.instruction` is known to be there, so no HEAD asks for it.

        Raises:
            FormatError: There is one: the object's bytes are that client's ciphertext.
        """
        name = s3ec.beside(location.name)
        if name is None:
            return
        beside = Location(location.bucket, name)
        try:
            is_one = self._is_instruction_file(beside, is_listed=is_listed)
        except ObjectNotFoundError:
            return
        except S3CryptError as error:
            if error.code not in _UNREADABLE:
                raise
            return
        if is_one:
            raise FormatError(
                f"{location}: the object is of the Amazon S3 Encryption Client, which this version "
                f"does not read; the instruction file {beside} holds its key.",
                hint="Read it with that client.",
            )

    def _is_instruction_file(self, location: Location, *, is_listed: bool) -> bool:
        if not is_listed:
            found = head(self.client, location, {})
            if s3ec.INSTRUCTION_MARK in entries.of_reply(found):
                return True
            if found["ContentLength"] > s3ec.MAX_INSTRUCTION_LENGTH:
                return False
        first = s3ec.MAX_INSTRUCTION_LENGTH
        with ObjectStream.open(self.client, location, {}, first=first) as stream:
            return _is_instruction_file(stream)

    def _open_to_read(  # noqa: PLR0913 - as `open` has them
        self,
        uri: str,
        *,
        mode: Mode | None = None,
        version_id: str | None = None,
        written_as: str | None = None,
        written_in: str | None = None,
        allow_uncommitted: bool = False,
        allow_unsigned: bool = False,
        allow_unverified_length: bool = False,
        allow_unverified_signature: bool = False,
        cache_length: int = DEFAULT_CACHE_LENGTH,
    ) -> ObjectReader:
        demand = Demand(
            self._mode(mode),
            version_id,
            written_as,
            allow_uncommitted,
            allow_unverified_signature,
            allow_unsigned,
            written_in=written_in,
        )
        if cache_length < 0:
            raise ConfigError(f"A cache has a length of 0 bytes or more, not {cache_length}.")
        location = Location.parse_object(uri)
        with self.reading(location, demand, first=FIRST_LENGTH) as reading:
            raw = reading.into_raw(self.workers, cache_length)
            if not allow_unverified_length:
                raw.verify_size()
            return ObjectReader(raw, reading.info)

    def _get_into(
        self,
        target: BinaryIO,
        location: Location,
        demand: "Demand",
        wanted: ByteRange | None,
        progress: Progress | None,
    ) -> ObjectInfo:
        """Write an object's plaintext, or a range of it, in order."""
        if wanted is None:
            with self.reading(location, demand) as reading:
                return reading.into_stream(target, progress)
        with (
            self.reading(location, demand, first=FIRST_LENGTH) as reading,
            reading.into_raw(self.workers, DEFAULT_CACHE_LENGTH) as raw,
        ):
            start, end = wanted.within(raw.size, str(location))
            raw.seek(start)
            buffer = reserve(min(RUN_LENGTH, end - start))
            while left := end - raw.tell():
                count = raw.readinto(buffer[:left])
                _write_all(target, buffer[:count])
                if progress:
                    progress(count)
            return reading.info

    def _open_to_write(  # noqa: PLR0913 - as `open` has them
        self,
        uri: str,
        *,
        if_absent: bool,
        mode: Mode | None = None,
        metadata: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        content_type: str | None = None,
        storage_class: str | None = None,
    ) -> ObjectWriter:
        location, described = _target(uri, metadata, tags, content_type, storage_class)
        demanded = self._demanded(mode)

        def store(source: Source) -> ObjectInfo:
            conditions = IF_ABSENT if if_absent else {}
            return self.write(source, location, demanded, described, conditions=conditions)

        return ObjectWriter(store, str(location))

    def check_mode(self, mode: Mode | None, reply: Mapping[str, Any], location: Location) -> None:
        """Refuse an object that S3 does not report to be in this server-side mode and key."""
        if mode is None or isinstance(mode, ClientSide):
            return
        reported = reported_mode(reply)
        if reported != mode.name:
            raise PolicyError(
                f"{location} is stored as {reported or 'unencrypted'}, not as {mode.name}.",
                hint=f"Read it with mode {reported}." if reported else None,
            )
        if isinstance(mode, SSEKMS | DSSEKMS):
            key = str(reply.get("SSEKMSKeyId"))
            if key != self.kms_key_arn(mode.key, key):
                raise PolicyError(
                    f"{location} is encrypted under {key}, not under {mode.key}.",
                    hint="Read it with that key, or without a mode.",
                )

    def kms_key_arn(self, key: str, like: str) -> str:
        """Return the ARN of a key named by id, alias or ARN, in the Region of the ARN `like`.

        An id is resolved like an alias: another account's key may have an equal one.
        """
        if key == like:
            return like
        region = self._kms_region(like)
        if self._key_arns.get((key, region)) != like:
            # Asked once where it holds, and again where it does not: the alias may have moved.
            arn = resolve_key_arn(self._kms_clients.get(region), key)
            self._key_arns[key, region] = arn
        return self._key_arns[key, region]

    def _kms_region(self, arn: str) -> str | None:
        """Return the Region of a key's ARN in a reply, or None to ask in the session's own."""
        if not arn.startswith("arn:") or arn.count(":") < 5:
            return None
        _, partition, _, region, *_ = arn.split(":")
        # A server that lies must not choose the host that is asked.
        own = self.client.meta.region_name
        if region == own:
            return region
        is_near = partition == self._kms_clients.partition(own)
        return region if is_near and region in self._kms_clients.regions(partition) else None

    def _check_written(self, mode: Mode, reply: Mapping[str, Any], location: Location) -> None:
        """Refuse a reply that does not confirm the encryption, nor the key that is known of it.

        What an alias or an id names is compared where it was resolved before: writers need no
        kms:DescribeKey.
        """
        check_written(mode, reply, location)
        if not isinstance(mode, SSEKMS | DSSEKMS):
            return
        key = str(reply.get("SSEKMSKeyId"))
        if (mode.key, self._kms_region(key)) in self._key_arns:
            # Where KMS does not answer now, the object stays: no reply says that it is wrong.
            with suppress(KeyUnavailableError):
                self.check_mode(mode, reply, location)

    def pinned(self, mode: Mode) -> Mode:
        """Return the mode with KMS aliases resolved, for a job during which they must not move.

        Keyrings without a session get the store's.
        """
        mode = self._with_session(mode)
        if isinstance(mode, ClientSide):
            return replace(mode, keyring=pinned(mode.keyring))
        if isinstance(mode, SSEKMS | DSSEKMS) and ":key/" not in mode.key:
            kms = self._kms_clients.get(self.client.meta.region_name)
            return replace(mode, key=resolve_key_arn(kms, mode.key))
        return mode

    def _with_session(self, mode: Mode) -> Mode:
        """Return the mode whose keyrings ask KMS with the store's session, if it was given one."""
        if self._keyrings is None or not isinstance(mode, ClientSide):
            return mode
        keyring = self._keyrings.of(mode.keyring)
        return mode if keyring is mode.keyring else replace(mode, keyring=keyring)

    def _mode(self, mode: Mode | None) -> Mode | None:
        return mode if mode is not None else self.mode

    def _demanded(self, mode: Mode | None) -> Mode:
        chosen = self._mode(mode)
        if chosen is None:
            raise ConfigError(
                "Writing needs a mode.", hint="S3Crypt(ClientSide(...)), or put(..., mode=...)."
            )
        return chosen

    def context_here(
        self, mode: ClientSide, location: Location, written_in: str | None = None
    ) -> dict[str, str]:
        """Return the context that an object is sealed under when it is written at `location`."""
        behind = written_in if is_access_point(location.bucket) else None
        bucket = self.written_in or behind or location.bucket
        return mode.object_context(location.name, bucket)

    def context_demanded(self, location: Location, demand: "Demand") -> dict[str, str]:
        """Return the pairs that the context of an object read at `location` must have."""
        if demand.written_in:
            check_written_in(demand.mode, demand.written_in)
        if not isinstance(demand.mode, ClientSide):
            return {}
        check_written_in(demand.mode, self.written_in)
        name = demand.written_as or location.name
        bucket = demand.written_in or self.written_in or location.bucket
        return demand.mode.object_context(name, bucket)

    @staticmethod
    def _sealed(
        mode: ClientSide, context: Mapping[str, str], size: int | None
    ) -> tuple[Sealer, Header, dict[str, str]]:
        keyring: Keyring = mode.keyring
        object_keyring = None
        if mode.key_location == "metadata":
            keyring = object_keyring = entries.ObjectKeyring(mode.keyring)
        sealer = Sealer(
            keyring,
            context=context,
            signed=mode.signed,
            frame_length=mode.frame_length,
            plaintext_length=size,
        )
        return sealer, sealer.fields, entries.described(sealer.fields, object_keyring)


@dataclass(frozen=True, slots=True)
class Demand:
    """What is demanded of an object to be read."""

    mode: Mode | None
    version_id: str | None = None
    written_as: str | None = None
    allow_uncommitted: bool = False
    allow_unverified_signature: bool = False
    allow_unsigned: bool = False
    neighbour: Neighbour | None = None
    written_in: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """An object being read: its stored bytes, and what decrypts them."""

    location: Location
    stream: ObjectStream
    reader: DecryptingReader | None
    info: ObjectInfo
    demand: "Demand"

    @property
    def plaintext(self) -> BinaryIO:
        """Return the plaintext as a stream; its end is only reached once all is verified."""
        return self.reader or WholeStream(self.stream)  # type: ignore[return-value]  # RawIOBase reads alike

    def into_stream(self, target: BinaryIO, progress: Progress | None) -> ObjectInfo:
        """Write the plaintext in order."""

        def write(view: memoryview) -> None:
            _write_all(target, view)

        if self.is_in_order and self.reader:
            # Where the body ends, only its reader finds out.
            buffer = reserve(RUN_LENGTH)
            while count := self.reader.readinto(buffer):
                write(buffer[:count])
                if progress:
                    progress(count)
        else:
            pour(self.stream, self._opener, write, progress=progress)
        return self.info

    def into_file(self, file: BinaryIO, workers: int, progress: Progress | None) -> ObjectInfo:
        """Write the plaintext in place, sections side by side where the format allows it."""
        if self.is_in_order or not is_regular(file):
            return self.into_stream(file, progress)
        download(self.stream, self._opener, file, workers=workers, progress=progress)
        return self.info

    def into_raw(self, workers: int, cache_length: int) -> RawReader:
        """Return the plaintext as a raw file to be read at any offset."""
        return RawReader(
            self._plaintext(),
            name=str(self.location),
            cache_length=cache_length,
            workers=workers,
        )

    def _plaintext(self) -> Plaintext:
        if self.reader is None:
            self.stream.hold()
            return RangedPlaintext(self.stream, None, 0, self.location)
        header = self.reader.header
        if not header.frame_length:
            # Of one block no byte is verified before all are; the signature is then, too.
            return BytesPlaintext(self.reader.readall())
        if header.suite.curve and not self.demand.allow_unverified_signature:
            raise PolicyError(
                f"{self.location} is signed, and its signature covers the whole: of a range only "
                "the frames can be verified.",
                hint="Get it whole, or name allow_unverified_signature.",
            )
        self.stream.hold()
        after = footer_length(header, self.stream)
        if after is None:
            raise IntegrityError("The message does not end with a signature: it is truncated.")
        opener = self.reader.opener.without_signature()
        return RangedPlaintext(self.stream, opener, after, self.location)

    @property
    def is_in_order(self) -> bool:
        """Tell whether it is a message that must be read from end to end."""
        return self.reader is not None and self.reader.header.is_in_order

    @property
    def _opener(self) -> Opener | None:
        return self.reader.opener if self.reader else None


def _write_all(target: BinaryIO, view: memoryview) -> None:
    # An unbuffered file may take less than it is given, and says so; others take all.
    while len(view):
        taken = target.write(view)
        if taken is None and isinstance(target, io.RawIOBase):
            raise StorageError("The target does not block.", hint="Open it in blocking mode.")
        view = view[len(view) if taken is None else taken :]


def _decrypting(
    mode: ClientSide, context: Mapping[str, str], stream: ObjectStream, demand: Demand
) -> DecryptingReader:
    keyring: Keyring = mode.keyring
    wrapped = entries.load_edks(entries.of_reply(stream.reply))
    if wrapped:
        keyring = entries.ObjectKeyring(mode.keyring, wrapped)
    source: Any = stream  # RawIOBase reads as BinaryIO does
    try:
        header = read_header(source)
    except FormatError as error:
        refuse_s3ec(entries.of_reply(stream.reply))
        reported = reported_mode(stream.reply)
        if error.hint is None and reported:
            error.hint = f"S3 stores it in mode {reported}: read it with that mode."
        raise
    entries.check_recorded(entries.of_reply(stream.reply), header)
    if mode.bind_name and BOUND_NAME not in header.context:
        raise IntegrityError(
            "The object is not bound to its name.",
            hint="Where its writer did not bind names, read it with bind_name=False.",
        )
    if mode.bind_bucket and BOUND_BUCKET not in header.context:
        raise IntegrityError(
            "The object is not bound to its bucket.",
            hint="Where its writer did not bind buckets, read it with bind_bucket=False.",
        )
    return DecryptingReader(
        source,
        keyring,
        context=context,
        signed=mode.signed and not demand.allow_unsigned,
        allow_uncommitted=demand.allow_uncommitted,
        header=header,
    )


def check_written_in(mode: Mode | None, written_in: str | None) -> None:
    """Refuse a bucket that objects are said to be bound to where nobody would compare it."""
    if written_in and not binds_bucket(mode):
        raise ConfigError(
            "The bucket that objects are bound to was named, and no bucket is bound.",
            hint="Name bind_bucket=True as well.",
        )


def _refuse_client_side(mode: Mode | None, stream: ObjectStream) -> None:
    # S3 knows nothing of client-side encryption, so a reader without keys would get ciphertext
    # for plaintext. Our own objects say so; without a mode, others' are looked at too.
    if mode is not None and not entries.claims_client_side(entries.of_reply(stream.reply)):
        return
    if header := recognise(stream):
        raise PolicyError(
            "The object is encrypted client-side.",
            hint=reading_hint(keys_of(header, stream.reply)),
        )
    stream.rewind()


def _read_arguments(mode: Mode | None, version_id: str | None) -> dict[str, Any]:
    arguments: dict[str, Any] = mode.read_arguments() if mode else {}
    return {**arguments, "VersionId": version_id} if version_id else arguments


def recognise(stream: ObjectStream) -> Header | None:
    """Return the header at the beginning of a client-side object, or None for any other.

    Raises:
        FormatError, IntegrityError: It is encrypted client-side, and cannot be read: taken for
            a plain object, its ciphertext would be taken for plaintext.
    """
    metadata = entries.of_reply(stream.reply)
    refuse_s3ec(metadata)
    header = find_header(stream)  # type: ignore[arg-type]  # RawIOBase reads as BinaryIO does
    if header is None and entries.claims_client_side(metadata):
        raise FormatError(
            "The object is to be encrypted client-side, and is not a message this version reads."
        )
    if header is None and _is_instruction_file(stream):
        raise _instruction_file_error("Or name this object's own mode, to read it as it is.")
    return header


def refuse_s3ec(metadata: Mapping[str, str]) -> None:
    """Refuse an object whose metadata has entries of the Amazon S3 Encryption Client.

    Raises:
        FormatError: It has some: the object is that client's, or an instruction file, or other
            readers would take it for one of these.
    """
    names = s3ec.marks(metadata)
    if not names:
        return
    if s3ec.INSTRUCTION_MARK in names:
        raise _instruction_file_error()
    key = (
        "" if s3ec.has_key(metadata) else "; its instruction file (NAME.instruction) holds its key"
    )
    raise FormatError(
        f"The object is of the Amazon S3 Encryption Client, which this version does not read{key}.",
        hint="Read it with that client. If another one wrote it, copy it without its metadata "
        f"{', '.join(names)}.",
    )


def _instruction_file_error(hint: str = "") -> FormatError:
    return FormatError(
        "The object is an instruction file of the Amazon S3 Encryption Client: it holds the key "
        "of another object, which this version does not read.",
        hint=f"Read that object with that client. {hint}".rstrip(),
    )


def _is_instruction_file(stream: ObjectStream) -> bool:
    """Return whether an object's metadata or its whole body is that of an instruction file."""
    if s3ec.INSTRUCTION_MARK in entries.of_reply(stream.reply):
        return True
    if stream.size > s3ec.MAX_INSTRUCTION_LENGTH or not s3ec.may_begin_instruction_file(
        stream.beginning
    ):
        return False
    stream.rewind()
    return s3ec.is_instruction_file(bytes(stream.take(stream.size)))


def check_written(mode: Mode, reply: Mapping[str, Any], location: Location) -> None:
    """Refuse a reply that does not confirm the encryption that a write asked for.

    Some servers accept the headers, answer 200, and store plaintext; only AWS's echo tells.
    """
    if isinstance(mode, ClientSide):
        return
    confirmed = reported_mode(reply) == mode.name
    if isinstance(mode, SSEC):
        confirmed = confirmed and reply.get("SSECustomerKeyMD5") == mode.key_md5
    elif isinstance(mode, SSEKMS | DSSEKMS) and "alias/" not in mode.key:
        # An ARN is compared whole; of an id nothing else is known without asking KMS.
        reported = str(reply.get("SSEKMSKeyId"))
        confirmed = confirmed and mode.key in (reported, reported.rpartition(":key/")[2])
    if not confirmed:
        raise PolicyError(
            f"{location}: the server did not confirm encryption {mode.name}.",
            hint="This S3 service may not support the mode; mode client needs no support.",
        )


def _target(
    uri: str,
    metadata: Mapping[str, str] | None,
    tags: Mapping[str, str] | None,
    content_type: str | None,
    storage_class: str | None,
) -> tuple[Location, Description]:
    """Return where an object goes and what goes along, if both are possible."""
    location = Location.parse_object(uri)
    if location.is_prefix:
        raise ConfigError(f"{uri!r} names a prefix, not an object.", hint="Add a name to it.")
    headers = {"ContentType": content_type, "StorageClass": storage_class}
    described = Description(
        metadata=metadata or {},
        tags=tags or {},
        headers={name: value for name, value in headers.items() if value},
    )
    entries.check_user(described.metadata)
    return location, described


def _tags_in_headers(error: S3CryptError) -> dict[str, str]:
    """Return the tags of a put that a service without tags repeats as a header, as rclone does."""
    return dict(parse_qsl(reply_headers(error).get("x-amz-tagging", ""), keep_blank_values=True))


@contextmanager
def _opened(source: str | Path | bytes | BinaryIO) -> Iterator[Source]:
    if isinstance(source, bytes | bytearray | memoryview):
        yield BytesSource(source)
        return
    if isinstance(source, io.TextIOBase):
        raise ConfigError("The source is open as text.", hint='Open it in binary mode: "rb".')
    if not isinstance(source, str | os.PathLike):
        name = str(getattr(source, "name", "the source"))
        yield FileSource.of(source, name) or StreamSource(source)
        return
    with opening(source) as file:
        yield FileSource.of(file, str(source)) or StreamSource(file)


@contextmanager
def _explaining(mode: Mode | None, *, is_write: bool = False) -> Iterator[None]:
    """Add what S3 does not say about SSE-C: its refusals are bare."""
    try:
        yield
    except S3CryptError as error:
        hints = (error.hint, _sse_c_hint(mode, error, is_write=is_write))
        error.hint = " ".join(hint for hint in hints if hint) or None
        raise


def _sse_c_hint(mode: Mode | None, error: S3CryptError, *, is_write: bool) -> str | None:
    if isinstance(mode, SSEC) and error.code in ("AccessDenied", "403"):
        if not is_write:
            return "Or the customer key is the wrong one."
        return (
            "Or the bucket blocks SSE-C, as buckets made since April 2026 do: allow it with "
            "put-bucket-encryption and BlockedEncryptionTypes={EncryptionType=[NONE]}."
        )
    if error.code in ("InvalidRequest", "400", "InvalidArgument"):
        if isinstance(mode, SSEC):
            return "The object may be stored in another mode than sse-c."
        return "The object may be stored in mode sse-c, which needs its customer key."
    return None
