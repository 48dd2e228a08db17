# SPDX-License-Identifier: Apache-2.0
"""Helpers shared by the commands on objects: stores, options, prefixes, loops over objects."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import s3crypt
from s3crypt.errors import ObjectNotFoundError
from s3crypt.location import Location

from .options import Settings, option
from .output import EXIT_OTHER

if TYPE_CHECKING:
    from s3crypt import ListedObject, Mode, S3Crypt

T = TypeVar("T")

recursive_option = option(
    "-r", "--recursive", is_flag=True, environment=False, help="All objects below the prefix."
)
dry_run_option = option("--dry-run", is_flag=True, help="Say what would be done; do nothing.")
version_id_option = option("--version-id", environment=False, metavar="ID", help="That version.")
written_as_option = option(
    "--written-as",
    environment=False,
    metavar="NAME",
    help="The name it was written under, if it was moved since.",
)
written_in_option = option(
    "--written-in",
    environment=False,
    metavar="BUCKET",
    help="With --bind-bucket: the bucket it is bound to, if that is not the one in S3_URI.",
)
allow_unsigned_option = option(
    "--allow-unsigned",
    is_flag=True,
    environment=False,
    help="Read unsigned objects too, where --signed demands a signature.",
)


def make_store(mode: "Mode | None", settings: Settings, written_in: str | None = None) -> "S3Crypt":
    """Return a store that connects to S3 with these settings."""
    return s3crypt.S3Crypt(
        mode,
        session=settings.session,
        allow_plain_http=settings.allow_plain_http,
        written_in=written_in,
        expected_bucket_owner=settings.expected_bucket_owner,
        request_payer=settings.request_payer,
    )


def common_code(codes: list[int]) -> int:
    """Return the exit code of several failures: their common code, or a general one."""
    return codes[0] if len(set(codes)) == 1 else EXIT_OTHER


def split_uri(uri: str) -> tuple[str, str]:
    """Return the bucket and the name of a URI.

    Raises:
        ConfigError: The text is not an S3 URI.
    """
    location = Location.parse(uri)
    return location.bucket, location.name


def name_of(uri: str) -> str:
    """Return the name in a URI, which may be empty."""
    return split_uri(uri)[1]


def prefix_of(uri: str) -> str:
    """Return a URI as a prefix: with a slash at its end."""
    split_uri(uri)
    return uri if uri.endswith("/") else uri + "/"


def found_below(found: Iterable[T], prefix: str) -> Iterator[T]:
    """Yield the objects that were listed below a prefix; fail if the listing is empty."""
    nothing = True
    for item in found:
        nothing = False
        yield item
    if nothing:
        raise ObjectNotFoundError(
            f"{prefix}: no objects below it", hint="Check the name, or look above it: s3crypt ls."
        )


def found_to_read(store: "S3Crypt", prefix: str) -> "Iterator[tuple[ListedObject, Any]]":
    """Yield the objects below a prefix that have content, with their neighbours."""
    for item, neighbour in found_below(store.list_with_neighbours(prefix), prefix):
        # The S3 console creates empty objects named "folder/" to show a folder.
        if not (item.uri.endswith("/") and item.stored_size == 0):
            yield item, neighbour


@contextmanager
def suggesting_recursion(uri: str) -> Iterator[None]:
    """Suggest -r if an object whose URI ends with a slash does not exist."""
    try:
        yield
    except ObjectNotFoundError as error:
        # Such a URI is not refused at once, since the S3 console creates objects of such names.
        if uri.endswith("/"):
            error.hint = "Give -r for all below it."
        raise
