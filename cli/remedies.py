# SPDX-License-Identifier: Apache-2.0
"""The library's remedies in the words of the command: options, and other commands.

This module must not depend on error texts: a remedy is a value, and a command is a set of options.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType

import click

from s3crypt.errors import Action, KeyUnavailableError, Remedy, S3CryptError

# Action -> one or more texts for the remedy. The first text is used whose options the running
# command has. A text in backticks is another command.
WORDS: Mapping[Action, tuple[str, ...]] = MappingProxyType(
    {
        "accept_plain_http": ("If you trust the network, give --allow-plain-http.",),
        "accept_unbound_bucket": (
            "If its writer did not bind buckets, omit --from-bind-bucket and --written-in.",
            "If its writer did not bind buckets, omit --bind-bucket.",
        ),
        "accept_unbound_name": ("If its writer did not bind names, give --no-bind-name.",),
        "accept_uncommitted": (
            "If you trust its writer, give --allow-uncommitted.",
            (
                "If you trust its writer, get it with `s3crypt get --allow-uncommitted`, and put "
                "it again."
            ),
        ),
        "accept_unencrypted": (
            "S3 reports no encryption of it. If you trust its writers, give --from-mode none.",
        ),
        "accept_unsigned": (
            (
                "If you trust them to write, omit --from-signed and --signed, or give "
                "--allow-unsigned."
            ),
            "If you trust them to write, omit --signed, or give --allow-unsigned.",
        ),
        "accept_unverified_signature": (
            "Get the whole object, or give --allow-unverified-signature.",
        ),
        "check_context": (
            (
                "The object was moved (--written-as OLD_NAME, --written-in OLD_BUCKET) or "
                "replaced, or --context is wrong."
            ),
            (
                "The object was moved (--written-in OLD_BUCKET) or replaced, or --from-context is "
                "wrong."
            ),
            "The message was replaced, or --context is wrong.",
        ),
        "confirm_key_name": ("Or accept the risk: --without-impact-report {name}.",),
        "demand_bound_bucket": ("Give --bind-bucket, too.",),
        "drop_annotations": ("Save the annotations elsewhere, then give --drop-annotations.",),
        "inspect_object": (
            "Give its key. `s3crypt inspect` shows the keys that its unverified header names.",
        ),
        "list_objects": ("List the objects: `s3crypt ls`.",),
        "name_bucket": ("Give the bucket of the access point as --written-in.",),
        "name_mode": ("Give --key or --mode.",),
        "name_source_mode": ("If you trust its writers, give --from-mode {mode}.",),
        "name_subject": ("Give one of s3://bucket/name, --key and --principal.",),
        "name_trail_files": ("Or give the files of a trail with --trail.",),
        "pipe_what_is_there": (
            (
                "If the file keeps growing, pipe its present content, with - as the source: `cat "
                "{file} | s3crypt ...`"
            ),
        ),
        "raise_max_edks": (
            (
                "If you expect so many, read the message in Python: s3crypt.message.decrypt(..., "
                "max_edks={max_edks})."
            ),
        ),
        "raise_max_frame_length": (
            (
                "If you expect such frames, read the message in Python: "
                "s3crypt.message.decrypt(..., max_frame_length={max_frame_length})."
            ),
        ),
        "read_in_mode": ("Read it with --from-mode {mode}.", "Read it with --mode {mode}."),
        "read_with_its_tool": (
            (
                "No --key option opens the key that its unverified header names, {key}: read it "
                "with the tool that wrote it."
            ),
        ),
        "read_with_key": (
            "If you know its key, give --from-key. Its unverified header names: {key}",
            "If you know its key, give --key. Its unverified header names: {key}",
        ),
        "set_region": (
            "The bucket is in another Region: set --region or AWS_DEFAULT_REGION to it.",
        ),
        "sign_in": ("Set AWS_PROFILE, run `aws configure` or `aws sso login`, or use --sandbox.",),
    }
)
_OTHER_COMMAND = re.compile("`[^`]*`")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


# Error codes of refusals whose cause may be a permission, a key's state or an encryption setting.
_REFUSALS = frozenset(
    {
        "403",
        "AccessDenied",
        "AccessDeniedException",
        "DisabledException",
        "KMSInvalidStateException",
        "NotFoundException",
    }
)
_WORDS, _WAS_SUGGESTED = "s3crypt_cli.words", "s3crypt_cli.was_suggested"
# Command on objects -> the operation that the doctor checks for it.
_OPERATIONS: Mapping[str, str] = MappingProxyType(
    {"cat": "get", "cp": "rotate", "get": "get", "inspect": "get", "put": "put", "rotate": "rotate"}
)
# The options of a command that the doctor accepts as well.
_TAKEN = frozenset(
    {"--endpoint-url", "--expected-bucket-owner", "--key", "--mode", "--profile", "--region"}
    | {"--sse-c-key-file"}
)


def remember_words(context: click.Context, words: Sequence[str]) -> None:
    """Store the words of the command line, for suggestions."""
    context.find_root().meta[_WORDS] = tuple(words)


def suggest_doctor(error: BaseException) -> None:
    """Add the doctor's command to the hint of a refusal, once per command line.

    The hint is left unchanged if no URI is known, or no command is running.
    """
    context = click.get_current_context(silent=True)
    meta = context.find_root().meta if context else {}
    is_refusal = isinstance(error, S3CryptError) and (
        (error.code or "").removeprefix("KMS.") in _REFUSALS
    )
    line = _doctor(meta.get(_WORDS, ()), str(error)) if context and is_refusal else None
    if line and isinstance(error, S3CryptError) and not meta.get(_WAS_SUGGESTED):
        meta[_WAS_SUGGESTED] = True
        error.hint = f"{error.hint or ''} To see why: {line}".strip()


def _doctor(words: Sequence[str], message: str) -> str | None:
    """Return the doctor's command for the URI in a command line, or None if it has no URI."""
    uris = [word for word in words if word.startswith("s3://")]
    if not uris or not words or words[0] not in _OPERATIONS:
        return None
    uri = next((each for each in uris if each in message), uris[0])
    options = ["--for", _OPERATIONS[words[0]]]
    for number, word in enumerate(words):
        name, equals, _ = word.partition("=")
        if name in _TAKEN:
            options += [word] if equals else words[number : number + 2]
    return shlex.join(["s3crypt", "doctor", uri, *options])


def reword(error: BaseException, command: click.Command | None = None) -> None:
    """Make an error's hint name the options of a command, by default of the running command.

    The hint is left unchanged if `command` is None and no command is running.
    """
    if command is None and (context := click.get_current_context(silent=True)):
        command = context.command
    if command is not None and isinstance(error, S3CryptError):
        error.reword(partial(words_for, command=command))
        _name_origin(error, command)


def _name_origin(error: S3CryptError, command: click.Command) -> None:
    """Add the option for an object's present key to the hint of an error about a key.

    The hint is left unchanged if the error has a code, as when KMS refuses the key: another key
    would not help.
    """
    hint = error.hint or ""
    is_key = isinstance(error, KeyUnavailableError) and error.code is None
    if is_key and "--from-key" in options_of(command) and "--from-key" not in hint:
        error.hint = f"{hint} Give the object's present key as --from-key.".strip()


def words_for(remedy: Remedy, command: click.Command) -> str:
    """Return the first text of a remedy whose options the command has, or else the last text."""
    forms, options = WORDS[remedy.action], options_of(command)
    fitting = (form for form in forms if named_options(form) <= options)
    return remedy.worded(next(fitting, forms[-1]))


def named_options(words: str) -> frozenset[str]:
    """Return the options in a remedy's words, except those of other commands in backticks."""
    return frozenset(_OPTION.findall(_OTHER_COMMAND.sub("", words)))


def options_of(command: click.Command) -> frozenset[str]:
    """Return the names of a command's options, or of the options of all commands in a group."""
    if isinstance(command, click.Group):
        return frozenset().union(*(options_of(each) for each in command.commands.values()))
    return frozenset(name for parameter in command.params for name in parameter.opts)
