# SPDX-License-Identifier: Apache-2.0
"""The formats of a report, by name."""

from collections.abc import Callable, Iterator, Mapping

from .asff import asff
from .html import html
from .jsonl import jsonl
from .ocsf import ocsf
from .report import Report
from .sarif import sarif

FORMATS: Mapping[str, Callable[[Report], Iterator[str]]] = {
    "jsonl": jsonl,
    "sarif": sarif,
    "asff": asff,
    "ocsf": ocsf,
    "html": html,
}
"""Name of a format -> the function that yields the text of a report in pieces."""
