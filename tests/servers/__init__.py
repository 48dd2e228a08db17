# SPDX-License-Identifier: Apache-2.0
"""Checks of the promises that s3crypt keeps on an S3 server, and a command that runs them.

pytest collects nothing here; tests/test_server_promises.py runs the checks against the sandbox.
"""
