#!/usr/bin/env bash
# Installs the Debian packages whose programs are missing. Does nothing when
# nothing is missing, needs root or sudo only when something is, and starts no
# server: drctl's tests and lab start their own, on free ports.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

have() { command -v "$1" >/dev/null 2>&1; }

missing=()
need() { # need PACKAGE PROGRAM...
	local package=$1 program
	shift
	for program in "$@"; do
		if ! have "$program"; then
			missing+=("$package")
			return
		fi
	done
}

postgres_found() {
	local dir
	for dir in "${DRCTL_POSTGRES_BIN:-}" /usr/lib/postgresql/*/bin; do
		[[ -n $dir && -x $dir/postgres && -x $dir/initdb && -x $dir/pg_basebackup && -x $dir/pg_amcheck && -x $dir/pg_checksums ]] && return 0
	done
	have postgres && have initdb && have pg_amcheck && have pg_checksums
}

postgres_package() { # 15 where the release has it, else what the release has
	if apt-cache show postgresql-15 >/dev/null 2>&1; then echo postgresql-15; else echo postgresql; fi
}

need redis-server redis-server redis-check-aof
need haproxy haproxy
need pgbouncer pgbouncer
need age age age-keygen
need zstd zstd
need jq jq
need git git
need curl curl
need procps ps
need util-linux flock unshare
need mount mount
need openssh-client ssh-keygen
if ! compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null; then # of drlab up --clocks, and its tests
	missing+=(libfaketime)
fi
if ! [[ -s /etc/ssl/certs/ca-certificates.crt || -s /etc/pki/tls/certs/ca-bundle.crt || -s /etc/ssl/cert.pem ]]; then
	missing+=(ca-certificates)
fi
want_postgres=no
postgres_found || want_postgres=yes

if [[ ${#missing[@]} == 0 && $want_postgres == no ]]; then
	exit 0
fi

list() { echo "${missing[*]}$([[ $want_postgres == yes ]] && echo ' postgresql-15 postgresql-contrib')"; }

if ! have apt-get; then
	echo "make setup: this is no Debian; install what these Debian packages hold, then repeat: $(list)" >&2
	exit 1
fi
if [[ $(id -u) == 0 ]]; then
	as_root=()
elif have sudo && { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; then
	as_root=(sudo)
else
	echo "make setup: root is needed once, and sudo cannot be used here. Ask for: apt-get install $(list)" >&2
	exit 1
fi

echo "make setup: installing $(list)"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
if [[ $want_postgres == yes ]]; then
	missing+=("$(postgres_package)" postgresql-contrib)
fi

# Debian makes and starts a cluster and a server when it installs them. Neither
# is wanted: they would hold the standard ports and memory for nothing.
guard=/usr/sbin/policy-rc.d
clusters=/etc/postgresql-common/createcluster.conf
undo() { if [[ ${guarded:-no} == yes ]]; then "${as_root[@]}" rm -f "$guard"; fi; }
trap undo EXIT
if [[ ! -e $guard ]]; then
	printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$guard" >/dev/null
	"${as_root[@]}" chmod 755 "$guard"
	guarded=yes
fi
if [[ $want_postgres == yes && ! -e $clusters ]]; then
	"${as_root[@]}" mkdir -p "$(dirname "$clusters")"
	echo 'create_main_cluster = false' | "${as_root[@]}" tee "$clusters" >/dev/null
fi
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	-o Dpkg::Options::=--force-confold "${missing[@]}" >/dev/null
if ! postgres_found; then
	echo "make setup: PostgreSQL's programs are still not there" >&2
	exit 1
fi
