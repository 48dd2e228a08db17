# SPDX-License-Identifier: Apache-2.0
"""Plans for hardening a bucket, decided from given values: no request is made here."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from typing import Any

import pytest

from s3crypt.buckets.configuration import Configuration
from s3crypt.buckets.settings import (
    AccessControlList,
    BucketPolicy,
    Encryption,
    Grant,
    Lifecycle,
    Logging,
    ObjectLock,
    Ownership,
    PublicAccessBlock,
    Replication,
    Setting,
    Versioning,
)
from s3crypt.errors import ConfigError, StorageError
from s3crypt.hardening import OBSTACLES, Plan, Wanted, replication, statements
from s3crypt.hardening.decisions import plan_of
from s3crypt.hardening.values import ReplicateKey, Seen, SeenKey, SeenRole, WriteSetting
from s3crypt.objects.sampling import Sample
from s3crypt.policy import Document
from s3crypt.trail_settings import SeenTrail
from s3crypt.unseen import Unseen

ACCOUNT, OTHER = "111122223333", "123456789012"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1"
WANTED = Wanted("acme")
EVERYONE = {"URI": "http://acs.amazonaws.com/groups/global/AllUsers", "Type": "Group"}


def policy(*added: dict[str, Any], tls: bool = True) -> BucketPolicy:
    """Return a policy with these statements, and with the statement that demands TLS if `tls`."""
    document = None
    if added:
        document = Document.parse({"Version": "2012-10-17", "Statement": list(added)})
    if tls:
        document = statements.with_statements(document, [statements.tls_only("aws", "acme")])
    return BucketPolicy(document)


def allow(principal: Any, action: str = "s3:GetObject", **more: Any) -> dict[str, Any]:
    """Return an Allow statement."""
    what = {"Principal": principal, "Action": action, "Resource": "arn:aws:s3:::acme/*"}
    return {"Sid": "Given", "Effect": "Allow", **what, **more}


def hardened(*changed: Setting, bucket: str = "acme") -> Configuration:
    """Return the configuration that a plan produces, with some settings changed."""
    whole: list[Setting] = [
        Encryption("aws:kms", KEY, bucket_key=True, blocked=("SSE-C",)),
        PublicAccessBlock(*(True,) * 4),
        Versioning("Enabled"),
        Ownership(Ownership.ENFORCED),
        Logging("acme-logs", "acme/"),
        Lifecycle().aborting(7),
        policy(),
    ]
    settings = {type(each): each for each in (*whole, *changed)}
    return Configuration(bucket, "us-east-1", settings)


def logs() -> Configuration:
    """Return the configuration of the bucket for logs that a plan produces."""
    added = (
        statements.tls_only("aws", "acme-logs"),
        statements.log_delivery(None, "aws", ACCOUNT, "acme-logs", "acme"),
    )
    return hardened(
        Encryption(blocked=("SSE-C",)),
        Logging(),
        BucketPolicy(statements.with_statements(None, added)),
        bucket="acme-logs",
    )


def seen(bucket: Configuration | None, **more: Any) -> Seen:
    """Return what is known about a bucket whose key and bucket for logs are as they should be."""
    key = SeenKey(KEY, "Enabled", multi_region=False)
    found: dict[str, Any] = {"logs": logs(), "key": key, **more}
    return Seen(ACCOUNT, "aws", "us-east-1", bucket=bucket, **found)


def names(plan: Plan, bucket: str = "s3://acme") -> list[str]:
    """Return the names of the changes to a bucket."""
    return [each.name for each in plan.changes if each.subject == bucket]


def test_a_hardened_bucket_is_left_alone() -> None:
    """A bucket that a plan has hardened needs no further change."""
    plan = plan_of(seen(hardened()), WANTED)
    assert plan.changes == ()
    assert plan.obstacles == ()


def test_a_new_bucket_gets_everything() -> None:
    """The plan makes both buckets and the key before the settings that refer to them."""
    nothing = Seen(ACCOUNT, "aws", "us-east-1")
    plan = plan_of(nothing, replace(WANTED, may_create=True))
    assert [change.identity for change in plan.changes[:3]] == [
        ("s3://acme", "bucket"),
        ("s3://acme-logs", "bucket"),
        ("alias/s3crypt/acme", "key"),
    ]
    assert set(names(plan)) == {
        "bucket", "encryption", "lifecycle", "logging", "ownership", "policy", "public access",
        "versioning",
    }  # fmt: skip
    assert set(names(plan, "s3://acme-logs")) == {
        "bucket", "encryption", "lifecycle", "ownership", "policy", "public access", "versioning",
    }  # fmt: skip
    served = {control for change in plan.changes for control in change.controls}
    assert served >= {"S3.5", "S3.8", "S3.9", "S3.14", "S3.17"}


def test_every_control_is_served_or_named() -> None:
    """Each control is met, or named as unmet.

    No plan meets S3.1, which is about the account, or S3.20. S3.15 needs Object Lock. S3.22 and
    S3.23 need a trail.
    """
    plan = plan_of(Seen(ACCOUNT, "aws", "us-east-1"), replace(WANTED, may_create=True))
    unmet = [each.control for each in plan.shortfalls]
    assert unmet == ["S3.1", "S3.15", "S3.20", "S3.22", "S3.23"]
    with_both = replace(WANTED, may_create=True, lock=True, trail=True)
    plan = plan_of(Seen(ACCOUNT, "aws", "us-east-1", trails=()), with_both)
    assert [each.control for each in plan.shortfalls] == ["CloudTrail.2", "S3.1", "S3.20"]


def test_an_absent_bucket_is_not_hardened() -> None:
    """A bucket that does not exist is refused; the hint says that only `init` creates it."""
    with pytest.raises(StorageError, match="the bucket does not exist") as caught:
        plan_of(Seen(ACCOUNT, "aws", "us-east-1"), WANTED)
    assert "bucket init acme" in str(caught.value.hint)


# A setting with a fault -> the change that corrects it.
LACKS: list[tuple[Setting, str]] = [
    (Encryption(blocked=("SSE-C",)), "encryption"),
    (Encryption("aws:kms", None, bucket_key=True, blocked=("SSE-C",)), "encryption"),
    (Encryption("aws:kms", KEY, bucket_key=False, blocked=("SSE-C",)), "encryption"),
    (Encryption("aws:kms", KEY, bucket_key=True, blocked=()), "encryption"),
    (PublicAccessBlock(block_public_acls=True), "public access"),
    (Versioning(), "versioning"),
    (Versioning("Suspended"), "versioning"),
    (Ownership(), "ownership"),
    (Ownership("ObjectWriter"), "ownership"),
    (Logging(), "logging"),
    (Lifecycle(), "lifecycle"),
    (BucketPolicy(), "policy"),
]


@pytest.mark.parametrize(("setting", "name"), LACKS, ids=repr)
def test_one_lack_is_one_change(setting: Setting, name: str) -> None:
    """One fault leads to one change, and after it the bucket is hardened."""
    plan = plan_of(seen(hardened(setting)), WANTED)
    assert [change.name for change in plan.changes] == [name]
    (change,) = plan.changes
    assert isinstance(change.act, WriteSetting)
    assert plan_of(seen(hardened(change.act.setting)), WANTED).changes == ()


def test_a_new_default_key_is_told_to_shut_some_principals_out() -> None:
    """If an existing bucket gets a new default key, a remark says that principals may lack access.

    A new bucket gets no such remark.
    """
    told = "principals of the account that may not use the new default key"
    plan = plan_of(seen(hardened(Encryption(blocked=("SSE-C",)))), WANTED)
    assert [told in remark for remark in plan.remarks] == [True]
    new = plan_of(seen(None), replace(WANTED, may_create=True))
    slow = plan_of(seen(hardened(Encryption("aws:kms", KEY, blocked=("SSE-C",)))), WANTED)
    assert names(slow) == ["encryption"]
    assert (new.remarks, slow.remarks) == ((), ())


def test_dsse_stays() -> None:
    """DSSE-KMS is kept as the default, although it has no Bucket Keys: it has two layers."""
    double = Encryption("aws:kms:dsse", KEY, blocked=("SSE-C",))
    assert plan_of(seen(hardened(double)), WANTED).changes == ()


def test_the_log_goes_where_it_goes() -> None:
    """A bucket that already has access logs keeps their target, and the target is not changed."""
    plan = plan_of(seen(hardened(Logging("central", "x/")), logs=None), WANTED)
    assert plan.changes == ()


@pytest.mark.parametrize(
    ("sid", "changed"),
    [
        ("prefix", {"Resource": "arn:aws:s3:::acme/private/*"}),
        ("only objects", {"Resource": "arn:aws:s3:::acme/*"}),
        # A policy has no bracket wildcards, so this ARN is the name of another bucket.
        ("brackets", {"Resource": ["arn:aws:s3:::acm[e]", "arn:aws:s3:::acm[e]/*"]}),
        ("one action", {"Action": "s3:GetObject"}),
        ("one account", {"Principal": {"AWS": OTHER}}),
        (
            "two conditions",
            {"Condition": {"Bool": {"aws:SecureTransport": "false"}, "Null": {"aws:x": "true"}}},
        ),
    ],
)
def test_a_deny_of_a_part_is_not_tls_only(sid: str, changed: dict[str, Any]) -> None:
    """A Deny of only some requests is not the TLS statement, so the TLS statement is added."""
    whole = statements.tls_only("aws", "acme").to_json()
    part = policy({**whole, "Sid": "Part", **changed}, tls=False)
    plan = plan_of(seen(hardened(part)), WANTED)
    assert names(plan) == ["policy"], sid
    (change,) = plan.changes
    assert isinstance(change.act, WriteSetting)
    assert isinstance(change.act.setting, BucketPolicy)
    document = change.act.setting.document
    assert document is not None
    assert [each.sid for each in document.statements] == ["Part", "S3cryptDenyInsecureTransport"]


def test_a_deny_of_everything_without_tls_by_another_sid_is_enough() -> None:
    """A Deny of all requests without TLS is enough under any sid."""
    theirs = {**statements.tls_only("aws", "acme").to_json(), "Sid": "TheirTls"}
    assert plan_of(seen(hardened(policy(theirs, tls=False))), WANTED).changes == ()


AES = Encryption(blocked=("SSE-C",))
OPEN = Encryption("aws:kms", KEY, bucket_key=True, blocked=())
SKIPPING = {
    "ID": "dr",
    "Status": "Enabled",
    "Destination": {"Bucket": "arn:aws:s3:::acme-dr"},
}
EXPIRING = {"ID": "old", "Status": "Enabled", "Prefix": "", "Expiration": {"Days": 9}}
ABORTING = Lifecycle((EXPIRING,)).aborting(7)
# The name of an obstacle, the settings and other facts that cause it, and the changes that it
# prevents.
STANDS_AGAINST: list[tuple[str, list[Setting], dict[str, Any], list[str]]] = [
    (
        "acl-grants",
        [
            Ownership(),
            AccessControlList("owner", (Grant({"ID": "other"}, "READ"),)),
        ],
        {},
        ["access list", "ownership"],
    ),
    (
        "acl-grants",
        [
            Ownership(),
            PublicAccessBlock(),
            AccessControlList("owner", (Grant(EVERYONE, "READ"),)),
        ],
        {},
        ["access list", "ownership", "public access"],
    ),
    ("public-policy", [PublicAccessBlock(), policy(allow("*"))], {}, ["public access"]),
    ("foreign-readers", [AES, policy(allow({"AWS": OTHER}))], {}, ["encryption"]),
    (
        "service-writers",
        [AES, policy(allow({"Service": "logging.s3.amazonaws.com"}, "s3:PutObject"))],
        {},
        ["encryption"],
    ),
    ("sse-c-objects", [OPEN], {"samples": {"acme": Sample(2, ("a.bin",))}}, ["encryption"]),
    (
        "replication-rules",
        [AES, Replication("arn:aws:iam::111122223333:role/r", (SKIPPING,))],
        {},
        ["encryption"],
    ),
    ("expiring-objects", [Versioning(), ABORTING], {}, ["versioning"]),
]


@pytest.mark.parametrize(("name", "settings", "more", "held"), STANDS_AGAINST)
def test_what_would_stop_working_is_left_as_it_is(
    name: str, settings: list[Setting], more: dict[str, Any], held: list[str]
) -> None:
    """An obstacle prevents its changes, unless the caller names the obstacle."""
    found = seen(hardened(*settings), **more)
    plan = plan_of(found, WANTED)
    assert [each.name for each in plan.obstacles] == [name]
    assert plan.changes == ()
    despite = plan_of(found, replace(WANTED, despite=frozenset({name})))
    assert names(despite) == held
    assert [each.name for each in despite.accepted] == [name]
    assert not despite.obstacles


def test_every_obstacle_is_tried() -> None:
    """The table has every obstacle except the one about replicas, which has its own test."""
    assert {name for name, *_ in STANDS_AGAINST} | {"other-replication"} == OBSTACLES.keys()


def test_a_held_part_leaves_the_rest_of_a_setting() -> None:
    """An obstacle to the SSE-C block does not prevent the change of the default encryption."""
    found = seen(hardened(Encryption(blocked=())), samples={"acme": Sample(1, ("a",))})
    (change,) = plan_of(found, WANTED).changes
    assert isinstance(change.act, WriteSetting)
    assert change.act.setting == Encryption("aws:kms", KEY, bucket_key=True, blocked=())


def test_an_obstacle_against_what_is_done_is_none() -> None:
    """An obstacle is not reported if the change that it prevents is already made."""
    assert not plan_of(seen(hardened(policy(allow({"AWS": OTHER})))), WANTED).obstacles


@pytest.mark.parametrize(
    ("statement", "is_public"),
    [
        (allow("*"), True),
        (allow({"AWS": "*"}), True),
        (allow({"AWS": OTHER}), False),
        (allow("*", Condition={"StringEquals": {"aws:PrincipalOrgID": "o-1"}}), False),
        (allow("*", Condition={"StringLike": {"aws:PrincipalOrgID": "*"}}), True),
        (allow("*", Condition={"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}), False),
        (allow("*", Condition={"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}), True),
        (allow("*", Condition={"StringNotEquals": {"aws:SourceVpce": "vpce-1"}}), True),
        (allow("*", Condition={"StringLike": {"aws:Referer": "acme.example"}}), True),
    ],
)
def test_which_statements_make_a_bucket_public(statement: dict[str, Any], is_public: bool) -> None:
    """An Allow for everyone is public unless a condition fixes values of certain keys, as in S3."""
    assert bool(statements.public(policy(statement).document)) is is_public


@pytest.mark.parametrize("action", ["s3:PutBucketPolicy", "s3:*", "s3:putbucket*"])
def test_foreign_administrators_are_a_shortfall(action: str) -> None:
    """If another account may administer the bucket, S3.6 stays unmet: a person must decide."""
    theirs = policy(allow({"AWS": f"arn:aws:iam::{OTHER}:root"}, action))
    plan = plan_of(seen(hardened(theirs)), WANTED)
    assert "S3.6" in [each.control for each in plan.shortfalls]


def test_what_may_not_be_read_is_not_guessed() -> None:
    """If a setting cannot be read, no plan is made, and the error names the missing permission."""
    unseen = Unseen("s3:GetLifecycleConfiguration", "access denied")
    whole = hardened()
    found = replace(whole, settings={**whole.settings, Lifecycle: unseen})
    with pytest.raises(StorageError, match="cannot be read, so nothing was changed") as caught:
        plan_of(seen(found), WANTED)
    assert "s3:GetLifecycleConfiguration" in str(caught.value.hint)


@pytest.mark.parametrize("state", ["Disabled", "PendingDeletion"])
def test_a_key_that_cannot_be_used_is_not_made_the_default(state: str) -> None:
    """A key that cannot encrypt is not made the default: new objects could not be stored."""
    key = SeenKey(KEY, state, multi_region=False)
    with pytest.raises(ConfigError, match=state):
        plan_of(seen(hardened(AES), key=key), WANTED)


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        (Encryption("aws:kms", KEY), "its default encryption is aws:kms"),
        (ObjectLock(True, {"DefaultRetention": {"Days": 1}}), "it has a default retention"),
    ],
)
def test_a_bucket_that_takes_no_logs_is_refused(setting: Setting, why: str) -> None:
    """A bucket to which S3 would silently deliver no logs is refused."""
    receiving = logs()
    changed = replace(receiving, settings={**receiving.settings, type(setting): setting})
    with pytest.raises(ConfigError, match=why):
        plan_of(seen(hardened(Logging()), logs=changed), WANTED)


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ([Ownership(), AccessControlList("owner", (Grant({"ID": "x"}, "READ"),))], "ownership"),
        ([Versioning(), Lifecycle((EXPIRING,)).aborting(7)], "versioning"),
        ([Encryption(blocked=())], "sse-c-block"),
    ],
)
def test_a_bucket_for_logs_that_serves_others_goes_on_doing_so(
    settings: list[Setting], left: str
) -> None:
    """A bucket for logs keeps settings that other uses need; a remark names these settings."""
    receiving = logs()
    changed = {**receiving.settings, **{type(each): each for each in settings}}
    found = seen(
        hardened(Logging()),
        logs=replace(receiving, settings=changed),
        samples={"acme-logs": Sample(1, ("a",))},
    )
    plan = plan_of(found, WANTED)
    assert [each.identity for each in plan.changes] == [("s3://acme", "logging")]
    assert f"left as they are: {left}." in plan.remarks[0]


def test_logs_of_several_buckets_share_a_bucket() -> None:
    """The statement for log delivery keeps the source buckets that it already names."""
    first = statements.log_delivery(None, "aws", ACCOUNT, "central", "one")
    document = statements.with_statements(None, [first])
    both = statements.log_delivery(document, "aws", ACCOUNT, "central", "two")
    arns = next(each.values for each in both.conditions if each.key == "aws:SourceArn")
    assert arns == ("arn:aws:s3:::one", "arn:aws:s3:::two")


def test_mfa_delete_excludes_lifecycle_rules() -> None:
    """With MFA delete S3 accepts no lifecycle rule; a remark says so, and S3.20 is met."""
    found = hardened(Versioning("Enabled", mfa_delete=True), Lifecycle())
    plan = plan_of(seen(found), WANTED)
    assert plan.changes == ()
    assert "requires MFA" in plan.remarks[0]
    assert "S3.20" not in [each.control for each in plan.shortfalls]


def test_a_trail_that_records_all_is_enough() -> None:
    """A trail that records all objects is enough, even if s3crypt did not make it."""
    trail = SeenTrail(
        "arn:aws:cloudtrail:us-east-1:1:trail/org", "org", "us-east-1",
        is_multi_region=True, is_encrypted=True, is_logging=True, reads=True, writes=True,
    )  # fmt: skip
    wanted = replace(WANTED, trail=True)
    assert plan_of(seen(hardened(), trails=(trail,)), wanted).changes == ()
    stopped = replace(trail, is_logging=False)
    plan = plan_of(seen(hardened(), trails=(stopped,)), wanted)
    assert [change.name for change in plan.changes] == ["policy", "trail", "data events"]


def test_a_trail_delivers_to_a_bucket_that_was_looked_at() -> None:
    """A new trail delivers to our bucket for logs, even if access logs go to another bucket."""
    found = seen(hardened(Logging("central", "x/")), logs=None, trails=())
    plan = plan_of(found, replace(WANTED, trail=True))
    assert plan.changes[0].identity == ("s3://acme-logs", "bucket")
    (change,) = [each for each in plan.changes if each.name == "policy"]
    assert change.subject == "s3://acme-logs"
    assert isinstance(change.act, WriteSetting)
    assert isinstance(change.act.setting, BucketPolicy)
    document = change.act.setting.document
    sids = {each.sid for each in document.statements} if document else set()
    assert sids == {
        "S3cryptDenyInsecureTransport", statements.TRAIL_CHECK, statements.TRAIL_DELIVERY,
    }  # fmt: skip


def test_a_trail_that_is_there_gets_its_selectors_back() -> None:
    """The undo commands restore a trail's selectors, and stop it only if it was stopped before."""
    arn = f"arn:aws:cloudtrail:us-east-1:{ACCOUNT}:trail/s3crypt-acme"
    before = {"EventSelectors": [{"ReadWriteType": "WriteOnly"}]}
    trail = SeenTrail(
        arn, "s3crypt-acme", "us-east-1", is_multi_region=True, is_encrypted=True,
        is_logging=True, reads=False, writes=True, selectors=before,
    )  # fmt: skip
    for found, stops in ((trail, False), (replace(trail, is_logging=False), True)):
        plan = plan_of(seen(hardened(), trails=(found,)), replace(WANTED, trail=True))
        (change,) = [each for each in plan.changes if each.name == "data events"]
        assert change.undo is not None
        assert ("stop-logging" in change.undo) is stops
        line = change.undo.rpartition("&& ")[2]
        words = shlex.split(line)
        assert words[:3] == ["aws", "cloudtrail", "put-event-selectors"]
        assert json.loads(words[words.index("--event-selectors") + 1]) == before["EventSelectors"]


def test_a_key_without_our_tag_is_not_adopted() -> None:
    """A key behind the alias that lacks our tag is refused, unless it is already the default."""
    theirs = SeenKey(KEY, "Enabled", multi_region=False, is_ours=False)
    with pytest.raises(ConfigError, match=f"alias/s3crypt/acme names the key {KEY}") as refused:
        plan_of(seen(hardened(Encryption(blocked=("SSE-C",))), key=theirs), WANTED)
    assert "s3crypt keys tag" in str(refused.value.hint)
    with pytest.raises(ConfigError, match="Nothing was changed"):
        plan_of(seen(None, key=theirs), replace(WANTED, may_create=True))
    assert plan_of(seen(hardened(), key=theirs, default_key=theirs), WANTED).changes == ()


# --- Replicas ----------------------------------------------------------------------------------


REPLICATING = replace(WANTED, replica="eu-west-1")


def test_a_key_of_one_region_has_no_replicas() -> None:
    """A single-Region key cannot be replicated, so the plan is refused."""
    key = SeenKey(KEY, "Enabled", multi_region=False)
    with pytest.raises(ConfigError, match="no replicas in other Regions"):
        plan_of(seen(hardened(), default_key=key), REPLICATING)


def test_a_key_that_may_not_be_looked_at_is_not_replicated() -> None:
    """If KMS does not show a key, the key is not replicated: it may be a single-Region key."""
    with pytest.raises(ConfigError, match="cannot be read"):
        plan_of(seen(hardened()), REPLICATING)


def test_a_replica_needs_bucket_key_role_and_rule() -> None:
    """A replica needs bucket, key, role and rule, in this order; the rule names the key."""
    key = SeenKey(KEY, "Enabled", multi_region=True)
    plan = plan_of(seen(hardened(), key=key, default_key=key), REPLICATING)
    assert [
        change.subject for change in plan.changes if change.name in ("bucket", "key", "role")
    ] == [
        "s3://acme-eu-west-1",
        "alias/s3crypt/acme in eu-west-1",
        "role s3crypt-replicate-acme",
    ]
    assert names(plan) == ["replication"]
    (act,) = [each.act for each in plan.changes if each.name == "replication"]
    assert isinstance(act, WriteSetting)
    assert isinstance(act.setting, Replication)
    (rule,) = act.setting.rules
    assert rule["SourceSelectionCriteria"] == {"SseKmsEncryptedObjects": {"Status": "Enabled"}}
    assert rule["DeleteMarkerReplication"] == {"Status": "Disabled"}


def test_a_key_without_our_tag_is_adopted_for_replicas_only_as_a_replica() -> None:
    """A replica of the bucket's own key is accepted without our tag."""
    key = SeenKey(KEY, "Enabled", multi_region=True)
    replica = replace(key, arn=KEY.replace("us-east-1", "eu-west-1"), is_ours=False)
    found = seen(hardened(), key=key, default_key=key, replica_key=replica)
    assert "key" not in [change.name for change in plan_of(found, REPLICATING).changes]
    theirs = replace(replica, arn=f"{replica.arn}2")
    with pytest.raises(ConfigError, match="Nothing was changed"):
        plan_of(replace(found, replica_key=theirs), REPLICATING)


@pytest.mark.parametrize(
    "principal", [{"AWS": OTHER}, {"Service": "s3.amazonaws.com", "AWS": OTHER}]
)
def test_a_role_that_others_may_assume_is_not_used(principal: dict[str, str]) -> None:
    """A role that other principals may assume is refused; the hint corrects its trust policy."""
    key = SeenKey(KEY, "Enabled", multi_region=True)
    found = seen(hardened(), key=key, default_key=key)
    role = SeenRole("arn:aws:iam::111122223333:role/s3crypt/x", True, replication.trust(), None)
    plan = plan_of(replace(found, role=role), REPLICATING)
    assert "role" not in [change.name for change in plan.changes]
    statement = {**replication.trust().to_json()["Statement"][0], "Principal": principal}
    trust = Document.parse({"Version": "2012-10-17", "Statement": [statement]})
    with pytest.raises(ConfigError, match="trust policy of the role") as refused:
        plan_of(replace(found, role=replace(role, trust=trust)), REPLICATING)
    assert "aws iam update-assume-role-policy" in str(refused.value.hint)


def test_a_key_that_was_there_is_not_deleted_by_undoing() -> None:
    """The undo command of an existing replica key removes its alias only."""
    key = SeenKey(KEY, "Enabled", multi_region=True)
    there = replace(key, arn=KEY.replace("us-east-1", "eu-west-1"), is_named=False)
    found = seen(hardened(), key=key, default_key=key, replica_key=there)
    (change,) = [each for each in plan_of(found, REPLICATING).changes if each.name == "key"]
    assert isinstance(change.act, ReplicateKey)
    assert change.act.is_there
    assert change.undo is not None
    assert "schedule-key-deletion" not in change.undo


def test_another_replication_is_not_ended() -> None:
    """An existing replication is an obstacle, because a bucket has one role for all its rules."""
    key = SeenKey(KEY, "Enabled", multi_region=True)
    taking = {
        **SKIPPING,
        "SourceSelectionCriteria": {"SseKmsEncryptedObjects": {"Status": "Enabled"}},
        "Destination": {
            "Bucket": "arn:aws:s3:::dr",
            "EncryptionConfiguration": {"ReplicaKmsKeyID": "x"},
        },
    }
    theirs = Replication("arn:aws:iam::111122223333:role/theirs", (taking,))
    found = seen(hardened(theirs), key=key, default_key=key)
    plan = plan_of(found, REPLICATING)
    assert [each.name for each in plan.obstacles] == ["other-replication"]
    assert plan.changes == ()
    despite = plan_of(found, replace(REPLICATING, despite=frozenset({"other-replication"})))
    assert names(despite) == ["replication"]


def test_locked_objects_are_replicated_into_a_bucket_with_locks() -> None:
    """If objects are locked, the replica bucket gets Object Lock: S3 requires this."""
    key = SeenKey(KEY, "Enabled", multi_region=True)
    found = seen(hardened(ObjectLock(True)), key=key, default_key=key)
    assert "object lock" in names(plan_of(found, REPLICATING), "s3://acme-eu-west-1")


# --- Names and lines ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"bucket": "Acme"}, "cannot be the name of a bucket"),
        ({"bucket": "a" * 60}, "cannot be the name of a bucket"),
        ({"bucket": "acme", "logs": "acme"}, "cannot receive its own access log"),
        ({"bucket": "acme", "despite": frozenset({"all"})}, "is not an obstacle"),
        ({"bucket": "a" * 50, "logs": "acme-logs", "replica": "ap-southeast-1"}, "cannot be"),
    ],
)
def test_what_cannot_be_wanted(values: dict[str, Any], message: str) -> None:
    """Impossible combinations of wishes are refused before any request."""
    with pytest.raises(ConfigError, match=message):
        Wanted(**values)


def test_the_names_of_what_belongs_to_a_bucket_are_its_own() -> None:
    """Names of a bucket's alias and role differ per bucket, also for dots and long names."""
    assert Wanted("a.b").alias == "alias/s3crypt/a_b" != Wanted("a-b").alias
    long = [Wanted(f"{'a' * 57}{end}") for end in ("b", "c")]
    assert len({each.role_name for each in long}) == 2
    assert all(len(each.role_name) == 64 for each in long)


def test_a_line_that_undoes_is_read_by_a_shell() -> None:
    """In an undo command JSON is one word of the shell, whatever it contains."""
    theirs = policy(allow({"AWS": OTHER}, Resource="arn:aws:s3:::acme/it's*"), tls=False)
    (change,) = plan_of(seen(hardened(theirs)), WANTED).changes
    words = shlex.split(str(change.undo))
    assert words[:4] == ["aws", "s3api", "put-bucket-policy", "--bucket"]
    document = json.loads(words[words.index("--policy") + 1])
    assert document["Statement"][0]["Resource"] == "arn:aws:s3:::acme/it's*"
    assert words[-2:] == ["--region", "us-east-1"]


def test_object_lock_cannot_be_undone() -> None:
    """Object Lock has no undo command."""
    (change,) = plan_of(seen(hardened()), replace(WANTED, lock=True)).changes
    assert change.controls == ("S3.15",)
    assert change.undo is None
