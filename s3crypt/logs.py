# SPDX-License-Identifier: Apache-2.0
"""The loggers of the library. Their names begin with `s3crypt`.

A module that logs has its own logger with the module's name. docs/logging.md lists the records.
Records contain locations, operations, error codes and counts. They never contain bytes, keys,
metadata, or the text of an error, which may quote bytes that were sent.

This code is not in `s3crypt/__init__.py`, because `s3crypt --version` must not import `logging`,
which takes 10 ms.
"""

import logging

# Without this handler, Python prints warnings to stderr in programs that do not set up logging.
logging.getLogger("s3crypt").addHandler(logging.NullHandler())


def logger_of(module: str) -> logging.Logger:
    """Return the logger of a module. It prints nothing until the application adds a handler."""
    return logging.getLogger(module)
