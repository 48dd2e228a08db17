# SPDX-License-Identifier: Apache-2.0
"""Keyrings: they generate, wrap and unwrap the data keys of messages.

A custom key source is a class with the four methods of `Keyring`; `AESKeyring` is a short example,
and `capabilities` has the optional methods. A wrapping key (`raw_keys`, `kms_key`) knows no EDK:
its keyring (`raw`, `kms`) frames the wrapped data key as an EDK.

`KMSKeyring` is in `kms`, which loads boto3; the modules that are imported here do not.
"""

from s3crypt.message.keys import Keyring

from .caching import CacheStatistics, CachingKeyring
from .capabilities import uncached
from .edks import key_materials, key_names, reading_remedy
from .multi import MultiKeyring
from .raw import AESKeyring, RSAKeyring

__all__ = [
    "AESKeyring",
    "CacheStatistics",
    "CachingKeyring",
    "Keyring",
    "MultiKeyring",
    "RSAKeyring",
    "key_materials",
    "key_names",
    "reading_remedy",
    "uncached",
]
