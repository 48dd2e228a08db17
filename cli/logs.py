# SPDX-License-Identifier: Apache-2.0
"""The output of -v and --debug: the records of s3crypt's loggers, one line each on stderr.

Records of boto3 and the packages below it are not printed.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from .output import say

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _Talk(logging.Handler):
    """Prints records like all talk on stderr: escaped, one line each, above a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record; if stderr is not writable, the command continues without it."""
        with suppress(OSError):
            say(self.format(record))


def are_printed() -> bool:
    """Return whether records are printed: -v or --debug was given."""
    return any(isinstance(each, _Talk) for each in logging.getLogger("s3crypt").handlers)


@contextmanager
def printing(level: str) -> Iterator[None]:
    """Print the records of this level and above; nested calls use the lower of their levels."""
    logger = logging.getLogger("s3crypt")
    before = logger.level
    handlers = [] if are_printed() else [_Talk()]
    for handler in handlers:
        handler.setFormatter(logging.Formatter(_FORMAT))
        logger.addHandler(handler)
    logger.setLevel(min(before or logging.CRITICAL, logging.getLevelNamesMapping()[level]))
    try:
        yield
    finally:
        logger.setLevel(before)
        for handler in handlers:
            logger.removeHandler(handler)
