# SPDX-License-Identifier: Apache-2.0
"""The official AWS Encryption SDK for Python, with which the tests compare our messages.

The SDK is imported on first use, because the import takes a second.
"""

from functools import cache
from typing import Any

NAMESPACE, NAME = "interop", "key-1"
WRAPPING_KEY = bytes(range(32))
RSA_PADDINGS = {
    "PKCS1": ("RSA_PKCS1", "PKCS1"),
    "OAEP-SHA1": ("RSA_OAEP_SHA1_MGF1", "OAEP_SHA1_MGF1"),
    "OAEP-SHA256": ("RSA_OAEP_SHA256_MGF1", "OAEP_SHA256_MGF1"),
    "OAEP-SHA384": ("RSA_OAEP_SHA384_MGF1", "OAEP_SHA384_MGF1"),
    "OAEP-SHA512": ("RSA_OAEP_SHA512_MGF1", "OAEP_SHA512_MGF1"),
}


@cache
def client(*, committing: bool = True) -> Any:
    """Return a client that requires committing suites, or that writes the non-committing suites."""
    from aws_encryption_sdk import CommitmentPolicy, EncryptionSDKClient  # noqa: PLC0415

    policy = (
        CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
        if committing
        else CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT
    )
    return EncryptionSDKClient(commitment_policy=policy)


def algorithm(suite_id: int) -> Any:
    """Return the SDK's enum member of a suite."""
    from aws_encryption_sdk.identifiers import AlgorithmSuite  # noqa: PLC0415

    return AlgorithmSuite.get_by_id(suite_id)


def encrypt(
    plaintext: bytes, keys: dict[str, Any], *, suite_id: int = 0x0478, **options: Any
) -> bytes:
    """Return a message that the SDK writes. `keys` has the key provider, keyring or manager."""
    sdk = client(committing=suite_id in (0x0478, 0x0578))
    written, _ = sdk.encrypt(source=plaintext, algorithm=algorithm(suite_id), **keys, **options)
    return bytes(written)


def decrypt(message: bytes, keys: dict[str, Any], **options: Any) -> tuple[bytes, dict[str, str]]:
    """Return the plaintext and the encryption context that the SDK reads from a message."""
    plaintext, header = client().decrypt(source=message, **keys, **options)
    return bytes(plaintext), dict(header.encryption_context)


def native_aes(
    namespace: str = NAMESPACE, name: str = NAME, key: bytes = WRAPPING_KEY
) -> dict[str, Any]:
    """Return the SDK's native key provider of one AES key."""
    from aws_encryption_sdk.identifiers import (  # noqa: PLC0415
        EncryptionKeyType,
        WrappingAlgorithm,
    )

    wrapping = getattr(WrappingAlgorithm, f"AES_{len(key) * 8}_GCM_IV12_TAG16_NO_PADDING")
    return _native(namespace, name, wrapping, key, EncryptionKeyType.SYMMETRIC)


def native_rsa(name: str, pem: bytes, padding: str) -> dict[str, Any]:
    """Return the SDK's native key provider of one RSA private key."""
    from aws_encryption_sdk.identifiers import (  # noqa: PLC0415
        EncryptionKeyType,
        WrappingAlgorithm,
    )

    wrapping = WrappingAlgorithm[RSA_PADDINGS[padding][0]]
    return _native(NAMESPACE, name, wrapping, pem, EncryptionKeyType.PRIVATE)


def _native(namespace: str, name: str, wrapping: Any, key: bytes, kind: Any) -> dict[str, Any]:
    from aws_encryption_sdk.internal.crypto.wrapping_keys import WrappingKey  # noqa: PLC0415
    from aws_encryption_sdk.key_providers.raw import RawMasterKeyProvider  # noqa: PLC0415

    class Provider(RawMasterKeyProvider):  # type: ignore[misc]  # the SDK has no types
        provider_id = namespace

        def _get_raw_key(self, key_id: Any) -> Any:
            del key_id
            return WrappingKey(
                wrapping_algorithm=wrapping, wrapping_key=key, wrapping_key_type=kind
            )

    provider = Provider()
    provider.add_master_key(name)
    return {"key_provider": provider}


@cache
def _materials() -> Any:
    from aws_cryptographic_material_providers.mpl import (  # noqa: PLC0415
        AwsCryptographicMaterialProviders,
    )
    from aws_cryptographic_material_providers.mpl.config import (  # noqa: PLC0415
        MaterialProvidersConfig,
    )

    return AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())


def _make(kind: str, **options: Any) -> Any:
    from aws_cryptographic_material_providers.mpl import models  # noqa: PLC0415

    inputs = "".join(word.capitalize() for word in kind.split("_")).replace("Cmm", "CMM")
    make = getattr(_materials(), f"create_{kind}")
    return make(getattr(models, f"Create{inputs}Input")(**options))


def mpl_aes(
    namespace: str = NAMESPACE, name: str = NAME, key: bytes = WRAPPING_KEY
) -> dict[str, Any]:
    """Return a raw AES keyring of the Material Providers Library."""
    keyring = _make(
        "raw_aes_keyring",
        key_namespace=namespace,
        key_name=name,
        wrapping_key=key,
        wrapping_alg=f"ALG_AES{len(key) * 8}_GCM_IV12_TAG16",
    )
    return {"keyring": keyring}


def mpl_rsa(name: str, public: bytes, private: bytes, padding: str) -> dict[str, Any]:
    """Return a raw RSA keyring of the Material Providers Library."""
    keyring = _make(
        "raw_rsa_keyring",
        key_namespace=NAMESPACE,
        key_name=name,
        padding_scheme=RSA_PADDINGS[padding][1],
        public_key=public,
        private_key=private,
    )
    return {"keyring": keyring}


def native_kms(arn: str) -> dict[str, Any]:
    """Return the SDK's native KMS key provider, with the environment's endpoint and credentials."""
    from aws_encryption_sdk import StrictAwsKmsMasterKeyProvider  # noqa: PLC0415

    return {"key_provider": StrictAwsKmsMasterKeyProvider(key_ids=[arn])}


def mpl_kms(arn: str, kms: Any, *, multi_region: bool = False) -> dict[str, Any]:
    """Return a KMS keyring of the Material Providers Library."""
    kind = "aws_kms_mrk_keyring" if multi_region else "aws_kms_keyring"
    return {"keyring": _make(kind, kms_key_id=arn, kms_client=kms)}


def mpl_multi(generator: dict[str, Any], *others: dict[str, Any]) -> dict[str, Any]:
    """Return a multi-keyring of the Material Providers Library."""
    children = [other["keyring"] for other in others]
    return {
        "keyring": _make("multi_keyring", generator=generator["keyring"], child_keyrings=children)
    }


def mpl_required(keys: dict[str, Any], *required: str) -> dict[str, Any]:
    """Return a manager that authenticates the `required` context pairs without storing them."""
    manager = _make("default_cryptographic_materials_manager", keyring=keys["keyring"])
    required_manager = _make(
        "required_encryption_context_cmm",
        underlying_cmm=manager,
        required_encryption_context_keys=list(required),
    )
    return {"materials_manager": required_manager}
