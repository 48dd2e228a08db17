# SPDX-License-Identifier: Apache-2.0
"""The number of requests that s3crypt:// makes, and its use of earlier replies."""

from __future__ import annotations

import _thread
import io
import itertools
import pickle
import signal
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from filesystem_samples import MODE, asked, make_tree
from fsspec.callbacks import Callback
from relay import Answer, Asked, relaying
from samples import CUSTOMER_KEY, aes, connect_shared, names, payload

from s3crypt import SSEC, SSES3, ClientSide, ConfigError, ConflictError, StorageError
from s3crypt.filesystem import S3CryptFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import RequestsLog

    from s3crypt.sandbox import Running

SHORT, LONG = 64 * 2**10, 512 * 2**10
LARGE = 4 * 2**20 + 1
MODES = pytest.mark.parametrize(
    "mode",
    [SSES3(), SSEC(CUSTOMER_KEY), MODE, ClientSide(aes(), key_location="metadata")],
    ids=["sse-s3", "sse-c", "client", "metadata"],
)


@pytest.fixture
def fs() -> S3CryptFileSystem:
    """Return a file system that encrypts client-side and remembers no object."""
    return S3CryptFileSystem(MODE, skip_instance_cache=True)


def _gets(log: RequestsLog) -> list[tuple[str, str | None, int]]:
    """Return range, If-Match and status of each GET so far; clear the log."""
    entries = [entry for entry in log.list() if entry["method"] == "GET"]
    log.clear()
    return [
        (entry["headers"]["range"], entry["headers"].get("if-match"), entry["status"])
        for entry in entries
        if "list-type" not in entry["query"]
    ]


def _firsts(log: RequestsLog) -> list[int]:
    """Return the length that each GET of an object's beginning requested; clear the log."""
    return [
        int(wanted.removeprefix("bytes=0-")) + 1
        for wanted, *_ in _gets(log)
        if wanted.startswith("bytes=0-")
    ]


# --- Small Parquet files -----------------------------------------------------------------------


def _parquet(rows: int) -> bytes:
    """Return a Parquet file of six incompressible columns."""
    target = io.BytesIO()
    columns = {f"c{number}": list(payload(rows + number)[:rows]) for number in range(6)}
    pq.write_table(pa.table(columns), target, compression="none", use_dictionary=False)
    return target.getvalue()


@MODES
def test_a_data_set_of_small_files(mode: Any, bucket: str, requests_log: RequestsLog) -> None:
    """The rows of a small file cost at most two requests. So does the schema of the data set."""
    fs = S3CryptFileSystem(mode, skip_instance_cache=True)
    paths = [f"{bucket}/{number}.parquet" for number in range(5)]
    content = _parquet(2500)
    assert 100_000 < len(content) < LONG
    for path in paths:
        fs.pipe_file(path, content)
    requests_log.clear()
    table = ds.dataset(paths, filesystem=fs)
    # Arrow opens the first file for the schema, and checks whether it is a file.
    assert len(asked(requests_log)) <= 2
    assert table.to_table().num_rows == 5 * 2500
    assert len(asked(requests_log)) <= 2 * len(paths)


def test_arrows_own_file_system(
    fs: S3CryptFileSystem, bucket: str, requests_log: RequestsLog
) -> None:
    """With `to_arrow` each small file costs one request, and the schema costs one more."""
    arrow = fs.to_arrow()
    paths = [f"{bucket}/d/{number}.parquet" for number in range(5)]
    for path in paths:
        pq.write_table(pa.table({"a": [1, 2]}), path, filesystem=arrow)
    requests_log.clear()
    assert ds.dataset(paths, filesystem=pickle.loads(pickle.dumps(arrow))).count_rows() == 10
    assert Counter(asked(requests_log)) == {"GET": 6}
    infos = arrow.get_file_info([*paths, f"{bucket}/d", f"{bucket}/none"])
    assert [info.size for info in infos[:5]] == fs.sizes(paths)
    assert [info.type for info in infos[4:]] == [
        pa.fs.FileType.File,
        pa.fs.FileType.Directory,
        pa.fs.FileType.NotFound,
    ]
    assert len(arrow.get_file_info(pa.fs.FileSelector(f"{bucket}/d"))) == 5
    with pytest.raises(FileNotFoundError):
        arrow.open_input_file(f"{bucket}/d")
    requests_log.clear()
    arrow.delete_dir_contents(f"{bucket}/d")
    assert asked(requests_log).count("POST") == 1
    assert not fs.exists(f"{bucket}/d")
    arrow.delete_dir_contents(f"{bucket}/d", missing_dir_ok=True)
    with pytest.raises(FileNotFoundError):
        arrow.delete_dir_contents(f"{bucket}/d")


@MODES
def test_info_and_content_are_two_requests(
    mode: Any, bucket: str, requests_log: RequestsLog
) -> None:
    """`info` costs a HEAD, and reading costs one GET with the ETag of that HEAD."""
    fs = S3CryptFileSystem(mode, skip_instance_cache=True)
    content = _parquet(2500)
    fs.pipe_file(f"{bucket}/x", content)
    requests_log.clear()
    info = fs.info(f"{bucket}/x")
    with fs.open(f"{bucket}/x") as file:
        assert (file.read(), file.size, info["size"]) == (content, len(content), len(content))
    entries = requests_log.list()
    assert [entry["method"] for entry in entries] == ["HEAD", "GET"]
    assert entries[1]["headers"]["if-match"] == f'"{info["ETag"]}"'
    with fs.open(f"{bucket}/x") as file:
        assert pq.read_table(file).num_rows == 2500
    assert _gets(requests_log)[1:] == [(f"bytes=0-{LONG - 1}", f'"{info["ETag"]}"', 206)]


# --- The length of the first request -----------------------------------------------------------


def test_a_large_object_that_was_seen_is_begun_shortly(
    fs: S3CryptFileSystem, bucket: str, requests_log: RequestsLog
) -> None:
    """The first GET of a large known object is short: a reader of ranges may not need more."""
    sizes = {"small": 1000, "most": LARGE - 50_000, "large": LARGE}
    for name, size in sizes.items():
        fs.pipe_file(f"{bucket}/{name}", payload(size))
    for name, expected in (("small", LONG), ("most", LONG), ("large", SHORT)):
        for look in (fs.info, fs.isfile, fs.exists, fs.size):
            fs.invalidate_cache()
            assert look(f"{bucket}/{name}")
            requests_log.clear()
            fs.open(f"{bucket}/{name}").close()
            assert _firsts(requests_log) == [expected]


def test_of_an_unknown_object_all_is_asked_for_that_a_small_one_has(
    fs: S3CryptFileSystem, bucket: str, requests_log: RequestsLog
) -> None:
    """The first GET of an unknown object fetches a small object whole; for a range it is short."""
    fs.pipe_file(f"{bucket}/x", payload(LARGE))
    requests_log.clear()
    fs.open(f"{bucket}/x").close()
    connect_shared(MODE).open(f"s3://{bucket}/x").close()
    assert _firsts(requests_log) == [LONG, LONG]
    for version in (None, "null"):
        more: dict[str, Any] = {"version_id": version} if version else {}
        assert fs.cat_file(f"{bucket}/x", 10, 20, **more) == payload(LARGE)[10:20]
        assert fs.cat_ranges([f"{bucket}/x"], [-9], [None], **more) == [payload(LARGE)[-9:]]
    connect_shared(MODE).read(f"s3://{bucket}/x", byte_range="10-19")
    assert set(_firsts(requests_log)) == {SHORT}


# --- Objects that changed after they were seen -------------------------------------------------


REPLACED = ((1000, 900_000), (900_000, 1000), (1000, LARGE), (LARGE, 1000), (7, 7))


@pytest.mark.parametrize("look", ["info", "isfile", "ls", "find"])
@pytest.mark.parametrize("name", ["sse-s3", "client"])
def test_an_object_replaced_since_it_was_seen(
    name: str, look: str, bucket: str, requests_log: RequestsLog
) -> None:
    """If an object was replaced since `info`, `open` reads the new version with the new size."""
    mode = MODE if name == "client" else SSES3()
    fs, path = S3CryptFileSystem(mode, skip_instance_cache=True), f"{bucket}/d/x"
    for before, after in REPLACED:
        fs.pipe_file(path, payload(before))
        assert getattr(fs, look)(path, **({"detail": True} if look in ("ls", "find") else {}))
        is_seen = path in fs._connection.known
        new = payload(after)[::-1]
        connect_shared(mode).put(new, f"s3://{path}")
        requests_log.clear()
        with fs.open(path) as file:
            assert (file.size, file.read()) == (after, new)
            assert file.read_ranges([(-5, None)]) == [new[-5:]]
        (_, pin, status), *later = _gets(requests_log)
        assert (bool(pin), status) == ((True, 412) if is_seen else (False, 206))
        assert not is_seen or later[0][1:] == (None, 206)
        assert fs.info(path)["size"] == after
        assert (fs.cat_file(path, -3), fs.cat_file(path)) == (new[-3:], new)
    assert is_seen == (name == "client" or look in ("info", "isfile"))


def test_an_object_deleted_since_it_was_seen(
    fs: S3CryptFileSystem, bucket: str, requests_log: RequestsLog
) -> None:
    """If an object was deleted since `info`, one request finds that out, and it is forgotten."""
    fs.pipe_file(f"{bucket}/x", b"abc")
    for look in (fs.info, fs.isfile):
        connect_shared(MODE).put(b"abc", f"s3://{bucket}/x")
        look(f"{bucket}/x")
        connect_shared(MODE).delete(f"s3://{bucket}/x")
        requests_log.clear()
        with pytest.raises(FileNotFoundError):
            fs.open(f"{bucket}/x")
        assert len(_gets(requests_log)) == 1
        assert not fs.isfile(f"{bucket}/x")
        with pytest.raises(FileNotFoundError):
            fs.info(f"{bucket}/x")
        assert fs._connection.known == {}


def test_what_one_has_written_is_opened_at_once(
    fs: S3CryptFileSystem, bucket: str, requests_log: RequestsLog
) -> None:
    """After a write, copy or removal the old size and ETag of the object are forgotten.

    The next read opens the new object at once, without a condition.
    """
    path, other = f"{bucket}/x", f"{bucket}/y"
    fs.pipe_file(other, payload(77))

    def write() -> None:
        with fs.open(path, "wb") as file:
            file.write(payload(300))

    deeds: tuple[Callable[[], object], ...] = (
        lambda: fs.pipe_file(path, payload(200)),
        write,
        lambda: fs.cp_file(other, path),
    )
    for deed in deeds:
        fs.pipe_file(path, payload(100))
        fs.info(path)
        deed()
        requests_log.clear()
        with fs.open(path) as file:
            assert len(file.read()) in (200, 300, 77)
        assert [(pin, status) for _, pin, status in _gets(requests_log)] == [(None, 206)]
    fs.info(path)
    fs.rm(path)
    assert fs._connection.known == {}


def test_a_version_is_opened_whatever_was_seen(
    versioned_bucket: str, requests_log: RequestsLog
) -> None:
    """A named version is opened, whatever is remembered of the newest version."""
    fs, path = S3CryptFileSystem(MODE, skip_instance_cache=True), f"{versioned_bucket}/x"
    fs.pipe_file(path, payload(LARGE))
    old = fs.info(path)["VersionId"]
    fs.pipe_file(path, b"new")
    assert fs.info(path)["size"] == 3
    assert fs.info(path, version_id=old)["size"] == LARGE
    requests_log.clear()
    with fs.open(path, version_id=old) as file:
        assert file.size == LARGE
    with fs.open(path) as file:
        assert file.read() == b"new"
    assert {status for *_, status in _gets(requests_log)} == {206}


def test_what_is_known_is_bounded(
    fs: S3CryptFileSystem, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bounded number of objects is remembered; a forgotten object can still be read."""
    monkeypatch.setattr("s3crypt.filesystem.connection._MOST_KNOWN", 3)
    paths = [f"{bucket}/{number}" for number in range(6)]
    for path in paths:
        fs.pipe_file(path, path.encode())
    for path in paths:
        fs.info(path)
    assert list(fs._connection.known) == paths[3:]
    fs.ls(bucket)
    assert len(fs._connection.known) <= 3
    assert [fs.open(path).read() for path in paths] == [path.encode() for path in paths]


def test_the_tag_of_what_was_seen_is_no_option(fs: S3CryptFileSystem, bucket: str) -> None:
    """`open` refuses `etag` and `first` as options: they are only internal arguments."""
    fs.pipe_file(f"{bucket}/x", b"abc")
    for option in ({"etag": "x"}, {"first": 5}):
        with pytest.raises(TypeError):
            fs.open(f"{bucket}/x", **option)


# --- Requests for one path ---------------------------------------------------------------------


@MODES
def test_info_asks_for_the_object_first(mode: Any, bucket: str, requests_log: RequestsLog) -> None:
    """`info` sends a HEAD for the object, and lists a directory only if there is no object."""
    fs = S3CryptFileSystem(mode, skip_instance_cache=True)
    for name in ("both", "both/x", "d/x"):
        fs.pipe_file(f"{bucket}/{name}", b"abc")
    for path, kind, kinds in (
        ("both", "file", ["HEAD"]),
        ("both/", "file", ["HEAD"]),
        ("d", "directory", ["HEAD", "LIST"]),
        ("d/", "directory", ["HEAD", "LIST"]),
        ("", "directory", ["LIST"]),
    ):
        requests_log.clear()
        assert fs.info(f"{bucket}/{path}")["type"] == kind
        assert asked(requests_log) == kinds
    requests_log.clear()
    with pytest.raises(FileNotFoundError):
        fs.info(f"{bucket}/none")
    assert asked(requests_log) == ["HEAD", "LIST"]


def test_info_of_another_mode_is_refused(s3: Any, bucket: str) -> None:
    """If S3 refuses the HEAD of an object, `info` fails; it does not return a directory."""
    s3.put_object(
        Bucket=bucket, Key="theirs", Body=b"x", SSECustomerAlgorithm="AES256",
        SSECustomerKey=CUSTOMER_KEY,
    )  # fmt: skip
    s3.put_object(Bucket=bucket, Key="plain", Body=b"x")
    S3CryptFileSystem(MODE).pipe_file(f"{bucket}/theirs/x", b"abc")
    with pytest.raises(StorageError):
        S3CryptFileSystem(MODE, skip_instance_cache=True).info(f"{bucket}/theirs")
    with pytest.raises(StorageError):
        S3CryptFileSystem(SSEC(CUSTOMER_KEY)).info(f"{bucket}/plain")
    assert S3CryptFileSystem(SSEC(CUSTOMER_KEY)).info(f"{bucket}/theirs")["size"] == 1
    assert S3CryptFileSystem(SSEC(CUSTOMER_KEY)).isfile(f"{bucket}/plain")


def test_without_encryption_there_are_names_and_no_content(bucket: str) -> None:
    """Without an encryption in the options existence is reported, but neither size nor content."""
    S3CryptFileSystem(MODE).pipe_file(f"{bucket}/x", b"abc")
    fs = S3CryptFileSystem(skip_instance_cache=True)
    assert fs.isfile(f"{bucket}/x")
    assert fs.exists(f"{bucket}/x")
    for deed in (fs.info, fs.open, fs.cat_file):
        with pytest.raises(ConfigError, match="no encryption"):
            deed(f"{bucket}/x")


# --- Many paths --------------------------------------------------------------------------------


def test_objects_are_removed_together(
    s3: Any, fs: S3CryptFileSystem, bucket: str, requests_log: RequestsLog
) -> None:
    """Objects are removed by one DeleteObjects request, after the requests that find them."""
    for call, requests in (
        ("fs.rm(tree, recursive=True)", {"LIST": 2, "POST": 1}),
        ("fs.rm(bucket, recursive=True)", {"LIST": 2, "POST": 1}),
        ("fs.rm([tree, tree + '/b', tree + '/a'], recursive=True)", {"LIST": 4, "POST": 1}),
        ("fs.rm([tree + '/a', tree + '/c'])", {"LIST": 2, "POST": 1}),
        ("fs.rm(tree + '/c*')", {"LIST": 2, "POST": 1}),
        ("fs.rm(tree + '/a')", {"LIST": 1, "DELETE": 1}),
        ("fs.rm_file(tree + '/a')", {"DELETE": 1}),
    ):
        tree = make_tree(fs, bucket)
        requests_log.clear()
        eval(call, {"fs": fs, "tree": tree, "bucket": bucket})
        assert Counter(asked(requests_log)) == requests, call
    left = ("b/deep/three", "b/one", "b/two", "c", "c-1")
    assert set(names(s3, bucket)) == {f"data/{name}" for name in left}


def _listing(bucket: str, keys: list[str], *, is_last: bool) -> Answer:
    """Return S3's reply with a list of empty objects."""
    contents = "".join(
        f"<Contents><Key>{key}</Key><Size>0</Size><ETag>&quot;{number:032x}&quot;</ETag>"
        "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
        for number, key in enumerate(keys)
    )
    body = (
        f"<ListBucketResult><Name>{bucket}</Name><KeyCount>{len(keys)}</KeyCount>"
        f"<IsTruncated>{str(not is_last).lower()}</IsTruncated>"
        f"<NextContinuationToken>{keys[-1]}</NextContinuationToken>{contents}</ListBucketResult>"
    )
    return Answer(200, {"content-type": "application/xml"}, body.encode())


def test_a_thousand_objects_are_removed_by_a_request(bucket: str, sandbox: Running) -> None:
    """1,500 objects are removed by two requests, after two pages and a check of the path."""
    keys = [f"d/{number:05}" for number in range(1500)]

    def listed(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if asked.method == "GET" and "list-type" in asked.query:
            is_second = "continuation-token" in asked.query
            page = keys[1000:] if is_second else keys[:1000]
            return _listing(bucket, page, is_last=is_second)
        return forward()

    with relaying(sandbox.endpoint_url, listed) as relay:
        S3CryptFileSystem(endpoint_url=relay.url).rm(f"{bucket}/d", recursive=True)
        bodies = [asked.body for asked in relay.asked if asked.method == "POST"]
        assert Counter(asked.method for asked in relay.asked) == {"GET": 3, "POST": 2}
    assert sorted(body.count(b"<Key>") for body in bodies) == [500, 1000]


def test_what_replaces_an_object_that_was_listed_is_kept(
    s3: Any, fs: S3CryptFileSystem, bucket: str, sandbox: Running
) -> None:
    """An object that is replaced after its listing is kept; an object given by name is removed."""
    replaced = f"{bucket}/data/b/one"

    def replacing(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if asked.method in ("POST", "DELETE"):
            fs.pipe_file(replaced, b"new")
        return forward()

    with relaying(sandbox.endpoint_url, replacing) as relay:
        through = S3CryptFileSystem(MODE, endpoint_url=relay.url)
        for call, other in (
            ("rm(tree, recursive=True)", []),
            ("rm(tree + '/b/*')", ["a", "c", "c-1"]),
        ):
            tree = make_tree(fs, bucket)
            with pytest.raises(ConflictError, match="data/b/one"):
                eval(f"fs.{call}", {"fs": through, "tree": tree})
            left = set(names(s3, bucket))
            assert left - {"data/b/deep/three"} == {f"data/{name}" for name in ("b/one", *other)}
        through.rm([replaced, f"{tree}/a"])
        assert set(names(s3, bucket)) == {"data/b/deep/three", "data/c", "data/c-1"}


def test_what_cannot_be_removed_is_an_error(
    s3: Any, fs: S3CryptFileSystem, bucket: str, sandbox: Running
) -> None:
    """If a name is missing, nothing is removed. If S3 refuses a removal, the error is raised."""
    tree = make_tree(fs, bucket)
    for paths, error in (
        ([f"{tree}/a", f"{tree}/none"], FileNotFoundError),
        ([f"{tree}/a", f"{tree}/none*"], FileNotFoundError),
        ([f"{tree}/a", f"{tree}/b"], IsADirectoryError),
        ("no-such-bucket/x", FileNotFoundError),
    ):
        with pytest.raises(error):
            fs.rm(paths)
    assert len(names(s3, bucket)) == 6

    def refusing(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        body = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
        is_refused = asked.method in ("POST", "DELETE")
        return Answer(403, {"content-type": "application/xml"}, body) if is_refused else forward()

    with relaying(sandbox.endpoint_url, refusing) as relay:
        through = S3CryptFileSystem(MODE, endpoint_url=relay.url)
        assert through.info(f"{tree}/a")["size"] == 100
        with pytest.raises(StorageError, match="access denied"):
            through.rm([f"{tree}/a", f"{tree}/c"])
        assert through._connection.known.keys() == set()


def test_sizes_are_a_request_an_object(
    fs: S3CryptFileSystem, bucket: str, requests_log: RequestsLog
) -> None:
    """Sizes cost one request per object, and no request if they are remembered."""
    tree = make_tree(fs, bucket)
    paths = fs.find(tree)
    for look, requests in (
        (lambda: fs.find(tree, detail=True), {"LIST": 2, "HEAD": 6}),
        (lambda: fs.find(tree, detail=True), {"LIST": 2}),
        (lambda: fs.du(tree), {"LIST": 2}),
        (lambda: fs.sizes(paths), {"HEAD": 6}),
    ):
        requests_log.clear()
        look()
        assert Counter(asked(requests_log)) == requests
    assert fs.sizes(paths) == [100, 103, 101, 102, 105, 104]


def test_content_of_many_is_a_request_an_object(
    fs: S3CryptFileSystem, bucket: str, tmp_path: Path, requests_log: RequestsLog
) -> None:
    """Content of many objects costs one request per object, besides the listing."""
    contents = {f"{bucket}/data/{n % 3}/{n}": payload(100 + n) for n in range(9)}
    requests_log.clear()
    fs.pipe(contents)
    assert Counter(asked(requests_log)) == {"PUT": 9}
    assert fs.cat(list(contents)) == contents
    assert Counter(asked(requests_log)) == {"GET": 9}
    fs.get(f"{bucket}/data", str(tmp_path / "got"), recursive=True)
    assert Counter(asked(requests_log)) == {"LIST": 2, "GET": 9}
    for path, content in contents.items():
        assert (tmp_path / "got" / path.removeprefix(f"{bucket}/data/")).read_bytes() == content
    fs.put(str(tmp_path / "got"), f"{bucket}/put", recursive=True)
    assert Counter(asked(requests_log)) == {"LIST": 1, "PUT": 9}
    assert fs.cat(f"{bucket}/put", recursive=True) == {
        path.replace("/data/", "/put/"): content for path, content in contents.items()
    }


def _widest(sandbox: Running, work: Callable[[S3CryptFileSystem], object], *, held: int) -> int:
    """Return the largest number of requests that were running at the same time.

    Each request is delayed by 50 ms, and waits until `held` requests have begun: a busy machine
    would otherwise begin them one after the other.
    """
    now, most, change = 0, 0, threading.Condition()

    def slowly(_: Asked, forward: Callable[[], Answer]) -> Answer:
        nonlocal now, most
        with change:
            now += 1
            most = max(most, now)
            change.notify_all()
            change.wait_for(lambda: most >= held, timeout=5)
        time.sleep(0.05)
        answer = forward()
        with change:
            now -= 1
        return answer

    with relaying(sandbox.endpoint_url, slowly) as relay:
        work(S3CryptFileSystem(MODE, endpoint_url=relay.url))
    return most


@pytest.mark.parametrize(
    ("work", "most"),
    [
        (lambda fs, paths: fs.sizes(paths * 4), 64),
        (lambda fs, paths: fs.cat_ranges(paths, 0, 5, on_error="raise"), 32),
        (lambda fs, paths: fs.to_arrow().get_file_info(paths), 64),
    ],
    ids=["sizes", "ranges", "arrow"],
)
def test_more_is_under_way_with_a_service_far_away(
    work: Any, most: int, bucket: str, sandbox: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a distant service more requests run at the same time than with a near service."""
    paths = [f"{bucket}/{number}" for number in range(40)]
    S3CryptFileSystem(MODE).pipe(dict.fromkeys(paths, b"abc"))
    near = _widest(sandbox, lambda fs: work(fs, paths), held=1)
    monkeypatch.setattr("s3crypt.local.distance.FAR_SECONDS", 0.0)
    assert near < 10 <= _widest(sandbox, lambda fs: work(fs, paths), held=10) <= most


def test_the_first_failure_ends_it(
    fs: S3CryptFileSystem, bucket: str, requests_log: RequestsLog
) -> None:
    """After the first failure no request is begun, unless the caller wants errors returned."""
    fs.pipe_file(f"{bucket}/x", b"abc")
    paths = [f"{bucket}/0", *(f"{bucket}/x" for _ in range(300))]
    requests_log.clear()
    with pytest.raises(FileNotFoundError):
        fs.sizes(paths)
    assert len(asked(requests_log)) < 200
    missing, there = f"{bucket}/0", f"{bucket}/x"
    kept = fs.cat([missing, there], on_error="return")
    assert (type(kept[missing]).__name__, kept[there]) == ("ObjectNotFoundError", b"abc")
    assert fs.cat([missing, there], on_error="omit") == {there: b"abc"}


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let SIGINT raise KeyboardInterrupt: the tests' process may ignore the signal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_ends_it(fs: S3CryptFileSystem, bucket: str, sandbox: Running) -> None:
    """After an interrupt the running requests are awaited, and no further request is begun."""
    fs.pipe_file(f"{bucket}/x", b"abc")
    numbers = itertools.count(1)

    def interrupting(_: Asked, forward: Callable[[], Answer]) -> Answer:
        if next(numbers) == 20:
            _thread.interrupt_main()
        time.sleep(0.01)
        return forward()

    with relaying(sandbox.endpoint_url, interrupting) as relay:
        through = S3CryptFileSystem(MODE, endpoint_url=relay.url)
        with pytest.raises(KeyboardInterrupt):
            through.sizes([f"{bucket}/x"] * 500)
        count = len(relay.asked)
        assert 20 <= count < 250
        time.sleep(0.2)
        assert len(relay.asked) == count


def test_two_that_would_become_one_are_refused(
    fs: S3CryptFileSystem, bucket: str, tmp_path: Path, requests_log: RequestsLog
) -> None:
    """Two sources for one target are refused, because one would overwrite the other."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_bytes(name.encode())
        fs.pipe_file(f"{bucket}/{name}/x", name.encode())
    requests_log.clear()
    with pytest.raises(ValueError, match="both become"):
        fs.put([str(tmp_path / "a/x"), str(tmp_path / "b/x")], f"{bucket}/c/")
    with pytest.raises(ValueError, match="both become"):
        fs.get([f"{bucket}/a/x", f"{bucket}/b/x"], f"{tmp_path}/c/")
    assert asked(requests_log) == []
    assert not (tmp_path / "c/x").exists()
    for deed in (fs.put, fs.get):
        with pytest.raises(ValueError, match="equally many"):
            deed([f"{bucket}/a/x"], ["b", "c"])


class _Watched(Callback):  # type: ignore[misc]  # fsspec has no types
    """A callback that detects simultaneous calls of itself or of its branches."""

    def __init__(self, root: Self | None = None) -> None:
        super().__init__()
        self.root = root or self
        self.inside = 0
        self.overlaps = 0
        self.branches: dict[tuple[str, str], _Watched] = {}

    def call(self, *_: Any, **__: Any) -> None:
        self.root.inside += 1
        time.sleep(0.001)
        self.root.overlaps += self.root.inside > 1
        self.root.inside -= 1

    def branched(self, path_1: str, path_2: str, **_: Any) -> Any:
        branch = self.branches[path_1, path_2] = _Watched(self.root)
        return branch


@pytest.mark.usefixtures("far_service")
def test_callbacks_are_called_one_at_a_time(
    fs: S3CryptFileSystem, bucket: str, tmp_path: Path
) -> None:
    """Only one thread at a time calls callbacks, for whole files and for their bytes."""
    files = [tmp_path / str(number) for number in range(12)]
    for number, file in enumerate(files):
        file.write_bytes(payload(100 + number))
    paths, got = [f"{bucket}/{file.name}" for file in files], [f"{file}-got" for file in files]
    for deed, sources, targets in (
        (fs.put, [str(file) for file in files], paths),
        (fs.get, paths, got),
    ):
        callback = _Watched()
        deed(sources, targets, callback=callback)
        assert (callback.size, callback.value, callback.overlaps) == (12, 12, 0)
        assert {pair: (one.size, one.value) for pair, one in callback.branches.items()} == {
            pair: (100 + number, 100 + number)
            for number, pair in enumerate(zip(sources, targets, strict=True))
        }


def test_a_transaction_stores_many_in_their_order(
    fs: S3CryptFileSystem, bucket: str, tmp_path: Path
) -> None:
    """A transaction keeps the order of its files, also for files that are put together."""
    (tmp_path / "x").write_bytes(b"abc")
    paths = [f"{bucket}/{number:02}" for number in range(12)]
    with fs.transaction:
        fs.put([str(tmp_path / "x")] * 12, paths)
        assert [file.path for file in fs.transaction.files] == paths
    assert fs.find(bucket) == paths
