#!/bin/bash
# A worker that is killed costs nobody an error: another one goes on where it was. A daemon that is killed as a whole leaves the bare
# directory.
#
# Environment: VENEER_KILLS, for the long form: so many kills of each kind of mount.
. "$(dirname "$0")/lib.sh"
if [ -n "${VENEER_KILLS-}" ]; then VENEER_CASE_SECONDS=${VENEER_CASE_SECONDS:-3600}; fi

# mounted_base [mount's options]: $BASE, mounted, with a program in it and a patched file.
mounted_base() {
	fs_setup
	BASE=$SCRATCH/base
	mkdir "$BASE"
	echo old >"$BASE/patched"
	cp "$(type -P true)" "$BASE/program"
	fs_component thing "$BASE"
	cp -a "$BASE" "$SCRATCH/new"
	echo new >"$SCRATCH/new/patched"
	fs_create thing -m patch --from "$SCRATCH/new" >/dev/null
	must v apply thing
	fs_mount thing "$BASE" --write through "$@"
}

worker() { fs_status thing .worker; }
workers() { fs_status thing .workers; }

# A process's descriptors, and its resident memory in KiB.
descriptors() { ls "/proc/$1/fd" | wc -l; }
resident() { awk '/^VmRSS:/ { print $2 }' "/proc/$1/status"; }

kill_under_load() {
	local kills=${VENEER_KILLS:-$(fs_count 150 20)} before after before_kib after_kib
	mounted_base "$@"
	tool kill_load "$BASE" 2 1 >/dev/null || fail 'the load fails without a kill'
	rm -rf "$BASE"/[0-9]
	before=$(descriptors "$FS_DAEMON") before_kib=$(resident "$FS_DAEMON")
	T=$((kills + 300)) tool kill_load "$BASE" 4 0 "$FS_DAEMON" "$kills" 40 >"$SCRATCH/said" 2>"$SCRATCH/failures" ||
		fail "$(cat "$SCRATCH/said" "$SCRATCH/failures")"
	cat "$SCRATCH/said"
	assert_match ", 0 failed, $kills kills;" "$(cat "$SCRATCH/said")" 'what the load says'
	assert_content new "$BASE/patched"
	must v revert thing
	assert_content old "$BASE/patched"
	[ "$(workers)" -gt "$kills" ] || fail "after $kills kills this is worker $(workers)"
	rm -rf "$BASE"/[0-9]
	# What the kernel still remembers of files without a name it may forget now.
	fs_wait_for 2 no_more_descriptors "$before" || echo 2 >/proc/sys/vm/drop_caches
	fs_wait_for 5 no_more_descriptors "$before" || fail "descriptors of the supervisor: $before before, $(more_descriptors)"
	after_kib=$(resident "$FS_DAEMON")
	fs_sanitized || [ "$after_kib" -le $((before_kib + 2048)) ] || fail "memory of the supervisor: $before_kib KiB before, $after_kib after"
	fs_umount thing "$BASE"
}
# How many there are, which, and how many when the kernel has forgotten pages, too.
more_descriptors() {
	echo "$(descriptors "$FS_DAEMON") after: $(ls -l "/proc/$FS_DAEMON/fd" | sed -n 's/.*-> \(.*(deleted)\)/\1;/p' | tr '\n' ' ')"
	echo 3 >/proc/sys/vm/drop_caches
	sleep 2
	echo "$(descriptors "$FS_DAEMON") without cached pages"
}
no_more_descriptors() { [ "$(descriptors "$FS_DAEMON")" -le "$1" ]; }

case_cached() { kill_under_load --io cached; }

case_passthrough() {
	fs_have_passthrough || { fs_setup; skip "passthrough needs Linux 6.9, this is $(uname -r)"; }
	kill_under_load --io passthrough
}

# What clients have goes on: open files, mappings, directories that they stand in, locks; of unlinked and of patched files, too.
case_what_is_open() {
	mounted_base
	mkdir "$BASE/d"
	echo content >"$BASE/d/file"
	exec 5<"$BASE/d/file" 6<"$BASE/patched" 7>>"$BASE/d/log"
	flock -n 7 || fail 'no lock'
	cd "$BASE/d"
	must v revert thing
	rm "$BASE/d/file"
	kill -KILL "$(worker)"
	assert_equal content "$(t cat <&5)" 'an unlinked file that is open'
	assert_equal new "$(t cat <&6)" 'the patched file as it was opened'
	assert_content old "$BASE/patched"
	echo line >&7
	! t flock -n "$BASE/d/log" true || fail 'the lock is gone'
	t touch here
	[ -e "$BASE/d/here" ] || fail 'a relative path leads elsewhere'
	kill -KILL "$(worker)"
	assert_content line "$BASE/d/log"
	cd /
	exec 5<&- 6<&- 7>&-
	fs_umount thing "$BASE"
}

# The worker is killed in the middle of a switch: it is made, and once, and whoever asked for it is told so.
case_during_switches() {
	mounted_base
	local i command wanted entries status
	entries=$(v log thing --json | jq length)
	for ((i = 0; i < $(fs_count 60 10); i++)); do
		if [ $((i % 2)) = 0 ]; then command=revert wanted=old; else command=apply wanted=new; fi
		[ $((i % 6)) != 5 ] || command=rollback
		{ sleep "0.0$((RANDOM % 3))$((RANDOM % 10))"; kill -KILL "$(worker_process)"; } 2>/dev/null &
		status=0
		v $command thing >"$SCRATCH/said" 2>&1 || status=$?
		[ $status -eq 0 ] || fail "round $i: $command ended with status $status: $(cat "$SCRATCH/said")"
		assert_content $wanted "$BASE/patched"
		wait $! || :
	done
	[ "$(workers)" -gt $((i / 3)) ] || fail "of $i workers only $(workers) were killed"
	[ "$(v log thing --json | jq length)" -eq $((entries + i)) ] || fail "not $((entries + i)) entries: $(v log thing --json | jq -r '.[] | [.time, .action, .from[0:7], .to[0:7], .reason] | join(" ")')"
	fs_umount thing "$BASE"
}

# The worker is killed while the kernel holds one of its threads: it is told of a switch, and waits for a look-up, which waits for an
# answer. Such a process does not end before there is another worker.
case_while_it_tells() {
	fs_setup
	BASE=$SCRATCH/base
	mkdir -p "$BASE/d"
	local i lookers=()
	for i in {1..200}; do echo old >"$BASE/d/$i"; done
	fs_component thing "$BASE"
	cp -a "$BASE" "$SCRATCH/new"
	for i in {1..200}; do echo new >"$SCRATCH/new/d/$i"; done
	fs_create thing -m patch --from "$SCRATCH/new" >/dev/null
	fs_mount thing "$BASE" --io cached
	for i in 1 2 3 4; do
		perl -e 'my $n = 0; while (1) { stat("$ARGV[0]/d/none-$$-" . $n++); stat("$ARGV[0]/d/" . (1 + $n % 200)) }' "$BASE" &
		lookers+=($!)
		fs_remember_pid $!
	done
	for ((i = 0; i < $(fs_count 30 10); i++)); do
		{ sleep "0.0$((RANDOM % 3))$((RANDOM % 10))"; kill -KILL "$(worker_process)"; } 2>/dev/null &
		if [ $((i % 2)) = 0 ]; then T=30 v apply thing >/dev/null 2>&1 || :; else T=30 v revert thing >/dev/null 2>&1 || :; fi
		wait $! || :
		T=20 t stat "$BASE/d/no-such-name-$i" >/dev/null 2>&1 || [ $? = 1 ] || fail "round $i: nobody answers: $(ps -o pid,stat,wchan:30,comm --ppid "$FS_DAEMON")"
	done
	kill "${lookers[@]}"
	assert_match 'was killed while the kernel holds one of its threads' "$(cat "$FS_LOG")" 'the log'
	fs_wait_for 30 shows_what_the_ref_says_in_d || fail "'d/1' has '$(cat "$BASE/d/1")', and active is $(fs_ref thing/active)"
	fs_umount thing "$BASE"
}
shows_what_the_ref_says_in_d() {
	local wanted=new
	[ "$(fs_ref thing/active)" != "$(fs_ref thing/base)" ] || wanted=old
	[ "$(t cat "$BASE/d/1" "$BASE/d/200" | sort -u)" = $wanted ]
}

# In cached mode who has read it reads on while the worker is stopped.
case_warm_while_stopped() {
	mounted_base --io cached
	local stopped
	t cat "$BASE/patched" "$BASE/program" >/dev/null && t ls -l "$BASE" >/dev/null
	stopped=$(worker)
	kill -STOP "$stopped"
	T=2 t cat "$BASE/patched" "$BASE/program" >/dev/null || { kill -CONT "$stopped"; fail 'a warm file waits for the worker'; }
	kill -CONT "$stopped"
	fs_umount thing "$BASE"
}

# Supervisor and worker killed together: the bare directory shows, and nothing hangs.
case_all_killed() {
	mounted_base
	local worker
	worker=$(worker)
	kill -KILL "$FS_DAEMON" "$worker"
	fs_wait_for 1 shows_the_base || fail "after a second '$BASE' shows: $(T=5 t ls "$BASE" 2>&1)"
	wait "$FS_DAEMON" 2>/dev/null || :
	assert_match 'the daemon was killed' "$(cat "$FS_LOG")" 'the log'
	FS_DAEMON=
	fs_mount thing "$BASE"
	assert_content new "$BASE/patched"
	assert_equal restarted "$(v log thing --json | jq -r '.[0].action')" 'the journal'
	fs_umount thing "$BASE"
	fs_mount thing "$BASE"
	assert_equal 1 "$(v log thing --json | jq '[.[] | select(.action == "restarted")] | length')" 'entries after an orderly end'
	fs_umount thing "$BASE"
}
shows_the_base() { ! fs_is_mounted "$BASE" && [ "$(T=5 t cat "$BASE/patched" 2>/dev/null)" = old ]; }

# Where nobody may read what is not patched the mount stays, and is dead.
case_closed_on_failure() {
	mounted_base --on-failure closed
	kill -KILL "$FS_DAEMON" "$(worker)"
	fs_wait_for 5 is_dead || fail "it shows: $(T=5 t ls "$BASE" 2>&1)"
	sleep 0.5
	is_dead || fail "it shows after a while: $(T=5 t ls "$BASE" 2>&1)"
	FS_DAEMON=
	must v umount thing
	assert_content old "$BASE/patched"
}
is_dead() { [[ $(T=5 t cat "$BASE/patched" 2>&1) == *'Transport endpoint is not connected'* ]]; }

# The supervisor alone: the same.
case_supervisor_killed() {
	mounted_base
	kill -KILL "$FS_DAEMON"
	fs_wait_for 1 shows_the_base || fail "after a second '$BASE' shows: $(T=5 t ls "$BASE" 2>&1)"
	FS_DAEMON=
}

# as_ever WHAT: it is served, and nobody has waited for long.
as_ever() {
	local begin
	begin=$(date +%s%N)
	T=60 t stat "$BASE/no-such-name-$RANDOM" >/dev/null 2>&1 || :
	[ $(($(date +%s%N) - begin)) -lt 2000000000 ] || fail "$1: an answer takes $((($(date +%s%N) - begin) / 1000000)) ms"
}

hold_store_lock() {
	flock -x "$STORE/lock" sleep "$1" &
	HOLDER=$!
	fs_remember_pid $HOLDER
	sleep 0.2
}

# The store is somebody else's just then, and the base has changed beneath a patch: no answer waits for that.
case_while_the_store_is_locked() {
	mounted_base
	hold_store_lock 4
	echo newer >"$BASE/made"
	must t mv "$BASE/made" "$BASE/patched"
	assert_content newer "$BASE/patched"
	kill -KILL "$(worker_process)"
	as_ever 'a locked store'
	assert_content newer "$BASE/patched"
	kill -KILL "$(worker_process)"
	as_ever 'a locked store, again'
	assert_content newer "$BASE/patched"
	wait $HOLDER || :
	fs_wait_for 20 is_retired || fail "the patch is $(fs_status thing '.patches[0].state')"
	fs_umount thing "$BASE"
}
is_retired() { [ "$(fs_status thing '.patches[0].state')" = retired ]; }
# Without the control socket, which may wait for the worker.
worker_process() { pgrep -P "$FS_DAEMON" -x veneer | head -n 1; }

# By policy a patch is held; what was replaced through the mount shows the base until it is decided, also with another worker.
case_what_has_ended() {
	mounted_base
	must v policy set thing base-change hold
	hold_store_lock 3
	echo newer >"$BASE/made"
	must t mv "$BASE/made" "$BASE/patched"
	kill -KILL "$(worker_process)"
	assert_content newer "$BASE/patched"
	wait $HOLDER || :
	fs_wait_for 20 is_held || fail "health is $(fs_status thing .health)"
	assert_content new "$BASE/patched"
	fs_umount thing "$BASE"
}
is_held() { [[ $(fs_status thing .health) == hold:* ]]; }

# More files without a name than a process has descriptors for, by default.
case_many_unlinked() {
	mounted_base
	must t perl -e 'for (1 .. 1500) { open($f[$_], "+>", "$ARGV[0]/f$_") or die "$_: $!"; syswrite($f[$_], "x$_"); unlink("$ARGV[0]/f$_") }
		kill("KILL", $ARGV[1]); for (1 .. 1500) { sysseek($f[$_], 0, 0); sysread($f[$_], $b, 99) // die "$_: $!"; $b eq "x$_" or die "$_: $b" }' \
		"$BASE" "$(worker_process)"
	as_ever 'after 1,500 files'
	fs_umount thing "$BASE"
}

# A mount that was taken off lazily lives on for who has a file open; its worker has nothing to do with the mount that came after.
case_detached() {
	mounted_base
	local old old_worker holder
	sleep 1000 <"$BASE/patched" & # and not this shell, whose files the next daemon has
	holder=$!
	fs_remember_pid $holder
	old=$FS_DAEMON old_worker=$(worker_process)
	must v umount thing
	FS_DAEMON=
	fs_mount thing "$BASE"
	kill -KILL "$old_worker"
	assert_equal new "$(t cat "/proc/$holder/fd/0")" 'the file that is open in the mount that was taken off'
	assert_equal "$FS_DAEMON" "$(fs_status thing .pid)" 'who answers'
	must v revert thing
	assert_content old "$BASE/patched"
	kill $holder
	wait "$old" || fail "the daemon of the mount that was taken off: status $?"
	assert_equal "$FS_DAEMON" "$(fs_status thing .pid)" 'who answers afterwards'
	fs_umount thing "$BASE"
}

# SIGTERM that comes while there is no worker is for the next one.
case_terminated_while_there_is_none() {
	local i
	mounted_base
	for ((i = 0; i < 5; i++)); do
		kill -KILL "$(worker_process)"
		kill -TERM "$FS_DAEMON"
		fs_wait_for 10 not_mounted || fail "round $i: SIGTERM was lost"
		wait "$FS_DAEMON" || fail "status $?"
		FS_DAEMON=
		fs_mount thing "$BASE"
	done
	fs_umount thing "$BASE"
}
not_mounted() { ! fs_is_mounted "$BASE"; }

# Started by who ignores SIGCHLD.
case_children_ignored() {
	mounted_base
	fs_umount thing "$BASE"
	perl -e '$SIG{CHLD} = "IGNORE"; exec @ARGV' "$VENEER" --store "$STORE" mount thing --foreground >>"$FS_LOG" 2>&1 &
	FS_DAEMON=$!
	fs_remember_pid "$FS_DAEMON"
	fs_wait_for 10 fs_is_mounted "$BASE" || fail 'no mount'
	kill -KILL "$(worker_process)"
	as_ever 'started with SIGCHLD ignored'
	fs_umount thing "$BASE"
}

# Changes around the mount are seen by the next worker, too.
case_watch() {
	fs_setup
	BASE=$SCRATCH/base
	mkdir -p "$BASE/d" "$SCRATCH/lower"
	echo 1 >"$BASE/d/file"
	mount --bind "$BASE" "$SCRATCH/lower" && mount --make-private "$SCRATCH/lower"
	fs_remember_mount "$SCRATCH/lower"
	fs_component thing "$BASE"
	fs_mount thing "$BASE" --watch
	assert_content 1 "$BASE/d/file"
	kill -KILL "$(worker_process)"
	as_ever 'watched'
	fs_wait_for 5 another_is_there || fail 'no other worker'
	sleep 0.5
	echo 2 >"$SCRATCH/lower/d/file"
	fs_wait_for 5 shows_2 || fail "it shows $(cat "$BASE/d/file")"
	fs_umount thing "$BASE"
}
another_is_there() { [ "$(workers)" = 2 ]; }
shows_2() { [ "$(t cat "$BASE/d/file")" = 2 ]; }

# Workers that crash, one after the other: it is said, and then the mount is taken off.
case_crash_loop() {
	mounted_base
	local tries=0
	while fs_is_mounted "$BASE" && [ $tries -lt 400 ]; do
		pkill -SEGV -P "$FS_DAEMON" -x veneer || :
		sleep 0.05
		tries=$((tries + 1))
	done
	shows_the_base || fail "'$BASE' shows: $(T=5 t ls "$BASE" 2>&1)"
	local status=0
	wait "$FS_DAEMON" || status=$?
	FS_DAEMON=
	assert_equal 1 "$status" 'the exit status of the daemon'
	assert_match 'workers have failed in a row' "$(cat "$FS_LOG")" 'the log'
}

fs_main "$@"
