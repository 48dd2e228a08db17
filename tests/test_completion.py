# SPDX-License-Identifier: Apache-2.0
"""Completion of names in S3, by the protocol of click's scripts and by bash itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from click.shell_completion import get_completion_class
from s3crypt_cli.main import cli

from s3crypt import S3Crypt

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RequestsLog

BREAKS = " \t\n\"'><=;|&(:"


def complete(line: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the answers that bash's script gets at the end of a line, as TYPE,VALUE."""
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_WORDBREAKS", BREAKS)
    script = get_completion_class("bash")
    assert script is not None
    answer: str = script(cli, {}, "s3crypt", "_S3CRYPT_COMPLETE").complete()
    return answer.splitlines()


@pytest.fixture(scope="module")
def filled(s3: Any) -> str:
    """Return a bucket with a few names."""
    bucket = f"complete-{uuid.uuid4()}"
    s3.create_bucket(Bucket=bucket)
    for name in (
        "2026/q3.csv",
        "2026/q4.csv",
        "2026/q4/x",
        "year=1/a",
        "a b",
        "tab\tular",
        "naïve",
    ):
        s3.put_object(Bucket=bucket, Key=name, Body=b"")
    return bucket


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("s3crypt ls s3://{b}/2026/q", ["2026/q3.csv", "2026/q4.csv", "2026/q4/"]),
        ("s3crypt get -r --quiet s3://{b}/20", ["2026/"]),
        ("s3crypt get s3://{b}/2026/q3", ["2026/q3.csv"]),
        ("s3crypt cat s3://{b}/2026/q3.csv s3://{b}/2026/q4.", ["2026/q4.csv"]),
        ("s3crypt put q3.csv s3://{b}/2026/q4/", ["2026/q4/x"]),
        ("s3crypt cp s3://{b}/2026/q3", ["2026/q3.csv"]),
        ("s3crypt mv q3.csv s3://{b}/2026/q3", ["2026/q3.csv"]),
        ("s3crypt rotate --key kms:alias/x s3://{b}/2026/q3", ["2026/q3.csv"]),
        ("s3crypt presign s3://{b}/2026/q3", ["2026/q3.csv"]),
        ("s3crypt stat --mode sse-s3 s3://{b}/2026/q3", ["2026/q3.csv"]),
        ("s3crypt ls s3://{b}/a", [r"a\ b"]),
        ("s3crypt ls s3://{b}/n", ["naïve"]),
        ("s3crypt ls s3://{b}/none", []),
        ("s3crypt ls s3://{b}-no/", []),
        ("s3crypt ls https://", []),
    ],
)
def test_names_of_objects(
    line: str, names: list[str], filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers have one level of names. They leave out `s3:`, and names that contain a tab."""
    found = complete(line.format(b=filled), monkeypatch)
    assert found == [f"plain,//{filled}/{name}" for name in names]


def test_bash_keeps_what_comes_before_an_equals_sign(
    filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers leave out the text up to an equals sign, because bash keeps it."""
    assert complete(f"s3crypt ls s3://{filled}/year=", monkeypatch) == ["plain,1/"]
    assert complete(f"s3crypt ls s3://{filled}/ye", monkeypatch) == [f"plain,//{filled}/year=1/"]


@pytest.mark.parametrize("typed", ["", "s", "s3", "s3:", "s3://", "s3://complete"])
def test_names_of_buckets(typed: str, filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of buckets are completed from the first letter of the scheme on."""
    found = complete(f"s3crypt ls {typed}", monkeypatch)
    start = "//" if ":" in typed else "s3://"
    assert f"plain,{start}{filled}/" in found
    if typed.endswith("complete"):
        assert all(value.startswith("plain,//complete") for value in found)


@pytest.mark.parametrize("line", ["s3crypt cp ", "s3crypt put q", "s3crypt get s3://x/y re"])
def test_names_of_files(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Local file names are left to the shell."""
    assert complete(line, monkeypatch) == [f"file,{line.rpartition(' ')[2]}"]


def test_without_credentials_nothing_is_asked(
    filled: str, requests_log: RequestsLog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without credentials completion makes no request."""
    for name in [name for name in os.environ if name.startswith("AWS_") and "ENDPOINT" not in name]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    requests_log.clear()
    assert complete(f"s3crypt ls s3://{filled}/2", monkeypatch) == []
    assert requests_log.list() == []


@pytest.mark.parametrize(
    "options",
    [
        "--endpoint-url http://127.0.0.1:9",
        "--endpoint-url ftp://x",
        "--profile none",
        "--sandbox --profile x",
    ],
)
def test_an_error_is_no_answer(
    options: str,
    filled: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """After an error completion returns nothing, prints nothing and ends soon."""
    started = time.monotonic()
    assert complete(f"s3crypt ls {options} s3://{filled}/2", monkeypatch) == []
    assert time.monotonic() - started < 10
    assert capfd.readouterr() == ("", "")


def test_bash_completes_a_uri(filled: str, tmp_path: Path) -> None:
    """In a real bash the answer replaces the text after the colon."""
    command = tmp_path / "s3crypt"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m s3crypt "$@"\n')
    command.chmod(0o755)
    line = f"s3crypt cat s3://{filled}/2026/q3"
    asking = (
        'eval "$(s3crypt completion bash)"; '
        f"COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; compopt() {{ :; }}; "
        "_s3crypt_completion s3crypt; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", asking],
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"//{filled}/2026/q3.csv\n"
    assert done.stderr == ""


def test_the_page_of_names_is_one_request(
    filled: str, requests_log: RequestsLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Completion makes one request for one page of names, however many there are."""
    assert S3Crypt().exists(f"s3://{filled}/2026/q3.csv")
    requests_log.clear()
    complete(f"s3crypt ls s3://{filled}/2", monkeypatch)
    assert len(requests_log.list()) == 1


def test_no_shell_waits_for_an_mfa_token(tmp_path: Path) -> None:
    """Completion asks for no MFA token and fails: the question would be in the command line."""
    (tmp_path / "config").write_text(
        "[profile base]\naws_access_key_id = a\naws_secret_access_key = b\n"
        "[profile mfa]\nrole_arn = arn:aws:iam::123456789012:role/x\nsource_profile = base\n"
        "mfa_serial = arn:aws:iam::123456789012:mfa/me\n"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    asking = f"{sys.executable} -m s3crypt 2>/dev/null; echo ended"
    on_terminal = "import pty, sys; pty.spawn(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", on_terminal, "bash", "-c", asking],
        env=kept
        | {
            "AWS_CONFIG_FILE": str(tmp_path / "config"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "_S3CRYPT_COMPLETE": "bash_complete",
            "COMP_LINE": "s3crypt ls --profile mfa s3://bucket/",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout.split() == ["ended"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_shows_no_errors(shell: str) -> None:
    """A completion script prints nothing on stderr: errors would appear in the command line."""
    script = get_completion_class(shell)
    assert script is not None
    source = script(cli, {}, "s3crypt", "_S3CRYPT_COMPLETE").source()
    [asking] = re.findall(rf"{shell}_complete [^\n]*", source.replace("\\\n", ""))
    assert "2>/dev/null)" in asking
