# SPDX-License-Identifier: Apache-2.0
"""The entry point of `python -m s3crypt`: the command `s3crypt`."""

from s3crypt_cli.__main__ import main

if __name__ == "__main__":
    main()
