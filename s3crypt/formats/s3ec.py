# SPDX-License-Identifier: Apache-2.0
"""Amazon S3 Encryption Client objects: they are recognised and refused.

This version cannot read them. The module `s3crypt.s3ec` has the marks of such objects.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from s3crypt import s3ec
from s3crypt.errors import FormatError

if TYPE_CHECKING:
    from .seam import Stored


def is_marked(metadata: Mapping[str, str]) -> bool:
    """Return whether the metadata has entries of the Amazon S3 Encryption Client."""
    return bool(s3ec.marks(metadata))


def refuse_s3ec(metadata: Mapping[str, str]) -> None:
    """Refuse an object whose metadata has entries of the Amazon S3 Encryption Client.

    Raises:
        FormatError: The metadata has such entries. The object belongs to that client or is its
            instruction file. Even if it is neither, other readers would treat it as one of the two.
    """
    names = s3ec.marks(metadata)
    if not names:
        return
    if s3ec.INSTRUCTION_MARK in names:
        raise instruction_file_error()
    key = (
        "" if s3ec.has_key(metadata) else "; its instruction file (NAME.instruction) holds its key"
    )
    raise FormatError(
        f"The object is of the Amazon S3 Encryption Client, which this version does not read{key}.",
        hint="Read it with that client. If another one wrote it, copy it without its metadata "
        f"{', '.join(names)}.",
    )


def instruction_file_error(hint: str = "") -> FormatError:
    """Return the error for an instruction file. `hint` is added to the error's hint."""
    return FormatError(
        "The object is an instruction file of the Amazon S3 Encryption Client: it holds the key "
        "of another object, which this version does not read.",
        hint=f"Read that object with that client. {hint}".rstrip(),
    )


def is_instruction_file(metadata: Mapping[str, str], stored: "Stored") -> bool:
    """Return whether an object is an instruction file, by its metadata or by its whole body."""
    if s3ec.INSTRUCTION_MARK in metadata:
        return True
    if stored.size > s3ec.MAX_INSTRUCTION_LENGTH or not s3ec.may_begin_instruction_file(
        stored.beginning
    ):
        return False
    stored.rewind()
    return s3ec.is_instruction_file(bytes(stored.take(stored.size)))
