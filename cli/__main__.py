# SPDX-License-Identifier: Apache-2.0
"""The entry point of the command `s3crypt`, and of `python -m s3crypt_cli`."""

import gc
import sys
from typing import NoReturn

import s3crypt


def main() -> NoReturn:
    """Run the process's command line."""
    # Installers and scripts often ask for the version, so it is printed before the rest is loaded.
    if sys.argv[1:] in (["--version"], ["-V"]):
        try:
            print(f"s3crypt {s3crypt.__version__}", flush=True)  # noqa: T201 - output.py loads more
        except OSError:
            pass  # main reports a full disk or a closed pipe
        else:
            sys.exit()
    # By default the garbage collector runs 200 times during the imports. It takes a tenth of the
    # start time and finds no garbage. Later garbage is only the reference cycles of requests, so
    # rare runs are enough.
    gc.set_threshold(50_000)
    from .main import main as run  # noqa: PLC0415

    run()


if __name__ == "__main__":
    main()
