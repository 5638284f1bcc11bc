#!/bin/bash
# Every durable call of the worker of a mounted component fails once, and is once the last thing that it does: the mount goes on, and shows the old
# state or the new; a worker that was killed is replaced. The calls of one and the same change vary with its threads, and with what is in the
# store by then: a point that was not reached says nothing.
. "$(dirname "$0")/lib.sh"

# The points of test_points.sh are those of one process; here each is a change on a mount that stands.
KINDS='kill ENOSPC EIO full'

# mounted_points NAME KIND-OF-CHANGE OLD NEW: change_KIND makes it, change_KIND_back takes it back; both wait until it is shown, where nothing is
# in the way.
mounted_points() {
	local name=$1 began=$SECONDS
	printf 'CHANGE=%q OLD=%q NEW=%q\n' "$2" "$3" "$4" >"$SCRATCH/points.sh"
	. "$SCRATCH/points.sh"
	: >"$SCRATCH/command"
	HAVE_FSCK=$(have_command fsck && echo yes || :)
	export HAVE_FSCK
	MINE=$SCRATCH/results
	cp -a --sparse=never "$WORLD" "$SCRATCH/template"
	point_begin
	# Once without, for what is made once; then it is counted.
	"change_$CHANGE" && "change_${CHANGE}_back" || fail "without a fault: $(cat "$MINE/err")"
	fault_begin --list "$SCRATCH/calls"
	"change_$CHANGE" || fail "without a fault: $(cat "$MINE/err")"
	sleep 0.3
	fault_end
	"change_${CHANGE}_back" || fail "back without a fault: $(cat "$MINE/err")"
	point_end
	points_choose >"$SCRATCH/points"
	points_run
	points_tell "$name" "$began"
}

# ---- a worker of the test: a mount, and points on it ----

point_begin() {
	find "$WORLD" -mindepth 1 -delete
	cp -a --sparse=never "$SCRATCH/template/." "$WORLD"
	fs_mount thing "$WORLD/base" --io cached
}

point_end() {
	local faults
	fs_umount thing "$WORLD/base"
	faults=$(store_faults)
	[ -z "$faults" ] || fail "after all points: $faults"
}

fault_begin() {
	local pid
	pid=$(fs_status thing .worker)
	: >"$MINE/attached"
	"$VENEER_TOOLS/fault" "$@" --beneath "$STORE" --attach "$pid" >>"$MINE/attached" 2>&1 &
	FAULT=$!
	echo $FAULT >>"$FS_PIDS"
	fs_wait_for 3 grep -q attached "$MINE/attached" || fail "cannot attach: $(cat "$MINE/attached")"
}
# Its status: 125, the call was not reached.
fault_end() {
	local status=0
	kill -TERM $FAULT 2>/dev/null || :
	wait $FAULT || status=$?
	return $status
}

shows() { tool tree_listing -d -n "$SCRATCH/template/$1" >"$MINE/expected" && tool tree_listing -d -n "$WORLD/base" >"$MINE/shown" && cmp -s "$MINE/expected" "$MINE/shown"; }
active_tree() { git -C "$STORE/git" rev-parse 'refs/veneer/thing/active^{tree}'; }
# What is shown is what the ref says.
agrees() { [ "$CHANGE" != retire ] || { is_off && shows "$NEW"; return; }; if [ "$(active_tree)" = "$OLD_TREE" ]; then shows "$OLD"; else shows "$NEW"; fi; }
journal_agrees() { state_of | grep -q '^journal .* written down'; }

point() {
	local kind=$1 n=$2 status=0 reached=0 option
	case $kind in
	kill) option=(--kill "$n") ;;
	full) option=(--fail-from "$n=ENOSPC") ;;
	*) option=(--fail "$n=$kind") ;;
	esac
	OLD_TREE=$(active_tree)
	fault_begin "${option[@]}" --list "$MINE/calls"
	FAULTED=yes "change_$CHANGE" || status=$?
	fault_end || reached=$?
	PROBLEM=
	if [ $reached -eq 125 ]; then
		[ $status -eq 0 ] || PROBLEM="it failed without a fault: $(cat "$MINE/err")"
	elif [ $reached -ne 0 ]; then
		PROBLEM="fault ended with status $reached: $(cat "$MINE/attached")"
	elif [ $kind = kill ]; then
		judge_kill $status
	else
		judge_failure $status $kind
	fi
	judge_after
	if [ -n "$PROBLEM" ]; then
		say bad "$kind" "$n" "($(sed -n "${n}p" "$MINE/calls")) $PROBLEM"
	elif [ $reached -eq 125 ]; then
		say unreached "$kind" "$n"
	else
		say "$VERDICT" "$kind" "$n"
	fi
}

verdict_by_ref() { if [ "$(active_tree)" = "$OLD_TREE" ]; then VERDICT=old; else VERDICT=new; fi; }

judge_kill() {
	verdict_by_ref
	if ! fs_wait_for 10 agrees; then
		PROBLEM="after 10 s the mount does not show what the ref says ($VERDICT): $(diff "$MINE/expected" "$MINE/shown" | head -n 3)"
	fi
}

judge_failure() {
	local text='No space left on device'
	[ "$2" != EIO ] || text='Input/output error'
	verdict_by_ref
	if [ "$1" -eq 0 ]; then
		[ $VERDICT = new ] || [ -n "${ASYNCHRONOUS-}" ] || [ "$OLD" = "$NEW" ] || PROBLEM='status 0, and the old state'
		VERDICT=harmless
	elif [ "$(wc -l <"$MINE/err")" != 1 ] || ! grep -q "^veneer: .*$text" "$MINE/err"; then
		PROBLEM="no one clear line with '$text': $(cat "$MINE/err")"
	elif [ $VERDICT = new ] && [ "$OLD" != "$NEW" ]; then
		PROBLEM="it failed, and the ref has moved: $(cat "$MINE/err")"
	fi
	[ -n "$PROBLEM" ] || fs_wait_for 10 agrees || PROBLEM="after 10 s the mount does not show what the ref says ($VERDICT)"
}

# Nothing is in the way any more: the change is made, written down, and taken back.
judge_after() {
	[ -z "$PROBLEM" ] || { set_right; return; }
	if ! "change_$CHANGE"; then
		PROBLEM="afterwards it fails: $(cat "$MINE/err")"
	elif ! fs_wait_for 3 shows "$NEW"; then
		PROBLEM="afterwards the mount does not show the new state: $(diff "$MINE/expected" "$MINE/shown" | head -n 3)"
	elif ! fs_wait_for 5 journal_agrees; then
		PROBLEM="afterwards the journal is behind: $(state_of)"
	elif ! "change_${CHANGE}_back"; then
		PROBLEM="it cannot be taken back: $(cat "$MINE/err")"
	elif ! fs_wait_for 3 shows "$OLD"; then
		PROBLEM='taken back, the mount does not show the old state'
	fi
	[ -z "$PROBLEM" ] || set_right
}

# A bad point is not to spoil the next.
set_right() {
	fs_unmount "$WORLD/base" || :
	while read -r pid; do fs_end_pid "$pid"; done <"$FS_PIDS"
	: >"$FS_PIDS"
	point_begin
}

# ---- the changes ----

command_is() { T=60 v "$@" >"$MINE/out" 2>"$MINE/err" </dev/null; }
# Without the fault already done is as good.
unless_done() { [ -z "${FAULTED-}" ] && shows "$1" && [ "$(active_tree)" != "${OLD_TREE-}" ]; }

change_apply() { command_is apply thing a; }
change_apply_back() { command_is revert thing --all; }
case_apply() {
	world_with_patches
	mounted_points apply apply base one
}

change_revert() { unless_done base || command_is revert thing --all; }
change_revert_back() { command_is apply thing a; }
case_revert() {
	world_with_patches
	must v apply thing a
	mounted_points revert revert one base
}

change_rollback() { unless_done two || command_is rollback thing; }
change_rollback_back() { command_is switch thing base; }
case_rollback() {
	world_with_patches
	must v apply thing b
	must v switch thing base
	mounted_points rollback rollback base two
}

change_switch() { command_is switch thing b; }
change_switch_back() { command_is switch thing a; }
case_switch() {
	world_with_patches
	must v apply thing a
	mounted_points switch switch one two
}

# Plain git moves the ref, and the daemon follows: that may take what time it needs, where something is in the way.
move_ref() {
	: >"$MINE/err"
	git -C "$STORE/git" update-ref refs/veneer/thing/active "refs/veneer/thing/$1" 2>"$MINE/err" || return
	[ -n "${FAULTED-}" ] || fs_wait_for 3 shows "$2" || { echo 'it is not followed' >"$MINE/err"; return 1; }
	[ -z "${FAULTED-}" ] || fs_wait_for 1 followed "$2" || :
}
followed() { { shows "$1" && journal_agrees; } || ! kill -0 $FAULT 2>/dev/null; }
change_update_ref() { move_ref patches/a one; }
change_update_ref_back() { move_ref base base; }
case_update_ref() {
	world_with_patches
	ASYNCHRONOUS=yes
	export ASYNCHRONOUS
	mounted_points 'git update-ref' update_ref base one
}

# The base is replaced through the mount: at once it shows, whatever fails, and in the end the patch is taken off.
replace_f1() {
	: >"$MINE/err"
	{ t cp -p "$1" "$WORLD/base/.new" && t mv "$WORLD/base/.new" "$WORLD/base/f1"; } 2>"$MINE/err" || return
	t cmp "$1" "$WORLD/base/f1" >"$MINE/err" 2>&1
}
is_off() { [ "$(git -C "$STORE/git" rev-parse refs/veneer/thing/active)" = "$(git -C "$STORE/git" rev-parse refs/veneer/thing/base)" ] && journal_agrees; }
off_or_dead() { is_off || ! kill -0 $FAULT 2>/dev/null; }
replace_and_wait() {
	replace_f1 "$1" || return
	[ -n "${FAULTED-}" ] || fs_wait_for 20 is_off || { echo 'it is not taken off' >"$MINE/err"; return 1; }
	[ -z "${FAULTED-}" ] || fs_wait_for 1 off_or_dead || :
}
change_retire() { replace_and_wait "$SCRATCH/template/newer/f1"; }
change_retire_back() { replace_f1 "$SCRATCH/template/base/f1" && command_is apply thing a; }
case_retire() {
	world_with_patches
	must v apply thing a
	cp -a "$WORLD/base" "$WORLD/newer"
	fs_fill n 3500 >"$WORLD/newer/f1"
	ASYNCHRONOUS=yes
	export ASYNCHRONOUS
	mounted_points 'retired by the reconciler' retire one newer
}

change_absorb() { replace_and_wait "$SCRATCH/template/three/f1"; }
change_absorb_back() { replace_f1 "$SCRATCH/template/base/f1" && command_is apply thing c; }
case_absorb() {
	world_with_patches
	cp -a "$WORLD/base" "$WORLD/three"
	fs_fill c 4000 >"$WORLD/three/f1"
	must v create thing -m three --from "$WORLD/three" --label c
	must v apply thing c
	ASYNCHRONOUS=yes
	export ASYNCHRONOUS
	mounted_points 'absorbed by the reconciler' absorb three three
}

change_refresh() { command_is refresh thing; }
change_refresh_back() { :; }
case_refresh() {
	world_with_patches
	must v apply thing a
	mounted_points refresh refresh one one
}

crash_main "$@"
