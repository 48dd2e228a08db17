# SPDX-License-Identifier: Apache-2.0
"""The options and output of jobs on many objects: progress, outcomes and a summary."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import click

from s3crypt.errors import ConfigError, S3CryptError

from .help import MANY
from .logs import are_printed
from .options import Settings, option
from .output import exit_code, print_json, report, say, size_text
from .places import common_code

if TYPE_CHECKING:
    from s3crypt import Journal, S3Crypt

jobs_option = option(
    "--jobs",
    group=MANY,
    type=click.IntRange(min=1),
    metavar="N",
    help=("The maximum number of objects in progress at once.  [default: up to 64]"),
)
journal_option = option(
    "--journal",
    group=MANY,
    type=click.Path(dir_okay=False),
    environment=False,
    metavar="FILE",
    help="Record finished items in FILE; the same command then does only the rest.",
)
_FAILED = "failed"
_SKIPPED = "skipped"
# Action -> its participle. Actions that are missing here already are participles.
_PAST = {
    "cp": "copied",
    "get": "got",
    "mv": "moved",
    "would copy": "would be copied",
    "would cp": "would be copied",
    "would delete": "would be deleted",
    "would get": "would be got",
    "would mv": "would be moved",
    "would put": "would be put",
}
# Maximum width of the progress line in a terminal.
_MOST_COLUMNS = 80


def refuse_job_options(
    *, jobs: int | None, journal: str | None = None, hint: str = "Give -r, or omit it."
) -> None:
    """Refuse the options of a job in a command on one object."""
    for name, value in (("--jobs", jobs), ("--journal", journal)):
        if value is not None:
            raise ConfigError(f"{name} needs -r.", hint=hint)


_Outcome = TypeVar("_Outcome")


@contextmanager
def opened_journal(
    path: str | None,
    settings: Settings,
    store: "S3Crypt",
    *,
    dry_run: bool,
    how: Mapping[str, object] = MappingProxyType({}),
    **job: object,
) -> "Iterator[Journal | None]":
    """Open the journal of a job if it was requested, else yield None.

    The job is identified by the store's endpoint and account settings, by `job`, and by the text of
    the values in `how`.
    """
    if path is None:
        yield None
        return
    if dry_run:
        raise ConfigError(
            "--dry-run does nothing that --journal could record.", hint="Omit one of them."
        )
    from s3crypt import Journal  # noqa: PLC0415 - SQLite takes 10 ms

    names = ("profile", "region", "expected_bucket_owner")
    where = {name: getattr(settings, name) for name in names}
    where["endpoint"] = store.client.meta.endpoint_url
    told = {name: str(value) for name, value in how.items()}
    with Journal.open(path, {**job, "how": told, "where": where}) as journal:
        yield journal


class Job:
    """Counts and shows the outcomes of a job; a context manager around the job.

    On a terminal, a line shows the progress. Each object is named with -v, with --json and with
    `names_all`.

    Args:
        verb: The job's action, such as `put`.
        settings: The settings of the output.
        names_all: Name each object, even with --quiet. The lines of a dry run are its result.
        tell: Prints an object's name and outcome, on stderr or stdout.
    """

    def __init__(
        self,
        verb: str,
        settings: Settings,
        *,
        names_all: bool = False,
        tell: Callable[[str], None] = say,
    ) -> None:
        self._verb = verb
        self._settings = settings
        self._tell = tell
        self._names = names_all or (are_printed() and not settings.quiet)
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._found, self._found_bytes, self._is_all_found = 0, 0, False
        self._moved = 0
        self._actions: Counter[str] = Counter()
        self._causes: Counter[str] = Counter()
        self._codes: list[int] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if not self._settings.silent and sys.stderr.isatty():
            self._stack.enter_context(drawn(self.line))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stack.close()
        if kind is not None and self.count:
            self._say_counts("objects, then it stopped")

    def closing(self, outcomes: Iterator[_Outcome]) -> Iterator[_Outcome]:
        """Return the outcomes, and close them when this context ends, also by an error.

        All work has then stopped.
        """
        self._stack.callback(getattr(outcomes, "close", lambda: None))
        return outcomes

    def found(self, size: int | None) -> None:
        """Count a found object with its size; None means that all objects have been found."""
        with self._lock:
            if size is None:
                self._is_all_found = True
            else:
                self._found += 1
                self._found_bytes += size

    def moved(self, count: int) -> None:
        """Count transferred bytes."""
        with self._lock:
            self._moved += count

    def ended(
        self,
        action: str,
        error: S3CryptError | OSError | None,
        fields: Mapping[str, Any],
        told: str,
    ) -> None:
        """Count an outcome and show it.

        Args:
            action: The action of a success.
            error: The error of a failure, or None.
            fields: The fields that --json prints.
            told: The text for a success.
        """
        self._count(action, error)
        if self._settings.json:
            failure = {"error": str(error), "exit_code": exit_code(error)} if error else {}
            print_json({"action": _FAILED if error else action, **fields, **failure})
        if error is not None:
            report(error)
        elif self._names and not self._settings.json:
            self._tell(told)

    def looked(self, error: S3CryptError | OSError | None) -> None:
        """Count an inspected object; the caller shows the result."""
        self._count("inspected", error)
        if error is not None:
            report(error)

    def _count(self, action: str, error: S3CryptError | OSError | None) -> None:
        if error is not None:
            self._codes.append(exit_code(error))
            self._causes[_cause(error)] += 1
        self._actions[_FAILED if error is not None else action] += 1

    def skipped(self, error: S3CryptError | OSError, fields: Mapping[str, Any]) -> None:
        """Count an item that is left alone because its target exists."""
        self._count(_SKIPPED, None)
        if self._settings.json:
            print_json({"action": _SKIPPED, **fields})
        elif self._names:
            self._tell(f"{_SKIPPED}  {error}")

    def kept(self, action: str, fields: Mapping[str, Any], told: str) -> None:
        """Count an item that stays unchanged; only -v and --json name it."""
        self._count(action, None)
        if self._settings.json:
            print_json({"action": action, **fields})
        elif are_printed() and not self._settings.quiet:
            say(f"{action}  {told}")

    @property
    def count(self) -> int:
        """Return the number of outcomes."""
        return self._actions.total()

    @property
    def would_change(self) -> bool:
        """Return whether a dry run found anything to do."""
        return bool(self._actions.keys() - {_FAILED, _SKIPPED, "unchanged"})

    def finish(self, *, unit: str = "objects") -> None:
        """Print the counts; exit with the code of the failures, if there were any."""
        self._say_counts(unit)
        if self._codes:
            raise click.exceptions.Exit(common_code(self._codes))

    def _say_counts(self, unit: str) -> None:
        seconds = time.monotonic() - self._began
        if self._settings.json:
            counts = {"counts": dict(self._actions), "causes": dict(self._causes)}
            print_json({"action": "summary", **counts, "bytes": self._moved, "seconds": seconds})
        elif not self._settings.silent or self._codes:
            say(f"{self._verb}: {self._summary(unit, seconds)}")

    def _summary(self, unit: str, seconds: float) -> str:
        causes = ", ".join(f"{count:,} {cause}" for cause, count in self._causes.most_common())
        pieces = [
            f"{count:,} {_PAST.get(action, action)}{f' ({causes})' if action == _FAILED else ''}"
            # The count of failures comes last.
            for action, count in sorted(self._actions.items(), key=lambda item: item[0] == _FAILED)
        ]
        moved = f", {size_text(self._moved)}" if self._moved else ""
        counts = ", ".join(pieces) or "nothing to do"
        return f"{self.count:,} {unit}: {counts}{moved} in {seconds:.1f} s"

    def line(self, columns: int) -> str:
        """Return the progress in one line of at most this many columns."""
        with self._lock:
            done, found, moved = self.count, self._found, self._moved
            is_all, whole = self._is_all_found, self._found_bytes
        seconds = max(time.monotonic() - self._began, 1e-3)
        failed = self._actions[_FAILED]
        # Ordered from the most to the least important; pieces that do not fit are omitted.
        pieces = [f"{self._verb} {done:,} of {found:,}{'' if is_all else '+'}"]
        if failed:
            pieces.append(f"{failed:,} failed")
        if moved:
            pieces.append(f"{size_text(moved)}")
            pieces.append(f"{size_text(int(moved / seconds))}/s")
        else:
            pieces.append(f"{done / seconds:,.0f}/s")
        if done < found and whole and moved >= whole:
            pieces.append("completing")
        elif is_all and 0 < done < found:
            # The number of requests determines the time for small objects, and the number of bytes
            # the time for large objects. So use the mean of both shares that are done.
            share = (done / found + moved / whole) / 2 if moved and whole else done / found
            pieces.append(f"{_clock(seconds * (1 - share) / share)} left")
        text = pieces[0]
        for piece in pieces[1:]:
            if len(text) + 2 + len(piece) <= min(columns, _MOST_COLUMNS):
                text += f"  {piece}"
        return text[: min(columns, _MOST_COLUMNS)]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _cause(error: Exception) -> str:
    """Return a failure's error code, or the name of its class if it has no code."""
    code = getattr(error, "code", None)
    return str(code or type(error).__name__)


@contextmanager
def drawn(line: Callable[[int], str]) -> Iterator[None]:
    """Draw a line on stderr below all other output, and refresh it several times a second."""
    # rich takes 60 ms to import, so it is imported only for a terminal.
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(stderr=True)

    def render() -> Text:
        return Text(line(console.width - 1), no_wrap=True, overflow="crop")

    with Live(get_renderable=render, console=console, refresh_per_second=5, transient=True):
        yield
