# SPDX-License-Identifier: Apache-2.0
"""The sides of a synchronisation: a folder or a prefix. Both are walked in S3's order."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path

from s3crypt.aws_errors import http_status
from s3crypt.errors import (
    ConfigError,
    ConflictError,
    ObjectNotFoundError,
    StorageError,
)
from s3crypt.jobs import FoundFile, Journal, Unusable, at_least_one, files_below
from s3crypt.local.files import is_temporary
from s3crypt.location import Location
from s3crypt.modes import ClientSide, Mode
from s3crypt.objects.access import ListedObject, Objects
from s3crypt.objects.contents import has_digest, stored_crc
from s3crypt.objects.instruction_files import may_be_instruction_file
from s3crypt.objects.opened import ReadOptions

from . import rules
from .contents import crc_of_found, hmac_of_found
from .pairs import Item, Listed
from .rules import State


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder on this machine.

    Attributes:
        root: The path of the folder.
        left_out: Is called with each path that is skipped, and the reason.
        journal: The journal of the job. Its files are never synchronised.
        skipped: The relative names that the walk has skipped so far. Their content is unknown, so a
            target with such a name, or below it, must not be deleted.
    """

    root: Path
    left_out: Callable[[Path, str], None]
    journal: Journal | None = None
    skipped: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return str(self.root)

    def at(self, name: str) -> str:
        """Return the path for a relative name."""
        return f"{self.root}/{name}"

    def sources(self) -> Iterator[tuple[str, FoundFile | Unusable]]:
        """Yield the files with their relative names, and an `Unusable` per unreadable path.

        Raises:
            LocalFileNotFoundError, StorageError: The folder does not exist or cannot be read.
        """
        for found in files_below(self.root, report=self._skip):
            if isinstance(found, Unusable):
                yield str(found.path), found
            elif self._is_ours(found.path):
                self._skip(found.path, "this job's journal, or a file that is being written")
            else:
                yield found.name, found

    def targets(self) -> Iterator[tuple[str, FoundFile]]:
        """Yield the existing files.

        If the folder does not exist, yield nothing: it will be made.
        """
        if not os.path.lexists(self.root):
            return
        if not self.root.is_dir():
            raise ConfigError(f"{self.root} is not a folder.", hint="Name another target.")
        for name, found in self.sources():
            if isinstance(found, Unusable):
                # Such a path is neither compared nor deleted.
                self.left_out(found.path, str(found.error))
            else:
                yield name, found

    def state(self, item: Item) -> State:
        """Return the state of a file."""
        return rules.of_file(_file(item))

    def looked_at(self, item: Item) -> State:
        """Return the state of a file. No request is needed."""
        return self.state(item)

    def version(self, item: Item) -> str:
        """Return a text that changes when the file is written to."""
        return _file(item).version

    def has_skipped(self, name: str) -> bool:
        """Return whether a relative name, or a folder above it, was skipped."""
        return any(name == each or name.startswith(f"{each}/") for each in self.skipped)

    def _skip(self, path: Path, why: str) -> None:
        self.skipped.append(path.relative_to(self.root).as_posix())
        self.left_out(path, why)

    def _is_ours(self, path: Path) -> bool:
        return is_temporary(path) or (self.journal is not None and self.journal.owns(path))


@dataclass(frozen=True, slots=True)
class Prefix:
    """The objects below a prefix.

    Attributes:
        objects: The engine.
        uri: The URI of the prefix. It ends with a slash.
        mode: The mode of the objects. None if it is unknown.
        read_options: The demands on an object when it is read.
    """

    objects: Objects
    uri: str
    mode: Mode | None
    read_options: ReadOptions = field(default_factory=lambda: ReadOptions(None))

    def __post_init__(self) -> None:
        if Location.parse(self.uri).is_in_directory_bucket:
            raise ConfigError(
                f"{self.uri} is in a directory bucket, whose listing is not sorted.",
                hint="sync needs a sorted listing. Copy instead: s3crypt cp -r",
            )

    def __str__(self) -> str:
        return self.uri

    def at(self, name: str) -> str:
        """Return the URI for a relative name."""
        return f"{self.uri}{name}"

    def sources(self) -> Iterator[tuple[str, Listed]]:
        """Yield the objects with their relative names.

        Raises:
            ObjectNotFoundError: There is no object below the prefix.
        """
        return self._walk(at_least_one(self._listed(), self.uri))

    def targets(self) -> Iterator[tuple[str, Listed]]:
        """Yield the existing objects with their relative names."""
        return self._walk(self._listed())

    def state(self, item: Item) -> State:
        """Return the state of an object.

        A request is sent if the listing does not show the size of its plaintext.
        """
        if self.mode is None or self.is_sealed:
            return self.looked_at(item)
        return rules.of_listing(_listed(item)[0])

    @property
    def is_sealed(self) -> bool:
        """Return whether the objects are encrypted client-side."""
        return isinstance(self.mode, ClientSide)

    def looked_at(self, item: Item) -> State:
        """Return the state of an object after a request for its metadata.

        Raises:
            StorageError: S3 refused or failed.
        """
        listed, neighbour = _listed(item)
        read_options = ReadOptions(self.mode, neighbour=neighbour)
        state = rules.of_info(self.objects.head(Location.parse(listed.uri), read_options), listed)
        # An object that is not encrypted as demanded must be written again, so its size is set to
        # None, which never equals a source's size.
        return replace(state, size=None) if self.is_sealed and not state.is_sealed else state

    @property
    def written_mode(self) -> Mode:
        """Return the mode in which objects of a target are written."""
        if self.mode is None:
            raise AssertionError("unreachable: a target has a mode")
        return self.mode

    def to_read(self, item: Listed) -> tuple[Location, ReadOptions]:
        """Return the location of an object, and the demands on it."""
        listed, neighbour = item
        return Location.parse(listed.uri), replace(self.read_options, neighbour=neighbour)

    def has_content(self, item: Item, found: FoundFile) -> bool:
        """Return whether an object has the content of a file. The object's content is not fetched.

        A client-side object is compared by its stored digest, and a server-side object by S3's
        checksum of the whole object. If there is neither, the result is False.
        """
        location, read_options = self.to_read(_listed(item))
        if self.is_sealed:
            read_options = replace(read_options, mode=self.mode)
            return has_digest(
                self.objects, location, read_options, found.size, hmac_of_found(found)
            )
        if _listed(item)[0].stored_size != found.size:
            return False
        crc = stored_crc(self.objects, location, replace(read_options, mode=self.mode))
        return crc is not None and crc == crc_of_found(found)

    def version(self, item: Item) -> str:
        """Return the ETag. It changes when the object is written."""
        return _listed(item)[0].etag

    def has_skipped(self, name: str) -> bool:
        """Return False: a listing does not skip objects."""
        return False

    def must_keep(self, item: FoundFile | ListedObject) -> bool:
        """Return whether an object is an instruction file, which another object needs."""
        if isinstance(item, FoundFile):
            raise AssertionError("unreachable: a prefix has objects")  # noqa: TRY004
        return may_be_instruction_file(self.objects.client, Location.parse(item.uri), self.mode)

    def _listed(self) -> Iterator[Listed]:
        return self.objects.list_with_neighbours(Location.parse(self.uri))

    def _walk(self, found: Iterator[Listed]) -> Iterator[tuple[str, Listed]]:
        for listed, neighbour in found:
            # Consoles store empty objects whose names end with a slash to show a folder. They are
            # left out.
            if listed.stored_size or not listed.uri.endswith("/"):
                yield listed.uri[len(self.uri) :], (listed, neighbour)


def delete_file(found: FoundFile) -> None:
    """Delete a file that has no source, if it has not changed since it was found.

    Raises:
        ConflictError: The file was replaced or written to since it was found. It was not deleted.
        StorageError: The file cannot be deleted.
    """
    try:
        state = found.path.stat()
        if (state.st_size, state.st_mtime_ns) != (found.size, found.mtime_ns):
            raise ConflictError(
                f"{found.path} changed meanwhile; the file was kept.", hint="Run the command again."
            )
        found.path.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(
            f"Cannot delete {found.path}: {error.strerror}.", hint="Check its folder's permissions."
        ) from error


def modified_or_unknown(place: Folder | Prefix, item: Item, state: State) -> State:
    """Return the state with the object's metadata. If it cannot be read, return `state` unchanged.

    A caller with only the permission to write cannot read the metadata, and an object may have
    another customer key.
    """
    if state.is_known:
        return state
    with suppress(ObjectNotFoundError):
        try:
            return place.looked_at(item)
        except StorageError as error:
            if http_status(error) not in (HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN):
                raise
    return state


def _file(item: Item) -> FoundFile:
    if not isinstance(item, FoundFile):
        raise AssertionError("unreachable: a folder has files")  # noqa: TRY004
    return item


def _listed(item: Item) -> Listed:
    if isinstance(item, FoundFile):
        raise AssertionError("unreachable: a prefix has objects")  # noqa: TRY004
    return item
