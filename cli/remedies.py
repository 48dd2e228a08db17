# SPDX-License-Identifier: Apache-2.0
"""The library's remedies in the words of the command: options, and other commands.

Knows no error's text: a remedy is a value, and a command is known by the options that it has.
"""

import re
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

import click

from s3crypt.errors import Action, Remedy, S3CryptError

# For each action the command's words, in one form or in several: the first of which the command
# that runs has all options is said. What is in backticks is another command.
WORDS: Mapping[Action, tuple[str, ...]] = MappingProxyType(
    {
        "accept_plain_http": ("Where the network is trusted, give --allow-plain-http.",),
        "accept_unbound_bucket": (
            "Where its writer did not bind buckets, leave --from-bind-bucket and --written-in out.",
            "Where its writer did not bind buckets, leave --bind-bucket out.",
        ),
        "accept_unbound_name": ("Where its writer did not bind names, give --no-bind-name.",),
        "accept_uncommitted": (
            "Where its writer is trusted, give --allow-uncommitted.",
            (
                "Where its writer is trusted, fetch it with `s3crypt get --allow-uncommitted`, and "
                "put it anew."
            ),
        ),
        "accept_unencrypted": (
            "Where they are trusted, give --from-mode none: S3 reports no encryption of it.",
        ),
        "accept_unsigned": (
            (
                "Where those are trusted to write, leave --from-signed and --signed out, or give "
                "--allow-unsigned."
            ),
            "Where those are trusted to write, leave --signed out, or give --allow-unsigned.",
        ),
        "accept_unverified_signature": ("Get it whole, or give --allow-unverified-signature.",),
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
        "demand_bound_bucket": ("Give --bind-bucket as well.",),
        "drop_annotations": ("Save them elsewhere, then give --drop-annotations.",),
        "inspect_object": (
            "Name its key. `s3crypt inspect` shows what its unverified header names.",
        ),
        "list_objects": ("List what is there: `s3crypt ls`.",),
        "name_bucket": ("Give --written-in with the bucket behind it.",),
        "name_mode": ("Give --key or --mode.",),
        "name_source_mode": ("Where they are trusted, give --from-mode {mode}.",),
        "pipe_what_is_there": (
            (
                "Where it keeps growing, pipe what it holds by now, with - in its place: "
                "`cat {file} | s3crypt ...`"
            ),
        ),
        "raise_max_edks": (
            (
                "Where that many are expected, Python reads it: s3crypt.message.decrypt(..., "
                "max_edks={max_edks})."
            ),
        ),
        "raise_max_frame_length": (
            (
                "Where such frames are expected, Python reads it: s3crypt.message.decrypt(..., "
                "max_frame_length={max_frame_length})."
            ),
        ),
        "read_in_mode": ("Read it with --from-mode {mode}.", "Read it with --mode {mode}."),
        "read_with_its_tool": (
            (
                "No --key is for what its unverified header names, {key}: read it with the tool "
                "that wrote it."
            ),
        ),
        "read_with_key": (
            "If you know its key, give --from-key. Its unverified header names: {key}",
            "If you know its key, give --key. Its unverified header names: {key}",
        ),
        "set_region": (
            "The bucket is in another region: set --region or AWS_DEFAULT_REGION to it.",
        ),
        "sign_in": ("Set AWS_PROFILE, run `aws configure` or `aws sso login`, or use --sandbox.",),
    }
)
_OTHER_COMMAND = re.compile("`[^`]*`")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def reword(error: BaseException, command: click.Command | None = None) -> None:
    """Have an error's hint name the options of a command, of the running one if it is left out.

    Without either the hint stays as it is.
    """
    if command is None and (context := click.get_current_context(silent=True)):
        command = context.command
    if command is not None and isinstance(error, S3CryptError):
        error.reword(partial(words_for, command=command))


def words_for(remedy: Remedy, command: click.Command) -> str:
    """Return a remedy in the options of a command; the last words where no others fit."""
    forms, options = WORDS[remedy.action], options_of(command)
    fitting = (form for form in forms if named_options(form) <= options)
    return remedy.worded(next(fitting, forms[-1]))


def named_options(words: str) -> frozenset[str]:
    """Return the options that words tell to give to the command itself."""
    return frozenset(_OPTION.findall(_OTHER_COMMAND.sub("", words)))


def options_of(command: click.Command) -> frozenset[str]:
    """Return the names of a command's options; of a group, those of all its commands."""
    if isinstance(command, click.Group):
        return frozenset().union(*(options_of(each) for each in command.commands.values()))
    return frozenset(name for parameter in command.params for name in parameter.opts)
