# SPDX-License-Identifier: Apache-2.0
"""Pipes that commands read from: standard input, and the output of another command.

A read that is blocked on a pipe ends when a signal arrives, in whichever thread it runs. Python
raises KeyboardInterrupt only in the main thread, which then waits for its workers. A worker that is
blocked on the pipe would never end, so a signal also wakes the read.
"""

import os
import select
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from typing import BinaryIO, cast

import click

from s3crypt.errors import ConfigError, StorageError

from .selection import FilteringCommand

_PIPE_CAPACITY = 2**18
# After closing its output, a command may still run for a while, for example to write to disk.
_PAUSE_SECONDS = 0.005
_PATIENCE_SECONDS = 5


class TakingCommand(FilteringCommand):
    """A command whose source may be the output of another command, given after "--"."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        """Move the command after "--" to the parameter `command`; the source becomes a pipe."""
        command: tuple[str, ...] | None = None
        if "--" in arguments:
            at = arguments.index("--")
            # "--" may also precede a file whose name begins with a dash.
            if self._has_target_only(context, arguments[:at]):
                command = tuple(arguments[at + 1 :])
                arguments = ["-", *arguments[:at]]
        rest = super().parse_args(context, arguments)
        context.params["command"] = command
        return rest

    def _has_target_only(self, context: click.Context, arguments: list[str]) -> bool:
        given, _, _ = self.make_parser(context).parse_args(list(arguments))
        # click puts a special value in the place of a missing argument.
        sources, uri = given.get("sources"), given.get("uri")
        is_alone = not (isinstance(sources, list | tuple) and sources)
        return is_alone and isinstance(uri, str) and uri.startswith("s3://")


@contextmanager
def opened_pipe(command: Sequence[str] | None, size: int | None) -> Iterator[BinaryIO]:
    """Open the output of a command, or standard input if `command` is None.

    At its end, reading raises StorageError if the command failed. With a `size`, it also raises
    StorageError if the pipe does not have exactly `size` bytes.
    """
    with output_of(command) if command else standard_input() as pipe:
        yield pipe if size is None else cast("BinaryIO", _SizedPipe(pipe, size))


@contextmanager
def standard_input() -> Iterator[BinaryIO]:
    """Open standard input in binary mode."""
    raw = getattr(sys.stdin.buffer, "raw", None)
    if raw is None or stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
        yield sys.stdin.buffer
        return
    with _signals() as signalled:
        yield cast("BinaryIO", _Pipe(raw, signalled, "standard input"))


@contextmanager
def output_of(command: Sequence[str]) -> Iterator[BinaryIO]:
    """Run a command and open its standard output.

    The read that reaches the end raises StorageError if the command's exit code is not 0. When the
    block ends, a running command is terminated.

    Raises:
        ConfigError: The command cannot be run.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - the user's own command line
            command, stdout=subprocess.PIPE, bufsize=0
        )
    except OSError as error:
        raise ConfigError(
            f"Cannot run {command[0]}: {error.strerror}.", hint="Check the command after `--`."
        ) from error
    with _ending(process), _signals() as signalled:
        yield cast("BinaryIO", _CommandOutput(process, signalled, command[0]))


class _Pipe:
    """A pipe that is read in pieces of its capacity; a read ends when `signalled` is readable."""

    def __init__(self, raw: FileIO, signalled: int, name: str) -> None:
        self._raw = raw
        self._signalled = signalled
        self.name = name
        self.fileno = raw.fileno

    def read(self, length: int) -> bytes | None:
        readable, _, _ = select.select([self.fileno(), self._signalled], [], [])
        if self._signalled in readable:
            raise KeyboardInterrupt
        return self._raw.read(min(length, _PIPE_CAPACITY))


class _CommandOutput(_Pipe):
    """The output of a command. The read that reaches its end fails if the command failed."""

    def __init__(self, process: "subprocess.Popen[bytes]", signalled: int, name: str) -> None:
        super().__init__(cast("FileIO", process.stdout), signalled, name)
        self._process = process

    def read(self, length: int) -> bytes | None:
        chunk = super().read(length)
        if length and not chunk:
            self._check_success()
        return chunk

    def _check_success(self) -> None:
        while (code := self._process.poll()) is None:
            if select.select([self._signalled], [], [], _PAUSE_SECONDS)[0]:
                raise KeyboardInterrupt
        if code:
            how = f"was ended by signal {-code}" if code < 0 else f"failed with exit code {code}"
            raise StorageError(f"{self.name} {how}; nothing was stored.")


class _SizedPipe:
    """A pipe that must have exactly `size` bytes."""

    def __init__(self, pipe: BinaryIO, size: int) -> None:
        self._pipe = pipe
        self._size = size
        self._count = 0
        self.name = getattr(pipe, "name", "standard input")

    def read(self, length: int) -> bytes | None:
        """Read further bytes; raise StorageError if the pipe does not have exactly `size` bytes."""
        chunk = self._pipe.read(length)
        self._count += len(chunk or b"")
        if self._count > self._size:
            raise StorageError(
                f"{self.name} has more than the {self._size} bytes announced; nothing was stored."
            )
        if length and chunk == b"" and self._count < self._size:
            raise StorageError(
                f"{self.name} ended after {self._count} of {self._size} bytes; nothing was stored.",
                hint="The command that writes to the pipe may have failed.",
            )
        return chunk


@contextmanager
def _signals() -> Iterator[int]:
    """Yield a descriptor that becomes readable when a signal arrives."""
    signalled, signal_end = os.pipe()
    os.set_blocking(signal_end, False)
    before = signal.set_wakeup_fd(signal_end, warn_on_full_buffer=False)
    try:
        yield signalled
    finally:
        signal.set_wakeup_fd(before)
        os.close(signalled)
        os.close(signal_end)


@contextmanager
def _ending(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """End a process when the block ends."""
    try:
        yield
    finally:
        if process.stdout is not None:
            process.stdout.close()
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
