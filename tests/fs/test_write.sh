#!/bin/bash
# Writes: through to the base where nothing is patched, refused where something is.
. "$(dirname "$0")/lib.sh"

make_mounted() {
	fs_setup
	BASE=$SCRATCH/base BENEATH=$SCRATCH/beneath
	mkdir -p "$BASE/dir" "$BENEATH"
	echo base >"$BASE/file"
	echo patched >"$BASE/patched"
	echo deleted >"$BASE/deleted"
	echo inside >"$BASE/dir/inside"
	fs_fill m 10000 >"$BASE/mapped"
	cp -a "$BASE" "$SCRATCH/new"
	echo 'by the patch' >"$SCRATCH/new/patched"
	echo added >"$SCRATCH/new/added"
	mkdir "$SCRATCH/new/added-dir" && echo x >"$SCRATCH/new/added-dir/x"
	rm "$SCRATCH/new/deleted"
	fs_component thing "$BASE"
	fs_create thing -m patch --from "$SCRATCH/new" >/dev/null
	must v apply thing
	mount --bind "$BASE" "$BENEATH"
	mount --make-private "$BENEATH"
	fs_remember_mount "$BENEATH"
	fs_mount thing "$BASE" "$@"
}

into() { t sh -c 'printf "%s\n" "$1" >"$2"' sh "$1" "$2"; }
onto() { t sh -c 'printf "%s\n" "$1" >>"$2"' sh "$1" "$2"; }

# The operations of everyday, in DIR. The oracle: the same on a plain directory.
operations() {
	(
		cd "$1"
		into created created
		onto appended file
		onto twice file
		t mkdir -p made/below
		into x made/below/x
		t mv created made/moved
		t ln made/moved hard
		t ln -s made/moved soft
		t mkfifo -m 600 pipe
		t mknod null c 1 3
		t cp -p mapped copy
		t truncate -s 100 copy
		t truncate -s 5000 file
		tool mmap_write mapped 4090 'written through a mapping'
		t dd if=/dev/zero of=mapped bs=1 count=10 seek=20000 conv=notrunc status=none
		t chmod 4751 made/moved
		t chown 65534:12 made/below
		t chgrp 12 made/below/x
		t setfattr -n user.test -v value dir/inside
		t setfattr -n user.gone -v value made/moved
		t setfattr -x user.gone made/moved
		t setfacl -m u:65534:rw made/below/x
		t setfacl -d -m u:65534:rwx made/below
		into inherits made/below/inherits
		t touch -h -d '2001-01-01 01:01:01.123456789' soft
		into a swap-a
		into b swap-b
		t mv swap-b swap-a
		t mkdir gone && t rmdir gone
		into y to-remove && t rm to-remove
		t mv dir renamed-dir
		into again renamed-dir/again
		t mv -n renamed-dir dir
		t chmod 1777 made
		t fallocate -l 100000 allocated
		t fallocate -p -o 4096 -l 8192 allocated
		t sync
		# times of what was just made differ between any two directories
		t find . -depth ! -path ./patched ! -path ./deleted ! -name added ! -path './added-dir*' -exec touch -h -d '2020-01-01 00:00:00' {} +
	) || fail "an operation failed in '$1'"
}

write_through() {
	make_mounted --write through "$@"
	cp -a "$SCRATCH/new" "$SCRATCH/plain"
	cp -a "$BENEATH" "$SCRATCH/plain-beneath"
	operations "$SCRATCH/plain"
	operations "$BASE"
	assert_same_tree 'the mount after writes equals a plain directory' "$SCRATCH/plain" "$BASE" -d
	operations "$SCRATCH/plain-beneath"
	assert_same_tree 'what is written lands in the base, and nothing else does' "$SCRATCH/plain-beneath" "$BENEATH" -d
	fs_umount thing "$BASE"
	assert_same_tree 'the base after the unmount' "$SCRATCH/plain-beneath" "$BASE" -d
}

case_through() { write_through; }

case_through_passthrough() {
	fs_have_passthrough || { fs_setup; skip "passthrough needs Linux 6.9, this is $(uname -r)"; }
	write_through --io passthrough
}

# A patched path cannot be written in place, by any means.
case_patched_is_read_only() {
	make_mounted --write through
	local path
	tree_listing -a "$BENEATH" >"$SCRATCH/before"
	for path in patched added added-dir/x; do
		assert_errno EROFS into x "$BASE/$path"
		assert_errno EROFS onto x "$BASE/$path"
		assert_errno EROFS t truncate -s 0 "$BASE/$path"
		assert_errno EROFS t chmod 777 "$BASE/$path"
		assert_errno EROFS t chown 7 "$BASE/$path"
		assert_errno EROFS t setfattr -n user.x -v x "$BASE/$path"
		assert_errno EROFS t touch "$BASE/$path"
		assert_errno EROFS tool mmap_write "$BASE/$path" 0 x
	done
	assert_content 'by the patch' "$BASE/patched"
	assert_content added "$BASE/added"
	tree_listing -a "$BENEATH" >"$SCRATCH/after"
	assert_same_text "$SCRATCH/before" "$SCRATCH/after" 'the base after refused writes'
	must v revert thing
	into 'now it is the base' "$BASE/patched"
	assert_content 'now it is the base' "$BENEATH/patched"
}

# What a shared mapping of a patched file was made to hold is gone once it was refused: for each who reads, and maps.
case_mapping_of_a_patched_file() {
	make_mounted --io cached
	local i
	# From here on the kernel opens files by itself.
	assert_content base "$BASE/file"
	for i in 1 2 3; do
		assert_content 'by the patch' "$BASE/patched"
		assert_errno EROFS tool mmap_write "$BASE/patched" 0 EVIL
		fs_wait_for 5 is_content 'by the patch' "$BASE/patched" || fail "the page cache still has: $(t cat "$BASE/patched")"
	done
	must v revert thing
	must v apply thing
	assert_content 'by the patch' "$BASE/patched"
}

is_content() { [ "$(t cat "$2")" = "$1" ]; }

# A disk that is full in the midst of a write: what was written counts, as on the disk itself.
case_full_disk() {
	fs_setup
	BASE=$SCRATCH/base BENEATH=$SCRATCH/beneath
	mkdir "$BASE" "$BENEATH"
	mount -t tmpfs -o size=200k none "$BASE" && fs_remember_mount "$BASE"
	mount --bind "$BASE" "$BENEATH" && fs_remember_mount "$BENEATH"
	write_until_full "$BASE/file" >"$SCRATCH/bare"
	rm "$BASE/file"
	fs_component thing "$BASE"
	fs_mount thing "$BASE"
	write_until_full "$BASE/file" >"$SCRATCH/mounted"
	assert_same_text "$SCRATCH/bare" "$SCRATCH/mounted" 'what could be written'
	assert_equal "$(t stat -c %s "$BENEATH/file")" "$(t stat -c %s "$BASE/file")" 'sizes'
	t rm "$BASE/file"
}

write_until_full() {
	perl -e 'open(F, ">", $ARGV[0]) or die; while ($n = syswrite(F, "x" x 60000)) { print "$n\n" } print "$!\n"' "$1"
}

# A copy within the mount is done beneath it, in several requests.
case_copy_file_range() {
	fs_setup
	BASE=$SCRATCH/base
	mkdir "$BASE"
	fs_fill c 40000000 >"$BASE/from"
	fs_component thing "$BASE"
	fs_mount thing "$BASE"
	t cp "$BASE/from" "$BASE/to"
	t cmp "$BASE/from" "$BASE/to" || fail 'the copy differs'
	[ "$(fs_status thing .requests.copy_file_range)" -ge 3 ] || fail "requests to copy: $(fs_status thing .requests)"
}

# --write deny: the whole mount is read-only.
case_deny() {
	make_mounted --write deny
	tree_listing -a "$BENEATH" >"$SCRATCH/before"
	local path
	for path in file patched added dir/inside; do
		assert_errno EROFS into x "$BASE/$path"
		assert_errno EROFS t chmod 777 "$BASE/$path"
		assert_errno EROFS t rm -f "$BASE/$path"
		assert_errno EROFS t mv "$BASE/$path" "$BASE/moved"
		assert_errno EROFS t ln "$BASE/$path" "$BASE/linked"
		assert_errno EROFS t setfattr -n user.x -v x "$BASE/$path"
		assert_errno EROFS tool mmap_write "$BASE/$path" 0 x
	done
	assert_errno EROFS t touch "$BASE/new"
	assert_errno EROFS t mkdir "$BASE/new"
	assert_errno EROFS t ln -s x "$BASE/new"
	assert_errno EROFS t mkfifo "$BASE/new"
	assert_errno EROFS t rmdir "$BASE/dir"
	tree_listing -a "$BENEATH" >"$SCRATCH/after"
	assert_same_text "$SCRATCH/before" "$SCRATCH/after" 'the base after refused writes'
	must v revert thing
	assert_content patched "$BASE/patched"
	must v apply thing
	assert_content 'by the patch' "$BASE/patched"
}

# What a caller creates is the caller's; setgid directories, umask and permissions are obeyed.
case_ordinary_user() {
	make_mounted
	mkdir -m 2777 "$BASE/shared" && chgrp 12 "$BASE/shared" && chmod 2777 "$BASE/shared"
	as_nobody sh -c 'umask 027; echo mine >"$1/mine"; mkdir "$1/sub"' sh "$BASE/shared"
	assert_equal '640 65534:12' "$(t stat -c '%a %u:%g' "$BASE/shared/mine")" 'a file by an ordinary user'
	assert_equal '2750 65534:12' "$(t stat -c '%a %u:%g' "$BASE/shared/sub")" 'a directory by an ordinary user'
	assert_errno EACCES as_nobody sh -c 'echo x >"$1"' sh "$BASE/file"
	assert_errno EACCES as_nobody sh -c 'echo x >"$1"' sh "$BASE/new"
	chmod 777 "$BASE/file" && chmod u+s "$BASE/file"
	as_nobody sh -c 'echo x >>"$1"' sh "$BASE/file"
	assert_equal 777 "$(t stat -c %a "$BASE/file")" 'the setuid bit after a write by another'
}

# An ACL set by an owner who is not in the file's group clears the set-gid bit; by one who is, and by root, it does not.
case_acl_and_setgid() {
	make_mounted
	mkdir "$SCRATCH/plain"
	set_acls "$SCRATCH/plain" >"$SCRATCH/expected"
	set_acls "$BASE/dir" >"$SCRATCH/actual"
	assert_same_text "$SCRATCH/expected" "$SCRATCH/actual" 'modes and ACLs'
	assert_match '^775 stranger$' "$(cat "$SCRATCH/actual")" 'the oracle'
	assert_match '^2775 member$' "$(cat "$SCRATCH/actual")" 'the oracle'
	assert_equal "$(getfacl -pcn "$SCRATCH/plain/stranger")" "$(getfacl -pcn "$BENEATH/dir/stranger")" 'the ACL in the base'
	# Attributes that are none, of all sizes: nothing of them is lost on the way.
	local size
	for size in 0 1 7 8 9 1000 3000; do
		fs_fill v $size >"$SCRATCH/value"
		t setfattr -n user.some -v "$(cat "$SCRATCH/value")" "$BASE/dir/stranger"
		assert_equal "$(cat "$SCRATCH/value")" "$(t getfattr --absolute-names --only-values -n user.some "$BENEATH/dir/stranger")" "a value of $size bytes"
	done
}

set_acls() (
	cd "$1"
	local name
	mkdir stranger-dir
	touch stranger member root-file
	chown 65534:12 stranger member root-file stranger-dir
	chmod 2775 stranger member root-file stranger-dir
	t stat -c '%a %n' stranger member root-file stranger-dir
	as_nobody setfacl -m u:1:r stranger
	as_nobody setfacl -d -m u:1:r stranger-dir
	t stat -c '%a %n' stranger-dir
	as_nobody setfacl -m u:1:rx stranger-dir
	t setpriv --reuid=65534 --regid=65534 --groups=12 setfacl -m u:1:r member
	t setfacl -m u:1:r root-file
	t stat -c '%a %n' stranger member root-file stranger-dir
	for name in stranger member root-file stranger-dir; do t getfacl -cn "$name"; done
)

# lsattr and chattr: what the base's filesystem has; a patched file has none, and takes none.
case_inode_flags() {
	make_mounted
	chattr +d "$BENEATH/file" "$BENEATH/dir" 2>/dev/null || skip 'the scratch filesystem has no inode flags'
	assert_equal "$(flags_of "$BENEATH/file")" "$(flags_of "$BASE/file")" 'flags of a file'
	assert_equal "$(flags_of "$BENEATH/dir")" "$(flags_of "$BASE/dir")" 'flags of a directory'
	assert_equal '' "$(flags_of "$BASE/patched" | tr -d -)" 'flags of a patched file'
	assert_equal '' "$(flags_of "$BASE/added-dir" | tr -d -)" 'flags of a directory that the patch made'
	must t chattr +i "$BASE/file"
	while_immutable >"$SCRATCH/immutable" 2>/dev/null
	must t chattr -i "$BASE/file"
	assert_equal 'base mount unwritten unremoved unchanged' "$(paste -sd ' ' "$SCRATCH/immutable")" 'what holds of an immutable file'
	onto more "$BASE/file"
	assert_content $'base\nmore' "$BASE/file"
	assert_errno EROFS t chattr +i "$BASE/patched"
	assert_errno EROFS t chattr +i "$BASE/added-dir"
}

# Asserts nothing itself: the flag must come off again, or the scratch directory stays.
while_immutable() {
	[[ $(flags_of "$BENEATH/file") != *i* ]] || echo base
	[[ $(flags_of "$BASE/file") != *i* ]] || echo mount
	onto x "$BASE/file" || echo unwritten
	t rm -f "$BASE/file" || echo unremoved
	as_nobody chattr -i "$BASE/file" || echo unchanged
}

flags_of() { t lsattr -d "$1" | cut -d ' ' -f 1; }

# One hard-linked file is one file, whichever name it is written through.
case_hard_links() {
	make_mounted
	t ln "$BASE/file" "$BASE/second"
	onto more "$BASE/second"
	assert_equal "$(t stat -c '%i %h %s' "$BASE/file")" "$(t stat -c '%i %h %s' "$BASE/second")" 'two names of one file'
	t rm "$BASE/file"
	assert_equal 1 "$(t stat -c %h "$BASE/second")" 'link count after the other name went'
	assert_content $'base\nmore' "$BASE/second"
}

# An open file that is unlinked stays usable, and says that it has no link.
case_unlinked() {
	make_mounted
	local fd
	exec {fd}<>"$BASE/file"
	t rm "$BASE/file"
	assert_equal 0 "$(t stat -L -c %h "/proc/self/fd/$fd")" 'links of an unlinked open file' </dev/null
	read -r line <&"$fd"
	assert_equal base "$line" 'what an unlinked open file has'
	echo new >"$BASE/file"
	assert_content new "$BASE/file"
	exec {fd}<&-
	[ -z "$(find "$BENEATH" -name ".fuse_hidden*")" ] || fail "a hidden file is left in the base"
}

# Names: NAME_MAX bytes are good, one more is not.
case_names() {
	make_mounted
	into x "$BASE/$(fs_fill n 255)"
	assert_content x "$BASE/$(fs_fill n 255)"
	assert_errno ENAMETOOLONG into x "$BASE/$(fs_fill n 256)"
	into y "$BASE/"$'new\nline \xff'
	assert_content y "$BENEATH/"$'new\nline \xff'
}

# A switch while files are being written: the writer notices nothing, and everything lands in the base.
case_switch_while_writing() {
	make_mounted
	local i
	(
		for i in $(seq 300); do
			echo "$i" >>"$BASE/dir/log"
			echo "$i" >"$BASE/dir/new-$i" && mv "$BASE/dir/new-$i" "$BASE/dir/current"
		done
	) &
	local writer=$!
	fs_remember_pid $writer
	while kill -0 $writer 2>/dev/null; do
		must v revert thing
		must v apply thing
	done
	wait $writer || fail 'a writer got an error'
	seq 300 >"$SCRATCH/expected"
	assert_same_text "$SCRATCH/expected" "$BENEATH/dir/log" 'what was appended during switches'
	assert_content 300 "$BENEATH/dir/current"
}

fs_main "$@"
