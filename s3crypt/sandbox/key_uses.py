# SPDX-License-Identifier: Apache-2.0
"""The uses of KMS keys that S3 makes for a caller during one request.

This module must not know how the uses are recorded: `events` makes CloudTrail's records from them.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from .wire import Refusal

    # A function, so that the caller is looked up only if a KMS key is used: the look-up takes time.
    Caller = Callable[[], frozenset[str]]


@dataclass(frozen=True, slots=True)
class KeyUse:
    """One request from S3 to KMS. `refusal` is KMS's error, or None if KMS accepted the request."""

    operation: str  # "GenerateDataKey" or "Decrypt"
    key: Any
    context: Mapping[str, str]
    has_bucket_key: bool
    refusal: Refusal | None = field(default=None)


class KeyUses(threading.local):
    """The caller and the key uses of the request that the current thread handles."""

    def __init__(self) -> None:
        self._made: list[KeyUse] = []
        self._caller: Caller = frozenset

    def begin(self, caller: Caller) -> None:
        """Set the caller for whom S3 uses KMS keys from now on."""
        self._caller = caller

    def caller(self) -> frozenset[str]:
        """Return the ARNs by which a policy may name the caller. For a service, return its name."""
        return self._caller()

    def note(self, use: KeyUse) -> None:
        """Add a use to the list that the next `take` returns."""
        self._made.append(use)

    @contextlib.contextmanager
    def apart(self, role: str) -> Iterator[None]:
        """Let S3 use KMS keys as `role` in the block, and do not record these uses."""
        before, caller = self.take(), self._caller
        self._caller = lambda: frozenset({role})
        try:
            yield
        finally:
            self._made, self._caller = before, caller

    def take(self) -> list[KeyUse]:
        """Return the uses since the last call, and empty the list."""
        made, self._made = self._made, []
        return made
