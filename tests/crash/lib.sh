# shellcheck shell=bash
# What the tests of this folder share: a command is run again and again, and each time another of its durable calls (tests/tools/fault)
# fails, or is the last thing that happens.
#
# Calling sequence, in a test script:
#
#	. "$(dirname "$0")/lib.sh"
#	case_apply() { world; …; points apply apply thing a; }
#	crash_main "$@"
#
# The store lies at $WORLD/store, the component's directory at $WORLD/base. `points` keeps what the case has made there as a template; each
# worker (there is one for each processor) is in a mount namespace of its own, in which $WORLD is a tmpfs with a copy of the template. So
# nothing of one point is left for the next, all paths are as they were, and a worker that mounts something disturbs nobody.
#
# Environment: VENEER_CRASH=full for every point; else, where a command has many, every k-th, from a start that changes with each run
# (VENEER_CRASH_START sets it, to do one again). VENEER_CRASH_POINTS: how many each kind of fault has then (12). VENEER_CRASH_ONLY="KIND N": that point alone.

. "$(dirname "${BASH_SOURCE[0]}")/../fs/lib.sh"

CRASH_POINTS=${VENEER_CRASH_POINTS:-12}
CRASH_START=${VENEER_CRASH_START:-$(($(date +%s) % 1000))}
export VENEER_CRASH_START=$CRASH_START
KINDS='kill kill-after ENOSPC EIO full short'

crash_main() {
	case ${1-} in
	--worker) shift; crash_worker "$@"; exit ;;
	--case) ;;
	*) echo "every point is taken with VENEER_CRASH=full; the start of this run is VENEER_CRASH_START=$CRASH_START" ;;
	esac
	fs_main "$@"
}

# ---- the world ----

# Makes $WORLD, with a small component in it, and the environment of both.
world() {
	fs_setup
	WORLD=$SCRATCH/world
	mkdir "$WORLD" "$SCRATCH/results"
	# What is tried is the order of system calls, not a disk: on a tmpfs it is fast.
	mount -t tmpfs -o mode=0755 crash "$WORLD"
	fs_remember_mount "$WORLD"
	STORE=$WORLD/store
	crash_environment
	local i
	mkdir -p "$WORLD/base/d"
	for i in 1 2 3 4; do fs_fill "$i" 3000 >"$WORLD/base/f$i"; done
	fs_fill x 100 >"$WORLD/base/d/x"
	ln -s f1 "$WORLD/base/link"
	cp -a "$WORLD/base" "$WORLD/one"
	fs_fill a 4000 >"$WORLD/one/f1"
	rm "$WORLD/one/f2"
	fs_fill a 200 >"$WORLD/one/d/y"
	cp -a "$WORLD/base" "$WORLD/two"
	fs_fill b 5000 >"$WORLD/two/f3"
	chmod 4755 "$WORLD/two/f4"
}

# A leak cannot be looked for in a process that is traced.
crash_environment() {
	export ASAN_OPTIONS="log_path=$SCRATCH/sanitizer:detect_leaks=0" WORLD STORE SCRATCH
}

# The store with the component, and patches a (from one/) and b (from two/).
world_with_patches() {
	world
	fs_component thing "$WORLD/base" --base-version 1
	must v create thing -m one --from "$WORLD/one" --label a
	must v create thing -m two --from "$WORLD/two" --label b
}

# ---- what state is that? ----

have_command() { "$VENEER" help 2>/dev/null | grep -q "^ *$1 "; }

# state_of: the store's whole state, in lines that do not depend on the time: each ref of the component with its tree, the journal's length
# and whether it ends with what is active, the policy.
state_of() {
	local git=$STORE/git
	if ! [ -s "$git/HEAD" ] || ! git -C "$git" for-each-ref --format='%(refname:lstrip=2) %(objectname) %(tree)' >"$MINE/refs" 2>"$MINE/said"; then
		echo 'no store'
		return
	fi
	: >"$MINE/journal"
	! grep -q '/journal ' "$MINE/refs" ||
		git -C "$git" log --first-parent --format='To %(trailers:key=To,valueonly,separator=) %(trailers:key=From,valueonly,separator=) %(trailers:key=Action,valueonly,separator=)' \
			refs/veneer/thing/journal >"$MINE/journal"
	awk '
		FILENAME ~ /journal$/ { if (NF == 4) { entries++; if (entries == 1) { to = $2; from = $4 == "refused" ? $3 : to } }; next }
		$1 ~ /journal$/ { next }
		$1 ~ /active$/ { active = $2 }
		{ print $1, $3 }
		END { print "journal", entries + 0, to == active || from == active ? "written down" : "behind" }
	' "$MINE/journal" "$MINE/refs"
	[ ! -e "$STORE/policy/thing" ] || cat "$STORE/policy/thing"
}

# What is wrong with the store; nothing: all is well. Objects and packs that no ref leads to are fine.
store_faults() {
	local said
	[ -s "$STORE/git/HEAD" ] || return 0
	if ! said=$(git -C "$STORE/git" fsck --strict --no-dangling --no-progress 2>&1) || [ -n "$(grep -v '^notice: ' <<<"$said")" ]; then
		echo "git fsck: $said"
	fi
	if [ -n "$HAVE_FSCK" ]; then
		said=$(v fsck 2>&1) || echo "veneer fsck: $said"
	fi
}

# shown_as DIR: what is wrong with what a mount of the component shows, compared with DIR; nothing: it is that, byte for byte.
shown_as() {
	local status=0
	(fs_mount thing "$WORLD/base") >"$MINE/said" 2>&1 || { echo "it cannot be mounted: $(cat "$MINE/said")"; return; }
	tool tree_listing -d -n "$1" >"$MINE/expected" 2>&1 || status=1
	tool tree_listing -d -n "$WORLD/base" >"$MINE/shown" 2>&1 || status=1
	if [ $status -ne 0 ] || ! cmp -s "$MINE/expected" "$MINE/shown"; then
		echo "the mount shows something else than '$1': $(diff "$MINE/expected" "$MINE/shown" | head -n 3 | tr '\n' ';')"
	fi
	v umount thing >"$MINE/said" 2>&1 || echo "it cannot be unmounted: $(cat "$MINE/said")"
}

# ---- the points of a command ----

# points NAME OLD NEW WORD…: `veneer WORD…` in the world as it is now, at every point. OLD and NEW are what a mount shows before and after it
# ("": there is nothing to mount). With BROKEN set the store is not in order before it.
points() {
	local name=$1 old=$2 new=$3 status=0 began=$SECONDS
	shift 3
	MINE=$SCRATCH/results
	HAVE_FSCK=$(have_command fsck && echo yes || :)
	export HAVE_FSCK
	printf '%s\0' "$@" >"$SCRATCH/command"
	printf 'OLD=%q NEW=%q BENEATH=%q BROKEN=%q\n' "$old" "$new" "${BENEATH-}" "${BROKEN-}" >"$SCRATCH/points.sh"
	cp -a --sparse=never "$WORLD" "$SCRATCH/template"
	state_of >"$SCRATCH/state.old"
	tool fault --list "$SCRATCH/calls" --beneath "${BENEATH:-$STORE}" "$VENEER" --store "$STORE" "$@" >"$MINE/out" 2>&1 </dev/null || status=$?
	[ $status -eq 0 ] || fail "without a fault: status $status: $(cat "$MINE/out")"
	state_of >"$SCRATCH/state.new"
	v "$@" >"$MINE/out" 2>&1 </dev/null || status=$?
	echo $status >"$SCRATCH/status.again"
	state_of >"$SCRATCH/state.again"
	if [ -n "${VENEER_CRASH_ONLY-}" ]; then echo "$VENEER_CRASH_ONLY" >"$SCRATCH/points"; else points_choose >"$SCRATCH/points"; fi
	points_run
	points_tell "$name" "$began"; [ -z "${VENEER_CRASH_CALLS-}" ] || cat "$SCRATCH/calls"
}

# "KIND N" for each point. Where a call has another effect than none, the moment after it is the moment before the next: kill-after is for the last.
points_choose() {
	local kind count step=1 start=1 n
	count=$(wc -l <"$SCRATCH/calls")
	if [ "${VENEER_CRASH-}" != full ] && [ "$count" -gt "$CRASH_POINTS" ]; then
		step=$(((count + CRASH_POINTS - 1) / CRASH_POINTS))
		start=$((CRASH_START % step + 1))
	fi
	for kind in $KINDS; do
		case $kind in
		kill-after) echo "kill-after $count" ;;
		short) awk '$2 == "write" || $2 == "pwrite64" { print "short", $1 }' "$SCRATCH/calls" ;;
		*) for ((n = start; n <= count; n += step)); do echo "$kind $n"; done ;;
		esac
	done
}

points_run() {
	local k jobs=()
	for ((k = 0; k < $(nproc); k++)); do
		unshare -m --propagation private bash "$0" --worker $k "$(nproc)" </dev/null >"$SCRATCH/results/$k" 2>"$SCRATCH/results/$k.err" &
		jobs+=($!)
	done
	for k in "${jobs[@]}"; do
		wait "$k" || { cat "$SCRATCH"/results/*.err >&2; fail 'a worker failed'; }
	done
}

# A line for people, and failure where a point was bad.
points_tell() {
	cat "$SCRATCH"/results/[0-9] | awk -v name="$1" -v seconds=$((SECONDS - $2)) -v calls="$(wc -l <"$SCRATCH/calls")" '
		{ points++; count[$1]++; kind[$2] }
		END { printf "POINTS %s: %d (%d calls): %d old, %d new, %d between, %d did not matter, %d not reached, %d bad; %d s\n", name, points, calls,
			count["old"], count["new"], count["between"], count["harmless"], count["unreached"], count["bad"], seconds }'
	if grep -h '^bad' "$SCRATCH"/results/[0-9] >"$SCRATCH/bad"; then
		while read -r _ kind n what; do
			echo "BAD $kind $n ($(sed -n "${n}p" "$SCRATCH/calls")): $what"
		done <"$SCRATCH/bad" | sed "s,$WORLD/,,g" | sed -n '1,60p' >&2
		fail "$1: $(wc -l <"$SCRATCH/bad") bad points"
	fi
}

# ---- a worker ----

# crash_worker K OF: every OF-th point from the K-th.
crash_worker() {
	local k=$1 of=$2 kind n i=0
	MINE=$SCRATCH/worker.$k
	mkdir "$MINE"
	FS_CASE=worker FS_MOUNTS=$MINE/mounts FS_PIDS=$MINE/pids FS_LOG=$MINE/log
	: >"$FS_MOUNTS"
	mount -t tmpfs -o mode=0755 crash "$WORLD"
	mapfile -d '' COMMAND <"$SCRATCH/command"
	. "$SCRATCH/points.sh"
	declare -gA SEEN=()
	# What it has mounted goes with its namespace, when nobody is left in that.
	trap '[ $BASHPID = $$ ] || exit; while read -r pid; do kill -KILL "$pid" 2>/dev/null; done <"$FS_PIDS"' EXIT
	: >"$FS_PIDS"
	! declare -F point_begin >/dev/null || point_begin
	while read -r kind n; do
		[ $((i++ % of)) = "$k" ] || continue
		point "$kind" "$n"
	done <"$SCRATCH/points"
	! declare -F point_end >/dev/null || point_end
}

restore() {
	find "$WORLD" -mindepth 1 -delete
	cp -a --sparse=never "$SCRATCH/template/." "$WORLD"
}

# say VERDICT KIND N [WHAT]
say() { echo "$@" | tr '\n' ' '; echo; }

# point KIND N: one line, "VERDICT KIND N …".
point() {
	local kind=$1 n=$2 status=0 option text='' verdict problem
	restore
	case $kind in
	kill | kill-after | short) option=(--$kind "$n") ;;
	full) option=(--fail-from "$n=ENOSPC") text='No space left on device' ;;
	ENOSPC) option=(--fail "$n=ENOSPC") text='No space left on device' ;;
	EIO) option=(--fail "$n=EIO") text='Input/output error' ;;
	esac
	T=60 tool fault "${option[@]}" --list "$MINE/calls" --beneath "${BENEATH:-$STORE}" "$VENEER" --store "$STORE" "${COMMAND[@]}" \
		>"$MINE/out" 2>"$MINE/err" </dev/null || status=$?
	if [ $status -eq 125 ]; then
		say unreached "$kind" "$n"
		return
	fi
	state_of >"$MINE/state"
	if [ -n "$BROKEN" ]; then
		verdict=$(judge_mending "$kind" $status "$text")
		if [[ $verdict == bad* ]]; then say "$verdict"; else say "$verdict" "$kind" "$n"; fi
		return
	fi
	case $kind in
	kill*) verdict=$(judge_kill $status) ;;
	*) verdict=$(judge_failure $status "$text") ;;
	esac
	problem=
	[[ $verdict == bad* ]] || problem=$(store_faults)
	if [[ $verdict != bad* ]] && [ -z "$problem" ] && is_new_to_mounts; then problem=$(look_at_mount); fi
	[[ $verdict == bad* ]] || [ -n "$problem" ] || problem=$(judge_next)
	[ -z "$problem" ] || verdict="bad $problem"
	say "${verdict%% *}" "$kind" "$n" "${verdict#* }"
}

# Each ref is the old or the new one; the journal may lack its last entry.
is_between() {
	! grep -v '^journal ' "$MINE/state" | grep -qvxFf "$SCRATCH/state.old" -f "$SCRATCH/state.new" || return 1
	! grep '^journal ' "$MINE/state" | grep -v ' behind$' | grep -qvxFf "$SCRATCH/state.old" -f "$SCRATCH/state.new" || return 1
	! grep -xFf "$SCRATCH/state.old" "$SCRATCH/state.new" | grep -v '^journal' | grep -qvxFf "$MINE/state"
}

differences() { diff "$SCRATCH/state.old" "$MINE/state" | tr '\n' ';'; }

judge_kill() {
	if [ "$1" -ne 137 ]; then
		echo "bad status $1: $(cat "$MINE/err")"
	elif cmp -s "$MINE/state" "$SCRATCH/state.old"; then
		echo old
	elif cmp -s "$MINE/state" "$SCRATCH/state.new"; then
		echo new
	elif is_between; then
		echo between
	else
		echo "bad neither the old state nor the new: $(differences)"
	fi
}

judge_failure() {
	if [ "$1" -eq 0 ]; then
		cmp -s "$MINE/state" "$SCRATCH/state.new" && echo harmless || echo "bad status 0, and the state is not the new one: $(differences)"
	elif [ "$1" -ne 1 ]; then
		echo "bad status $1: $(cat "$MINE/err")"
	elif ! cmp -s "$MINE/state" "$SCRATCH/state.old"; then
		echo "bad it failed, and the state is not the old one: $(differences) $(cat "$MINE/err")"
	elif [ "$(grep -vc '^veneer: after somebody was stopped at work: ' "$MINE/err")" != 1 ] || ! grep -q "^veneer: .*$2" "$MINE/err"; then
		echo "bad no one clear line with '$2': $(cat "$MINE/err")"
	elif [ -n "$(leftovers)" ] && ! grep -q unlink <<<"$(tail -n 3 "$MINE/calls")"; then
		echo "bad left behind: $(leftovers)"
	else
		echo old
	fi
}

leftovers() { find "$STORE" -name '.tmp-*' -o -path '*/git/*.lock' 2>/dev/null | tr '\n' ' '; }

# What is active in a file that state_of wrote.
active_in() { awk '$1 ~ /active$/' "$1"; }

# Of the same state with the same objects one mount is enough.
is_new_to_mounts() {
	local key
	[ -n "$OLD" ] && grep -q '^thing/base ' "$MINE/state" || return 1
	key=$(cat "$MINE/state" <(cd "$STORE" && find objects -printf '%P %s\n' | sort; find git/objects -type f | wc -l) | md5sum)
	[ -z "${SEEN[$key]-}" ] || return 1
	SEEN[$key]=1
}

look_at_mount() {
	local expected=$OLD
	[ "$(active_in "$MINE/state")" = "$(active_in "$SCRATCH/state.old")" ] || expected=$NEW
	cp -a --sparse=never "$STORE" "$MINE/kept"
	shown_as "$SCRATCH/template/$expected"
	rm -rf "$STORE"
	mv "$MINE/kept" "$STORE"
}

# judge_mending KIND STATUS TEXT: it mends one thing after another; whatever was left, the same command goes on with, and then all is well.
judge_mending() {
	local status=0 verdict=harmless
	case $1 in
	kill*) verdict=between; [ "$2" -eq 137 ] || { echo "bad $1 $n status $2: $(cat "$MINE/err")"; return; } ;;
	*)
		if [ "$2" -ne 0 ]; then
			verdict=between
			[ "$2" -eq 1 ] && grep -q "^veneer: .*$3" "$MINE/err" || { echo "bad $1 $n status $2, no clear line with '$3': $(cat "$MINE/err")"; return; }
		fi
		;;
	esac
	T=60 v "${COMMAND[@]}" >"$MINE/out" 2>"$MINE/err" </dev/null || status=$?
	state_of >"$MINE/state"
	if [ $status -ne 0 ]; then
		echo "bad $1 $n then status $status: $(cat "$MINE/err")"
	elif ! cmp -s <(grep -v '^journal' "$SCRATCH/state.new") <(grep -v '^journal' "$MINE/state"); then
		echo "bad $1 $n then another state than it leads to: $(diff "$SCRATCH/state.new" "$MINE/state" | tr '\n' ';')"
	else
		status=$(store_faults)
		echo "${status:+bad $1 $n }${status:-$verdict}"
	fi
}

# After half of a change the command either ends it, or finds it done. A base that nobody stood on yet may still be one, and the journal has what is missing.
judge_after_between() {
	local file
	[ "$1" -eq 0 ] || [ "$1" -eq "$(cat "$SCRATCH/status.again")" ] || { echo "then status $1: $(cat "$MINE/err")"; return; }
	grep -q '^journal .* written down' "$MINE/state" || { echo "then the journal is behind: $(cat "$MINE/state")"; return; }
	for file in new again; do
		if cmp -s <(grep -v -e '^journal ' -e '/active ' "$SCRATCH/state.$file") <(grep -v -e '^journal ' -e '/active ' "$MINE/state"); then
			store_faults
			return
		fi
	done
	echo "then another state than it leads to: $(diff "$SCRATCH/state.again" "$MINE/state" | tr '\n' ';')"
}

# The same command afterwards does what it would have done.
judge_next() {
	local status=0 wanted=$SCRATCH/state.new expected=0
	T=60 v "${COMMAND[@]}" >"$MINE/out" 2>"$MINE/err" </dev/null || status=$?
	cp "$MINE/state" "$MINE/before"
	state_of >"$MINE/state"
	if cmp -s "$MINE/before" "$SCRATCH/state.new"; then
		wanted=$SCRATCH/state.again expected=$(cat "$SCRATCH/status.again")
	elif ! cmp -s "$MINE/before" "$SCRATCH/state.old"; then
		judge_after_between $status
		return
	fi
	[ $status -eq "$expected" ] || { echo "then status $status, not $expected: $(cat "$MINE/err")"; return; }
	cmp -s "$wanted" "$MINE/state" || { echo "then another state than it leads to: $(diff "$wanted" "$MINE/state" | tr '\n' ';')"; return; }
	store_faults
}
