# SPDX-License-Identifier: Apache-2.0
"""Load suite.py, which has the fixtures: mypy does not accept two modules named conftest."""

pytest_plugins = ["suite"]
