#!/bin/bash
# Every kind of change: types in every direction, additions, deletions, metadata; and what is open keeps what it opened.
. "$(dirname "$0")/lib.sh"

TYPES='file directory symlink fifo absent'

# make_type PATH TYPE
make_type() {
	case $2 in
	file) echo "file $1" >"$1" && chmod 640 "$1" ;;
	directory) mkdir "$1" && echo inside >"$1/inside" && mkdir "$1/sub" && echo deep >"$1/sub/deep" ;;
	symlink) ln -s "target-of-$(basename "$1")" "$1" ;;
	fifo) mkfifo -m 620 "$1" ;;
	absent) ;;
	esac
}

# Both directories hold, for each pair of types, one name that changes from the one to the other.
make_types() {
	BASE=$SCRATCH/base NEW=$SCRATCH/new
	mkdir "$BASE" "$NEW"
	local from to
	for from in $TYPES; do
		for to in $TYPES; do
			make_type "$BASE/$from-to-$to" "$from"
			make_type "$NEW/$from-to-$to" "$to"
			# mtimes alone are no difference
			[ "$from" != "$to" ] || touch -h -r "$BASE/$from-to-$to" "$NEW/$from-to-$to" 2>/dev/null || :
		done
	done
	mkdir "$BASE/whole" && make_type "$BASE/whole/tree" directory
	mkdir -p "$NEW/lacking/below/it" && make_type "$NEW/lacking/below/it/file" file
	mkdir "$BASE/emptied" "$NEW/emptied" && echo x >"$BASE/emptied/x"
	mkdir "$BASE/kept" "$NEW/kept" && echo kept >"$BASE/kept/one" && cp -a "$BASE/kept/one" "$NEW/kept/one"
	echo same >"$BASE/modes" && cp -a "$BASE/modes" "$NEW/modes" && chmod 4711 "$NEW/modes"
	echo same >"$BASE/owner" && cp -a "$BASE/owner" "$NEW/owner" && chown 65534:65534 "$NEW/owner"
	echo same >"$BASE/attribute" && cp -a "$BASE/attribute" "$NEW/attribute" &&
		setfattr -n user.note -v new "$NEW/attribute"
	setfattr -n user.old -v old "$BASE/attribute"
	chmod 700 "$NEW/kept"
	setfacl -m u:65534:r "$NEW/kept/one"
	cp -a "$BASE" "$SCRATCH/plain-base"
	# Where only the mtime differs nothing changes, so let all of what stays be equal to the letter.
	find "$NEW" -mindepth 1 -exec touch -h -d '2020-01-01 12:00:00.5' {} +
	find "$BASE" "$SCRATCH/plain-base" -mindepth 1 -exec touch -h -d '2020-01-01 12:00:00.5' {} +
}

types() {
	make_types
	local base_listing=$SCRATCH/base-listing
	tree_listing -d "$BASE" >"$base_listing"
	fs_component thing "$BASE"
	fs_mount thing "$BASE" --io "$1"
	fs_create thing -m 'every change' --from "$NEW" >/dev/null
	for round in 1 2; do
		must v apply thing
		assert_same_tree "round $round: the mount equals the new directory" "$NEW" "$BASE" -d
		must v revert thing
		assert_same_tree "round $round: the mount equals the old directory" "$SCRATCH/plain-base" "$BASE" -d
	done
	must g fsck --strict
	fs_umount thing "$BASE"
	assert_same_tree 'the base after it all' "$SCRATCH/plain-base" "$BASE" -d
}

case_cached() { fs_setup; types cached; }

case_passthrough() {
	fs_setup
	fs_have_passthrough || skip "passthrough needs Linux 6.9, this is $(uname -r)"
	types passthrough
}

# The same by an overlayfs upper layer.
case_upper() {
	fs_setup
	BASE=$SCRATCH/base
	mkdir -p "$BASE/dir" "$BASE/gone" "$BASE/opaque" "$SCRATCH/upper" "$SCRATCH/work" "$SCRATCH/merged"
	echo old >"$BASE/dir/file"
	echo x >"$BASE/gone/x"
	echo x >"$BASE/opaque/x"
	echo stays >"$BASE/stays"
	chmod 4755 "$BASE/stays"
	cp -a "$BASE" "$SCRATCH/plain-base"
	mount -t overlay overlay -o "lowerdir=$BASE,upperdir=$SCRATCH/upper,workdir=$SCRATCH/work" "$SCRATCH/merged" 2>/dev/null ||
		skip 'this kernel has no overlayfs here'
	fs_remember_mount "$SCRATCH/merged"
	echo new >"$SCRATCH/merged/dir/file"
	rm -r "$SCRATCH/merged/gone" "$SCRATCH/merged/opaque"
	mkdir "$SCRATCH/merged/opaque" && echo y >"$SCRATCH/merged/opaque/y"
	ln -s dir "$SCRATCH/merged/link"
	mknod "$SCRATCH/merged/null" c 1 3
	cp -a "$SCRATCH/merged/." "$SCRATCH/plain-new"
	umount "$SCRATCH/merged"
	fs_component thing "$BASE"
	fs_mount thing "$BASE"
	fs_create thing -m 'from an upper layer' --upper "$SCRATCH/upper" >/dev/null
	must v apply thing
	assert_same_tree 'the mount equals the overlay' "$SCRATCH/plain-new" "$BASE" -d
	must v revert thing
	assert_same_tree 'the mount equals the base' "$SCRATCH/plain-base" "$BASE" -d
}

# Open files, mappings, running programs and working directories outlive a switch.
case_open_files() {
	fs_setup
	BASE=$SCRATCH/base NEW=$SCRATCH/new
	mkdir -p "$BASE/dir"
	fs_fill o 3000000 >"$BASE/dir/file"
	sed 's/TAGGED-PROGRAM:./TAGGED-PROGRAM:A/' "$VENEER_TOOLS/tagged" >"$BASE/run"
	chmod 755 "$BASE/run"
	cp -a "$BASE" "$NEW"
	fs_fill n 2000000 >"$NEW/dir/file"
	sed 's/TAGGED-PROGRAM:./TAGGED-PROGRAM:B/' "$VENEER_TOOLS/tagged" >"$NEW/run"
	fs_component thing "$BASE"
	fs_create thing -m new --from "$NEW" >/dev/null
	rm -rf "${NEW:?}/dir"
	fs_create thing -m 'no directory at all' --label none --supersedes a --from "$NEW" >/dev/null
	fs_mount thing "$BASE"

	exec {old}<"$BASE/dir/file"
	coproc RUN { exec "$BASE/run" wait; }
	fs_remember_pid "$RUN_PID"
	local run=$RUN_PID run_input=${RUN[1]} status=0
	must v apply thing a
	exec {new}<"$BASE/dir/file"
	(
		cd "$BASE/dir"
		must v apply thing none
		# The name is gone; who stands in it stays standing.
		[ ! -e "$BASE/dir" ] || fail 'a deleted directory is still there'
		t ls . >/dev/null 2>&1 || :
		must v revert thing none
		must v apply thing a
		t stat -c '' "$BASE/dir/file"
	)
	must v revert thing --all
	assert_equal "$(fs_fill o 3000000 | sha256sum)" "$(t sha256sum <&"$old")" 'what was opened before the first switch'
	assert_equal "$(fs_fill n 2000000 | sha256sum)" "$(t sha256sum <&"$new")" 'what was opened between the switches'
	exec {old}<&- {new}<&- {run_input}>&-
	wait "$run" || status=$?
	assert_equal 65 "$status" 'exit status of a program that ran through all switches'
	status=0
	t "$BASE/run" || status=$?
	assert_equal 65 "$status" 'exit status of the program afterwards'
}

# A shell that stands in a directory notices nothing.
case_working_directory() {
	fs_setup
	BASE=$SCRATCH/base
	mkdir -p "$BASE/dir/sub"
	echo old >"$BASE/dir/sub/file"
	cp -a "$BASE" "$SCRATCH/new"
	echo new >"$SCRATCH/new/dir/sub/file"
	fs_component thing "$BASE"
	fs_create thing -m new --from "$SCRATCH/new" >/dev/null
	fs_mount thing "$BASE"
	cd "$BASE/dir/sub"
	assert_content old file
	for round in 1 2 3; do
		must v apply thing
		assert_content new file
		assert_equal "$BASE/dir/sub" "$(/bin/pwd)" "working directory, round $round"
		must v revert thing
		assert_content old ../sub/file
	done
	cd /
}

# Names that a patch only adds, in a directory whose listing the kernel has, and of which it knows that they are not there.
case_additions_to_a_known_listing() {
	fs_setup
	BASE=$SCRATCH/base
	mkdir -p "$BASE/listed" "$BASE/missed"
	: >"$BASE/listed/old"
	cp -a "$BASE" "$SCRATCH/new"
	echo added >"$SCRATCH/new/listed/added"
	echo added >"$SCRATCH/new/missed/added"
	fs_component thing "$BASE"
	fs_create thing -m new --from "$SCRATCH/new" >/dev/null
	fs_mount thing "$BASE"
	for _ in 1 2; do
		assert_equal old "$(t ls "$BASE/listed"; t ls "$BASE/listed" >/dev/null)" 'the listing before'
		assert_errno ENOENT t cat "$BASE/missed/added"
		must v apply thing
		assert_equal $'added\nold' "$(t ls "$BASE/listed")" 'the listing after apply'
		assert_content added "$BASE/missed/added"
		must v revert thing
	done
}

# A patch makes a directory of a name of a hard link, and the next one changes a file in it.
case_directory_over_a_linked_file() {
	fs_setup
	BASE=$SCRATCH/base
	mkdir "$BASE"
	echo old >"$BASE/name" && ln "$BASE/name" "$BASE/other"
	cp -a "$BASE" "$SCRATCH/new"
	rm "$SCRATCH/new/name" && mkdir "$SCRATCH/new/name" && echo 1 >"$SCRATCH/new/name/file"
	fs_component thing "$BASE"
	fs_create thing -m one --label a --from "$SCRATCH/new" >/dev/null
	echo 22 >"$SCRATCH/new/name/file" && echo added >"$SCRATCH/new/name/added"
	fs_create thing -m two --label b --supersedes a --from "$SCRATCH/new" >/dev/null
	fs_mount thing "$BASE"
	must v apply thing a
	assert_content old "$BASE/other"
	assert_content 1 "$BASE/name/file"
	assert_equal file "$(t ls "$BASE/name")" 'the listing before'
	assert_errno ENOENT t cat "$BASE/name/added"
	must v apply thing b
	assert_content 22 "$BASE/name/file"
	assert_content added "$BASE/name/added"
	assert_equal $'added\nfile' "$(t ls "$BASE/name")" 'the listing after'
}

# Who stands in a directory that a patch takes away sees it empty, and whole again when it comes back.
case_directory_that_vanishes() {
	fs_setup
	BASE=$SCRATCH/base
	mkdir -p "$BASE/file/sub" "$BASE/absent/sub"
	local dir
	for dir in file absent; do
		echo "top $dir" >"$BASE/$dir/top"
		echo "lib $dir" >"$BASE/$dir/sub/lib"
	done
	cp -a "$BASE" "$SCRATCH/new"
	rm -r "$SCRATCH/new/file" "$SCRATCH/new/absent"
	echo 'a file now' >"$SCRATCH/new/file"
	fs_component thing "$BASE"
	fs_create thing -m 'takes directories away' --from "$SCRATCH/new" >/dev/null
	fs_mount thing "$BASE"
	for dir in file absent; do
		stand_in_vanishing "$dir" || fail "in '$dir'"
		assert_equal $'sub\ntop' "$(t ls "$BASE/$dir")" "the listing of '$dir' when all is over"
		assert_content "lib $dir" "$BASE/$dir/sub/lib"
	done
}

# stand_in_vanishing DIR: in DIR/sub, with a file open, while DIR goes and comes back.
stand_in_vanishing() (
	cd "$BASE/$1/sub"
	exec 7<lib
	assert_content "lib $1" lib
	must v apply thing
	assert_errno ENOENT t cat lib
	assert_errno ENOENT t cat ../top
	assert_equal '' "$(t ls . ..| grep -v -e ':$' -e '^$')" 'the listings while it is gone'
	assert_errno ENOENT t sh -c ': >made'
	assert_equal "lib $1" "$(t cat <&7)" 'the open file'
	must v revert thing
	assert_content "lib $1" lib
	assert_content "top $1" ../top
	assert_equal $'.:\nlib\n\n..:\nsub\ntop' "$(t ls . ..)" 'the listings when it is back'
	assert_content "top $1" "$BASE/$1/top"
)

# A name that a patch replaces or takes away is no link of the base's file any more, also for a kernel that knew better.
case_links_of_a_patched_name() {
	fs_setup
	BASE=$SCRATCH/base
	mkdir -p "$BASE/dir"
	echo x >"$BASE/one" && ln "$BASE/one" "$BASE/two" && ln "$BASE/one" "$BASE/dir/three"
	cp -a "$BASE" "$SCRATCH/new"
	rm "$SCRATCH/new/one" && echo y >"$SCRATCH/new/one"
	fs_component thing "$BASE"
	fs_create thing -m replaces --label a --from "$SCRATCH/new" >/dev/null
	rm -r "$SCRATCH/new/dir"
	fs_create thing -m removes --label b --supersedes a --from "$SCRATCH/new" >/dev/null
	fs_mount thing "$BASE"
	assert_equal 3 "$(t stat -c %h "$BASE/two")" 'links at first'
	must v apply thing a
	assert_equal 2 "$(t stat -c %h "$BASE/two")" 'links, one name replaced'
	assert_equal 2 "$(t stat -c %h "$BASE/dir/three")" 'links by another name'
	must v apply thing b
	assert_equal 1 "$(t stat -c %h "$BASE/two")" 'links, a directory with another taken away'
	must v revert thing --all
	assert_equal 3 "$(t stat -c %h "$BASE/two")" 'links in the end'
}

# readdir goes on across a switch: no unchanged name is lost or seen twice; offsets hold.
case_readdir() {
	fs_setup
	BASE=$SCRATCH/base
	mkdir -p "$BASE/dir"
	local i line
	for i in $(seq 1000); do : >"$BASE/dir/unchanged-name-$i"; done
	for i in $(seq 50); do : >"$BASE/dir/removed-name-$i"; done
	cp -a "$BASE" "$SCRATCH/new"
	rm "$SCRATCH/new/dir/removed-name-"*
	for i in $(seq 50); do echo added >"$SCRATCH/new/dir/added-name-$i"; done
	for i in $(seq 1 20 1000); do echo changed >"$SCRATCH/new/dir/unchanged-name-$i"; done
	fs_component thing "$BASE"
	fs_create thing -m new --from "$SCRATCH/new" >/dev/null
	fs_mount thing "$BASE"
	seq 1000 | sed 's/^/name unchanged-name-/' | sort >"$SCRATCH/expected"

	# Without a switch: complete, and every offset leads back to the same name.
	echo offsets | tool readdir_steps "$BASE/dir" >"$SCRATCH/steps" || fail 'offsets of an unchanging directory'
	grep '^name unchanged' "$SCRATCH/steps" | sort >"$SCRATCH/actual"
	assert_same_text "$SCRATCH/expected" "$SCRATCH/actual" 'names of an unchanging directory'
	for round in apply revert apply revert; do
		coproc STEPS { exec "$VENEER_TOOLS/readdir_steps" "$BASE/dir" 2>"$SCRATCH/steps-error"; }
		fs_remember_pid "$STEPS_PID"
		local output input=${STEPS[1]} pid=$STEPS_PID
		exec {output}<&"${STEPS[0]}" # the coproc's own is closed with it
		read -r -t 30 line <&"$output"
		assert_equal half "$line" 'the reader'
		must v $round thing
		echo go >&"$input"
		t cat <&"$output" >"$SCRATCH/steps"
		exec {output}<&-
		wait "$pid" || fail "$round in the midst of a readdir: $(cat "$SCRATCH/steps-error")"
		grep '^name unchanged' "$SCRATCH/steps" | sort >"$SCRATCH/actual"
		assert_same_text "$SCRATCH/expected" "$SCRATCH/actual" "$round in the midst of a readdir: unchanged names"
	done
	must v apply thing
	assert_same_tree 'the listing afterwards' "$SCRATCH/new" "$BASE" -d
}

fs_main "$@"
