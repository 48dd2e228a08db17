# SPDX-License-Identifier: Apache-2.0
"""Texts of policies with wildcards and policy variables, compiled once and matched often.

This module does not know operators or elements of statements.

Wildcards: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html
Variables: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import TypeAlias

from .truth import NotUnderstood, Truth, disjunction

Value: TypeAlias = str | tuple[str, ...] | NotUnderstood
"""A single value, a tuple of values, or an unknown value of a condition key.

The empty tuple means that the request does not have the key.
"""

Values: TypeAlias = Mapping[str, Value]
"""The condition keys of a request, by their names in lower case."""

Matches: TypeAlias = Callable[[str, Values], Truth]
"""A function that returns whether a text of a request matches one of a policy's texts."""

ABSENT: tuple[str, ...] = ()

_ARN_PARTS = 6
_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
# `${*}`, `${?}` and `${$}` are escapes: they match these otherwise special characters.
_ESCAPED = frozenset("*?$")
_WITH_DEFAULT = re.compile(r"\s*([^\s,]+)\s*(?:,\s*'([^']*)'\s*)?")


class Style(Enum):
    """Whether a policy's text has wildcards, and how far they match."""

    EXACT = "no wildcards"
    LIKE = "wildcards match any text"
    ARN = "wildcards match within a part of an ARN; the last one of a text matches all the rest"


@dataclass(frozen=True, slots=True)
class _Variable:
    key: str
    default: str | None


class _Wildcard(Enum):
    ANY = "*"
    ONE = "?"


_Token: TypeAlias = str | _Wildcard | _Variable


def compile_texts(
    texts: Sequence[str],
    style: Style,
    *,
    variables: bool,
    ignore_case: bool = False,
    unspecified: Callable[[str], Value] = lambda _: ABSENT,
    valueless: Truth = False,
) -> Matches:
    """Return a function that matches a text of a request against the texts of a policy.

    The function's run time is proportional to the length of the request's text times the number of
    policy texts. It does not depend on the number of wildcards.

    Args:
        variables: Whether `${key}` is a variable, which depends on the document's version.
        unspecified: Returns the value of a condition key that a request does not give. Its argument
            is the key in lower case.
        valueless: The result for a policy text with a variable that has no value.
    """
    parsed = [tuple(_tokens(each, style, variables=variables)) for each in texts]
    fixed = [each for each in parsed if not _has_variable(each)]
    flags = re.DOTALL | (re.IGNORECASE if ignore_case else 0)
    expression = re.compile("|".join(_expression(each, style) for each in fixed) or "(?!)", flags)
    varying = [each for each in parsed if _has_variable(each)]
    if not varying:
        return lambda text, _: expression.fullmatch(text) is not None

    def matches(text: str, values: Values) -> Truth:
        if expression.fullmatch(text) is not None:
            return True
        found = [_with_values(each, values, unspecified) for each in varying]
        return disjunction(
            valueless
            if each is None
            else each
            if isinstance(each, NotUnderstood)
            else _compiled(_expression(each, style), flags).fullmatch(text) is not None
            for each in found
        )

    return matches


def _tokens(text: str, style: Style, *, variables: bool) -> Iterator[_Token]:
    at = 0
    for found in _VARIABLE.finditer(text) if variables else ():
        yield from _plain_tokens(text[at : found.start()], style)
        yield found[1] if found[1] in _ESCAPED else _variable(found[1])
        at = found.end()
    yield from _plain_tokens(text[at:], style)


def _plain_tokens(text: str, style: Style) -> Iterator[_Token]:
    if style is Style.EXACT:
        yield text
        return
    for part in re.split(r"([*?])", text):
        if part:
            yield _Wildcard(part) if part in {"*", "?"} else part


def _variable(content: str) -> _Variable:
    found = _WITH_DEFAULT.fullmatch(content)
    # A malformed variable never gets a value: its content is not the name of a condition key.
    return _Variable(found[1].lower(), found[2]) if found else _Variable(content.lower(), None)


def _has_variable(tokens: Sequence[_Token]) -> bool:
    return any(isinstance(each, _Variable) for each in tokens)


def _with_values(
    tokens: Sequence[_Token], values: Values, unspecified: Callable[[str], Value]
) -> Sequence[_Token] | NotUnderstood | None:
    # Return None if a variable has no value.
    resolved: list[_Token] = []
    for each in tokens:
        if not isinstance(each, _Variable):
            resolved.append(each)
            continue
        value = values[each.key] if each.key in values else unspecified(each.key)
        if value == ABSENT and each.default is not None:
            value = each.default
        if isinstance(value, NotUnderstood):
            return value
        if value == ABSENT:
            return None
        if not isinstance(value, str):
            return NotUnderstood(f"the variable {each.key}, which has several values")
        resolved.append(value)
    return resolved


@lru_cache(maxsize=1024)
def _compiled(expression: str, flags: int) -> re.Pattern[str]:
    return re.compile(expression, flags)


def _expression(tokens: Sequence[_Token], style: Style) -> str:
    if style is not Style.ARN:
        return f"(?:{_glob(tokens, '.')})"
    *head, rest = _arn_parts(tokens)
    if len(head) == _ARN_PARTS - 1:
        last = _glob(rest, ".")
    elif rest and rest[-1] is _Wildcard.ANY:
        last = f"{_glob(rest[:-1], '[^:]')}.*"
    else:
        last = _glob(rest, "[^:]")
    return f"(?:{':'.join([*(_glob(each, '[^:]') for each in head), last])})"


def _arn_parts(tokens: Sequence[_Token]) -> list[list[_Token]]:
    parts: list[list[_Token]] = [[]]
    for each in tokens:
        if not isinstance(each, str):
            parts[-1].append(each)
            continue
        first, *others = each.split(":", _ARN_PARTS - len(parts))
        parts[-1].append(first)
        parts += [[other] for other in others]
    return parts


def _glob(tokens: Sequence[_Token], character: str) -> str:
    # Each "*" except the last one matches as little as possible and never backtracks. The result is
    # the same as with backtracking, whose time for n "*" would grow with the n-th power of the
    # text's length.
    chunks = [""]
    for each in tokens:
        if each is _Wildcard.ANY:
            chunks.append("")
        else:
            chunks[-1] += character if each is _Wildcard.ONE else re.escape(str(each))
    first, *others = chunks
    if not others:
        return first
    inner = "".join(f"(?>{character}*?{chunk})" for chunk in others[:-1] if chunk)
    return f"{first}{inner}{character}*{others[-1]}"
