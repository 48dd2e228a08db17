# SPDX-License-Identifier: Apache-2.0
"""Work on many objects: a lazy source of items, a bounded window of work, an outcome for each.

`window` runs the work in parallel, `sources` finds files, `targets` assigns paths to objects, and
`filters` selects names, and
`journal` stores the outcomes. The verbs themselves are in `objects` and `rotation`.
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
