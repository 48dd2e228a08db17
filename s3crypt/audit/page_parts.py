# SPDX-License-Identifier: Apache-2.0
"""The style and the script of the report's page: constants, which hold no text of a report."""

STYLE = """
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

SCRIPT = """
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
