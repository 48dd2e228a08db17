# SPDX-License-Identifier: Apache-2.0
"""Parts to and from S3: the only module that moves object bytes.

In an upload, a worker owns a part: it reads the part's plaintext run by run, seals it in its one
buffer and sends the buffer. In a download, a worker fetches, opens and writes run by run, in place.
A part is made once and kept until S3 has it, so that a retry sends the same bytes. A put takes
about 3 MiB and one part per worker; parts have 8 MiB for objects of up to 78 GiB. A get takes
about 3 MiB per worker.
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
