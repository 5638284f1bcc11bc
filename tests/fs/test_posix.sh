#!/bin/bash
# The filesystem beneath is the oracle: the same operations on a plain directory and through a mount, the same results.
# Which operations, and which differences are allowed, is in tests/tools/fs_stress/ (`fs_stress --allowed` says them).
#
# Environment: VENEER_STRESS_OPERATIONS and VENEER_STRESS_SEEDS, for the long form: so many operations, and seeds of each kind
# of mount. What a difference leaves behind is the fewest operations that make it: put them here as a case.
. "$(dirname "$0")/lib.sh"
if [ -n "${VENEER_STRESS_OPERATIONS-}" ]; then VENEER_CASE_SECONDS=${VENEER_CASE_SECONDS:-36000}; fi

# pair [mount's options]: $PLAIN and $BASE, which is mounted, on one filesystem.
pair() {
	fs_setup
	PLAIN=$SCRATCH/plain BASE=$SCRATCH/base
	mkdir "$PLAIN" "$BASE"
	fs_component thing "$BASE"
	fs_mount thing "$BASE" --write through "$@"
}

# The same with an area P: other files of its directories are patched.
patched_pair() {
	fs_setup
	PLAIN=$SCRATCH/plain BASE=$SCRATCH/base
	mkdir -p "$BASE/P/q"
	chmod 1777 "$BASE/P" && chmod 777 "$BASE/P/q"
	local directory
	for directory in P P/q; do
		fs_fill o 5000 >"$BASE/$directory/patched"
		echo deleted >"$BASE/$directory/deleted"
		echo plain >"$BASE/$directory/plain"
	done
	cp -a "$BASE" "$PLAIN"
	for directory in P P/q; do
		fs_fill n 7000 >"$PLAIN/$directory/patched"
		rm "$PLAIN/$directory/deleted"
		echo added >"$PLAIN/$directory/added"
	done
	fs_component thing "$BASE"
	fs_create thing -m patch --from "$PLAIN" >/dev/null
	must v apply thing
	fs_mount thing "$BASE" --write through "$@"
}

# replay IO: the trace on standard input makes no difference.
replay() {
	pair --io "$1"
	cat >"$SCRATCH/trace"
	tool fs_stress "$PLAIN" "$BASE" --replay "$SCRATCH/trace" >"$SCRATCH/said" || fail "--io $1: $(cat "$SCRATCH/said")"
}

both_cached() {
	trap 'fs_cleanup $?' EXIT
	"$1" cached
	fs_check_end
}

# both CASE: as it is in both ways to serve.
both() {
	both_cached "$1" & # a process of its own, with a scratch directory of its own
	wait $! || exit $?
	! fs_have_passthrough || "$1" passthrough
	[ -n "$SCRATCH" ] || fs_setup
}

# stress FIRST-SEED SEEDS OPERATIONS: one run a seed, with two to four processes.
stress() {
	local first=$1 seeds=${VENEER_STRESS_SEEDS:-$2} operations=${VENEER_STRESS_OPERATIONS:-$3} seed status
	[ -z "${VENEER_STRESS_OPERATIONS-}" ] || operations=$((operations / seeds))
	for ((seed = first; seed < first + seeds; seed++)); do
		status=0
		T=$((operations / 100 + 400)) tool fs_stress "$PLAIN" "$BASE" --seed "$seed" --operations "$operations" \
			--processes $((2 + seed % 3)) >"$SCRATCH/said" || status=$?
		cat "$SCRATCH/said"
		[ $status -eq 0 ] || fail "seed $seed: the mount and a plain directory differ"
	done
	if [ ! -d "$BASE/P" ]; then
		fs_umount thing "$BASE"
		must tool fs_stress --compare "$PLAIN" "$BASE"
	fi
}

case_cached() {
	pair --io cached
	stress 1 4 "$(fs_count 10000 2000)"
}

case_passthrough() {
	fs_have_passthrough || { fs_setup; skip "passthrough needs Linux 6.9, this is $(uname -r)"; }
	pair --io passthrough
	stress 101 4 "$(fs_count 10000 2000)"
}

case_beside_a_patch() {
	patched_pair --io cached
	stress 201 2 "$(fs_count 8000 2000)"
}

case_beside_a_patch_passthrough() {
	fs_have_passthrough || { fs_setup; skip "passthrough needs Linux 6.9, this is $(uname -r)"; }
	patched_pair --io passthrough
	stress 301 2 "$(fs_count 8000 2000)"
}

# While a patch of another directory comes and goes.
case_during_switches() {
	patched_pair --io cached
	rm -r "$PLAIN/P"
	while true; do
		v revert thing && v apply thing || break
	done >"$SCRATCH/switches" 2>&1 &
	local switcher=$!
	fs_remember_pid $switcher
	stress 401 2 "$(fs_count 8000 2000)"
	kill -0 $switcher || fail "switching ended: $(tail -n 2 "$SCRATCH/switches")"
	kill $switcher && wait $switcher || :
	[ "$(wc -l <"$SCRATCH/switches")" -ge 4 ] || fail 'there were no switches'
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

# A file that can only be appended to (chattr +a) is appended to, and nothing else.
case_append_only() { both append_only; }
append_only() {
	can_append_only || { fs_setup; skip 'the scratch filesystem has no append-only files'; }
	local open_otherwise=
	# In cached mode the kernel opens files without asking.
	[ "$1" = cached ] || open_otherwise=$'open 0 u0 p 0/a 5 RDWR 0 0\nopen 0 u0 p 0/a 5 WRONLY|TRUNC 0 0'
	replay "$1" <<-TRACE
		open 0 u0 p 0/a 0 RDWR|CREAT 0666 0
		write 0 u0 p 0 100
		flags 0 u0 p 0 1
		close 0 u0 p 0
		open 0 u0 p 0/a 1 WRONLY|APPEND 0 0
		write 0 u0 p 1 5000
		open 0 u1 p 0/a 2 RDWR|APPEND 0 0
		write 0 u1 p 2 77
		pwrite 0 u1 p 2 3 20
		pread 0 u0 p 2 0 9000
		fstat 0 u0 p 2
		$open_otherwise
		ftruncate 0 u0 p 2 10
		truncate 0 u0 p 0/a 10
		fallocate 0 u0 p 2 3 0 10
		fallocate 0 u0 p 2 0 0 10000
		copy 0 u0 p 2 0 2 100 100
		utimens 0 u0 p 0/a 0 0
		chmod 0 u0 p 0/a 0600
		link 0 u0 p 0/a 0/b 0
		rename 0 u0 p 0/a 0/b 0
		unlink 0 u0 p 0/a
		write 0 u0 p 1 300
		flags 0 u0 p 2 0
		close 0 u0 p 1
		close 0 u0 p 2
		open 0 u0 p 0/a 1 RDWR 0 0
		pwrite 0 u0 p 1 0 20
		ftruncate 0 u0 p 1 1000
		unlink 0 u0 p 0/a
	TRACE
	echo first >"$BASE/log" && t chattr +a "$BASE/log"
	perl -e 'open(F, "+<", $ARGV[0]) or die "$!\n"; syswrite(F, "x") or die "$!\n"' "$BASE/log" >"$SCRATCH/said" 2>&1 || :
	echo second >>"$BASE/log" || echo 'not appended'
	tool mmap_write "$BASE/log" 0 EVIL >/dev/null 2>&1 || :
	t sleep 0.2
	t cat "$BASE/log" >"$SCRATCH/log" || :
	t chattr -a "$BASE/log"
	assert_match 'Operation not permitted' "$(cat "$SCRATCH/said")" 'a write to the beginning'
	assert_equal $'first\nsecond' "$(cat "$SCRATCH/log")" 'what a file has that can only be appended to'
}

can_append_only() {
	local file
	file=$(mktemp "${VENEER_SCRATCH:-/var/tmp}/veneer-append.XXXXXX")
	chattr +a "$file" 2>/dev/null && chattr -a "$file" && rm "$file" || { rm "$file"; return 1; }
}

fs_main "$@"
