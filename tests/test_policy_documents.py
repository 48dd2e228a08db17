# SPDX-License-Identifier: Apache-2.0
"""Policy documents as values: parsing, reasons for refusal, meaning, and size limits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from s3crypt.errors import ConfigError
from s3crypt.policy import (
    Condition,
    Document,
    Kind,
    Principal,
    Statement,
    check_size,
    check_writable,
)

ALLOW = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
LIMITS = {
    Kind.BUCKET: 20_480,
    Kind.KEY: 32_768,
    Kind.MANAGED: 6_144,
    Kind.ROLE: 10_240,
    Kind.USER: 2_048,
    Kind.GROUP: 5_120,
    Kind.TRUST: 2_048,
}
NO_PRINCIPAL = 'the Principal of statement 1 is neither "*" nor a JSON object of types'
NO_VALUE = "the Condition of statement 1 has a value of aws:x that is no text or number"
NESTED = "[" * 20 + "]" * 20


def policy(**elements: Any) -> dict[str, Any]:
    """Return a policy with one statement. `elements` are added to it or replace its elements."""
    return {"Version": "2012-10-17", "Statement": [{**ALLOW, **elements}]}


def without(element: str) -> dict[str, Any]:
    """Return a policy with one statement that lacks this element."""
    return {"Statement": {name: value for name, value in ALLOW.items() if name != element}}


def statement(**elements: Any) -> Statement:
    """Parse a policy with one statement and these elements, and return the statement."""
    return Document.parse(policy(**elements)).statements[0]


names = st.sampled_from(["a", "B", "s3:*", "${aws:userid}", 'a "quoted\\"', "é", "*"])
texts = st.one_of(names, st.lists(names, min_size=1, max_size=2))
values = st.one_of(
    names, st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False)
)
principals = st.one_of(
    st.just("*"),
    st.dictionaries(
        st.sampled_from(["AWS", "Service", "CanonicalUser"]), texts, min_size=1, max_size=2
    ),
)
conditions = st.dictionaries(
    names,
    st.dictionaries(names, st.one_of(values, st.lists(values, max_size=2)), min_size=1, max_size=2),
    max_size=2,
)


@st.composite
def statements(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a statement as JSON values."""
    found: dict[str, Any] = {"Effect": draw(st.sampled_from(["Allow", "Deny"]))}
    for element, drawn in (("Action", texts), ("Resource", texts), ("Principal", principals)):
        name = draw(st.sampled_from([element, f"Not{element}", ""]))
        if name or element == "Action":
            found[name or element] = draw(drawn)
    optional = {"Sid": names, "Condition": conditions, "Comment": st.lists(values, max_size=2)}
    return found | {name: draw(drawn) for name, drawn in optional.items() if draw(st.booleans())}


documents = st.builds(
    lambda found, head: {**head, "Statement": found},
    st.lists(statements(), min_size=1, max_size=2),
    st.dictionaries(st.sampled_from(["Version", "Id"]), names),
)


# On a busy machine, drawing the examples takes long; Hypothesis must not fail because of it.
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents, st.sampled_from([None, 2]))
def test_a_document_is_read_back_as_it_was_written(
    content: dict[str, Any], indent: int | None
) -> None:
    """Parsing the rendered text, or the values that boto3 returns, gives an equal document."""
    document = Document.parse(json.dumps(content))
    assert Document.parse(content) == document
    again = Document.parse(document.render(indent=indent))
    assert again == document
    assert again.meaning == document.meaning
    assert again.to_json() == document.to_json()


def test_all_elements_have_their_place() -> None:
    """Each element of a statement is parsed into its own field."""
    found = statement(
        Sid="S3cryptOne",
        Principal={"AWS": "111122223333", "Service": ["s3.amazonaws.com"]},
        Condition={
            "Bool": {"aws:SecureTransport": False},
            "NumericLessThan": {"s3:TlsVersion": 1.2},
        },
    )
    assert found == Statement(
        effect="Allow",
        sid="S3cryptOne",
        principals=(Principal("AWS", "111122223333"), Principal("Service", "s3.amazonaws.com")),
        actions=("s3:GetObject",),
        resources=("*",),
        conditions=(
            Condition("Bool", "aws:SecureTransport", ("false",)),
            Condition("NumericLessThan", "s3:TlsVersion", ("1.2",)),
        ),
    )
    assert found.is_ours


@pytest.mark.parametrize("sid", [None, "", "s3cryptOne", "MyS3crypt"])
def test_statements_of_others_are_told_by_their_sid(sid: str | None) -> None:
    """A statement whose Sid does not begin with S3crypt is not ours."""
    assert not Statement("Allow", sid=sid).is_ours


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            {"Action": ["s3:GetObject", "s3:PutObject"]},
            {"Action": ["s3:PutObject", "s3:GetObject"]},
        ),
        ({"Action": "s3:GetObject"}, {"Action": ["S3:getobject"]}),
        (
            {"Principal": {"AWS": "111122223333"}},
            {"Principal": {"AWS": "arn:aws:iam::111122223333:root"}},
        ),
        (
            {"Principal": {"AWS": "111122223333"}},
            {"Principal": {"AWS": "arn:aws-cn:iam::111122223333:root"}},
        ),
        ({"Principal": {"AWS": "*"}}, {"Principal": "*"}),
        (
            {"Condition": {"Bool": {"aws:SecureTransport": False}}},
            {"Condition": {"Bool": {"AWS:securetransport": ["false"]}}},
        ),
        ({"Condition": {}}, {}),
    ],
)
def test_spelling_has_no_meaning(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Two spellings of the same policy, as S3, KMS and IAM return them, have the same meaning."""
    first, second = Document.parse(policy(**one)), Document.parse(policy(**other))
    assert first.meaning == second.meaning


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"Sid": "A"}, {"Sid": "B"}),
        ({"Effect": "Allow"}, {"Effect": "Deny"}),
        ({"Action": "s3:GetObject"}, {"Action": "s3:GetObject*"}),
        ({"Resource": "arn:aws:s3:::a"}, {"Resource": "arn:aws:s3:::A"}),
        ({"Principal": {"AWS": "111122223333"}}, {"Principal": {"Service": "111122223333"}}),
        ({"Condition": {"Bool": {"aws:a": "x"}}}, {"Condition": {"BoolIfExists": {"aws:a": "x"}}}),
        (
            {"Condition": {"StringLike": {"aws:a": "x"}}},
            {"Condition": {"StringLike": {"aws:a": "X"}}},
        ),
        ({"Comment": 1}, {"Comment": 2}),
        ({"Comment": 1}, {}),
    ],
)
def test_every_element_has_a_meaning(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Policies that differ in an element that matters have different meanings."""
    assert Document.parse(policy(**one)).meaning != Document.parse(policy(**other)).meaning


def test_the_order_of_statements_has_no_meaning() -> None:
    """Documents with the same statements in another order have the same meaning."""
    first, second = statement(Sid="A"), statement(Sid="B", Effect="Deny")
    assert Document((first, second)).meaning == Document((second, first)).meaning


def test_no_version_is_the_version_of_2008() -> None:
    """A document without a version means the same as one of version 2008-10-17."""
    one = statement()
    assert Document((one,), version=None).meaning == Document((one,), "2008-10-17").meaning
    assert Document((one,), version=None).meaning != Document((one,)).meaning


def test_an_unknown_element_is_kept() -> None:
    """An unknown element of a statement is kept when the document is rendered."""
    found = Document.parse(policy(Comment={"by": ["hand", None]}))
    assert found.statements[0].unknown == {"Comment": {"by": ["hand", None]}}
    assert json.loads(found.render())["Statement"][0]["Comment"] == {"by": ["hand", None]}


def test_statements_have_names() -> None:
    """A statement with a duplicate Sid or without a Sid is identified by its number."""
    found = Document(tuple(Statement("Deny", sid=sid) for sid in ("A", "B", "A", None, "")))
    assert [name for name, _ in found.named()] == [
        "A (statement 1)",
        "B",
        "A (statement 3)",
        "statement 4",
        "statement 5",
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "it is not JSON, line 1"),
        ("{", "it is not JSON, line 1"),
        ('{"Version":\n"2012-10-17"', "it is not JSON, line 2"),
        ("\ufeff" + json.dumps(policy()), "it is not JSON, line 1"),
        ("[]", "it is not a JSON object"),
        ('"*"', "it is not a JSON object"),
        ("null", "it is not a JSON object"),
        ("[" * 100_000, "it is not JSON"),
        (json.dumps(policy(Comment=json.loads(NESTED))), "it is more than 16 levels deep"),
        ("9" * 5000, "it is not JSON"),
        (json.dumps(policy(Comment=float("nan"))), "it has NaN, which is no number of JSON"),
        (json.dumps(policy(Comment=float("-inf"))), "it has -Infinity, which is no number of JSON"),
        (
            json.dumps(policy(Comment=0)).replace("0}", "1e999}"),
            "it has 1e999, which is no number of JSON",
        ),
        (json.dumps(policy(Sid="\ud800")), "it has half of a surrogate pair"),
        ('{"Statement": [], "Statement": []}', "it has Statement twice in one object"),
        (
            '{"Statement": {"Effect": "Deny", "Effect": "Allow"}}',
            "it has Effect twice in one object",
        ),
    ],
    ids=range(16),
)
def test_what_is_no_json_is_refused(content: str, reason: str) -> None:
    """Invalid JSON is refused, and so is JSON that two parsers could read in different ways."""
    with pytest.raises(ConfigError) as refused:
        Document.parse(content)
    assert str(refused.value) == f"Not a policy: {reason}."
    assert refused.value.hint


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({}, "it has no statements"),
        ({"Statement": []}, "it has no statements"),
        ({"Statement": "x"}, "it has no statements"),
        ({"Statement": None}, "it has no statements"),
        ({**policy(), "statement": []}, "it has the element statement"),
        ({**policy(), "Version": 2012}, "the Version of policy is not text"),
        ({**policy(), "Version": None}, "the Version of policy is not text"),
        ({**policy(), "Id": []}, "the Id of policy is not text"),
        ({"Statement": ["x"]}, "statement 1 is not a JSON object"),
        ({"Statement": [ALLOW, []]}, "statement 2 is not a JSON object"),
        (without("Effect"), "statement 1 has no Effect that is Allow or Deny"),
        (policy(Effect="allow"), "statement 1 has no Effect that is Allow or Deny"),
        (policy(Effect=["Allow"]), "statement 1 has no Effect that is Allow or Deny"),
        (policy(Effect="x", Sid="One"), "statement One has no Effect that is Allow or Deny"),
        (without("Action"), "statement 1 has no Action"),
        (policy(NotAction="s3:*"), "statement 1 has both Action and NotAction"),
        (policy(NotResource="*"), "statement 1 has both Resource and NotResource"),
        (
            policy(Principal="*", NotPrincipal="*"),
            "statement 1 has both Principal and NotPrincipal",
        ),
        (policy(Sid=1), "the Sid of statement 1 is not text"),
        (policy(Action=None), "the Action of statement 1 is neither text nor a list of texts"),
        (policy(Action=[]), "the Action of statement 1 is empty"),
        (
            policy(Action=["s3:*", 1]),
            "the Action of statement 1 is neither text nor a list of texts",
        ),
        (policy(Resource=[]), "the Resource of statement 1 is empty"),
        (policy(Resource={}), "the Resource of statement 1 is neither text nor a list of texts"),
        (policy(Principal=None), NO_PRINCIPAL),
        (policy(Principal="AWS"), NO_PRINCIPAL),
        (policy(Principal={"*": "*"}), NO_PRINCIPAL),
        (policy(Principal={}), "the Principal of statement 1 is empty"),
        (policy(Principal={"AWS": []}), "the Principal of statement 1 is empty"),
        (
            policy(Principal={"AWS": [1]}),
            "the Principal of statement 1 is neither text nor a list of texts",
        ),
        (policy(Condition=None), "the Condition of statement 1 is not a JSON object"),
        (policy(Condition=[]), "the Condition of statement 1 is not a JSON object"),
        (policy(Condition={"Bool": "x"}), "the Condition of statement 1 has no keys under Bool"),
        (policy(Condition={"Bool": {}}), "the Condition of statement 1 has no keys under Bool"),
        (policy(Condition={"Bool": {"aws:x": None}}), NO_VALUE),
        (policy(Condition={"Bool": {"aws:x": [[]]}}), NO_VALUE),
        ({"Statement": [{**ALLOW, "Comment": object()}]}, "it is not JSON"),
    ],
)
def test_what_is_no_policy_is_refused(content: dict[str, Any], reason: str) -> None:
    """JSON that is no policy is refused; the error names the statement and the element."""
    with pytest.raises(ConfigError) as refused:
        Document.parse(content)
    assert str(refused.value) == f"Not a policy: {reason}."


def test_one_key_twice_under_one_operator_is_not_rendered() -> None:
    """Two conditions on one key under one operator cannot be rendered as JSON.

    In JSON, one of the two conditions would be lost.
    """
    twice = tuple(Condition("StringLike", "aws:PrincipalArn", (each,)) for each in "ab")
    with pytest.raises(AssertionError, match="twice"):
        Statement("Allow", actions=("s3:*",), conditions=twice).to_json()


def long(length: int) -> Document:
    """Return a document that renders to this number of characters."""
    empty = Document((Statement("Deny", actions=("",)),))
    missing = length - len(empty.render(indent=None))
    return Document((Statement("Deny", actions=("a" * missing,)),))


@pytest.mark.parametrize("kind", Kind)
def test_a_document_may_be_as_long_as_aws_takes(kind: Kind) -> None:
    """A document may have as many characters as the limit of its kind, but not one more."""
    limit = LIMITS[kind]
    assert check_size(long(limit), kind) == limit
    assert check_writable(long(limit), kind) == limit
    for check in (check_size, check_writable):
        with pytest.raises(ConfigError) as refused:
            check(long(limit + 1), kind)
        assert str(refused.value).startswith(f"The {kind} would have {limit + 1:,} characters")
        assert f"AWS allows {limit:,}" in str(refused.value)


def test_numbers_count_as_the_texts_they_are_sent_as() -> None:
    """A number in a condition counts with the quotes of the text that is sent."""
    number = Document.parse(policy(Condition={"NumericLessThan": {"s3:TlsVersion": 1.2}}))
    text = Document.parse(policy(Condition={"NumericLessThan": {"s3:TlsVersion": "1.2"}}))
    assert check_size(number, Kind.BUCKET) == check_size(text, Kind.BUCKET)


@pytest.mark.parametrize(
    ("sids", "resource", "reason"),
    [
        (["S3cryptA", "S3cryptA"], "*", "two statements have the Sid S3cryptA"),
        (["Theirs", "Theirs"], "*", "two statements have the Sid Theirs"),
        (["S3crypt A"], "*", "the Sid 'S3crypt A' has more than letters and digits"),
        (
            ["S3crypt\N{LATIN SMALL LETTER E WITH ACUTE}"],
            "*",
            "the Sid 'S3crypté' has more than letters and digits",
        ),
        (
            [None],
            "arn:aws:s3:::acme/\N{EURO SIGN}/*",
            "a text has a character beyond U+00FF or a control character",
        ),
    ],
)
def test_what_aws_would_refuse_is_not_written(
    sids: list[str | None], resource: str, reason: str
) -> None:
    """A document with duplicate Sids, an invalid S3crypt Sid or invalid characters is refused."""
    found = tuple(Statement("Deny", sid=sid, actions=("*",), resources=(resource,)) for sid in sids)
    with pytest.raises(ConfigError) as refused:
        check_writable(Document(found), Kind.BUCKET)
    assert str(refused.value) == f"AWS would refuse the policy: {reason}."


def test_what_aws_took_can_be_written_again() -> None:
    """Foreign statements that AWS accepted, with odd or missing Sids, can be written again."""
    found = (
        Statement("Deny", sid="Allow use of the key", actions=("*",)),
        Statement("Deny", actions=("*",), resources=("arn:aws:s3:::acme/é/*",)),
        Statement("Deny", sid="", actions=("*",)),
        Statement("Deny", sid="", actions=("s3:*",)),
    )
    assert check_writable(Document(found), Kind.KEY)
