# SPDX-License-Identifier: Apache-2.0
"""Change the policies of buckets and keys. The old policy is saved, the new policy is verified.

    from s3crypt.policy import Document
    from s3crypt.policy_changes import PolicyWriter

    writer = PolicyWriter()
    plan = writer.plan(Document.parse(text), "s3://acme")
    for line in plan.lines():
        print(line)
    print(writer.apply(plan).saved)

`s3crypt.policy` has the rules for merging policies and for not locking out the caller.
"""

import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .aws import Clients
from .aws_errors import http_status
from .buckets import policies as bucket_policies
from .caller import Identity, identify
from .errors import (
    ConfigError,
    ConflictError,
    FormatError,
    KeyUnavailableError,
    PolicyError,
    S3CryptError,
    StorageError,
)
from .kms.policies import KeyPolicies
from .kms.service import KMS
from .local.files import hint_for
from .location import Location
from .policy import Document, Kind, Statement, check_size, check_writable
from .policy.lockout import Judgement, Subject, judge, of_account
from .policy.merging import NO_POLICY, Difference, Merged, merge, name_of, replacement
from .requests import is_unsure

if TYPE_CHECKING:
    import boto3
    from types_boto3_iam.client import IAMClient
    from types_boto3_kms.client import KMSClient
    from types_boto3_s3.client import S3Client
    from types_boto3_sts.client import STSClient

# According to KMS's documentation, a new policy usually takes effect everywhere within seconds, but
# this may take minutes. The policy is read again after these numbers of seconds.
# https://docs.aws.amazon.com/kms/latest/developerguide/accessing-kms.html#programming-eventual-consistency
_SETTLING_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4)
_OWNER_ALONE = 0o600


@dataclass(frozen=True, slots=True)
class Target:
    """The bucket or the key whose policy is changed.

    Attributes:
        kind: Whether it is the policy of a bucket or of a key.
        id: The name of the bucket, or the ARN of the key.
    """

    kind: Kind
    id: str

    def __str__(self) -> str:
        return f"s3://{self.id}" if self.kind is Kind.BUCKET else self.id


@dataclass(frozen=True, slots=True)
class Plan:
    """A planned change of a policy. It has not been made yet.

    Attributes:
        target: The bucket or the key.
        before: The text of the current policy as the service sent it. None if there is no policy.
        merged: The current policy, the merged policy, and the differences between them.
        identity: The caller that would make the change.
        judgement: Whether the caller keeps control of the policy. If the whole policy of a key is
            replaced, also whether the key's account keeps control.
        is_whole: Whether the wanted policy replaces the whole current policy.
    """

    target: Target
    before: str | None
    merged: Merged
    identity: Identity
    judgement: Judgement
    is_whole: bool = False

    @property
    def changes(self) -> bool:
        """Whether the policy would change."""
        return self.merged.changes

    @property
    def differences(self) -> tuple[Difference, ...]:
        """The statements that would change."""
        return self.merged.differences

    def lines(self) -> Iterator[str]:
        """Yield the differences as lines for people.

        `-` marks removed lines, and `+` marks added lines.
        """
        merged = self.merged
        if merged.changes_version and merged.current is not None:
            old, new = merged.current.version, merged.document.version
            yield f"Version {old or 'absent'} becomes {new or 'absent'}"
        for each in merged.differences:
            yield f"{each.sid} {_HEADS[each.change.value]}:"
            yield from (f"  {line}" for line in each.lines())

    def check(self) -> None:
        """Refuse a change after which the caller would, or might, lose control of the policy.

        Raises:
            PolicyError: The message names the statement and the action.
        """
        if self.changes and self.judgement.refusals:
            raise PolicyError(
                f"{self.target}: nothing was written: {'; '.join(self.judgement.refusals)}.",
                hint=self.judgement.hint,
            )


_HEADS = {
    "added": "is added",
    "changed": "changes; the lines with - are the earlier text",
    "removed": "is removed",
}


@dataclass(frozen=True, slots=True)
class Applied:
    """A change that was made, and verified by reading the policy back.

    Attributes:
        plan: The plan that was carried out.
        saved: The file with the policy before the change. None if no change was needed. If there
            was no policy, the file contains a policy without statements.
    """

    plan: Plan
    saved: Path | None

    @property
    def before(self) -> Document:
        """The policy to pass to `PolicyWriter.plan` to undo the change."""
        return self.plan.merged.current or NO_POLICY

    @property
    def undo(self) -> str | None:
        """The command line that undoes the change. None if nothing was written."""
        if self.saved is None:
            return None
        file, target = shlex.quote(str(self.saved)), self.plan.target
        if self.plan.is_whole:
            return f"s3crypt keys policy set {target} {file}"
        return f"s3crypt policy apply {file} {target}"


class PolicyWriter:
    """Changes the statements with Sids that begin with `S3crypt` in policies of buckets and keys.

    Args:
        session: The boto3 session that creates the clients. None for boto3's default session.
        allow_plain_http: Allow requests to other machines over plain HTTP.

    Raises from every method:
        ConfigError: An argument is wrong.
        PolicyError: The change is refused. Nothing was written.
        StorageError: S3, STS or the local file system refused or failed.
        KeyUnavailableError: KMS refused.
    """

    def __init__(
        self,
        *,
        session: "boto3.Session | None" = None,
        allow_plain_http: bool = False,
    ) -> None:
        how: Any = {"session": session, "allow_plain_http": allow_plain_http}
        self._s3: Clients[S3Client] = Clients("s3", **how)
        self._sts: Clients[STSClient] = Clients("sts", **how)
        self._iam: Clients[IAMClient] = Clients("iam", **how)
        kms: Clients[KMSClient] = Clients("kms", **how)
        self._keys = KeyPolicies(KMS(kms))

    def plan(self, wanted: Document, target: str) -> Plan:
        """Return the change with which the target's policy gets the statements of `wanted`.

        Nothing is changed. `target` is `s3://BUCKET`, or the id, the ARN or `alias/NAME` of a key.

        Raises:
            ConfigError: One of s3crypt's statements in `wanted` is not for this target: it has no
                principal, no action of the target's service, or a resource of another bucket.
        """
        kind, name = _parsed(target)
        check_size(wanted, kind)
        return self._planned(wanted, kind, name, is_whole=False)

    def plan_whole(self, wanted: Document, key: str) -> Plan:
        """Return the change that replaces the whole policy of a key by `wanted`.

        Nothing is changed. If the caller or the key's account would lose control of the policy,
        `apply` refuses the plan.

        Raises:
            ConfigError: KMS would not accept the document, or it is not the policy of a key.
        """
        check_writable(wanted, Kind.KEY)
        return self._planned(wanted, Kind.KEY, key, is_whole=True)

    def _planned(self, wanted: Document, kind: Kind, name: str, *, is_whole: bool) -> Plan:
        identity = identify(self._sts, self._iam)
        where = Target(kind, name if kind is Kind.BUCKET else self._keys.resolve(name))
        _check_account(where, identity)
        before = self._read(where)
        _check_fits(wanted, kind, name, is_whole=is_whole)
        current = None if before is None else _parse(before, where)
        merged = replacement(current, wanted) if is_whole else merge(current, wanted)
        if merged.document.statements:
            check_size(merged.document, kind)
        judgement = _judged(where, merged, identity)
        if is_whole:
            judgement = _with_account(judgement, where, merged)
        return Plan(where, before, merged, identity, judgement, is_whole)

    def apply(self, plan: Plan, *, folder: str | Path = ".") -> Applied:
        """Make a planned change: save the current policy, write the new policy, and read it back.

        The current policy is saved in a new file in `folder`. Only its owner can read the file. If
        an error or an interrupt occurs after that, it has a note with the name of the file.

        Raises:
            ConflictError: The policy has changed since the plan was made, and nothing was written.
                Or the policy that was read back is not the policy that was written.
        """
        plan.check()
        if not plan.changes:
            return Applied(plan, None)
        saved = _save(plan, Path(folder))
        applied = Applied(plan, saved)
        unchanged = f"{plan.target}: its policy was not changed; {saved} is a copy"
        restore = f"restore the earlier policy with `{applied.undo}`"
        with _noting(unchanged):
            self._check_unchanged(plan)
        with _noting(f"{plan.target}: its policy may be changed; {restore}", unchanged):
            self._write(plan.target, plan.merged.document)
        with _noting(f"{plan.target}: its policy was written; {restore}"):
            self._read_back(plan)
        return applied

    def _read(self, target: Target) -> str | None:
        if target.kind is Kind.BUCKET:
            return bucket_policies.read_text(self._s3.get(), target.id)
        return self._keys.read_text(target.id)

    def _write(self, target: Target, document: Document) -> None:
        if target.kind is Kind.KEY:
            self._keys.write(target.id, document)
        elif document.statements:
            bucket_policies.write(self._s3.get(), target.id, document)
        else:
            bucket_policies.delete(self._s3.get(), target.id)

    def _check_unchanged(self, plan: Plan) -> None:
        now = self._read(plan.target)
        if _meaning(now, plan.target) != _meaning(plan.before, plan.target):
            raise ConflictError(
                f"{plan.target}: another writer changed its policy meanwhile; nothing was written.",
                hint="Run the command again, and check the difference.",
            )

    def _read_back(self, plan: Plan) -> None:
        """Read the policy repeatedly until it is the policy that was written.

        If it is neither the previous policy nor the written policy, another writer has changed it.
        """
        target, written = plan.target, plan.merged.document
        expected = (written.meaning, written.id) if written.statements else None
        before = _meaning(plan.before, target)
        for seconds in (*_SETTLING_SECONDS, None):
            found = _meaning(self._read(target), target)
            if found == expected:
                return
            if found != before:
                raise ConflictError(
                    f"{target}: its policy differs from the written one: another writer changed "
                    "it, or the service did not keep it.",
                    hint="Check the policy before you run the command again.",
                )
            if seconds is not None:
                time.sleep(seconds)
        raise StorageError(
            f"{target}: its policy is still the earlier one, {sum(_SETTLING_SECONDS):.0f} s after "
            "the write.",
            hint="Check the policy again before you repeat the command.",
        )


def _check_fits(wanted: Document, kind: Kind, name: str, *, is_whole: bool) -> None:
    """Refuse statements for another kind of policy or for another bucket."""
    service, word = ("s3", "bucket") if kind is Kind.BUCKET else ("kms", "key")
    for each in wanted.statements:
        if not (each.is_ours or is_whole):
            continue
        if not (each.principals or each.not_principals) or not _is_about(each, service):
            raise ConfigError(
                f"The policy is not the policy of a {word}: see its statement "
                f"{name_of(each, wanted)}.",
                hint=f"Print the right policy: s3crypt policy {word} BUCKET",
            )
        named = (text.partition(":::")[2].partition("/")[0] for text in each.resources or ())
        buckets = {bucket for bucket in named if bucket and not set("*?$") & set(bucket)}
        if kind is Kind.BUCKET and buckets and name not in buckets:
            raise ConfigError(
                f"The policy is for the bucket {min(buckets)}, not for {name}.",
                hint=f"Print the right policy: s3crypt policy bucket {name}",
            )


def _is_about(statement: Statement, service: str) -> bool:
    actions = statement.actions or statement.not_actions or ()
    return any(action == "*" or action.lower().startswith(f"{service}:") for action in actions)


def _parsed(target: str) -> tuple[Kind, str]:
    """Return the kind of a target, and the bucket's name or the name that was given for the key."""
    if "://" not in target:
        return Kind.KEY, target
    location = Location.parse(target)
    if location.name:
        raise ConfigError(
            f"{target} names an object, which has no policy.", hint=f"s3://{location.bucket}"
        )
    if location.bucket.startswith("arn:"):
        raise ConfigError(
            f"{target} names an access point.",
            hint="Name the bucket of the access point: s3://BUCKET",
        )
    return Kind.BUCKET, location.bucket


def _check_account(target: Target, identity: Identity) -> None:
    """Refuse a key of another account, because KMS shows policies only within the key's account.

    https://docs.aws.amazon.com/kms/latest/APIReference/API_GetKeyPolicy.html
    """
    account = target.id.split(":")[4] if target.kind is Kind.KEY else identity.caller.account
    if account != identity.caller.account:
        raise KeyUnavailableError(
            f"{target} belongs to account {account}, but the caller to {identity.caller.account}.",
            hint="Only identities of the key's own account may read or write its policy.",
        )


def _parse(text: str, target: Target) -> Document:
    try:
        return Document.parse(text)
    except ConfigError as error:
        raise FormatError(
            f"{target}: its policy is not understood: {error}",
            hint="Read and change the policy with the AWS command.",
        ) from error


def _meaning(text: str | None, target: Target) -> object:
    """Return a value that is equal for two policies with the same meaning.

    It is None both for no policy and for a policy without statements, because the version of such a
    policy has no effect.
    """
    if text is None:
        return None
    document = _parse(text, target)
    return (document.meaning, document.id) if document.statements else None


def _judged(target: Target, merged: Merged, identity: Identity) -> Judgement:
    resource = target.id
    if target.kind is Kind.BUCKET:
        resource = f"arn:{identity.arn.split(':')[1]}:s3:::{target.id}"
    subject = Subject(
        target.kind,
        resource,
        str(identity.caller.account),
        identity.caller,
        has_known_path=identity.has_known_path,
    )
    return judge(merged, subject)


def _with_account(judgement: Judgement, target: Target, merged: Merged) -> Judgement:
    """Return a judgement extended by whether the key's account would lose control of the policy."""
    more = judge(merged, of_account(target.id))
    new = tuple(each for each in more.refusals if each not in judgement.refusals)
    hint = judgement.hint or (_ACCOUNT_HINT if new else None)
    return Judgement((*judgement.refusals, *new), judgement.not_understood, hint)


_ACCOUNT_HINT = (
    "Keep an Allow of kms:* for the account's root: without it nobody can administer the key once "
    "the principals in the policy are gone."
)


def _save(plan: Plan, folder: Path) -> Path:
    """Write the current policy to a new file that only its owner can read. Return its path."""
    text = NO_POLICY.render() if plan.before is None else plan.before
    name = plan.target.id.rpartition("/")[2]
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    path = folder / f"{name}-policy-{moment}.json"
    try:
        # With O_EXCL, an existing file is never overwritten.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ALONE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{text}\n")
    except OSError as error:
        raise StorageError(
            f"{path}: {error.strerror}; nothing was written to {plan.target}.",
            hint=hint_for(error),
        ) from error
    return path


@contextmanager
def _noting(note: str, if_refused: str | None = None) -> Iterator[None]:
    """Add a note to any error or interrupt in the block.

    If the service refused the request, the note is `if_refused`, because a refused request had no
    effect. If the reply to an earlier attempt was lost, there may have been an effect, so the note
    is `note`.
    """
    try:
        yield
    except BaseException as error:
        status = http_status(error) if isinstance(error, S3CryptError) else 0
        was_refused = 400 <= status < 500 and not is_unsure(error)
        error.add_note(if_refused if if_refused and was_refused else note)
        raise
