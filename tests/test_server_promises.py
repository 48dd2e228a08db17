# SPDX-License-Identifier: Apache-2.0
"""The table in docs/modes.md: which server keeps which promise. The sandbox's column is tested."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from relay import Answer, Asked, relaying
from servers.place import BY_HEAD, NO, VERDICTS, YES, Place
from servers.promises import PROMISES, check

if TYPE_CHECKING:
    from collections.abc import Callable

    import boto3

    from s3crypt.sandbox import Running

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "modes.md"
SANDBOX = "the sandbox"


def table() -> dict[str, dict[str, str]]:
    """Return the cells of the table, by promise and then by server."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    start = next(number for number, row in enumerate(rows) if row[0] == "promise")
    servers = rows[start][1:]
    found = {}
    for promise, *cells in rows[start + 2 :]:
        assert len(cells) == len(servers), promise
        found[promise] = dict(zip(servers, cells, strict=True))
    return found


def test_the_table_has_every_promise_and_only_verdicts() -> None:
    """The table has each promise that the checks know, and only known verdicts."""
    cells = table()
    assert list(cells) == list(PROMISES)
    assert {cell for row in cells.values() for cell in row.values()} <= set(VERDICTS)


@pytest.mark.parametrize("promise", PROMISES)
def test_the_sandbox_does_as_the_table_says(
    promise: str, sandbox: Running, session: boto3.Session, bucket: str, kms_key: str
) -> None:
    """Each check of a promise against the sandbox gives the verdict in the table."""
    outcome = check(Place(session, sandbox.endpoint_url, bucket, kms_key), promise)
    assert outcome.verdict == table()[promise][SANDBOX], outcome.note


_CONDITIONS = ("if-match", "if-none-match", "x-amz-copy-source-if-match")


def _without_conditions(asked: Asked, forward: Callable[[], Answer]) -> Answer:
    if asked.method != "GET":
        for name in _CONDITIONS:
            asked.headers.pop(name, None)
    return forward()


def _without_conditions_and_looks(asked: Asked, forward: Callable[[], Answer]) -> Answer:
    if asked.method == "HEAD":
        return Answer(403)
    return _without_conditions(asked, forward)


@pytest.mark.parametrize(
    ("spoil", "verdict"), [(_without_conditions, BY_HEAD), (_without_conditions_and_looks, NO)]
)
def test_the_checks_tell_who_notices_another_writer(
    spoil: Callable[[Asked, Callable[[], Answer]], Answer],
    verdict: str,
    sandbox: Running,
    session: boto3.Session,
    bucket: str,
    kms_key: str,
) -> None:
    """If the service ignores conditions, a HEAD request notices the other writer.

    If the service also denies HEAD, no check notices the other writer.
    """
    with relaying(sandbox.endpoint_url, spoil) as relay:
        outcome = check(
            Place(session, relay.url, bucket, kms_key),
            "`if_absent` keeps what is there: one request",
        )
    assert outcome.verdict == verdict


def test_the_command_prints_a_line_per_promise(sandbox: Running) -> None:
    """The command prints one line per promise, and exits with 0 if all are kept."""
    done = subprocess.run(
        [sys.executable, TESTS / "servers" / "run.py", sandbox.endpoint_url, "--only", "ranges"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["reads", "of", "ranges", YES])
