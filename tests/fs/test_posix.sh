#!/bin/bash
# The filesystem beneath is the oracle: the same operations on a plain directory and through a mount, the same results.
# Which operations, and which differences are allowed, is in tests/tools/fs_stress/ (`fs_stress --allowed` says them).
. "$(dirname "$0")/lib.sh"

# pair [mount's options]: $PLAIN and $BASE, which is mounted, on one filesystem.
pair() {
	fs_setup
	PLAIN=$SCRATCH/plain BASE=$SCRATCH/base
	mkdir "$PLAIN" "$BASE"
	fs_component thing "$BASE"
	fs_mount thing "$BASE" --write through "$@"
}

# replay IO: the trace on standard input makes no difference.
replay() {
	pair --io "$1"
	cat >"$SCRATCH/trace"
	tool fs_stress "$PLAIN" "$BASE" --replay "$SCRATCH/trace" >"$SCRATCH/said" || fail "--io $1: $(cat "$SCRATCH/said")"
}

# both CASE: as it is in both ways to serve.
both() {
	(SCRATCH='' && "$1" cached && fs_check_end && fs_cleanup 0) || exit 1
	! fs_have_passthrough || "$1" passthrough
	[ -n "$SCRATCH" ] || fs_setup
}

# The stress itself: it sees a difference, and finds what makes it.
case_sees_a_difference() {
	fs_setup
	mkdir "$SCRATCH/plain" "$SCRATCH/other"
	mount -t tmpfs none "$SCRATCH/other"
	fs_remember_mount "$SCRATCH/other"
	local status=0
	tool fs_stress "$SCRATCH/plain" "$SCRATCH/other" --seed 1 --operations 3000 --minimise 10 >"$SCRATCH/said" || status=$?
	assert_equal 1 "$status" 'status where the filesystems differ'
	assert_match 'the fewest operations' "$(cat "$SCRATCH/said")" 'what it says'
}

# ---- what it has found, in the fewest operations ----

# chown(2) for no owner ends set-id bits: only the owner may do so.
case_chown_for_no_owner() { both chown_for_no_owner; }
chown_for_no_owner() {
	replay "$1" <<-'TRACE'
		open 0 u0 p 0/a 1 RDONLY|CREAT 02777 077
		fchown 0 u2 p 1 -1 -1
		open 0 u1 p 0/c 2 WRONLY|CREAT 04755 027
		chown 0 u3 p 0/c -1 -1 0
		chown 0 u1 p 0/c -1 -1 0
		stat 0 u0 p 0/c 0
		open 0 u0 p 0/d 3 WRONLY|CREAT 02644 00
		chown 0 u0 p 0/d -1 2001 0
		chmod 0 u0 p 0/d 02644
		chown 0 u3 p 0/d -1 -1 0
		chown 0 u2 p 0/d -1 -1 0
		stat 0 u0 p 0/d 0
	TRACE
}

# Who makes a file with a set-gid bit keeps it where he is in the group, as one of his supplementary groups, too.
case_set_gid_of_another_group() { both set_gid_of_another_group; }
set_gid_of_another_group() {
	replay "$1" <<-'TRACE'
		mkdir 0 u1 S S/b 0755 022
		chmod 0 u1 S S/b 06777
		open 0 u2 S S/b/d 7 RDONLY|CREAT|EXCL 06777 022
		mknod 0 u2 S S/b/e 0 02777 0
		open 0 u3 S S/b/a 7 RDONLY|CREAT|EXCL 06777 022
		mknod 0 u3 S S/b/c 0 02777 0
		list 0 u0 S S/b 600
	TRACE
}

fs_main "$@"
