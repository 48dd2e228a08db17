# SPDX-License-Identifier: Apache-2.0
"""Read reports of a bucket's objects that AWS writes, and draw random samples of the objects.

    manifest = read_manifest(objects, "s3://reports/acme-data/daily/2026-04-12T01-00Z/manifest.json")
    for part in manifest.parts:
        with opened_part(objects, manifest, part) as file:
            for batch in batches(manifest, file, prefix=""):
                print(batch.statuses())

A report is read in bounded memory, and its checksums are verified. The package does not judge
whether an object is encrypted as it should be.
"""

from .batch import BATCH_ROWS, Amount, Batch, Group, Row, as_batch, mode_of
from .bounds import Bounds, Sizes, bounds, byte_bounds
from .manifest import Format, Manifest, Part, opened_part, read_manifest
from .metadata_tables import TABLE_LAG, Export, ExportFile, find_export
from .reading import Unreadable, readable_batches, without_subject
from .rows import batches
from .sampling import Reservoir

__all__ = [
    "BATCH_ROWS",
    "TABLE_LAG",
    "Amount",
    "Batch",
    "Bounds",
    "Export",
    "ExportFile",
    "Format",
    "Group",
    "Manifest",
    "Part",
    "Reservoir",
    "Row",
    "Sizes",
    "Unreadable",
    "as_batch",
    "batches",
    "bounds",
    "byte_bounds",
    "find_export",
    "mode_of",
    "opened_part",
    "read_manifest",
    "readable_batches",
    "without_subject",
]
