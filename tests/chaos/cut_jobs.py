# SPDX-License-Identifier: Apache-2.0
"""Jobs of `S3Crypt.many` behind a relay that cuts replies. The oracle judges their outcomes."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from relay import serving

from s3crypt import S3CryptError

from . import contents
from .cutting import Cutter, Goal, cutting
from .forms import ALIASES, Forms
from .history import ABSENT, FOREIGN, OK, Event
from .oracle import Oracle

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable

    from s3crypt import Mode, ObjectInfo

_BUCKET = "jobs"
# Family of objects -> the form in which its objects are put, and the form to which they are
# rotated. The three families are copied inside S3, re-encrypted, and rewrapped.
_FAMILIES = {
    "server": ("sse-s3", "sse-kms:2"),
    "client": ("header:kms1", "header:aes"),
    "kms": ("metadata:kms1", "metadata:kms2"),
}
# The verb of a job -> the operation in the oracle's events.
_OPERATIONS = {"put": "write", "get": "read", "inspect": "read"}
_LARGE = 9 * 2**20
_LARGE_SHARE = 0.02
_MOST_RUNS = 6


@dataclass(slots=True)
class _Trial:
    """The jobs of a run, and the reported outcome of each object."""

    given: argparse.Namespace
    forms: Forms
    direct: Forms
    cutter: Cutter
    folder: Path
    events: list[Event] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    reruns: Counter[str] = field(default_factory=Counter)
    sizes: dict[str, int] = field(default_factory=dict)
    random: random.Random = field(default_factory=random.Random)

    def family(self, number: int, family: str) -> None:
        """Run each job on a family's objects: put, get, rotate, inspect and delete.

        Check the objects after each job.
        """
        form, other = _FAMILIES[family]
        prefix = f"s3://{_BUCKET}/{family}/"
        mode = self.forms.mode(form)
        source, target = self.folder / f"{family}-{number}", self.folder / f"{family}-{number}-got"
        self._make(source, family)
        many = self.forms.store(None if family == "server" else mode).many

        self._repeat(
            "put", family, form, lambda: many.put_folder(source, prefix, mode=mode), source
        )
        self._look(family, form)
        self._repeat("get", family, "", lambda: many.get_folder(prefix, target))
        self._check_folder(target)
        to = self.forms.mode(other)
        self._repeat("rotate", family, other, lambda: many.rotate(prefix, to=to))
        self._look(family, other)
        readers = self.forms.store(None if family == "server" else to)
        listed = readers.list_with_neighbours
        self._repeat("inspect", family, "", lambda: readers.many.inspect(listed(prefix)))
        self._repeat("delete", family, "", lambda: many.delete(self.forms.store().list(prefix)))
        self._look(family, "")

    def _make(self, folder: Path, family: str) -> None:
        """Make the files of a job, each with its own content."""
        folder.mkdir()
        for number in range(self.given.objects):
            size = self.random.choice((contents.SHORTEST, 1000, 70_000))
            if self.random.random() < _LARGE_SHARE:
                size = _LARGE + self.random.randrange(1000)
            name = f"{_BUCKET}/{family}/{number}"
            (folder / f"{number}").write_bytes(contents.make(f"w0-{len(self.sizes)}", size))
            self.sizes[f"{name} {len(self.sizes)}"] = size

    def _repeat(
        self,
        verb: str,
        family: str,
        form: str,
        job: Callable[[], Iterable[Any]],
        source: Path | None = None,
    ) -> None:
        """Run a job again until no item fails. Record each outcome of each run as an event."""
        for attempt in range(_MOST_RUNS):
            self.reruns[verb] += bool(attempt)
            if self._run(verb, family, form, job, source):
                return
        self.problems.append(f"never whole: {verb} of {family} after {_MOST_RUNS} runs")

    def _run(
        self,
        verb: str,
        family: str,
        form: str,
        job: Callable[[], Iterable[Any]],
        source: Path | None,
    ) -> bool:
        """Run a job once. Return whether every object is done."""
        start, told = time.monotonic(), dict[str, Event]()
        stopped: BaseException | None = None
        try:
            for outcome in job():
                event = self._event(verb, outcome, start)
                if event.name in told:
                    self.problems.append(f"two outcomes: {event}")
                told[event.name] = event
        except Exception as error:  # noqa: BLE001 - every exception is an outcome
            stopped = error
        end = time.monotonic()
        if stopped is not None:
            is_absent = verb in ("delete", "inspect", "get") and _outcome(stopped) == ABSENT
            told |= self._untold(verb, family, start, stopped, told)
            if is_absent:
                return True
        for event in told.values():
            event.end = end
            event.form = form if verb in ("put", "rotate") else event.form
            if source is not None:
                data = (source / event.name.rpartition("/")[2]).read_bytes()
                event.content = (contents.identify(contents.edge_of(data)) or ("", 0))[0]
            self.events.append(event)
            self.cutter.operations += 1
        self._note_listing(verb, family, start, end, stopped, told)
        return stopped is None and all(event.outcome == OK for event in told.values())

    def _note_listing(
        self,
        verb: str,
        family: str,
        start: float,
        end: float,
        stopped: BaseException | None,
        told: dict[str, Event],
    ) -> None:
        """Record which objects a job has found.

        Each of these objects needs an outcome, unless the job was stopped.
        """
        if verb == "put":
            if stopped is None and len(told) != self.given.objects:
                self.problems.append(f"no outcome: {self.given.objects - len(told)} of a put")
            return
        listing = self._new("list", f"{_BUCKET}/{family}/", start)
        listing.end = end
        listing.outcome = OK if stopped is None else "StorageError"
        # A deletion runs while the names are listed; the oracle takes this into account.
        listing.found = list(told) if stopped is None else []
        self.events.append(listing)

    def _untold(
        self, verb: str, family: str, start: float, error: BaseException, told: dict[str, Event]
    ) -> dict[str, Event]:
        """Return events for the objects that have no outcome because the job was stopped."""
        events = {}
        for number in range(self.given.objects):
            name = f"{_BUCKET}/{family}/{number}"
            if name not in told and verb in ("put", "rotate", "delete"):
                events[name] = event = self._new(_OPERATIONS.get(verb, verb), name, start)
                event.outcome = FOREIGN if _outcome(error) == FOREIGN else "StorageError"
                event.message = f"the job was stopped by {type(error).__name__}: {error}"
        return events

    def _new(self, operation: str, name: str, start: float) -> Event:
        return Event(f"{len(self.events)}-{name}-{operation}", "0.0", operation, name, start=start)

    def _event(self, verb: str, outcome: Any, start: float) -> Event:
        """Return the event for the outcome of one object."""
        name = _name_of(verb, outcome)
        event = self._new(_OPERATIONS.get(verb, verb), name, start)
        event.how = f"{verb} of many"
        error = outcome.error
        event.outcome = OK if error is None else _outcome(error)
        if error is not None:
            event.message = f"{error} <- {error.__cause__!r}"[:400]
            event.notes = " | ".join(getattr(error, "__notes__", ()))[:400]
        elif verb == "get":
            data = Path(outcome.item[1]).read_bytes()
            event.found = [found[0]] if (found := contents.identify(data[:48])) else []
            event.fault = contents.fault(data) or _size_fault(outcome.result, len(data))
        elif verb == "inspect":
            event.form = self.direct.seen(outcome.result)
        return event

    def _look(self, family: str, form: str) -> None:
        """Check every object of a family without the relay, which would cut replies."""
        mode: Mode | None = None if family == "server" else self.direct.mode("any")
        store = self.direct.store(mode)

        def look(number: int) -> Event:
            event = self._new("final", f"{_BUCKET}/{family}/{number}", time.monotonic())
            try:
                data = store.read(f"s3://{event.name}")
                event.form = self.direct.seen(store.inspect(f"s3://{event.name}"))
            except S3CryptError as error:
                event.outcome, event.message = _outcome(error), str(error)
            else:
                event.outcome = OK
                event.found = [found[0]] if (found := contents.identify(data[:48])) else []
                event.fault = contents.fault(data) or ""
            event.end = time.monotonic()
            return event

        with ThreadPoolExecutor(4) as pool:
            looks = list(pool.map(look, range(self.given.objects)))
        self.events += looks
        # The job ran until no item failed, so every object must have the new state.
        for event in looks:
            if (event.form if event.outcome == OK else "") != form:
                self.problems.append(f"not as the job says: {form or 'nothing'}, but {event}")

    def _check_folder(self, folder: Path) -> None:
        """Check that the folder has the files of the job, and no temporary file."""
        names = {path.name for path in folder.iterdir()}
        if other := names ^ {f"{number}" for number in range(self.given.objects)}:
            self.problems.append(f"other files: {sorted(other)[:5]}")


def _name_of(verb: str, outcome: Any) -> str:
    if verb == "rotate":
        return str(outcome.uri).removeprefix("s3://")
    item = outcome.item
    if verb in ("put", "get"):
        item = item[1] if verb == "put" else item[0]
    elif verb == "inspect":
        item = item[0]
    return str(getattr(item, "uri", item)).removeprefix("s3://")


def _outcome(error: BaseException) -> str:
    if isinstance(error, FileNotFoundError):
        return ABSENT
    return type(error).__name__ if isinstance(error, S3CryptError) else FOREIGN


def _size_fault(info: ObjectInfo, size: int) -> str:
    return "" if info.size == size else f"{size} bytes are said to be {info.size}"


def _sessions(config: Path, *urls: str) -> list[boto3.Session]:
    """Return a session for each URL of S3 and KMS.

    The URL is in the session's configuration: environment variables must not override it.
    """
    credentials = "aws_access_key_id = jobs\naws_secret_access_key = jobs\nregion = us-east-1\n"
    config.write_text(
        "".join(f"[profile {n}]\nendpoint_url = {url}\n{credentials}" for n, url in enumerate(urls))
    )
    for name in [name for name in os.environ if name.startswith("AWS_ENDPOINT_URL")]:
        del os.environ[name]
    os.environ["AWS_CONFIG_FILE"] = str(config)
    return [boto3.Session(profile_name=f"{n}") for n in range(len(urls))]


def _check_uploads(trial: _Trial) -> list[str]:
    """Return the uploads that were left open although no error names them."""
    s3: Any = trial.direct.store().client
    said = " ".join(event.notes + event.message for event in trial.events)
    return [
        f"an upload is open: {upload['Key']}"
        for upload in s3.list_multipart_uploads(Bucket=_BUCKET).get("Uploads", ())
        if upload["UploadId"] not in said and upload["UploadId"] not in trial.cutter.untold
    ]


def _figures(trial: _Trial, seconds: float) -> list[str]:
    told: dict[str, Counter[str]] = {}
    for event in trial.events:
        told.setdefault(event.how or event.operation, Counter())[event.outcome] += 1
    lines = [
        f"{how:18}{counts.total():6}  "
        + ", ".join(f"{number} {outcome}" for outcome, number in counts.most_common())
        for how, counts in sorted(told.items())
    ]
    cut: Counter[str] = Counter()
    for (kind, _), number in trial.cutter.cuts.items():
        cut[kind] += number
    lines += [f"cut of {kind:18}{number:5}" for kind, number in sorted(cut.items())]
    errors = Counter(e.message[:160] for e in trial.events if e.outcome not in (OK, ABSENT))
    lines += [f"{number:6}  {message}" for message, number in errors.most_common(8)]
    return [
        *lines,
        f"{trial.cutter.cut} cuts in {trial.cutter.requests.total()} requests, {seconds:.0f} s",
        f"runs again: {dict(+trial.reruns)}",
    ]


def cut_jobs(given: argparse.Namespace, url: str) -> tuple[list[str], list[str]]:
    """Run all jobs on each family. Return lines of figures, and the faults that were found."""
    kms: Any = boto3.client("kms")
    keys = []
    for alias in ALIASES:
        keys.append(kms.create_key()["KeyMetadata"]["Arn"])
        kms.create_alias(AliasName=alias, TargetKeyId=keys[-1])
    named = keys[0], keys[1]
    operations = given.rounds * given.objects * len(_FAMILIES) * 5
    cutter = Cutter(given.seed, Goal(operations, given.cuts))
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, serving(cutting(url, cutter)) as relay:
        through, direct = _sessions(Path(folder, "config"), relay.url, url)
        trial = _Trial(
            given,
            Forms(through, named),
            Forms(direct, named),
            cutter,
            Path(folder),
            random=random.Random(f"jobs-{given.seed}"),
        )
        for number in range(given.rounds):
            for family in _FAMILIES:
                trial.family(number, family)
        problems = trial.problems + _check_uploads(trial)
    if cutter.cut < given.cuts / 2:
        problems.append(f"too few cuts: {cutter.cut}")
    problems += [f"{each.rule}: {each}" for each in Oracle(trial.events).wrong()]
    return _figures(trial, time.monotonic() - started), problems
