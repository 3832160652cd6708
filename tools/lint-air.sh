#!/usr/bin/env bash
# Functions are paragraphs: a blank line before each step that a comment could
# head. With -fix it puts them there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rules=(-allow-whole-block -disable assign,decl,append,defer)
if [[ ${1:-} == -fix ]]; then
	exec bin/wsl -fix "${rules[@]}" ./...
fi
bin/wsl "${rules[@]}" ./... || { echo "put blank lines between steps: tools/lint-air.sh -fix"; exit 1; }
