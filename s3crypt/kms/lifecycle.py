# SPDX-License-Identifier: Apache-2.0
"""The states of keys: enabled, disabled, and scheduled for deletion.

A deletion is scheduled only with evidence that nothing depends on the key, or if the caller
confirms the key's name.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from s3crypt.errors import ConfigError, KeyUnavailableError, Remedy
from s3crypt.operations import KMSOperation
from s3crypt.requests import Attempts, Reply, call

from .clearance import Clearance
from .description import PENDING_DELETION, Key, KeyReader, check_own, utc
from .service import KMS, iam_action

MIN_WAITING_DAYS = 7
"""The shortest waiting period before KMS deletes a key."""
MAX_WAITING_DAYS = 30
"""The longest waiting period before KMS deletes a key."""

# The states in which KMS accepts each operation.
# https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html
_ACCEPTED: Mapping[KMSOperation, frozenset[str]] = {
    "enable_key": frozenset({"Disabled", "Enabled"}),
    "disable_key": frozenset({"Disabled", "Enabled"}),
    "schedule_key_deletion": frozenset({"Disabled", "Enabled", "PendingImport", "Unavailable"}),
    "cancel_key_deletion": PENDING_DELETION,
}
# For each state, the advice how to get the key out of it.
_WAYS_OUT = {
    "Creating": "Wait until KMS has made the key: `s3crypt keys show {arn}`.",
    "Updating": "Wait until KMS has finished: `s3crypt keys show {arn}`.",
    "PendingDeletion": "Cancel its deletion: `s3crypt keys cancel-deletion {arn}`.",
    "PendingReplicaDeletion": "Cancel its deletion: `s3crypt keys cancel-deletion {arn}`.",
    "PendingImport": "Import key material: `s3crypt keys import-material {arn} FILE`.",
    "Unavailable": "Connect its custom key store, {store}.",
}


class KeyLifecycle:
    """Changes the states of keys.

    Args:
        kms: Makes the requests.
    """

    def __init__(self, kms: KMS) -> None:
        self._kms = kms
        self._reader = KeyReader(kms)

    def enable(self, key: str) -> Key:
        """Enable a disabled key, so requests can use it again. An enabled key does not change."""
        return self._set(key, "enable_key", "Enabled")

    def disable(self, key: str) -> Key:
        """Disable a key: no request can use it until it is enabled.

        A disabled key does not change.
        """
        return self._set(key, "disable_key", "Disabled")

    def schedule_deletion(
        self, key: str, *, days: int, clearance: Clearance | None, confirmed_name: str | None
    ) -> Key:
        """Schedule the deletion of a key.

        `KeyManager.schedule_deletion` documents the arguments and the errors.
        """
        _check_days(days)
        shown = self._reader.show(key)
        check_own({"Arn": shown.arn, "KeyManager": shown.manager}, "kms:ScheduleKeyDeletion")
        if shown.state in PENDING_DELETION:
            return shown
        _check_state("schedule_key_deletion", shown)
        check_cleared(shown, clearance, confirmed_name)
        reply = self._kms.ask(
            "schedule_key_deletion",
            shown.arn,
            look=lambda attempts: self._scheduled(shown.arn, attempts),
            KeyId=shown.arn,
            PendingWindowInDays=days,
        )
        return self._as_scheduled(shown.arn, reply, days)

    def cancel_deletion(self, key: str) -> Key:
        """Cancel the scheduled deletion of a key. The key is disabled afterwards.

        If no deletion is scheduled, nothing changes.
        """
        shown = self._reader.show(key)
        check_own({"Arn": shown.arn, "KeyManager": shown.manager}, "kms:CancelKeyDeletion")
        if shown.state not in PENDING_DELETION:
            return shown
        arn = shown.arn
        self._kms.ask(
            "cancel_key_deletion",
            arn,
            look=lambda attempts: self._cancelled(arn, attempts),
            KeyId=arn,
        )
        # KMS may still report the state before the change.
        after = self._reader.show(arn)
        return replace(after, state="Disabled", deletion_date=None, pending_window_days=None)

    def _set(self, key: str, operation: KMSOperation, state: str) -> Key:
        shown = self._reader.show(key)
        action = iam_action(operation)
        check_own({"Arn": shown.arn, "KeyManager": shown.manager}, action)
        if shown.state == state:
            return shown
        _check_state(operation, shown)
        self._kms.ask(operation, shown.arn, KeyId=shown.arn)
        # KMS may still report the state before the change.
        return replace(self._reader.show(shown.arn), state=state)

    def _as_scheduled(self, arn: str, reply: Mapping[str, Any], days: int) -> Key:
        shown = self._reader.show(arn)
        date = utc(reply.get("DeletionDate"))
        # KMS omits the date only for a primary key that still has replicas.
        state = "PendingReplicaDeletion" if date is None else "PendingDeletion"
        window = days if date is None else None
        return replace(shown, state=state, deletion_date=date, pending_window_days=window)

    def _scheduled(self, arn: str, attempts: Attempts) -> Reply | None:
        """Return the key's metadata if an earlier attempt has scheduled the deletion.

        The reply to that attempt was lost. Return None if no deletion is scheduled.
        """
        metadata = self._looked_at(arn, attempts)
        return metadata if metadata.get("KeyState") in PENDING_DELETION else None

    def _cancelled(self, arn: str, attempts: Attempts) -> Reply | None:
        """Return the key's metadata if an earlier attempt has cancelled the deletion.

        The reply to that attempt was lost. Return None if the deletion is still scheduled.
        """
        metadata = self._looked_at(arn, attempts)
        return metadata if metadata.get("KeyState") == "Disabled" else None

    def _looked_at(self, arn: str, attempts: Attempts) -> Mapping[str, Any]:
        client, request = self._kms.client(arn), {"KeyId": arn}
        found = call(client, "describe_key", request, arn, within=attempts, is_look=True)
        metadata: Mapping[str, Any] = found["KeyMetadata"]
        return metadata


def check_cleared(key: Key, clearance: Clearance | None, confirmed_name: str | None) -> None:
    """Refuse the deletion of a key without evidence.

    Evidence is a report that permits the deletion, or the key's name as confirmation.

    Raises:
        ConfigError: The confirmed name is not one of the key's names. Or no name was given, and
            there is no report or it does not permit the deletion.
    """
    if confirmed_name is not None:
        if confirmed_name not in key.names:
            raise ConfigError(
                f"{confirmed_name!r} is not a name of {key.arn}; nothing was changed.",
                hint=f"Write the key's name: {' or '.join(key.names)}.",
            )
        return
    objections = (
        ("there is no report",)
        if clearance is None
        else clearance.objections(key.arn, datetime.now(UTC))
    )
    if objections:
        raise ConfigError(
            f"{key.arn}: no report shows that nothing depends on it: {'; '.join(objections)}. "
            "Nothing was changed.",
            hint=f"Make a report: `s3crypt keys impact {key.arn} --account --report FILE`.",
            remedy=Remedy("confirm_key_name", name=key.names[0]),
        )


def _check_days(days: int) -> None:
    whole = isinstance(days, int) and not isinstance(days, bool)
    if not whole or not MIN_WAITING_DAYS <= days <= MAX_WAITING_DAYS:
        raise ConfigError(
            f"The waiting period of a key's deletion cannot be {days} days.",
            hint=f"Choose {MIN_WAITING_DAYS} to {MAX_WAITING_DAYS} days.",
        )


def _check_state(operation: KMSOperation, key: Key) -> None:
    if key.state not in _ACCEPTED[operation]:
        action = iam_action(operation)
        way_out = _WAYS_OUT.get(key.state, "Show the key: `s3crypt keys show {arn}`.")
        raise KeyUnavailableError(
            f"{key.arn}: {action} is refused, because the state of the key is {key.state}",
            hint=way_out.format(arn=key.arn, store=key.custom_key_store),
        )
