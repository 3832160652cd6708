#!/usr/bin/env bash
# Checks the sizes of packages, files and functions: lint-sizes.sh [-shrink|-list]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export GOWORK=off
args=("$@" "$(cd .. && pwd)")
[[ ${1:-} == -list ]] || args+=("$PWD/lint-sizes.exceptions")
exec "${GO:-go}" run ./lint-sizes "${args[@]}"
