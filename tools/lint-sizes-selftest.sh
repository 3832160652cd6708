#!/usr/bin/env bash
# Sees the size rules fail: too large without an exception, larger than its
# exception, and an exception that leaves room to grow into.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export GOWORK=off
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${GO:-go}" build -o "$tmp/lint" ./lint-sizes

mkdir -p "$tmp/tree/big" "$tmp/tree/many"
lines() { for ((i = 0; i < $1; i++)); do printf '%s%d\n\n' "$2" "$i"; done; }
{ echo 'package big'; echo 'func Long() {'; lines 80 '	_ = '; echo '}'; } >"$tmp/tree/big/long.go"
{ echo 'package big'; lines 500 '// line '; } >"$tmp/tree/big/file_test.go"
for n in 1 2 3 4; do { echo 'package many'; lines 400 '// line '; } >"$tmp/tree/many/f$n.go"; done

failed=0
# check WHAT STATUS PATTERN EXCEPTIONS
check() {
	local status=0
	printf '%s\n' "$4" >"$tmp/exceptions"
	"$tmp/lint" "$tmp/tree" "$tmp/exceptions" >"$tmp/out" 2>&1 || status=$?
	if [[ $status != "$2" ]] || { [[ -n $3 ]] && ! grep -q -- "$3" "$tmp/out"; }; then
		echo "lint-sizes: $1: status $status, said:" >&2
		cat "$tmp/out" >&2
		failed=1
	fi
}
all=$'func big.Long 82\nfile big/file_test.go 501\npackage many 1604'
check 'a long function' 1 'func big.Long: 82 lines, at most 80' ''
check 'a long test file' 1 'file big/file_test.go: 501 lines, at most 500' ''
check 'a large package' 1 'package many: 1604 lines, at most 1500' ''
check 'exceptions that fit' 0 '' "$all"
check 'grown beyond its exception' 1 'many: 1604 lines, more than its exception of 1600' "${all/1604/1600}"
check 'an exception too large' 1 'shrunk to 1604 lines: lower its exception of 1700 to 1604' "${all/1604/1700}"
check 'an exception of nothing' 1 'func big.Short: needs no exception' "$all"$'\nfunc big.Short 90'

printf '%s\n' "${all/1604/1700}"$'\nfunc big.Short 90' >"$tmp/exceptions"
"$tmp/lint" -shrink "$tmp/tree" "$tmp/exceptions"
if grep -v '^#' "$tmp/exceptions" | grep -q '1700\|Short' || [[ $(grep -vc '^#' "$tmp/exceptions") != 3 ]]; then
	echo "lint-sizes: -shrink left:" >&2
	cat "$tmp/exceptions" >&2
	failed=1
fi
exit $failed
