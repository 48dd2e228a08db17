# SPDX-License-Identifier: Apache-2.0
"""The five modes of encryption, as frozen values. They are converted to request arguments.

This module defines which headers belong to which operation. It makes no request.
"""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from hashlib import md5
from json import dumps
from operator import index
from pathlib import Path
from typing import ClassVar, Literal, Self, SupportsIndex

from .errors import ConfigError, Remedy
from .key_references import given_keyring, kms_name, read_key_file
from .keyrings.capabilities import caches_data_keys
from .message import DEFAULT_FRAME_LENGTH, FRAME_LENGTH_STEP, MAX_FRAME_LENGTH, Keyring
from .message.frames import check_context

MIN_FRAME_LENGTH = 4 * 2**10
BOUND_NAME = "s3crypt:key"
BOUND_BUCKET = "s3crypt:bucket"
# The suffixes of access points' aliases: of plain access points, of Object Lambda, Outposts and
# directory buckets, and of multi-Region access points. S3 refuses bucket names with these suffixes.
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_ACCESS_POINTS = ("-s3alias", "--ol-s3", "--op-s3", "--xa-s3", ".mrap")


@dataclass(frozen=True, slots=True)
class SSES3:
    """S3 encrypts with its own keys (AES-256)."""

    name: ClassVar[str] = "sse-s3"

    def write_arguments(self) -> dict[str, object]:
        """Return the arguments for a request that creates an object."""
        return {"ServerSideEncryption": "AES256"}

    def read_arguments(self) -> dict[str, object]:
        """Return {}: this mode needs arguments only in requests that create an object."""
        return {}


@dataclass(frozen=True, slots=True)
class SSEKMS:
    """S3 encrypts with a KMS key.

    Attributes:
        key: The key's ARN, id or alias. A prefix `kms:`, as on the command line, is permitted.
        context: Pairs for the encryption context, in addition to S3's own pair. KMS binds and logs
            them, and S3 stores them unencrypted.
        bucket_key: Whether S3 reuses one data key per bucket. This saves up to 99 % of the requests
            to KMS.
    """

    key: str
    context: Mapping[str, str] | None = None
    bucket_key: bool = True
    name: ClassVar[str] = "sse-kms"

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", _service_key(self.key, self.name))
        object.__setattr__(self, "context", _text_pairs(self.context))

    def write_arguments(self) -> dict[str, object]:
        """Return the arguments for a request that creates an object."""
        return {
            "ServerSideEncryption": "aws:kms",
            "BucketKeyEnabled": self.bucket_key,
            **_kms_arguments(self.key, self.context),
        }

    def read_arguments(self) -> dict[str, object]:
        """Return {}: S3 refuses KMS headers in requests that do not create an object."""
        return {}


@dataclass(frozen=True, slots=True)
class DSSEKMS:
    """S3 encrypts twice, with a KMS key. There is no bucket key for this mode.

    Attributes:
        key: The key's ARN, id or alias. A prefix `kms:`, as on the command line, is permitted.
        context: Pairs for the encryption context, in addition to S3's own pair. KMS binds and logs
            them, and S3 stores them unencrypted.
    """

    key: str
    context: Mapping[str, str] | None = None
    name: ClassVar[str] = "dsse-kms"

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", _service_key(self.key, self.name))
        object.__setattr__(self, "context", _text_pairs(self.context))

    def write_arguments(self) -> dict[str, object]:
        """Return the arguments for a request that creates an object."""
        return {
            "ServerSideEncryption": "aws:kms:dsse",
            **_kms_arguments(self.key, self.context),
        }

    def read_arguments(self) -> dict[str, object]:
        """Return {}: S3 refuses KMS headers in requests that do not create an object."""
        return {}


@dataclass(frozen=True, slots=True)
class SSEC:
    """S3 encrypts with the caller's key. Every request contains the key, and S3 does not store it.

    Attributes:
        key: 32 random bytes, the *customer key*. Without it, objects cannot be read.
    """

    key: bytes = field(repr=False)
    name: ClassVar[str] = "sse-c"

    def __post_init__(self) -> None:
        if not isinstance(self.key, bytes) or len(self.key) != 32:
            raise ConfigError("A customer key is 32 bytes.", hint='Write SSEC.from_file("FILE").')

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Return the mode with the key in a file. The file contains 32 raw bytes, hex or base64.

        Raises:
            KeyFileNotFoundError: The file does not exist.
            ConfigError: The file cannot be read, holds no such key, or other users can write to it.
        """
        return cls(read_key_file(path))

    def write_arguments(self) -> dict[str, object]:
        """Return the arguments for a request that creates an object or a part of an object."""
        return self.read_arguments()

    def read_arguments(self) -> dict[str, object]:
        """Return the arguments for all other requests about the object, which need the key, too."""
        return {
            "SSECustomerAlgorithm": "AES256",
            "SSECustomerKey": b64encode(self.key).decode(),
            "SSECustomerKeyMD5": self.key_md5,
        }

    def copy_source_arguments(self) -> dict[str, object]:
        """Return the arguments for a copy whose source is encrypted with this key."""
        return {f"CopySource{name}": value for name, value in self.read_arguments().items()}

    @property
    def key_md5(self) -> str:
        """Return the MD5 of the key in base64. S3 compares customer keys by their MD5."""
        return b64encode(md5(self.key, usedforsecurity=False).digest()).decode()


@dataclass(frozen=True, slots=True)
class ClientSide:
    """This process encrypts before any byte is sent to S3.

    The object is an AWS Encryption SDK message.

    Attributes:
        keyring: The keyring that wraps each object's data key, or the text of a key as on the
            command line: `kms:alias/NAME`, `aes:NAMESPACE/NAME=FILE`.
        context: Pairs that are bound to each object. The object contains them *unencrypted*. A read
            refuses an object without these pairs.
        signed: Whether to add an ECDSA P-384 signature over the whole object, and to require a
            signature when reading. Signed objects are slower, and are read in order. A signature is
            useful only if readers must not be able to write, that is if their KMS permissions allow
            them to decrypt data keys, but not to generate data keys.
        frame_length: The number of plaintext bytes of a frame: a multiple of 128, from 4 KiB to 64
            MiB.
        key_location: With `header`, the object contains its wrapped key. With `metadata`, the
            wrapped key is in the object's S3 metadata, and the wrapping key can be changed without
            transferring the object's bytes.
        bind_name: Whether to bind the object's name, so two objects of a bucket cannot be swapped
            unnoticed. It must be False with a `CachingKeyring`.
        bind_bucket: Whether to bind the bucket, too, so objects with the same name cannot be
            swapped between buckets unnoticed. A reader then refuses objects that are not bound to a
            bucket. After replication or failover, the object is in another bucket. A read then
            needs `written_in`, the bucket to which the object is bound.

    Raises:
        ConfigError: An argument is invalid, or a `CachingKeyring` is combined with `bind_name` or
            `signed`.
    """

    keyring: Keyring
    context: Mapping[str, str]
    signed: bool
    frame_length: int
    key_location: Literal["header", "metadata"]
    bind_name: bool
    bind_bucket: bool
    name: ClassVar[str] = "client"

    # The dataclass does not generate this method, because the argument `keyring` may be a text, but
    # the attribute is always a keyring.
    def __init__(  # noqa: PLR0913, PLR0917 - arguments for a message's properties
        self,
        keyring: Keyring | str,
        context: Mapping[str, str] | None = None,
        signed: bool = False,
        frame_length: int = DEFAULT_FRAME_LENGTH,
        key_location: Literal["header", "metadata"] = "header",
        bind_name: bool = True,
        bind_bucket: bool = False,
    ) -> None:
        given = {
            "keyring": given_keyring(keyring),
            "context": _object_context(context),
            "signed": signed,
            "frame_length": _frame_length(frame_length),
            "key_location": key_location,
            "bind_name": bind_name,
            "bind_bucket": bind_bucket,
        }
        if key_location not in ("header", "metadata"):
            raise ConfigError(f"key_location is 'header' or 'metadata', not {key_location!r}.")
        for each in fields(self):
            object.__setattr__(self, each.name, given[each.name])
        if caches_data_keys(self.keyring):
            self._check_cacheable()

    def _check_cacheable(self) -> None:
        if self.bind_name:
            raise ConfigError(
                "Data-key caching needs bind_name=False: a data key serves one context, and a "
                "context with the object's name differs for each object, so no data key could be "
                "reused.",
                hint=(
                    "Without their names, objects of one context can be swapped unnoticed; give a "
                    "different `context` to objects that must not be swapped."
                ),
            )
        if self.signed:
            raise ConfigError(
                "Data-key caching needs signed=False: the context of a signed object has a public "
                "key of its own, so no data key could be reused.",
            )

    def object_context(self, object_name: str, bucket: str) -> dict[str, str]:
        """Return the encryption context for an object with this name in this bucket.

        Raises:
            ConfigError: The bucket must be bound, but the name of an access point was given.
        """
        bound = {BOUND_NAME: object_name} if self.bind_name else {}
        if self.bind_bucket:
            if is_access_point(bucket):
                raise ConfigError(
                    f"{bucket} is the name of an access point; objects are bound to buckets.",
                    remedy=Remedy("name_bucket"),
                )
            bound[BOUND_BUCKET] = bucket
        return {**self.context, **bound}

    def write_arguments(self) -> dict[str, object]:
        """Return {}: S3 stores the message like any object, with the bucket's encryption."""
        return {}

    def read_arguments(self) -> dict[str, object]:
        """Return {}: S3 does not know that the object is encrypted."""
        return {}


ServerSide = SSES3 | SSEKMS | DSSEKMS | SSEC
Mode = ServerSide | ClientSide
"""Any of the five modes: `SSES3`, `SSEKMS`, `DSSEKMS`, `SSEC` and `ClientSide`."""

# The value of the header x-amz-server-side-encryption for each mode. SSE-C has another header.
REPORTED = {"sse-s3": "AES256", "sse-kms": "aws:kms", "dsse-kms": "aws:kms:dsse"}


def is_access_point(bucket: str) -> bool:
    """Return whether `bucket` is the ARN or the alias of an access point."""
    return bucket.startswith("arn:") or bucket.endswith(_ACCESS_POINTS)


def binds_bucket(mode: Mode | None) -> bool:
    """Return whether objects in this mode are bound to their bucket."""
    return isinstance(mode, ClientSide) and mode.bind_bucket


def reported_mode(reply: Mapping[str, object]) -> str | None:
    """Return the server-side mode that a reply reports, or None if it reports no mode."""
    if reply.get("SSECustomerAlgorithm"):
        return "sse-c"
    reported = reply.get("ServerSideEncryption")
    return next((name for name, value in REPORTED.items() if value == reported), None)


def _service_key(key: object, mode: str) -> str:
    """Return the name of a KMS key without the prefix `kms:`. Refuse any other key."""
    name = kms_name(key) or key
    if not name or not isinstance(name, str) or name.startswith(("aes:", "rsa:", "kms:")):
        raise ConfigError(
            f"Mode {mode} needs a KMS key: an ARN, an id or an alias.",
            hint="alias/NAME, ARN, or AWS's own key: alias/aws/s3.",
        )
    return name


def _text_pairs(context: Mapping[str, str] | None) -> dict[str, str]:
    if context is not None and not isinstance(context, Mapping):
        raise ConfigError("An encryption context is a mapping of text to text.")
    pairs = dict(context or {})
    if not all(isinstance(text, str) for pair in pairs.items() for text in pair):
        raise ConfigError("Keys and values of an encryption context are text.")
    return pairs


def _object_context(context: Mapping[str, str] | None) -> dict[str, str]:
    """Return the caller's pairs of a client-side context.

    Refuse names that are reserved for binding.
    """
    pairs = _text_pairs(context)
    check_context(pairs)
    for bound, option in ((BOUND_NAME, "bind_name"), (BOUND_BUCKET, "bind_bucket")):
        if bound in pairs:
            raise ConfigError(f"The context's {bound!r} is set by {option}.")
    return pairs


def _frame_length(given: object) -> int:
    if isinstance(given, bool) or not isinstance(given, SupportsIndex):
        raise ConfigError("A frame length is a number of bytes.", hint="256 KiB is 262144.")
    length = index(given)
    if length % FRAME_LENGTH_STEP or not MIN_FRAME_LENGTH <= length <= MAX_FRAME_LENGTH:
        raise ConfigError(
            f"A frame length of {length} bytes is not possible.",
            hint="A multiple of 128 from 4 KiB to 64 MiB.",
        )
    return length


def _kms_arguments(key: str, context: Mapping[str, str] | None) -> dict[str, object]:
    arguments: dict[str, object] = {"SSEKMSKeyId": key}
    if context:
        encoded = dumps(dict(context), sort_keys=True).encode()
        arguments["SSEKMSEncryptionContext"] = b64encode(encoded).decode()
    return arguments
