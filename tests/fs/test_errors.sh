#!/bin/bash
# Bad input on the command line: one clear line, the right exit status, nothing half-made left behind.
. "$(dirname "$0")/lib.sh"

make_component() {
	fs_setup
	BASE=$SCRATCH/base
	mkdir "$BASE"
	echo base >"$BASE/file"
	fs_component thing "$BASE"
}

# The state of a store, to compare before and after: refs, and files apart from what git may keep unreferenced.
store_state() {
	g for-each-ref
	ls -A "$STORE" "$STORE/run" "$STORE/git/worktrees" 2>/dev/null || :
	grep " $SCRATCH/" /proc/self/mountinfo | cut -d ' ' -f 5- || :
}

# unchanged STATUS PATTERN COMMAND…: refused, and the store is as it was.
unchanged() {
	local before
	before=$(store_state)
	assert_refused "$@"
	assert_equal "$before" "$(store_state)" "the store after a refused: ${*:3}"
}

case_usage() {
	make_component
	local command
	unchanged 2 'veneer help|usage|command' "$VENEER"
	unchanged 2 'dance' v dance
	unchanged 2 '--wrong' v status --wrong
	unchanged 2 '.' v add thing
	unchanged 2 '.' v add
	unchanged 2 '.' v mount
	unchanged 2 '.' v mount thing extra
	unchanged 2 '--io' v mount thing --io magic
	unchanged 2 '--write' v mount thing --write maybe
	unchanged 2 '.' v create thing
	unchanged 2 '.' v create thing -m m
	unchanged 2 '.' v create thing --from "$BASE"
	unchanged 2 '.' v create thing -m m --from "$BASE" --upper "$BASE"
	unchanged 2 '--label' v create thing -m m --from "$BASE" --label
	unchanged 2 '.' v switch thing
	unchanged 2 '--snapshot' v add other "$BASE" --snapshot half
	for command in init add create mount umount apply revert rollback switch status log show diff; do
		v $command --help >"$SCRATCH/help" 2>"$SCRATCH/stderr" || fail "$command --help fails"
		grep -q "$command" "$SCRATCH/help" || fail "help of $command does not name it"
		[ ! -s "$SCRATCH/stderr" ] || fail "help of $command writes to standard error"
	done
	v --help >/dev/null || fail '--help fails'
	v --version >/dev/null || fail '--version fails'
}

case_no_store() {
	fs_setup
	local command
	for command in 'status' 'apply thing' 'mount thing' 'umount thing' 'log thing' 'add thing /tmp'; do
		# shellcheck disable=SC2086 # words
		assert_refused 1 'run .veneer .*init' v $command
		[ ! -e "$STORE" ] || fail "'$command' made a store"
	done
	echo file >"$SCRATCH/a-file"
	assert_refused 1 'a-file' "$VENEER" --store "$SCRATCH/a-file" init
	assert_refused 1 'a-file' "$VENEER" --store "$SCRATCH/a-file/below" init
	must v init
	must v init
}

case_components() {
	make_component
	mkdir "$SCRATCH/other" "$SCRATCH/image"
	local command name
	for command in 'mount nothing' 'umount nothing' 'apply nothing' 'revert nothing' 'rollback nothing' 'status nothing' \
		'log nothing' 'diff nothing' 'show nothing a' 'switch nothing HEAD' "create nothing -m m --from $BASE"; do
		# shellcheck disable=SC2086 # words
		unchanged 1 'nothing' v $command
	done
	unchanged 1 'missing' v add new "$SCRATCH/missing"
	unchanged 1 'file' v add new "$BASE/file"
	unchanged 1 'thing' v add thing "$SCRATCH/other"
	unchanged 1 'thing' v add new "$BASE"
	unchanged 1 'image' v add new "$SCRATCH/other" --root "$SCRATCH/image"
	unchanged 1 'store' v add new "$SCRATCH"
	unchanged 1 'store' v add new "$STORE/objects"
	for name in '..' '.hidden' 'a/b' '' 'a b' 'x.lock' "$(fs_fill n 100)" $'new\nline'; do
		unchanged 1 '.' v add "$name" "$SCRATCH/other"
	done
	assert_content base "$BASE/file"
}

case_mounts() {
	make_component
	fs_mount thing "$BASE"
	unchanged 1 'mounted at .* already' v mount thing
	fs_umount thing "$BASE"
	unchanged 1 'not mounted' v umount thing
	mv "$BASE" "$SCRATCH/elsewhere"
	unchanged 1 'base' v mount thing
	echo 'a file' >"$BASE"
	unchanged 1 'base' v mount thing
	rm "$BASE" && mv "$SCRATCH/elsewhere" "$BASE"
	# The store below the mountpoint would vanish under it.
	must "$VENEER" --store "$SCRATCH/other-store" init
	mkdir "$SCRATCH/dir"
	must "$VENEER" --store "$SCRATCH/other-store" add inside "$SCRATCH/dir"
	mv "$SCRATCH/other-store" "$SCRATCH/dir/store"
	assert_refused 1 'store' "$VENEER" --store "$SCRATCH/dir/store" mount inside
	! fs_is_mounted "$SCRATCH/dir" || fail 'mounted over its own store'
}

case_not_root() {
	make_component
	chmod 755 "$STORE"
	assert_refused 1 'root' as_nobody "$VENEER" --store "$SCRATCH/own" mount thing
	chmod 700 "$STORE"
	mkdir "$SCRATCH/nobody" && chown 65534 "$SCRATCH/nobody"
	assert_refused 1 '.' as_nobody "$VENEER" --store "$STORE" status
	! fs_is_mounted "$BASE" || fail 'mounted'
}

case_no_fuse() {
	make_component
	command -v unshare >/dev/null || skip 'no unshare'
	# A /dev without fuse, in a mount namespace of its own.
	assert_refused 1 '[Ff][Uu][Ss][Ee]' t unshare -m --propagation private sh -c \
		'mount -t tmpfs tmpfs /dev && mknod -m 666 /dev/null c 1 3 && exec "$@"' sh \
		"$VENEER" --store "$STORE" mount thing
	! fs_is_mounted "$BASE" || fail 'mounted without FUSE'
	[ ! -e "$STORE/run/thing.sock" ] || fail 'a control socket was left'
}

case_patches() {
	make_component
	mkdir -p "$SCRATCH/pkg/DEBIAN" "$SCRATCH/pkg/opt/elsewhere"
	printf 'Package: x\nVersion: 1\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: t\n' >"$SCRATCH/pkg/DEBIAN/control"
	echo x >"$SCRATCH/pkg/opt/elsewhere/x"
	must dpkg-deb -b "$SCRATCH/pkg" "$SCRATCH/outside.deb"
	echo 'no package' >"$SCRATCH/text.deb"
	: >"$SCRATCH/empty.deb"
	head -c 400 "$SCRATCH/outside.deb" >"$SCRATCH/short.deb"
	unchanged 1 'outside.deb' v create thing -m m --deb "$SCRATCH/outside.deb"
	unchanged 1 'text.deb' v create thing -m m --deb "$SCRATCH/text.deb"
	unchanged 1 'empty.deb' v create thing -m m --deb "$SCRATCH/empty.deb"
	unchanged 1 'short.deb' v create thing -m m --deb "$SCRATCH/short.deb"
	unchanged 1 'missing.deb' v create thing -m m --deb "$SCRATCH/missing.deb"
	unchanged 1 'missing' v create thing -m m --from "$SCRATCH/missing"
	unchanged 1 'missing' v create thing -m m --upper "$SCRATCH/missing"
	unchanged 1 'no-such-commit' v create thing -m m --commit no-such-commit
	unchanged 1 'no change|nothing|equal|same|differ' v create thing -m m --from "$BASE"
	cp -a "$BASE" "$SCRATCH/new"
	echo new >"$SCRATCH/new/file"
	must v create thing -m m --from "$SCRATCH/new" --label first
	unchanged 1 'first' v create thing -m m --from "$SCRATCH/new" --label first
	unchanged 1 '.' v create thing -m m --from "$SCRATCH/new" --label ../up
	unchanged 1 '.' v create thing -m m --from "$SCRATCH/new" --label "$(fs_fill l 100)"
	unchanged 1 'unknown' v create thing -m m --from "$SCRATCH/new" --supersedes unknown
	unchanged 1 'unknown' v apply thing unknown
	unchanged 1 'unknown' v show thing unknown
	# What is not applied is reverted already.
	must v revert thing first
	must v revert thing --all
	assert_equal "$(fs_ref thing/base)" "$(fs_ref thing/active)" 'the active commit after reverts of nothing'
	unchanged 1 '.' v rollback thing
	unchanged 1 'no-such-commit' v switch thing no-such-commit
	unchanged 1 'no-such-commit' v diff thing no-such-commit
	must g fsck --strict
}

# A full disk in the midst of a create: nothing of it remains referenced, and space brings it back to work.
case_disk_full() {
	fs_setup
	mkdir "$SCRATCH/small"
	mount -t tmpfs -o size=8m tmpfs "$SCRATCH/small" || skip 'cannot mount a tmpfs'
	fs_remember_mount "$SCRATCH/small"
	STORE=$SCRATCH/small/store
	BASE=$SCRATCH/base
	mkdir "$BASE"
	echo base >"$BASE/file"
	fs_component thing "$BASE"
	fs_mount thing "$BASE"
	cp -a "$BASE" "$SCRATCH/new"
	head -c 20000000 /dev/urandom >"$SCRATCH/new/large"
	unchanged 1 'No space|no space' v create thing -m large --from "$SCRATCH/new"
	assert_content base "$BASE/file"
	must g fsck --strict
	rm "$SCRATCH/new/large"
	echo small >"$SCRATCH/new/file"
	must v create thing -m small --from "$SCRATCH/new"
	must v apply thing
	assert_content small "$BASE/file"
}

# Machine-readable output is one JSON value, also where there is nothing to say.
case_json() {
	make_component
	cp -a "$BASE" "$SCRATCH/new"
	echo new >"$SCRATCH/new/file"
	v status --json | jq -e '.[0].name == "thing" and .[0].mounted == false' >/dev/null || fail 'status --json'
	v create thing -m m --from "$SCRATCH/new" --json | jq -e '.label == "a"' >/dev/null || fail 'create --json'
	v apply thing --json | jq -e . >/dev/null || fail 'apply --json'
	v log thing --json | jq -e 'type == "array" and length > 0' >/dev/null || fail 'log --json'
	v show thing a --json | jq -e . >/dev/null || fail 'show --json'
	v diff thing --json | jq -e . >/dev/null || fail 'diff --json'
	v revert thing --json | jq -e . >/dev/null || fail 'revert --json'
	v --json status thing | jq -e '.[0].patches[0].label == "a"' >/dev/null || fail 'options before the command'
}

fs_main "$@"
