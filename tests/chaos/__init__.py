# SPDX-License-Identifier: Apache-2.0
"""Commands that break the network on purpose and compare every outcome with what is true.

pytest collects nothing here; tests/test_chaos.py runs the commands briefly.
"""
