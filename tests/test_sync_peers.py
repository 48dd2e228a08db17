# SPDX-License-Identifier: Apache-2.0
"""The rule by which sync treats each name, compared with other tools on generated trees.

`python tests/sync_peers/compare.py 500` compares more trees, and prints where the tools differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sync_peers import tools
from sync_peers.compare import compare

if TYPE_CHECKING:
    from pathlib import Path

_MISSING = [name for name in ("aws", "rclone") if tools.path_of(name) is None]


def test_each_name_is_decided_by_the_rule(bucket: str, s3: Any, tmp_path: Path) -> None:
    """In 40 trees per direction, sync treats each name by the rule, with and without filters."""
    found = compare(s3, bucket, tmp_path, count=40, variants=tools.VARIANTS, chosen=["ours"])
    assert (found.trees, found.off_rule) == (40, [])
    assert found.names > 200


@pytest.mark.skipif(bool(_MISSING), reason=f"not installed: {', '.join(_MISSING)}")
def test_what_both_peers_do_is_done(bucket: str, s3: Any, tmp_path: Path) -> None:
    """If aws-cli and rclone treat a name alike, sync does the same."""
    found = compare(s3, bucket, tmp_path, count=40, variants=tools.VARIANTS[:2])
    assert (found.trees, found.against) == (40, [])
    assert found.agreed > 200
    # The comparison must also have met names that the tools treat differently.
    assert found.table
