# SPDX-License-Identifier: Apache-2.0
"""A report: the samples, the machine, and the missing measurements; to JSON and back.

docs/command.md documents the JSON. A change of the JSON must raise VERSION.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from s3crypt.errors import ConfigError

from .machine import Machine
from .measure import LESS_IS_BETTER, Sample, Spread, Subject
from .transfers import Endpoint

SCHEMA = "s3crypt-bench"
VERSION = 1
# Share of the cores that other processes may use before the report mentions it.
_QUIET = 0.1


@dataclass(frozen=True, slots=True)
class Missing:
    """A measurement that was not taken, and the reason."""

    group: str
    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """One run of `s3crypt bench`.

    Attributes:
        taken: The time of the run in UTC, ISO 8601.
        seconds: The duration of the run.
        files_on: The type of the file system of the measured files.
        endpoint: The service of the transfers, if any were measured.
    """

    taken: str
    seconds: float
    machine: Machine
    versions: Mapping[str, str]
    samples: tuple[Sample, ...]
    missing: tuple[Missing, ...] = ()
    files_on: str = ""
    endpoint: Endpoint | None = None

    def of_group(self, group: str) -> tuple[Sample, ...]:
        """Return the samples of a group, in the order in which they were taken."""
        return tuple(sample for sample in self.samples if sample.subject.group == group)

    def remarks(self) -> tuple[str, ...]:
        """Return remarks on the limits of the figures."""
        said = [network_remark(self.endpoint)]
        if self.is_disturbed:
            server = ", the server among them" if self.is_loopback else ""
            said.append(
                f"Other processes took {self.machine.others} of {self.machine.cores} cores "
                f"meanwhile{server}. Figures are better, and lie closer, where all is quiet."
            )
        return tuple(said)

    @property
    def is_disturbed(self) -> bool:
        """Whether other processes used so much CPU time that the figures are unreliable."""
        return (self.machine.others or 0) > _QUIET * self.machine.cores

    @property
    def is_loopback(self) -> bool:
        """Whether the transfers went to a server on this machine."""
        return self.endpoint is not None and self.endpoint.kind == "loopback"


def network_remark(endpoint: Endpoint | None) -> str:
    """Return a remark on the figures that depend on a network."""
    if endpoint is None:
        return "Nothing here touched a network: all figures are of this machine alone."
    where = f"The transfers went to {endpoint.host}"
    rest = "All else touched no network."
    if endpoint.kind == "loopback":
        return (
            f"{where}, on this machine: they are loopback figures, not AWS, and the server's "
            f"own work is in them. {rest}"
        )
    if endpoint.kind == "other":
        return f"{where}, which is not AWS: the network and that server are in them. {rest}"
    return f"{where}: the network and S3 are in them. {rest}"


def to_json(report: Report) -> dict[str, Any]:
    """Return the report as the JSON object that docs/command.md documents."""
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "taken": report.taken,
        "seconds": report.seconds,
        "remarks": list(report.remarks()),
        "machine": asdict(report.machine),
        "versions": dict(report.versions),
        "files_on": report.files_on,
        "endpoint": asdict(report.endpoint) if report.endpoint else None,
        "samples": [_sample_to_json(sample) for sample in report.samples],
        "missing": [asdict(missing) for missing in report.missing],
    }


def load(path: Path) -> Report:
    """Read a report that `--json` printed.

    Raises:
        ConfigError: The file is not a report, or is of another version.
    """
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"Cannot read {path}: {error.strerror}.", hint="Name the file of an earlier --json."
        ) from error
    except ValueError as error:
        raise _no_report(path) from error
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        raise _no_report(path)
    if value.get("version") != VERSION:
        raise ConfigError(
            f"{path} is a report of version {value.get('version')!r}; this s3crypt compares "
            f"version {VERSION}.",
            hint="Take both reports with the same version of s3crypt.",
        )
    try:
        return _from_json(value)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _no_report(path) from error


def _no_report(path: Path) -> ConfigError:
    return ConfigError(
        f"{path} is not a report of s3crypt bench.", hint="Make one: s3crypt bench --json > FILE"
    )


def _from_json(value: dict[str, Any]) -> Report:
    endpoint = value["endpoint"]
    return Report(
        taken=str(value["taken"]),
        seconds=float(value["seconds"]),
        machine=_from(Machine, value["machine"]),
        versions={str(name): str(text) for name, text in value["versions"].items()},
        samples=tuple(_sample_from_json(sample) for sample in value["samples"]),
        missing=tuple(_from(Missing, missing) for missing in value["missing"]),
        files_on=str(value["files_on"]),
        endpoint=_from(Endpoint, endpoint) if endpoint else None,
    )


def _from(kind: Any, value: dict[str, Any]) -> Any:
    """Return an instance with these fields; unknown fields, of a later s3crypt, are dropped."""
    return kind(**{name: value[name] for name in kind.__dataclass_fields__ if name in value})


def _sample_to_json(sample: Sample) -> dict[str, Any]:
    return {
        **asdict(sample.subject),
        "better": "less" if sample.subject.unit in LESS_IS_BETTER else "more",
        **asdict(sample.spread),
        "of_limit": asdict(sample.of_limit) if sample.of_limit else None,
        "of_one_thread": asdict(sample.of_one_thread) if sample.of_one_thread else None,
    }


def _sample_from_json(value: dict[str, Any]) -> Sample:
    of_limit, of_one_thread = value["of_limit"], value["of_one_thread"]
    return Sample(
        subject=_from(Subject, value),
        spread=_spread(value),
        of_limit=_spread(of_limit) if of_limit else None,
        of_one_thread=_spread(of_one_thread) if of_one_thread else None,
    )


def _spread(value: dict[str, Any]) -> Spread:
    median, q1, q3, least, most = (
        float(value[name]) for name in ("median", "q1", "q3", "least", "most")
    )
    return Spread(median, q1, q3, least, most, int(value["rounds"]))
