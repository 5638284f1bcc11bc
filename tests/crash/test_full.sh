#!/bin/bash
# A disk that is really full, of blocks and of inodes, and a quota that is used up: what cannot be done says so and changes nothing, what is
# served goes on, and a patch can be taken off all the same.
. "$(dirname "$0")/../fs/lib.sh"

# small_disk OPTION… [-- MOUNT-OPTIONS]: an ext4 of 8 MiB at $DISK, with store and component on it, and patches a (applied) and b.
small_disk() {
	local options=()
	while [ $# -gt 0 ] && [ "$1" != -- ]; do options+=("$1"); shift; done
	fs_setup
	DISK=$SCRATCH/disk
	mkdir "$DISK"
	truncate -s 8M "$SCRATCH/image"
	must mkfs.ext4 -q -m 0 -b 1024 "${options[@]}" "$SCRATCH/image"
	mount -o "loop${2:+,$2}" "$SCRATCH/image" "$DISK" 2>"$SCRATCH/said" || skip "no loop device, or not of this kind: $(cat "$SCRATCH/said")"
	fs_remember_mount "$DISK"
	chmod 755 "$DISK"
	STORE=$DISK/store
}
two_patches() {
	BASE=$DISK/base
	mkdir -p "$BASE"
	echo old >"$BASE/file"
	echo old >"$BASE/other"
	echo old >"$BASE/free"
	cp -a "$BASE" "$SCRATCH/one" && echo one >"$SCRATCH/one/file"
	cp -a "$BASE" "$SCRATCH/two" && echo two >"$SCRATCH/two/other"
	fs_component thing "$BASE" --base-version 1
	fs_create thing -m one --from "$SCRATCH/one" >/dev/null
	fs_create thing -m two --from "$SCRATCH/two" >/dev/null
	must v apply thing a
	# Random bytes, so that nothing makes them small.
	cp -a "$BASE" "$SCRATCH/large" && head -c 500000 /dev/urandom >"$SCRATCH/large/big"
}

# To the last block: what the filesystem keeps back for a while is filled, too.
fill_blocks() {
	local i
	for ((i = 0; i < 20; i++)); do
		dd if=/dev/zero of="$DISK/filler" bs=4096 oflag=append conv=notrunc status=none 2>/dev/null || :
		sync -f "$DISK"
		{ echo x >"$DISK/more" && sync "$DISK/more"; } 2>/dev/null || { rm -f "$DISK/more"; return 0; }
		mv "$DISK/more" "$DISK/more.$i"
	done
	fail 'the disk does not become full'
}
fill_inodes() {
	local i
	mkdir "$DISK/fillers"
	for ((i = 0; i < 100000; i++)); do : >"$DISK/fillers/$i" || break; done 2>/dev/null
	! { : >"$DISK/more"; } 2>/dev/null || fail 'there are inodes left'
}

state() { g for-each-ref; find "$STORE/objects" "$STORE/git/refs" -type f | sort; }

# no_room TEXT: nothing can be added, each command says so in one line, and nothing has changed.
no_room() {
	state >"$SCRATCH/before"
	assert_refused 1 "$1" v create thing -m large --from "$SCRATCH/large"
	assert_refused 1 "$1" v apply thing b
	assert_refused 1 "$1" v switch thing b
	state >"$SCRATCH/after"
	assert_same_text "$SCRATCH/before" "$SCRATCH/after" 'what there is, after what failed'
	must g fsck --strict --no-dangling
	[ -z "$(find "$STORE" -name '.tmp-*' -o -name '*.lock' -path '*/refs/*')" ] || fail "left behind: $(find "$STORE" -name '.tmp-*' -o -name '*.lock')"
}

newest_action() { v log thing --json | jq -r '.[0].action'; }

# A patch is taken off, and it is in the journal.
comes_off() {
	must v revert thing a
	assert_equal "$(fs_ref thing/base)" "$(fs_ref thing/active)" 'active after the revert'
	assert_equal reverted "$(newest_action)" 'the journal'
	must g fsck --strict --no-dangling
}

# And when there is room again, all is as ever, the reserve included.
room_again() {
	rm -rf "$DISK/filler" "$DISK/fillers" "$DISK"/more.*
	must v apply thing a b
	must v create thing -m large --from "$SCRATCH/large"
	must v revert thing --all
	[ "$(find "$STORE/reserve" -type f -size +3 | wc -l)" -eq 16 ] || fail "the reserve: $(ls -ls "$STORE/reserve")"
}

case_blocks() {
	small_disk
	two_patches
	fill_blocks
	no_room 'No space left on device'
	comes_off
	room_again
}

case_inodes() {
	small_disk -N 256
	two_patches
	fill_inodes
	no_room 'No space left on device'
	comes_off
	room_again
}

# Whoever fills the disk takes the reserve's room, too: there is one revert in it, not a hundred; but the second one goes without the journal where
# it must, and the journal has it later.
case_reserve_is_used_up() {
	small_disk
	two_patches
	must v apply thing b
	fill_blocks
	rm -rf "$STORE/reserve"
	fill_blocks
	local said
	if said=$(v revert thing b 2>&1); then
		assert_equal "$(fs_ref thing/patches/a)" "$(fs_ref thing/active)" 'active'
	else
		assert_match '^veneer: .*No space left on device' "$said" 'what a revert says that has no room at all'
		assert_equal applied "$(newest_action)" 'the journal'
	fi
	room_again
	must g fsck --strict --no-dangling
}

# There is room for a ref, and for nothing else.
case_without_the_journal() {
	small_disk
	two_patches
	fill_blocks
	rm -rf "$STORE/reserve"
	fill_blocks
	# One block and some inodes: what a revert needs at least.
	truncate -s -1024 "$DISK/filler"
	local said
	said=$(v revert thing a 2>&1) || fail "it is refused: $said"
	assert_equal "$(fs_ref thing/base)" "$(fs_ref thing/active)" 'active after the revert'
	assert_match 'reverted, but there was no room on the disk to write that to the journal' "$said" 'what it says'
	assert_equal applied "$(newest_action)" 'the journal'
	rm "$DISK/filler"
	must v policy set thing base-change hold
	assert_equal switched "$(newest_action)" 'the journal, completed'
	assert_equal "$(fs_ref thing/base)" "$(v log thing --json | jq -r '.[0].to')" 'what it leads to'
	must g fsck --strict --no-dangling
}

# A mounted component: what is served goes on, and so does a worker that is killed meanwhile; writes get what the directory itself gives.
case_mounted() {
	small_disk
	two_patches
	fs_mount thing "$BASE"
	fill_blocks
	no_room 'No space left on device'
	assert_content one "$BASE/file"
	! echo more 2>/dev/null >"$BASE/new-file" || fail 'a write through the mount finds room'
	local err
	err=$( { head -c 100000 /dev/zero >"$BASE/free"; } 2>&1) && fail 'a large write through the mount finds room'
	assert_match 'No space left on device' "$err" 'a write through the mount'
	rm -f "$BASE/new-file"
	kill -KILL "$(fs_status thing .worker)"
	assert_content one "$BASE/file"
	[ "$(fs_status thing .workers)" -ge 2 ] || fail 'no other worker'
	comes_off
	assert_content old "$BASE/file"
	fs_umount thing "$BASE"
	room_again
}

# The base moves on, and the disk is full: a newer base wins all the same.
case_newer_base() {
	small_disk
	two_patches
	fs_mount thing "$BASE"
	echo newer >"$BASE/newer"
	fill_blocks
	t mv "$BASE/newer" "$BASE/file"
	assert_content newer "$BASE/file"
	fs_wait_for 20 is_retired || fail "the patch is $(fs_status thing '.patches[0].state'): $(tail -n 3 "$FS_LOG")"
	assert_content newer "$BASE/file"
	fs_umount thing "$BASE"
}
is_retired() { [ "$(fs_status thing '.patches[0].state')" = retired ]; }

# A small tmpfs, which has neither a journal nor blocks in reserve.
case_tmpfs() {
	fs_setup
	DISK=$SCRATCH/disk
	mkdir "$DISK"
	mount -t tmpfs -o size=3m,mode=0755 full "$DISK"
	fs_remember_mount "$DISK"
	STORE=$DISK/store
	two_patches
	fill_blocks
	no_room 'No space left on device'
	comes_off
	room_again
}

# The quota of somebody who is not root (root's is not enforced).
case_quota() {
	command -v setquota >/dev/null || { fs_setup; skip 'no setquota (package quota)'; }
	small_disk -O quota -E quotatype=usrquota -- usrquota
	chown 65534 "$DISK"
	# As nobody, in all that follows.
	v() { as_nobody "$VENEER" --store "$STORE" "$@"; }
	g() { as_nobody git -C "$STORE/git" "$@"; }
	two_patches
	chown -R 65534 "$BASE"
	setquota -u 65534 "$(du -sk "$DISK" | cut -f1)" "$(du -sk "$DISK" | cut -f1)" 0 0 "$DISK" 2>"$SCRATCH/said" || skip "no quota in this kernel: $(cat "$SCRATCH/said")"
	as_nobody dd if=/dev/zero of="$DISK/filler" bs=1024 status=none 2>/dev/null || :
	no_room 'Disk quota exceeded'
	comes_off
}

fs_main "$@"
