# shellcheck shell=bash
# Power cuts: sourced, after tests/fs/lib.sh, by tests/crash/test_power.sh.
#
# Calling sequence, in a case:
#
#	power_begin ext4                        # a recorded disk with that filesystem, at $DISK; the store is $STORE on it
#	power_step KIND COMMAND…                # as often as needed; what is true after it is kept
#	power_end                               # the disk is gone, its log is there
#	power_verify IMAGES                     # cuts the power at many points, in several ways, and looks at what is left
#
# KIND says when the command may be run again after a cut in the middle of it: `again` always, `once:REF` only where
# refs/veneer/thing/REF is as it was before, `never`.
#
# What must hold of every cut: of each ref the value before or after the command that was running, and after a command has
# returned what it has left; the journal is never ahead of what is active; `git fsck --strict` is clean; the policy is the old
# or the new one; every object hashes to its name, and those of the active commit are there; `status` works; the command can be run again
# and leads to the trees of the new state. Of some: a mount serves exactly the bytes of the state.
#
# How a disk is cut: tests/tools/block_recorder. Each image is looked at in a namespace of its own, mounted where the
# recorded disk was, so that all paths in the store are true. What is made in there ends with it, whatever happens.
#
# Environment: VENEER_POWER=full looks at every cut, each in four ways; VENEER_POWER_SEED (default 1) decides which are looked at
# otherwise, and what is lost; VENEER_POWER_IMAGES, how many, a case.

POWER_DISK_BYTES=$((512 << 20)) # from here on mkfs.ext4 chooses what it does for any disk
POWER_WORKERS=2
POWER_LOSSES_MAX=20 # a worker stops then

power_paths() {
	DISK=$SCRATCH/disk STORE=$SCRATCH/disk/store STATES=$SCRATCH/states POWER_LOG=$SCRATCH/log
	BASE=$SCRATCH/base LOWER=
}

power_require() {
	command -v losetup >/dev/null || skip 'losetup is missing (package mount)'
	command -v "mkfs.$1" >/dev/null || skip "mkfs.$1 is missing"
	command -v unshare >/dev/null || skip 'unshare is missing (package util-linux)'
	[ -e /dev/loop-control ] || skip 'this kernel or container has no loop devices'
	grep -qw "$1" /proc/filesystems || modprobe "$1" 2>/dev/null || skip "this kernel has no $1"
}

power_mkfs() {
	case $1 in
	ext4) t mkfs.ext4 -q "$2" ;;
	xfs) t mkfs.xfs -q -f "$2" ;;
	btrfs) t mkfs.btrfs -q -f "$2" >/dev/null ;;
	esac
}

# power_mount_image FILE: with the loop device that goes when the mount does.
power_mount_image() {
	local options=loop,noatime
	# A thread that zeroes tables in the background would only be noise in the log.
	[ "$POWER_FILESYSTEM" != ext4 ] || options+=,noinit_itable
	# Two images of one disk at a time.
	[ "$POWER_FILESYSTEM" != xfs ] || options+=,nouuid
	t mount -t "$POWER_FILESYSTEM" -o "$options" "$1" "$DISK"
}

power_begin() {
	export POWER_FILESYSTEM=$1 POWER_BEGIN
	POWER_BEGIN=$(date +%s)
	power_require "$1"
	fs_setup
	power_paths
	mkdir "$SCRATCH/recorder" "$DISK" "$STATES"
	fs_remember_mount "$SCRATCH/recorder"
	"$VENEER_TOOLS/block_recorder" record "$SCRATCH/recorder" "$POWER_LOG" "$POWER_DISK_BYTES" &
	fs_remember_pid $!
	fs_wait_for 20 fs_is_mounted "$SCRATCH/recorder" || fail 'the recorder does not start'
	power_mkfs "$1" "$SCRATCH/recorder/disk"
	fs_remember_mount "$DISK"
	power_mount_image "$SCRATCH/recorder/disk" 2>"$SCRATCH/why" || skip "no loop device over the recorder: $(cat "$SCRATCH/why")"
	POWER_STEP=0
	power_keep_state
}

power_mark() { echo "$1 $POWER_STEP" >"$SCRATCH/recorder/mark"; }

power_refs() { [ ! -e "$STORE/git/HEAD" ] || g for-each-ref --format="%(refname) %($1)" refs/veneer; }

# What files and symbolic links DIR has, and their bytes.
power_content() {
	(cd "$1" && t find . -type f -print0 | sort -z | t xargs -0 -r sha256sum && t find . -type l -printf '%p -> %l\n' | sort)
}

power_objects() {
	[ ! -d "$STORE/objects" ] || tool object_check "$STORE/objects" | sort
}

# What is true when step $POWER_STEP has returned. Writes nothing to the disk.
power_keep_state() {
	local state=$STATES/$POWER_STEP
	mkdir "$state"
	power_refs objectname >"$state/refs"
	power_refs tree | sed "/\/journal /d" >"$state/trees"
	cat "$STORE/policy/thing" >"$state/policy" 2>/dev/null || :
	power_objects >"$state/objects"
	cat "$STORE/git/config" 2>/dev/null >"$state/config" || :
	echo "${EXPECT-}" >"$state/expect"
	[ -z "$LOWER" ] || power_lower "$LOWER" >"$state/lower"
}

# All that is in the base, and in a plain directory that the same was done to.
power_lower() {
	tree_listing -t "$POWER_BEGIN" "$1" | sed 's,^,base: ,'
	tree_listing -t "$POWER_BEGIN" "$DISK/plain" | sed 's,^,plain: ,'
}

# What the worker has to know to run it again.
power_describe() {
	echo "$1" >"$STATES/$POWER_STEP/kind"
	shift
	printf '%q ' "$@" >"$STATES/$POWER_STEP/command"
}

power_step() {
	local kind=$1
	shift
	POWER_STEP=$((POWER_STEP + 1))
	power_mark begin
	case $kind in
	never) "$@" ;; # it may leave a process behind, for this shell to wait for
	*) must "$@" ;;
	esac
	power_mark end
	power_keep_state
	power_describe "$kind" "$@"
}

power_unmount() {
	fs_unmount "$DISK" || fail "cannot unmount '$DISK'"
	power_mark end
}

power_recorder_ends() { t umount "$SCRATCH/recorder" 2>/dev/null; }

power_end() {
	! fs_is_mounted "$DISK" || power_unmount
	# The loop device lets go a moment after its filesystem has, or later, where a process in another namespace has a copy of the mount.
	fs_wait_for 5 power_recorder_ends || fs_unmount "$SCRATCH/recorder" || fail 'the recorder cannot be unmounted'
	t "$VENEER_TOOLS/block_recorder" list "$POWER_LOG" >"$SCRATCH/records"
}

power_flushes() { tool block_recorder list "$POWER_LOG" | grep -c ' flush$'; }

# ---- which cuts ----

# Of every cut since the first step: `INDEX SEED SECTOR KIND WORD STEP`, a line an image.
power_cuts() {
	local between=1 random=2 fine=512
	[ "${VENEER_POWER-}" != full ] || between=2
	# Where the checksum of a superblock is torn, btrfs does not look at its copies.
	[ "$POWER_FILESYSTEM" != btrfs ] || fine=4096
	tool block_recorder cuts "$POWER_LOG" "$between" "$POWER_SEED" |
		awk -v random="$random" -v base="$POWER_SEED" -v fine="$fine" '
			$3 == "-" { next }
			{ for (i = 0; i < 2 + random; i++)
				print $1, i < 2 ? i : base * 1000 + i, i % 2 ? fine : 4096, $2, $3, $4 }'
}

# So many of them that time allows: right after each command has returned, with all lost that may be; the rest at random.
power_choose() {
	power_cuts >"$SCRATCH/cuts.all"
	seq "$POWER_SEED" "$((POWER_SEED + 200000))" >"$SCRATCH/random"
	if [ "${VENEER_POWER-}" = full ]; then
		cat "$SCRATCH/cuts.all"
		return
	fi
	awk '$2 == 0 && $4 == "mark" && $5 == "end"' "$SCRATCH/cuts.all"
	awk '!($2 == 0 && $4 == "mark" && $5 == "end")' "$SCRATCH/cuts.all" |
		shuf -n "${VENEER_POWER_IMAGES:-$1}" --random-source="$SCRATCH/random"
}

# power_look IMAGES: the losses are in $SCRATCH/losses then.
power_look() {
	local worker workers=() begin=$SECONDS
	POWER_SEED=${VENEER_POWER_SEED:-1}
	power_choose "$1" | sort -n | awk '!seen[$0]++' >"$SCRATCH/cuts"
	export SCRATCH STORE DISK STATES POWER_LOG BASE LOWER POWER_FILESYSTEM FS_MOUNTS FS_PIDS FS_LOG FS_CASE
	for ((worker = 0; worker < POWER_WORKERS; worker++)); do
		# All that it starts and mounts is gone when it ends.
		unshare --mount --pid --fork --kill-child --mount-proc bash "$0" --worker "$worker" &
		workers+=($!)
		fs_remember_pid $!
	done
	wait "${workers[@]}" || :
	cat "$SCRATCH"/losses.* >"$SCRATCH/losses"
	echo "$POWER_FILESYSTEM: $POWER_STEP commands, $(grep -c -e ' write ' -e ' zero ' "$SCRATCH/records") writes," \
		"$(grep -c ' flush$' "$SCRATCH/records") flushes;" \
		"$(cat "$SCRATCH"/done.* | wc -l) of $(wc -l <"$SCRATCH/cuts.all") images at" \
		"$(cut -d ' ' -f 1 "$SCRATCH/cuts" | sort -u | wc -l) points, $(cat "$SCRATCH"/done.* | grep -c mounted || :) of them mounted;" \
		"$(wc -l <"$SCRATCH/losses") losses (seed $POWER_SEED, $((SECONDS - begin)) s)"
	[ "$(cat "$SCRATCH"/done.* | wc -l)" -eq "$(wc -l <"$SCRATCH/cuts")" ] || [ -s "$SCRATCH/losses" ] || fail 'a worker ended too soon'
}

power_verify() {
	power_look "$1"
	[ ! -s "$SCRATCH/losses" ] || {
		head -n 40 "$SCRATCH/losses" >&2
		fail "a power cut costs something"
	}
}

# ---- one image ----

# A new namespace has copies of all mounts there are, and keeps filesystems alive that others unmount: those that tests mount go.
power_leave_mounts() {
	local dir
	awk '{ for (i = 7; $i != "-"; i++); if ($(i + 1) ~ /^fuse/ || $(i + 2) ~ /^\/dev\/loop/) print $5 }' /proc/self/mountinfo | tac |
		while read -r dir; do umount -l "$(printf '%b' "$dir")"; done
}

# Called in a namespace of its own.
power_worker() {
	local number=$1 index seed sector kind word step count=0 lost=0
	set +e
	power_leave_mounts
	WORK=$SCRATCH/worker.$number
	mkdir "$WORK"
	: >"$SCRATCH/losses.$number"; : >"$SCRATCH/done.$number"
	mount -t tmpfs tmpfs "$WORK" || fail 'tmpfs'
	FS_MOUNTS=$WORK/.mounts FS_PIDS=$WORK/.pids FS_LOG=$WORK/daemon.log SCRATCH_OF_CASE=$SCRATCH
	mkdir "$WORK/scratch" && SCRATCH=$WORK/scratch
	while read -r index seed sector kind word step; do
		count=$((count + 1))
		[ $((count % POWER_WORKERS)) -eq "$number" ] || continue
		: >"$WORK/losses"
		power_cut "$index" "$seed" "$sector" "$word" "$step" >"$WORK/said" 2>&1
		while read -r text; do
			echo "before record $index ($kind, $word $step: $(cat "$STATES/$step/command" 2>/dev/null)), seed $seed, sector $sector: $text"
			lost=$((lost + 1))
		done <"$WORK/losses" >>"$SCRATCH_OF_CASE/losses.$number"
		[ $lost -lt $POWER_LOSSES_MAX ] || break
	done <"$SCRATCH_OF_CASE/cuts"
}

power_lost() { echo "$*" | tr '\n' ' ' >>"$WORK/losses"; echo >>"$WORK/losses"; }

# power_cut INDEX SEED SECTOR WORD STEP: makes the image, looks at it, takes it away.
power_cut() {
	local new=$5 old=$5 mounted=
	[ "$4" != begin ] || old=$(($5 - 1))
	# A mark `begin` stands for what comes after it: $5 - 1 is done, $5 may be.
	tool block_recorder image "$POWER_LOG" "$1" "$2" "$3" "$WORK/image" || power_lost 'no image'
	power_mount_repaired "$WORK/image" || { power_lost "the filesystem cannot be mounted: $(tail -n 3 "$WORK/mount")"; return; }
	power_examine "$old" "$new"
	if [ "$(($1 % 5))" -eq 0 ] && [ ! -s "$WORK/losses" ]; then
		power_examine_mount && mounted=mounted
	fi
	t umount "$DISK" || { power_lost 'umount'; umount -l "$DISK"; }
	rm -f "$WORK/image"
	echo "$1 $2 $mounted" >>"$SCRATCH_OF_CASE/done.${WORK##*.}"
}

# Sectors of 512 bytes tear the superblock of ext4, which is two of them: its own checker puts that right.
power_mount_repaired() {
	power_mount_image "$1" >"$WORK/mount" 2>&1 && return
	[ "$POWER_FILESYSTEM" = ext4 ] && t e2fsck -fy "$1" >>"$WORK/mount" 2>&1
	power_mount_image "$1" >>"$WORK/mount" 2>&1
}

# Which lines of the files for OLD and NEW are there, and is any of neither?
power_examine() {
	local old=$STATES/$1 new=$STATES/$2
	NOW=$WORK/now
	rm -rf "$NOW"
	mkdir "$NOW"
	AT=$new NEEDED=$old
	[ -z "$LOWER" ] || power_examine_lower "$old" "$new"
	# A store that is only being made need not be one yet: to make it again is enough.
	if [ ! -s "$old/config" ] && [ "$old" != "$new" ]; then
		AT=$old
	else
		power_examine_refs "$old" "$new"
		power_examine_store
	fi
	power_examine_objects
	power_examine_policy "$old" "$new"
	[ -s "$WORK/losses" ] || [ "$old" = "$new" ] || power_again "$old" "$new"
}

power_has_command() { "$VENEER" help | grep -q "^  $1 "; }

power_value() { awk -v name="$2" '$1 == name { print $2 }' "$1"; }

power_examine_refs() {
	local old=$1 new=$2 name value
	power_refs objectname >"$NOW/refs" 2>"$NOW/complaints" || echo "(it fails)" >>"$NOW/complaints"
	[ ! -s "$NOW/complaints" ] || power_lost "refs: $(cat "$NOW/complaints")"
	for name in $(cut -d ' ' -f 1 "$old/refs" "$new/refs" "$NOW/refs" | sort -u); do
		value=$(power_value "$NOW/refs" "$name")
		[ "$value" = "$(power_value "$new/refs" "$name")" ] || [ "$value" = "$(power_value "$old/refs" "$name")" ] ||
			power_lost "ref '$name' is '$value': neither what was before nor what comes after"
	done
	power_same "$NOW/refs" "$new/refs" active || AT=$old
	power_same "$old/refs" "$new/refs" active || NEEDED=$AT
	if [ "$AT" = "$old" ] && ! power_same "$old/refs" "$new/refs" active && ! power_same "$NOW/refs" "$old/refs" journal; then
		power_lost 'the journal tells of a switch that has not been'
	fi
}

power_same() { [ "$(power_value "$1" "refs/veneer/thing/$3")" = "$(power_value "$2" "refs/veneer/thing/$3")" ]; }

power_examine_store() {
	local out
	out=$(g fsck --strict --no-dangling --no-progress 2>&1) || out+=' (it fails)'
	out=$(grep -v '^notice: ' <<<"$out")
	[ -z "$out" ] || power_lost "git fsck: $out"
	if power_has_command fsck; then
		out=$(v fsck 2>&1) || power_lost "veneer fsck: $out"
	fi
	out=$(v status --json 2>&1) || power_lost "status: $out"
}

power_examine_objects() {
	local missing
	power_objects >"$NOW/objects" 2>"$NOW/complaints"
	[ ! -s "$NOW/complaints" ] || power_lost "objects: $(cat "$NOW/complaints")"
	missing=$(comm -23 "$NEEDED/objects" "$NOW/objects")
	[ -z "$missing" ] || power_lost "objects of what is active are missing: $missing"
}

power_examine_policy() {
	cat "$STORE/policy/thing" 2>/dev/null >"$NOW/policy"
	cmp -s "$NOW/policy" "$1/policy" || cmp -s "$NOW/policy" "$2/policy" || power_lost "policy: $(cat "$NOW/policy")"
}

# What was made durable through the mount: what OLD and NEW have in common, or all of it.
power_examine_lower() {
	local missing
	power_lower "$BASE" >"$NOW/lower"
	missing=$(comm -12 <(sort "$1/lower") <(sort "$2/lower") | comm -23 - <(sort "$NOW/lower"))
	[ -z "$missing" ] || power_lost "files are missing: $missing"
}

# The command that was cut off, once more.
power_again() {
	local old=$1 new=$2 kind out
	kind=$(cat "$new/kind")
	case $kind in
	never) return ;;
	once:*) power_same "$NOW/refs" "$old/refs" "${kind#once:}" || return ;;
	esac
	out=$(eval "$(cat "$new/command")" 2>&1) || power_lost "cannot be run again: $out"
	power_refs tree | sed "/\/journal /d" >"$NOW/trees"
	cmp -s "$NOW/trees" "$new/trees" || power_lost 'run again, it leads to another state'
	cat "$STORE/policy/thing" 2>/dev/null >"$NOW/policy"
	cmp -s "$NOW/policy" "$new/policy" || power_lost 'run again, it leads to another policy'
	cmp -s "$STORE/git/config" "$new/config" || power_lost "run again, it leads to another configuration: $(cat "$STORE/git/config")"
	[ -s "$old/config" ] || power_examine_store
	AT=$new
}

power_examine_mount() {
	local out expected
	expected=$(cat "$AT/expect")
	[ -n "$expected" ] || return 1
	: >"$FS_MOUNTS"; : >"$FS_PIDS"; : >"$FS_LOG"
	out=$( (power_compare_mount "$expected") 2>&1) && return
	power_lost "mount: $out: $(tail -n 3 "$FS_LOG")"
	! fs_is_mounted "$BASE" || umount -l "$BASE"
}

power_compare_mount() {
	fs_mount thing "$BASE"
	if [ "${1#@}" != "$1" ]; then
		"${1#@}" "$BASE" || fail "${1#@} does not hold of what is served"
	else
		power_content "$1" >"$NOW/expected"
		power_content "$BASE" >"$NOW/served"
		cmp -s "$NOW/expected" "$NOW/served" || fail "serves something else: $(diff "$NOW/expected" "$NOW/served" | head -n 5)"
	fi
	fs_umount thing "$BASE"
}
