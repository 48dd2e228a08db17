# SPDX-License-Identifier: Apache-2.0
"""Remedies of errors, which Python, the command and the file system each put in their own words."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
import pytest
from s3crypt_cli import remedies as command_words
from s3crypt_cli.main import cli
from samples import aes, connect

import s3crypt
from s3crypt import SSES3, ClientSide, PolicyError, S3Crypt, message
from s3crypt.errors import Action, Remedy
from s3crypt.filesystem import S3CryptFileSystem
from s3crypt.filesystem import remedies as storage_words
from s3crypt.filesystem.options import Options
from s3crypt.options import ModeChoice

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(s3crypt.__file__).resolve().parent
SOURCES = {path: ast.parse(path.read_text("utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
ACTIONS: tuple[Action, ...] = get_args(Action)
# For each remedy, the commands that can fail with it.
READING = ("get", "cat", "rotate")
RAISED_BY: dict[Action, tuple[str, ...]] = {
    "accept_plain_http": ("put", *READING, "inspect", "encrypt", "decrypt", "keys show", "bench"),
    "accept_unbound_bucket": READING,
    "accept_unbound_name": READING,
    "accept_uncommitted": (*READING, "decrypt"),
    "accept_unencrypted": ("rotate",),
    "accept_unsigned": (*READING, "decrypt"),
    "accept_unverified_signature": ("get", "cat"),
    "check_context": (*READING, "decrypt"),
    "confirm_key_name": ("keys schedule-deletion",),
    "demand_bound_bucket": ("put", *READING),
    "drop_annotations": ("rotate",),
    "inspect_object": (*READING, "decrypt"),
    "list_objects": (*READING, "inspect", "rm"),
    "name_bucket": ("put", *READING),
    "name_mode": ("put", "rotate"),
    "name_source_mode": ("rotate",),
    "name_subject": ("who",),
    "name_trail_files": ("who",),
    "pipe_what_is_there": ("put", "encrypt"),
    "raise_max_edks": (*READING, "inspect", "decrypt"),
    "raise_max_frame_length": (*READING, "inspect", "decrypt"),
    "read_in_mode": (*READING, "inspect"),
    "read_with_its_tool": READING,
    "read_with_key": READING,
    "set_region": ("put", *READING, "ls", "inspect", "rm", "bench"),
    "sign_in": ("put", *READING, "ls", "inspect", "rm", "encrypt", "decrypt", "keys list", "bench"),
}
# Remedies that cannot occur in a file system: it does not rotate objects, delete keys or read
# trails.
NOT_IN_STORAGE = {
    "accept_unencrypted", "confirm_key_name", "drop_annotations", "name_source_mode",
    "name_subject", "name_trail_files",
}  # fmt: skip
VALUES: dict[str, Any] = {"mode": "sse-s3", "key": ("aes:acme/2026",), "max_edks": 100}
# Text that looks like an option of the command but is not one: whole command lines, the end of a
# bucket's name, and custom properties of a style sheet.
OTHERS_OPTIONS = re.compile(
    r"\b(?:aws [a-z0-9-]+ [a-z-]+|s3crypt (?:[a-z]+|X)) .*|--\w+-s3\b|--\w+:|var\(--\w+\)"
)
# A piece of a command line: options, each with at most one value. X stands for an inserted word.
PIECE = re.compile(r" ?(?:X )*--[a-z-]+(?: (?!-)\S+)?(?: X)*(?: --[a-z-]+(?: (?!-)\S+)?(?: X)*)*")
# Packages whose findings and causes contain whole command lines, which are put together from
# pieces.
WITH_COMMAND_LINES = ("audit", "doctor")
OPTION = re.compile(r"(?<![\w-])--[a-z]")


@cache
def calls() -> tuple[ast.Call, ...]:
    """Return each call of `Remedy(...)` in the library's source."""
    nodes = (node for tree in SOURCES.values() for node in ast.walk(tree))
    called = (node for node in nodes if isinstance(node, ast.Call))
    return tuple(node for node in called if getattr(node.func, "id", "") == "Remedy")


def example(action: Action) -> Remedy:
    """Return a remedy for an action, with the arguments that the library passes for it."""
    names = {
        str(keyword.arg)
        for call in calls()
        if isinstance(call.args[0], ast.Constant) and call.args[0].value == action
        for keyword in call.keywords
    }
    return Remedy(action, **{name: VALUES.get(name, True) for name in names})


def command_named(name: str) -> click.Command:
    """Return the command of this name. A name such as `keys show` has two parts."""
    found: click.Command = cli
    for part in name.split():
        assert isinstance(found, click.Group)
        inner = found.get_command(click.Context(found), part)
        assert inner is not None, name
        found = inner
    return found


def literals(tree: ast.AST) -> Iterator[str]:
    """Yield the string literals in a syntax tree, except docstrings."""
    parts: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts.update(node.values)
        elif isinstance(node, ast.Expr):
            parts.add(node.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in parts:
            yield node.value


def hints(tree: ast.AST) -> Iterator[str]:
    """Yield the texts of keywords, attributes and constants that are hints."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "hint":
            yield from literals(node.value)
        elif isinstance(node, ast.Assign):
            target = node.targets[0]
            name = getattr(target, "attr", getattr(target, "id", ""))
            if name == "hint" or name.endswith("_HINT"):
                yield from literals(node.value)


def test_every_action_is_a_remedy_of_some_error() -> None:
    """The library uses each action of ACTIONS, and no other action."""
    made = [call.args[0].value for call in calls() if isinstance(call.args[0], ast.Constant)]
    assert len(made) == len(list(calls()))
    assert set(made) == set(ACTIONS) == RAISED_BY.keys()


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_has_one_set_of_arguments(action: Action) -> None:
    """All remedies of an action have the same arguments, so that each interface can word them."""
    found = {
        tuple(keyword.arg for keyword in call.keywords)
        for call in calls()
        if isinstance(call.args[0], ast.Constant) and call.args[0].value == action
    }
    assert len(found) == 1


@pytest.mark.parametrize("action", ACTIONS)
def test_python_has_words_for_it(action: Action) -> None:
    """The Python text of each remedy has its values filled in, and names no command option."""
    words = str(example(action))
    assert words
    assert "{" not in words
    assert not OPTION.search(words)


@pytest.mark.parametrize("action", ACTIONS)
def test_the_command_has_words_for_it(action: Action) -> None:
    """The command's text of each remedy names only options of the command that prints it."""
    remedy, said = example(action), set()
    for name in RAISED_BY[action]:
        command = command_named(name)
        words = command_words.words_for(remedy, command)
        assert "{" not in words
        assert command_words.named_options(words) <= command_words.options_of(command)
        for other in re.findall("`s3crypt ([^`]*)`", words):
            verb, *options = other.split()
            assert set(options) <= command_words.options_of(command_named(verb))
        said.add(words)
    assert said == {remedy.worded(form) for form in command_words.WORDS[action]}


def test_a_command_without_the_options_says_the_last_words() -> None:
    """A command without the options of a remedy prints the remedy's last text.

    Outside of a command, the Python text stays.
    """
    remedy = Remedy("accept_unbound_bucket", bind_bucket=False)
    last = command_words.WORDS["accept_unbound_bucket"][-1]
    assert command_words.words_for(remedy, command_named("sandbox stop")) == last
    assert "--period-days" in command_words.options_of(command_named("keys"))
    error = PolicyError("x", remedy=remedy)
    command_words.reword(error)
    assert error.hint == str(remedy)
    command_words.reword(error, command_named("get"))
    assert error.hint == last


@pytest.mark.parametrize("action", ACTIONS)
def test_the_file_system_has_words_for_it(action: Action) -> None:
    """The file system's text of each remedy names only storage options or a call's arguments."""
    words = storage_words.words_for(example(action))
    assert not OPTION.search(words)
    known = {field.name for kind in (Options, ModeChoice) for field in dataclasses.fields(kind)}
    known |= inspect.signature(S3Crypt.get).parameters.keys()
    known |= inspect.signature(message.decrypt).parameters.keys()
    if action not in NOT_IN_STORAGE:
        assert set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", words)) <= known
        assert not re.search(r"\bmode\b|ClientSide", words)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_library_names_no_option_of_the_command(path: Path) -> None:
    """No text of the library names an option of the command.

    Exceptions are the sandbox's own process and the help of the command's options. An audit's fixes
    and the doctor's next steps are whole command lines, for callers in Python too; their sentences
    name no option either.
    """
    if path.parent.name == "sandbox" or path == PACKAGE / "options.py":
        return
    for text in literals(SOURCES[path]):
        is_piece = path.parent.name in WITH_COMMAND_LINES and PIECE.fullmatch(text)
        assert is_piece or not OPTION.search(OTHERS_OPTIONS.sub("", text)), text


COMMAND_SOURCES = {
    path: ast.parse(path.read_text("utf-8"))
    for path in sorted(Path(command_words.__file__).parent.rglob("*.py"))
}
# Words that may follow the project's name in a sentence, and are no verbs of the command.
PROSE = {"and", "makes", "may"}
# Matches a command line in a text: one or two verbs, then the rest with the options.
LINE = re.compile(r"s3crypt ([a-z][a-z-]*)(?: ([a-z][a-z-]+))?((?: [^`.;:]*)?)")


@pytest.mark.parametrize("path", [*SOURCES, *COMMAND_SOURCES], ids=str)
def test_a_hint_leads_to_a_command(path: Path) -> None:
    """Each command line in a hint names an existing command and only options of this command."""
    for hint in hints({**SOURCES, **COMMAND_SOURCES}[path]):
        for verb, second, rest in LINE.findall(hint):
            if verb in PROSE:
                continue
            assert verb in cli.list_commands(click.Context(cli)), hint
            command = command_named(verb)
            if isinstance(command, click.Group) and second:
                command = command_named(f"{verb} {second}")
            assert set(re.findall(r"(?<!\S)--[a-z-]+", rest)) <= command_words.options_of(
                command
            ), hint


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_hint_that_names_an_argument_is_a_remedy(path: Path) -> None:
    """A hint that names a Python argument must be a remedy: the command's options differ."""
    public = (S3Crypt, S3Crypt.get, S3Crypt.open, S3Crypt.rotate, ClientSide, message.decrypt)
    names = {name for each in public for name in inspect.signature(each).parameters}
    arguments = {name for name in names if "_" in name}
    for hint in hints(SOURCES[path]):
        assert not arguments & set(re.findall(r"\w+", hint)), hint


def test_a_hint_is_an_explanation_and_a_remedy() -> None:
    """An error's hint is its explanation and its remedy; setting the hint replaces both."""
    error = PolicyError("x", hint="So it is.", remedy=Remedy("read_in_mode", mode="sse-s3"))
    assert error.hint == "So it is. Read it with mode sse-s3."
    assert error.remedy == Remedy("read_in_mode", mode="sse-s3")
    assert dict(error.remedy.arguments) == {"mode": "sse-s3"}
    error.reword(lambda remedy: f"Do {remedy.action}.")
    assert error.hint == "So it is. Do read_in_mode."
    error.hint = "Run the command again."
    error.reword(lambda _: "never")
    assert error.hint == "Run the command again."
    assert vars(error)["remedy"] is None
    assert PolicyError("x").hint is None
    assert PolicyError("x", remedy=Remedy("list_objects")).hint == str(Remedy("list_objects"))


def test_a_value_is_no_template() -> None:
    """Braces in a remedy's value are not replaced: key names in headers are untrusted."""
    remedy = Remedy("read_with_key", key=("aes:{key}/{0}", "aes:x/y"))
    assert str(remedy).endswith("header names: aes:{key}/{0}, aes:x/y")


def test_a_program_can_follow_a_remedy(bucket: str) -> None:
    """A program can pass a remedy's arguments to the method that failed."""
    uri = f"s3://{bucket}/x"
    connect(ClientSide(aes(), signed=True)).put(b"data", uri)
    store = connect(ClientSide(aes()))
    with pytest.raises(PolicyError) as caught:
        store.get(uri, io.BytesIO(), byte_range="0-1")
    assert caught.value.remedy is not None
    arguments: dict[str, Any] = dict(caught.value.remedy.arguments)
    target = io.BytesIO()
    store.get(uri, target, byte_range="0-1", **arguments)
    assert target.getvalue() == b"da"


def test_a_file_system_names_storage_options(bucket: str) -> None:
    """In the file system, the hint for an object in another mode names a storage option."""
    connect(SSES3()).put(b"data", f"s3://{bucket}/x")
    connect(ClientSide(aes())).put(b"data", f"s3://{bucket}/y")
    fs = S3CryptFileSystem(encryption="sse-kms", key="kms:alias/none", skip_instance_cache=True)
    with pytest.raises(PolicyError) as caught:
        fs.cat_file(f"{bucket}/x")
    assert caught.value.hint == "Read it with encryption='sse-s3'."
    fs = S3CryptFileSystem(encryption="any", skip_instance_cache=True)
    with pytest.raises(PolicyError) as caught:
        fs.cat_file(f"{bucket}/y")
    assert caught.value.hint == (
        "If you know its key, give it as the storage option key. "
        "Its unverified header names: aes:tests/one"
    )
