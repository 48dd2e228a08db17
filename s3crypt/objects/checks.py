# SPDX-License-Identifier: Apache-2.0
"""What an object is, by S3's reply and its first bytes, against what is demanded of it.

Makes no request, and knows no store: a reply and its stream are all that is looked at.
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
    """Refuse a bucket that objects are said to be bound to where nobody would compare it."""
    if written_in and not binds_bucket(mode):
        raise ConfigError(
            "The bucket that objects are bound to was named, and no bucket is bound.",
            remedy=Remedy("demand_bound_bucket", bind_bucket=True),
        )


def demanded(mode: Mode | None) -> Mode:
    """Return the mode to write with.

    Raises:
        ConfigError: There is none.
    """
    if mode is None:
        raise ConfigError("Writing needs a mode.", remedy=Remedy("name_mode"))
    return mode


def refuse_client_side(mode: Mode | None, stream: ObjectStream) -> None:
    """Refuse an object that is encrypted client-side, where its reader has no such mode.

    Raises:
        PolicyError: The object is a message, or its metadata says so.
    """
    # S3 knows nothing of client-side encryption, so a reader without keys would get ciphertext
    # for plaintext. Our own objects say so; without a mode, others' are looked at too.
    if mode is not None and not formats.claims_client_side(entries.of_reply(stream.reply)):
        return
    if envelope := classify(stream):
        raise PolicyError(
            "The object is encrypted client-side.", remedy=reading_remedy(envelope.keys)
        )


def classify(stream: ObjectStream) -> Envelope | None:
    """Return the envelope of a client-side object; None for any other. See `formats.classify`."""
    return formats.classify(entries.of_reply(stream.reply), stream)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Something of an object's server-side encryption that is not as a mode would have it.

    Attributes:
        what: `mode`, `key`, `bucket key` or `customer key`.
        wanted: What the mode has: its name, its key's ARN, the MD5 of its customer key.
        reported: What S3 reports.
    """

    what: Literal["mode", "key", "bucket key", "customer key"]
    wanted: str | bool
    reported: str | bool | None


def compare(mode: ServerSide, reply: Mapping[str, Any]) -> tuple[Mismatch, ...]:
    """Return how the encryption that S3 reports differs from what `mode` would write.

    A KMS key is compared as it is written: one named by alias or id must be resolved before.
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
    """Return a key's name without the prefix that MinIO puts before the names of its own keys."""
    name = key.removeprefix("arn:aws:kms:")
    return key if ":" in name else name


def check_read(
    mode: ServerSide, reply: Mapping[str, Any], location: Location, *, arn: str | None = None
) -> None:
    """Refuse an object that S3 does not report to be in this mode and under this key.

    S3 itself compares customer keys, and a bucket key is no matter of who reads.

    Args:
        mode: What is demanded.
        reply: S3's, to a GET or HEAD.
        location: The object.
        arn: The ARN of the mode's key, where the mode names it otherwise.

    Raises:
        PolicyError: It is in another mode, or under another key.
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
    """Refuse a reply that does not confirm the encryption that a write asked for.

    Some servers accept the headers, answer 200, and store plaintext; only AWS's echo tells.
    """
    if isinstance(mode, ClientSide):
        return
    if any(_is_unconfirmed(found) for found in compare(mode, reply)):
        raise PolicyError(
            f"{location}: the server did not confirm encryption {mode.name}.",
            hint="This S3 service may not support the mode; mode client needs no support.",
        )


def _is_unconfirmed(found: Mismatch) -> bool:
    if found.what == "key":
        wanted, reported = str(found.wanted), str(found.reported)
        # An ARN is compared whole; of an id or alias nothing else is known without asking KMS.
        return "alias/" not in wanted and wanted != reported.rpartition(":key/")[2]
    return found.what != "bucket key"
