# SPDX-License-Identifier: Apache-2.0
"""Remove the objects of one call, with up to 1,000 objects per request and requests in parallel.

The module `names` decides which objects a path stands for.
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

# A path, and the ETag from the listing of this call. The ETag is None to remove the object whatever
# its content is.
Listed = tuple[str, str | None]


@dataclass(slots=True)
class Removal:
    """The objects and directories that one call removes.

    Attributes:
        objects: Path of an object -> its ETag from a listing, or None as in `Listed`.
        directories: The paths of directories. Their objects are listed while they are removed.
    """

    objects: dict[str, str | None] = field(default_factory=dict)
    directories: set[str] = field(default_factory=set)

    def add(self, other: "Removal") -> None:
        """Add the objects and directories of another removal, without duplicates."""
        self.objects |= other.objects
        self.directories |= other.directories

    def listed(self, listing: Listing) -> Iterator[Listed]:
        """Yield each object once. A directory is listed only when its objects are needed."""
        # If a name were removed twice, an object that was stored between the two requests could be
        # removed. Sorting brings the objects of a bucket together, so they can share requests.
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
    """Remove objects. After the first error, start no further request and raise the error.

    Args:
        connection: The connection to the service.
        found: The objects to remove.
        forget: Is called with the paths of each request that has ended. Several threads call it.

    Raises:
        ConflictError: A listed object was replaced. The new object was not removed.
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


# The number of batches that are listed in advance. A batch has up to a thousand names, like a page
# of a listing.
_AHEAD = 2


def _removed(connection: Connection, batch: list[Listed]) -> S3CryptError | None:
    """Remove objects of one bucket. Return the first error, or None."""
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
