#!/usr/bin/env bash
# Mounts beneath the component's directory survive switches, and so does a shell that stands there
# (docs/decisions/invalidation.md).
. "$(dirname "$0")/lib.sh"

case_mount_beneath() {
	fs_setup
	mkdir -p "$SCRATCH/base/sub/deep" "$SCRATCH/new"
	echo old >"$SCRATCH/base/file"
	v init
	v add comp "$SCRATCH/base" --base-version 1
	cp -a "$SCRATCH/base/." "$SCRATCH/new"
	echo new >"$SCRATCH/new/file"
	v create comp -m patch --from "$SCRATCH/new"
	fs_mount comp "$SCRATCH/base"
	timeout 10 find "$SCRATCH/base" >/dev/null
	timeout 10 mount -t tmpfs none "$SCRATCH/base/sub/deep"
	fs_remember_mount "$SCRATCH/base/sub/deep"
	cd "$SCRATCH/base/sub"
	for _ in 1 2 3; do
		v apply comp
		[ "$(timeout 10 cat ../file)" = new ] || fail "the patch is not served"
		timeout 10 ls -lR .. >/dev/null
		fs_is_mounted "$SCRATCH/base/sub/deep" || fail 'apply took off a mount beneath'
		[ "$(timeout 10 /bin/pwd)" = "$SCRATCH/base/sub" ] || fail 'a shell lost its directory'
		v revert comp --all
		[ "$(timeout 10 cat ../file)" = old ] || fail "the base is not served"
		timeout 10 ls -lR .. >/dev/null
		fs_is_mounted "$SCRATCH/base/sub/deep" || fail 'revert took off a mount beneath'
	done
	cd /
}

# A patch of nothing but a directory's metadata: its name stays in the kernel, and what lies beneath.
case_metadata_of_the_way() {
	fs_setup
	mkdir -p "$SCRATCH/base/sub/deep"
	cp -a "$SCRATCH/base" "$SCRATCH/new"
	chmod 700 "$SCRATCH/new/sub"
	v init
	v add comp "$SCRATCH/base" --base-version 1
	v create comp -m patch --from "$SCRATCH/new"
	fs_mount comp "$SCRATCH/base"
	timeout 10 mount -t tmpfs none "$SCRATCH/base/sub/deep"
	fs_remember_mount "$SCRATCH/base/sub/deep"
	cd "$SCRATCH/base/sub"
	for _ in 1 2; do
		v apply comp
		assert_equal 700 "$(t stat -c %a "$SCRATCH/base/sub")" 'the mode after apply'
		! as_nobody ls "$SCRATCH/base/sub" 2>/dev/null || fail 'the mode after apply does not bind'
		fs_is_mounted "$SCRATCH/base/sub/deep" || fail 'apply took off a mount beneath'
		assert_equal "$SCRATCH/base/sub" "$(t /bin/pwd)" 'the working directory after apply'
		v revert comp --all
		assert_equal 755 "$(t stat -c %a "$SCRATCH/base/sub")" 'the mode after revert'
		as_nobody ls "$SCRATCH/base/sub" >/dev/null || fail 'the mode after revert does not bind'
		fs_is_mounted "$SCRATCH/base/sub/deep" || fail 'revert took off a mount beneath'
		assert_equal "$SCRATCH/base/sub" "$(t /bin/pwd)" 'the working directory after revert'
	done
	cd /
}

fs_main "$@"
