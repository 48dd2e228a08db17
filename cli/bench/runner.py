# SPDX-License-Identifier: Apache-2.0
"""One run of `bench`: takes the measurements in the given time, and outputs the report."""

import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import s3crypt
from s3crypt.errors import ConfigError
from s3crypt.files import atomic_write

from ..files import check_folder
from ..options import Settings
from ..output import print_json, say
from . import codec, files, machine, report, transfers
from .compare import Comparison, compare
from .compare import to_json as comparison_to_json
from .measure import Record, size_name
from .report import Missing, Report
from .terminal import show

# Shares of the time; each part passes unused time on to the following parts.
_WITHOUT_S3 = {"codec": 0.6, "files": 0.4}
_WITH_S3 = {"codec": 0.35, "files": 0.2, "transfers": 0.45}

Tell = Callable[[str], None]


def run(
    settings: Settings,
    *,
    seconds: float,
    uri: str | None,
    kms_key: str | None,
    html: Path | None,
    old: Path | None,
) -> None:
    """Measure, compare, and output the report in every requested form."""
    # Options are checked before any time is spent on measuring.
    before = report.load(old) if old else None
    if html is not None:
        _check_page(html)
    tell: Tell = (lambda _text: None) if settings.silent else say
    measured = _measure(settings, seconds, uri, kms_key, tell)
    comparison = compare(before, measured) if before else None
    if html is not None:
        _write_page(html, measured, comparison)
        tell(f"wrote {html}")
    if settings.json:
        print_json(_json(measured, comparison))
    else:
        show(measured, comparison)


def _json(measured: Report, comparison: Comparison | None) -> Mapping[str, object]:
    compared = comparison_to_json(comparison) if comparison else None
    return report.to_json(measured) | {"comparison": compared}


def _check_page(html: Path) -> None:
    if find_spec("matplotlib") is None:
        raise ConfigError(
            "--html needs matplotlib for its plots.", hint="pip install 's3crypt[report]'"
        )
    if html.is_dir():
        raise ConfigError(f"{html} is a directory.", hint=f"Name a file: {html / 'bench.html'}")
    check_folder(html)


def _write_page(html: Path, measured: Report, comparison: Comparison | None) -> None:
    from .page import page  # noqa: PLC0415 - matplotlib may be missing, and is slow to load

    text = page(measured, comparison)
    with atomic_write(html) as file:
        file.write(text.encode())


def _measure(
    settings: Settings, seconds: float, uri: str | None, kms_key: str | None, tell: Tell
) -> Report:
    taken, started = datetime.now(UTC), time.perf_counter()
    others = machine.Others()
    with tempfile.TemporaryDirectory(prefix="s3crypt-bench-") as name:
        taking = _Taking(Path(name), seconds, machine.cores(), tell)
        if uri is None:
            taking.local(_WITHOUT_S3)
            endpoint = None
        else:
            endpoint = taking.all(settings, uri, kms_key)
        return Report(
            taken=taken.isoformat(timespec="seconds"),
            seconds=round(time.perf_counter() - started, 1),
            machine=machine.describe(others.cores()),
            versions=machine.versions(),
            samples=taking.record.samples(),
            missing=tuple(taking.missing),
            files_on=files.filesystem(Path(name)),
            endpoint=endpoint,
        )


class _Taking:
    """Takes the parts of one run. Each part gets its share of the remaining time."""

    def __init__(self, folder: Path, seconds: float, cores: int, tell: Tell) -> None:
        self.record = Record()
        self.missing: list[Missing] = []
        self._folder = folder
        self._deadline = time.perf_counter() + seconds
        self._cores = cores
        self._tell = tell

    def all(self, settings: Settings, uri: str, kms_key: str | None) -> transfers.Endpoint:
        """Take all measurements, including transfers below `uri`; return the transfers' service."""
        transfers.check_uri(uri)
        chosen = transfers.modes(settings, kms_key)
        store = s3crypt.S3Crypt(
            session=settings.session,
            allow_plain_http=settings.allow_plain_http,
            expected_bucket_owner=settings.expected_bucket_owner,
            request_payer=settings.request_payer,
        )
        endpoint = transfers.endpoint(store, uri)
        made = transfers.Transfers(store, uri, chosen.usable, self._folder)
        with made.removing():
            self._tell(f"transfers: to {endpoint.host}, below {made.prefix}")
            made.probe()
            self.local(_WITH_S3)
            sizes = made.measure(self.record, seconds=self._share("transfers", _WITH_S3))
        self._miss("transfers", dict(chosen.missing) | made.refused)
        self._miss("transfers", {size_name(size): why for size, why in sizes.items()})
        return endpoint

    def local(self, shares: Mapping[str, float]) -> None:
        """Take the measurements that need no network."""
        seconds = self._share("codec", shares)
        codec.measure(self.record, cores=self._cores, seconds=seconds)
        seconds = self._share("files", shares)
        sizes = files.measure(self.record, self._folder, seconds=seconds)
        self._miss("files", {size_name(size): why for size, why in sizes.items()})

    def _share(self, part: str, shares: Mapping[str, float]) -> float:
        parts = list(shares)
        rest = sum(shares[name] for name in parts[parts.index(part) :])
        seconds = max(0.0, self._deadline - time.perf_counter()) * shares[part] / rest
        self._tell(f"{part}: about {max(seconds, 1):.0f} s")
        return seconds

    def _miss(self, group: str, reasons: Mapping[str, str]) -> None:
        self.missing += [Missing(group, what, reason) for what, reason in reasons.items()]
