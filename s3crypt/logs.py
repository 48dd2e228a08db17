# SPDX-License-Identifier: Apache-2.0
"""The library's loggers, below `s3crypt`: one per module that makes decisions, with its name.

docs/logging.md lists their records. Records contain locations, operations, codes and counts, and
never bytes, keys, metadata or the text of a failure, which may quote the sent bytes.

This code is not in `s3crypt/__init__.py`, so that `s3crypt --version` need not import `logging`,
which takes 10 ms.
"""

import logging

# Without this handler, Python prints warnings on stderr in programs that do not set up logging.
logging.getLogger("s3crypt").addHandler(logging.NullHandler())


def logger_of(module: str) -> logging.Logger:
    """Return the logger of a module, quiet until the application adds a handler."""
    return logging.getLogger(module)
