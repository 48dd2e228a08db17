# SPDX-License-Identifier: Apache-2.0
"""The style sheet of the page, for screens of any width and for paper."""

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: #1f2328; line-height: 1.5;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }
main { max-width: 96rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 0 0 .75rem; }
section { margin-top: 2.5rem; }
p { margin: .4rem 0; max-width: 60rem; }
.taken, .note { color: #59636e; }
.note { font-size: .9em; }
.box { max-width: 62rem; margin: 1rem 0; padding: .5rem 1rem;
  border-left: 4px solid #0072b2; background: #f3f7fa; }
.short { padding-left: 1.2rem; }
.plots { display: grid; gap: 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 27rem), 1fr)); }
figure { margin: 0; }
main > figure { margin: 1.25rem 0; }
main > figure svg { max-width: 64rem; }
.plots svg { max-width: 40rem; }
figure svg { display: block; width: 100%; height: auto; }
.plots { margin-bottom: 1.25rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92em; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem .25rem 0; text-align: right; white-space: nowrap;
  border-bottom: 1px solid #d8dee4; vertical-align: top; }
th { font-weight: 600; }
thead th { border-bottom: 2px solid #8c959f; }
.text, .pairs th { text-align: left; }
.pairs td { white-space: normal; overflow-wrap: anywhere; }
.better { color: #00664b; font-weight: 600; }
.worse { color: #a33f00; font-weight: 600; }
@media (max-width: 30rem) {
  table { font-size: .8em; }
  th, td { padding-right: .5rem; }
}
@page { size: A4; margin: 14mm; }
@media print {
  body { font-size: 10pt; }
  main { max-width: none; padding: 0; }
  section { margin-top: 1.4rem; }
  h1 { font-size: 16pt; }
  h2 { font-size: 12.5pt; break-after: avoid; }
  .plots { grid-template-columns: 1fr 1fr; gap: .6rem; }
  figure, tr, .box, p, li { break-inside: avoid; }
  .scroll { overflow: visible; }
  .plots { margin-bottom: .4rem; }
  table { font-size: 8.5pt; }
  th, td { padding: .1rem .7rem .1rem 0; }
  .pairs, .whole { break-inside: avoid; }
  thead { display: table-header-group; }
  .box { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
"""
