#!/bin/bash
# The base is changed around the mount: what is seen of it at once, what after `veneer refresh`, and what with --watch.
. "$(dirname "$0")/lib.sh"

# $LOWER is the base by another path, from before the mount: what is changed there is changed around the mount.
make_base() {
	BASE=$SCRATCH/base LOWER=$SCRATCH/lower
	mkdir -p "$BASE/dir/sub/deep" "$BASE/empty" "$BASE/gone/below" "$BASE/moved/below" "$BASE/other" "$LOWER"
	echo old | tee "$BASE/content" "$BASE/same-size" "$BASE/mapped" "$BASE/replaced" "$BASE/renamed" "$BASE/exchanged" \
		"$BASE/removed" "$BASE/mode" "$BASE/attribute" "$BASE/linked" "$BASE/unlinked" "$BASE/typed" "$BASE/dir/file" \
		"$BASE/dir/sub/deep/file" "$BASE/gone/below/file" "$BASE/moved/below/file" "$BASE/other/file" >/dev/null
	ln "$BASE/unlinked" "$BASE/unlinked-2"
	ln -s old-target "$BASE/symlink"
	touch -d @1000000000 "$BASE/mode" "$BASE/dir/sub"
	fs_component thing "$BASE"
	mount --bind "$BASE" "$LOWER"
	fs_remember_mount "$LOWER"
}

# warm: the kernel knows all there is, and of some names that there is nothing.
warm() {
	local name file
	t find "$BASE" -ls >/dev/null
	t find "$BASE" -type f -exec cat {} + >/dev/null
	t ls -lR "$BASE" >/dev/null
	for name in created made linked-2 renamed-2 dir/created moved-2 other/below; do
		t stat "$BASE/$name" >/dev/null 2>&1 || :
	done
	t getfattr --absolute-names -d "$BASE/attribute" >/dev/null
	for file in mode dir; do t getfacl -pc "$BASE/$file" >/dev/null; done
	t readlink "$BASE/symlink" >/dev/null
}

# Each kind of change has two functions: one that makes it, around the mount; and one that is true when the mount shows it.
KINDS='content same_size mapped replaced renamed exchanged created removed made_directory removed_directory renamed_directory
mode directory_mode owner times attribute acl directory_acl linked unlinked symlink typed deep'

change_content() { echo longer than before >"$LOWER/content"; }
shows_content() { [ "$(t cat "$BASE/content")" = 'longer than before' ] && [ "$(t stat -c %s "$BASE/content")" = 19 ]; }
change_same_size() { printf 'NEW\n' | dd of="$LOWER/same-size" conv=notrunc status=none; }
shows_same_size() { [ "$(t cat "$BASE/same-size")" = NEW ]; }
# By a shared mapping that is let go of.
change_mapped() { tool mmap_write "$LOWER/mapped" 0 N >/dev/null; }
shows_mapped() { [ "$(t head -c 1 "$BASE/mapped")" = N ]; }
change_replaced() { echo new >"$LOWER/.x" && mv "$LOWER/.x" "$LOWER/replaced"; }
shows_replaced() { [ "$(t cat "$BASE/replaced")" = new ]; }
change_renamed() { mv "$LOWER/renamed" "$LOWER/renamed-2"; }
shows_renamed() { [ ! -e "$BASE/renamed" ] && [ "$(t cat "$BASE/renamed-2")" = old ]; }
change_exchanged() { echo two >"$LOWER/exchanged-2"; mv "$LOWER/exchanged" "$LOWER/.x"; mv "$LOWER/exchanged-2" "$LOWER/exchanged"; mv "$LOWER/.x" "$LOWER/exchanged-2"; }
shows_exchanged() { [ "$(t cat "$BASE/exchanged")" = two ] && [ "$(t cat "$BASE/exchanged-2")" = old ]; }
change_created() { echo new >"$LOWER/created"; echo new >"$LOWER/dir/created"; }
shows_created() {
	[ "$(t cat "$BASE/created" "$BASE/dir/created" 2>/dev/null)" = $'new\nnew' ] && t ls "$BASE" | grep -qx created
}
change_removed() { rm "$LOWER/removed"; }
shows_removed() { [ ! -e "$BASE/removed" ] && ! t ls "$BASE" | grep -qx removed; }
change_made_directory() { mkdir -p "$LOWER/made/in"; echo new >"$LOWER/made/in/file"; }
shows_made_directory() { [ "$(t cat "$BASE/made/in/file" 2>/dev/null)" = new ] && t ls "$BASE" | grep -qx made; }
change_removed_directory() { rm -r "$LOWER/gone"; }
shows_removed_directory() { [ ! -e "$BASE/gone/below/file" ] && [ ! -e "$BASE/gone" ]; }
change_renamed_directory() { mv "$LOWER/moved" "$LOWER/moved-2"; mv "$LOWER/moved-2/below" "$LOWER/other/below"; }
shows_renamed_directory() { [ "$(t cat "$BASE/other/below/file" 2>/dev/null)" = old ] && [ ! -e "$BASE/moved" ] && [ ! -e "$BASE/moved-2/below" ]; }
change_mode() { chmod 600 "$LOWER/mode"; }
shows_mode() { [ "$(t stat -c %a "$BASE/mode")" = 600 ]; }
change_directory_mode() { chmod 700 "$LOWER/dir"; }
shows_directory_mode() { [ "$(t stat -c %a "$BASE/dir")" = 700 ] && ! as_nobody ls "$BASE/dir" >/dev/null 2>&1; }
change_owner() { chown 12:34 "$LOWER/attribute"; }
shows_owner() { [ "$(t stat -c %u:%g "$BASE/attribute")" = 12:34 ]; }
change_times() { touch -d @1100000000 "$LOWER/dir/sub"; }
shows_times() { [ "$(t stat -c %Y "$BASE/dir/sub")" = 1100000000 ]; }
change_attribute() { setfattr -n user.note -v new "$LOWER/attribute"; }
shows_attribute() { [ "$(t getfattr --absolute-names --only-values -n user.note "$BASE/attribute" 2>/dev/null)" = new ]; }
change_acl() { setfacl -m u:65534:- "$LOWER/content"; }
shows_acl() { t getfacl -pc "$BASE/content" | grep -qx 'user:nobody:---' && ! as_nobody cat "$BASE/content" >/dev/null 2>&1; }
change_directory_acl() { setfacl -m d:u:65534:r-x "$LOWER/other"; }
shows_directory_acl() { t getfacl -pc "$BASE/other" | grep -qx 'default:user:nobody:r-x'; }
change_linked() { ln "$LOWER/linked" "$LOWER/linked-2"; }
shows_linked() { [ "$(t stat -c %h "$BASE/linked")" = 2 ] && [ "$BASE/linked-2" -ef "$BASE/linked" ]; }
change_unlinked() { rm "$LOWER/unlinked"; }
shows_unlinked() { [ "$(t stat -c %h "$BASE/unlinked-2")" = 1 ] && [ ! -e "$BASE/unlinked" ]; }
change_symlink() { ln -sfn new-target "$LOWER/symlink"; }
shows_symlink() { [ "$(t readlink "$BASE/symlink")" = new-target ]; }
change_typed() { rm "$LOWER/typed"; mkdir "$LOWER/typed"; echo in >"$LOWER/typed/in"; }
shows_typed() { [ "$(t cat "$BASE/typed/in" 2>/dev/null)" = in ]; }
change_deep() { echo changed >"$LOWER/dir/sub/deep/file"; echo new >"$LOWER/dir/sub/deep/.x"; rm "$LOWER/dir/sub/deep/.x"; }
shows_deep() { [ "$(t cat "$BASE/dir/sub/deep/file")" = changed ]; }

same_as_lower() { assert_same_tree "$1" "$LOWER" "$BASE"; }

# What the kernel does not know is asked for, refreshed or not.
case_unknown_is_fresh() {
	fs_setup
	make_base
	fs_mount thing "$BASE"
	local kind
	for kind in $KINDS; do change_$kind; done
	for kind in $KINDS; do shows_$kind || fail "$kind: an old state of what nobody has looked at before"; done
}

# What is changed by the name of a file is changed of the file that is there, also before the kernel knows that it is another one.
case_change_of_a_replaced_file() {
	fs_setup
	make_base
	fs_mount thing "$BASE" --io cached
	echo more >>"$BASE/replaced" # the daemon has it open now
	change_replaced
	must t chmod 604 "$BASE/replaced"
	must t setfattr -n user.note -v new "$BASE/replaced"
	assert_equal 604 "$(stat -c %a "$LOWER/replaced")" 'the mode in the base'
	assert_equal new "$(getfattr --absolute-names --only-values -n user.note "$LOWER/replaced")" 'the attribute in the base'
	shows_replaced || fail 'the old file is shown'
}

refresh_shows_all() {
	fs_setup
	make_base
	fs_mount thing "$BASE" --io "$1"
	local kind
	for kind in $KINDS; do
		warm
		change_$kind
		must v refresh thing
		shows_$kind || fail "$kind: not seen after refresh"
	done
	same_as_lower 'after a refresh for each'
	fs_umount thing "$BASE"
}
case_refresh_cached() { refresh_shows_all cached; }
case_refresh_passthrough() {
	fs_have_passthrough || { fs_setup; skip 'no passthrough here'; }
	refresh_shows_all passthrough
}

# All changes, then one refresh.
case_refresh_once() {
	fs_setup
	make_base
	fs_mount thing "$BASE"
	local kind stale=0
	warm
	for kind in $KINDS; do change_$kind; done
	for kind in $KINDS; do shows_$kind 2>/dev/null || stale=$((stale + 1)); done
	# Else this test shows nothing.
	[ $stale -gt 10 ] || fail "the kernel remembers too little: $stale old states"
	must v refresh thing
	for kind in $KINDS; do shows_$kind || fail "$kind: not seen after refresh"; done
	same_as_lower 'after one refresh'
}

# A name that a hard link was known by goes, and whoever is known by it stays; and the name that a file had before it was moved.
case_refresh_other_names() {
	fs_setup
	make_base
	fs_mount thing "$BASE"
	warm
	t ls -l "$BASE/unlinked-2" "$BASE/unlinked" >/dev/null
	t stat "$BASE/unlinked-2" >/dev/null
	rm "$LOWER/unlinked-2"
	mv "$LOWER/renamed" "$LOWER/first"
	t cat "$BASE/first" >/dev/null # known by both now
	must v refresh thing
	[ ! -e "$BASE/unlinked-2" ] || fail 'one of two hard links is still there'
	[ ! -e "$BASE/renamed" ] || fail 'the name is still there that a file had before'
	assert_content old "$BASE/first"
	same_as_lower 'other names'
}

# It goes on being what it was for those who have it open, where that can be had.
case_open_files() {
	fs_setup
	make_base
	fs_fill o 300000 >"$BASE/large"
	fs_fill o 300000 >"$BASE/walks"
	fs_mount thing "$BASE"
	t ls "$BASE/other" >/dev/null
	exec {large}<"$BASE/large" {walks}<"$BASE/walks" {sub}<"$BASE/dir/sub"
	t head -c 10 <&$large >/dev/null
	cd "$BASE/dir/sub"
	fs_fill n 300000 >"$LOWER/.x"
	mv "$LOWER/.x" "$LOWER/large"
	mv "$LOWER/walks" "$LOWER/other/walks"
	mv "$LOWER/dir/sub" "$LOWER/other/sub"
	must v refresh thing
	assert_equal 300000 "$(t tr -d -c n <"$BASE/large" | wc -c)" 'bytes of the new file'
	assert_equal 299990 "$(t tr -d -c o <&$large | wc -c)" 'bytes that an open file still had'
	assert_equal 0 "$(t stat -L -c %h /proc/self/fd/$large)" 'links of the old file'
	assert_equal 300000 "$(t tr -d -c o <&$walks | wc -c)" 'bytes of an open file that was moved'
	assert_content old deep/file
	t ls "$BASE/other" >/dev/null
	assert_equal "$BASE/other/sub" "$(t /bin/pwd -P)" 'the working directory that was moved'
	cd /
	exec {large}<&- {walks}<&- {sub}<&-
	# What is changed now is the new file.
	must t chmod 604 "$BASE/large"
	must t setfattr -n user.note -v new "$BASE/large"
	assert_equal 604 "$(stat -c %a "$LOWER/large")" 'the mode in the base'
	assert_equal new "$(getfattr --absolute-names --only-values -n user.note "$LOWER/large" 2>/dev/null)" 'the attribute in the base'
}

# Names that lead where they led keep what is mounted on them, and what was replaced loses it.
mounts_beneath() {
	fs_setup
	make_base
	fs_mount thing "$BASE" "${WATCH[@]}"
	warm
	local place
	for place in dir/sub empty; do
		t mount -t tmpfs none "$BASE/$place"
		fs_remember_mount "$BASE/$place"
	done
	t mount --bind "$SCRATCH" "$BASE/other"
	fs_remember_mount "$BASE/other"
	t mount --bind "$STORE/lock" "$BASE/mode"
	fs_remember_mount "$BASE/mode"
	change_directory_mode
	echo x >"$LOWER/dir/new"
	echo x >"$LOWER/dir/sub/new"
	chmod 711 "$LOWER/empty" "$LOWER/mode"
	rmdir "$LOWER/gone/below" 2>/dev/null || rm -r "$LOWER/gone/below"
	"$1"
	for place in dir/sub empty other mode; do
		t ls -lR "$BASE" >/dev/null 2>&1 || :
		fs_is_mounted "$BASE/$place" || fail "what was mounted on '$place' was taken off"
	done
	assert_content x "$BASE/dir/new"
	rm -r "$LOWER/dir"
	mkdir -p "$LOWER/dir/sub"
	"$1"
	t stat "$BASE/dir" >/dev/null
	! fs_is_mounted "$BASE/dir/sub" || fail 'a directory that is another one still has a mount beneath'
}
refresh_thing() { must v refresh thing; }
WATCH=()
case_mounts_stay() { mounts_beneath refresh_thing; }

# What is patched stays patched, and inherits from the base as that is now.
case_patched() {
	fs_setup
	make_base
	cp -a "$BASE" "$SCRATCH/new"
	echo patched >"$SCRATCH/new/content"
	rm "$SCRATCH/new/unlinked-2"
	fs_create thing -m 'the patch' --from "$SCRATCH/new" >/dev/null
	fs_mount thing "$BASE"
	exec {before}<"$BASE/content"
	must v apply thing
	warm
	assert_equal 1 "$(t stat -c %h "$BASE/unlinked")" 'links that the patch leaves'
	ln "$LOWER/unlinked" "$LOWER/unlinked-3"
	must v refresh thing
	assert_content patched "$BASE/content"
	[ ! -e "$BASE/unlinked-2" ] || fail 'what the patch deletes is there'
	assert_equal 2 "$(t stat -c %h "$BASE/unlinked")" 'links after one more was made'
	rm "$LOWER/unlinked-2" # which the patch hides
	must v refresh thing
	assert_equal 2 "$(t stat -c %h "$BASE/unlinked")" 'links after a hidden one was removed'
	assert_equal old "$(t cat <&$before)" 'the file from before the patch'
	exec {before}<&-
	must v revert thing
	same_as_lower 'after the revert'
}

case_answers() {
	fs_setup
	make_base
	assert_refused 1 'not mounted.*nothing to refresh' v refresh thing
	assert_refused 1 'nothing' v refresh nothing
	assert_refused 2 'NAME' v refresh
	fs_mount thing "$BASE"
	warm
	rm "$LOWER/removed"
	local json
	json=$(v refresh thing --json)
	assert_equal 'thing true true true true' "$(jq -r '"\(.name) \(.directories >= 10) \(.names >= 1) \(.files >= 15) \(.total_nanoseconds > 0)"' \
		<<<"$json")" 'what refresh --json says'
	assert_match '^thing  refreshed: [0-9]+ directories, [0-9]+ names?, [0-9]+ files in ' "$(v refresh thing)" 'what refresh says'
	assert_equal '' "$(v -q refresh thing)" 'what refresh -q says'
}

# Refreshed again and again while files are read, written, made and moved through the mount: nothing fails, and nothing hangs.
busy() {
	fs_setup
	make_base
	local i
	mkdir "$BASE/many"
	for i in $(seq 200); do echo "$i" >"$BASE/many/$i"; done
	fs_mount thing "$BASE" "$@"
	(
		for i in $(seq "$(fs_count 40 10)"); do
			t cat "$BASE"/many/* >/dev/null || exit 1
			t find "$BASE/many" "$BASE/dir" "$BASE/other" -ls >/dev/null || exit 1
		done
	) & local reader=$!
	(
		for i in $(seq "$(fs_count 200 40)"); do
			echo "$i" >"$BASE/w$i" && mv "$BASE/w$i" "$BASE/empty/w$i" && echo more >>"$BASE/empty/w$i" && mkdir "$BASE/d$i" &&
				[ "$(cat "$BASE/empty/w$i")" = "$i"$'\nmore' ] && ln "$BASE/empty/w$i" "$BASE/d$i/l" &&
				rm -r "$BASE/d$i" && rm "$BASE/empty/w$i" || exit 1
		done
	) & local writer=$!
	fs_remember_pid $reader; fs_remember_pid $writer
	while kill -0 $reader 2>/dev/null || kill -0 $writer 2>/dev/null; do must v refresh thing; done
	wait $reader || fail 'a reader failed'
	wait $writer || fail 'a writer failed'
	same_as_lower 'in the end'
}
case_busy() { busy; }
case_watch_busy() { busy --watch; }

# ---- with --watch ----

seen_soon() { fs_wait_for 5 shows_"$1" 2>/dev/null || fail "$1: not seen within five seconds"; }

watch_shows_all() {
	fs_setup
	make_base
	fs_mount thing "$BASE" --watch --io "$1"
	local kind
	for kind in $KINDS; do
		warm
		change_$kind
		seen_soon $kind
	done
	same_as_lower 'after each change'
	fs_umount thing "$BASE"
}
case_watch_cached() { watch_shows_all cached; }
case_watch_passthrough() {
	fs_have_passthrough || { fs_setup; skip 'no passthrough here'; }
	watch_shows_all passthrough
}

# All changes at once; and what nobody asks for while it is changed is right when it is asked for.
case_watch_at_once() {
	fs_setup
	make_base
	fs_mount thing "$BASE" --watch
	local kind
	warm
	for kind in $KINDS; do change_$kind; done
	for kind in $KINDS; do seen_soon $kind; done
	same_as_lower 'after all changes'
	assert_equal true "$(fs_status thing .watch)" 'watch in status'
	assert_equal null "$(fs_status thing .watch_problem)" 'the problem in status'
	assert_match '^watch: +yes$' "$(v status thing --verbose)" 'status as text'
}

watch_settled() {
	echo "$1" >"$LOWER/.settle" && sync "$LOWER/.settle"
	fs_wait_for 5 settle_is "$1" || fail 'a change is not seen'
}
settle_is() { [ "$(t cat "$BASE/.settle" 2>/dev/null)" = "$1" ]; }
refresh_nothing() { watch_settled "$RANDOM$RANDOM"; }
case_watch_mounts_stay() {
	WATCH=(--watch)
	mounts_beneath refresh_nothing
}

# What is made through the mount is noted, too: what is mounted on it at once stays, and it is not asked for for ever.
case_watch_own_changes() {
	fs_setup
	make_base
	fs_mount thing "$BASE" --watch
	local i before after
	warm
	for i in $(seq 20); do
		mkdir "$BASE/own$i"
		t mount -t tmpfs none "$BASE/own$i"
		fs_remember_mount "$BASE/own$i"
		echo x >"$BASE/f$i"
		mv "$BASE/f$i" "$BASE/g$i"
		t mount --bind "$STORE/lock" "$BASE/g$i"
		fs_remember_mount "$BASE/g$i"
	done
	watch_settled end
	for i in $(seq 20); do
		t stat "$BASE/own$i" "$BASE/g$i" >/dev/null
		fs_is_mounted "$BASE/own$i" || fail "what was mounted on a new directory ($i) was taken off"
		fs_is_mounted "$BASE/g$i" || fail "what was mounted on a new file ($i) was taken off"
	done
	# No notice leads to another one.
	warm
	watch_settled end2
	before=$(fs_status thing .notifications)
	sleep 1
	warm
	after=$(fs_status thing .notifications)
	[ $((after - before)) -le 10 ] || fail "$((after - before)) notices while nothing changed"
}

# A name that is right when it is told of: it went and came back.
case_watch_name_comes_back() {
	fs_setup
	make_base
	fs_mount thing "$BASE" --watch
	warm
	t mount -t tmpfs none "$BASE/empty"
	fs_remember_mount "$BASE/empty"
	t mount -t tmpfs none "$BASE/dir/sub"
	fs_remember_mount "$BASE/dir/sub"
	kill -STOP "$FS_DAEMON"
	mv "$LOWER/empty" "$LOWER/away" && mv "$LOWER/away" "$LOWER/empty"
	mv "$LOWER/dir" "$LOWER/away" && mv "$LOWER/away" "$LOWER/dir"
	kill -CONT "$FS_DAEMON"
	watch_settled end
	t ls -lR "$BASE" >/dev/null
	fs_is_mounted "$BASE/empty" || fail 'what was mounted on a directory was taken off'
	fs_is_mounted "$BASE/dir/sub" || fail 'what was mounted beneath a directory was taken off'
}

# Nothing was listed: what is known of a directory are names that were looked up.
case_watch_looked_up() {
	fs_setup
	make_base
	fs_mount thing "$BASE" --watch
	t cat "$BASE/dir/sub/deep/file" "$BASE/content" >/dev/null
	! t stat "$BASE/dir/created" 2>/dev/null || fail 'it is there already'
	change_deep; change_content; change_created
	seen_soon deep
	seen_soon content
	seen_soon created
}

# A directory that the kernel has forgotten is not watched any more, and is again when it is known again.
case_watch_forgotten() {
	fs_setup
	make_base
	fs_mount thing "$BASE" --watch
	warm
	watched() { fs_status thing .watched_directories; }
	[ "$(watched)" -ge 10 ] || fail "only $(watched) directories are watched"
	echo 2 >/proc/sys/vm/drop_caches
	few() { [ "$(watched)" -le 3 ]; }
	fs_wait_for 10 few || fail "$(watched) directories are still watched"
	warm
	change_deep
	seen_soon deep
}

# More changes than inotify notes: everything is asked for anew.
case_watch_overflow() {
	fs_setup
	make_base
	fs_mount thing "$BASE" --watch
	warm
	local i events
	events=$(cat /proc/sys/fs/inotify/max_queued_events)
	kill -STOP "$FS_DAEMON"
	mkdir "$LOWER/dir/many" 2>/dev/null
	tool make_tree "$LOWER/dir/sub/many" "$((events + 1000))" 2>/dev/null || for i in $(seq $((events / 2 + 1000))); do : >"$LOWER/dir/sub/f$i"; done
	change_content; change_renamed; change_created
	kill -CONT "$FS_DAEMON"
	for i in content renamed created; do seen_soon $i; done
}

# No more directories can be watched: it is said, and refresh shows what changed in the others. In a user namespace, which has a limit of
# its own.
case_watch_limit() {
	fs_setup
	unshare --user --map-root-user --mount true 2>/dev/null || skip 'no user namespaces'
	unshare --user --map-root-user --mount bash -c 'echo 3 >/proc/sys/user/max_inotify_watches' 2>/dev/null || skip 'no limit to be set'
	timeout 60 unshare --user --map-root-user --mount bash "$0" --limited "$SCRATCH" || fail 'see above'
}

limited() {
	set -eE
	SCRATCH=$1
	STORE=$SCRATCH/store FS_MOUNTS=$SCRATCH/.inner FS_PIDS=$SCRATCH/.pids FS_LOG=$SCRATCH/daemon.log
	make_base
	fs_mount thing "$BASE" --watch
	echo 6 >/proc/sys/user/max_inotify_watches
	warm
	assert_match 'max_user_watches' "$(fs_status thing .watch_problem)" 'the problem in status'
	assert_match 'watch problem: .*max_user_watches' "$(v status thing)" 'status as text'
	grep -q 'raise fs.inotify.max_user_watches' "$FS_LOG" || fail 'the log does not say that the limit is reached'
	change_deep
	must v refresh thing
	shows_deep || fail 'not seen after refresh'
	assert_match 'max_user_watches' "$(fs_status thing .watch_problem)" 'the problem in status, still'
	echo 1000 >/proc/sys/user/max_inotify_watches
	must v refresh thing
	assert_equal null "$(fs_status thing .watch_problem)" 'the problem in status, when there is room'
	change_directory_mode; change_times; change_deep
	seen_soon times; seen_soon deep
	must v umount thing
}

# Without --watch nothing is watched.
case_watch_not_asked_for() {
	fs_setup
	make_base
	fs_mount thing "$BASE"
	warm
	assert_equal false "$(fs_status thing .watch)" 'watch in status'
	[ -z "$(grep -l inotify /proc/"$FS_DAEMON"/fdinfo/* 2>/dev/null | while read -r i; do grep -c . "$i"; done | sort -n | awk '$1 > 12')" ] ||
		fail 'more is watched than the store'
}

if [ "${1-}" = --limited ]; then
	limited "$2"
	exit 0
fi
fs_main "$@"
