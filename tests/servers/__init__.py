# SPDX-License-Identifier: Apache-2.0
"""Which S3 server holds which promise of s3crypt: checks, and a command that runs them.

pytest collects nothing here; tests/test_server_promises.py runs the checks against the sandbox.
"""
