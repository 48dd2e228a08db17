# SPDX-License-Identifier: Apache-2.0
"""Findings about objects, judged without a server: limits of findings, and keys in headers."""

import random
import shlex
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import pytest

from s3crypt.audit.object_controls import Rules, judge, slug
from s3crypt.audit.tallies import Scope, Tally
from s3crypt.audit.values import Demands, Finding, Resource, Verdict
from s3crypt.errors import StorageError
from s3crypt.kms.states import KeyState, KeyStates
from s3crypt.objects.sightings import Sighting

if TYPE_CHECKING:
    from s3crypt.kms.description import KeyReader

ACCOUNT = "111122223333"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/8a1f0c7e-5f6d-4c0b-9f4e-1f2e3d4c5b6a"
SCOPE = Scope(
    Resource("objects", "arn:aws:s3:::acme/*", ACCOUNT, "us-east-1"),
    "acme",
    "s3://acme/",
    Demands(),
)


def found(sightings: dict[str, Sighting], states: dict[str, KeyState]) -> list[Finding]:
    """Return the findings about objects with these headers, given the states of their keys."""
    rules, tally = Rules(Demands(), (), datetime.now(UTC)), Tally()
    for name, seen in sightings.items():
        for judgement in judge(name, seen, rules, states):
            tally.add(judgement, 1, [(name, None)])
    return list(tally.findings(SCOPE))


def of(findings: list[Finding], control: str) -> list[Finding]:
    """Return the findings of one control."""
    return [each for each in findings if each.control.id == control]


def test_objects_under_more_keys_than_are_counted_apart_stay_failed() -> None:
    """Objects under more keys than the limit share one failed finding, whose fix names no key."""
    arns = [KEY.replace("8a1f0c7e", f"{number:08x}") for number in range(502)]
    sightings = {arn: Sighting(server_mode="sse-kms", kms_key=arn, layer="none") for arn in arns}
    failed = of(found(sightings, dict.fromkeys(arns, KeyState("Disabled"))), "S3CRYPT.16")
    assert sum(each.count for each in failed) == len(arns)
    (last,) = (each for each in failed if each.cause == "others")
    assert last.fix is not None
    assert last.fix.text.startswith("#")


def test_a_bound_on_reasons_makes_no_failure_of_what_is_unknown() -> None:
    """If there are too many different reasons, the shared finding stays unknown and never fails."""
    arns = [KEY.replace("8a1f0c7e", f"{number:08x}") for number in range(502)]
    sightings = {arn: Sighting(server_mode="sse-kms", kms_key=arn, layer="none") for arn in arns}
    unknown = of(
        found(sightings, {arn: KeyState(hidden="KMS failed") for arn in arns}), "S3CRYPT.16"
    )
    assert {each.verdict for each in unknown} == {Verdict.UNKNOWN}
    assert not [each for each in unknown if "fail" in each.seen.partition("is not known: ")[0]]


def test_unknown_for_two_keys_is_two_findings() -> None:
    """Two keys of unknown state give two findings, even if their reasons begin the same."""
    other = KEY.replace("8a1f0c7e", "8a1f0c7f")
    sightings = {
        key: Sighting(server_mode="sse-kms", kms_key=key, layer="none") for key in (KEY, other)
    }
    states = dict.fromkeys((KEY, other), KeyState(hidden="KMS refuses to describe it"))
    unknown = of(found(sightings, states), "S3CRYPT.16")
    assert [(each.count, each.examples[0] in each.seen) for each in unknown] == [(1, True)] * 2
    assert slug("x" * 61) != slug("x" * 62)


@pytest.mark.parametrize("name", ["kms:8a1f0c7e", "aws-kms-hierarchy:branch", "unknown:x/y"])
def test_a_key_that_a_header_names_without_its_arn_is_unknown(name: str) -> None:
    """A key that a header names without its ARN cannot be looked up, so the verdict is unknown."""
    seen = Sighting(server_mode="sse-s3", layer="message", keys=(f"kms:{KEY}", name))
    (state,) = of(found({"a": seen}, {KEY: KeyState("Enabled")}), "S3CRYPT.16")
    assert state.verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("state", ["Disabled", "PendingDeletion"])
def test_a_key_that_a_header_names_is_quoted_in_commands(state: str) -> None:
    """A key name from a header is quoted in the fix.

    Otherwise the object's writer could put a shell command into the fix.
    """
    evil = f"arn:aws:kms:us-east-1; true:{ACCOUNT}:key/a $(touch {random.random()})"
    seen = Sighting(server_mode="sse-s3", layer="message", keys=(f"kms:{evil}",))
    (failed,) = of(found({"a": seen}, {evil: KeyState(state)}), "S3CRYPT.16")
    assert failed.fix is not None
    for line in failed.fix.text.splitlines():
        assert evil in shlex.split(line)


@pytest.mark.parametrize(
    "name", ["a\x1b[31mb", "it's\nnew", "b\u202er\u2028", "\\x41 '", "\x85f", "$(true)`x`"]
)
def test_a_name_in_a_command_is_the_name_of_the_object(name: str) -> None:
    """A shell reads the object's exact name from the fix, whose characters are all printable."""
    rules = Rules(Demands(modes=frozenset({"sse-kms"})), (), datetime.now(UTC))
    tally = Tally()
    for judgement in judge(name, Sighting(server_mode="sse-s3", layer="none"), rules, {}):
        tally.add(judgement, 1, [(name, None)])
    (failed,) = of(list(tally.findings(SCOPE)), "S3CRYPT.14")
    assert failed.fix is not None
    assert failed.fix.text.isprintable()
    script = f's3crypt() {{ printf %s "$2"; }}\n{failed.fix.text}'
    done = subprocess.run(["bash", "-c", script], check=True, capture_output=True)
    assert done.stdout.decode() == f"s3://acme/{name}"


class _Unreachable:
    """A key reader whose requests all fail, as in a Region that does not exist."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def metadata(self, key: str) -> Any:
        """Fail like a host name without an address."""
        self.asked.append(key)
        raise StorageError("Could not reach the service.")


def test_a_region_that_cannot_be_reached_is_asked_once() -> None:
    """Five keys of a Region that cannot be reached cost one request, so one timeout."""
    reader = _Unreachable()
    states = KeyStates(cast("KeyReader", reader))
    for number in range(5):
        arn = KEY.replace("us-east-1", "nowhere-1").replace("8a1f0c7e", f"{number:08x}")
        state = states.of(arn)
        assert (state.state, state.hidden) == (None, "KMS of nowhere-1 cannot be reached")
    assert len(reader.asked) == 1
