# SPDX-License-Identifier: Apache-2.0
"""Refuses object names that are too long, and requests for a delete marker.

This module must not know operations: these checks run before the rule of any operation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from s3crypt.sandbox.wire import Refusal, Request

from .refusals import invalid, invalid_request, no_such_key

if TYPE_CHECKING:
    from s3crypt.sandbox.backend import Moto

_MAX_BYTES = 1024
_MARKER = "x-amz-delete-marker"


def check_names(moto: Moto, request: Request) -> None:
    """Refuse an object's name of more than 1,024 bytes, and a version that is a delete marker."""
    if len(unquote_to_bytes(request.raw_path[1:].partition("/")[2])) > _MAX_BYTES:
        raise invalid("Your key is too long", "KeyTooLongError")
    version = request.query.get("versionId")
    # DELETE is the only method that S3 allows on a delete marker.
    if version and request.method != "DELETE" and moto.marker(request.bucket, request.key, version):
        raise Refusal(
            405,
            "MethodNotAllowed",
            "The specified method is not allowed against this resource.",
            headers={_MARKER: "true", "x-amz-version-id": version, "Allow": "DELETE"},
        )
    source = request.copy_source
    if source is not None and source[2] and moto.marker(*source):
        raise invalid_request(
            "The source of a copy request may not specifically refer to a delete marker by "
            "version id."
        )


def check_not_hidden(moto: Moto, request: Request) -> None:
    """Refuse to read an object whose latest version is a delete marker.

    The refusal contains the marker's id.
    """
    marker = moto.marker(request.bucket, request.key)
    if marker is not None:
        refusal = no_such_key()
        refusal.headers.update({_MARKER: "true", "x-amz-version-id": marker})
        raise refusal
