#!/usr/bin/env bash
# What customers feel of a cut every second: a lab, its shop, rounds with scheduled cuts and rounds
# without, in one run. MODE, SHARDS, RATE, ROUNDS, EACH and PARTS vary it; NICE=19 gives drctl what the
# shop leaves, as if it had a machine of its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

BIN=${BIN:-$PWD/bin}
MODE=${MODE:-auto} SHARDS=${SHARDS:-4} RATE=${RATE:-100} ROUNDS=${ROUNDS:-6} EACH=${EACH:-10s} NICE=${NICE:-0}
PARTS=${PARTS:-realistic}
WORK=$(mktemp -d /var/tmp/drctl-bench.XXXXXX)
LAB=$WORK/lab
chmod 755 "$WORK"
export DRCTL_CONFIG=$LAB/drctl.yaml NO_COLOR=1 PATH=$BIN:$PATH
up=

cleanup() {
	set +e
	[ -n "$up" ] && kill "$up" 2>/dev/null && wait "$up" 2>/dev/null
	[ -f "$LAB/lab.json" ] && drlab down --dir "$LAB" --destroy >/dev/null
	rm -rf "$WORK"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

drlab up --dir "$LAB" --shards "$SHARDS" --size 64MiB --mode "$MODE" --cut-every 1s >/dev/null 2>"$WORK/lab.log"
drctl vault init >/dev/null
nice -n "$NICE" drctl up >"$WORK/up.log" 2>"$WORK/up.err" &
up=$!
for _ in $(seq 240); do
	grep -q '^drctl: up after' "$WORK/up.log" && break
	kill -0 "$up" 2>/dev/null || { tail -5 "$WORK/up.err"; exit 1; }
	sleep 0.5
done
drctl schedule pause cut/shop >/dev/null
until drctl backup now >/dev/null 2>"$WORK/backup.err"; do tail -1 "$WORK/backup.err"; done

gate=false
case $MODE in *gate*) gate=true ;; esac
began=$(date -u +%FT%TZ)
uptime
drlab compare --dir "$LAB" --rate "$RATE" --clients 8 --parts "$PARTS" --gate="$gate" --each "$EACH" --rounds "$ROUNDS" \
	--on 'drctl schedule resume cut/shop' --off 'drctl schedule pause cut/shop'
uptime
drctl cut list --limit 0 --json | jq -r --arg t "$began" 'def t: (sub("\\.[0-9]+Z$"; "Z") | fromdate) + ((capture("(?<f>\\.[0-9]+)Z$").f // "0") | tonumber);
	def p(q): .[((length * q + 99) / 100 | floor) - 1] * 100 | round / 100;
	[.cuts[] | select(.fenced_at > $t)] | ([.[] | (.sealed_at | t) - (.fenced_at | t)] | sort) as $seal |
	"\(length) cuts: \([.[] | .proof.grade // "locked"] | group_by(.) | map("\(length) \(.[0])") | join(", ")); sealed within p50 \($seal | p(50)) s, p99 \($seal | p(99)) s; writers waited at most \([.[] | .stall_ns] | max / 1e6 | round) ms"'
