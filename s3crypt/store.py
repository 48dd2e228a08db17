# SPDX-License-Identifier: Apache-2.0
"""S3Crypt: the public face. It checks arguments, documents, and delegates.

Operations on objects belong in `objects`; changes of an object's mode or key belong in `rotation`.
No module of the library imports this module.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, Unpack, overload

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
from .objects.opened import Demand, Neighbour
from .objects.ranges import ByteRange
from .objects.reader import DEFAULT_CACHE_LENGTH, ObjectReader
from .objects.writer import ObjectWriter
from .transfer import Progress
from .transfer.conditions import IF_ABSENT

if TYPE_CHECKING:
    from datetime import datetime

    import boto3
    from types_boto3_s3.client import S3Client

    from .job_items import SyncOptions
    from .many import Many
    from .objects.listing import ListedVersion
    from .objects.presigning import Presigned
    from .rotation import RotationOutcome
    from .syncing import SyncOutcome


class S3Crypt:
    """Objects in S3, encrypted in one of five modes; for use in several threads, and after a fork.

    Args:
        mode: The mode that objects are written in. On read, an object must have the same mode,
            key and context. Without a mode, every object that can be decrypted is read, and
            writing is refused. Text is accepted if it is enough: `sse-s3`, or a key
            (`kms:alias/NAME`, `aes:NAMESPACE/NAME=FILE`), which implies `ClientSide`.
        session: The boto3 session to make clients from; the default one if left out. Keyrings
            that were given no session use it too: the store copies them for that.
        client: An S3 client to use instead. It is not changed. Keyrings that were given no
            session then use the default one.
        endpoint_url: The S3 service's address, if not AWS's. It does not apply to KMS.
        workers: Maximum threads of one transfer. More of them are used for a more distant server.
        max_memory: Maximum bytes of all buffers; None: 192 MiB, or a quarter of memory if less.
        allow_plain_http: Allow sending customer keys (`SSEC`), and this store's own requests to
            KMS, to other machines over plain HTTP. Keyrings have an argument of their own.
        written_in: For a mode that binds buckets, with a replica or an access point: the bucket
            that all objects of this store are bound to, on read and on write, regardless of the
            bucket or access point that their URIs name.
        expected_bucket_owner: The id of the AWS account that owns the buckets. S3 refuses every
            request to the bucket of another account. A bucket that was deleted and then created by
            another account is therefore neither read nor written. Copies check both buckets.
        request_payer: `requester`, for buckets whose reader pays.
        no_sign_request: Send unsigned requests to S3, for public buckets. It does not apply to KMS.

    Methods share these arguments:
        uri: `s3://bucket/name`.
        mode, version_id: Replace the store's mode and the current version for this call.
        written_as: The name that the object was written under, if it was moved since.
        written_in: The bucket that the object is bound to, if the URI names a replica of that
            bucket or an access point.
        allow_uncommitted: Read client-side objects without key commitment too.
        allow_unsigned: Read unsigned objects too, although the mode demands a signature.
        allow_unverified_signature: Read parts of signed objects too. The signature covers the whole
            object and is then not verified, so anyone who may read such objects can forge them.
        neighbour: The value that `list_with_neighbours` yielded with the object.
        metadata, tags: User metadata, in the clear in S3, and object tags.
        content_type: For example `text/csv`. If left out for a new object, the suffix of its name,
            or else of its file's, decides by a table of s3crypt's own.
        content_encoding, cache_control, content_disposition, content_language: Headers of S3's
            replies.
        storage_class: For example `STANDARD_IA`, as S3 names it.
        object_lock_mode, object_lock_retain_until: `GOVERNANCE` or `COMPLIANCE`, and a datetime
            with a time zone, until which the new version cannot be deleted.
        object_lock_legal_hold: Whether the new version has a legal hold.
        progress: Called with plaintext bytes moved since the last call, from any thread.

    Every method raises `ConfigError` for a wrong call, `StorageError` if S3 refuses a request, and
    `KeyUnavailableError` if KMS refuses one. Methods that read an object also raise
    `ObjectNotFoundError`; `IntegrityError`, if the object was changed or was not written under this
    name; `PolicyError`, if it is not encrypted as demanded; `FormatError`, if the Amazon S3
    Encryption Client encrypted it; and `ConflictError`, if it was replaced during the read.
    """

    def __init__(  # noqa: PLR0913 - how it reaches AWS, by name
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
        """Return this process's S3 client. Only its operations demand the expected owner."""
        return self._objects.client

    @property
    def many(self) -> "Many":
        """Return the same operations for many objects at once, with an outcome for each object."""
        from .many import Many  # noqa: PLC0415 - jobs, which one object does without

        return Many(self._objects, lambda: self.mode)

    @property
    def written_in(self) -> str | None:
        """Return the bucket that all objects of this store are bound to, or None if not given."""
        return self._objects.written_in

    def put(  # noqa: PLR0913 - what S3 lets one say of an object, by name
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
        """Encrypt and store an object. It appears complete or not at all.

        Args:
            source: A path, bytes, or a binary file, which is read from its position to its end. A
                stream of unknown length is read once, in bounded memory. An interrupt takes
                effect only after the current read of the stream.
            if_absent: Fail if the object exists.

        Raises:
            ConflictError: The object exists, and `if_absent` was given.
            LocalFileNotFoundError: The source does not exist.
            PolicyError: S3 did not encrypt as requested; the stored object was removed again.
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

    def get(  # noqa: PLR0913 - what may be demanded of an object, by name
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
        """Fetch and verify an object's plaintext.

        Args:
            target: A path or a binary file. A file at a path appears complete and verified, or not
                at all. A binary file receives verified bytes in order, and is complete *only when
                this method returns*.
            byte_range: Plaintext bytes to fetch, as in HTTP: `0-99`, `100-`, or `-100` for the
                last 100. Only frames of the range and the final frame are fetched and verified.
            if_absent: Fail if the file exists; never replace it.

        Raises:
            ConflictError: The file exists, and `if_absent` was given.
        """
        allowed = (allow_uncommitted, allow_unverified_signature, allow_unsigned)
        demand = Demand(self._mode(mode), version_id, written_as, *allowed, neighbour, written_in)
        location = Location.parse_object(uri)
        check_target(target)
        wanted = ByteRange.parse(byte_range) if byte_range is not None else None
        return self._objects.fetch(
            location, demand, target, wanted=wanted, if_absent=if_absent, progress=progress
        )

    def read(  # noqa: PLR0913 - as `get` has them
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

    def open(  # noqa: PLR0913 - what may be demanded of an object or said of it, by name
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
        """Open an object as a binary file, for reading at any offset or writing in order.

        An `ObjectWriter` stores the object when it is closed. Parts of a signed object are read
        only if `allow_unverified_signature` is given.

        Args:
            how: `rb` to read; `wb` to write; `xb` to write only if the object does not exist.
                Readers and writers take different arguments.
            allow_unverified_length: Return bytes before the final frame has proved the object's
                length. This saves one request for a reader of a known range. Truncation is then
                detected only when the end or the size of the object is read.
            cache_length: Plaintext bytes to keep in memory, of reads before and reads ahead.
        """
        check_open(locals())
        said = described_among(locals())
        location, mode = Location.parse_object(uri), self._mode(mode)
        if how == "rb":
            allowed = (allow_uncommitted, allow_unverified_signature, allow_unsigned)
            demand = Demand(mode, version_id, written_as, *allowed, None, written_in)
            return self._objects.open_reader(
                location,
                demand,
                cache_length=cache_length,
                allow_unverified_length=allow_unverified_length,
            )
        described = describe_new(location, said)
        return self._objects.open_writer(location, demanded(mode), described, if_absent=how == "xb")

    def copy(  # noqa: PLR0913 - what may be said of an object, by name
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
        """Copy an object to another name, in any mode; return a description of the copy.

        S3 itself copies objects of server-side modes, and client-side objects whose copy keeps the
        keys and the bound name and bucket. Any other object is decrypted, verified and encrypted
        anew. Metadata, tags, content headers, storage class, locks and annotations are kept, except
        for those that are given.

        Args:
            to: The mode of the copy; the store's if left out. Other arguments describe the source.
            if_absent: Fail if the object at `destination` exists.
            allow_unencrypted, drop_annotations: As for `rotate`.
        """
        from . import rotation  # noqa: PLC0415 - eight modules that puts and gets do without

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

    def move(  # noqa: PLR0913 - what may be said of an object, by name
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

        The source is deleted once the target is stored (a file: flushed to the disk), and only if
        it is still the source that was read: an object by its ETag, a file by its inode, size and
        time. No version is named, so that a versioned bucket keeps the object's versions behind a
        delete marker. A service that is not AWS's may ignore the condition; a HEAD then precedes
        the deletion, and does not notice a writer that comes after it.

        Args:
            source, target: URIs or paths; one of them at least is a URI.
            to: The mode of a new object; the store's if left out. Objects are read in the store's.
            if_absent: Fail if the target exists.
            written_as, written_in, allow_unsigned: Of an object that is read, as for `get`.
            allow_unencrypted, drop_annotations: As for `rotate`, of an object that is moved in S3.

        Raises:
            ConflictError: The target exists and `if_absent` was given, or the source was replaced
                meanwhile. In the latter case, source and target exist.
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
        """Return an object's plaintext size and all further facts that one request yields.

        The size is computed, not measured. For objects that s3crypt wrote, it comes from lengths in
        the metadata, which are checked against the header on read. For other objects, the header is
        fetched. Fields that only the header contains (`keys`, `context`, `suite`) may be missing.
        """
        demand = Demand(self._mode(mode), version_id)
        return self._objects.head(Location.parse_object(uri), demand)

    def inspect(
        self,
        uri: str,
        *,
        mode: Mode | str | None = None,
        version_id: str | None = None,
        neighbour: Neighbour | None = None,
    ) -> ObjectInfo:
        """Return an object's mode, keys and size. An `sse-c` object is read only with its mode."""
        location = Location.parse_object(uri)
        demand = Demand(self._mode(mode), version_id, neighbour=neighbour)
        return self._objects.look(location, demand, first=MAX_HEADER_LENGTH)

    def list(self, uri: str) -> Iterator[ListedObject]:
        """Yield the objects whose URI begins with `uri`, in S3's order."""
        return self._objects.list(Location.parse(uri))

    def list_with_neighbours(self, uri: str) -> "Iterator[tuple[ListedObject, Neighbour | None]]":
        """Yield objects as `list` does, each with the `neighbour` argument for `get` and `inspect`.

        For most objects, the neighbour shows without a request that the Amazon S3 Encryption Client
        did not encrypt the object. It is None if the listing does not show whether the object has
        an instruction file.
        """
        return self._objects.list_with_neighbours(Location.parse(uri))

    def list_level(self, uri: str) -> "Iterator[ListedObject | ListedPrefix]":
        """Yield like `list`, but yield all names that share a further slash as one prefix."""
        return self._objects.list_level(Location.parse(uri))

    def list_versions(self, uri: str) -> "Iterator[ListedVersion]":
        """Yield all versions and delete markers of the objects whose URI begins with `uri`.

        Names are in S3's order, and the versions of a name from the newest to the oldest. In a
        bucket without versioning, each object has one version.
        """
        return listing.versions(self.client, Location.parse(uri))

    def list_versions_level(self, uri: str) -> "Iterator[ListedVersion | ListedPrefix]":
        """Yield like `list_versions`, but yield names that share a further slash as one prefix."""
        return listing.versions_level(self.client, Location.parse(uri))

    def buckets(self) -> Iterator[ListedBucket]:
        """Yield the buckets of the caller's account, in S3's order.

        Raises:
            StorageError: S3 refused, for lack of `s3:ListAllMyBuckets`, or failed.
        """
        return buckets.listed(self.client)

    def exists(self, uri: str, *, version_id: str | None = None) -> bool:
        """Return whether an object, or a version of it, exists. A delete marker does not count.

        No key is needed. The request needs `s3:GetObject`, and `s3:ListBucket` to see that an
        object is missing: without the latter, S3 refuses the request for a missing object.

        Raises:
            ConfigError: `uri` names no object.
            StorageError: S3 refused (code `403`) or failed, so that it is not known.
        """
        return listing.exists(self._objects, Location.parse_object(uri), version_id)

    def delete(self, uri: str, *, version_id: str | None = None) -> None:
        """Delete an object (in a versioned bucket: hide it), or one version for good.

        S3 does not report whether there was such an object: deleting a missing one succeeds, and in
        a versioned bucket adds a delete marker.

        Raises:
            ConfigError: `uri` names no object.
            ObjectNotFoundError: The bucket does not exist.
            StorageError: S3 refused: the caller lacks `s3:DeleteObject` (or
                `s3:DeleteObjectVersion`), or the version is locked (code `AccessDenied`). Or S3
                failed; the message says if the object may have been deleted nevertheless.
        """
        self._objects.delete(Location.parse_object(uri), version_id)

    def make_bucket(self, bucket: str) -> bool:
        """Create a bucket in the session's Region; return False if it is there and the caller's.

        As AWS creates it: SSE-S3 by default, no public access, SSE-C blocked, no versioning.
        `BucketManager` makes a hardened one.

        Raises:
            ConfigError: S3 accepts no such name.
            StorageError: The name is taken by another account (code `BucketAlreadyExists`), or is
                the caller's bucket in another Region (code `BucketAlreadyOwnedByYou`).
        """
        return buckets.make(self.client, _bucket(bucket))

    def remove_bucket(self, bucket: str) -> None:
        """Delete an empty bucket; nothing in it is ever deleted.

        Raises:
            ConflictError: It has objects, versions or unfinished uploads.
            ObjectNotFoundError: It does not exist.
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
        """Return a URL that gets or puts one object without credentials, and its headers.

        The headers of the encryption (of a GET: under SSE-C only) are signed, and S3 refuses a
        request without them. They are no part of the URL: the holder must send them. An object to
        get is looked at first, and its mode must be the demanded one.

        Args:
            method: `GET`, or `PUT` to store an object in a server-side mode.
            expires_in: Seconds for which the URL is valid, 7 days at most.
            mode, version_id: As for `get`; a PUT needs a mode and takes no version.

        Raises:
            ConfigError: A PUT in mode `client`, which would store plaintext; or a longer time.
            PolicyError: The object is encrypted client-side: S3 would deliver ciphertext. For PUT:
                the object there is, or the first one of its prefix. If the prefix has none, that of
                the next prefix above counts.
            ObjectNotFoundError: For GET: the object does not exist.
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
        """Return whether `rotate` would change the object, without reading its plaintext."""
        from . import rotation  # noqa: PLC0415

        origin = rotation.Origin(allow_unsigned, allow_unencrypted, written_in)
        location, wanted = Location.parse_object(uri), required_mode(to)
        return rotation.needs_rotation(self._objects, self.mode, location, wanted, origin)

    def sync(
        self,
        source: str | Path,
        target: str | Path,
        *,
        on_outcome: "Callable[[SyncOutcome], None] | None" = None,
        **options: "Unpack[SyncOptions]",
    ) -> "tuple[SyncOutcome, ...]":
        """Make a folder or prefix like another one: copy what differs in size or time.

        The arguments are those of `many.sync`; docs/sync.md has the rules. `on_outcome` is called
        with every outcome as soon as it is known. The result has the outcomes of all names but the
        unchanged ones, in the order of names.

        Raises:
            SyncError: Names failed, or nothing was deleted; `outcomes` has the errors.
        """
        from .syncing import completed  # noqa: PLC0415 - modules that one object does without

        return completed(self.many.sync(source, target, **options), target, on_outcome)

    def rotate(  # noqa: PLR0913 - what may be said of objects, by name
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
        """Change the mode or key of an object, or of all objects below a prefix.

        Each object is changed by the cheapest sound method: a copy inside S3, a rewrap (which
        replaces only the wrapped key), or re-encryption through this process. Objects that already
        match `to` are not changed. If another writer replaces an object meanwhile, its version is
        kept.

        Args:
            uri: An object, or a prefix: a bucket, or a URI that ends with a slash.
            to: The new mode. Objects are read in the store's own mode. If `to` is client-side, the
                store must have a mode: otherwise anyone who can write to the bucket chooses the
                content that is sealed. For example: `S3Crypt(SSES3()).rotate(...)`.
            dry_run: Change nothing; only report the changes that would be made. Of objects that
                would be re-encrypted or rewrapped, the key is checked to open the header.
            allow_unencrypted: Include objects for which S3 reports no encryption.
            written_in: The bucket that the objects are bound to now. The new binding is to the
                bucket that contains the objects, or to the store's `written_in`.
            drop_annotations: Also rotate objects whose annotations are lost: rewritten objects in
                buckets without versioning, and objects that become SSE-C.
            skip_others: Skip objects that are in another mode, under other keys, or of another
                client than the store's mode says, instead of failing. A signature that is
                missing, and a binding that does not fit, fail nevertheless.
            on_outcome: Called with each object's outcome as soon as it is known.

        Raises:
            RotationError: Some objects below a prefix failed. A single object raises its own error.
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
    """Return the name in the URI of a bucket, or the name itself."""
    location = Location.parse(text if "://" in text else f"s3://{text}")
    if location.name:
        raise ConfigError(f"{text} names an object, not a bucket.", hint=f"s3://{location.bucket}")
    return location.bucket
