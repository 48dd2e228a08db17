# SPDX-License-Identifier: Apache-2.0
"""A value that stands for a setting that could not be read: never the same as one that is absent.

Knows no service.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unseen:
    """A setting that could not be read.

    Attributes:
        action: The IAM action that reads it.
        reason: What the service said.
        is_refused: Whether the service refused to show it, so that the action is what is missing.
            Otherwise the service failed, or does not have the operation.
    """

    action: str
    reason: str
    is_refused: bool = True
