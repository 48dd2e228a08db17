# SPDX-License-Identifier: Apache-2.0
"""A value that stands for a setting that could not be read: never the same as one that is absent.

The value is the same for all services.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unseen:
    """A setting that could not be read.

    Attributes:
        action: The IAM action that reads it.
        reason: The service's error message.
        is_refused: Whether the service refused to show the setting, so that the caller lacks the
            action. Otherwise the service failed, or does not have the operation.
    """

    action: str
    reason: str
    is_refused: bool = True
