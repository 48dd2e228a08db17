# SPDX-License-Identifier: Apache-2.0
"""Memory, files, sources of bytes and threads on this machine.

Nothing here knows S3 or a cipher.
"""
