#!/bin/bash
# Set-id bits and capabilities of files are lost through the mount exactly when they are lost on a plain directory.
. "$(dirname "$0")/lib.sh"

# A kernel that does not leave set-id bits to the daemon (before 5.11) never ends the set-gid bit of a file that its group may not
# execute: there these tests fail.

# privileges_as_native MODE: the table of a plain directory and of one in a mount with `--io MODE`, at once and when all is
# read anew from beneath.
privileges_as_native() {
	BASE=$SCRATCH/base
	mkdir -p "$BASE/table" "$SCRATCH/plain"
	cp "$(command -v id)" "$SCRATCH/id" && chmod 4755 "$SCRATCH/id"
	[ "$(as_nobody "$SCRATCH/id" -u)" = 0 ] || skip 'the scratch filesystem is mounted nosuid'
	tool privilege_table "$SCRATCH/plain" >"$SCRATCH/expected" || fail 'the table of a plain directory'
	fs_component thing "$BASE"
	fs_mount thing "$BASE" --io "$1"
	tool privilege_table "$BASE/table" >"$SCRATCH/actual" || fail 'the table of the mount'
	# What a mapping changed is written beneath by write(2), which ends the capability.
	[ "$1" = passthrough ] || sed -i "/^map.*capability:/d" "$SCRATCH/expected" "$SCRATCH/actual"
	assert_same_text "$SCRATCH/expected" "$SCRATCH/actual" "the table with --io $1"
	modes "$SCRATCH/plain" >"$SCRATCH/expected-modes"
	modes "$BASE/table" >"$SCRATCH/actual-modes"
	assert_same_text "$SCRATCH/expected-modes" "$SCRATCH/actual-modes" "modes with --io $1"
	fs_umount thing "$BASE"
	modes "$BASE/table" >"$SCRATCH/actual-modes"
	assert_same_text "$SCRATCH/expected-modes" "$SCRATCH/actual-modes" "modes beneath with --io $1"
}

# The kernel believes that there are no set-id bits: all that it says is in the request itself.
case_changed_beneath() {
	fs_setup
	local way
	BASE=$SCRATCH/base
	mkdir "$BASE" "$SCRATCH/beneath"
	mount --bind "$BASE" "$SCRATCH/beneath"
	fs_remember_mount "$SCRATCH/beneath"
	for way in write fallocate copy_file_range; do
		fs_fill c 8192 >"$BASE/$way" && chmod 777 "$BASE/$way"
		cp -a "$BASE/$way" "$BASE/root-$way"
	done
	fs_component thing "$BASE"
	fs_mount thing "$BASE" --io cached
	assert_equal daemon "$(v status thing --verbose --json | t jq -r '.[0].set_id_bits')" 'who ends set-id bits'
	t stat "$BASE"/* >/dev/null
	chmod 6777 "$SCRATCH"/beneath/*
	for way in write fallocate copy_file_range; do
		as_nobody "$VENEER_TOOLS/privilege_table" --change "$way" "$BASE/$way" || fail "$way by nobody"
		tool privilege_table --change "$way" "$BASE/root-$way" || fail "$way by root"
	done
	for way in write fallocate copy_file_range; do
		assert_equal 777 "$(stat -c %a "$SCRATCH/beneath/$way")" "mode beneath after $way by nobody"
		assert_equal 6777 "$(stat -c %a "$SCRATCH/beneath/root-$way")" "mode beneath after $way by root"
		fs_wait_for 10 mode_is 777 "$BASE/$way" || fail "mode after $way by nobody: $(t stat -c %a "$BASE/$way")"
	done
}

mode_is() { [ "$(t stat -c %a "$2")" = "$1" ]; }

modes() { (cd "$1" && t find . -type f -printf '%p %m %u %g %s\n' | sort); }

case_cached() {
	fs_setup
	privileges_as_native cached
}

case_passthrough() {
	fs_setup
	fs_have_passthrough || skip 'no passthrough here'
	privileges_as_native passthrough
}

fs_main "$@"
