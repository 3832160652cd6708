#!/usr/bin/env bash
# A game day on one machine: a sharded shop behind poolers and proxies goes to its other
# region and home again while customers buy, round after round; then the region is lost
# with the engine, the other one is brought up, and at the end everything goes home.
# Every step is a command of drctl or drlab that is printed before it runs. It fails when
# a customer of a switchover saw an error, or when anything acknowledged is gone that is not
# of the last second before a destroyed server's end.
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
. tools/stage.sh

# customers NAME lets customers buy until leave.
customers() {
	bg "$WORK/traffic-$1.json" "$WORK/traffic-$1.log" drlab traffic --dir "$LAB" --rate "$RATE" --gate=false --through-proxies --parts pooled --pulse 10ms --outages 50ms --json --journal "$WORK/journal-$1.jsonl"
	traffic=$pid
	sleep 3
}
leave() {
	kill "$traffic" 2>/dev/null || true
	wait "$traffic" || broken "the traffic ended with status $?: $(tail -1 "$WORK/traffic-$1.log")"
	traffic=
}
# moved FILE COMMAND... runs a recovery and keeps its record. That a lost region leaves global transactions half done is a
# part of the loss: they are listed, and the exit status is 3.
moved() {
	local file=$1 status=0
	shift
	run drctl "$@" --stay media --yes --json >"$WORK/$file.json" 2>"$WORK/$file.log" || status=$?
	if [ "$status" = 3 ] && jq -e '.verdict == "reached" and (.half_done.list // [] | length) > 0 and (.half_done.unknown // [] | length) == 0' "$WORK/$file.json" >/dev/null; then
		jq -r '"\(.half_done.list | length) global transactions are half done: \([.half_done.list[].id] | join(", "))"' "$WORK/$file.json"
	elif [ "$status" != 0 ]; then
		broken "$*: exit $status"
		tail -5 "$WORK/$file.log"
	fi
	jq -r '"\(.mode) from \(.from) to \(.to): \(.verdict)"' "$WORK/$file.json"
}

# lost REGION JOURNAL... lets the outside checker judge after the failover. What was acknowledged in the
# second before a server was destroyed may be gone: standbys are asynchronous. It is counted. All else holds.
lost() {
	local region=$1
	shift
	run drlab check --dir "$LAB" --region "$region" --json $(printf -- '--journal %s ' "$@") >"$WORK/check-$region.json" || true
	jq -r '.violations // [] | .[] | select(.rule == "acked-is-there" or .rule == "as-its-grade") | .subject | match("[0-9a-f-]{36}").string' "$WORK/check-$region.json" | sort -u >"$WORK/lost-$region.txt"
	local n late
	n=$(wc -l <"$WORK/lost-$region.txt")
	late=$(jq -r --argjson from "$((breaking - 1000000000))" --argjson to "$broke" --rawfile ids "$WORK/lost-$region.txt" \
		'select(.status == "acked" and .ack_ns >= $from and .ack_ns <= $to) | .id as $id | select($ids | contains($id)) | $id' "$WORK/journal-failover.jsonl" | sort -u | wc -l)
	if ! jq -se 'length == 1 and (.[0] | ([.violations // [] | .[] | select(.rule != "acked-is-there" and .rule != "as-its-grade")] == []
		and .violations_total == (.violations // [] | length) and .checked["acked-is-there"] > 0))' "$WORK/check-$region.json" >/dev/null; then
		cat "$WORK/check-$region.json"
		broken "the outside checker, in $region: it says more than that acknowledged writes are gone, or nothing"
	elif [ "$n" != "$late" ]; then
		broken "the outside checker, in $region: of $n writes that are gone only $late were acknowledged when their server was about to be destroyed"
	else
		echo "the outside checker, in $region: $n acknowledged writes are gone, of the last second before their server was destroyed; all else holds"
	fi
}

begin=$(date +%s)
say "1. Two regions: $SHARDS PostgreSQL shards behind PgBouncers, $REDIS Redis masters behind HAProxies"
run drlab up --dir "$LAB" --shards "$SHARDS" --redis "$REDIS" --size 20MiB --mode auto --proxies 2>"$WORK/lab.log"
bg "$WORK/keep.log" "$WORK/keep.err" drlab keep --dir "$LAB"
keeper=$pid
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
breaking=$(date +%s%N)
for n in $(seq 0 $((SHARDS - 1))); do run drlab break --dir "$LAB" destroy "east/orders/$n" >/dev/null; done
for n in $(seq 0 $((REDIS - 1))); do run drlab break --dir "$LAB" destroy "east/carts/$n" >/dev/null; done
broke=$(date +%s%N) decided=$(date +%s%N)
moved failover failover run --to west --engine embedded --vouch "drlab destroyed its disks"
echo "from the decision to the record's end, the start of an engine included: $((($(date +%s%N) - decided) / 1000000)) ms"
sleep 2
leave failover
lost west "$WORK/journal-switchover.jsonl" "$WORK/journal-failover.jsonl"

say "4. The east is made anew, and the group goes home"
run drlab up --dir "$LAB" 2>>"$WORK/lab.log"
serve
moved back failback run
lost east "$WORK/journal-switchover.jsonl" "$WORK/journal-failover.jsonl"

say "Summary"
# For each move and store the longest time without an acknowledged write, while the section ran and until the first one after it.
jq -r --slurpfile moves <(cat "$WORK"/there-*.json "$WORK"/home-*.json) 'def p(q): sort | .[((length * q + 99) / 100 | floor) - 1]; def ms: . / 1e5 | round / 10; def at: rtrimstr("Z");
	def outages(kind): [.stores[] | select(.store | startswith(kind)) as $s | $moves[] | [.steps[] | select(.op == "section")][0] as $m
		| [$s.outages // [] | .[] | select((.end | at) > ($m.started | at) and (.begin | at) < ($m.finished | at)) | .length_ns] | max // 5e7];
	def row: if length == 0 then empty else "p50 \(p(50) | ms) ms, p99 \(p(99) | ms) ms, longest \(max | ms) ms, of \(length)" end;
	"switchovers   \(.acked) operations acknowledged, \(.client_errors) errors of customers",
	"write outage  of each move and store (50 ms where none was longer): \(outages("") | row)",
	"  PostgreSQL: \(outages("orders") | row)", "  Redis: \(outages("carts") | row)"' "$WORK/traffic-switchover.json"
[ "$(jq '.client_errors' "$WORK/traffic-switchover.json")" = 0 ] || broken "customers of a switchover saw errors"
jq -rs 'def p(q): sort | .[((length * q + 99) / 100 | floor) - 1]; def ms: . / 1e5 | round / 10;
	[.[].steps[] | select(.op == "section") | .inside[] | {k: (.id | split("-")[0]), t: .took_ns}] | group_by(.k)[] | "  \(.[0].k): p50 \([.[].t] | p(50) | ms) ms, longest \([.[].t] | max | ms) ms"' "$WORK"/there-*.json "$WORK"/home-*.json
jq -r '"failover      \([.steps[] | select(.op == "section") | .inside[].at_ns] | max / 1e6 | round) ms from its first promotion to its last release"' "$WORK/failover.json"
[ ! -s "$WORK/keep.log" ] || { echo "poolers and proxies that died by themselves and were started again:"; cat "$WORK/keep.log"; }
echo "took          $(($(date +%s) - begin)) s"
ok=1
exit "$status"
