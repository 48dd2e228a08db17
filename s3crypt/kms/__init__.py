# SPDX-License-Identifier: Apache-2.0
"""The life cycle of AWS KMS keys: create, name, rotate, disable and delete them.

Using a key, reading its description and administering it need different IAM permissions, which
different people have. The code is therefore in separate places: the package `keyrings`, and the
modules `description` and `manager` of this package. This package does not depend on objects,
messages or data keys.

*Rotating a key* gives the key new key material under the same id. KMS keeps the old material to
unwrap existing data keys. Objects in S3 and their data keys do not change. To change those, call
`S3Crypt.rotate`.
"""

from .clearance import MAX_CLEARANCE_AGE, Clearance
from .description import Key, LastUse, Material, Rotation
from .grants import CreatedGrant, Grant, GrantRequest
from .lifecycle import MAX_WAITING_DAYS, MIN_WAITING_DAYS
from .listing import KEY_STATES, KeySummary
from .manager import KeyManager
from .material import Imported, Importing, ImportParameters
from .naming import AliasChange
from .regions import RegionalKey
from .rotating import MAX_ROTATION_PERIOD_DAYS, MIN_ROTATION_PERIOD_DAYS
from .service import MAX_ON_DEMAND_ROTATIONS

__all__ = [
    "KEY_STATES",
    "MAX_CLEARANCE_AGE",
    "MAX_ON_DEMAND_ROTATIONS",
    "MAX_ROTATION_PERIOD_DAYS",
    "MAX_WAITING_DAYS",
    "MIN_ROTATION_PERIOD_DAYS",
    "MIN_WAITING_DAYS",
    "AliasChange",
    "Clearance",
    "CreatedGrant",
    "Grant",
    "GrantRequest",
    "ImportParameters",
    "Imported",
    "Importing",
    "Key",
    "KeyManager",
    "KeySummary",
    "LastUse",
    "Material",
    "RegionalKey",
    "Rotation",
]
