#!/bin/bash
# Power loss costs nothing: what has returned is there, what was running is as before or as after it. See power.sh.
# Looks at a few hundred states of disks that have lost their power; VENEER_POWER=full at every one that was recorded.
. "$(dirname "$0")/../fs/lib.sh"
. "$(dirname "$0")/power.sh"
[ "${VENEER_POWER-}" != full ] || export VENEER_CASE_SECONDS=${VENEER_CASE_SECONDS:-3600}

FILES=24 # enough for a pack of git's, and for syncfs(2) instead of many fsync(2)

# The base, and the directories that the patches are made from, which the disk has no part in.
make_scene() {
	local i scene=$SCRATCH/scene
	mkdir -p "$scene/base/many" "$scene/base/sub"
	pushd "$scene" >/dev/null
	for ((i = 0; i < FILES; i++)); do
		fs_fill "$(printf '\\%o' $((97 + i)))" $((1000 + i * 700)) >"base/many/$i"
	done
	echo base >base/file
	echo base >base/gone
	echo base >base/plain
	ln -s file base/link
	cp -a base a
	echo 'by a' >a/file
	fs_fill a 20000 >a/added
	rm a/gone
	ln -sfn added a/link
	cp -a base b
	cp -a a ab
	for ((i = 0; i < FILES; i++)); do
		echo 'by b' | tee -a "b/many/$i" >>"ab/many/$i"
	done
	cp -a a ac
	echo 'by c' >ac/recorded
	popd >/dev/null
	[ -d "$BASE" ] || cp -a "$scene/base" "$BASE"
}

expect() { EXPECT=$SCRATCH/scene/$1; }

# With times of its own: they are part of the patch, and it runs again.
run_record() {
	v record thing -m three --label c -- sh -c "cd '$BASE' && echo 'by c' >recorded && touch -d @1000000000 recorded ."
}

series_first() {
	EXPECT=
	power_step again v init
	expect base
	power_step once:base v add thing "$BASE" --base-version 1.0
	power_step once:patches/a v create thing -m one --label a --from "$SCRATCH/scene/a"
	power_step once:patches/b v create thing -m two --label b --from "$SCRATCH/scene/b"
}

series_switches() {
	expect a
	power_step again v apply thing a
	expect ab
	power_step again v apply thing b
	expect b
	power_step again v revert thing a
	expect ab
	power_step once:active v rollback thing
	expect base
	power_step again v switch thing base
	expect a
	power_step again v switch thing a
	power_step again v policy set thing base-change hold
}

series_record() {
	power_step once:patches/c run_record
	expect ac
	power_step again v apply thing c
	expect base
	power_step again v revert thing --all
	power_step again v policy set thing base-change retire
}

series_housekeeping() {
	! power_has_command gc || power_step again v gc
	! power_has_command fsck || power_step again v fsck --repair
}

whole_series() {
	make_scene
	series_first
	series_switches
	series_record
	series_housekeeping
}

# The tool: with nothing dropped, the image is what the disk was.
case_an_image_is_the_disk() {
	POWER_DISK_BYTES=$((64 << 20))
	power_begin ext4
	local last
	mkdir "$DISK/d"
	cp "$VENEER" "$DISK/d/program"
	sync "$DISK/d/program" "$DISK/d"
	fs_fill x 3000000 >"$DISK/d/x"
	rm "$DISK/d/program"
	fs_unmount "$DISK" || fail "cannot unmount '$DISK'"
	last=$(tool block_recorder list "$POWER_LOG" | wc -l)
	tool block_recorder image "$POWER_LOG" "$last" 1 4096 "$SCRATCH/image"
	must t cmp "$SCRATCH/recorder/disk" "$SCRATCH/image"
	tool block_recorder image "$POWER_LOG" $((last / 2)) 0 4096 "$SCRATCH/half"
	! t cmp -s "$SCRATCH/recorder/disk" "$SCRATCH/half" || fail 'half of the log makes the whole disk'
	power_end
}

# A neighbour on the same filesystem syncs all the time: with it, everybody's half-made directories reach the disk.
neighbour() {
	while [ ! -e "$SCRATCH/quiet" ]; do
		echo x >>"$DISK/neighbour"
		sync "$DISK/neighbour"
	done
}

with_neighbour() {
	local pid
	neighbour &
	pid=$!
	fs_remember_pid "$pid"
	"$@"
	: >"$SCRATCH/quiet"
	wait "$pid"
}

case_ext4_init() {
	power_begin ext4
	EXPECT=
	with_neighbour power_step again v init
	power_end
	power_verify 60
}

case_ext4() {
	power_begin ext4
	whole_series
	power_end
	power_verify 40
}

case_ext4_with_a_neighbour() {
	power_begin ext4
	with_neighbour whole_series
	power_end
	power_verify 30
}

# The daemon writes.
case_ext4_mounted() {
	power_begin ext4
	make_scene
	series_first
	power_step never fs_mount thing "$BASE"
	series_switches
	series_record
	power_step never fs_umount thing "$BASE"
	power_end
	power_verify 40
}

case_xfs() {
	power_begin xfs
	whole_series
	power_end
	power_verify 10
}

case_btrfs() {
	power_begin btrfs
	whole_series
	power_end
	power_verify 10
}

# ---- the base is on the disk as well ----

# Each does something in the directory $1 and makes it durable, as a careful program does.
make_file() { echo new >"$1/made" && sync "$1/made" "$1"; }
make_large_file() { dd if=/dev/zero of="$1/sub/large" bs=64k count=5 conv=fsync status=none && sync "$1/sub"; }
rename_file() { mv "$1/made" "$1/sub/renamed" && sync "$1/sub" "$1"; }
write_in_place() { printf 'in place' | dd of="$1/many/1" conv=notrunc,fdatasync status=none; }
append() { echo more >>"$1/plain" && sync "$1/plain"; }
write_through() { dd if=/dev/zero of="$1/many/2" bs=3k count=3 oflag=dsync conv=notrunc status=none; }
write_mapped() { "$VENEER_TOOLS/mmap_write" "$1/many/3" 700 'through a mapping'; }
replace_file() { echo newer >"$1/plain.new" && sync "$1/plain.new" && mv "$1/plain.new" "$1/plain" && sync "$1"; }
make_directories() {
	mkdir -p "$1/sub/one/two" && echo deep >"$1/sub/one/two/file" &&
		sync "$1/sub/one/two/file" "$1/sub/one/two" "$1/sub/one" "$1/sub"
}
remove_file() { rm "$1/sub/large" && sync "$1/sub"; }
make_links() { ln "$1/plain" "$1/sub/hard" && ln -s plain "$1/sub/soft" && sync "$1/sub" "$1/plain"; }
cut_short() { truncate -s 100 "$1/many/4" && sync "$1/many/4"; }
change_attributes() {
	chown 12:12 "$1/many/5" && chmod 4751 "$1/many/5" && setfattr -n user.test -v value "$1/many/5" &&
		touch -d @1000000000 "$1/many/5" && sync "$1/many/5"
}

# The package manager's way, of a file that is patched: the patch is retired, and that is on record when it is seen.
replace_patched() {
	echo newest >"$BASE/file.new" && sync "$BASE/file.new" && mv "$BASE/file.new" "$BASE/file" && sync "$BASE"
	fs_wait_for 20 is_retired
	t flock "$STORE/lock" true # the daemon has it until all is on record
}
is_retired() { [ "$(fs_ref thing/active)" = "$(fs_ref thing/base)" ]; }

# What is mounted after the cut: the patch as long as its file is as it was, and a newer base as soon as it is there.
base_is_followed() {
	if [ "$(cat "$1/file")" = newest ]; then
		[ "$(readlink "$1/link")" = file ] && [ ! -e "$1/added" ]
	else
		[ "$(cat "$1/file")" = 'by a' ] && [ "$(readlink "$1/link")" = added ] && [ ! -e "$1/gone" ] &&
			cmp -s "$1/added" "$SCRATCH_OF_CASE/scene/a/added"
	fi
}

in_both() { t bash -c '"$0" "$1" && "$0" "$2"' "$1" "$BASE" "$DISK/plain"; }

# base_is_written FILESYSTEM IMAGES IO: and an fsync through the mount promises what it promises on the bare directory.
base_is_written() {
	local operation
	[ "$3" != passthrough ] || fs_have_passthrough || skip 'this kernel cannot pass through'
	power_begin "$1"
	BASE=$DISK/base LOWER=$SCRATCH/lower
	make_scene
	cp -a "$BASE" "$DISK/plain"
	sync -f "$DISK"
	mkdir "$LOWER"
	mount --bind "$BASE" "$LOWER"
	mount --make-private "$LOWER"
	fs_remember_mount "$LOWER"
	series_first
	EXPECT=@base_is_followed
	power_step again v apply thing a
	power_step never fs_mount thing "$BASE" --io "$3"
	for operation in make_file make_large_file rename_file write_in_place append write_through write_mapped replace_file \
		make_directories remove_file make_links cut_short change_attributes; do
		export -f "${operation?}"
		power_step never in_both "$operation"
	done
	power_step never replace_patched
	power_step never fs_umount thing "$BASE"
	fs_unmount "$LOWER" || fail "cannot unmount '$LOWER'"
	power_end
	power_verify "$2"
}

case_ext4_base_is_written() { base_is_written ext4 30 cached; }
case_ext4_base_is_written_passthrough() { base_is_written ext4 30 passthrough; }
case_xfs_base_is_written() { base_is_written xfs 10 auto; }
case_btrfs_base_is_written() { base_is_written btrfs 10 auto; }

# What veneer(8) says of it: no request comes, so nothing is flushed.
case_declared_syncfs() {
	local before
	power_begin ext4
	BASE=$DISK/base
	make_scene
	fs_component thing "$BASE"
	fs_mount thing "$BASE"
	sync -f "$DISK"
	before=$(power_flushes)
	echo x >"$BASE/made"
	t sync -f "$BASE"
	assert_equal "$before" "$(power_flushes)" 'flushes after syncfs(2) through the mount'
	t sync "$BASE/made"
	[ "$(power_flushes)" -gt "$before" ] || fail 'fsync(2) through the mount flushes nothing'
	fs_umount thing "$BASE"
	power_end
}

# ---- killed first, then the power ----

# dying CALL COMMAND…: the command is killed when it wants to make something durable for the CALL-th time.
dying() {
	local call=$1
	shift
	# In a shell of its own, which keeps to itself what it says of the dead.
	! (NO_SYNC=die NO_SYNC_CALL=$call LD_PRELOAD=$VENEER_TOOLS/no_sync.so "$VENEER" --store "$STORE" "$@" || exit 1) >/dev/null 2>&1
}

# A patch of its own, made by a command that is killed, and by another one.
create_again() {
	local label=n$1
	cp -a "$SCRATCH/scene/base" "$SCRATCH/scene/$label"
	echo "by $label" | tee "$SCRATCH/scene/$label/file" >"$SCRATCH/scene/$label/new"
	dying "$1" create thing -m "$label" --label "$label" --from "$SCRATCH/scene/$label" || KILLED=
	# Where the patch is there already, nobody has been told so.
	if fs_ref "thing/patches/$label" >/dev/null; then
		sync -f "$DISK"
	else
		must v create thing -m "$label" --label "$label" --from "$SCRATCH/scene/$label"
	fi
}

apply_again() {
	dying "$1" switch thing "$2" || KILLED=
	must v switch thing "$2"
}

# What a killed command has left, and the next one finds and takes as done, must be durable when that one returns.
killed_first() {
	local call
	! fs_sanitized || skip 'a sanitizer wants to be the first library that is loaded'
	power_begin "$1"
	make_scene
	EXPECT=
	power_step again v init
	power_step once:base v add thing "$BASE" --base-version 1.0
	KILLED=yes
	for ((call = 1; call < 60; call++)); do
		power_step never create_again $call
		[ -n "$KILLED" ] || break
	done
	[ $call -gt 8 ] || fail "only $call commands were killed"
	KILLED=yes
	for ((call = 1; call < 60; call++)); do
		power_step never apply_again $call n$call
		[ -n "$KILLED" ] || break
	done
	[ $call -gt 3 ] || fail "only $call commands were killed"
	power_end
	power_verify "$2"
}

case_ext4_killed_first() { killed_first ext4 10; }
case_btrfs_killed_first() { killed_first btrfs 10; }

# ---- it notices ----

# without_sync WHAT: from here on veneer makes WHAT durable in name only.
without_sync() {
	! fs_sanitized || skip 'a sanitizer wants to be the first library that is loaded'
	POWER_VENEER=$VENEER VENEER=$SCRATCH/veneer
	printf '#!/bin/sh\nNO_SYNC=%s LD_PRELOAD=%q exec %q "$@"\n' "$1" "$VENEER_TOOLS/no_sync.so" "$POWER_VENEER" >"$VENEER"
	chmod +x "$VENEER"
}

with_sync() { VENEER=$POWER_VENEER; }

# without_sync_of WHAT PATTERN: a loss like that is found.
without_sync_of() {
	power_begin ext4
	make_scene
	series_first
	without_sync "$1"
	series_switches
	power_end
	with_sync
	power_look 20
	assert_match "$2" "$(cat "$SCRATCH/losses")" "what is lost without sync of $1"
}

case_without_fsync_it_is_noticed() { without_sync_of all "ref 'refs/veneer/thing/active' is"; }
case_without_fsync_of_files_it_is_noticed() { without_sync_of files 'git fsck: |objects: '; }
case_without_fsync_of_directories_it_is_noticed() { without_sync_of directories "ref 'refs/veneer/thing/[a-z]*' is"; }

if [ "${1-}" = --worker ]; then
	power_worker "$2"
	exit
fi
fs_main "$@"
