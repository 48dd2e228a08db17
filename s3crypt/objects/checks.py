# SPDX-License-Identifier: Apache-2.0
"""What an object is, by S3's reply and its first bytes, against what is demanded of it.

Makes no request, and knows no store: a reply and its stream are all that is looked at.
"""

from collections.abc import Mapping
from typing import Any

from s3crypt import metadata as entries
from s3crypt import s3ec
from s3crypt.errors import ConfigError, FormatError, PolicyError
from s3crypt.keyrings import reading_hint
from s3crypt.location import Location
from s3crypt.message import Header, find_header
from s3crypt.modes import DSSEKMS, SSEC, SSEKMS, ClientSide, Mode, binds_bucket, reported_mode
from s3crypt.transfer import ObjectStream

from .info import keys_of


def check_written_in(mode: Mode | None, written_in: str | None) -> None:
    """Refuse a bucket that objects are said to be bound to where nobody would compare it."""
    if written_in and not binds_bucket(mode):
        raise ConfigError(
            "The bucket that objects are bound to was named, and no bucket is bound.",
            hint="Name bind_bucket=True as well.",
        )


def demanded(mode: Mode | None) -> Mode:
    """Return the mode to write with.

    Raises:
        ConfigError: There is none.
    """
    if mode is None:
        raise ConfigError(
            "Writing needs a mode.", hint="S3Crypt(ClientSide(...)), or put(..., mode=...)."
        )
    return mode


def refuse_client_side(mode: Mode | None, stream: ObjectStream) -> None:
    """Refuse an object that is encrypted client-side, where its reader has no such mode.

    Raises:
        PolicyError: The object is a message, or its metadata says so.
    """
    # S3 knows nothing of client-side encryption, so a reader without keys would get ciphertext
    # for plaintext. Our own objects say so; without a mode, others' are looked at too.
    if mode is not None and not entries.claims_client_side(entries.of_reply(stream.reply)):
        return
    if header := recognise(stream):
        raise PolicyError(
            "The object is encrypted client-side.",
            hint=reading_hint(keys_of(header, stream.reply)),
        )
    stream.rewind()


def recognise(stream: ObjectStream) -> Header | None:
    """Return the header at the beginning of a client-side object, or None for any other.

    Raises:
        FormatError, IntegrityError: It is encrypted client-side, and cannot be read: taken for
            a plain object, its ciphertext would be taken for plaintext.
    """
    metadata = entries.of_reply(stream.reply)
    refuse_s3ec(metadata)
    header = find_header(stream)
    if header is None and entries.claims_client_side(metadata):
        raise FormatError(
            "The object is to be encrypted client-side, and is not a message this version reads."
        )
    if header is None and is_instruction_file(stream):
        raise _instruction_file_error("Or name this object's own mode, to read it as it is.")
    return header


def refuse_s3ec(metadata: Mapping[str, str]) -> None:
    """Refuse an object whose metadata has entries of the Amazon S3 Encryption Client.

    Raises:
        FormatError: It has some: the object is that client's, or an instruction file, or other
            readers would take it for one of these.
    """
    names = s3ec.marks(metadata)
    if not names:
        return
    if s3ec.INSTRUCTION_MARK in names:
        raise _instruction_file_error()
    key = (
        "" if s3ec.has_key(metadata) else "; its instruction file (NAME.instruction) holds its key"
    )
    raise FormatError(
        f"The object is of the Amazon S3 Encryption Client, which this version does not read{key}.",
        hint="Read it with that client. If another one wrote it, copy it without its metadata "
        f"{', '.join(names)}.",
    )


def _instruction_file_error(hint: str = "") -> FormatError:
    return FormatError(
        "The object is an instruction file of the Amazon S3 Encryption Client: it holds the key "
        "of another object, which this version does not read.",
        hint=f"Read that object with that client. {hint}".rstrip(),
    )


def is_instruction_file(stream: ObjectStream) -> bool:
    """Return whether an object's metadata or its whole body is that of an instruction file."""
    if s3ec.INSTRUCTION_MARK in entries.of_reply(stream.reply):
        return True
    if stream.size > s3ec.MAX_INSTRUCTION_LENGTH or not s3ec.may_begin_instruction_file(
        stream.beginning
    ):
        return False
    stream.rewind()
    return s3ec.is_instruction_file(bytes(stream.take(stream.size)))


def check_written(mode: Mode, reply: Mapping[str, Any], location: Location) -> None:
    """Refuse a reply that does not confirm the encryption that a write asked for.

    Some servers accept the headers, answer 200, and store plaintext; only AWS's echo tells.
    """
    if isinstance(mode, ClientSide):
        return
    confirmed = reported_mode(reply) == mode.name
    if isinstance(mode, SSEC):
        confirmed = confirmed and reply.get("SSECustomerKeyMD5") == mode.key_md5
    elif isinstance(mode, SSEKMS | DSSEKMS) and "alias/" not in mode.key:
        # An ARN is compared whole; of an id nothing else is known without asking KMS.
        reported = str(reply.get("SSEKMSKeyId"))
        confirmed = confirmed and mode.key in (reported, reported.rpartition(":key/")[2])
    if not confirmed:
        raise PolicyError(
            f"{location}: the server did not confirm encryption {mode.name}.",
            hint="This S3 service may not support the mode; mode client needs no support.",
        )
