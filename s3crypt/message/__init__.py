# SPDX-License-Identifier: Apache-2.0
"""AWS Encryption SDK messages: encrypt and decrypt bytes. No network, no boto3, no files.

`encrypt` and `decrypt` take and return bytes. `EncryptingReader` and `DecryptingReader` are
streams. A `Sealer` or an `Opener`, with its `Geometry`, processes frames in any order, for parallel
transfers.
"""

from .frames import DEFAULT_FRAME_LENGTH, FRAME_LENGTH_STEP, Opener, Sealer
from .geometry import Geometry
from .header import (
    MAX_EDKS,
    MAX_FRAME_LENGTH,
    MAX_HEADER_LENGTH,
    Header,
    find_header,
    read_header,
)
from .keys import DataKey, EncryptedDataKey, FittingKeyring, Keyring
from .streams import DecryptingReader, EncryptingReader, decrypt, encrypt
from .suites import SUITES, Suite

__all__ = [
    "DEFAULT_FRAME_LENGTH",
    "FRAME_LENGTH_STEP",
    "MAX_EDKS",
    "MAX_FRAME_LENGTH",
    "MAX_HEADER_LENGTH",
    "SUITES",
    "DataKey",
    "DecryptingReader",
    "EncryptedDataKey",
    "EncryptingReader",
    "FittingKeyring",
    "Geometry",
    "Header",
    "Keyring",
    "Opener",
    "Sealer",
    "Suite",
    "decrypt",
    "encrypt",
    "find_header",
    "read_header",
]
