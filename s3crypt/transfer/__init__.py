# SPDX-License-Identifier: Apache-2.0
"""Transfer parts to and from S3. This is the only package that moves object bytes.

In an upload, each worker makes whole parts: it reads a part's plaintext in runs, seals the runs
into its buffer and sends the buffer. In a download, each worker fetches a section in runs, opens
each run and writes the plaintext at its offset. A part is made once and kept until S3 has it, so a
retry sends the same bytes. A put needs about 3 MiB and one part per worker. A part has 8 MiB for
objects of up to 78 GiB. A get needs about 3 MiB per worker.
"""

from .checksums import Checksums, crc_of, full_object_crc
from .download import Sink, download, fetch, pour
from .marks import Mark
from .parts import MAX_PART_LENGTH, MAX_PARTS, PART_LENGTH, part_length
from .stream import ObjectStream
from .upload import MAX_COPY_LENGTH, CopySource, Progress, Upload, copy_inside_s3, upload
from .whole import WholeStream

__all__ = [
    "MAX_COPY_LENGTH",
    "MAX_PARTS",
    "MAX_PART_LENGTH",
    "PART_LENGTH",
    "Checksums",
    "CopySource",
    "Mark",
    "ObjectStream",
    "Progress",
    "Sink",
    "Upload",
    "WholeStream",
    "copy_inside_s3",
    "crc_of",
    "download",
    "fetch",
    "full_object_crc",
    "part_length",
    "pour",
    "upload",
]
