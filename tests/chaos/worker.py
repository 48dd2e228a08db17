# SPDX-License-Identifier: Apache-2.0
"""A process whose threads run random operations on the objects, and log the outcomes.

    python -m chaos.worker SETTINGS

SETTINGS is JSON; see `Settings`. Prints the log, one event per line, until standard input ends.
"""

from __future__ import annotations

import io
import json
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import boto3

from s3crypt import (
    FormatError,
    ObjectNotFoundError,
    PolicyError,
    RotationError,
    S3CryptError,
    StorageError,
)
from s3crypt.filesystem import S3CryptFileSystem
from s3crypt.rotation import mechanisms, steps

from . import contents
from .forms import COPIES, FAMILIES, OBJECTS, Forms, family_of
from .history import ABSENT, FOREIGN, OK, Event

if TYPE_CHECKING:
    from s3crypt import Mode, ObjectInfo

_Say = Callable[[Event], None]
# A size of more than one part.
_LARGE = 9 * 2**20
# In these tests, rotations above this size copy by parts, as they usually do above 5 GB.
_COPY_LIMIT = 6 * 2**20
_REFUSED = frozenset({"AccessDenied", "InvalidArgument", "InvalidRequest", "400", "403"})


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a process.

    Attributes:
        seed: The seed of its random choices.
        process: The number of the process.
        threads: The number of threads.
        keys: ARNs of the two KMS keys.
        buckets: The names of the buckets.
        most: The maximum number of operations per thread.
        large: The share of large contents.
        verify: Check every object once, and do nothing else.
    """

    seed: int
    process: int
    threads: int
    keys: tuple[str, str]
    buckets: tuple[str, ...]
    most: int
    large: float
    verify: bool = False

    @property
    def names(self) -> list[str]:
        """Return the names of all objects, as `bucket/family/number`."""
        return [
            f"{bucket}/{family}/{number}"
            for bucket in self.buckets
            for family in FAMILIES
            for number in range(OBJECTS)
        ]


class Thread:
    """The operations of one thread. Each operation is logged when it begins and when it ends."""

    def __init__(self, settings: Settings, forms: Forms, number: int, say: _Say) -> None:
        self._settings = settings
        self._forms = forms
        self._me = f"{settings.process}.{number}"
        self._writer = f"w{settings.process * 8 + number}"
        self._random = random.Random(f"{settings.seed}-{self._me}")
        self._say = say
        self._count = 0

    def run(self, stop: threading.Event) -> None:
        """Run operations until `stop` is set."""
        doing: tuple[tuple[Callable[[], None], int], ...] = (
            (self._write, 30),
            (self._read, 26),
            (self._rotate, 16),
            (self._copy, 6),
            (self._delete, 6),
            (self._list, 5),
            (self._needs, 4),
            (self._rotate_all, 1),
        )
        names, weights = zip(*doing, strict=True)
        while not stop.is_set() and self._count < self._settings.most:
            self._count += 1
            self._random.choices(names, weights)[0]()

    def verify(self) -> None:
        """Check every object."""
        for name in self._settings.names:
            self._count += 1
            self._final(name)

    # One method per operation.

    def _write(self) -> None:
        name = self._choose()
        form = self._random.choice(FAMILIES[family_of(name)])
        event = self._event("write", name, form=form, content=f"{self._writer}-{self._count}")
        data = contents.make(event.content, self._size())
        event.tagged = self._random.random() < 0.5
        how = self._random.choice(("put", "put", "put", "stream", "absent", "wb", "xb"))
        event.how, event.if_absent = f"{how} {len(data)}", how in ("absent", "xb")
        described: dict[str, Any] = {
            "mode": self._forms.mode(form),
            "metadata": {"content": event.content, "length": str(len(data))},
            "tags": {"content": event.content} if event.tagged else None,
        }
        self._doing(event, partial(self._put, event, how, data, described))

    def _put(self, event: Event, how: str, data: bytes, described: dict[str, Any]) -> None:
        store, uri = self._forms.store(), f"s3://{event.name}"
        if how in ("wb", "xb"):
            opened: Any = store.open(uri, how, **described)  # type: ignore[call-overload]
            with opened as file:
                for start in range(0, len(data), 2**20):
                    file.write(data[start : start + 2**20])
            info = file.info
        else:
            source = io.BytesIO(data) if how == "stream" else data
            info = store.put(source, uri, if_absent=how == "absent", **described)
        event.fault = _size_fault(info, len(data))

    def _read(self) -> None:
        name = self._choose()
        how = self._random.choice(("get", "get", "file", "open", "range", "head", "inspect"))
        event = self._event("read", name, how=how)
        method: Callable[..., None] = getattr(self, f"_read_{how}")
        self._doing(event, lambda: self._trying(self._readers(name), partial(method, event)))

    def _read_get(self, event: Event, mode: Mode | None) -> None:
        target = io.BytesIO()
        info = self._forms.store().get(f"s3://{event.name}", target, mode=mode)
        self._whole(event, info, target.getvalue())

    def _read_file(self, event: Event, mode: Mode | None) -> None:
        with self._forms.store().open(f"s3://{event.name}", mode=mode) as file:
            self._whole(event, file.info, file.read())

    def _read_open(self, event: Event, mode: Mode | None) -> None:
        with self._forms.store().open(f"s3://{event.name}", mode=mode) as file:
            edge = file.read(contents.EDGE_LENGTH)
            named = contents.identify(edge)
            if named is None:
                event.fault = f"begins with no content's identity: {edge!r}"
                return
            start = self._random.randrange(named[1])
            length = self._random.choice((1, 100, 100_000, named[1]))
            file.seek(start)
            if file.read(length) != contents.make(*named)[start : start + length]:
                event.fault = f"bytes {start} to {start + length} are not those of {named[0]}"
            event.found = [named[0]]

    def _read_range(self, event: Event, mode: Mode | None) -> None:
        data = self._forms.store().read(
            f"s3://{event.name}", mode=mode, byte_range=f"-{contents.EDGE_LENGTH}"
        )
        named = contents.identify(data)
        event.found = [named[0]] if named else []
        if named is None:
            event.fault = f"ends with no content's identity: {data!r}"

    def _read_head(self, event: Event, mode: Mode | None) -> None:
        self._described(event, self._forms.store().head(f"s3://{event.name}", mode=mode))

    def _read_inspect(self, event: Event, mode: Mode | None) -> None:
        info = self._forms.store().inspect(f"s3://{event.name}", mode=mode)
        event.form = self._forms.seen(info)
        self._described(event, info)

    def _rotate(self) -> None:
        name = self._choose()
        event = self._rotation(name, "rotate")
        sources = self._forms.sources(family_of(name), event.form)
        self._doing(event, lambda: self._trying(sources, partial(self._rotate_one, event)))

    def _rotate_one(self, event: Event, mode: Mode | None) -> None:
        store = self._forms.store(mode)
        (outcome,) = store.rotate(f"s3://{event.name}", to=self._forms.mode(event.form))
        event.found = [outcome.action]
        if outcome.action == "failed":
            event.fault = "failed, without an error"

    def _rotate_all(self) -> None:
        bucket = self._random.choice(self._settings.buckets)
        family = self._random.choice(("server", "kms", "client"))
        self._outcomes: list[tuple[str, str, BaseException | None]] = []
        event = self._rotation(f"{bucket}/{family}/", "rotate-all")
        self._doing(event, lambda: self._rotate_prefix(event))
        for number, (uri, action, error) in enumerate(self._outcomes):
            one = self._event("rotate", uri, form=event.form, how="all", found=[action])
            one.number, one.start, one.end = f"{event.number}/{number}", event.start, event.end
            self._told(one, error)
            self._say(one)

    def _rotate_prefix(self, event: Event) -> None:
        store = self._forms.store(self._forms.sources(family_of(event.name), event.form)[0])
        outcomes: Any
        try:
            outcomes = store.rotate(f"s3://{event.name}", to=self._forms.mode(event.form))
        except RotationError as error:
            outcomes = error.outcomes
            event.how = "some failed"
        for outcome in outcomes:
            name = outcome.uri.removeprefix("s3://")
            self._outcomes.append((name, outcome.action, outcome.error))
        event.found = [name for name, _, _ in self._outcomes]

    def _copy(self) -> None:
        target = self._random.choice([name for name in self._names if family_of(name) in COPIES])
        family = family_of(target)
        source = self._random.choice([n for n in self._names if family_of(n) == COPIES[family]])
        form = self._random.choice(FAMILIES[family])
        event = self._event("copy", target, content=source, form=form)
        self._doing(event, lambda: self._copy_file(event))

    def _copy_file(self, event: Event) -> None:
        family = family_of(event.name)
        mode = self._forms.readers(family)[0]
        # The mode `any` reads objects that S3 decrypts. The mode of the copy is given in the call.
        system = S3CryptFileSystem(mode or "any", skip_instance_cache=True)
        system.cp_file(event.content, event.name, mode=self._forms.mode(event.form))

    def _delete(self) -> None:
        event = self._event("delete", self._choose())
        self._doing(event, lambda: self._forms.store().delete(f"s3://{event.name}"))

    def _list(self) -> None:
        how = self._random.choice(("list", "find"))
        prefix = f"{self._random.choice(self._settings.buckets)}/"
        event = self._event("list", prefix, how=how)
        self._doing(event, lambda: self._list_names(event))

    def _list_names(self, event: Event) -> None:
        if event.how == "list":
            listed = self._forms.store().list(f"s3://{event.name}")
            event.found = [each.uri.removeprefix("s3://") for each in listed]
        else:
            system = S3CryptFileSystem("any", skip_instance_cache=True)
            event.found = list(system.find(event.name))

    def _needs(self) -> None:
        name = self._choose()
        event = self._rotation(name, "needs")
        sources = self._forms.sources(family_of(name), event.form)
        self._doing(event, lambda: self._trying(sources, partial(self._needs_one, event)))

    def _needs_one(self, event: Event, mode: Mode | None) -> None:
        store = self._forms.store(mode)
        needs = store.needs_rotation(f"s3://{event.name}", to=self._forms.mode(event.form))
        event.found = ["yes" if needs else "no"]

    def _final(self, name: str) -> None:
        event = self._event("final", name)
        self._doing(event, lambda: self._trying(self._readers(name), partial(self._look, event)))

    def _look(self, event: Event, mode: Mode | None) -> None:
        self._read_get(event, mode)
        store, uri = self._forms.store(mode), f"s3://{event.name}"
        found = []
        for form in FAMILIES[family_of(event.name)]:
            # `needs_rotation` raises PolicyError if the mode of the store does not fit the
            # rotation.
            with suppress(PolicyError):
                if not store.needs_rotation(uri, to=self._forms.mode(form)):
                    found.append(form)
        event.form = found[0] if len(found) == 1 else f"{found}"
        bucket, _, key = event.name.partition("/")
        tags = store.client.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
        event.tagged = bool(tags)
        if tags and [tag["Value"] for tag in tags] != event.found:
            event.fault = f"its tags are {tags}"

    # Helpers of the operations.

    @property
    def _names(self) -> list[str]:
        return self._settings.names

    def _choose(self) -> str:
        return self._random.choice(self._names)

    def _size(self) -> int:
        if self._random.random() < self._settings.large:
            return _LARGE + self._random.randrange(1000)
        return self._random.choice((contents.SHORTEST, 1000, 70_000, 300_000))

    def _event(self, operation: str, name: str, **more: Any) -> Event:
        return Event(f"{self._me}.{self._count}", self._me, operation, name, **more)

    def _rotation(self, name: str, operation: str) -> Event:
        return self._event(operation, name, form=self._random.choice(FAMILIES[family_of(name)]))

    def _doing(self, event: Event, operation: Callable[[], None]) -> None:
        """Run an operation. Log an event at its start, and at its end an event with the outcome."""
        event.start = time.monotonic()
        self._say(event)
        error: BaseException | None = None
        try:
            operation()
        except Exception as raised:  # noqa: BLE001 - every exception is an outcome
            error = raised
        event.end = time.monotonic()
        self._told(event, error)
        self._say(event)

    @staticmethod
    def _told(event: Event, error: BaseException | None) -> None:
        if error is None:
            event.outcome = OK
            return
        event.outcome = type(error).__name__
        event.message = f"{error}"[:400]
        event.notes = " | ".join(getattr(error, "__notes__", ()))[:400]
        if isinstance(error, FileNotFoundError):
            event.outcome = ABSENT
        elif isinstance(error, _AllRefusedError):
            event.outcome = "refused"
        elif not isinstance(error, S3CryptError):
            frames = traceback.extract_tb(error.__traceback__)
            where = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames[-6:]]
            event.outcome = FOREIGN
            event.message = f"{type(error).__name__}: {error} at {' '.join(where)}"[:600]
        elif cause := error.__cause__:
            event.message += f" <- {type(cause).__name__}: {cause}"[:300]

    def _readers(self, name: str) -> list[Mode | None]:
        return self._forms.readers(family_of(name))

    @staticmethod
    def _trying(readers: list[Mode | None], method: Callable[[Mode | None], None]) -> None:
        """Call a method with each mode in turn, until a mode is not refused."""
        refusals = []
        for mode in readers:
            try:
                method(mode)
            except ObjectNotFoundError:
                raise
            except (FormatError, PolicyError, StorageError) as error:
                if len(readers) == 1 or not _is_refusal(error):
                    raise
                refusals.append(str(error))
            else:
                return
        raise _AllRefusedError(" | ".join(refusals))

    @staticmethod
    def _whole(event: Event, info: ObjectInfo, data: bytes) -> None:
        named = contents.identify(contents.edge_of(data))
        event.found = [named[0]] if named else []
        event.fault = contents.fault(data) or _size_fault(info, len(data))
        if not event.fault and info.metadata.get("content") not in event.found:
            event.fault = f"content {event.found} has the metadata {dict(info.metadata)}"

    @staticmethod
    def _described(event: Event, info: ObjectInfo) -> None:
        content = info.metadata.get("content")
        if content is None:
            event.fault = f"its metadata is {dict(info.metadata)}"
            return
        event.found = [content]
        event.fault = _size_fault(info, int(info.metadata.get("length", -1)))


class _AllRefusedError(S3CryptError):
    """Every reader of a family refuses the object."""


def _is_refusal(error: S3CryptError) -> bool:
    return isinstance(error, FormatError | PolicyError) or error.code in _REFUSED


def _size_fault(info: ObjectInfo, size: int) -> str:
    return "" if info.size == size else f"{size} bytes are said to be {info.size}"


def _copy_by_parts_early() -> None:
    """Let objects of two parts be copied in parts, which usually only objects above 5 GB are."""
    changed: Any = mechanisms
    changed.copy_inside_s3 = partial(changed.copy_inside_s3, copy_limit=_COPY_LIMIT)
    decided: Any = steps
    changed.MAX_COPY_LENGTH = decided.MAX_COPY_LENGTH = _COPY_LIMIT


def main() -> None:
    """Run the threads until standard input ends."""
    given = json.loads(sys.argv[1])
    settings = Settings(**{**given, "keys": tuple(given["keys"])})
    _copy_by_parts_early()
    forms = Forms(boto3.Session(), settings.keys)
    stop, lock = threading.Event(), threading.Lock()

    def say(event: Event) -> None:
        with lock:
            sys.stdout.write(event.line() + "\n")
            sys.stdout.flush()

    threads = [Thread(settings, forms, number, say) for number in range(settings.threads)]
    if settings.verify:
        threads[0].verify()
        return
    running = [threading.Thread(target=thread.run, args=(stop,)) for thread in threads]
    for thread in running:
        thread.start()
    sys.stdin.read()
    stop.set()
    for thread in running:
        thread.join()


if __name__ == "__main__":
    main()
