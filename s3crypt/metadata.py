# SPDX-License-Identifier: Apache-2.0
"""An object's S3 metadata: the user's entries, and those that s3crypt adds in every mode.

    s3crypt-write           of a conditional write of a server-side mode: a random token, by which
                            its writer knows the object again when S3's reply was lost
    s3crypt-annotations-of  the version whose annotations a rotation copies to this one

Entries of a client-side format belong to the format.
"""

from collections.abc import Mapping
from secrets import token_hex
from typing import Any

from . import s3ec
from .errors import ConfigError

PREFIX = "s3crypt-"
WRITE = "s3crypt-write"
ANNOTATIONS_OF = "s3crypt-annotations-of"

MAX_METADATA_LENGTH = 2048  # S3's limit on names and values together


def new_token(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the entry of a new write token, or nothing where S3's 2 KB have no room for it."""
    entry = {WRITE: token_hex(16)}
    return entry if _length({**metadata, **entry}) <= MAX_METADATA_LENGTH else {}


def without_token(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata without the token of the write that made the object."""
    return {name: value for name, value in metadata.items() if name != WRITE}


def of_reply(reply: Mapping[str, Any]) -> dict[str, str]:
    """Return an object's metadata, its names in lower case as S3 has them.

    HTTP is indifferent to case, and servers written in Go send `X-Amz-Meta-S3crypt-Edks`.
    """
    return {name.lower(): value for name, value in reply.get("Metadata", {}).items()}


def of_user(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the entries that are not ours."""
    return {name: value for name, value in metadata.items() if not name.startswith(PREFIX)}


def check_user(metadata: Mapping[str, str]) -> None:
    """Refuse entries that would be taken for ours, or for the Amazon S3 Encryption Client's.

    Raises:
        ConfigError: A name begins with `s3crypt-` or is one of that client's, or an entry is not
            ASCII.
    """
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


def check_length(metadata: Mapping[str, str]) -> None:
    """Refuse metadata that S3 would refuse, before a byte is sent.

    Raises:
        ConfigError: Names and values take more than 2 KB.
    """
    length = _length(metadata)
    if length > MAX_METADATA_LENGTH:
        raise ConfigError(
            f"The object's metadata takes {length} bytes; S3 takes {MAX_METADATA_LENGTH}.",
            hint="Shorten it, name fewer keys, or keep the wrapped key in the header.",
        )


def _length(metadata: Mapping[str, str]) -> int:
    return sum(len(name) + len(value.encode()) for name, value in metadata.items())
