# SPDX-License-Identifier: Apache-2.0
"""`s3crypt sandbox`, `--sandbox` and `s3crypt demo`, with sandboxes of their own."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_transcript import Transcript
from conftest import RequestsLog
from s3crypt_cli import demo
from s3crypt_cli.main import run

from s3crypt import sandbox as sandboxes

_LIFE = """
    ! 1 s3crypt sandbox status
    stdout ^not running$
    ! 2 s3crypt sandbox env
    stderr \\nhint: Start one: s3crypt sandbox start
    ! 2 s3crypt keys list --sandbox
    stderr ^s3crypt: No sandbox is running
    s3crypt sandbox stop
    stderr ^No sandbox was running

    s3crypt sandbox start
    stderr ^The sandbox is running at http://127.0.0.1:
    stderr ^It has a bucket, s3://acme/, and a KMS key, alias/reports\\.$
    stderr eval "\\$\\(s3crypt sandbox env\\)"
    s3crypt sandbox start
    stderr was already running
    s3crypt sandbox status --json
    stdout ^\\{"running": true, "endpoint_url": "http://127.0.0.1:\\d+", "pid": \\d+\\}$
    s3crypt sandbox env
    stdout ^export AWS_ENDPOINT_URL=http://127.0.0.1:\\d+$
    stdout ^export NO_PROXY=127.0.0.1$
    stdout ^export S3CRYPT_ENDPOINT_URL=''$
    ! stdout token

    # --sandbox wins over whatever the environment leads to.
    env AWS_ENDPOINT_URL_KMS=http://127.0.0.1:9
    env AWS_PROFILE=production
    env NO_PROXY=
    env no_proxy=
    env HTTP_PROXY=http://127.0.0.1:9
    env http_proxy=http://127.0.0.1:9
    s3crypt keys show alias/reports --sandbox
    s3crypt ls s3://acme/ --sandbox
    s3crypt keys create --alias trial --sandbox
    file plain 1000
    s3crypt encrypt plain sealed --key kms:alias/trial --sandbox
    s3crypt decrypt sealed back --key kms:alias/trial --sandbox
    cmp plain back
    ! 2 s3crypt keys list --sandbox --profile mine
    stderr --profile exclude each other
    ! 2 s3crypt keys list --sandbox --endpoint-url http://127.0.0.1:9
    stderr --endpoint-url exclude each other
    env S3CRYPT_ENDPOINT_URL=http://127.0.0.1:9
    env S3CRYPT_PROFILE=production
    s3crypt keys show alias/trial --sandbox
    ! 2 s3crypt keys list --sandbox --profile mine

    s3crypt sandbox stop
    stderr ^The sandbox was stopped. Its objects and keys are gone
    ! 1 s3crypt sandbox status
"""


@pytest.fixture
def transcript(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Transcript]:
    """Keep the record of a running sandbox in the test's own directory, and stop it afterwards."""
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    yield Transcript(work, {}, capfdbinary)
    run(["sandbox", "stop"])


def test_a_sandboxs_life(transcript: Transcript) -> None:
    """The sandbox starts, prints its address, serves --sandbox, and loses its data at its end."""
    transcript.play(_LIFE)


def _results(transcript: Transcript) -> list[dict[str, object]]:
    return [json.loads(line) for line in transcript.last.stdout.splitlines()]


def test_demo_takes_a_file_through_every_mode(transcript: Transcript) -> None:
    """Each mode and key location returns the same bytes, before and after rotation."""
    transcript.play("file data 300001\ns3crypt demo data --json\nlines 0\nonly data")
    results = _results(transcript)
    assert {result["mode"]: result["rotation"] for result in results} == {
        "sse-s3": "by S3",
        "sse-kms": "copied",
        "dsse-kms": "copied",
        "sse-c": "copied",
        "client, header": "re-encrypted",
        "client, metadata": "rewrapped",
    }
    assert all(result["identical"] for result in results)
    moved = [result["rotation_bytes_moved"] for result in results]
    assert moved == [0, 0, 0, 0, 300001, 0]


def test_demo_of_an_empty_file(transcript: Transcript) -> None:
    """The demo accepts an empty file."""
    transcript.play("file data 0\ns3crypt demo data --json")
    assert all(result["identical"] for result in _results(transcript))


def test_demo_explains_itself(transcript: Transcript) -> None:
    """The demo prints its table on stdout, and notes on permissions and next steps on stderr."""
    transcript.play("""
        file data 1000
        s3crypt demo data
        stdout ^mode +key +stored
        stdout ^client, metadata .* rewrapped +0 B$
        stderr BlockedEncryptionTypes: NONE
        stderr ^Next:$
    """)


def test_the_demos_table_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """The table fits with the longest sizes, and marks an object whose bytes differ."""
    size = 1023 * 2**20
    modes = (("client, metadata", "keyring"), ("dsse-kms", "AWS KMS"))
    demo._show(
        [
            demo._Result(mode, key, size, 1999.4, 1999.4, "re-encrypted", size, 1.0, identical)
            for (mode, key), identical in zip(modes, (True, False), strict=True)
        ],
        as_json=False,
    )
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "DIFFERS" in lines[2]
    assert "DIFFERS" not in lines[1]


def test_demo_in_the_running_sandbox_stays_to_be_looked_at(transcript: Transcript) -> None:
    """In a running sandbox the bucket stays, and the printed next steps name it."""
    transcript.play("s3crypt sandbox start\nfile data 1000\ns3crypt demo data")
    line = next(line for line in transcript.last.stderr.splitlines() if "s3crypt inspect" in line)
    transcript.play(f"{line.strip()}\nstdout ^mode +client")


def test_demo_reads_what_was_rotated_without_the_first_key(transcript: Transcript) -> None:
    """In each of four rotations the object is read while the first KMS key is disabled."""
    transcript.play("s3crypt sandbox start\nfile data 1000\ns3crypt demo data --json")
    running = sandboxes.status()
    assert running is not None
    read_in: list[set[str]] = []
    disabled = False
    for entry in RequestsLog(running).list():
        action = entry["headers"].get("x-amz-target", "").rpartition(".")[2]
        if action == "DisableKey":
            disabled = True
            read_in.append(set())
        elif action == "EnableKey":
            disabled = False
        elif disabled and entry["method"] == "GET":
            assert entry["status"] < 300
            read_in[-1].add(entry["path"].split("/")[2])
    assert read_in == [{"sse-kms"}, {"dsse-kms"}, {"client-header"}, {"client-metadata"}]


def test_demo_accepts_the_sandbox_option(transcript: Transcript) -> None:
    """With --sandbox the demo uses the running sandbox, and fails if no sandbox runs."""
    transcript.play("""
        file data 1000
        ! 2 s3crypt demo data --sandbox
        stderr ^s3crypt: No sandbox is running
        s3crypt sandbox start
        s3crypt demo data --sandbox
        stderr on the sandbox that runs here
    """)


def test_demo_of_a_missing_file(transcript: Transcript) -> None:
    """A missing file is reported before a sandbox is started."""
    transcript.play("! 5 s3crypt demo absent\nstderr ^s3crypt: absent: No such file")
