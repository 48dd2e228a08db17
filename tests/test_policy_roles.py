# SPDX-License-Identifier: Apache-2.0
"""Each generated policy of a role, bucket or key allows and denies the expected requests.

The expectations are tables of requests in the library; `policy check` prints them too. Here each
document alone must also meet its part of the expectations. Each statement is removed and loosened
in every possible way; the tests fail if no expectation notices the change.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from s3crypt.audit.actions import ACTIONS
from s3crypt.errors import ConfigError
from s3crypt.policy import (
    OTHERS,
    Caller,
    Document,
    Documents,
    Expectation,
    Kind,
    Policies,
    Principal,
    Request,
    Role,
    Scope,
    Statement,
    Status,
    Verdict,
    Who,
    bucket_policy,
    check_size,
    decide,
    expectations,
    findings,
    iam_policy,
    judged,
    key_policy,
    not_understood,
    open_key_policy,
    trust_policy,
)
from s3crypt.policy.expectations import ADMINISTRATOR
from s3crypt.policy.merging import merge

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = tuple(
    f"arn:aws:kms:eu-central-1:111122223333:key/{number}" for number in ("1111", "2222", "3333")
)
PLAIN: dict[str, Any] = {"account": "111122223333", "region": "eu-central-1", "bucket": "acme"}
EVERYTHING = Scope(
    **PLAIN,
    key_arns=KEYS[:2],
    client_key_arns=KEYS[2:],
    prefixes=("2026/", "2027/"),
    env="production",
    vpc_endpoints=("vpce-0a1b", "vpce-0c2d"),
    replication_roles=("arn:aws:iam::111122223333:role/replica",),
)
SCOPES = {
    "sse-kms": Scope(**PLAIN, key_arns=KEYS[:1]),
    "strict": Scope(**PLAIN, key_arns=KEYS[:2], strict=True),
    "dsse-kms": Scope(**PLAIN, key_arns=KEYS[:1], mode="dsse-kms"),
    "sse-s3": Scope(**PLAIN, mode="sse-s3"),
    "client": Scope(**PLAIN, key_arns=KEYS[:1], mode="client"),
    "both": Scope(**PLAIN, key_arns=KEYS[:1], client_key_arns=KEYS[:1]),
    "prefixes": Scope(**PLAIN, key_arns=KEYS[:1], prefixes=("2026/q3/",)),
    "endpoints": Scope(**PLAIN, key_arns=KEYS[:1], vpc_endpoints=("vpce-0a1b", "vpce-0c2d")),
    "environment": Scope(**PLAIN, key_arns=KEYS[:1], mode="client", env="dev"),
    "everything": EVERYTHING,
}
# The scopes whose documents are changed: together they contain every form of every statement.
MUTATED = ("dsse-kms", "sse-s3", "both", "everything")
# The options are spread over several scopes, because one option can hide another: an environment,
# for example, already denies anonymous requests.
MUTATED_BUCKETS = ("sse-kms", "strict", "dsse-kms", "sse-s3", "endpoints", "environment")


def people(scope: Scope) -> tuple[Who, ...]:
    """Return all roles and other callers for which the scope has expectations."""
    roles = [role for role in Role if scope.prefixes or role is not Role.OBJECT_AUDITOR]
    return (*roles, OTHERS)


def own_policy(who: Who, scope: Scope) -> Document | None:
    """Return the policy of a role, or None for other callers."""
    return iam_policy(who, scope) if isinstance(who, Role) else None


def unmet(expected: tuple[Expectation, ...], documents: Documents) -> Iterator[str]:
    """Yield a description of each expectation that the documents do not meet."""
    for each, decision in judged(expected, documents):
        if decision.verdict is not each.verdict:
            request = each.request
            yield (
                f"{each.words}: {request.action} {request.resource} {request.context}: "
                f"{decision.verdict}, not {each.verdict}: {decision.statements} {decision.reason}"
            )


def of_part(who: Who, scope: Scope, part: str) -> tuple[Expectation, ...]:
    """Return the expectations that one document meets if the other documents allow everything."""
    return tuple(
        each
        for each in expectations(who, scope)
        if each.verdict is Verdict.ALLOWED or part in each.held_by
    )


def about_key(expected: tuple[Expectation, ...], key: str) -> tuple[Expectation, ...]:
    """Return those of the expectations whose resource is this key."""
    return tuple(each for each in expected if each.request.resource == key)


@pytest.mark.parametrize("name", SCOPES)
def test_all_policies_together_decide_as_expected(name: str) -> None:
    """All policies of a scope together allow or deny each request of each caller as expected."""
    scope = SCOPES[name]
    keys = {arn: key_policy(scope, arn) for arn in scope.all_keys}
    for who in people(scope):
        documents = Documents(own_policy(who, scope), bucket_policy(scope), keys)
        assert not list(unmet(expectations(who, scope), documents)), who


@pytest.mark.parametrize("name", SCOPES)
def test_a_role_s_policy_holds_without_the_others(name: str) -> None:
    """A role's policy alone, under the default key policy of KMS, meets the role's expectations."""
    scope = SCOPES[name]
    for who in people(scope):
        if isinstance(who, Role):
            documents = Documents(iam_policy(who, scope))
            assert not list(unmet(of_part(who, scope, "identity"), documents)), who


@pytest.mark.parametrize("name", SCOPES)
def test_the_bucket_s_policy_holds_without_the_others(name: str) -> None:
    """The bucket policy alone restricts a role whose own policies allow everything."""
    scope = SCOPES[name]
    for who in people(scope):
        documents = Documents(_permissive(who), bucket_policy(scope))
        assert not list(unmet(of_part(who, scope, "bucket"), documents)), who


@pytest.mark.parametrize("name", SCOPES)
def test_the_key_s_policy_holds_without_the_others(name: str) -> None:
    """The key policy alone restricts a role whose own policies allow everything."""
    scope = SCOPES[name]
    for key in scope.all_keys:
        for who in people(scope):
            documents = Documents(_permissive(who), keys={key: key_policy(scope, key)})
            expected = about_key(of_part(who, scope, "key"), key)
            assert not list(unmet(expected, documents)), who


def _permissive(who: Who) -> Document | None:
    return ADMINISTRATOR if isinstance(who, Role) else None


@dataclass(frozen=True, slots=True)
class Mutant:
    """A document with one statement removed or changed.

    Attributes:
        what: A description of the change.
        before: The original statement.
        after: The changed statement, or None if it was removed.
    """

    what: str
    document: Document
    before: Statement
    after: Statement | None

    def about(self, expected: tuple[Expectation, ...]) -> tuple[Expectation, ...]:
        """Return the expectations that can notice the change: those about its actions."""
        actions = [*(self.before.actions or ()), *((self.after and self.after.actions) or ())]
        patterns = [action.lower() for action in actions]
        return tuple(
            each
            for each in expected
            if any(fnmatchcase(each.request.action.lower(), pattern) for pattern in patterns)
        )


@pytest.mark.parametrize("name", MUTATED)
def test_no_statement_of_a_role_can_be_loosened(name: str) -> None:
    """If a statement of a role's policy is removed or loosened, an expectation is not met."""
    scope = SCOPES[name]
    for who in people(scope):
        if isinstance(who, Role):
            expected = of_part(who, scope, "identity")
            survivors = [
                each.what
                for each in mutants(iam_policy(who, scope))
                if not any(unmet(each.about(expected), Documents(each.document)))
            ]
            assert not survivors, who


@pytest.mark.parametrize("name", MUTATED_BUCKETS)
def test_no_statement_of_a_bucket_can_be_loosened(name: str) -> None:
    """If a statement of a bucket policy is removed or loosened, an expectation is not met."""
    scope = SCOPES[name]
    expected = {
        who: tuple(e for e in of_part(who, scope, "bucket") if ":s3:::" in e.request.resource)
        for who in people(scope)
    }
    survivors = [
        each.what
        for each in mutants(bucket_policy(scope))
        if not any(
            any(unmet(each.about(of_who), Documents(_permissive(who), each.document)))
            for who, of_who in expected.items()
        )
    ]
    assert not survivors


@pytest.mark.parametrize("name", [name for name in MUTATED if SCOPES[name].all_keys])
def test_no_statement_of_a_key_can_be_loosened(name: str) -> None:
    """If a statement of a key policy is removed or loosened, an expectation is not met."""
    scope = SCOPES[name]
    for key in {scope.all_keys[0], scope.all_keys[-1]}:
        expected = {
            who: about_key(of_part(who, scope, "key"), key) for who in reversed(people(scope))
        }
        survivors = [
            each.what
            for each in mutants(key_policy(scope, key))
            if not any(
                any(
                    unmet(
                        each.about(of_who), Documents(_permissive(who), keys={key: each.document})
                    )
                )
                for who, of_who in expected.items()
            )
        ]
        assert not survivors


def mutants(document: Document) -> Iterator[Mutant]:
    """Yield the document with one statement removed, and with each change, for every statement."""
    for index, statement in enumerate(document.statements):
        before, after = document.statements[:index], document.statements[index + 1 :]
        yield Mutant(f"{statement.sid} removed", Document((*before, *after)), statement, None)
        for what, changed in _changed(statement):
            whole = Document((*before, changed, *after))
            yield Mutant(f"{statement.sid}: {what}", whole, statement, changed)


def _changed(statement: Statement) -> Iterator[tuple[str, Statement]]:
    actions, resources = statement.actions or (), statement.resources or ()
    for index, action in enumerate(actions):
        rest = (*actions[:index], *actions[index + 1 :])
        if rest:
            yield f"without {action}", replace(statement, actions=rest)
        wider = f"{action.partition(':')[0]}:*"
        if statement.effect == "Allow":
            yield f"{wider} for {action}", replace(statement, actions=(*rest, wider))
        elif action != wider and action.endswith("*"):
            yield f"{action} without *", replace(statement, actions=(*rest, action[:-1]))
    for index, resource in enumerate(resources):
        rest = (*resources[:index], *resources[index + 1 :])
        if rest:
            yield f"without {resource}", replace(statement, resources=rest)
        if statement.effect == "Allow" and resource != "*":
            yield f"* for {resource}", replace(statement, resources=(*rest, "*"))
    if statement.effect == "Allow" and statement.principals:
        yield "for everyone", replace(statement, principals=(Principal("*", "*"),))
    yield from _with_other_conditions(statement)


def _with_other_conditions(statement: Statement) -> Iterator[tuple[str, Statement]]:
    for index, condition in enumerate(statement.conditions):
        before, after = statement.conditions[:index], statement.conditions[index + 1 :]
        told = f"{condition.operator} {condition.key}"
        yield f"without {told}", replace(statement, conditions=(*before, *after))
        values = condition.values
        for number, value in enumerate(values if len(values) > 1 else ()):
            fewer = replace(condition, values=(*values[:number], *values[number + 1 :]))
            changed = replace(statement, conditions=(*before, fewer, *after))
            yield f"{told} without {value}", changed
        if condition.operator.endswith("IfExists"):
            plain = replace(condition, operator=condition.operator.removesuffix("IfExists"))
            changed = replace(statement, conditions=(*before, plain, *after))
            yield f"{told} without IfExists", changed


def every_document(scope: Scope) -> Iterator[tuple[Kind, Document]]:
    """Yield the kind and the document of each policy that is generated for a scope."""
    yield Kind.BUCKET, bucket_policy(scope)
    for arn in scope.all_keys:
        yield Kind.KEY, key_policy(scope, arn)
    for who in people(scope):
        if isinstance(who, Role):
            yield Kind.ROLE, iam_policy(who, scope)
            yield Kind.TRUST, trust_policy(who, scope)
    yield Kind.GROUP, iam_policy(Role.AUDITOR, scope)


@pytest.mark.parametrize("name", SCOPES)
def test_documents_are_ours_and_fit(name: str) -> None:
    """Sids of generated policies are unique, alphanumeric and begin with S3crypt.

    No policy exceeds the size limit of its kind.
    """
    for kind, document in every_document(SCOPES[name]):
        check_size(document, kind)
        sids = [each.sid or "" for each in document.statements]
        assert len(set(sids)) == len(sids)
        assert all(re.fullmatch(r"S3crypt[A-Za-z0-9]+", sid) for sid in sids)
        assert Document.parse(document.render()).meaning == document.meaning


@pytest.mark.parametrize("name", SCOPES)
def test_documents_are_understood(name: str) -> None:
    """The evaluator understands every element of every generated policy."""
    for kind, document in every_document(SCOPES[name]):
        assert not not_understood(document, kind)


@pytest.mark.parametrize("name", SCOPES)
def test_documents_pass_the_controls(name: str) -> None:
    """Every generated policy passes KMS.1, KMS.2 and KMS.5, as an inline and a managed policy."""
    for kind, document in every_document(SCOPES[name]):
        for each in (kind, Kind.MANAGED) if kind is Kind.ROLE else (kind,):
            assert all(found.status is Status.PASSED for found in findings(document, each))


@pytest.mark.parametrize("name", SCOPES)
def test_no_policy_allows_decryption_under_all_keys(name: str) -> None:
    """A generated statement that allows decryption lists only the scope's keys as its resources."""
    scope = SCOPES[name]
    for kind, document in every_document(scope):
        for each in document.statements if kind is Kind.ROLE else ():
            uses = [a for a in each.actions or () if a in {"kms:Decrypt", "kms:ReEncryptFrom"}]
            if each.effect == "Allow" and uses:
                assert set(each.resources or ()) <= set(scope.all_keys)


def test_tls_is_demanded_in_the_spelling_that_auditors_look_for() -> None:
    """The statement that demands TLS has the only spelling that Prowler and Security Hub know."""
    first = bucket_policy(SCOPES["sse-kms"]).to_json()["Statement"][0]
    assert first == {
        "Sid": "S3cryptDenyInsecureTransport",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": ["arn:aws:s3:::acme", "arn:aws:s3:::acme/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def test_a_lenient_policy_does_not_demand_a_header() -> None:
    """A lenient Deny applies only if the request has the header.

    A strict Deny also applies if the request lacks the header.
    """
    for name, is_lenient in (("sse-kms", True), ("strict", False)):
        statements = {each.sid: each for each in bucket_policy(SCOPES[name]).statements}
        for sid in ("S3cryptDenyWrongMode", "S3cryptDenyWrongKey"):
            operators = [each.operator for each in statements[sid].conditions]
            assert ("Null" in operators) == is_lenient


def test_an_auditor_has_no_object_reads_and_an_object_auditor_is_no_auditor() -> None:
    """The auditor cannot read objects; the object auditor can read only the given prefixes."""
    auditor, other = (iam_policy(r, EVERYTHING) for r in (Role.AUDITOR, Role.OBJECT_AUDITOR))
    allowed = [a for s in auditor.statements if s.effect == "Allow" for a in s.actions or ()]
    assert not [action for action in allowed if "Object" in action or action.endswith(":*")]
    resources = {r for s in other.statements for r in s.resources or () if ":s3:" in r}
    assert resources == {
        "arn:aws:s3:::acme/2026/*",
        "arn:aws:s3:::acme/2027/*",
        "arn:aws:s3:::acme",
    }


# Actions that audit, who or doctor can use, and that the auditor's policy omits on purpose. The
# values are the reasons.
NOT_OF_AUDITORS = {
    "s3:GetObject": "An auditor of settings reads no data. Headers of objects are for the role "
    "object-auditor, files of a trail for who may read its bucket: LookupEvents needs neither.",
    "s3:GetObjectVersion": "The same, for the versions that an inventory names.",
    "kms:Decrypt": "It would open data. The doctor tries it by DryRun, for the role that fails.",
}


def actions_in(page: str) -> set[str]:
    """Return the IAM actions that a page of the documentation names."""
    text = (Path(__file__).parent.parent / "docs" / page).read_text()
    found = set(re.findall(r"`([a-z0-9-]+:[A-Z][A-Za-z]+)`", text))
    return {action for action in found if not action.startswith("aws:")}


@pytest.mark.parametrize("name", SCOPES)
def test_an_auditor_may_make_every_request_of_the_evidence(name: str) -> None:
    """The auditor's policy allows each action of audit, who and doctor that is not omitted."""
    pages = {page: actions_in(page) for page in ("audit.md", "who.md", "doctor.md")}
    assert set(ACTIONS) <= pages["audit.md"]
    needed = set().union(*pages.values())
    # Only `who` makes these requests, so they are not in the table of ACTIONS.
    needed |= {"cloudtrail:LookupEvents", "kms:DescribeKey", "s3:ListBucket"}
    allowing = [
        action
        for each in iam_policy(Role.AUDITOR, SCOPES[name]).statements
        if each.effect == "Allow" and each.resources == ("*",) and not each.conditions
        for action in each.actions or ()
    ]
    missing = {
        action for action in needed if not any(fnmatchcase(action, pattern) for pattern in allowing)
    }
    assert missing == NOT_OF_AUDITORS.keys() & needed
    assert not {action for action in ACTIONS if action in NOT_OF_AUDITORS}


def test_an_object_auditor_needs_prefixes() -> None:
    """Without prefixes, the policy and the expectations of an object auditor are refused."""
    for function in (iam_policy, expectations):
        with pytest.raises(ConfigError, match="no prefix is given") as caught:
            function(Role.OBJECT_AUDITOR, SCOPES["sse-kms"])
        assert "prefixes" in str(caught.value.hint)


def test_roles_are_named_as_they_are_made() -> None:
    """A role's default name has the bucket's name and the kind of role. Given ARNs replace it."""
    scope = SCOPES["sse-kms"]
    assert scope.arns_of(Role.WRITER) == ("arn:aws:iam::111122223333:role/s3crypt/acme-writer",)
    arn = "arn:aws:iam::111122223333:role/etl"
    given = Scope(**PLAIN, key_arns=KEYS[:1], role_arns={Role.WRITER: (arn,)})
    assert given.arns_of(Role.WRITER, Role.READER)[0] == arn
    assert arn in key_policy(given).render()
    assert "acme-writer" not in key_policy(given).render()


def test_a_scope_follows_from_a_key() -> None:
    """A scope's account, Region and partition come from the ARN of its first key."""
    arn = "arn:aws-us-gov:kms:us-gov-west-1:444455556666:key/mrk-1"
    scope = Scope.of("acme", key_arns=(arn,))
    assert (scope.partition, scope.region, scope.account) == (
        "aws-us-gov", "us-gov-west-1", "444455556666",
    )  # fmt: skip
    assert scope.bucket_arn == "arn:aws-us-gov:s3:::acme"
    assert scope.root == "arn:aws-us-gov:iam::444455556666:root"


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "bucket": ({"bucket": "Acme"}, "'Acme' is not the name of a bucket"),
    "account": ({"account": "1234"}, "not an account"),
    "region": ({"region": "here"}, "not a Region"),
    "another account's key": ({"account": "444455556666"}, "not a key of the bucket's account"),
    "alias": ({"key_arns": ("alias/reports",)}, "not the ARN of a KMS key"),
    "no key": ({"key_arns": ()}, "need the ARN of the key"),
    "mode": ({"mode": "sse-c"}, "There are no policies for 'sse-c'"),
    "s3's own key": ({"mode": "sse-s3"}, "takes no key"),
    "env": ({"env": "staging"}, "'staging' is not an environment"),
    "prefix": ({"prefixes": ("2026/*",)}, "cannot be a prefix in a policy"),
    "empty prefix": ({"prefixes": ("",)}, "cannot be a prefix in a policy"),
    "endpoint": ({"vpc_endpoints": ("vpc-1",)}, "not a VPC endpoint"),
    "role": ({"role_arns": {Role.WRITER: ("writer",)}}, "not the ARN of a role"),
    "provider": ({"identity_provider": "okta"}, "not the ARN of an identity provider"),
    "audience": ({"audience": "acme"}, "needs an identity provider"),
    "strict": ({"mode": "client", "strict": True}, "exclude each other"),
    "no audience": (
        {"identity_provider": "arn:aws:iam::111122223333:oidc-provider/id.acme.example"},
        "needs the audience",
    ),
    "shared provider": (
        {
            "identity_provider": (
                "arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com"
            ),
            "audience": "sts.amazonaws.com",
        },
        "Anyone can get a token",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_a_scope_is_named(name: str) -> None:
    """A mistake in a scope is refused before a policy is generated, with a message about it."""
    wrong, message = MISTAKES[name]
    with pytest.raises(ConfigError, match=message):
        Scope(**{**PLAIN, "key_arns": KEYS[:1], **wrong})


def test_a_policy_that_is_too_long_is_refused() -> None:
    """A role's policy with so many prefixes that it exceeds the limit of IAM is refused."""
    scope = Scope(**PLAIN, key_arns=KEYS, prefixes=tuple(f"{n:0>40}/" for n in range(100)))
    with pytest.raises(ConfigError, match="AWS allows 10,240"):
        iam_policy(Role.ROTATOR, scope)


def _assuming(trust: Document, caller: Caller, context: dict[str, str]) -> Verdict:
    """Return the verdict on assuming a role. `context` are the condition keys of the request.

    Like a key policy, a trust policy alone must allow the request, so its statements are judged as
    those of a key policy.
    """
    statements = tuple(
        replace(each, actions=("kms:DescribeKey",), resources=("*",)) for each in trust.statements
    )
    request = Request(caller, "kms:DescribeKey", KEYS[0], "111122223333", context)
    return decide(request, Policies((ADMINISTRATOR,), key=Document(statements))).verdict


HOME = Caller("role", "arn:aws:iam::111122223333:role/People", "111122223333")
TAGGED = replace(HOME, tags={"env": "production"})
AWAY = Caller("role", "arn:aws:iam::999999999999:role/People", "999999999999")
MFA = {"aws:MultiFactorAuthPresent": "true"}


@pytest.mark.parametrize(
    ("scope", "role", "caller", "context", "verdict"),
    [
        ("sse-kms", Role.WRITER, HOME, {}, Verdict.ALLOWED),
        ("sse-kms", Role.WRITER, AWAY, {}, Verdict.DENIED),
        ("sse-kms", Role.SECURITY_ENGINEER, HOME, MFA, Verdict.ALLOWED),
        ("sse-kms", Role.SECURITY_ENGINEER, HOME, {}, Verdict.DENIED),
        ("sse-kms", Role.SECURITY_ENGINEER, AWAY, MFA, Verdict.DENIED),
        ("everything", Role.ROTATOR, TAGGED, {}, Verdict.ALLOWED),
        ("everything", Role.ROTATOR, HOME, {}, Verdict.DENIED),
        ("everything", Role.SECURITY_ENGINEER, TAGGED, {}, Verdict.DENIED),
        ("everything", Role.SECURITY_ENGINEER, TAGGED, MFA, Verdict.ALLOWED),
    ],
)
def test_who_assumes_a_role(
    scope: str, role: Role, caller: Caller, context: dict[str, str], verdict: Verdict
) -> None:
    """A trust policy admits the account's principals; MFA or a tag for --env may be needed."""
    assert _assuming(trust_policy(role, SCOPES[scope]), caller, context) is verdict


@pytest.mark.parametrize(
    ("provider", "more", "statement"),
    [
        (
            "arn:aws:iam::111122223333:saml-provider/acme",
            {},
            {
                "Action": "sts:AssumeRoleWithSAML",
                "Condition": {"StringEquals": {"SAML:aud": "https://signin.aws.amazon.com/saml"}},
            },
        ),
        (
            "arn:aws:iam::111122223333:oidc-provider/id.acme.example",
            {"audience": "s3crypt", "subject": "team:data:*"},
            {
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": {
                    "StringEquals": {"id.acme.example:aud": "s3crypt"},
                    "StringLike": {"id.acme.example:sub": "team:data:*"},
                },
            },
        ),
    ],
)
def test_people_sign_in_at_the_identity_provider(
    provider: str, more: dict[str, Any], statement: dict[str, Any]
) -> None:
    """With an identity provider, a role needs the provider's token.

    Only a rotator needs no token.
    """
    scope = Scope(**PLAIN, key_arns=KEYS[:1], identity_provider=provider, **more)
    (found,) = trust_policy(Role.READER, scope).to_json()["Statement"]
    assert found == {
        "Sid": "S3cryptAssumeRole",
        "Effect": "Allow",
        "Principal": {"Federated": provider},
        **statement,
    }
    (machine,) = trust_policy(Role.ROTATOR, scope).to_json()["Statement"]
    assert machine["Principal"] == {"AWS": "arn:aws:iam::111122223333:root"}


@pytest.mark.parametrize(
    ("subject", "is_refused"),
    [
        ("*", True),
        ("repo:*", True),
        ("repo:acme*", True),
        ("r?po:acme/reports:*", True),
        ("repo:acme/*", False),
        ("repo:acme/reports:ref:refs/heads/main", False),
    ],
)
def test_a_subject_that_anybody_can_have_is_refused(subject: str, is_refused: bool) -> None:
    """A wildcard subject is refused if anyone can get a token from the identity provider."""
    provider = "arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com"
    given: dict[str, Any] = {
        "identity_provider": provider,
        "audience": "sts.amazonaws.com",
        "subject": subject,
    }
    if not is_refused:
        assert Scope(**PLAIN, key_arns=KEYS[:1], **given).subject == subject
        return
    with pytest.raises(ConfigError, match="Anyone can get a token"):
        Scope(**PLAIN, key_arns=KEYS[:1], **given)


def test_documents_are_the_same_every_time() -> None:
    """The policies of one scope have the same text each time they are generated."""
    for scope in SCOPES.values():
        once = [document.render() for _, document in every_document(scope)]
        assert once == [document.render() for _, document in every_document(scope)]
        assert all(json.loads(text) for text in once)


def test_a_new_key_is_closed_by_the_policy_of_its_roles() -> None:
    """By default, IAM policies allow decryption under a new key. The generated policy ends this."""
    scope = Scope(**PLAIN, key_arns=KEYS[:1])
    everything = Document((Statement("Allow", actions=("*",), resources=("*",)),))
    administrator = Caller("user", "arn:aws:iam::111122223333:user/ann", "111122223333")
    request = Request(administrator, "kms:Decrypt", KEYS[0], "111122223333")
    new = open_key_policy("aws", "111122223333")
    verdicts = [
        decide(request, Policies(identity=(everything,), key=document)).verdict
        for document in (new, merge(new, key_policy(scope)).document)
    ]
    assert verdicts == [Verdict.ALLOWED, Verdict.DENIED]
