#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Install Microsoft's sarif-multitool (MIT), with which a test validates the audit's SARIF, into a folder of the
# user's cache, and print the folder. No part of it is shipped. Needs Node.js with npm.
set -euo pipefail
cd "$(dirname "$0")"

../install_npm.sh . @microsoft/sarif-multitool "${S3CRYPT_FORMAT_ORACLE:-}"
