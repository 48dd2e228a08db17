# SPDX-License-Identifier: Apache-2.0
"""A bucket's encryption setting: the default for new objects, and the blocked modes.

This module must not know objects: `encryption` applies the setting to objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from s3crypt.sandbox.wire import Reply, Request, xml_reply, xml_text, xml_texts

from .operations import ANY, BUCKET, Operation, Rules
from .refusals import invalid

if TYPE_CHECKING:
    from s3crypt.sandbox.backend import Moto

KMS_ALGORITHMS = frozenset({"aws:kms", "aws:kms:dsse"})
ALGORITHMS = KMS_ALGORITHMS | {"AES256"}


@dataclass(frozen=True, slots=True)
class BucketDefault:
    """A bucket's encryption setting.

    As in S3, `key` is stored without a check that the key exists.
    """

    algorithm: str = "AES256"
    key: str | None = None
    bucket_key: bool = False
    blocked: tuple[str, ...] = ("SSE-C",)  # AWS's choice for new buckets since April 2026

    @classmethod
    def of_xml(cls, text: str) -> BucketDefault:
        """Return the setting in the XML document of PutBucketEncryption."""
        algorithm, key, bucket_key = (
            xml_text(text, name) for name in ("SSEAlgorithm", "KMSMasterKeyID", "BucketKeyEnabled")
        )
        if algorithm is not None and algorithm not in ALGORITHMS:
            raise invalid("The XML you provided was not well-formed", "MalformedXML")
        kinds = xml_texts(text, "EncryptionType")
        if set(kinds) - {"NONE", "SSE-C"}:
            raise invalid("The XML you provided was not well-formed", "MalformedXML")
        if key is not None and algorithm == "AES256":
            raise invalid("KMSMasterKeyID is allowed only with aws:kms or aws:kms:dsse")
        blocked = tuple(kind for kind in kinds if kind != "NONE")
        return cls(algorithm or "AES256", key, bucket_key == "true", blocked)

    def xml(self) -> str:
        """Return the XML document of GetBucketEncryption."""
        key = f"<KMSMasterKeyID>{escape(self.key)}</KMSMasterKeyID>" if self.key else ""
        blocked = "".join(
            f"<EncryptionType>{kind}</EncryptionType>" for kind in self.blocked or ("NONE",)
        )
        return (
            '<ServerSideEncryptionConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            "<Rule><ApplyServerSideEncryptionByDefault>"
            f"<SSEAlgorithm>{self.algorithm}</SSEAlgorithm>{key}"
            "</ApplyServerSideEncryptionByDefault>"
            f"<BucketKeyEnabled>{str(self.bucket_key).lower()}</BucketKeyEnabled>"
            f"<BlockedEncryptionTypes>{blocked}</BlockedEncryptionTypes>"
            "</Rule></ServerSideEncryptionConfiguration>"
        )


def default_of(bucket: Any) -> BucketDefault:
    """Return the setting of moto's bucket, or S3's default if the bucket has no setting."""
    found = getattr(bucket, "s3crypt_default", None)
    return found if isinstance(found, BucketDefault) else BucketDefault()


def _bucket_encryption(moto: Moto, request: Request) -> Reply:
    """Set, return or reset a bucket's encryption setting."""
    bucket = moto.bucket(request.bucket)
    if bucket is None:
        return moto(request)
    match request.method:
        case "PUT":
            bucket.s3crypt_default = BucketDefault.of_xml(request.body.decode("utf-8"))
            return Reply(200)
        case "GET":
            return xml_reply(200, default_of(bucket).xml())
        case "DELETE":
            bucket.s3crypt_default = BucketDefault(blocked=default_of(bucket).blocked)
            return Reply(204)
        case _:
            return moto(request)


RULES: Rules = {Operation(ANY, BUCKET, "encryption"): _bucket_encryption}
