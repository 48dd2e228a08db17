# SPDX-License-Identifier: Apache-2.0
"""Multi-Region keys: replicas, and the change of the primary key.

The keys of a set have the same id, are in different Regions, and share their materials. From moto's
own configuration of a set, only the primary key is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from s3crypt.sandbox.wire import Refusal

from . import policies
from .calls import key_of, unsupported
from .keys import DYING, check_caller, check_idle, check_state, refresh
from .materials import materials_of

if TYPE_CHECKING:
    from s3crypt.sandbox.backend import Moto

    from .calls import Call


def is_replica(key: Any) -> bool:
    """Return whether a key is a multi-Region key but not the primary key of its set."""
    return bool(key.multi_region) and _primary(key)["Arn"] != key.arn


def siblings(moto: Moto, key: Any) -> list[Any]:
    """Return all keys of a key's multi-Region set, the primary key first.

    Return only the key if it is not a multi-Region key.
    """
    if not key.multi_region:
        return [key]
    return sorted(moto.keys_of_set(key.id), key=is_replica)


def configuration(moto: Moto, key: Any) -> dict[str, Any]:
    """Return the element MultiRegionConfiguration of DescribeKey."""
    _, *replicas = siblings(moto, key)
    return {
        "MultiRegionKeyType": "REPLICA" if is_replica(key) else "PRIMARY",
        "PrimaryKey": dict(_primary(key)),
        "ReplicaKeys": [_named(each) for each in replicas],
    }


def replicate(moto: Moto, call: Call) -> Any:
    """Create a replica and return moto's key. It has the state Creating until KMS has finished."""
    policies.check(moto, call)
    key, region = key_of(moto, call), str(call.body.get("ReplicaRegion", ""))
    check_state(key)
    check_idle(key)
    if not key.multi_region or is_replica(key):
        raise unsupported(f"{key.arn} is no multi-Region primary key.")
    if moto.key(key.id, region) is not None:
        raise Refusal(400, "AlreadyExistsException", f"{key.id} exists in {region} already.")
    materials_of(key)  # created before moto copies the key, so that both keys share this object
    replica = moto.copy_key(key, region)
    _begin(moto, replica, call)
    moto.clock.soon(lambda _: _created(replica))
    return replica


def update_primary(moto: Moto, call: Call) -> dict[str, Any]:
    """Make a replica the primary key. Both keys have the state Updating until KMS has finished."""
    key, region = key_of(moto, call), str(call.body.get("PrimaryRegion", ""))
    check_state(key)
    check_idle(key)
    if not key.multi_region or is_replica(key) or region == key.region:
        raise unsupported(f"{key.arn} is no multi-Region primary key of another Region.")
    new = moto.key(key.id, region)
    if new is None:
        raise Refusal(400, "NotFoundException", f"{key.id} has no replica in {region}.")
    check_caller(new, "kms:UpdatePrimaryRegion", call.caller)
    if new.key_state in DYING:
        check_state(new)
    check_idle(new)
    _primary(key).update(_named(new))
    for each in (key, new):
        each.s3crypt_state, each.key_state = each.key_state, "Updating"
    moto.clock.soon(lambda _: _updated(key, new))
    return {}


def _primary(key: Any) -> dict[str, str]:
    found: dict[str, str] = key.multi_region_configuration["PrimaryKey"]
    return found


def _named(key: Any) -> dict[str, str]:
    return {"Arn": key.arn, "Region": key.region}


def _begin(moto: Moto, replica: Any, call: Call) -> None:
    """Give a replica its own properties.

    Otherwise moto would let it share the properties of the primary key.
    """
    asked = call.body
    tags = {tag["TagKey"]: tag["TagValue"] for tag in asked.get("Tags") or ()}
    moto.tag_key(replica, replica.region, tags)
    replica.policy = asked.get("Policy") or replica.generate_default_policy()
    replica.description = asked.get("Description") or ""
    replica.creation_date = moto.clock.now()
    replica.grants, replica.aliases, replica.s3crypt_imports = {}, {}, {}
    replica.s3crypt_last_use = replica.s3crypt_wrapping = None
    replica.key_state = "Creating"


def _created(replica: Any) -> None:
    if replica.key_state == "Creating":
        replica.key_state = "Enabled"
        refresh(replica)


def _updated(*keys: Any) -> None:
    for key in keys:
        if key.key_state == "Updating":
            key.key_state = key.s3crypt_state
            refresh(key)
