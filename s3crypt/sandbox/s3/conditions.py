# SPDX-License-Identifier: Apache-2.0
"""Refuses requests if the object does not exist or does not meet the request's ETag condition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from s3crypt.sandbox.wire import Refusal, Request

from .refusals import no_such_key, precondition_failed

if TYPE_CHECKING:
    from s3crypt.sandbox.backend import Moto


def existing(moto: Moto, request: Request) -> Any:
    """Return moto's object version that a request names. Refuse the request if there is none."""
    version = request.query.get("versionId")
    found = moto.object(request.bucket, request.key, version)
    if found is not None:
        return found
    if not version:
        raise no_such_key()
    raise Refusal(404, "NoSuchVersion", "The specified version does not exist.")


def check_target(moto: Moto, request: Request) -> None:
    """Refuse a write if the existing object does not meet If-Match or If-None-Match."""
    present = moto.object(request.bucket, request.key)
    if request.headers.get("if-none-match") == "*" and present is not None:
        raise precondition_failed("If-None-Match")
    wanted = request.headers.get("if-match")
    if wanted is not None:
        check_tag(present, wanted, "If-Match")


def check_tag(present: Any, wanted: str, condition: str) -> None:
    """Refuse to replace or delete an object that does not exist or has another ETag."""
    if present is None:
        raise no_such_key()
    if not _has_tag(present, wanted):
        raise precondition_failed(condition)


def check_source(request: Request, source: Any) -> None:
    """Refuse to copy an object version whose ETag does not meet the request's condition."""
    wanted = request.headers.get("x-amz-copy-source-if-match")
    if wanted is not None and not _has_tag(source, wanted):
        raise precondition_failed("x-amz-copy-source-If-Match")


def check_annotated(request: Request, found: Any) -> None:
    """Refuse access to annotations if the object's ETag does not meet the request's condition."""
    wanted = request.headers.get("x-amz-object-if-match")
    if wanted is not None and not _has_tag(found, wanted):
        raise precondition_failed("x-amz-object-if-match")


def _has_tag(found: Any, wanted: str) -> bool:
    return wanted == "*" or wanted.strip('"') == str(found.etag).strip('"')
