# SPDX-License-Identifier: Apache-2.0
"""The command sync: its output, exit codes and options; test_sync.py tests its effects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from s3crypt_cli.main import run
from samples import names

if TYPE_CHECKING:
    from collections.abc import Callable

SSE = ("--mode", "sse-s3")


@pytest.fixture
def command(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Return a runner of the command in a folder with a tree; it returns exit code and output."""
    monkeypatch.chdir(tmp_path)
    for name in ("tree/a", "tree/sub/b"):
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    Path("empty").mkdir()

    def command(*words: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run([str(word) for word in words])
        return (code, *capfd.readouterr())

    return command


def test_a_dry_run_prints_what_would_be_done(
    command: Callable[..., tuple[int, str, str]], bucket: str, s3: Any
) -> None:
    """A dry run prints the planned changes; with --exit-code the code is 6 if there are any."""
    uri = f"s3://{bucket}/t"
    s3.put_object(Bucket=bucket, Key="t/extra", Body=b"")
    words = ("sync", "tree", uri, *SSE, "--delete", "--dry-run")
    code, out, err = command(*words)
    assert code == 0
    assert out.splitlines() == [
        f"would copy tree/a -> {uri}/a",
        f"would copy tree/sub/b -> {uri}/sub/b",
        f"would delete {uri}/extra",
    ]
    assert "3 names: 2 would be copied, 1 would be deleted" in err
    assert command(*words, "--exit-code")[0] == 6
    assert names(s3, bucket) == ["t/extra"]
    assert command(*words[:-1])[0] == 0
    assert command(*words, "--exit-code")[:2] == (0, "")
    assert names(s3, bucket) == ["t/a", "t/sub/b"]


def test_outcomes_are_json(command: Callable[..., tuple[int, str, str]], bucket: str) -> None:
    """Each object is one JSON line, and the counts are last; a journal skips finished objects."""
    words = ("sync", "tree", f"s3://{bucket}/", *SSE, "--json", "--journal", "journal")
    lines = [json.loads(line) for line in command(*words)[1].splitlines()]
    assert [line["action"] for line in lines] == ["copied", "copied", "summary"]
    assert lines[0]["mode"] == "sse-s3"
    assert lines[-1]["counts"] == {"copied": 2}
    lines = [json.loads(line) for line in command(*words)[1].splitlines()]
    assert [line["action"] for line in lines] == ["summary"]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("missing", "s3://{}/t/", *SSE), 5, "missing: No such file or directory"),
        (("missing", "s3://{}/t/", *SSE, "--delete"), 1, "Nothing below s3://{}/t/ was deleted"),
        (("empty", "s3://{}/t/", *SSE, "--delete"), 1, "Nothing below s3://{}/t/ was deleted"),
        (("s3://{}/none/", "tree", *SSE, "--delete"), 1, "Nothing below tree was deleted"),
        (("tree", "s3://{}/t/", *SSE, "--exclude", "*"), 1, "no name below it fits --exclude *"),
        (("tree", "s3://{}-none/", *SSE), 5, "no such bucket"),
        (("tree", "empty"), 2, "Neither tree nor empty is in S3"),
        (("tree", "s3://{}/t/"), 2, "No encryption mode was given"),
        (("s3://{}/t/", "s3://{}/t", *SSE), 2, "the same as the source"),
        (("s3://{}/", "s3://{}/u/", *SSE, "--checksum"), 2, "checksum compares files"),
        (("tree", "s3://{}/t/", *SSE, "--exit-code"), 2, "--exit-code is for --dry-run"),
        (("tree", "s3://{}/t/", *SSE, "--from-mode", "sse-s3"), 2, "source in S3"),
        (("s3://{}/t/", "tree", *SSE, "--tag", "a=b"), 2, "--tag is for an object"),
        (("tree",), 2, "Missing argument"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(
    words: tuple[str, ...], code: int, told: str, bucket: str, s3: Any,
    command: Callable[..., tuple[int, str, str]],
) -> None:  # fmt: skip
    """For bad input the command prints one line that names its subject.

    The exit code shows the kind of the error, and nothing is changed.
    """
    s3.put_object(Bucket=bucket, Key="t/x", Body=b"x")
    ended = command("sync", *(word.format(bucket) for word in words))
    lines = [line for line in ended[2].splitlines() if line.startswith("s3crypt: ")]
    assert (ended[0], len(lines)) == (code, 1), ended[2]
    assert told.format(bucket) in lines[0]
    assert len(lines[0]) <= 200
    assert names(s3, bucket) == ["t/x"]
    assert sorted(path.name for path in Path("tree").rglob("*")) == ["a", "b", "sub"]


def test_a_key_of_the_command_is_left_alone(
    command: Callable[..., tuple[int, str, str]], bucket: str, s3: Any
) -> None:
    """`sync` does not store its own key file, and does not delete or replace it in the target."""
    Path("tree/key").write_bytes(bytes(32))
    words = ("--sse-c-key-file", "tree/key")
    code, _, err = command("sync", "tree", f"s3://{bucket}/", *words)
    assert (code, "tree/key: skipped, a key of this command" in err) == (0, True)
    assert names(s3, bucket) == ["a", "sub/b"]
    Path("tree/extra").touch()
    assert command("sync", f"s3://{bucket}/", "tree", *words, "--delete")[0] == 0
    assert Path("tree/key").read_bytes() == bytes(32)
    assert not Path("tree/extra").exists()
    command("put", "tree/a", f"s3://{bucket}/key", *words)
    assert command("sync", f"s3://{bucket}/", "tree", *words)[0] == 0
    assert Path("tree/key").read_bytes() == bytes(32)


@pytest.mark.parametrize("given", ["real.key", "tree/link.key", "tree/hard.key"])
def test_a_link_to_a_key_of_the_command_is_left_alone(
    given: str, command: Callable[..., tuple[int, str, str]], bucket: str, s3: Any
) -> None:
    """`sync` treats a link and a hard link to the command's key file as the key file."""
    Path("real.key").write_bytes(bytes(32))
    Path("tree/link.key").symlink_to("../real.key")
    Path("tree/hard.key").hardlink_to("real.key")
    words = ("--key", f"aes:t/k={given}")
    code, _, err = command("sync", "tree", f"s3://{bucket}/", *words)
    assert (code, err.count("skipped, a key of this command")) == (0, 2), err
    assert names(s3, bucket) == ["a", "sub/b"]
    for name in ("link.key", "hard.key"):
        command("put", "tree/a", f"s3://{bucket}/{name}", *words)
    assert command("sync", "tree", f"s3://{bucket}/", *words, "--delete")[0] == 0
    assert "link.key" in names(s3, bucket)
    assert command("sync", f"s3://{bucket}/", "tree", *words)[0] == 0
    s3.delete_object(Bucket=bucket, Key="link.key")
    assert command("sync", f"s3://{bucket}/", "tree", *words, "--delete")[0] == 0
    for path in ("real.key", "tree/link.key", "tree/hard.key"):
        assert Path(path).read_bytes() == bytes(32)


def test_a_folder_of_keys_alone_deletes_nothing(
    command: Callable[..., tuple[int, str, str]], bucket: str, s3: Any
) -> None:
    """If the source holds only the command's key file, `--delete` deletes nothing."""
    s3.put_object(Bucket=bucket, Key="x", Body=b"x")
    Path("only").mkdir()
    Path("only/key").write_bytes(bytes(32))
    words = ("--key", "aes:t/k=only/key", "--delete")
    code, _, err = command("sync", "only", f"s3://{bucket}/", *words)
    assert (code, names(s3, bucket)) == (1, ["x"]), err


def test_other_tools_verb_is_answered(command: Callable[..., tuple[int, str, str]]) -> None:
    """For `rsync`, the verb of gsutil, the error suggests `s3crypt sync`."""
    assert "Did you mean s3crypt sync?" in command("rsync", "tree", "s3://x/")[2]
