# SPDX-License-Identifier: Apache-2.0
"""How long does a command take to encrypt or decrypt a file in memory, from start to end?

Each command has its default settings: `age` has a key from age-keygen, `aws-encryption-cli` has a
key in the sandbox's KMS (one request per file), `s3crypt` has an AES key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import commands
import pytest
import workload
from workload import size_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from suite import Measure

_MIB, _GIB = 2**20, 2**30
SIZES = (_MIB, 64 * _MIB, _GIB)
PROGRAMS = ("s3crypt", "age", "aws-encryption-cli")


@pytest.fixture(scope="session")
def kms() -> Iterator[commands.Kms]:
    """Run a sandbox for its KMS."""
    with commands.sandboxed_kms() as found:
        yield found


@pytest.fixture
def files(folder: Path, size: int) -> Path:
    """Return a folder that has a source file of this size."""
    made = folder / f"files-{size}"
    made.mkdir(exist_ok=True)
    if not (made / "source").exists():
        workload.make_source(made / "source", size)
    return made


def _command(
    program: str, verb: str, files: Path, request: pytest.FixtureRequest
) -> commands.Command:
    source = files / "source"
    if program == "age":
        return commands.age_file(files, source, verb)
    if program == "aws-encryption-cli":
        return commands.aws_file(files, source, verb, request.getfixturevalue("kms"))
    return commands.s3crypt_file(files, source, verb)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("verb", ["encrypt", "decrypt"])
@pytest.mark.parametrize("size", SIZES, ids=size_name)
def bench_file(
    measure: Measure,
    files: Path,
    request: pytest.FixtureRequest,
    program: str,
    verb: str,
    size: int,
) -> None:
    """Measure one command from its start to its end."""
    command = _command(program, verb, files, request)
    command.clear()
    peaks = []
    measure(
        lambda: peaks.append(command.run().peak_rss),
        before=command.clear,
        group=f"{verb} {size_name(size)}",
        size=size,
        rounds=5,
        direction=verb,
        program=program,
        peak_rss=peaks,
    )
    command.clear()
