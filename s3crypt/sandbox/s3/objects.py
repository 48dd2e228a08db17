# SPDX-License-Identifier: Apache-2.0
"""Operations on objects: put, copy, read and delete."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .checksums import Checksum, checksum_of, with_checksum
from .conditions import check_source, check_target
from .customer_keys import customer_md5
from .encryption import (
    SSE,
    Seal,
    check_customer_key,
    check_managed_headers_absent,
    check_readable,
    check_source_readable,
    seal_of,
    wanted_seal,
    with_seal,
)
from .locks import check_deletable, hold_of, wanted_hold
from .names import check_not_hidden
from .object_annotations import copied_annotations
from .operations import OBJECT, Operation, Rules
from .replication import STATUS, replicate_marker, status_of
from .versions import New, for_moto, write

if TYPE_CHECKING:
    from s3crypt.sandbox.backend import Moto
    from s3crypt.sandbox.wire import Reply, Request


def _put(moto: Moto, request: Request) -> Reply:
    """Put an object, or copy an object if the request has x-amz-copy-source."""
    if request.copy_source is not None:
        return _copy(moto, request, request.copy_source)
    if moto.bucket(request.bucket) is None:
        return moto(request)
    seal = wanted_seal(moto, request)
    hold = wanted_hold(moto, request)
    check_target(moto, request)
    new = New(seal, Checksum.of_request(request), hold)
    return write(moto, for_moto(request), new, context=True)


def _copy(moto: Moto, request: Request, where: tuple[str, str, str | None]) -> Reply:
    source = moto.object(*where)
    if source is None or moto.bucket(request.bucket) is None:
        return moto(request)
    check_source(request, source)
    check_source_readable(moto, request, source)
    seal = wanted_seal(moto, request)
    hold = wanted_hold(moto, request)
    annotations = copied_annotations(request, source, seal)
    check_target(moto, request)
    # The checksum is computed before moto's write: if source and target are the same object, the
    # write replaces the source.
    new = New(seal, Checksum.of_copy(request, source), hold, annotations=annotations)
    return write(moto, _copy_for_moto(request, seal, source), new, context=True)


def _copy_for_moto(request: Request, seal: Seal, source: Any) -> Request:
    bare = for_moto(request)
    # S3 allows copying an object onto itself if the copy changes the encryption. moto does not get
    # the encryption headers, so a header is added that makes moto accept the copy.
    changes = replace(seal, context=None) != replace(seal_of(source), context=None)
    if changes or any(name.startswith(SSE) for name in request.headers):
        return replace(bare, headers={**bare.headers, SSE: "AES256"})
    return bare


def _read(moto: Moto, request: Request) -> Reply:
    """Return an object, or only its headers for HEAD."""
    check_managed_headers_absent(request)
    given_md5 = customer_md5(request)
    version = request.query.get("versionId")
    found = moto.object(request.bucket, request.key, version)
    if found is None:
        if not version:
            check_not_hidden(moto, request)
        return moto(request)
    if request.method == "HEAD":
        # The KMS key does not encrypt the headers, so HEAD works with a disabled KMS key.
        check_customer_key(seal_of(found), given_md5)
    else:
        check_readable(moto, found, given_md5)
    reply = with_seal(moto(request), seal_of(found))
    hold, replication = hold_of(found), status_of(found)
    more = hold.headers() if hold is not None else []
    more += [(STATUS, replication)] if replication is not None else []
    if reply.status < 300:
        reply = replace(reply, headers=(*reply.headers, *more))
    return with_checksum(request, reply, checksum_of(found))


def _delete(moto: Moto, request: Request) -> Reply:
    # moto checks If-Match itself, and `service` holds a lock, so no other write can come in
    # between.
    version = request.query.get("versionId")
    if version:
        check_deletable(moto.object(request.bucket, request.key, version))
    reply = moto(request)
    if reply.header("x-amz-delete-marker") == "true" and not version:
        replicate_marker(moto, request.bucket, request.key)
    return reply


RULES: Rules = {
    Operation("PUT", OBJECT): _put,
    Operation("GET", OBJECT): _read,
    Operation("HEAD", OBJECT): _read,
    Operation("DELETE", OBJECT): _delete,
}
