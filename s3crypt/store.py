# SPDX-License-Identifier: Apache-2.0
"""S3Crypt: the public face. It checks arguments, documents, and delegates.

What is done to objects is in `objects`, and in `rotation` where they are brought to another mode or
key. Nothing in the library imports this module.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, overload

from .arguments import check_open, check_resources, check_target, given_mode, required_mode
from .formats import MAX_HEADER_LENGTH
from .local.sources import given
from .location import Location
from .modes import Mode
from .objects.access import DEFAULT_WORKERS, ListedObject, Objects, describe_target
from .objects.checks import check_written_in, demanded
from .objects.info import ObjectInfo
from .objects.opened import Demand, Neighbour
from .objects.ranges import ByteRange
from .objects.reader import DEFAULT_CACHE_LENGTH, ObjectReader
from .objects.writer import ObjectWriter
from .transfer import Progress
from .transfer.conditions import IF_ABSENT

if TYPE_CHECKING:
    import boto3
    from types_boto3_s3.client import S3Client

    from .many import Many
    from .rotation import RotationOutcome


class S3Crypt:
    """Objects in S3, encrypted in one of five modes; for several threads, and after a fork.

    Args:
        mode: How objects are written, and what is demanded of those read: the same mode, its
            key, its context. Without a mode nothing is written, and what can be read is read.
            The command's text does where it says all: `sse-s3`, or a key (`kms:alias/NAME`,
            `aes:NAMESPACE/NAME=FILE`), which stands for `ClientSide`.
        session: boto3 session to make clients from; the default one if left out. Keyrings
            that were given no session use it too, by copies that the store makes of them.
        client: An S3 client to use instead. It is not changed. Keyrings that were given no
            session then use the default one.
        endpoint_url: The S3 service's address, if not AWS's; KMS keeps its own.
        workers: Threads of one transfer, at most; there are more, the further away the server is.
        max_memory: Bytes of all buffers; the least of 192 MiB and a quarter of the memory if None.
        allow_plain_http: Let customer keys (`SSEC`), and this store's own requests to KMS, go to
            other machines over plain HTTP. Keyrings have an argument of their own.
        written_in: Where the mode binds buckets: the bucket that all objects of this store are
            bound to, read and written, whatever bucket or access point their URIs name. For a
            replica, and for access points.
        expected_bucket_owner: The id of the AWS account that owns the buckets. S3 refuses every
            request to the bucket of another account, so that a bucket that was deleted and made
            anew by somebody else is neither read nor written. Copies demand it of both buckets.
        request_payer: `requester`, for buckets whose reader pays.

    Methods share these arguments:
        uri: `s3://bucket/name`.
        mode, version_id: Instead of the store's, and of the current version.
        written_as: The name under which the object was put, where it was moved since.
        written_in: The bucket that the object is bound to, where that is another: this one is its
            replica, or the URI names an access point.
        allow_uncommitted: Read client-side objects without key commitment too.
        allow_unsigned: Read unsigned objects too where the mode demands a signature.
        allow_unverified_signature: Read parts of signed objects too. Their signature covers the
            whole and is not verified: whoever may read such objects can forge what is read.
        neighbour: As `list_with_neighbours` yields it, where the object was listed.
        metadata, tags: User metadata, in the clear in S3, and object tags.
        content_type, storage_class: Of the plaintext, `text/csv`; S3's name of it, `STANDARD_IA`.
        progress: Called with plaintext bytes moved since the last call, from any thread.

    Every method raises `ConfigError` for what is wrong with the call, `StorageError` for what S3
    refuses, `KeyUnavailableError` for what KMS refuses. Methods that read raise
    `ObjectNotFoundError`; `IntegrityError`: it is not what was written, or not under this name;
    `PolicyError`: it is not encrypted as demanded; `FormatError`: the Amazon S3 Encryption Client
    encrypted it; `ConflictError`: it was replaced while it was read.
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
        )

    @property
    def client(self) -> "S3Client":
        """Return this process's S3 client. Only its operations demand the expected owner."""
        return self._objects.client

    @property
    def many(self) -> "Many":
        """Return the same verbs for many objects at once, with an outcome for each."""
        from .many import Many  # noqa: PLC0415 - jobs, which one object does without

        return Many(self._objects, lambda: self.mode)

    @property
    def written_in(self) -> str | None:
        """Return the bucket that all objects of this store are bound to, if it was named."""
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
        storage_class: str | None = None,
        if_absent: bool = False,
        progress: Progress | None = None,
    ) -> ObjectInfo:
        """Store an object, encrypted; it appears whole or not at all.

        Args:
            source: A path, bytes, or a binary file, read from its position to its end. A
                stream of unknown length is read once, in bounded memory; an interrupt waits for
                the read under way.
            if_absent: Fail where the object exists.

        Raises:
            ConflictError: It exists, and `if_absent` was given.
            LocalFileNotFoundError: There is no such source.
            PolicyError: S3 did not encrypt as asked; what it stored was removed again.
        """
        location = Location.parse_object(uri)
        described = describe_target(location, metadata, tags, content_type, storage_class)
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
        neighbour: Neighbour | None = None,
        progress: Progress | None = None,
    ) -> ObjectInfo:
        """Fetch an object's plaintext, verified.

        Args:
            target: A path: the file appears complete and verified, or not at all. Or a binary
                file to write to: it gets verified bytes in order, and *only when this returns*
                has it got all of them.
            byte_range: Only these bytes of the plaintext, as in HTTP: `0-99`, `100-` or, for the
                last ones, `-100`. Their frames are fetched and verified, and the final one.
        """
        allowed = (allow_uncommitted, allow_unverified_signature, allow_unsigned)
        demand = Demand(self._mode(mode), version_id, written_as, *allowed, neighbour, written_in)
        location = Location.parse_object(uri)
        check_target(target)
        wanted = ByteRange.parse(byte_range) if byte_range is not None else None
        return self._objects.fetch(location, demand, target, wanted=wanted, progress=progress)

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
        storage_class: str | None = None,
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
        storage_class: str | None = None,
    ) -> ObjectReader | ObjectWriter:
        """Open an object as a binary file, to be read at any offset or written in order.

        An `ObjectWriter` stores the object when it is closed. A signed object is not read in
        parts, unless `allow_unverified_signature` is given.

        Args:
            how: `rb` to read; `wb` to write, and `xb` to write only where there is none. Each of
                the two takes its own arguments.
            allow_unverified_length: Return bytes before the final frame has proved the length:
                one request less, for who reads a known range. A truncated object is then
                noticed only once its end, or its size, is asked for.
            cache_length: Plaintext bytes that are kept of what was read, and read ahead.
        """
        check_open(locals())
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
        described = describe_target(location, metadata, tags, content_type, storage_class)
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
    ) -> ObjectInfo:
        """Store an object under another name too, in any mode; return what is known of the copy.

        S3 copies objects of server-side modes itself, and a client-side one where the copy keeps
        its keys and what it is bound to; any other copy is decrypted, verified and encrypted anew.
        Metadata, tags, content headers, storage class, locks and annotations are kept.

        Args:
            to: The mode of the copy; the store's if left out. The other arguments are the source's.
            if_absent: Fail where there is an object at `destination`.
            allow_unencrypted, drop_annotations: As `rotate`.
        """
        from . import rotation  # noqa: PLC0415 - eight modules that puts and gets do without

        return rotation.copy(
            self._objects,
            self.mode,
            Location.parse_object(source),
            Location.parse_object(destination),
            demanded(self._mode(to)),
            rotation.Origin(allow_unsigned, allow_unencrypted, written_in, written_as, version_id),
            if_absent=if_absent,
            drop_annotations=drop_annotations,
        )

    def head(
        self, uri: str, *, mode: Mode | str | None = None, version_id: str | None = None
    ) -> ObjectInfo:
        """Say how large an object's plaintext is, and what else one request tells.

        The size is computed, not measured. For objects that s3crypt wrote, it follows from lengths
        in the metadata, which reading compares with the header; for others, the header is fetched.
        What only the header has (`keys`, `context`, `suite`) may be missing.
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
        """Say how, by whose key an object is encrypted, how large it is. `sse-c` needs its mode."""
        location = Location.parse_object(uri)
        demand = Demand(self._mode(mode), version_id, neighbour=neighbour)
        return self._objects.look(location, demand, first=MAX_HEADER_LENGTH)

    def list(self, uri: str) -> Iterator[ListedObject]:
        """Yield the objects whose URI begins with `uri`, in S3's order."""
        return self._objects.list(Location.parse(uri))

    def list_with_neighbours(self, uri: str) -> "Iterator[tuple[ListedObject, Neighbour | None]]":
        """Yield as `list` does, each object with what `get` and `inspect` take as `neighbour`.

        Those then know, without a request, of most objects that the Amazon S3 Encryption Client
        did not encrypt them. None where the listing cannot tell.
        """
        return self._objects.list_with_neighbours(Location.parse(uri))

    def delete(self, uri: str, *, version_id: str | None = None) -> None:
        """Delete an object (in a versioned bucket: hide it), or one version for good."""
        self._objects.delete(Location.parse_object(uri), version_id)

    def needs_rotation(
        self,
        uri: str,
        *,
        to: Mode | str,
        allow_unsigned: bool = False,
        allow_unencrypted: bool = False,
        written_in: str | None = None,
    ) -> bool:
        """Tell whether `rotate` with the same arguments would change it; reads no plaintext."""
        from . import rotation  # noqa: PLC0415

        origin = rotation.Origin(allow_unsigned, allow_unencrypted, written_in)
        location, wanted = Location.parse_object(uri), required_mode(to)
        return rotation.needs_rotation(self._objects, self.mode, location, wanted, origin)

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
            allow_unencrypted: Take objects too that S3 reports no encryption of.
            written_in: The bucket that the objects are bound to now. With `to` they are bound to
                the bucket that they are in, or to the store's `written_in`.
            drop_annotations: Rotate also objects whose annotations cannot be kept, without them:
                in buckets without versioning where the object is written anew, and to SSE-C.
            on_outcome: Called with each object's outcome as it is known.

        Raises:
            RotationError: Some objects below a prefix failed. One object's is raised as it is.
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
            on_outcome=on_outcome,
        )

    def _mode(self, mode: Mode | str | None) -> Mode | None:
        return self.mode if mode is None else given_mode(mode)
