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

fs_main "$@"
