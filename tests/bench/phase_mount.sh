# shellcheck shell=bash
# How long a mount takes, and how much memory its daemon holds, at bases of different sizes.

# base_data FILES: a tree of that many files; one of a million is made of names of a few files.
base_data() {
	local links=()
	[ ! -e "$SCRATCH/base-$1" ] || return 0
	[ "$1" -le 200000 ] || links=(--hard-links)
	"$TOOLS/bench_tree" "$SCRATCH/base-$1" "$1" --mean-bytes 200 "${links[@]}"
}

phase_mount() {
	local size system
	for size in $SIZES_MOUNT; do
		base_data "$size"
		for system in overlayfs $FUSE_SYSTEMS; do
			if ! system_prepare "$system" "mount-$size" "$SCRATCH/base-$size" 2>"$SCRATCH/error"; then
				skip "mount-$size" "$system" "$(head -n 1 "$SCRATCH/error")"
			fi
		done
		default_probe "mount-$size"
	done
	rounds_run mount_round 1
	for size in $SIZES_MOUNT; do
		for system in overlayfs $FUSE_SYSTEMS; do
			system_remove "$system" "mount-$size"
		done
	done
}

mount_round() {
	local size system memory
	for size in $SIZES_MOUNT; do
		for system in overlayfs $FUSE_SYSTEMS; do
			system_mount_command "$system" "mount-$size"
			if ! number "$TOOLS/bench_time" -- "${COMMAND[@]}"; then
				skip "mount-$size" "$system" "$(head -n 1 "$SCRATCH/error")"
				continue
			fi
			sample "mount-$size" "$system" "${NUMBERS[0]}"
			memory=$(system_memory "$system" "mount-$size")
			[ -z "$memory" ] || sample "memory-mount-$size" "$system" "$memory"
			system_umount "$system" "mount-$size" || say "  $system: umount failed"
		done
	done
}

# ---- memory after a walk, and after the kernel has forgotten what it knew ----

phase_memory() {
	[ -e "$SCRATCH/memory" ] || "$TOOLS/bench_tree" "$SCRATCH/memory" "$SIZE_MEMORY" --empty
	if system_prepare veneer-cached memory "$SCRATCH/memory"; then default_probe memory; fi
	rounds_run memory_round 1 "$ROUNDS_MEMORY"
	rm -rf "$SCRATCH/memory"
}

memory_round() {
	local system
	for system in $FUSE_SYSTEMS; do
		if ! system_mount "$system" memory "$SCRATCH/memory" 2>"$SCRATCH/error"; then
			skip "memory-find-$SIZE_MEMORY" "$system" "$(head -n 1 "$SCRATCH/error")"
			continue
		fi
		place memory "$system"
		step 300 find "$PLACE" -size +1000000k || :
		sample "memory-find-$SIZE_MEMORY" "$system" "$(system_memory "$system" memory)"
		memory_forget "$system"
		system_umount "$system" memory || say "  $system: umount failed"
	done
}

# The kernel sends its FORGETs when it drops names and inodes; memory is looked at when it no longer falls, SIZE_FORGET_TRIES
# half seconds at most.
memory_forget() {
	local row=memory-forgotten-$SIZE_MEMORY now last='' try
	if [ -z "$DROP" ]; then
		skip "$row" "$1" 'this kernel or container does not let caches be dropped'
		return 0
	fi
	for ((try = 0; try < SIZE_FORGET_TRIES; try++)); do
		drop_caches 2
		sleep 0.5
		now=$(system_memory "$1" memory)
		[ "$now" != "$last" ] || break
		last=$now
	done
	sample "$row" "$1" "$now"
}
