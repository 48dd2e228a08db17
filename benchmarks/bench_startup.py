# SPDX-License-Identifier: Apache-2.0
"""How long does a command take to print its first output?"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import commands
import peers
import pytest
import workload

if TYPE_CHECKING:
    from collections.abc import Callable

    from suite import Measure

COMMANDS: dict[str, Callable[[], list[str]]] = {
    "python -c pass": lambda: [sys.executable, "-c", "pass"],
    "import s3crypt": lambda: [sys.executable, "-c", "import s3crypt"],
    "import S3Crypt": lambda: [sys.executable, "-c", "from s3crypt import S3Crypt"],
    "s3crypt --version": lambda: [commands.s3crypt_path(), "--version"],
    "s3crypt --help": lambda: [commands.s3crypt_path(), "--help"],
    "s3crypt put --help": lambda: [commands.s3crypt_path(), "put", "--help"],
    "age --version": lambda: [peers.PEERS["age"].path(), "--version"],
    "aws-encryption-cli --version": lambda: [
        peers.PEERS["aws-encryption-cli"].path(),
        "--version",
    ],
    "s5cmd version": lambda: [peers.PEERS["s5cmd"].path(), "version"],
    "rclone version": lambda: [peers.PEERS["rclone"].path(), "version"],
}


@pytest.mark.parametrize("words", COMMANDS)
def bench_startup(measure: Measure, words: str) -> None:
    """Measure one command from its start to its end."""
    command = COMMANDS[words]()
    environment = workload.environment()
    measure(lambda: workload.run(command, environment), group="start-up", command=words)
