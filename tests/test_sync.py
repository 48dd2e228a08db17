# SPDX-License-Identifier: Apache-2.0
"""Sync in every mode: copied and deleted objects, and the number of requests."""

from __future__ import annotations

import base64
import copy
import json
import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from relay import Answer, relaying
from samples import CUSTOMER_KEY, MODES, aes, connect, files, make_mode, names, stored

from s3crypt import (
    SSEC,
    SSES3,
    ClientSide,
    ConfigError,
    ConflictError,
    FormatError,
    Journal,
    LocalFileNotFoundError,
    NameFilter,
    ObjectNotFoundError,
    StorageError,
    SyncError,
)
from s3crypt.jobs import FoundFile, files_below
from s3crypt.metadata import of_time, time_of
from s3crypt.syncing import contents, pairs, rules, transfers
from s3crypt.syncing.places import delete_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import RequestsLog

    from s3crypt import Mode, S3Crypt
    from s3crypt.sandbox import Running

ROOT = Path(__file__).parent.parent
OLD = 1_600_000_000_123_456_789


def make(root: Path, **contents: str) -> Path:
    """Write files with an old time below a folder. `__` in a name stands for a slash."""
    for name, content in contents.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        os.utime(path, ns=(OLD, OLD))
    return root


def actions(store: S3Crypt, source: object, target: object, **options: Any) -> dict[str, str]:
    """Run sync, and return the action for each name."""
    done: dict[str, str] = {}
    for outcome in store.many.sync(source, target, **options):  # type: ignore[arg-type]  # a path or text
        assert outcome.error is None, outcome.error
        done[outcome.target.removeprefix(str(target)).removeprefix("/")] = outcome.action
    return done


@pytest.mark.parametrize("name", MODES)
def test_it_works_in_every_mode(name: str, key: str, bucket: str, tmp_path: Path) -> None:
    """In every mode, sync uploads, copies and downloads; a second run finds only the changes."""
    store, uri = connect(make_mode(name, key)), f"s3://{bucket}/t/"
    source, back = make(tmp_path / "tree", a="a", sub__b="bb", sub__c=""), tmp_path / "back"
    everything = dict.fromkeys(["a", "sub/b", "sub/c"], "copied")
    unchanged = dict.fromkeys(everything, "unchanged")
    for first, second in ((source, uri), (uri, f"s3://{bucket}/u/"), (f"s3://{bucket}/u/", back)):
        assert actions(store, first, second) == everything
        assert actions(store, first, second, delete=True) == unchanged
    assert (back / "sub/b").read_text() == "bb"
    assert (back / "sub/b").stat().st_mtime_ns == OLD
    (source / "a").write_text("changed")
    (source / "sub/c").unlink()
    changed = {"a": "copied", "sub/b": "unchanged", "sub/c": "deleted"}
    for first, second in ((source, uri), (uri, f"s3://{bucket}/u/"), (f"s3://{bucket}/u/", back)):
        assert actions(store, first, second, delete=True) == changed
    assert (back / "a").read_text() == "changed"
    assert not (back / "sub/c").exists()


def test_objects_become_another_mode(key: str, bucket: str, tmp_path: Path) -> None:
    """Sync copies objects into another mode with `to`, and keeps the modification time."""
    client = connect(ClientSide(aes()))
    actions(client, make(tmp_path / "tree", a="aa"), f"s3://{bucket}/t/")
    to = make_mode("sse-kms", key)
    assert actions(client, f"s3://{bucket}/t/", f"s3://{bucket}/u/", to=to) == {"a": "copied"}
    assert actions(client, f"s3://{bucket}/t/", f"s3://{bucket}/u/", to=to) == {"a": "unchanged"}
    info = connect(to).inspect(f"s3://{bucket}/u/a")
    assert (info.mode, info.metadata) == ("sse-kms", of_time(OLD))


def test_the_time_survives_every_rotation(key: str, bucket: str, tmp_path: Path) -> None:
    """The modification time survives every rotation, so sync copies nothing again."""
    uri, source = f"s3://{bucket}/t/", make(tmp_path / "tree", a="aa")
    chain: list[Mode] = [
        ClientSide(aes(), key_location="metadata"),
        ClientSide(aes("other"), key_location="metadata"),
        ClientSide(aes("other")),
        SSES3(),
        make_mode("sse-kms", key),
    ]
    actions(connect(chain[0]), source, uri)
    for before, after in pairwise(chain):
        connect(before).rotate(uri, to=after)
        assert connect(after).head(f"{uri}a").metadata == of_time(OLD)
        assert actions(connect(after), source, uri) == {"a": "unchanged"}


@pytest.mark.parametrize(
    ("mode", "each"), [(SSES3(), 0), (ClientSide(aes()), 1)], ids=["listing", "head"]
)
def test_what_a_comparison_costs(
    mode: Any, each: int, bucket: str, requests_log: RequestsLog, tmp_path: Path
) -> None:
    """For server-side objects, sync needs only the listing; per client-side object, also a HEAD."""
    source = make(tmp_path / "tree", a="a", b="b", c="c")
    actions(connect(mode), source, f"s3://{bucket}/")
    requests_log.clear()
    actions(connect(mode), source, f"s3://{bucket}/")
    asked = [entry["method"] for entry in requests_log.list()]
    assert (asked.count("GET"), asked.count("HEAD"), len(asked)) == (1, 3 * each, 1 + 3 * each)


def test_a_file_written_in_the_second_of_its_object(bucket: str, tmp_path: Path) -> None:
    """If a file was written in the second of its object, the mtime entry shows no change."""
    source, store = tmp_path / "tree", connect(SSES3())
    make(source, a="a")
    os.utime(source / "a", ns=(2 * 10**18, 2 * 10**18))
    assert actions(store, source, f"s3://{bucket}/") == {"a": "copied"}
    assert actions(store, source, f"s3://{bucket}/") == {"a": "unchanged"}


def test_a_plain_object_is_no_client_side_one(bucket: str, s3: Any, tmp_path: Path) -> None:
    """With a client-side mode, sync overwrites a plain target, and refuses a plain source."""
    store, uri = connect(ClientSide(aes())), f"s3://{bucket}/t/"
    s3.put_object(Bucket=bucket, Key="t/a", Body=b"x")
    (outcome,) = store.many.sync(uri, tmp_path / "back")
    assert isinstance(outcome.error, FormatError)
    assert actions(store, make(tmp_path / "tree", a="a"), uri) == {"a": "copied"}
    assert store.read(f"{uri}a") == b"a"


def test_options(bucket: str, s3: Any, tmp_path: Path) -> None:
    """Sync with each option: size_only, no_overwrite, filters, headers and dry_run."""
    store, uri, source = connect(SSES3()), f"s3://{bucket}/", make(tmp_path / "tree", a="a", b="b")
    assert actions(store, source, uri, dry_run=True) == {"a": "copied", "b": "copied"}
    assert names(s3, bucket) == []
    actions(store, source, uri, metadata={"team": "x"}, content_type="text/x")
    head = s3.head_object(Bucket=bucket, Key="a")
    assert (head["ContentType"], head["Metadata"]) == ("text/x", {"team": "x", **of_time(OLD)})
    os.utime(source / "a", ns=(2 * 10**18, 2 * 10**18))
    (source / "b").write_text("bb")
    make(source, c="c")
    mixed = {"a": "unchanged", "b": "copied", "c": "copied"}
    assert actions(store, source, uri, size_only=True, dry_run=True) == mixed
    new_only = {"a": "skipped", "b": "skipped", "c": "copied"}
    assert actions(store, source, uri, no_overwrite=True) == new_only
    s3.put_object(Bucket=bucket, Key="z.tmp", Body=b"")
    some = NameFilter((("exclude", "*.tmp"), ("exclude", "a")))
    assert actions(store, source, uri, names=some, delete=True) == {"b": "copied", "c": "unchanged"}
    assert names(s3, bucket) == ["a", "b", "c", "z.tmp"]
    assert actions(store, source, uri, delete=True, dry_run=True)["z.tmp"] == "deleted"
    assert "z.tmp" in names(s3, bucket)


def test_a_journal_skips_what_was_compared(
    bucket: str, requests_log: RequestsLog, tmp_path: Path
) -> None:
    """An object in the journal needs no HEAD, until the object or its file changes."""
    store, source = connect(ClientSide(aes())), make(tmp_path / "tree", a="a", b="b")
    for wanted, heads in (
        ({"a": "copied", "b": "copied"}, 0),
        ({}, 0),
        ({"a": "copied"}, 0),
        ({}, 0),
    ):
        requests_log.clear()
        with Journal.open(tmp_path / "tree" / "journal", {"verb": "sync"}) as journal:
            assert actions(store, source, f"s3://{bucket}/", journal=journal) == wanted
        assert [entry["method"] for entry in requests_log.list()].count("HEAD") == heads
        if not wanted and (source / "a").stat().st_size == 1:
            (source / "a").write_text("longer than the whole message was before" * 30)


# Contents


@pytest.mark.parametrize("name", MODES)
def test_contents_are_compared_in_every_mode(
    name: str, key: str, bucket: str, tmp_path: Path
) -> None:
    """With `checksum`, sync finds a change that keeps size and time. A new time is no change."""
    store, uri = connect(make_mode(name, key)), f"s3://{bucket}/t/"
    source, back = make(tmp_path / "tree", a="aa", b="bb", c=""), tmp_path / "back"
    copied = dict.fromkeys(["a", "b", "c"], "copied")
    unchanged = dict.fromkeys(copied, "unchanged")
    assert actions(store, source, uri, checksum=True) == copied
    assert actions(store, source, uri, checksum=True) == unchanged
    assert actions(store, uri, back, checksum=True) == copied
    make(source, a="xx")
    os.utime(source / "b", ns=(2 * 10**18, 2 * 10**18))
    assert actions(store, source, uri, checksum=True) == {**unchanged, "a": "copied"}
    assert store.read(f"{uri}a") == b"xx"
    assert actions(store, uri, back, checksum=True) == {**unchanged, "a": "copied"}
    assert (back / "a").read_text() == "xx"


def test_a_digest_survives_a_rewrap_and_no_re_encryption(bucket: str, tmp_path: Path) -> None:
    """An object keeps its digest in a rewrap, but not in a re-encryption.

    The digest is keyed by the data key, which only a re-encryption replaces.
    """
    uri, source = f"s3://{bucket}/t/", make(tmp_path / "tree", a="aa")
    modes = [ClientSide(aes(name), key_location="metadata") for name in ("one", "two")]
    actions(connect(modes[0]), source, uri, checksum=True)
    connect(modes[0]).rotate(uri, to=modes[1])
    assert actions(connect(modes[1]), source, uri, checksum=True) == {"a": "unchanged"}
    connect(modes[1]).rotate(uri, to=ClientSide(aes("two")))
    assert connect(ClientSide(aes("two"))).read(f"{uri}a") == b"aa"
    assert actions(connect(ClientSide(aes("two"))), source, uri, checksum=True) == {"a": "copied"}


def test_equal_contents_have_different_digests(bucket: str, s3: Any, tmp_path: Path) -> None:
    """Two objects with equal contents have different digests."""
    store = connect(ClientSide(aes()))
    actions(store, make(tmp_path / "tree", a="same", b="same"), f"s3://{bucket}/", checksum=True)
    heads = [s3.head_object(Bucket=bucket, Key=name)["Metadata"] for name in ("a", "b")]
    one, two = (base64.b64decode(head["s3crypt-digest"]) for head in heads)
    assert len(one) == len(two) == 48
    assert one[:16] != two[:16]
    assert one[16:] != two[16:]


@pytest.mark.parametrize(
    "mode",
    [ClientSide(aes()), ClientSide(aes(), key_location="metadata"), SSES3()],
    ids=["header", "metadata", "checksum"],
)
def test_comparing_contents_costs_one_request(
    mode: Any, bucket: str, requests_log: RequestsLog, tmp_path: Path
) -> None:
    """With `checksum`, sync makes the listing and one request per object."""
    source = make(tmp_path / "tree", a="a", b="b", c="c")
    actions(connect(mode), source, f"s3://{bucket}/", checksum=True)
    requests_log.clear()
    actions(connect(mode), source, f"s3://{bucket}/", checksum=True)
    assert len(requests_log.list()) == 1 + 3


@pytest.mark.parametrize("text", ["", "x", base64.b64encode(bytes(47)).decode(), "AA=="])
def test_a_digest_that_is_none_counts_as_none(
    text: str, bucket: str, s3: Any, tmp_path: Path
) -> None:
    """An object whose digest is malformed or of other content is copied again."""
    store, source = connect(ClientSide(aes())), make(tmp_path / "tree", a="a")
    actions(store, source, f"s3://{bucket}/", checksum=True)
    kept = s3.get_object(Bucket=bucket, Key="a")
    for entry in (text, base64.b64encode(bytes(48)).decode()):
        metadata = {**kept["Metadata"], "s3crypt-digest": entry}
        s3.put_object(Bucket=bucket, Key="a", Body=stored(s3, bucket, "a"), Metadata=metadata)
        assert store.read(f"s3://{bucket}/a") == b"a"
        again = actions(store, source, f"s3://{bucket}/", checksum=True, dry_run=True)
        assert again == {"a": "copied"}


@pytest.mark.parametrize("size", [0, 5, 3_000_000])
def test_a_file_that_changes_between_its_readings_is_refused(
    size: int, bucket: str, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that changes between its digest and its upload is refused."""
    path = make(tmp_path / "tree", a="a" * size) / "a"
    hashed = contents.hmac_of

    def then_written(file: Any, name: Path) -> Callable[[bytes], bytes]:
        def digest(key: bytes) -> bytes:
            found = hashed(file, name)(key)
            path.write_text("b" * max(size, 1))
            return found

        return digest

    monkeypatch.setattr(transfers, "hmac_of", then_written)
    store = connect(ClientSide(aes()))
    (outcome,) = store.many.sync(tmp_path / "tree", f"s3://{bucket}/", checksum=True)
    assert isinstance(outcome.error, StorageError)
    assert "changed while it was read" in str(outcome.error)
    assert names(s3, bucket) == []


# Cases in which nothing is deleted


def nothing_is_deleted(store: S3Crypt, source: object, bucket: str, s3: Any, **options: Any) -> str:
    """Check that a sync with `delete` fails and deletes nothing. Return its error text."""
    before = names(s3, bucket)
    with pytest.raises(SyncError, match=f"Nothing below s3://{bucket}/ was deleted") as caught:
        list(store.many.sync(source, f"s3://{bucket}/", delete=True, **options))  # type: ignore[arg-type]  # a path or text
    assert set(before) <= set(names(s3, bucket))
    return str(caught.value)


@pytest.fixture
def extra(bucket: str, s3: Any) -> str:
    """Put an object that has no source. Return its name."""
    s3.put_object(Bucket=bucket, Key="extra", Body=b"extra")
    return "extra"


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize(
    ("source", "options", "why"),
    [
        ("missing", {}, "No such file or directory"),
        ("empty", {}, "empty has no file or object"),
        ("tree/a", {}, "Not a directory"),
        ("tree", {"names": NameFilter((("exclude", "*"),))}, "no name below it fits"),
        ("broken", {}, "is a link to a file that does not exist"),
        ("s3://{}-none/", {}, "no such bucket"),
        ("s3://{}-beside/nothing/", {}, "no objects below it"),
        ("s3://{}-beside/marks/", {}, "has no file or object"),
    ],
)
def test_an_incomplete_source_deletes_nothing(
    source: str, options: dict[str, Any], why: str, bucket: str, s3: Any, tmp_path: Path
) -> None:
    """If the source is missing, empty, filtered or partly unreadable, nothing is deleted."""
    make(tmp_path / "tree", a="a")
    (tmp_path / "empty").mkdir()
    make(tmp_path / "broken", a="a")
    (tmp_path / "broken" / "link").symlink_to("nowhere")
    s3.create_bucket(Bucket=f"{bucket}-beside")
    s3.put_object(Bucket=f"{bucket}-beside", Key="marks/", Body=b"")
    place = source.format(bucket) if source.startswith("s3://") else tmp_path / source
    assert why in nothing_is_deleted(connect(SSES3()), place, bucket, s3, **options)


_UNPRIVILEGED = """
import os, sys
from s3crypt import S3Crypt, SyncError
store = S3Crypt("sse-s3")
# What Python still has to import may be unreadable for another user.
list(store.many.sync(sys.argv[1], sys.argv[2], delete=True, dry_run=True))
if os.geteuid() == 0:
    os.setuid(65534)
try:
    for outcome in store.many.sync(sys.argv[1], sys.argv[2], delete=True):
        print(outcome.action, outcome.error)
except SyncError as error:
    print(error)
"""


@pytest.mark.usefixtures("extra")
def test_an_unreadable_folder_deletes_nothing(bucket: str, s3: Any) -> None:
    """If a folder of the source is unreadable, nothing is deleted; other files are copied."""
    with tempfile.TemporaryDirectory() as name:
        folder = make(Path(name), a="a", closed__b="b")
        folder.chmod(0o755)
        (folder / "a").chmod(0o644)
        (folder / "closed").chmod(0o300)
        done = subprocess.run(
            [sys.executable, "-c", _UNPRIVILEGED, name, f"s3://{bucket}/"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        (folder / "closed").chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert "copied None" in done.stdout
    assert f"Nothing below s3://{bucket}/ was deleted: Cannot read" in done.stdout
    assert names(s3, bucket) == ["a", "extra"]


@pytest.mark.parametrize("breaks", ["source", "target"])
def test_a_broken_listing_deletes_nothing(
    breaks: str, bucket: str, s3: Any, sandbox: Running
) -> None:
    """If a further page of a listing fails, on either side, nothing is deleted."""
    for number in range(3):
        s3.put_object(Bucket=bucket, Key=f"source/{number}", Body=b"")
        s3.put_object(Bucket=bucket, Key=f"target/{number}x", Body=b"")

    def spoil(asked: Any, forward: Callable[..., Answer]) -> Answer:
        if asked.query.get("prefix") == f"{breaks}/":
            if "continuation-token" in asked.query:
                return Answer(403, body=b"<Error><Code>AccessDenied</Code></Error>")
            target = f"{asked.target}&max-keys=2"
            return forward(type(asked)(asked.method, target, asked.headers, asked.body))
        return forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = connect(SSES3(), endpoint_url=relay.url)
        with pytest.raises((SyncError, StorageError)):
            list(store.many.sync(f"s3://{bucket}/source/", f"s3://{bucket}/target/", delete=True))
    assert set(names(s3, bucket)) >= {f"target/{number}x" for number in range(3)}


def test_an_unsorted_listing_is_refused() -> None:
    """An unsorted listing is refused: objects could seem to have no source."""
    unsorted: Any = iter([("b", None), ("a", None)])
    with pytest.raises(StorageError, match="'a' was listed after 'b'"):
        list(pairs.merged(unsorted, iter([]), None))
    with pytest.raises(ConfigError, match="directory bucket"):
        list(connect(SSES3()).many.sync("tree", "s3://a--use1-az4--x-s3/"))


def test_names_that_are_no_paths_delete_nothing(bucket: str, s3: Any, tmp_path: Path) -> None:
    """Object names that are no valid paths fail one by one, and nothing is deleted."""
    for name in ("t/a//b", "t/../c", "t/./d", "t/e"):
        s3.put_object(Bucket=bucket, Key=name, Body=b"x")
    folder, store = make(tmp_path / "tree", a__b="kept", extra="kept"), connect(SSES3())
    done: list[str] = []
    outcomes = store.many.sync(f"s3://{bucket}/t/", folder, delete=True)
    with pytest.raises(SyncError, match="name is not a path below"):
        done.extend(outcome.action for outcome in outcomes)
    assert sorted(done) == ["copied", "failed", "failed", "failed"]
    assert (folder / "a/b").read_text() == (folder / "extra").read_text() == "kept"
    assert (folder / "e").read_text() == "x"
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_failed_copy_deletes_nothing(
    *, dry_run: bool, bucket: str, s3: Any, sandbox: Running, tmp_path: Path
) -> None:
    """If a copy fails, nothing is deleted: the target may have the only copy of a renamed file."""
    source = make(tmp_path / "tree", a="a", new="content", other="b")
    s3.put_object(Bucket=bucket, Key="old", Body=b"content")

    def spoil(asked: Any, forward: Callable[..., Answer]) -> Answer:
        if asked.path.endswith("/new") and asked.method == "PUT":
            return Answer(403, body=b"<Error><Code>AccessDenied</Code></Error>")
        return forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = connect(SSES3(), endpoint_url=relay.url)
        options: Any = {"delete": True, "dry_run": dry_run}
        outcomes = store.many.sync(source, f"s3://{bucket}/", **options)
        if dry_run:
            assert [each.action for each in outcomes].count("deleted") == 1
        else:
            with pytest.raises(SyncError, match="was deleted: a name could not be copied"):
                list(outcomes)
            assert names(s3, bucket) == ["a", "old", "other"]
            s3.delete_object(Bucket=bucket, Key="old")
            outcomes = store.many.sync(source, f"s3://{bucket}/", **options)
            assert sorted(each.action for each in outcomes) == ["failed", "unchanged", "unchanged"]


@pytest.mark.parametrize("excluded", [False, True])
def test_the_instruction_file_of_an_object_that_stays_is_not_deleted(
    *, excluded: bool, bucket: str, s3: Any, tmp_path: Path
) -> None:
    """The instruction file of an object that stays is not deleted: it contains the object's key."""
    entry = {"x-amz-key-v2": "k", "x-amz-iv": "i"}
    for name in ("x", "y"):
        s3.put_object(Bucket=bucket, Key=name, Body=b"ciphertext")
    s3.put_object(Bucket=bucket, Key="x.instruction", Body=json.dumps(entry))
    s3.put_object(Bucket=bucket, Key="y.instruction", Body=b"how to do y")
    source, store = make(tmp_path / "tree", x="plain", y="y", z="z"), connect(SSES3())
    some = NameFilter((("exclude", "x"),)) if excluded else NameFilter()
    options: Any = {"delete": True, "names": some, "no_overwrite": True}
    for dry_run in (True, False):
        done = actions(store, source, f"s3://{bucket}/", dry_run=dry_run, **options)
        assert (done["x.instruction"], done["y.instruction"]) == ("skipped", "deleted")
    assert names(s3, bucket) == ["x", "x.instruction", "y", "z"]
    done = actions(store, source, f"s3://{bucket}/", delete=True)
    assert (done["x"], done["x.instruction"]) == ("copied", "deleted")


def test_an_sse_c_object_with_the_name_of_an_instruction_file_is_deleted(
    bucket: str, tmp_path: Path
) -> None:
    """The customer key of the target's mode shows that an object is no instruction file."""
    source, store = make(tmp_path / "tree", y="y"), connect(SSEC(CUSTOMER_KEY))
    store.put(b"another y", f"s3://{bucket}/y")
    store.put(b"how to do y", f"s3://{bucket}/y.instruction")
    done = actions(store, source, f"s3://{bucket}/", delete=True, no_overwrite=True)
    assert done == {"y": "skipped", "y.instruction": "deleted"}


def test_what_the_walk_skips_is_not_deleted(bucket: str, s3: Any, tmp_path: Path) -> None:
    """Objects under the name of a link that the walk skipped are not deleted."""
    source = make(tmp_path / "tree", a="a")
    (source / "link").symlink_to(tmp_path)
    for name in ("link/x", "link", "linked", "a"):
        s3.put_object(Bucket=bucket, Key=name, Body=b"a")
    done = actions(connect(SSES3()), source, f"s3://{bucket}/", delete=True)
    assert done == {"a": "unchanged", "linked": "deleted"}
    assert names(s3, bucket) == ["a", "link", "link/x"]


def test_objects_that_changed_meanwhile_are_kept(
    bucket: str, s3: Any, sandbox: Running, tmp_path: Path
) -> None:
    """An object that another writer replaced after the listing is not deleted."""
    s3.put_object(Bucket=bucket, Key="extra", Body=b"listed")

    def spoil(asked: Any, forward: Callable[..., Answer]) -> Answer:
        if asked.method == "POST":
            s3.put_object(Bucket=bucket, Key="extra", Body=b"another writer's")
        return forward()

    with relaying(sandbox.endpoint_url, spoil) as relay:
        store = connect(SSES3(), endpoint_url=relay.url)
        source = make(tmp_path / "tree", a="a")
        outcomes = store.many.sync(source, f"s3://{bucket}/", delete=True)
        done = {outcome.target: outcome.error for outcome in outcomes}
    assert isinstance(done[f"s3://{bucket}/extra"], ConflictError)
    assert names(s3, bucket) == ["a", "extra"]


def test_files_that_changed_meanwhile_are_kept(tmp_path: Path) -> None:
    """A file is not deleted if its size or time has changed since the walk."""
    make(tmp_path, a="a")
    (found,) = files_below(tmp_path, report=lambda *_: None)
    assert isinstance(found, FoundFile)
    (tmp_path / "a").write_text("b")
    with pytest.raises(ConflictError, match="changed meanwhile; the file was kept"):
        delete_file(found)
    os.utime(tmp_path / "a", ns=(OLD, OLD))
    delete_file(found)
    delete_file(found)
    assert not (tmp_path / "a").exists()


def test_a_target_folder_keeps_what_is_in_use(bucket: str, tmp_path: Path) -> None:
    """The journal, and temporary files of other processes, are not deleted in a target folder."""
    store, folder = connect(SSES3()), tmp_path / "out"
    actions(store, make(tmp_path / "tree", a="a"), f"s3://{bucket}/")
    make(folder, **{".a.0123456789ab.s3crypt": "another process", "extra": "x"})
    with Journal.open(folder / "journal", {"verb": "sync"}) as journal:
        done = actions(store, f"s3://{bucket}/", folder, delete=True, journal=journal)
    assert done == {"a": "copied", "extra": "deleted"}
    assert files(folder) == [".a.0123456789ab.s3crypt", "a", "journal"]


def test_many_extras_wait_in_a_file(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many names to delete are kept in a file until the end, whatever characters they contain."""
    monkeypatch.setattr(pairs, "_IN_MEMORY", 100)
    folder = make(tmp_path / "out", **{f"{n} é\n\u2028": "x" for n in range(20)})
    store = connect(SSES3())
    store.put(b"a", f"s3://{bucket}/a")
    assert len(actions(store, f"s3://{bucket}/", folder, delete=True)) == 21
    assert files(folder) == ["a"]


# Sync as one call


def test_a_synchronisation_in_one_call(bucket: str, tmp_path: Path) -> None:
    """`sync` returns the copied and deleted names; `on_outcome` also gets the unchanged names."""
    store, uri, told = connect(SSES3()), f"s3://{bucket}/t/", list[str]()
    source = make(tmp_path / "tree", b="b", a="a")
    done = store.sync(source, uri)
    assert [(each.target, each.action) for each in done] == [
        (f"{uri}a", "copied"),
        (f"{uri}b", "copied"),
    ]
    (source / "b").unlink()
    done = store.sync(source, uri, delete=True, on_outcome=lambda each: told.append(each.action))
    assert [each.action for each in done] == ["deleted"]
    assert sorted(told) == ["deleted", "unchanged"]


def test_a_synchronisation_in_one_call_fails_at_its_end(
    bucket: str, s3: Any, tmp_path: Path
) -> None:
    """The error of `sync` has the outcomes of all names."""
    store, folder = connect(SSES3()), make(tmp_path / "out", a__x="in the way", extra="x")
    for name in ("t/a", "t/b"):
        s3.put_object(Bucket=bucket, Key=name, Body=b"x")
    with pytest.raises(
        SyncError, match=r"1 name was not synchronised with .*is a folder"
    ) as caught:
        store.sync(f"s3://{bucket}/t/", folder)
    assert [each.action for each in caught.value.outcomes] == ["failed", "copied"]  # type: ignore[attr-defined]  # outcomes
    with pytest.raises(SyncError, match="was deleted: a name could not be copied") as caught:
        store.sync(f"s3://{bucket}/t/", folder, delete=True)
    (failed,) = copy.copy(caught.value).outcomes
    assert isinstance(failed.error, StorageError)  # type: ignore[attr-defined]  # as above
    assert files(folder) == ["a", "b", "extra"]


# Bad input


@pytest.mark.parametrize(
    ("source", "target", "options", "error"),
    [
        ("one", "other", {}, ConfigError),
        ("s3://{}/t/", "s3://{}/t/", {}, ConfigError),
        ("s3://{}/t/", "s3://{}/t/u/", {}, ConfigError),
        ("s3://{}/t/u/", "s3://{}/", {}, ConfigError),
        ("s3://{}/object", "s3://{}/t/", {}, ConfigError),
        ("one", "s3://{}/t/", {"jobs": 0}, ConfigError),
        ("missing", "s3://{}/t/", {}, LocalFileNotFoundError),
        ("s3://{}/missing/", "one", {}, ObjectNotFoundError),
        ("one", "s3://{}-none/", {}, StorageError),
        ("s3://{}/", "one/a", {}, ConfigError),
        ("s3://{}/", "s3://{}-none/", {"checksum": True}, ConfigError),
        ("s3://{}/", "one", {"checksum": True, "size_only": True}, ConfigError),
        ("s3://{}/", "one", {"content_type": "text/x"}, ConfigError),
        ("s3://{}/", "s3://{}-none/", {"metadata": {"a": "b"}}, ConfigError),
        ("one", "s3://{}/t/", {"names": NameFilter((("exclude", "*"),))}, ObjectNotFoundError),
    ],
)
def test_bad_input_changes_nothing(
    *, source: str, target: str, options: Any, error: type[Exception], bucket: str, s3: Any,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Bad arguments of sync raise an error before anything is written."""
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "one", a="a")
    s3.put_object(Bucket=bucket, Key="t/x", Body=b"x")
    first, second = (place.format(bucket) for place in (source, target))
    with pytest.raises(error):
        list(connect(SSES3()).many.sync(first, second, **options))
    assert names(s3, bucket) == ["t/x"]
    assert files(tmp_path) == ["one"]
    assert files(tmp_path / "one") == ["a"]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("1600000000.123456789", OLD),
        ("1600000000", 1_600_000_000 * 10**9),
        ("1600000000.5", 1_600_000_000_500_000_000),
        ("-1.5", -1_500_000_000),
        ("0", 0),
    ],
)
def test_times_are_written_as_rclone_writes_them(text: str, time: int) -> None:
    """A modification time is stored in seconds, with as many decimals as needed, as by rclone."""
    assert of_time(time) == {"mtime": text}
    assert time_of({"mtime": text}) == time


@pytest.mark.parametrize("text", ["", "x", "1e9", "1.", ".5", "9" * 12, "1_0", "\u0661", "1.5\n"])
def test_other_texts_are_no_times(text: str) -> None:
    """An mtime entry in another form is ignored, because another tool may have written it."""
    assert time_of({"mtime": text}) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (OLD, OLD, True),
        (OLD, OLD + 1, False),
        (OLD, OLD // 1000 * 1000, True),
        (OLD, OLD // 10**9 * 10**9, True),
        (OLD, (OLD // 10**9 + 1) * 10**9, False),
        (OLD, OLD // 100 * 100, True),
    ],
)
def test_times_are_compared_at_the_coarser_resolution(one: int, other: int, *, same: bool) -> None:
    """Two times are compared at the coarser resolution of both sides."""
    assert rules.is_same_time(one, other) is rules.is_same_time(other, one) is same
