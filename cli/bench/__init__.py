# SPDX-License-Identifier: Apache-2.0
"""`bench`: the limits of this machine, s3crypt's speed on it, and changes since an earlier report.

`s3crypt --help` loads only `command`. `codec`, `files` and `transfers` define the measurements,
`measure` takes them; `report` holds the result, which `terminal` and `page` show and `compare`
reads.
"""

from .command import bench

__all__ = ["bench"]
