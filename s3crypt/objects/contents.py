# SPDX-License-Identifier: Apache-2.0
"""Whether an object has the same content as a file, without fetching the content."""

from typing import TYPE_CHECKING

from s3crypt.errors import FormatError, ObjectNotFoundError
from s3crypt.formats import Digest
from s3crypt.location import Location
from s3crypt.transfer import full_object_crc
from s3crypt.transfer.conditions import head

from .opened import Demand, read_arguments

if TYPE_CHECKING:
    from .access import Objects

# Longer than the headers of almost all messages.
_HEAD_LENGTH = 16 * 2**10


def has_digest(
    objects: "Objects", location: Location, demand: Demand, size: int, digest: Digest
) -> bool:
    """Return whether a client-side object has this size and stores the digest of this content.

    One request is sent, and one key unwrapped. `digest` is called only if the object has the size
    and stores a digest. An object that was deleted, or is not encrypted client-side, is unlike any
    content.

    Raises:
        S3CryptError: As for a read.
    """
    try:
        with objects.reading(location, demand, first=_HEAD_LENGTH) as reading:
            if reading.opened is None or reading.info.size != size:
                return False
            return bool(reading.opened.matches(digest))
    except (FormatError, ObjectNotFoundError):
        return False


def stored_crc(objects: "Objects", location: Location, demand: Demand) -> int | None:
    """Return the CRC-64/NVME that S3 has of an object's whole content; None if it has none.

    The object is one that S3 decrypts. One HEAD is sent.
    """
    arguments = {**read_arguments(demand.mode, demand.version_id), "ChecksumMode": "ENABLED"}
    try:
        return full_object_crc(head(objects.client, location, arguments))
    except ObjectNotFoundError:
        return None
