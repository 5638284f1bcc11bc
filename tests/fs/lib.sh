# shellcheck shell=bash
# Harness of the mounted tests: sourced by every tests/fs/test_*.sh.
#
# Calling sequence, in a test script:
#
#	. "$(dirname "$0")/lib.sh"
#	case_something() { fs_setup; …; }        # one function a case, found by its name
#	fs_main "$@"                             # runs them all, or those named as arguments
#
# Each case runs in a process of its own, with `set -e`, under a time limit, in a scratch directory that it
# owns: $SCRATCH, with the store in $STORE. Whatever happens, the mounts that the case made are taken off, the
# processes that it started are ended, by their ids, and the directory is removed (VENEER_KEEP=1 keeps
# it). On failure the daemon's log and every sanitizer report are printed. A sanitizer report is a failure.
#
# Exit status of the script: 0 all cases passed, 77 none could run, 1 else. A case that cannot run says
# `SKIP case: reason`, which scripts/test shows at its end.
#
# Environment: VENEER (the program), VENEER_TOOLS (tests/tools, built), VENEER_SCRATCH (where scratch
# directories are made; default /var/tmp), VENEER_CASE_SECONDS (time limit of a case).

set -uo pipefail
export LC_ALL=C TZ=UTC
umask 022

FS_HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
FS_SOURCE=$(cd "$FS_HERE/../.." && pwd)
VENEER=${VENEER:-$FS_SOURCE/build/dev/cli/veneer}
VENEER_TOOLS=${VENEER_TOOLS:-$FS_SOURCE/build/dev/tests}
export VENEER VENEER_TOOLS

# ---- running ----

# fs_main [CASE…]: see above.
fs_main() {
	local script=$0 name status failed=0 passed=0 names
	if [ "${1-}" = --case ]; then
		fs_run_case "$2"
	fi
	fs_require
	if [ $# -gt 0 ]; then
		names=$*
	else
		names=$(sed -n 's/^\(case_[a-z0-9_]*\)() *{.*/\1/p' "$script")
	fi
	for name in $names; do
		printf -- '--- %s\n' "$name"
		local begin=$SECONDS
		timeout -k 20 "${VENEER_CASE_SECONDS:-450}" bash "$script" --case "$name"
		status=$?
		case $status in
		0) passed=$((passed + 1)); echo "PASS $name ($((SECONDS - begin)) s)" ;;
		77) ;;
		124 | 137) failed=$((failed + 1)); echo "FAIL $name: over its time limit" ;;
		*) failed=$((failed + 1)); echo "FAIL $name (status $status)" ;;
		esac
	done
	[ $failed -eq 0 ] || exit 1
	[ $passed -gt 0 ] || exit 77
	exit 0
}

# Runs one case in this process and exits with its status.
fs_run_case() {
	FS_CASE=$1
	SCRATCH=
	set -eE
	shopt -s inherit_errexit
	trap 'echo "$0: line $LINENO: command failed: $BASH_COMMAND" >&2' ERR
	trap 'fs_cleanup $?' EXIT
	trap 'exit 124' TERM INT
	"$FS_CASE"
	fs_check_end
	exit 0
}

# Ends the whole script with 77 where no mounted test can run.
fs_require() {
	local why=
	if [ "$(id -u)" != 0 ]; then
		why='needs root'
	elif [ ! -x "$VENEER" ]; then
		echo "FAIL: no program at '$VENEER': set VENEER, or build it first"
		exit 1
	elif ! [ -e /dev/fuse ] || ! (: <>/dev/fuse) 2>/dev/null; then
		why='this kernel or container has no /dev/fuse'
	fi
	if [ -n "$why" ]; then
		echo "SKIP $(basename "$0" .sh): $why"
		exit 77
	fi
}

skip() {
	echo "SKIP $(basename "$0" .sh)/$FS_CASE: $*"
	exit 77
}

fail() {
	echo "FAILED: $*" >&2
	exit 1
}

# ---- a case's own world ----

# Makes $SCRATCH and the paths in it. Later calls in one case make a fresh one and keep the old till the end.
fs_setup() {
	[ -z "$SCRATCH" ] || fail 'fs_setup: called twice in one case'
	SCRATCH=$(mktemp -d "${VENEER_SCRATCH:-/var/tmp}/veneer-test.XXXXXX")
	chmod 755 "$SCRATCH"
	STORE=$SCRATCH/store
	FS_MOUNTS=$SCRATCH/.mounts FS_PIDS=$SCRATCH/.pids FS_LOG=$SCRATCH/daemon.log
	: >"$FS_MOUNTS"; : >"$FS_PIDS"; : >"$FS_LOG"
	local report=$SCRATCH/sanitizer
	export ASAN_OPTIONS="log_path=$report:detect_leaks=${VENEER_LEAKS:-1}"
	export UBSAN_OPTIONS="log_path=$report:print_stacktrace=1:halt_on_error=1"
	export TSAN_OPTIONS="log_path=$report:second_deadlock_stack=1"
	# git and veneer read no configuration of whoever runs the test.
	export HOME=$SCRATCH XDG_CONFIG_HOME=$SCRATCH GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null
	export GIT_AUTHOR_NAME=Tester GIT_AUTHOR_EMAIL=tester@example.org
	export GIT_COMMITTER_NAME=Tester GIT_COMMITTER_EMAIL=tester@example.org
}

# Does it run with a sanitizer? Then times and memory say nothing, and loops are shorter.
fs_sanitized() {
	ldd "$VENEER" 2>/dev/null | grep -q -e libasan -e libtsan -e libubsan
}

# fs_count FULL SHORT: FULL, or SHORT where a sanitizer makes everything slow.
fs_count() {
	if fs_sanitized; then echo "$2"; else echo "$1"; fi
}

# A path as the mount table has it.
fs_mountinfo_path() {
	local path=${1//\\/\\134}
	echo "${path// /\\040}"
}

# Is there a mount at exactly DIR? From the mount table: never touches the mount itself.
fs_is_mounted() {
	DIR=$(fs_mountinfo_path "$1") awk '$5 == ENVIRON["DIR"] { found = 1 } END { exit !found }' /proc/self/mountinfo
}

fs_mount_type() {
	DIR=$(fs_mountinfo_path "$1") awk '$5 == ENVIRON["DIR"] { sub(/.* - /, ""); print $1 }' /proc/self/mountinfo | tail -n 1
}

fs_remember_mount() { echo "$1" >>"$FS_MOUNTS"; }
fs_remember_pid() { echo "$1" >>"$FS_PIDS"; }

# Unmounts DIR, lazily where it must be.
fs_unmount() {
	local tries=0
	while fs_is_mounted "$1" && [ $tries -lt 5 ]; do
		timeout -k 2 10 umount "$1" 2>/dev/null || timeout -k 2 10 umount -l "$1" 2>/dev/null || :
		tries=$((tries + 1))
	done
	! fs_is_mounted "$1"
}

fs_end_pid() {
	local pid=$1 tries=0
	kill -TERM "$pid" 2>/dev/null || return 0
	while kill -0 "$pid" 2>/dev/null && [ $tries -lt 50 ]; do
		sleep 0.1
		tries=$((tries + 1))
	done
	kill -KILL "$pid" 2>/dev/null || return 0
}

fs_cleanup() {
	local status=$1 dir pid
	trap - EXIT ERR
	trap '' TERM INT
	set +eE
	[ -n "$SCRATCH" ] || exit "$status"
	[ "$status" = 0 ] || [ "$status" = 77 ] || fs_evidence
	tac "$FS_MOUNTS" | while read -r dir; do
		fs_unmount "$dir" || echo "cannot unmount '$dir'" >&2
	done
	while read -r pid; do
		fs_end_pid "$pid"
	done <"$FS_PIDS"
	if [ "$status" = 0 ]; then
		# Reports that daemons wrote as they ended (leaks come last).
		fs_reports && status=1
	fi
	if [ -n "${VENEER_KEEP-}" ]; then
		echo "kept: $SCRATCH" >&2
	elif grep -q " $SCRATCH/" /proc/self/mountinfo; then
		echo "something is still mounted below '$SCRATCH': left as it is" >&2
		status=1
	else
		rm -rf --one-file-system "$SCRATCH"
	fi
	exit "$status"
}

# Prints sanitizer reports; true where there are any.
fs_reports() {
	local file found=1
	for file in "$SCRATCH"/sanitizer.*; do
		[ -s "$file" ] || continue
		found=0
		echo "=== sanitizer report $(basename "$file") ===" >&2
		head -n 120 "$file" >&2
	done
	return $found
}

fs_evidence() {
	{
		echo "=== evidence of $FS_CASE ==="
		grep " $SCRATCH/" /proc/self/mountinfo
		if [ -s "$FS_LOG" ]; then
			echo "--- daemon log, its end ---"
			tail -n 25 "$FS_LOG"
		fi
	} >&2
	fs_reports
}

# Every case ends with the mounts that it left, each still served.
fs_check_end() {
	local dir
	[ -n "$SCRATCH" ] || fail "$FS_CASE: no fs_setup"
	while read -r dir; do
		! fs_is_mounted "$dir" || t stat "$dir" >/dev/null || fail "mount '$dir' no longer answers"
	done <"$FS_MOUNTS"
}

# ---- commands ----

# Anything that touches a mount runs under a time limit.
t() { timeout -k 5 "${T:-120}" "$@"; }

v() { t "$VENEER" --store "$STORE" "$@"; }
g() { git -C "$STORE/git" "$@"; }
tool() { local name=$1; shift; t "$VENEER_TOOLS/$name" "$@"; }

# Runs it; prints what it said only where it fails.
must() {
	local out status=0
	out=$("$@" 2>&1) || status=$?
	[ $status -eq 0 ] || fail "exit status $status: $*: $out"
}

# fs_component NAME DIR [add's options]: store and component.
fs_component() {
	[ -d "$STORE" ] || must v init
	must v add "$@"
}

# fs_create NAME [create's options]: makes a patch; prints its label.
fs_create() {
	local out
	out=$(v create "$@")
	echo "${out%% *}"
}

# fs_mount NAME DIR [mount's options]: mounts in the foreground, as a child whose log and sanitizer reports are kept, and
# returns when the mount answers. The daemon's process id is in FS_DAEMON.
fs_mount() {
	local name=$1 dir=$2 tries=0
	shift 2
	fs_remember_mount "$dir"
	"$VENEER" --store "$STORE" mount "$name" --foreground "$@" >>"$FS_LOG" 2>&1 &
	FS_DAEMON=$!
	fs_remember_pid "$FS_DAEMON"
	until [ "$(fs_mount_type "$dir")" = fuse.veneer ] && [ -S "$STORE/run/$name.sock" ]; do
		kill -0 "$FS_DAEMON" 2>/dev/null || fail "mount $name: the daemon ended: $(tail -n 3 "$FS_LOG")"
		[ $tries -lt 300 ] || fail "mount $name: no mount after 30 s"
		sleep 0.1
		tries=$((tries + 1))
	done
	must t stat "$dir"
}

# fs_umount NAME DIR: the bare directory is back, and the daemon has ended well.
fs_umount() {
	local status=0
	must v umount "$1"
	! fs_is_mounted "$2" || fail "umount $1: '$2' is still mounted"
	if [ -n "${FS_DAEMON-}" ]; then
		wait "$FS_DAEMON" || status=$?
		[ $status -eq 0 ] || fail "the daemon of $1 ended with status $status: $(tail -n 3 "$FS_LOG")"
		FS_DAEMON=
	fi
}

# fs_io_modes: the modes this kernel can serve, each on a line; says which it cannot.
fs_have_passthrough() {
	local release major minor
	release=$(uname -r)
	major=${release%%.*}
	minor=${release#*.}
	minor=${minor%%[!0-9]*}
	[ "$major" -gt 6 ] || { [ "$major" -eq 6 ] && [ "$minor" -ge 9 ]; }
}

# fs_status NAME JQ-FILTER: one value of `status NAME --verbose --json`.
fs_status() {
	v status "$1" --verbose --json | jq -r ".[0]$2"
}

fs_ref() { g rev-parse --verify -q "refs/veneer/$1"; }

# As an ordinary user, who has no groups and no rights.
as_nobody() { t setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }

# fs_fill BYTE SIZE: SIZE times the byte.
fs_fill() { head -c "$2" /dev/zero | tr '\0' "$1"; }

fs_sha() { t sha256sum <"$1" | cut -c1-64; }

# Paths below a directory, sorted, NUL-safe: what `find . | sort` says.
fs_paths() { (cd "$1" && t find . -print0 | sort -z | tr '\0\n' '\n?'); }

# tree_listing [options] DIR: see tests/tools/tree_listing.c.
tree_listing() { tool tree_listing "$@"; }

# fs_wait_for SECONDS COMMAND…: until it succeeds; false when the time is over.
fs_wait_for() {
	local end
	end=$(($(date +%s%N) + $1 * 1000000000))
	shift
	until "$@"; do
		[ "$(date +%s%N)" -lt "$end" ] || return 1
		sleep 0.02
	done
}

# ---- assertions: each names what differed ----

# assert_equal EXPECTED ACTUAL WHAT
assert_equal() {
	[ "$1" = "$2" ] || fail "$3: expected '$1', got '$2'"
}

# assert_match PATTERN TEXT WHAT: an extended regular expression.
assert_match() {
	grep -qE -e "$1" <<<"$2" || fail "$3: nothing like '$1' in: $2"
}

# assert_same_text EXPECTED-FILE ACTUAL-FILE WHAT
assert_same_text() {
	if ! cmp -s "$1" "$2"; then
		diff -u --label expected --label actual "$1" "$2" | cut -c1-400 | sed -n '1,40p' >&2
		fail "$3"
	fi
}

# assert_same_tree WHAT EXPECTED-DIR ACTUAL-DIR [tree_listing's options]
assert_same_tree() {
	local what=$1 expected=$2 actual=$3
	shift 3
	tree_listing "$@" "$expected" >"$SCRATCH/.expected" || fail "$what: listing '$expected' failed"
	tree_listing "$@" "$actual" >"$SCRATCH/.actual" || fail "$what: listing '$actual' failed"
	assert_same_text "$SCRATCH/.expected" "$SCRATCH/.actual" "$what"
}

# assert_content TEXT FILE: the file's whole content, a final newline apart.
assert_content() {
	local got
	got=$(t cat "$2") || fail "cannot read '$2'"
	assert_equal "$1" "$got" "content of '$2'"
}

# assert_refused STATUS PATTERN COMMAND…: fails with that status and one clear line, `veneer: …`, on standard error; nothing
# on standard output.
assert_refused() {
	local expected=$1 pattern=$2 status=0 out err
	shift 2
	out=$("$@" 2>"$SCRATCH/.stderr" </dev/null) || status=$?
	err=$(cat "$SCRATCH/.stderr")
	[ "$status" = "$expected" ] || fail "status $status, not $expected: $*: $err"
	[ -z "$out" ] || fail "output although it failed: $*: $out"
	[[ $err == veneer:\ * ]] || fail "no 'veneer: …' line: $*: $err"
	if [ "$expected" = 1 ] && [ "$(wc -l <"$SCRATCH/.stderr")" != 1 ]; then
		fail "more than one line: $*: $err"
	fi
	assert_match "$pattern" "$err" "message of: $*"
}

# assert_errno NAME COMMAND…: the command fails, and its message has the text of that errno.
assert_errno() {
	local name=$1 text status=0 err
	shift
	case $name in
	EROFS) text='Read-only file system' ;;
	EACCES) text='Permission denied' ;;
	ENOENT) text='No such file or directory' ;;
	EEXIST) text='File exists' ;;
	ENOTEMPTY) text='Directory not empty' ;;
	ENAMETOOLONG) text='File name too long' ;;
	EISDIR) text='Is a directory' ;;
	ENOTDIR) text='Not a directory' ;;
	EXDEV) text='cross-device link' ;;
	*) fail "assert_errno: '$name' is not in the table" ;;
	esac
	err=$("$@" 2>&1 >/dev/null) || status=$?
	[ $status -ne 0 ] || fail "succeeded, not $name: $*"
	[[ $err == *"$text"* ]] || fail "expected $name: $*: $err"
}
