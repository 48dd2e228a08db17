# SPDX-License-Identifier: Apache-2.0
"""`s3crypt audit`: judge buckets, keys, policies and objects, and report the findings."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, BinaryIO

import click

from s3crypt.errors import ConfigError

from .audit_options import Asked, arguments_of, audit_options, without_password
from .audit_text import summary, text
from .help import DocumentedCommand
from .jobs import drawn
from .options import Settings, common_options
from .output import Output, print_json, print_line, print_table, say

if TYPE_CHECKING:
    from s3crypt import Journal
    from s3crypt.audit import Auditor
    from s3crypt.audit.baseline import Baseline
    from s3crypt.audit.evidence import Evidence
    from s3crypt.audit.report import Report
    from s3crypt.audit.responsibility import Row
    from s3crypt.audit.values import Coverage, Finding, ObjectVerdict

_HELP = """Judge buckets, keys, policies and objects by the controls, and report failures.

The audit only reads: at most the first bytes of each object, and it unwraps no data key. If it may
not read something, the finding is unknown, never a pass. Each failed finding has the command or the
policy that fixes it.

Named buckets are audited with the keys that they name and with their objects; --account audits
all buckets, keys, trails and IAM policies.

Exit code 3: a finding of the severity --fail-on or above is open. 1: something is unknown.

\b
s3crypt audit acme
s3crypt audit s3://acme/2026/ --sample 1000 --approve client \\
    --approve kms:alias/reports
s3crypt audit --account --format html --output audit.html
"""

# The name of the journal item that stores the time at which the audit began.
_BEGAN = "began"
_JOURNAL_DAYS = 7


@click.command(
    cls=DocumentedCommand, help=_HELP, short_help="Report failed controls, and how to fix them."
)
@audit_options
@common_options(service="aws")
def audit(settings: Settings, *, asked: Asked) -> None:
    """Judge buckets, keys, policies and objects by the controls, and report failures."""
    from s3crypt.audit.baseline import read_baseline  # noqa: PLC0415 - boto3, here and below
    from s3crypt.audit.controls import CONTROLS  # noqa: PLC0415
    from s3crypt.audit.report import exit_code  # noqa: PLC0415
    from s3crypt.audit.values import Severity  # noqa: PLC0415

    asked.check(CONTROLS)
    form = asked.format_for(settings)
    baseline = read_baseline(asked.baseline, CONTROLS) if asked.baseline else None
    with _collecting(asked) as evidence:
        report = _report(settings, asked, baseline, evidence)
        if asked.responsibility:
            _show_responsibility(settings, report)
        else:
            _write(report, form, asked)
        if evidence is not None:
            evidence.finish(report, asked.baseline)
    if not settings.silent and (form != "terminal" or asked.output):
        say(summary(report))
    if code := exit_code(report, Severity.parse(asked.fail_on)):
        raise click.exceptions.Exit(code)


def _collecting(asked: Asked) -> "AbstractContextManager[Evidence | None]":
    from s3crypt.audit.evidence import collecting  # noqa: PLC0415

    return collecting(asked.evidence) if asked.evidence else nullcontext()


def _report(
    settings: Settings, asked: Asked, baseline: "Baseline | None", evidence: "Evidence | None"
) -> "Report":
    """Run the audit and return its report, with the findings of the requested controls."""
    from s3crypt.audit import Auditor  # noqa: PLC0415
    from s3crypt.audit.report import Run, make_report  # noqa: PLC0415

    auditor = Auditor(
        session=settings.session,
        allow_plain_http=settings.allow_plain_http,
        observe=evidence.observe if evidence else None,
    )
    began, identity = datetime.now(UTC), auditor.identity
    account = identity.caller.account or ""
    with ExitStack() as stack:
        found = _Found(asked, settings, account, stack)
        findings = [finding for finding in found.by(auditor) if asked.wants(finding.control.id)]
    run = Run(
        identity=identity.arn,
        account=account,
        region=settings.session.region_name or "",
        arguments=arguments_of(click.get_current_context()),
        began=found.resumed or began,
        ended=datetime.now(UTC),
        objects=tuple(found.covered),
        notes=tuple(found.notes()),
    )
    return make_report(run, findings, baseline)


class _Found:
    """The findings of one command. On a terminal, a progress line shows their number.

    Args:
        asked: The arguments of the command.
        settings: The common settings of the command.
        account: The caller's account.
        stack: The stack that closes the journal, the --list file and the progress line.

    Attributes:
        covered: The number of examined objects per bucket or prefix.
        resumed: When the resumed audit began; None if this audit is new.
    """

    def __init__(self, asked: Asked, settings: Settings, account: str, stack: ExitStack) -> None:
        self._asked = asked
        self._demands = asked.demands(settings)
        told = {"account": account, "keys": [_digest(key) for key in self._demands.key_files]}
        self._journal = stack.enter_context(_journal(asked, settings, told))
        self.resumed = _begin(self._journal)
        self._each = stack.enter_context(_listing(asked))
        self._count = 0
        self.covered: list[Coverage] = []
        self._resources: dict[str, None] = {}
        self._controls: set[str] = set()
        if not settings.silent and sys.stderr.isatty():
            stack.enter_context(drawn(self._line))

    def notes(self) -> Iterator[str]:
        """Yield the notes for the reader of the report, one sentence each."""
        if self.resumed is not None:
            yield (
                f"This audit began on {self.resumed:%Y-%m-%d at %H:%M} UTC and was resumed from "
                "its journal: items that were judged before were not checked again."
            )
        for control in self._asked.control:
            if control not in self._controls:
                yield f"{control} does not apply to any audited resource."

    def by(self, auditor: "Auditor") -> Iterator["Finding"]:
        """Yield an auditor's findings: first on the configuration, then on the objects."""
        for finding in self._all(auditor):
            self._count += 1
            self._resources[finding.resource.arn] = None
            self._controls.add(finding.control.id)
            yield finding

    def _all(self, auditor: "Auditor") -> Iterator["Finding"]:
        asked = self._asked
        yield from auditor.configuration(
            asked.buckets, account=asked.account, journal=self._journal
        )
        for uri in self._uris():
            yield from auditor.objects(
                uri,
                self._demands,
                jobs=asked.jobs,
                journal=self._journal,
                sample=asked.sample,
                inventory=asked.inventory,
                each=self._each,
                covered=self.covered.append,
            )

    def _uris(self) -> Sequence[str]:
        """Return the buckets and prefixes whose objects are judged."""
        asked = self._asked
        if not asked.with_objects:
            return ()
        names = [arn.partition(":s3:::")[2] for arn in self._resources]
        others = [name for name in names if name and "/" not in name and name not in asked.buckets]
        # Judge the objects of buckets that only --account found, if --objects was given.
        return (*asked.uris, *(f"s3://{name}/" for name in others if asked.objects))

    def _line(self, columns: int) -> str:
        return f"audit {self._count:,} findings  {len(self._resources):,} resources"[:columns]


@contextmanager
def _journal(
    asked: Asked, settings: Settings, told: Mapping[str, object]
) -> "Iterator[Journal | None]":
    if asked.journal is None:
        yield None
        return
    from s3crypt import Journal  # noqa: PLC0415 - SQLite takes 10 ms

    names = ("profile", "region", "endpoint_url")
    where = {name: without_password(str(getattr(settings, name))) for name in names}
    job = {"verb": "audit", "asked": asked.told(), **where, **told}
    with Journal.open(asked.journal, job) as journal:
        yield journal


def _begin(journal: "Journal | None") -> datetime | None:
    """Return the time at which the audit in a journal began.

    For a new journal, store the present time and return None.

    Raises:
        ConfigError: The audit began so long ago that the journal's entries may be out of date.
    """
    if journal is None:
        return None
    now, noted = datetime.now(UTC), journal.detail_of(_BEGAN)
    if noted is None:
        journal.note(_BEGAN, _BEGAN, now.isoformat())
        return None
    began = datetime.fromisoformat(noted)
    if now - began > timedelta(days=_JOURNAL_DAYS):
        raise ConfigError(
            f"The audit of this journal began on {began:%Y-%m-%d}: the noted items may have "
            "changed since.",
            hint=f"A journal is valid for {_JOURNAL_DAYS} days. Delete it, or name another file.",
        )
    return began


def _digest(key: bytes) -> str:
    """Return a fingerprint of a key. It reveals nothing about a key with full entropy."""
    return sha256(b"s3crypt audit " + key).hexdigest()[:16]


@contextmanager
def _listing(asked: Asked) -> "Iterator[Callable[[ObjectVerdict], None] | None]":
    """Yield a function that writes an object's verdict to the --list file, or None without it."""
    if asked.list is None:
        yield None
        return
    from s3crypt.files import atomic_write  # noqa: PLC0415 - it loads cryptography

    with atomic_write(asked.list) as file:
        yield lambda verdict: _write_line(file, verdict)


def _write_line(file: BinaryIO, verdict: "ObjectVerdict") -> None:
    file.write(json.dumps(asdict(verdict), default=str).encode() + b"\n")


def _write(report: "Report", form: str, asked: Asked) -> None:
    """Write the report to --output, which appears complete or not at all, or to stdout."""
    chunks = _chunks(report, form)
    if asked.output is not None:
        from s3crypt.files import atomic_write  # noqa: PLC0415 - it loads cryptography

        with atomic_write(asked.output) as file:
            file.writelines(chunk.encode() for chunk in chunks)
    elif form == "terminal":
        for chunk in chunks:
            print_line(chunk.removesuffix("\n"))
    else:
        out = Output()
        for chunk in chunks:
            out.write(chunk.encode())
        out.flush()


def _show_responsibility(settings: Settings, report: "Report") -> None:
    """Print the table of docs/responsibility.md with the verdicts of the audit."""
    from s3crypt.audit.responsibility import fill  # noqa: PLC0415

    rows = fill(report.findings)
    if settings.json:
        for row in rows:
            print_json({**asdict(row.duty), "verdict": row.verdict, "passed": row.passed,
                        "failed": row.failed, "unknown": row.unknown,
                        "judged": row.judged})  # fmt: skip
        return
    headers = ("mode", "duty", "owner", "what", "verdict", "controls")
    cells = [
        (duty.mode, duty.duty, duty.owner, duty.what, row.verdict or "-", _controls(row))
        for row in rows
        for duty in (row.duty,)
    ]
    print_table(headers, cells, folded=True)


def _controls(row: "Row") -> str:
    """Return the controls that were judged, then in parentheses the controls that were not."""
    others = [each for each in row.duty.controls if each not in row.judged]
    left_out = f"(not judged: {', '.join(others)})" if others else ""
    return " ".join(filter(None, (", ".join(row.judged), left_out)))


def _chunks(report: "Report", form: str) -> Iterator[str]:
    if form == "terminal":
        return (f"{line}\n" for line in text(report))
    from s3crypt.audit.rendering import FORMATS  # noqa: PLC0415

    return FORMATS[form](report)
