# SPDX-License-Identifier: Apache-2.0
"""Replication: S3's checks of configurations, and the replicas of new object versions.

A replica is made before the reply to the write is sent: the sandbox does not imitate S3's delay.
The permissions of the replication role are not evaluated, but the role must exist and trust S3.
Later changes of annotations and tags, and objects older than the configuration, are not replicated.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from s3crypt.sandbox.policies import is_about, principals_of, statements_of
from s3crypt.sandbox.wire import Refusal

from .bucket_documents import Kind, documents_of, kept, malformed, text_of
from .bucket_encryption import default_of
from .encryption import Purpose, Seal, check_decrypting, kms_key, seal_of
from .refusals import access_denied, invalid, invalid_request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from s3crypt.sandbox.backend import Moto

    from .operations import Rules

STATUS = "x-amz-replication-status"
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}):role/(?:.*/)?([^/]+)")
_KEPT = ("s3crypt_annotations", "s3crypt_checksum", "s3crypt_hold")


@dataclass(frozen=True, slots=True)
class _Rule:
    """The parts of a replication rule that the sandbox implements."""

    priority: int
    prefix: str
    tags: frozenset[tuple[str, str]]
    destination: str
    takes_kms: bool
    replica_key: str | None
    takes_markers: bool

    @classmethod
    def of(cls, rule: ET.Element) -> _Rule:
        """Return the rule in an XML element that `_check` has accepted."""
        tags = frozenset(
            (text_of(tag, "Key") or "", text_of(tag, "Value") or "") for tag in rule.iter("Tag")
        )
        prefixes = ("Prefix", "Filter/Prefix", "Filter/And/Prefix")
        return cls(
            int(text_of(rule, "Priority") or 0),
            next((text for path in prefixes if (text := text_of(rule, path))), ""),
            tags,
            (text_of(rule, "Destination/Bucket") or "").rpartition(":")[2],
            _takes_kms(rule),
            text_of(rule, "Destination/EncryptionConfiguration/ReplicaKmsKeyID"),
            text_of(rule, "DeleteMarkerReplication/Status") == "Enabled",
        )


# --- The configuration -------------------------------------------------------------------------


def _check(moto: Moto, bucket: Any, document: ET.Element) -> None:
    """Refuse a configuration that S3 would refuse, and add an id to each rule without an id."""
    rules = document.findall("Rule")
    if _ROLE.fullmatch(text_of(document, "Role") or "") is None:
        raise invalid("Invalid Role specified in replication configuration")
    if not rules:
        raise malformed()
    if bucket.versioning_status != "Enabled":
        raise invalid_request(
            "Versioning must be 'Enabled' on the bucket to apply a replication configuration"
        )
    for number, rule in enumerate(rules, start=1):
        _check_rule(rule)
        _check_destination(moto, bucket, rule)
        if rule.find("ID") is None:
            identity = ET.Element("ID")
            identity.text = f"rule-{number}"
            rule.insert(0, identity)
    priorities = [text_of(rule, "Priority") for rule in rules if rule.find("Filter") is not None]
    if len(set(priorities)) < len(priorities):
        raise invalid_request("Found duplicate priority. Each rule needs a priority of its own.")


def _check_rule(rule: ET.Element) -> None:
    if text_of(rule, "Status") not in {"Enabled", "Disabled"}:
        raise malformed()
    if rule.find("Filter") is not None:
        for name in ("DeleteMarkerReplication", "Priority"):
            if rule.find(name) is None:
                raise invalid_request(
                    f"{name} must be specified for this version of Cross Region Replication "
                    "configuration schema."
                )
    names_key = rule.find("Destination/EncryptionConfiguration") is not None
    if names_key and not _takes_kms(rule):
        raise invalid_request(
            "SseKmsEncryptedObjects must be specified if EncryptionConfiguration is present."
        )
    if _takes_kms(rule) and not names_key:
        raise invalid_request(
            "ReplicaKmsKeyID must be specified if SseKmsEncryptedObjects tag is present."
        )


def _check_destination(moto: Moto, bucket: Any, rule: ET.Element) -> None:
    arn = text_of(rule, "Destination/Bucket") or ""
    if re.fullmatch(r"arn:aws[a-z-]*:s3:::[^/:]+", arn) is None:
        raise malformed()
    target = moto.bucket(arn.rpartition(":")[2])
    if target is None:
        raise invalid_request("Destination bucket must exist.")
    if target is bucket:
        raise invalid_request("Destination bucket cannot be the same as the source bucket.")
    if target.versioning_status != "Enabled":
        raise invalid_request("Destination bucket must have versioning enabled.")
    if bucket.object_lock_enabled and not target.object_lock_enabled:
        raise invalid_request("Destination bucket must have Object Lock enabled.")


def _takes_kms(rule: ET.Element) -> bool:
    path = "SourceSelectionCriteria/SseKmsEncryptedObjects/Status"
    return text_of(rule, path) == "Enabled"


# --- Replicas ----------------------------------------------------------------------------------


def status_of(thing: Any) -> str | None:
    """Return the replication status of moto's object version, or None if no rule applies to it."""
    found: str | None = getattr(thing, "s3crypt_replication", None)
    return found


def replicate(moto: Moto, bucket: str, thing: Any) -> None:
    """Store the replicas of a new object version that its bucket's rules require."""
    found = moto.bucket(bucket)
    for rule in _rules_for(moto, found, thing):
        if seal_of(thing).key_arn is not None and not rule.takes_kms:
            continue
        try:
            with moto.key_uses.apart(_role_of(found)):
                replica_seal = _replica_seal(moto, rule, thing)
            _check_role(moto, found)
        except Refusal:
            thing.s3crypt_replication = "FAILED"
            continue
        replica = moto.replicate(thing, rule.destination)
        replica.s3crypt_seal = replica_seal
        for name in _KEPT:
            setattr(replica, name, getattr(thing, name, None))
        replica.s3crypt_replication = "REPLICA"
        if status_of(thing) is None:
            thing.s3crypt_replication = "COMPLETED"


def replicate_marker(moto: Moto, bucket: str, key: str) -> None:
    """Put a delete marker on the replicas of an object if the bucket's rules require it."""
    found = moto.bucket(bucket)
    for rule in _rules_for(moto, found, None, key):
        if rule.takes_markers and _takes_replicas(moto, rule):
            moto.delete(rule.destination, key, None, bypass=False)


def _rules_for(moto: Moto, bucket: Any, thing: Any, key: str | None = None) -> Iterator[_Rule]:
    """Yield, for each destination of an object, the rule with the highest priority."""
    if "replication" not in documents_of(bucket):
        return
    document = kept(bucket, "replication")
    assert document is not None
    name, tags = key or thing.name, frozenset() if thing is None else moto.tags(thing)
    chosen: dict[str, _Rule] = {}
    for element in document.iterfind("Rule"):
        rule = _Rule.of(element)
        fits = name.startswith(rule.prefix) and rule.tags <= tags
        if not fits or text_of(element, "Status") != "Enabled":
            continue
        other = chosen.get(rule.destination)
        if other is None or other.priority < rule.priority:
            chosen[rule.destination] = rule
    yield from chosen.values()


def _replica_seal(moto: Moto, rule: _Rule, thing: Any) -> Seal:
    """Return the seal of a replica: the source's mode, and for KMS modes the rule's KMS key.

    Raises:
        Refusal: S3 would not be able to create the replica.
    """
    if not _takes_replicas(moto, rule):
        raise access_denied()
    seal, target = seal_of(thing), moto.bucket(rule.destination)
    if seal.customer_md5 is not None and "SSE-C" in default_of(target).blocked:
        raise access_denied()
    if seal.key_arn is None:
        return seal
    assert target is not None
    check_decrypting(moto, seal, thing.bucket_name, thing.name)
    purpose = Purpose.of("Encrypt", rule.destination, thing.name, None, seal.bucket_key)
    key = kms_key(moto, rule.replica_key or "", target.region_name, purpose)
    return replace(seal, key_arn=key.arn)


def _takes_replicas(moto: Moto, rule: _Rule) -> bool:
    target = moto.bucket(rule.destination)
    return target is not None and target.versioning_status == "Enabled"


def _role_of(bucket: Any) -> str:
    """Return the ARN of the role that S3 assumes to replicate a bucket's objects."""
    document = kept(bucket, "replication")
    assert document is not None
    return text_of(document, "Role") or ""


def _check_role(moto: Moto, bucket: Any) -> None:
    """Refuse replication if the role of the configuration does not exist or does not trust S3."""
    found = _ROLE.fullmatch(_role_of(bucket))
    assert found is not None
    if found[1] != moto.account:
        return
    role = moto.role(found[2])
    text = json.dumps({"Statement": []}) if role is None else role.assume_role_policy_document
    trusts = any(
        statement.get("Effect") == "Allow"
        and ("Service", "s3.amazonaws.com") in principals_of(statement)
        and is_about(statement, "sts:AssumeRole")
        for statement in statements_of(text)
    )
    if not trusts:
        raise access_denied()


RULES: Rules = Kind(
    "replication",
    "ReplicationConfiguration",
    (
        "ReplicationConfigurationNotFoundError",
        "The replication configuration was not found",
    ),
    _check,
).rules()
