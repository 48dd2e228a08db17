# SPDX-License-Identifier: Apache-2.0
"""Runs one command line of s3crypt in a process of its own, and prints its memory use.

    python -m s3crypt_cli.bench.child encrypt IN OUT --key ...

Prints the peak RSS in bytes, or 0 if the system does not report it. wait4's figure is unsuitable:
on Linux it is never below the peak RSS of the parent process.
"""

import sys
from contextlib import suppress
from pathlib import Path

from ..main import run


def _peak() -> int:
    with suppress(OSError, IndexError):
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    with suppress(ImportError):
        import resource  # noqa: PLC0415 - Unix only

        if sys.platform == "darwin":
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return 0


if __name__ == "__main__":
    code = run(sys.argv[1:])
    sys.stdout.write(f"{_peak()}\n")
    sys.exit(code)
