# SPDX-License-Identifier: Apache-2.0
"""The five ways to encrypt, as frozen values that become request arguments.

This module defines which header belongs to which operation. It makes no request.
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
# The suffixes of names that access points have in a bucket's place: plain access points, those of
# Object Lambda, Outposts and directory buckets, and multi-Region ones. S3 refuses bucket names with
# these suffixes.
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_ACCESS_POINTS = ("-s3alias", "--ol-s3", "--op-s3", "--xa-s3", ".mrap")


@dataclass(frozen=True, slots=True)
class SSES3:
    """S3 encrypts, with keys of its own (AES-256)."""

    name: ClassVar[str] = "sse-s3"

    def write_arguments(self) -> dict[str, object]:
        """Return the arguments of a request that makes an object."""
        return {"ServerSideEncryption": "AES256"}

    def read_arguments(self) -> dict[str, object]:
        """Return no arguments: this mode needs them only in requests that make an object."""
        return {}


@dataclass(frozen=True, slots=True)
class SSEKMS:
    """S3 encrypts under a KMS key.

    Attributes:
        key: Key ARN, id or alias; as on the command line, `kms:alias/NAME`, too.
        context: Pairs for KMS to bind and log, besides S3's own; stored in the clear.
        bucket_key: Let S3 reuse one bucket-level data key: up to 99 % fewer KMS requests.
    """

    key: str
    context: Mapping[str, str] | None = None
    bucket_key: bool = True
    name: ClassVar[str] = "sse-kms"

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", _service_key(self.key, self.name))
        object.__setattr__(self, "context", _text_pairs(self.context))

    def write_arguments(self) -> dict[str, object]:
        """Return the arguments of a request that makes an object."""
        return {
            "ServerSideEncryption": "aws:kms",
            "BucketKeyEnabled": self.bucket_key,
            **_kms_arguments(self.key, self.context),
        }

    def read_arguments(self) -> dict[str, object]:
        """Return no arguments: S3 refuses KMS headers in requests that make no object."""
        return {}


@dataclass(frozen=True, slots=True)
class DSSEKMS:
    """S3 encrypts twice, under a KMS key. There is no bucket key for this mode.

    Attributes:
        key: Key ARN, id or alias; as on the command line, `kms:alias/NAME`, too.
        context: Pairs for KMS to bind and log, besides S3's own; stored in the clear.
    """

    key: str
    context: Mapping[str, str] | None = None
    name: ClassVar[str] = "dsse-kms"

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", _service_key(self.key, self.name))
        object.__setattr__(self, "context", _text_pairs(self.context))

    def write_arguments(self) -> dict[str, object]:
        """Return the arguments of a request that makes an object."""
        return {
            "ServerSideEncryption": "aws:kms:dsse",
            **_kms_arguments(self.key, self.context),
        }

    def read_arguments(self) -> dict[str, object]:
        """Return no arguments: S3 refuses KMS headers in requests that make no object."""
        return {}


@dataclass(frozen=True, slots=True)
class SSEC:
    """S3 encrypts under the caller's key, which every request contains and S3 does not keep.

    Attributes:
        key: 32 random bytes, the *customer key*. Objects cannot be read without it.
    """

    key: bytes = field(repr=False)
    name: ClassVar[str] = "sse-c"

    def __post_init__(self) -> None:
        if not isinstance(self.key, bytes) or len(self.key) != 32:
            raise ConfigError("A customer key is 32 bytes.", hint='Write SSEC.from_file("FILE").')

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Return the mode with the key in a file: 32 raw bytes, or their hex or base64.

        Raises:
            KeyFileNotFoundError: The file does not exist.
            ConfigError: The file cannot be read, holds no such key, or other users can write to it.
        """
        return cls(read_key_file(path))

    def write_arguments(self) -> dict[str, object]:
        """Return the arguments of a request that makes an object or a part of one."""
        return self.read_arguments()

    def read_arguments(self) -> dict[str, object]:
        """Return the arguments of all other requests about the object, which need the key too."""
        return {
            "SSECustomerAlgorithm": "AES256",
            "SSECustomerKey": b64encode(self.key).decode(),
            "SSECustomerKeyMD5": self.key_md5,
        }

    def copy_source_arguments(self) -> dict[str, object]:
        """Return the arguments of a copy whose source is encrypted with this key."""
        return {f"CopySource{name}": value for name, value in self.read_arguments().items()}

    @property
    def key_md5(self) -> str:
        """Return the base64 MD5 by which S3 distinguishes keys."""
        return b64encode(md5(self.key, usedforsecurity=False).digest()).decode()


@dataclass(frozen=True, slots=True)
class ClientSide:
    """This process encrypts, before S3 sees a byte: an AWS Encryption SDK message.

    Attributes:
        keyring: Wraps each object's data key. The text of a key is accepted too, as on the
            command line: `kms:alias/NAME`, `aes:NAMESPACE/NAME=FILE`.
        context: Pairs bound to each object and stored in it *in the clear*. On read, an object
            must have these pairs.
        signed: Add an ECDSA P-384 signature over the whole object, and demand a signature on read.
            Signed objects are slower and read in order. A signature helps only if readers must
            not be able to write: if their KMS permissions allow decryption of data keys, but not
            generation.
        frame_length: Plaintext bytes of a frame: a multiple of 128, 4 KiB to 64 MiB.
        key_location: `header`: the object is self-contained. `metadata`: the wrapped key is in
            the object's S3 metadata, and changing the wrapping key moves no object byte.
        bind_name: Bind the object's name, so that two objects of a bucket cannot be swapped. A
            `CachingKeyring` needs False.
        bind_bucket: Bind the bucket too, so that objects of the same name cannot be swapped between
            buckets. A reader then refuses objects that are not bound to a bucket. After replication
            or failover the bucket differs: `written_in` names the bucket an object is bound to.

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

    # Not generated by dataclass, since the argument `keyring` may be text, the attribute may not.
    def __init__(  # noqa: PLR0913, PLR0917 - what a message may have
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
                "Data-key caching needs bind_name=False: a data key serves one context, and with "
                "its name in it each object's is another, so that none would serve twice.",
                hint="Without their names, objects of one context can be swapped unnoticed; "
                "what must not be takes another `context`.",
            )
        if self.signed:
            raise ConfigError(
                "Data-key caching needs signed=False: the context of a signed object has a public "
                "key of its own, so that no data key would serve twice.",
            )

    def object_context(self, object_name: str, bucket: str) -> dict[str, str]:
        """Return the encryption context of the object of this name in this bucket.

        Raises:
            ConfigError: The bucket is to be bound, but an access point's name was given.
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
        """Return no arguments: S3 stores the message as an object under the bucket's default."""
        return {}

    def read_arguments(self) -> dict[str, object]:
        """Return no arguments."""
        return {}


ServerSide = SSES3 | SSEKMS | DSSEKMS | SSEC
Mode = ServerSide | ClientSide
"""Any of the five modes: `SSES3`, `SSEKMS`, `DSSEKMS`, `SSEC` and `ClientSide`."""

# The value that S3 reports in x-amz-server-side-encryption for each mode. SSE-C has its own header.
REPORTED = {"sse-s3": "AES256", "sse-kms": "aws:kms", "dsse-kms": "aws:kms:dsse"}


def is_access_point(bucket: str) -> bool:
    """Return whether a bucket's name is really an access point's ARN or alias."""
    return bucket.startswith("arn:") or bucket.endswith(_ACCESS_POINTS)


def binds_bucket(mode: Mode | None) -> bool:
    """Return whether objects of a mode are bound to their bucket."""
    return isinstance(mode, ClientSide) and mode.bind_bucket


def reported_mode(reply: Mapping[str, object]) -> str | None:
    """Return the name of the server-side mode that a reply's headers report, or None."""
    if reply.get("SSECustomerAlgorithm"):
        return "sse-c"
    reported = reply.get("ServerSideEncryption")
    return next((name for name, value in REPORTED.items() if value == reported), None)


def _service_key(key: object, mode: str) -> str:
    """Return the KMS name of a key, which may be given with `kms:`, as on the command line."""
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
    """Return the caller's pairs of a client-side context; refuse names reserved for binding."""
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
