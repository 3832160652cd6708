#!/usr/bin/env bash
# The whole story on one machine, from real servers: a sharded shop in two
# regions sells under load, recovery points are taken, the east region is
# destroyed, and the shop is recovered from the west vault alone and checked
# from outside. Every step is a command of drctl or drlab that is printed before it runs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

BIN=$PWD/bin
# auto: the customers tag their global transactions or prepare them, and nobody waits for a
# cut. gate: they hold the gate. locks: they know nothing of cuts.
MODE=${DEMO_MODE:-auto}
case $MODE in auto | gate | locks) ;; *) echo "demo: DEMO_MODE is auto, gate or locks, not $MODE" >&2; exit 2 ;; esac
# What the customers do; drlab traffic --help lists the parts.
PARTS=${DEMO_PARTS:-$([ "$MODE" = auto ] && echo realistic || echo classic)}
WORK=${DEMO_DIR:-$(mktemp -d /var/tmp/drctl-demo.XXXXXX)}
LAB=$WORK/lab
SIZE=${DEMO_SIZE:-200MiB}
RATE=${DEMO_RATE:-150}
WARM=${DEMO_SECONDS:-40}
chmod 755 "$WORK"
export DRCTL_CONFIG=$LAB/drctl.yaml NO_COLOR=${NO_COLOR:-}
. tools/stage.sh

begin=$(date +%s)
say "1. Two regions: 4 PostgreSQL shards with standbys, 2 Redis masters with replicas, an S3 server each ($SIZE of data)"
run drlab up --dir "$LAB" --size "$SIZE" --mode "$MODE" 2>"$WORK/lab.log"
run drctl vault init

say "2. Customers buy: $RATE operations per second; money and stock move between shards"
bg "$WORK/traffic.json" "$WORK/traffic.log" drlab traffic --dir "$LAB" --rate "$RATE" --gate="$([ "$MODE" = gate ] && echo true || echo false)" --parts "$PARTS" --json --journal "$WORK/journal.jsonl"
traffic=$pid

say "3. drctl up: engine, workers, archivers, schedules (a cut every 5 s)"
serve

say "4. The first backup"
run drctl backup now --json >"$WORK/backup.json"
jq -r '.bases[] | "\(.base.id)  \(.base.bytes / 1048576 | floor) MiB read, \(.base.bytes_added / 1048576 | floor) MiB new, in \(["\(.copied_to[])"] | join(", ")) too"' "$WORK/backup.json"

say "5. Cuts go on for $WARM s"
sleep "$WARM"
run drctl cut now
run drctl status || true
run drctl cut list --limit 0 --stats >"$WORK/cuts.txt"
tail -2 "$WORK/cuts.txt"
run drctl cut list --limit 0 --stats --json >"$WORK/cuts.json"

if ! kill -0 "$traffic" 2>/dev/null; then
	tail -5 "$WORK/traffic.log"
	broken "the customers went away before the disaster"
fi
say "6. The east region is destroyed: every server killed with SIGKILL, every disk deleted, the engine too, while customers buy"
kill -9 "$up" 2>/dev/null || true
wait "$up" 2>/dev/null || true
up=
breaking=$(date +%s%N) # lost-at below is when the last disk was gone
disaster=$(run drlab break --dir "$LAB" region east)
echo "lost at $disaster"
sleep 3
kill "$traffic" 2>/dev/null || true
wait "$traffic" || broken "the traffic ended with status $?: $(tail -1 "$WORK/traffic.log")"
traffic=

say "7. Recovery from the west vault alone, with an engine of its own, as a drill: restore, check, measure, report"
run drctl drill run region-loss --engine embedded --disaster-at "$disaster" --trigger incident --keep --json >"$WORK/drill.json" 2>"$WORK/drill.log" || status=$?
if [ ! -s "$WORK/drill.json" ]; then
	tail -5 "$WORK/drill.log"
	exit 1
fi
id=$(jq -r .id "$WORK/drill.json")
box=$(jq -r .sandbox "$WORK/drill.json")
cut=$(jq -r .record.recovery_point.cut_id "$WORK/drill.json")
report=$(jq -r .html_file "$WORK/drill.json")
cp "$report" "$(jq -r .json_file "$WORK/drill.json")" "$WORK/"
run drctl drill show "$id" --vault west

say "8. The checker compares the recovered shop with the journal that was kept outside the stores"
run drlab check --dir "$LAB" --sandbox "$box" --cut "$cut" --journal "$WORK/journal.jsonl" | tee "$WORK/check.txt" || status=$?
! grep -E 'NOT CHECKED|nothing to compare' "$WORK/check.txt" >&2 || broken "a rule of the checker was not checked"
run drctl sandbox rm "$box"

say "Summary"
backed=$(jq -r '[.bases[].base.finished] | max' "$WORK/backup.json")
jq -r --arg t "$backed" --arg mode "$MODE" 'def t: (sub("\\.[0-9]+Z$"; "Z") | fromdate) + ((capture("(?<f>\\.[0-9]+)Z$").f // "0") | tonumber); def p(q): .[((length * q + 99) / 100 | floor) - 1]; [.cuts[] | select(.fenced_at > $t)] | ([.[] | .stall_ns / 1e6] | sort) as $stall | ([.[] | (.sealed_at | t) - (.fenced_at | t)] | sort) as $seal | "cuts         mode \($mode): \(length) after the backup, \([.[] | select(.proof.grade == "proven")] | length) proven, by \([.[].proof.modes // [.mode]] | add | unique | join(", "))\nsealed       in both vaults, p50 \($seal | p(50) * 100 | round / 100) s, worst \($seal[-1] * 100 | round / 100) s after the instant of the cut\nwaited       customers, for a cut: p50 \($stall | p(50) * 10 | round / 10) ms, p99 \($stall | p(99) * 10 | round / 10) ms"' "$WORK/cuts.json"
jq -r '"customers    \(.acked) operations acknowledged, \(.failed) failed, \(.unknown) without an answer (all counted to the end, the disaster included)\nlatency      p50 \(.p50_ns/1e6*10|round/10) ms, p99 \(.p99_ns/1e6*10|round/10) ms"' "$WORK/traffic.json"
jq -r '.record | "RPO          \((.measured.rpo_ns.value // 0)/1e9*100|round/100) s (objective \(.objectives.rpo_ns/1e9) s)\nRTO          \((.measured.rto_ns.value // 0)/1e9*100|round/100) s (objective \(.objectives.rto_ns/1e9) s)\nrestored     \([.recovery_point.shards[].bytes_restored.value // 0]|add/1048576|round) MiB\ndrill        \(if .verdict.passed then "passed" else "FAILED" end), \(.checks|length) checks"' "$WORK/drill.json"
# A batch takes half a minute: one that was begun before may fail in it.
failed() { jq -n --argjson breaking "$breaking" '[reduce inputs as $o ({}; .[$o.id] = $o) | .[] | select((.status == "failed" or .status == "unknown") and (.broken | not) and ((.begin_ns < $breaking - 1000000000 and .kind != "batch") == '"$1"'))] | length' "$WORK/journal.jsonl"; }
before=$(failed true)
echo "no success   $before operations before the disaster, $(failed false) in it"
[ "$before" = 0 ] || broken "$before operations failed before the disaster"
echo "report       $WORK/$(basename "$report")"
echo "took         $(($(date +%s) - begin)) s"
ok=1
exit "$status"
