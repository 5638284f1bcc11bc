#!/bin/bash
# What a mount survives besides kill -9 (test_kill.sh): no memory, a worker that is stopped, and two who switch at once.
. "$(dirname "$0")/lib.sh"

worker_process() { pgrep -P "$FS_DAEMON" -x veneer | head -n 1 || :; }
workers() { fs_status thing .workers; }
modes() { if fs_have_passthrough; then echo cached passthrough; else echo cached; fi; }

# two_patches: $BASE with the patches a and b over different files.
two_patches() {
	fs_setup
	BASE=$SCRATCH/base
	mkdir "$BASE"
	cp "$(type -P true)" "$BASE/program" # for the load
	echo new >"$BASE/patched"
	echo old >"$BASE/one"
	echo old >"$BASE/two"
	fs_component thing "$BASE"
	local label file
	for label in a:one b:two; do
		file=${label#*:}
		rm -rf "$SCRATCH/new"
		cp -a "$BASE" "$SCRATCH/new"
		echo "new $file" >"$SCRATCH/new/$file"
		fs_create thing -m "$file" --label "${label%:*}" --from "$SCRATCH/new" >/dev/null
	done
}

# ---- no memory ----

# A memory cgroup within our own, in CGROUP; its files differ between the versions.
make_cgroup() {
	local line path
	line=$(grep -m 1 ':memory:' /proc/self/cgroup || grep -m 1 '^0::' /proc/self/cgroup) || skip 'no memory cgroup here'
	path=${line##*:}
	if [[ $line == *:memory:* ]]; then
		CGROUP=/sys/fs/cgroup/memory${path%/}/veneer-test.$$ CGROUP_LIMIT=memory.limit_in_bytes CGROUP_EVENTS=memory.oom_control
	else
		CGROUP=/sys/fs/cgroup${path%/}/veneer-test.$$ CGROUP_LIMIT=memory.max CGROUP_EVENTS=memory.events
	fi
	mkdir "$CGROUP" 2>/dev/null || skip "no cgroup can be made at '$CGROUP'"
	if ! [ -w "$CGROUP/$CGROUP_LIMIT" ] || ! echo 262144 >"$CGROUP/$CGROUP_LIMIT" 2>/dev/null; then
		rmdir "$CGROUP"
		skip "a cgroup at '$CGROUP' has no limit of memory"
	fi
	if [ -w "$CGROUP/memory.swap.max" ]; then echo 0 >"$CGROUP/memory.swap.max" || :; fi
}
oom_kills() { awk '$1 == "oom_kill" { print $2 }' "$CGROUP/$CGROUP_EVENTS"; }
remove_cgroup() { rmdir "$CGROUP" 2>/dev/null; }
another_worker() { local now; now=$(worker_process); [ -n "$now" ] && [ "$now" != "$1" ]; }

# The kernel's OOM killer ends the worker under load, again and again: nobody gets an error.
out_of_memory() {
	local io=$1 i pid load status=0
	two_patches
	must v apply thing
	fs_mount thing "$BASE" --io "$io"
	make_cgroup
	T=60 tool kill_load "$BASE" 4 12 >"$SCRATCH/said" 2>"$SCRATCH/failures" &
	load=$!
	fs_remember_pid $load
	for ((i = 0; i < 8; i++)); do
		pid=$(worker_process)
		echo "$pid" >"$CGROUP/cgroup.procs" || fail 'the worker cannot be put into the cgroup'
		fs_wait_for 10 another_worker "$pid" || fail "round $i: the worker is not killed: $(cat "$CGROUP/$CGROUP_EVENTS")"
		sleep 0.2
	done
	wait $load || status=$?
	cat "$SCRATCH/said"
	echo "killed for want of memory: $(oom_kills)"
	[ $status = 0 ] || fail "status $status: $(cat "$SCRATCH/said" "$SCRATCH/failures")"
	assert_match ', 0 failed' "$(cat "$SCRATCH/said")" 'what the load says'
	[ "$(oom_kills)" -ge 8 ] || fail "the kernel has killed $(oom_kills) of 8"
	fs_wait_for 10 remove_cgroup || fail "'$CGROUP' is not empty"
	[ "$(workers)" -ge 9 ] || fail "this is worker $(workers)"
	assert_content 'new two' "$BASE/two"
	rm -rf "$BASE"/[0-9]
	fs_umount thing "$BASE"
}
case_out_of_memory_cached() { out_of_memory cached; }
case_out_of_memory_passthrough() {
	fs_have_passthrough || { fs_setup; skip "passthrough needs Linux 6.9, this is $(uname -r)"; }
	out_of_memory passthrough
}

# ---- stopped ----

# For five seconds nothing is answered; then everything is. Who reads what was read before has not noticed; with passthrough each open is
# asked for, and what is open is read by the kernel.
stopped() {
	local io=$1 pid load status=0 i fd line open=()
	two_patches
	must v apply thing
	fs_mount thing "$BASE" --io "$io"
	t cat "$BASE/one" "$BASE/two" >/dev/null && t ls -l "$BASE" >/dev/null
	for ((i = 0; i < 10; i++)); do
		exec {fd}<"$BASE/two"
		open+=("$fd")
	done
	T=60 tool kill_load "$BASE" 4 8 >"$SCRATCH/said" 2>"$SCRATCH/failures" &
	load=$!
	fs_remember_pid $load
	sleep 1
	pid=$(worker_process)
	kill -STOP "$pid"
	for ((i = 0; i < 10; i++)); do
		sleep 0.5
		assert_match '^State:.T ' "$(cat "/proc/$pid/status")" 'the worker'
		# A plain read: neither stat(2), nor poll(2) or ioctl(2), for which the kernel asks.
		line=$(T=5 t head -c 7 <&"${open[i]}") || { kill -CONT "$pid"; fail 'an open file waits for the worker'; }
		assert_equal 'new two' "$line" 'an open file while the worker is stopped'
		[ "$io" != cached ] || assert_equal 'new two' "$(T=5 t cat "$BASE/two")" 'a warm file while the worker is stopped'
	done
	kill -CONT "$pid"
	wait $load || status=$?
	cat "$SCRATCH/said"
	[ $status = 0 ] || fail "status $status: $(cat "$SCRATCH/said" "$SCRATCH/failures")"
	assert_match ', 0 failed' "$(cat "$SCRATCH/said")" 'what the load says'
	assert_equal "$pid" "$(worker_process)" 'the worker'
	for fd in "${open[@]}"; do exec {fd}<&-; done
	must v revert thing
	assert_content old "$BASE/two"
	rm -rf "$BASE"/[0-9]
	fs_umount thing "$BASE"
}
case_stopped_cached() { stopped cached; }
case_stopped_passthrough() {
	fs_have_passthrough || { fs_setup; skip "passthrough needs Linux 6.9, this is $(uname -r)"; }
	stopped passthrough
}

# ---- two at once ----

applied() { v log thing --json | jq '[.[] | select(.action == "applied")] | length'; }
stack() { v status thing --json | jq -r '.[0].version_label'; }

# at_once LABEL LABEL WANTED…: both are applied at once; the version is then one of WANTED, and each file is its patch's.
at_once() {
	local first=$1 second=$2 one two before after wanted version
	shift 2
	before=$(applied)
	v apply thing "$first" >"$SCRATCH/first" 2>&1 &
	one=$!
	v apply thing "$second" >"$SCRATCH/second" 2>&1 &
	two=$!
	wait $one || fail "$WHAT: apply $first: $(cat "$SCRATCH/first")"
	wait $two || fail "$WHAT: apply $second: $(cat "$SCRATCH/second")"
	version=$(stack)
	for wanted; do [ "$version" != "$wanted" ] || break; done
	assert_equal "$wanted" "$version" "$WHAT: the version"
	after=$(applied)
	if [ "$first" = "$second" ]; then
		assert_equal $((before + 1)) "$after" "$WHAT: entries of the journal"
	else
		assert_equal $((before + 2)) "$after" "$WHAT: entries of the journal"
	fi
	must v revert thing --all
}

case_two_at_once() {
	two_patches
	local i rounds mounted
	rounds=$(fs_count 50 10)
	for mounted in no yes; do
		[ $mounted = no ] || fs_mount thing "$BASE"
		for ((i = 0; i < rounds; i++)); do
			WHAT="round $i, mounted: $mounted, two labels"
			at_once a b 'base (a, b)' 'base (b, a)'
			WHAT="round $i, mounted: $mounted, one label"
			at_once a a 'base (a)'
			[ $((i % 25)) -gt 0 ] || must g fsck --strict
		done
		must g fsck --strict
	done
	must v apply thing a b
	assert_content 'new one' "$BASE/one"
	assert_content 'new two' "$BASE/two"
	fs_umount thing "$BASE"
}

# Killed while two switch: what is active is what one of them wanted, or what there was.
case_two_at_once_under_kills() {
	two_patches
	local i one two
	fs_mount thing "$BASE"
	for ((i = 0; i < $(fs_count 20 5); i++)); do
		v apply thing a >/dev/null 2>&1 &
		one=$!
		v apply thing b >/dev/null 2>&1 &
		two=$!
		sleep "0.00$((RANDOM % 10))"
		kill -KILL "$(worker_process)" 2>/dev/null || :
		wait $one || :
		wait $two || :
		fs_wait_for 10 shows_what_is_active || fail "round $i: one has '$(cat "$BASE/one")', two has '$(cat "$BASE/two")', the version is $(stack)"
		must v revert thing --all
	done
	must g fsck --strict
	fs_umount thing "$BASE"
}
shows_what_is_active() {
	local version one=old two=old
	version=$(stack) || return 1
	[[ ! $version =~ \(.*a.*\) ]] || one='new one'
	[[ ! $version =~ \(.*b.*\) ]] || two='new two'
	[ "$(t cat "$BASE/one")" = "$one" ] && [ "$(t cat "$BASE/two")" = "$two" ]
}

fs_main "$@"
