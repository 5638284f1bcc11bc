# shellcheck shell=bash
# What the command-line tests share: sourced by every tests/cli/test_*.sh. Nothing is mounted here.
#
# Calling sequence: source it, then `run WORD…` (veneer with those words; $STATUS, $OUT and $ERR are what came
# of it) and the expect_… functions, each of which names the failing command. At the end: finish.
#
# Environment: VENEER, the program. A scratch directory $SCRATCH is made and removed.

set -uo pipefail
export LC_ALL=C.UTF-8 TZ=UTC
umask 022

SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
VENEER=${VENEER:-$SOURCE/build/dev/cli/veneer}
[ -x "$VENEER" ] || { echo "FAIL: no program at '$VENEER': set VENEER, or build it first"; exit 1; }

SCRATCH=$(mktemp -d "${TMPDIR:-/tmp}/veneer-cli.XXXXXX")
trap 'rm -rf "$SCRATCH"' EXIT
export VENEER_STORE=$SCRATCH/store
export HOME=$SCRATCH XDG_CONFIG_HOME=$SCRATCH GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null
export GIT_AUTHOR_NAME=Tester GIT_AUTHOR_EMAIL=tester@example.org
export GIT_COMMITTER_NAME=Tester GIT_COMMITTER_EMAIL=tester@example.org

FAILED=0 CHECKED=0 STATUS=0 OUT='' ERR='' RAN=''

run() {
	RAN="veneer $*"
	OUT=$("$VENEER" "$@" 2>"$SCRATCH/stderr")
	STATUS=$?
	ERR=$(cat "$SCRATCH/stderr")
}

complain() {
	FAILED=$((FAILED + 1))
	printf 'FAILED: %s\n  after: %s\n  status %s\n  stdout: %s\n  stderr: %s\n' "$1" "$RAN" "$STATUS" \
		"$OUT" "$ERR" >&2
}

# check SENTENCE COMMAND…: COMMAND must succeed.
check() {
	local what=$1
	shift
	CHECKED=$((CHECKED + 1))
	"$@" >/dev/null 2>&1 || complain "$what"
}

expect_status() { check "status is not $1" [ "$STATUS" -eq "$1" ]; }
expect_out() { check "stdout does not match '$1'" grep -Eq -- "$1" <<<"$OUT"; }
expect_err() { check "stderr does not match '$1'" grep -Eq -- "$1" <<<"$ERR"; }

# A command that must succeed, in silence on stderr.
ok() {
	run "$@"
	expect_status 0
	check 'stderr is not empty' [ -z "$ERR" ]
}

# fails STATUS PATTERN WORD…: one line on stderr, `veneer: …` with PATTERN in it, and nothing on stdout.
fails() {
	local status=$1 pattern=$2
	shift 2
	run "$@"
	expect_status "$status"
	expect_err "^veneer: .*$pattern"
	check 'stderr is not one line' [ "$(printf '%s\n' "$ERR" | wc -l)" -eq 1 ]
	check 'stdout is not empty' [ -z "$OUT" ]
}

# json FILTER VALUE: what jq finds in $OUT.
json() {
	local found
	if ! command -v jq >/dev/null; then
		return
	fi
	found=$(jq -cr "$1" <<<"$OUT" 2>&1)
	check "$1 is '$found', not '$2'" [ "$found" = "$2" ]
}

finish() {
	command -v jq >/dev/null || echo 'note: no jq here, so JSON was not looked into'
	printf '%s: %d checks, %d failed\n' "$(basename "$0" .sh)" "$CHECKED" "$FAILED"
	[ "$FAILED" -eq 0 ]
	exit
}
