#!/bin/bash
# A mount goes from one program to another: no unmount, no failed operation; and where that cannot be, all stays as it was.
#
# Environment: VENEER_TAKEOVERS, for the long form: so many of each kind of mount.
. "$(dirname "$0")/lib.sh"
if [ -n "${VENEER_TAKEOVERS-}" ]; then VENEER_CASE_SECONDS=${VENEER_CASE_SECONDS:-3600}; fi

# mounted [mount's options]: $BASE, mounted, with a patched file; $NEXT, another copy of the program.
mounted() {
	fs_setup
	BASE=$SCRATCH/base NEXT=$SCRATCH/next-veneer
	mkdir "$BASE"
	echo old >"$BASE/patched"
	cp "$(type -P true)" "$BASE/program"
	cp "$VENEER" "$NEXT"
	fs_component thing "$BASE"
	cp -a "$BASE" "$SCRATCH/new"
	echo new >"$SCRATCH/new/patched"
	fs_create thing -m patch --from "$SCRATCH/new" >/dev/null
	must v apply thing
	fs_mount thing "$BASE" "$@"
}

supervisor() { fs_status thing .pid; }
worker() { fs_status thing .worker; }
program_of() { readlink "/proc/$1/exe"; }
ended() { ! kill -0 "$1" 2>/dev/null; }

# take_over PROGRAM: the mount is its own; the one before ends well.
take_over() {
	local before=$FS_DAEMON status=0
	must t "$1" --store "$STORE" takeover thing
	FS_DAEMON=$(supervisor)
	fs_remember_pid "$FS_DAEMON"
	[ "$FS_DAEMON" != "$before" ] || fail "process $before still serves"
	fs_wait_for 5 ended "$before" || fail "process $before has not ended"
	! [ "$(jobs -p | grep -cx "$before")" = 1 ] || wait "$before" || status=$?
	assert_equal 0 $status 'exit status of the daemon that was'
}

# Processes in whose mount namespace it is still mounted, and those that have something of it open.
holders() {
	local pid
	for pid in /proc/[0-9]*; do
		if grep -q " $BASE " "$pid/mountinfo" 2>/dev/null; then echo "${pid#/proc/} $(tr '\0' ' ' <"$pid/cmdline") (mounted)"; fi
		if ls -l "$pid"/cwd "$pid"/exe "$pid"/fd "$pid"/root 2>/dev/null | grep -q -e "-> $BASE"; then echo "${pid#/proc/} $(tr '\0' ' ' <"$pid/cmdline") (open)"; fi
	done
}

# A daemon that this shell has not started: it is waited for by looking.
umounted() {
	local said
	said=$(v umount thing) || fail "umount: $said"
	! fs_is_mounted "$BASE" || fail "'$BASE' is still mounted"
	fs_wait_for 20 ended "$FS_DAEMON" || fail "process $FS_DAEMON has not ended ($said), mounted for: $(holders)"
}

# Another program serves what this one did: what is open, locked, stood in; and all commands work.
case_another_program() {
	mounted
	local holder
	mkdir "$BASE/d"
	echo content >"$BASE/d/file"
	exec 5<"$BASE/d/file" 6<"$BASE/patched" 7>>"$BASE/d/log"
	flock -n 7 || fail 'no lock'
	cd "$BASE/d"
	must v revert thing
	rm "$BASE/d/file"
	take_over "$NEXT"
	assert_equal "$NEXT" "$(program_of "$FS_DAEMON")" 'the program of the supervisor'
	assert_equal "$NEXT" "$(program_of "$(worker)")" 'the program of the worker'
	assert_equal content "$(t cat <&5)" 'an unlinked file that is open'
	assert_equal new "$(t cat <&6)" 'the patched file as it was opened'
	assert_content old "$BASE/patched"
	! t flock -n "$BASE/d/log" true || fail 'the lock is gone'
	must t touch here
	must v apply thing
	assert_content new "$BASE/patched"
	# It is replaced like any other.
	kill -KILL "$(worker)"
	assert_content new "$BASE/patched"
	assert_equal content "$(t cat /proc/self/fd/5)" 'the unlinked file, after its worker was killed'
	take_over "$VENEER"
	assert_content new "$BASE/patched"
	assert_equal content "$(t cat /proc/self/fd/5)" 'the unlinked file, with the next program'
	cd /
	exec 5<&- 6<&- 7>&-
	umounted
	assert_content old "$BASE/patched"
}

under_load() {
	local rounds=${VENEER_TAKEOVERS:-$(fs_count 15 5)} i programs load
	mounted "$@"
	programs=("$NEXT" "$VENEER")
	"$VENEER_TOOLS/kill_load" "$BASE" 4 $((rounds * 10 + 300)) >"$SCRATCH/said" 2>"$SCRATCH/failures" &
	load=$!
	fs_remember_pid $load
	for ((i = 0; i < rounds; i++)); do
		take_over "${programs[i % 2]}"
		[ $((i % 4)) != 0 ] || kill -KILL "$(worker)"
		sleep "0.0$((RANDOM % 10))"
	done
	kill -TERM $load
	wait $load || fail "$(cat "$SCRATCH/said" "$SCRATCH/failures")"
	echo "$rounds takeovers: $(cat "$SCRATCH/said")"
	assert_match ', 0 failed' "$(cat "$SCRATCH/said")" 'what the load says'
	umounted
}

case_under_load_cached() { under_load --io cached; }

case_under_load_passthrough() {
	fs_have_passthrough || { fs_setup; skip "passthrough needs Linux 6.9, this is $(uname -r)"; }
	under_load --io passthrough
}

# Nor does a command fail that switches meanwhile.
case_during_switches() {
	mounted
	local i programs=("$NEXT" "$VENEER")
	: >"$SCRATCH/go_on"
	while [ -e "$SCRATCH/go_on" ]; do
		v revert thing || echo "FAILED: revert: $?"
		v apply thing || echo "FAILED: apply: $?"
	done >"$SCRATCH/switches" 2>&1 &
	for ((i = 0; i < $(fs_count 10 4); i++)); do
		take_over "${programs[i % 2]}"
		sleep "0.0$((RANDOM % 10))"
	done
	rm "$SCRATCH/go_on"
	wait $! || :
	assert_match applied "$(cat "$SCRATCH/switches")" 'what the commands said'
	! grep -B 1 FAILED "$SCRATCH/switches" || fail 'a command failed'
	assert_content new "$BASE/patched"
	umounted
}

# What it was mounted with stays.
case_options() {
	mounted --write deny --io cached --on-failure closed
	take_over "$NEXT"
	assert_errno EROFS t touch "$BASE/made"
	assert_equal cached "$(fs_status thing .io)" 'how it serves'
	kill -KILL "$FS_DAEMON"
	fs_wait_for 5 is_dead || fail "it shows: $(T=5 t ls "$BASE" 2>&1)"
	must v umount thing
}
is_dead() { [[ $(T=5 t cat "$BASE/patched" 2>&1) == *'Transport endpoint is not connected'* ]]; }

# still_serves PID: as if nobody had asked.
still_serves() {
	assert_equal "$1" "$(supervisor)" 'who serves'
	assert_content new "$BASE/patched"
	must t touch "$BASE/still"
}

# A program that means something else by the tables is refused, before anything ends.
case_another_format() {
	mounted
	local worker
	worker=$(worker)
	assert_refused 1 "goes on being served.*another format.*veneer umount thing" t "$VENEER_TOOLS/veneer_other_format" --store "$STORE" takeover thing
	still_serves "$FS_DAEMON"
	assert_equal "$worker" "$(worker)" 'the worker'
	fs_umount thing "$BASE"
}

# A program that is killed at any moment of it: the one before goes on. One that is killed when it serves leaves the bare directory, as any does.
case_it_is_killed() {
	mounted
	local i pid gone_on=0 taken=0
	for ((i = 0; i < $(fs_count 60 12); i++)); do
		"$NEXT" --store "$STORE" takeover thing </dev/null >/dev/null 2>&1 &
		pid=$!
		fs_remember_pid $pid
		sleep "0.0$(printf %02d $((i * 7 % 100)))"
		pkill -KILL -P $pid -x next-veneer || :
		wait $pid || :
		if kill -0 "$FS_DAEMON" 2>/dev/null && fs_is_mounted "$BASE"; then
			# Asked before the next one is: it answers when the mount is settled.
			assert_content new "$BASE/patched"
			must t touch "$BASE/still"
			[ "$(supervisor)" != "$FS_DAEMON" ] || gone_on=$((gone_on + 1))
			continue
		fi
		taken=$((taken + 1))
		fs_wait_for 3 served_or_bare || fail "round $i: it shows $(T=5 t cat "$BASE/patched" 2>&1)"
		if fs_is_mounted "$BASE"; then must v umount thing; fi
		fs_mount thing "$BASE"
	done
	echo "killed $i times: $gone_on times the one before went on, $taken times the mount was the next one's already"
	[ $gone_on -gt 0 ] || fail 'it was always too late'
	assert_match 'was to serve, and does not' "$(cat "$FS_LOG")" 'the log'
	must v umount thing
	assert_content old "$BASE/patched"
}
served_or_bare() { [[ $(T=5 t cat "$BASE/patched" 2>/dev/null) = [on]* ]]; }

# stop_former: one takes over, and the one before is stopped when its worker has ended; $NEXT_PID is the daemon that is to be, if it lives.
stop_former() {
	local worker
	worker=$(worker)
	"$NEXT" --store "$STORE" takeover thing </dev/null >"$SCRATCH/said" 2>&1 &
	COMMAND=$!
	fs_remember_pid $COMMAND
	while kill -0 "$worker" 2>/dev/null; do :; done
	kill -STOP "$FS_DAEMON"
	NEXT_PID=$(pgrep -P $COMMAND -x next-veneer) || fail "it has ended already: $(cat "$SCRATCH/said")"
	fs_remember_pid "$NEXT_PID"
}

# The one before does not come to it for longer than the next one waits for anything else: in the end one of them answers for the mount.
case_the_former_is_stopped() {
	mounted
	stop_former
	sleep 11 # HANDOVER_WAIT_MS, and some more
	kill -CONT "$FS_DAEMON"
	wait $COMMAND || :
	assert_content new "$BASE/patched"
	FS_DAEMON=$(supervisor)
	fs_remember_pid "$FS_DAEMON"
	kill -KILL "$(worker)"
	assert_content new "$BASE/patched"
	umounted
	assert_content old "$BASE/patched"
}

# The next one has said that it serves, and is killed before that is heard.
case_killed_before_it_is_heard() {
	mounted
	stop_former
	sleep 1
	kill -KILL "$NEXT_PID"
	wait $COMMAND || : # it has seen that
	sleep 0.2	   # and so has the third process
	kill -CONT "$FS_DAEMON"
	still_serves "$FS_DAEMON"
	fs_umount thing "$BASE"
}

# A worker that has begun with what others had asked for, in their name, goes with its supervisor all the same.
case_the_worker_goes_along() {
	mounted --on-failure closed # else its end would be that of the connection
	local i worker
	chmod 777 "$BASE"
	: >"$SCRATCH/go_on"
	for i in 1 2 3 4; do
		mkdir -m 777 "$BASE/own$i"
		perl -e '$) = "65534 65534"; $( = 65534; ($<, $>) = (65534, 65534); while (-e $ARGV[1]) { mkdir "$ARGV[0]/d$_" for 1..100; rmdir "$ARGV[0]/d$_" for 1..100; }' \
			"$BASE/own$i" "$SCRATCH/go_on" &
		fs_remember_pid $!
	done
	for ((i = 0; i < 8; i++)); do
		sleep 0.3
		kill -SEGV "$(worker)"
		worker=$(worker)
		kill -KILL "$FS_DAEMON"
		fs_wait_for 5 ended "$worker" || fail "worker $worker lives on"
		must v umount thing
		fs_mount thing "$BASE" --on-failure closed
	done
	rm "$SCRATCH/go_on"
	umounted
}

# Mounted in one namespace, asked for in another, where it is not seen.
case_another_namespace() {
	mounted
	mountpoint -q / || skip 'no mount namespace of its own can be made in a chroot'
	assert_refused 1 "does not see its mount" t unshare -m sh -c 'umount -l "$1" && exec "$2" --store "$3" takeover thing' sh "$BASE" "$NEXT" "$STORE"
	still_serves "$FS_DAEMON"
	fs_umount thing "$BASE"
}

# The program and all of its libraries lie under the mount: it must not wait for itself, now or when its memory is wanted back.
case_under_its_own_mount() {
	fs_setup
	mountpoint -q / || skip 'no mount namespace of its own can be made in a chroot'
	BASE=$SCRATCH/base
	mkdir "$BASE"
	cp "$VENEER" "$BASE/veneer"
	{ ldd "$VENEER"; ldd "$(ldconfig -p | awk '/libgit2.so/ { print $NF; exit }')"; } | awk '$3 ~ /^\// { print $3 }' | sort -u | xargs -I{} cp {} "$BASE"
	cp "$(ldconfig -p | awk '/libgit2.so/ { print $NF; exit }')" "$BASE"
	echo old >"$BASE/patched"
	fs_component thing "$BASE"
	fs_mount thing "$BASE" --io cached
	export LD_LIBRARY_PATH=$BASE
	must t "$BASE/veneer" --store "$STORE" takeover thing
	unset LD_LIBRARY_PATH
	FS_DAEMON=$(supervisor)
	fs_remember_pid "$FS_DAEMON"
	assert_equal "$BASE/veneer" "$(program_of "$FS_DAEMON")" 'the program'
	for pid in "$FS_DAEMON" "$(worker)"; do
		! grep -q "^[^ ]* [^ ]* [^ ]* $(printf '%02x:%02x' $(mountpoint -d "$BASE" | tr : ' ')) " "/proc/$pid/maps" ||
			fail "process $pid has mapped: $(grep "$BASE" "/proc/$pid/maps")"
	done
	grep -q "$BASE/libfuse" "/proc/$FS_DAEMON/maps" || fail "libfuse is mapped from elsewhere: $(grep fuse "/proc/$FS_DAEMON/maps")"
	echo 3 >/proc/sys/vm/drop_caches
	assert_content old "$BASE/patched"
	kill -KILL "$(worker)"
	assert_content old "$BASE/patched"
	umounted
}

# A relative path of the store, and from a directory under the mount.
case_relative_store() {
	mounted
	cd "$BASE"
	(cd "$SCRATCH" && must t "$NEXT" --store store takeover thing)
	FS_DAEMON=$(supervisor)
	fs_remember_pid "$FS_DAEMON"
	assert_equal "$NEXT" "$(program_of "$FS_DAEMON")" 'the program'
	must v revert thing
	assert_content old "$BASE/patched"
	cd /
	umounted
}

# Nothing to take over.
case_not_mounted() {
	mounted
	fs_umount thing "$BASE"
	assert_refused 1 "is not mounted; mount it with 'veneer mount thing'" v takeover thing
	assert_refused 1 'no component' v takeover other
	fs_mount thing "$BASE"
	assert_match 'dry run' "$(v takeover thing --dry-run)" 'a dry run'
	still_serves "$FS_DAEMON"
	fs_umount thing "$BASE"
}

# under_manager RESTARTS [mount's options]: the daemon runs under a service manager that keeps its descriptors; $FS_DAEMON is its main process.
under_manager() {
	mounted
	fs_umount thing "$BASE"
	"$VENEER_TOOLS/service_manager" "$SCRATCH/notify" "$1" "$VENEER" --store "$STORE" mount thing --foreground "${@:2}" \
		>"$SCRATCH/told" 2>>"$FS_LOG" </dev/null &
	MANAGER=$!
	fs_remember_pid $MANAGER
	fs_wait_for 20 is_told ready || fail "it was told: $(cat "$SCRATCH/told")"
	FS_DAEMON=$(supervisor)
	fs_remember_pid "$FS_DAEMON"
	fs_wait_for 5 all_kept || fail "it keeps: $(cat "$SCRATCH/told")"
}
is_told() { grep -q "^$1" "$SCRATCH/told"; }
# Four regions of memory, and four descriptors.
all_kept() { [ "$(grep -c '^stored' "$SCRATCH/told")" -ge 8 ]; }
started() { [ "$(grep -c '^started' "$SCRATCH/told")" -ge "$1" ] && [ "$(grep -c '^ready' "$SCRATCH/told")" -ge "$1" ]; }
keeps_a_file() { grep -q '^stored veneer-kept-0' "$SCRATCH/told"; }

# A supervisor that is killed comes back: what is open lives on, also files without a name; and nothing was taken off.
case_service_manager() {
	under_manager 2
	local worker
	mkdir "$BASE/d"
	echo content >"$BASE/d/file"
	exec 5<"$BASE/d/file" 6<"$BASE/patched"
	rm "$BASE/d/file"
	fs_wait_for 10 keeps_a_file || fail "the file without a name is not kept: $(cat "$SCRATCH/told")"
	kill -KILL "$FS_DAEMON"
	fs_wait_for 20 started 2 || fail "it was told: $(cat "$SCRATCH/told"); $(tail -n 5 "$FS_LOG")"
	assert_equal content "$(t cat <&5)" 'an unlinked file that is open'
	assert_content new "$BASE/patched"
	[ "$(supervisor)" != "$FS_DAEMON" ] || fail 'it was not killed'
	FS_DAEMON=$(supervisor)
	worker=$(worker)
	sleep 1 # for the third process of the one before
	assert_content new "$BASE/patched"
	assert_equal restarted "$(v log thing --json | jq -r '.[0].action')" 'the journal'
	must v revert thing
	assert_content old "$BASE/patched"
	kill -KILL "$FS_DAEMON" "$worker"
	fs_wait_for 20 started 3 || fail "it was told: $(cat "$SCRATCH/told"); $(tail -n 5 "$FS_LOG")"
	assert_content old "$BASE/patched"
	assert_equal content "$(t cat /proc/self/fd/5)" 'the unlinked file, after both were killed'
	exec 5<&- 6<&-
	kill -TERM $MANAGER
	wait $MANAGER || fail "status $? of the daemon: $(tail -n 5 "$FS_LOG")"
	! fs_is_mounted "$BASE" || fail 'it is still mounted'
	assert_equal 'left 0' "$(tail -n 1 "$SCRATCH/told")" 'descriptors that are left with the manager'
}

# One that is not started again leaves the bare directory, also for who waits for an answer.
case_service_manager_gives_up() {
	under_manager 0
	local worker
	worker=$(worker)
	kill -STOP "$worker"
	T=20 t stat "$BASE/no-such-name" >/dev/null 2>"$SCRATCH/waited" &
	local waiting=$!
	sleep 0.2
	kill -KILL "$FS_DAEMON" "$worker"
	fs_wait_for 1 shows_the_base || fail "after a second '$BASE' shows: $(T=5 t ls "$BASE" 2>&1)"
	wait $waiting || :
	assert_match 'not connected|abort' "$(cat "$SCRATCH/waited")" 'what became of a request that waited'
}
shows_the_base() { ! fs_is_mounted "$BASE" && [ "$(T=5 t cat "$BASE/patched" 2>/dev/null)" = old ]; }

# A mount that is to stay waits for its next daemon for as long as that takes.
case_service_manager_is_late() {
	export RESTART_AFTER_MS=1500
	under_manager 1 --on-failure closed
	exec 5<"$BASE/patched"
	kill -KILL "$FS_DAEMON"
	fs_wait_for 20 started 2 || fail "it was told: $(cat "$SCRATCH/told"); $(tail -n 5 "$FS_LOG")"
	assert_equal new "$(t cat <&5)" 'what was open'
	assert_content new "$BASE/patched"
	exec 5<&-
	kill -TERM $MANAGER
	wait $MANAGER || fail "status $? of the daemon: $(tail -n 5 "$FS_LOG")"
}

# It has lost something of what it was to keep: the next daemon mounts anew, and nothing of the last one is left with it.
case_service_manager_loses_some() {
	export FORGET=veneer-names
	under_manager 1
	kill -KILL "$FS_DAEMON"
	fs_wait_for 20 started 2 || fail "it was told: $(cat "$SCRATCH/told"); $(tail -n 5 "$FS_LOG")"
	assert_content new "$BASE/patched"
	assert_match 'is not gone on with' "$(cat "$FS_LOG")" 'the log'
	kill -TERM $MANAGER
	wait $MANAGER || fail "status $? of the daemon: $(tail -n 5 "$FS_LOG")"
	assert_equal 'left 0' "$(tail -n 1 "$SCRATCH/told")" 'descriptors that are left with the manager'
}

# It has not heard that another program is the main process, and starts one besides: that leaves the mount alone.
case_service_manager_is_deaf() {
	export DEAF=1
	under_manager 1
	take_over "$NEXT"
	wait $MANAGER && fail 'the second one served' || :
	assert_match 'is served by process' "$(cat "$FS_LOG")" 'the log'
	sleep 1 # for a third process
	still_serves "$FS_DAEMON"
	kill -KILL "$(worker)"
	still_serves "$FS_DAEMON"
	umounted
}

# Who is started in the background has no service manager, whatever is in the environment.
case_in_the_background() {
	mounted
	fs_umount thing "$BASE"
	T=20 t "$VENEER_TOOLS/service_manager" "$SCRATCH/notify" 0 \
		sh -c '"$1" --store "$2" mount thing >/dev/null 2>&1 </dev/null; sleep 3' sh "$VENEER" "$STORE" >"$SCRATCH/told" </dev/null || :
	assert_equal '' "$(sed -e /^started/d -e /^ended/d -e '/^left 0/d' "$SCRATCH/told")" 'what the manager was told'
	FS_DAEMON=$(supervisor)
	fs_remember_pid "$FS_DAEMON"
	umounted
}

# Another program is the main process from then on, and what it is killed with comes back, too.
case_service_manager_takeover() {
	under_manager 1
	take_over "$NEXT"
	fs_wait_for 5 is_told "main $FS_DAEMON" || fail "it was told: $(cat "$SCRATCH/told")"
	assert_content new "$BASE/patched"
	must v umount thing
	wait $MANAGER || fail "status $? of the daemon: $(tail -n 5 "$FS_LOG")"
}

fs_main "$@"
