# SPDX-License-Identifier: Apache-2.0
"""Keyrings generate, wrap and unwrap the data keys of messages.

A custom key source is a class with the four methods of `Keyring`; `AESKeyring` is a short example.
The module `capabilities` has the optional methods. The classes for wrapping keys (in `raw_keys` and
`kms_key`) do not know EDKs. The keyrings (in `raw` and `kms`) store the wrapped data keys in EDKs.

`KMSKeyring` is in the module `kms`, which loads boto3. The modules that are imported here do not
load boto3.
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
