# SPDX-License-Identifier: Apache-2.0
"""The audit of the configuration over HTTP: a table per control, its fixes, and bad input."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

import audited
import boto3
import pytest
from audited import Made, carry_out, hiding, refusal
from hardening_samples import new_name, watched

from s3crypt import ObjectNotFoundError
from s3crypt import sandbox as sandboxes
from s3crypt.audit import Auditor
from s3crypt.audit.actions import ACTIONS, OPERATIONS
from s3crypt.audit.controls import CONTROLS
from s3crypt.audit.values import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from relay import Answer, Asked

    from s3crypt.audit.values import Finding

KEY = "arn:aws:kms:us-east-1:123456789012:key/8a1f0c7e-5f6d-4c0b-9f4e-1f2e3d4c5b6a"


@pytest.fixture(scope="module", autouse=True)
def alone() -> Iterator[sandboxes.Running]:
    """Lead this module to a sandbox of its own: an audit of the account sees all that is there."""
    before = dict(os.environ)
    with sandboxes.running() as running:
        os.environ.update(sandboxes.environment(running))
        yield running
        os.environ.clear()
        os.environ.update(before)


# Control -> what makes a resource that passes, and what makes one that fails; then the operation
# that shows it, for S3 the name of its query.
TABLE: dict[str, tuple[Callable[[], Made], Callable[[], Made], str]] = {
    "S3.5": (audited.hardened, audited.bare, "policy"),
    "S3.6": (audited.hardened, audited.administered, "policy"),
    "S3.8": (audited.hardened, audited.bare, "publicAccessBlock"),
    "S3.9": (audited.hardened, audited.bare, "logging"),
    "S3.14": (audited.hardened, audited.bare, "versioning"),
    "S3.15": (partial(audited.hardened, "--lock"), audited.bare, "object-lock"),
    "S3.17": (audited.hardened, audited.bare, "encryption"),
    "S3.20": (audited.with_mfa_delete, audited.bare, "versioning"),
    "KMS.3": (audited.good_key, audited.dying, "DescribeKey"),
    "KMS.4": (audited.good_key, audited.unrotated, "GetKeyRotationStatus"),
    "KMS.5": (audited.good_key, audited.public, "GetKeyPolicy"),
    "S3CRYPT.1": (audited.hardened, audited.bare, "encryption"),
    "S3CRYPT.2": (audited.hardened, audited.without_bucket_key, "encryption"),
    "S3CRYPT.3": (audited.hardened, audited.under_aws_key, "encryption"),
    "S3CRYPT.4": (audited.refusing_other_keys, audited.with_own_key, "policy"),
    "S3CRYPT.5": (audited.hardened, audited.bare, "lifecycle"),
    "S3CRYPT.6": (
        partial(audited.hardened, "--replica", "eu-west-1"),
        audited.dropping,
        "replication",
    ),
    "S3CRYPT.7": (audited.good_key, audited.disabled, "DescribeKey"),
    "S3CRYPT.8": (audited.good_key, audited.dying, "DescribeKey"),
    "S3CRYPT.9": (partial(audited.expiring, 31), partial(audited.expiring, 29), "DescribeKey"),
    "S3CRYPT.10": (audited.good_key, audited.unused, "GetKeyLastUsage"),
    "S3CRYPT.12": (
        partial(audited.granted, Constraints={"EncryptionContextEquals": {"a": "b"}}),
        audited.granted,
        "ListGrants",
    ),
    "S3CRYPT.13": (audited.granted_to_service, audited.granted_to_any_source, "ListGrants"),
    "S3.1": (audited.closed_to_public, audited.open_to_public, "s3control"),
    "S3.22": (partial(audited.recording, "WriteOnly"), audited.without_trail, "DescribeTrails"),
    "S3.23": (
        partial(audited.recording, "ReadOnly"),
        partial(audited.recording, "WriteOnly"),
        "GetEventSelectors",
    ),
    "KMS.1": (
        partial(audited.managed_policy, KEY),
        partial(audited.managed_policy, "*"),
        "GetAccountAuthorizationDetails",
    ),
    "KMS.2": (
        partial(audited.inline_policy, "role", KEY),
        partial(audited.inline_policy, "role", "arn:aws:kms:*:*:key/*"),
        "GetAccountAuthorizationDetails",
    ),
    "CloudTrail.2": (
        partial(audited.with_trail, is_encrypted=True),
        partial(audited.with_trail, is_encrypted=False),
        "DescribeTrails",
    ),
}
OF_ACCOUNT = frozenset({"S3.1", "S3.22", "S3.23", "KMS.1", "KMS.2", "CloudTrail.2"})
# The resources of these are found by listing the account, and stand for it where that is refused.
OF_LISTINGS = frozenset({"KMS.1", "KMS.2", "CloudTrail.2"})


@pytest.fixture
def control(request: pytest.FixtureRequest, alone: sandboxes.Running) -> str:
    """Return a control, for which the account is empty if the whole account is looked at."""
    name = str(request.param)
    if name in OF_ACCOUNT:
        emptied(alone)
    return name


def emptied(running: sandboxes.Running) -> None:
    """Forget all that is in this module's sandbox."""
    sandboxes.reset(running)
    audited.hardened.cache_clear()


def verdicts(made: Made, spoil: Any = None) -> dict[str, list[Finding]]:
    """Return the findings about a resource, where the services answer as it says."""

    def answered(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = spoil(asked, forward) if spoil else forward()
        return made.says(asked, answer) if made.says and answer.status == 200 else answer

    with watched(answered):
        return audited.audited(made)


@pytest.mark.parametrize("control", TABLE, indirect=True)
def test_a_control_passes(control: str) -> None:
    """One finding, which says what was seen."""
    (found,) = verdicts(TABLE[control][0]())[control]
    assert (found.verdict, found.fix) == (Verdict.PASS, None), found
    assert found.seen


@pytest.mark.parametrize("control", TABLE, indirect=True)
def test_a_control_fails_and_its_fix_mends_it(control: str) -> None:
    """The line is executed as it is printed; the next audit passes."""
    made = TABLE[control][1]()
    (found,) = verdicts(made)[control]
    assert found.verdict is Verdict.FAIL, found
    assert (found.fix is not None) == (control not in WITHOUT_FIX), found.seen
    if found.fix is not None:
        carry_out(found.fix.text)
        (mended,) = verdicts(made)[control]
        assert mended.verdict is Verdict.PASS, mended


# Nothing but a person decides these: which keys a policy needs, a device of the root user, a copy
# of imported material, a key for a trail or for replicas, what a key is for.
WITHOUT_FIX = frozenset(
    {"S3.20", "KMS.1", "KMS.2", "CloudTrail.2", "S3CRYPT.6", "S3CRYPT.9", "S3CRYPT.10"}
)


@pytest.mark.parametrize("control", TABLE, indirect=True)
def test_what_may_not_be_seen_is_unknown(control: str) -> None:
    """Of a resource that passes; the missing action is named, and is one that only reads."""
    made, hidden = TABLE[control][0](), TABLE[control][2]
    arn = audited.ROOT if control in OF_LISTINGS else made.arn
    found = verdicts(Made(arn, made.bucket, made.says), hiding(hidden))[control]
    assert {each.verdict for each in found} == {Verdict.UNKNOWN}, found
    (actions,) = {each.missing_actions for each in found}
    assert set(actions) <= set(ACTIONS)
    assert actions


def test_every_control_of_the_configuration_is_in_the_table() -> None:
    """Those beyond are about objects, and the shared key has a test of its own."""
    of_objects = {f"S3CRYPT.{number}" for number in range(14, 23)}
    assert TABLE.keys() | {"S3CRYPT.11"} == CONTROLS.keys() - of_objects


def test_a_key_that_another_account_shares(alone: sandboxes.Running) -> None:
    """It is found by the listing of keys; what only its account may see is unknown."""
    emptied(alone)
    made = audited.shared(alone)
    found = verdicts(made)
    assert [each.verdict for each in found["S3CRYPT.11"]] == [Verdict.FAIL]
    assert [each.verdict for each in found["KMS.5"]] == [Verdict.UNKNOWN]
    assert [each.verdict for each in verdicts(audited.good_key())["S3CRYPT.11"]] == [Verdict.PASS]


@pytest.mark.parametrize("kind", ["role", "user", "group"])
def test_an_inline_policy_is_named(kind: str, alone: sandboxes.Running) -> None:
    """The finding is about the identity, and names the policy."""
    emptied(alone)
    (found,) = verdicts(audited.inline_policy(kind, "*"))["KMS.2"]
    assert (found.verdict, found.cause) == (Verdict.FAIL, "policy:own")


# --- Requests ----------------------------------------------------------------------------------


def test_only_listed_actions_are_used_and_all_of_them_read(alone: sandboxes.Running) -> None:
    """Every request of an audit of the account is one of the table, whose actions only read."""
    emptied(alone)
    audited.recording("All")
    audited.good_key()
    asked: set[str] = set()

    def observe(client: Any) -> None:
        def note(model: Any, **_: Any) -> None:
            asked.add(f"{client.meta.service_model.service_name}:{model.name}")

        client.meta.events.register("before-call", note)

    list(Auditor(observe=observe).configuration([], account=True))
    # A session that is no role's has no role to look up.
    assert asked == OPERATIONS.keys() - {"iam:GetRole"}
    verbs = ("Describe", "Get", "List")
    assert all(action.partition(":")[2].startswith(verbs) for action in ACTIONS)


# --- Bad input ---------------------------------------------------------------------------------


def test_without_any_right_everything_is_unknown() -> None:
    """Each control has a finding, none passes, and the missing actions are named."""

    def refuse(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        is_free = audited.operation_of(asked) == "GetCallerIdentity"
        return forward() if is_free else refusal(asked)

    with watched(refuse):
        found = list(Auditor().configuration([], account=True))
    assert {each.verdict for each in found} == {Verdict.UNKNOWN}
    assert {each.control.id for each in found} == TABLE.keys() | {"S3CRYPT.11"}
    assert all(each.missing_actions for each in found)


def test_with_half_of_the_rights_the_other_half_is_judged() -> None:
    """KMS refuses everything: the bucket is judged, its key is unknown."""
    made = audited.hardened()

    def refuse(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        is_kms = asked.headers.get("x-amz-target", "").startswith("TrentService")
        return refusal(asked) if is_kms else forward()

    with watched(refuse):
        found = list(Auditor().configuration([str(made.bucket)], account=False))
    by_kind = {kind: {e.verdict for e in found if e.resource.kind == kind} for kind in ("key",)}
    assert by_kind == {"key": {Verdict.UNKNOWN}}
    (default,) = [each for each in found if each.control.id == "S3.17"]
    assert default.verdict is Verdict.PASS
    (own,) = [each for each in found if each.control.id == "S3CRYPT.3"]
    assert own.missing_actions == ("kms:DescribeKey",)


def test_throttled_requests_are_repeated() -> None:
    """The verdicts are those of an audit that was not throttled."""
    made = audited.hardened()
    seen: set[str] = set()

    def throttle(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        operation = f"{asked.method} {audited.operation_of(asked)}"
        if operation in seen:
            return forward()
        seen.add(operation)
        code = "Throttling" if "x-amz-target" in asked.headers else "SlowDown"
        return refusal(asked, code, 503)

    calm = list(Auditor().configuration([str(made.bucket)], account=False))
    with watched(throttle):
        found = list(Auditor().configuration([str(made.bucket)], account=False))
    assert len(seen) > 12
    assert sorted(each.id for each in found) == sorted(each.id for each in calm)
    assert {each.verdict for each in found} == {each.verdict for each in calm}


def test_a_bucket_of_another_region_is_asked_there() -> None:
    """Its findings name its Region, and so do their lines."""
    name = new_name()
    there = boto3.client("s3", region_name="eu-west-1")
    where: Any = {"LocationConstraint": "eu-west-1"}
    there.create_bucket(Bucket=name, CreateBucketConfiguration=where)
    found = list(Auditor().configuration([name], account=False))
    assert {each.resource.region for each in found} == {"eu-west-1"}
    (tls,) = [each for each in found if each.control.id == "S3.5"]
    assert tls.fix is not None
    assert tls.fix.text == f"s3crypt bucket harden {name} --region eu-west-1"


def test_a_bucket_of_another_account_is_unknown() -> None:
    """S3 refuses every request that expects another owner; nothing is guessed."""
    name = str(audited.bare().bucket)

    def refuse(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        is_ours = asked.headers.get("x-amz-expected-bucket-owner") in (None, audited.ACCOUNT)
        assert is_ours
        return refusal(asked) if name in asked.target else forward()

    with watched(refuse):
        found = list(Auditor().configuration([name], account=False))
    assert {each.verdict for each in found} == {Verdict.UNKNOWN}


def test_a_bucket_that_is_not_there_is_an_error() -> None:
    """A name that was given has to exist."""
    with pytest.raises(ObjectNotFoundError):
        list(Auditor().configuration([new_name()], account=False))
