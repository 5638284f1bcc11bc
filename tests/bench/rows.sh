# shellcheck shell=bash
# The rows of the benchmark: what is measured, its unit, what it is compared with. One line a row:
# name, group, unit, the systems that ratios are given against, title. Names with sizes in them come from the sizes of the run.

# row_line NAME GROUP UNIT REFERENCES TITLE
row_line() { printf '%s\t%s\t%s\t%s\t%s\n' "$@"; }

# 12000 -> 12,000
row_number() { LC_ALL=en_US.UTF-8 awk -v n="$1" 'BEGIN { while (length(n) > 3) { t = "," substr(n, length(n) - 2) t; n = substr(n, 1, length(n) - 3) } print n t }'; }

rows_table() {
	local files large paths base kernel=native,overlayfs
	files=$(row_number "$SIZE_FILES") large=$(row_number "$SIZE_LARGE_MIB")
	row_line open-warm small ns $kernel "open + read 1 KiB + close, warm, a file ($files files)"
	row_line parallel-warm small ns $kernel "the same by 4 readers at once, a file"
	row_line missing-warm small ns $kernel "negative lookup, warm, a name"
	row_line cat-warm small ns $kernel "cat of all $files files, warm"
	row_line find-warm small ns $kernel "find with stat of all, three times over, warm"
	row_line find-cold cold ns native,fuse-overlayfs "find with stat of all, daemon fresh, caches dropped"
	row_line open-cold cold ns native,fuse-overlayfs "open + read 1 KiB + close, daemon fresh, caches dropped, a file"
	row_line sequential-warm large ns $kernel "sequential read of $large MiB, warm"
	row_line mmap-warm large ns $kernel "random page of $large MiB by mmap, warm, a page"
	row_line start-python programs ns $kernel "python3 importing 40 modules, warm"
	row_line start-perl programs ns $kernel "perl with 10 modules, warm"
	row_line start-preprocessor programs ns $kernel "gcc -E over 70 headers, warm"
	row_line start-git programs ns $kernel "git status of a small repository, warm"
	row_line unpack write ns native,bindfs "unpack a tar of $(row_number "$SIZE_UNPACK") files through the mount"
	row_line fsync write ns native,bindfs "4 KiB write and fsync, a write"
	for base in $SIZES_MOUNT; do
		row_line "mount-$base" mount ns overlayfs,fuse-overlayfs "mount over $(row_number "$base") files: command to return"
		row_line "memory-mount-$base" mount bytes fuse-overlayfs,bindfs "daemon memory after that"
	done
	row_line "memory-find-$SIZE_MEMORY" memory bytes fuse-overlayfs,bindfs \
		"daemon memory after find over $(row_number "$SIZE_MEMORY") files"
	row_line "memory-forgotten-$SIZE_MEMORY" memory bytes fuse-overlayfs,bindfs \
		"daemon memory after the kernel has forgotten them"
	base=$(row_number "$SIZE_SWITCH_BASE")
	for paths in $SIZES_SWITCH; do
		rows_of_switch apply "$paths" "$base" 'new'
		rows_of_switch revert "$paths" "$base" 'old'
	done
	if [[ " $SIZES_SWITCH " == *" $SIZE_GROWTH_PATHS "* ]]; then
		row_line "apply-$SIZE_GROWTH_PATHS-first" switch ns '' \
			"first apply of $(row_number "$SIZE_GROWTH_PATHS") paths in $base after the mount: command to return"
		row_line "rollback-$SIZE_GROWTH_PATHS" switch ns git \
			"rollback of $(row_number "$SIZE_GROWTH_PATHS") paths in $base: command to return"
	fi
	for base in $SIZES_GROWTH; do
		row_line "apply-$SIZE_GROWTH_PATHS-in-$base" growth ns '' \
			"apply $(row_number "$SIZE_GROWTH_PATHS") paths in a base of $(row_number "$base"): command to return"
	done
	row_line snapshot store ns git,ostree "full snapshot of $(row_number "$SIZE_STORE_MB") MB in $files files"
	row_line snapshot-size store bytes git,ostree "its size on disk"
}

rows_of_switch() {
	local title
	title="$1 $(row_number "$2") path$([ "$2" = 1 ] || echo s) in $3"
	row_line "$1-$2" switch ns git,ostree,dpkg "$title: command to return"
	row_line "$1-$2-daemon" switch ns '' "$title: the daemon's own share"
	row_line "$1-$2-read" switch ns git,ostree,dpkg "$title: first read of the $4"
	row_line "$1-$2-walk" switch ns git,ostree,dpkg "$title: next full walk"
}
