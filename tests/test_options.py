# SPDX-License-Identifier: Apache-2.0
"""The options of a mode: all forms of the options are generated from one table."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import s3crypt
from s3crypt import CachingKeyring, ClientSide, ConfigError, configuration
from s3crypt.configuration import DEFAULTS, MODES, OPTIONS, ModeChoice
from s3crypt.filesystem.options import Options

PACKAGE = Path(s3crypt.__file__).resolve().parent
COMMAND = PACKAGE.parent / "cli"
KEY = "kms:alias/reports"

# A new option as a developer would add it: a row of the table, and an argument of its mode.
ANOTHER = """    padded: bool = field(
        default=False,
        metadata=_option(
            "flag", _CLIENT, "Pad it.", ("write",), {"rotate-from": "Demand padding."}
        ),
    )
"""
ATTRIBUTE, ARGUMENT = "    padded: bool\n", "        padded: bool = False,\n"
VALUE = '            "padded": padded,\n'


def insert(file: Path, text: str, before: str) -> None:
    """Insert lines into a file before the only line that begins with `before`."""
    source = file.read_text()
    assert source.count(before) == 1
    file.write_text(source.replace(before, text + before))


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the library and the command with one more option, in the table and mode."""
    root = tmp_path_factory.mktemp("extended")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, root / "s3crypt", ignore=ignored)
    shutil.copytree(COMMAND, root / "s3crypt_cli", ignore=ignored)
    (root / "own.key").write_bytes(bytes(range(32)))
    insert(root / "s3crypt" / "options.py", ANOTHER, before="    spell: Spell = field(")
    insert(root / "s3crypt" / "modes.py", ATTRIBUTE, before='    name: ClassVar[str] = "client"')
    insert(root / "s3crypt" / "modes.py", ARGUMENT, before="    ) -> None:\n        given =")
    insert(root / "s3crypt" / "modes.py", VALUE, before="        }\n        if key_location")
    return root


def run(extended: Path, code: str, *arguments: str, **environment: str) -> Any:
    """Run Python code that imports the extended copy, and return its output, parsed as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=extended,
        env={**os.environ, "PYTHONPATH": str(extended), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


COMMAND_LINE = """
import json, click, s3crypt
from s3crypt_cli.options import ModeOptions, Settings, origin_options, writing_options

@click.command()
@writing_options
@origin_options
def show(*, options: ModeOptions, origin: ModeOptions) -> None:
    modes = [each.mode_for(Settings()) for each in (options, origin)]
    print(json.dumps([mode and mode.padded for mode in modes]))

assert s3crypt.__file__.startswith(__import__("os").getcwd())
show()
"""


@pytest.mark.parametrize(
    ("arguments", "environment", "padded"),
    [
        (["--key", "aes:n/k=own.key"], {}, [False, None]),
        (["--key", "aes:n/k=own.key", "--padded"], {}, [True, None]),
        (["--key", "aes:n/k=own.key"], {"S3CRYPT_PADDED": "1"}, [True, None]),
        (["--from-key", "aes:n/k=own.key", "--from-padded"], {}, [None, True]),
        (["--from-key", "aes:n/k=own.key"], {"S3CRYPT_FROM_PADDED": "1"}, [None, True]),
    ],
)
def test_another_option_is_on_the_command_line(
    extended: Path, arguments: list[str], environment: dict[str, str], padded: list[bool | None]
) -> None:
    """The new row in the table adds the option, its --from- form and its environment variable."""
    assert run(extended, COMMAND_LINE, *arguments, **environment) == padded


@pytest.mark.parametrize(("command", "text"), [("put", "--padded"), ("rotate", "--from-padded")])
def test_another_option_has_help(extended: Path, command: str, text: str) -> None:
    """The new option is in the help of the commands that take it, not in the help of inspect."""
    code = (
        "import json, io, sys; from contextlib import redirect_stdout as to\n"
        "from s3crypt_cli.main import run\n"
        "with to(io.StringIO()) as shown: run([sys.argv[1], '--help'])\n"
        "print(json.dumps(shown.getvalue()))"
    )
    assert text in run(extended, code, command)
    assert "padded" not in run(extended, code, "inspect")


def test_another_option_is_a_storage_option_and_text(extended: Path) -> None:
    """The new row also adds a storage option and a text form; both check the type and the mode."""
    code = """
import json
from s3crypt import ConfigError
from s3crypt.configuration import ModeChoice, mode_of
from s3crypt.filesystem import S3CryptFileSystem

def refused(make):
    try: make()
    except ConfigError as error: return str(error)

key = "aes:n/k=own.key"
print(json.dumps({
    "storage": S3CryptFileSystem(key=key, padded=True)._connection.mode.padded,
    "default": S3CryptFileSystem(key=key)._connection.mode.padded,
    "type": refused(lambda: S3CryptFileSystem(key=key, padded="yes")),
    "misspelt": refused(lambda: S3CryptFileSystem(key=key, paded=True)),
    "mode": refused(lambda: mode_of("sse-s3", padded=True)),
    "text": str(ModeChoice(key=key, padded=True)),
}))
"""
    assert run(extended, code) == {
        "storage": True,
        "default": False,
        "type": "padded must be True or False.",
        "misspelt": "There is no storage option 'paded'.",
        "mode": 'padded needs mode="client".',
        "text": "mode='client', key=('aes:n/k=own.key',), padded=True",
    }


def test_all_options_are_in_the_table() -> None:
    """Each field of ModeChoice, except mode and spell, is in the table and belongs to a mode."""
    fields = set(ModeChoice.__dataclass_fields__) - {"mode", "spell"}
    assert len(fields) == 9
    assert OPTIONS.keys() == fields == set().union(*MODES.values())
    assert fields <= DEFAULTS.keys()


def test_storage_options_are_those_of_the_table() -> None:
    """Each option of the table is a storage option.

    The error for an invalid value names the option.
    """
    wrong: dict[str, object] = {"keys": 7, "pairs": "a=b", "file": 7, "flag": "true"}
    for name, option in OPTIONS.items():
        given = {"key": KEY, name: wrong.get(option.kind, "no such")}
        with pytest.raises(ConfigError) as caught:
            _ = Options.of(given).choice.paths()
        assert name in str(caught.value) or option.kind == "file"


@pytest.mark.parametrize("value", [0, -1, True, float("inf"), float("nan"), "300"])
def test_seconds_are_a_number_above_0(value: object) -> None:
    """cache_data_keys must be a number above 0: text and infinity are refused."""
    given: dict[str, Any] = {"cache_data_keys": value}
    with pytest.raises(
        ConfigError, match=r"^cache_data_keys must be a number of seconds above 0\.$"
    ):
        ModeChoice(key=KEY, bind_name=False, **given)


def test_a_cache_gives_up_bound_names() -> None:
    """cache_data_keys needs bind_name=False; the error says that objects could then be swapped."""
    with pytest.raises(ConfigError, match=r"cache_data_keys needs bind_name=False, .*swapped"):
        ModeChoice(key=KEY, cache_data_keys=300)
    with pytest.raises(ConfigError, match="cache_data_keys and signed exclude"):
        ModeChoice(key=KEY, cache_data_keys=300, bind_name=False, signed=True)
    with pytest.raises(ConfigError, match='cache_data_keys needs mode="client"'):
        ModeChoice(mode="sse-s3", cache_data_keys=300)


def test_a_cache_has_limits() -> None:
    """A cached data key serves at most 10,000 objects and 64 GiB, also from a storage option."""
    given: dict[str, Any] = {"key": KEY, "bind_name": False, "cache_data_keys": 300}
    for choice in (ModeChoice(**given), Options.of(given).choice):
        mode = choice.make()
        assert isinstance(mode, ClientSide)
        assert isinstance(mode.keyring, CachingKeyring)
        assert mode.keyring.max_age == 300
        assert (mode.keyring.max_messages, mode.keyring.max_bytes) == (10_000, 64 * 2**30)


def test_a_choice_as_text_says_what_was_given() -> None:
    """The text of a ModeChoice has only the options that were given."""
    choice = ModeChoice(key=KEY, bind_name=False, context={"team": "ops"})
    assert str(choice) == (
        f"mode='client', key=('{KEY}',), context={{'team': 'ops'}}, bind_name=False"
    )


def test_a_key_in_the_place_of_a_mode() -> None:
    """If a key is given as the mode, the error says that it belongs in the option key."""
    with pytest.raises(ConfigError, match="mode does not exist") as caught:
        configuration.mode_of(KEY)
    assert caught.value.hint == "A key is given as key."
