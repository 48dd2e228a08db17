# SPDX-License-Identifier: Apache-2.0
"""The command as a process: start-up, terminals, pipes."""

import base64
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from conftest import RequestsLog
from relay import Answer, Asked, relaying

from s3crypt import AESKeyring, message
from s3crypt.sandbox import Running

COMMAND = (sys.executable, "-m", "s3crypt_cli")
_KEY = "aes:team/one=key"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Make a directory with a key, a text and its message, and a binary and its message."""
    (tmp_path / "key").write_bytes(bytes(range(32)))
    (tmp_path / "text").write_text("grüße\n" * 3)
    (tmp_path / "escape").write_text("\x1b]0;owned\x07\n")
    (tmp_path / "c1").write_text("\x9b31mowned\n")
    (tmp_path / "delete").write_text("safe\x7f\x7f\x7f\x7fowned\n")
    (tmp_path / "binary").write_bytes(os.urandom(300_000))
    keyring = AESKeyring("team", "one", bytes(range(32)))
    for name in ("text", "escape", "c1", "delete", "binary"):
        sealed = message.encrypt((tmp_path / name).read_bytes(), keyring)
        (tmp_path / f"{name}.sealed").write_bytes(sealed)
    return tmp_path


def _on_terminal(directory: Path, *arguments: str, stdout: bool = True) -> tuple[int, str]:
    """Run the command with stderr on a terminal, and also stdout unless `stdout` is false.

    Return the exit code and the text on the screen.
    """
    controller, terminal = pty.openpty()
    out = terminal if stdout else subprocess.DEVNULL
    process = subprocess.Popen(
        [*COMMAND, *arguments], cwd=directory, stdout=out, stderr=terminal, stdin=terminal
    )
    os.close(terminal)
    screen = b""
    try:
        while chunk := os.read(controller, 65536):
            screen += chunk
    except OSError:  # Linux reports a closed other side this way
        pass
    os.close(controller)
    return process.wait(timeout=30), screen.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_starting_imports_no_heavy_package(option: str) -> None:
    """`--version` and `--help` load neither boto3 nor cryptography, rich or moto."""
    script = (
        "import sys\n"
        "from s3crypt_cli.main import run\n"
        "code = run(sys.argv[1:])\n"
        "heavy = {'boto3', 'botocore', 'cryptography', 'rich', 'moto'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, option], capture_output=True, check=False, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "s3crypt" in done.stdout


def test_version_is_the_packages() -> None:
    """`--version` names the command and the version."""
    done = subprocess.run([*COMMAND, "--version"], capture_output=True, check=True, text=True)
    assert done.stdout.startswith("s3crypt 0.")


def test_no_command_shows_help_and_is_a_usage_error() -> None:
    """`s3crypt` without arguments prints its help on stderr."""
    done = subprocess.run(COMMAND, capture_output=True, check=False, text=True)
    assert done.returncode == 2
    assert "demo" in done.stderr


@pytest.mark.parametrize(
    ("shell", "marker"), [("bash", "complete "), ("zsh", "compdef"), ("fish", "complete ")]
)
def test_completion_prints_a_script(shell: str, marker: str) -> None:
    """Each shell gets its own script."""
    done = subprocess.run(
        [*COMMAND, "completion", shell], capture_output=True, check=True, text=True
    )
    assert marker in done.stdout
    assert "_S3CRYPT_COMPLETE" in done.stdout


def test_completion_completes(directory: Path) -> None:
    """The script's query for commands that begin with "enc" is answered."""
    environment = os.environ | {
        "_S3CRYPT_COMPLETE": "bash_complete",
        "COMP_WORDS": "s3crypt enc",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(
        COMMAND, env=environment, capture_output=True, check=False, text=True, cwd=directory
    )
    assert done.stdout.split() == ["plain,encrypt"]


def test_ciphertext_is_not_written_to_a_terminal(directory: Path) -> None:
    """`encrypt` refuses to write ciphertext to a terminal, with or without "-"."""
    code, screen = _on_terminal(directory, "encrypt", "text", "-", "--key", _KEY)
    assert code == 2
    assert "stdout is a terminal" in screen


def test_text_is_written_to_a_terminal(directory: Path) -> None:
    """`decrypt` writes text to a terminal."""
    code, screen = _on_terminal(directory, "decrypt", "text.sealed", "-", "--key", _KEY)
    assert code == 0
    assert "grüße\n" * 3 in screen


@pytest.mark.parametrize("name", ["binary", "escape", "c1", "delete"])
def test_binary_and_escape_sequences_are_not_written_to_a_terminal(
    directory: Path, name: str
) -> None:
    """`decrypt` does not write to a terminal any bytes that could reprogram it."""
    code, screen = _on_terminal(directory, "decrypt", f"{name}.sealed", "-", "--key", _KEY)
    assert code == 2
    assert "owned" not in screen
    assert "stdout is a terminal" in screen


def test_progress_is_shown_on_a_terminal(directory: Path) -> None:
    """A bar with the file's name is shown, and is cleared at the end."""
    code, screen = _on_terminal(directory, "encrypt", "binary", "out", "--key", _KEY, stdout=False)
    assert code == 0
    assert "binary" in screen


def test_a_log_line_is_above_the_bar(
    directory: Path, sandbox: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log line that is written while the bar is drawn has a row of its own."""
    monkeypatch.setenv("COLUMNS", "200")
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="logged")
    s3.put_object(Bucket="logged", Key="big", Body=bytes(3_000_000))
    cuts = iter((1_000_000,))

    def spoil(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        if asked.method == "GET" and len(answer.body) > 10**6:
            answer.cut = next(cuts, None)
        return answer

    with relaying(sandbox.endpoint_url, spoil) as relay:
        asked = ("get", "s3://logged/big", "out", "--mode", "sse-s3", "--endpoint-url", relay.url)
        code, screen = _on_terminal(directory, "--debug", *asked, stdout=False)
    assert code == 0, screen
    (row,) = [row for row in screen.split("\n") if "resumed at byte" in row]
    line = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", row.rpartition("\r")[2])
    assert re.match(r"\d{4}-\d\d-\d\d .* INFO s3crypt\.transfer\.stream: s3://logged/big", line)
    assert line.endswith(" (attempt 1)")


@pytest.mark.parametrize("option", ["--quiet", "--json"])
def test_quiet_and_json_show_no_progress(directory: Path, option: str) -> None:
    """With --quiet or --json no progress is drawn."""
    code, screen = _on_terminal(
        directory, "encrypt", "binary", "out", "--key", _KEY, option, stdout=False
    )
    assert (code, screen) == (0, "")


def test_a_reader_that_leaves_ends_the_command_quietly(directory: Path) -> None:
    """If the reader closes the pipe, no error is printed; the exit code is 141, as for SIGPIPE."""
    with subprocess.Popen(
        [*COMMAND, "decrypt", "binary.sealed", "-", "--key", _KEY],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
        assert (process.wait(timeout=30), said) == (141, b"")


def test_a_full_disk_is_one_line(directory: Path) -> None:
    """A write error is one line, with the exit code of storage."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, "decrypt", "text.sealed", "-", "--key", _KEY],
            cwd=directory,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (5, b"s3crypt: No space left on device\n")


@pytest.mark.parametrize(
    ("line", "code"),
    [("decrypt absent out --key " + _KEY, 5), ("decrypt text.sealed out --key " + _KEY, 0)],
)
@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&1 >/dev/null | true"])
def test_a_stderr_that_takes_nothing_keeps_the_exit_code(
    directory: Path, line: str, code: int, redirection: str
) -> None:
    """If stderr cannot be written, messages are lost, but the exit code is the same."""
    command = f"{sys.executable} -X faulthandler -m s3crypt_cli {line}"
    script = f"{{ {command}; echo $? > code; }} {redirection}"
    subprocess.run(["bash", "-c", script], cwd=directory, capture_output=True, check=False)
    found = int((directory / "code").read_text())
    assert found == code
    assert (directory / "out").exists() is (code == 0)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_names_that_stdout_cannot_encode_are_escaped(
    directory: Path, bucket: str, s3: Any, encoding: str
) -> None:
    """Names that stdout cannot encode are escaped, as on stderr; --json prints only ASCII."""
    s3.put_object(Bucket=bucket, Key="grüße/日", Body=b"")
    for command in ("ls -r", "ls -r --json", "inspect -r -q"):
        done = subprocess.run(
            [*COMMAND, *command.split(), f"s3://{bucket}/"],
            cwd=directory,
            env=os.environ | {"PYTHONIOENCODING": encoding},
            capture_output=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        if "ls" in command:
            escapes = "json" in command or encoding != "utf-8"
            assert (b"\\u65e5" in done.stdout) is escapes


def test_a_name_that_is_not_utf8_is_refused(directory: Path) -> None:
    """A name that is not UTF-8 is refused, and nothing of its folder is stored.

    S3 has no such names.
    """
    (directory / "tree").mkdir()
    (directory / "tree" / os.fsdecode(b"caf\xe9")).write_bytes(b"")
    done = subprocess.run(
        [*COMMAND, "put", "-r", "tree", "s3://absent/t", "--mode", "sse-s3"],
        cwd=directory,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert b"its name is not UTF-8" in done.stderr


def test_a_message_without_key_commitment_must_be_asked_for(directory: Path) -> None:
    """A message without key commitment is refused; the error names the option that accepts it.

    The environment cannot set this option.
    """
    vectors = json.loads((Path(__file__).parent / "vectors" / "messages.json").read_text())
    vector = next(v for v in vectors if v["name"].startswith("official 0014 framed"))
    (directory / "foreign").write_bytes(base64.b64decode(vector["message"]))
    (directory / "key").write_bytes(base64.b64decode(vector["key"]["key"]))
    key = f"aes:{vector['key']['namespace']}/{vector['key']['name']}=key"
    refused, taken = (
        subprocess.run(
            [*COMMAND, "decrypt", "foreign", "-", "--key", key, *options],
            cwd=directory,
            env=os.environ | {"S3CRYPT_ALLOW_UNCOMMITTED": "1"},
            capture_output=True,
            check=False,
        )
        for options in ((), ("--allow-uncommitted",))
    )
    assert (refused.returncode, refused.stdout) == (3, b"")
    assert b"--allow-uncommitted" in refused.stderr
    assert (taken.returncode, len(taken.stdout)) == (0, vector["plaintext_length"])


def test_a_bar_asks_for_no_neighbour_that_the_listing_shows(
    bucket: str, s3: Any, tmp_path: Path, requests_log: RequestsLog
) -> None:
    """`get -r` on a terminal requests no instruction file that the listing does not contain."""
    for name in ("p/a", "p/b"):
        s3.put_object(Bucket=bucket, Key=name, Body=b"\x07\xc1\x00" + os.urandom(3000))
    requests_log.clear()
    code, screen = _on_terminal(tmp_path, "get", "-r", f"s3://{bucket}/p", "out", stdout=False)
    assert code == 0, screen
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "b"]
    asked = [entry["path"] for entry in requests_log.list()]
    assert f"/{bucket}/p/a" in asked
    assert not any(path.endswith(".instruction") for path in asked)
