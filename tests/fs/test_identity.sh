#!/bin/bash
# A mounted component shows its directory exactly as it is: every type of file, every attribute.
. "$(dirname "$0")/lib.sh"

# One of everything that a directory can hold.
make_base() {
	local base=$1 i deep=$1/deep name
	mkdir -p "$base/dir/empty" "$base/sticky" "$base/setgid" "$base/names" "$deep"
	echo regular >"$base/dir/file"
	fs_fill x 1000000 >"$base/large"
	: >"$base/dir/nothing"
	cp /bin/true "$base/setuid" && chown 65534:65534 "$base/setuid" && chmod 6755 "$base/setuid"
	chmod 1777 "$base/sticky"
	chown 0:65534 "$base/setgid" && chmod 2775 "$base/setgid"
	echo secret >"$base/private" && chmod 600 "$base/private"
	chmod 000 "$base/dir/nothing"
	mkfifo "$base/fifo"
	mknod "$base/null" c 1 3
	mknod "$base/block" b 7 200
	perl -MSocket -e 'socket(S, PF_UNIX, SOCK_STREAM, 0) && bind(S, sockaddr_un($ARGV[0])) or die' "$base/socket"
	ln -s dir/file "$base/link"
	ln -s /nowhere/at/all "$base/dangling"
	ln -s "$(fs_fill l 4000)" "$base/long-link"
	echo linked >"$base/hard-1"
	ln "$base/hard-1" "$base/hard-2"
	ln "$base/hard-1" "$base/dir/hard-3"
	truncate -s 64M "$base/sparse"
	printf end | dd of="$base/sparse" bs=1 seek=50000000 conv=notrunc status=none
	setfattr -n user.comment -v 'a value' "$base/dir/file"
	setfattr -n user.binary -v 0x00ff0a00 "$base/dir"
	setfattr -n trusted.note -v 1 "$base/dir/file"
	setfattr -h -n trusted.link -v 1 "$base/link"
	setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 "$base/setuid"
	setfacl -m u:65534:r,g:12:rw,m::rw "$base/private"
	setfacl -d -m u:65534:rwx "$base/dir"
	setfacl -m u:65534:--- "$base/sticky"
	for name in $'new\nline' $'tab\tbed' ' leading' 'ünïcödé-名前' $'\xff\xfe-no-utf8' '-rf' '*' 'a\b' '.hidden' \
		"$(fs_fill n 255)"; do
		echo "$name" >"$base/names/$name"
	done
	for i in $(seq 60); do
		deep=$deep/level-$i
	done
	mkdir -p "$deep" && echo bottom >"$deep/file"
	touch -d '2001-02-03 04:05:06.123456789' "$base/dir/file"
	touch -d '1969-12-31 00:00:00.5' "$base/large"
	touch -d '2100-01-01 00:00:00.999999999' "$base/hard-1"
	touch -h -d '2002-02-02 02:02:02.020202020' "$base/dangling"
	touch -d '2003-03-03 03:03:03.030303030' "$base/dir" "$base"
	sync -f "$base"
}

# What users' own tools say of a tree, into a file.
tool_view() {
	(
		cd "$1"
		t find . -print0 | sort -z | tr '\0' '\n'
		t find . -type f ! -name nothing -print0 | sort -z | t xargs -0 sha256sum
		t find . -print0 | sort -z | t xargs -0 stat -c '%n %F %a %u %g %h %t:%T %.9Y' | sed '/directory/s/ [0-9]* / /'
		t find . -print0 | sort -z | t xargs -0 getfattr -h -d -m - --
		t find . ! -type l -print0 | sort -z | t xargs -0 getfacl -p -n --
		t ls -lAR --time-style=full-iso .
		t du -s --apparent-size .
		t du -s sparse large
		t tar -cf - --sort=name --numeric-owner --exclude=./socket . | sha256sum
	) || fail "tools fail in '$1'"
}

identity() {
	local io=$1
	fs_setup
	BASE=$SCRATCH/base
	mkdir "$BASE"
	make_base "$BASE"
	tree_listing "$BASE" >"$SCRATCH/bare"
	tool_view "$BASE" >"$SCRATCH/bare-tools"
	fs_component thing "$BASE" --base-version 1.0
	fs_mount thing "$BASE" --io "$io"
	# Cold and warm: the second time it comes from what the kernel keeps.
	for round in cold warm; do
		tree_listing "$BASE" >"$SCRATCH/mounted"
		assert_same_text "$SCRATCH/bare" "$SCRATCH/mounted" "--io $io, $round: mounted and bare differ"
	done
	tool_view "$BASE" >"$SCRATCH/mounted-tools"
	assert_same_text "$SCRATCH/bare-tools" "$SCRATCH/mounted-tools" "--io $io: tools differ"
	fs_umount thing "$BASE"
	tree_listing "$BASE" >"$SCRATCH/after"
	assert_same_text "$SCRATCH/bare" "$SCRATCH/after" "the base after the unmount"
}

case_cached() { identity cached; }

case_passthrough() {
	fs_have_passthrough || skip "passthrough needs Linux 6.9, this is $(uname -r)"
	identity passthrough
}

# overlay_two_deep DIR: an overlay over an overlay; as deep as filesystems stack, so that no other can on top.
overlay_two_deep() {
	local at=$SCRATCH/layers layer
	mkdir "$at"
	mount -t tmpfs none "$at" && fs_remember_mount "$at"
	mkdir "$at/lower" "$at/upper" "$at/work" "$at/middle"
	echo lower >"$at/lower/file"
	mount -t overlay -o "lowerdir=$at/lower,upperdir=$at/upper,workdir=$at/work" none "$at/middle" 2>/dev/null || return 1
	fs_remember_mount "$at/middle"
	mount -t overlay -o "lowerdir=$at/middle:$at/lower" none "$1" 2>/dev/null || return 1
	fs_remember_mount "$1"
}

# What the kernel cannot pass through: as a whole it is refused at the mount; in part it is served all the same.
case_passthrough_over_overlays() {
	fs_setup
	fs_have_passthrough || skip "passthrough needs Linux 6.9, this is $(uname -r)"
	BASE=$SCRATCH/base
	mkdir -p "$BASE/part"
	overlay_two_deep "$BASE/part" || skip 'this kernel has no overlayfs here'
	echo whole >"$BASE/file"
	fs_component part "$BASE/part"
	assert_refused 1 'cannot be passed through' v mount part --io passthrough
	assert_content lower "$BASE/part/file"
	fs_component thing "$BASE"
	fs_mount thing "$BASE" --io passthrough
	for _ in 1 2; do
		assert_content lower "$BASE/part/file"
		assert_content whole "$BASE/file"
	done
	t cmp "$BASE/part/file" "$SCRATCH/layers/lower/file" || fail 'the bytes differ'
	echo more >>"$BASE/file"
	assert_content $'whole\nmore' "$BASE/file"
}

# Permissions and ACLs bind ordinary users, as on the bare directory.
case_access() {
	fs_setup
	BASE=$SCRATCH/base
	mkdir "$BASE"
	make_base "$BASE"
	echo mine >"$BASE/owned" && chown 65534 "$BASE/owned" && chmod 400 "$BASE/owned"
	access_view >"$SCRATCH/bare"
	fs_component thing "$BASE"
	fs_mount thing "$BASE"
	access_view >"$SCRATCH/mounted"
	assert_same_text "$SCRATCH/bare" "$SCRATCH/mounted" 'access of an ordinary user'
	# The oracle itself: an ACL gives, an ACL takes, modes refuse.
	grep -q '^cat private 0 ' "$SCRATCH/mounted" || fail 'the ACL did not let user 65534 read'
	grep -q '^cat dir/nothing 1 ' "$SCRATCH/mounted" || fail 'mode 000 let user 65534 read'
	grep -q '^ls sticky 2 ' "$SCRATCH/mounted" || fail 'the ACL did not keep user 65534 out'
}

access_view() {
	local path status
	for path in private owned dir/nothing dir/file setuid; do
		status=0
		(cd "$BASE" && as_nobody cat "$path" >/dev/null 2>&1) || status=$?
		echo "cat $path $status "
		status=0
		(cd "$BASE" && as_nobody sh -c ': >>"$1"' sh "$path" >/dev/null 2>&1) || status=$?
		echo "append $path $((status != 0)) "
	done
	for path in sticky dir setgid; do
		status=0
		(cd "$BASE" && as_nobody ls "$path" >/dev/null 2>&1) || status=$?
		echo "ls $path $status "
	done
}

# A setuid program raises its caller, a device node is a device.
case_suid_and_devices() {
	fs_setup
	BASE=$SCRATCH/base
	mkdir "$BASE"
	cp "$(command -v id)" "$BASE/id" && chmod 4755 "$BASE/id"
	mknod -m 666 "$BASE/null" c 1 3
	[ "$(as_nobody "$BASE/id" -u)" = 0 ] || skip 'the scratch filesystem is mounted nosuid'
	fs_component thing "$BASE"
	fs_mount thing "$BASE"
	assert_equal 0 "$(as_nobody "$BASE/id" -u)" 'effective user of a setuid program in the mount'
	as_nobody sh -c 'echo gone >"$1"' sh "$BASE/null" || fail 'cannot write to a null device in the mount'
	assert_equal '' "$(t cat "$BASE/null")" 'what a null device gives'
}

# What the mount beneath forbids stays forbidden, and access times are kept as there.
case_mount_flags() {
	fs_setup
	BASE=$SCRATCH/base
	mkdir "$BASE"
	mount -t tmpfs -o nosuid,nodev,noexec,noatime none "$BASE"
	fs_remember_mount "$BASE"
	cp /bin/true "$BASE/true"
	cp "$(command -v id)" "$BASE/id" && chmod 4755 "$BASE/id"
	mknod -m 666 "$BASE/null" c 1 3
	fs_component thing "$BASE"
	fs_mount thing "$BASE"
	assert_equal rw,nosuid,nodev,noexec,noatime "$(mount_flags "$BASE")" 'flags'
	assert_errno EACCES t "$BASE/true"
	assert_errno EACCES t sh -c 'echo x >"$1"' sh "$BASE/null"
	fs_umount_top
	mount -o remount,suid,exec,ro,strictatime "$BASE"
	fs_mount thing "$BASE"
	assert_equal ro,nodev "$(mount_flags "$BASE")" 'flags over a read-only mount'
	t "$BASE/true" || fail 'a program does not run'
	assert_equal 0 "$(as_nobody "$BASE/id" -u)" 'effective user of a setuid program'
	assert_errno EROFS t touch "$BASE/made"
}

mount_flags() { awk -v dir="$1" '$5 == dir { flags = $6 } END { print flags }' /proc/self/mountinfo; }

# Of the mount alone: another lies beneath.
fs_umount_top() {
	must v umount thing
	wait "$FS_DAEMON" || fail "the daemon ended with status $?"
}

# Inode numbers are the same at every mount, and no two files share one.
case_inode_numbers() {
	fs_setup
	BASE=$SCRATCH/base
	mkdir -p "$BASE/dir" "$SCRATCH/new/dir"
	for i in $(seq 50); do echo "$i" >"$BASE/dir/file-$i"; done
	cp -a "$BASE/." "$SCRATCH/new/"
	echo changed >"$SCRATCH/new/dir/file-7"
	echo added >"$SCRATCH/new/dir/added"
	fs_component thing "$BASE"
	fs_create thing -m 'a change' --from "$SCRATCH/new" >/dev/null
	must v apply thing
	fs_mount thing "$BASE"
	tree_listing -i "$BASE" >"$SCRATCH/first"
	fs_umount thing "$BASE"
	fs_mount thing "$BASE"
	tree_listing -i "$BASE" >"$SCRATCH/second"
	assert_same_text "$SCRATCH/first" "$SCRATCH/second" 'listings with inode numbers, of two mounts'
	assert_equal '' "$(sed 's/.* inode=\([0-9]*\).*/\1/' "$SCRATCH/first" | sort | uniq -d)" 'inode numbers in use twice'
}

fs_main "$@"
