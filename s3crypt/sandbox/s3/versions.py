# SPDX-License-Identifier: Apache-2.0
"""New object versions: moto stores the bytes, this module stores the properties that moto lacks.

This module must not know operations: `objects` and `multipart` define a new version.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from . import bodies
from .customer_keys import SOURCE_SSE_C
from .encryption import SSE, Seal, with_seal
from .replication import replicate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from s3crypt.sandbox.backend import Moto
    from s3crypt.sandbox.wire import Reply, Request

    from .checksums import Checksum
    from .locks import Hold
    from .object_annotations import Annotation

# `conditions` checks these headers, so they are removed before moto gets the request.
_CHECKED = frozenset({"if-match", "if-none-match", "x-amz-copy-source-if-match"})


@dataclass(frozen=True, slots=True)
class New:
    """The properties of a new object version that moto does not store."""

    seal: Seal
    checksum: Checksum
    hold: Hold | None = None
    lock: tuple[str | None, ...] = ()  # an upload's mode, end and legal hold: moto lacks them
    annotations: Mapping[str, Annotation] = field(default_factory=dict)


def write(moto: Moto, request: Request, new: New, *, context: bool = False) -> Reply:
    """Store a new object version with moto, store `new` beside it, and return the reply.

    `request` must be a result of `for_moto`. `context` adds the encryption context to the reply.
    """
    reply = moto(request)
    if reply.status != 200:
        return reply
    stored = moto.object(request.bucket, request.key)
    assert stored is not None
    stored.s3crypt_seal = new.seal
    stored.s3crypt_checksum = new.checksum
    stored.s3crypt_hold = new.hold
    stored.s3crypt_annotations = dict(new.annotations)
    if any(new.lock):
        stored.lock_mode, stored.lock_until, stored.lock_legal_status = new.lock
    replicate(moto, request.bucket, stored)
    return with_seal(reply, new.seal, context=context)


def for_moto(request: Request) -> Request:
    """Return the request without encryption and condition headers, which the rules handle."""
    kept = {
        name: value
        for name, value in request.headers.items()
        if not name.startswith((SSE, SOURCE_SSE_C)) and name not in _CHECKED
    }
    # For a bucket with Object Lock, moto requires one of these headers, even for copies and if the
    # checksum itself is sent.
    sent = bodies.checksum_of(request) if request.method == "PUT" else None
    if sent is not None:
        kept["x-amz-sdk-checksum-algorithm"] = sent[0]
    elif request.copy_source is not None:
        kept["content-md5"] = bodies.checksum("MD5", b"")
    return replace(request, headers=kept)
