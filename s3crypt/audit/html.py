# SPDX-License-Identifier: Apache-2.0
"""A report as one HTML page that loads nothing, filters by itself and prints in whole pages.

Every text of the account is escaped. The page's policy lets it run the one script below, by its
hash, and load nothing.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator
from html import escape

from .jsonl import moment
from .page_parts import SCRIPT, STYLE
from .report import STATES, Report, control_order, required_by
from .values import Finding, Resource, Severity

_WORDS = {
    "open": "fails",
    "unknown": "unknown",
    "accepted": "fails, accepted",
    "pass": "passes",
}


def html(report: Report) -> Iterator[str]:
    """Yield the text of the page."""
    title = f"s3crypt audit of account {report.run.account}"
    policy = (
        f"default-src 'none'; style-src {_hash(STYLE)}; script-src {_hash(SCRIPT)}; "
        "base-uri 'none'; form-action 'none'"
    )
    yield f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<meta http-equiv="Content-Security-Policy" content="{_text(policy)}">
<title>{_text(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>{_text(title)}</h1>
"""
    yield from _head(report)
    yield from _filters(report)
    for resource, findings in report.by_resource():
        yield from _resource(report, resource, findings)
    yield f"</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"


def _head(report: Report) -> Iterator[str]:
    run = report.run
    yield f'<p class="sum">{_text(_sentence(report))}</p>\n'
    if notes := report.notes():
        yield f'<div class="notes">{"".join(f"<p>{_text(note)}</p>" for note in notes)}</div>\n'
    rows = {
        "caller": run.identity,
        "Region": run.region,
        "began": moment(run.began),
        "ended": moment(run.ended),
        "tool": f"s3crypt {run.version}, Python {run.python}",
        "arguments": " ".join(run.arguments),
    }
    if run.objects:
        rows["objects"] = "; ".join(map(str, run.objects))
    yield "<details open><summary>The run</summary>\n<dl>"
    yield "".join(
        f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in rows.items()
    )
    yield "</dl></details>\n"


def _sentence(report: Report) -> str:
    counts = report.counts()
    severities = [f"{count:,} {name}" for name, count in report.severities().items() if count]
    worst = f" ({', '.join(severities)})" if severities else ""
    return (
        f"Findings: {counts['open']:,} open{worst}, {counts['unknown']:,} unknown, "
        f"{counts['accepted']:,} accepted, {counts['pass']:,} passed."
    )


def _filters(report: Report) -> Iterator[str]:
    counts, severities = report.counts(), _severities(report.findings)
    yield '<form class="filters" hidden>\n<fieldset><legend>verdict</legend>'
    # Passes are most of a report, and read by few.
    for state in STATES:
        yield _box("state", state, _WORDS[state], counts[state], is_checked=state != "pass")
    yield "</fieldset>\n<fieldset><legend>severity</legend>"
    for severity in reversed(Severity):
        if count := severities.get(severity):
            yield _box("severity", severity.label, severity.label, count, is_checked=True)
    yield "</fieldset>\n<fieldset><legend>which</legend>"
    yield '<label>resource <input name="resource" type="search" autocomplete="off"></label>'
    yield '<label>control <select name="control"><option value="">all</option>'
    for control in sorted({finding.control.id for finding in report.findings}, key=control_order):
        yield f'<option value="{_text(control)}">{_text(control)}</option>'
    yield '</select></label><button type="reset">reset</button></fieldset>\n</form>\n'
    yield f'<p class="shown" aria-live="polite">{len(report.findings):,} findings</p>\n'


def _box(name: str, value: str, words: str, count: int, *, is_checked: bool) -> str:
    checked = " checked" if is_checked else ""
    return (
        f'<label><input type="checkbox" name="{name}" value="{_text(value)}"{checked}> '
        f"{_text(words)} <b>{count:,}</b></label>"
    )


def _severities(findings: Iterable[Finding]) -> dict[Severity, int]:
    counted: dict[Severity, int] = {}
    for finding in findings:
        counted[finding.control.severity] = counted.get(finding.control.severity, 0) + 1
    return counted


def _resource(report: Report, resource: Resource, findings: Iterable[Finding]) -> Iterator[str]:
    where = ", ".join(part for part in (resource.kind, resource.region, resource.account) if part)
    yield f'<section data-resource="{_text(resource.arn.lower())}">\n'
    yield f'<h2>{_text(resource.arn)} <span class="kind">{_text(where)}</span></h2>\n'
    for finding in findings:
        yield _finding(report, finding)
    yield "</section>\n"


def _finding(report: Report, finding: Finding) -> str:
    state, severity = report.state(finding), finding.control.severity.label
    opened = (
        f'<article id="f{finding.id}" class="{state} {severity}" data-state="{state}" '
        f'data-severity="{severity}" data-control="{_text(finding.control.id)}">\n'
    )
    head = (
        f'<h3><span class="tag">{_text(_WORDS[state])}</span> '
        f'<span class="tag level">{severity}</span> '
        f"<b>{_text(finding.control.id)}</b> {_text(finding.control.title)}</h3>\n"
    )
    seen = f"<p>{_text(finding.seen)}</p>\n"
    return "".join((opened, head, seen, *_rest(report, finding), "</article>\n"))


def _rest(report: Report, finding: Finding) -> Iterator[str]:
    """Yield the facts of a finding, and what mends it."""
    facts = [(name, value) for name, value in _facts(report, finding) if value]
    if facts:
        pairs = (f"<div><dt>{n}</dt><dd>{_text(v)}</dd></div>" for n, v in facts)
        yield f"<dl>{''.join(pairs)}</dl>\n"
    if finding.examples:
        items = "".join(f"<li><code>{_text(name)}</code></li>" for name in finding.examples)
        yield f'<p class="label">objects, for example</p><ul>{items}</ul>\n'
    if finding.fix:
        yield f'<p class="label">mend it with</p><pre>{_lines(finding.fix.text)}</pre>\n'


def _facts(report: Report, finding: Finding) -> Iterator[tuple[str, str]]:
    state = report.state(finding)
    if state != "pass":
        yield "why", finding.control.why
    yield "since", moment(finding.since) if finding.since else ""
    yield "objects", report.numbers(finding)
    if finding.is_claimed:
        yield "claimed", "The writers of the objects chose the metadata that this rests on."
    yield "needs", ", ".join(finding.missing_actions)
    if entry := report.acceptance(finding):
        yield "accepted", f"by {entry.owner} until {entry.expires}: {entry.reason}"
    if state != "pass":
        yield "asked by", required_by(finding.control.requirements)


def _lines(text: str) -> str:
    return "\n".join(map(_text, text.split("\n")))


def _text(text: str) -> str:
    """Return a text escaped for HTML; a character that could hide or reorder text is spelled."""
    return escape(
        "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
