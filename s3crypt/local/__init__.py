# SPDX-License-Identifier: Apache-2.0
"""This machine: memory, files, sources of bytes and threads. Nothing here knows S3 or a cipher."""
