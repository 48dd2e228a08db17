# SPDX-License-Identifier: Apache-2.0
"""Work on many objects, with a limited number in progress, and an outcome for each item.

`window` runs the work in parallel, `sources` finds files, `targets` assigns paths to objects,
`filters` selects names, and `journal` stores the outcomes. The operations on objects are in
`objects` and `rotation`.
"""

from .filters import EVERY_NAME, NOTHING_SELECTED, NameFilter, selected
from .journal import Journal
from .order import run_in_order
from .sources import FoundFile, Unusable, files_below
from .targets import TargetFolder
from .window import Outcome, at_least_one, journaled, run, telling

__all__ = [
    "EVERY_NAME",
    "NOTHING_SELECTED",
    "FoundFile",
    "Journal",
    "NameFilter",
    "Outcome",
    "TargetFolder",
    "Unusable",
    "at_least_one",
    "files_below",
    "journaled",
    "run",
    "run_in_order",
    "selected",
    "telling",
]
