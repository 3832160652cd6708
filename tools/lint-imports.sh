#!/usr/bin/env bash
# Checks the import rules of .depguard.json on a checkout (default: this one).
# depguard matches globs against absolute paths, so a checkout that lies in a
# folder called "cmd" or "internal" would confuse it: the rules are anchored at
# the checkout first, and depguard finds them in a scratch workspace.
set -euo pipefail
home=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
root=$(cd "${1:-.}" && pwd -P)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
sed -e "s#\"\\(!\\{0,1\\}\\)\\*\\*/#\"\\1$root/#g" "$home/.depguard.json" >"$scratch/.depguard.json"
printf 'go %s\nuse %s\n' "$(awk '$1 == "go" {print $2}' "$root/go.mod")" "$root" >"$scratch/go.work"
cd "$scratch"
env -u GOFLAGS GOWORK="$scratch/go.work" "$home/bin/depguard" drctl/...
