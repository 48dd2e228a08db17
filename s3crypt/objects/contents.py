# SPDX-License-Identifier: Apache-2.0
"""Decide whether an object has the same content as a file, without fetching the content."""

from typing import TYPE_CHECKING

from s3crypt.errors import FormatError, ObjectNotFoundError
from s3crypt.formats import Digest
from s3crypt.location import Location
from s3crypt.transfer import full_object_crc
from s3crypt.transfer.conditions import head

from .opened import ReadOptions, read_arguments

if TYPE_CHECKING:
    from .access import Objects

# The first request fetches this many bytes. Almost all headers are shorter.
_HEAD_LENGTH = 16 * 2**10


def has_digest(
    objects: "Objects", location: Location, read_options: ReadOptions, size: int, digest: Digest
) -> bool:
    """Return whether a client-side object has this size and stores this digest of its content.

    The function sends one request and unwraps one key. `digest` is called only if the object has
    the size and stores a digest. The result is False if the object was deleted or is not encrypted
    client-side.

    Raises:
        S3CryptError: For the reasons that a read documents.
    """
    try:
        with objects.reading(location, read_options, first=_HEAD_LENGTH) as reading:
            if reading.opened is None or reading.info.size != size:
                return False
            return bool(reading.opened.matches(digest))
    except (FormatError, ObjectNotFoundError):
        return False


def stored_crc(objects: "Objects", location: Location, read_options: ReadOptions) -> int | None:
    """Return the CRC-64/NVME of an object's whole content, or None if S3 does not store it.

    S3 must be able to decrypt the object. One HEAD is sent.
    """
    arguments = {
        **read_arguments(read_options.mode, read_options.version_id),
        "ChecksumMode": "ENABLED",
    }
    try:
        return full_object_crc(head(objects.client, location, arguments))
    except ObjectNotFoundError:
        return None
