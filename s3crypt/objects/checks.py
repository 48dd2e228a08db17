# SPDX-License-Identifier: Apache-2.0
"""Compare an object with the reader's demands, by S3's reply and the object's first bytes.

This module makes no requests: it examines only a reply and its stream.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from s3crypt import formats
from s3crypt import metadata as entries
from s3crypt.errors import ConfigError, PolicyError, Remedy
from s3crypt.formats import Envelope
from s3crypt.keyrings import reading_remedy
from s3crypt.location import Location
from s3crypt.modes import (
    DSSEKMS,
    SSEC,
    SSEKMS,
    ClientSide,
    Mode,
    ServerSide,
    binds_bucket,
    reported_mode,
)
from s3crypt.transfer import ObjectStream


def check_written_in(mode: Mode | None, written_in: str | None) -> None:
    """Refuse `written_in`, the name of a bound bucket, if the mode does not bind buckets.

    Otherwise the name would be ignored silently.
    """
    if written_in and not binds_bucket(mode):
        raise ConfigError(
            "The bound bucket was given, but objects are not bound to a bucket.",
            remedy=Remedy("demand_bound_bucket", bind_bucket=True),
        )


def demanded(mode: Mode | None) -> Mode:
    """Return the mode for writing. Refuse None.

    Raises:
        ConfigError: No mode was given.
    """
    if mode is None:
        raise ConfigError("Writing needs a mode.", remedy=Remedy("name_mode"))
    return mode


def refuse_client_side(mode: Mode | None, stream: ObjectStream) -> None:
    """Refuse a client-side encrypted object in a read with a server-side mode or without a mode.

    Raises:
        PolicyError: The object's metadata or bytes show that it is encrypted client-side.
    """
    # S3 does not recognise client-side encryption, so the caller would get ciphertext instead of
    # plaintext. Objects that s3crypt writes are marked in their metadata. If the caller gave no
    # mode, the first bytes of unmarked objects are examined too.
    if mode is not None and not formats.claims_client_side(entries.of_reply(stream.reply)):
        return
    if envelope := classify(stream):
        raise PolicyError(
            "The object is encrypted client-side.", remedy=reading_remedy(envelope.keys)
        )


def classify(stream: ObjectStream) -> Envelope | None:
    """Return the envelope of a client-side object. Return None for any other object.

    `formats.classify` documents the details.
    """
    return formats.classify(entries.of_reply(stream.reply), stream)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A property of an object's server-side encryption that differs from a mode.

    Attributes:
        what: `mode`, `key`, `bucket key` or `customer key`.
        wanted: The value in the mode: its name, the ARN of its key, or the MD5 of its customer key.
        reported: The value that S3 reports.
    """

    what: Literal["mode", "key", "bucket key", "customer key"]
    wanted: str | bool
    reported: str | bool | None


def compare(mode: ServerSide, reply: Mapping[str, Any]) -> tuple[Mismatch, ...]:
    """Return the differences between the encryption that S3 reports and the encryption of `mode`.

    KMS keys are compared as text, so the caller must resolve an alias or a key id to an ARN first.
    """
    reported = reported_mode(reply)
    if reported != mode.name:
        return (Mismatch("mode", mode.name, reported),)
    pairs: tuple[Mismatch, ...] = ()
    if isinstance(mode, SSEC):
        pairs = (Mismatch("customer key", mode.key_md5, reply.get("SSECustomerKeyMD5")),)
    elif isinstance(mode, SSEKMS | DSSEKMS):
        bucket_key = isinstance(mode, SSEKMS) and mode.bucket_key
        key = reply.get("SSEKMSKeyId")
        pairs = (
            Mismatch("key", _bare(mode.key), key and _bare(key)),
            Mismatch("bucket key", bucket_key, bool(reply.get("BucketKeyEnabled"))),
        )
    return tuple(pair for pair in pairs if pair.wanted != pair.reported)


def _bare(key: str) -> str:
    """Return a key's name. MinIO puts a prefix before the names of its own keys; it is removed."""
    name = key.removeprefix("arn:aws:kms:")
    return key if ":" in name else name


def check_read(
    mode: ServerSide, reply: Mapping[str, Any], location: Location, *, arn: str | None = None
) -> None:
    """Refuse an object if S3 does not report this mode and this key.

    Customer keys are not compared here, because S3 itself compares them. Bucket keys do not matter
    to readers.

    Args:
        mode: The demanded mode.
        reply: S3's reply to a GET or HEAD.
        location: The object.
        arn: The ARN of the mode's key. None if the mode's key is already an ARN.

    Raises:
        PolicyError: The object is in another mode, or under another key.
    """
    resolved = replace(mode, key=arn) if arn and isinstance(mode, SSEKMS | DSSEKMS) else mode
    for found in compare(resolved, reply):
        if found.what == "mode":
            raise PolicyError(
                f"{location} is stored as {found.reported or 'unencrypted'}, not as {mode.name}.",
                remedy=Remedy("read_in_mode", mode=found.reported) if found.reported else None,
            )
        if found.what == "key" and isinstance(mode, SSEKMS | DSSEKMS):
            raise PolicyError(
                f"{location} is encrypted under {found.reported}, not under {mode.key}.",
                hint="Read it with that key, or without a mode.",
            )


def check_written(mode: Mode, reply: Mapping[str, Any], location: Location) -> None:
    """Refuse a reply that does not confirm the requested encryption of a write.

    Some servers accept the request headers, reply with success, and store plaintext. Only the
    headers in the reply confirm the encryption.
    """
    if isinstance(mode, ClientSide):
        return
    if any(_is_unconfirmed(found) for found in compare(mode, reply)):
        raise PolicyError(
            f"{location}: the server did not confirm encryption {mode.name}.",
            hint="This S3 service may not support the mode. Mode client works with every service.",
        )


def _is_unconfirmed(found: Mismatch) -> bool:
    if found.what == "key":
        wanted, reported = str(found.wanted), str(found.reported)
        # A full ARN is compared with the reported ARN. A key id is compared with the end of the
        # reported ARN. An alias is not compared, because only KMS knows to which key it points.
        return "alias/" not in wanted and wanted != reported.rpartition(":key/")[2]
    return found.what != "bucket key"
