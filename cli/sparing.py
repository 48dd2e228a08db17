# SPDX-License-Identifier: Apache-2.0
"""A filter of names that also leaves out the command's own key files.

`selection.sparing` imports this module only for a command with key files, because the library's
filters load SQLite.
"""

import glob
import posixpath
from collections.abc import Callable
from dataclasses import dataclass, field

from s3crypt import NameFilter

from .own_keys import OwnKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class SparingFilter(NameFilter):
    """A filter that never selects a name whose path below a folder leads to a key file.

    The name may be that of a file in the folder, or of an object that would become such a file.

    Attributes:
        folder: The local folder.
        keys: The key files.
        report: Is called once for each name that is left out, with its path and the reason.
        paths: The names of the key files below the folder.
        left_out: The names that were left out so far.
    """

    folder: str
    keys: OwnKeys
    report: Callable[[str, str], None]
    paths: frozenset[str]
    left_out: set[str] = field(default_factory=set, compare=False)

    def selects(self, name: str) -> bool:
        """Return whether the filter selects a name. If the name leads to a key, say so."""
        if not NameFilter.selects(self, name):
            return False
        path = posixpath.join(self.folder, name.lstrip("/"))
        if posixpath.normpath(name) not in self.paths and not self.keys.is_inode_of(path):
            return True
        if name not in self.left_out:
            self.left_out.add(name)
            self.report(path, "a key of this command")
        return False

    def __bool__(self) -> bool:
        """Return whether the filter has rules or a pattern, or has left out a key file."""
        return NameFilter.__bool__(self) or bool(self.left_out)

    def __str__(self) -> str:
        keys = [f"--exclude {glob.escape(name)}" for name in sorted(self.left_out)]
        return " ".join(filter(None, [NameFilter.__str__(self), *keys]))
