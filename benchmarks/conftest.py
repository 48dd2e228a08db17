# SPDX-License-Identifier: Apache-2.0
"""Nothing but the way to suite.py: a type checker takes two files named conftest for one."""

pytest_plugins = ["suite"]
