#!/bin/bash
# The filesystem beneath is the oracle: the same operations on a plain directory and through a mount, the same results.
# Which operations, and which differences are declared, is in tests/tools/fs_stress/ (`fs_stress --declared` says them).
#
# Environment: VENEER_STRESS_OPERATIONS and VENEER_STRESS_SEEDS, for the long form: so many operations, and seeds of each kind
# of mount. What a difference leaves behind is the fewest operations that make it: put them here as a case.
. "$(dirname "$0")/lib.sh"
if [ -n "${VENEER_STRESS_OPERATIONS-}" ]; then VENEER_CASE_SECONDS=${VENEER_CASE_SECONDS:-36000}; fi

# What the mount hides, by another path: $BENEATH.
show_beneath() {
	BENEATH=$SCRATCH/beneath
	mkdir "$BENEATH"
	mount --bind "$BASE" "$BENEATH" && mount --make-private "$BENEATH"
	fs_remember_mount "$BENEATH"
}

# pair [mount's options]: $PLAIN and $BASE, which is mounted, on one filesystem.
pair() {
	fs_setup
	PLAIN=$SCRATCH/plain BASE=$SCRATCH/base
	mkdir "$PLAIN" "$BASE"
	fs_component thing "$BASE"
	show_beneath
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
	show_beneath
	fs_mount thing "$BASE" --write through "$@"
}

# replay IO: the trace on standard input makes no difference.
replay() {
	pair --io "$1"
	cat >"$SCRATCH/trace"
	tool fs_stress "$PLAIN" "$BASE" --beneath "$BENEATH" --replay "$SCRATCH/trace" >"$SCRATCH/said" || fail "--io $1: $(cat "$SCRATCH/said")"
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
		T=$((operations / 100 + 400)) tool fs_stress "$PLAIN" "$BASE" --beneath "$BENEATH" --seed "$seed" \
			--operations "$operations" --processes $((2 + seed % 3)) --statistics >"$SCRATCH/said" || status=$?
		grep -v -e '^declared:' -e ' done .* refused$' "$SCRATCH/said" || :
		cat "$SCRATCH/said" >>"$SCRATCH/all"
		[ $status -eq 0 ] || fail "seed $seed: the mount and a plain directory differ"
	done
	sed -n 's/^declared: //p' "$SCRATCH/all" | awk '{ n = $(NF - 1); NF -= 2; met[$0] += n } END { for (d in met) print met[d], d }' | sort -k2
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

# Nor in a mapping: who may append may map it.
case_append_only_mapped() { both append_only_mapped; }
append_only_mapped() {
	can_append_only || { fs_setup; skip 'the scratch filesystem has no append-only files'; }
	pair --io "$1"
	echo first >"$BENEATH/log" && chattr +a "$BENEATH/log"
	tool mmap_write --append "$BASE/log" 0 EVIL >"$SCRATCH/said" 2>&1 || :
	t cat "$BENEATH/log" >"$SCRATCH/log"
	t chattr -a "$BASE/log"
	assert_match 'Operation not permitted' "$(cat "$SCRATCH/said")" 'what the program is told'
	assert_equal first "$(cat "$SCRATCH/log")" 'what the file has'
	must tool await_content "$BASE/log" first 5 >/dev/null
}

# An immutable file can be opened to be written, and mapped, where the kernel does not ask: it stays what it is, for all.
case_immutable_mapped() {
	can_append_only || { fs_setup; skip 'the scratch filesystem has no immutable files'; }
	pair --io cached
	echo first >"$BENEATH/file" && chattr +i "$BENEATH/file"
	t cat "$BASE/file" >/dev/null # the first open is asked for
	tool mmap_write "$BASE/file" 0 EVIL >"$SCRATCH/said" 2>&1 || :
	t cat "$BENEATH/file" >"$SCRATCH/file"
	must tool await_content "$BASE/file" first 5 >/dev/null
	chattr -i "$BENEATH/file"
	assert_match 'msync: Operation not permitted' "$(cat "$SCRATCH/said")" 'what the program is told'
	assert_equal first "$(cat "$SCRATCH/file")" 'what the file has'
}

# A file that was opened before it was append-only is copied to as it is written to.
case_copy_to_append_only() { both copy_to_append_only; }
copy_to_append_only() {
	can_append_only || { fs_setup; skip 'the scratch filesystem has no append-only files'; }
	replay "$1" <<-'TRACE'
		open 0 u0 p 0/b 2 RDWR|CREAT 0777 022
		open 0 u0 p 0/e 5 RDWR|CREAT 0666 00
		write 0 u0 p 5 12862
		flags 0 u0 p 2 1
		copy 0 u0 p 5 0 2 0 6303
		fstat 0 u0 p 2
		copy 0 u0 p 5 0 2 100 6303
		flags 0 u0 p 2 0
	TRACE
}

# A capability ends with a write, also that of a file that can only be appended to.
case_append_only_with_capability() { both append_only_with_capability; }
append_only_with_capability() {
	can_append_only || { fs_setup; skip 'the scratch filesystem has no append-only files'; }
	replay "$1" <<-'TRACE'
		open 0 u0 p 0/a 1 RDWR|CREAT|APPEND 0777 022
		setxattr 0 u0 p 0/a 5 20 0 1
		flags 0 u0 p 1 1
		getxattr 0 u0 p 0/a 5 1
		removexattr 0 u0 p 0/a 5 1
		write 0 u0 p 1 100
		getxattr 0 u0 p 0/a 5 1
		fstat 0 u0 p 1
		flags 0 u0 p 1 0
		setxattr 0 u0 p 0/a 5 20 0 1
		flags 0 u0 p 1 1
		fallocate 0 u0 p 1 1 6842 269
		getxattr 0 u0 p 0/a 5 1
		flags 0 u0 p 1 0
	TRACE
}

# chown(2) for no owner: an immutable file refuses that, too.
case_chown_of_immutable() { both chown_of_immutable; }
chown_of_immutable() {
	can_append_only || { fs_setup; skip 'the scratch filesystem has no append-only files'; }
	replay "$1" <<-'TRACE'
		open 0 u0 p 0/b 2 RDWR|CREAT 0777 022
		chown 0 u0 p 0/b -1 -1 1
		flags 0 u0 p 2 2
		chown 0 u0 p 0/b -1 -1 1
		flags 0 u0 p 2 0
	TRACE
}

# declared NAME IO: the trace on standard input is as it is declared, and meets NAME.
declared() {
	pair --io "$2"
	cat >"$SCRATCH/trace"
	tool fs_stress "$PLAIN" "$BASE" --beneath "$BENEATH" --statistics --replay "$SCRATCH/trace" >"$SCRATCH/said" || fail "$(cat "$SCRATCH/said")"
	assert_match "declared: $1 +1 met" "$(cat "$SCRATCH/said")" 'what it met'
}

case_declared_far_write() {
	declared 'refused write' cached <<-'TRACE'
		open 0 u1 p 0/a 1 RDWR|CREAT 06777 00
		pwrite 0 u1 p 1 70368744177664 10
		fstat 0 u0 p 1
		pwrite 0 u1 p 1 7 10
	TRACE
}

case_declared_far_write_with_capability() {
	declared 'refused write' cached <<-'TRACE'
		open 0 u0 p 0/a 1 RDWR|CREAT 0777 00
		setxattr 0 u0 p 0/a 5 20 0 1
		pwrite 0 u0 p 1 70368744177664 10
		getxattr 0 u0 p 0/a 5 1
	TRACE
}

case_declared_refused_chown() {
	declared 'refused write' cached <<-'TRACE'
		mknod 0 u0 p 0/a 2 06777 027
		setxattr 0 u0 p 0/a 5 20 0 0
		chown 0 u1 p 0/a -1 -1 0
		getxattr 0 u0 p 0/a 5 1
	TRACE
}

case_declared_far_copy() {
	declared 'far copy' cached <<-'TRACE'
		open 0 u0 p 0/a 1 RDWR|CREAT 0666 00
		open 0 u0 p 0/b 2 RDWR|CREAT 0666 00
		copy 0 u0 p 1 0 2 70368744177664 100
	TRACE
}

case_declared_far_send() {
	declared 'far send' cached <<-'TRACE'
		open 0 u0 p 0/a 1 RDWR|CREAT 0666 00
		open 0 u0 p 0/b 2 RDWR|CREAT 0666 00
		send 0 u0 p 1 2 70368744177664 100
	TRACE
}

case_declared_pipe_times() {
	declared 'pipe times' cached <<-'TRACE'
		mknod 0 u0 p 0/a 0 0666 00
		utimens 0 u0 p 0/a 0 0
		stat 0 u0 p 0/a 0
		open 0 u0 p 0/a 1 RDWR 0 0
		write 0 u0 p 1 100
		stat 0 u0 p 0/a 0
		utimens 0 u0 p 0/a 0 0
		stat 0 u0 p 0/a 0
	TRACE
}

case_declared_capability() {
	declared capability cached <<-'TRACE'
		open 0 u0 p 0/a 1 RDWR|CREAT 0777 00
		write 0 u0 p 1 100
		setxattr 0 u0 p 0/a 5 20 0 1
		mapwrite 0 u0 p 1 0 50
	TRACE
}

case_declared_acl_mode() {
	fs_have_passthrough || { fs_setup; skip "passthrough needs Linux 6.9, this is $(uname -r)"; }
	declared 'acl mode' passthrough <<-'TRACE'
		open 0 u2 p 0/a 1 RDWR|CREAT 02666 00
		setacl 0 u2 p 0/a 0 0
		pwrite 0 u2 p 1 7 10
		fstat 0 u0 p 1
	TRACE
}

# Shows why holes are compared with the file beneath (fs_stress --declared): on a plain filesystem they are no function of what was done.
case_holes_depend_on_the_cache() {
	fs_setup
	first_data() { perl -e 'open(F, "<", $ARGV[0]) or die; my $at = sysseek(F, 0, 3); print defined $at ? $at + 0 : "none"' "$1"; }
	t fallocate -l 131072 "$SCRATCH/file" || skip 'the scratch filesystem cannot reserve blocks'
	local before
	before=$(first_data "$SCRATCH/file")
	t cat "$SCRATCH/file" >/dev/null
	[ "$before" != none ] || [ "$(first_data "$SCRATCH/file")" != 0 ] || return 0
	[ "$(stat -f -c %T "$SCRATCH")" != ext2/ext3 ] || fail 'ext4 says the same whatever the cache holds: then holes need not be declared'
	skip 'the scratch filesystem says the same whatever the cache holds'
}

can_append_only() {
	local file
	file=$(mktemp "${VENEER_SCRATCH:-/var/tmp}/veneer-append.XXXXXX")
	chattr +a "$file" 2>/dev/null && chattr -a "$file" && rm "$file" || { rm "$file"; return 1; }
}

fs_main "$@"
