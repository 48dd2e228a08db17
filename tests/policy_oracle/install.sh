#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Install iam-simulate, with which the policy tests compare decisions, into a folder of the user's cache, and print
# the folder. It is licensed under the AGPL and used by tests only: no part of it is shipped. Needs Node.js with npm.
set -euo pipefail
cd "$(dirname "$0")"

../install_npm.sh . @cloud-copilot/iam-simulate "${S3CRYPT_POLICY_ORACLE:-}"
