# SPDX-License-Identifier: Apache-2.0
"""S3Crypt.many: the state after a stopped job, items that a journal skips, and deletions."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from relay import relaying
from samples import aes, connect, files, names, payload, stored, uploads

from s3crypt import (
    SSES3,
    ClientSide,
    ConfigError,
    ConflictError,
    Journal,
    ObjectNotFoundError,
    StorageError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import RequestsLog
    from relay import Answer, Asked

    from s3crypt import Mode
    from s3crypt.sandbox import Running

MIB = 2**20
BIG = 30 * MIB
MODES = pytest.mark.parametrize("mode", [SSES3(), ClientSide(aes())], ids=["sse-s3", "client"])


class Held:
    """Holds back requests for later parts or ranges until they are released."""

    def __init__(self) -> None:
        self.is_under_way = threading.Event()
        self.go_on = threading.Event()

    def spoil(self, asked: Asked, forward: Callable[[], Answer]) -> Answer:
        """Hold back all requests after an object's first bytes."""
        ranged = asked.headers.get("range", "bytes=0-")
        if asked.query.get("partNumber", "1") != "1" or not ranged.startswith("bytes=0-"):
            self.is_under_way.set()
            self.go_on.wait(20)
        return forward()

    def let_go_soon(self) -> None:
        """Release the held requests in 0.3 seconds, when the test has stopped the job."""
        threading.Timer(0.3, self.go_on.set).start()


@MODES
def test_a_stopped_put_replaces_nothing(
    mode: Mode, s3: Any, sandbox: Running, bucket: str, tmp_path: Path
) -> None:
    """A stopped put leaves the old object in place and no upload open, although parts were sent."""
    (tmp_path / "big").write_bytes(payload(BIG))
    uris = f"s3://{bucket}/big", f"s3://{bucket}/small"
    connect(mode).put(b"before", uris[0])
    before, held = stored(s3, bucket, "big"), Held()
    with relaying(sandbox.endpoint_url, held.spoil) as relay:
        store = connect(mode, endpoint_url=relay.url)
        pairs: list[tuple[Path | bytes, str]] = [(tmp_path / "big", uris[0]), (b"small", uris[1])]
        outcomes = store.many.put(pairs, jobs=2)
        assert next(outcomes).item[1] == uris[1]
        assert held.is_under_way.wait(20)
        held.let_go_soon()
        outcomes.close()  # type: ignore[attr-defined]
    assert stored(s3, bucket, "big") == before
    assert uploads(s3, bucket) == []


@MODES
def test_a_stopped_get_leaves_the_file_as_it_was(
    mode: Mode, sandbox: Running, bucket: str, tmp_path: Path
) -> None:
    """A stopped get leaves the old file unchanged: a partly fetched file would have holes."""
    connect(mode).put(payload(BIG), f"s3://{bucket}/t/big")
    connect(mode).put(b"small", f"s3://{bucket}/t/small")
    (tmp_path / "big").write_bytes(b"before")
    held = Held()
    with relaying(sandbox.endpoint_url, held.spoil) as relay:
        store = connect(mode, endpoint_url=relay.url)
        journal = Journal.open(tmp_path / "journal", {"verb": "get"})
        outcomes = store.many.get_folder(f"s3://{bucket}/t/", tmp_path, jobs=2, journal=journal)
        assert next(outcomes).item[0].endswith("/small")
        assert held.is_under_way.wait(20)
        held.let_go_soon()
        outcomes.close()  # type: ignore[attr-defined]
        assert journal.counts == {"failed": 1, "get": 1}
        journal.close()
    assert (tmp_path / "big").read_bytes() == b"before"
    assert files(tmp_path) == ["big", "journal", "small"]


def test_writers_that_wait_for_each_other(bucket: str) -> None:
    """One thread can feed eight writers in turn, even if their store has little memory."""
    store = connect(SSES3(), max_memory=16 * MIB)
    uris = [f"s3://{bucket}/{number}" for number in range(8)]
    writers = [store.open(uri, "wb") for uri in uris]
    done = threading.Event()

    def write() -> None:
        for _ in range(3):
            for writer in writers:
                writer.write(payload(MIB))
        store.put(payload(9 * MIB), f"s3://{bucket}/beside")
        for writer in writers:
            writer.close()
        done.set()

    threading.Thread(target=write, daemon=True).start()
    assert done.wait(60)
    assert all(store.head(uri).size == 3 * MIB for uri in uris)


def test_an_error_that_meets_every_object_is_raised(bucket: str, tmp_path: Path) -> None:
    """A missing bucket is one raised error for every verb, instead of an outcome per object."""
    store = connect(SSES3())
    absent = f"s3://absent-{bucket}/"
    (tmp_path / "a").write_bytes(b"a")
    with pytest.raises(StorageError, match="no such bucket"):
        list(store.many.put_folder(tmp_path, absent))
    with pytest.raises(StorageError, match="no such bucket"):
        list(store.many.get_folder(absent, tmp_path / "out"))
    with pytest.raises(StorageError, match="no such bucket"):
        list(store.many.delete([f"{absent}a", f"{absent}b"]))
    with pytest.raises(StorageError, match="no such bucket"):
        list(store.many.rotate(absent, to="sse-s3"))


def test_nothing_below_a_prefix_is_an_error(bucket: str, tmp_path: Path) -> None:
    """A prefix without objects raises ObjectNotFoundError, because it may be mistyped."""
    store, uri = connect(SSES3()), f"s3://{bucket}/nothing/"
    with pytest.raises(ObjectNotFoundError):
        list(store.many.get_folder(uri, tmp_path))
    with (
        Journal.open(tmp_path / "journal", {}) as journal,
        pytest.raises(ObjectNotFoundError),
    ):
        list(store.many.rotate(uri, to="sse-s3", journal=journal))


def test_a_job_leaves_its_journal_alone(s3: Any, bucket: str, tmp_path: Path) -> None:
    """A journal inside the folder is not uploaded, and a download does not overwrite it."""
    store, left_out = connect(SSES3()), list[str]()
    (tmp_path / "a").write_bytes(b"a")
    with Journal.open(tmp_path / "journal", {"verb": "put"}) as journal:
        outcomes = store.many.put_folder(
            tmp_path,
            f"s3://{bucket}/",
            journal=journal,
            left_out=lambda path, _: left_out.append(path.name),
        )
        assert [outcome.error for outcome in outcomes] == [None]
    assert names(s3, bucket) == ["a"]
    assert "journal" in left_out
    store.put(b"other", f"s3://{bucket}/journal")
    with Journal.open(tmp_path / "out", {"verb": "get"}) as journal:
        pairs = [(f"s3://{bucket}/journal", tmp_path / "b")]
        assert [outcome.error for outcome in store.many.get(pairs, journal=journal)] == [None]
    (tmp_path / "in").mkdir()
    with Journal.open(tmp_path / "in" / "journal", {"verb": "get"}) as journal:
        found = store.many.get_folder(f"s3://{bucket}/", tmp_path / "in", journal=journal)
        errors = {outcome.item[0]: outcome.error for outcome in found}
    assert isinstance(errors[f"s3://{bucket}/journal"], StorageError)
    assert errors[f"s3://{bucket}/a"] is None


def test_a_resumed_rotation_asks_for_no_object_that_is_done(
    bucket: str, tmp_path: Path, requests_log: RequestsLog
) -> None:
    """A resumed rotation requests only the listing.

    It skips each object whose listed ETag is the one in the journal.
    """
    store, to = connect(ClientSide(aes())), ClientSide(aes("two"))
    for name in "abc":
        store.put(name.encode(), f"s3://{bucket}/p/{name}")

    def rotate(to: Mode) -> list[str]:
        with Journal.open(tmp_path / "journal", {"verb": "rotate"}) as journal:
            found = store.many.rotate(f"s3://{bucket}/p/", to=to, journal=journal)
            return [outcome.action for outcome in found]

    assert rotate(to) == ["re-encrypted"] * 3
    requests_log.clear()
    assert rotate(to) == []
    assert [entry["method"] for entry in requests_log.list()] == ["GET"]
    # Another key makes another job, even if the caller names it in the same way.
    assert rotate(ClientSide(aes("three"))) == ["failed"] * 3


def test_deleting_keeps_what_was_stored_since(s3: Any, bucket: str) -> None:
    """An object that was stored again after the listing is not deleted: its ETag has changed."""
    store = connect(SSES3())
    for name in "abc":
        store.put(name.encode(), f"s3://{bucket}/{name}")
    listed = list(store.list(f"s3://{bucket}/"))
    store.put(b"new", f"s3://{bucket}/b")
    outcomes = {outcome.item: outcome.error for outcome in store.many.delete([*listed, "s3:/"])}
    assert names(s3, bucket) == ["b"]
    assert isinstance(outcomes[listed[1]], ConflictError)
    assert isinstance(outcomes["s3:/"], ConfigError)
    assert (outcomes[listed[0]], outcomes[listed[2]]) == (None, None)


def test_a_dry_run_changes_nothing(s3: Any, bucket: str, tmp_path: Path) -> None:
    """A dry run changes neither the bucket nor the local files."""
    store = connect(SSES3())
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a").write_bytes(b"a")
    (outcome,) = store.many.put_folder(tmp_path / "tree", f"s3://{bucket}/", dry_run=True)
    assert (outcome.error, names(s3, bucket)) == (None, [])
    store.put(b"a", f"s3://{bucket}/x/a")
    (found,) = store.many.get_folder(f"s3://{bucket}/", tmp_path / "out", dry_run=True)
    assert found.error is None
    pairs = [(f"s3://{bucket}/x/a", tmp_path / "deep" / "a")]
    (one,) = store.many.get(pairs, dry_run=True)
    assert one.error is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tree"]


def test_an_error_of_this_machine_is_one_objects(bucket: str, tmp_path: Path) -> None:
    """If the folder of one target file cannot be created, only this object's get fails."""
    store = connect(SSES3())
    store.put(b"a", f"s3://{bucket}/a")
    (tmp_path / "file").write_bytes(b"")
    pairs = [(f"s3://{bucket}/a", tmp_path / "file" / "a"), (f"s3://{bucket}/a", tmp_path / "b")]
    errors = [outcome.error for outcome in store.many.get(pairs, jobs=1)]
    assert isinstance(errors[0], StorageError)
    assert errors[1] is None


def test_no_thread_is_left(bucket: str) -> None:
    """No thread is left after a finished job or after an abandoned one."""
    store = connect(SSES3())
    outcomes = store.many.put((bytes(10), f"s3://{bucket}/{number}") for number in range(100))
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if not [each for each in threading.enumerate() if each.name.startswith("s3crypt-")]:
            return
        time.sleep(0.05)
    pytest.fail("a thread is left")
