# SPDX-License-Identifier: Apache-2.0
"""Commands that break the network on purpose, and check every outcome.

pytest collects nothing here; tests/test_chaos.py runs the commands briefly.
"""
