# SPDX-License-Identifier: Apache-2.0
"""The baseline: a TOML file with failed findings that an owner accepts until a date.

An entry accepts failed findings. It never accepts an unknown finding, and it never turns a finding
into a pass. An invalid entry accepts nothing and is reported as a mistake.
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
        owner: The person or team that has accepted the findings.
        expires: The last day, in UTC, on which the findings are accepted.
        control: The id of the control; empty if `id` names the finding.
        resource: The ARN of the resource, in which `*` stands for any text and `?` for one
            character.
        id: The id of one finding; empty if `control` and `resource` name the findings.
    """

    reason: str
    owner: str
    expires: date
    control: str = ""
    resource: str = ""
    id: str = ""

    def accepts(self, finding: Finding) -> bool:
        """Return whether the entry names a finding. The expiry date is not checked."""
        if self.id:
            return finding.id == self.id
        same = finding.control.id == self.control
        return same and _pattern(self.resource).fullmatch(finding.resource.arn) is not None

    def __str__(self) -> str:
        """Return the id of the finding, or the control and the resource.

        Messages show this text.
        """
        return self.id or f"{self.control} of {self.resource}"


@dataclass(frozen=True, slots=True)
class Baseline:
    """The entries of a file.

    Attributes:
        entries: The valid entries, in the order of the file.
        mistakes: One sentence per invalid entry: the reason why it is invalid.
    """

    entries: tuple[Acceptance, ...] = ()
    mistakes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Applied:
    """A baseline applied to the findings of one run.

    Attributes:
        accepted: The id of each accepted finding, with the entry that accepts it.
        expired: The entries that name failed findings and have expired.
        unmatched: The entries that name no failed finding.
        mistakes: One sentence per invalid entry: the reason why it is invalid.
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
        controls: The ids of all controls; an entry with an unlisted id is a mistake.

    Raises:
        ConfigError: The file is longer than 16 MiB, is not TOML, or has no list of entries.
        LocalFileNotFoundError: The file does not exist.
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
        raise ConfigError(
            f"{path}: the baseline is not valid TOML: {error}.", hint=_FORM
        ) from error
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
    """Return one entry. An invalid entry raises a ConfigError with the reason."""
    if not isinstance(entry, Mapping):
        raise ConfigError("it is not a table.")
    if unknown := sorted(entry.keys() - _KNOWN):
        raise ConfigError(f"it has {', '.join(unknown)}.")
    for name in _TEXTS:
        if name in entry and not (isinstance(entry[name], str) and entry[name].strip()):
            raise ConfigError(f"its {name} is not a text.")
    needed = ["id"] if "id" in entry else ["control", "resource"]
    if missing := [name for name in (*needed, "reason", "owner", "expires") if name not in entry]:
        raise ConfigError(f"it has no {', no '.join(missing)}.")
    if "id" in entry and ("control" in entry or "resource" in entry):
        raise ConfigError(
            "it has an id and also a control or resource: give the id alone, or control and "
            "resource."
        )
    if "control" in entry and entry["control"] not in controls:
        raise ConfigError(f"there is no control {entry['control']}.")
    expires = entry["expires"]
    # `isinstance` would also accept a datetime, whose time of day would then be ignored.
    if type(expires) is not date:
        raise ConfigError("its expires is not a date. Write it as 2027-01-31, without quotes.")
    return Acceptance(expires=expires, **{name: entry[name] for name in _TEXTS if name in entry})


def apply_baseline(baseline: Baseline, findings: Iterable[Finding], today: date) -> Applied:
    """Return the findings that are accepted on a day, and the entries that had no effect."""
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
            # If several entries name a finding, the first entry accepts it.
            accepted = {**dict.fromkeys(named, entry), **accepted}
    return Applied(accepted, tuple(expired), tuple(unmatched), baseline.mistakes)


def _pattern(text: str) -> re.Pattern[str]:
    # fnmatch makes patterns with atomic groups, so wildcards do not backtrack. Brackets are
    # escaped, because fnmatch would treat them as wildcards.
    return re.compile(fnmatch.translate(text.replace("[", "[[]")))
