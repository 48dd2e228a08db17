# SPDX-License-Identifier: Apache-2.0
"""The official AWS Encryption SDK for Python as a peer, with its two kinds of AES keys.

The SDK's client requires key commitment. The SDK is imported at its first use, because the import
takes a second.
"""

from functools import cache
from typing import Any

import peers

NAMESPACE, NAME, KEY = "benchmark", "memory", bytes(32)
Keys = dict[str, Any]


@cache
def _client() -> Any:
    from aws_encryption_sdk import CommitmentPolicy, EncryptionSDKClient  # noqa: PLC0415

    return EncryptionSDKClient(commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)


@cache
def _suite() -> Any:
    from aws_encryption_sdk.identifiers import AlgorithmSuite  # noqa: PLC0415

    # The suite that s3crypt writes. The SDK's default suite also signs, and takes longer.
    return AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY


@cache
def native() -> Keys:
    """Return the SDK's native key provider of one AES key."""
    peers.find("aws-encryption-sdk")
    from aws_encryption_sdk.identifiers import (  # noqa: PLC0415
        EncryptionKeyType,
        WrappingAlgorithm,
    )
    from aws_encryption_sdk.internal.crypto.wrapping_keys import WrappingKey  # noqa: PLC0415
    from aws_encryption_sdk.key_providers.raw import RawMasterKeyProvider  # noqa: PLC0415

    class Provider(RawMasterKeyProvider):  # type: ignore[misc]  # the SDK has no types
        provider_id = NAMESPACE

        def _get_raw_key(self, key_id: Any) -> Any:
            del key_id
            return WrappingKey(
                wrapping_algorithm=WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING,
                wrapping_key=KEY,
                wrapping_key_type=EncryptionKeyType.SYMMETRIC,
            )

    provider = Provider()
    provider.add_master_key(NAME)
    return {"key_provider": provider}


@cache
def mpl() -> Keys:
    """Return the Material Providers Library's keyring of one AES key."""
    peers.find("MPL")
    from aws_cryptographic_material_providers.mpl import (  # noqa: PLC0415
        AwsCryptographicMaterialProviders,
        models,
    )
    from aws_cryptographic_material_providers.mpl.config import (  # noqa: PLC0415
        MaterialProvidersConfig,
    )

    materials = AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())
    keyring = materials.create_raw_aes_keyring(
        models.CreateRawAesKeyringInput(
            key_namespace=NAMESPACE,
            key_name=NAME,
            wrapping_key=KEY,
            wrapping_alg="ALG_AES256_GCM_IV12_TAG16",
        )
    )
    return {"keyring": keyring}


def encrypt(plaintext: bytes, keys: Keys, frame_length: int) -> bytes:
    """Encrypt with the SDK. Return the message."""
    written, _ = _client().encrypt(
        source=plaintext, algorithm=_suite(), frame_length=frame_length, **keys
    )
    return bytes(written)


def decrypt(message: bytes, keys: Keys) -> bytes:
    """Decrypt a message with the SDK. Return the plaintext."""
    plaintext, _ = _client().decrypt(source=message, **keys)
    return bytes(plaintext)


def reading(source: Any, keys: Keys) -> Any:
    """Return the SDK's stream of a message's plaintext."""
    return _client().stream(mode="d", source=source, **keys)
