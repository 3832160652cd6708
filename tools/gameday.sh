#!/usr/bin/env bash
# A game day on one machine: a sharded shop behind poolers and proxies goes to its other
# region and home again while customers buy, round after round; then the region is lost
# with the engine, the other one is brought up, and at the end everything goes home.
# Every step is a command of drctl or drlab that is printed before it runs. It fails when
# a customer of a switchover saw an error, or when anything acknowledged is gone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

BIN=$PWD/bin
ROUNDS=${GAMEDAY_ROUNDS:-3}
SHARDS=${GAMEDAY_SHARDS:-4}
REDIS=${GAMEDAY_REDIS:-2}
RATE=${GAMEDAY_RATE:-50}
WORK=${GAMEDAY_DIR:-$(mktemp -d /var/tmp/drctl-gameday.XXXXXX)}
LAB=$WORK/lab
chmod 755 "$WORK"
export DRCTL_CONFIG=$LAB/drctl.yaml NO_COLOR=${NO_COLOR:-}
up= traffic= ok= status=0

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
# bg OUT ERR PROGRAM ARGS starts a program itself in the background, so that its pid is known.
bg() {
	local out=$1 err=$2
	shift 2
	printf '$ %s &\n' "$*" >&2
	"$BIN/$1" "${@:2}" >"$out" 2>"$err" &
	pid=$!
}
# broken says what did not hold; the day goes on and fails at its end.
broken() { printf 'DID NOT HOLD: %s\n' "$*" >&2; status=1; }
# run PROGRAM ARGS
run() { printf '$ %s\n' "$*" >&2; "$BIN/$1" "${@:2}"; }

cleanup() {
	set +e
	[ -n "$traffic" ] && kill "$traffic" 2>/dev/null && wait "$traffic" 2>/dev/null
	[ -n "$up" ] && kill "$up" 2>/dev/null && wait "$up" 2>/dev/null
	[ -f "$LAB/lab.json" ] && "$BIN/drlab" down --dir "$LAB" --destroy
	[ -z "$ok" ] && echo "the game day did not finish; its logs are in $WORK" >&2
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# serve starts drctl up and waits until it is ready.
serve() {
	bg "$WORK/up.log" "$WORK/up.err" drctl up
	up=$pid
	for _ in $(seq 240); do
		grep -q '^drctl: up after' "$WORK/up.log" && return
		kill -0 "$up" 2>/dev/null || { tail -5 "$WORK/up.err"; exit 1; }
		sleep 0.5
	done
	echo "drctl up is not ready" >&2
	exit 1
}
# customers NAME lets customers buy until leave.
customers() {
	bg "$WORK/traffic-$1.json" "$WORK/traffic-$1.log" drlab traffic --dir "$LAB" --rate "$RATE" --gate=false --through-proxies --parts pooled --pulse 10ms --outages 200ms --json --journal "$WORK/journal-$1.jsonl"
	traffic=$pid
	sleep 3
}
leave() {
	kill "$traffic" 2>/dev/null || true
	wait "$traffic" || broken "the traffic ended with status $?: $(tail -1 "$WORK/traffic-$1.log")"
	traffic=
}
# moved FILE COMMAND... runs a recovery and keeps its record.
moved() {
	local file=$1
	shift
	run drctl "$@" --stay media --yes --json >"$WORK/$file.json" 2>"$WORK/$file.log" || { tail -5 "$WORK/$file.log"; broken "$*: exit $?"; }
	jq -r '"\(.mode) from \(.from) to \(.to): \(.verdict)"' "$WORK/$file.json"
}

begin=$(date +%s)
say "1. Two regions: $SHARDS PostgreSQL shards behind PgBouncers, $REDIS Redis masters behind HAProxies"
run drlab up --dir "$LAB" --shards "$SHARDS" --redis "$REDIS" --size 20MiB --mode auto --proxies 2>"$WORK/lab.log"
run drctl vault init >/dev/null
serve
run drctl backup now >/dev/null 2>&1
run drctl plan lint --stay media

say "2. There and home again, $ROUNDS times, while customers buy"
customers switchover
for n in $(seq "$ROUNDS"); do
	moved "there-$n" switchover run --to west
	sleep 2
	moved "home-$n" failback run
	sleep 2
done
leave switchover
run drlab check --dir "$LAB" --region east --journal "$WORK/journal-switchover.jsonl" || broken "the outside checker, at home"

say "3. Every database server of the east is lost with its disk, and the engine, while customers buy"
customers failover
kill -9 "$up" 2>/dev/null || true
wait "$up" 2>/dev/null || true
up=
for n in $(seq 0 $((SHARDS - 1))); do run drlab break --dir "$LAB" destroy "east/orders/$n" >/dev/null; done
for n in $(seq 0 $((REDIS - 1))); do run drlab break --dir "$LAB" destroy "east/carts/$n" >/dev/null; done
decided=$(date +%s%N)
moved failover failover run --to west --engine embedded --vouch "drlab destroyed its disks"
echo "from the decision to the record's end, the start of an engine included: $((($(date +%s%N) - decided) / 1000000)) ms"
sleep 2
leave failover
run drlab check --dir "$LAB" --region west --journal "$WORK/journal-switchover.jsonl" --journal "$WORK/journal-failover.jsonl" || broken "the outside checker, after the loss: what was acknowledged and not yet in the west is gone"

say "4. The east is made anew, and the group goes home"
run drlab up --dir "$LAB" 2>>"$WORK/lab.log"
serve
moved back failback run
run drlab check --dir "$LAB" --region east --journal "$WORK/journal-switchover.jsonl" --journal "$WORK/journal-failover.jsonl" || broken "the outside checker, home again"

say "Summary"
jq -r 'def p(q): sort | .[((length * q + 99) / 100 | floor) - 1]; def ms: . / 1e5 | round / 10;
	"switchovers   \(.acked) operations acknowledged, \(.client_errors) errors of customers",
	([.stores[].outages // [] | .[].length_ns] | if length == 0 then "no write outage was longer than 200 ms" else "write outage  over all moves and stores (those longer than 200 ms): p50 \(p(50) | ms) ms, p99 \(p(99) | ms) ms, longest \(max | ms) ms" end)' "$WORK/traffic-switchover.json"
[ "$(jq '.client_errors' "$WORK/traffic-switchover.json")" = 0 ] || broken "customers of a switchover saw errors"
jq -rs 'def p(q): sort | .[((length * q + 99) / 100 | floor) - 1]; def ms: . / 1e5 | round / 10;
	[.[].steps[] | select(.op == "section") | .inside[] | {k: (.id | split("-")[0]), t: .took_ns}] | group_by(.k)[] | "  \(.[0].k): p50 \([.[].t] | p(50) | ms) ms, longest \([.[].t] | max | ms) ms"' "$WORK"/there-*.json "$WORK"/home-*.json
jq -r '"failover      \([.steps[] | select(.op == "section") | .inside[].at_ns] | max / 1e6 | round) ms from its first promotion to its last release"' "$WORK/failover.json"
echo "took          $(($(date +%s) - begin)) s"
ok=1
exit "$status"
