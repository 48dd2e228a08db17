# SPDX-License-Identifier: Apache-2.0
"""An operator's script that moves all objects below a prefix to another key.

    python examples/rotate_prefix.py s3://acme/2026/ kms:alias/reports kms:alias/reports-2027 \
        rotation.journal report.csv

The report has one row per object. The exit code is 0 if every object is under the new key, 1 if an
object failed, and 2 if the job could not be done at all. Run the same line again after a failure or
an interrupt: the journal has the finished objects, and the script skips them.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from pathlib import Path

from s3crypt import ClientSide, Journal, S3Crypt, S3CryptError


def rotate(prefix: str, keys: tuple[str, str], journal: Journal, report: Path) -> Counter[str]:
    """Rotate a prefix from the first key to the second; return the number of objects per action."""
    old, new = keys
    store, counts = S3Crypt(ClientSide(old)), Counter[str]()
    with report.open("a", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        for outcome in store.many.rotate(prefix, to=ClientSide(new), journal=journal):
            counts[outcome.action] += 1
            error = "" if outcome.error is None else str(outcome.error)
            rows.writerow([outcome.uri, outcome.action, outcome.bytes_moved, error])
            if outcome.error is not None:
                print(outcome.error, outcome.error.hint or "", file=sys.stderr)
    return counts


def main(arguments: list[str]) -> int:
    """Rotate a prefix with a journal and a report; return the exit code."""
    prefix, old, new, journal, report = arguments
    # The journal refuses to resume another job than the one that it was made for.
    job = {"verb": "rotate", "prefix": prefix, "from": old, "to": new}
    try:
        with Journal.open(journal, job) as noted:
            counts = rotate(prefix, (old, new), noted, Path(report))
    except S3CryptError as error:
        print(error, error.hint or "", file=sys.stderr)
        return 2
    print(", ".join(f"{count} {action}" for action, count in sorted(counts.items())) or "no object")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
