# SPDX-License-Identifier: Apache-2.0
"""Run the command of this checkout and of another commit, with the same Python and packages."""

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
    """The files of a commit, or of this checkout.

    Attributes:
        name: The name in tables.
        path: The folder of the files.
        folder: A folder with the AWS configuration and with the command's package, under the name
            that it has when it is installed.
    """

    name: str
    path: Path
    folder: Path

    def command(self, *words: str | Path) -> tuple[str | Path, ...]:
        """Return the command line of `s3crypt WORDS`.

        It must run in this checkout's `environment`.
        """
        # With -P, a module in the working directory cannot replace one of a package.
        return (sys.executable, "-P", "-m", "s3crypt_cli", *words)

    def environment(self, endpoint_url: str) -> dict[str, str]:
        """Return an environment with this checkout's packages, and this URL as AWS's endpoint."""
        return {
            **against.environment(self.path, self.folder),
            "PYTHONPATH": f"{self.path}{os.pathsep}{self.folder}",
            "AWS_ENDPOINT_URL": endpoint_url,
        }

    def takes(self, verb: str, option: str) -> bool:
        """Return whether the subcommand `verb` has an option."""
        return option in _help(self, verb)

    def check(self) -> None:
        """Check that the environment of this checkout imports the packages of this checkout.

        Raises:
            BenchmarkError: Another s3crypt is imported.
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
    # The command's package is `cli` in a checkout and `s3crypt_cli` in an installation.
    (folder / "s3crypt_cli").symlink_to(path / "cli")
    made = Checkout(name, path, folder)
    made.check()
    return made


def checkouts(commit: str | None, folder: Path) -> list[Checkout]:
    """Return this checkout and, if `commit` is given, the other commit, extracted to `folder`.

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
