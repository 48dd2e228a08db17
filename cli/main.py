# SPDX-License-Identifier: Apache-2.0
"""The command: its subcommands, and all its exit codes.

This module must not import boto3 or cryptography; the commands' modules import them only inside
functions.
"""

import io
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import FrameType
from typing import Any, NoReturn, cast

import click
from click.shell_completion import get_completion_class

import s3crypt
from s3crypt.errors import ConfigError, KeyFileWarning, S3CryptError

from .completion import VARIABLE, leave_terminal, register
from .help import DocumentedCommand, DocumentedGroup
from .options import logging_options, quoted_variables
from .output import (
    BROKEN_PIPE,
    EXIT_INTERRUPTED,
    print_error,
    print_notes,
    print_script,
    report,
    say,
    silence,
)
from .remedies import remember_words, reword, suggest_doctor

_EPILOG = (
    "Options can come from the environment: --sse-c-key-file is S3CRYPT_SSE_C_KEY_FILE.  "
    "Exit codes: 0 ok, 1 other, 2 usage, 3 integrity or policy, 4 key, 5 storage, 130 interrupted."
)


# The module of each command, in the order in which a newcomer needs them.
_COMMANDS = {
    "demo": "demo",
    "put": "objects",
    "get": "objects",
    "cat": "objects",
    "ls": "listing",
    "du": "listing",
    "stat": "listing",
    "rm": "objects",
    "inspect": "objects",
    "cp": "copying",
    "mv": "copying",
    "sync": "syncing",
    "rotate": "rotation",
    "presign": "presign",
    "mb": "making",
    "rb": "making",
    "keygen": "making",
    "keys": "keys",
    "bucket": "bucket",
    "iam": "iam",
    "policy": "policy",
    "audit": "audit",
    "who": "who",
    "doctor": "doctor",
    "encrypt": "files",
    "decrypt": "files",
    "uploads": "uploads",
    "clean": "files",
    "bench": "bench",
    "sandbox": "sandbox",
}


# The verbs of other tools -> the command that does the same here.
_HABITS = {
    "copy": "cp",
    "copyto": "cp",
    "createbucket": "mb",
    "del": "rm",
    "delete": "rm",
    "deletebucket": "rb",
    "dir": "ls",
    "disk-usage": "du",
    "download": "get",
    "exists": "stat",
    "fetch": "get",
    "head": "stat",
    "info": "inspect",
    "keygenerate": "keygen",
    "list": "ls",
    "lsd": "ls",
    "make-bucket": "mb",
    "mkdir": "mb",
    "move": "mv",
    "moveto": "mv",
    "pipe": "put",
    "read": "cat",
    "remove": "rm",
    "remove-bucket": "rb",
    "rename": "mv",
    "rewrap": "rotate",
    "rmdir": "rb",
    "rsync": "sync",
    "sign": "presign",
    "signurl": "presign",
    "size": "du",
    "upload": "put",
    "url": "presign",
    "version": "--version",
}


class _Lazy(DocumentedGroup):
    """A group that loads a command's module when the command is used."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(dict.fromkeys((*_COMMANDS, *self.commands)))

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        remember_words(context, arguments)
        if arguments[0] not in self.list_commands(context):
            _refuse_habit(context, arguments[0], self.list_commands(context))
            # click suggests a command for a mistyped name only among the loaded commands.
            for name in _COMMANDS:
                self.add_command(cast("click.Command", self.get_command(context, name)))
        return super().resolve_command(context, arguments)

    def invoke(self, context: click.Context) -> Any:
        """Run a command. Word its errors with its options; after a refusal, suggest the doctor."""
        try:
            return super().invoke(context)
        except S3CryptError as error:
            # The command is passed explicitly, because its context is closed already.
            reword(error, self.get_command(context, context.invoked_subcommand or ""))
            suggest_doctor(error)
            raise

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return super().get_command(context, name)
        command = getattr(import_module(f".{_COMMANDS[name]}", __package__), name)
        if not isinstance(command, click.Command):
            raise AssertionError("unreachable: a command is named like its function")  # noqa: TRY004
        return command


def _refuse_habit(context: click.Context, name: str, commands: Sequence[str]) -> None:
    """Refuse another tool's verb with the name of the command that does the same."""
    meant = _HABITS.get(name)
    if meant in (*commands, "--version"):
        raise click.UsageError(f"No such command {name!r}. Did you mean s3crypt {meant}?", context)


_HELP = """Keep data in S3 encrypted, five ways, chosen per call.

\b
s3crypt demo                        # every mode, on this machine, without AWS
s3crypt put q3.csv s3://acme/q3.csv --key kms:alias/reports
s3crypt get s3://acme/q3.csv . --key kms:alias/reports
"""


@click.group(
    cls=_Lazy,
    help=_HELP,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@logging_options
@click.version_option(s3crypt.__version__, "--version", "-V", message="s3crypt %(version)s")
def cli() -> None:
    """Hold the subcommands."""


register()


@cli.command(cls=DocumentedCommand)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(shell: str) -> None:
    """Print a shell's completion script.

    It completes commands, options, and the names of buckets and objects.

    \b
    s3crypt completion bash >> ~/.bash_completion
    """
    script = get_completion_class(shell)
    if script is None:
        raise AssertionError("unreachable: click completes these shells")
    print_script(script(cli, {}, "s3crypt", VARIABLE).source())


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; errors are printed on stderr."""
    try:
        with _talking_warnings():
            result = cli.main(arguments, prog_name="s3crypt", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        return _usage(error)
    except (click.Abort, KeyboardInterrupt) as error:
        print_error("interrupted")
        # click raises Abort in place of KeyboardInterrupt, which becomes the cause of the Abort.
        print_notes(error.__cause__ if isinstance(error, click.Abort) else error)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        silence(sys.stdout)
        return BROKEN_PIPE
    except (S3CryptError, OSError) as error:
        _name_variables(error)
        return report(error)
    return result if isinstance(result, int) else 0


def main() -> NoReturn:
    """Run the process's command line; SIGTERM cleans up just as ctrl-C does."""
    signal.signal(signal.SIGTERM, _interrupt)
    _open_closed_streams()
    _escape_other_characters()
    if VARIABLE in os.environ:
        leave_terminal()
    code = run()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            # The error was reported already; Python would print it again at exit, with a
            # traceback, and exit with 120.
            silence(stream)
    sys.exit(code)


@contextmanager
def _talking_warnings() -> Iterator[None]:
    """Print each KeyFileWarning once on stderr, whatever Python's warning filters are."""
    with warnings.catch_warnings():
        warnings.simplefilter("default", KeyFileWarning)
        show = warnings.showwarning

        def talk(message: Warning | str, category: type[Warning], *args: Any, **more: Any) -> None:
            context = click.get_current_context(silent=True)
            if not issubclass(category, KeyFileWarning):
                show(message, category, *args, **more)
            elif context is None or not context.params.get("quiet"):
                say(f"s3crypt: warning: {message}")

        warnings.showwarning = talk
        yield


def _usage(error: click.ClickException) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
    else:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "s3crypt"
        message = " ".join(error.format_message().split())
        print_error(message, _with_variables(f"{command} --help", message))
    return error.exit_code


def _name_variables(error: Exception) -> None:
    """If a configuration error quotes the value of a variable, name the variable in the hint."""
    if isinstance(error, ConfigError):
        hint = _with_variables(error.hint or "", str(error))
        if hint != (error.hint or ""):
            # This removes the remedy. The hint already has the remedy in the command's words.
            error.hint = hint


def _with_variables(hint: str, message: str) -> str:
    named = [f"It is the value of {name}." for name in quoted_variables(message)]
    return " ".join([*named, *([hint] if hint else [])])


def _open_closed_streams() -> None:
    """Open the standard streams that the process was started without. Using them then fails.

    Otherwise the next opened file would get the number of a closed stream, and output for the
    stream would go into that file. Output for a closed stderr is lost.
    """
    for name, flags, mode in (
        ("stdin", os.O_WRONLY, "r"),
        ("stdout", os.O_RDONLY, "w"),
        ("stderr", os.O_WRONLY, "w"),
    ):
        if getattr(sys, name) is None:
            # The system gives the lowest free number, which is the number of the closed stream.
            number = os.open(os.devnull, flags)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def _escape_other_characters() -> None:
    """Let stdout escape characters that its encoding lacks, as stderr does."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
