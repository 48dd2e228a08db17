# SPDX-License-Identifier: Apache-2.0
"""The facts that CloudTrail records about requests to S3 and S3 Control."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from s3crypt.sandbox.s3.customer_keys import SSE_C
from s3crypt.sandbox.s3.encryption import SSE
from s3crypt.sandbox.s3.naming import api_name

from .facts import S3_BUCKET, S3_OBJECT, Facts, is_reading

if TYPE_CHECKING:
    from s3crypt.sandbox.backend import Moto
    from s3crypt.sandbox.wire import Reply, Request

_SOURCE = "s3.amazonaws.com"
# The operations on a bucket that CloudTrail records as data events, like all operations on objects.
_DATA = frozenset(
    {"DeleteObjects", "HeadBucket", "ListMultipartUploads", "ListObjects", "ListObjectVersions"}
)
_MAKING = frozenset({"CopyObject", "CreateMultipartUpload", "PutObject"})
# The request headers that a record contains. Customer keys and the encryption context are left out.
_SHOWN = (
    "x-amz-acl",
    "x-amz-bypass-governance-retention",
    "x-amz-copy-source",
    "x-amz-copy-source-range",
    "x-amz-metadata-directive",
    "x-amz-storage-class",
    "x-amz-tagging-directive",
    SSE,
    f"{SSE}-aws-kms-key-id",
    f"{SSE}-bucket-key-enabled",
    f"{SSE_C}algorithm",
)
# The parameters of a presigned request that a record must not contain: with them, a reader of the
# record could repeat the request.
_HIDDEN = ("X-Amz-Credential", "X-Amz-Security-Token", "X-Amz-Signature", "Signature")
_SSE_APPLIED = {"AES256": "SSE_S3", "aws:kms": "SSE_KMS", "aws:kms:dsse": "SSE_DSSE_KMS"}


def facts(moto: Moto, request: Request, reply: Reply) -> Facts | None:
    """Return the facts to record about a request, or None if it is not an operation of S3."""
    name = api_name(request)
    if name is None:
        return None
    is_data = bool(request.key) or name in _DATA
    bucket = moto.bucket(request.bucket)
    return Facts(
        _SOURCE,
        name,
        is_reading(name),
        is_management=not is_data,
        region=request.region if bucket is None else str(bucket.region_name),
        parameters=_parameters(request),
        elements=_elements(reply, name),
        additional=_additional(request, reply, name),
        resources=_resources(request, name, moto.account),
        named=((S3_BUCKET, request.bucket),) if request.bucket else (),
    )


def control_facts(moto: Moto, request: Request) -> Facts:
    """Return the facts to record about a request for the account's public access block."""
    verb = {"GET": "Get", "PUT": "Put", "DELETE": "Delete"}.get(request.method, "Get")
    return Facts(
        _SOURCE,
        f"{verb}AccountPublicAccessBlock",
        verb == "Get",
        region=request.region,
        parameters={"Host": request.headers.get("host", ""), "publicAccessBlock": ""},
        resources=[{"accountId": moto.account, "type": "AWS::S3::Account"}],
    )


def _parameters(request: Request) -> dict[str, Any]:
    said: dict[str, Any] = {
        name: text
        for name, text in request.query.items()
        if name not in _HIDDEN and not name.lower().startswith(f"{SSE_C}key")
    }
    said["Host"] = request.headers.get("host", "")
    if request.bucket:
        said["bucketName"] = request.bucket
    if request.key:
        said["key"] = request.key
    headers = request.headers
    said.update((name, headers[name]) for name in _SHOWN if name in headers)
    return said


def _elements(reply: Reply, name: str) -> dict[str, Any] | None:
    """Return the headers of a write's reply to record, or None for the reply to a read."""
    if is_reading(name) or reply.status >= 300:
        return None
    shown = {
        lower: value
        for header, value in reply.headers
        if (lower := header.lower()).startswith((SSE, "x-amz-version-id", "x-amz-delete-marker"))
        and lower not in {f"{SSE_C}key-md5", f"{SSE}-context"}
    }
    return shown or None


def _additional(request: Request, reply: Reply, name: str) -> dict[str, Any]:
    is_presigned = not request.headers.get("authorization")
    said: dict[str, Any] = {
        "SignatureVersion": "SigV4" if request.scope else "SigV2",
        "AuthenticationMethod": "QueryString" if is_presigned else "AuthHeader",
        "bytesTransferredIn": request.body_size if request.body else 0,
        "bytesTransferredOut": 0 if request.method == "HEAD" else len(reply.body),
    }
    host_id = reply.header("x-amz-id-2")
    if host_id:
        said["x-amz-id-2"] = host_id
    if name in _MAKING and reply.status < 300:
        said["SSEApplied"] = _applied(request, reply)
    return said


def _applied(request: Request, reply: Reply) -> str:
    if f"{SSE_C}algorithm" in request.headers:
        return "SSE_C"
    mode = _SSE_APPLIED.get(reply.header(SSE) or "AES256", "SSE_S3")
    return mode if SSE in request.headers else f"Default_{mode}"


def _resources(request: Request, name: str, account: str) -> list[dict[str, Any]]:
    if not request.bucket:
        return []
    arn = f"arn:aws:s3:::{request.bucket}"
    bucket = {"accountId": account, "type": S3_BUCKET, "ARN": arn}
    if name in {"DeleteObjects", "ListObjects", "ListObjectVersions", "ListMultipartUploads"}:
        return [
            {"type": S3_OBJECT, "ARNPrefix": f"{arn}/{request.query.get('prefix', '')}"},
            bucket,
        ]
    if request.key:
        return [{"type": S3_OBJECT, "ARN": f"{arn}/{request.key}"}, bucket]
    return [bucket]
