# SPDX-License-Identifier: Apache-2.0
"""Generated trees, and functions that synchronise them with aws-cli, rclone and s3crypt."""
