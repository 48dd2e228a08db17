# SPDX-License-Identifier: Apache-2.0
"""`python -m s3crypt_cli` is `s3crypt`."""

from .main import main

if __name__ == "__main__":
    main()
