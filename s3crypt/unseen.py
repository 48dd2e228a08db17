# SPDX-License-Identifier: Apache-2.0
"""`Unseen` stands for a setting that could not be read.

It is never equal to the value of a setting that is not set.

All services use this one class.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unseen:
    """A setting that could not be read.

    Attributes:
        action: The IAM action that is needed to read the setting.
        reason: The error message of the service.
        is_refused: Whether the service refused to show the setting because the caller lacks the
            action. If False, the service failed or does not support the operation.
    """

    action: str
    reason: str
    is_refused: bool = True
