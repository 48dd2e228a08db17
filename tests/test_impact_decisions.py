# SPDX-License-Identifier: Apache-2.0
"""Decisions whether an object depends on a key, from facts about the object, without requests."""

from __future__ import annotations

from typing import Any

import pytest

from s3crypt.impact.deciding import Decider
from s3crypt.impact.target import Target
from s3crypt.kms.states import KeyState
from s3crypt.objects.sightings import Sighting

PLACE = "arn:aws:kms:us-east-1:123456789012:key/"
ID = "11111111-2222-3333-4444-555555555555"
KEY, OTHER = PLACE + ID, f"{PLACE}99999999-2222-3333-4444-555555555555"
FOREIGN = KEY.replace("123456789012", "210987654321")
MRK = f"{PLACE}mrk-{'1' * 32}"
REPLICA = MRK.replace("us-east-1", "eu-west-1")
BRANCH = "aws-kms-hierarchy:branch"
STATES = {OTHER: "Enabled", FOREIGN: "Enabled"}


def decided(
    seen: Sighting,
    *,
    key: str = KEY,
    siblings: tuple[str, ...] = (),
    state: str | None = "Enabled",
    alias: str | KeyState = KEY,
) -> tuple[str, str]:
    """Return the kind and the mode of a decision. `state` is the state of every other key."""
    decider = Decider(
        Target(key, "Enabled", "CUSTOMER", siblings=siblings),
        siblings,
        lambda _: KeyState(state, denied=() if state else ("kms:DescribeKey",)),
        lambda _: alias,
    )
    found = decider.decide(seen)
    return found.kind, found.mode


def message(*keys: str, server: str | None = None) -> Sighting:
    """Return the facts about a message with these keys."""
    mode = "sse-kms" if server else "sse-s3"
    return Sighting(
        server_mode=mode, kms_key=server, layer="message", keys=keys, key_location="header"
    )


def s3ec(**facts: Any) -> Sighting:
    """Return the facts about an object of the S3 Encryption Client."""
    return Sighting(server_mode="sse-s3", layer="s3ec", **facts)


HEADER = "client (header)"


@pytest.mark.parametrize(
    ("seen", "found"),
    [
        (Sighting(server_mode="sse-kms", kms_key=KEY, layer="none"), ("only", "sse-kms")),
        (Sighting(server_mode="dsse-kms", kms_key=KEY, layer="none"), ("only", "dsse-kms")),
        (Sighting(server_mode="sse-kms", kms_key=KEY, hidden="refused"), ("only", "sse-kms")),
        (Sighting(server_mode="sse-kms", kms_key=ID, layer="none"), ("only", "sse-kms")),
        (Sighting(server_mode="sse-kms", layer="none"), ("unknown", "")),
        (Sighting(server_mode="sse-kms", kms_key=OTHER, layer="none"), ("other", "")),
        (Sighting(server_mode="sse-kms", kms_key=FOREIGN, layer="none"), ("other", "")),
        (Sighting(server_mode=None, layer="none"), ("other", "")),
        (Sighting(hidden="S3 refuses HEAD", denied=("s3:GetObject",)), ("unknown", "")),
        (Sighting(server_mode="sse-c", hidden="no key"), ("unknown", "")),
        (Sighting(server_mode="sse-c", opens=True, layer="none"), ("other", "")),
        (Sighting(server_mode="sse-s3", hidden="archived"), ("unknown", "")),
        (Sighting(server_mode="sse-s3", layer="message", hidden="broken"), ("unknown", "")),
        (message(f"kms:{KEY}"), ("only", HEADER)),
        (message(f"kms:{KEY}", f"kms:{KEY}"), ("only", HEADER)),
        (message(f"kms:{KEY}", server=OTHER), ("only", HEADER)),
        (message(f"kms:{OTHER}", server=KEY), ("only", "sse-kms")),
        (message(f"kms:{KEY}", f"kms:{OTHER}"), ("shared", HEADER)),
        (message(f"kms:{KEY}", "aes:tests/one"), ("shared", HEADER)),
        (message(f"kms:{KEY}", "unknown:acme/key"), ("shared", HEADER)),
        (message(f"kms:{KEY}", BRANCH, "rsa:tests/one"), ("shared", HEADER)),
        (message("aes:tests/one"), ("other", "")),
        (message(f"kms:{OTHER}"), ("other", "")),
        (message(BRANCH), ("unknown", "")),
        (message(f"kms:{KEY}", BRANCH), ("unknown", "")),
        (message(f"kms:{OTHER}", BRANCH), ("other", "")),
        (message("aes:tests/one", BRANCH), ("other", "")),
        (s3ec(wrap="raw"), ("other", "")),
        (s3ec(wrap="kms"), ("unknown", "")),
        (s3ec(), ("unknown", "")),
        (s3ec(wrap="kms", named_key=KEY), ("only", "s3ec")),
        (s3ec(wrap="kms", named_key=ID), ("only", "s3ec")),
        (s3ec(wrap="kms", named_key=OTHER), ("other", "")),
        (s3ec(wrap="kms", named_key="alias/reports"), ("only", "s3ec")),
    ],
    ids=str,
)
def test_a_key_means(seen: Sighting, found: tuple[str, str]) -> None:
    """The key is the object's only key, one of several, or unrelated to it, or this is unknown."""
    assert decided(seen) == found


@pytest.mark.parametrize(
    "state", ["Gone", "PendingDeletion", "PendingReplicaDeletion", "PendingImport", "Creating"]
)
def test_a_dying_key_opens_nothing(state: str) -> None:
    """Another key that is deleted, pending deletion or without material opens nothing."""
    assert decided(message(f"kms:{KEY}", f"kms:{OTHER}"), state=state) == ("only", HEADER)


def test_a_disabled_key_can_be_enabled() -> None:
    """Another key that is disabled still counts as a second key, because it can be enabled."""
    assert decided(message(f"kms:{KEY}", f"kms:{OTHER}"), state="Disabled") == ("shared", HEADER)


def test_a_key_whose_state_is_hidden_is_undecided() -> None:
    """If another key's state is hidden, the object is undecided, unless a third key opens it."""
    seen = message(f"kms:{KEY}", f"kms:{OTHER}")
    assert decided(seen, state=None) == ("unknown", "")
    assert decided(message(*seen.keys or (), "aes:a/b"), state=None) == ("shared", HEADER)


@pytest.mark.parametrize("name", [MRK, REPLICA])
def test_a_replica_opens_what_its_primary_wrapped(name: str) -> None:
    """A primary key and its replica open each other's objects while both exist."""
    assert decided(message(f"kms:{name}"), key=MRK, siblings=(REPLICA,)) == ("replica", HEADER)
    assert decided(message(f"kms:{name}"), key=MRK) == ("only", HEADER)


def test_s3_needs_the_key_of_its_own_region() -> None:
    """S3 decrypts only with the key of its own Region, so a replica elsewhere does not count."""
    seen = Sighting(server_mode="sse-kms", kms_key=MRK, layer="none")
    assert decided(seen, key=MRK, siblings=(REPLICA,)) == ("only", "sse-kms")
    far = Sighting(server_mode="sse-kms", kms_key=REPLICA, layer="none")
    assert decided(far, key=MRK, siblings=(REPLICA,)) == ("other", "")


def test_an_alias_that_leads_elsewhere_may_have_been_moved() -> None:
    """An object under an alias is undecided if the alias does not lead to the examined key now.

    The alias may have led to this key when the object was written.
    """
    seen = s3ec(wrap="kms", named_key="alias/reports")
    assert decided(seen, alias=OTHER) == ("unknown", "")
    assert decided(seen, alias=KeyState("Gone")) == ("unknown", "")


ALIAS = "arn:aws:kms:us-east-1:123456789012:alias/reports"


@pytest.mark.parametrize(
    ("names", "leads_to", "kind"),
    [
        ((ALIAS,), KEY, "only"),
        ((ALIAS,), OTHER, "unknown"),
        ((ALIAS,), KeyState("Gone"), "unknown"),
        ((KEY, ALIAS), OTHER, "unknown"),
        ((OTHER, ALIAS), KEY, "shared"),
        ((OTHER, ALIAS), OTHER, "other"),
    ],
    ids=str,
)
def test_an_alias_in_a_header_is_no_other_key(
    names: tuple[str, ...], leads_to: str | KeyState, kind: str
) -> None:
    """An alias in a message's header counts as the examined key if the alias leads to that key.

    Otherwise the object is undecided, unless another key in the header opens it.
    """
    assert decided(message(*(f"kms:{name}" for name in names)), alias=leads_to)[0] == kind


@pytest.mark.parametrize(("leads_to", "kind"), [(KEY, "only"), (OTHER, "unknown")])
def test_an_alias_in_a_reply_is_no_other_key(leads_to: str, kind: str) -> None:
    """An alias in S3's reply counts as the key to which it leads.

    If this is not the examined key, the object is undecided.
    """
    seen = Sighting(server_mode="sse-kms", kms_key=ALIAS, layer="none")
    assert decided(seen, alias=leads_to)[0] == kind
