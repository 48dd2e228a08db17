# SPDX-License-Identifier: Apache-2.0
"""Rotations of keys: on demand, on a schedule, and the list of a key's rotations.

The keys of a multi-Region set rotate together. The requests must be about the primary key.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from s3crypt.sandbox.wire import Refusal

from .calls import check_range, key_of, page, unsupported
from .keys import check_state
from .materials import Material, Rotated, imports_of, is_imported, materials_of
from .regions import is_replica, siblings

if TYPE_CHECKING:
    from s3crypt.sandbox.backend import Moto

    from .calls import Call
    from .materials import Import, Materials

_DAY = 86_400
_ON_DEMAND_ROTATIONS = 25
_PERIOD_DAYS = range(90, 2561)
_PERIOD = 365


def rotate(moto: Moto, call: Call) -> dict[str, Any]:
    """Begin an on-demand rotation. Refuse the request if one is in progress."""
    key = _rotatable(moto, call, origins=("AWS_KMS", "EXTERNAL"))
    held = materials_of(key)
    if held.rotating_since is not None:
        raise Refusal(400, "ConflictException", f"{key.arn} is being rotated already.")
    if key.origin == "EXTERNAL" and state_of_pending(moto, key) != "PENDING_ROTATION":
        raise Refusal(
            400,
            "KMSInvalidStateException",
            f"No available key material pending rotation for the key: {key.arn}.",
        )
    done = sum(each.rotation.get("RotationType") == "ON_DEMAND" for each in held.held)
    if done >= _ON_DEMAND_ROTATIONS:
        raise Refusal(
            400,
            "LimitExceededException",
            f"{key.arn} has reached the limit of {_ON_DEMAND_ROTATIONS} on-demand rotations.",
        )
    held.rotating_since = moto.clock.now()
    moto.clock.soon(lambda moment: _finish(moto, key, moment))
    return {"KeyId": key.arn}


def enable(moto: Moto, call: Call) -> dict[str, Any]:
    """Rotate a key automatically from now on."""
    check_range(call, "RotationPeriodInDays", _PERIOD_DAYS)
    key = _rotatable(moto, call, origins=("AWS_KMS",))
    held = materials_of(key)
    held.period = int(call.body.get("RotationPeriodInDays") or _PERIOD)
    _schedule(moto, key, moto.clock.now())
    return {}


def disable(moto: Moto, call: Call) -> dict[str, Any]:
    """Stop the automatic rotation of a key."""
    held = materials_of(_rotatable(moto, call, origins=("AWS_KMS",)))
    held.period = held.next_rotation = None
    return {}


def status(moto: Moto, call: Call) -> dict[str, Any]:
    """Return a key's schedule of rotation, and the start of an on-demand rotation in progress."""
    key = key_of(moto, call)
    if key.key_spec != "SYMMETRIC_DEFAULT":
        raise unsupported(f"{key.arn} cannot be rotated.")
    held = materials_of(key)
    is_on = held.period is not None and "Deletion" not in key.key_state
    said: dict[str, Any] = {"KeyId": key.arn, "KeyRotationEnabled": is_on}
    if is_on:
        said |= {"RotationPeriodInDays": held.period, "NextRotationDate": held.next_rotation}
    if held.rotating_since is not None:
        said["OnDemandRotationStartDate"] = held.rotating_since
    return said


def listed(moto: Moto, call: Call) -> dict[str, Any]:
    """Return a page of a key's rotations, or of all its materials if the request asks for them."""
    key = key_of(moto, call)
    if key.key_spec != "SYMMETRIC_DEFAULT":
        raise unsupported(f"{key.arn} cannot be rotated.")
    known = materials_of(key).known()
    if call.body.get("IncludeKeyMaterial", "ROTATIONS_ONLY") == "ROTATIONS_ONLY":
        known = [material for material in known if material.rotation]
    return page(call, [_entry(moto, key, material) for material in known], "Rotations")


def resume(moto: Moto, key: Any) -> None:
    """Rotate a key that was enabled again if its automatic rotation is overdue."""
    held = materials_of(key)
    now = moto.clock.now()
    if held.next_rotation is not None and held.next_rotation <= now:
        _rotate_on_schedule(moto, key, held.next_rotation, now)


def state_of_pending(moto: Moto, key: Any) -> str | None:
    """Return the state of the material that waits for a rotation, or None if no material waits."""
    pending = materials_of(key).pending
    if pending is None:
        return None
    everywhere = all(is_imported(each, pending) for each in siblings(moto, key))
    return "PENDING_ROTATION" if everywhere else "PENDING_MULTI_REGION_IMPORT_AND_ROTATION"


def _rotatable(moto: Moto, call: Call, *, origins: tuple[str, ...]) -> Any:
    key = key_of(moto, call)
    check_state(key)
    if key.key_spec != "SYMMETRIC_DEFAULT" or key.origin not in origins:
        raise unsupported(f"{key.arn} cannot be rotated.")
    if is_replica(key):
        raise unsupported(f"{key.arn} is a replica; its primary key is rotated.")
    return key


def _finish(moto: Moto, key: Any, moment: float) -> None:
    held = materials_of(key)
    held.rotating_since = None
    _add(moto, key, "ON_DEMAND", moment)


def _add(moto: Moto, key: Any, kind: str, moment: float) -> None:
    held = materials_of(key)
    previous, pending = held.held[-1], held.pending
    if key.origin == "EXTERNAL" and pending is None:
        # The material that waited for the rotation has expired or was deleted in the meantime.
        return
    identity = secrets.token_hex(32) if pending is None else pending.id
    held.pending = None
    current = Material(identity, {"RotationDate": moment, "RotationType": kind})
    held.held.append(current)
    moto.rotated.append(Rotated(key, kind, previous.id, current.id))


def _schedule(moto: Moto, key: Any, begin: float) -> None:
    held = materials_of(key)
    assert held.period is not None
    due = held.next_rotation = begin + held.period * _DAY
    moto.clock.at(due, lambda moment: _rotate_on_schedule(moto, key, due, moment))


def _rotate_on_schedule(moto: Moto, key: Any, due: float, moment: float) -> None:
    # Do nothing if the schedule was changed after this rotation had been planned.
    if materials_of(key).next_rotation != due or key.key_state != "Enabled":
        return
    _add(moto, key, "AUTOMATIC", moment)
    _schedule(moto, key, moment)


def _entry(moto: Moto, key: Any, material: Material) -> dict[str, Any]:
    held = materials_of(key)
    entry = {
        "KeyId": key.id,
        "KeyMaterialId": material.id,
        "KeyMaterialState": _state(moto, key, held, material),
        **material.rotation,
    }
    if key.origin == "EXTERNAL":
        entry |= _import_entry(imports_of(key).get(material.id))
    return entry


def _state(moto: Moto, key: Any, held: Materials, material: Material) -> str:
    if material is held.pending:
        return str(state_of_pending(moto, key))
    return "CURRENT" if material is held.current else "NON_CURRENT"


def _import_entry(found: Import | None) -> dict[str, Any]:
    if found is None:
        return {"ImportState": "PENDING_IMPORT"}
    entry: dict[str, Any] = (
        {"KeyMaterialDescription": found.description} if found.description else {}
    )
    if not found.is_present:
        return entry | {"ImportState": "PENDING_IMPORT"}
    entry["ImportState"] = "IMPORTED"
    if found.valid_to is None:
        return entry | {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}
    return entry | {"ExpirationModel": "KEY_MATERIAL_EXPIRES", "ValidTo": found.valid_to}
