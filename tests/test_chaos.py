# SPDX-License-Identifier: Apache-2.0
"""The commands of tests/chaos run briefly, and their oracle recognises wrong outcomes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from chaos import contents
from chaos.history import Event
from chaos.oracle import Oracle

CHAOS = Path(__file__).parent / "chaos"
NAME = "bucket/client/0"


def run(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of the commands."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, CHAOS / command, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=kept,
    )


def test_a_short_run_finds_nothing_wrong() -> None:
    """Each of a hundred operations with cut replies has the outcome that was reported."""
    done = run("run.py", "--operations", "100", "--cuts", "25", "--seed", "1", "--large", "0.02")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


def test_gets_under_a_limit_of_kms_succeed(monkeypatch: pytest.MonkeyPatch) -> None:
    """All gets succeed at the rate that KMS accepts; only a few requests are throttled."""
    # Use the library's deadline instead of the tests' deadline.
    monkeypatch.setenv("S3CRYPT_RETRY_SECONDS", "60")
    done = run("kms_limit.py", "--gets", "500", "--threads", "32", "--limit", "30")
    assert done.returncode == 0, done.stdout + done.stderr
    asked = re.search(r"(\d+) KMS requests, (\d+) of them throttled", done.stdout)
    assert asked
    assert 0 < int(asked[2]) <= 200


def test_killed_jobs_do_what_is_left() -> None:
    """Puts, gets and rotations of many objects are killed, and complete when run again."""
    done = run("jobs.py", "kill", "--objects", "60", "--kills", "2", "--seed", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


def test_jobs_whose_replies_are_cut_are_told_the_truth() -> None:
    """Every job over thirty objects with cut replies reports true outcomes."""
    done = run("jobs.py", "cut", "--objects", "30", "--cuts", "40", "--seed", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


def event(operation: str, start: float, end: float, outcome: str = "ok", **more: Any) -> Event:
    """Return an operation on the one object, unless `more` names another."""
    more = {"name": NAME, **more}
    number = f"{operation}-{start}-{more['name']}"
    return Event(number, "0.0", operation, start=start, end=end, outcome=outcome, **more)


def write(start: float, end: float, content: str, outcome: str = "ok", **more: Any) -> Event:
    """Return a write operation."""
    return event("write", start, end, outcome, content=content, form="header:aes", **more)


def read(start: float, end: float, *found: str) -> Event:
    """Return a read operation that found these contents, or found no object."""
    return event("read", start, end, "ok" if found else "ObjectNotFoundError", found=list(found))


def delete(start: float, end: float, outcome: str = "ok") -> Event:
    """Return a delete operation."""
    return event("delete", start, end, outcome)


UNKNOWN, CONFLICT = "StorageError", "ConflictError"
WRONG: dict[str, list[Event]] = {
    "fault": [write(0, 1, "a"), event("read", 2, 3, fault="120 bytes of content a")],
    "foreign exception": [event("delete", 0, 1, "foreign")],
    "never written": [write(0, 1, "a"), read(2, 3, "b")],
    "denied write appeared": [
        write(0, 9, "b"),
        write(0, 1, "a", CONFLICT, if_absent=True),
        read(2, 3, "a"),
    ],
    "stale or resurrected": [write(0, 1, "a"), write(2, 3, "b"), read(4, 5, "a")],
    "lost": [write(0, 1, "a"), read(2, 3)],
    "refused write": [write(0, 1, "a", "PolicyError")],
    "if_absent replaced": [write(0, 1, "a"), write(2, 3, "b", if_absent=True)],
    "if_absent twice": [write(0, 3, "a", if_absent=True), write(1, 4, "b", if_absent=True)],
    "conflict with itself": [delete(0, 1), write(2, 3, "a", CONFLICT, if_absent=True)],
    "conflict with nobody": [write(0, 1, "a"), event("rotate", 3, 4, CONFLICT)],
    "refused delete": [delete(0, 1, CONFLICT)],
    "good object refused": [write(0, 1, "a"), event("read", 2, 3, "IntegrityError")],
    "wrong form": [
        write(0, 1, "a"),
        event("rotate", 2, 3, form="header:kms1"),
        event("final", 9, 9, found=["a"], form="header:aes"),
    ],
    "tags": [
        write(0, 1, "a", tagged=True),
        event("final", 9, 9, found=["a"], form="header:aes"),
    ],
    "refused listing": [event("list", 0, 1, "PolicyError", name="bucket/")],
    "listing": [write(0, 1, "a"), event("list", 2, 3, name="bucket/")],
}
RIGHT: dict[str, list[Event]] = {
    "an unknown write that was done": [write(0, 1, "a", UNKNOWN), read(2, 3, "a")],
    "an unknown write that was not": [write(0, 1, "a"), write(2, 3, "b", UNKNOWN), read(5, 6, "a")],
    "a read beside a write": [write(0, 1, "a"), write(2, 9, "b"), read(3, 4, "a")],
    "an unknown delete": [write(0, 1, "a"), delete(2, 3, UNKNOWN), read(5, 6)],
    "a delete, then a creation": [
        write(0, 1, "a"),
        delete(2, 3),
        write(5, 6, "b", if_absent=True),
        read(7, 8, "b"),
    ],
    "a conflict with a write beside it": [
        write(0, 9, "a"),
        write(2, 3, "b", CONFLICT, if_absent=True),
    ],
    "a rotation beside another": [
        write(0, 1, "a"),
        event("rotate", 3, 5, CONFLICT),
        event("rotate", 4, 6, form="header:kms1"),
        event("final", 9, 9, found=["a"], form="header:kms1"),
    ],
    "a copy": [
        write(0, 1, "a"),
        event("copy", 2, 3, name="bucket/client-copies/0", content=NAME),
        event("read", 4, 5, name="bucket/client-copies/0", found=["a"]),
    ],
    "a listing": [write(0, 1, "a"), event("list", 2, 3, name="bucket/", found=[NAME])],
}


@pytest.mark.parametrize("rule", WRONG)
def test_a_wrong_outcome_is_seen(rule: str) -> None:
    """The oracle finds each kind of wrong outcome, and reports no other kind."""
    assert {wrong.rule for wrong in Oracle(WRONG[rule]).wrong()} == {rule}


@pytest.mark.parametrize("history", RIGHT)
def test_a_right_outcome_is_left_alone(history: str) -> None:
    """The oracle accepts every outcome that a correct library may produce."""
    assert [str(wrong) for wrong in Oracle(RIGHT[history]).wrong()] == []


def test_a_seen_write_of_unknown_outcome_is_certain_from_then_on() -> None:
    """Once a read finds a write of unknown outcome, older content must not reappear."""
    history = [write(0, 1, "a"), write(2, 3, "b", UNKNOWN), read(4, 5, "b"), read(6, 7, "a")]
    (wrong,) = Oracle(history).wrong()
    assert wrong.rule == "stale or resurrected"


@pytest.mark.parametrize("size", [contents.SHORTEST, 70_000])
def test_a_content_is_known_by_its_bytes(size: int) -> None:
    """A content is recognised; a cut, mixed or extended content is a fault."""
    one, two = contents.make("w1-7", size), contents.make("w2-7", size)
    assert contents.fault(one) is None
    assert contents.fault(one[:-1])
    assert contents.fault(one[: size // 2] + two[size // 2 :])
    assert contents.fault(b"AWS" + one)
