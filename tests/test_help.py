# SPDX-License-Identifier: Apache-2.0
"""Help pages: examples that run, options in groups, lines that fit into a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import click
import pytest
from playing import play_line, prepare, shell
from s3crypt_cli.help import COMMON, HEADERS, examples_of, option_groups
from s3crypt_cli.main import cli, run
from s3crypt_cli.remedies import options_of

from s3crypt import sandbox as sandboxes

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
Captured = pytest.CaptureFixture[str]


def commands(group: click.Group = cli, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield every command and group with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        words = f"{path} {name}".strip()
        yield words, command
        if isinstance(command, click.Group):
            yield from commands(command, words)


COMMANDS = dict(commands())
_POLICIES = [
    "s3crypt policy bucket acme > bucket.json",
    "s3crypt policy key acme --key alias/reports > key.json",
]
_OLD = ["s3crypt keys create --alias old -q"]
_GLOBAL = ["s3crypt keys create --alias global --multi-region -q"]
_IMPORTED = [
    "s3crypt keys create --alias imported --imported-material -q",
    "s3crypt keys import-material alias/imported customer.key",
]
_RETIRING = "arn:aws:iam::123456789012:user/sandbox"
_GRANTED = [
    (
        "s3crypt keys grant alias/reports arn:aws:iam::111122223333:role/reader -o Decrypt"
        f" --name reader --retiring {_RETIRING}"
    )
]
# Commands that prepare the examples of a single command.
MORE = {
    "keys add-alias": [],
    "keys cancel-deletion": [
        *_OLD,
        "s3crypt keys schedule-deletion alias/old --without-impact-report old --yes",
    ],
    **dict.fromkeys(("keys delete-alias", "keys disable", "keys enable", "keys move-alias"), _OLD),
    "keys delete-material": _IMPORTED,
    "keys import-material": [
        "s3crypt keys create --alias imported --imported-material -q",
        "s3crypt keygen material.bin -q",
        "s3crypt keygen next.bin -q",
    ],
    "keys import-parameters": ["mkdir import", _IMPORTED[0]],
    **dict.fromkeys(("keys replicas", "keys replicate"), _GLOBAL),
    "keys retire-grant": _GRANTED,
    "keys revoke-grant": _GRANTED,
    # The SSE-C object is removed: without its key, the report about dependents is undecided.
    "keys schedule-deletion": [*_OLD, "s3crypt rm s3://acme/shared/q4.csv"],
    "keys set-primary": [*_GLOBAL, "s3crypt keys replicate alias/global eu-west-1 -q"],
    "keygen": ["rm reports.key"],
    "sync": ["cp q3.csv reports/"],
    "rb": ["s3crypt mb s3://acme-new -q"],
    "policy apply": _POLICIES,
    "policy check": _POLICIES,
    "policy": ["s3crypt bucket harden acme --yes"],
    "policy key": ["s3crypt bucket harden acme --yes"],
    "bucket": ["s3crypt mb s3://old -q"],
    "who": [
        "s3crypt bucket init acme-hr --trail --yes",
        "s3crypt put q3.csv s3://acme-hr/2026/q3.csv --key kms:alias/reports",
    ],
}
# Exit codes that are a result of the command, not a failure. `who` finds no record yet: the files
# of a trail appear only minutes after the requests that they record.
ANSWERS = {"audit": {1, 3}, "doctor": {1}, "policy check": {3}, "who": {1}}
# These commands take a minute; tests/test_cli_bench.py and tests/test_cli_sandbox.py run them.
LONG = ("s3crypt bench", "s3crypt demo")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Point this process at a sandbox of its own."""
    with shell(tmp_path_factory.mktemp("home")) as work:
        yield work


@pytest.fixture
def user(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the files and objects that the examples name, in a new folder and an empty sandbox."""
    if sandboxes.status() is None:  # the examples of `sandbox stop` stop it
        os.environ.update(sandboxes.environment(sandboxes.start()))
    assert home.exists()
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path)


@pytest.mark.xdist_group("help")
@pytest.mark.parametrize("words", [words for words, each in COMMANDS.items() if examples_of(each)])
@pytest.mark.usefixtures("user")
def test_the_examples_run(words: str) -> None:
    """The examples of a help page run verbatim, one after the other."""
    for line in MORE.get(words, []):
        assert play_line(line) == 0, line
    for line in examples_of(COMMANDS[words]):
        if not line.startswith(LONG):
            assert play_line(_with_ids(line)) in {0, *ANSWERS.get(words, set())}, line


def _with_ids(line: str) -> str:
    """Return a line with real ids in place of its placeholders."""
    if "GRANT_ID" not in line:
        return line
    kms = boto3.client("kms")
    key = kms.describe_key(KeyId="alias/reports")["KeyMetadata"]["Arn"]
    (grant,) = kms.list_grants(KeyId=key)["Grants"]
    return line.replace("KEY_ARN", key).replace("GRANT_ID", grant["GrantId"])


@pytest.mark.parametrize("words", COMMANDS)
def test_a_help_page_has_examples_of_its_command(words: str) -> None:
    """Every help page has an example of its command, and examples fit into 80 columns."""
    examples = examples_of(COMMANDS[words])
    assert any(f"s3crypt {words}" in line for line in examples)
    assert all(len(line) <= 78 for example in examples for line in example.splitlines())


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("words", COMMANDS)
def test_a_help_page_fits_a_terminal(
    words: str, columns: int, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every line fits into the terminal, except examples and long option names."""
    monkeypatch.setenv("COLUMNS", str(columns))
    assert run([*words.split(), "--help"]) == 0
    page = capsys.readouterr().out
    examples = "\n".join(examples_of(COMMANDS[words])).splitlines()
    for line in page.splitlines():
        is_whole = line.strip() in examples or len(line.split()) <= 2
        assert is_whole or len(line) <= min(columns, 100), line


@pytest.mark.parametrize("words", COMMANDS)
def test_the_options_of_every_command_come_last(words: str) -> None:
    """The options that all commands have are the last group, after the command's own options."""
    command = COMMANDS[words]
    headings = [name for name, _ in option_groups(command, click.Context(command))]
    assert COMMON not in headings or headings[-1] == COMMON
    assert len(headings) == len(set(headings))


def test_the_reference_is_what_the_commands_say() -> None:
    """docs/cli.md is equal to the output of docs/cli_reference.py."""
    # Run in a separate process, because click keeps the help option of the first context.
    made = "import runpy; print(runpy.run_path('docs/cli_reference.py')['page'](), end='')"
    page = subprocess.run(
        [sys.executable, "-c", made], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (ROOT / "docs" / "cli.md").read_text() == page.stdout


def test_get_takes_what_put_takes() -> None:
    """`get` has all options of `put`, except those for a new object, its sealing, and a pipe."""
    sealing = {"--frame-length", "--key-location", "--size"}
    describing = {
        name
        for each in COMMANDS["put"].params
        if getattr(each, "group", None) == HEADERS
        for name in each.opts
    }
    put, get = (
        {name for name in options_of(COMMANDS[words]) if name.startswith("-")}
        for words in ("put", "get")
    )
    assert put - get == sealing | describing
