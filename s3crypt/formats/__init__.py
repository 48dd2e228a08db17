# SPDX-License-Identifier: Apache-2.0
"""Client-side formats: what is inside an object, told by its metadata and first bytes.

The engine knows formats by the protocols in `seam`, and no codec. AWS Encryption SDK messages are
the format that is written; Amazon S3 Encryption Client objects are recognised and refused.
"""

from collections.abc import Mapping

from s3crypt.errors import FormatError
from s3crypt.message import MAX_HEADER_LENGTH
from s3crypt.message.frames import unsigned
from s3crypt.message.header import RESERVED_PREFIX
from s3crypt.message.recognise import is_known
from s3crypt.modes import ClientSide

from . import messages
from .s3ec import instruction_file_error, is_instruction_file, is_marked, refuse_s3ec
from .seam import Difference, Envelope, Facts, Format, OpenObject, Sealing, Stored

__all__ = [
    "FORMATS",
    "MAX_HEADER_LENGTH",
    "RESERVED_PREFIX",
    "Difference",
    "Envelope",
    "Facts",
    "Format",
    "OpenObject",
    "Sealing",
    "Stored",
    "claims_client_side",
    "classify",
    "is_instruction_file",
    "is_known",
    "measure",
    "of_metadata",
    "read",
    "refuse_s3ec",
    "seal",
    "unsigned",
]

# In the order in which they are tried. The first is the one that is written.
FORMATS: tuple[Format, ...] = (messages.MESSAGES,)


def claims_client_side(metadata: Mapping[str, str]) -> bool:
    """Return whether the metadata says that the body is ciphertext, ours or another client's."""
    return is_marked(metadata) or any(one.claims(metadata) for one in FORMATS)


def classify(metadata: Mapping[str, str], stored: Stored) -> Envelope | None:
    """Return the envelope of a client-side object, or None, at the first byte, for any other.

    Raises:
        FormatError, IntegrityError: The object is encrypted client-side, and cannot be read: as a
            plain object its ciphertext would pass for plaintext.
    """
    refuse_s3ec(metadata)
    envelope = _first(metadata, stored)
    if envelope is not None:
        return envelope
    if claims_client_side(metadata):
        raise FormatError(
            "The object is to be encrypted client-side, and is not a message this version reads."
        )
    if is_instruction_file(metadata, stored):
        raise instruction_file_error("Or name this object's own mode, to read it as it is.")
    stored.rewind()
    return None


def read(metadata: Mapping[str, str], stored: Stored) -> Envelope:
    """Return the envelope of an object that has to be encrypted client-side.

    Raises:
        FormatError: It is of no format that this version reads.
        IntegrityError: It ends within its header.
    """
    try:
        return _first(metadata, stored) or messages.refuse(stored)
    except FormatError:
        refuse_s3ec(metadata)
        raise


def measure(metadata: Mapping[str, str], stored_size: int) -> Facts | None:
    """Return what a client-side object's metadata claims, or None where it does not say enough."""
    found = (one.measure(metadata, stored_size) for one in FORMATS)
    return next(filter(None, found), None)


def seal(mode: ClientSide, context: Mapping[str, str], plaintext_length: int | None) -> Sealing:
    """Begin an object of the format that is written; see `Format.seal`."""
    return FORMATS[0].seal(mode, context, plaintext_length)


def _first(metadata: Mapping[str, str], stored: Stored) -> Envelope | None:
    for number, one in enumerate(FORMATS):
        if number:
            stored.rewind()
        envelope = one.classify(metadata, stored)
        if envelope is not None:
            return envelope
    return None


def of_metadata(metadata: Mapping[str, str]) -> Envelope | None:
    """Return the envelope of an object whose metadata has all of it; None for any other.

    Raises:
        FormatError: The metadata is malformed.
    """
    refuse_s3ec(metadata)
    found = (one.classify(metadata, None) for one in FORMATS)
    return next(filter(None, found), None)
