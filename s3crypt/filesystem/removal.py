# SPDX-License-Identifier: Apache-2.0
"""The objects that one call removes: up to 1,000 by a request, and requests side by side.

Which objects a path stands for is decided in `names`.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, islice

from s3crypt.errors import S3CryptError
from s3crypt.jobs import run
from s3crypt.location import Location
from s3crypt.objects.deleting import batches, delete_batch

from .connection import Connection
from .listing import Listing
from .paths import as_files, object_uri, split

# A path, and the ETag that this call's listing showed, or None to remove any content.
Listed = tuple[str, str | None]


@dataclass(slots=True)
class Removal:
    """What one call removes.

    Attributes:
        objects: Paths of objects, with ETags as `Listed` has them.
        directories: Paths of directories, whose objects are listed while they are removed.
    """

    objects: dict[str, str | None] = field(default_factory=dict)
    directories: set[str] = field(default_factory=set)

    def add(self, other: "Removal") -> None:
        """Add what another has, without what is then meant twice."""
        self.objects |= other.objects
        self.directories |= other.directories

    def listed(self, listing: Listing) -> Iterator[Listed]:
        """Yield each object once. A directory is listed when it is its turn."""
        # A second removal of a name could meet an object that was stored since the first.
        # In order, the objects of a bucket are neighbours and share requests.
        for path in sorted(self.objects):
            if not self._has_above(path):
                yield path, self.objects[path]
        for path in sorted(self.directories):
            if not self._has_above(path):
                yield from listing.stored(path)

    def _has_above(self, path: str) -> bool:
        """Return whether a path is below one of the directories."""
        above = path
        while "/" in above:
            above = above.rpartition("/")[0]
            if above in self.directories:
                return True
        return False


def remove(
    connection: Connection, found: Iterable[Listed], forget: Callable[[list[str]], None]
) -> None:
    """Remove objects; at the first failure no further request is begun, and it is raised.

    Args:
        connection: Where they are.
        found: The objects.
        forget: Called with the paths of each request, from several threads, once it has ended.

    Raises:
        ConflictError: Another object has replaced one that was listed. It is kept.
        StorageError: S3 refused or failed.
    """

    def remove_batch(batch: list[Listed]) -> S3CryptError | None:
        try:
            return _removed(connection, batch)
        finally:
            forget([path for path, _ in batch])

    waiting = batches(found, lambda listed: split(listed[0])[0])
    begun = list(islice(waiting, 2))
    with as_files():
        if len(begun) == 1:
            _raise(remove_batch(begun[0]))
        elif begun:
            rest = chain(begun, waiting)
            job = run(rest, remove_batch, is_far=lambda: connection.is_far, ahead=_AHEAD)
            with closing(job) as outcomes:
                for outcome in outcomes:
                    _raise(outcome.error or outcome.result)


# Of a thousand names each, as two pages of a listing are.
_AHEAD = 2


def _removed(connection: Connection, batch: list[Listed]) -> S3CryptError | None:
    """Remove objects of one bucket; return the first error."""
    first, etag = batch[0]
    location = Location.parse_object(object_uri(first))
    if len(batch) == 1 and etag is None:
        connection.objects.delete(location)
        return None
    items = [(split(path)[1], etag) for path, etag in batch]
    workers = connection.options.workers
    errors = delete_batch(connection.client, location.bucket, items, workers=workers)
    return next((error for error in errors if error is not None), None)


def _raise(error: S3CryptError | None) -> None:
    if error is not None:
        raise error
