# SPDX-License-Identifier: Apache-2.0
"""A hook of MkDocs: the site has pages from outside docs/, and no link to a file without a page.

The repository's pages are plain Markdown for repository browsers. This module adapts them when the
site is built, and changes no file.
"""

import logging
import re
from collections.abc import Iterator
from os.path import normpath, relpath
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
# A page outside docs/ -> its name in the site.
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "benchmark-suite.md",
    "tests/servers/README.md": "test-servers.md",
}
# Elements whose source a browser loads.
_LOADED = re.compile(
    r"<(?:script|link|img|iframe|source|video|audio|object)\b[^>]*"
    r"\b(?:src|href|data)=[\"']?((?:https?:)?//[^\"'>\s]+)"
)
_log = logging.getLogger("mkdocs.hooks.site_pages")
_FENCE = re.compile(r" *(```|~~~)")
_ITEM = re.compile(r"( *)([-*+]|\d+\.) +")
_LINK = re.compile(r"(`[^`]*`)|\[([^][]+)\]\(([^)\s:#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside docs/."""
    for path, name in OUTSIDE.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, *, page: Any, files: Files, **_: Any) -> str:
    """Adapt a page's links and lists to the site."""
    name: str = page.file.src_uri
    paths = {site: path for path, site in OUTSIDE.items()}
    folder = PurePosixPath(paths.get(name, f"docs/{name}")).parent
    pages = {f"docs/{file.src_uri}": file.src_uri for file in files} | OUTSIDE

    def adapted(link: re.Match[str]) -> str:
        code, text, target, anchor = link.groups()
        if code:
            return str(code)
        path = normpath(folder / target)
        site = pages.get(path) or pages.get(f"{path}/README.md")
        if site:
            return f"[{text}]({relpath(site, PurePosixPath(name).parent)}{anchor or ''})"
        if not (ROOT / path).exists():
            _log.warning("%s links to %s, which does not exist", name, path)
        # The site has no page for the file: the reader sees its path in the repository.
        return f"`{path}`" if text.strip("`") in (target, path) else f"{text} (`{path}`)"

    # A link's text may go over the end of a line, so that paragraphs are replaced as a whole.
    return "\n".join(
        text if is_code else _LINK.sub(adapted, text) for is_code, text in _parts(markdown)
    )


def on_post_page(output: str, *, page: Any, **_: Any) -> str:
    """Warn of each file that a browser would load from another host; the site is built strictly."""
    for url in _LOADED.findall(output):
        _log.warning("%s would load %s", page.file.src_uri, url)
    return output


def _parts(markdown: str) -> Iterator[tuple[bool, str]]:
    """Yield the page's text and its code blocks in turn; the former with deeper nested lists.

    Python-Markdown needs an indent of four columns within a list, where others need two or three.
    """
    lines: list[str] = []
    in_code, indent = False, 0
    for line in markdown.splitlines():
        if _FENCE.match(line):
            if not in_code:
                yield False, "\n".join(lines)
                lines = []
            lines.append(line)
            in_code = not in_code
            if not in_code:
                yield True, "\n".join(lines)
                lines = []
            continue
        if in_code:
            lines.append(line)
            continue
        indent = _indent_after(line, indent)
        deeper = len(line) - len(line.lstrip())
        levels = max(1, deeper // indent) if indent and deeper else 0
        lines.append(" " * 4 * levels + line.lstrip() if levels else line)
    yield in_code, "\n".join(lines)


def _indent_after(line: str, indent: int) -> int:
    """Return the column of a list item's text, 0 outside lists; `indent` is the line before's."""
    item = _ITEM.match(line)
    if item and not item[1]:
        return len(item[0])
    return indent if item or not line.strip() or line.startswith(" ") else 0
