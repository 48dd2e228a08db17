# SPDX-License-Identifier: Apache-2.0
"""The command of this checkout and of another commit, by one interpreter and one environment."""

import os
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import against
import workload
from workload import BenchmarkError

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Checkout:
    """A commit's files.

    Attributes:
        name: What tables call it.
        path: Where they are.
        folder: Has the command's package under its installed name, and the AWS configuration.
    """

    name: str
    path: Path
    folder: Path

    def command(self, *words: str | Path) -> tuple[str | Path, ...]:
        """Return the command line of `s3crypt WORDS`, to be run in `environment`."""
        # -P: no module of the working directory may stand in for one of a package.
        return (sys.executable, "-P", "-m", "s3crypt_cli", *words)

    def environment(self, endpoint_url: str) -> dict[str, str]:
        """Return an environment with this checkout's packages, led to a server."""
        return {
            **against.environment(self.path, self.folder),
            "PYTHONPATH": f"{self.path}{os.pathsep}{self.folder}",
            "AWS_ENDPOINT_URL": endpoint_url,
        }

    def takes(self, verb: str, option: str) -> bool:
        """Return whether the command has an option."""
        return option in _help(self, verb)

    def check(self) -> None:
        """Refuse a folder whose library is not the one that is imported there.

        Raises:
            BenchmarkError: Another s3crypt would be measured.
        """
        asks = "import s3crypt, s3crypt_cli; print(s3crypt.__file__, s3crypt_cli.__file__)"
        said = workload.output([sys.executable, "-P", "-c", asks], self.environment("")).split()
        wanted = [str(self.path / "s3crypt"), str(self.folder / "s3crypt_cli")]
        if not all(map(str.startswith, said, wanted)):
            raise BenchmarkError(f"{', '.join(said)} was imported, not what is in {self.path}")


@cache
def _help(checkout: Checkout, verb: str) -> str:
    return workload.output(checkout.command(verb, "--help"), checkout.environment(""))


def _checkout(name: str, path: Path, folder: Path) -> Checkout:
    folder.mkdir()
    # A checkout has the command's package under another name than an installation.
    (folder / "s3crypt_cli").symlink_to(path / "cli")
    made = Checkout(name, path, folder)
    made.check()
    return made


def checkouts(commit: str | None, folder: Path) -> list[Checkout]:
    """Return this checkout, and another commit's where one is named; `folder` gets its files.

    Raises:
        BenchmarkError: There is no such commit.
    """
    found = [_checkout("ours", _HERE.parent, folder / "ours")]
    if commit:
        other = folder / "commit"
        other.mkdir()
        name = against.extract(commit, other)
        found.append(_checkout(name, other, folder / "theirs"))
    return found
