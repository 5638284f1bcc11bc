#!/bin/bash
# A patch made from a Debian package, over a system image with merged /usr: what the mount then shows is what
# dpkg would have made of the directory.
. "$(dirname "$0")/lib.sh"
. "$FS_SOURCE/scripts/lib.sh"

# An image with merged /usr, as debootstrap makes one.
make_image() {
	mkdir -p "$1/usr/lib" "$1/usr/share" "$1/usr/bin" "$1/etc"
	ln -s usr/lib "$1/lib"
	ln -s usr/bin "$1/bin"
}

# build_deb NAME VERSION DIR OUTPUT: a package of what is in DIR.
build_deb() {
	mkdir -p "$3/DEBIAN"
	printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: Tester <tester@example.org>\nDescription: test\n' \
		"$1" "$2" >"$3/DEBIAN/control"
	must dpkg-deb -b "$3" "$4"
}

# judge OLD-DEB NEW-DEB COMPONENT-DIR: the whole course, against plain directories.
judge() {
	local old=$1 new=$2 relative=$3 file
	local image=$SCRATCH/image plain_old=$SCRATCH/plain-old plain_new=$SCRATCH/plain-new
	make_image "$image"
	mkdir -p "$image/$relative"
	echo 'not of the package' >"$image/$relative/local-file"
	lib_deb_unpack "$old" "$image"
	cp -a "$image" "$plain_old"
	cp -a "$image" "$plain_new"
	lib_deb_unpack "$new" "$plain_new"
	DIR=$image/$relative

	# The base beneath the mount, seen through a bind mount that is there before.
	mkdir "$SCRATCH/beneath"
	mount --bind "$image" "$SCRATCH/beneath"
	mount --make-private "$SCRATCH/beneath"
	fs_remember_mount "$SCRATCH/beneath"
	tree_listing -a "$SCRATCH/beneath" >"$SCRATCH/before"

	fs_component package "$DIR" --root "$image" --base-version "$(dpkg-deb -f "$old" Version)"
	fs_mount package "$DIR"
	LABEL=$(fs_create package -m 'security update' --deb "$new")
	assert_equal a "$LABEL" 'label of the first patch'
	assert_same_tree 'before apply the mount shows the old package' "$plain_old/$relative" "$DIR" -d
	file=$(cd "$plain_old/$relative" && find . -type f -size +0 -exec ls -S {} + | head -n 1)
	hold "$DIR/$file"

	must v apply package
	held_still "$plain_old/$relative/$file"
	assert_equal "$(fs_sha "$plain_new/$relative/$file")" "$(fs_sha "$DIR/$file")" "sha256 of '$file' after apply"
	assert_same_tree 'after apply the mount equals new unpacked over old' "$plain_new/$relative" "$DIR" -d
	compare_tools "$plain_new/$relative" "$DIR"
	held_still "$plain_old/$relative/$file"

	must v revert package
	assert_same_tree 'after revert the mount equals the old package' "$plain_old/$relative" "$DIR" -d
	compare_tools "$plain_old/$relative" "$DIR"
	held_still "$plain_old/$relative/$file"
	must v apply package a
	assert_same_tree 'after a second apply' "$plain_new/$relative" "$DIR" -d
	tree_listing -a "$SCRATCH/beneath" >"$SCRATCH/after"
	assert_same_text "$SCRATCH/before" "$SCRATCH/after" 'the base beneath the mount was touched'
	must g fsck --strict
	release
	fs_umount package "$DIR"
	assert_same_tree 'after the unmount the base' "$plain_old/$relative" "$DIR" -d
}

# A process that opened and mapped FILE.
hold() {
	local line
	coproc HOLDER { exec "$VENEER_TOOLS/holder" "$1"; }
	fs_remember_pid "$HOLDER_PID"
	read -r -t 30 line <&"${HOLDER[0]}"
	assert_equal ready "$line" 'the process that holds the old file'
}

# It still reads every byte of what FILE (in a plain directory) has.
held_still() {
	local line digest expected
	digest=$(tool tree_listing -n "$(dirname "$1")" | grep -F "./$(basename "$1") file" | sed 's/.* xxh3=\([0-9a-f]*\).*/\1/')
	expected="fd $digest map $digest size $(stat -c %s "$1")"
	echo >&"${HOLDER[1]}"
	read -r -t 60 line <&"${HOLDER[0]}" || fail 'the holding process does not answer'
	assert_equal "$expected" "$line" "what a process sees that opened '$(basename "$1")' before"
}

release() {
	local fd=${HOLDER[1]} pid=$HOLDER_PID
	exec {fd}>&-
	wait "$pid"
}

# What the commands of a suspicious user say of DIR.
tools_of() {
	(
		cd "$1"
		t find . | sort
		t find . ! -type d | sort | t xargs -d '\n' stat -c '%n %A %u:%g %s %y %h %F'
		t find . -type d | sort | t xargs -d '\n' stat -c '%n %A %u:%g %F'
		t find . | sort | t xargs -d '\n' getfattr -h -d -m - --
	) || fail "tools fail in '$1'"
}

compare_tools() {
	tools_of "$1" >"$SCRATCH/.tools-expected" 2>&1
	tools_of "$2" >"$SCRATCH/.tools-actual" 2>&1
	assert_same_text "$SCRATCH/.tools-expected" "$SCRATCH/.tools-actual" 'find, stat and getfattr differ'
}

case_synthetic() {
	fs_setup
	local version tree
	for version in 1.0 1.1; do
		tree=$SCRATCH/build-$version
		# A path through the image's own symlink, and one outside the component.
		mkdir -p "$tree/lib/test/plugins" "$tree/usr/share/doc/test"
		fs_fill "${version#1.}" 300001 >"$tree/lib/test/libtest.so.1"
		echo "$version" >"$tree/lib/test/only-$version"
		ln -s "only-$version" "$tree/lib/test/link"
		echo "helper $version" >"$tree/lib/test/helper" && chmod 4755 "$tree/lib/test/helper"
		chown 0:65534 "$tree/lib/test/helper"
		echo "$version" >"$tree/lib/test/plugins/plugin.conf"
		echo same >"$tree/lib/test/same"
		touch -d "2020-01-01 00:00:00" "$tree/lib/test/same"
		echo "$version" >"$tree/usr/share/doc/test/changelog"
	done
	mkdir -p "$SCRATCH/build-1.1/lib/test/added/below"
	echo added >"$SCRATCH/build-1.1/lib/test/added/below/file"
	mkfifo "$SCRATCH/build-1.1/lib/test/pipe"
	build_deb test 1.0 "$SCRATCH/build-1.0" "$SCRATCH/old.deb"
	build_deb test 1.1 "$SCRATCH/build-1.1" "$SCRATCH/new.deb"
	judge "$SCRATCH/old.deb" "$SCRATCH/new.deb" usr/lib/test
}

# What falls outside the component is said, not dropped in silence.
case_left_out() {
	fs_setup
	local tree=$SCRATCH/build image=$SCRATCH/image
	make_image "$image"
	mkdir -p "$image/usr/lib/test" "$tree/lib/test" "$tree/usr/share/doc/test"
	echo x >"$tree/lib/test/file"
	echo y >"$tree/usr/share/doc/test/changelog"
	build_deb test 1.0 "$tree" "$SCRATCH/test.deb"
	fs_component package "$image/usr/lib/test" --root "$image"
	v create package -m m --deb "$SCRATCH/test.deb" >"$SCRATCH/out" 2>"$SCRATCH/err"
	assert_match 'usr/share/doc/test/changelog' "$(cat "$SCRATCH/out" "$SCRATCH/err")" 'paths left out'
	assert_match '^a [0-9a-f]{40}$' "$(cat "$SCRATCH/out")" "create's output"
}

# Several packages make one patch.
case_two_packages() {
	fs_setup
	local tree image=$SCRATCH/image
	make_image "$image"
	mkdir -p "$image/usr/lib/test"
	for tree in one two; do
		mkdir -p "$SCRATCH/$tree/usr/lib/test"
		echo "$tree" >"$SCRATCH/$tree/usr/lib/test/$tree"
		build_deb "$tree" 1.0 "$SCRATCH/$tree" "$SCRATCH/$tree.deb"
	done
	fs_component package "$image/usr/lib/test" --root "$image"
	must v create package -m m --deb "$SCRATCH/one.deb" --deb "$SCRATCH/two.deb"
	must v apply package
	fs_mount package "$image/usr/lib/test"
	assert_content one "$image/usr/lib/test/one"
	assert_content two "$image/usr/lib/test/two"
}

# The real thing: OpenSSL's library, Debian's own versions.
case_openssl() {
	fs_setup
	local package versions old new
	for package in libssl3 libssl3t64; do
		versions=$(lib_deb_versions "$package") && break
	done
	[ -n "$versions" ] || skip 'apt knows no two versions of libssl3'
	old=$(lib_deb_download "$package" "${versions% *}" "$SCRATCH") &&
		new=$(lib_deb_download "$package" "${versions#* }" "$SCRATCH") ||
		skip "apt cannot download $package"
	judge "$old" "$new" "$(dpkg-deb -c "$new" | sed -n 's|.* \./\(.*\)/libssl\.so\.3$|\1|p')"
}

fs_main "$@"
