# SPDX-License-Identifier: Apache-2.0
"""S3's listings as fsspec entries: directories, and objects with the size of their plaintext.

A directory is a common prefix of names, up to a slash. Some tools mark a directory by an empty
object whose name ends with this slash.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Literal

from s3crypt import buckets
from s3crypt.errors import FormatError, StorageError
from s3crypt.location import Location
from s3crypt.objects.access import ListedObject, ListedPrefix
from s3crypt.objects.info import ObjectInfo

from .connection import Connection, Seen
from .parallel import parallel_map
from .paths import as_files, split, uri_of

Entry = dict[str, Any]
Kind = Literal["file", "directory"]


class Listing:
    """Lists names. If a listing lacks the plaintext sizes, they are requested for each object."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def kind(self, path: str) -> Kind | None:
        """Return whether a path is a file or a directory, by one or two short listings.

        Return None if it is neither.

        No request for the object is sent, except if the caller has no permission to list names.
        """
        bucket, name = split(path)
        if not bucket:
            return "directory"
        try:
            listed = self._first(bucket, name)
            first = _name(bucket, listed) if listed else None
            if name and listed and first == name:
                # The exact name comes first in a listing, before all longer names with the same
                # beginning.
                self._remember(path, listed)
                return "file"
            if name and first and not first.startswith(f"{name}/"):
                first = self.first(bucket, f"{name}/")
        except FileNotFoundError:
            return None
        except StorageError as error:
            if error.code != "AccessDenied" or not name:
                raise
            return self._kind_unlisted(path)
        return "directory" if first or not name else None

    def _kind_unlisted(self, path: str) -> Kind | None:
        # The caller may be allowed to read objects but not to list them.
        try:
            self._connection.head(path)
        except FileNotFoundError:
            return None
        return "file"

    def _remember(self, path: str, listed: ListedObject) -> None:
        """Keep the facts about a listed object, because a caller may open the object next."""
        seen = self._connection.known.get(path)
        if not seen or (seen.etag, seen.last_modified) != (listed.etag, listed.last_modified):
            told = Seen(listed.etag, listed.last_modified, listed.stored_size)
            self._connection.remember(path, told)

    def first(self, bucket: str, prefix: str) -> str | None:
        """Return the first name that begins with `prefix`. Return None if there is none."""
        listed = self._first(bucket, prefix)
        return _name(bucket, listed) if listed else None

    def object(self, path: str) -> Entry | None:
        """Return the entry of an object from a listing.

        Return None if the object does not exist.
        """
        bucket, name = split(path)
        listed = self._first(bucket, name)
        return self._entry(listed) if name and listed and _name(bucket, listed) == name else None

    def _first(self, bucket: str, prefix: str) -> ListedObject | None:
        with as_files():
            return self._connection.objects.first(Location(bucket, prefix))

    def stored(self, path: str) -> Iterator[tuple[str, str]]:
        """Yield the path and the ETag of all objects below a directory.

        Objects that mark directories are included.
        """
        bucket, name = split(path)
        for listed in self._listed(bucket, f"{name}/" if name else ""):
            yield _path(listed.uri), listed.etag

    def level(self, path: str, prefix: str = "") -> list[Entry] | None:
        """List one directory. The sizes are not determined. Return None if it does not exist."""
        bucket, name = split(path)
        if not bucket:
            return self._buckets()
        beginning = f"{name}/" if name else ""
        entries: list[Entry] = []
        is_there = not name
        location = Location(bucket, beginning + prefix)
        with as_files():
            for found in self._connection.objects.list_level(location):
                if isinstance(found, ListedPrefix):
                    entries.append(directory(_path(found.uri).removesuffix("/")))
                    continue
                is_there = True
                if _name(bucket, found) != beginning:
                    entries.append(self._entry(found))
        entries.sort(key=lambda entry: str(entry["name"]))
        return entries if entries or is_there else None

    def below(self, path: str, maxdepth: int | None, prefix: str) -> dict[str, Entry]:
        """Return the entries below a directory, including directories, by name, without sizes."""
        if maxdepth is None:
            return self._all_below(path, prefix)
        found: dict[str, Entry] = {}
        level = [path]
        for depth in range(maxdepth):
            list_one = partial(self.level, prefix="" if depth else prefix)
            listings = parallel_map(self._connection, list_one, level)
            entries = [entry for listing in listings for entry in listing or ()]
            for entry in entries:
                # If an object and a directory have the same name, the result contains the object.
                if entry["type"] == "file" or entry["name"] not in found:
                    found[entry["name"]] = entry
            level = [entry["name"] for entry in entries if entry["type"] == "directory"]
        return found

    def _all_below(self, path: str, prefix: str) -> dict[str, Entry]:
        bucket, name = split(path)
        beginning = f"{name}/" if name else ""
        found: dict[str, Entry] = {}
        for listed in self._listed(bucket, beginning + prefix):
            key = _name(bucket, listed)
            if not key.endswith("/"):
                found[f"{bucket}/{key}"] = self._entry(listed)
            end = key.rfind("/")
            while end >= len(beginning):
                parent = f"{bucket}/{key[:end]}"
                if parent in found:
                    break
                found[parent] = directory(parent)
                end = key.rfind("/", 0, end)
        return found

    def _buckets(self) -> list[Entry]:
        with as_files():
            return [directory(name) for name in buckets.names(self._connection.client)]

    def _listed(self, bucket: str, prefix: str) -> Iterator[ListedObject]:
        with as_files():
            yield from self._connection.objects.list(Location(bucket, prefix))

    def _entry(self, listed: ListedObject) -> Entry:
        return {
            "name": _path(listed.uri),
            "size": listed.stored_size if self._connection.is_size_listed else None,
            "type": "file",
            "stored_size": listed.stored_size,
            "ETag": listed.etag,
            "LastModified": listed.last_modified,
            "mtime": listed.last_modified,
            "StorageClass": listed.storage_class,
        }

    def measured(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return the entries with the plaintext sizes.

        Objects that were removed meanwhile are omitted.
        """
        if self._connection.is_size_listed:
            return [dict(entry) for entry in entries]
        known = self._connection.known
        infos: dict[str, ObjectInfo | None] = {}
        unknown = []
        for entry in entries:
            if entry["type"] == "file":
                seen = known.get(entry["name"])
                infos[entry["name"]] = seen.info if seen else None
                if (
                    not seen
                    or not seen.info
                    or (seen.etag, seen.last_modified) != (entry["ETag"], entry["LastModified"])
                ):
                    unknown.append(entry)
        infos.update(parallel_map(self._connection, self._measure, unknown))
        measured = []
        for entry in entries:
            found = infos.get(entry["name"])
            if entry["type"] != "file":
                measured.append(dict(entry))
            elif found is not None:
                measured.append(described(entry["name"], found))
        return measured

    def _measure(self, entry: Entry) -> tuple[str, ObjectInfo | None]:
        name = entry["name"]
        try:
            info = self._connection.head(name)
        except FileNotFoundError:
            return name, None
        except FormatError:
            # The object is damaged, or belongs to the S3 Encryption Client. Reading it will raise
            # the error, but a listing must still show the other objects.
            return name, _unmeasured(entry)
        if info.etag == entry["ETag"]:
            told = Seen(info.etag, entry["LastModified"], info.stored_size, info)
            self._connection.remember(name, told)
        return name, info


def _path(uri: str) -> str:
    return uri.removeprefix("s3://")


def _name(bucket: str, listed: ListedObject) -> str:
    return listed.uri.removeprefix(f"s3://{bucket}/")


def _unmeasured(entry: Entry) -> ObjectInfo:
    return ObjectInfo(
        uri=uri_of(entry["name"]),
        mode=None,
        size=None,
        stored_size=entry["stored_size"],
        etag=entry["ETag"],
        last_modified=entry["LastModified"],
        storage_class=entry["StorageClass"],
    )


def directory(path: str) -> Entry:
    """Return the entry of a directory."""
    return {"name": path, "size": 0, "type": "directory", "StorageClass": "DIRECTORY"}


def is_directory_entry(entry: Entry | None) -> bool:
    """Return whether an entry is the entry of a directory. Return False for None."""
    return entry is not None and entry["type"] == "directory"


def described(path: str, info: ObjectInfo) -> Entry:
    """Return the entry of an object from the facts about it."""
    return {
        "name": path,
        "size": info.size,
        "type": "file",
        "stored_size": info.stored_size,
        "ETag": info.etag,
        "LastModified": info.last_modified,
        # pyarrow reads the time from this entry.
        "mtime": info.last_modified,
        "StorageClass": info.storage_class,
        "VersionId": info.version_id,
        "ContentType": info.content_type,
        "mode": info.mode,
        "metadata": dict(info.metadata),
    }
