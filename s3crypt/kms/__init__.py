# SPDX-License-Identifier: Apache-2.0
"""The lifecycle of AWS KMS keys: create, show, rotate now, rotate on a schedule.

Using a key (`keyrings`), reading its description (`description`) and administering it (`manager`)
take different IAM rights, held by different people. Each is apart from the other two for that
reason. This package knows no objects, messages or data keys.

*Rotating a key* gives it new key material under the same id; KMS keeps the old material to open
what it wrapped. Nothing in S3 changes, and no data key does. For that, see `S3Crypt.rotate`.
"""

from .description import Key, KeySummary, Rotation
from .manager import MAX_ROTATION_PERIOD_DAYS, MIN_ROTATION_PERIOD_DAYS, KeyManager
from .service import MAX_ON_DEMAND_ROTATIONS

__all__ = [
    "MAX_ON_DEMAND_ROTATIONS",
    "MAX_ROTATION_PERIOD_DAYS",
    "MIN_ROTATION_PERIOD_DAYS",
    "Key",
    "KeyManager",
    "KeySummary",
    "Rotation",
]
