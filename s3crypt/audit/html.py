# SPDX-License-Identifier: Apache-2.0
"""A report as one self-contained HTML page, with filters and a style for print.

Every text from the account is escaped. The page's content security policy allows only the style and
the script in this module, by their hashes. The page loads no other resource.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator
from html import escape

from .jsonl import moment
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
        f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; "
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
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{_text(title)}</h1>
"""
    yield from _head(report)
    yield from _filters(report)
    for resource, findings in report.by_resource():
        yield from _resource(report, resource, findings)
    yield f"</main>\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"


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
    # Passed findings are hidden at first: they are the majority, and few readers want to see them.
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
    """Yield the facts of a finding, its example objects and its fix."""
    facts = [(name, value) for name, value in _facts(report, finding) if value]
    if facts:
        pairs = (f"<div><dt>{n}</dt><dd>{_text(v)}</dd></div>" for n, v in facts)
        yield f"<dl>{''.join(pairs)}</dl>\n"
    if finding.examples:
        items = "".join(f"<li><code>{_text(name)}</code></li>" for name in finding.examples)
        yield f'<p class="label">objects, for example</p><ul>{items}</ul>\n'
    if finding.fix:
        yield f'<p class="label">fix it with</p><pre>{_lines(finding.fix.text)}</pre>\n'


def _facts(report: Report, finding: Finding) -> Iterator[tuple[str, str]]:
    state = report.state(finding)
    if state != "pass":
        yield "why", finding.control.why
    yield "since", moment(finding.since) if finding.since else ""
    yield "objects", report.numbers(finding)
    if finding.is_claimed:
        yield "claimed", "This finding relies on metadata that the objects' writers chose."
    yield "needs", ", ".join(finding.missing_actions)
    if entry := report.acceptance(finding):
        yield "accepted", f"by {entry.owner} until {entry.expires}: {entry.reason}"
    if state != "pass":
        yield "asked by", required_by(finding.control.requirements)


def _lines(text: str) -> str:
    return "\n".join(map(_text, text.split("\n")))


def _text(text: str) -> str:
    """Return a text escaped for HTML.

    Unprintable characters, which could hide or reorder text, are shown as Python escapes.
    """
    return escape(
        "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


# The style and the script are constants, which contain no text from a report.
_STYLE = """
:root { color-scheme: light dark; --ground: #fff; --text: #1f2328; --soft: #59636e;
  --line: #d8dee4; --box: #f6f8fa; --critical: #a40e26; --high: #bc4c00; --medium: #7d5a00;
  --low: #0860a8; --good: #136c34; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #0d1117; --text: #e6edf3; --soft: #9aa4af; --line: #30363d; --box: #161b22;
    --critical: #ff8182; --high: #ffa657; --medium: #e3b341; --low: #79c0ff; --good: #56d364; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; line-height: 1.35; margin: 0 0 .6rem; overflow-wrap: anywhere;
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
h3 { font-size: 1rem; font-weight: 400; line-height: 1.45; margin: 0 0 .3rem; }
.kind { color: var(--soft); font-weight: 400; font-size: .85em; white-space: nowrap; }
p { margin: .3rem 0; max-width: 60rem; overflow-wrap: anywhere; }
.sum { font-size: 1.05rem; }
.notes { margin: .8rem 0; padding: .3rem .9rem; border-left: 4px solid var(--high);
  background: var(--box); }
summary { cursor: pointer; color: var(--soft); }
dl { margin: .3rem 0; }
dl div { display: flex; gap: .8rem; }
dt { flex: 0 0 5.5rem; color: var(--soft); }
dd { margin: 0; flex: 1; min-width: 0; overflow-wrap: anywhere; }
.filters { display: flex; flex-wrap: wrap; gap: .3rem 1.6rem; margin: 1rem 0 0; padding: .6rem 0;
  background: var(--ground); border-bottom: 1px solid var(--line); }
@media (min-width: 48rem) and (min-height: 36rem) {
  .filters { position: sticky; top: 0; z-index: 1; }
}
.filters[hidden] { display: none; }
fieldset { display: flex; flex-wrap: wrap; align-items: center; gap: .2rem .9rem; margin: 0;
  padding: 0; border: 0; min-width: 0; }
legend { float: left; padding: 0; margin-right: .2rem; color: var(--soft); }
label { white-space: nowrap; }
input[type="search"], select, button { font: inherit; color: inherit; background: var(--box);
  border: 1px solid var(--line); border-radius: .3rem; padding: .1rem .5rem; max-width: 100%; }
button { cursor: pointer; }
.shown { color: var(--soft); margin: .6rem 0 0; }
section { margin-top: 1.8rem; }
article { margin: 0 0 .6rem; padding: .5rem .9rem; background: var(--box);
  border: 1px solid var(--line); border-left: 4px solid var(--soft); border-radius: .3rem; }
[hidden] { display: none; }
.tag { display: inline-block; padding: 0 .45rem; border: 1px solid currentColor;
  border-radius: .8rem; font-size: .8em; color: var(--soft); }
.open.critical { border-left-color: var(--critical); }
.open.high { border-left-color: var(--high); }
.open.medium { border-left-color: var(--medium); }
.open.low, .open.informational { border-left-color: var(--low); }
.open.critical .tag { color: var(--critical); }
.open.high .tag { color: var(--high); }
.open.medium .tag { color: var(--medium); }
.open.low .tag, .open.informational .tag { color: var(--low); }
.pass { border-left-color: var(--good); }
.pass .tag:first-child { color: var(--good); }
.label { color: var(--soft); margin-bottom: 0; }
ul { margin: 0; padding-left: 1.3rem; }
code, pre { font: .88em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
code { overflow-wrap: anywhere; }
pre { margin: .2rem 0; padding: .5rem .7rem; overflow-x: auto; background: var(--ground);
  border: 1px solid var(--line); border-radius: .3rem; }
@page { size: A4; margin: 14mm; }
@media print {
  :root { color-scheme: light; --ground: #fff; --text: #1f2328; --soft: #59636e;
    --line: #d8dee4; --box: #fff; --critical: #a40e26; --high: #bc4c00; --medium: #7d5a00;
    --low: #0860a8; --good: #136c34; }
  body { font-size: 9.5pt; }
  main { max-width: none; padding: 0; }
  h1 { font-size: 15pt; }
  h2 { font-size: 10.5pt; break-after: avoid; }
  h3, .label { break-after: avoid; }
  .filters { display: none; }
  section { margin-top: 1rem; }
  article, .notes, dl div, li { break-inside: avoid; }
  article { padding: .3rem .6rem; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; overflow: visible; }
}
"""

_SCRIPT = """
"use strict";
const form = document.querySelector(".filters");
const shown = document.querySelector(".shown");
const sections = [...document.querySelectorAll("section")].map((section) => ({
  section, resource: section.dataset.resource, articles: [...section.querySelectorAll("article")],
}));
const total = sections.reduce((sum, each) => sum + each.articles.length, 0);
const checked = (name) => new Set(
  [...form.querySelectorAll(`input[name="${name}"]:checked`)].map((box) => box.value));
function filter() {
  const states = checked("state"), severities = checked("severity");
  const text = form.elements.resource.value.trim().toLowerCase();
  const control = form.elements.control.value;
  let count = 0;
  for (const { section, resource, articles } of sections) {
    let inside = 0;
    for (const article of articles) {
      const { state, severity } = article.dataset;
      article.hidden = !(states.has(state) && severities.has(severity) && resource.includes(text)
        && (control === "" || article.dataset.control === control));
      inside += !article.hidden;
    }
    section.hidden = inside === 0;
    count += inside;
  }
  shown.textContent = `${count.toLocaleString("en")} of ${total.toLocaleString("en")} findings`;
}
form.addEventListener("input", filter);
form.addEventListener("reset", () => setTimeout(filter));
form.addEventListener("submit", (event) => event.preventDefault());
form.hidden = false;
filter();
"""
