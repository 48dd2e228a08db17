# SPDX-License-Identifier: Apache-2.0
"""The plan of a bucket's changes, decided from its present state without a request.

The same values always give the same plan. After all changes of a plan are made, the next plan is
empty. So an interrupted run can be completed by running the command again.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar

from s3crypt.buckets.configuration import Configuration, line
from s3crypt.buckets.settings import (
    AES256,
    DSSE,
    KMS,
    SSE_C,
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
)
from s3crypt.command_lines import aws, s3crypt_keys
from s3crypt.errors import ConfigError, StorageError
from s3crypt.policy import Document, Kind, Statement, check_size, open_key_policy
from s3crypt.trail_settings import SeenTrail

from . import replication, statements
from .obstacles import is_own_default, obstacles_beside, obstacles_of
from .shortfalls import shortfalls_of
from .values import (
    TAG,
    Act,
    Change,
    CreateBucket,
    CreateKey,
    CreateRole,
    CreateTrail,
    NameKey,
    Part,
    Plan,
    RecordDataEvents,
    ReplicateKey,
    Seen,
    SeenKey,
    Wanted,
    WriteRolePolicy,
    WriteSetting,
)

S = TypeVar("S", bound=Setting)

UPLOAD_DAYS = 7
"""The number of days after which incomplete uploads are aborted."""

_CONTROLS: dict[type[Setting], tuple[str, ...]] = {
    Encryption: ("S3.17",),
    PublicAccessBlock: ("S3.8",),
    Versioning: ("S3.14",),
    Logging: ("S3.9",),
    ObjectLock: ("S3.15",),
    BucketPolicy: ("S3.5",),
}


def plan_of(seen: Seen, wanted: Wanted) -> Plan:
    """Return the changes that bring the bucket to the wanted state.

    A part with an obstacle is not changed.

    Raises:
        StorageError: There is no such bucket, or a setting could not be read.
        ConfigError: The wanted state contradicts the present state, so no plan is possible.
    """
    _check(seen, wanted)
    found = obstacles_of(seen, wanted)
    holding = tuple(each for each in found if each.name not in wanted.despite)
    held = frozenset(part for each in holding for part in each.holds)
    if wanted.replica is not None and "versioning" in held:
        held |= {"replication"}
    changes = (
        *_creations(seen, wanted, held),
        *_of_logs(seen, wanted),
        *_of_bucket(seen, wanted, held),
        *_of_trail(seen, wanted),
        *(_of_replica(seen, wanted) if "replication" not in held else ()),
    )
    accepted = tuple(each for each in found if each.name in wanted.despite)
    shortfalls = shortfalls_of(seen, wanted, held)
    remarks = (*_remarks_of_keys(seen, changes), *_remarks(seen))
    return Plan(wanted.bucket, changes, holding, accepted, shortfalls, remarks)


def _check(seen: Seen, wanted: Wanted) -> None:
    """Refuse a state for which no plan can be made."""
    if seen.bucket is None and not wanted.may_create:
        raise StorageError(
            f"s3://{wanted.bucket}: the bucket does not exist.",
            hint=f"Create it: s3crypt bucket init {wanted.bucket}",
            code="NoSuchBucket",
        )
    for one in (seen.bucket, seen.logs, seen.replica):
        if one is not None and one.unseen:
            raise _not_seen(one)
    if seen.key is not None and (seen.key.state != "Enabled" or seen.key.manager == "AWS"):
        raise ConfigError(
            f"The key {wanted.alias} cannot be used: its state is {seen.key.state}.",
            hint=(
                f"{_way_out(seen.key)}, or move the alias to another key: `s3crypt keys move-alias "
                f"{wanted.alias} KEY`. Nothing was changed."
            ),
        )
    encryption = seen.bucket.get(Encryption) if seen.bucket else Encryption()
    if seen.key is not None and not is_own_default(seen, encryption):
        _check_ours(seen.key, seen.region, wanted)
    if wanted.replica is not None:
        _check_replicable(seen, wanted)
        _check_replica_key(seen, wanted, wanted.replica)


def _way_out(key: SeenKey) -> str:
    """Return how to make a key usable again: the beginning of a sentence, with a command."""
    if key.state == "Disabled":
        return f"Enable it: `{s3crypt_keys('enable', key.arn)}`"
    if key.state.startswith("Pending") and key.state.endswith("Deletion"):
        commands = (s3crypt_keys(verb, key.arn) for verb in ("cancel-deletion", "enable"))
        return f"Cancel its deletion: `{' && '.join(commands)}`"
    return f"Show the key: `{s3crypt_keys('show', key.arn)}`"


def _check_ours(key: SeenKey, region: str, wanted: Wanted) -> None:
    """Refuse the key that the alias names if the key was not made for the bucket.

    Otherwise a user who may create aliases could make S3 encrypt new objects under a key of that
    user.
    """
    if not key.is_ours:
        tagging = s3crypt_keys("tag", key.arn, f"{TAG}={wanted.bucket}")
        deletion = f"s3crypt keys delete-alias {wanted.alias} --region {region}"
        raise ConfigError(
            f"The alias {wanted.alias} names the key {key.arn}, which has no tag "
            f"{TAG}={wanted.bucket}, or its tags cannot be read. Nothing was changed.",
            hint=(
                f"Delete the alias: `{deletion}`. Or ask for the permission kms:ListResourceTags "
                f"if you lack it. Or, only if the key is meant for this bucket, tag it: {tagging}"
            ),
        )


def _check_replica_key(seen: Seen, wanted: Wanted, region: str) -> None:
    """Refuse a key in the other Region that is not s3crypt's, is no replica and is not in use."""
    key, source = seen.replica_key, _source_key(seen)
    if key is None or (source and key.arn.rpartition("/")[2] == source.arn.rpartition("/")[2]):
        return
    if seen.replica is None or seen.replica.get(Encryption).key != key.arn:
        _check_ours(key, region, wanted)


def _check_replicable(seen: Seen, wanted: Wanted) -> None:
    """Refuse to replicate a bucket whose key cannot have a replica in another Region."""
    key = _source_key(seen)
    encryption = seen.bucket.get(Encryption) if seen.bucket else Encryption()
    if key is None and is_own_default(seen, encryption):
        raise ConfigError(
            f"The key of s3://{wanted.bucket} cannot be read: {encryption.key}.",
            hint="Ask for the permission kms:DescribeKey, or run the command without a replica.",
        )
    if key is not None and not key.multi_region:
        raise ConfigError(
            f"The key of s3://{wanted.bucket} has no replicas in other Regions: {key.arn}.",
            hint="A key cannot become a multi-Region key. Create one (`s3crypt keys create "
            "--multi-region --alias NAME`), make it the bucket's default, and move the objects to "
            "it: `s3crypt rotate`.",
        )


def _not_seen(configuration: Configuration) -> StorageError:
    actions = ", ".join(each.action for each in configuration.unseen)
    reason = configuration.unseen[0].reason
    return StorageError(
        f"s3://{configuration.bucket}: the bucket's configuration cannot be read, so nothing was "
        f"changed: {reason}",
        hint=f"Ask for these permissions: {actions}.",
        code="AccessDenied",
    )


def _source_key(seen: Seen) -> SeenKey | None:
    """Return the default key that the bucket has or will have. None if it does not exist yet."""
    encryption = seen.bucket.get(Encryption) if seen.bucket else Encryption()
    return seen.default_key if is_own_default(seen, encryption) else seen.key


def _creations(seen: Seen, wanted: Wanted, held: frozenset[Part]) -> Iterator[Change]:
    """Yield the creations of buckets and then of keys. Later changes contain their names."""
    replicates = wanted.replica is not None and "replication" not in held
    if seen.bucket is None:
        yield _creation(wanted.bucket, seen.region, "create the bucket")
    if seen.logs is None and _uses_logs(seen, wanted):
        yield _creation(wanted.logs, seen.region, "create the bucket for access logs")
    if replicates and seen.replica is None:
        yield _creation(wanted.replica_bucket, str(wanted.replica), "create the replica's bucket")
    encryption = seen.bucket.get(Encryption) if seen.bucket else Encryption()
    needs_key = not is_own_default(seen, encryption) and "kms-default" not in held
    if needs_key and (seen.key is None or not seen.key.is_named):
        yield _new_key(seen, wanted)
    if replicates and (seen.replica_key is None or not seen.replica_key.is_named):
        yield _new_replica_key(seen, wanted, str(wanted.replica))


def _creation(bucket: str, region: str, what: str) -> Change:
    undo = aws("s3api", "delete_bucket", region, Bucket=bucket)
    act = CreateBucket(bucket, region)
    return Change(f"s3://{bucket}", "bucket", f"{what} in {region}", (), act, undo)


def _new_key(seen: Seen, wanted: Wanted) -> Change:
    undo = aws("kms", "delete_alias", seen.region, AliasName=wanted.alias)
    act: Act = CreateKey(
        wanted.alias,
        seen.region,
        wanted.bucket,
        open_key_policy(seen.partition, seen.account),
        multi_region=wanted.replica is not None,
    )
    what = "create a KMS key that rotates once a year"
    if seen.key is not None:
        act = NameKey(seen.key.arn, wanted.alias)
        what = f"finish the key {seen.key.arn}, which an interrupted run left unfinished"
    elif wanted.replica is not None:
        what = "create a multi-Region KMS key that rotates once a year"
    return Change(wanted.alias, "key", what, ("KMS.4",), act, undo)


def _new_replica_key(seen: Seen, wanted: Wanted, region: str) -> Change:
    key = _source_key(seen)
    undo = aws("kms", "delete_alias", region, AliasName=wanted.alias)
    is_there = seen.replica_key is not None
    act = ReplicateKey(key.arn if key else wanted.alias, region, wanted.alias, is_there)
    what = f"replicate the key to {region}"
    if seen.replica_key is not None:
        what = f"name the key's existing replica {seen.replica_key.arn}"
    return Change(f"{wanted.alias} in {region}", "key", what, (), act, undo)


def _write(now: Configuration, before: S, after: S, name: str, what: str) -> Iterator[Change]:
    """Yield the change that writes one setting, or no change if the setting stays the same."""
    if after.is_kept_by(before):
        return
    undo = None
    if not isinstance(after, ObjectLock):
        undo = line(now.bucket, now.region, before)
    act = WriteSetting(now.bucket, now.region, after)
    yield Change(f"s3://{now.bucket}", name, what, _CONTROLS.get(type(after), ()), act, undo)


def _of_bucket(seen: Seen, wanted: Wanted, held: frozenset[Part]) -> Iterator[Change]:
    """Yield the changes of the bucket itself."""
    now = seen.bucket or Configuration(wanted.bucket, seen.region)
    # The policy is written first: when public access is blocked, S3 refuses to write a public
    # policy.
    yield from _of_policy(now, (), seen.partition)
    yield from _of_access(now, held)
    if "versioning" not in held:
        yield from _of_versioning(now)
    yield from _of_encryption(seen, wanted, now, held)
    yield from _of_lifecycle(now)
    yield from _of_logging(wanted, now)
    if wanted.lock and "versioning" not in held:
        yield from _of_lock(now)


def _of_lock(now: Configuration) -> Iterator[Change]:
    before = now.get(ObjectLock)
    what = "turn Object Lock on, which cannot be undone; this locks no object"
    yield from _write(now, before, replace(before, is_enabled=True), "object lock", what)


def _of_access(now: Configuration, held: frozenset[Part]) -> Iterator[Change]:
    if "ownership" not in held:
        grants = now.get(AccessControlList)
        if grants.to_others:
            what = "remove the grants to other principals from the access list"
            yield from _write(now, grants, grants.private, "access list", what)
        ownership = now.get(Ownership)
        what = "make the bucket's owner the owner of every object, without access lists"
        yield from _write(now, ownership, Ownership(Ownership.ENFORCED), "ownership", what)
    if "public-access" not in held:
        block = PublicAccessBlock(*(True,) * 4)
        what = "block public access in all four ways"
        before = now.get(PublicAccessBlock)
        yield from _write(now, before, block, "public access", what)


def _of_versioning(now: Configuration) -> Iterator[Change]:
    versioning = now.get(Versioning)
    after = replace(versioning, status="Enabled")
    yield from _write(now, versioning, after, "versioning", "keep every version")


def _of_encryption(
    seen: Seen, wanted: Wanted, now: Configuration, held: frozenset[Part]
) -> Iterator[Change]:
    before = now.get(Encryption)
    after, told = before, []
    if not is_own_default(seen, before) and "kms-default" not in held:
        arn = seen.key.arn if seen.key and seen.key.is_named else wanted.alias
        algorithm = DSSE if before.algorithm == DSSE else KMS
        after = replace(after, algorithm=algorithm, key=arn)
        told.append(f"encrypt new objects under {wanted.alias}")
    if after.algorithm == KMS and not before.bucket_key:
        after = replace(after, bucket_key=True)
        told.append("use a Bucket Key")
    if "sse-c-block" not in held and not after.blocks_sse_c:
        after = replace(after, blocked=(*(after.blocked or ()), SSE_C))
        told.append("block SSE-C")
    yield from _write(now, before, after, "encryption", ", ".join(told))


def _of_policy(
    now: Configuration, added: tuple[Statement, ...], partition: str
) -> Iterator[Change]:
    """Yield the change that adds the statement about TLS and the `added` statements to a policy."""
    before = now.get(BucketPolicy)
    wanted, told = list(added), []
    if not statements.refuses_plain_http(before.document, partition, now.bucket):
        wanted.insert(0, statements.tls_only(partition, now.bucket))
        told.append("refuse requests without TLS")
    missing = statements.lacks(before.document, wanted)
    told += [_DELIVERIES[each.sid] for each in missing if each.sid in _DELIVERIES]
    if missing:
        document = statements.with_statements(before.document, missing)
        check_size(document, Kind.BUCKET)
        what = ", ".join(dict.fromkeys(told))
        yield from _write(now, before, BucketPolicy(document), "policy", what)


_DELIVERIES = {
    statements.LOG_DELIVERY: "let S3 deliver access logs",
    statements.TRAIL_CHECK: "let CloudTrail deliver its files",
    statements.TRAIL_DELIVERY: "let CloudTrail deliver its files",
}


def _of_lifecycle(now: Configuration) -> Iterator[Change]:
    # Yield no change for a bucket with MFA Delete: S3 would refuse the lifecycle rule.
    before = now.get(Lifecycle)
    if before.aborts_uploads or now.get(Versioning).mfa_delete:
        return
    what = f"abort incomplete uploads after {UPLOAD_DAYS} days"
    yield from _write(now, before, before.aborting(UPLOAD_DAYS), "lifecycle", what)


def _of_logging(wanted: Wanted, now: Configuration) -> Iterator[Change]:
    before = now.get(Logging)
    if before.target is None:
        what = f"deliver the access log to s3://{wanted.logs}"
        after = Logging(wanted.logs, f"{wanted.bucket}/")
        yield from _write(now, before, after, "logging", what)


def _logs_bucket(seen: Seen, wanted: Wanted) -> str:
    """Return the bucket that receives the access log at present, or else `wanted.logs`."""
    present = seen.bucket.get(Logging).target if seen.bucket else None
    return present or wanted.logs


def _uses_logs(seen: Seen, wanted: Wanted) -> bool:
    """Return whether the bucket `wanted.logs` will receive the access log or a new trail."""
    return _logs_bucket(seen, wanted) == wanted.logs or _lacks_trail(seen, wanted)


def _of_logs(seen: Seen, wanted: Wanted) -> Iterator[Change]:
    """Yield the changes of the bucket for logs. A bucket that receives no logs is not changed."""
    if not _uses_logs(seen, wanted):
        return
    now = seen.logs or Configuration(wanted.logs, seen.region)
    _check_logs(seen, now)
    policy = now.get(BucketPolicy).document
    added = _deliveries(seen, wanted, policy)
    held = _held_of_logs(seen)
    yield from _of_policy(now, added, seen.partition)
    yield from _of_access(now, held)
    if "versioning" not in held:
        yield from _of_versioning(now)
    before = now.get(Encryption)
    if not before.blocks_sse_c and "sse-c-block" not in held:
        after = replace(before, blocked=(SSE_C,))
        for change in _write(now, before, after, "encryption", "block SSE-C"):
            # No control is named: the bucket fails S3.17 anyway, because S3 delivers logs only
            # under SSE-S3.
            yield replace(change, controls=())
    yield from _of_lifecycle(now)


def _held_of_logs(seen: Seen) -> frozenset[Part]:
    # The bucket for logs never gets a default KMS key, so an obstacle to such a key does not
    # matter.
    return _held_beside(seen, seen.logs) - {"kms-default"}


def _held_beside(seen: Seen, bucket: Configuration | None) -> frozenset[Part]:
    """Return the parts that stay unchanged in the bucket for logs or replicas.

    The result is empty if `bucket` is None, because a new bucket has no other uses.
    """
    found = obstacles_beside(seen, bucket) if bucket else ()
    return frozenset(part for each in found for part in each.holds)


def _deliveries(seen: Seen, wanted: Wanted, policy: Document | None) -> tuple[Statement, ...]:
    account, partition = seen.account, seen.partition
    added: tuple[Statement, ...] = ()
    if _logs_bucket(seen, wanted) == wanted.logs:
        added = (statements.log_delivery(policy, partition, account, wanted.logs, wanted.bucket),)
    if _lacks_trail(seen, wanted):
        arn = _trail_arn(seen, wanted)
        added += statements.trail_delivery(partition, account, wanted.logs, arn)
    return added


def _check_logs(seen: Seen, now: Configuration) -> None:
    """Refuse a bucket to which S3 cannot deliver access logs.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/enable-server-access-logging.html
    """
    lock = now.get(ObjectLock)
    encryption = now.get(Encryption)
    why = None
    if now.region != seen.region:
        why = f"it is in {now.region}, but the bucket is in {seen.region}"
    elif encryption.algorithm != AES256:
        why = f"its default encryption is {encryption.algorithm}, but logs need SSE-S3"
    elif lock.rule:
        why = "it has a default retention"
    if why is not None:
        raise ConfigError(
            f"s3://{now.bucket} cannot receive access logs: {why}.",
            hint="Name another bucket for the logs. It is created if it does not exist.",
        )


def _lacks_trail(seen: Seen, wanted: Wanted) -> bool:
    """Return whether a trail is wanted and no existing trail records all data events."""
    return wanted.trail and not any(each.records_all for each in seen.trails or ())


def _trail_arn(seen: Seen, wanted: Wanted) -> str:
    place = f"{seen.partition}:cloudtrail:{seen.region}:{seen.account}"
    return f"arn:{place}:trail/{wanted.trail_name}"


def _of_trail(seen: Seen, wanted: Wanted) -> Iterator[Change]:
    if not _lacks_trail(seen, wanted):
        return
    arn = _trail_arn(seen, wanted)
    undo: str | None
    subject = f"trail {wanted.trail_name}"
    found = next((each for each in seen.trails or () if each.arn == arn), None)
    if found is None:
        deletion = aws("cloudtrail", "delete_trail", seen.region, Name=wanted.trail_name)
        create = CreateTrail(wanted.trail_name, wanted.logs, seen.region)
        what = "create a trail of every Region"
        yield Change(subject, "trail", what, (), create, deletion)
    elif not found.is_multi_region:
        raise ConfigError(
            f"The trail {wanted.trail_name} records one Region only.",
            hint=(
                "Name another trail, or make it record every Region: aws cloudtrail update-trail "
                f"--name {wanted.trail_name} --is-multi-region-trail"
            ),
        )
    undo = _unrecording(found, arn, seen.region)
    record = RecordDataEvents(arn, seen.region, seen.partition)
    what = "record every read and write of objects in all buckets, at CloudTrail's price"
    yield Change(subject, "data events", what, ("S3.22", "S3.23"), record, undo)


def _unrecording(found: SeenTrail | None, arn: str, region: str) -> str | None:
    """Return the command line that undoes `RecordDataEvents`.

    It restores a trail's old selectors.
    """
    undo = []
    if found is None or not found.is_logging:
        undo.append(aws("cloudtrail", "stop_logging", region, Name=arn))
    if found is not None and found.selectors:
        before = {"TrailName": arn, **found.selectors}
        undo.append(aws("cloudtrail", "put_event_selectors", region, **before))
    return " && ".join(undo) or None


def _of_replica(seen: Seen, wanted: Wanted) -> Iterator[Change]:
    """Yield the changes of the bucket for the replicas, of the role, and of the rule."""
    if wanted.replica is None:
        return
    now = seen.replica or Configuration(wanted.replica_bucket, wanted.replica)
    if now.region != wanted.replica:
        raise ConfigError(f"s3://{now.bucket} is in {now.region}, not in {wanted.replica}.")
    key = seen.replica_key.arn if seen.replica_key else wanted.alias
    there = replace(seen, key=seen.replica_key, default_key=None)
    held = _held_beside(there, seen.replica)
    yield from _of_policy(now, (), seen.partition)
    yield from _of_access(now, held)
    # Replication needs versioning in both buckets.
    yield from _of_versioning(now)
    yield from _of_encryption(there, wanted, now, held)
    yield from _of_lifecycle(now)
    here = seen.bucket or Configuration(wanted.bucket, seen.region)
    # S3 replicates a bucket with Object Lock only into a bucket with Object Lock.
    if wanted.lock or here.get(ObjectLock).is_enabled:
        yield from _of_lock(now)
    yield from _of_role(seen, wanted, wanted.replica, key)
    before = here.get(Replication)
    if replication.has_rule(before, seen.partition, now.bucket, key):
        return
    role = seen.role.arn if seen.role else wanted.role_arn(seen.partition, seen.account)
    after = replication.with_rule(before, seen.partition, role, now.bucket, key)
    ended = [str(rule.get("ID")) for rule in before.enabled if rule not in after.rules]
    what = f"replicate new objects to s3://{now.bucket}"
    if ended:
        what = f"{what}, and end the replication by {', '.join(ended)}"
    yield from _write(here, before, after, "replication", what)


def _of_role(seen: Seen, wanted: Wanted, region: str, replica_key: str) -> Iterator[Change]:
    name, subject = wanted.role_name, f"role {wanted.role_name}"
    if seen.role is None:
        undo = aws("iam", "delete_role", seen.region, RoleName=name)
        create = CreateRole(name, replication.trust(), wanted.bucket)
        yield Change(
            subject, "role", "create the role that S3 uses for replication", (), create, undo
        )
    elif not seen.role.is_ours:
        raise ConfigError(
            f"The role {name} exists, but s3crypt did not make it for s3://{wanted.bucket}. "
            "Nothing was changed.",
            hint="Delete the role if it is not needed, and run the command again.",
        )
    elif seen.role.trust.meaning != replication.trust().meaning:
        text = replication.trust().render(indent=None)
        arguments = {"RoleName": name, "PolicyDocument": text}
        restoring = aws("iam", "update_assume_role_policy", seen.region, **arguments)
        raise ConfigError(
            f"The trust policy of the role {name} was changed since s3crypt made it: principals "
            "other than S3 may be able to assume the role. Nothing was changed.",
            hint=f"Find out who changed it, and restore it: {restoring}",
        )
    key = _source_key(seen)
    policy = replication.permissions(
        seen.partition,
        source=(wanted.bucket, seen.region, key.arn if key else wanted.alias),
        target=(wanted.replica_bucket, region, replica_key),
    )
    found = seen.role.policy if seen.role else None
    if found is None or found.meaning != policy.meaning:
        names = {"RoleName": name, "PolicyName": replication.POLICY}
        undo = aws("iam", "delete_role_policy", seen.region, **names)
        if found is not None:
            text = found.render(indent=None)
            undo = aws("iam", "put_role_policy", seen.region, **names, PolicyDocument=text)
        what = "let the role read this bucket and write replicas"
        yield Change(subject, "policy", what, (), WriteRolePolicy(name, policy), undo)


def _remarks_of_keys(seen: Seen, changes: tuple[Change, ...]) -> Iterator[str]:
    """Yield a remark for each existing bucket whose new default key some principals cannot use."""
    there = {each.bucket: each for each in (seen.bucket, seen.replica) if each is not None}
    for act in (change.act for change in changes):
        if not isinstance(act, WriteSetting) or not isinstance(act.setting, Encryption):
            continue
        before = there.get(act.bucket)
        if before is not None and act.setting.key != before.get(Encryption).key:
            yield (
                f"s3://{act.bucket}: principals of the account that may not use the new default "
                "key (kms:GenerateDataKey, kms:Decrypt) can no longer put objects without naming "
                "an encryption, and cannot get objects that are put from now on."
            )


def _remarks(seen: Seen) -> tuple[str, ...]:
    """Return remarks about objects that were not sampled and about obstacles in other buckets."""
    remarks = []
    for bucket, sample in seen.samples.items():
        if not sample.is_whole and not sample.sse_c:
            remarks.append(
                f"s3://{bucket}: only {sample.looked_at} objects were checked. The unchecked "
                "objects may be under customer keys."
            )
    there = replace(seen, default_key=None)
    sides = ((seen.logs, _held_of_logs(seen)), (seen.replica, _held_beside(there, seen.replica)))
    for beside, held in sides:
        if beside is not None and held:
            remarks.append(
                f"s3://{beside.bucket} existed before, and these settings were left as they are: "
                f"{', '.join(sorted(held))}. To see why: s3crypt bucket harden {beside.bucket}"
            )
    if seen.bucket is not None and seen.bucket.get(Versioning).mfa_delete:
        remarks.append(
            "Deleting versions requires MFA, and S3 then accepts no lifecycle rules: incomplete "
            "uploads are not aborted."
        )
    return tuple(remarks)
