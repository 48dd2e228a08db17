# SPDX-License-Identifier: Apache-2.0
"""Policy evaluation: which policies must allow, when a Deny applies, and unknown parts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from policy_samples import (
    ANYBODY,
    AWAY,
    BUCKET,
    CALLERS,
    FOREIGN_ROOT,
    GUEST,
    HOME,
    KEY,
    LOGS,
    OBJECT,
    ROOT,
    USER,
    WRITER,
    ask,
    doc,
)

from s3crypt.errors import ConfigError
from s3crypt.policy import Caller, Document, Policies, Request, Verdict, decide

YES, NO, UNCLEAR = Verdict.ALLOWED, Verdict.DENIED, Verdict.NOT_UNDERSTOOD
ALLOW = doc({})
DENY = doc({"Effect": "Deny"})
ODD = {"Condition": {"BinaryEquals": {"aws:x": "a"}}}

EVERYONE = doc({"Principal": "*"})
FOR_GUEST = doc({"Principal": {"AWS": GUEST.arn}})
DEFAULT_KEY = doc({"Principal": {"AWS": f"arn:aws:iam::{HOME}:root"}, "Action": "kms:*"})


def verdict(policies: Policies, caller: Caller, action: str, resource: str) -> Verdict:
    """Return the verdict on one request of this caller."""
    return ask(policies, caller, action, resource).verdict


NOT_GUEST = "writer user root logs anybody"
# For each principal of a bucket policy: the callers that may read an object, first if the callers
# have no policies of their own, then if their own policies allow everything.
OF_BUCKETS: dict[str, tuple[Any, str, str]] = {
    "no policy": (None, "root", "writer user root"),
    "everyone": ("*", f"{NOT_GUEST} foreign", f"{NOT_GUEST} foreign guest"),
    "everyone of AWS": ({"AWS": "*"}, f"{NOT_GUEST} foreign", f"{NOT_GUEST} foreign guest"),
    "the writer": ({"AWS": WRITER.arn}, "writer root", "writer user root"),
    "the account": ({"AWS": HOME}, "root", "writer user root"),
    "the account's root": ({"AWS": f"arn:aws:iam::{HOME}:root"}, "root", "writer user root"),
    "the guest": ({"AWS": GUEST.arn}, "root", "writer user root guest"),
    "the guest's account": ({"AWS": AWAY}, "root foreign", "writer user root guest foreign"),
    "the service": ({"Service": LOGS.arn}, "root logs", "writer user root logs"),
    "another service": ({"Service": "s3.amazonaws.com"}, "root", "writer user root"),
}  # fmt: skip
# The same for principals of a key policy. The account's IAM policies count only if the key policy
# allows the account.
OF_KEYS: dict[str, tuple[Any, str, str]] = {
    "everyone": ("*", "writer user root logs foreign", "writer user root guest foreign logs"),
    "the writer": ({"AWS": WRITER.arn}, "writer", "writer"),
    "the account": ({"AWS": HOME}, "root", "writer user root"),
    "the guest": ({"AWS": GUEST.arn}, "", "guest"),
    "the guest's account": ({"AWS": AWAY}, "foreign", "guest foreign"),
    "the service": ({"Service": LOGS.arn}, "logs", "logs"),
}
NAMES = {
    "writer": WRITER,
    "user": USER,
    "root": ROOT,
    "guest": GUEST,
    "foreign": FOREIGN_ROOT,
    "logs": LOGS,
    "anybody": ANYBODY,
}


def who_may(policies: Policies, action: str, resource: str) -> set[str]:
    """Return the names of the callers that may make a request."""
    return {
        name for name, caller in NAMES.items() if verdict(policies, caller, action, resource) is YES
    }


@pytest.mark.parametrize("name", OF_BUCKETS)
def test_who_may_read_an_object(name: str) -> None:
    """A caller of the bucket's account needs an Allow in one policy, the caller's or the bucket's.

    A caller of another account needs an Allow in both policies.
    """
    principal, alone, both = OF_BUCKETS[name]
    bucket = doc({"Principal": principal}) if principal else None
    assert who_may(Policies(bucket=bucket), "s3:GetObject", OBJECT) == set(alone.split())
    assert who_may(Policies((ALLOW,), bucket), "s3:GetObject", OBJECT) == set(both.split())


@pytest.mark.parametrize("name", OF_KEYS)
def test_who_may_use_a_key(name: str) -> None:
    """A caller may use a key only if the key policy allows it; anonymous requests are refused."""
    principal, alone, both = OF_KEYS[name]
    key = doc({"Principal": principal})
    assert who_may(Policies(key=key), "kms:Decrypt", KEY) == set(alone.split())
    assert who_may(Policies((ALLOW,), key=key), "kms:Decrypt", KEY) == set(both.split())


@pytest.mark.parametrize(
    ("caller", "principal"),
    [
        *((caller, "*") for caller in CALLERS),
        *((caller, {"AWS": caller.account}) for caller in CALLERS if caller.account),
        (LOGS, {"Service": LOGS.arn}),
    ],
)
def test_a_deny_of_the_bucket_wins(caller: Caller, principal: Any) -> None:
    """A Deny of the bucket policy overrides every Allow, also for the root user."""
    bucket = doc({"Principal": "*"}, {"Sid": "No", "Effect": "Deny", "Principal": principal})
    found = ask(Policies((ALLOW,), bucket), caller)
    assert (found.verdict, found.statements) == (NO, ("bucket policy: No",))


def test_a_deny_of_the_callers_policies_wins() -> None:
    """A Deny in the caller's own policies overrides an Allow of the bucket or the key."""
    policies = Policies((DENY,), EVERYONE, doc({"Principal": {"AWS": WRITER.arn}}))
    for action, resource in (("s3:GetObject", OBJECT), ("kms:Decrypt", KEY)):
        found = ask(policies, WRITER, action, resource)
        assert (found.verdict, found.statements) == (NO, ("identity policy: statement 1",))


@pytest.mark.parametrize("action", ["Get", "Put", "Delete"])
def test_the_root_user_can_always_mend_the_policy(action: str) -> None:
    """Despite a Deny, the root user can read and change the policies of its buckets.

    The root user cannot change the ACL, and other callers can change neither.
    """
    policies = Policies((ALLOW,), doc({"Principal": "*"}, {"Effect": "Deny", "Principal": "*"}))
    assert who_may(policies, f"s3:{action}BucketPolicy", BUCKET) == {"root"}
    assert who_may(policies, f"s3:{action}BucketAcl", BUCKET) == set()


def test_the_decision_names_its_statements() -> None:
    """A decision lists the statements that allow the request, by document and Sid or number."""
    first, second = doc({"Sid": "One"}), doc({"Action": "s3:Put*"}, {})
    found = ask(Policies((first, second), key=DEFAULT_KEY), WRITER, "kms:Decrypt", KEY)
    assert found.statements == (
        "identity policy 1: One",
        "identity policy 2: statement 2",
        "key policy: statement 1",
    )
    assert ask(Policies((first,), EVERYONE)).statements == (
        "identity policy: One",
        "bucket policy: statement 1",
    )


OF_CALLER, OF_BUCKET = "the caller's policies", "the bucket policy"
OF_KEY, OF_ACCOUNT = "the key policy", "the key policy for the caller's account"
OF_ROOT = "the account of the root user"


@pytest.mark.parametrize(
    ("policies", "caller", "resource", "sides"),
    [
        (Policies(), WRITER, OBJECT, None),
        (Policies((ALLOW,)), GUEST, OBJECT, (OF_CALLER, OF_BUCKET)),
        (Policies(bucket=EVERYONE), GUEST, OBJECT, (OF_BUCKET, OF_CALLER)),
        (Policies((ALLOW,), key=FOR_GUEST), WRITER, KEY, (OF_CALLER, OF_ACCOUNT)),
        (Policies(key=FOR_GUEST), GUEST, KEY, (OF_KEY, OF_CALLER)),
        (Policies(key=DEFAULT_KEY), WRITER, KEY, (OF_ACCOUNT, OF_CALLER)),
        (Policies(key=FOR_GUEST), ROOT, KEY, (OF_ROOT, OF_ACCOUNT)),
    ],
)
def test_what_is_missing_is_said(
    policies: Policies, caller: Caller, resource: str, sides: tuple[str, str] | None
) -> None:
    """If only one of two policies allows the request, the reason names both."""
    action = "kms:Decrypt" if resource == KEY else "s3:GetObject"
    found = ask(policies, caller, action, resource)
    reason = (
        f"It is allowed by {sides[0]}, but not by {sides[1]}."
        if sides
        else "No statement allows it."
    )
    assert (found.verdict, found.statements, found.reason) == (NO, (), reason)


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        (Policies((doc(ODD),)), UNCLEAR),
        (Policies((ALLOW, doc({"Effect": "Deny", **ODD}))), UNCLEAR),
        (Policies((doc({"Effect": "Deny", **ODD}),)), NO),
        (Policies((DENY, doc(ODD))), NO),
        (Policies((ALLOW, doc(ODD))), YES),
        (Policies((ALLOW, doc({"Effect": "Deny", "Action": "s3:Put*", **ODD}))), YES),
        (Policies((ALLOW, doc({"Effect": "Deny", "Resource": f"{BUCKET}/x", **ODD}))), YES),
        (Policies((ALLOW, doc({"Effect": "Deny", "Comment": 1, "Action": "s3:Put*"}))), UNCLEAR),
        (Policies((ALLOW,), doc({"Effect": "Deny", "NotPrincipal": {"AWS": HOME}})), UNCLEAR),
        (Policies((ALLOW,), doc({"Effect": "Deny", "NotPrincipal": "*", "Action": "s3:P*"})), YES),
        (Policies((ALLOW,), doc({"NotPrincipal": {"AWS": HOME}})), YES),
        (Policies((), doc({"NotPrincipal": {"AWS": HOME}})), UNCLEAR),
        (Policies((ALLOW,), doc({"Effect": "Deny", "Principal": {"AWS": "AROAEXAMPLE"}})), UNCLEAR),
        (Policies((ALLOW,), doc({"Effect": "Deny", "Principal": {"CanonicalUser": "a"}})), UNCLEAR),
        (Policies((ALLOW,), doc({"Effect": "Deny"})), UNCLEAR),
        (Policies((ALLOW, doc({"Principal": "*", "Effect": "Deny"}))), UNCLEAR),
        (Policies((ALLOW, doc({"Effect": "Deny"}, version="2030-01-01"))), UNCLEAR),
    ],
)  # fmt: skip
def test_what_is_not_understood_counts_where_it_could_decide(
    policies: Policies, expected: Verdict
) -> None:
    """A statement that is not understood makes the verdict unknown only if it could decide."""
    found = ask(policies)
    assert found.verdict is expected
    assert expected is not UNCLEAR or (found.statements and "ot understood: " in found.reason)


@pytest.mark.parametrize(
    ("principal", "expected"),
    [
        (f"arn:aws:sts::{HOME}:assumed-role/writer/session", UNCLEAR),
        (f"arn:aws:sts::{HOME}:assumed-role/reader/session", NO),
        (f"arn:aws:sts::{AWAY}:assumed-role/writer/session", NO),
        (f"arn:aws:iam::{HOME}:role/writer", NO),
        (f"arn:aws:iam::{HOME}:role/s3crypt/writer", YES),
        (f"arn:aws:iam::{HOME}:role/s3crypt/WRITER", NO),
    ],
)
def test_a_role_is_named_by_its_arn_with_its_path(principal: str, expected: Verdict) -> None:
    """A principal must be the role's ARN with its path; a session of the role gives unknown."""
    assert ask(Policies(bucket=doc({"Principal": {"AWS": principal}}))).verdict is expected


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ({"Action": "S3:getobject"}, YES),
        ({"Action": "s3:Get?bject"}, YES),
        ({"Action": ["s3:Put*", "s3:Get*"]}, YES),
        ({"Action": "s3:Get"}, NO),
        ({"NotAction": "s3:Get*"}, NO),
        ({"NotAction": ["s3:Put*", "kms:*"]}, YES),
        ({"Resource": OBJECT}, YES),
        ({"Resource": OBJECT.upper()}, NO),
        ({"Resource": BUCKET}, NO),
        ({"Resource": f"{BUCKET}*"}, YES),
        ({"Resource": f"{BUCKET}/*/q3.csv"}, YES),
        ({"Resource": "arn:aws:s3:::*"}, YES),
        ({"Resource": "arn:aws:s3:*"}, YES),
        ({"Resource": "arn:*:s3:::acme/*"}, YES),
        ({"Resource": "arn:*:acme/*"}, UNCLEAR),
        ({"Resource": "arn:*csv"}, UNCLEAR),
        ({"Resource": "arn:aws:s?:*"}, YES),
        ({"NotResource": f"{BUCKET}/2026/*"}, NO),
        ({"NotResource": f"{BUCKET}/2025/*"}, YES),
        ({"NotResource": "arn:*:acme/*"}, UNCLEAR),
    ],
)
def test_actions_and_resources(statement: dict[str, Any], expected: Verdict) -> None:
    """Actions match whatever their case, ARNs do not.

    If a wildcard covers several parts of an ARN, the verdict is unknown.
    """
    assert ask(Policies((doc(statement),))).verdict is expected


def test_a_key_needs_its_policy() -> None:
    """Without the key policy, only a Deny in the caller's policies is certain."""
    found = ask(Policies((ALLOW,)), WRITER, "kms:Decrypt", KEY)
    assert found.verdict is UNCLEAR
    assert found.reason == "Not understood: the key's policy, which is not given."
    assert verdict(Policies((DENY,)), WRITER, "kms:Decrypt", KEY) is NO


def test_a_statement_about_a_key_without_a_resource_has_no_effect() -> None:
    """A statement of a key policy without a Resource has no effect, as KMS documents."""
    statement = {"Effect": "Allow", "Principal": "*", "Action": "kms:*"}
    key = Document.parse({"Statement": [statement, {**statement, "Effect": "Deny"}]})
    assert verdict(Policies(key=key), WRITER, "kms:Decrypt", KEY) is NO
    both = Document((*key.statements, *DEFAULT_KEY.statements))
    assert verdict(Policies((ALLOW,), key=both), WRITER, "kms:Decrypt", KEY) is YES


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("kms:ListKeys", "*"),
        ("kms:CreateAlias", f"arn:aws:kms:us-east-1:{HOME}:alias/reports"),
        ("s3:ListAllMyBuckets", "*"),
        ("cloudtrail:LookupEvents", "*"),
    ],
)
def test_some_actions_are_about_no_bucket_and_no_key(action: str, resource: str) -> None:
    """For an action on neither a bucket nor a key, only the caller's own policies decide."""
    policies = Policies((ALLOW,), doc({"Effect": "Deny", "Principal": "*"}), DEFAULT_KEY)
    assert verdict(policies, WRITER, action, resource) is YES
    assert verdict(Policies((), EVERYONE, EVERYONE), WRITER, action, resource) is NO
    assert verdict(policies, ROOT, action, resource) is YES


def test_policies_of_other_services_are_not_known() -> None:
    """The verdict is unknown if a policy that s3crypt does not know could decide."""
    role = f"arn:aws:iam::{HOME}:role/writer"
    assert verdict(Policies((ALLOW,)), GUEST, "sns:Publish", "arn:aws:sns:us-east-1:1:a") is UNCLEAR
    assert verdict(Policies(), GUEST, "sns:Publish", "arn:aws:sns:us-east-1:1:a") is NO
    assert verdict(Policies((ALLOW,)), WRITER, "sts:AssumeRole", role) is UNCLEAR
    assert verdict(Policies((DENY,)), WRITER, "sts:AssumeRole", role) is NO


@pytest.mark.parametrize(
    ("caller", "key", "value"),
    [
        (WRITER, "aws:PrincipalArn", WRITER.arn),
        (WRITER, "aws:PrincipalAccount", HOME),
        (WRITER, "aws:PrincipalType", "AssumedRole"),
        (USER, "aws:PrincipalType", "User"),
        (USER, "aws:username", "ada"),
        (ROOT, "aws:PrincipalType", "Account"),
        (WRITER, "aws:PrincipalIsAWSService", "false"),
        (LOGS, "aws:PrincipalIsAWSService", "true"),
        (LOGS, "aws:PrincipalServiceName", LOGS.arn),
        (ANYBODY, "aws:PrincipalType", "Anonymous"),
        (WRITER, "aws:ResourceAccount", HOME),
        (GUEST, "s3:ResourceAccount", HOME),
        (WRITER, "aws:ViaAWSService", "false"),
    ],
)
def test_keys_that_follow_from_the_request(caller: Caller, key: str, value: str) -> None:
    """Condition keys that follow from the caller and the request need not be given."""
    same, other = {"StringEquals": {key: value}}, {"StringNotEquals": {key: value}}
    bucket = doc(
        {"Principal": "*", "Condition": same},
        {"Effect": "Deny", "Principal": "*", "Condition": other},
    )
    assert ask(Policies((ALLOW,), bucket), caller).verdict is YES


def test_the_callers_account_is_known_to_kms() -> None:
    """In key policies, kms:CallerAccount is the account of the caller."""
    key = doc({"Principal": "*", "Condition": {"StringEquals": {"kms:CallerAccount": HOME}}})
    assert who_may(Policies((ALLOW,), key=key), "kms:Decrypt", KEY) == {"writer", "user", "root"}


@pytest.mark.parametrize("key", ["aws:PrincipalArn", "aws:PrincipalIsAWSService", "aws:username"])
def test_anonymous_callers_have_no_name(key: str) -> None:
    """An anonymous caller has no ARN and no user name in condition keys."""
    bucket = doc({"Principal": "*", "Condition": {"Null": {key: "true"}}})
    assert ask(Policies(bucket=bucket), ANYBODY).verdict is YES


def test_the_caller_decides_its_own_keys() -> None:
    """The caller's own ARN counts, even if the request gives another aws:PrincipalArn."""
    bucket = doc({"Principal": "*", "Condition": {"ArnEquals": {"aws:PrincipalArn": USER.arn}}})
    context = {"aws:PrincipalArn": str(USER.arn)}
    request = Request(WRITER, "s3:GetObject", OBJECT, HOME, context)
    assert decide(request, Policies(bucket=bucket)).verdict is NO


@pytest.mark.parametrize(
    "arguments", [("role",), ("user", "arn"), ("root", None, HOME), ("service",)]
)
def test_a_caller_without_a_name_is_refused(arguments: tuple[Any, ...]) -> None:
    """A caller without the name that its kind needs is refused when it is made."""
    with pytest.raises(ConfigError, match="needs a name"):
        Caller(*arguments)


insecure = st.sampled_from(
    [{}, *({"Bool": {"aws:SecureTransport": value}} for value in ("false", "true"))]
)
statements = st.fixed_dictionaries(
    {
        "Effect": st.sampled_from(["Allow", "Deny"]),
        "Action": st.sampled_from(["s3:*", "s3:GetObject", "s3:PutObject"]),
        "Resource": st.sampled_from(["*", OBJECT, BUCKET]),
        "Principal": st.sampled_from(
            ["*", {"AWS": HOME}, {"AWS": str(WRITER.arn)}, {"AWS": str(GUEST.arn)}]
        ),
        "Condition": insecure,
    }
)
own_policies = st.sampled_from([(), (ALLOW,), (DENY,)])


# On a busy machine, drawing the examples takes long; Hypothesis must not fail because of it.
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(own_policies, st.lists(statements, min_size=2, max_size=4), st.sampled_from(CALLERS))
def test_what_is_not_understood_is_not_guessed(
    own: tuple[Document, ...], theirs: list[dict[str, Any]], caller: Caller
) -> None:
    """A verdict beside a statement that is not understood is never a guess.

    The verdict is unknown, or it is the same with and without this statement.
    """

    def found(*statements: dict[str, Any]) -> Verdict:
        policies = Policies(own, doc(*statements))
        return ask(policies, caller, aws__SecureTransport="true").verdict

    first, *others = theirs
    unclear = found({**first, "Comment": "by hand"}, *others)
    clear = {found(first, *others), found(*others)}
    assert UNCLEAR not in clear
    assert unclear is UNCLEAR or clear == {unclear}
