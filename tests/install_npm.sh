#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Install the dependencies in FOLDER/package.json into a folder of the user's cache, once per version of PACKAGE, and
# print that folder. If WHERE is given and not empty, it is used instead. Needs Node.js with npm.
#
#   tests/install_npm.sh FOLDER PACKAGE [WHERE]
set -euo pipefail

manifest=$1/package.json package=$2
version=$(sed -n 's|^ *"'"$package"'": "\([^"]*\)",\{0,1\}$|\1|p' "$manifest")
folder=${3:-${XDG_CACHE_HOME:-$HOME/.cache}/s3crypt-tests/${package##*/}-$version}
if [ ! -e "$folder/installed" ]; then
  mkdir -p "$folder"
  cp "$manifest" "$folder"
  npm install --prefix "$folder" --no-audit --no-fund --silent >&2
  touch "$folder/installed"
fi
echo "$folder"
