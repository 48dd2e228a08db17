# SPDX-License-Identifier: Apache-2.0
"""Instruction files: objects in which the Amazon S3 Encryption Client can store data keys."""

from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from s3crypt import formats, s3ec
from s3crypt import metadata as entries
from s3crypt.aws_errors import http_status
from s3crypt.errors import FormatError, ObjectNotFoundError, S3CryptError, StorageError
from s3crypt.location import Location
from s3crypt.modes import ClientSide, Mode
from s3crypt.transfer import ObjectStream
from s3crypt.transfer.conditions import head

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

SUFFIX = s3ec.SUFFIX
# The reply to a HEAD has no body with an error code, so status codes are listed too.
_UNREADABLE = ("400", "403", "404", "AccessDenied", "InvalidObjectState", "InvalidRequest")


def refuse_instruction_file_of(
    client: "S3Client",
    location: Location,
    mode: Mode | None,
    *,
    is_listed: bool = False,
    is_strict: bool = False,
) -> None:
    """Refuse an object that has an instruction file of the S3 Encryption Client beside it.

    An instruction file of an object has the suffix `.instruction`. Its metadata or body must show
    that it is an instruction file. If the caller has no permission to read it, it is treated as
    missing.

    Args:
        client: The S3 client.
        location: The object.
        mode: The mode in which the object is read. The instruction file may have the same customer
            key.
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
        is_one = _is_instruction_file(client, beside, mode, is_listed=is_listed)
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


def refuse_move_of_instruction_file(
    client: "S3Client", location: Location, mode: Mode | None
) -> None:
    """Refuse to move an instruction file away from the object whose key it holds.

    Args:
        client: The S3 client.
        location: The object.
        mode: The mode in which the object is read.

    Raises:
        FormatError: The object is an instruction file, or has the name of such a file and cannot be
            read.
        StorageError: S3 failed.
    """
    if not location.name.endswith(s3ec.SUFFIX):
        return
    try:
        is_one = _is_instruction_file(client, location, mode, is_listed=False)
    except ObjectNotFoundError:
        return
    except S3CryptError as error:
        if error.code not in _UNREADABLE:
            raise
        raise FormatError(
            f"{location} was not moved: it has the name of an instruction file of the Amazon S3 "
            f"Encryption Client, and cannot be read to check this: {error}",
            hint="If it is encrypted with a customer key, give this key.",
        ) from error
    if is_one:
        beside = Location(location.bucket, location.name.removesuffix(s3ec.SUFFIX))
        raise FormatError(
            f"{location} is an instruction file of the Amazon S3 Encryption Client. It was not "
            f"moved, because it holds the data key of {beside}.",
            hint="Instead, copy both objects in their server-side mode. A copy keeps its source.",
        )


def refuse_move_of_split_object(
    client: "S3Client", location: Location, mode: Mode | None, *, is_listed: bool = False
) -> None:
    """Refuse to move an object away from the instruction file that holds its key.

    Args:
        client: The S3 client.
        location: The object.
        mode: The mode in which the object is read.
        is_listed: Whether a listing contained the name of the instruction file.

    Raises:
        FormatError: There is an instruction file.
        StorageError: S3 failed, or the listed file exists and may not be read.
    """
    # A listed file with that name may have been moved since, if it is no instruction file.
    with suppress(ObjectNotFoundError):
        refuse_instruction_file_of(client, location, mode, is_listed=is_listed, is_strict=is_listed)


def refuse_separation(
    client: "S3Client", location: Location, mode: Mode | None, *, is_there: bool | None = None
) -> None:
    """Refuse to separate an object from its instruction file, in either direction.

    A read in mode `client` accepts only messages, and these have no instruction file.

    Args:
        client: The S3 client.
        location: The object, which is to be moved away.
        mode: The mode in which the object is read.
        is_there: Whether a listing contained the name of the instruction file. None without a
            listing.

    Raises:
        FormatError: The object is an instruction file, or there is an instruction file.
        StorageError: S3 failed, or the listed file exists and may not be read.
    """
    refuse_move_of_instruction_file(client, location, mode)
    if not isinstance(mode, ClientSide) and is_there is not False:
        refuse_move_of_split_object(client, location, mode, is_listed=bool(is_there))


def may_be_instruction_file(client: "S3Client", location: Location, mode: Mode | None) -> bool:
    """Return whether an object is an instruction file, by its name and its content.

    The result is also True if the object has such a name and the caller has no permission to read
    it.

    Raises:
        StorageError: S3 failed.
    """
    if not location.name.endswith(s3ec.SUFFIX):
        return False
    try:
        return _is_instruction_file(client, location, mode, is_listed=False)
    except ObjectNotFoundError:
        return False
    except S3CryptError as error:
        if error.code not in _UNREADABLE:
            raise
        return True


def _is_instruction_file(
    client: "S3Client", location: Location, mode: Mode | None, *, is_listed: bool
) -> bool:
    if arguments := mode.read_arguments() if mode else {}:
        try:
            return _shows_one(client, location, arguments, is_listed=is_listed)
        except StorageError as error:
            # S3 replies 400 to a request with a customer key if the object is in another mode.
            if http_status(error) != HTTPStatus.BAD_REQUEST:
                raise
    return _shows_one(client, location, {}, is_listed=is_listed)


def _shows_one(
    client: "S3Client", location: Location, arguments: Mapping[str, Any], *, is_listed: bool
) -> bool:
    if not is_listed:
        found = head(client, location, arguments)
        if s3ec.INSTRUCTION_MARK in entries.of_reply(found):
            return True
        if found["ContentLength"] > s3ec.MAX_INSTRUCTION_LENGTH:
            return False
    first = s3ec.MAX_INSTRUCTION_LENGTH
    with ObjectStream.open(client, location, arguments, first=first) as stream:
        return formats.is_instruction_file(entries.of_reply(stream.reply), stream)
