# SPDX-License-Identifier: Apache-2.0
"""Compare s3crypt's decisions with those of iam-simulate, request by request.

    tests/policy_oracle/install.sh
    python tests/policy_oracle/compare.py --requests 2000 --seed 1

Prints a table with a row for each policy and one for each difference, and exits with 1 if a
difference is not explained by the table `EXPLAINED`.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import simulator
from generator import questions
from subjects import by_hand, generated

from s3crypt.policy import Decision, Verdict, decide

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from generator import Subject
    from simulator import Answer, Question

    from s3crypt.policy import Request

_SERVICES = ("s3", "kms", "cloudtrail", "config", "securityhub", "access-analyzer")


@dataclass(frozen=True, slots=True)
class Difference:
    """A request that the two decide differently."""

    subject: str
    question: Question
    ours: Decision
    theirs: Verdict


def _is_root(difference: Difference) -> bool:
    return difference.question.request.caller.kind == "root"


def _is_of_a_services_account(difference: Difference) -> bool:
    return (
        difference.question.request.caller.kind == "service"
        and difference.ours.verdict is Verdict.NOT_UNDERSTOOD
        and any(key in difference.ours.reason for key in ("aws:principalarn", "kms:calleraccount"))
    )


def _is_of_no_arn(difference: Difference) -> bool:
    return difference.ours.reason.endswith("which is no ARN.")


EXPLAINED: dict[str, Callable[[Difference], bool]] = {
    "The simulator has no root user: it takes it for a user without policies.": _is_root,
    "Which account a service calls from is not documented: it is not understood.": (
        _is_of_a_services_account
    ),
    "Whether a text that is no ARN differs from one is not documented: it is not understood.": (
        _is_of_no_arn
    ),
}
"""Reason -> whether it explains a difference. The first one that does is counted."""


def explanation(difference: Difference) -> str | None:
    """Return why the two differ, or None if that is not known."""
    return next((why for why, explains in EXPLAINED.items() if explains(difference)), None)


def differences(
    subject: Subject, count: int, seed: int
) -> tuple[Counter[Verdict], list[Difference]]:
    """Return how often the two agree on which verdict, and where they do not agree."""
    asked = questions(subject, simulator.actions(*_SERVICES), count, seed)
    agreed: Counter[Verdict] = Counter()
    found = []
    for question, answer in zip(asked, simulator.answers(asked), strict=True):
        ours = decide(_seen(question, answer), question.policies)
        if ours.verdict is answer.verdict:
            agreed[ours.verdict] += 1
        else:
            found.append(Difference(subject.name, question, ours, answer.verdict))
    return agreed, found


def _seen(question: Question, answer: Answer) -> Request:
    ignored = {each.lower() for each in answer.ignored}
    context = question.request.context
    kept = {name: value for name, value in context.items() if name.lower() not in ignored}
    return replace(question.request, context=kept)


def _rows(found: Iterable[Difference]) -> Iterator[str]:
    for each in found:
        request = each.question.request
        yield (
            f"  {each.subject}: {request.caller.arn or request.caller.kind} {request.action} "
            f"{request.resource} {dict(request.context)}\n"
            f"    ours: {each.ours.verdict} ({each.ours.reason} {', '.join(each.ours.statements)})"
            f" theirs: {each.theirs}"
        )


def main() -> None:
    """Compare, print, and exit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--requests", type=int, default=2000, help="for each policy")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="policies whose name has this text")
    given = parser.parse_args()
    reason = simulator.missing()
    if reason:
        sys.exit(reason)
    print(f"{'policy':32} {'allowed':>8} {'denied':>8} {'explained':>10} {'not':>5}")
    unexplained: list[Difference] = []
    reasons: Counter[str] = Counter()
    for subject in [*generated(), *by_hand()]:
        if given.only not in subject.name:
            continue
        agreed, found = differences(subject, given.requests, given.seed)
        open_ones = [each for each in found if not explanation(each)]
        reasons.update(why for each in found if (why := explanation(each)))
        unexplained += open_ones
        print(
            f"{subject.name:32} {agreed[Verdict.ALLOWED]:8} {agreed[Verdict.DENIED]:8} "
            f"{len(found) - len(open_ones):10} {len(open_ones):5}"
        )
    print("\n".join(f"{count:8}  {why}" for why, count in reasons.items()))
    print("\n".join(_rows(unexplained[:20])))
    sys.exit(1 if unexplained else 0)


if __name__ == "__main__":
    main()
