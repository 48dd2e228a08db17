# SPDX-License-Identifier: Apache-2.0
"""One command line of s3crypt in a process of its own, which says how much memory it took.

    python -m s3crypt_cli.bench.child encrypt IN OUT --key ...

Prints the peak RSS in bytes, or 0 where the system does not tell. Not wait4's figure, which on
Linux is never below that of the process that started this one.
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
