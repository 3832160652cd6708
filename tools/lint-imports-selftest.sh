#!/usr/bin/env bash
# Proves that every rule of .depguard.json can fail: plants one violation for
# each in a scratch module and checks that exactly those are reported.
set -euo pipefail
home=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# The folder's own name would fool rules that are not anchored.
root=$scratch/cmd/internal/drctl
mkdir -p "$root" && cd "$root"

put() { # put FILE IMPORT...
	local file=$1
	shift
	mkdir -p "$(dirname "$file")"
	{ echo "package $(basename "$(dirname "$file")")"; for i in "$@"; do echo "import _ \"$i\""; done; } >"$file"
}
printf 'module drctl\n\ngo 1.26\n\nrequire go.temporal.io/sdk v0.0.0\n\nreplace go.temporal.io/sdk => ./sdk\n' >go.mod
mkdir -p sdk/client && printf 'module go.temporal.io/sdk\n\ngo 1.26\n' >sdk/go.mod && echo 'package client' >sdk/client/client.go

for p in targets targets/postgres targets/redis targets/s3 targets/all internal/fail internal/vault internal/stream internal/engine internal/sandbox internal/report \
	internal/lab internal/lab/shop internal/planted internal/proof/search internal/proof/prooftest restore drills activities workflows config; do
	put "$p/clean.go" fmt
done
# Allowed: none of these may be reported.
put internal/engine/good.go go.temporal.io/sdk/client drctl/internal/fail drctl/targets
put activities/good.go go.temporal.io/sdk/client drctl/internal/vault drctl/restore drctl/drills
put workflows/good.go go.temporal.io/sdk/client drctl/activities drctl/targets time
put targets/all/good.go drctl/targets/postgres drctl/targets/redis drctl/targets/s3
put targets/postgres/good.go drctl/targets drctl/internal/servers drctl/internal/sandbox/claim drctl/internal/fail os
put internal/stream/good.go drctl/internal/vault drctl/targets os
mkdir -p cmd/drctl && printf 'package main\nimport _ "drctl/config"\nimport _ "drctl/targets/all"\nimport _ "go.temporal.io/sdk/client"\nfunc main() {}\n' >cmd/drctl/main.go
mkdir -p cmd/drlab && printf 'package main\nimport _ "drctl/internal/lab/shop"\nfunc main() {}\n' >cmd/drlab/main.go
put internal/lab/good.go drctl/internal/lab/shop
# Planted: one for each rule, in packages that nobody imports.
put restore/planted/bad_sdk.go go.temporal.io/sdk/client
put targets/bad.go drctl/internal/fail
put targets/postgres/planted/bad.go drctl/internal/vault
put targets/postgres/wal/bad.go drctl/targets
put targets/postgres/stretch/bad.go drctl/internal/proof/search
put targets/postgres/observe/bad.go drctl/internal/vault
put targets/redis/planted/bad.go drctl/targets/s3
put targets/s3/planted/bad.go drctl/config
put targets/all/planted/bad.go drctl/internal/vault
put internal/planted/bad.go drctl/restore
put internal/planted/bad2.go drctl/targets/s3
put internal/planted/bad3.go drctl/internal/proof/prooftest
put internal/proof/prove/bad.go drctl/internal/proof/search
put internal/proof/clock/bad.go drctl/targets
put internal/vault/planted/bad.go drctl/internal/stream
put internal/fail/planted/bad.go drctl/targets
put internal/vault/planted/bad2.go drctl/internal/engine
put internal/engine/planted/bad.go drctl/internal/report
put restore/planted/bad.go drctl/drills
put drills/planted/bad.go drctl/activities
put activities/planted/bad.go drctl/config
put workflows/planted/bad.go os/exec
put workflows/planted/bad2.go drctl/internal/vault
put config/planted/bad.go drctl/internal/engine
put cmd/planted/bad.go drctl/internal/lab/shop
put drills/planted/bad2.go drctl/internal/lab

want=$(
	sort <<-'END'
		activities/planted/bad.go activities
		cmd/planted/bad.go lab
		config/planted/bad.go config
		drills/planted/bad.go drills
		drills/planted/bad2.go lab
		internal/engine/planted/bad.go services
		internal/fail/planted/bad.go ground
		internal/planted/bad.go internal
		internal/planted/bad2.go internal
		internal/planted/bad3.go prooftest
		internal/proof/clock/bad.go proof-clock
		internal/proof/prove/bad.go proof
		internal/vault/planted/bad.go vault
		internal/vault/planted/bad2.go storage
		restore/planted/bad.go restore
		restore/planted/bad_sdk.go temporal-sdk
		targets/all/planted/bad.go registry
		targets/bad.go targets
		targets/postgres/observe/bad.go observe
		targets/postgres/planted/bad.go driver-postgres
		targets/postgres/stretch/bad.go stretch
		targets/postgres/wal/bad.go log-reader
		targets/redis/planted/bad.go driver-redis
		targets/s3/planted/bad.go driver-s3
		workflows/planted/bad.go workflows
		workflows/planted/bad2.go workflows
	END
)
out=$("$home/tools/lint-imports.sh" "$root" 2>&1) && status=0 || status=$?
got=$(sed -n "s#^.*$root/\\([^:]*\\):.*from list '\\([^']*\\)'.*#\\1 \\2#p" <<<"$out" | sort)
if [[ $status == 0 || $got != "$want" ]]; then
	echo "the import rules do not find what was planted (exit status $status):" >&2
	diff <(echo "$want") <(echo "$got") >&2 || true
	[[ -n $got ]] || echo "$out" >&2
	exit 1
fi
