# SPDX-License-Identifier: Apache-2.0
"""Key material that the caller provides: wrapped here, imported, listed and deleted.

Only keys of the origin EXTERNAL have imported material, and only symmetric keys are handled. The
bytes of the material are never logged, printed or sent: they are wrapped by RSAES_OAEP_SHA_256
under a public key of KMS before they are sent. This module does not know which objects need a
material.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from s3crypt.errors import ConfigError, KeyUnavailableError, S3CryptError
from s3crypt.requests import Attempts, Reply, call, is_unsure

from .description import KeyReader, Material, replica_of
from .service import KMS, patiently
from .wrapping import (
    MATERIAL_LENGTH,
    WRAPPING_ALGORITHM,
    WRAPPING_KEY_SPEC,
    erase,
    read_material,
    wrap,
)

MAX_EXPIRY = timedelta(days=365)
"""The longest time after which imported material may expire."""

_PENDING = frozenset({"PENDING_ROTATION", "PENDING_MULTI_REGION_IMPORT_AND_ROTATION"})
_FOR_REPLICAS = "PENDING_MULTI_REGION_IMPORT_AND_ROTATION"
_HERE = "IMPORTED"
_EXPIRES = "KEY_MATERIAL_EXPIRES"


@dataclass(frozen=True, slots=True)
class ImportParameters:
    """The public key for wrapping the material of one key, and the import token that belongs to it.

    Attributes:
        key_arn: The ARN of the key into which the material will be imported.
        public_key: The RSA public key, as DER of a SubjectPublicKeyInfo.
        token: The import token.
        expires: The time until which KMS accepts the public key and the token.
    """

    key_arn: str
    public_key: bytes
    token: bytes = field(repr=False)
    expires: datetime


@dataclass(frozen=True, slots=True)
class Importing:
    """The options of an import.

    Attributes:
        expires: The time at which KMS deletes the material, with any time zone. None for never.
        is_new: Whether this is new material for a key that already has material. A rotation makes
            it current. If False, the material must be the key's first material, or a material that
            the key had before.
        description: A description of the material. If None, the earlier description is kept.

    Raises:
        ConfigError: KMS does not accept the expiry or the description.
    """

    expires: datetime | None = None
    is_new: bool = False
    description: str | None = None

    def __post_init__(self) -> None:
        """Check the expiry by this machine's clock: it must be within the next `MAX_EXPIRY`."""
        if self.expires is None:
            return
        if self.expires.tzinfo is None:
            raise ConfigError("The expiry of key material needs a time zone.")
        left = self.expires - datetime.now(UTC)
        if not timedelta(0) < left <= MAX_EXPIRY:
            raise ConfigError(
                f"Key material cannot expire on {self.expires:%Y-%m-%d %H:%M %Z}.",
                hint=f"Choose a time within the next {MAX_EXPIRY.days} days, or no expiry.",
            )

    def arguments(self, *, is_replica: bool) -> dict[str, Any]:
        """Return the arguments of ImportKeyMaterial except the key, the material and the token."""
        found: dict[str, Any] = {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}
        if self.expires is not None:
            found = {"ExpirationModel": _EXPIRES, "ValidTo": self.expires}
        if self.is_new:
            found["ImportType"] = "NEW_KEY_MATERIAL"
        elif is_replica:
            # Without an import type, KMS would treat the first import into a replica as new
            # material.
            found["ImportType"] = "EXISTING_KEY_MATERIAL"
        if self.description is not None:
            found["KeyMaterialDescription"] = self.description
        return found


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of an import.

    Attributes:
        key_arn: The ARN of the key into which the material was imported.
        material: The imported material. None if the caller has no permission to list materials.
        primary_arn: The ARN of the key that must be rotated to use new material: the primary key of
            a multi-Region set, otherwise the key itself.
        missing_in: The ARNs of the replicas into which the same material must be imported before
            the primary key can be rotated to it.
    """

    key_arn: str
    primary_arn: str
    material: Material | None
    missing_in: tuple[str, ...]


class KeyMaterials:
    """Imports, lists and deletes the material of keys.

    Args:
        kms: Sends the requests.

    Raises from every method:
        ConfigError: An argument is wrong; nothing was sent.
        KeyUnavailableError: The key does not exist or accepts no material, or KMS refused.
        StorageError: KMS could not be reached.
    """

    def __init__(self, kms: KMS) -> None:
        self._kms = kms
        self._reader = KeyReader(kms)

    def list(self, key: str) -> tuple[Material, ...]:
        """Return the pending, current and earlier materials of a key, newest first."""
        return self._reader.materials(key)

    def parameters(self, key: str) -> ImportParameters:
        """Return a public key and a token for an import. KMS accepts both for 24 hours."""
        metadata = patiently(lambda: self._reader.metadata(key))
        _check_takes_material(metadata)
        return self._parameters(str(metadata["Arn"]))

    def import_file(self, key: str, file: str | Path, how: Importing) -> Imported:
        """Import the 32 bytes in a file. They are wrapped on this machine.

        The file is read before the first request. Its permissions are checked as for every key
        file.
        """
        material = read_material(file)
        try:
            metadata = self._checked(key, how)
            offer = self._parameters(str(metadata["Arn"]))
            wrapped = wrap(material, offer.public_key)
        finally:
            erase(material)
        return self._import(metadata, wrapped, offer.token, how)

    def import_wrapped(self, key: str, wrapped: bytes, token: bytes, how: Importing) -> Imported:
        """Import material that was wrapped elsewhere under the public key from `parameters`."""
        return self._import(self._checked(key, how), wrapped, token, how)

    def delete(self, key: str, material_id: str | None = None) -> str:
        """Delete imported material at once, and return the key's ARN.

        If `material_id` is None, the current material is deleted.

        Data that needs the material cannot be decrypted until the same bytes are imported again.
        """
        arn = self.check_deletable(key, material_id)
        named = {} if material_id is None else {"KeyMaterialId": material_id}
        look = self._look_for_deletion(arn, material_id)
        self._kms.ask("delete_imported_key_material", arn, look=look, KeyId=arn, **named)
        return arn

    def check_deletable(self, key: str, material_id: str | None = None) -> str:
        """Return the ARN of the key if its imported material can be deleted. Change nothing."""
        metadata = self._reader.metadata(key)
        _check_takes_material(metadata, deletes=True)
        arn = str(metadata["Arn"])
        if material_id is None and metadata.get("KeyState") == "PendingImport":
            raise KeyUnavailableError(
                f"{arn} has no imported material to delete.",
                hint=f"List the key's materials: s3crypt keys materials {arn}",
            )
        return arn

    def _checked(self, key: str, how: Importing) -> Any:
        """Return the key's metadata after checking that the key accepts this import now."""
        metadata = patiently(lambda: self._reader.metadata(key))
        _check_takes_material(metadata)
        if not how.is_new:
            return metadata
        arn, primary = str(metadata["Arn"]), replica_of(metadata)
        if primary is not None:
            raise KeyUnavailableError(
                f"{arn} is a replica, and new material is imported into the primary key first.",
                hint=f"Import the material into the primary key: {primary}",
            )
        pending = [each for each in self._seen(arn) or () if each.state in _PENDING]
        if pending:
            raise KeyUnavailableError(
                f"{arn} has new material that is not in use yet: {pending[0].id}.",
                hint=(
                    f"Rotate the key to this material: s3crypt keys rotate {arn} -- or delete the "
                    f"material: s3crypt keys delete-material {arn} --material {pending[0].id}"
                ),
            )
        return metadata

    def _parameters(self, arn: str) -> ImportParameters:
        reply = self._kms.ask(
            "get_parameters_for_import",
            arn,
            KeyId=arn,
            WrappingAlgorithm=WRAPPING_ALGORITHM,
            WrappingKeySpec=WRAPPING_KEY_SPEC,
        )
        expires = reply["ParametersValidTo"].astimezone(UTC)
        return ImportParameters(
            arn, bytes(reply["PublicKey"]), bytes(reply["ImportToken"]), expires
        )

    def _import(self, metadata: Any, wrapped: bytes, token: bytes, how: Importing) -> Imported:
        arn = str(metadata["Arn"])
        before = {each.id for each in self._seen(arn) or ()} if how.is_new else None
        request = how.arguments(is_replica=replica_of(metadata) is not None)
        try:
            reply = self._kms.ask(
                "import_key_material",
                arn,
                look=None if before is None else self._look_for_new(arn, before),
                KeyId=arn,
                EncryptedKeyMaterial=wrapped,
                ImportToken=token,
                **request,
            )
        except S3CryptError as error:
            raise _explained(error, arn, how) from error.__cause__
        return self._imported(metadata, reply.get("KeyMaterialId"))

    def _imported(self, metadata: Any, material_id: str | None) -> Imported:
        arn = str(metadata["Arn"])
        found = [each for each in self._seen(arn) or () if each.id == material_id]
        material = found[0] if found else None
        replicas: tuple[str, ...] = ()
        if material is not None and material.state == _FOR_REPLICAS:
            listed = metadata["MultiRegionConfiguration"].get("ReplicaKeys") or ()
            replicas = tuple(sorted(str(each["Arn"]) for each in listed))
        return Imported(arn, replica_of(metadata) or arn, material, replicas)

    def _seen(self, arn: str) -> tuple[Material, ...] | None:
        """Return the materials of a key, or None if the caller has no permission to list them."""
        try:
            return self._reader.materials(arn)
        except KeyUnavailableError as error:
            if error.code != "AccessDeniedException":
                raise
            return None

    def _look_for_new(self, arn: str, before: set[str]) -> Callable[[Attempts], Reply | None]:
        def look(attempts: Attempts) -> Reply | None:
            # If a material exists that was not there before, an earlier attempt has imported it,
            # although its reply was lost.
            request = {"KeyId": arn, "IncludeKeyMaterial": "ALL_KEY_MATERIAL"}
            found = self._look(arn, "list_key_rotations", request, attempts)
            ids = [each["KeyMaterialId"] for each in found["Rotations"]]
            new = [each for each in ids if each not in before]
            return {"KeyId": arn, "KeyMaterialId": new[0]} if new else None

        return look

    def _look_for_deletion(
        self, arn: str, material_id: str | None
    ) -> Callable[[Attempts], Reply | None]:
        def look(attempts: Attempts) -> Reply | None:
            if material_id is None:
                found = self._look(arn, "describe_key", {"KeyId": arn}, attempts)
                return {} if found["KeyMetadata"].get("KeyState") == "PendingImport" else None
            request = {"KeyId": arn, "IncludeKeyMaterial": "ALL_KEY_MATERIAL"}
            found = self._look(arn, "list_key_rotations", request, attempts)
            left = {e["KeyMaterialId"] for e in found["Rotations"] if e.get("ImportState") == _HERE}
            return None if material_id in left else {}

        return look

    def _look(self, arn: str, operation: Any, request: Any, attempts: Attempts) -> Reply:
        client = self._kms.client(arn)
        return call(client, operation, request, arn, within=attempts, is_look=True)


def _check_takes_material(metadata: Any, *, deletes: bool = False) -> None:
    arn, origin, state = metadata["Arn"], metadata.get("Origin"), metadata.get("KeyState")
    if origin != "EXTERNAL":
        raise KeyUnavailableError(
            f"{arn} cannot have imported material: the key's origin is {origin}.",
            hint="Create a key for imported material: s3crypt keys create --imported-material",
        )
    if metadata.get("KeySpec") != "SYMMETRIC_DEFAULT":
        raise KeyUnavailableError(
            f"{arn} is a key of the type {metadata.get('KeySpec')}: s3crypt imports only the "
            "material of symmetric keys.",
            hint="Use the aws command for other types.",
        )
    if not deletes and state in _REFUSING_STATES:
        raise KeyUnavailableError(
            f"{arn}: KMS imports no material while the key's state is {state}.",
            hint=f"{_REFUSING_STATES[state]} {arn}",
        )


_REFUSING_STATES: Mapping[str, str] = {
    "Disabled": "Enable it: s3crypt keys enable",
    "PendingDeletion": "Cancel its deletion: s3crypt keys cancel-deletion",
    "PendingReplicaDeletion": "Cancel its deletion: s3crypt keys cancel-deletion",
    "Creating": "Wait until KMS has made the key: s3crypt keys show",
    "Updating": "Wait until its primary key is changed: s3crypt keys show",
}


def _explained(error: S3CryptError, arn: str, how: Importing) -> S3CryptError:
    """Return an error that explains why KMS refused an import, and names the next command."""
    code = "NewKeyMaterial" if how.is_new and error.code == _INCORRECT else error.code
    if code not in _REFUSALS or is_unsure(error):
        return error
    what, hint = _REFUSALS[str(code)]
    return KeyUnavailableError(
        f"{arn}: {what}; nothing was imported.",
        hint=hint.format(arn=arn),
        code=error.code,
        request_id=error.request_id,
    )


_INCORRECT = "IncorrectKeyMaterialException"
_AGAIN = (
    "Get a new token and public key, and wrap the material again: s3crypt keys import-parameters "
    "{arn} --out FOLDER"
)
_NOT_UNWRAPPED = (
    "KMS cannot unwrap the material: it was wrapped under a public key that does not belong to "
    f"the token, or not by {WRAPPING_ALGORITHM}, or does not have {MATERIAL_LENGTH} bytes"
)
# KMS's error code -> (description, advice).
_REFUSALS: Mapping[str, tuple[str, str]] = {
    _INCORRECT: (
        "the key never had this material",
        (
            "Import the bytes that the key had. Or import these as new material: s3crypt keys "
            "import-material {arn} FILE --new"
        ),
    ),
    "NewKeyMaterial": (
        "the key already has this material, so it is not new",
        "Import other bytes. Or import these bytes again: s3crypt keys import-material {arn} FILE",
    ),
    "InvalidImportTokenException": (
        "the import token is not the newest that KMS gave for this key",
        _AGAIN,
    ),
    "ExpiredImportTokenException": ("the import token has expired after 24 hours", _AGAIN),
    "InvalidCiphertextException": (_NOT_UNWRAPPED, _AGAIN),
}
