# SPDX-License-Identifier: Apache-2.0
"""The two sides of a synchronisation: a folder or a prefix, each walked in S3's order."""

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
from s3crypt.objects.opened import Demand

from . import rules
from .contents import crc_of_found, hmac_of_found
from .pairs import Item, Listed
from .rules import State


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder on this machine.

    Attributes:
        root: The folder.
        left_out: Called with each path that is skipped, and the reason.
        journal: The job's journal, which is never one of the files.
        skipped: The relative names that the walk has skipped so far. Nothing is known of their
            content, so that no target of these names, or below them, may be deleted.
    """

    root: Path
    left_out: Callable[[Path, str], None]
    journal: Journal | None = None
    skipped: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return str(self.root)

    def at(self, name: str) -> str:
        """Return the path of a relative name."""
        return f"{self.root}/{name}"

    def sources(self) -> Iterator[tuple[str, FoundFile | Unusable]]:
        """Yield the files with their relative names, and paths that cannot be read.

        Raises:
            LocalFileNotFoundError, StorageError: The folder does not exist, or cannot be read.
        """
        for found in files_below(self.root, report=self._skip):
            if isinstance(found, Unusable):
                yield str(found.path), found
            elif self._is_ours(found.path):
                self._skip(found.path, "this job's journal, or a file that is being written")
            else:
                yield found.name, found

    def targets(self) -> Iterator[tuple[str, FoundFile]]:
        """Yield the files that exist; a missing folder has none, and will be made."""
        if not os.path.lexists(self.root):
            return
        if not self.root.is_dir():
            raise ConfigError(f"{self.root} is no folder.", hint="Name another target.")
        for name, found in self.sources():
            if isinstance(found, Unusable):
                # It is neither compared nor deleted.
                self.left_out(found.path, str(found.error))
            else:
                yield name, found

    def state(self, item: Item) -> State:
        """Return the state of a file."""
        return rules.of_file(_file(item))

    def looked_at(self, item: Item) -> State:
        """Return the state of a file, which needs no request."""
        return self.state(item)

    def version(self, item: Item) -> str:
        """Return a text that changes when the file is written to."""
        return _file(item).version

    def has_skipped(self, name: str) -> bool:
        """Return whether a relative name was skipped, or is below one that was."""
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
        uri: The prefix, which ends with a slash.
        mode: The mode that the objects are in; None if it is not known.
        demand: The demands on an object that is read.
    """

    objects: Objects
    uri: str
    mode: Mode | None
    demand: Demand = field(default_factory=lambda: Demand(None))

    def __post_init__(self) -> None:
        if Location.parse(self.uri).is_in_directory_bucket:
            raise ConfigError(
                f"{self.uri} is in a directory bucket, whose listing is not sorted.",
                hint="It cannot be synchronised; copy it: s3crypt cp -r",
            )

    def __str__(self) -> str:
        return self.uri

    def at(self, name: str) -> str:
        """Return the URI of a relative name."""
        return f"{self.uri}{name}"

    def sources(self) -> Iterator[tuple[str, Listed]]:
        """Yield the objects with their relative names.

        Raises:
            ObjectNotFoundError: No object is below the prefix.
        """
        return self._walk(at_least_one(self._listed(), self.uri))

    def targets(self) -> Iterator[tuple[str, Listed]]:
        """Yield the objects that exist."""
        return self._walk(self._listed())

    def state(self, item: Item) -> State:
        """Return the state of an object, by a request if the listing does not show its size."""
        if self.mode is None or self.is_sealed:
            return self.looked_at(item)
        return rules.of_listing(_listed(item)[0])

    @property
    def is_sealed(self) -> bool:
        """Return whether the objects are encrypted client-side."""
        return isinstance(self.mode, ClientSide)

    def looked_at(self, item: Item) -> State:
        """Return the state of an object, by a request.

        Raises:
            StorageError: S3 refused or failed.
        """
        listed, neighbour = _listed(item)
        demand = Demand(self.mode, neighbour=neighbour)
        state = rules.of_info(self.objects.head(Location.parse(listed.uri), demand), listed)
        # An object that is not encrypted as demanded is like no source.
        return replace(state, size=None) if self.is_sealed and not state.is_sealed else state

    @property
    def written_mode(self) -> Mode:
        """Return the mode of new objects, of a target."""
        if self.mode is None:
            raise AssertionError("unreachable: a target has a mode")
        return self.mode

    def to_read(self, item: Listed) -> tuple[Location, Demand]:
        """Return an object's location and the demands on it."""
        listed, neighbour = item
        return Location.parse(listed.uri), replace(self.demand, neighbour=neighbour)

    def has_content(self, item: Item, found: FoundFile) -> bool:
        """Return whether an object has a file's content, as far as a request and the file show.

        Client-side objects are compared by their digest, server-side objects by S3's checksum of
        the whole object. An object that has neither counts as different.
        """
        location, demand = self.to_read(_listed(item))
        if self.is_sealed:
            demand = replace(demand, mode=self.mode)
            return has_digest(self.objects, location, demand, found.size, hmac_of_found(found))
        if _listed(item)[0].stored_size != found.size:
            return False
        crc = stored_crc(self.objects, location, replace(demand, mode=self.mode))
        return crc is not None and crc == crc_of_found(found)

    def version(self, item: Item) -> str:
        """Return the ETag, which changes when the object is written."""
        return _listed(item)[0].etag

    def has_skipped(self, name: str) -> bool:
        """Return False: a listing skips no object."""
        return False

    def must_keep(self, item: FoundFile | ListedObject) -> bool:
        """Return whether an object is an instruction file, without which another is unreadable."""
        if isinstance(item, FoundFile):
            raise AssertionError("unreachable: a prefix has objects")  # noqa: TRY004
        return may_be_instruction_file(self.objects.client, Location.parse(item.uri))

    def _listed(self) -> Iterator[Listed]:
        return self.objects.list_with_neighbours(Location.parse(self.uri))

    def _walk(self, found: Iterator[Listed]) -> Iterator[tuple[str, Listed]]:
        for listed, neighbour in found:
            # Consoles store empty objects whose names end with a slash, to show a folder.
            if listed.stored_size or not listed.uri.endswith("/"):
                yield listed.uri[len(self.uri) :], (listed, neighbour)


def delete_file(found: FoundFile) -> None:
    """Delete a file that has no source, if it is unchanged since it was found.

    Raises:
        ConflictError: It was replaced or written to meanwhile, and is kept.
        StorageError: It cannot be deleted.
    """
    try:
        state = found.path.stat()
        if (state.st_size, state.st_mtime_ns) != (found.size, found.mtime_ns):
            raise ConflictError(
                f"{found.path} changed meanwhile; it is kept.", hint="Run it again."
            )
        found.path.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(
            f"Cannot delete {found.path}: {error.strerror}.", hint="Check its folder's permissions."
        ) from error


def modified_or_unknown(place: Folder | Prefix, item: Item, state: State) -> State:
    """Return the state with the object's metadata, or the same state if it cannot be requested.

    A caller who may only write cannot read metadata, and an object may be under another customer
    key.
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
