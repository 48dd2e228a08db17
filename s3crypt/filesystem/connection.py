# SPDX-License-Identifier: Apache-2.0
"""One engine for all file systems with the same options. It is made at its first use.

fsspec makes a separate file system for each thread and for each unpickling. Clients and facts about
objects are expensive to get, so these file systems share them.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from fsspec import AbstractFileSystem
from fsspec.config import apply_config

from s3crypt.arguments import check_target, given_mode
from s3crypt.aws import make_session
from s3crypt.errors import (
    ConfigError,
    ConflictError,
    KeyFileNotFoundError,
    ObjectNotFoundError,
    S3CryptError,
)
from s3crypt.location import Location
from s3crypt.objects.access import Objects
from s3crypt.objects.checks import demanded
from s3crypt.objects.describing import describe_target
from s3crypt.objects.opened import ReadOptions
from s3crypt.objects.ranges import ByteRange
from s3crypt.objects.reader import FIRST_LENGTH_OF_SMALL, first_length
from s3crypt.options import OPTIONS

from .options import ANY, Live, Options, anchored, spelled, without_hints
from .paths import object_uri, uri_of
from .remedies import in_storage_options

if TYPE_CHECKING:
    from datetime import datetime

    import boto3
    from types_boto3_s3.client import S3Client

    from s3crypt.modes import Mode
    from s3crypt.objects.info import Description, ObjectInfo
    from s3crypt.objects.reader import ObjectReader

# The maximum number of objects whose facts are kept. An object takes about 1 KiB.
_MOST_KNOWN = 100_000
# The fields of a `ReadOptions` that callers can set. The ETag can only be set by this module.
_DEMANDS = {field.name for field in fields(ReadOptions)} - {"etag"}


@dataclass(frozen=True, slots=True)
class Seen:
    """The facts about an object in S3's last reply. The object may have been replaced since then.

    Attributes:
        last_modified: The time in that reply. The times in a listing may be more precise than the
            times in a HEAD.
        info: Further facts. None after a listing, because a listing does not contain the
            plaintext's size.
    """

    etag: str
    last_modified: "datetime | None"
    stored_size: int
    info: "ObjectInfo | None" = None


class Connection:
    """An engine and a mode. The mode is made when content is first requested.

    The file of a key is not read before that.

    Attributes:
        is_size_listed: Whether the size in a listing is the size of the plaintext. It is so if S3
            encrypts.
        known: The facts about objects, by path.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.is_size_listed = options.mode_name not in (None, ANY, "client")
        self.known: dict[str, Seen] = {}
        self._objects: Objects | None = None
        self._mode: Mode | None = None
        self._has_mode = False
        # Each process has its own lock, because during a fork another thread may hold the parent's
        # lock.
        self._locks: dict[int, threading.Lock] = {}

    @classmethod
    def of(cls, options: Options) -> "Connection":
        """Return an existing connection with the same options, or a new connection."""
        text = os.getpid(), repr(options)
        connection = _SHARED.get(text)
        if connection is None:
            connection = _SHARED[text] = cls(options)
        return connection

    @property
    def client(self) -> "S3Client":
        """Return the S3 client. No key file is read."""
        return self.objects.client

    @property
    def objects(self) -> Objects:
        """Return the engine. It can list and delete objects without a mode."""
        with self._locks.setdefault(os.getpid(), threading.Lock()):
            return self._made()

    @property
    def is_far(self) -> bool:
        """Return whether the service is known to be far away."""
        # If no client can be made, the error is raised later by the work for each path.
        with suppress(S3CryptError):
            return self.objects.is_far
        return False

    @property
    def mode(self) -> "Mode | None":
        """Return the mode for reading, writing and sizes. None stands for every mode.

        Raises:
            ConfigError: No encryption was given, or a key file cannot be read.
        """
        options = self.options
        if options.mode_name is None:
            raise ConfigError(
                "This file system has no encryption option: it can list names, but not read or "
                "write content.",
                hint=_of_the_command()
                or (
                    "Give it a key, or encryption='sse-s3' or another mode; encryption='any' "
                    "reads objects of all modes."
                ),
            )
        with self._locks.setdefault(os.getpid(), threading.Lock()):
            if not self._has_mode:
                live = options.encryption
                self._mode = live.mode if isinstance(live, Live) else self._chosen()
                self._has_mode = True
            return self._mode

    def head(self, path: str, version_id: str | None = None) -> "ObjectInfo":
        """Return an object's plaintext size, and all other facts that the same request shows."""
        with in_storage_options():
            read_options = ReadOptions(self.mode, version_id)
            info = self.objects.head(Location.parse_object(uri_of(path)), read_options)
        if version_id is None:
            self.remember(path, Seen(info.etag, info.last_modified, info.stored_size, info))
        return info

    def remember(self, path: str, seen: Seen) -> None:
        """Keep facts about an object. Above the limit, forget the objects that were added first."""
        self.known[path] = seen
        with suppress(RuntimeError, StopIteration):
            # The error occurs if another thread changes the dictionary at the same time. The next
            # call removes the rest.
            while len(self.known) > _MOST_KNOWN:
                self.known.pop(next(iter(self.known)), None)

    def mode_of(self, given: "Mode | str | None") -> "Mode | None":
        """Return the mode for one call: the given mode, or else the mode of the file system.

        Raises:
            ConfigError: For the reasons that `mode` documents, even if `given` is a mode.
        """
        mode = self.mode
        with _missing_key_files_named():
            return mode if given is None else given_mode(given)

    def read_options(
        self, allowances: Mapping[str, Any], options: Mapping[str, Any]
    ) -> tuple[ReadOptions, dict[str, Any]]:
        """Return the demand in the options of one call, and the remaining options."""
        asked = {**allowances, **without_hints(options)}
        mode = self.mode_of(asked.pop("mode", None))
        names = _DEMANDS & asked.keys()
        return ReadOptions(mode, **{name: asked.pop(name) for name in names}), asked

    def described(
        self, location: Location, options: Mapping[str, Any]
    ) -> "tuple[Mode, Description]":
        """Return the mode in which an object is to be written, and its description."""
        said = without_hints(options)
        mode = self.mode_of(said.pop("mode", None))
        return demanded(mode), describe_target(location, **said)

    def open_reader(
        self,
        path: str,
        allowances: Mapping[str, Any],
        options: Mapping[str, Any],
        first: int | None = None,
    ) -> "ObjectReader":
        """Open an object for reading. `S3Crypt.open` documents the options.

        If the object's facts are known, it is opened with the condition that it still has the known
        ETag. If it was replaced, it is opened again without the condition.

        Args:
            path: The object's path.
            allowances: The allowances of the file system. The options of the call override them.
            options: The options of the call.
            first: The number of bytes that the first request fetches. None to choose it by the
                object's size.
        """
        location = Location.parse_object(object_uri(path))
        read_options, more = self.read_options(allowances, options)
        seen = None if read_options.version_id else self.known.get(path)
        if seen is not None:
            pinned = replace(read_options, etag=seen.etag)
            length = first_length(seen.stored_size) if first is None else first
            try:
                return self.objects.open_reader(location, pinned, first=length, **more)
            except ObjectNotFoundError:
                self.known.pop(path, None)
                raise
            except ConflictError:
                self.known.pop(path, None)
        length = FIRST_LENGTH_OF_SMALL if first is None else first
        return self.objects.open_reader(location, read_options, first=length, **more)

    def fetch(
        self,
        path: str,
        target: Any,
        allowances: Mapping[str, Any],
        options: Mapping[str, Any],
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Write an object's plaintext to a path or a binary file.

        `S3Crypt.get` documents the options.
        """
        check_target(target)
        location = Location.parse_object(object_uri(path))
        read_options, more = self.read_options(allowances, options)
        byte_range = more.pop("byte_range", None)
        wanted = ByteRange.parse(byte_range) if byte_range is not None else None
        self.objects.fetch(location, read_options, target, wanted=wanted, progress=progress, **more)

    def _made(self) -> Objects:
        if self._objects is None:
            options = self.options
            self._objects = Objects(
                # Keyrings use the session of the engine. If the options name no session, keyrings
                # in mode objects keep their default session. All engines then share the cache of a
                # CachingKeyring.
                session=self._session() if options.profile or options.region else None,
                client=None,
                endpoint_url=options.endpoint_url,
                workers=options.workers,
                written_in=options.written_in,
                allow_plain_http=options.allow_plain_http,
                expected_bucket_owner=options.expected_bucket_owner,
                request_payer=options.request_payer,
            )
        return self._objects

    def _chosen(self) -> "Mode | None":
        options = self.options
        with _missing_key_files_named():
            # Each keyring gets its own session, because a boto3 session must not make two clients
            # at the same time.
            return options.choice.make(self._session, allow_plain_http=options.allow_plain_http)

    def _session(self) -> "boto3.Session":
        return make_session(self.options.profile, self.options.region)


def _of_the_command() -> str | None:
    """Return a hint if the environment contains options of a mode.

    Only the command reads such variables, so the hint explains why they have no effect.
    """
    for name in ("mode", *OPTIONS):
        variable = f"S3CRYPT_{name.upper()}"
        if os.environ.get(variable):
            option = "encryption" if name == "mode" else name
            return (
                f"{variable} is set, but only the command s3crypt reads it. Give the storage "
                f"option {option}, or set FSSPEC_S3CRYPT_{option.upper()} before Python starts."
            )
    return None


@contextmanager
def _missing_key_files_named() -> Iterator[None]:
    """Convert the error for a missing key file to a ConfigError, which is not a FileNotFoundError.

    Users of fsspec take a FileNotFoundError for a missing object and continue without it. For
    example, zarr replaces the missing content by a default.
    """
    try:
        yield
    except KeyFileNotFoundError as error:
        raise ConfigError(str(error), hint=error.hint) from error


# A connection exists only as long as a file system uses it, because clients need memory and
# sockets.
_SHARED: "WeakValueDictionary[tuple[int, str], Connection]" = WeakValueDictionary()


class Instances(type(AbstractFileSystem)):  # type: ignore[misc]  # fsspec has no types
    """Makes file systems from normalised options. File systems with mode objects are not cached.

    fsspec never removes a file system from its cache. There are few different options in text, but
    each task that is unpickled may contain a new mode object.
    """

    def __call__(cls, *args: Any, **given: Any) -> Any:
        """Return a file system with these options. A positional argument is the mode."""
        if args:
            if len(args) > 1 or "mode" in given:
                raise TypeError("Only the mode is positional, once.")
            given["mode"] = args[0]
        configured = apply_config(cls, {})
        options = anchored({**spelled(configured), **spelled(given)})
        if "mode" in configured:
            # fsspec will add the configured mode again. Without this, it would override the mode of
            # the call.
            options["mode"] = None
        own = Options.of(spelled(options))
        if given.get("skip_instance_cache"):
            connection = Connection(own)
        else:
            connection = Connection.of(own)
            if isinstance(own.encryption, Live):
                options["skip_instance_cache"] = True
        return super().__call__(**options, connection=connection)
