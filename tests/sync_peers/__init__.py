# SPDX-License-Identifier: Apache-2.0
"""Generated trees, and how aws-cli, rclone and s3crypt synchronise them."""
