# SPDX-License-Identifier: Apache-2.0
"""The library's loggers: one a module that decides something, named after it, below `s3crypt`.

docs/logging.md lists what they log. Records have locations, operations, codes and counts in them,
never bytes, keys, metadata or the text of a failure, which may quote what was sent.

Not in the package itself: `s3crypt --version` does not wait for `logging`, which takes 10 ms.
"""

import logging

# Otherwise Python prints warnings on stderr in programs that set up no logging.
logging.getLogger("s3crypt").addHandler(logging.NullHandler())


def logger_of(module: str) -> logging.Logger:
    """Return the logger of a module, quiet until the application adds a handler."""
    return logging.getLogger(module)
