# SPDX-License-Identifier: Apache-2.0
"""Client-side formats. An object's format is recognised by its metadata and first bytes.

The engine uses formats through the protocols in the module `seam`, and does not know how a format
stores bytes. New objects are AWS Encryption SDK messages. Amazon S3 Encryption Client objects are
recognised and refused.
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
from .seam import (
    Difference,
    Digest,
    Envelope,
    Facts,
    Format,
    OpenMessage,
    Rewrapping,
    Sealing,
    Stored,
)

__all__ = [
    "FORMATS",
    "MAX_HEADER_LENGTH",
    "RESERVED_PREFIX",
    "Difference",
    "Digest",
    "Envelope",
    "Facts",
    "Format",
    "OpenMessage",
    "Rewrapping",
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

# The formats in the order in which they are tried. New objects are written in the first format.
FORMATS: tuple[Format, ...] = (messages.MESSAGES,)


def claims_client_side(metadata: Mapping[str, str]) -> bool:
    """Return whether the metadata says that s3crypt or another client encrypted the body."""
    return is_marked(metadata) or any(one.claims(metadata) for one in FORMATS)


def classify(metadata: Mapping[str, str], stored: Stored) -> Envelope | None:
    """Return the envelope of a client-side object, or None for an object of another kind.

    If the result is None, `stored` is back at its first byte.

    Raises:
        FormatError, IntegrityError: The object is encrypted client-side, but cannot be read. It is
            not treated as unencrypted, because the caller would take its ciphertext for plaintext.
    """
    refuse_s3ec(metadata)
    envelope = _first(metadata, stored)
    if envelope is not None:
        return envelope
    if claims_client_side(metadata):
        raise FormatError(
            "The object should be encrypted client-side, but is not a message that this version "
            "reads."
        )
    if is_instruction_file(metadata, stored):
        raise instruction_file_error("Or name this object's own mode, to read it as it is.")
    stored.rewind()
    return None


def read(metadata: Mapping[str, str], stored: Stored) -> Envelope:
    """Return the envelope of an object that must be encrypted client-side.

    Raises:
        FormatError: The object has no format that this version reads.
        IntegrityError: The object ends within its header.
    """
    try:
        return _first(metadata, stored) or messages.refuse(stored)
    except FormatError:
        refuse_s3ec(metadata)
        raise


def measure(metadata: Mapping[str, str], stored_size: int) -> Facts | None:
    """Return the facts that a client-side object's metadata states.

    Return None if the metadata does not contain the lengths of a format. The facts are not
    verified.
    """
    found = (one.measure(metadata, stored_size) for one in FORMATS)
    return next(filter(None, found), None)


def seal(
    mode: ClientSide,
    context: Mapping[str, str],
    plaintext_length: int | None,
    digest: Digest | None = None,
) -> Sealing:
    """Begin a new object in the first format. `Format.seal` documents the arguments."""
    return FORMATS[0].seal(mode, context, plaintext_length, digest)


def _first(metadata: Mapping[str, str], stored: Stored) -> Envelope | None:
    for number, one in enumerate(FORMATS):
        if number:
            stored.rewind()
        envelope = one.classify(metadata, stored)
        if envelope is not None:
            return envelope
    return None


def of_metadata(metadata: Mapping[str, str]) -> Envelope | None:
    """Return the envelope of an object if its metadata contains the whole envelope.

    Return None otherwise.

    Raises:
        FormatError: The metadata is malformed.
    """
    refuse_s3ec(metadata)
    found = (one.classify(metadata, None) for one in FORMATS)
    return next(filter(None, found), None)
