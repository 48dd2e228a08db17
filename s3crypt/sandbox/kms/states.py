# SPDX-License-Identifier: Apache-2.0
"""The states of a key between its creation and its deletion.

When a key's deletion date has passed, the key is removed from moto's tables, so every request for
it is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from s3crypt.sandbox.wire import Refusal

from . import rotations
from .calls import check_range, key_of
from .keys import DYING, check_idle, refresh, refuse_state
from .regions import is_replica, siblings

if TYPE_CHECKING:
    from s3crypt.sandbox.backend import Moto

    from .calls import Call

_DAY = 86_400
_WINDOW_DAYS = range(7, 31)
_WINDOW = 30


def schedule_deletion(moto: Moto, call: Call) -> dict[str, Any]:
    """Begin a key's waiting period.

    The waiting period of a primary key with replicas begins after the replicas are deleted.
    """
    key = key_of(moto, call)
    check_range(call, "PendingWindowInDays", _WINDOW_DAYS)
    check_alive(key)
    check_idle(key)
    key.s3crypt_window = int(call.body.get("PendingWindowInDays") or _WINDOW)
    said = {"KeyId": key.arn, "PendingWindowInDays": key.s3crypt_window}
    if not is_replica(key) and len(siblings(moto, key)) > 1:
        key.key_state = "PendingReplicaDeletion"
    else:
        said["DeletionDate"] = _begin_waiting(moto, key, moto.clock.now())
    return said | {"KeyState": key.key_state}


def cancel_deletion(moto: Moto, call: Call) -> dict[str, Any]:
    """Cancel the deletion of a key. The key has the state Disabled afterwards."""
    key = key_of(moto, call)
    if key.key_state not in DYING:
        raise Refusal(400, "KMSInvalidStateException", f"{key.arn} is not pending deletion.")
    key.key_state, key.s3crypt_deletion = "Disabled", None
    refresh(key)
    return {"KeyId": key.arn}


def enable(moto: Moto, call: Call) -> dict[str, Any]:
    """Enable a key, and rotate it if an automatic rotation is overdue."""
    _changeable(moto, call).key_state = "Enabled"
    rotations.resume(moto, key_of(moto, call))
    return {}


def disable(moto: Moto, call: Call) -> dict[str, Any]:
    """Disable a key."""
    _changeable(moto, call).key_state = "Disabled"
    return {}


def described(key: Any) -> dict[str, Any]:
    """Return the elements of DescribeKey about a key's state."""
    said = {"KeyState": key.key_state, "Enabled": key.key_state == "Enabled"}
    if key.key_state == "PendingDeletion":
        said["DeletionDate"] = key.s3crypt_deletion
    if key.key_state == "PendingReplicaDeletion":
        said["PendingDeletionWindowInDays"] = key.s3crypt_window
    return said


def check_alive(key: Any) -> None:
    """Refuse a key that is scheduled for deletion."""
    if key.key_state in DYING:
        refuse_state(key)


def _changeable(moto: Moto, call: Call) -> Any:
    key = key_of(moto, call)
    if key.key_state not in {"Enabled", "Disabled"}:
        refuse_state(key)
    return key


def _begin_waiting(moto: Moto, key: Any, begin: float) -> float:
    due: float = begin + key.s3crypt_window * _DAY
    key.key_state, key.s3crypt_deletion = "PendingDeletion", due
    moto.clock.at(due, lambda moment: _delete(moto, key, due, moment))
    return due


def _delete(moto: Moto, key: Any, due: float, moment: float) -> None:
    # Do nothing if this deletion was cancelled. If the key was scheduled again, it has another
    # date.
    if key.key_state != "PendingDeletion" or key.s3crypt_deletion != due:
        return
    moto.delete_key(key)
    rest = siblings(moto, key) if key.multi_region else []
    if len(rest) == 1 and rest[0].key_state == "PendingReplicaDeletion":
        _begin_waiting(moto, rest[0], moment)
