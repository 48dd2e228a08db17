# SPDX-License-Identifier: Apache-2.0
"""Findings that an owner has accepted for a time, read from a TOML file.

An entry accepts findings that fail. It never accepts an unknown one, and never makes a pass of a
finding. An entry that cannot be read accepts nothing and is reported as a mistake.
"""

import fnmatch
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from s3crypt.errors import ConfigError, LocalFileNotFoundError, StorageError

from .values import Finding, Verdict

_TEXTS = ("id", "control", "resource", "reason", "owner")
_KNOWN = frozenset({*_TEXTS, "expires"})
_MOST_BYTES = 16 * 2**20
_FORM = (
    "A baseline is a list of [[accept]] with control and resource, or id, and with reason, owner "
    "and expires."
)


@dataclass(frozen=True, slots=True)
class Acceptance:
    """One entry of a baseline.

    Attributes:
        reason: Why the findings are accepted.
        owner: Who has accepted them.
        expires: The last day, in UTC, on which they are accepted.
        control: The id of the control; empty where `id` names the finding.
        resource: The ARN of the resource; `*` stands for any text and `?` for one character.
        id: The id of one finding; empty where `control` and `resource` name findings.
    """

    reason: str
    owner: str
    expires: date
    control: str = ""
    resource: str = ""
    id: str = ""

    def accepts(self, finding: Finding) -> bool:
        """Return whether the entry names a finding; whether it has expired is not looked at."""
        if self.id:
            return finding.id == self.id
        same = finding.control.id == self.control
        return same and _pattern(self.resource).fullmatch(finding.resource.arn) is not None

    def __str__(self) -> str:
        """Return what the entry names, for messages."""
        return self.id or f"{self.control} of {self.resource}"


@dataclass(frozen=True, slots=True)
class Baseline:
    """The entries of a file.

    Attributes:
        entries: The entries that could be read, in the order of the file.
        mistakes: Why each of the other entries could not be read, in one sentence.
    """

    entries: tuple[Acceptance, ...] = ()
    mistakes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Applied:
    """What a baseline means for the findings of one run.

    Attributes:
        accepted: The id of each accepted finding, with the entry that accepts it.
        expired: The entries that name failing findings and have expired.
        unmatched: The entries that name no failing finding.
        mistakes: Why the other entries could not be read.
    """

    accepted: Mapping[str, Acceptance]
    expired: tuple[Acceptance, ...] = ()
    unmatched: tuple[Acceptance, ...] = ()
    mistakes: tuple[str, ...] = ()


NOTHING_ACCEPTED = Applied({})


def read_baseline(path: str | Path, controls: Collection[str]) -> Baseline:
    """Return the baseline in a file.

    Args:
        path: The file.
        controls: The ids of all controls; an entry that names another one is a mistake.

    Raises:
        ConfigError: The file is no TOML, or has no list of entries.
        LocalFileNotFoundError: There is no such file.
        StorageError: The file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ConfigError(f"{path}: the baseline is longer than 16 MiB.", hint=_FORM)
        document = tomllib.loads(content.decode("utf-8"))
    except FileNotFoundError as error:
        raise LocalFileNotFoundError(f"{path}: no such file.", hint="Check the path.") from error
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: the baseline is no TOML: {error}.", hint=_FORM) from error
    return _baseline(document, str(path), controls)


def _baseline(document: Mapping[str, Any], path: str, controls: Collection[str]) -> Baseline:
    entries = document.get("accept", [])
    unknown = sorted(document.keys() - {"accept"})
    if unknown or not isinstance(entries, list):
        named = f"has {', '.join(unknown)}" if unknown else "has no list of entries"
        raise ConfigError(f"{path}: the baseline {named}.", hint=_FORM)
    read: list[Acceptance] = []
    mistakes: list[str] = []
    for number, entry in enumerate(entries, 1):
        try:
            read.append(_entry(entry, controls))
        except ConfigError as error:
            mistakes.append(f"Entry {number} of {path} accepts nothing: {error}")
    return Baseline(tuple(read), tuple(mistakes))


def _entry(entry: Any, controls: Collection[str]) -> Acceptance:
    """Return one entry; a ConfigError says why it cannot be read."""
    if not isinstance(entry, Mapping):
        raise ConfigError("it is no table.")
    if unknown := sorted(entry.keys() - _KNOWN):
        raise ConfigError(f"it has {', '.join(unknown)}.")
    for name in _TEXTS:
        if name in entry and not (isinstance(entry[name], str) and entry[name].strip()):
            raise ConfigError(f"its {name} is no text.")
    needed = ["id"] if "id" in entry else ["control", "resource"]
    if missing := [name for name in (*needed, "reason", "owner", "expires") if name not in entry]:
        raise ConfigError(f"it has no {', no '.join(missing)}.")
    if "id" in entry and ("control" in entry or "resource" in entry):
        raise ConfigError("it has an id and a control or resource: only one of them can count.")
    if "control" in entry and entry["control"] not in controls:
        raise ConfigError(f"there is no control {entry['control']}.")
    expires = entry["expires"]
    # A datetime is a date for Python, and has an hour that would not count.
    if type(expires) is not date:
        raise ConfigError("its expires is no date such as 2027-01-31, without quotes.")
    return Acceptance(expires=expires, **{name: entry[name] for name in _TEXTS if name in entry})


def apply_baseline(baseline: Baseline, findings: Iterable[Finding], today: date) -> Applied:
    """Return which of the findings are accepted on a day, and which entries did not count."""
    failing = [finding for finding in findings if finding.verdict is Verdict.FAIL]
    accepted: dict[str, Acceptance] = {}
    expired: list[Acceptance] = []
    unmatched: list[Acceptance] = []
    for entry in baseline.entries:
        named = [finding.id for finding in failing if entry.accepts(finding)]
        if not named:
            unmatched.append(entry)
        elif entry.expires < today:
            expired.append(entry)
        else:
            # Of several entries the first one counts.
            accepted = {**dict.fromkeys(named, entry), **accepted}
    return Applied(accepted, tuple(expired), tuple(unmatched), baseline.mistakes)


def _pattern(text: str) -> re.Pattern[str]:
    # fnmatch's expressions do not go back over what a wildcard took. It knows brackets too.
    return re.compile(fnmatch.translate(text.replace("[", "[[]")))
