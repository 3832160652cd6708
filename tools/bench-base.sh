#!/usr/bin/env bash
# Side by side on the same data: drctl's base (restic with the flags that drctl
# gives it, from the data directory) against pg_basebackup | zstd. Encrypted
# and deduplicated the one, neither the other. SCALE is pgbench's (40: about 1 GB with the rest).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
restic=$PWD/bin/restic
bin=${DRCTL_POSTGRES_BIN:-$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)}
work=$(mktemp -d /var/tmp/drctl-bench.XXXXXX)
chmod 711 "$work"
as=()
if [[ $(id -u) == 0 ]]; then
	chown postgres "$work"
	as=(runuser -u postgres --)
fi
stop() { (cd / && "${as[@]}" "$bin/pg_ctl" -D "$work/pg" -m immediate stop >/dev/null 2>&1) || true; rm -rf "$work"; }
trap stop EXIT
here=$PWD
cd /
"${as[@]}" "$bin/initdb" -D "$work/pg" -U bench -A trust -k >/dev/null
"${as[@]}" "$bin/pg_ctl" -D "$work/pg" -w -l "$work/pg/log" -o "-h '' -k $work -c wal_level=replica -c fsync=off -c max_wal_size=4GB" start >/dev/null
export PGHOST=$work PGUSER=bench
"$bin/pgbench" -i -q -s "${SCALE:-40}" postgres 2>/dev/null
for i in 1 2 3 4 5 6 7 8; do # most files of a real cluster do not change between two bases, and compress less than pgbench's
	"$bin/psql" -qc "CREATE TABLE filler$i AS SELECT g, md5(random()::text) || md5(random()::text) AS t FROM generate_series(1, ${SCALE:-40} * 10000) g" postgres
done
"$bin/psql" -qc "VACUUM FREEZE" postgres
"$bin/psql" -qc CHECKPOINT postgres
du -sh "$work/pg" | awk '{print "data directory  " $1}'
export RESTIC_PASSWORD=bench RESTIC_REPOSITORY=$work/repo RESTIC_CACHE_DIR=$work/cache
timed() { local t=$EPOCHREALTIME; "$@" >/dev/null; awk -v a="$t" -v b="$EPOCHREALTIME" 'BEGIN {printf "%6.1f s", b - a}'; }
size() { du -sm "$1" | awk '{printf "%6d MB", $1}'; }
once() { # as drctl does it: backup mode, the tree without its log, end of backup mode
	"$bin/psql" -qAt postgres >/dev/null <<-END
		SELECT pg_backup_start('bench', true);
		\\! $restic backup --quiet --compression fastest --host drctl --exclude $work/pg/pg_wal --exclude $work/pg/postmaster.pid $work/pg
		SELECT lsn FROM pg_backup_stop(false);
	END
}
dump() { "$bin/pg_basebackup" -D - -Ft -X none -c fast 2>/dev/null | zstd -q -T0 -"${1:-1}" -o "$work/base.tar.zst" -f; }
for round in 1 2 3; do
	rm -rf "$work/repo"
	"$restic" init --quiet
	a=$(timed once)
	as_=$(size "$work/repo")
	b=$(timed dump 1)
	bs=$(size "$work/base.tar.zst")
	"$bin/pgbench" -n -c 2 -T 5 postgres >/dev/null 2>&1
	c=$(timed once)
	cs=$(size "$work/repo")
	d=$(timed dump 1)
	echo "round $round  restic first $a $as_   pg_basebackup|zstd -1 $b $bs   restic next $c (repository $cs)   pg_basebackup again $d"
done
cd "$here"
