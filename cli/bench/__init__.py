# SPDX-License-Identifier: Apache-2.0
"""`bench`: what this machine can do, what s3crypt makes of it, and what became of it since.

`command` is all that `s3crypt --help` loads. `codec`, `files` and `transfers` say what is measured,
`measure` how; `report` holds the result, which `terminal` and `page` show and `compare` reads.
"""

from .command import bench

__all__ = ["bench"]
