# SPDX-License-Identifier: Apache-2.0
"""The public class `S3Crypt`. It checks arguments, documents them, and calls the engine.

Operations on objects belong in `objects`. Changes of an object's mode or key belong in `rotation`.
No module of the library imports this module.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, overload

from . import buckets
from .arguments import check_open, check_resources, check_target, given_mode, required_mode
from .buckets import ListedBucket
from .errors import ConfigError
from .formats import MAX_HEADER_LENGTH
from .local.sources import given
from .location import Location
from .modes import Mode
from .moves import Move, move
from .objects import listing, presigning
from .objects.access import DEFAULT_WORKERS, ListedObject, ListedPrefix, Objects
from .objects.checks import check_written_in, demanded
from .objects.describing import LockMode, changes_to, describe_new, described_among
from .objects.info import ObjectInfo, copied
from .objects.opened import Neighbour, ReadOptions
from .objects.ranges import ByteRange
from .objects.reader import DEFAULT_CACHE_LENGTH, ObjectReader
from .objects.writer import ObjectWriter
from .transfer import Progress
from .transfer.conditions import IF_ABSENT

if TYPE_CHECKING:
    from datetime import datetime

    import boto3
    from types_boto3_s3.client import S3Client

    from .jobs import Journal, NameFilter
    from .many import Many
    from .objects.listing import ListedVersion
    from .objects.presigning import Presigned
    from .rotation import RotationOutcome
    from .syncing import SyncOutcome


class S3Crypt:
    """Objects in S3, encrypted in one of five modes.

    Several threads may use an instance, also after a fork.

    Args:
        mode: The mode in which objects are written. A read refuses an object with another mode, key
            or context. If None, every object that can be decrypted is read, and nothing can be
            written. A text is accepted if it is sufficient: `sse-s3`, or a key (`kms:alias/NAME`,
            `aes:NAMESPACE/NAME=FILE`), which implies `ClientSide`.
        session: The boto3 session that creates the clients. None for boto3's default session.
            Keyrings without their own session use it too; the store makes copies of them for this.
        client: An S3 client to use instead of a session. It is not changed. Keyrings without their
            own session then use boto3's default session.
        endpoint_url: The address of the S3 service. None for AWS. It does not apply to KMS.
        workers: The maximum number of threads of one transfer. The more distant the server is, the
            more threads are used.
        max_memory: The maximum number of bytes of all buffers. None for 192 MiB, or a quarter of
            the machine's memory if this is less.
        allow_plain_http: Allow customer keys (`SSEC`) and this store's own requests to KMS over
            plain HTTP to other machines. Keyrings have their own argument for this.
        written_in: For a mode that binds buckets: the bucket to which all objects of this store are
            bound, for reading and writing, even if their URIs name another bucket or an access
            point. It is needed to read a replica, and to use an access point.
        expected_bucket_owner: The id of the AWS account that owns the buckets. S3 refuses every
            request to a bucket of another account. If a bucket is deleted and another account
            creates it again, it is therefore neither read nor written. For copies, both buckets are
            checked.
        request_payer: `requester` for buckets whose reader pays the costs, otherwise None.
        no_sign_request: Whether to send unsigned requests to S3, for public buckets. It does not
            apply to KMS.

    Methods share these arguments:
        uri: `s3://bucket/name`.
        mode: The mode for this call. None for the store's mode.
        version_id: The version id of the object. None for the current version.
        written_as: The name under which the object was written, if it has another name now.
        written_in: The bucket to which the object is bound, if the URI names a replica of this
            bucket or an access point.
        allow_uncommitted: Whether to read client-side objects without key commitment, too.
        allow_unsigned: Whether to read unsigned objects although the mode requires a signature.
        allow_unverified_signature: Whether to read parts of signed objects. The signature covers
            the whole object, so it is not verified then, and anyone who can read such objects can
            forge them.
        neighbour: The value that `list_with_neighbours` yielded with the object, or None.
        metadata, tags: User metadata and object tags. S3 stores them unencrypted.
        content_type: The content type, for example `text/csv`. None for a new object means that it
            is guessed from the suffix of the object's name, or else of the file's name, with a
            table of s3crypt.
        content_encoding, cache_control, content_disposition, content_language: Headers of S3's
            replies.
        storage_class: The storage class by S3's name, for example `STANDARD_IA`.
        object_lock_mode, object_lock_retain_until: `GOVERNANCE` or `COMPLIANCE`, and a datetime
            with a time zone. Until then, the new version cannot be deleted.
        object_lock_legal_hold: Whether the new version has a legal hold.
        progress: Is called with the number of plaintext bytes transferred since the last call. Any
            thread may call it.

    Every method raises `ConfigError` for a wrong call, `StorageError` if S3 refuses a request, and
    `KeyUnavailableError` if KMS refuses a request. Methods that read an object also raise
    `ObjectNotFoundError` if there is no such object, `IntegrityError` if the object was changed or
    was not written under this name, `PolicyError` if it is not encrypted as demanded, `FormatError`
    if the Amazon S3 Encryption Client encrypted it, and `ConflictError` if it was replaced during
    the read.
    """

    def __init__(  # noqa: PLR0913 - keyword arguments for the access to AWS
        self,
        mode: Mode | str | None = None,
        *,
        session: "boto3.Session | None" = None,
        client: "S3Client | None" = None,
        endpoint_url: str | None = None,
        workers: int = DEFAULT_WORKERS,
        max_memory: int | None = None,
        allow_plain_http: bool = False,
        written_in: str | None = None,
        expected_bucket_owner: str | None = None,
        request_payer: Literal["requester"] | None = None,
        no_sign_request: bool = False,
    ) -> None:
        self.mode = given_mode(mode)
        if self.mode is not None:
            check_written_in(self.mode, written_in)
        check_resources(workers, max_memory)
        self._objects = Objects(
            session=session,
            client=client,
            endpoint_url=endpoint_url,
            workers=workers,
            max_memory=max_memory,
            allow_plain_http=allow_plain_http,
            written_in=written_in,
            expected_bucket_owner=expected_bucket_owner,
            request_payer=request_payer,
            no_sign_request=no_sign_request,
        )

    @property
    def client(self) -> "S3Client":
        """Return the S3 client of this process.

        Its methods for single operations, such as `get_object`, send the expected bucket owner. Its
        paginators, waiters and transfer methods do not.
        """
        return self._objects.client

    @property
    def many(self) -> "Many":
        """Return the operations on many objects.

        Each operation yields one outcome per object.
        """
        from .many import Many  # noqa: PLC0415 - a single object does not need jobs

        return Many(self._objects, lambda: self.mode)

    @property
    def written_in(self) -> str | None:
        """Return the bucket to which all objects of this store are bound.

        Return None if the store was made without `written_in`.
        """
        return self._objects.written_in

    def put(  # noqa: PLR0913 - keyword arguments for an object's properties
        self,
        source: str | Path | bytes | BinaryIO,
        uri: str,
        *,
        mode: Mode | str | None = None,
        metadata: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        content_type: str | None = None,
        content_encoding: str | None = None,
        cache_control: str | None = None,
        content_disposition: str | None = None,
        content_language: str | None = None,
        storage_class: str | None = None,
        object_lock_mode: LockMode | None = None,
        object_lock_retain_until: "datetime | None" = None,
        object_lock_legal_hold: bool | None = None,
        if_absent: bool = False,
        progress: Progress | None = None,
    ) -> ObjectInfo:
        """Encrypt an object and store it. It becomes visible completely or not at all.

        Args:
            source: A path, bytes, or a binary file, which is read from its position to its end. A
                stream of unknown length is read once, in bounded memory. An interrupt takes effect
                only after the stream's current read has returned.
            if_absent: Whether to raise an error if the object exists, instead of replacing it.

        Raises:
            ConflictError: The object exists, and `if_absent` is True.
            LocalFileNotFoundError: The source does not exist.
            PolicyError: S3 did not encrypt as requested. The stored object was removed again.
        """
        said = described_among(locals())
        location = Location.parse_object(uri)
        described = describe_new(location, said, source if isinstance(source, str | Path) else "")
        chosen = demanded(self._mode(mode))
        conditions = IF_ABSENT if if_absent else {}
        with given(source) as opened:
            return self._objects.write(
                opened, location, chosen, described, conditions=conditions, progress=progress
            )

    def get(  # noqa: PLR0913 - keyword arguments for a reader's demands
        self,
        uri: str,
        target: str | Path | BinaryIO,
        *,
        mode: Mode | str | None = None,
        version_id: str | None = None,
        written_as: str | None = None,
        written_in: str | None = None,
        byte_range: str | None = None,
        allow_uncommitted: bool = False,
        allow_unsigned: bool = False,
        allow_unverified_signature: bool = False,
        if_absent: bool = False,
        neighbour: Neighbour | None = None,
        progress: Progress | None = None,
    ) -> ObjectInfo:
        """Fetch an object's plaintext and verify it.

        Args:
            target: A path or a binary file. A file at a path appears completely and verified, or
                not at all. A binary file receives verified bytes in order, and is complete *only
                when this method returns*.
            byte_range: The plaintext bytes to fetch, in HTTP's notation: `0-99`, `100-`, or `-100`
                for the last 100 bytes. None for all bytes. Only the frames of the range and the
                final frame are fetched and verified.
            if_absent: Whether to raise an error if the file exists, instead of replacing it.

        Raises:
            ConflictError: The file exists, and `if_absent` is True.
        """
        allowed = (allow_uncommitted, allow_unverified_signature, allow_unsigned)
        read_options = ReadOptions(
            self._mode(mode), version_id, written_as, *allowed, neighbour, written_in
        )
        location = Location.parse_object(uri)
        check_target(target)
        wanted = ByteRange.parse(byte_range) if byte_range is not None else None
        return self._objects.fetch(
            location, read_options, target, wanted=wanted, if_absent=if_absent, progress=progress
        )

    def read(  # noqa: PLR0913 - the arguments of `get`
        self,
        uri: str,
        *,
        mode: Mode | str | None = None,
        version_id: str | None = None,
        written_as: str | None = None,
        written_in: str | None = None,
        byte_range: str | None = None,
        allow_uncommitted: bool = False,
        allow_unsigned: bool = False,
        allow_unverified_signature: bool = False,
    ) -> bytes:
        """Return an object's verified plaintext. The arguments and errors are those of `get`."""
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
        mode: Mode | str | None = None,
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
        mode: Mode | str | None = None,
        metadata: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        content_type: str | None = None,
        content_encoding: str | None = None,
        cache_control: str | None = None,
        content_disposition: str | None = None,
        content_language: str | None = None,
        storage_class: str | None = None,
        object_lock_mode: LockMode | None = None,
        object_lock_retain_until: "datetime | None" = None,
        object_lock_legal_hold: bool | None = None,
    ) -> ObjectWriter: ...

    def open(  # noqa: PLR0913 - keyword arguments for demands and properties
        self,
        uri: str,
        how: str = "rb",
        /,
        *,
        mode: Mode | str | None = None,
        version_id: str | None = None,
        written_as: str | None = None,
        written_in: str | None = None,
        allow_uncommitted: bool = False,
        allow_unsigned: bool = False,
        allow_unverified_length: bool = False,
        allow_unverified_signature: bool = False,
        cache_length: int = DEFAULT_CACHE_LENGTH,
        metadata: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        content_type: str | None = None,
        content_encoding: str | None = None,
        cache_control: str | None = None,
        content_disposition: str | None = None,
        content_language: str | None = None,
        storage_class: str | None = None,
        object_lock_mode: LockMode | None = None,
        object_lock_retain_until: "datetime | None" = None,
        object_lock_legal_hold: bool | None = None,
    ) -> ObjectReader | ObjectWriter:
        """Open an object as a binary file, for reads at any offset or for sequential writing.

        An `ObjectWriter` stores the object when it is closed. To read a signed object of several
        frames, `allow_unverified_signature` must be True, because the file can be read in parts. A
        signed object of one block is verified as a whole.

        Args:
            how: `rb` to read, `wb` to write, or `xb` to write only if the object does not exist.
                Readers and writers have different arguments.
            allow_unverified_length: Whether to return bytes before the final frame has verified the
                object's length. This saves one request for a reader that needs only a certain
                range. A truncated object is then detected only when the end or the size of the
                object is read.
            cache_length: The number of plaintext bytes to keep in memory, from earlier reads and
                from reading ahead.
        """
        check_open(locals())
        said = described_among(locals())
        location, mode = Location.parse_object(uri), self._mode(mode)
        if how == "rb":
            allowed = (allow_uncommitted, allow_unverified_signature, allow_unsigned)
            read_options = ReadOptions(mode, version_id, written_as, *allowed, None, written_in)
            return self._objects.open_reader(
                location,
                read_options,
                cache_length=cache_length,
                allow_unverified_length=allow_unverified_length,
            )
        described = describe_new(location, said)
        return self._objects.open_writer(location, demanded(mode), described, if_absent=how == "xb")

    def copy(  # noqa: PLR0913 - keyword arguments for an object's properties
        self,
        source: str,
        destination: str,
        *,
        to: Mode | str | None = None,
        version_id: str | None = None,
        if_absent: bool = False,
        written_as: str | None = None,
        written_in: str | None = None,
        allow_unsigned: bool = False,
        allow_unencrypted: bool = False,
        drop_annotations: bool = False,
        metadata: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        content_type: str | None = None,
        content_encoding: str | None = None,
        cache_control: str | None = None,
        content_disposition: str | None = None,
        content_language: str | None = None,
        storage_class: str | None = None,
        object_lock_mode: LockMode | None = None,
        object_lock_retain_until: "datetime | None" = None,
        object_lock_legal_hold: bool | None = None,
    ) -> ObjectInfo:
        """Copy an object to another name, in any mode. Return the facts about the copy.

        S3 itself copies an object without client-side encryption into a server-side mode. It also
        copies a client-side object whose copy has the same keys, and the same bound name and
        bucket. Any other object is decrypted, verified and encrypted again. Metadata, tags,
        content headers, storage class, locks and annotations are copied, unless an argument
        replaces them.

        Args:
            to: The mode of the copy. None for the store's mode. The arguments `version_id`,
                `written_as`, `written_in` and `allow_unsigned` are about the source.
            if_absent: Whether to raise an error if the object at `destination` exists.
            allow_unencrypted, drop_annotations: As for `rotate`.
        """
        from . import rotation  # noqa: PLC0415 - puts and gets do not need these eight modules

        said = described_among(locals())
        target = Location.parse_object(destination)
        origin = rotation.Origin(
            allow_unsigned, allow_unencrypted, written_in, written_as, version_id
        )
        copy = rotation.copier(
            self._objects,
            self.mode,
            demanded(self._mode(to)),
            origin,
            drop_annotations=drop_annotations,
        )
        changes, at = changes_to(target, said), Location.parse_object(source)
        return copied(copy(at, target, if_absent=if_absent, changes=changes))

    def move(  # noqa: PLR0913 - keyword arguments for an object's properties
        self,
        source: str | Path,
        target: str | Path,
        *,
        to: Mode | str | None = None,
        if_absent: bool = False,
        written_as: str | None = None,
        written_in: str | None = None,
        allow_unsigned: bool = False,
        allow_unencrypted: bool = False,
        drop_annotations: bool = False,
    ) -> ObjectInfo:
        """Move an object to another name, a file into S3, or an object to a file.

        The source is deleted after the target is stored (for a file: flushed to the disk), and only
        if the source is unchanged since it was read. An object is compared by its ETag, a file by
        its inode, size and modification time. The deletion names no version, so a versioned bucket
        keeps the object's versions behind a delete marker. A service other than AWS may ignore the
        condition, so a HEAD is sent before the deletion; a change by another writer after the HEAD
        is not detected.

        Args:
            source, target: URIs or paths. At least one must be a URI.
            to: The mode of the new object. None for the store's mode. Objects are always read in
                the store's mode.
            if_absent: Whether to raise an error if the target exists.
            written_as, written_in, allow_unsigned: For an object that is read, as for `get`.
            allow_unencrypted, drop_annotations: For a move inside S3, as for `rotate`.

        Raises:
            ConflictError: The target exists and `if_absent` is True. Or the source was replaced
                during the move; then both source and target exist. Or the target is the source
                itself, by the name of an access point; then the object was rewritten in the new
                mode and was not deleted.
            FormatError: The source is an instruction file of the Amazon S3 Encryption Client, or
                has one. It was not deleted.
        """
        how = Move(
            to=self._mode(to),
            if_absent=if_absent,
            written_as=written_as,
            written_in=written_in,
            allow_unsigned=allow_unsigned,
            allow_unencrypted=allow_unencrypted,
            drop_annotations=drop_annotations,
        )
        return move(self._objects, self.mode, source, target, how)

    def head(
        self, uri: str, *, mode: Mode | str | None = None, version_id: str | None = None
    ) -> ObjectInfo:
        """Return an object's plaintext size, and all other facts that the same request shows.

        The size is computed, not measured. For an object that s3crypt wrote, it comes from lengths
        in the metadata, which a read compares with the header. For other objects, the header is
        fetched. Facts that only the header contains (`keys`, `context`, `suite`) may be missing.
        """
        read_options = ReadOptions(self._mode(mode), version_id)
        return self._objects.head(Location.parse_object(uri), read_options)

    def inspect(
        self,
        uri: str,
        *,
        mode: Mode | str | None = None,
        version_id: str | None = None,
        neighbour: Neighbour | None = None,
    ) -> ObjectInfo:
        """Return an object's mode, keys and size. For an SSE-C object, the mode must be given."""
        location = Location.parse_object(uri)
        read_options = ReadOptions(self._mode(mode), version_id, neighbour=neighbour)
        return self._objects.look(location, read_options, first=MAX_HEADER_LENGTH)

    def list(self, uri: str) -> Iterator[ListedObject]:
        """Yield the objects whose URI begins with `uri`, in S3's order."""
        return self._objects.list(Location.parse(uri))

    def list_with_neighbours(self, uri: str) -> "Iterator[tuple[ListedObject, Neighbour | None]]":
        """Yield objects as `list` does, each with a value for the argument `neighbour` of `get`.

        For most objects, this value shows that the Amazon S3 Encryption Client did not encrypt the
        object, so `get` and `inspect` need no request for it. It is None if the listing does not
        show whether the object has an instruction file.
        """
        return self._objects.list_with_neighbours(Location.parse(uri))

    def list_level(self, uri: str) -> "Iterator[ListedObject | ListedPrefix]":
        """Yield the objects and prefixes directly below `uri`.

        Names with a further slash are combined into one `ListedPrefix` per common prefix.
        """
        return self._objects.list_level(Location.parse(uri))

    def list_versions(self, uri: str) -> "Iterator[ListedVersion]":
        """Yield all versions and delete markers of the objects whose URI begins with `uri`.

        The names are in S3's order, and the versions of a name are yielded from the newest to the
        oldest. In a bucket without versioning, each object has one version.
        """
        return listing.versions(self.client, Location.parse(uri))

    def list_versions_level(self, uri: str) -> "Iterator[ListedVersion | ListedPrefix]":
        """Yield the versions and prefixes directly below `uri`.

        Names with a further slash are combined into one `ListedPrefix` per common prefix.
        """
        return listing.versions_level(self.client, Location.parse(uri))

    def buckets(self) -> Iterator[ListedBucket]:
        """Yield the buckets of the caller's account, in S3's order.

        Raises:
            StorageError: S3 failed, or the caller lacks the permission `s3:ListAllMyBuckets`.
        """
        return buckets.listed(self.client)

    def exists(self, uri: str, *, version_id: str | None = None) -> bool:
        """Return whether an object, or a version of it, exists. A delete marker does not count.

        No key is needed. The request needs the permission `s3:GetObject`. To find out that an
        object is missing, it also needs `s3:ListBucket`: without it, S3 refuses the request for a
        missing object.

        Raises:
            ConfigError: `uri` does not name an object.
            StorageError: S3 refused (code `403`) or failed, so it is unknown whether the object
                exists.
        """
        return listing.exists(self._objects, Location.parse_object(uri), version_id)

    def delete(self, uri: str, *, version_id: str | None = None) -> None:
        """Delete an object, or permanently delete the version with this id.

        Without a version id, a versioned bucket only hides the object behind a delete marker.

        S3 does not report whether the object existed: deleting a missing object succeeds, and adds
        a delete marker in a versioned bucket.

        Raises:
            ConfigError: `uri` does not name an object.
            ObjectNotFoundError: The bucket does not exist.
            StorageError: S3 refused because the caller lacks `s3:DeleteObject` (or
                `s3:DeleteObjectVersion`), or because the version is locked (code `AccessDenied`).
                Or S3 failed; the message says if the object may have been deleted.
        """
        self._objects.delete(Location.parse_object(uri), version_id)

    def make_bucket(self, bucket: str) -> bool:
        """Create a bucket in the session's Region.

        Return False if the bucket exists and already belongs to the caller.

        The bucket has AWS's defaults: SSE-S3, no public access, SSE-C blocked, no versioning.
        `BucketManager` makes a hardened bucket.

        Raises:
            ConfigError: S3 does not accept the name.
            StorageError: The bucket belongs to another account (code `BucketAlreadyExists`), or to
                the caller in another Region (code `BucketAlreadyOwnedByYou`).
        """
        return buckets.make(self.client, _bucket(bucket))

    def remove_bucket(self, bucket: str) -> None:
        """Delete an empty bucket. If the bucket is not empty, nothing is deleted.

        Raises:
            ConflictError: The bucket contains objects, versions or unfinished uploads.
            ObjectNotFoundError: The bucket does not exist.
            StorageError: S3 refused or failed.
        """
        name = _bucket(bucket)
        buckets.remove(self.client, name, listing.contents_of(self.client, name))

    def presign(
        self,
        uri: str,
        *,
        method: "Literal['GET', 'PUT']" = "GET",
        expires_in: int = 3600,
        mode: Mode | str | None = None,
        version_id: str | None = None,
    ) -> "Presigned":
        """Return a URL that gets or puts one object without credentials, and the headers to send.

        The headers of the encryption are signed (for a GET, only SSE-C has such headers), and S3
        refuses a request without them. They are not part of the URL: the holder of the URL must
        send them. For a GET, the object is looked at first, and must have the demanded mode.

        Args:
            method: `GET`, or `PUT` to store an object in a server-side mode.
            expires_in: The number of seconds for which the URL is valid, at most 7 days.
            mode, version_id: As for `get`. A PUT needs a mode, and accepts no version.

        Raises:
            ConfigError: A PUT in mode `client` was requested, which would store plaintext, or the
                time is too long.
            PolicyError: The object is encrypted client-side, so S3 would deliver ciphertext. For a
                PUT: the existing object, or an object beside it, is encrypted client-side.
            ObjectNotFoundError: The object for a GET does not exist.
        """
        location = Location.parse_object(uri)
        if method == "GET":
            return presigning.presign_get(
                self._objects, location, self._mode(mode), expires_in, version_id
            )
        if method != "PUT" or version_id is not None:
            raise ConfigError("A URL is for GET, or for PUT without a version.")
        return presigning.presign_put(
            self._objects, location, demanded(self._mode(mode)), expires_in
        )

    def needs_rotation(
        self,
        uri: str,
        *,
        to: Mode | str,
        allow_unsigned: bool = False,
        allow_unencrypted: bool = False,
        written_in: str | None = None,
    ) -> bool:
        """Return whether `rotate` would change the object. Its plaintext is not read."""
        from . import rotation  # noqa: PLC0415

        origin = rotation.Origin(allow_unsigned, allow_unencrypted, written_in)
        location, wanted = Location.parse_object(uri), required_mode(to)
        return rotation.needs_rotation(self._objects, self.mode, location, wanted, origin)

    def sync(  # noqa: PLR0913 - keyword arguments for the synchronisation
        self,
        source: str | Path,
        target: str | Path,
        *,
        to: Mode | str | None = None,
        names: "NameFilter | None" = None,
        delete: bool = False,
        size_only: bool = False,
        checksum: bool = False,
        no_overwrite: bool = False,
        dry_run: bool = False,
        journal: "Journal | None" = None,
        on_outcome: "Callable[[SyncOutcome], None] | None" = None,
    ) -> "tuple[SyncOutcome, ...]":
        """Make a target folder or prefix equal to its source.

        Names that differ in size or time are copied; docs/sync.md describes the rules. `many.sync`
        has further options, and yields the outcomes of any number of names.

        Args:
            source, target: Folders or prefixes, of which at least one is a prefix.
            to: The mode of new objects. None for the store's mode.
            names: The filter for relative names, on both sides. None for every name.
            delete: Whether to delete targets that have no source. This is done after the whole
                source was walked, and only if every name was compared and copied without an error.
            size_only: Whether two sides with the same size count as equal.
            checksum: Whether to compare contents instead of times.
            no_overwrite: Whether to copy only names that do not exist in the target.
            dry_run: Whether to change nothing.
            journal: Records completed names, which a repeated call skips.
            on_outcome: Is called with each outcome as soon as it is known.

        Returns:
            The outcomes of all names except unchanged names, sorted by name.

        Raises:
            SyncError: Some names failed, or no target was deleted because the source was not read,
                compared and copied completely. The errors are in the error's `outcomes`.
        """
        from .jobs import EVERY_NAME  # noqa: PLC0415 - a single object does not need these modules
        from .syncing import completed  # noqa: PLC0415 - likewise

        outcomes = self.many.sync(
            source,
            target,
            to=to,
            names=EVERY_NAME if names is None else names,
            delete=delete,
            size_only=size_only,
            checksum=checksum,
            no_overwrite=no_overwrite,
            dry_run=dry_run,
            journal=journal,
        )
        return completed(outcomes, target, on_outcome)

    def rotate(  # noqa: PLR0913 - keyword arguments for the rotation
        self,
        uri: str,
        *,
        to: Mode | str,
        dry_run: bool = False,
        allow_unsigned: bool = False,
        allow_unencrypted: bool = False,
        written_in: str | None = None,
        drop_annotations: bool = False,
        skip_others: bool = False,
        on_outcome: "Callable[[RotationOutcome], None] | None" = None,
    ) -> "tuple[RotationOutcome, ...]":
        """Change the mode or the key of an object, or of all objects below a prefix.

        Each object is changed in the cheapest safe way: by a copy inside S3, by a rewrap (which
        replaces only the wrapped key), or by re-encryption through this process. Objects that
        already match `to` are not changed. If another writer replaces an object during the
        rotation, the other writer's object is kept.

        Args:
            uri: The URI of an object, or a prefix: a bucket, or a URI that ends with a slash.
            to: The new mode. Objects are read in the store's mode. If `to` is client-side, the
                store must have a mode, because otherwise anyone who can write to the bucket could
                choose the content that is encrypted. For example: `S3Crypt(SSES3()).rotate(...)`.
            dry_run: Whether to change nothing, and only report the planned changes. For an object
                that would be re-encrypted or rewrapped, it is checked that the key opens the
                header.
            allow_unencrypted: Whether to include objects for which S3 reports no encryption.
            written_in: The bucket to which the objects are bound now. The new binding is to the
                bucket that contains the objects, or to the store's `written_in`.
            drop_annotations: Whether to rotate an object even if its annotations are lost. They are
                lost if the object is rewritten in a bucket without versioning, or becomes SSE-C.
            skip_others: Whether to skip an object, instead of failing, if it is in another mode
                than the store's, under other keys, or encrypted by another client. If a required
                signature is missing, or the bound name or bucket differs, the object still fails.
            on_outcome: Is called with the outcome of each object as soon as it is known.

        Raises:
            RotationError: Some objects below a prefix failed. For a single object, its own error is
                raised.
        """
        from . import rotation  # noqa: PLC0415

        return rotation.rotate(
            self._objects,
            self.mode,
            Location.parse(uri),
            required_mode(to),
            rotation.Origin(allow_unsigned, allow_unencrypted, written_in),
            drop_annotations=drop_annotations,
            dry_run=dry_run,
            skip_others=skip_others,
            on_outcome=on_outcome,
        )

    def _mode(self, mode: Mode | str | None) -> Mode | None:
        return self.mode if mode is None else given_mode(mode)


def _bucket(text: str) -> str:
    """Return the name of a bucket, given as its URI or its name."""
    location = Location.parse(text if "://" in text else f"s3://{text}")
    if location.name:
        raise ConfigError(f"{text} names an object, not a bucket.", hint=f"s3://{location.bucket}")
    return location.bucket
