# What the scripts that tell a story with a lab share: sourced, with BIN, WORK and LAB set.
up= traffic= keeper= ok= status=0

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
# bg OUT ERR PROGRAM ARGS starts a program itself in the background, so that its pid is known.
bg() {
	local out=$1 err=$2
	shift 2
	printf '$ %s &\n' "$*" >&2
	"$BIN/$1" "${@:2}" >"$out" 2>"$err" &
	pid=$!
}
# broken says what did not hold; the story goes on and fails at its end.
broken() { printf 'DID NOT HOLD: %s\n' "$*" >&2; status=1; }
# run PROGRAM ARGS
run() { printf '$ %s\n' "$*" >&2; "$BIN/$1" "${@:2}"; }
# serve starts drctl up and waits until it is ready.
serve() {
	bg "$WORK/up.log" "$WORK/up.err" drctl up
	up=$pid
	for _ in $(seq 240); do
		grep -q '^drctl: up after' "$WORK/up.log" && break
		kill -0 "$up" 2>/dev/null || { tail -5 "$WORK/up.err"; exit 1; }
		sleep 0.5
	done
	grep '^drctl: up after' "$WORK/up.log"
}
# ended is for the end of a script, however it comes: nothing is left running.
ended() {
	set +e
	[ -n "$traffic" ] && kill "$traffic" 2>/dev/null && wait "$traffic" 2>/dev/null
	[ -n "$up" ] && kill "$up" 2>/dev/null && wait "$up" 2>/dev/null
	[ -n "$keeper" ] && kill "$keeper" 2>/dev/null && wait "$keeper" 2>/dev/null
	for box in "$LAB"/sandbox/*/; do
		[ -f "$box/sandbox.json" ] && "$BIN/drctl" sandbox rm "${box%/}" >/dev/null
	done
	[ -f "$LAB/lab.json" ] && "$BIN/drlab" down --dir "$LAB" --destroy
	[ -z "$ok" ] && echo "it did not come to its end; its logs are in $WORK" >&2
}
trap ended EXIT
trap 'exit 130' INT TERM
