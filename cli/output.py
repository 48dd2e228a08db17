# SPDX-License-Identifier: Apache-2.0
"""The command's output: data on stdout, talk on stderr.

This module must not know S3, keys or messages.
"""

import codecs
import csv
import io
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any

import click

from s3crypt.errors import (
    ConfigError,
    FormatError,
    IntegrityError,
    KeyUnavailableError,
    PolicyError,
    StorageError,
)

from .remedies import reword, suggest_doctor

EXIT_OTHER = 1
EXIT_USAGE = 2
EXIT_INTEGRITY = 3
EXIT_KEY = 4
EXIT_STORAGE = 5
# The exit code of a dry run with --exit-code that found changes.
EXIT_CHANGES = 6
EXIT_INTERRUPTED = 130
# The code that a shell reports for a process that SIGPIPE ended. The reader of the pipe has closed
# it early; nothing else failed.
BROKEN_PIPE = 141
# The code of the error for a filter that selected no name.
NOTHING_SELECTED = "NothingSelected"


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object on one line of stdout."""
    _print(json.dumps(value, default=_jsonable))


def print_line(text: str) -> None:
    """Print one line of data on stdout, for people: control characters are shown escaped."""
    _print(_printable(text))


def print_wrapped(text: str) -> None:
    """Print data on stdout, indented below its heading and wrapped between words at 80 columns."""
    for line in textwrap.wrap(text, 78, break_long_words=False, break_on_hyphens=False):
        print_line(f"  {line}")


def wrapped(line: str, indent: str = "  ") -> list[str]:
    """Return a line wrapped between words at 80 columns, with a hanging indent."""
    return textwrap.wrap(
        line,
        80,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, such as `1 file` or `2,000 files`."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def print_script(text: str) -> None:
    """Print a script for a shell on stdout, without escaping."""
    _print(text)


def print_table(
    headers: Sequence[str], rows: Sequence[Sequence[object]], *, folded: bool = False
) -> None:
    """Print aligned columns on stdout, numbers to the right; cells are never cut.

    Args:
        headers: The names of the columns.
        rows: A cell per column.
        folded: Print a row per paragraph, with a line per cell, on a terminal that is narrower
            than the table.
    """
    cells = [[_printable(str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    if folded and sys.stdout.isatty() and sum(widths) + 2 * len(widths) - 2 > _columns():
        _print_paragraphs(headers, cells)
        return
    right = [_is_numeric([row[i] for row in cells]) for i in range(len(headers))]
    header = _join(headers, widths, right)
    _print(click.style(header, bold=True) if sys.stdout.isatty() else header)
    for row in cells:
        _print(_join(row, widths, right))


def print_heading(text: str) -> None:
    """Print the names of columns on a terminal; a pipe gets the rows alone."""
    if sys.stdout.isatty():
        _print(click.style(text, bold=True))


def _columns() -> int:
    return shutil.get_terminal_size().columns


def _print_paragraphs(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    width = max(map(len, headers))
    for row in rows:
        for header, cell in zip(headers, row, strict=True):
            _print(f"{click.style(f'{header:<{width}}', bold=True)}  {cell}")
        _print("")


def print_csv(cells: Sequence[str]) -> None:
    """Print one row of comma-separated values; control characters are escaped on a terminal."""
    row = io.StringIO()
    shown = [_printable(cell) for cell in cells] if sys.stdout.isatty() else cells
    csv.writer(row, lineterminator="").writerow(shown)
    _print(row.getvalue())


def say(text: str) -> None:
    """Print one line of talk on stderr, above a progress bar if there is one."""
    # click.echo would bypass the stream that rich puts in place of stderr while it draws a bar.
    try:
        sys.stderr.write(f"{_printable(text)}\n")
        sys.stderr.flush()
    except OSError:
        # The disk is full, or the pipe's reader ended. The line is lost, as on a closed stderr. The
        # command continues, and its exit code does not change.
        silence(sys.stderr)


def print_error(message: str, hint: str | None = None) -> None:
    """Print an error and its hint on stderr."""
    say(f"s3crypt: {message}")
    if hint:
        say(f"hint: {hint}")


def report(error: Exception) -> int:
    """Print an error of the library or of the system on stderr; return its exit code."""
    reword(error)
    suggest_doctor(error)
    message = str(error)
    if isinstance(error, OSError) and error.strerror:
        message = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    print_error(message, getattr(error, "hint", None))
    print_notes(error)
    return exit_code(error)


def print_notes(error: BaseException | None) -> None:
    """Print an error's notes on stderr, such as the files that it left behind."""
    for note in getattr(error, "__notes__", ()):
        say(f"s3crypt: {note}")


def exit_code(error: Exception) -> int:
    """Return the exit code for an error."""
    if isinstance(error, ConfigError):
        return EXIT_USAGE
    if getattr(error, "code", None) == NOTHING_SELECTED:
        return EXIT_OTHER
    if isinstance(error, IntegrityError | FormatError | PolicyError):
        return EXIT_INTEGRITY
    if isinstance(error, KeyUnavailableError):
        return EXIT_KEY
    return EXIT_STORAGE if isinstance(error, StorageError | OSError) else EXIT_OTHER


def size_text(size: int) -> str:
    """Return a size as people write it, in binary units."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


@contextmanager
def progress(
    label: str, total: int | None, *, quiet: bool = False
) -> Iterator[Callable[[int], None] | None]:
    """Show a progress bar on stderr; yield the function that advances it.

    Yield None if stderr is not a terminal or `quiet` is true.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    # rich takes 60 ms to import, so it is imported only for a terminal.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(_printable(label), total=total)
        yield lambda count: bar.update(task, advance=count)


class Output:
    """The command's binary stdout, which counts the written bytes.

    If the reader of a pipe closes it, the command ends without an error message. A terminal gets
    only text: binary data would be unreadable, and control characters in another user's object
    could reprogram the terminal. Pass `ciphertext=True` for data that is never text.
    """

    def __init__(self, *, ciphertext: bool = False) -> None:
        self.written = 0
        self._raw = sys.stdout.buffer
        self._decoder: codecs.IncrementalDecoder | None = None
        if sys.stdout.isatty():
            if ciphertext:
                raise _binary_to_terminal()
            self._decoder = codecs.getincrementaldecoder("utf-8")()

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Write all of `data`."""
        if self._decoder is not None:
            _check_text(self._decoder, data)
        with _ending_with_the_pipe():
            self._raw.write(data)
        self.written += len(data)
        return len(data)

    def flush(self) -> None:
        """Flush the written data."""
        with _ending_with_the_pipe():
            self._raw.flush()

    def writable(self) -> bool:
        """Return True, like a file open for writing."""
        return True

    def seekable(self) -> bool:
        """Return False: stdout counts as a stream even if it is a file."""
        return False


def silence(stream: IO[str]) -> None:
    """Redirect a stream to the null device, so that the flush at exit cannot fail a second time."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except (OSError, ValueError):
        return


@contextmanager
def _ending_with_the_pipe() -> Iterator[None]:
    # A broken pipe is converted here, because the library would report it as a storage failure.
    try:
        yield
    except BrokenPipeError:
        silence(sys.stdout)
        raise click.exceptions.Exit(BROKEN_PIPE) from None


def _print(text: str) -> None:
    with _ending_with_the_pipe():
        # Unsafe characters are escaped already. Without color=True, click would remove ANSI codes
        # in a pipe.
        click.echo(text, color=True)


def _printable(text: str) -> str:
    # Object names and messages may contain control sequences, which a terminal would execute.
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _jsonable(value: object) -> object:
    isoformat = getattr(value, "isoformat", None)
    if isoformat is not None:
        return isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)


def _is_numeric(column: Sequence[str]) -> bool:
    return any(cell[:1].isdigit() for cell in column) and all(
        not cell or cell == "-" or cell.replace(",", "").replace(".", "", 1).isdigit()
        for cell in column
    )


def _join(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    aligned = (
        cell.rjust(width) if to_right else cell.ljust(width)
        for cell, width, to_right in zip(cells, widths, right, strict=True)
    )
    return "  ".join(aligned).rstrip()


def _check_text(decoder: codecs.IncrementalDecoder, data: bytes | bytearray | memoryview) -> None:
    try:
        text = decoder.decode(bytes(data))
    except UnicodeDecodeError:
        raise _binary_to_terminal() from None
    if any((c < " " and c not in "\t\n\r\f") or "\x7f" <= c <= "\x9f" for c in text):
        raise _binary_to_terminal()


def _binary_to_terminal() -> ConfigError:
    return ConfigError(
        "The output is binary, and stdout is a terminal.",
        hint="Name a file, or pipe the output to another command.",
    )
