#!/bin/bash
# Every durable call of every command that writes, of a component that is not mounted, fails once, and is once the last thing that happens:
# then the state is the old or the new, and whoever comes next finds nothing in his way.
. "$(dirname "$0")/lib.sh"

# What is shown with both patches.
both() {
	cp -a "$WORLD/one" "$WORLD/both"
	cp -a "$WORLD/two/f3" "$WORLD/two/f4" "$WORLD/both/"
}

case_init() {
	world
	BENEATH=$WORLD points init '' '' init
}

case_add() {
	world
	must v init
	points add base base add thing "$WORLD/base" --base-version 1
}

case_add_full() {
	world
	must v init
	points 'add --snapshot full' base base add thing "$WORLD/base" --base-version 1 --snapshot full
}

# The base is another one: recorded anew, and what is active composed over it.
case_add_again() {
	world_with_patches
	must v apply thing a
	fs_fill n 2000 >"$WORLD/base/f4"
	cp -p "$WORLD/base/f4" "$WORLD/one/f4"
	points 'add of another version' one one add thing "$WORLD/base" --base-version 2
}

case_create() {
	world
	fs_component thing "$WORLD/base" --base-version 1
	points 'create --from' base base create thing -m one --from "$WORLD/one"
}

# Over a patch that is active: the base record grows, and the active commit is another one.
case_create_recomposes() {
	world_with_patches
	must v apply thing a b
	cp -a "$WORLD/base" "$WORLD/three"
	fs_fill c 100 >"$WORLD/three/link2"
	fs_fill c 100 >"$WORLD/three/f2"
	both
	points 'create over what is applied' both both create thing -m three --from "$WORLD/three"
}

case_create_deb() {
	command -v dpkg-deb >/dev/null || { fs_setup; skip 'no dpkg-deb'; }
	world
	mkdir -p "$WORLD/package$WORLD/base" "$WORLD/package/DEBIAN"
	cp "$WORLD/one/f1" "$WORLD/package$WORLD/base/f1"
	printf 'Package: p\nVersion: 2\nArchitecture: all\nMaintainer: Tester <tester@example.org>\nDescription: test\n' \
		>"$WORLD/package/DEBIAN/control"
	must dpkg-deb -b "$WORLD/package" "$WORLD/p.deb"
	fs_component thing "$WORLD/base" --base-version 1
	points 'create --deb' base base create thing -m one --deb "$WORLD/p.deb"
}

case_create_upper() {
	world
	mkdir -p "$WORLD/upper/d"
	fs_fill u 500 >"$WORLD/upper/d/x"
	mknod "$WORLD/upper/f2" c 0 0
	fs_component thing "$WORLD/base" --base-version 1
	points 'create --upper' base base create thing -m one --upper "$WORLD/upper"
}

# A commit made with plain git, in a clone.
case_create_commit() {
	world_with_patches
	must git clone -q "$STORE/git" "$WORLD/clone"
	must git -C "$WORLD/clone" fetch -q origin 'refs/veneer/*:refs/veneer/*'
	must git -C "$WORLD/clone" checkout -q refs/veneer/thing/patches/a
	fs_fill g 300 >"$WORLD/clone/f1"
	must git -C "$WORLD/clone" commit -q -a -m 'with git'
	must git -C "$WORLD/clone" push -q origin HEAD:refs/heads/mine
	rm -rf "$WORLD/clone"
	points 'create --commit' base base create thing -m three --commit mine
}

case_record() {
	awk '$5 == "/" { found = 1 } END { exit !found }' /proc/self/mountinfo || { fs_setup; skip 'the root directory is no mount point'; }
	world
	fs_component thing "$WORLD/base" --base-version 1
	points record base base record thing -m recorded -- cp -p "$WORLD/one/f1" "$WORLD/base/f1"
}

case_apply() {
	world_with_patches
	points apply base one apply thing a
}

case_apply_both() {
	world_with_patches
	must v apply thing a
	both
	points 'apply of a second patch' one both apply thing b
}

case_revert() {
	world_with_patches
	must v apply thing a
	points revert one base revert thing
}

# In the middle of a stack: what is left is composed.
case_revert_first() {
	world_with_patches
	must v apply thing a b
	both
	points 'revert of the first of two' both two revert thing a
}

case_rollback() {
	world_with_patches
	must v apply thing b
	must v revert thing
	points rollback base two rollback thing
}

case_switch() {
	world_with_patches
	must v apply thing a
	points switch one two switch thing b
}

# Nobody waits for the lock of a ref that a killed command has left.
case_no_wait_after_a_kill() {
	local n status=0 begin
	world_with_patches
	must tool fault --list "$SCRATCH/calls" --beneath "$STORE" "$VENEER" --store "$STORE" apply thing a
	must v revert thing
	n=$(awk '$2 ~ /^rename/ && $5 ~ /active$/ { print $1 }' "$SCRATCH/calls" | head -n 1)
	# The objects are there by now: fewer calls come before it.
	for ((; n > 0; n--)); do
		status=0
		tool fault --kill "$n" --list "$SCRATCH/calls" --beneath "$STORE" "$VENEER" --store "$STORE" apply thing a >/dev/null 2>&1 || status=$?
		[ ! -e "$STORE/git/refs/veneer/thing/active.lock" ] || break
		v revert thing --all >/dev/null 2>&1 || :
	done
	[ -e "$STORE/git/refs/veneer/thing/active.lock" ] || fail 'no lock was left'
	begin=$(date +%s%N)
	must v apply thing a
	[ $((($(date +%s%N) - begin) / 1000000)) -lt 3000 ] || fail "it took $((($(date +%s%N) - begin) / 1000000)) ms"
	[ -z "$(find "$STORE/git/refs" -name '*.lock')" ] || fail 'the lock is still there'
}

case_policy() {
	world_with_patches
	points 'policy set' base base policy set thing base-change hold
}

# Of a patch that was deleted, and of many small writes.
case_gc() {
	local i
	world_with_patches
	for ((i = 0; i < 55; i++)); do
		must v apply thing a
		must v revert thing
	done
	must v apply thing a
	must git -C "$STORE/git" commit-graph write --reachable --no-progress
	must git -C "$STORE/git" update-ref -d refs/veneer/thing/patches/b
	points gc one one gc --grace 0
}

# What was broken is broken still, or mended; the next repair goes on.
case_fsck_repair() {
	local object
	world_with_patches
	must v apply thing a
	object=$(find "$STORE/objects" -type f -size 4000c)
	fs_fill z 4000 >"$SCRATCH/damage"
	chmod u+w "$object"
	cp "$SCRATCH/damage" "$object"
	rm "$STORE/git/refs/veneer/thing/active" "$STORE/cache/blobs"
	BROKEN=yes points 'fsck --repair' '' '' fsck --repair
}

crash_main "$@"
