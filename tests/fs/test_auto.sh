#!/bin/bash
# `--io auto`: the base is looked at, then what is opened; status says what came of it.
. "$(dirname "$0")/lib.sh"

# make_base SIZE COUNT: files l1, l2, … of that size beside a hundred small ones.
make_base() {
	BASE=$SCRATCH/base
	mkdir -p "$BASE/small"
	local i
	for i in $(seq "$2"); do head -c "$1" /dev/zero | tr '\0' 'l' >"$BASE/l$i"; done
	for i in $(seq 100); do echo "small $i" >"$BASE/small/f$i"; done
	fs_component thing "$BASE"
	cp -a "$BASE" "$SCRATCH/new"
	echo patched >"$SCRATCH/new/small/f1"
	printf patched | dd of="$SCRATCH/new/l1" conv=notrunc status=none
	fs_create thing -m patch --from "$SCRATCH/new" >/dev/null
	must v apply thing
}

io() { fs_status thing .io; }
why() { v status thing --verbose --json | t jq -r '.[0].io_reason'; }
mode_is() { [ "$(io)" = "$1" ]; }

case_small_files() {
	fs_setup
	make_base 1000 3
	fs_mount thing "$BASE" --io auto
	assert_equal cached "$(io)" 'io over small files'
	assert_match 'hold 0 %' "$(why)" 'why'
	assert_content patched "$BASE/small/f1"
	assert_content 'small 2' "$BASE/small/f2"
}

case_large_files() {
	fs_setup
	fs_have_passthrough || skip 'no passthrough here'
	make_base 6000000 4
	fs_mount thing "$BASE" --io auto
	assert_equal cached "$(io)" 'io while it watches'
	assert_match 'watching: [0-9]+ of 64' "$(why)" 'why, while it watches'
	# One stays open from before the decision.
	exec {held}<"$BASE/l2"
	local i
	for i in $(seq 70); do t head -c 100 "$BASE/l$((i % 4 + 1))" >/dev/null; done
	assert_equal passthrough "$(io)" 'io over large files'
	assert_match 'large files are opened' "$(why)" 'why'
	# Whatever way each file is open by, it can be opened again, and has its bytes.
	for i in 1 2 3 4; do
		t cmp "$BASE/l$i" "$SCRATCH/new/l$i" || fail "l$i has other bytes"
	done
	t cmp - "$SCRATCH/new/l2" <&"$held" || fail 'a file opened while it watched has other bytes'
	exec {held}<&-
	t cmp "$BASE/l2" "$SCRATCH/new/l2" || fail 'l2 has other bytes once all had closed it'
	assert_content patched "$BASE/small/f1"
	must v revert thing
	[ "$(t head -c 7 "$BASE/l1")" = lllllll ] || fail 'l1 after revert'
	echo written >"$BASE/fresh"
	assert_content written "$BASE/fresh"
}

# Large files are there, and small ones are what is opened.
case_small_opens() {
	fs_setup
	fs_have_passthrough || skip 'no passthrough here'
	make_base 6000000 2
	fs_mount thing "$BASE" --io auto
	local i
	for i in $(seq 70); do assert_content "$(t cat "$SCRATCH/new/small/f$i")" "$BASE/small/f$i"; done
	assert_equal cached "$(io)" 'io where small files are opened'
	assert_match 'no large files are opened' "$(why)" 'why'
	local before after
	before=$(v status thing --verbose --json | t jq '.[0].requests.open')
	for i in $(seq 70); do t cat "$BASE/small/f$i" >/dev/null; done
	after=$(v status thing --verbose --json | t jq '.[0].requests.open')
	[ $((after - before)) -le 1 ] || fail "$((after - before)) opens reach the daemon once it is cached"
}

fs_main "$@"
