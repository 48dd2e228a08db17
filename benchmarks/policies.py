# SPDX-License-Identifier: Apache-2.0
"""How long does it take to decide 1,000 requests by each of 20 policies, in one process?

    python policies.py [--rounds 5] [--tiny]

Prints JSON: for every round, our CPU seconds and the seconds that the promise allows. Our seconds
are those of parsing, compiling and deciding. The promise allows twice the time of `json.loads` of
the same texts, plus 50 us per request and policy.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle, islice

from s3crypt.policy import Document, Policies, Request, Verdict, decide
from s3crypt.policy.expectations import ADMINISTRATOR, default_key_policy
from s3crypt.policy.roles import (
    OTHERS,
    Role,
    Scope,
    bucket_policy,
    expectations,
    iam_policy,
    key_policy,
)

_MICROSECONDS_EACH = 50
_KEY = "arn:aws:kms:us-east-1:111122223333:key/8a1f0c7e-5f6d-4c0b-9f4e-1f2e3d4c5b6a"
_SCOPES = (
    Scope.of("acme", key_arns=(_KEY,), prefixes=("2026/", "logs/")),
    Scope.of("acme", key_arns=(_KEY,), prefixes=("2026/",), strict=True),
    Scope.of("acme", key_arns=(_KEY,), prefixes=("2026/",), vpc_endpoints=("vpce-0a1b2c3d",)),
    Scope.of("acme", key_arns=(_KEY,), prefixes=("2026/",), mode="client", env="production"),
)
_ROLES = (Role.WRITER, Role.READER, Role.ROTATOR)


def texts() -> list[tuple[str, str]]:
    """Return 20 policies as JSON texts, each with its kind: `identity`, `bucket` or `key`."""
    return [
        (kind, document.render())
        for scope in _SCOPES
        for kind, document in (
            ("bucket", bucket_policy(scope)),
            ("key", key_policy(scope)),
            *(("identity", iam_policy(role, scope)) for role in _ROLES),
        )
    ]


def requests(count: int) -> list[Request]:
    """Return `count` different requests, made from the roles' tables of expectations."""
    tables = [expectations(who, scope) for scope in _SCOPES for who in (*Role, OTHERS)]
    expected = islice(cycle(each.request for table in tables for each in table), count)
    return [
        replace(each, context={**each.context, "aws:Referer": str(number)})
        for number, each in enumerate(expected)
    ]


def policies(kind: str, document: Document) -> Policies:
    """Return a document with the other policies that a decision needs."""
    if kind == "identity":
        return Policies((document,), key=default_key_policy(_KEY))
    bucket, key = (document, None) if kind == "bucket" else (None, document)
    return Policies((ADMINISTRATOR,), bucket, key)


def measure(
    given: Sequence[tuple[str, str]], asked: Sequence[Request], rounds: int
) -> list[dict[str, float]]:
    """Return the CPU seconds of each round: ours, and those that the promise allows."""
    found = []
    for _ in range(rounds):
        loading = _seconds(lambda: [json.loads(text) for _, text in given])
        ours = _seconds(lambda: _decided(given, asked))
        allowed = 2 * loading + _MICROSECONDS_EACH * 1e-6 * len(asked) * len(given)
        found.append({"ours": ours, "allowed": allowed})
    return found


def _decided(given: Sequence[tuple[str, str]], asked: Sequence[Request]) -> None:
    verdicts = {
        decide(request, each).verdict
        for each in [policies(kind, Document.parse(text)) for kind, text in given]
        for request in asked
    }
    assert {Verdict.ALLOWED, Verdict.DENIED} <= verdicts


def _seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure decisions.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    asked = requests(100 if given.tiny else 1000)
    print(json.dumps(measure(texts(), asked, given.rounds)))


if __name__ == "__main__":
    main()
