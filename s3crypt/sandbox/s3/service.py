# SPDX-License-Identifier: Apache-2.0
"""The S3 service: checks each request, finds its rule, and prevents races between requests.

This module must not know how a rule works or how a request arrived.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from . import (
    bodies,
    bucket_access,
    bucket_encryption,
    bucket_policy,
    bucket_settings,
    deleting,
    encryption,
    inventories,
    listings,
    locks,
    metadata_tables,
    multipart,
    object_annotations,
    objects,
    replication,
)
from .access import check_access
from .names import check_names
from .operations import ACCOUNT, ANY, BUCKET, OBJECT, Operation, Rule, Rules
from .refusals import error_reply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from s3crypt.sandbox.backend import Moto
    from s3crypt.sandbox.wire import Refusal, Reply, Request

# All rules, one line per family. moto handles every operation without a rule.
_RULES: Rules = {
    **object_annotations.RULES,
    **bucket_encryption.RULES,
    **bucket_access.RULES,
    **bucket_policy.RULES,
    **bucket_settings.RULES,
    **replication.RULES,
    **inventories.RULES,
    **metadata_tables.RULES,
    **listings.RULES,
    **encryption.RULES,
    **locks.RULES,
    **multipart.RULES,
    **objects.RULES,
    **deleting.RULES,
}
# Query parameters that select a part of an object for which there is no rule, such as the ACL. moto
# handles requests with them. The rules for the object itself must not handle them.
_MOTOS = ("acl", "tagging", "legal-hold", "restore", "select", "torrent")
_PARAMETERS = {
    level: (*(rule.parameter for rule in _RULES if rule.level == level and rule.parameter), *_MOTOS)
    for level in (ACCOUNT, BUCKET, OBJECT)
}


class S3:
    """The S3 rules, applied to concurrent requests."""

    def __init__(self, moto: Moto) -> None:
        self._moto = moto
        self._guard = threading.Lock()
        self._locks: dict[tuple[str, str], threading.Lock] = {}

    def __call__(self, request: Request) -> Reply:
        """Return the reply of a rule or of moto.

        Raises:
            Refusal: S3 would refuse the request.
        """
        check_access(self._moto, request)
        check_names(self._moto, request)
        bucket_access.check_acl_headers(self._moto, request)
        request = bodies.verified(request)
        rule = _rule_for(request)
        if rule is None:
            return self._moto(request)
        with self._exclusive(request):
            return rule(self._moto, request)

    def refused(self, request: Request, refusal: Refusal) -> Reply:
        """Return S3's reply to a request that it refuses."""
        return error_reply(request, refusal)

    @contextlib.contextmanager
    def _exclusive(self, request: Request) -> Iterator[None]:
        """Lock the objects of a request, and the source of a copy.

        A check therefore stays valid until the change that it allows is made.
        """
        names = {(request.bucket, key) for key in (request.key, *deleting.keys_of(request))}
        if request.copy_source is not None:
            names.add(request.copy_source[:2])
        with contextlib.ExitStack() as held:
            for name in sorted(names):  # always in one order: otherwise two copies could deadlock
                with self._guard:
                    lock = self._locks.setdefault(name, threading.Lock())
                held.enter_context(lock)
            yield


def _rule_for(request: Request) -> Rule | None:
    level = OBJECT if request.key else BUCKET if request.bucket else ACCOUNT
    asked = request.query
    parameter = next((name for name in _PARAMETERS[level] if name in asked), "")
    exact = _RULES.get(Operation(request.method, level, parameter))
    return exact or _RULES.get(Operation(ANY, level, parameter))
