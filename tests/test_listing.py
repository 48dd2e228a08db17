# SPDX-License-Identifier: Apache-2.0
"""ls, du and stat, and the matching methods of S3Crypt: output, order and exit codes."""

from __future__ import annotations

import json
import math
import threading
from typing import TYPE_CHECKING, Any

import pytest
from relay import Answer, relaying
from s3crypt_cli.main import run
from samples import CUSTOMER_KEY, MODES, aes, connect, make_mode

from s3crypt import SSEC, SSES3, ClientSide, ListedPrefix, Outcome, S3Crypt, StorageError
from s3crypt.jobs import run_in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import RequestsLog
    from relay import Asked

    from s3crypt.sandbox import Running

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def tree(bucket: str) -> str:
    """Return a bucket with a tree of objects of 100 bytes each."""
    store = connect(SSES3())
    for name in ("a", "p/a", "p/q/r/a", "p/q/z", "p-", "z"):
        store.put(bytes(100), f"s3://{bucket}/{name}")
    return bucket


def rows(captured: Captured) -> list[dict[str, Any]]:
    """Return the rows that a command with --json printed."""
    return [json.loads(line) for line in captured.readouterr().out.splitlines()]


def test_a_level_has_objects_and_prefixes_in_one_order(tree: str) -> None:
    """Entries are sorted by the bytes of their names, like an S3 listing without a delimiter."""
    found = list(connect().list_level(f"s3://{tree}/"))
    assert [each.uri.removeprefix(f"s3://{tree}/") for each in found] == ["a", "p-", "p/", "z"]
    assert [isinstance(each, ListedPrefix) for each in found] == [False, False, True, False]


@pytest.mark.parametrize("name", MODES)
def test_long_listing_knows_mode_key_and_plaintext_size(
    name: str, bucket: str, key: str, tmp_path: Path, capsys: Captured
) -> None:
    """The long listing works in every mode; an SSE-C object needs its customer key."""
    (tmp_path / "key").write_bytes(CUSTOMER_KEY)
    put = connect(make_mode(name, key)).put(bytes(5000), f"s3://{bucket}/x")
    file = ["--sse-c-key-file", str(tmp_path / "key")] * (name == "sse-c")
    assert run(["ls", "-l", "--json", f"s3://{bucket}", *file]) == 0
    [row] = rows(capsys)
    assert (row["mode"], row["size"], row["etag"]) == (put.mode, 5000, put.etag)
    assert row["stored_size"] == put.stored_size
    assert (row["kms_key"], tuple(row["keys"])) == (put.kms_key, put.keys)


def test_long_listing_keeps_the_order(bucket: str, sandbox: Running, capsys: Captured) -> None:
    """The order is kept although the request for the first object takes longest."""
    store = connect(ClientSide(aes()))
    for number in range(20):
        store.put(b"x", f"s3://{bucket}/{number:02}")
    others_are_there = threading.Event()

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if asked.path.endswith("/00"):
            assert others_are_there.wait(20)
        elif asked.path.endswith("/05"):
            others_are_there.set()
        return forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        assert run(["ls", "-l", "--json", f"s3://{bucket}/", "--endpoint-url", relay.url]) == 0
    assert [row["uri"][-2:] for row in rows(capsys)] == [f"{number:02}" for number in range(20)]


def test_a_customer_keys_object_is_listed_without_its_key(bucket: str, capsys: Captured) -> None:
    """Without its customer key, an SSE-C object is listed with its mode and no plaintext size."""
    connect(SSEC(CUSTOMER_KEY)).put(bytes(10), f"s3://{bucket}/x")
    assert run(["ls", "-l", "--summarize", f"s3://{bucket}"]) == 0
    row, summary = capsys.readouterr().out.splitlines()
    assert row.split()[2:6] == ["10", "?", "sse-c", "-"]
    assert summary == "1 object, 10 bytes stored, 0 bytes of plaintext and 1 of unknown size"


def test_another_modes_object_is_listed_with_a_customer_key(
    bucket: str, tmp_path: Path, capsys: Captured
) -> None:
    """An object in another mode is listed although a customer key is given.

    S3 refuses the key for it, so the request is repeated without the key.
    """
    (tmp_path / "key").write_bytes(CUSTOMER_KEY)
    connect(SSES3()).put(bytes(10), f"s3://{bucket}/x")
    file = str(tmp_path / "key")
    assert run(["ls", "-l", "--json", f"s3://{bucket}", "--sse-c-key-file", file]) == 0
    assert [(row["mode"], row["size"]) for row in rows(capsys)] == [("sse-s3", 10)]


def test_versions_are_listed_and_inspected(s3: Any, bucket: str, capsys: Captured) -> None:
    """A listing of versions has the newest version first, and contains delete markers.

    The null version has no id.
    """
    uri, store = f"s3://{bucket}/x", connect(SSES3())
    store.put(bytes(1), uri)
    enabled = {"Status": "Enabled"}
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=enabled)
    second = store.put(bytes(2), uri).version_id
    connect(ClientSide(aes())).put(bytes(3), uri)
    store.delete(uri)
    assert run(["ls", "--versions", "-l", "--json", uri]) == 0
    found = rows(capsys)
    assert [row["is_delete_marker"] for row in found] == [True, False, False, False]
    assert [row.get("size") for row in found] == [None, 3, 2, 1]
    assert [row["version_id"] for row in found][2:] == [second, None]
    assert [row["is_latest"] for row in found] == [True, False, False, False]
    assert run(["inspect", "--versions", "--json", uri]) == 0
    assert [row["mode"] for row in rows(capsys)[:-1]] == ["client", "sse-s3", "sse-s3"]


@pytest.mark.parametrize("uri", ["s3://{}/no", "s3://{}/no/"])
def test_nothing_of_a_name_is_exit_code_1(uri: str, tree: str, capsys: Captured) -> None:
    """If nothing has the given name, the exit code is 1; for an empty bucket it is 0."""
    assert run(["ls", uri.format(tree)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"s3crypt: {uri.format(tree)}: no object or prefix")


def test_an_empty_bucket_is_exit_code_0(bucket: str, capsys: Captured) -> None:
    """An empty bucket exits with code 0, with every option."""
    for options in ([], ["-l"], ["-r"], ["--versions"], ["--json"]):
        assert run(["ls", f"s3://{bucket}", *options]) == 0
    assert run(["du", f"s3://{bucket}", "--json"]) == 0
    assert rows(capsys) == [
        {"uri": f"s3://{bucket}/", "objects": 0, "stored_size": 0, "size": None}
        | {"unknown": 0, "delete_markers": 0}
    ]


def test_buckets_are_listed_with_their_default(
    s3: Any, bucket: str, key: str, capsys: Captured
) -> None:
    """Each bucket has its creation date, and with -l its default mode and key."""
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    rule = {"ApplyServerSideEncryptionByDefault": default}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    assert run(["ls", "--json"]) == 0
    assert [row["created"][:2] for row in rows(capsys) if row["bucket"] == bucket] == ["20"]
    assert run(["ls", "-l", "--json"]) == 0
    [row] = [row for row in rows(capsys) if row["bucket"] == bucket]
    assert (row["mode"], row["kms_key"], row["blocks_sse_c"]) == ("sse-kms", key, False)


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (0, {"": 6}),
        (1, {"p/": 3, "": 6}),
        (2, {"p/q/": 2, "p/": 3, "": 6}),
        (9, {"p/q/r/": 1, "p/q/": 2, "p/": 3, "": 6}),
    ],
)
def test_usage_per_prefix(depth: int, expected: dict[str, int], tree: str) -> None:
    """In a usage report a nested prefix precedes its parent, and the total comes last."""
    found = connect().many.usage(f"s3://{tree}", depth=depth)
    counts = [(each.uri.removeprefix(f"s3://{tree}/"), each.objects) for each in found]
    assert counts == list(expected.items())


def test_usage_knows_plaintext_where_it_can(bucket: str, capsys: Captured) -> None:
    """A usage report has stored and plaintext bytes; an SSE-C object's plaintext is unknown."""
    message = connect(ClientSide(aes())).put(bytes(100), f"s3://{bucket}/p/a")
    connect(SSES3()).put(bytes(10), f"s3://{bucket}/p/b")
    connect(SSEC(CUSTOMER_KEY)).put(bytes(1), f"s3://{bucket}/p/c")
    assert run(["du", "--plaintext", "--json", f"s3://{bucket}/p"]) == 0
    [row] = rows(capsys)
    assert (row["objects"], row["stored_size"]) == (3, message.stored_size + 11)
    assert (row["size"], row["unknown"]) == (110, 1)


def test_usage_counts_versions_on_demand(versioned_bucket: str) -> None:
    """A usage report counts versions and delete markers separately, on request."""
    store, uri = connect(SSES3()), f"s3://{versioned_bucket}/x"
    store.put(bytes(1), uri)
    store.put(bytes(2), uri)
    store.delete(uri)
    [now] = store.many.usage(f"s3://{versioned_bucket}")
    [ever] = store.many.usage(f"s3://{versioned_bucket}", versions=True, plaintext=True)
    assert (now.objects, now.stored_size, now.size) == (0, 0, None)
    assert (ever.objects, ever.stored_size, ever.size, ever.delete_markers) == (2, 3, 3, 1)


def test_usage_without_plaintext_is_one_listing(tree: str, requests_log: RequestsLog) -> None:
    """Usage without plaintext sizes makes no request per object."""
    list(connect().many.usage(f"s3://{tree}", depth=3))
    assert len(requests_log.list()) == 1


def test_stat_tells_existence_by_its_exit_code(
    bucket: str, blocked_bucket: str, capsys: Captured
) -> None:
    """`stat` exits with 0 if the object exists, 1 if not, and another code if this is unknown.

    An SSE-C object needs no key for this.
    """
    connect(SSEC(CUSTOMER_KEY)).put(bytes(1), f"s3://{bucket}/secret")
    assert run(["stat", "--json", f"s3://{bucket}/secret"]) == 0
    assert rows(capsys)[0]["mode"] == "sse-c"
    assert run(["stat", "--quiet", f"s3://{bucket}/missing"]) == 1
    assert capsys.readouterr() == ("", "")
    assert run(["stat", f"s3://{bucket}-absent/x"]) == 5
    assert run(["stat", f"s3://{blocked_bucket}/x", "--endpoint-url", "http://127.0.0.1:9"]) == 5


def test_exists(versioned_bucket: str) -> None:
    """Objects and versions in any mode exist.

    Prefixes, delete markers and deleted objects do not.
    """
    store, at = connect(SSES3()), f"s3://{versioned_bucket}"
    version = store.put(bytes(1), f"{at}/p/a").version_id
    connect(SSEC(CUSTOMER_KEY)).put(bytes(1), f"{at}/secret")
    assert store.exists(f"{at}/p/a")
    assert store.exists(f"{at}/secret")
    assert not store.exists(f"{at}/p")
    assert not store.exists(f"{at}/secre")
    store.delete(f"{at}/p/a")
    marker = next(store.list_versions(f"{at}/p/a")).version_id
    assert not store.exists(f"{at}/p/a")
    assert not store.exists(f"{at}/p/a", version_id=marker)
    assert store.exists(f"{at}/p/a", version_id=version)


def test_a_refused_look_is_no_answer(bucket: str, sandbox: Running) -> None:
    """If S3 answers 403, `exists` raises an error.

    Without s3:ListBucket S3 answers 403 for a missing object, too.
    """

    def spoil(_asked: Asked, _forward: Callable[[], Answer]) -> Answer:
        return Answer(403)

    with relaying(sandbox.endpoint_url, spoil) as relay, pytest.raises(StorageError):
        connect(endpoint_url=relay.url).exists(f"s3://{bucket}/x")


def test_outcomes_come_in_the_order_of_the_items() -> None:
    """`run_in_order` yields all of 10,000 outcomes in order, whichever item finishes first."""
    found = run_in_order(range(10_000), lambda item: math.factorial(item % 50), most=8)
    assert [outcome.item for outcome in found] == list(range(10_000))


def test_an_early_end_is_raised_after_the_outcomes() -> None:
    """An error that stops the job is raised after the finished items' outcomes, in order."""

    def work(item: int) -> int:
        if item == 30:
            raise StorageError("for all")
        return item

    seen: list[Outcome[int, int]] = []
    with pytest.raises(StorageError, match="for all"):
        seen.extend(run_in_order(range(1000), work, most=1, stops_at=lambda _: True))
    assert [outcome.item for outcome in seen] == list(range(30))


def test_stat_waits_once_for_a_service_that_is_not_there(
    blocked_bucket: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the service cannot be reached, `stat` does not try a listing after the failed HEAD.

    A listing, which needs no customer key, is tried only after a refusal.
    """
    asked: list[str] = []

    def listed(_store: S3Crypt, uri: str) -> Iterator[None]:
        asked.append(uri)
        return iter(())

    monkeypatch.setattr(S3Crypt, "list", listed)
    assert run(["stat", f"s3://{blocked_bucket}/x", "--endpoint-url", "http://127.0.0.1:9"]) == 5
    assert asked == []
    assert "Could not reach" in capsys.readouterr().err
