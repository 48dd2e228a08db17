# SPDX-License-Identifier: Apache-2.0
"""Rotation of keys, on demand and on a schedule. A rotation gives a key new key material.

The key keeps its id, and KMS keeps the old material for decryption. Nothing in S3 changes.
"""

import time
from dataclasses import replace
from typing import Any

from s3crypt.errors import ConfigError, KeyUnavailableError, S3CryptError
from s3crypt.requests import Attempts, Reply, call

from .description import Key, KeyReader, replica_of, unrotatable
from .service import KMS, NEW_KEY_HINT, retold

MIN_ROTATION_PERIOD_DAYS = 90
"""The shortest period of automatic rotation that KMS accepts."""
MAX_ROTATION_PERIOD_DAYS = 2560
"""The longest period of automatic rotation that KMS accepts."""
# KMS finishes a rotation in the background, usually within seconds. The state is polled for up to
# ten minutes.
_POLLING_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, *(15.0,) * 39)


class KeyRotator:
    """Rotates keys.

    Args:
        kms: Makes the requests.
    """

    def __init__(self, kms: KMS) -> None:
        self._kms = kms
        self._reader = KeyReader(kms)

    def rotate(self, key: str, *, wait: bool) -> Key:
        """Give a key new key material now. `KeyManager.rotate` documents the arguments."""
        before = self._reader.metadata(key)
        _check_rotatable(before, _ON_DEMAND)
        arn = str(before["Arn"])
        self._kms.ask(
            "rotate_key_on_demand",
            arn,
            look=lambda attempts: self._begun(before, attempts),
            KeyId=arn,
        )
        shown = self._shown_after(arn)
        for seconds in _POLLING_SECONDS if wait else ():
            if _is_finished(before, shown):
                return shown
            time.sleep(seconds)
            shown = self._shown_after(arn)
        if wait and not _is_finished(before, shown):
            raise KeyUnavailableError(
                f"{arn}: the key's rotation was started, but KMS has not finished it after "
                f"{sum(_POLLING_SECONDS) / 60:.0f} minutes",
                hint=f"Do not start it again. Check the key later: `s3crypt keys show {arn}`.",
            )
        return shown

    def enable_schedule(self, key: str, *, period_days: int) -> Key:
        """Rotate a key every `period_days` days."""
        check_period(period_days)
        metadata = self._reader.metadata(key)
        _check_rotatable(metadata, "kms:EnableKeyRotation")
        enable_rotation(self._kms, metadata["Arn"], period_days)
        # KMS may still report the schedule before the change, so the result gets the new schedule.
        shown = self._reader.show(metadata["Arn"])
        return replace(shown, rotation_enabled=True, rotation_period_days=period_days)

    def disable_schedule(self, key: str) -> Key:
        """Stop the automatic rotation of a key."""
        metadata = self._reader.metadata(key)
        _check_rotatable(metadata, "kms:DisableKeyRotation")
        self._kms.ask("disable_key_rotation", metadata["Arn"], KeyId=metadata["Arn"])
        shown = self._reader.show(metadata["Arn"])
        return replace(shown, rotation_enabled=False, rotation_period_days=None, next_rotation=None)

    def _shown_after(self, arn: str) -> Key:
        try:
            return self._reader.show(arn)
        except S3CryptError as error:
            # The rotation has begun. A repeated call would use up another of the 25 rotations, so
            # the hint advises against it.
            raise retold(
                error,
                f"{arn} was rotated, but could not be shown: {error}",
                f"Do not start it again. Check the key later: `s3crypt keys show {arn}`.",
            ) from error.__cause__

    def _begun(self, before: Any, attempts: Attempts) -> Reply | None:
        """Return a reply that proves that an earlier attempt began a rotation.

        The reply to that attempt was lost. Return None if no rotation was begun.
        """
        arn = str(before["Arn"])
        client, request = self._kms.client(arn), {"KeyId": arn}
        how: dict[str, Any] = {"within": attempts, "is_look": True}
        status = call(client, "get_key_rotation_status", request, arn, **how)
        if status.get("OnDemandRotationStartDate"):
            return status
        found = call(client, "describe_key", request, arn, **how)
        return found if _is_new(before, found["KeyMetadata"].get(_MATERIAL)) else None


def enable_rotation(kms: KMS, arn: str, period_days: int) -> None:
    """Make KMS rotate a key every `period_days` days."""
    kms.ask("enable_key_rotation", arn, KeyId=arn, RotationPeriodInDays=period_days)


def check_period(days: int) -> None:
    """Refuse a rotation period that KMS does not accept."""
    whole = isinstance(days, int) and not isinstance(days, bool)
    if not whole or not MIN_ROTATION_PERIOD_DAYS <= days <= MAX_ROTATION_PERIOD_DAYS:
        raise ConfigError(
            f"The rotation period cannot be {days} days.",
            hint=f"Choose {MIN_ROTATION_PERIOD_DAYS} to {MAX_ROTATION_PERIOD_DAYS} days.",
        )


def _is_finished(before: Any, now: Key) -> bool:
    if now.rotating_since is not None:
        return False
    # KMS may not report yet that a rotation has begun, so the id of the material is compared. Some
    # KMS-compatible services have no ids of materials; for them the rotation counts as finished.
    return before.get(_MATERIAL) is None or _is_new(before, now.material_id)


def _is_new(before: Any, material_id: str | None) -> bool:
    """Return whether `material_id` differs from the material id in the key's earlier metadata.

    Return False if one of the ids is unknown.
    """
    return None not in {material_id, before.get(_MATERIAL)} and material_id != before[_MATERIAL]


_MATERIAL = "CurrentKeyMaterialId"
_ON_DEMAND = "kms:RotateKeyOnDemand"


def _check_rotatable(metadata: Any, action: str) -> None:
    primary = replica_of(metadata)
    why, hint = unrotatable(metadata), NEW_KEY_HINT
    if why is None and metadata.get("KeyManager") == "AWS":
        why = "AWS manages the key and rotates it every year"
        hint = "Create a key of your own: `s3crypt keys create --alias NAME`."
    if why is None and action != _ON_DEMAND and metadata.get("Origin") == "EXTERNAL":
        why = "its key material was imported"
        hint = "Import new key material and rotate the key on demand."
    if why is None and primary is not None:
        why, hint = (
            "it is a replica",
            f"Run the command on the primary key, {primary}; the replicas follow.",
        )
    if why is not None:
        raise KeyUnavailableError(f"{metadata['Arn']}: {action} is refused: {why}", hint=hint)
