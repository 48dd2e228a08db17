#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Install Microsoft's sarif-multitool (MIT), with which a test validates the audit's SARIF, into a folder of the
# user's cache, and print the folder. Nothing of it is shipped. Needs Node.js with npm.
set -euo pipefail
cd "$(dirname "$0")"

version=$(sed -n 's|^ *"@microsoft/sarif-multitool": "\(.*\)"$|\1|p' package.json)
folder=${S3CRYPT_FORMAT_ORACLE:-${XDG_CACHE_HOME:-$HOME/.cache}/s3crypt-tests/sarif-multitool-$version}
if [ ! -e "$folder/installed" ]; then
  mkdir -p "$folder"
  cp package.json "$folder"
  npm install --prefix "$folder" --no-audit --no-fund --silent >&2
  touch "$folder/installed"
fi
echo "$folder"
