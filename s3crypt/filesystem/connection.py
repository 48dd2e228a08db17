# SPDX-License-Identifier: Apache-2.0
"""One engine for all file systems of the same options, made at its first use.

fsspec makes a file system for each thread, and another for each unpickling. Clients and facts about
objects are expensive, so these file systems share them.
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
from s3crypt.objects.opened import Demand
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

# Maximum number of remembered objects, at about 1 KiB each.
_MOST_KNOWN = 100_000
# The fields of a demand that callers may set. Only this module sets the ETag.
_DEMANDS = {field.name for field in fields(Demand)} - {"etag"}


@dataclass(frozen=True, slots=True)
class Seen:
    """An object as S3 last reported it. It may have been replaced since.

    Attributes:
        last_modified: The time in that reply: a listing's times may be finer than those of a HEAD.
        info: Further facts; None after a listing, which does not report the plaintext's size.
    """

    etag: str
    last_modified: "datetime | None"
    stored_size: int
    info: "ObjectInfo | None" = None


class Connection:
    """An engine, and a mode that is made when content is first requested.

    A key's file is not read before that.

    Attributes:
        is_size_listed: Whether listings report the plaintext's size, as they do if S3 encrypts.
        known: Objects seen so far, by path.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.is_size_listed = options.mode_name not in (None, ANY, "client")
        self.known: dict[str, Seen] = {}
        self._objects: Objects | None = None
        self._mode: Mode | None = None
        self._has_mode = False
        # One lock per process: a fork may happen while another thread holds the lock.
        self._locks: dict[int, threading.Lock] = {}

    @classmethod
    def of(cls, options: Options) -> "Connection":
        """Return the connection in use with the same options, or a new connection."""
        text = os.getpid(), repr(options)
        connection = _SHARED.get(text)
        if connection is None:
            connection = _SHARED[text] = cls(options)
        return connection

    @property
    def client(self) -> "S3Client":
        """Return the S3 client. No key is read for it."""
        return self.objects.client

    @property
    def objects(self) -> Objects:
        """Return the engine. Listing and deleting need no mode."""
        with self._locks.setdefault(os.getpid(), threading.Lock()):
            return self._made()

    @property
    def is_far(self) -> bool:
        """Return whether the service is known to be far away."""
        # If no client can be made, the work on each path raises the reason.
        with suppress(S3CryptError):
            return self.objects.is_far
        return False

    @property
    def mode(self) -> "Mode | None":
        """Return the mode to read, write and measure with; None reads every mode.

        Raises:
            ConfigError: No encryption was given, or a key's file cannot be read.
        """
        options = self.options
        if options.mode_name is None:
            raise ConfigError(
                "This file system was given no encryption: it tells names, and no content.",
                hint=_of_the_command()
                or "Give it a key, or encryption='sse-s3' or another mode; encryption='any' "
                "reads whatever is there.",
            )
        with self._locks.setdefault(os.getpid(), threading.Lock()):
            if not self._has_mode:
                live = options.encryption
                self._mode = live.mode if isinstance(live, Live) else self._chosen()
                self._has_mode = True
            return self._mode

    def head(self, path: str, version_id: str | None = None) -> "ObjectInfo":
        """Return an object's plaintext size and all further facts that one request yields."""
        with in_storage_options():
            demand = Demand(self.mode, version_id)
            info = self.objects.head(Location.parse_object(uri_of(path)), demand)
        if version_id is None:
            self.remember(path, Seen(info.etag, info.last_modified, info.stored_size, info))
        return info

    def remember(self, path: str, seen: Seen) -> None:
        """Remember facts about an object, and forget the oldest objects beyond the limit."""
        self.known[path] = seen
        with suppress(RuntimeError, StopIteration):
            # Raised if another thread changes the dictionary too; the next call removes the rest.
            while len(self.known) > _MOST_KNOWN:
                self.known.pop(next(iter(self.known)), None)

    def mode_of(self, given: "Mode | str | None") -> "Mode | None":
        """Return the mode of one call: the given mode, or else the file system's.

        Raises:
            ConfigError: As `mode`, even if the call gives a mode.
        """
        mode = self.mode
        with _missing_key_files_named():
            return mode if given is None else given_mode(given)

    def demand(
        self, allowances: Mapping[str, Any], options: Mapping[str, Any]
    ) -> tuple[Demand, dict[str, Any]]:
        """Return a call's demand of an object, and the options that are no part of a demand."""
        asked = {**allowances, **without_hints(options)}
        mode = self.mode_of(asked.pop("mode", None))
        names = _DEMANDS & asked.keys()
        return Demand(mode, **{name: asked.pop(name) for name in names}), asked

    def described(
        self, location: Location, options: Mapping[str, Any]
    ) -> "tuple[Mode, Description]":
        """Return the mode to write an object in, and the description stored with it."""
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
        """Open an object for reading; options as `S3Crypt.open`.

        A remembered object is opened on condition of its ETag. If it was replaced since, the new
        object is opened without that condition.

        Args:
            path: The object's path.
            allowances: The allowances that apply unless the options override them.
            options: The options of the call.
            first: Bytes to fetch by the first request; None derives it from the object's size.
        """
        location = Location.parse_object(object_uri(path))
        demand, more = self.demand(allowances, options)
        seen = None if demand.version_id else self.known.get(path)
        if seen is not None:
            pinned = replace(demand, etag=seen.etag)
            length = first_length(seen.stored_size) if first is None else first
            try:
                return self.objects.open_reader(location, pinned, first=length, **more)
            except ObjectNotFoundError:
                self.known.pop(path, None)
                raise
            except ConflictError:
                self.known.pop(path, None)
        length = FIRST_LENGTH_OF_SMALL if first is None else first
        return self.objects.open_reader(location, demand, first=length, **more)

    def fetch(
        self,
        path: str,
        target: Any,
        allowances: Mapping[str, Any],
        options: Mapping[str, Any],
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Write an object's plaintext to a path or a binary file; options as `S3Crypt.get`."""
        check_target(target)
        location = Location.parse_object(object_uri(path))
        demand, more = self.demand(allowances, options)
        byte_range = more.pop("byte_range", None)
        wanted = ByteRange.parse(byte_range) if byte_range is not None else None
        self.objects.fetch(location, demand, target, wanted=wanted, progress=progress, **more)

    def _made(self) -> Objects:
        if self._objects is None:
            options = self.options
            self._objects = Objects(
                # Keyrings use the engine's session. If the options name no session, mode objects
                # keep their default one: a CachingKeyring then serves all engines from one cache.
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
            # Each keyring gets its own session: a boto3 session must not make two clients at once.
            return options.choice.make(self._session, allow_plain_http=options.allow_plain_http)

    def _session(self) -> "boto3.Session":
        return make_session(self.options.profile, self.options.region)


def _of_the_command() -> str | None:
    """Return a hint if the environment sets options of a mode, which only the command reads."""
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
    """Turn the error of a missing key file into a ConfigError, which is no FileNotFoundError.

    fsspec's users take a FileNotFoundError for a missing object and continue without the object;
    zarr fills in its content.
    """
    try:
        yield
    except KeyFileNotFoundError as error:
        raise ConfigError(str(error), hint=error.hint) from error


# A connection lives only as long as a file system uses it: clients hold memory and sockets.
_SHARED: "WeakValueDictionary[tuple[int, str], Connection]" = WeakValueDictionary()


class Instances(type(AbstractFileSystem)):  # type: ignore[misc]  # fsspec has no types
    """Makes file systems from normalized options, and does not cache those of mode objects.

    fsspec never evicts a file system from its cache. Options in text are few, but each unpickled
    task may bring a new mode object.
    """

    def __call__(cls, *args: Any, **given: Any) -> Any:
        """Return a file system of these options; a positional argument is the mode."""
        if args:
            if len(args) > 1 or "mode" in given:
                raise TypeError("Only the mode is positional, once.")
            given["mode"] = args[0]
        configured = apply_config(cls, {})
        options = anchored({**spelled(configured), **spelled(given)})
        if "mode" in configured:
            # fsspec is about to add the configured mode again, although the call may name another.
            options["mode"] = None
        own = Options.of(spelled(options))
        if given.get("skip_instance_cache"):
            connection = Connection(own)
        else:
            connection = Connection.of(own)
            if isinstance(own.encryption, Live):
                options["skip_instance_cache"] = True
        return super().__call__(**options, connection=connection)
