# SPDX-License-Identifier: Apache-2.0
"""New object versions: moto stores their bytes, and the rest is kept beside those.

It must not know operations: `objects` and `multipart` decide what a new version is.
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

# `conditions` has checked these before moto is asked.
_CHECKED = frozenset({"if-match", "if-none-match", "x-amz-copy-source-if-match"})


@dataclass(frozen=True, slots=True)
class New:
    """A new object version, as far as moto does not store it."""

    seal: Seal
    checksum: Checksum
    hold: Hold | None = None
    lock: tuple[str | None, ...] = ()  # mode, end and legal hold, of an upload: moto lost them
    annotations: Mapping[str, Annotation] = field(default_factory=dict)


def write(moto: Moto, request: Request, new: New, *, context: bool = False) -> Reply:
    """Have moto store a new object version, keep the rest beside it, and return the reply.

    `request` is what `for_moto` returned; `context` includes the encryption context in the reply.
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
    """Return the request without its encryption and conditions, which the rules deal with."""
    kept = {
        name: value
        for name, value in request.headers.items()
        if not name.startswith((SSE, SOURCE_SSE_C)) and name not in _CHECKED
    }
    # With locks moto wants this header of copies too, and where the checksum itself is there.
    sent = bodies.checksum_of(request) if request.method == "PUT" else None
    if sent is not None:
        kept["x-amz-sdk-checksum-algorithm"] = sent[0]
    elif request.copy_source is not None:
        kept["content-md5"] = bodies.checksum("MD5", b"")
    return replace(request, headers=kept)
