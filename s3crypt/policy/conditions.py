# SPDX-License-Identifier: Apache-2.0
"""Conditions of policies, tested against requests: the operators, and the known condition keys.

An operator, a value or a condition key that is not in the tables here is not understood. This
module never guesses its meaning.

Operators: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
Several values: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html
Keys: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
"""

import ipaddress
import operator as compare
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any, TypeAlias

from .documents import Condition
from .patterns import ABSENT, Matches, Style, Value, Values, compile_texts
from .truth import NotUnderstood, Truth, conjunction, disjunction, negation

Test: TypeAlias = Callable[[Values], Truth]
"""A function that returns whether a condition holds for a request with these condition keys."""

# Condition keys that depend on the request's own content. If a request does not give such a key,
# the key is absent.
_OPTIONAL = frozenset(
    {
        "aws:calledvia",
        "aws:calledviafirst",
        "aws:calledvialast",
        "aws:multifactorauthage",
        "aws:multifactorauthpresent",
        "aws:principalservicename",
        "aws:principalservicenameslist",
        "aws:referer",
        "aws:sourceaccount",
        "aws:sourcearn",
        "aws:sourcevpc",
        "aws:sourcevpce",
        "aws:tagkeys",
        "aws:vpcsourceip",
        "kms:bypasspolicylockoutsafetycheck",
        "kms:encryptioncontextkeys",
        "kms:grantconstrainttype",
        "kms:grantisforawsresource",
        "kms:granteeprincipal",
        "kms:grantoperations",
        "kms:primaryregion",
        "kms:reencryptonsamekey",
        "kms:replicaregion",
        "kms:requestalias",
        "kms:retiringprincipal",
        "kms:rotationperiodindays",
        "kms:schedulekeydeletionpendingwindowindays",
        "kms:viaservice",
        "s3:delimiter",
        "s3:if-match",
        "s3:if-none-match",
        "s3:locationconstraint",
        "s3:max-keys",
        "s3:object-lock-event-hold",
        "s3:object-lock-legal-hold",
        "s3:object-lock-mode",
        "s3:object-lock-remaining-retention-days",
        "s3:object-lock-retain-until-date",
        "s3:objectcreationoperation",
        "s3:prefix",
        "s3:requestobjecttagkeys",
        "s3:versionid",
        "s3:x-amz-acl",
        "s3:x-amz-copy-source",
        "s3:x-amz-grant-full-control",
        "s3:x-amz-grant-read",
        "s3:x-amz-grant-read-acp",
        "s3:x-amz-grant-write",
        "s3:x-amz-grant-write-acp",
        "s3:x-amz-metadata-directive",
        "s3:x-amz-object-ownership",
        "s3:x-amz-server-side-encryption",
        "s3:x-amz-server-side-encryption-aws-kms-key-id",
        "s3:x-amz-server-side-encryption-customer-algorithm",
        "s3:x-amz-storage-class",
        "s3:x-amz-website-redirect-location",
    }
)
_OPTIONAL_PREFIXES = (
    "aws:principaltag/",
    "aws:requesttag/",
    "kms:encryptioncontext:",
    "s3:requestobjecttag/",
)
# Condition keys that every request has, or whose presence depends on facts that only AWS knows. If
# a request does not give such a key, its value is unknown.
_UNSPECIFIED = frozenset(
    {
        "aws:currenttime",
        "aws:ec2instancesourceprivateipv4",
        "aws:ec2instancesourcevpc",
        "aws:epochtime",
        "aws:federatedprovider",
        "aws:principalaccount",
        "aws:principalarn",
        "aws:principalisawsservice",
        "aws:principalorgid",
        "aws:principalorgpaths",
        "aws:principaltype",
        "aws:requestedregion",
        "aws:resourceaccount",
        "aws:resourceorgid",
        "aws:resourceorgpaths",
        "aws:securetransport",
        "aws:sourceidentity",
        "aws:sourceip",
        "aws:sourceorgid",
        "aws:sourceorgpaths",
        "aws:tokenissuetime",
        "aws:useragent",
        "aws:userid",
        "aws:username",
        "aws:viaawsservice",
        "kms:calleraccount",
        "kms:customermasterkeyspec",
        "kms:keyorigin",
        "kms:keyspec",
        "kms:keyusage",
        "kms:multiregion",
        "kms:multiregionkeytype",
        "kms:resourcealiases",
        "s3:authtype",
        "s3:dataaccesspointaccount",
        "s3:dataaccesspointarn",
        "s3:resourceaccount",
        "s3:signatureage",
        "s3:signatureversion",
        "s3:tlsversion",
        "s3:x-amz-content-sha256",
    }
)
# Tags of the bucket, KMS key or object. If a request does not give such a tag, its value is
# unknown.
_UNSPECIFIED_PREFIXES = ("aws:resourcetag/", "s3:existingobjecttag/")
_OPERATOR = re.compile(r"(ForAllValues:|ForAnyValue:)?([A-Za-z]+?)(IfExists)?")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
# A time in seconds since 1970. Numbers with fewer digits are excluded, because they may be years.
_EPOCH = re.compile(r"[0-9]{9,11}")
_TIME = r"T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})"
_DATE = re.compile(rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}({_TIME})?")
# An ARN has at least this many colons.
_COLONS = 5
_SWITCH = {"true": True, "false": False}


def unspecified(key: str) -> Value:
    """Return the value of a condition key that a request does not give. `key` is in lower case.

    The value is `ABSENT` for a key that depends on the request's own content. For all other keys it
    is `NotUnderstood`.
    """
    if key in _OPTIONAL or key.startswith(_OPTIONAL_PREFIXES):
        return ABSENT
    if _is_unspecified(key):
        return NotUnderstood(f"the condition key {key}, of which the request says nothing")
    return NotUnderstood(f"the condition key {key}")


def is_known(key: str) -> bool:
    """Return whether this module knows a condition key."""
    lower = key.lower()
    return _is_unspecified(lower) or unspecified(lower) == ABSENT


def _is_unspecified(key: str) -> bool:
    return key in _UNSPECIFIED or key.startswith(_UNSPECIFIED_PREFIXES)


@dataclass(frozen=True, slots=True)
class _Operator:
    """An operator: its comparison, and whether it is negated.

    A negated operator holds if a request does not have the condition key.
    """

    matches: Callable[[Sequence[str], bool, bool], Matches]
    is_negated: bool = False


def compile_condition(condition: Condition, *, variables: bool) -> Test | NotUnderstood:
    """Return a function that tests a condition, or the reason why the condition is not understood.

    Args:
        variables: Whether `${key}` is a variable, which depends on the document's version.
    """
    try:
        return _compiled(condition, variables=variables)
    except ValueError as error:
        return NotUnderstood(str(error))


def _compiled(condition: Condition, *, variables: bool) -> Test:
    found = _OPERATOR.fullmatch(condition.operator)
    prefix, name, if_exists = found.groups() if found else (None, "", None)
    key = condition.key.lower()
    default = unspecified(key)
    if not condition.values:
        raise ValueError(f"the condition on {condition.key}, which has no value")
    if condition.operator == "Null":
        return _null_test(condition, default)
    if name not in _OPERATORS:
        raise ValueError(f"the operator {condition.operator}")
    if prefix and key.startswith("kms:encryptioncontext:"):
        # KMS refuses such a policy, because ForAllValues holds for a request without the key.
        raise ValueError(f"{condition.operator} with {condition.key}, which has one value")
    is_negated = _OPERATORS[name].is_negated
    is_met = partial(_is_met, _matches(condition, name, variables), is_negated=is_negated)
    if prefix:
        is_all = prefix == "ForAllValues:"
        return _test_of_set(key, default, is_met, is_all=is_all, absent=is_all or bool(if_exists))
    return _test(key, default, is_met, absent=bool(if_exists) or is_negated)


def _matches(condition: Condition, name: str, variables: bool) -> Matches:
    found = _OPERATORS[name]
    try:
        return found.matches(condition.values, variables, found.is_negated)
    except ValueError as error:
        raise ValueError(f"a value of {condition.key} under {condition.operator}") from error


def _is_met(matches: Matches, text: str, values: Values, *, is_negated: bool) -> Truth:
    found = matches(text, values)
    return negation(found) if is_negated else found


def _test(key: str, default: Value, is_met: Matches, *, absent: bool) -> Test:
    def holds(values: Values) -> Truth:
        value = values.get(key, default)
        if isinstance(value, str):
            return is_met(value, values)
        if isinstance(value, NotUnderstood):
            return value
        # Operators without ForAllValues or ForAnyValue are for keys with one value. AWS does not
        # document their result for several values.
        return NotUnderstood(f"{key}, which has several values") if value else absent

    return holds


def _test_of_set(key: str, default: Value, is_met: Matches, *, is_all: bool, absent: bool) -> Test:
    def holds(values: Values) -> Truth:
        value = values.get(key, default)
        if isinstance(value, NotUnderstood):
            return value
        if not value:
            return absent
        each = (is_met(one, values) for one in ((value,) if isinstance(value, str) else value))
        return conjunction(each) if is_all else disjunction(each)

    return holds


def _null_test(condition: Condition, default: Value) -> Test:
    key = condition.key.lower()
    wanted = {_SWITCH.get(each.lower()) for each in condition.values}
    if None in wanted:
        raise ValueError(f"a value of {condition.key} under Null")

    def holds(values: Values) -> Truth:
        value = values.get(key, default)
        return value if isinstance(value, NotUnderstood) else (value == ABSENT) in wanted

    return holds


def _texts(
    values: Sequence[str],
    variables: bool,
    is_negated: bool,
    *,
    style: Style,
    ignore_case: bool = False,
) -> Matches:
    if style is Style.ARN and not all(_is_arn(each) for each in values):
        raise ValueError
    without = NotUnderstood("a policy variable that has no value")
    found = compile_texts(
        values,
        style,
        variables=variables,
        ignore_case=ignore_case,
        unspecified=unspecified,
        valueless=without if is_negated else False,
    )
    return _of_arns(found) if style is Style.ARN and is_negated else found


def _of_arns(matches: Matches) -> Matches:
    # AWS does not document the result of an ARN operator for a value that is not an ARN.
    def matches_arn(text: str, values: Values) -> Truth:
        if text.count(":") < _COLONS:
            return NotUnderstood(f"the request's value {text!r}, which is no ARN")
        return matches(text, values)

    return matches_arn


def _is_arn(text: str) -> bool:
    return text.count(":") >= _COLONS or "${" in text


def _parsed(
    values: Sequence[str],
    _variables: bool,
    _is_negated: bool,
    *,
    parse: Callable[[str], Any],
    holds: Callable[[Any, Any], bool],
) -> Matches:
    limits = [parse(each) for each in values]

    def matches(text: str, _: Values) -> Truth:
        try:
            found = parse(text)
        except ValueError:
            return NotUnderstood(f"the request's value {text!r} in a comparison")
        return any(holds(found, limit) for limit in limits)

    return matches


def _in_networks(
    values: Sequence[str],
    _variables: bool,
    _is_negated: bool,
) -> Matches:
    networks = [ipaddress.ip_network(each) for each in values]

    def matches(text: str, _: Values) -> Truth:
        try:
            address = _address(text)
        except ValueError:
            return NotUnderstood(f"the request's value {text!r} in a comparison")
        return any(address in each for each in networks)

    return matches


@lru_cache(maxsize=1024)
def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(text)


@lru_cache(maxsize=1024)
def _number(text: str) -> Decimal:
    if not _NUMBER.fullmatch(text):
        raise ValueError
    return Decimal(text)


@lru_cache(maxsize=1024)
def _moment(text: str) -> datetime:
    if _EPOCH.fullmatch(text):
        return datetime.fromtimestamp(int(text), UTC)
    if not _DATE.fullmatch(text):
        raise ValueError
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _switch(text: str) -> bool:
    found = _SWITCH.get(text.lower())
    if found is None:
        raise ValueError
    return found


def _ordered(name: str, parse: Callable[[str], Any]) -> dict[str, _Operator]:
    relations: Mapping[str, Callable[[Any, Any], bool]] = {
        "Equals": compare.eq,
        "LessThan": compare.lt,
        "LessThanEquals": compare.le,
        "GreaterThan": compare.gt,
        "GreaterThanEquals": compare.ge,
    }
    found = {
        f"{name}{relation}": _Operator(partial(_parsed, parse=parse, holds=holds))
        for relation, holds in relations.items()
    }
    equals = partial(_parsed, parse=parse, holds=compare.eq)
    return {**found, f"{name}NotEquals": _Operator(equals, is_negated=True)}


def _pair(
    positive: str, negated: str, matches: Callable[[Sequence[str], bool, bool], Matches]
) -> dict[str, _Operator]:
    return {positive: _Operator(matches), negated: _Operator(matches, is_negated=True)}


_OPERATORS: Mapping[str, _Operator] = {
    **_pair("StringEquals", "StringNotEquals", partial(_texts, style=Style.EXACT)),
    **_pair(
        "StringEqualsIgnoreCase",
        "StringNotEqualsIgnoreCase",
        partial(_texts, style=Style.EXACT, ignore_case=True),
    ),
    **_pair("StringLike", "StringNotLike", partial(_texts, style=Style.LIKE)),
    # ArnEquals and ArnLike behave identically, wildcards included.
    **_pair("ArnEquals", "ArnNotEquals", partial(_texts, style=Style.ARN)),
    **_pair("ArnLike", "ArnNotLike", partial(_texts, style=Style.ARN)),
    **_pair("IpAddress", "NotIpAddress", _in_networks),
    **_ordered("Numeric", _number),
    **_ordered("Date", _moment),
    "Bool": _Operator(partial(_parsed, parse=_switch, holds=compare.eq)),
}
