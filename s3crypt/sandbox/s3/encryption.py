# SPDX-License-Identifier: Apache-2.0
"""How S3 encrypts a new object version, and which requests S3 refuses because of a key.

This module calls KMS only to check whether a key may be used.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from s3crypt.sandbox.key_uses import KeyUse
from s3crypt.sandbox.kms.keys import check_key
from s3crypt.sandbox.wire import Refusal, Reply, Request

from .bucket_encryption import ALGORITHMS, KMS_ALGORITHMS, BucketDefault, default_of
from .customer_keys import SOURCE_SSE_C, SSE_C, customer_md5
from .operations import ANY, OBJECT, Operation, Rules
from .refusals import access_denied, invalid, invalid_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from s3crypt.sandbox.backend import Moto

SSE = "x-amz-server-side-encryption"
MANAGED = (SSE, f"{SSE}-aws-kms-key-id", f"{SSE}-context", f"{SSE}-bucket-key-enabled")


@dataclass(frozen=True, slots=True)
class Seal:
    """How S3 encrypts one object version, or the object that an upload will create."""

    algorithm: str  # "AES256", "aws:kms", "aws:kms:dsse", or "SSE-C"
    key_arn: str | None = None
    bucket_key: bool = False
    context: str | None = None
    customer_md5: str | None = None

    def headers(self, *, context: bool = False) -> list[tuple[str, str]]:
        """Return the headers for a reply.

        `context` adds the encryption context, which S3 returns only for some operations.
        """
        if self.customer_md5 is not None:
            return [(f"{SSE_C}algorithm", "AES256"), (f"{SSE_C}key-md5", self.customer_md5)]
        said = [(SSE, self.algorithm)]
        if self.key_arn is not None:
            said.append((f"{SSE}-aws-kms-key-id", self.key_arn))
        if self.bucket_key:
            said.append((f"{SSE}-bucket-key-enabled", "true"))
        if context and self.context is not None:
            said.append((f"{SSE}-context", self.context))
        return said


def seal_of(thing: Any) -> Seal:
    """Return the seal of moto's object version or upload."""
    # The seal is stored on moto's object, so it is deleted together with the object version.
    found = getattr(thing, "s3crypt_seal", None)
    return found if isinstance(found, Seal) else Seal("AES256")


def wanted_seal(moto: Moto, request: Request) -> Seal:
    """Return the seal for the object that a request creates.

    It follows from the request's headers or from the bucket's encryption setting.
    """
    default = default_of(moto.bucket(request.bucket))
    if any(name.startswith(SSE_C) for name in request.headers):
        return _customer_seal(request, default)
    algorithm, key, context, bucket_key = (request.headers.get(name) for name in MANAGED)
    _check_managed(algorithm, key)
    if algorithm is None:
        algorithm, key = default.algorithm, default.key
    _check_context(context, algorithm)
    if algorithm == "AES256":
        return Seal("AES256")
    wants_bucket_key = default.bucket_key if bucket_key is None else bucket_key == "true"
    has_bucket_key = wants_bucket_key and algorithm == "aws:kms"
    named = kms_key(
        moto,
        key or "alias/aws/s3",
        request.region,
        Purpose.of("GenerateDataKey", request.bucket, request.key, context, has_bucket_key),
    )
    return Seal(algorithm, named.arn, has_bucket_key, context)


def check_managed_headers_absent(request: Request) -> None:
    """Refuse a read with encryption headers that only a write may have."""
    if any(name in request.headers for name in MANAGED):
        raise invalid(f"{SSE} header is not supported for this operation.")


def check_customer_key(seal: Seal, given_md5: str | None) -> None:
    """Refuse a request whose SSE-C key is not the object's SSE-C key.

    Both may have no key. `given_md5` is the MD5 of the request's key, or None.
    """
    if seal.customer_md5 is None and given_md5 is not None:
        raise invalid_request("The encryption parameters are not applicable to this object.")
    if seal.customer_md5 is not None and given_md5 is None:
        raise invalid_request(
            "The object was stored using a form of Server Side Encryption. "
            "The correct parameters must be provided to retrieve the object."
        )
    if seal.customer_md5 != given_md5:
        raise access_denied()


def check_decrypting(moto: Moto, seal: Seal, bucket: str, name: str) -> None:
    """Refuse a request if the caller cannot use the object's KMS key to decrypt the object."""
    if seal.key_arn is not None:
        purpose = Purpose.of("Decrypt", bucket, name, seal.context, seal.bucket_key)
        kms_key(moto, seal.key_arn, seal.key_arn.split(":")[3], purpose)


def check_readable(moto: Moto, thing: Any, given_md5: str | None) -> None:
    """Refuse a read that S3 would refuse because of a key.

    `given_md5` is the MD5 of the request's SSE-C key, or None.
    """
    seal = seal_of(thing)
    check_customer_key(seal, given_md5)
    check_decrypting(moto, seal, thing.bucket_name, thing.name)


def check_source_readable(moto: Moto, request: Request, source: Any) -> None:
    """Refuse a copy if S3 would refuse to read its source because of a key."""
    check_readable(moto, source, customer_md5(request, SOURCE_SSE_C))


def with_seal(reply: Reply, seal: Seal, *, context: bool = False) -> Reply:
    """Return a successful reply with a seal's headers instead of moto's."""
    if reply.status >= 300:
        return reply
    kept = [pair for pair in reply.headers if not pair[0].lower().startswith(SSE)]
    return replace(reply, headers=(*kept, *seal.headers(context=context)))


def _customer_seal(request: Request, default: BucketDefault) -> Seal:
    # S3 first checks whether the bucket blocks SSE-C, and then the key.
    if "SSE-C" in default.blocked:
        raise access_denied(
            "User is not authorized to perform: s3:PutObject: server-side encryption with "
            "customer-provided keys (SSE-C) is blocked by the bucket's BlockedEncryptionTypes."
        )
    if SSE in request.headers:
        raise invalid(
            "Server Side Encryption with Customer provided key is incompatible with the "
            "encryption method specified"
        )
    return Seal("SSE-C", customer_md5=customer_md5(request))


def _check_managed(algorithm: str | None, key: str | None) -> None:
    if algorithm is not None and algorithm not in ALGORITHMS:
        raise invalid("The encryption method specified is not supported")
    if key is not None and algorithm not in KMS_ALGORITHMS:
        raise invalid(
            f"Server Side Encryption with AWS KMS managed key requires HTTP header {SSE} : aws:kms"
        )


def _check_context(context: str | None, algorithm: str | None) -> None:
    if context is None:
        return
    try:
        pairs = json.loads(base64.b64decode(context, validate=True))
        fits = isinstance(pairs, dict) and all(isinstance(text, str) for text in pairs.values())
    except ValueError:
        fits = False
    if not fits or algorithm not in KMS_ALGORITHMS:
        raise invalid(
            f"The header '{SSE}-context' shall be Base64-encoded UTF-8 string holding JSON "
            "which represents a string-string map, on a request for SSE-KMS."
        )


@dataclass(frozen=True, slots=True)
class Purpose:
    """The operation and the encryption context of a request that S3 makes to KMS."""

    operation: str
    context: Mapping[str, str] = field(default_factory=dict)
    has_bucket_key: bool = False

    @classmethod
    def of(
        cls, operation: str, bucket: str, name: str, extra: str | None, has_bucket_key: bool
    ) -> Purpose:
        """Return the purpose for an object.

        With a Bucket Key, the encryption context names only the bucket. `extra` is the request's
        own context as base64, or None.
        """
        arn = f"arn:aws:s3:::{bucket}" if has_bucket_key else f"arn:aws:s3:::{bucket}/{name}"
        pairs = json.loads(base64.b64decode(extra)) if extra else {}
        return cls(operation, {**pairs, "aws:s3:arn": arn}, has_bucket_key)


def kms_key(moto: Moto, reference: str, region: str, purpose: Purpose) -> Any:
    """Return a KMS key that the caller may use.

    For any other key, refuse the request with KMS's error code after `KMS.`. The use is stored, so
    that CloudTrail can record S3's request to KMS.
    """
    key = moto.key(reference, region)
    if key is None:
        raise invalid(f"Key '{reference}' does not exist", "KMS.NotFoundException")
    if key.key_spec != "SYMMETRIC_DEFAULT":
        raise invalid(f"{key.arn} is not a symmetric key.", "KMS.UnsupportedOperationException")
    noted = KeyUse(purpose.operation, key, purpose.context, purpose.has_bucket_key)
    try:
        caller = moto.key_uses.caller()
        check_key(key, f"kms:{purpose.operation}", caller, purpose.context)
    except Refusal as refusal:
        moto.key_uses.note(replace(noted, refusal=refusal))
        if refusal.code == "AccessDeniedException":
            raise access_denied(refusal.message) from None
        raise invalid(refusal.message, f"KMS.{refusal.code}") from None
    moto.key_uses.note(noted)
    return key


def _change_encryption(_: Moto, request: Request) -> Reply:
    # Refused, because moto would treat these requests as PutObject and overwrite the object's body.
    raise Refusal(
        501,
        "NotImplemented",
        f"The sandbox does not implement ?{request.raw_query.partition('&')[0]} on objects.",
    )


RULES: Rules = {Operation(ANY, OBJECT, "encryption"): _change_encryption}
