#!/usr/bin/env bash
# Runs every fuzz test for a short while (FUZZTIME, 10s).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
go=${GO:-go}
found=no
while IFS=: read -r file name; do
	found=yes
	echo "== $(dirname "$file") $name"
	"$go" test -run '^$' -fuzz "^$name\$" -fuzztime "${FUZZTIME:-10s}" "./$(dirname "$file")"
done < <(find . -name '*_test.go' -not -path './tools/*' -not -path './bin/*' -print0 | xargs -0 grep -oHE '^func Fuzz[A-Za-z0-9_]*' | sed 's/func //; s#^\./##')
[[ $found == yes ]] || echo "there are no fuzz tests"
