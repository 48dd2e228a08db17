# SPDX-License-Identifier: Apache-2.0
"""The audit of the configuration over HTTP: a table of the controls, their fixes, and bad input."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import audited
import boto3
import pytest
from audited import Made, carry_out, hiding, refusal
from hardening_samples import new_name, watched
from sandbox_samples import own_sandbox

from s3crypt import ObjectNotFoundError
from s3crypt import sandbox as sandboxes
from s3crypt.audit import Auditor
from s3crypt.audit.actions import ACTIONS, OPERATIONS
from s3crypt.audit.configurations import from_record, to_record
from s3crypt.audit.controls import CONTROLS
from s3crypt.audit.responsibility import DUTIES, fill
from s3crypt.audit.values import Finding, Fix, Resource, Verdict
from s3crypt.hardening import statements
from s3crypt.jobs import Journal
from s3crypt.policy import Document, Scope, bucket_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from relay import Answer, Asked

KEY = "arn:aws:kms:us-east-1:123456789012:key/8a1f0c7e-5f6d-4c0b-9f4e-1f2e3d4c5b6a"


@pytest.fixture(scope="module", autouse=True)
def alone() -> Iterator[sandboxes.Running]:
    """Use a sandbox of this module's own: an audit of the account sees every resource in it."""
    with own_sandbox() as running:
        yield running


# Control -> a function that makes a passing resource, a function that makes a failing resource, and
# the operation whose reply shows the difference. An S3 operation is named by its query.
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
# These controls find their resources by listing the account. If the listing is refused, the finding
# is about the account.
OF_LISTINGS = frozenset({"KMS.1", "KMS.2", "CloudTrail.2"})


@pytest.fixture
def control(request: pytest.FixtureRequest, alone: sandboxes.Running) -> str:
    """Return the id of a control. For a control of the whole account, empty the account first."""
    name = str(request.param)
    if name in OF_ACCOUNT:
        emptied(alone)
    return name


def emptied(running: sandboxes.Running) -> None:
    """Delete all resources in this module's sandbox."""
    sandboxes.reset(running)
    audited.hardened.cache_clear()


def verdicts(made: Made, spoil: Any = None) -> dict[str, list[Finding]]:
    """Return the findings about a resource, with the services' replies changed by `made.says`."""

    def answered(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = spoil(asked, forward) if spoil else forward()
        return made.says(asked, answer) if made.says and answer.status == 200 else answer

    with watched(answered):
        return audited.audited(made)


@pytest.mark.parametrize("control", TABLE, indirect=True)
def test_a_control_passes(control: str) -> None:
    """A passing resource has one finding, with the observed facts and without a fix."""
    (found,) = verdicts(TABLE[control][0]())[control]
    assert (found.verdict, found.fix) == (Verdict.PASS, None), found
    assert found.seen


@pytest.mark.parametrize("control", TABLE, indirect=True)
def test_a_control_fails_and_its_fix_mends_it(control: str) -> None:
    """The printed command of a fix is executed as it is; then the next audit passes."""
    made = TABLE[control][1]()
    (found,) = verdicts(made)[control]
    assert found.verdict is Verdict.FAIL, found
    assert (found.fix is not None) == (control not in WITHOUT_FIX), found.seen
    if found.fix is not None:
        carry_out(found.fix.text)
        (mended,) = verdicts(made)[control]
        assert mended.verdict is Verdict.PASS, mended


def test_a_log_bucket_gets_no_log_of_its_own() -> None:
    """A log bucket gets no fix for logging: otherwise each log bucket would need another one."""
    made = audited.hardened()
    (found,) = verdicts(audited.of_bucket(f"{made.bucket}-logs"))["S3.9"]
    assert (found.verdict, found.fix) == (Verdict.FAIL, None)
    assert "baseline" in found.seen


# Controls that have no fix, because a person must decide: the keys that a policy needs, a device of
# the root user, a copy of imported material, a key for a trail or for replicas, the purpose of a
# key.
WITHOUT_FIX = frozenset(
    {"S3.20", "KMS.1", "KMS.2", "CloudTrail.2", "S3CRYPT.6", "S3CRYPT.9", "S3CRYPT.10"}
)


@pytest.mark.parametrize("control", TABLE, indirect=True)
def test_what_may_not_be_seen_is_unknown(control: str) -> None:
    """If a request that a control needs is refused, the control's verdict is unknown.

    The finding names the missing action. The action only reads.
    """
    made, hidden = TABLE[control][0](), TABLE[control][2]
    arn = audited.ROOT if control in OF_LISTINGS else made.arn
    found = verdicts(Made(arn, made.bucket, made.says), hiding(hidden))[control]
    assert {each.verdict for each in found} == {Verdict.UNKNOWN}, found
    (actions,) = {each.missing_actions for each in found}
    assert set(actions) <= set(ACTIONS)
    assert actions


@pytest.mark.parametrize(
    ("days", "verdict", "seen"),
    [
        ({"created": 400, "used": 89, "tracked": 400}, Verdict.PASS, "The last use was Decrypt"),
        ({"created": 400, "used": 89}, Verdict.PASS, "The last use was Decrypt"),
        ({"created": 400, "used": 91, "tracked": 400}, Verdict.FAIL, "No use since"),
        ({"created": 400, "used": 91}, Verdict.FAIL, "No use since"),
        ({"created": 89, "tracked": 400}, Verdict.PASS, "Too young to be called unused: created"),
        ({"created": 89}, Verdict.PASS, "Too young to be called unused: created"),
        ({"created": 400, "tracked": 89}, Verdict.PASS, "KMS has recorded uses only"),
        ({"created": 91, "tracked": 400}, Verdict.FAIL, "No use since"),
        ({"created": 400, "tracked": 91}, Verdict.FAIL, "No use since"),
        ({"created": 400}, Verdict.UNKNOWN, "does not report since when"),
    ],
)
@pytest.mark.usefixtures("alone")
def test_a_key_is_unused_after_ninety_days(
    days: dict[str, int], verdict: Verdict, seen: str
) -> None:
    """The 90 days count from the last use, or from the day on which KMS began to track use."""
    (found,) = verdicts(audited.used(**days))["S3CRYPT.10"]
    assert found.verdict is verdict
    assert seen in found.seen


def test_every_control_of_the_configuration_is_in_the_table() -> None:
    """The table has every control of the configuration, except the control for shared keys."""
    of_objects = {f"S3CRYPT.{number}" for number in range(14, 23)}
    assert TABLE.keys() | {"S3CRYPT.11"} == CONTROLS.keys() - of_objects


def test_a_key_that_another_account_shares(alone: sandboxes.Running) -> None:
    """S3CRYPT.11 fails for a key of another account.

    KMS.5 is unknown, because that account refuses.
    """
    emptied(alone)
    made = audited.shared(alone)
    found = verdicts(made)
    assert [each.verdict for each in found["S3CRYPT.11"]] == [Verdict.FAIL]
    assert [each.verdict for each in found["KMS.5"]] == [Verdict.UNKNOWN]
    assert [each.verdict for each in verdicts(audited.good_key())["S3CRYPT.11"]] == [Verdict.PASS]


_DATA = [
    {"Field": "eventCategory", "Equals": ["Data"]},
    {"Field": "resources.type", "Equals": ["AWS::S3::Object"]},
]
SELECTORS: dict[str, tuple[list[dict[str, Any]], set[str]]] = {
    "every event": (_DATA, {"S3.22", "S3.23"}),
    "reads and writes": (
        [*_DATA, {"Field": "readOnly", "Equals": ["true", "false"]}],
        {"S3.22", "S3.23"},
    ),
    "writes": ([*_DATA, {"Field": "readOnly", "Equals": ["false"]}], {"S3.22"}),
    "all but reads": ([*_DATA, {"Field": "readOnly", "NotEquals": ["true"]}], set()),
    "all but a bucket": (
        [*_DATA, {"Field": "resources.ARN", "NotStartsWith": ["arn:aws:s3:::acme/"]}],
        set(),
    ),
    "all but a kind": (
        [_DATA[0], {**_DATA[1], "NotEquals": ["AWS::S3::Object"]}],
        set(),
    ),
}


@pytest.mark.parametrize("what", SELECTORS)
def test_a_selector_that_leaves_something_out_does_not_pass(
    what: str, alone: sandboxes.Running
) -> None:
    """A control passes only if the trail's selector includes every event that the control needs.

    Any operator except Equals counts as excluding events.
    """
    emptied(alone)
    made = audited.recording("ReadOnly", "WriteOnly")
    fields, expected = SELECTORS[what]

    def says(asked: Asked, answer: Answer) -> Answer:
        if audited.operation_of(asked) == "GetEventSelectors":
            said = json.loads(answer.body)
            said.pop("EventSelectors", None)
            audited.reply(
                answer,
                json.dumps({**said, "AdvancedEventSelectors": [{"FieldSelectors": fields}]}),
            )
        return answer

    found = verdicts(Made(made.arn, made.bucket, says))
    passed = {name for name in ("S3.22", "S3.23") if found[name][0].verdict is Verdict.PASS}
    assert passed == expected


@pytest.mark.parametrize("kind", ["role", "user", "group"])
def test_an_inline_policy_is_named(kind: str, alone: sandboxes.Running) -> None:
    """The finding about an inline policy has the identity as its resource, and names the policy."""
    emptied(alone)
    (found,) = verdicts(audited.inline_policy(kind, "*"))["KMS.2"]
    assert (found.verdict, found.cause) == (Verdict.FAIL, "policy:own")


# --- Requests ----------------------------------------------------------------------------------


def test_only_listed_actions_are_used_and_all_of_them_read(alone: sandboxes.Running) -> None:
    """An audit of the account sends only the requests in OPERATIONS, whose actions only read."""
    emptied(alone)
    audited.recording("All")
    audited.good_key()
    asked: set[str] = set()

    def observe(client: Any) -> None:
        def note(model: Any, **_: Any) -> None:
            asked.add(f"{client.meta.service_model.service_name}:{model.name}")

        client.meta.events.register("before-call", note)

    list(Auditor(observe=observe).configuration([], account=True))
    # GetRole is called only for a session of a role.
    assert asked == OPERATIONS.keys() - {"iam:GetRole"}
    verbs = ("Describe", "Get", "List")
    assert all(action.partition(":")[2].startswith(verbs) for action in ACTIONS)


# --- Bad input ---------------------------------------------------------------------------------


def test_without_any_right_everything_is_unknown() -> None:
    """Without permissions each control is unknown, and the finding names the missing actions."""

    def refuse(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        is_free = audited.operation_of(asked) == "GetCallerIdentity"
        return forward() if is_free else refusal(asked)

    with watched(refuse):
        found = list(Auditor().configuration([], account=True))
    assert {each.verdict for each in found} == {Verdict.UNKNOWN}
    assert {each.control.id for each in found} == TABLE.keys() | {"S3CRYPT.11"}
    assert all(each.missing_actions for each in found)


def test_with_half_of_the_rights_the_other_half_is_judged() -> None:
    """If KMS refuses every request, the bucket is still judged, and its key is unknown."""
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
    """If services throttle requests, the verdicts are the same as without throttling."""
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
    """If a bucket is in another Region, its findings and fixes name that Region."""
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
    """If S3 refuses every request for a bucket, every verdict about it is unknown."""
    name = str(audited.bare().bucket)

    def refuse(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        is_ours = asked.headers.get("x-amz-expected-bucket-owner") in (None, audited.ACCOUNT)
        assert is_ours
        return refusal(asked) if name in asked.target else forward()

    with watched(refuse):
        found = list(Auditor().configuration([name], account=False))
    assert {each.verdict for each in found} == {Verdict.UNKNOWN}


def test_a_bucket_that_is_not_there_is_an_error() -> None:
    """An audit of a named bucket that does not exist is an error."""
    with pytest.raises(ObjectNotFoundError):
        list(Auditor().configuration([new_name()], account=False))


# --- Resuming ----------------------------------------------------------------------------------

_KILLED = """if True:
    import os, signal, sys
    from s3crypt.audit import Auditor
    from s3crypt.jobs import Journal

    path, *names = sys.argv[1:]
    with Journal.open(path, {"verb": "audit"}) as journal:
        for finding in Auditor().configuration(names, account=False, journal=journal):
            if finding.resource.kind == "key":
                os.kill(os.getpid(), signal.SIGKILL)
"""


def test_an_audit_that_was_killed_goes_on(tmp_path: Path) -> None:
    """A resumed audit has the findings of a complete one, and repeats no request for a bucket."""
    names = [str(audited.of_key(audited.key()).bucket) for _ in range(3)]
    command = [sys.executable, "-c", _KILLED, str(tmp_path / "journal"), *names]
    done = subprocess.run(command, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    whole = list(Auditor().configuration(names, account=False))
    with watched() as relay, Journal.open(tmp_path / "journal", {"verb": "audit"}) as journal:
        resumed = list(Auditor().configuration(names, account=False, journal=journal))
    order = attrgetter("id")
    assert sorted(resumed, key=order) == sorted(whole, key=order)
    asked = [each.target for each in relay.asked if any(name in each.target for name in names)]
    assert asked == []


def test_what_was_unknown_is_looked_at_again(tmp_path: Path) -> None:
    """An unknown verdict in the journal is judged again, with the permissions of the new run."""
    made = audited.good_key()
    path = tmp_path / "journal"
    for hidden, expected in (("GetKeyPolicy", Verdict.UNKNOWN), ("", Verdict.PASS)):
        with watched(hiding(hidden)), Journal.open(path, {"verb": "audit"}) as journal:
            names = [str(made.bucket)]
            found = list(Auditor().configuration(names, account=False, journal=journal))
        (policy,) = [each for each in found if each.control.id == "KMS.5"]
        assert policy.verdict is expected


# --- A Deny is read whole ----------------------------------------------------------------------


def _partly(change: Callable[[dict[str, Any]], None]) -> Document:
    """Return the policy that s3crypt makes, after applying `change` to each statement."""
    document = bucket_policy(Scope.of("acme", key_arns=(KEY,))).to_json()
    for statement in document["Statement"]:
        change(statement)
    return Document.parse(document)


PARTS: dict[str, Callable[[dict[str, Any]], None]] = {
    "a prefix": lambda each: each.update(Resource="arn:aws:s3:::acme/logs/*"),
    "all but a prefix": lambda each: each.update(
        NotResource=str(each.pop("Resource")) and "arn:aws:s3:::acme/logs/*"
    ),
    "one account": lambda each: each.update(Principal={"AWS": audited.ROOT}),
    "all but one account": lambda each: each.update(
        NotPrincipal={"AWS": each.pop("Principal") and audited.ROOT}
    ),
    "a part of the actions": lambda each: each.update(Action="s3:PutObjectAcl"),
    "one network": lambda each: each["Condition"].update(IpAddress={"aws:SourceIp": "10.0.0.0/8"}),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_deny_of_a_part_does_not_pass(part: str) -> None:
    """A Deny of a part of the requests does not pass, neither for TLS nor for other keys."""
    document = _partly(PARTS[part])
    assert not statements.refuses_plain_http(document, "aws", "acme")
    assert not statements.refuses_other_keys(document, "aws", "acme", KEY)


@pytest.mark.parametrize("strict", [False, True])
def test_the_policy_that_s3crypt_makes_passes(strict: bool) -> None:
    """The policy that s3crypt makes passes for TLS and for other keys.

    A wider Deny of other keys passes too.
    """
    document = bucket_policy(Scope.of("acme", key_arns=(KEY,), strict=strict))
    assert statements.refuses_plain_http(document, "aws", "acme")
    assert statements.refuses_other_keys(document, "aws", "acme", KEY)
    wider = _partly(lambda each: each.update(Action="s3:*", Resource="*"))
    assert statements.refuses_other_keys(wider, "aws", "acme", KEY)


OWN = KEY.rpartition("/")[0]
KEYS_LET_THROUGH = {
    "a pattern of own keys": ("StringNotLike", [KEY, f"{OWN}/a*"]),
    "a pattern of one sign": ("ArnNotLike", [KEY, f"{OWN}/?aaaaaaa-*"]),
    "any own key": ("StringNotLike", [f"{OWN}/*"]),
    "a key of another account": (
        "StringNotEquals",
        [KEY, KEY.replace(KEY.split(":")[4], "4" * 12)],
    ),
    "all but one key": ("StringLike", ["*00000000-0000-4000-8000-000000000000"]),
}


@pytest.mark.parametrize("what", KEYS_LET_THROUGH)
def test_a_deny_that_lets_other_keys_through_does_not_pass(what: str) -> None:
    """A Deny does not pass if it exempts keys by a pattern, or a key of another account."""
    operator, values = KEYS_LET_THROUGH[what]
    document = bucket_policy(Scope.of("acme", key_arns=(KEY,))).to_json()
    for statement in document["Statement"]:
        if statement["Sid"] == "S3cryptDenyWrongKey":
            named = {"s3:x-amz-server-side-encryption-aws-kms-key-id": values}
            statement["Condition"] = {operator: named}
    assert not statements.refuses_other_keys(Document.parse(document), "aws", "acme", KEY)


def test_a_second_key_that_is_named_in_full_passes() -> None:
    """A second key that the policy names in full counts as approved."""
    document = bucket_policy(Scope.of("acme", key_arns=(KEY, f"{OWN}/second")))
    assert statements.refuses_other_keys(document, "aws", "acme", KEY)


# --- Records and responsibility ----------------------------------------------------------------


def test_a_record_is_the_finding() -> None:
    """Every field of a finding survives the way through a journal's record."""
    finding = Finding(
        CONTROLS["S3CRYPT.18"],
        Resource("objects", "arn:aws:s3:::acme/*", audited.ACCOUNT, "us-east-1"),
        Verdict.FAIL,
        "2 of 3 objects have no commitment.",
        "suite",
        since=datetime(2026, 11, 1, tzinfo=UTC),
        fix=Fix("command", "s3crypt rotate s3://acme/"),
        count=2,
        looked_at=3,
        sampled_from=0,
        examples=("a", "b"),
        is_claimed=True,
        missing_actions=("s3:GetObject",),
    )
    assert from_record(json.loads(json.dumps(to_record(finding)))) == finding
    plain = Finding(finding.control, finding.resource, Verdict.PASS, "All have commitment.")
    assert from_record(json.loads(json.dumps(to_record(plain)))) == plain


def test_responsibility_is_filled_from_findings() -> None:
    """The verdict of a duty is fail if a control fails, else unknown if a control is unknown.

    A duty without a control has no verdict.
    """
    resource = Resource("bucket", "arn:aws:s3:::acme", audited.ACCOUNT, "us-east-1")
    found = [
        Finding(CONTROLS[control], resource, verdict, "")
        for control, verdict in (
            ("S3.5", Verdict.PASS),
            ("S3.14", Verdict.PASS),
            ("S3.15", Verdict.UNKNOWN),
            ("S3.22", Verdict.UNKNOWN),
            ("S3.23", Verdict.FAIL),
        )
    ]
    rows = {(row.duty.duty, row.duty.mode, row.duty.owner): row.verdict for row in fill(found)}
    assert rows["in transit", "every mode", "you"] is Verdict.PASS
    assert rows["recovery", "every mode", "you"] is Verdict.UNKNOWN
    assert rows["logging", "every mode", "you"] is Verdict.FAIL
    assert rows["physical", "every mode", "AWS"] is None
    named = {control for duty in DUTIES for control in duty.controls}
    assert named <= CONTROLS.keys()
