# SPDX-License-Identifier: Apache-2.0
"""Compares the outcomes that the library reported to its callers, and finds impossible outcomes.

Every rule is a necessary condition for linearizable objects whose writes may be repeated while they
run: it never rejects a history that a correct library can produce. An operation takes effect
between its start and its end. After an error that leaves the outcome open, it may or may not take
effect.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from .history import ABSENT, FOREIGN, NOTHING_STORED, OK, Event

# In seconds: after an error a request may still be running for this long.
_GRACE = 1.0
_CHANGES = ("write", "copy", "delete", "rotate")
# Families whose objects can be opened by several readers.
_OF_SEVERAL_READERS = ("sse-c", "mixed")


@dataclass(frozen=True, slots=True)
class Wrong:
    """An impossible outcome.

    Attributes:
        rule: The kind of the violation, for counting.
        event: The operation with this outcome.
        why: The reason in words.
        against: The operations that contradict it.
    """

    rule: str
    event: Event
    why: str
    against: tuple[Event, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.rule}: {self.why}", f"    {self.event}"]
        return "\n".join([*lines, *(f"    against {event}" for event in self.against[:4])])


class Oracle:
    """Judges the history of a run, object by object."""

    def __init__(self, events: list[Event]) -> None:
        self.events = sorted(events, key=lambda event: event.start)
        self.changes: dict[str, list[Event]] = defaultdict(list)
        self._seen: dict[tuple[str, str], float] = {}
        self._found = {content for event in events for content in event.found}
        for event in self.events:
            if event.operation in _CHANGES:
                self.changes[event.name].append(event)
            if event.operation in ("read", "final") and event.outcome == OK:
                for content in event.found:
                    place = event.name, content
                    self._seen[place] = min(self._seen.get(place, event.end), event.end)

    def wrong(self) -> list[Wrong]:
        """Return all impossible outcomes of the run."""
        found: list[Wrong] = []
        for event in self.events:
            if event.fault:
                found.append(Wrong("fault", event, event.fault))
            if event.outcome == FOREIGN:
                found.append(Wrong("foreign exception", event, event.message))
            found += getattr(self, f"_check_{event.operation.replace('-', '_')}")(event)
        return found

    # Possible effects of an operation.

    def _may_have_done(self, event: Event) -> bool:
        # If the effect of an operation was seen, it took place, whatever outcome its caller got. A
        # wrong outcome is reported once.
        is_seen = event.operation == "write" and event.content in self._found
        return is_seen or not _denies(event)

    def _done_by(self, event: Event) -> float:
        """Return the time from which the operation's effect was certainly visible, or infinity."""
        told = event.end if event.outcome == OK else float("inf")
        if event.operation != "write":
            return told
        return min(told, self._seen.get((event.name, event.content), told))

    @staticmethod
    def _over_by(event: Event) -> float:
        return event.end if event.outcome == OK else event.end + _GRACE

    def _stored(self, name: str) -> list[Event]:
        return [event for event in self.changes[name] if event.operation in ("write", "copy")]

    def _deletes(self, name: str) -> list[Event]:
        return [event for event in self.changes[name] if event.operation == "delete"]

    def _later(self, event: Event, before: float) -> list[Event]:
        """Return the events that certainly replaced or deleted what `event` stored.

        Only events count whose effect was visible before the time `before`.
        """
        return [
            other
            for other in self.changes[event.name]
            if other.operation != "rotate"
            and other.start > self._over_by(event)
            and self._done_by(other) < before
        ]

    def _others(self, event: Event, *operations: str) -> list[Event]:
        """Return the other operations that may have changed the object during `event`."""
        return [
            other
            for other in self.changes[event.name]
            if other is not event
            and other.number.partition("/")[0] != event.number.partition("/")[0]
            and other.operation in (operations or _CHANGES)
            and event.overlaps(other, _GRACE)
        ]

    # Possible states of an object.

    def _check_content(self, event: Event, content: str) -> Wrong | None:
        """Return why `content` cannot have existed while `event` was running.

        Return None if it can have existed.
        """
        candidates = [
            other
            for other in self._stored(event.name)
            if other.start <= event.end
            and self._may_have_done(other)
            and self._wrote(other, content)
        ]
        if not candidates:
            return Wrong("never written", event, f"{content} was never written there")
        replaced = [self._later(other, event.start) for other in candidates]
        if all(replaced):
            why = f"{content} is there, though it had been replaced or deleted before"
            return Wrong("stale or resurrected", event, why, (*candidates, replaced[0][-1]))
        return None

    def _wrote(self, change: Event, content: str) -> bool:
        if change.operation == "write":
            return change.content == content
        source = Event("", "", "read", change.content, start=change.start, end=change.end)
        return self._check_content(source, content) is None

    def _check_absent(self, event: Event) -> Wrong | None:
        """Return why the object cannot have been absent while `event` was running.

        Return None if it can have been absent.
        """
        certain = [each for each in self._stored(event.name) if self._done_by(each) < event.start]
        if not certain:
            return None
        for delete in self._deletes(event.name):
            if delete.start > event.end or not self._may_have_done(delete):
                continue
            if not any(each.start > self._over_by(delete) for each in certain):
                return None
        why = "there was an object, and nobody had deleted it since"
        return Wrong("lost", event, why, (max(certain, key=lambda each: each.end),))

    def _there_throughout(self, event: Event, name: str) -> Event | None:
        """Return a write that proves that `name` existed from the start of `event` to its end.

        Return None if no write proves it.
        """
        for stored in self._stored(name):
            if self._done_by(stored) < event.start and not any(
                self._over_by(delete) >= stored.start
                for delete in self._deletes(name)
                if delete.start <= event.end and self._may_have_done(delete)
            ):
                return stored
        return None

    def _may_be_there(self, event: Event, name: str) -> bool:
        return any(
            stored.start <= event.end
            and self._may_have_done(stored)
            and not any(
                delete.start > self._over_by(stored) and self._done_by(delete) < event.start
                for delete in self._deletes(name)
            )
            for stored in self._stored(name)
        )

    # Rules per operation.

    def _check_write(self, event: Event) -> list[Wrong]:
        found = []
        if event.outcome in ("IntegrityError", "FormatError", "PolicyError", "ConfigError", ABSENT):
            found.append(Wrong("refused write", event, "nothing of a write gives this error"))
        if event.outcome == "ConflictError" and not event.if_absent:
            found.append(Wrong("refused write", event, "the write had no condition"))
        if _denies(event) and self._may_have_done(event):
            seen = [other for other in self.events if event.content in other.found]
            why = "it was read, though its writer was told that nothing was stored"
            found.append(Wrong("denied write appeared", event, why, tuple(seen)))
        if event.if_absent and event.outcome == OK:
            found += self._check_created(event)
        if event.if_absent and event.outcome == "ConflictError":
            found += self._check_conflict(event)
        return found

    def _check_created(self, event: Event) -> list[Wrong]:
        before = self._there_throughout(event, event.name)
        if before:
            why = "it replaced an object, though it was to create one"
            return [Wrong("if_absent replaced", event, why, (before,))]
        rivals = [
            other
            for other in self._others(event, "write")
            if other.if_absent and other.outcome == OK and other.start >= event.start
        ]
        for rival in rivals:
            first, last = min(event.start, rival.start), max(event.end, rival.end)
            if not any(
                delete.start <= last and self._over_by(delete) >= first
                for delete in self._deletes(event.name)
                if self._may_have_done(delete)
            ):
                why = "two writers created one object"
                return [Wrong("if_absent twice", event, why, (rival,))]
        return []

    def _check_conflict(self, event: Event) -> list[Wrong]:
        """Reject a conflict without a cause.

        There is no cause if the object was absent, and no other write was running.
        """
        absent_since = max(
            (d.start for d in self._deletes(event.name) if self._done_by(d) < event.start),
            default=float("-inf"),
        )
        rivals = [
            other
            for other in self._stored(event.name)
            if other is not event
            and self._may_have_done(other)
            and other.start <= event.end
            and self._over_by(other) >= absent_since
        ]
        if rivals:
            return []
        return [Wrong("conflict with itself", event, "nobody else can have written the object")]

    def _check_delete(self, event: Event) -> list[Wrong]:
        if event.outcome in (OK, FOREIGN, "StorageError", "running"):
            return []
        return [Wrong("refused delete", event, "nothing of a delete gives this error")]

    def _check_copy(self, event: Event) -> list[Wrong]:
        source = Event(
            event.number, event.thread, "read", event.content, start=event.start, end=event.end
        )
        source.outcome, source.message = event.outcome, event.message
        found = self._check_read_error(source)
        return [Wrong(wrong.rule, event, wrong.why, wrong.against) for wrong in found]

    def _check_read(self, event: Event) -> list[Wrong]:
        if event.outcome != OK:
            return self._check_read_error(event)
        found = [self._check_content(event, content) for content in event.found]
        return [wrong for wrong in [*found, self._check_form(event)] if wrong]

    def _check_read_error(self, event: Event) -> list[Wrong]:
        if event.outcome == ABSENT:
            wrong = self._check_absent(event)
            return [wrong] if wrong else []
        if event.outcome in ("IntegrityError", "FormatError", "ConfigError"):
            return [Wrong("good object refused", event, "every object there is whole")]
        if event.outcome in ("PolicyError", "refused") and not self._may_be_refused(event):
            return [Wrong("good object refused", event, "it answers to one of its readers")]
        if event.outcome == "ConflictError" and not self._others(event):
            return [Wrong("conflict with nobody", event, "nobody else changed the object")]
        return []

    def _may_be_refused(self, event: Event) -> bool:
        family = event.name.partition("/")[2].partition("/")[0]
        return family in _OF_SEVERAL_READERS and bool(self._others(event))

    def _check_rotate(self, event: Event) -> list[Wrong]:
        return [] if event.outcome == OK else self._check_read_error(event)

    def _check_needs(self, event: Event) -> list[Wrong]:
        if event.outcome != OK:
            return self._check_read_error(event)
        possible = self._forms(event)
        if event.found == ["no"] and event.form not in possible:
            why = f"it cannot be {event.form}, only {', '.join(sorted(possible))}"
            return [Wrong("wrong form", event, why)]
        if event.found == ["yes"] and possible == {event.form}:
            return [Wrong("wrong form", event, f"it can only be {event.form}")]
        return []

    def _forms(self, event: Event) -> set[str]:
        """Return the forms that the object may have had while `event` was running."""
        makers = [
            change
            for change in self.changes[event.name]
            if change.operation != "delete"
            and change.start <= event.end
            and self._may_have_done(change)
        ]
        certain = [maker for maker in makers if self._done_by(maker) < event.start]
        return {
            maker.form
            for maker in makers
            if not any(later.start > self._over_by(maker) for later in certain)
        }

    def _check_final(self, event: Event) -> list[Wrong]:
        if event.outcome != OK:
            return self._check_read_error(event)
        found = self._check_read(event)
        writer = next((each for each in self.events if each.content in event.found), None)
        if writer and writer.operation == "write" and writer.tagged != event.tagged:
            found.append(Wrong("tags", event, "its tags are not those of its write", (writer,)))
        return found

    def _check_form(self, event: Event) -> Wrong | None:
        possible = self._forms(event)
        if event.form in possible or (event.operation == "read" and not event.form):
            return None
        why = f"it is {event.form or 'in no form'}, not {' or '.join(sorted(possible))}"
        makers = [e for e in self.changes[event.name] if e.form and e.start <= event.end]
        return Wrong("wrong form", event, why, tuple(makers[-3:]))

    def _check_list(self, event: Event) -> list[Wrong]:
        if event.outcome == OK:
            return self._check_names(event)
        if event.outcome in (FOREIGN, "StorageError", "running"):
            return []
        return [Wrong("refused listing", event, "nothing of a listing gives this error")]

    def _check_names(self, event: Event) -> list[Wrong]:
        """Check a listing.

        It must have each name that existed throughout, and no name that never existed.
        """
        found = []
        listed = set(event.found)
        if len(listed) != len(event.found):
            found.append(Wrong("listing", event, "it has a name twice"))
        missing = {
            name: proof
            for name in self.changes
            if name.startswith(event.name) and name not in listed
            if (proof := self._there_throughout(event, name))
        }
        if missing:
            why = f"it lacks {len(missing)} names, as {next(iter(missing))}"
            found.append(Wrong("listing", event, why, tuple(missing.values())))
        invented = [name for name in listed if not self._may_be_there(event, name)]
        if invented:
            found.append(Wrong("listing", event, f"nothing was named {', '.join(invented[:3])}"))
        return found

    def _check_rotate_all(self, event: Event) -> list[Wrong]:
        if event.outcome in (OK, "RotationError"):
            return self._check_names(event)
        return self._check_list(event)


def _denies(event: Event) -> bool:
    """Return whether the operation's outcome says that nothing was stored."""
    if "could not be removed" in event.message:
        return False
    # A copy whose source was absent has stored nothing either.
    return event.outcome in NOTHING_STORED or event.outcome == ABSENT


def count(wrong: list[Wrong]) -> Counter[str]:
    """Return the number of impossible outcomes of each kind."""
    return Counter(each.rule for each in wrong)
