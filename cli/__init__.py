# SPDX-License-Identifier: Apache-2.0
"""The command `s3crypt`: options, transcripts and exit codes over the library's public names."""
