#!/bin/bash
# Thousands of switches, by every way there is, while four processes open, stat, read, map, list and execute.
# What is judged, and how, is in tests/tools/switch_stress.c.
. "$(dirname "$0")/lib.sh"
export VENEER_CASE_SECONDS=${VENEER_CASE_SECONDS:-1000}

# state DIR LETTER: the directory in state A or B.
make_state() {
	local dir=$1 state=$2 i size
	mkdir -p "$dir/patched" "$dir/plain"
	for i in 0 1 2 3 4 5 6 7; do
		if [ "$state" = A ]; then size=$((65536 + 4321 * i)); else size=$((131072 + 1234 * i)); fi
		fs_fill "$state" $size >"$dir/patched/$i"
		fs_fill U 65536 >"$dir/plain/$i"
	done
	sed "s/TAGGED-PROGRAM:./TAGGED-PROGRAM:$state/" "$VENEER_TOOLS/tagged" >"$dir/patched/run"
	sed "s/TAGGED-PROGRAM:./TAGGED-PROGRAM:U/" "$VENEER_TOOLS/tagged" >"$dir/plain/run"
	chmod 755 "$dir/patched/run" "$dir/plain/run"
	if [ "$state" = B ]; then echo only >"$dir/patched/only"; fi
}

# stress IO COUNT SECONDS: COUNT switches, in at most so many seconds.
stress() {
	local io=$1 count=$2 seconds=$3 status=0 command git
	BASE=$SCRATCH/base
	make_state "$BASE" A
	make_state "$SCRATCH/new" B
	fs_component thing "$BASE"
	fs_create thing -m B --from "$SCRATCH/new" >/dev/null
	fs_mount thing "$BASE" --io "$io"
	command="$VENEER --store $STORE -q"
	# Moved by plain git, a ref is followed a moment later (how soon is test_ref's matter): wait for that.
	git=$SCRATCH/move-ref
	cat >"$git" <<-SCRIPT
		#!/bin/bash
		git -C "$STORE/git" update-ref refs/veneer/thing/active "\$1" || exit 1
		want=\$(git -C "$STORE/git" rev-parse "\$1")
		for ((try = 0; try < 600; try++)); do
			[ "\$($command status thing --verbose --json | jq -r '.[0].commit')" != "\$want" ] || exit 0
			sleep 0.02
		done
		echo "the daemon does not follow the ref to \$1" >&2
		exit 1
	SCRIPT
	chmod 755 "$git"
	T=$((seconds + 60)) tool switch_stress "$BASE" "$count" "$seconds" \
		"$command apply thing" "$command revert thing" \
		"$command switch thing refs/veneer/thing/patches/a" "$command rollback thing" \
		"$command apply thing a" "$command switch thing refs/veneer/thing/base" \
		"$command apply thing" "$command revert thing --all" \
		"$command switch thing refs/veneer/thing/patches/a" "$command revert thing a" \
		"$git refs/veneer/thing/patches/a" "$git refs/veneer/thing/base" || status=$?
	[ $status -ne 3 ] || [ "$FS_CASE" = soak ] || fail "the time was over before $count switches were done"
	[ $status -ne 3 ] || status=0
	[ $status -eq 0 ] || fail "switching under load, --io $io"
	must g fsck --strict
	fs_umount thing "$BASE"
}

case_cached() {
	fs_setup
	stress cached "${VENEER_SWITCHES:-$(fs_count 2000 150)}" "$(fs_count 900 1800)"
}

case_passthrough() {
	fs_setup
	fs_have_passthrough || skip "passthrough needs Linux 6.9, this is $(uname -r)"
	stress passthrough "$((${VENEER_SWITCHES:-$(fs_count 1000 150)} / 2))" "$(fs_count 600 1200)"
}

# Not one of the cases: scripts/test --soak MINUTES asks for it, with both ways to serve in turn.
soak() {
	fs_setup
	stress "${VENEER_SOAK_IO:-cached}" 1000000 $((${VENEER_SOAK:-1} * 60))
}

VENEER_CASE_SECONDS=${VENEER_CASE_SECONDS:-1000}
fs_main "$@"
