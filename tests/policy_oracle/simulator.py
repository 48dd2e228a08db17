# SPDX-License-Identifier: Apache-2.0
"""Run iam-simulate in a separate process: the actions that it knows, and its verdicts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s3crypt.policy import Verdict
from s3crypt.policy.evaluation import _values
from s3crypt.policy.truth import NotUnderstood

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from s3crypt.policy import Document, Policies, Request

HERE = Path(__file__).parent
PACKAGE = "@cloud-copilot/iam-simulate"
VERSION: str = json.loads((HERE / "package.json").read_text())["dependencies"][PACKAGE]
_VERDICTS = {
    "Allowed": Verdict.ALLOWED,
    "ExplicitlyDenied": Verdict.DENIED,
    "ImplicitlyDenied": Verdict.DENIED,
}


class SimulatorError(Exception):
    """The simulator refused a question, which is a mistake of the generator."""


@dataclass(frozen=True, slots=True)
class Action:
    """An action, as AWS's service authorization reference describes it.

    Attributes:
        keys: The condition keys of requests for the action, in lower case, by the type of the
            resource; `*` stands for requests without a resource.
    """

    name: str
    keys: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Question:
    """A request, and the documents that decide about it."""

    request: Request
    policies: Policies


@dataclass(frozen=True, slots=True)
class Answer:
    """The simulator's answer to a question.

    Attributes:
        ignored: The condition keys that the simulator ignored, because the action does not have
            them.
    """

    verdict: Verdict
    ignored: tuple[str, ...] = field(default=())


def folder() -> Path:
    """Return the folder into which install.sh puts the package."""
    cache_folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    default = Path(cache_folder) / "s3crypt-tests" / f"iam-simulate-{VERSION}"
    return Path(os.environ.get("S3CRYPT_POLICY_ORACLE") or default)


def missing() -> str | None:
    """Return the reason why the simulator cannot run, or None if it can."""
    if not shutil.which("node"):
        return "needs Node.js"
    if not (folder() / "installed").exists():
        return f"needs iam-simulate {VERSION}: run tests/policy_oracle/install.sh"
    return None


@cache
def actions(*services: str) -> dict[str, Action]:
    """Return the actions of these services, by name."""
    found: dict[str, Any] = json.loads(_node(["describe", *services], ""))
    return {name: _action(name, details) for name, details in found.items()}


def _action(name: str, details: Mapping[str, Any]) -> Action:
    common = {each.lower() for each in details["keys"]}
    resources: Mapping[str, list[str]] = details["resources"] or {"*": []}
    return Action(
        name,
        {
            kind: frozenset(common | {each.lower() for each in keys})
            for kind, keys in resources.items()
        },
    )


def answers(questions: Iterable[Question]) -> list[Answer]:
    """Return the simulator's verdict on each question.

    Raises:
        SimulatorError: The simulator refused a question as invalid.
    """
    lines = list(_lines(questions))
    replies = _node(["run"], "".join(f"{json.dumps(each)}\n" for each in lines))
    asked = [each for each in lines if "request" in each]
    found = [json.loads(line) for line in replies.splitlines()]
    if len(found) != len(asked):
        raise SimulatorError(f"{len(found)} answers to {len(asked)} questions")
    return [_answer(request, reply) for request, reply in zip(asked, found, strict=True)]


def _answer(request: Mapping[str, Any], reply: Mapping[str, Any]) -> Answer:
    if reply.get("result") not in _VERDICTS:
        raise SimulatorError(f"{json.dumps(request)}: {json.dumps(reply)}")
    return Answer(_VERDICTS[reply["result"]], tuple(reply["ignored"]))


def _lines(questions: Iterable[Question]) -> Iterator[dict[str, Any]]:
    known: dict[tuple[int, int, bool], int] = {}
    held: list[Policies] = []  # keeps the objects alive, so that no id is reused
    for number, question in enumerate(questions):
        resource = _resource_policy(question)
        has_own = question.request.caller.kind in {"role", "user"}
        identifier = (id(question.policies), id(resource), has_own)
        if identifier not in known:
            known[identifier] = len(known)
            held.append(question.policies)
            own = question.policies.identity if has_own else ()
            yield {
                "policies": known[identifier],
                "identity": [each.to_json() for each in own],
                "resource": resource.to_json() if resource else None,
            }
        yield {
            "request": number,
            "policies": known[identifier],
            "principal": question.request.caller.arn,
            "action": question.request.action,
            "resource": question.request.resource,
            "account": question.request.owner,
            "context": _context(question.request),
        }


def _resource_policy(question: Question) -> Document | None:
    request = question.request
    if request.action.startswith("s3:"):
        return question.policies.bucket if request.resource != "*" else None
    return question.policies.key if ":key/" in request.resource else None


def _context(request: Request) -> dict[str, str | list[str]]:
    # The simulator derives no condition keys from the caller, so the question has those that
    # s3crypt derives.
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in _values(request).items()
        if value and not isinstance(value, NotUnderstood)
    }


def _node(arguments: list[str], lines: str) -> str:
    node = shutil.which("node")
    assert node
    done = subprocess.run(
        [node, HERE / "simulate.cjs", *arguments],
        input=lines,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NODE_PATH": str(folder() / "node_modules")},
    )
    if done.returncode:
        raise SimulatorError(done.stderr)
    return done.stdout
