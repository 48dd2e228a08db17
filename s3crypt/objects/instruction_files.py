# SPDX-License-Identifier: Apache-2.0
"""Instruction files: objects in which the Amazon S3 Encryption Client can store data keys."""

from typing import TYPE_CHECKING

from s3crypt import formats, s3ec
from s3crypt import metadata as entries
from s3crypt.errors import FormatError, ObjectNotFoundError, S3CryptError
from s3crypt.location import Location
from s3crypt.transfer import ObjectStream
from s3crypt.transfer.conditions import head

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

# The reply to a HEAD has no body with an error code, so status codes are listed too.
_UNREADABLE = ("400", "403", "404", "AccessDenied", "InvalidObjectState", "InvalidRequest")


def refuse_instruction_file_of(
    client: "S3Client", location: Location, *, is_listed: bool = False, is_strict: bool = False
) -> None:
    """Refuse an object that has an instruction file of the S3 Encryption Client beside it.

    An instruction file of an object has the suffix `.instruction`. Its metadata or body must show
    that it is an instruction file. If the caller has no permission to read it, it is treated as
    missing.

    Args:
        client: The S3 client.
        location: The object.
        is_listed: Whether a listing contained the name with `.instruction`, so no HEAD is needed.
        is_strict: Whether to raise an error if the caller has no permission to read that file, or
            if it was listed and is gone.

    Raises:
        FormatError: There is an instruction file, so the object is ciphertext of that client.
        StorageError: `is_strict` is True, and the file cannot be read.
    """
    name = s3ec.beside(location.name)
    if name is None:
        return
    beside = Location(location.bucket, name)
    try:
        is_one = _is_instruction_file(client, beside, is_listed=is_listed)
    except S3CryptError as error:
        is_missing = isinstance(error, ObjectNotFoundError)
        if not is_missing and (is_strict or error.code not in _UNREADABLE):
            raise
        if is_missing and is_listed and is_strict:
            raise
        return
    if is_one:
        raise FormatError(
            f"{location}: the object is of the Amazon S3 Encryption Client, which this version "
            f"does not read; the instruction file {beside} holds its key.",
            hint="Read it with that client.",
        )


def refuse_move_of_instruction_file(client: "S3Client", location: Location) -> None:
    """Refuse to move an instruction file away from the object whose key it holds.

    Raises:
        FormatError: The object is an instruction file, or the caller has no permission to read it.
        StorageError: S3 failed.
    """
    if may_be_instruction_file(client, location):
        beside = Location(location.bucket, location.name.removesuffix(s3ec.SUFFIX))
        raise FormatError(
            f"{location} is an instruction file of the Amazon S3 Encryption Client: without it, "
            f"{beside} cannot be read.",
            hint="Copy the file, or delete it after its object.",
        )


def may_be_instruction_file(client: "S3Client", location: Location) -> bool:
    """Return whether an object is an instruction file, by its name and its content.

    The result is also True if the object has such a name and the caller has no permission to read
    it.

    Raises:
        StorageError: S3 failed.
    """
    if not location.name.endswith(s3ec.SUFFIX):
        return False
    try:
        return _is_instruction_file(client, location, is_listed=False)
    except ObjectNotFoundError:
        return False
    except S3CryptError as error:
        if error.code not in _UNREADABLE:
            raise
        return True


def _is_instruction_file(client: "S3Client", location: Location, *, is_listed: bool) -> bool:
    if not is_listed:
        found = head(client, location, {})
        if s3ec.INSTRUCTION_MARK in entries.of_reply(found):
            return True
        if found["ContentLength"] > s3ec.MAX_INSTRUCTION_LENGTH:
            return False
    first = s3ec.MAX_INSTRUCTION_LENGTH
    with ObjectStream.open(client, location, {}, first=first) as stream:
        return formats.is_instruction_file(entries.of_reply(stream.reply), stream)
