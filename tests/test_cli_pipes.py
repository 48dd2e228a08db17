# SPDX-License-Identifier: Apache-2.0
"""`put` of a pipe: incomplete output of a command does not become an object."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from s3crypt_cli.main import run
from samples import LARGE, PART, names, payload, stored, uploads

if TYPE_CHECKING:
    from collections.abc import Callable

MODE = ("--mode", "sse-s3")


@pytest.fixture
def said(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str]]:
    """Return a runner of the command in an empty folder; it returns exit code and stderr."""
    monkeypatch.chdir(tmp_path)

    def said(*arguments: str) -> tuple[int, str]:
        capfd.readouterr()
        return run([*arguments, "--quiet"] if "--" not in arguments else list(arguments)), (
            capfd.readouterr().err
        )

    return said


def _script(size: int, ending: str) -> list[str]:
    """Return a command that writes a file's first bytes and then runs `ending`."""
    text = f"""if True:
        import os, sys
        with open("data", "rb") as file:
            sys.stdout.buffer.write(file.read({size}))
            sys.stdout.flush()
        {ending}
    """
    return [sys.executable, "-c", text]


@pytest.mark.parametrize("size", [0, 5, PART, LARGE])
def test_the_output_of_a_command_is_stored(
    size: int, said: Callable[..., tuple[int, str]], bucket: str, s3: Any
) -> None:
    """The whole output is stored if the command exits with 0."""
    Path("data").write_bytes(payload(size))
    code, text = said("put", f"s3://{bucket}/x", *MODE, "--", *_script(size, "sys.exit(0)"))
    assert (code, stored(s3, bucket, "x")) == (0, payload(size))
    assert text.startswith(f"{sys.executable} -> s3://{bucket}/x (sse-s3, ")


@pytest.mark.parametrize(
    ("size", "ending", "told"),
    [
        *((size, "sys.exit(3)", "failed with exit code 3") for size in (0, 5, PART, LARGE)),
        (5, "os.close(1); import time; time.sleep(0.1); os._exit(1)", "failed with exit code 1"),
        (5, "os.kill(os.getpid(), 9)", "was ended by signal 9"),
    ],
)
def test_the_output_of_a_failed_command_is_not_stored(
    size: int,
    ending: str,
    told: str,
    said: Callable[..., tuple[int, str]],
    bucket: str,
    s3: Any,
) -> None:
    """A failed command's output is not stored, even if it fails after closing its output."""
    Path("data").write_bytes(payload(size))
    code, text = said("put", *MODE, f"s3://{bucket}/x", "--", *_script(size, ending))
    assert code == 5
    assert text.startswith(f"s3crypt: {sys.executable} {told}; nothing was stored.")
    assert (names(s3, bucket), uploads(s3, bucket)) == ([], [])


def test_mistakes_about_commands(
    said: Callable[..., tuple[int, str]], bucket: str, s3: Any
) -> None:
    """A missing command or name is refused; nothing is run or stored."""
    touch = ("touch", "ran")
    for arguments, told in (
        (
            (f"s3://{bucket}/x", *MODE, "--", "no-such-command"),
            "Cannot run no-such-command: No such",
        ),
        ((f"s3://{bucket}/x", *MODE, "--"), "There is no command after the --"),
        ((f"s3://{bucket}/", *MODE, "--", *touch), "A pipe has no name"),
        ((f"s3://{bucket}", *MODE, "--", *touch), "A pipe has no name"),
        ((f"s3://{bucket}/x", *MODE, "-r", "--", *touch), "A pipe has no name"),
        ((f"s3://{bucket}/x", "--", *touch), "No encryption mode was given"),
    ):
        code, text = said("put", *arguments)
        assert (code, text.startswith(f"s3crypt: {told}")) == (2, True), text
    assert said("put", f"s3://{bucket}/x", *MODE, "--dry-run", "--", *touch) == (0, "")
    assert not Path("ran").exists()
    assert names(s3, bucket) == []


def test_a_name_that_begins_with_a_dash_is_still_a_file(
    said: Callable[..., tuple[int, str]], bucket: str, s3: Any
) -> None:
    """A file whose name begins with a dash can be given after `--`."""
    Path("-x").write_bytes(b"dash")
    assert said("put", *MODE, "--", "-x", f"s3://{bucket}/x")[0] == 0
    assert stored(s3, bucket, "x") == b"dash"


def test_a_command_does_not_outlive_a_failed_put(
    said: Callable[..., tuple[int, str]], bucket: str
) -> None:
    """A failed put ends the command, even if the command ignores a closed pipe."""
    text = """if True:
        import os, time
        open("pid", "w").write(str(os.getpid()))
        os.write(1, bytes(65536))
        time.sleep(60)
    """
    began = time.monotonic()
    code, _ = said(
        "put", f"s3://{bucket}-absent/x", *MODE, "--size", "5", "--", sys.executable, "-c", text
    )
    assert code == 5
    assert time.monotonic() - began < 20
    with pytest.raises(ProcessLookupError):
        os.kill(int(Path("pid").read_text()), 0)


def test_an_interrupt_ends_the_command(bucket: str, s3: Any, tmp_path: Path) -> None:
    """A signal to `put` alone also ends a command that writes nothing."""
    text = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-m", "s3crypt_cli", "put", f"s3://{bucket}/x", *MODE, "--",
         sys.executable, "-c", text],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said.strip()) == (130, "s3crypt: interrupted")
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert names(s3, bucket) == []


@pytest.mark.parametrize(
    ("length", "size", "told"),
    [
        (5, 5, None),
        (0, 0, None),
        (PART, PART, None),
        (LARGE, LARGE, None),
        (4, 5, "ended after 4 of 5 bytes; nothing was stored"),
        (0, 5, "ended after 0 of 5 bytes; nothing was stored"),
        (6, 5, "has more than the 5 bytes announced; nothing was stored"),
        (PART, PART + 1, f"ended after {PART} of {PART + 1} bytes"),
        (PART + 1, PART, f"has more than the {PART} bytes announced"),
        (LARGE, LARGE + 1, f"ended after {LARGE} of {LARGE + 1} bytes"),
    ],
)
def test_a_pipe_of_a_size_is_stored_if_it_has_it(  # noqa: PLR0917 - fixtures
    length: int,
    size: int,
    told: str | None,
    said: Callable[..., tuple[int, str]],
    bucket: str,
    s3: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pipe is stored only if its length is exactly --size."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(payload(length))))
    code, text = said("put", "-", f"s3://{bucket}/x", *MODE, "--size", str(size))
    if told is None:
        assert (code, text) == (0, "")
        assert stored(s3, bucket, "x") == payload(length)
    else:
        assert code == 5
        assert told in text
        assert (names(s3, bucket), uploads(s3, bucket)) == ([], [])


def test_a_file_as_standard_input_has_a_size_too(
    said: Callable[..., tuple[int, str]],
    bucket: str,
    s3: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Standard input that is redirected from a file is also compared with --size."""
    Path("data").write_bytes(b"four")
    for size, expected in (("5", 5), ("3", 5), ("4", 0)):
        with Path("data").open() as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            assert said("put", "-", f"s3://{bucket}/x", *MODE, "--size", size)[0] == expected
    assert stored(s3, bucket, "x") == b"four"


def test_a_size_is_for_a_pipe(said: Callable[..., tuple[int, str]], bucket: str) -> None:
    """--size is refused for a file, because a file has a size of its own."""
    Path("data").write_bytes(b"data")
    code, text = said("put", "data", f"s3://{bucket}/x", *MODE, "--size", "4")
    assert (code, text.startswith("s3crypt: --size is for a pipe.")) == (2, True)
