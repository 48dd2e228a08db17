# SPDX-License-Identifier: Apache-2.0
"""What errors tell to do: one value, which Python, the command and the file system word."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import re
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
# The commands that can end with each remedy.
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
# A file system rotates nothing, deletes no key and reads no trail.
NOT_IN_STORAGE = {
    "accept_unencrypted", "confirm_key_name", "drop_annotations", "name_source_mode",
    "name_subject", "name_trail_files",
}  # fmt: skip
VALUES: dict[str, Any] = {"mode": "sse-s3", "key": ("aes:acme/2026",), "max_edks": 100}
# Not an option that a caller should give: whole command lines, the end of a bucket's name, and
# custom properties of a style sheet.
OTHERS_OPTIONS = re.compile(
    r"\b(?:aws [a-z0-9-]+ [a-z-]+|s3crypt (?:[a-z]+|X)) .*|--\w+-s3\b|--\w+:|var\(--\w+\)"
)
# A piece of a command line: options, each with one value at most, between inserted words (X).
PIECE = re.compile(r" ?(?:X )*--[a-z-]+(?: (?!-)\S+)?(?: X)*(?: --[a-z-]+(?: (?!-)\S+)?(?: X)*)*")
# Packages whose findings and causes carry command lines, made of pieces.
WITH_COMMAND_LINES = ("audit", "doctor")
OPTION = re.compile(r"(?<![\w-])--[a-z]")


def calls() -> Iterator[ast.Call]:
    """Yield each place in the library that makes a remedy."""
    for tree in SOURCES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Remedy":
                yield node


def example(action: Action) -> Remedy:
    """Return a remedy with the arguments that the library gives it."""
    names = {
        str(keyword.arg)
        for call in calls()
        if isinstance(call.args[0], ast.Constant) and call.args[0].value == action
        for keyword in call.keywords
    }
    return Remedy(action, **{name: VALUES.get(name, True) for name in names})


def command_named(name: str) -> click.Command:
    """Return a command, `keys show` by both its names."""
    found: click.Command = cli
    for part in name.split():
        assert isinstance(found, click.Group)
        inner = found.get_command(click.Context(found), part)
        assert inner is not None, name
        found = inner
    return found


def literals(tree: ast.AST) -> Iterator[str]:
    """Yield the texts in a piece of code that are no docstrings."""
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
    """Yield the texts of hints: keywords, attributes and constants of that name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "hint":
            yield from literals(node.value)
        elif isinstance(node, ast.Assign):
            target = node.targets[0]
            name = getattr(target, "attr", getattr(target, "id", ""))
            if name == "hint" or name.endswith("_HINT"):
                yield from literals(node.value)


def test_every_action_is_a_remedy_of_some_error() -> None:
    """The list of actions is that of what the library raises."""
    made = [call.args[0].value for call in calls() if isinstance(call.args[0], ast.Constant)]
    assert len(made) == len(list(calls()))
    assert set(made) == set(ACTIONS) == RAISED_BY.keys()


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_has_one_set_of_arguments(action: Action) -> None:
    """So that any face can word them."""
    found = {
        tuple(keyword.arg for keyword in call.keywords)
        for call in calls()
        if isinstance(call.args[0], ast.Constant) and call.args[0].value == action
    }
    assert len(found) == 1


@pytest.mark.parametrize("action", ACTIONS)
def test_python_has_words_for_it(action: Action) -> None:
    """With the values in them, and without an option of the command."""
    words = str(example(action))
    assert words
    assert "{" not in words
    assert not OPTION.search(words)


@pytest.mark.parametrize("action", ACTIONS)
def test_the_command_has_words_for_it(action: Action) -> None:
    """Options of the command that says them, or of another that they name; no form is idle."""
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
    """A group has the options of its commands; outside of any command hints stay Python's."""
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
    """Storage options, or arguments of one call."""
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
    """No text names one but the sandbox's own process, and the help of the command's options.

    Fixes of an audit and next steps of the doctor are whole lines of a shell, for Python's callers
    too. Their sentences name no option either.
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
# Words that follow the project's name in a sentence.
PROSE = {"and", "makes", "may"}
# A command line in a text, with the option that follows its verbs, if one does.
LINE = re.compile(r"s3crypt ([a-z][a-z-]*)(?: ([a-z][a-z-]+))?((?: [^`.;:]*)?)")


@pytest.mark.parametrize("path", [*SOURCES, *COMMAND_SOURCES], ids=str)
def test_a_hint_leads_to_a_command(path: Path) -> None:
    """Each command line in a hint has a verb of ours, and only options of its command."""
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
    """Plain text would be the same for the command, whose options have other names."""
    public = (S3Crypt, S3Crypt.get, S3Crypt.open, S3Crypt.rotate, ClientSide, message.decrypt)
    names = {name for each in public for name in inspect.signature(each).parameters}
    arguments = {name for name in names if "_" in name}
    for hint in hints(SOURCES[path]):
        assert not arguments & set(re.findall(r"\w+", hint)), hint


def test_a_hint_is_an_explanation_and_a_remedy() -> None:
    """Either may be left out; a hint that is set takes the place of both."""
    error = PolicyError("x", hint="So it is.", remedy=Remedy("read_in_mode", mode="sse-s3"))
    assert error.hint == "So it is. Read it with mode sse-s3."
    assert error.remedy == Remedy("read_in_mode", mode="sse-s3")
    assert dict(error.remedy.arguments) == {"mode": "sse-s3"}
    error.reword(lambda remedy: f"Do {remedy.action}.")
    assert error.hint == "So it is. Do read_in_mode."
    error.hint = "Run it again."
    error.reword(lambda _: "never")
    assert error.hint == "Run it again."
    assert vars(error)["remedy"] is None
    assert PolicyError("x").hint is None
    assert PolicyError("x", remedy=Remedy("list_objects")).hint == str(Remedy("list_objects"))


def test_a_value_is_no_template() -> None:
    """Names come from headers, which are anyone's bytes."""
    remedy = Remedy("read_with_key", key=("aes:{key}/{0}", "aes:x/y"))
    assert str(remedy).endswith("header names: aes:{key}/{0}, aes:x/y")


def test_a_program_can_follow_a_remedy(bucket: str) -> None:
    """Its arguments are those that the library takes."""
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
    """Of an object that is encrypted otherwise than its options say."""
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
