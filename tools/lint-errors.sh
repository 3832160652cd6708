#!/usr/bin/env bash
# Finds errors that are dropped without a word: handle them, or write "_ =" where
# nobody can do anything about them. What is said to a terminal and what a defer
# closes or removes needs no mark: a writer whose Close matters closes it itself.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
status=0
out=$(bin/errcheck -ignoretests -exclude tools/errcheck.exclude ./...) || status=$?
if ((status > 1)); then # 1 says that something was found
	printf '%s\n' "$out"
	exit $status
fi
found=$(grep -v $'\tdefer ' <<<"$out" || true)
[[ -z $found ]] || { echo "dropped errors:"; printf '%s\n' "$found"; exit 1; }
