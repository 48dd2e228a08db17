# SPDX-License-Identifier: Apache-2.0
"""Policy documents as values: read from JSON, compared by meaning, rendered, and their sizes.

This module knows the grammar of policies. It knows no action, condition key or role. A document may
have elements that `evaluation` does not understand. Such elements are kept as they were read, so a
document that is written back has no change that the caller did not request.

Grammar: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Self, TypeAlias

from s3crypt.errors import ConfigError

VERSION = "2012-10-17"
"""The version of the policy language that has policy variables, such as `${aws:username}`."""

_VERSION_OF_NONE = "2008-10-17"

OWN_SID = "S3crypt"
"""The Sid of every statement that s3crypt writes begins with this."""

Effect: TypeAlias = Literal["Allow", "Deny"]
"""The effect of a statement."""

_STATEMENT_ELEMENTS = frozenset(
    {
        "Sid",
        "Effect",
        "Principal",
        "NotPrincipal",
        "Action",
        "NotAction",
        "Resource",
        "NotResource",
        "Condition",
    }
)
_EVERYONE = "*"
_ACCOUNT_ROOT = re.compile(r"arn:aws[a-z-]*:iam::([0-9]{12}):root")
# The maximum nesting of JSON. The grammar needs six levels; unknown elements, which are kept
# unchanged, may need a few more.
_LEVELS = 16
_SID = re.compile(r"[A-Za-z0-9]*")
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
_CHARACTERS = re.compile(r"[\t\n\r\x20-\xff]*")


class Kind(StrEnum):
    """The place where a document is attached. It determines the elements and the length limit."""

    BUCKET = "bucket policy"
    KEY = "key policy"
    MANAGED = "managed policy"
    ROLE = "inline policy of a role"
    USER = "inline policy of a user"
    GROUP = "inline policy of a group"
    TRUST = "trust policy of a role"


# Kind -> the length limit in characters. IAM's limits do not count white space. s3crypt measures
# the shortest rendering, and also counts the white space inside its texts.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html#reference_iam-quotas-entity-length
_LIMITS: Mapping[Kind, int] = {
    Kind.BUCKET: 20 * 1024,
    Kind.KEY: 32 * 1024,
    Kind.MANAGED: 6_144,
    Kind.ROLE: 10_240,
    Kind.USER: 2_048,
    Kind.GROUP: 5_120,
    Kind.TRUST: 2_048,
}


@dataclass(frozen=True, slots=True)
class Principal:
    """One principal of a statement.

    Attributes:
        type: `AWS`, `Service`, `Federated`, `CanonicalUser`, or `*` if the principal is the text
            `"*"`.
        value: An ARN, an account, a service's name, an id, or `*`.
    """

    type: str
    value: str


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition key under one operator; a statement's conditions must all hold.

    Attributes:
        operator: The operator as written, such as `StringNotEqualsIfExists` or
            `ForAnyValue:StringLike`.
        key: The key as written. The names of condition keys are compared without regard to case.
        values: The values as texts; numbers and booleans as JSON spells them.
    """

    operator: str
    key: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement.

    At most one of `actions` and `not_actions` is set. The same holds for `resources` and
    `not_resources`, and for `principals` and `not_principals`.

    Attributes:
        effect: Whether the statement allows or denies.
        sid: The statement's id, or None.
        principals, not_principals: The callers that the statement is about, or is not about.
        actions, not_actions: The actions, such as `s3:GetObject` or `kms:*`.
        resources, not_resources: The ARNs of the resources; `*` and `?` are wildcards.
        conditions: The conditions, all of which must hold.
        unknown: The names of elements that are not in the grammar. s3crypt does not understand a
            statement with such an element.
    """

    effect: Effect
    sid: str | None = None
    principals: tuple[Principal, ...] | None = None
    not_principals: tuple[Principal, ...] | None = None
    actions: tuple[str, ...] | None = None
    not_actions: tuple[str, ...] | None = None
    resources: tuple[str, ...] | None = None
    not_resources: tuple[str, ...] | None = None
    conditions: tuple[Condition, ...] = ()
    unknown: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_ours(self) -> bool:
        """Whether the Sid marks the statement as a statement of s3crypt."""
        return self.sid is not None and self.sid.startswith(OWN_SID)

    @property
    def meaning(self) -> tuple[Any, ...]:
        """A value that is equal for statements with the same meaning, regardless of spelling.

        It ignores the order of lists, the difference between a value and a list of one value, an
        account's two spellings, and the case of action names. It includes the Sid.
        """
        return (
            self.sid,
            self.effect,
            _principals_meaning(self.principals),
            _principals_meaning(self.not_principals),
            _texts_meaning(self.actions, fold=True),
            _texts_meaning(self.not_actions, fold=True),
            _texts_meaning(self.resources),
            _texts_meaning(self.not_resources),
            frozenset(
                (each.operator, each.key.lower(), frozenset(each.values))
                for each in self.conditions
            ),
            json.dumps(dict(self.unknown), sort_keys=True),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the statement as JSON values.

        A list with one value is written as the plain value.
        """
        conditions: dict[str, dict[str, Any]] = {}
        for each in self.conditions:
            block = conditions.setdefault(each.operator, {})
            # A JSON object cannot have a key twice. If the second condition were dropped, the
            # statement would allow more.
            assert each.key not in block, f"{each.operator} has {each.key} twice"
            block[each.key] = _plain(each.values)
        elements = {
            "Sid": self.sid,
            "Effect": self.effect,
            "Principal": _principals_json(self.principals),
            "NotPrincipal": _principals_json(self.not_principals),
            "Action": _plain(self.actions),
            "NotAction": _plain(self.not_actions),
            "Resource": _plain(self.resources),
            "NotResource": _plain(self.not_resources),
            "Condition": conditions or None,
            **self.unknown,
        }
        return {name: value for name, value in elements.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Document:
    """A policy document.

    Attributes:
        statements: The statements in the document's order. The order does not affect decisions.
        version: The version of the policy language. None if the document has no version, which
            means the language of 2008, without policy variables.
        id: The document's `Id`, or None.
    """

    statements: tuple[Statement, ...]
    version: str | None = VERSION
    id: str | None = None

    @classmethod
    def parse(cls, policy: str | Mapping[str, Any]) -> Self:
        """Return the document that is given as a JSON text or as parsed JSON.

        Raises:
            ConfigError: The text is not JSON, or not a policy. The message names the statement and
                the element.
        """
        content = _loaded(policy)
        if not isinstance(content, dict):
            raise _not_a_policy("it is not a JSON object")
        extra = sorted(content.keys() - {"Version", "Id", "Statement"})
        if extra:
            raise _not_a_policy(f"it has the element {extra[0]}")
        found = content.get("Statement")
        statements = [found] if isinstance(found, dict) else found
        if not isinstance(statements, list) or not statements:
            raise _not_a_policy("it has no statements")
        return cls(
            tuple(_statement(each, _place(number, each)) for number, each in enumerate(statements)),
            _text(content, "Version", "policy"),
            _text(content, "Id", "policy"),
        )

    def named(self) -> Iterator[tuple[str, Statement]]:
        """Yield each statement's name and the statement.

        The name is the Sid, or a number from 1 on. If several statements have the same Sid, the
        name is the Sid followed by the number.
        """
        counts = Counter(each.sid for each in self.statements)
        for number, each in enumerate(self.statements, 1):
            place = f"statement {number}"
            if not each.sid:
                yield place, each
            else:
                yield each.sid if counts[each.sid] == 1 else f"{each.sid} ({place})", each

    @property
    def meaning(self) -> tuple[Any, ...]:
        """A value that is equal for documents with the same meaning."""
        version = self.version or _VERSION_OF_NONE
        return (version, frozenset(each.meaning for each in self.statements))

    def to_json(self) -> dict[str, Any]:
        """Return the document as JSON values."""
        head = {"Version": self.version, "Id": self.id}
        return {
            **{name: value for name, value in head.items() if value is not None},
            "Statement": [each.to_json() for each in self.statements],
        }

    def render(self, *, indent: int | None = 2) -> str:
        """Return the document as JSON text. `indent=None` returns the shortest text."""
        separators = (",", ":") if indent is None else None
        return json.dumps(self.to_json(), indent=indent, separators=separators)


def check_size(document: Document, kind: Kind) -> int:
    """Return the length of a document as AWS counts it, in characters.

    The length is measured on the shortest rendering, which is the text that s3crypt sends.

    Raises:
        ConfigError: The document is longer than AWS accepts.
    """
    length = len(document.render(indent=None))
    if length > _LIMITS[kind]:
        raise ConfigError(
            f"The {kind} would have {length:,} characters; AWS allows {_LIMITS[kind]:,}.",
            hint="Name fewer principals, prefixes or keys, or use patterns.",
        )
    return length


def check_writable(document: Document, kind: Kind) -> int:
    """Return the length of a document, after a check that AWS accepts the document.

    The characters of a Sid are checked only in s3crypt's own statements: S3 and KMS accept other
    characters in Sids as well.

    Raises:
        ConfigError: The document is longer than AWS accepts, two statements have the same Sid, or a
            text has a character that policies cannot have.
    """
    sids = [each.sid for each in document.statements if each.sid]
    twice = [sid for sid, count in Counter(sids).items() if count > 1]
    if twice:
        raise _not_writable(f"two statements have the Sid {twice[0]}")
    wrong = [each.sid for each in document.statements if each.is_ours and not _is_sid(each.sid)]
    if wrong:
        raise _not_writable(f"the Sid {wrong[0]!r} has more than letters and digits")
    if not _CHARACTERS.fullmatch(json.dumps(document.to_json(), ensure_ascii=False)):
        raise _not_writable("a text has a character beyond U+00FF or a control character")
    return check_size(document, kind)


def _is_sid(sid: str | None) -> bool:
    return sid is not None and _SID.fullmatch(sid) is not None


def _not_writable(reason: str) -> ConfigError:
    return ConfigError(f"AWS would refuse the policy: {reason}.", hint="Change that statement.")


def _loaded(policy: str | Mapping[str, Any]) -> Any:
    try:
        text = policy if isinstance(policy, str) else json.dumps(dict(policy))
        content = json.loads(
            text, object_pairs_hook=_object, parse_float=_number, parse_constant=_number
        )
        text.encode()
        json.dumps(content, ensure_ascii=False).encode()
    except ConfigError:
        raise
    except json.JSONDecodeError as error:
        raise _not_a_policy(f"it is not JSON, line {error.lineno}") from error
    except UnicodeEncodeError as error:
        raise _not_a_policy("it has half of a surrogate pair") from error
    except (RecursionError, TypeError, ValueError) as error:
        raise _not_a_policy("it is not JSON") from error
    if _is_deeper(content, _LEVELS):
        raise _not_a_policy(f"it is more than {_LEVELS} levels deep")
    return content


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Refuse an object that has a key twice: the service and s3crypt could use different values.
    found = dict(pairs)
    if len(found) != len(pairs):
        name = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise _not_a_policy(f"it has {name} twice in one object")
    return found


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _not_a_policy(f"it has {text}, which is no number of JSON")
    return value


def _is_deeper(content: object, levels: int) -> bool:
    if isinstance(content, dict):
        content = list(content.values())
    if not isinstance(content, list):
        return False
    return levels == 0 or any(_is_deeper(each, levels - 1) for each in content)


def _place(number: int, statement: object) -> str:
    sid = statement.get("Sid") if isinstance(statement, Mapping) else None
    return f"statement {sid}" if isinstance(sid, str) and sid else f"statement {number + 1}"


def _statement(content: object, place: str) -> Statement:
    if not isinstance(content, dict):
        raise _not_a_policy(f"{place} is not a JSON object")
    effect = content.get("Effect")
    if effect not in ("Allow", "Deny"):
        raise _not_a_policy(f"{place} has no Effect that is Allow or Deny")
    for element in ("Action", "Resource", "Principal"):
        if element in content and f"Not{element}" in content:
            raise _not_a_policy(f"{place} has both {element} and Not{element}")
    if "Action" not in content and "NotAction" not in content:
        raise _not_a_policy(f"{place} has no Action")
    return Statement(
        effect=effect,
        sid=_text(content, "Sid", place),
        principals=_principals(content, "Principal", place),
        not_principals=_principals(content, "NotPrincipal", place),
        actions=_texts(content, "Action", place),
        not_actions=_texts(content, "NotAction", place),
        resources=_texts(content, "Resource", place),
        not_resources=_texts(content, "NotResource", place),
        conditions=tuple(_conditions(content.get("Condition", {}), f"the Condition of {place}")),
        unknown={key: value for key, value in content.items() if key not in _STATEMENT_ELEMENTS},
    )


def _text(content: Mapping[str, Any], element: str, place: str) -> str | None:
    value = content.get(element)
    if element in content and not isinstance(value, str):
        raise _not_a_policy(f"the {element} of {place} is not text")
    return value


def _texts(content: Mapping[str, Any], element: str, place: str) -> tuple[str, ...] | None:
    if element not in content:
        return None
    return tuple(_listed(content[element], f"the {element} of {place}"))


def _listed(value: object, what: str) -> list[str]:
    values = value if isinstance(value, list) else [value]
    found = [each for each in values if isinstance(each, str)]
    if len(found) != len(values):
        raise _not_a_policy(f"{what} is neither text nor a list of texts")
    if not found:
        raise _not_a_policy(f"{what} is empty")
    return found


def _principals(
    content: Mapping[str, Any], element: str, place: str
) -> tuple[Principal, ...] | None:
    if element not in content:
        return None
    value, what = content[element], f"the {element} of {place}"
    if value == _EVERYONE:
        return (Principal(_EVERYONE, _EVERYONE),)
    if not isinstance(value, dict) or _EVERYONE in value:
        raise _not_a_policy(f'{what} is neither "*" nor a JSON object of types')
    if not value:
        raise _not_a_policy(f"{what} is empty")
    return tuple(
        Principal(kind, each) for kind, values in value.items() for each in _listed(values, what)
    )


def _conditions(value: object, what: str) -> Iterator[Condition]:
    if not isinstance(value, dict):
        raise _not_a_policy(f"{what} is not a JSON object")
    for operator, block in value.items():
        if not isinstance(block, dict) or not block:
            raise _not_a_policy(f"{what} has no keys under {operator}")
        for key, values in block.items():
            listed = values if isinstance(values, list) else [values]
            if not all(isinstance(each, str | int | float | bool) for each in listed):
                raise _not_a_policy(f"{what} has a value of {key} that is no text or number")
            yield Condition(operator, key, tuple(_normal(each) for each in listed))


def _normal(value: str | float | bool) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _plain(values: Sequence[str] | None) -> Any:
    if values is None:
        return None
    return values[0] if len(values) == 1 else list(values)


def _principals_json(principals: Sequence[Principal] | None) -> Any:
    if principals is None:
        return None
    if any(each.type == _EVERYONE for each in principals):
        return _EVERYONE
    by_type: dict[str, list[str]] = {}
    for each in principals:
        by_type.setdefault(each.type, []).append(each.value)
    return {kind: _plain(values) for kind, values in by_type.items()}


def _texts_meaning(values: Sequence[str] | None, *, fold: bool = False) -> Any:
    if values is None:
        return None
    return frozenset(each.lower() if fold else each for each in values)


def _principals_meaning(principals: Sequence[Principal] | None) -> Any:
    if principals is None:
        return None
    return frozenset(_principal_meaning(each) for each in principals)


def _principal_meaning(principal: Principal) -> tuple[str, str]:
    # In bucket policies and key policies, an account number means the ARN of the account's root,
    # and {"AWS": "*"} means "*".
    kind, value = principal.type, principal.value
    if kind == "AWS" and value == _EVERYONE:
        return (_EVERYONE, _EVERYONE)
    root = _ACCOUNT_ROOT.fullmatch(value) if kind == "AWS" else None
    return (kind, root[1] if root else value)


def _not_a_policy(reason: str) -> ConfigError:
    return ConfigError(
        f"Not a policy: {reason}.",
        hint="A policy is a JSON object with Version and Statement, a list of statements.",
    )
