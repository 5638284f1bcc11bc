#!/bin/bash
# Mounting and unmounting: what is left afterwards is the bare directory, and nothing else.
. "$(dirname "$0")/lib.sh"

make_component() {
	fs_setup
	BASE=$SCRATCH/base
	mkdir -p "$BASE/dir"
	echo base >"$BASE/file"
	echo other >"$BASE/dir/other"
	cp -a "$BASE" "$SCRATCH/new"
	echo patched >"$SCRATCH/new/file"
	fs_component thing "$BASE"
	fs_create thing -m patch --from "$SCRATCH/new" >/dev/null
	must v apply thing
	tree_listing -a "$BASE" >"$SCRATCH/bare"
}

# mount_daemon: as everyone does it, into the background.
mount_daemon() {
	fs_remember_mount "$BASE"
	must v mount thing "$@"
	fs_is_mounted "$BASE" || fail 'mount returned, and nothing is mounted'
	PID=$(fs_status thing .pid)
	assert_match '^[0-9]+$' "$PID" "the daemon's process id in status"
	fs_remember_pid "$PID"
}

daemon_gone() { ! kill -0 "$PID" 2>/dev/null; }

nothing_left() {
	! fs_is_mounted "$BASE" || fail 'still mounted'
	fs_wait_for 10 daemon_gone || fail "the daemon $PID is still there"
	assert_equal '' "$(ls -A "$STORE/run")" 'what is left in the run directory'
	tree_listing -a "$BASE" >"$SCRATCH/after"
	assert_same_text "$SCRATCH/bare" "$SCRATCH/after" 'the bare directory'
	assert_equal false "$(fs_status thing .mounted)" 'mounted, in status'
}

case_mount_and_umount() {
	make_component
	for _ in 1 2 3; do
		mount_daemon
		assert_content patched "$BASE/file"
		assert_equal true "$(fs_status thing .mounted)" 'mounted, in status'
		must v umount thing
		nothing_left
	done
}

# What the command has read of the store is no business of the daemon, which it starts by fork(2): neither has the daemon its descriptors.
case_patch_in_a_large_pack() {
	fs_setup
	BASE=$SCRATCH/base
	mkdir -p "$BASE/dir"
	for i in 1 2 3; do
		echo "$i" >"$BASE/dir/$i"
	done
	cp -a "$BASE" "$SCRATCH/new"
	for i in 1 2 3; do
		head -c 8000000 /dev/urandom >"$SCRATCH/new/dir/$i"
	done
	fs_component thing "$BASE"
	fs_create thing -m large --from "$SCRATCH/new" >/dev/null
	must v apply thing
	must g gc -q
	for _ in 1 2; do
		# Objects are a cache: the daemon makes them again from what it reads itself.
		rm -rf "$STORE"/objects/* "$STORE"/cache/*
		mount_daemon </dev/null
		for i in 1 2 3; do
			t cmp "$BASE/dir/$i" "$SCRATCH/new/dir/$i" || fail "dir/$i is not what was patched"
		done
		must v umount thing
	done
}

# A store named by a relative path is the same store for the daemon.
case_relative_store() {
	make_component
	fs_remember_mount "$BASE"
	cd "$SCRATCH"
	must t "$VENEER" --store "${STORE#"$SCRATCH/"}" mount thing
	cd /
	PID=$(fs_status thing .pid)
	fs_remember_pid "$PID"
	assert_content patched "$BASE/file"
	must v umount thing
	nothing_left
}

# The daemon has let go of who started it: no terminal, no pipe, no working directory.
case_daemon_lets_go() {
	make_component
	fs_remember_mount "$BASE"
	cd "$BASE/dir"
	# `cat` ends only when the daemon does not hold the pipe.
	T=20 v mount thing 2>&1 | T=20 t cat
	cd /
	PID=$(fs_status thing .pid)
	fs_remember_pid "$PID"
	assert_equal / "$(readlink "/proc/$PID/cwd")" "the daemon's working directory"
	assert_content patched "$BASE/file"
	must v umount thing
	nothing_left
}

# With files still open: the bare directory is back at once, and umount says that the rest follows.
case_open_files() {
	make_component
	mount_daemon
	exec {held}<"$BASE/file"
	local said
	said=$(v umount thing 2>&1) || fail "umount with an open file failed: $said"
	assert_match 'open|lazy|lazily|busy' "$said" 'what umount says'
	! fs_is_mounted "$BASE" || fail 'still mounted'
	assert_content base "$BASE/file"
	assert_equal patched "$(t cat <&"$held")" 'what an open file still reads after the unmount'
	# A new mount beside the one that is still ending.
	local old_pid=$PID
	mount_daemon
	assert_content patched "$BASE/file"
	exec {held}<&-
	PID_NEW=$PID PID=$old_pid
	fs_wait_for 10 daemon_gone || fail 'the first daemon does not end with its last file'
	PID=$PID_NEW
	assert_content patched "$BASE/file"
	must v apply thing
	must v umount thing
	nothing_left
}

# A working directory inside is as good as an open file.
case_working_directory() {
	make_component
	mount_daemon
	cd "$BASE/dir"
	must v umount thing
	! fs_is_mounted "$BASE" || fail 'still mounted'
	cd /
	nothing_left
}

case_sigterm() {
	make_component
	mount_daemon
	kill -TERM "$PID"
	not_mounted() { ! fs_is_mounted "$BASE"; }
	fs_wait_for 10 not_mounted || fail 'SIGTERM does not unmount'
	nothing_left
	mount_daemon
	assert_content patched "$BASE/file"
	exec {held}<"$BASE/file"
	kill -TERM "$PID"
	fs_wait_for 10 not_mounted || fail 'SIGTERM with an open file does not unmount'
	exec {held}<&-
	nothing_left
}

# umount(8) and fusermount3 do as well.
case_system_umount() {
	make_component
	mount_daemon
	must t umount "$BASE"
	nothing_left
	mount_daemon
	assert_content patched "$BASE/file"
	must t umount "$BASE"
	nothing_left
}

# A daemon that was killed: status says so, umount gives the bare directory back, and mount works again.
case_killed() {
	make_component
	mount_daemon
	kill -KILL "$PID"
	fs_wait_for 10 daemon_gone || fail 'kill -9 does nothing'
	T=20 v status >/dev/null || fail 'status hangs or fails beside a dead mount'
	if fs_is_mounted "$BASE"; then
		must v umount thing
	fi
	! fs_is_mounted "$BASE" || fail 'still mounted'
	assert_content base "$BASE/file"
	mount_daemon
	assert_content patched "$BASE/file"
	must v umount thing
	nothing_left
}

# Two components, one store; a component below another's directory.
case_two_components() {
	make_component
	mkdir "$SCRATCH/second"
	echo second >"$SCRATCH/second/file"
	must v add second "$SCRATCH/second"
	mount_daemon
	fs_remember_mount "$SCRATCH/second"
	must v mount second
	fs_remember_pid "$(v status second --verbose --json | jq -r '.[0].pid')"
	assert_content second "$SCRATCH/second/file"
	assert_equal 2 "$(v status --json | jq '[.[] | select(.mounted)] | length')" 'mounted components'
	must v umount second
	assert_content patched "$BASE/file"
	must v umount thing
	nothing_left
}

# umount(8) behind the daemon's back, with a file open; mounted again; then the first daemon ends: the second one is heard.
case_second_daemon() {
	make_component
	mount_daemon
	exec {held}<"$BASE/file"
	must t umount -l "$BASE"
	local old_pid=$PID
	mount_daemon
	exec {held}<&-
	PID_NEW=$PID PID=$old_pid
	fs_wait_for 10 daemon_gone || fail 'the first daemon does not end with its last file'
	PID=$PID_NEW
	assert_equal ok "$(fs_status thing .health)" 'health of the second mount'
	must v revert thing
	assert_content base "$BASE/file"
	must v apply thing
	must v umount thing
	nothing_left
}

# Two at once: one mounts, the other is refused.
case_two_mounts_at_once() {
	make_component
	fs_remember_mount "$BASE"
	local round
	for round in 1 2 3 4 5; do
		v mount thing 2>"$SCRATCH/first" &
		v mount thing 2>"$SCRATCH/second" || true
		wait $! || true
		PID=$(fs_status thing .pid)
		fs_remember_pid "$PID"
		assert_equal 1 "$(grep -c " $BASE .* fuse.veneer " /proc/self/mountinfo)" "round $round: mounts at the directory"
		assert_match 'already' "$(cat "$SCRATCH/first" "$SCRATCH/second")" "round $round: what the other one was told"
		assert_content patched "$BASE/file"
		must v umount thing
		nothing_left
	done
}

# What somebody has mounted on top is his, whatever the daemon is told.
case_not_its_own_mount() {
	make_component
	mount_daemon
	must t mount -t tmpfs on-top "$BASE"
	fs_remember_mount "$BASE"
	kill -TERM "$PID"
	sleep 0.5
	assert_equal tmpfs "$(fs_mount_type "$BASE")" 'what lies on top after SIGTERM'
	kill -0 "$PID" || fail 'the daemon has gone while its mount is there'
	must t umount "$BASE"
	assert_content patched "$BASE/file"
	must v umount thing
	nothing_left
}

fs_main "$@"
