#!/bin/bash
# The stack: composition is a function of the base and the ordered patches.
. "$(dirname "$0")/lib.sh"

# Patches a, b, c on disjoint paths of one base, each from the bare directory.
make_stack() {
	BASE=$SCRATCH/base
	mkdir -p "$BASE/dir"
	local name
	for name in one two three four; do echo "base $name" >"$BASE/$name"; done
	fs_component thing "$BASE" --base-version 1.0 "$@"
	for name in one two three; do
		rm -rf "$SCRATCH/new"
		cp -a "$BASE" "$SCRATCH/new"
		echo "patched $name" >"$SCRATCH/new/$name"
		echo "$name" >"$SCRATCH/new/dir/$name"
		fs_create thing -m "patch $name" --from "$SCRATCH/new" >>"$SCRATCH/labels"
	done
	assert_equal 'a b c' "$(paste -sd ' ' "$SCRATCH/labels")" 'labels'
	fs_mount thing "$BASE"
}

active() { fs_ref thing/active; }

middle_reverted() {
	make_stack "$@"
	must v apply thing a
	must v apply thing b
	must v apply thing c
	assert_equal '1.0 (a, b, c)' "$(fs_status thing .version_label)" 'version label'
	must v revert thing b
	local reverted fresh
	reverted=$(active)
	assert_equal '1.0 (a, c)' "$(fs_status thing .version_label)" 'version label without b'
	assert_content 'patched one' "$BASE/one"
	assert_content 'base two' "$BASE/two"
	assert_content 'patched three' "$BASE/three"
	[ ! -e "$BASE/dir/two" ] || fail "a file of b is still there"
	must v revert thing --all
	assert_equal "$(fs_ref thing/base)" "$(active)" 'the bare base'
	must v apply thing a c
	fresh=$(active)
	assert_equal "$fresh" "$reverted" 'a + c composed afresh, and a, b, c without b'
	must v revert thing c
	must v apply thing c
	assert_equal "$fresh" "$(active)" 'the commit after going back and forth'
	must g fsck --strict
}

case_middle_reverted() { fs_setup; middle_reverted; }
case_middle_reverted_full_snapshot() { fs_setup; middle_reverted --snapshot full; }

# A single patch on its own base is that patch itself; status and exit codes.
case_single_patch() {
	fs_setup
	BASE=$SCRATCH/base
	mkdir "$BASE"
	echo old >"$BASE/file"
	cp -a "$BASE" "$SCRATCH/new"
	echo new >"$SCRATCH/new/file"
	fs_component thing "$BASE" --base-version 3.0.20
	must v create thing -m m --from "$SCRATCH/new" --fixes CVE-2026-0001
	must v apply thing
	assert_equal "$(fs_ref thing/patches/a)" "$(active)" 'the active commit of one patch'
	assert_equal '3.0.20 (a)' "$(fs_status thing .version_label)" 'version label'
	assert_equal 'a applied CVE-2026-0001' \
		"$(fs_status thing '.patches[0] | "\(.label) \(.state) \(.fixes[0])"')" 'the patch in status'
	must v revert thing
	assert_equal 3.0.20 "$(fs_status thing .version_label)" 'version label of the bare base'
	assert_equal available "$(fs_status thing '.patches[0].state')" 'state of a reverted patch'
}

# Two patches that touch one path: refused, naming the paths; nothing changes.
case_conflict() {
	fs_setup
	make_stack
	rm -rf "$SCRATCH/new"
	cp -a "$SCRATCH/base" "$SCRATCH/new"
	# From the bare directory's content, and so not built on a.
	echo 'base one' >"$SCRATCH/new/one"
	echo 'other two' >"$SCRATCH/new/two"
	echo 'other three' >"$SCRATCH/new/three"
	must v create thing -m 'a rival' --label rival --from "$SCRATCH/new"
	must v apply thing b c
	local before
	before=$(active)
	assert_refused 1 '(two.*three|three.*two)' v apply thing rival
	assert_equal "$before" "$(active)" 'the active commit after a refused apply'
	assert_content 'patched two' "$BASE/two"
	# One that says it supersedes them takes their place.
	echo 'better two' >"$SCRATCH/new/two"
	must v create thing -m 'the successor' --label better --supersedes b --supersedes c --from "$SCRATCH/new"
	must v apply thing better
	assert_content 'better two' "$BASE/two"
	assert_equal '1.0 (better)' "$(fs_status thing .version_label)" 'version label after a superseding patch'
}

# apply of what is active changes nothing: no commit, no journal entry, no word to the kernel.
case_apply_active() {
	fs_setup
	make_stack
	must v apply thing a b
	local refs notifications
	notifications=$(fs_status thing .notifications)
	assert_match '^[0-9]+$' "$notifications" 'the counter of notifications'
	[ "$notifications" -gt 0 ] || fail 'two patches were applied, and the kernel was told nothing'
	refs=$(g for-each-ref)
	must v apply thing a
	must v apply thing b a
	must v switch thing refs/veneer/thing/active
	assert_equal "$refs" "$(g for-each-ref)" 'refs after an apply that changes nothing'
	assert_equal "$notifications" "$(fs_status thing .notifications)" 'notifications after an apply that changes nothing'
}

case_rollback() {
	fs_setup
	make_stack
	must v apply thing a
	local first second
	first=$(active)
	must v apply thing b
	second=$(active)
	must v rollback thing
	assert_equal "$first" "$(active)" 'the state before the last switch'
	assert_content 'base two' "$BASE/two"
	must v switch thing "$second"
	assert_content 'patched two' "$BASE/two"
	must v switch thing refs/veneer/thing/base
	assert_content 'base one' "$BASE/one"
	must v rollback thing
	assert_equal "$second" "$(active)" 'rollback after a switch'
}

# --dry-run says what would be, and does nothing.
case_dry_run() {
	fs_setup
	make_stack
	local refs
	refs=$(g for-each-ref)
	assert_match '(^|[^a-z])dir/one' "$(v apply thing a --dry-run)" 'the plan of an apply'
	assert_equal "$refs" "$(g for-each-ref)" 'refs after apply --dry-run'
	must v apply thing a
	refs=$(g for-each-ref)
	assert_match '(^|[^a-z])one' "$(v revert thing --dry-run)" 'the plan of a revert'
	assert_equal "$refs" "$(g for-each-ref)" 'refs after revert --dry-run'
	assert_content 'patched one' "$BASE/one"
}

# Everything again without a mount: the next mount shows it.
case_unmounted() {
	fs_setup
	make_stack
	fs_umount thing "$BASE"
	must v apply thing a
	must v apply thing c
	assert_content 'base one' "$BASE/one"
	fs_mount thing "$BASE"
	assert_content 'patched one' "$BASE/one"
	assert_content 'patched three' "$BASE/three"
	assert_content 'base two' "$BASE/two"
}

fs_main "$@"
