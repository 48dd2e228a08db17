#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Install iam-simulate, which the tests of policies compare with, into a folder of the user's cache, and print
# the folder. It is under the AGPL and a tool of the tests: nothing of it is shipped. Needs Node.js with npm.
set -euo pipefail
cd "$(dirname "$0")"

version=$(sed -n 's|^ *"@cloud-copilot/iam-simulate": "\(.*\)",$|\1|p' package.json)
folder=${S3CRYPT_POLICY_ORACLE:-${XDG_CACHE_HOME:-$HOME/.cache}/s3crypt-tests/iam-simulate-$version}
if [ ! -e "$folder/installed" ]; then
  mkdir -p "$folder"
  cp package.json "$folder"
  npm install --prefix "$folder" --no-audit --no-fund --silent >&2
  touch "$folder/installed"
fi
echo "$folder"
