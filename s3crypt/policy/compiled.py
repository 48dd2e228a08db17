# SPDX-License-Identifier: Apache-2.0
"""Statements that are compiled once and matched against many requests.

This module matches one document, with the rules of the place where it is attached. `evaluation`
combines the matches of all documents to a decision.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from .callers import Caller, Naming, naming, principal_fault
from .conditions import Test, compile_condition, is_known, unspecified
from .documents import Condition, Document, Effect, Statement
from .patterns import Matches, Style, Values, compile_texts
from .truth import NotUnderstood, Truth, conjunction, disjunction, negation

_VERSIONS = frozenset({None, "2008-10-17", "2012-10-17"})
_WITH_VARIABLES = "2012-10-17"
# The largest number of actions for which a document caches the statements that cover the action.
_REMEMBERED = 1024

_Names: TypeAlias = Callable[[Caller], Naming]


class Place(Enum):
    """The place where a document is attached. It determines which elements a statement needs."""

    IDENTITY = "identity policy"
    BUCKET = "bucket policy"
    KEY = "key policy"
    TRUST = "trust policy"


@dataclass(frozen=True, slots=True)
class Match:
    """A statement that may apply to a request.

    Attributes:
        statement: The document and the statement's Sid or number.
        naming: Whether the statement applies because it names the caller directly, and whether it
            applies because it names the caller's account.
    """

    statement: str
    effect: Effect
    naming: Naming

    @property
    def applies(self) -> Truth:
        """Whether the statement applies, in either way of naming the caller."""
        return disjunction((self.naming.itself, self.naming.account))


@dataclass(frozen=True, slots=True)
class _Compiled:
    label: str
    effect: Effect
    fault: NotUnderstood | None
    covers: Matches
    names: _Names
    resource: Matches
    tests: tuple[Test, ...]

    def match(self, caller: Caller, resource: str, values: Values) -> Match | None:
        if self.fault:
            return Match(self.label, self.effect, Naming(self.fault, self.fault))
        named = self.names(caller)
        if named.itself is False and named.account is False:
            return None
        applies = self._applies(resource, values)
        if applies is False:
            return None
        if applies is not True:
            named = Naming(
                conjunction((named.itself, applies)), conjunction((named.account, applies))
            )
        return Match(self.label, self.effect, named)

    def _applies(self, resource: str, values: Values) -> Truth:
        unclear = self.resource(resource, values)
        if unclear is False:
            return False
        for test in self.tests:
            found = test(values)
            if found is False:
                return False
            if unclear is True:
                unclear = found
        return unclear


class CompiledDocument:
    """A document that is compiled to be matched against requests.

    Args:
        document: The document.
        place: The place where the document is attached.
        label: The prefix of the statements' names; if empty, the name of the place.
    """

    __slots__ = ("_by_action", "_statements")

    def __init__(self, document: Document, place: Place, label: str = "") -> None:
        self._statements = [
            _compiled(each, f"{label or place.value}: {name}", document.version, place)
            for name, each in document.named()
        ]
        self._by_action: dict[str, tuple[_Compiled, ...]] = {}

    def matching(
        self, caller: Caller, action: str, resource: str, values: Values
    ) -> Iterator[Match]:
        """Yield the statements that apply, or may apply, to a request."""
        for each in self._about(action):
            found = each.match(caller, resource, values)
            if found:
                yield found

    def _about(self, action: str) -> tuple[_Compiled, ...]:
        found = self._by_action.get(action)
        if found is None:
            found = tuple(
                each for each in self._statements if each.fault or each.covers(action, {})
            )
            if len(self._by_action) < _REMEMBERED:
                self._by_action[action] = found
        return found


def faults(document: Document, place: Place) -> dict[str, str]:
    """Return the faults that a document has for every request: Sid or number -> description.

    An unknown condition key is also a fault here. A request whose context gives a value for that
    key can still be decided.
    """
    found: dict[str, str] = {}
    for name, statement in document.named():
        first = next(_faults(statement, document.version, place), None)
        if first:
            found[name] = first.reason
    return found


def covers(statement: Statement, action: str) -> bool:
    """Return whether a statement's Action or NotAction covers an action."""
    return _actions(statement)(action, {}) is True


def covers_resource(statement: Statement, arn: str) -> bool:
    """Return whether a statement's Resource or NotResource certainly covers a resource."""
    return _resources(statement, variables=False)(arn, {}) is True


def _faults(statement: Statement, version: str | None, place: Place) -> Iterator[NotUnderstood]:
    whole = _fault(statement, version, place)
    if whole:
        yield whole
    if statement.not_principals is not None:
        yield NotUnderstood("NotPrincipal")
    for principal in statement.principals or ():
        fault = principal_fault(principal)
        if fault:
            yield fault
    for condition in statement.conditions:
        test = compile_condition(condition, variables=version == _WITH_VARIABLES)
        if isinstance(test, NotUnderstood):
            yield test
        elif not is_known(condition.key):
            yield NotUnderstood(f"the condition key {condition.key}")


def _fault(statement: Statement, version: str | None, place: Place) -> NotUnderstood | None:
    # Return a fault that makes the meaning of the whole statement unclear, or None.
    names = statement.principals is not None or statement.not_principals is not None
    listed = (statement.actions, statement.not_actions, statement.resources)
    more = (statement.not_resources, statement.principals, statement.not_principals)
    has_resource = statement.resources is not None or statement.not_resources is not None
    if statement.unknown:
        return NotUnderstood(f"the element {next(iter(statement.unknown))}")
    if version not in _VERSIONS:
        return NotUnderstood(f"the version {version} of the policy language")
    if () in (*listed, *more):
        return NotUnderstood("an empty list")
    if names != (place is not Place.IDENTITY):
        return NotUnderstood("a principal in an identity policy" if names else "no principal")
    if not has_resource and place in {Place.IDENTITY, Place.BUCKET}:
        return NotUnderstood("no resource")
    return None


def _compiled(statement: Statement, label: str, version: str | None, place: Place) -> _Compiled:
    variables = version == _WITH_VARIABLES
    return _Compiled(
        label=label,
        effect=statement.effect,
        fault=_fault(statement, version, place),
        covers=_actions(statement),
        names=_names(statement),
        resource=_resources(statement, variables=variables),
        tests=tuple(_test(each, variables=variables) for each in statement.conditions),
    )


def _test(condition: Condition, *, variables: bool) -> Test:
    found = compile_condition(condition, variables=variables)
    return (lambda _: found) if isinstance(found, NotUnderstood) else found


def _actions(statement: Statement) -> Matches:
    listed = statement.actions if statement.actions is not None else statement.not_actions
    found = compile_texts(listed or (), Style.LIKE, variables=False, ignore_case=True)
    return found if statement.actions is not None else _opposite(found)


def _opposite(matches: Matches) -> Matches:
    return lambda text, values: negation(matches(text, values))


def _names(statement: Statement) -> _Names:
    if statement.not_principals is not None:
        return lambda _: Naming(NotUnderstood("NotPrincipal"))
    principals = statement.principals
    if principals is None:  # an identity policy always applies to the caller
        return lambda _: Naming(itself=True)
    if len(principals) == 1:
        return lambda caller: naming(principals[0], caller)

    def names(caller: Caller) -> Naming:
        found = [naming(each, caller) for each in principals]
        return Naming(
            disjunction(each.itself for each in found), disjunction(each.account for each in found)
        )

    return names


def _resources(statement: Statement, *, variables: bool) -> Matches:
    if statement.not_resources is not None:
        without = NotUnderstood("a policy variable that has no value")
        return _opposite(
            _matches_arn(statement.not_resources, variables=variables, without=without)
        )
    if statement.resources is None:
        # In a key policy, a statement without Resource has no effect.
        # https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-overview.html
        return lambda _, __: False
    return _matches_arn(statement.resources, variables=variables, without=False)


def _matches_arn(texts: Sequence[str], *, variables: bool, without: Truth) -> Matches:
    # AWS recommends wildcards within the parts of an ARN, and says that a wildcard at a part's end
    # can match beyond that part. AWS does not say when: it is clear only for the last part of an
    # ARN.
    def compiled(some: Sequence[str], style: Style) -> Matches:
        return compile_texts(
            some, style, variables=variables, unspecified=unspecified, valueless=without
        )

    within = compiled(texts, Style.ARN)
    if not any(_has_wildcard_before_the_last_part(each) for each in texts):
        return within
    beyond = compiled(texts, Style.LIKE)
    unclear = NotUnderstood("a wildcard that reaches beyond a part of the resource's ARN")

    def matches(text: str, values: Values) -> Truth:
        found = within(text, values)
        return unclear if found is False and beyond(text, values) is not False else found

    return matches


def _has_wildcard_before_the_last_part(text: str) -> bool:
    return any(sign in part for part in text.split(":", 5)[:5] for sign in "*?")
