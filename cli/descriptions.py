# SPDX-License-Identifier: Apache-2.0
"""The options that describe new objects apart from their encryption: metadata, headers, locks."""

import functools
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from s3crypt.errors import ConfigError

from .help import HEADERS
from .options import Command, option, parse_pairs, with_options

_header_option = functools.partial(option, group=HEADERS)
_OPTIONS = (
    _header_option(
        "--metadata", multiple=True, metavar="NAME=VALUE", help="Kept with the object, in clear."
    ),
    _header_option("--tag", multiple=True, metavar="NAME=VALUE", help="Object tag."),
    _header_option(
        "--content-type", metavar="TYPE", help="For example text/csv.  [default: by the name]"
    ),
    _header_option(
        "--content-encoding",
        metavar="NAME",
        help="The encoding of the file's content, such as gzip.",
    ),
    _header_option("--cache-control", metavar="TEXT", help="For example max-age=3600."),
    _header_option("--content-disposition", metavar="TEXT", help="For example attachment."),
    _header_option("--content-language", metavar="TEXT", help="For example de or de, en."),
    _header_option("--storage-class", metavar="CLASS", help="For example STANDARD_IA."),
    _header_option(
        "--object-lock-mode",
        type=click.Choice(("GOVERNANCE", "COMPLIANCE")),
        help="Lock the new version; with --object-lock-retain-until.",
    ),
    _header_option(
        "--object-lock-retain-until",
        metavar="TIME",
        help="The version cannot be deleted before: 2027-12-31, or with a time, in UTC.",
    ),
    _header_option(
        "--object-lock-legal-hold", is_flag=True, help="Put a legal hold on the new version."
    ),
)
_NAMES = (
    "metadata",
    "tag",
    "content_type",
    "content_encoding",
    "cache_control",
    "content_disposition",
    "content_language",
    "storage_class",
    "object_lock_mode",
    "object_lock_retain_until",
    "object_lock_legal_hold",
)


def describing_new_options(command: Command) -> Command:
    """Give a command these options. It gets them as `said`: arguments for `S3Crypt.put`."""

    @functools.wraps(command)
    def wrapper(*arguments: Any, **values: Any) -> Any:
        said = _said({name: values.pop(name) for name in _NAMES})
        return command(*arguments, said=said, **values)

    return with_options(wrapper, _OPTIONS)


def refuse_description(said: Mapping[str, Any], reason: str) -> None:
    """Refuse options that describe a new object if the command does not write one."""
    for name in said:
        spelled = "tag" if name == "tags" else name.replace("_", "-")
        raise ConfigError(f"--{spelled} is for an object that is written; {reason}.")


def _said(given: dict[str, Any]) -> dict[str, Any]:
    """Return the given values as arguments of the library; omit options that were not given."""
    until = given["object_lock_retain_until"]
    said = {
        **given,
        "metadata": parse_pairs(given["metadata"], "--metadata"),
        "tags": parse_pairs(given.pop("tag"), "--tag"),
        "object_lock_retain_until": _parse_time(until) if until else None,
    }
    said.pop("tag", None)
    return {name: value for name, value in said.items() if value}


def _parse_time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"--object-lock-retain-until takes a time, not {text!r}.",
            hint="Write 2027-12-31 or 2027-12-31T12:00:00Z.",
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
