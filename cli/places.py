# SPDX-License-Identifier: Apache-2.0
"""Helpers shared by the commands on objects: stores, options, prefixes, loops over objects."""

import dataclasses
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import click

import s3crypt
from s3crypt.errors import ConfigError, ObjectNotFoundError
from s3crypt.location import Location

from .help import MANY
from .options import UNENCRYPTED, ModeOptions, Settings, option
from .output import EXIT_CHANGES, EXIT_OTHER

if TYPE_CHECKING:
    from s3crypt import Mode, S3Crypt

T = TypeVar("T")

recursive_option = option(
    "-r",
    "--recursive",
    is_flag=True,
    environment=False,
    group=MANY,
    help="All objects below the prefix.",
)
dry_run_option = option("--dry-run", is_flag=True, help="Show what would be done; change nothing.")
exit_code_option = option(
    "--exit-code",
    is_flag=True,
    environment=False,
    help="With --dry-run: exit with 6 if anything would be changed.",
)
version_id_option = option("--version-id", environment=False, metavar="ID", help="That version.")
written_as_option = option(
    "--written-as",
    environment=False,
    metavar="NAME",
    help="The name under which the object was written, if it was moved since.",
)
written_in_option = option(
    "--written-in",
    environment=False,
    metavar="BUCKET",
    help=(
        "With --bind-bucket: the bucket that the object is bound to, if it is not the bucket in "
        "S3_URI."
    ),
)
allow_unsigned_option = option(
    "--allow-unsigned",
    is_flag=True,
    environment=False,
    help="Also read unsigned objects, if --signed demands a signature.",
)


allow_uncommitted_option = option(
    "--allow-uncommitted",
    is_flag=True,
    environment=False,
    help="Also read messages without key commitment, from writers you trust.",
)
allow_unverified_signature_option = option(
    "--allow-unverified-signature",
    is_flag=True,
    environment=False,
    help=(
        "Also read parts of signed objects: the signature covers the whole object, and is not "
        "checked."
    ),
)
drop_annotations_option = option(
    "--drop-annotations",
    is_flag=True,
    environment=False,
    help="Continue if an object's annotations cannot be kept, and lose them.",
)
if_absent_option = option(
    "--if-absent", is_flag=True, help="Fail if the object exists; never overwrite."
)
no_overwrite_option = option(
    "--no-overwrite", is_flag=True, help="Skip existing targets, and count them."
)


preserve_option = option(
    "--preserve",
    is_flag=True,
    help=(
        "Keep files' modification times: store them in the object's metadata, as rclone does, and "
        "restore them."
    ),
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
        no_sign_request=settings.no_sign_request,
    )


def origin_mode(
    origin: ModeOptions, options: ModeOptions, settings: Settings, written_in: str | None
) -> "Mode | None":
    """Return the mode for reading the objects that are rotated or copied."""
    if origin.mode == UNENCRYPTED:
        origin.check_none("--from-mode none")
        return None
    if "key" in origin.values and origin.mode in (None, "client"):
        # These options for new objects also apply to the objects that are read. If the new object
        # is signed, the old object must be signed, too. Otherwise the new signature would vouch for
        # content that any reader with the key could have written.
        inherited = ("bind_name", "signed", "cache_data_keys")
        more = {name: options.values[name] for name in inherited if name in options.values}
        if written_in is not None:
            more["bind_bucket"] = True
        origin = dataclasses.replace(origin, values={**more, **origin.values})
    return origin.mode_for(settings)


def check_exit_code(*, exit_code: bool, dry_run: bool) -> None:
    """Refuse --exit-code without --dry-run, because only a dry run can exit with code 6."""
    if exit_code and not dry_run:
        raise ConfigError("--exit-code is for --dry-run.", hint="Give both.")


def end_dry_run(*, exit_code: bool, would_change: bool) -> None:
    """Exit with the code of --exit-code if anything would be changed."""
    if exit_code and would_change:
        raise click.exceptions.Exit(EXIT_CHANGES)


def common_code(codes: list[int]) -> int:
    """Return the exit code of several failures: their code if they share one, else EXIT_OTHER."""
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
            f"{prefix}: no objects below it",
            hint="Check the name, or list the prefix above it: s3crypt ls.",
        )


@contextmanager
def suggesting_recursion(uri: str) -> Iterator[None]:
    """Suggest -r if an object whose URI ends with a slash does not exist."""
    try:
        yield
    except ObjectNotFoundError as error:
        # A URI that ends with a slash is not refused at once: the S3 console creates such objects.
        if uri.endswith("/"):
            error.hint = "Give -r for all objects below it."
        raise
