# SPDX-License-Identifier: Apache-2.0
"""The commands cp and mv, and the options of put, get and rm: sources, patterns, filters."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from s3crypt_cli.main import run
from samples import names

if TYPE_CHECKING:
    from collections.abc import Callable

SSE = ("--mode", "sse-s3")


class Said:
    """The output and exit code of a command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def command(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Said]:
    """Return a function that runs the command, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def command(*words: object) -> Said:
        capfd.readouterr()
        code = run([str(word) for word in words])
        return Said(code, *capfd.readouterr())

    return command


@pytest.fixture
def tree(tmp_path: Path) -> dict[str, bytes]:
    """Make a folder `tree` of files; return their contents by relative path."""
    contents = {"a.csv": b"1", "b.txt": b"22", "sub/c.csv": b"333"}
    for name, data in contents.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return contents


def below(folder: Path) -> dict[str, bytes]:
    """Return the contents of the files below a folder."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.usefixtures("tree")
def test_several_sources_keep_their_names(
    command: Callable[..., Said], bucket: str, s3: Any, tmp_path: Path
) -> None:
    """With several sources each keeps its name in the target.

    With one folder only its content is copied.
    """
    Path("one").write_bytes(b"one")
    assert command("cp", "-r", "one", "tree", f"s3://{bucket}/t/", *SSE).code == 0
    wanted = ["t/one", "t/tree/a.csv", "t/tree/b.txt", "t/tree/sub/c.csv"]
    assert names(s3, bucket) == wanted
    sources = (f"s3://{bucket}/t/tree/a.csv", f"s3://{bucket}/t/one")
    assert command("cp", *sources, f"s3://{bucket}/u/", *SSE).code == 0
    assert command("get", *sources, "out/").code == 0
    assert below(tmp_path / "out") == {"a.csv": b"1", "one": b"one"}
    assert command("mv", "-r", f"s3://{bucket}/t/tree/", f"s3://{bucket}/u/", "all/").code == 0
    assert sorted(below(tmp_path / "all")) == [
        "tree/a.csv",
        "tree/b.txt",
        "tree/sub/c.csv",
        "u/a.csv",
        "u/one",
    ]
    assert names(s3, bucket) == ["t/one"]


@pytest.mark.usefixtures("tree")
def test_patterns_select_objects(
    command: Callable[..., Said], bucket: str, s3: Any, tmp_path: Path
) -> None:
    """In a pattern * also matches slashes; an object whose name is the pattern is preferred."""
    command("put", "-r", "tree", f"s3://{bucket}/t/", *SSE)
    assert command("get", f"s3://{bucket}/t/*.csv", "out").code == 0
    assert below(tmp_path / "out") == {"a.csv": b"1", "sub/c.csv": b"333"}
    s3.put_object(Bucket=bucket, Key="t/*.csv", Body=b"star")
    assert command("get", f"s3://{bucket}/t/*.csv", "star").code == 0
    assert Path("star").read_bytes() == b"star"
    assert command("inspect", f"s3://{bucket}/t/?.*", "--json").out.count('"uri"') == 3
    assert command("rm", f"s3://{bucket}/t/[ab].*").code == 0
    assert names(s3, bucket) == ["t/*.csv", "t/sub/c.csv"]
    nothing = command("rm", f"s3://{bucket}/t/x*")
    assert (nothing.code, "no name below it fits x*" in nothing.err) == (1, True)


@pytest.mark.usefixtures("tree")
def test_the_order_of_filters_counts(command: Callable[..., Said], bucket: str, s3: Any) -> None:
    """The order of filters counts, as in `aws s3 cp`; both spellings of a value are accepted."""
    put = ("put", "-r", "tree", f"s3://{bucket}/", *SSE)
    assert command(*put, "--exclude", "*", "--include=*.csv", "--exclude", "sub/*").code == 0
    assert names(s3, bucket) == ["a.csv"]
    assert command(*put, "--include", "*.csv", "--exclude", "*").code == 1
    assert command(*put, "--exclude", "*.csv").code == 0
    assert names(s3, bucket) == ["a.csv", "b.txt"]
    assert command("rm", "-r", f"s3://{bucket}/", "--exclude", "*.csv").code == 0
    assert names(s3, bucket) == ["a.csv"]
    assert command("put", "tree/a.csv", f"s3://{bucket}/", *SSE, "--include", "*").code == 2


def test_targets_that_exist_are_left_alone(
    command: Callable[..., Said], bucket: str, s3: Any, tree: dict[str, bytes], tmp_path: Path
) -> None:
    """--no-overwrite skips and counts existing targets; a skipped source of mv is kept."""
    s3.put_object(Bucket=bucket, Key="t/a.csv", Body=b"kept")
    put = command("cp", "-r", "tree", f"s3://{bucket}/t/", *SSE, "--no-overwrite", "--json")
    assert put.code == 0
    assert json.loads(put.out.splitlines()[-1])["counts"] == {"cp": 2, "skipped": 1}
    assert s3.get_object(Bucket=bucket, Key="t/a.csv")["Body"].read() == b"kept"
    assert command("mv", "-r", f"s3://{bucket}/t/", "tree", "--no-overwrite").code == 0
    assert below(tmp_path / "tree") == tree
    assert len(names(s3, bucket)) == 3
    copy = ("cp", "-r", f"s3://{bucket}/t/", f"s3://{bucket}/u/", *SSE, "--no-overwrite")
    assert "3 copied" in command(*copy).err
    assert "3 skipped" in command(*copy).err
    assert command(*copy, "--dry-run", "--exit-code").code == 0
    assert command("get", f"s3://{bucket}/t/a.csv", "tree/a.csv", "--no-overwrite").code == 0
    assert below(tmp_path / "tree") == tree


@pytest.mark.usefixtures("tree")
def test_modification_times_are_preserved_on_request(
    command: Callable[..., Said], bucket: str, s3: Any, tmp_path: Path
) -> None:
    """--preserve keeps modification times for one and many files, in both directions."""
    old = 1_600_000_000_500_000_000
    for path in (tmp_path / "tree").rglob("*.csv"):
        os.utime(path, ns=(old, old))
    uri = f"s3://{bucket}/t/"
    command("put", "tree/a.csv", f"{uri}without", *SSE)
    assert command("put", "tree/a.csv", f"{uri}with", *SSE, "--preserve").code == 0
    assert command("cp", "-r", "tree", f"{uri}tree/", *SSE, "--preserve").code == 0
    found = [s3.head_object(Bucket=bucket, Key=f"t/{name}")["Metadata"] for name in
             ("without", "with", "tree/sub/c.csv")]  # fmt: skip
    assert found == [{}, {"mtime": "1600000000.5"}, {"mtime": "1600000000.5"}]
    assert command("get", f"{uri}with", "one", "--preserve").code == 0
    assert command("mv", "-r", f"{uri}tree/", "many", "--preserve").code == 0
    assert command("get", f"{uri}with", "now").code == 0
    times = [Path(name).stat().st_mtime_ns == old for name in ("one", "many/sub/c.csv", "now")]
    assert times == [True, True, False]
    for words in (
        ("put", "-", f"{uri}x", *SSE),
        ("get", f"{uri}with", "-"),
        ("get", f"{uri}with", "part", "--range", "0-0"),
        ("cp", f"{uri}with", f"{uri}x", *SSE),
    ):
        assert command(*words, "--preserve").code == 2


@pytest.mark.usefixtures("tree")
def test_pipes_are_copied_and_not_moved(command: Callable[..., Said], bucket: str, s3: Any) -> None:
    """An object can be copied to standard output, but not moved there."""
    command("cp", "tree/a.csv", f"s3://{bucket}/a", *SSE)
    assert command("cp", f"s3://{bucket}/a", "-").out == "1"
    assert command("mv", f"s3://{bucket}/a", "-").code == 2
    assert command("mv", "-", f"s3://{bucket}/b", *SSE).code == 2
    assert names(s3, bucket) == ["a"]


@pytest.mark.usefixtures("tree")
def test_a_journal_goes_on(command: Callable[..., Said], bucket: str) -> None:
    """A journal resumes a copy inside S3; a different filter is refused as a different job."""
    command("put", "-r", "tree", f"s3://{bucket}/t/", *SSE)
    copy = ("cp", "-r", f"s3://{bucket}/t/", f"s3://{bucket}/u/", *SSE, "--journal", "j")
    assert "3 copied" in command(*copy).err
    assert "nothing to do" in command(*copy).err
    assert command(*copy, "--exclude", "a*").code == 2


def test_sources_with_the_same_target_are_refused(
    command: Callable[..., Said], bucket: str, s3: Any, tmp_path: Path
) -> None:
    """Two sources with the same target are refused: one file would silently replace the other."""
    for name in ("x/q", "y/x/q", "z/x//q", "y/", "z/", "x/../q"):
        s3.put_object(Bucket=bucket, Key=name, Body=b"" if name.endswith("/") else b"1")
    uri = f"s3://{bucket}"
    for sources, told in (
        (("-r", f"{uri}/x/", f"{uri}/y/*"), "have the same target, x/q"),
        ((f"{uri}/y/*", f"{uri}/z/*"), "have the same target, x/q"),
        (("-r", f"{uri}/x/../", f"{uri}/y/"), "has no name for a folder"),
    ):
        for verb in ("get", "mv"):
            refused = command(verb, *sources, f"{tmp_path}/out/")
            assert (refused.code, told in refused.err) == (2, True), refused.err
    assert command("cp", "-r", f"{uri}/x/", f"{uri}/y/*", f"{uri}/new/", *SSE).code == 2
    assert list(tmp_path.iterdir()) == []
    assert command("cp", f"{uri}/y/*", f"{uri}/z/*", f"{uri}/new/", *SSE).code == 0
    assert names(s3, bucket)[:2] == ["new/x//q", "new/x/q"]


@pytest.mark.parametrize("words", [("rm",), ("get",), ("mv",), ("inspect",), ("cp", *SSE)])
@pytest.mark.parametrize("pattern", ["*", "?.csv", "none/*", "no*"])
def test_a_pattern_that_matches_nothing_is_one_line(
    words: tuple[str, ...], pattern: str, command: Callable[..., Said], bucket: str, s3: Any
) -> None:
    """If a pattern matches nothing, the error is one line, also in an empty bucket."""
    if pattern != "*":
        s3.put_object(Bucket=bucket, Key="there", Body=b"")
    target = {"get": ["out"], "mv": ["out"], "cp": [f"s3://{bucket}-none/"]}.get(words[0], [])
    told = command(words[0], f"s3://{bucket}/{pattern}", *target, *words[1:])
    lines = [line for line in told.err.splitlines() if line.startswith("s3crypt: ")]
    assert (told.code, len(lines)) == (1, 1), told.err
    assert "no name below it fits" in lines[0]


@pytest.mark.parametrize(
    "key", [("--sse-c-key-file", "dir/my[1].key"), ("--key", "aes:t/k=dir/my[1].key")]
)
def test_a_key_is_not_moved_under_itself(
    key: tuple[str, ...], command: Callable[..., Said], bucket: str, s3: Any
) -> None:
    """`mv` does not move its own key file into S3: afterwards the objects could not be read."""
    Path("dir").mkdir()
    for name in ("my[1].key", "my1.key"):
        Path("dir", name).write_bytes(os.urandom(32))
    moved = command("mv", "-r", "dir", f"s3://{bucket}/", *key)
    assert (moved.code, "skipped, a key of this command" in moved.err) == (0, True), moved.err
    assert names(s3, bucket) == ["my1.key"]
    Path("link").symlink_to("dir/my[1].key")
    for source in (("dir/my[1].key",), ("link",), ("dir/../dir/my[1].key", "link")):
        refused = command("mv", *source, f"s3://{bucket}/", *key)
        assert (refused.code, "is a key of this command" in refused.err) == (2, True)
    assert Path("dir/my[1].key").stat().st_size == 32


def linked_keys() -> tuple[str, ...]:
    """Make a key file with a link and a hard link, in `dir` and beside it; return their names."""
    for folder in ("dir", "keys"):
        Path(folder).mkdir()
    Path("keys/real.key").write_bytes(os.urandom(32))
    Path("dir/link.key").symlink_to("../keys/real.key")
    Path("dir/hard.key").hardlink_to("keys/real.key")
    Path("dir/data").write_bytes(b"1")
    return ("hard.key", "link.key")


@pytest.mark.parametrize("given", ["keys/real.key", "dir/link.key", "dir/hard.key"])
def test_a_link_to_a_key_is_not_moved(
    given: str, command: Callable[..., Said], bucket: str, s3: Any
) -> None:
    """`mv` also leaves alone a link and a hard link to its own key file."""
    linked = linked_keys()
    key = ("--key", f"aes:t/k={given}")
    moved = command("mv", "-r", "dir", f"s3://{bucket}/", *key)
    assert (moved.code, moved.err.count("skipped, a key of this command")) == (0, 2), moved.err
    assert names(s3, bucket) == ["data"]
    assert sorted(path.name for path in Path("dir").iterdir()) == list(linked)
    for name in linked:
        refused = command("mv", f"dir/{name}", f"s3://{bucket}/", *key)
        assert (refused.code, "is a key of this command" in refused.err) == (2, True)


@pytest.mark.parametrize("verb", ["get", "cp", "mv"])
@pytest.mark.parametrize("name", ["k.key", "link.key", "hard.key", "sub/../k.key", "at//k.key"])
def test_objects_are_not_written_over_a_key(
    verb: str, name: str, command: Callable[..., Said], bucket: str, s3: Any
) -> None:
    """Objects below a prefix are written to a folder, but never over the command's key file."""
    Path("dir/at").mkdir(parents=True)
    for path in ("dir/at/k.key", "dir/k.key"):
        Path(path).write_bytes(bytes(32))
    Path("dir/link.key").symlink_to("k.key")
    Path("dir/hard.key").hardlink_to("dir/k.key")
    key = ("--key", f"aes:t/k=dir/{'at/' if '//' in name else ''}k.key")
    Path("file").write_bytes(b"of an object")
    for each in (name, "other"):
        assert command("put", "file", f"s3://{bucket}/p/{each}", *key).code == 0
    told = command(verb, "-r", f"s3://{bucket}/p/", "dir", *key)
    assert (told.code, told.err.count("skipped, a key of this command")) == (0, 1), told.err
    assert Path("dir/other").read_bytes() == b"of an object"
    assert Path("dir", name.replace("//", "/").removeprefix("sub/../")).read_bytes() == bytes(32)
    assert names(s3, bucket) == sorted([f"p/{name}", *([] if verb == "mv" else ["p/other"])])


@pytest.mark.parametrize("verb", ["get", "cp", "mv"])
@pytest.mark.parametrize("form", ["a file", "a folder", "a link", "several", "a pattern"])
def test_one_object_is_not_written_over_a_key(
    verb: str, form: str, command: Callable[..., Said], bucket: str, s3: Any
) -> None:
    """An object whose target is the command's key file is refused, or left out of a pattern."""
    Path("k.key").write_bytes(bytes(32))
    Path("link").symlink_to("k.key")
    key = ("--key", "aes:t/k=k.key")
    Path("file").write_bytes(b"of an object")
    uris = [f"s3://{bucket}/p/k.key", f"s3://{bucket}/p/x"]
    for uri in uris:
        assert command("put", "file", uri, *key).code == 0
    words = {
        "a file": (uris[0], "k.key"),
        "a folder": (uris[0], "."),
        "a link": (uris[0], "link"),
        "several": (*uris, "."),
        "a pattern": (f"s3://{bucket}/p/*.key", "."),
    }[form]
    told = command(verb, *words, *key)
    is_many = form == "a pattern"
    assert told.code == (1 if is_many else 2), told.err
    assert ("skipped" if is_many else "is not overwritten") in told.err
    assert len([line for line in told.err.splitlines() if line.startswith("s3crypt: ")]) <= 2
    assert Path("k.key").read_bytes() == bytes(32)
    assert names(s3, bucket) == ["p/k.key", "p/x"]
    if form == "several":
        assert command(verb, *words, *key, "--no-overwrite").code == 0
        assert Path("k.key").read_bytes() == bytes(32)


@pytest.mark.parametrize("verb", ["encrypt", "decrypt"])
def test_a_key_is_not_overwritten_by_a_conversion(verb: str, command: Callable[..., Said]) -> None:
    """`encrypt` and `decrypt` do not write over their key file, in a folder or as the target."""
    for folder in ("plain", "out"):
        Path(folder).mkdir()
    Path("out/k.key").write_bytes(bytes(32))
    key = ("--key", "aes:t/k=out/k.key")
    for name in ("k.key", "x"):
        Path("plain", name).write_bytes(b"1")
    assert command("encrypt", "-r", "plain", "sealed", "--key", "aes:t/k=out/k.key").code == 0
    source = {"encrypt": "plain", "decrypt": "sealed"}[verb]
    told = command(verb, "-r", source, "out", *key)
    assert (told.code, told.err.count("skipped, a key of this command")) == (0, 1), told.err
    assert Path("out/x").exists()
    for more in ((), ("--encode",) if verb == "encrypt" else ("--decode",)):
        refused = command(verb, f"{source}/x", "out/k.key", *key, *more)
        assert (refused.code, "is not overwritten" in refused.err) == (2, True), refused.err
    assert Path("out/k.key").read_bytes() == bytes(32)


def test_a_rotation_selects_names(command: Callable[..., Said], bucket: str) -> None:
    """`rotate` filters names like other commands; the journal belongs to one filter."""
    for name in ("t/a.csv", "t/b.txt", "t/sub/c.csv"):
        Path("file").write_bytes(b"1")
        command("put", "file", f"s3://{bucket}/{name}", *SSE)
    Path("key").write_bytes(os.urandom(32))
    to = ("--key", "aes:t/k=key", "--from-mode", "sse-s3")
    rotate = ("rotate", "-r", f"s3://{bucket}/t/", *to, "--journal", "j")
    some = command(*rotate, "--exclude", "*", "--include", "*.csv", "--json")
    assert some.code == 0, some.err
    assert json.loads(some.out.splitlines()[-1])["counts"] == {"re-encrypted": 2}
    assert "another job" in command(*rotate).err
    found = command("inspect", "-r", f"s3://{bucket}/t/", "--json").out.splitlines()
    assert [json.loads(line).get("mode") for line in found[:3]].count("client") == 2
    nothing = command(*rotate[:-2], "--exclude", "*")
    assert (nothing.code, "no name below it fits --exclude *" in nothing.err) == (1, True)
    assert command("rotate", f"s3://{bucket}/t/b.txt", *to, "--exclude", "*").code == 2


def test_a_mixed_prefix_is_passed_through(command: Callable[..., Said], bucket: str) -> None:
    """`rotate --skip-others` skips objects outside --from-...; without it they fail."""
    for name in ("one", "two"):
        Path(name).write_bytes(os.urandom(32))
        command("put", name, f"s3://{bucket}/{name}", "--key", f"aes:t/{name}={name}")
    command("put", "one", f"s3://{bucket}/plain", *SSE)
    Path("customer").write_bytes(os.urandom(32))
    command("put", "one", f"s3://{bucket}/c", "--sse-c-key-file", "customer")
    rotate = ("rotate", "-r", f"s3://{bucket}/", "--key", "aes:t/two=two")
    mixed = command(*rotate, "--from-key", "aes:t/one=one")
    assert (mixed.code, "failed" in mixed.err) == (1, True)
    passed = command(*rotate, "--from-key", "aes:t/one=one", "--skip-others", "--json")
    assert passed.code == 0, passed.err
    counts = json.loads(passed.out.splitlines()[-1])["counts"]
    assert counts == {"skipped": 2, "unchanged": 2}


def test_a_wrong_key_names_the_option_for_it(command: Callable[..., Said], bucket: str) -> None:
    """If a rotation has the wrong present key, the error names --from-key."""
    for name in ("one", "two"):
        Path(name).write_bytes(os.urandom(32))
    command("put", "one", f"s3://{bucket}/x", "--key", "aes:t/one=one")
    told = command(
        "rotate", f"s3://{bucket}/x", "--key", "aes:t/n=one", "--from-key", "aes:t/two=two"
    )
    assert (told.code, "present key as --from-key" in told.err) == (4, True)
    read = command("get", f"s3://{bucket}/x", "out", "--key", "aes:t/two=two")
    assert (read.code, "--from-key" in read.err) == (4, False)


def test_folders_are_encrypted_and_decrypted(
    command: Callable[..., Said], tree: dict[str, bytes], tmp_path: Path
) -> None:
    """`encrypt -r` and `decrypt -r` keep paths, and accept filters and --no-overwrite."""
    Path("key").write_bytes(os.urandom(32))
    key = ("--key", "aes:t/k=key")
    sealed = command("encrypt", "-r", "tree", "sealed", *key)
    assert (sealed.code, "3 files: 3 encrypted" in sealed.err) == (0, True), sealed.err
    assert below(tmp_path / "sealed").keys() == tree.keys()
    assert command("decrypt", "-r", "sealed", "plain", *key, "--exclude", "*.txt").code == 0
    assert below(tmp_path / "plain").keys() == {"a.csv", "sub/c.csv"}
    Path("plain/a.csv").write_bytes(b"kept")
    assert "2 skipped" in command("decrypt", "-r", "sealed", "plain", *key, "--no-overwrite").err
    assert below(tmp_path / "plain") == {**tree, "a.csv": b"kept"}
    assert command("encrypt", "-r", "tree", "tree/in", *key).code == 2
    assert command("encrypt", "-r", "tree", "tree", *key).code == 2
    assert not (tmp_path / "tree" / "in").exists()


@pytest.mark.parametrize("size", [0, 1, 2, 3, 100_001])
def test_base_64_around_messages(command: Callable[..., Said], size: int) -> None:
    """Base64 is written in one line and read with line breaks; other text is refused."""
    Path("key").write_bytes(os.urandom(32))
    Path("in").write_bytes(os.urandom(size))
    key = ("--key", "aes:t/k=key")
    done = command("encrypt", "in", "sealed", *key, "--encode")
    assert (done.code, done.err.startswith("in -> sealed (")) == (0, True)
    text = Path("sealed").read_text()
    assert text.count("\n") == 1
    Path("lines").write_text("\r\n".join(text[at : at + 76] for at in range(0, len(text), 76)))
    for name in ("sealed", "lines"):
        assert command("decrypt", name, "out", *key, "--decode").code == 0
        assert Path("out").read_bytes() == Path("in").read_bytes()
    Path("bad").write_text(f"!{text}")
    assert command("decrypt", "bad", "other", *key, "--decode").code == 3
    assert not Path("other").exists()


LONG = "x" * 1024
VERBS = ("cp", "mv", "put", "get", "rm", "inspect")
_BAD: list[tuple[tuple[str, ...], int, str]] = [
    *((((verb,)), 2, "Missing argument") for verb in VERBS),
    (("put", "f", "s3://{no}/x", *SSE), 5, "{no}"),
    (("get", "s3://{no}/x", "out"), 5, "{no}"),
    (("cp", "f", "s3://{no}/x", *SSE), 5, "{no}"),
    (("cp", "-r", "d", "s3://{no}/", *SSE), 5, "{no}"),
    (("mv", "s3://{no}/x", "s3://{bucket}/y", *SSE), 5, "{no}"),
    (("rm", "s3://{no}/x"), 5, "{no}"),
    (("rm", "-r", "s3://{no}/"), 5, "{no}"),
    (("get", "s3://{bucket}/absent", "out"), 5, "s3://{bucket}/absent"),
    (("cp", "s3://{bucket}/absent", "out"), 5, "s3://{bucket}/absent"),
    (("cp", "s3://{bucket}/absent", "s3://{bucket}/y", *SSE), 5, "s3://{bucket}/absent"),
    (("mv", "s3://{bucket}/absent", "out"), 5, "s3://{bucket}/absent"),
    (("rm", "s3://{bucket}/absent"), 5, "s3://{bucket}/absent"),
    (("inspect", "s3://{bucket}/absent"), 5, "s3://{bucket}/absent"),
    (("put", "absent", "s3://{bucket}/y", *SSE), 5, "absent"),
    (("mv", "absent", "s3://{bucket}/y", *SSE), 5, "absent"),
    (("cp", "-r", "s3://{bucket}/", "s3://{bucket}/in/", *SSE), 2, "s3://{bucket}/in/"),
    (("mv", "-r", "s3://{bucket}/p/", "s3://{bucket}/", *SSE), 2, "s3://{bucket}/"),
    (("mv", "-r", "s3://{bucket}/p/", "s3://{bucket}/p/", *SSE), 2, "s3://{bucket}/p/"),
    (("mv", "s3://{bucket}/p/*", "s3://{bucket}/p/q/", *SSE), 2, "s3://{bucket}/p/q/"),
    (("cp", "s3://{bucket}/p", "s3://{bucket}/p", *SSE), 2, "s3://{bucket}/p"),
    (("mv", "s3://{bucket}/p", "s3://{bucket}/p", *SSE), 2, "s3://{bucket}/p"),
    (("mv", "s3://{bucket}/p", "s3://{bucket}", *SSE), 2, "s3://{bucket}/p"),
    (("cp", "f", "g"), 2, "g"),
    (("cp", "f", "s3://{bucket}/p", "s3://{bucket}/y/", *SSE), 2, "files, and some are objects"),
    (("cp", "f", "f", "s3://{bucket}/y/", *SSE), 2, "same target"),
    (("cp", "f", "d/g", "s3://{bucket}/y", *SSE), 2, "s3://{bucket}/y"),
    (("get", "s3://{bucket}/p", "s3://{bucket}/p/f", "absent"), 2, "absent"),
    (("get", "s3://{bucket}/p", "s3://{bucket}/p", "d/"), 2, "same target"),
    (("cp", "d", "s3://{bucket}/y/", *SSE), 2, "d is a directory"),
    (("cp", "s3://{bucket}/p/", "out"), 5, "s3://{bucket}/p/"),
    (("cp", "s3://{bucket}", "out"), 2, "s3://{bucket}"),
    (("get", "-r", "s3://{bucket}/none/", "out"), 5, "s3://{bucket}/none/"),
    (("cp", "-r", "s3://{bucket}/p/", "f"), 2, "f is a file"),
    (("get", "s3://{bucket}/p", "readonly/out"), 5, "readonly/out"),
    (("get", "s3://{bucket}/p", "/dev/full"), 5, "/dev/full"),
    (("mv", "s3://{bucket}/p", "readonly/out"), 5, "readonly/out"),
    (("mv", "s3://{bucket}/p", "/dev/full"), 2, "/dev/full"),
    (("get", "s3://{bucket}/p", "s/../absent/out"), 5, "absent/out"),
    (("cp", "s3://{bucket}/client", "out", *SSE), 3, "s3://{bucket}/client"),
    (("cp", "s3://{bucket}/client", "out"), 3, "s3://{bucket}/client"),
    (("mv", "s3://{bucket}/client", "s3://{bucket}/y", *SSE), 3, "s3://{bucket}/client"),
    (("get", "s3://{bucket}/archived", "out"), 5, "s3://{bucket}/archived"),
    (("mv", "s3://{bucket}/archived", "out"), 5, "s3://{bucket}/archived"),
    (("mv", "s3://{bucket}/archived", "s3://{bucket}/y", *SSE), 5, "s3://{bucket}/archived"),
    (("get", "s3://{bucket}/new\nline", "out"), 5, "new\\nline"),
    (("cp", "f", f"s3://{{bucket}}/{LONG}x", *SSE), 5, "xxx"),
    (("get", "s3://{bucket}/..", "d/"), 2, "s3://{bucket}/.."),
    (("cp", "f", "s3://{bucket}/y", *SSE, "--metadata", "x"), 2, "--metadata"),
    (("cp", "s3://{bucket}/p", "out", "--metadata", "x=y"), 2, "--metadata"),
    (("cp", "f", "s3://{bucket}/y", *SSE, "--version-id", "1"), 2, "--version-id"),
    (("cp", "f", "s3://{bucket}/y", *SSE, "--from-mode", "sse-s3"), 2, "--from-mode"),
    (("cp", "f", "s3://{bucket}/y"), 2, "No encryption"),
    (("put", "f", "s3://{bucket}/y", *SSE, "--object-lock-mode", "GOVERNANCE"), 2, "object_lock"),
    (("put", "f", "s3://{bucket}/y", *SSE, "--object-lock-retain-until", "soon"), 2, "soon"),
    (("put", "-r", "d", "s3://{bucket}/y/", *SSE, "--exclude", "*"), 1, "--exclude *"),
    (("put", "f", "s3://{bucket}/y", *SSE, "--exit-code"), 2, "--exit-code"),
]
if os.geteuid() == 0:
    # Root has permission to write everywhere, so these rows do not fail for root.
    _BAD = [row for row in _BAD if "readonly/out" not in row[0]]


@pytest.fixture(scope="module")
def bad_bucket(s3: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Make a bucket with objects that commands refuse; the table's commands change nothing."""
    bucket = f"bad-{os.urandom(8).hex()}"
    s3.create_bucket(Bucket=bucket)
    for name in ("p", "p/f", "in", ".."):
        s3.put_object(Bucket=bucket, Key=name, Body=b"1")
    s3.put_object(Bucket=bucket, Key="archived", Body=b"1", StorageClass="GLACIER")
    folder = tmp_path_factory.mktemp("keys")
    (folder / "key").write_bytes(bytes(32))
    (folder / "f").write_bytes(b"1")
    put = ("put", str(folder / "f"), f"s3://{bucket}/client", "--key", f"aes:t/k={folder / 'key'}")
    assert run([*put, "-q"]) == 0
    return bucket


@pytest.mark.parametrize(("words", "code", "told"), _BAD, ids=lambda value: str(value)[:60])
def test_bad_input_is_one_line_and_changes_nothing(
    words: tuple[str, ...],
    code: int,
    told: str,
    command: Callable[..., Said],
    bad_bucket: str,
    s3: Any,
) -> None:
    """For bad input the command prints one short line that names the object, and at most a hint.

    Nothing is changed.
    """
    Path("f").write_bytes(b"f")
    Path("d").mkdir()
    Path("d/g").write_bytes(b"g")
    Path("readonly").mkdir()
    Path("readonly").chmod(stat.S_IRUSR | stat.S_IXUSR)
    before = names(s3, bad_bucket), below(Path())
    placed = {"bucket": bad_bucket, "no": f"no-{bad_bucket}"}
    ended = command(*(word.format(**placed) for word in words))
    lines = [line for line in ended.err.splitlines() if line.startswith("s3crypt: ")]
    assert (ended.code, len(lines)) == (code, 1), ended.err
    assert told.format(**placed) in lines[0]
    assert len(lines[0]) <= 160 or LONG in lines[0] or "xxx" in told
    assert (names(s3, bad_bucket), below(Path())) == before
