# SPDX-License-Identifier: Apache-2.0
"""A bucket's public access block, ownership controls and ACLs.

A new bucket blocks public access and disables ACLs, as in AWS since April 2023. The rules about the
bucket's policy are in `bucket_policy`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from .bucket_documents import Kind, keep, kept, malformed, text_of
from .operations import BUCKET, OBJECT, Operation, Rules
from .refusals import access_denied, invalid

if TYPE_CHECKING:
    from s3crypt.sandbox.backend import Moto
    from s3crypt.sandbox.wire import Refusal, Reply, Request

FLAGS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
_ENFORCED = "BucketOwnerEnforced"
_OWNERSHIPS = frozenset({_ENFORCED, "BucketOwnerPreferred", "ObjectWriter"})
_PUBLIC_ACLS = frozenset({"public-read", "public-read-write", "authenticated-read"})
_PUBLIC_GROUPS = ("global/AllUsers", "global/AuthenticatedUsers")
_ACL, _GRANT = "x-amz-acl", "x-amz-grant-"
_OWNERSHIP = "x-amz-object-ownership"


def blocks(moto: Moto, bucket: Any, flag: str) -> bool:
    """Return whether a flag is on in the public access block of the bucket or of the account."""
    found = kept(bucket, "publicAccessBlock")
    if moto.account_block is not None and flag in moto.account_block:
        return True
    return found is not None and text_of(found, flag) == "true"


def disables_acls(bucket: Any) -> bool:
    """Return whether the bucket's ownership setting disables ACLs (BucketOwnerEnforced)."""
    found = kept(bucket, "ownershipControls")
    return found is not None and text_of(found, "Rule/ObjectOwnership") == _ENFORCED


def check_acl_headers(moto: Moto, request: Request) -> None:
    """Refuse ACL headers if the bucket disables ACLs, and a public ACL if it blocks public ACLs."""
    canned = request.headers.get(_ACL)
    grants = [text for name, text in request.headers.items() if name.startswith(_GRANT)]
    if canned is None and not grants:
        return
    bucket = moto.bucket(request.bucket)
    if bucket is None:
        if not request.key:
            _check_new(request, canned)
        return
    is_harmless = canned == "bucket-owner-full-control" and not grants
    if disables_acls(bucket) and not is_harmless:
        raise _no_acls()
    is_public = canned in _PUBLIC_ACLS or any(
        group in text for text in grants for group in _PUBLIC_GROUPS
    )
    if is_public and blocks(moto, bucket, "BlockPublicAcls"):
        raise access_denied()


def _check_new(request: Request, canned: str | None) -> None:
    ownership = request.headers.get(_OWNERSHIP, _ENFORCED)
    if ownership == _ENFORCED and canned != "private":
        raise invalid(
            "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
            "InvalidBucketAclWithObjectOwnership",
        )
    if canned in _PUBLIC_ACLS:
        raise access_denied()


def _no_acls() -> Refusal:
    return invalid("The bucket does not allow ACLs", "AccessControlListNotSupported")


# 3 to 63 characters, which do not look like an IP address.
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_NAME = re.compile(
    r"(?=.{3,63}\Z)(?!\d+(\.\d+){3}\Z)[a-z0-9]+(-+[a-z0-9]+)*(\.[a-z0-9]+(-+[a-z0-9]+)*)*",
    re.ASCII,
)


def _create(moto: Moto, request: Request) -> Reply:
    """Create a bucket. A request with a parameter that no rule handles is passed to moto."""
    ownership = request.headers.get(_OWNERSHIP, _ENFORCED)
    if ownership not in _OWNERSHIPS:
        raise invalid(f"Invalid x-amz-object-ownership header: {ownership}")
    is_new = moto.bucket(request.bucket) is None
    if is_new and not _NAME.fullmatch(request.bucket):
        raise invalid("The specified bucket is not valid.", "InvalidBucketName")
    reply = moto(request)
    bucket = moto.bucket(request.bucket)
    if is_new and bucket is not None:
        block = ET.Element("PublicAccessBlockConfiguration")
        for flag in FLAGS:
            ET.SubElement(block, flag).text = "true"
        keep(bucket, "publicAccessBlock", block)
        controls = ET.Element("OwnershipControls")
        rule = ET.SubElement(controls, "Rule")
        ET.SubElement(rule, "ObjectOwnership").text = ownership
        keep(bucket, "ownershipControls", controls)
    return reply


def _check_block(_: Moto, __: Any, document: ET.Element) -> None:
    """Refuse unknown flags in a public access block, and turn missing flags off."""
    if any(child.tag not in FLAGS or child.text not in {"true", "false"} for child in document):
        raise malformed()
    for flag in FLAGS:
        if document.find(flag) is None:
            ET.SubElement(document, flag).text = "false"


def _check_ownership(moto: Moto, bucket: Any, document: ET.Element) -> None:
    """Refuse to disable ACLs while the bucket's ACL grants access to anyone except the owner."""
    ownership = text_of(document, "Rule/ObjectOwnership")
    if ownership not in _OWNERSHIPS:
        raise malformed()
    if ownership == _ENFORCED and moto.grants_to_others(bucket):
        raise invalid(
            "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
            "InvalidBucketAclWithObjectOwnership",
        )


def _put_acl(moto: Moto, request: Request) -> Reply:
    """Put the ACL of a bucket or an object, or refuse if the bucket disables ACLs."""
    bucket = moto.bucket(request.bucket)
    if bucket is not None and disables_acls(bucket):
        raise _no_acls()
    is_public = any(group.encode() in request.body for group in _PUBLIC_GROUPS)
    if bucket is not None and is_public and blocks(moto, bucket, "BlockPublicAcls"):
        raise access_denied()
    return moto(request)


RULES: Rules = {
    **Kind(
        "publicAccessBlock",
        "PublicAccessBlockConfiguration",
        (
            "NoSuchPublicAccessBlockConfiguration",
            "The public access block configuration was not found",
        ),
        _check_block,
    ).rules(),
    **Kind(
        "ownershipControls",
        "OwnershipControls",
        ("OwnershipControlsNotFoundError", "The bucket ownership controls were not found"),
        _check_ownership,
    ).rules(),
    Operation("PUT", BUCKET): _create,
    Operation("PUT", BUCKET, "acl"): _put_acl,
    Operation("PUT", OBJECT, "acl"): _put_acl,
}
