# SPDX-License-Identifier: Apache-2.0
"""The official AWS Encryption SDK for Python, 3.x or 4.x, as one side of `exchange.py`.

    python python_peer.py (seal|open) SOURCE TARGET FRAME_LENGTH

Applies the verb to every file in the folder SOURCE, and writes the result to the file of the same
name in the folder TARGET; if the SDK fails, its error goes to NAME.failed. Runs with the SDK
alone: it must not import s3crypt.
"""

import sys
from pathlib import Path
from typing import Any

NAMESPACE, NAME, WRAPPING_KEY = "interop", "key-1", bytes(range(32))
# Sorted by the rules of a locale, these names have another order than sorted by their bytes.
CONTEXT = {"app": "interop", "Team": "crypt", "été": "1"}


def main(verb: str, source: str, target: str, frame_length: str) -> None:
    """Seal or open each file of the folder `source` into the folder `target`."""
    work = _sealer(int(frame_length)) if verb == "seal" else _opener()
    for path in sorted(Path(source).iterdir()):
        try:
            data = work(path)
        except Exception as error:  # noqa: BLE001 - each of the SDK's errors is a result
            text = f"{type(error).__name__}: {error}"
            Path(target, f"{path.name}.failed").write_text(text, encoding="utf-8")
        else:
            Path(target, path.name).write_bytes(data)


def _sealer(frame_length: int) -> Any:
    from aws_encryption_sdk import Algorithm, EncryptionSDKClient  # noqa: PLC0415

    client, provider = EncryptionSDKClient(), _provider()

    def seal(path: Path) -> bytes:
        suite = "AES_256_GCM_HKDF_SHA512_COMMIT_KEY"
        if path.name.startswith("signed"):
            suite += "_ECDSA_P384"
        written, _ = client.encrypt(
            source=path.read_bytes(),
            key_provider=provider,
            algorithm=Algorithm[suite],
            frame_length=frame_length,
            encryption_context=CONTEXT,
        )
        return bytes(written)

    return seal


def _opener() -> Any:
    from aws_encryption_sdk import EncryptionSDKClient  # noqa: PLC0415

    client, provider = EncryptionSDKClient(), _provider()

    def open_(path: Path) -> bytes:
        plaintext, _ = client.decrypt(source=path.read_bytes(), key_provider=provider)
        return bytes(plaintext)

    return open_


def _provider() -> Any:
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
                wrapping_key=WRAPPING_KEY,
                wrapping_key_type=EncryptionKeyType.SYMMETRIC,
            )

    provider = Provider()
    provider.add_master_key(NAME)
    return provider


if __name__ == "__main__":
    main(*sys.argv[1:])
