#!/bin/bash
# A large tree under a small limit of file descriptors, in little memory.
. "$(dirname "$0")/lib.sh"

MEMORY_LIMIT_KB=65536

# make_disk DIR FILES: a filesystem of its own, where one can be had: removing 200,000 files one by one takes minutes.
make_disk() {
	truncate -s 2G "$SCRATCH/disk"
	mkdir "$1"
	if mkfs.ext4 -q -F -N $(($2 + $2 / 100 + 1000)) -O inline_data -E lazy_itable_init=1,nodiscard "$SCRATCH/disk" &&
		mount -o loop "$SCRATCH/disk" "$1" 2>/dev/null; then
		fs_remember_mount "$1"
	fi
}

large_tree() {
	local io=$1 files=$2
	make_disk "$SCRATCH/disk-root" "$files"
	BASE=$SCRATCH/disk-root/base
	mkdir "$BASE"
	must tool make_tree "$BASE" "$files"
	(cd "$BASE" && find . -type f | wc -l) >"$SCRATCH/bare-count"
	(cd "$BASE" && du -s --apparent-size . | cut -f 1) >"$SCRATCH/bare-du"
	(cd "$BASE" && grep -r needle . | sort | sha256sum) >"$SCRATCH/bare-grep"
	fs_component thing "$BASE"
	# A patch, by plain git, so that there is something to switch in the midst of it.
	PATCHED=$BASE/dir-1/file-777
	make_patch
	ulimit -n 1024
	fs_mount thing "$BASE" --io "$io"
	assert_equal 1024 "$(awk '/open files/ { print $5 }' "/proc/$FS_DAEMON/limits")" "the daemon's limit of files"
	judge_tools cold
	# In the midst of a tree that the kernel knows whole.
	must v apply thing
	judge_tools 'after a switch'
	assert_content patched "$PATCHED"
	must v revert thing
	assert_content 777 "$PATCHED"
}

judge_tools() {
	local found begin=$SECONDS
	found=$(cd "$BASE" && T=300 t find . -type f | wc -l)
	assert_equal "$(cat "$SCRATCH/bare-count")" "$found" "files that find finds, $1"
	found=$(cd "$BASE" && T=300 t du -s --apparent-size . | cut -f 1)
	assert_equal "$(cat "$SCRATCH/bare-du")" "$found" "what du says, $1"
	found=$(cd "$BASE" && T=300 t grep -r needle . | sort | sha256sum)
	assert_equal "$(cat "$SCRATCH/bare-grep")" "$found" "what grep -r finds, $1"
	echo "find, du and grep -r, $1: $((SECONDS - begin)) s"
}

make_patch() {
	mkdir -p "$SCRATCH/upper/dir-1"
	echo patched >"$SCRATCH/upper/dir-1/file-777"
	must v create thing -m patched --upper "$SCRATCH/upper"
}

judge_memory() {
	local rss
	rss=$(awk '/^VmRSS/ { print $2 }' "/proc/$FS_DAEMON/status")
	echo "the daemon's memory: $rss kB resident, $(awk '/^VmHWM/ { print $2 }' "/proc/$FS_DAEMON/status") kB at most"
	assert_equal "$FS_DAEMON" "$(fs_status thing .pid)" "the daemon's process id in status"
	if fs_sanitized; then
		echo "SKIP $(basename "$0" .sh)/$FS_CASE: memory is not judged under a sanitizer"
	elif [ "$rss" -ge $MEMORY_LIMIT_KB ]; then
		fail "the daemon takes $rss kB, more than $MEMORY_LIMIT_KB"
	fi
}

case_cached() {
	fs_setup
	large_tree cached "${VENEER_FILES:-$(fs_count 200000 20000)}"
	judge_memory
	fs_umount thing "$BASE"
}

case_passthrough() {
	fs_setup
	fs_have_passthrough || skip "passthrough needs Linux 6.9, this is $(uname -r)"
	large_tree passthrough "$((${VENEER_FILES:-$(fs_count 200000 20000)} / 4))"
	judge_memory
	fs_umount thing "$BASE"
}

# Many files held open by a client at once, more than the daemon may have: only the client needs descriptors for them.
case_many_open_files() {
	fs_setup
	local i fd line
	BASE=$SCRATCH/base
	mkdir "$BASE"
	must tool make_tree "$BASE" 2000
	fs_component thing "$BASE"
	(ulimit -n 256; fs_mount thing "$BASE" --io cached)
	FS_DAEMON=
	i=0
	while [ $i -lt 800 ]; do
		exec {fd}<"$BASE/dir-$((i / 500))/file-$i"
		eval "held_$i=\$fd"
		i=$((i + 1))
	done
	i=0
	while [ $i -lt 800 ]; do
		eval "fd=\$held_$i"
		read -r line <&"$fd"
		assert_equal "$i" "${line% needle}" "what file-$i has"
		exec {fd}<&-
		i=$((i + 1))
	done
}

# A second tree of hard links comes and goes: the files stay, and no descriptor is needed for each.
case_hard_links_that_go() {
	fs_setup
	local i
	BASE=$SCRATCH/base
	mkdir -p "$BASE/one"
	for i in $(seq 1500); do echo "$i" >"$BASE/one/file-$i"; done
	fs_component thing "$BASE"
	(ulimit -n 1024; fs_mount thing "$BASE" --io cached)
	FS_DAEMON=
	t ls -lR "$BASE" >/dev/null
	for i in 1 2; do
		t cp -al "$BASE/one" "$BASE/two"
		t ls -lR "$BASE/two" >/dev/null
		t rm -r "$BASE/two" || fail "a tree of hard links cannot be removed, round $i"
	done
	assert_equal "$(seq 1500 | sort)" "$(t cat "$BASE"/one/file-* | sort)" 'what the files have'
	assert_equal 1 "$(t stat -c %h "$BASE/one/file-7")" 'links of a file'
}

fs_main "$@"
