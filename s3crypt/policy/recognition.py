# SPDX-License-Identifier: Apache-2.0
"""Facts derived from a policy document alone: its kind, and the bucket and keys that it names.

Only names are taken from a document. What a new policy must allow or deny is never derived from a
present policy, which may be wrong.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from s3crypt.errors import ConfigError

from .documents import Document, Kind, Statement

_BUCKET = re.compile(r"arn:aws[a-z-]*:s3:::([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/.*)?")
_KEY = re.compile(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+")
_ROOT = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}):root")
_PLACES = {"s3": Kind.BUCKET, "kms": Kind.KEY, "sts": Kind.TRUST}


@dataclass(frozen=True, slots=True)
class Facts:
    """The names that occur in policy documents.

    Attributes:
        buckets: The names of buckets, in the order of the documents.
        keys: The ARNs of keys.
        accounts: The accounts that the documents name by the ARN of their root.
    """

    buckets: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()


def kind_of(document: Document) -> Kind:
    """Return the kind of a document. A document without principals is the policy of a role.

    Raises:
        ConfigError: The statements are about several services, or about an unsupported service.
    """
    if not any(each.principals or each.not_principals for each in document.statements):
        return Kind.ROLE
    services = {service for each in document.statements for service in _services(each)}
    kinds = {_PLACES.get(service) for service in services}
    kind = kinds.pop() if len(kinds) == 1 else None
    if kind is None:
        raise ConfigError(
            "It is not clear whether the policy is a bucket's, a key's or a role's.",
            hint="The statements of a bucket's policy have actions of s3, those of a key's of kms.",
        )
    return kind


def facts_of(documents: Iterable[Document]) -> Facts:
    """Return the names that occur in documents, each once."""
    statements = [each for document in documents for each in document.statements]
    texts = [text for each in statements for text in _texts(each)]
    return Facts(
        tuple(dict.fromkeys(found[1] for text in texts if (found := _BUCKET.fullmatch(text)))),
        tuple(dict.fromkeys(text for text in texts if _KEY.fullmatch(text))),
        tuple(dict.fromkeys(found[1] for text in texts if (found := _ROOT.fullmatch(text)))),
    )


def _services(statement: Statement) -> Iterator[str]:
    for action in statement.actions or statement.not_actions or ():
        yield action.partition(":")[0].lower()


def _texts(statement: Statement) -> Iterator[str]:
    yield from statement.resources or ()
    for principal in statement.principals or ():
        yield principal.value
    for condition in statement.conditions:
        yield from condition.values
