#!/usr/bin/env bash
# Every package has a line in docs/architecture.md, and every package that is
# named there exists.
set -euo pipefail
cd "${1:-$(dirname "${BASH_SOURCE[0]}")/..}"
page=docs/architecture.md
named=$(sed -n '/^## The packages/,/^## Who knows what/p' "$page" | sed -n 's/^| \(`[^|]*\) |.*/\1/p' | grep -o '`[^`]*`' | tr -d '`' | sort -u)
there=$("${GO:-go}" list ./... | sed -e 's,^drctl/,,' -e 's,^internal/,,' | sort -u)
bad=0
for p in $(comm -13 <(echo "$named") <(echo "$there")); do
	# restore holds nothing but its rooms
	[[ $p == restore ]] && continue
	echo "$page: no line for package $p" >&2
	bad=1
done
for p in $(comm -23 <(echo "$named") <(echo "$there")); do
	echo "$page: there is no package $p" >&2
	bad=1
done
exit $bad
