#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Install iam-simulate, which the tests of policies compare with, into a folder of the user's cache, and print
# the folder. It is under the AGPL and a tool of the tests: nothing of it is shipped. Needs Node.js with npm.
set -euo pipefail
cd "$(dirname "$0")"

../install_npm.sh . @cloud-copilot/iam-simulate "${S3CRYPT_POLICY_ORACLE:-}"
