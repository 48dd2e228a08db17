# SPDX-License-Identifier: Apache-2.0
"""Conditions of policies: operators at their boundaries, absent keys, sets and variables."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from policy_samples import BUCKET, HOME, LOGS, OBJECT, USER, WRITER, ask, doc

from s3crypt.policy import Document, Kind, Policies, Request, Verdict, decide, not_understood

if TYPE_CHECKING:
    from collections.abc import Mapping

YES, NO, UNCLEAR = Verdict.ALLOWED, Verdict.DENIED, Verdict.NOT_UNDERSTOOD
KEY = "s3:prefix"
ARN = "arn:aws:iam::111122223333:role"


def holds(
    operator: str,
    values: Any,
    found: str | tuple[str, ...] | None,
    *,
    key: str = KEY,
    more: Mapping[str, str | tuple[str, ...]] | None = None,
) -> Verdict:
    """Return the verdict on a request under one Allow that has one condition.

    Args:
        operator: The condition's operator.
        values: The condition's values.
        found: The value of the condition key in the request, or None if it is absent.
        key: The condition key.
        more: Further condition keys of the request, with their values.
    """
    policies = Policies((doc({"Condition": {operator: {key: values}}}),))
    context = {**({} if found is None else {key: found}), **(more or {})}
    return decide(Request(WRITER, "s3:ListBucket", BUCKET, HOME, context), policies).verdict


@pytest.mark.parametrize(
    ("operator", "values", "found", "verdict"),
    [
        ("StringEquals", "a", "a", YES),
        ("StringEquals", "a", "A", NO),
        ("StringEquals", "a*", "ab", NO),
        ("StringEquals", "a*", "a*", YES),
        ("StringEquals", ["a", "b"], "b", YES),
        ("StringEquals", "a", "a\n", NO),
        ("StringEqualsIgnoreCase", "a", "A", YES),
        ("StringEqualsIgnoreCase", "a", "b", NO),
        ("StringLike", "a*", "a/b:c\nd", YES),
        ("StringLike", "a?", "ab", YES),
        ("StringLike", "a?", "a", NO),
        ("StringLike", "*", "", YES),
        ("StringLike", "a*b*c", "a-b-c", YES),
        ("StringLike", "a*b*c", "a-c-b", NO),
        ("StringLike", "*ab*ab", "abab", YES),
        ("StringLike", "*ab*ab", "ab", NO),
        ("StringLike", "a.c", "abc", NO),
        ("StringLike", "A*", "ab", NO),
        ("ArnLike", f"{ARN}/*", f"{ARN}/a/b:c", YES),
        ("ArnLike", "arn:aws:iam::*:role/a", f"{ARN}/a", YES),
        ("ArnLike", "arn:*:role/a", f"{ARN}/a", UNCLEAR),
        ("ArnLike", "arn:aws:*:*:*:role/a", f"{ARN}/a", YES),
        ("ArnLike", "arn:aws:iam:*:role/a:role/a", f"{ARN}/a", NO),
        ("ArnLike", "arn:aws:i?m::111122223333:role/a", f"{ARN}/a", YES),
        ("ArnEquals", f"{ARN}/*", f"{ARN}/a", YES),
        ("ArnEquals", f"{ARN}/A", f"{ARN}/a", NO),
        ("ArnLike", "a", "a", UNCLEAR),
        ("ArnEquals", f"{ARN}/a", "alias/a", NO),
        ("ArnNotEquals", f"{ARN}/a", "alias/a", UNCLEAR),
        ("NumericEquals", "1.20", "1.2", YES),
        ("NumericEquals", 1, "2", NO),
        ("NumericLessThan", "1.2", "1.1", YES),
        ("NumericLessThan", "1.2", "1.2", NO),
        ("NumericLessThan", "1.2", "1.10", YES),
        ("NumericLessThanEquals", 1.2, "1.2", YES),
        ("NumericLessThanEquals", 1.2, "1.3", NO),
        ("NumericGreaterThan", "30", "31", YES),
        ("NumericGreaterThan", "30", "30", NO),
        ("NumericGreaterThanEquals", "30", "30", YES),
        ("NumericGreaterThanEquals", "30", "-30", NO),
        ("NumericEquals", "one", "1", UNCLEAR),
        ("NumericEquals", "NaN", "1", UNCLEAR),
        ("NumericEquals", "1", "one", UNCLEAR),
        ("NumericEquals", "1", "", UNCLEAR),
        ("DateEquals", "2026-11-28T00:00:00Z", "2026-11-28", YES),
        ("DateEquals", "2026-11-28T01:00:00+01:00", "2026-11-28T00:00:00Z", YES),
        ("DateEquals", "1795824000", "2026-11-28T00:00:00Z", YES),
        ("DateLessThan", "2026-11-28T00:00:00Z", "2026-11-27T23:59:59Z", YES),
        ("DateLessThan", "2026-11-28T00:00:00Z", "2026-11-28T00:00:00Z", NO),
        ("DateLessThanEquals", "2026-11-28T00:00:00Z", "2026-11-28T00:00:00Z", YES),
        ("DateGreaterThan", "2026-11-28T00:00:00Z", "2026-11-28T00:00:00.001Z", YES),
        ("DateGreaterThanEquals", "2026-11-28T00:00:00Z", "2026-11-27", NO),
        ("DateEquals", "28.11.2026", "2026-11-28", UNCLEAR),
        ("DateEquals", "2026", "2026-01-01", UNCLEAR),
        ("DateEquals", "2026-11-28", "yesterday", UNCLEAR),
        ("Bool", "true", "true", YES),
        ("Bool", True, "TRUE", YES),
        ("Bool", "false", "true", NO),
        ("Bool", "yes", "true", UNCLEAR),
        ("Bool", "true", "yes", UNCLEAR),
        ("IpAddress", "203.0.113.0/24", "203.0.113.255", YES),
        ("IpAddress", "203.0.113.0/24", "203.0.114.0", NO),
        ("IpAddress", "203.0.113.7", "203.0.113.7", YES),
        ("IpAddress", ["203.0.113.0/24", "2001:db8::/32"], "2001:db8::1", YES),
        ("IpAddress", "0.0.0.0/0", "2001:db8::1", NO),
        ("IpAddress", "203.0.113.1/24", "203.0.113.2", UNCLEAR),
        ("IpAddress", "203.0.113.0/33", "203.0.113.2", UNCLEAR),
        ("IpAddress", "203.0.113.0/24", "localhost", UNCLEAR),
        ("BinaryEquals", "YQ==", "YQ==", UNCLEAR),
        ("stringequals", "a", "a", UNCLEAR),
        ("StringMatches", "a", "a", UNCLEAR),
        ("ForSomeValues:StringEquals", "a", "a", UNCLEAR),
        ("NullIfExists", "true", None, UNCLEAR),
        ("ForAllValues:Null", "true", None, UNCLEAR),
        ("StringEquals", [], "a", UNCLEAR),
        ("Null", "true", None, YES),
        ("Null", True, None, YES),
        ("Null", "false", None, NO),
        ("Null", "true", "", NO),
        ("Null", "false", "a", YES),
        ("Null", "true", (), YES),
        ("Null", ["true", "false"], "a", YES),
        ("Null", "maybe", "a", UNCLEAR),
    ],
)
def test_operators(
    operator: str, values: Any, found: str | tuple[str, ...] | None, verdict: Verdict
) -> None:
    """Each operator compares as IAM documents it; an invalid value gives the verdict unknown."""
    assert holds(operator, values, found) is verdict


NEGATED = {
    "StringNotEquals": ("StringEquals", ["a", "b"], "a", "c"),
    "StringNotEqualsIgnoreCase": ("StringEqualsIgnoreCase", ["a", "b"], "A", "c"),
    "StringNotLike": ("StringLike", ["a*", "b*"], "b1", "c1"),
    "ArnNotEquals": ("ArnEquals", [f"{ARN}/a", f"{ARN}/b"], f"{ARN}/a", f"{ARN}/c"),
    "ArnNotLike": ("ArnLike", [f"{ARN}/a*"], f"{ARN}/a1", f"{ARN}/c1"),
    "NumericNotEquals": ("NumericEquals", [1, 2], "2", "3"),
    "DateNotEquals": ("DateEquals", ["2026-11-28"], "2026-11-28", "2026-11-29"),
    "NotIpAddress": ("IpAddress", ["203.0.113.0/24"], "203.0.113.1", "203.0.114.1"),
}


@pytest.mark.parametrize("operator", NEGATED)
def test_a_negated_operator_holds_if_no_value_matches(operator: str) -> None:
    """A negated operator also holds for an absent key, with or without IfExists."""
    positive, values, match, other = NEGATED[operator]
    assert [holds(operator, values, found) for found in (match, other, None)] == [NO, YES, YES]
    assert [holds(positive, values, found) for found in (match, other, None)] == [YES, NO, NO]
    if_exists = f"{operator}IfExists"
    assert [holds(if_exists, values, found) for found in (match, other, None)] == [NO, YES, YES]


@pytest.mark.parametrize(
    ("operator", "values"),
    [
        ("StringEquals", "a"), ("StringLike", "a*"), ("ArnLike", f"{ARN}/a"), ("Bool", "true"),
        ("NumericLessThan", "1"), ("DateLessThan", "2026-11-28"), ("IpAddress", "203.0.113.0/24"),
    ],
)  # fmt: skip
def test_if_exists_holds_without_the_key(operator: str, values: str) -> None:
    """With IfExists, a condition holds if the request lacks the key.

    Without IfExists, it does not hold.
    """
    assert holds(operator, values, None) is NO
    assert holds(f"{operator}IfExists", values, None) is YES


MANY = "kms:EncryptionContextKeys"


@pytest.mark.parametrize(
    ("operator", "found", "verdict"),
    [
        ("ForAllValues:StringEquals", ("a", "b"), YES),
        ("ForAllValues:StringEquals", ("a", "c"), NO),
        ("ForAllValues:StringEquals", None, YES),
        ("ForAllValues:StringEquals", (), YES),
        ("ForAllValues:StringEquals", "a", YES),
        ("ForAnyValue:StringEquals", ("c", "a"), YES),
        ("ForAnyValue:StringEquals", ("c", "d"), NO),
        ("ForAnyValue:StringEquals", None, NO),
        ("ForAnyValue:StringEqualsIfExists", None, YES),
        ("ForAllValues:StringNotEquals", ("c", "d"), YES),
        ("ForAllValues:StringNotEquals", ("c", "a"), NO),
        ("ForAllValues:StringNotEquals", None, YES),
        ("ForAnyValue:StringNotEquals", ("a", "c"), YES),
        ("ForAnyValue:StringNotEquals", ("a", "b"), NO),
        ("ForAnyValue:StringNotEquals", None, NO),
        ("StringEquals", ("a",), UNCLEAR),
        ("StringEquals", (), NO),
    ],
)
def test_sets_of_values(
    operator: str, found: str | tuple[str, ...] | None, verdict: Verdict
) -> None:
    """For a key with several values, the set operator decides how many values must match."""
    assert holds(operator, ["a", "b"], found, key=MANY) is verdict


@pytest.mark.parametrize("prefix", ["ForAllValues", "ForAnyValue"])
def test_a_pair_of_the_context_is_no_set(prefix: str) -> None:
    """A set operator on a pair of the encryption context gives the verdict unknown.

    KMS refuses such a condition.
    """
    key = "kms:EncryptionContext:tenant"
    assert holds(f"{prefix}:StringEquals", "a", "a", key=key) is UNCLEAR


def test_names_of_keys_have_no_case() -> None:
    """The case of condition keys does not matter, in policies, requests and context pairs."""
    key = "KMS:encryptioncontext:Tenant"
    assert holds("StringEquals", "a", "a", key=key) is YES
    asked = {"kms:EncryptionContext:tenant": "a"}
    assert holds("StringEquals", "a", None, key=key, more=asked) is YES


def test_all_conditions_must_hold() -> None:
    """One false condition denies, even if another condition is not understood."""
    condition = {"StringEquals": {KEY: "a"}, "BinaryEquals": {"aws:x": "a"}}
    policies = Policies((doc({"Condition": condition}),))
    assert ask(policies, action="s3:ListBucket", s3__prefix="b").verdict is NO
    assert ask(policies, action="s3:ListBucket", s3__prefix="a").verdict is UNCLEAR


@pytest.mark.parametrize(
    ("key", "verdict"),
    [
        ("s3:x-amz-server-side-encryption", YES),
        ("aws:SourceVpce", YES),
        ("kms:EncryptionContext:any", YES),
        ("s3:RequestObjectTag/any", YES),
        ("aws:MultiFactorAuthPresent", YES),
        ("aws:SecureTransport", UNCLEAR),
        ("aws:SourceIp", UNCLEAR),
        ("s3:TlsVersion", UNCLEAR),
        ("aws:PrincipalOrgID", UNCLEAR),
        ("aws:CurrentTime", UNCLEAR),
        ("kms:KeyUsage", UNCLEAR),
        ("kms:MultiRegion", UNCLEAR),
        ("kms:ResourceAliases", UNCLEAR),
        ("aws:ResourceTag/any", UNCLEAR),
        ("s3:ExistingObjectTag/any", UNCLEAR),
        ("s3:x-amz-content-sha256", UNCLEAR),
        ("aws:Unheard", UNCLEAR),
        ("s3:RequestObjectTag", UNCLEAR),
        ("kms:EncryptionContext", UNCLEAR),
    ],
)
def test_a_key_that_is_not_named_is_absent_only_if_that_is_known(
    key: str, verdict: Verdict
) -> None:
    """A condition key that the request does not give is absent or unknown, as IAM documents it."""
    assert holds("Null", "true", None, key=key) is verdict


@pytest.mark.parametrize(
    ("named", "key"),
    [
        ({"aws:SourceVpce": "vpce-1"}, "aws:SourceIp"),
        ({"aws:SecureTransport": "false"}, "s3:TlsVersion"),
    ],
)
def test_some_keys_exclude_others(named: dict[str, str], key: str) -> None:
    """If a request has some condition keys, other keys are known to be absent.

    A request through a VPC endpoint, for example, has no source address.
    """
    assert holds("Null", "true", None, key=key, more=named) is YES


@pytest.mark.parametrize(
    ("pattern", "name", "verdict"),
    [
        ("home/${aws:username}/*", "home/ada/x", YES),
        ("home/${AWS:UserName}/*", "home/ada/x", YES),
        ("home/${aws:username}/*", "home/bob/x", NO),
        ("${s3:prefix}", "a*", YES),
        ("${s3:prefix}", "ab", NO),
        ("${aws:PrincipalTag/team}/*", "x/y", NO),
        ("${aws:PrincipalTag/team, 'shared'}/*", "shared/y", YES),
        ("a${*}", "a*", YES),
        ("a${*}", "ab", NO),
        ("a${?}${$}", "a?$", YES),
        ("${aws:Unheard}", "x", UNCLEAR),
        ("${aws:userid}", "x", UNCLEAR),
        ("${kms:EncryptionContextKeys}", "a", UNCLEAR),
        ("${}", "x", UNCLEAR),
    ],
)
def test_variables_in_resources(pattern: str, name: str, verdict: Verdict) -> None:
    """A variable in a Resource is replaced literally: a * in its value is no wildcard."""
    policies = Policies((doc({"Resource": f"{BUCKET}/{pattern}"}),))
    context: dict[str, str | tuple[str, ...]] = {KEY: "a*", MANY: ("a", "b")}
    request = Request(USER, "s3:GetObject", f"{BUCKET}/{name}", HOME, context)
    assert decide(request, policies).verdict is verdict


def test_variables_in_conditions() -> None:
    """Variables in the values of text and ARN conditions are replaced."""
    user = {
        "arn:aws:iam::*:user/*/${aws:username}": USER.arn,
        "arn:aws:iam::*:user/${s3:prefix}": None,
    }
    for pattern, match in user.items():
        policies = Policies((doc({"Condition": {"ArnLike": {"aws:PrincipalArn": pattern}}}),))
        assert ask(policies, USER).verdict is (YES if match else NO)


def test_a_negation_of_no_value_is_not_understood() -> None:
    """A negated condition on a missing variable gives unknown: IAM documents no result for it."""
    condition = {"StringNotEquals": {"s3:prefix": "${aws:PrincipalTag/team}"}}
    policies = Policies((doc({"Condition": condition}),))
    assert ask(policies, s3__prefix="a").verdict is UNCLEAR
    negated = Policies((doc({"NotResource": f"{BUCKET}/${{aws:PrincipalTag/team}}"}),))
    assert ask(negated).verdict is UNCLEAR


@pytest.mark.parametrize("version", [None, "2008-10-17"])
def test_older_documents_have_no_variables(version: str | None) -> None:
    """In documents without version 2012-10-17, the name of a variable is literal text."""
    policies = Policies((doc({"Resource": f"{BUCKET}/${{aws:username}}"}, version=version),))
    assert ask(policies, USER, resource=f"{BUCKET}/ada").verdict is NO
    assert ask(policies, USER, resource=f"{BUCKET}/${{aws:username}}").verdict is YES


def test_tags_of_the_caller() -> None:
    """The case of a tag's name does not matter in a condition on the caller's tags."""
    tagged = type(WRITER)("role", WRITER.arn, HOME, {"Env": "test"})
    policies = Policies((doc({"Condition": {"StringEquals": {"aws:PrincipalTag/env": "test"}}}),))
    assert ask(policies, tagged).verdict is YES
    assert ask(policies, WRITER).verdict is NO


def test_the_account_of_a_service_is_not_known() -> None:
    """A condition on the account of an AWS service as the caller gives the verdict unknown."""
    statement = {"Principal": "*", "Condition": {"StringEquals": {"aws:PrincipalAccount": HOME}}}
    assert ask(Policies(bucket=doc(statement)), LOGS).verdict is UNCLEAR


def test_many_wildcards_take_no_longer() -> None:
    """A pattern with thousands of wildcards is evaluated in less than a second."""
    pattern = "*a" * 2000 + "b"
    policies = Policies((doc({"Resource": f"{BUCKET}/{pattern}"}),))
    started = time.process_time()
    assert ask(policies, resource=f"{BUCKET}/{'a' * 1024}").verdict is NO
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ({"Condition": {"BinaryEquals": {KEY: "a"}}}, "the operator BinaryEquals"),
        ({"Condition": {"StringEquals": {"aws:Unheard": "a"}}}, "the condition key aws:Unheard"),
        ({"Condition": {"Bool": {KEY: "maybe"}}}, f"a value of {KEY} under Bool"),
        ({"Condition": {"StringEquals": {KEY: []}}}, f"the condition on {KEY}, which has no value"),
        ({"Comment": "by hand"}, "the element Comment"),
        ({"Principal": "*"}, "a principal in an identity policy"),
    ],
)
def test_what_is_not_understood_is_named(statement: dict[str, Any], what: str) -> None:
    """`not_understood` lists the unknown part of each statement by the statement's Sid."""
    document = doc({"Sid": "Mine", **statement}, {"Sid": "Fine", "Resource": OBJECT})
    assert not_understood(document, Kind.ROLE) == {"Mine": what}


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ({}, "no principal"),
        ({"NotPrincipal": "*"}, "NotPrincipal"),
        ({"Principal": {"AWS": "AROAEXAMPLE"}}, "the principal AWS AROAEXAMPLE"),
        ({"Principal": {"AWS": f"{ARN}/*"}}, f"the principal AWS {ARN}/*"),
        ({"Principal": {"Federated": "a"}}, "the principal Federated a"),
        ({"Principal": {"CanonicalUser": "a"}}, "the principal CanonicalUser a"),
    ],
)
def test_principals_that_are_not_understood(statement: dict[str, Any], what: str) -> None:
    """`not_understood` lists unknown principals of bucket and key policies."""
    for kind in (Kind.BUCKET, Kind.KEY):
        assert not_understood(doc(statement), kind) == {"statement 1": what}


def test_a_statement_without_a_resource() -> None:
    """A bucket policy without a Resource is not understood; a trust policy has no Resource."""
    document = Document.parse(
        {"Statement": {"Effect": "Allow", "Action": "*", "Principal": {"AWS": HOME}}}
    )
    assert not_understood(document, Kind.BUCKET) == {"statement 1": "no resource"}
    assert not_understood(document, Kind.TRUST) == {}
