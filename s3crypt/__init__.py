# SPDX-License-Identifier: Apache-2.0
"""Keep data in S3 encrypted: SSE-S3, SSE-KMS, DSSE-KMS, SSE-C or client-side, chosen per call.

    from s3crypt import S3Crypt, ClientSide, KMSKeyring

    s3 = S3Crypt(ClientSide(KMSKeyring("alias/reports")))
    s3.put(b"eu,90", "s3://acme/2026/q3.csv")  # or a path, or a binary file
    s3.get("s3://acme/2026/q3.csv", "q3.csv")

`S3Crypt` stores and fetches objects. A *mode* (`SSES3`, `SSEKMS`, `DSSEKMS`, `SSEC`, `ClientSide`)
decides who encrypts. In the mode `ClientSide`, a *keyring* (`KMSKeyring`, `AESKeyring`,
`RSAKeyring`, `MultiKeyring`) wraps the data keys. A `CachingKeyring` caches the data keys of
another keyring. `s3crypt.message` encrypts bytes and streams without S3. `s3crypt.kms` creates,
rotates and deletes KMS keys.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .buckets import ListedBucket
    from .errors import (
        ConfigError,
        ConflictError,
        FormatError,
        IntegrityError,
        KeyUnavailableError,
        LocalFileNotFoundError,
        ObjectNotFoundError,
        PolicyError,
        RotationError,
        S3CryptError,
        StorageError,
        SyncError,
    )
    from .files import decrypt_file, encrypt_file
    from .jobs import Journal, NameFilter, Outcome
    from .keyrings import (
        AESKeyring,
        CacheStatistics,
        CachingKeyring,
        MultiKeyring,
        RSAKeyring,
    )
    from .keyrings.kms import KMSKeyring
    from .kms import KeyManager
    from .many import Many
    from .message import Keyring
    from .modes import DSSEKMS, SSEC, SSEKMS, SSES3, ClientSide, Mode
    from .objects.access import ListedObject, ListedPrefix
    from .objects.info import ObjectInfo
    from .objects.listing import ListedVersion, Usage
    from .objects.presigning import Presigned
    from .objects.reader import ObjectReader
    from .objects.writer import ObjectWriter
    from .rotation import RotationOutcome
    from .store import S3Crypt
    from .syncing import SyncOutcome

__version__ = "0.1.0"

__all__ = [
    "DSSEKMS",
    "SSEC",
    "SSEKMS",
    "SSES3",
    "AESKeyring",
    "CacheStatistics",
    "CachingKeyring",
    "ClientSide",
    "ConfigError",
    "ConflictError",
    "FormatError",
    "IntegrityError",
    "Journal",
    "KMSKeyring",
    "KeyManager",
    "KeyUnavailableError",
    "Keyring",
    "ListedBucket",
    "ListedObject",
    "ListedPrefix",
    "ListedVersion",
    "LocalFileNotFoundError",
    "Many",
    "Mode",
    "MultiKeyring",
    "NameFilter",
    "ObjectInfo",
    "ObjectNotFoundError",
    "ObjectReader",
    "ObjectWriter",
    "Outcome",
    "PolicyError",
    "Presigned",
    "RSAKeyring",
    "RotationError",
    "RotationOutcome",
    "S3Crypt",
    "S3CryptError",
    "StorageError",
    "SyncError",
    "SyncOutcome",
    "Usage",
    "decrypt_file",
    "encrypt_file",
]

# A name is imported when it is first used, because `s3crypt --help` must not wait 340 ms for boto3.
_HOMES = {
    "errors": [name for name in __all__ if name.endswith("Error")],
    "buckets": ["ListedBucket"],
    "files": ["decrypt_file", "encrypt_file"],
    "objects.info": ["ObjectInfo"],
    "keyrings": ["AESKeyring", "CacheStatistics", "CachingKeyring", "MultiKeyring", "RSAKeyring"],
    "keyrings.kms": ["KMSKeyring"],
    "jobs": ["Journal", "NameFilter", "Outcome"],
    "kms": ["KeyManager"],
    "many": ["Many"],
    "message": ["Keyring"],
    "modes": ["DSSEKMS", "SSEC", "SSEKMS", "SSES3", "ClientSide", "Mode"],
    "rotation": ["RotationOutcome"],
    "objects.presigning": ["Presigned"],
    "objects.reader": ["ObjectReader"],
    "objects.access": ["ListedObject", "ListedPrefix"],
    "objects.listing": ["ListedVersion", "Usage"],
    "store": ["S3Crypt"],
    "syncing": ["SyncOutcome"],
    "objects.writer": ["ObjectWriter"],
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


# A type checker must know only the names above, so it must not see `__getattr__`.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
