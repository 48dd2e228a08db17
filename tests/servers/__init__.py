# SPDX-License-Identifier: Apache-2.0
"""Which promises of s3crypt does an S3 server keep: checks, and a command that runs them.

pytest collects nothing here; tests/test_server_promises.py runs the checks against the sandbox.
"""
