# SPDX-License-Identifier: Apache-2.0
"""The settings of a bucket as values: reading and writing a setting loses nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from s3crypt.buckets import configuration
from s3crypt.buckets.configuration import SETTINGS, Configuration
from s3crypt.buckets.settings import (
    AccessControlList,
    BucketPolicy,
    Encryption,
    Lifecycle,
    Logging,
    ObjectLock,
    Ownership,
    PublicAccessBlock,
    Replication,
    Setting,
    Versioning,
    check_bucket_name,
)
from s3crypt.errors import ConfigError, StorageError
from s3crypt.unseen import Unseen

OWNER = {"ID": "owner"}
RULE = {
    "ID": "tmp",
    "Status": "Enabled",
    "Filter": {"Prefix": "tmp/"},
    "Expiration": {"Days": 3},
}
REPLICA = {
    "ID": "dr",
    "Status": "Enabled",
    "Priority": 1,
    "Filter": {"Prefix": ""},
    "DeleteMarkerReplication": {"Status": "Disabled"},
    "Destination": {"Bucket": "arn:aws:s3:::acme-dr", "StorageClass": "GLACIER"},
}
STATEMENT = {
    "Sid": "Read",
    "Effect": "Allow",
    "Principal": {"AWS": "arn:aws:iam::111122223333:role/reader"},
    "Action": "s3:GetObject",
    "Resource": "arn:aws:s3:::acme/*",
}
# A kind of setting, a reply of S3 that has it, the name of the argument that sets the same value in
# a request, and the argument's content.
REPLIES: list[tuple[type[Setting], dict[str, Any], str, Any]] = [
    (
        Encryption,
        {
            "ServerSideEncryptionConfiguration": {
                "Rules": [
                    {
                        "ApplyServerSideEncryptionByDefault": {
                            "SSEAlgorithm": "aws:kms",
                            "KMSMasterKeyID": "alias/x",
                        },
                        "BucketKeyEnabled": True,
                        "BlockedEncryptionTypes": {"EncryptionType": ["SSE-C"]},
                    }
                ]
            }
        },
        "ServerSideEncryptionConfiguration",
        None,
    ),
    (
        PublicAccessBlock,
        {
            "PublicAccessBlockConfiguration": {
                "BlockPublicAcls": True,
                "IgnorePublicAcls": False,
                "BlockPublicPolicy": True,
                "RestrictPublicBuckets": False,
            }
        },
        "PublicAccessBlockConfiguration",
        None,
    ),
    (Versioning, {"Status": "Suspended"}, "VersioningConfiguration", {"Status": "Suspended"}),
    (
        Ownership,
        {"OwnershipControls": {"Rules": [{"ObjectOwnership": "ObjectWriter"}]}},
        "OwnershipControls",
        None,
    ),
    (
        Logging,
        {
            "LoggingEnabled": {
                "TargetBucket": "acme-logs",
                "TargetPrefix": "acme/",
                "TargetObjectKeyFormat": {"SimplePrefix": {}},
            }
        },
        "BucketLoggingStatus",
        {
            "LoggingEnabled": {
                "TargetBucket": "acme-logs",
                "TargetPrefix": "acme/",
                "TargetObjectKeyFormat": {"SimplePrefix": {}},
            }
        },
    ),
    (Lifecycle, {"Rules": [RULE]}, "LifecycleConfiguration", {"Rules": [RULE]}),
    (
        ObjectLock,
        {
            "ObjectLockConfiguration": {
                "ObjectLockEnabled": "Enabled",
                "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 3}},
            }
        },
        "ObjectLockConfiguration",
        None,
    ),
    (
        Replication,
        {"ReplicationConfiguration": {"Role": "arn:aws:iam::1:role/r", "Rules": [REPLICA]}},
        "ReplicationConfiguration",
        None,
    ),
    (
        AccessControlList,
        {"Owner": OWNER, "Grants": [{"Grantee": OWNER, "Permission": "FULL_CONTROL"}]},
        "AccessControlPolicy",
        {"Owner": OWNER, "Grants": [{"Grantee": OWNER, "Permission": "FULL_CONTROL"}]},
    ),
]


@pytest.mark.parametrize(
    ("kind", "reply", "argument", "expected"),
    REPLIES,
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_setting_that_is_read_and_written_is_the_same(
    kind: type[Setting], reply: dict[str, Any], argument: str, expected: Any
) -> None:
    """The request has every field of the reply, including fields that s3crypt does not read."""
    _, arguments = kind.of(reply).call("acme")
    assert arguments["Bucket"] == "acme"
    assert arguments[argument] == (reply[argument] if expected is None else expected)


def test_a_policy_that_is_read_and_written_is_the_same() -> None:
    """A policy keeps its meaning when it is read and written back; its wording may change."""
    text = json.dumps({"Version": "2012-10-17", "Statement": [STATEMENT]})
    setting = BucketPolicy.of({"Policy": text})
    operation, arguments = setting.call("acme")
    assert operation == "put_bucket_policy"
    assert setting.is_kept_by(BucketPolicy.of({"Policy": arguments["Policy"]}))
    assert not setting.is_kept_by(BucketPolicy())


@pytest.mark.parametrize(
    ("kind", "operation"),
    [
        (BucketPolicy, "delete_bucket_policy"),
        (Lifecycle, "delete_bucket_lifecycle"),
        (Ownership, "delete_bucket_ownership_controls"),
        (Replication, "delete_bucket_replication"),
    ],
)
def test_what_is_not_set_is_deleted(kind: type[Setting], operation: str) -> None:
    """A setting that is "not set" is written by a delete request."""
    assert kind.of({}).call("acme") == (operation, {"Bucket": "acme"})


def test_what_blocks_sse_c_survives_a_change_of_the_default() -> None:
    """A change of the default algorithm sends the SSE-C block again: otherwise S3 removes it."""
    blocking = Encryption(blocked=("SSE-C",))
    _, arguments = replace(blocking, algorithm="aws:kms", key="alias/x").call("acme")
    (rule,) = arguments["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["BlockedEncryptionTypes"] == {"EncryptionType": ["SSE-C"]}


@pytest.mark.parametrize(
    ("blocked", "sent"),
    [(None, None), ((), {"EncryptionType": ["NONE"]}), (("SSE-C",), {"EncryptionType": ["SSE-C"]})],
)
def test_nothing_blocked_is_not_the_same_as_unknown(
    blocked: tuple[str, ...] | None, sent: Any
) -> None:
    """An unknown field is left out of the request; an empty list is sent as `NONE`."""
    _, arguments = Encryption(blocked=blocked).call("acme")
    (rule,) = arguments["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule.get("BlockedEncryptionTypes") == sent


@pytest.mark.parametrize(
    ("rule", "aborts"),
    [
        ({"Filter": {"Prefix": ""}}, True),
        ({"Filter": {}}, True),
        ({"Prefix": ""}, True),
        ({"Filter": {"Prefix": "tmp/"}}, False),
        ({"Prefix": "tmp/"}, False),
        ({"Filter": {"Prefix": ""}, "Status": "Disabled"}, False),
    ],
)
def test_a_rule_for_a_part_of_the_bucket_is_not_enough(rule: dict[str, Any], aborts: bool) -> None:
    """A rule for a prefix or a disabled rule does not abort all incomplete uploads."""
    whole = {"Status": "Enabled", "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}}
    assert Lifecycle(({**whole, **rule},)).aborts_uploads is aborts


def test_the_rule_for_uploads_joins_the_others() -> None:
    """The rule for uploads is added to the existing rules; adding it twice changes nothing."""
    both = Lifecycle((RULE,), "all_storage_classes_128K").aborting(7)
    assert both.rules[0] == RULE
    assert both.aborts_uploads
    assert both.aborting(7) == both
    assert both.call("acme")[1]["TransitionDefaultMinimumObjectSize"] == "all_storage_classes_128K"


def test_the_rule_for_uploads_has_the_form_of_the_others() -> None:
    """If rules have `Prefix`, the added rule also has it: S3 refuses a mix with `Filter`."""
    old = {"ID": "tmp", "Status": "Enabled", "Prefix": "tmp/", "Expiration": {"Days": 1}}
    both = Lifecycle((old,)).aborting(7)
    assert [rule.get("Prefix") for rule in both.rules] == ["tmp/", ""]
    assert not any("Filter" in rule for rule in both.rules)
    assert both.aborts_uploads


def test_a_rule_of_ours_that_is_switched_off_is_not_the_rule() -> None:
    """A rule that is disabled, or has another target, does not count as the wanted rule."""
    wanted = Lifecycle().aborting(7)
    off = Lifecycle(({**wanted.rules[0], "Status": "Disabled"},))
    assert not off.aborting(7).is_kept_by(off)
    assert wanted.is_kept_by(wanted)
    there = {"ID": "a", "Status": "Enabled", "Destination": {"Bucket": "arn:aws:s3:::b"}}
    elsewhere = {**there, "Destination": {"Bucket": "arn:aws:s3:::c"}}
    for other in (elsewhere, {**there, "Status": "Disabled"}):
        assert not Replication("r", (there,)).is_kept_by(Replication("r", (other,)))


def test_grants_to_others_are_told_from_the_owners() -> None:
    """Grants to other accounts and public groups are listed; the owner's grant is not listed."""
    everyone = {"URI": "http://acs.amazonaws.com/groups/global/AllUsers", "Type": "Group"}
    listed = AccessControlList.of(
        {
            "Owner": OWNER,
            "Grants": [
                {"Grantee": OWNER, "Permission": "FULL_CONTROL"},
                {"Grantee": everyone, "Permission": "READ"},
                {"Grantee": {"ID": "other"}, "Permission": "WRITE"},
            ],
        }
    )
    assert [each.who for each in listed.to_others] == ["AllUsers", "other"]
    assert [each.is_public for each in listed.to_others] == [True, False]
    assert not listed.private.to_others
    assert listed.private.is_kept_by(listed.private)


@pytest.mark.parametrize(
    "name", ["", "ab", "a" * 64, "Acme", "a_b", "-ab", "ab-", "a..b", "acme/x", "ac me"]
)
def test_names_that_no_bucket_has(name: str) -> None:
    """An invalid bucket name raises a ConfigError."""
    with pytest.raises(ConfigError, match="cannot be the name of a bucket"):
        check_bucket_name(name)


def test_a_setting_that_was_not_seen_is_not_one_that_is_absent() -> None:
    """Reading a setting that was not seen raises an error that names the permission."""
    unseen = Unseen("s3:GetBucketVersioning", "access denied")
    seen = Configuration("acme", "us-east-1", {Versioning: unseen})
    assert seen.unseen == (unseen,)
    with pytest.raises(StorageError, match="access denied") as caught:
        seen.get(Versioning)
    assert "s3:GetBucketVersioning" in str(caught.value.hint)
    assert seen.get(Ownership) == Ownership()


# --- Over HTTP ---------------------------------------------------------------------------------


def test_every_setting_of_a_new_bucket_is_read(s3: Any, blocked_bucket: str) -> None:
    """Every setting of a new bucket is read, including those that are "not set"."""
    found = configuration.read_all(s3, blocked_bucket)
    assert found.region == "us-east-1"
    assert not found.unseen
    assert found.get(Encryption).blocks_sse_c
    assert found.get(Versioning) == Versioning()
    assert found.get(BucketPolicy).document is None
    assert found.settings.keys() == set(SETTINGS)


@pytest.mark.parametrize(
    "setting",
    [
        Encryption("aws:kms", "alias/aws/s3", bucket_key=True, blocked=("SSE-C",)),
        PublicAccessBlock(block_public_acls=True),
        Versioning("Enabled"),
        Ownership("ObjectWriter"),
        Lifecycle((RULE,)).aborting(7),
    ],
    ids=lambda setting: type(setting).__name__,
)
def test_a_setting_is_written_and_read_back(s3: Any, blocked_bucket: str, setting: Setting) -> None:
    """After a write, S3 returns every value of the setting."""
    configuration.write(s3, blocked_bucket, setting)
    assert setting.is_kept_by(configuration.read(s3, blocked_bucket, type(setting)))


def test_a_bucket_that_is_not_there_has_no_configuration(s3: Any) -> None:
    """A bucket that does not exist is an error, unlike a bucket without settings."""
    with pytest.raises(StorageError) as caught:
        configuration.read_all(s3, "acme-is-not-there")
    assert caught.value.code in ("404", "NoSuchBucket")
