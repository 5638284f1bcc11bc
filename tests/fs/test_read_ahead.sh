#!/bin/bash
# Files that are read one after the other are read ahead from the base, in both ways of opening them; and so are directories.
. "$(dirname "$0")/lib.sh"

make_base() {
	BASE=$SCRATCH/base
	LOWER=$SCRATCH/lower
	mkdir -p "$BASE" "$LOWER"
	local i
	for i in $(seq -w 60); do head -c 30000 /dev/zero | tr '\0' "$((10#$i % 10))" >"$BASE/f$i"; done
	fs_component thing "$BASE"
	# The base by another path, from before the mount.
	mount --bind "$BASE" "$LOWER"
	fs_remember_mount "$LOWER"
}

# evict: nothing of the base's files is in memory.
evict() {
	local file
	t sync -f "$LOWER"
	for file in "$LOWER"/*; do t dd if="$file" iflag=nocache count=0 status=none; done
	[ "$(in_memory 60)" = 0 ] || skip 'the filesystem keeps files in memory'
}

in_memory() { t fincore --bytes --noheadings --raw -o RES "$LOWER/f$1"; }
all_in_memory() { [ "$(in_memory "$1")" -ge 30000 ]; }

read_in_order() {
	local mode=$1 i
	evict
	fs_mount thing "$BASE" --io "$mode"
	for i in 01 02 03; do t cat "$BASE/f$i" >/dev/null; done
	for i in 04 05 06 07; do
		fs_wait_for 10 all_in_memory $i || fail "f$i was not read ahead: $(in_memory $i) bytes in memory"
	done
	assert_equal 0 "$(in_memory 50)" 'read too far ahead'
	for i in $(seq -w 4 60); do
		t cmp "$BASE/f$i" <(head -c 30000 /dev/zero | tr '\0' "$((10#$i % 10))") || fail "f$i has other bytes"
	done
}

case_cached() {
	fs_setup
	make_base
	read_in_order cached
}

case_passthrough() {
	fs_setup
	fs_have_passthrough || skip 'no passthrough here'
	make_base
	read_in_order passthrough
}

# As the mount lists them, which is neither how the base does nor sorted: find, grep -r, tar and cp -r read so.
case_as_the_mount_lists_them() {
	fs_setup
	make_base
	evict
	fs_mount thing "$BASE" --io cached
	local names i
	mapfile -t names < <(t find "$BASE" -type f -printf '%f\n')
	assert_equal 60 "${#names[@]}" 'names in the listing'
	for i in 0 1 2; do t cat "$BASE/${names[i]}" >/dev/null; done
	for i in 3 4 5 6; do
		fs_wait_for 10 all_in_memory "${names[i]#f}" || fail "${names[i]}, number $i of the listing, was not read ahead"
	done
	assert_equal 0 "$(in_memory "${names[50]#f}")" 'read too far ahead'
}

# Here and there: nothing that was not asked for is read.
case_in_no_order() {
	fs_setup
	make_base
	evict
	fs_mount thing "$BASE" --io cached
	local i
	for i in 30 01 45 15 59; do t cat "$BASE/f$i" >/dev/null; done
	sleep 0.5
	for i in 02 16 31 46 60; do assert_equal 0 "$(in_memory $i)" "f$i was read"; done
}

# Who lists a directory and then the first that it holds: those that follow are listed in the base before anyone asks.
case_directories() {
	fs_setup
	BASE=$SCRATCH/base
	LOWER=$SCRATCH/lower
	# Empty: of what is in memory nothing is to be learned.
	mkdir -p "$LOWER" "$BASE"/d{01..20}
	fs_component thing "$BASE"
	mount --bind "$BASE" "$LOWER"
	fs_remember_mount "$LOWER"
	cd "$LOWER"
	"$VENEER_TOOLS/watch_opens" d* >"$SCRATCH/opened" &
	fs_remember_pid $!
	cd /
	fs_wait_for 10 grep -q watching "$SCRATCH/opened"
	fs_mount thing "$BASE" --io cached
	local names i
	mapfile -t names < <(t find "$BASE" -mindepth 1 -maxdepth 1 -printf '%f\n')
	sleep 0.5
	assert_equal watching "$(cat "$SCRATCH/opened")" 'opened by listing what they are in'
	t ls "$BASE/${names[0]}" >/dev/null
	for i in 1 2 3 4; do
		fs_wait_for 10 grep -q "^${names[i]}$" "$SCRATCH/opened" || fail "${names[i]}, number $i of the listing, was not read ahead"
	done
	sleep 0.5
	assert_equal '' "$(grep "^${names[5]}$" "$SCRATCH/opened")" 'read too far ahead'
	assert_equal "$(printf '%s\n' "${names[@]}" | sort)" "$(cd "$BASE" && t find . -mindepth 1 -type d | sed 's/..//' | sort)" 'a walk'
}

fs_main "$@"
