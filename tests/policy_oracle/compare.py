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
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from generator import Subject
    from simulator import Answer, Question

    from s3crypt.policy import Request

# The number of questions in memory at a time. Each is also held as a line of JSON.
_AT_ONCE = 20_000
_SERVICES = ("s3", "kms", "cloudtrail", "config", "securityhub", "access-analyzer")


@dataclass(frozen=True, slots=True)
class Difference:
    """A request that s3crypt and the simulator decide differently."""

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


def _is_of_the_resource(difference: Difference) -> bool:
    return difference.ours.verdict is Verdict.NOT_UNDERSTOOD and difference.ours.reason.endswith(
        "of which the request says nothing."
    )


EXPLAINED: dict[str, Callable[[Difference], bool]] = {
    "The simulator has no root user: it takes it for a user without policies.": _is_root,
    "Which account a service calls from is not documented: it is not understood.": (
        _is_of_a_services_account
    ),
    "Whether a text that is no ARN differs from one is not documented: it is not understood.": (
        _is_of_no_arn
    ),
    "The simulator takes a tag of the resource for absent if the request does not name it.": (
        _is_of_the_resource
    ),
}
"""Reason -> whether it explains a difference. The first one that does is counted."""


def explanation(difference: Difference) -> str | None:
    """Return the reason for a difference, or None if no reason is known."""
    return next((why for why, explains in EXPLAINED.items() if explains(difference)), None)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result for one policy: the number of equal decisions by verdict, and the differences."""

    subject: str
    agreed: Counter[Verdict]
    different: tuple[Difference, ...]

    @property
    def unexplained(self) -> tuple[Difference, ...]:
        """Return the differences that the table `EXPLAINED` does not explain."""
        return tuple(each for each in self.different if not explanation(each))


def comparisons(subjects: Sequence[Subject], count: int, seed: int) -> Iterator[Comparison]:
    """Yield the comparison of each policy, with `count` requests per policy."""
    known = simulator.actions(*_SERVICES)
    some = max(1, _AT_ONCE // count)
    for start in range(0, len(subjects), some):
        asked = [
            (subject, questions(subject, known, count, seed))
            for subject in subjects[start : start + some]
        ]
        said = iter(simulator.answers([each for _, found in asked for each in found]))
        for subject, found in asked:
            yield _compared(subject, zip(found, said, strict=False))


def _compared(subject: Subject, pairs: Iterable[tuple[Question, Answer]]) -> Comparison:
    agreed: Counter[Verdict] = Counter()
    different = []
    for question, answer in pairs:
        ours = decide(_seen(question, answer), question.policies)
        if ours.verdict is answer.verdict:
            agreed[ours.verdict] += 1
        else:
            different.append(Difference(subject.name, question, ours, answer.verdict))
    return Comparison(subject.name, agreed, tuple(different))


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
    """Compare the policies, print the table, and exit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--requests", type=int, default=2000, help="for each policy")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="policies whose name has this text")
    given = parser.parse_args()
    reason = simulator.missing()
    if reason:
        sys.exit(reason)
    subjects = [each for each in (*generated(), *by_hand()) if given.only in each.name]
    print(f"{'policy':38} {'allowed':>8} {'denied':>8} {'explained':>10} {'not':>5}")
    unexplained: list[Difference] = []
    reasons: Counter[str] = Counter()
    for each in comparisons(subjects, given.requests, given.seed):
        reasons.update(why for one in each.different if (why := explanation(one)))
        unexplained += each.unexplained
        print(
            f"{each.subject:38} {each.agreed[Verdict.ALLOWED]:8} {each.agreed[Verdict.DENIED]:8} "
            f"{len(each.different) - len(each.unexplained):10} {len(each.unexplained):5}"
        )
    print("\n".join(f"{count:8}  {why}" for why, count in reasons.items()))
    print("\n".join(_rows(unexplained[:20])))
    sys.exit(1 if unexplained else 0)


if __name__ == "__main__":
    main()
