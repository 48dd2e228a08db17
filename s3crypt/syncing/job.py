# SPDX-License-Identifier: Apache-2.0
"""One synchronisation: compare and transfer pairs, then delete targets without a source.

Targets without a source are deleted only if the whole source was walked without an error, and if
everything that differs was copied. Otherwise targets could be deleted by mistake: a source that is
partly unreadable, missing, or empty because nothing is mounted there has too few names. If a file
was renamed in the source, the object with the old name is the target's only copy of the file until
the new name is stored.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from s3crypt.errors import S3CryptError, StorageError, SyncError
from s3crypt.jobs import (
    FoundFile,
    NameFilter,
    Outcome,
    Unusable,
    journaled,
    selected,
    telling,
)
from s3crypt.objects.access import ListedObject
from s3crypt.objects.info import ObjectInfo
from s3crypt.objects.instruction_files import SUFFIX

from . import rules
from .pairs import Extras, Item, Pair, merged
from .places import Folder, Prefix, delete_file, modified_or_unknown
from .rules import State
from .transfers import Sent

Action: TypeAlias = Literal["copied", "deleted", "unchanged", "skipped"]
# Parts of an object's name that cannot be parts of a file's path.
_NO_PATH = frozenset(("", ".", ".."))


@dataclass(frozen=True, slots=True)
class SyncOutcome:
    """The outcome of a synchronisation for one name. With `dry_run`, it is the planned outcome.

    Attributes:
        source: The path or URI of the source. None for a target that has no source.
        target: The path or URI of the target.
        action: `copied`, `deleted`, `unchanged`, `failed` or `skipped`. An existing target that
            must not be overwritten is skipped. So is the instruction file of an object that stays:
            it has no source, and is not deleted.
        info: The facts about the object that was copied. None if no object was copied.
        error: The error if the action failed, otherwise None.
        seconds: The duration in seconds.
    """

    source: str | None
    target: str
    action: Literal["copied", "deleted", "unchanged", "skipped", "failed"]
    info: ObjectInfo | None = None
    error: S3CryptError | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Done:
    action: Action
    info: ObjectInfo | None = None
    version: str = ""


@dataclass(frozen=True, slots=True)
class Sending:
    """The two sides of a synchronisation, and a function that transfers a source to its target.

    Attributes:
        source, target: The sides.
        send: Transfers the source of a pair to its target.
    """

    source: Folder | Prefix
    target: Folder | Prefix
    send: Callable[[Pair], Sent]


class Sync:
    """One synchronisation.

    Args:
        sending: The two sides, and the function for transfers.
        names: The filter for relative names. It is used on both sides.
        deletes: Whether targets without a source are deleted.
        by: What is compared when the sizes are equal: the `time`, the `content`, or nothing more
            (`size`).
        overwrites: Whether existing targets may be overwritten.
        dry_run: Whether to change nothing.
    """

    def __init__(
        self,
        sending: Sending,
        *,
        names: NameFilter,
        deletes: bool,
        by: Literal["time", "size", "content"],
        overwrites: bool,
        dry_run: bool,
    ) -> None:
        self._source, self._target = sending.source, sending.target
        self._send = sending.send
        self._names = names
        self._extras = Extras() if deletes else None
        self._by = by
        self._overwrites = overwrites
        self._dry_run = dry_run
        self._is_empty = True
        # The first error of the source or of a name. If there is one, no target is deleted.
        self._fault: S3CryptError | None = None
        self._failed = 0
        # The names of the instruction files that targets may have, if the targets are not copied.
        self._instruction_files: set[str] = set()

    def outcomes(
        self,
        run: Callable[..., Iterator[Outcome[Pair, _Done]]],
        delete: Callable[[Iterable[ListedObject]], Iterator[Outcome[Any, None]]],
        options: Any,
    ) -> Iterator[SyncOutcome]:
        """Transfer the sources, then delete targets without a source.

        Yield the outcome of each name.

        Args:
            run: Runs a job.
            delete: Deletes listed objects.
            options: The options of the job.

        Raises:
            SyncError: Targets were to be deleted, but the source was not walked without an error,
                or a name was not compared or copied.
        """
        pairs: Iterator[Pair] = self._pairs()
        work: Callable[[Pair], _Done] = self._work
        journal = options.get("journal")
        if journal is not None and not self._dry_run:
            pairs, work = journaled(
                journal,
                pairs,
                work,
                named=self._version,
                done=lambda done: (done.action, done.version),
            )
        told = telling(pairs, _size, options.get("found"))
        with self._extras or nullcontext():
            for outcome in run(told, work):
                self._failed += outcome.error is not None
                if outcome.result is not None and outcome.result.action == "copied":
                    self._instruction_files.discard(outcome.item.name + SUFFIX)
                yield self._told(outcome)
            if self._extras is not None:
                self._check_whole(self._extras)
                yield from self._deleted(self._extras, delete)

    def _pairs(self) -> Iterator[Pair]:
        sources, targets = self._source.sources(), self._target.targets()
        chosen = selected(sources, self._names, _name, str(self._source))
        try:
            for pair in merged(chosen, self._selected(targets), self._extras):
                self._is_empty = False
                self._note_fault(pair)
                self._note_instruction_file(pair.name, pair.target)
                yield pair
        except S3CryptError as error:
            if self._extras is None:
                raise
            raise _nothing_deleted(self._target, error) from error

    def _selected(self, targets: Iterable[tuple[str, Item]]) -> Iterator[tuple[str, Item]]:
        for name, target in targets:
            if self._names.selects(name):
                yield name, target
            else:
                self._note_instruction_file(name, target)

    def _note_instruction_file(self, name: str, target: Item | None) -> None:
        """Record which name the instruction file of a listed target would have."""
        is_listed = isinstance(target, tuple) and target[1] is not None and target[1].is_there
        if is_listed and self._extras is not None:
            self._instruction_files.add(name + SUFFIX)

    def _is_instruction_file(self, name: str, item: FoundFile | ListedObject) -> bool:
        """Return whether an object is the instruction file of an object that is not deleted.

        Without its instruction file, that object would be unreadable. Objects whose names were
        skipped in the source are not deleted either.
        """
        may_be = name in self._instruction_files or (
            name.endswith(SUFFIX) and self._source.has_skipped(name.removesuffix(SUFFIX))
        )
        return may_be and isinstance(self._target, Prefix) and self._target.must_keep(item)

    def _note_fault(self, pair: Pair) -> None:
        if isinstance(pair.source, Unusable):
            self._fault = self._fault or pair.source.error
        elif isinstance(self._target, Folder) and not _NO_PATH.isdisjoint(pair.name.split("/")):
            self._fault = self._fault or self._no_path(pair)

    def _no_path(self, pair: Pair) -> StorageError:
        return StorageError(
            f"{self._source.at(pair.name)}: the object's name is not a path below {self._target}; "
            "it was not written.",
            hint="Exclude the name, or get this object to another path.",
        )

    def _work(self, pair: Pair) -> _Done:
        if isinstance(pair.source, Unusable):
            raise pair.source.error
        if isinstance(self._target, Folder) and not _NO_PATH.isdisjoint(pair.name.split("/")):
            raise self._no_path(pair)
        if pair.target is not None and not self._overwrites:
            return _Done("skipped")
        if self._is_same(pair):
            return _Done("unchanged")
        if self._dry_run:
            return _Done("copied")
        sent = self._send(pair)
        return _Done("copied", sent.info, sent.version)

    def _is_same(self, pair: Pair) -> bool:
        if pair.target is None or isinstance(pair.source, Unusable):
            return False
        if self._by == "content":
            return self._has_same_content(pair.source, pair.target)
        source = self._source.state(pair.source)
        if self._is_too_small(pair.target, source):
            return False
        target = self._target.state(pair.target)
        verdict = rules.compare(source, target, size_only=self._by == "size")
        if verdict == "unclear":
            source = modified_or_unknown(self._source, pair.source, source)
            target = modified_or_unknown(self._target, pair.target, target)
            verdict = rules.compare(source, target)
        return verdict == "same"

    def _has_same_content(self, source: Item, target: Item) -> bool:
        if isinstance(source, FoundFile) and isinstance(self._target, Prefix):
            return self._target.has_content(target, source)
        if isinstance(target, FoundFile) and isinstance(self._source, Prefix):
            return self._source.has_content(source, target)
        raise AssertionError("unreachable: contents are compared with files")

    def _is_too_small(self, target: Item, source: State) -> bool:
        """Return whether a client-side target is too short to contain the source and a header."""
        is_sealed = isinstance(self._target, Prefix) and self._target.is_sealed
        return is_sealed and _stored_size(target) <= (source.size or 0)

    def _version(self, pair: Pair) -> tuple[str, str]:
        """Return a pair's key for the journal, and a text that changes if a side changes."""
        if isinstance(pair.source, Unusable):
            return pair.name, ""
        target = self._target.version(pair.target) if pair.target else "-"
        return self._target.at(pair.name), f"{self._source.version(pair.source)} {target}"

    def _told(self, outcome: Outcome[Pair, _Done]) -> SyncOutcome:
        pair, done = outcome.item, outcome.result
        is_path = isinstance(pair.source, Unusable)
        return SyncOutcome(
            pair.name if is_path else self._source.at(pair.name),
            self._target.at("" if is_path else pair.name),
            done.action if done else "failed",
            done.info if done else None,
            outcome.error,
            outcome.seconds,
        )

    def _check_whole(self, extras: Extras) -> None:
        """Raise a SyncError if the walk may have missed names, or if a name was not copied.

        A failed copy raises the error only if there are targets to delete.
        """
        if self._is_empty and self._fault is None:
            self._fault = StorageError(
                f"{self._source} has no file or object.",
                hint=(
                    "Check the source, and check that it is mounted. To delete everything below "
                    f"the target: s3crypt rm -r {self._target}"
                ),
            )
        if self._failed and extras.count and self._fault is None:
            names = "a name" if self._failed == 1 else f"{self._failed} names"
            self._fault = StorageError(
                f"{names} could not be copied or compared.",
                hint="Fix the causes, or exclude the names. Then run the command again.",
            )
        if self._fault is not None:
            raise _nothing_deleted(self._target, self._fault) from self._fault

    def _deleted(
        self,
        extras: Extras,
        delete: Callable[[Iterable[ListedObject]], Iterator[Outcome[Any, None]]],
    ) -> Iterator[SyncOutcome]:
        kept: list[FoundFile | ListedObject] = []

        def deletable() -> Iterator[FoundFile | ListedObject]:
            for name, item in extras.all():
                if self._is_instruction_file(name, item):
                    kept.append(item)
                elif not self._source.has_skipped(name):
                    yield item

        yield from self._deleted_of(deletable(), delete)
        yield from (SyncOutcome(None, _place(item), "skipped") for item in kept)

    def _deleted_of(
        self,
        found: Iterator[FoundFile | ListedObject],
        delete: Callable[[Iterable[ListedObject]], Iterator[Outcome[Any, None]]],
    ) -> Iterator[SyncOutcome]:
        if self._dry_run:
            for item in found:
                yield SyncOutcome(None, _place(item), "deleted")
            return
        objects = isinstance(self._target, Prefix)
        deleted = delete(found) if objects else _delete_files(found)  # type: ignore[arg-type]  # all are of the target's kind
        for outcome in deleted:
            yield SyncOutcome(
                None,
                _place(outcome.item),
                "failed" if outcome.error else "deleted",
                error=outcome.error,
                seconds=outcome.seconds,
            )


def _delete_files(found: Iterable[FoundFile]) -> Iterator[Outcome[FoundFile, None]]:
    for item in found:
        error = None
        try:
            delete_file(item)
        except StorageError as failure:
            error = failure
        yield Outcome(item, None, error, 0.0)


def _nothing_deleted(target: Folder | Prefix, cause: S3CryptError) -> SyncError:
    hint = None if cause.remedy else cause.hint
    return SyncError(f"Nothing below {target} was deleted: {cause}", hint=hint, remedy=cause.remedy)


def _place(item: FoundFile | ListedObject) -> str:
    return item.uri if isinstance(item, ListedObject) else str(item.path)


def _name(found: tuple[str, Any]) -> str | None:
    """Return the name for a filter.

    Return None for a path that cannot be read: no filter may hide its error.
    """
    return None if isinstance(found[1], Unusable) else found[0]


def _size(pair: Pair) -> int:
    return 0 if isinstance(pair.source, Unusable) else _stored_size(pair.source)


def _stored_size(item: Item) -> int:
    return item.size if isinstance(item, FoundFile) else item[0].stored_size
