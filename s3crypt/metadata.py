# SPDX-License-Identifier: Apache-2.0
"""The S3 metadata of an object: the user's entries, and entries that s3crypt adds in every mode.

    s3crypt-write           for a conditional write in a server-side mode: a random token, by which
                            the writer recognizes its object if S3's reply was lost
    s3crypt-annotations-of  the version whose annotations a rotation copies to this one
    mtime                   the time of the last write to the file that the object was made of, in
                            seconds since 1970 with up to nine decimals, as rclone writes it

`mtime` is an entry of the user: it is kept and copied like the user's other entries. The entries of
a client-side format belong in the module of the format.
"""

import re
import unicodedata
from collections.abc import Mapping
from secrets import token_hex
from typing import Any

from . import s3ec
from .errors import ConfigError

PREFIX = "s3crypt-"
WRITE = "s3crypt-write"
ANNOTATIONS_OF = "s3crypt-annotations-of"
MTIME = "mtime"

MAX_METADATA_LENGTH = 2048  # S3's limit on names and values together
# Names and values are sent as HTTP headers. The values of headers lose leading and trailing spaces.
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"([!-~]([\t -~]*[!-~])?)?")
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html
_MAX_TAGS, _MAX_TAG_NAME, _MAX_TAG_VALUE = 10, 128, 256
_TAG_SIGNS = "+-=._:/@"
_SECONDS = re.compile(r"(-?)([0-9]{1,11})(?:\.([0-9]{1,9})[0-9]{0,30})?")


def new_token(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the entry with a new write token. Return {} if it would exceed S3's limit of 2 KB."""
    return fitting(metadata, {WRITE: token_hex(16)})


def fitting(metadata: Mapping[str, str], entry: Mapping[str, str]) -> dict[str, str]:
    """Return the entries in `entry`. Return {} if they would exceed S3's limit of 2 KB."""
    return dict(entry) if _length({**metadata, **entry}) <= MAX_METADATA_LENGTH else {}


def without_token(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata without the write token of the object."""
    return {name: value for name, value in metadata.items() if name != WRITE}


def of_reply(reply: Mapping[str, Any]) -> dict[str, str]:
    """Return the metadata in a reply, with names in lower case.

    S3 returns names in lower case, but the names of HTTP headers are case-insensitive: servers
    written in Go send `X-Amz-Meta-S3crypt-Edks`.
    """
    return {name.lower(): value for name, value in reply.get("Metadata", {}).items()}


def of_user(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the user's entries, without the entries of s3crypt."""
    return {name: value for name, value in metadata.items() if not name.startswith(PREFIX)}


def of_time(time_ns: int) -> dict[str, str]:
    """Return the entry for a file's modification time, which is given in nanoseconds since 1970."""
    seconds, decimals = divmod(abs(time_ns), 10**9)
    fraction = f".{decimals:09}".rstrip("0").rstrip(".")
    return {MTIME: f"{'-' if time_ns < 0 else ''}{seconds}{fraction}"}


def time_of(metadata: Mapping[str, str]) -> int | None:
    """Return a file's modification time in nanoseconds. Return None without a valid entry."""
    found = _SECONDS.fullmatch(metadata.get(MTIME, ""))
    if found is None:
        return None
    sign, seconds, decimals = found.groups()
    time_ns = int(seconds) * 10**9 + int((decimals or "").ljust(9, "0"))
    return -time_ns if sign else time_ns


def check_user(metadata: Mapping[str, str]) -> None:
    """Refuse entries that S3 cannot store or would not return unchanged.

    Raises:
        ConfigError: An entry is not valid text for a header; two names differ only by case; a name
            begins with `s3crypt-`, or is a name of the Amazon S3 Encryption Client; or the entries
            need more than 2 KB.
    """
    _check_texts("metadata", metadata)
    for name in metadata:
        if name.lower().startswith(PREFIX):
            raise ConfigError(f"Metadata names that begin with {PREFIX!r} are s3crypt's: {name!r}.")
        if name.lower() in s3ec.ENTRIES:
            raise ConfigError(
                f"The metadata name {name!r} is the Amazon S3 Encryption Client's: the object "
                "would be taken for one of that client.",
                hint="Leave the entry out, or give it another name.",
            )
        if not (name + metadata[name]).isascii():
            raise ConfigError(
                f"S3 metadata is ASCII; {name!r} is not.", hint="Percent-encode it, or use a tag."
            )
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{name!r} is not a name of S3 metadata.", hint="Use letters, digits and hyphens."
            )
        if not _VALUE.fullmatch(metadata[name]):
            raise ConfigError(
                f"The value of the S3 metadata {name!r} has a control character, or a space at an "
                "end, which S3 does not keep.",
                hint="Percent-encode it.",
            )
    lower = [name.lower() for name in metadata]
    if len(set(lower)) < len(lower):
        raise ConfigError(
            "Two names of metadata differ by case alone, and S3 has them in lower case.",
            hint="Give one of them another name.",
        )
    check_length(metadata)


def check_tags(tags: Mapping[str, str]) -> None:
    """Refuse tags that S3 would refuse.

    Raises:
        ConfigError: There are too many tags, or a tag is too long or has characters that are not
            permitted.
    """
    _check_texts("tags", tags)
    if len(tags) > _MAX_TAGS:
        raise ConfigError(
            f"An object has {_MAX_TAGS} tags at most, not {len(tags)}.", hint="Use metadata too."
        )
    for name, value in tags.items():
        if not 0 < len(name) <= _MAX_TAG_NAME or len(value) > _MAX_TAG_VALUE:
            raise ConfigError(
                f"The tag {name[:_MAX_TAG_NAME]!r} is too long, or has no name.",
                hint=f"A name has up to {_MAX_TAG_NAME} characters, a value {_MAX_TAG_VALUE}.",
            )
        if not all(_is_of_tags(character) for character in name + value):
            raise ConfigError(
                f"The tag {name!r} has a character that tags of S3 cannot have.",
                hint=f"Use letters, digits, spaces and {' '.join(_TAG_SIGNS)}.",
            )


def _is_of_tags(character: str) -> bool:
    return character in _TAG_SIGNS or unicodedata.category(character)[0] in "LNZ"


def check_headers(headers: Mapping[str, object]) -> None:
    """Refuse values that cannot be sent in headers. `headers` has them by argument name.

    Raises:
        ConfigError: A value is not valid text for a header.
    """
    for name, value in headers.items():
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise ConfigError(f"{name} is a line of ASCII text.")


def _check_texts(what: str, pairs: Mapping[str, str]) -> None:
    if not isinstance(pairs, Mapping) or not all(
        isinstance(text, str) for pair in pairs.items() for text in pair
    ):
        raise ConfigError(f"{what} is a mapping of text to text.", hint='{"team": "reports"}')


def check_length(metadata: Mapping[str, str]) -> None:
    """Refuse metadata that is too long for S3, before any byte is sent.

    Raises:
        ConfigError: Names and values together need more than 2 KB.
    """
    length = _length(metadata)
    if length > MAX_METADATA_LENGTH:
        raise ConfigError(
            f"The object's metadata takes {length} bytes; S3 takes {MAX_METADATA_LENGTH}.",
            hint="Shorten it, name fewer keys, or keep the wrapped key in the header.",
        )


def _length(metadata: Mapping[str, str]) -> int:
    return sum(len(name) + len(value.encode()) for name, value in metadata.items())
