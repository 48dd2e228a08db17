# SPDX-License-Identifier: Apache-2.0
"""Multipart uploads. The encryption is set when an upload is created, and used for all its parts.

Aborting an upload is left to moto.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from s3crypt.sandbox.wire import Refusal

from .checksums import check_part, checked_whole
from .conditions import check_source, check_target
from .customer_keys import SSE_C, customer_md5
from .encryption import (
    Seal,
    check_decrypting,
    check_source_readable,
    seal_of,
    wanted_seal,
    with_seal,
)
from .locks import LOCK_HEADERS, hold_of, wanted_hold
from .operations import OBJECT, Operation, Rules
from .refusals import invalid_request, no_such_key
from .versions import New, for_moto, write

if TYPE_CHECKING:
    from s3crypt.sandbox.backend import Moto
    from s3crypt.sandbox.wire import Reply, Request


def _create(moto: Moto, request: Request) -> Reply:
    if moto.bucket(request.bucket) is None:
        return moto(request)
    seal = wanted_seal(moto, request)
    hold = wanted_hold(moto, request)
    reply = moto(for_moto(request))
    identity = re.search(rb"<UploadId>([^<]+)<", reply.body)
    if identity is None:
        return reply
    upload = moto.upload(request.bucket, identity[1].decode("ascii"))
    assert upload is not None
    upload.s3crypt_seal = seal
    upload.s3crypt_begun = datetime.now(UTC)
    upload.s3crypt_hold = hold
    # moto supports locks only on objects, so the requested lock is stored on the upload until the
    # object exists.
    upload.s3crypt_lock = tuple(request.headers.get(name) for name in LOCK_HEADERS)
    return with_seal(reply, seal, context=True)


def _upload_part(moto: Moto, request: Request) -> Reply:
    upload = _open_upload(moto, request)
    seal = seal_of(upload)
    _check_key_given(seal, customer_md5(request))
    check_decrypting(moto, seal, request.bucket, request.key)
    check_part(request, upload)
    if request.copy_source is not None:
        source = moto.object(*request.copy_source)
        if source is None:
            raise no_such_key()
        check_source(request, source)
        check_source_readable(moto, request, source)
    return with_seal(moto(for_moto(request)), seal)


def _list_parts(moto: Moto, request: Request) -> Reply:
    """Return the parts of an upload.

    The caller must be allowed to decrypt with the upload's KMS key, but the reply does not name the
    key.
    """
    check_decrypting(moto, seal_of(_open_upload(moto, request)), request.bucket, request.key)
    return moto(request)


def _complete(moto: Moto, request: Request) -> Reply:
    present = moto.object(request.bucket, request.key)
    made_by = getattr(present, "multipart", None)
    if made_by is not None and made_by.id == request.query["uploadId"]:
        return with_seal(moto(for_moto(request)), seal_of(present))
    upload = _open_upload(moto, request)
    seal, given_md5 = seal_of(upload), customer_md5(request)
    if given_md5 is not None:
        _check_key_given(seal, given_md5)
    check_target(moto, request)
    new = New(seal, checked_whole(request, upload), hold_of(upload), upload.s3crypt_lock)
    reply = write(moto, for_moto(request), new)
    # S3 returns the SSE-C headers for every operation except CompleteMultipartUpload.
    kept = [pair for pair in reply.headers if not pair[0].lower().startswith(SSE_C)]
    return replace(reply, headers=tuple(kept))


def _open_upload(moto: Moto, request: Request) -> Any:
    """Return moto's upload that a request names. Refuse the request if there is no such upload."""
    upload = moto.upload(request.bucket, request.query["uploadId"])
    if upload is None or upload.key_name != request.key:
        raise Refusal(
            404,
            "NoSuchUpload",
            "The specified upload does not exist. The upload ID may be invalid, or the "
            "upload may have been aborted or completed.",
        )
    return upload


def _check_key_given(seal: Seal, given_md5: str | None) -> None:
    """Refuse a request without the SSE-C key with which the upload was created."""
    if given_md5 is None and seal.customer_md5 is not None:
        raise invalid_request(
            "The multipart upload initiate requested encryption. Subsequent part requests "
            "must include the appropriate encryption parameters."
        )
    if given_md5 != seal.customer_md5:
        raise invalid_request(
            "The provided encryption parameters did not match the ones used originally."
        )


RULES: Rules = {
    Operation("POST", OBJECT, "uploads"): _create,
    Operation("GET", OBJECT, "uploadId"): _list_parts,
    Operation("PUT", OBJECT, "uploadId"): _upload_part,
    Operation("POST", OBJECT, "uploadId"): _complete,
}
