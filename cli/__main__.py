# SPDX-License-Identifier: Apache-2.0
"""Where the command begins: `s3crypt`, and `python -m s3crypt_cli`, which is the same."""

import sys
from typing import NoReturn

import s3crypt


def main() -> NoReturn:
    """Run the process's command line."""
    # What installers and scripts ask first, and often, does not wait for the rest to load.
    if sys.argv[1:] == ["--version"]:
        try:
            print(f"s3crypt {s3crypt.__version__}", flush=True)  # noqa: T201 - output.py loads more
        except OSError:
            pass  # main knows what to say of a full disk or a closed pipe
        else:
            sys.exit()
    from .main import main as run  # noqa: PLC0415

    run()


if __name__ == "__main__":
    main()
