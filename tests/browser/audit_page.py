# SPDX-License-Identifier: Apache-2.0
"""Check the audit's page in headless Chromium. The test suites do not run this command.

    apt-get install -y chromium poppler-utils && pip install playwright
    python tests/browser/audit_page.py FOLDER

It fails on an error in the console, a request, a filter that shows the wrong findings, and a page
break within a finding in the PDF. FOLDER then has screenshots and the PDF for inspection.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))

import audit_report_samples as samples

from s3crypt.audit.baseline import Baseline
from s3crypt.audit.html import html
from s3crypt.audit.report import Report, make_report
from s3crypt.audit.values import Finding, Resource, Verdict

# The flags keep Chromium from requesting its own updates: the network may be closed.
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def many() -> Report:
    """Return the samples' report with findings of 60 more buckets, so that it has many pages."""
    more: list[Finding] = []
    for number in range(60):
        bucket = Resource("bucket", f"arn:aws:s3:::team-{number:02}", samples.ACCOUNT, "eu-west-1")
        more += [
            samples.finding("S3.5", resource=bucket, fix=samples.FINDINGS[0].fix),
            samples.finding("S3.14", Verdict.PASS, bucket),
            samples.finding("S3CRYPT.7", Verdict.UNKNOWN, bucket, missing_actions=("kms:X",)),
        ]
    return make_report(samples.run(), [*samples.FINDINGS, *more], Baseline((samples.ACCEPTED,)))


def check(folder: Path) -> None:
    """Open the page in light and dark colours, use its filters, and print it to PDF."""
    report = many()
    path = folder / "audit.html"
    path.write_text("".join(html(report)), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=_FLAGS)
        for scheme in ("light", "dark"):
            page = browser.new_page(color_scheme=scheme, viewport={"width": 1200, "height": 900})
            said: list[str] = []
            asked: list[str] = []
            page.on("console", lambda message, said=said: said.append(message.text))
            page.on("pageerror", lambda error, said=said: said.append(str(error)))
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.goto(path.as_uri())
            page.screenshot(path=folder / f"{scheme}.png")
            _use_filters(page, report)
            assert said == [], said
            assert asked == [path.as_uri()], asked
        page.set_viewport_size({"width": 390, "height": 844})
        page.reload()
        page.screenshot(path=folder / "narrow.png")
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390, f"the page is {wide} pixels wide on a narrow screen"
        page.check('input[value="pass"]')
        page.pdf(path=folder / "audit.pdf", prefer_css_page_size=True, print_background=True)
        browser.close()
    _check_pdf(folder / "audit.pdf", report)


def _use_filters(page: Any, report: Report) -> None:
    """Set each filter, and compare the findings that are shown with those of the report."""

    def shown() -> int:
        return int(page.locator("article:visible").count())

    found = report.findings
    assert shown() == sum(report.state(each) != "pass" for each in found)
    page.check('input[value="pass"]')
    assert shown() == len(found)
    page.select_option('select[name="control"]', "S3.5")
    assert shown() == sum(each.control.id == "S3.5" for each in found)
    page.fill('input[name="resource"]', "TEAM-07")
    assert shown() == 1
    assert page.locator("section:visible").count() == 1
    assert page.inner_text(".shown").startswith("1 of ")
    page.fill('input[name="resource"]', "no such")
    assert shown() == 0
    page.click('button[type="reset"]')
    page.wait_for_function("document.querySelector('select').value === ''")
    assert shown() == sum(report.state(each) != "pass" for each in found)
    for box in ("medium", "high"):
        page.uncheck(f'input[value="{box}"]')
    left = [
        each
        for each in found
        if report.state(each) != "pass" and each.control.severity.label not in ("medium", "high")
    ]
    assert shown() == len(left)
    page.click('button[type="reset"]')


def _check_pdf(path: Path, report: Report) -> None:
    """Check that each page of the PDF ends with a complete finding, and no finding is missing."""
    done = subprocess.run(["pdftotext", "-layout", path, "-"], capture_output=True, check=True)
    pages = done.stdout.decode().removesuffix("\f").split("\f")
    print(f"{path}: {len(pages)} pages")  # noqa: T201
    text = re.sub(r"\s+", "", done.stdout.decode())
    for each in report.findings:
        assert re.sub(r"\s+", "", each.control.title) in text, each.control.id
    for page in pages[1:]:
        first = next(line for line in page.splitlines() if line.strip())
        begins = re.match(r"\s*(arn:|fails|unknown|passes|y{20})", first)
        assert begins, f"a page of the PDF begins within a finding: {first}"


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    check(target)
