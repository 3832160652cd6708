#!/usr/bin/env bash
# Builds the tools into bin/, each only when it is missing or when what it is
# built from has changed: a stamp beside it holds the hash of its inputs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
go=${GO:-go}
export GOWORK=off

if ! command -v "$go" >/dev/null; then
	echo "make tools: Go is not installed; drctl needs Go $(awk '$1 == "go" {print $2}' go.mod) or later: https://go.dev/dl/" >&2
	exit 1
fi

mkdir -p bin/testing bin/.stamps/testing
exec 9>bin/.stamps/lock # two builds at once would do the same work twice
flock 9

tool_packages() { awk '/^tool \(/ {in_tools = 1; next} in_tools && /^\)/ {exit} in_tools {print $1}' tools/go.mod; }

# run with low priority: this takes minutes the first time
quietly() { if command -v nice >/dev/null; then nice -n 5 "$@"; else "$@"; fi; }

# build NAME HASH DIR PACKAGE LDFLAGS
build() {
	local name=$1 hash=$2 dir=$3 package=$4 ldflags=$5
	local stamp=bin/.stamps/$name
	if [[ -x bin/$name && -f $stamp && $(<"$stamp") == "$hash" ]]; then
		return
	fi
	echo "building bin/$name"
	local target
	target=$(pwd)/bin/$name
	(cd "$dir" && quietly "$go" build -trimpath -buildvcs=false -ldflags "$ldflags" -o "$target.new" "$package")
	mv "$target.new" "$target" # a running one keeps its own file
	printf '%s\n' "$hash" >"$stamp"
}

version=$(cd tools && "$go" env GOVERSION GOOS GOARCH | tr '\n' ' ')

hash_of() { { printf '%s\n' "$version"; cat "$@"; } | sha256sum | cut -c1-64; }

tools_hash=$(hash_of tools/go.mod tools/go.sum)
for package in $(tool_packages); do
	build "$(basename "$package")" "$tools_hash" tools "$package" '-s -w'
done

# Restic for tests: the same program, but a password is hashed for some
# milliseconds and not, as measured at each init, for half a second of processor
# time in every call: that was four fifths of what tests of the vault took.
cheap_restic() {
	local from work
	from=$(cd tools && "$go" mod download -json github.com/restic/restic | awk -F'"' '$2 == "Dir" {print $4}')
	work=bin/.stamps/testing/source # one that was interrupted leaves it, and the next begins anew
	[[ ! -e $work ]] || chmod -R u+w "$work"
	rm -rf "$work"
	mkdir "$work"
	cp -r "$from" "$work/restic"
	chmod -R u+w "$work"
	sed -i -e 's/KDFTimeout = 500 \* time.Millisecond/KDFTimeout = 5 * time.Millisecond/' -e 's/KDFMemory = 60$/KDFMemory = 1/' "$work/restic/internal/repository/key.go"
	if [[ $(diff "$from/internal/repository/key.go" "$work/restic/internal/repository/key.go" | grep -c '^>') != 2 ]]; then
		echo "make tools: restic's key derivation is not where it was; see cheap_restic in tools/build.sh" >&2
		exit 1
	fi
	cp tools/go.mod "$work/tools.mod"
	cp tools/go.sum "$work/tools.sum"
	"$go" mod edit -replace "github.com/restic/restic=$(pwd)/$work/restic" "$work/tools.mod"
	GOFLAGS="${GOFLAGS:-} -modfile=$(pwd)/$work/tools.mod" build testing/restic "$1" tools github.com/restic/restic/cmd/restic '-s -w'
	rm -rf "$work"
}
testing_hash=$(hash_of tools/go.mod tools/go.sum tools/build.sh)
if [[ ! -x bin/testing/restic || ! -f bin/.stamps/testing/restic || $(<bin/.stamps/testing/restic) != "$testing_hash" ]]; then
	cheap_restic "$testing_hash"
fi

mapfile -t engine_sources < <(find tools/engine -name '*.go' ! -name '*_test.go' | LC_ALL=C sort)
engine_hash=$(hash_of tools/engine/go.mod tools/engine/go.sum "${engine_sources[@]}")
if [[ ! -x bin/drctl-engine || ! -f bin/.stamps/drctl-engine ]]; then
	echo "the first build of bin/drctl-engine takes some minutes"
fi
build drctl-engine "$engine_hash" tools/engine . "-s -w -X main.version=${engine_hash:0:12}"
