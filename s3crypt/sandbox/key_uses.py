# SPDX-License-Identifier: Apache-2.0
"""The uses of KMS keys that S3 makes for a caller while it answers one request.

It must not know what becomes of them: CloudTrail's records are made of them in `events`.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .wire import Refusal


@dataclass(frozen=True, slots=True)
class KeyUse:
    """One request from S3 to KMS; `refusal` is KMS's answer where it refused."""

    operation: str  # "GenerateDataKey" or "Decrypt"
    key: Any
    context: Mapping[str, str]
    has_bucket_key: bool
    refusal: Refusal | None = field(default=None)


class KeyUses(threading.local):
    """The uses that the request of this thread has made."""

    def __init__(self) -> None:
        self._made: list[KeyUse] = []

    def note(self, use: KeyUse) -> None:
        """Keep a use until it is taken."""
        self._made.append(use)

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Note no use in the block: S3 makes it for itself, not for the caller."""
        before = self.take()
        try:
            yield
        finally:
            self._made = before

    def take(self) -> list[KeyUse]:
        """Return the uses since the last call."""
        made, self._made = self._made, []
        return made
