# SPDX-License-Identifier: Apache-2.0
"""The checks that every S3 request must pass: signature, the bucket's Region, expected owner.

This module must not know operations: these checks run before the rule of any operation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from s3crypt.sandbox.wire import Refusal, Request

from .presigned import check_presigned
from .refusals import access_denied

if TYPE_CHECKING:
    from s3crypt.sandbox.backend import Moto


def check_access(moto: Moto, request: Request) -> None:
    """Refuse a request that is unsigned, for a wrong Region, or expects another bucket owner."""
    _check_signed(request)
    check_presigned(request)
    _check_region(moto, request)
    _check_owner(moto, request)


def _check_signed(request: Request) -> None:
    # With an endpoint URL, boto3 presigns with signature version 2, which has the parameter
    # Signature.
    signed = request.scope or "Signature" in request.query
    if not signed and request.method != "OPTIONS":
        raise access_denied()


def _check_region(moto: Moto, request: Request) -> None:
    bucket = moto.bucket(request.bucket)
    if bucket is None or request.region == bucket.region_name or "location" in request.query:
        return
    raise Refusal(
        400,
        "AuthorizationHeaderMalformed",
        f"The authorization header is malformed; the region '{request.region}' is wrong; "
        f"expecting '{bucket.region_name}'",
        headers={"x-amz-bucket-region": bucket.region_name},
    )


def _check_owner(moto: Moto, request: Request) -> None:
    """Refuse a request whose expected owner does not own the bucket or the copy's source bucket."""
    names = {"x-amz-expected-bucket-owner": request.bucket}
    if request.copy_source is not None:
        names["x-amz-source-expected-bucket-owner"] = request.copy_source[0]
    for header, name in names.items():
        expected, bucket = request.headers.get(header), moto.bucket(name)
        if expected and bucket is not None and expected != bucket.account_id:
            raise access_denied()
