# SPDX-License-Identifier: Apache-2.0
"""A bucket's versioning, Object Lock, lifecycle and logging: S3's checks and stored settings.

The sandbox stores lifecycle rules and the target of logs. It does not expire objects or deliver
logs.
"""

from __future__ import annotations

import secrets
from collections import Counter
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from s3crypt.sandbox.policies import is_about, listed, principals_of, statements_of
from s3crypt.sandbox.wire import Refusal, Reply, Request, xml_reply

from .bucket_access import disables_acls
from .bucket_documents import (
    Kind,
    documents_of,
    existing_bucket,
    keep,
    malformed,
    parsed,
    text_of,
    texts_of,
)
from .operations import ANY, BUCKET, Operation, Rules
from .refusals import access_denied, invalid, invalid_request

if TYPE_CHECKING:
    from s3crypt.sandbox.backend import Moto
    from s3crypt.sandbox.policies import Statement

_ACTIONS = frozenset(
    {"AbortIncompleteMultipartUpload", "Expiration", "NoncurrentVersionExpiration"}
    | {"NoncurrentVersionTransition", "Transition"}
)
_MAX_RULES = 1000
_LOGGING = "logging.s3.amazonaws.com"
_LOG_GROUP = "http://acs.amazonaws.com/groups/s3/LogDelivery"


# --- Versioning --------------------------------------------------------------------------------


def _versioning(moto: Moto, request: Request) -> Reply:
    """Set a bucket's versioning; refuse to suspend it if Object Lock or replication needs it."""
    bucket = existing_bucket(moto, request)
    document = parsed(request.body, "VersioningConfiguration")
    status = text_of(document, "Status")
    if status not in {"Enabled", "Suspended"}:
        raise invalid(
            "The versioning configuration specified in the request is invalid.",
            "IllegalVersioningConfigurationException",
        )
    if text_of(document, "MfaDelete") == "Enabled":
        # MFA delete needs the root user and an MFA device. The sandbox does not support MFA.
        raise access_denied("Mfa Authentication must be used for this request")
    if status == "Suspended" and bucket.object_lock_enabled:
        raise _bad_state(
            "An Object Lock configuration is present on this bucket, so the versioning state "
            "cannot be changed."
        )
    if status == "Suspended" and "replication" in documents_of(bucket):
        raise _bad_state(
            "A replication configuration is present on this bucket, so the versioning state "
            "cannot be changed."
        )
    return moto(request)


# --- Object Lock -------------------------------------------------------------------------------


def _object_lock(moto: Moto, request: Request) -> Reply:
    """Set or return a bucket's Object Lock. S3 has allowed it on existing buckets since 2023."""
    bucket = existing_bucket(moto, request)
    if request.method != "PUT":
        return _object_lock_of(bucket)
    document = parsed(request.body, "ObjectLockConfiguration")
    mode = text_of(document, "Rule/DefaultRetention/Mode")
    spans = {unit: text_of(document, f"Rule/DefaultRetention/{unit}") for unit in ("Days", "Years")}
    given = [text for text in spans.values() if text is not None]
    if text_of(document, "ObjectLockEnabled") != "Enabled" or (mode is None) != (not given):
        raise malformed()
    if mode is not None and mode not in {"COMPLIANCE", "GOVERNANCE"}:
        raise malformed()
    if len(given) > 1 or not all(text.isdigit() and int(text) > 0 for text in given):
        raise malformed()
    if bucket.versioning_status != "Enabled":
        raise _bad_state(
            "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration"
        )
    bucket.object_lock_enabled = True
    bucket.default_lock_mode = mode
    bucket.default_lock_days = int(spans["Days"] or 0)
    bucket.default_lock_years = int(spans["Years"] or 0)
    keep(bucket, "object-lock", document)
    return Reply(200)


def _object_lock_of(bucket: Any) -> Reply:
    if not bucket.object_lock_enabled:
        raise Refusal(
            404,
            "ObjectLockConfigurationNotFoundError",
            "Object Lock configuration does not exist for this bucket",
        )
    bare = (
        "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>"
        "</ObjectLockConfiguration>"
    )
    return xml_reply(200, documents_of(bucket).get("object-lock", bare))


# --- Lifecycle ---------------------------------------------------------------------------------


def _check_lifecycle(_: Moto, __: Any, document: ET.Element) -> None:
    """Refuse rules that S3 would refuse, and add an id to each rule without an id."""
    rules = document.findall("Rule")
    if not 0 < len(rules) <= _MAX_RULES:
        raise malformed()
    for rule in rules:
        _check_lifecycle_rule(rule)
        if rule.find("ID") is None:
            ET.SubElement(rule, "ID").text = secrets.token_urlsafe(32)
    if document.findall("Rule/Prefix") and document.findall("Rule/Filter"):
        raise invalid_request("Filter element can only be used in Lifecycle V2.")
    names = Counter(texts_of(document, "Rule/ID"))
    if len(names) < len(rules):
        raise invalid("Rule ID must be unique. Found same ID for more than one rule")


def _check_lifecycle_rule(rule: ET.Element) -> None:
    if text_of(rule, "Status") not in {"Enabled", "Disabled"}:
        raise malformed()
    if (rule.find("Filter") is None) == (rule.find("Prefix") is None):
        raise malformed()
    actions = [child for child in rule if child.tag in _ACTIONS]
    if not actions:
        raise invalid_request("At least one action needs to be specified in a rule")
    for action in actions:
        for name in ("Days", "DaysAfterInitiation", "NoncurrentDays"):
            days = text_of(action, name)
            if days is not None and not (days.isdigit() and int(days) > 0):
                raise invalid(f"'{name}' for {action.tag} action must be a positive integer")
    aborts = rule.find("AbortIncompleteMultipartUpload") is not None
    if aborts and next(rule.iter("Tag"), None) is not None:
        raise invalid_request("AbortIncompleteMultipartUpload cannot be specified with Tags.")


# --- Logging -----------------------------------------------------------------------------------


def _logging(moto: Moto, request: Request) -> Reply:
    """Set or return the target of a bucket's server access logs."""
    bucket = existing_bucket(moto, request)
    if request.method != "PUT":
        nothing = "<BucketLoggingStatus/>"
        return xml_reply(200, documents_of(bucket).get("logging", nothing))
    document = parsed(request.body, "BucketLoggingStatus")
    wanted = document.find("LoggingEnabled")
    if wanted is not None:
        _check_logging(moto, bucket, wanted)
    keep(bucket, "logging", document)
    return Reply(200)


def _check_logging(moto: Moto, bucket: Any, wanted: ET.Element) -> None:
    name, prefix = text_of(wanted, "TargetBucket"), text_of(wanted, "TargetPrefix")
    if not name or prefix is None:
        raise malformed()
    target = moto.bucket(name)
    if target is None:
        raise _bad_target("The target bucket for logging does not exist")
    if target.region_name != bucket.region_name:
        raise Refusal(
            403,
            "CrossLocationLoggingProhibitted",
            "Cross S3 location logging not allowed.",
        )
    if not _takes_logs(target, prefix):
        raise _bad_target(
            "You must either provide the necessary permissions to the logging service using a "
            "bucket policy or give the log-delivery group WRITE and READ_ACP permissions to the "
            "target bucket"
        )


def _takes_logs(target: Any, prefix: str) -> bool:
    policy = (target.policy or b"").decode("utf-8")
    if any(_lets_log(one, target.name, prefix) for one in statements_of(policy)):
        return True
    granted = {
        permission
        for grant in ([] if disables_acls(target) or target.acl is None else target.acl.grants)
        for grantee in grant.grantees
        if grantee.uri == _LOG_GROUP
        for permission in grant.permissions
    }
    return granted >= {"READ_ACP", "WRITE"} or "FULL_CONTROL" in granted


def _lets_log(statement: Statement, bucket: str, prefix: str) -> bool:
    below = {f"arn:aws:s3:::{bucket}/{prefix[:end]}*" for end in range(len(prefix) + 1)}
    return (
        statement.get("Effect") == "Allow"
        and ("Service", _LOGGING) in principals_of(statement)
        and is_about(statement, "s3:PutObject")
        and not below.isdisjoint(listed(statement.get("Resource", [])))
    )


# --- Refusals ----------------------------------------------------------------------------------


def _bad_state(message: str) -> Refusal:
    return Refusal(409, "InvalidBucketState", message)


def _bad_target(message: str) -> Refusal:
    return invalid(message, "InvalidTargetBucketForLogging")


RULES: Rules = {
    Operation("PUT", BUCKET, "versioning"): _versioning,
    Operation(ANY, BUCKET, "object-lock"): _object_lock,
    Operation(ANY, BUCKET, "logging"): _logging,
    **Kind(
        "lifecycle",
        "LifecycleConfiguration",
        ("NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist"),
        _check_lifecycle,
    ).rules(),
}
