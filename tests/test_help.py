# SPDX-License-Identifier: Apache-2.0
"""Help pages: examples that run, options in groups, lines that fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
import click
import pytest
from playing import play_line, shell
from s3crypt_cli.help import COMMON, examples_of, option_groups
from s3crypt_cli.main import cli, run

from s3crypt import sandbox as sandboxes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Captured = pytest.CaptureFixture[str]


def commands(group: click.Group = cli, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield every command and group with its words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        words = f"{path} {name}".strip()
        yield words, command
        if isinstance(command, click.Group):
            yield from commands(command, words)


COMMANDS = dict(commands())
# The life cycle of keys is a group of its own pages.
DOCUMENTED = {
    words: command for words, command in COMMANDS.items() if words.partition(" ")[0] != "keys"
}
# What the examples name, made by the lines of a user.
PREPARED = """
mkdir -p 2026 reports trail
seq 1000 > q3.csv
cp q3.csv q4.csv
cp q3.csv 2026/q3.csv
s3crypt keygen reports.key -q
s3crypt keygen customer.key -q
s3crypt keys create --alias new -q
s3crypt mb s3://archive -q
s3crypt encrypt q3.csv q3.csv.enc --key aes:acme/2026=reports.key -q
s3crypt put q3.csv q4.csv s3://acme/2026/ --key kms:alias/reports -q
s3crypt put q3.csv s3://acme/q3.csv --key kms:alias/reports -q
s3crypt put q3.csv s3://acme/tmp/q3.csv --mode sse-s3 -q
s3crypt put q3.csv s3://acme/shared/q3.csv --mode sse-s3 -q
s3crypt put q4.csv s3://acme/shared/q4.csv --mode sse-c --sse-c-key-file customer.key -q
s3crypt policy bucket acme > bucket.json
s3crypt policy key acme --key alias/reports > key.json
"""
# What only the examples of one command name.
MORE = {
    "keygen": ["rm reports.key"],
    "rb": ["s3crypt mb s3://acme-new -q"],
    "mb": ["rm -f x"],
}
# Exit codes that are an answer, not a failure.
ANSWERS = {"audit": {1, 3}, "doctor": {1}, "policy check": {3}}
# Each takes a minute; tests/test_cli_bench.py and tests/test_cli_sandbox.py run them.
LONG = ("s3crypt bench", "s3crypt demo", "s3crypt bench --s3")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Point this process at a sandbox of its own."""
    with shell(tmp_path_factory.mktemp("home")) as work:
        yield work


@pytest.fixture
def user(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make what the examples name, in a new folder and in an empty sandbox."""
    assert home.exists()
    running = sandboxes.status()
    assert running is not None
    sandboxes.reset(running)
    monkeypatch.chdir(tmp_path)
    rule: Any = {
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
        "BlockedEncryptionTypes": {"EncryptionType": ["NONE"]},
    }
    boto3.client("s3").put_bucket_encryption(
        Bucket="acme", ServerSideEncryptionConfiguration={"Rules": [rule]}
    )
    for line in filter(None, PREPARED.splitlines()):
        assert play_line(line) == 0, line


@pytest.mark.xdist_group("help")
@pytest.mark.parametrize("words", [words for words, each in COMMANDS.items() if examples_of(each)])
@pytest.mark.usefixtures("user")
def test_the_examples_run(words: str) -> None:
    """As they stand, one after the other."""
    for line in MORE.get(words, []):
        assert play_line(line) == 0, line
    for line in examples_of(COMMANDS[words]):
        if not line.partition(" #")[0].strip().endswith(LONG):
            assert play_line(line) in {0, *ANSWERS.get(words, set())}, line


@pytest.mark.parametrize("words", DOCUMENTED)
def test_a_help_page_has_examples_of_its_command(words: str) -> None:
    """That fit a terminal of 80 columns, as do all other lines."""
    examples = examples_of(DOCUMENTED[words])
    assert any(f"s3crypt {words}" in line for line in examples)
    assert all(len(line) <= 78 for example in examples for line in example.splitlines())


@pytest.mark.parametrize("columns", [40, 80, 120])
@pytest.mark.parametrize("words", DOCUMENTED)
def test_a_help_page_fits_a_terminal(
    words: str, columns: int, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only examples, and names of options, are not broken."""
    monkeypatch.setenv("COLUMNS", str(columns))
    assert run([*words.split(), "--help"]) == 0
    page = capsys.readouterr().out
    examples = "\n".join(examples_of(DOCUMENTED[words])).splitlines()
    for line in page.splitlines():
        is_whole = line.strip() in examples or len(line.split()) <= 2
        assert is_whole or len(line) <= min(columns, 100), line


@pytest.mark.parametrize("words", DOCUMENTED)
def test_the_options_of_every_command_come_last(words: str) -> None:
    """A command's own options come first."""
    command = DOCUMENTED[words]
    headings = [name for name, _ in option_groups(command, click.Context(command))]
    assert headings[-1] == COMMON
    assert len(headings) == len(set(headings))
