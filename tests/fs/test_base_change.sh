#!/bin/bash
# A newer base wins: what the package manager does to patched paths through the mount, and what becomes of the patches.
. "$(dirname "$0")/lib.sh"

# make_component: `thing` on $BASE, 1.0, mounted, with patch a applied, which changes one and two, adds added and dir/in, removes
# gone, and repoints the symlink link.
make_component() {
	BASE=$SCRATCH/base
	LOWER=$SCRATCH/lower
	NEXT=$SCRATCH/next
	mkdir -p "$BASE/sub" "$LOWER"
	printf 'one\n' >"$BASE/one"
	printf 'two\n' >"$BASE/two"
	printf 'gone\n' >"$BASE/gone"
	printf 'beside\n' >"$BASE/beside"
	ln -s one "$BASE/link"
	printf 'deep\n' >"$BASE/sub/deep"
	fs_component thing "$BASE" --base-version 1.0
	cp -a "$BASE" "$NEXT"
	printf 'one, patched\n' >"$NEXT/one"
	printf 'two, patched\n' >"$NEXT/two"
	printf 'added\n' >"$NEXT/added"
	chmod 640 "$NEXT/added"
	mkdir "$NEXT/dir"
	printf 'in\n' >"$NEXT/dir/in"
	rm "$NEXT/gone"
	ln -sf two "$NEXT/link"
	assert_equal a "$(fs_create thing -m 'the first' --fixes CVE-2026-1 --from "$NEXT")" 'its label'
	# The base by another path, from before the mount.
	mount --bind "$BASE" "$LOWER"
	fs_remember_mount "$LOWER"
}

start() {
	fs_setup
	make_component
	fs_mount thing "$BASE" "$@"
	must v apply thing
	assert_content 'one, patched' "$BASE/one"
}

state_of() { fs_status thing ".patches[] | select(.label == \"$1\") | .state"; }
state_is() { [ "$(state_of "$1")" = "$2" ]; }
await_state() { fs_wait_for 20 state_is "$1" "$2" || fail "patch $1 is $(state_of "$1"), not $2"; }

# The mount shows the base and nothing else.
assert_bare() { assert_same_tree 'the bare base' "$LOWER" "$BASE"; }

# replace NAME TEXT: as dpkg does it: a new file beside, a backup by a hard link, a rename over, the backup gone.
replace() {
	printf '%s\n' "$2" >"$BASE/$1.dpkg-new"
	if [ -L "$BASE/$1" ]; then
		must t ln -s "$(readlink "$BASE/$1")" "$BASE/$1.dpkg-tmp"
	elif [ -e "$BASE/$1" ]; then
		must t ln "$BASE/$1" "$BASE/$1.dpkg-tmp"
	fi
	must t mv -f "$BASE/$1.dpkg-new" "$BASE/$1"
	assert_content "$2" "$BASE/$1"
	t rm -f "$BASE/$1.dpkg-tmp"
}

case_replaced_file_retires_the_whole_patch() {
	start
	local before
	before=$(v log thing --json | jq -r '.[0].commit // .[0].id')
	replace one 'one of 2.0'
	await_state a retired
	assert_bare
	assert_content two "$BASE/two"
	assert_equal '1.0' "$(fs_status thing .version_label)" 'the version'
	assert_equal "$(fs_ref thing/base)" "$(fs_ref thing/active)" 'what is active'
	assert_equal retired "$(v log thing --json | jq -r '.[0].action')" 'the journal'
	assert_match "a: the base has something else at 'one'" "$(v log thing --json | jq -r '.[0].reason')" 'its reason'
	assert_match 'mv' "$(v log thing --json | jq -r '.[0].actor.command // .[0].command')" 'who did it'
	assert_match "something else at 'one'" "$(fs_status thing '.patches[0].reason')" 'the reason in status'
	assert_match 'mv' "$(fs_status thing '.patches[0].retired_by')" 'who did it, in status'
	assert_match '^20[0-9-]*T' "$(fs_status thing '.patches[0].retired_at')" 'when, in status'
	assert_match 'make a new patch' "$(v status thing)" 'what to do'
	# It is not served again: not by apply, not by git, not by the next mount.
	assert_refused 1 "something else at 'one'" v apply thing a
	must g update-ref refs/veneer/thing/active refs/veneer/thing/patches/a
	refused() { [[ $(fs_status thing .health) == refused:* ]]; }
	fs_wait_for 20 refused || fail "a commit that does not fit was not refused: $(fs_status thing .health)"
	assert_bare
	fs_umount thing "$BASE"
	fs_mount thing "$BASE"
	assert_bare
	assert_equal "$(fs_ref thing/base)" "$(fs_ref thing/active)" 'what is active after the next mount'
}

case_removed_file_retires() {
	start
	must t rm "$BASE/two"
	[ ! -e "$BASE/two" ] || fail 'two is still there'
	await_state a retired
	assert_bare
}

# Whatever kind of path of a patch is replaced or removed, the base is seen there at once, and all of it in the end.
each_kind() {
	local what=$1
	shift
	start
	"$@"
	await_state a retired
	assert_bare
	echo "ok $what"
	fs_umount thing "$BASE"
}

replace_added() { replace added 'of 2.0'; }
replace_in_added_directory() { replace dir/in 'of 2.0'; }
new_in_added_directory() {
	# Beside a file of the patch: the base gets the directory, and the patch is none the worse.
	printf 'mine\n' >"$BASE/dir/mine"
	assert_content mine "$LOWER/dir/mine"
	assert_content in "$BASE/dir/in"
	assert_equal applied "$(state_of a)" 'the patch'
	replace one 'one of 2.0'
}
make_deleted() {
	printf 'made\n' >"$BASE/gone"
	assert_content made "$BASE/gone"
}
rename_to_deleted() {
	printf 'moved\n' >"$BASE/gone.new"
	must t mv -n "$BASE/gone.new" "$BASE/gone"
	assert_content moved "$BASE/gone"
}
mkdir_deleted() {
	must t mkdir "$BASE/gone"
	[ -d "$BASE/gone" ] || fail 'no directory'
}
relink() {
	must t ln -sfn beside "$BASE/link"
	assert_equal beside "$(readlink "$BASE/link")" 'the symlink'
}
remove_added() {
	must t rm "$BASE/added"
	[ ! -e "$BASE/added" ] || fail 'added is still there'
}
remove_added_directory() {
	must t rm -r "$BASE/dir"
	[ ! -e "$BASE/dir" ] || fail 'dir is still there'
}

case_kind_added() { each_kind 'a file that the patch adds' replace_added; }
case_kind_in_added_directory() { each_kind 'a file in a directory that the patch adds' replace_in_added_directory; }
case_kind_beside_in_added_directory() { each_kind 'another file there' new_in_added_directory; }
case_kind_deleted_made() { each_kind 'a file that the patch deletes, made' make_deleted; }
case_kind_deleted_renamed() { each_kind 'the same, renamed to' rename_to_deleted; }
case_kind_deleted_directory() { each_kind 'the same, as a directory' mkdir_deleted; }
case_kind_symlink() { each_kind 'a symlink' relink; }
case_kind_added_removed() { each_kind 'a file that the patch adds, removed' remove_added; }
case_kind_added_directory_removed() { each_kind 'a directory that the patch adds, removed' remove_added_directory; }

# The newer base has what the patch has: nothing is left of it, and nothing is seen of that.
case_absorbed() {
	start
	replace one 'one, patched'
	assert_content 'two, patched' "$BASE/two"
	assert_equal applied "$(state_of a)" 'while the base has but a part of it'
	replace two 'two, patched'
	printf 'added\n' >"$BASE/added.dpkg-new"
	chmod 640 "$BASE/added.dpkg-new" # its metadata is part of the patch
	must t mv -f "$BASE/added.dpkg-new" "$BASE/added"
	must t mkdir -p "$BASE/dir"
	replace dir/in in
	must t ln -sfn two "$BASE/link"
	# What the patch deletes is deleted in the base by nobody: around the mount then.
	rm "$LOWER/gone"
	printf 'two, patched\n' >"$BASE/two.new"
	must t mv "$BASE/two.new" "$BASE/two"
	await_state a absorbed
	assert_bare
	assert_content 'one, patched' "$BASE/one"
	assert_equal absorbed "$(v log thing --json | jq -r '.[0].action')" 'the journal'
	assert_equal 1.0 "$(fs_status thing .version_label)" 'the version'
	assert_refused 1 'has all of it already' v apply thing a
}

# The same version again: the patch goes on.
case_reinstalled() {
	start
	local tries
	for tries in 1 2 3; do
		printf 'one\n' >"$BASE/one.new"
		must t mv "$BASE/one.new" "$BASE/one"
		patched() { [ "$(cat "$BASE/one")" = 'one, patched' ]; }
		fs_wait_for 20 patched || fail "the patch is not served again ($tries): $(cat "$BASE/one")"
	done
	assert_equal applied "$(state_of a)" 'the patch'
	assert_content one "$LOWER/one"
}

case_written_in_place() {
	start
	local file
	exec 5<"$BASE/one"
	for file in one added dir/in; do
		if (echo x >"$BASE/$file") 2>/dev/null; then fail "writing '$file' in place succeeded"; fi
		if (echo x >>"$BASE/$file") 2>/dev/null; then fail "appending to '$file' succeeded"; fi
		assert_errno EROFS t chmod 600 "$BASE/$file"
		assert_errno EROFS t chown 1 "$BASE/$file"
		assert_errno EROFS t touch "$BASE/$file"
		assert_errno EROFS t truncate -s 0 "$BASE/$file"
		assert_errno EROFS t setfattr -n user.x -v 1 "$BASE/$file"
		assert_errno EROFS t mv "$BASE/$file" "$BASE/elsewhere"
	done
	assert_content 'one, patched' "$BASE/one"
	assert_equal 'one, patched' "$(cat <&5)" 'an open file'
	exec 5<&-
	assert_equal applied "$(state_of a)" 'the patch'
	fs_wait_for 10 grep -q 'cannot be written in place' "$FS_LOG" || fail 'nothing is said of it in the log'
	# Once a minute at most, with the label, and what to do.
	assert_equal 1 "$(grep -c 'cannot be written in place' "$FS_LOG")" 'lines in the log'
	assert_match "'one' is patched \(a\).*veneer revert thing a" "$(grep 'cannot be written in place' "$FS_LOG")" 'the line'
}

# A backup by a hard link is the base's own file: what is put back is what was there.
case_backup_by_link() {
	start
	must t ln "$BASE/one" "$BASE/one.bak"
	assert_content one "$BASE/one.bak"
	assert_content 'one, patched' "$BASE/one"
	must t ln "$BASE/added" "$BASE/added.bak"
	assert_content added "$BASE/added.bak"
	assert_equal 640 "$(stat -c %a "$BASE/added.bak")" 'mode of the copy'
	must t mv -f "$BASE/one.bak" "$BASE/one" # dpkg puts it back
	patched() { [ "$(cat "$BASE/one")" = 'one, patched' ]; }
	fs_wait_for 20 patched || fail "the patch is not served again: $(cat "$BASE/one")"
	assert_content one "$LOWER/one"
	must t rm "$BASE/added.bak"
}

# What was open when it was replaced stays what it was.
case_open_files() {
	start
	exec 5<"$BASE/one" 6<"$BASE/two"
	replace one 'one of 2.0'
	await_state a retired
	assert_equal 'one, patched' "$(cat <&5)" 'the open file that was replaced'
	assert_equal 'two, patched' "$(cat <&6)" 'the open file of the rest of the patch'
	exec 5<&- 6<&-
}

case_hold() {
	start
	must v policy set thing base-change hold
	replace_held() {
		printf 'one of 2.0\n' >"$BASE/one.new"
		must t mv "$BASE/one.new" "$BASE/one"
	}
	replace_held
	assert_content 'one of 2.0' "$LOWER/one"
	held() { [ "$(cat "$BASE/one")" = 'one, patched' ]; }
	fs_wait_for 20 held || fail "the patch does not hold: $(cat "$BASE/one")"
	health() { [[ $(fs_status thing .health) == "hold: the base has something else at 'one'"* ]]; }
	fs_wait_for 20 health || fail "status does not say so: $(fs_status thing .health)"
	assert_equal applied "$(state_of a)" 'the patch'
	# Over another mount too, and by apply.
	fs_umount thing "$BASE"
	fs_mount thing "$BASE"
	assert_content 'one, patched' "$BASE/one"
	must v revert thing
	assert_content 'one of 2.0' "$BASE/one"
	must v apply thing a
	assert_content 'one, patched' "$BASE/one"
	# A change of mind: the newer base wins with the next change.
	must v policy set thing base-change retire
	must t rm "$BASE/two"
	await_state a retired
	assert_bare
}

case_fail() {
	start
	must v policy set thing base-change fail
	printf 'one of 2.0\n' >"$BASE/one.new"
	assert_errno EROFS t mv "$BASE/one.new" "$BASE/one"
	assert_errno EROFS t rm "$BASE/two"
	assert_errno EROFS t rm "$BASE/added"
	assert_content 'one, patched' "$BASE/one"
	fs_umount thing "$BASE"
	printf 'one of 2.0\n' >"$BASE/one"
	assert_refused 1 'its policy is to fail' v mount thing
	! fs_is_mounted "$BASE" || fail 'it is mounted'
	must v policy set thing base-change retire
	fs_mount thing "$BASE"
	assert_bare
	assert_equal retired "$(state_of a)" 'the patch'
}

case_policy_command() {
	fs_setup
	make_component
	assert_equal retire "$(v policy show thing --json | jq -r .base_change)" 'the default'
	must v policy set thing base-change hold
	assert_equal hold "$(v policy show thing --json | jq -r .base_change)" 'what was set'
	assert_refused 2 'retire' v policy set thing base-change perhaps
	assert_refused 2 "there is no key 'x'" v policy set thing x y
	assert_refused 2 "'show' or 'set'" v policy tell thing
	assert_refused 1 "there is no component 'other'" v policy show other
	printf 'base-change sometimes\n' >"$STORE/policy/thing"
	assert_refused 1 "policy/thing', line 1" v policy show thing
	printf '# a fleet says so\n\n  base-change fail  # since spring\n' >"$STORE/policy/thing"
	assert_equal fail "$(v policy show thing --json | jq -r .base_change)" 'a file that was dropped in'
}

# While nothing is mounted the base is upgraded: the next mount, or switch, sees it.
case_changed_while_unmounted() {
	start
	fs_umount thing "$BASE"
	printf 'one of 2.0\n' >"$BASE/one"
	fs_mount thing "$BASE"
	assert_bare
	assert_equal retired "$(state_of a)" 'the patch'
	assert_match 'found at the mount' "$(v log thing --json | jq -r '.[0].reason')" 'the journal'
	fs_umount thing "$BASE"
	assert_refused 1 "something else at 'one'" v apply thing a
}

case_unmounted_switches() {
	fs_setup
	make_component
	must v apply thing
	rm -rf "$NEXT"
	cp -a "$BASE" "$NEXT"
	printf 'beside, patched\n' >"$NEXT/beside"
	assert_equal b "$(fs_create thing -m 'the second' --from "$NEXT")" 'its label'
	printf 'one of 2.0\n' >"$BASE/one"
	# The one that fits goes on, the other one goes.
	must v apply thing b
	assert_equal '1.0 (b)' "$(fs_status thing .version_label)" 'the version'
	assert_equal retired "$(state_of a)" 'the first'
	assert_equal applied "$(state_of b)" 'the second'
}

# Around the mount the base is upgraded: seen after refresh, and at once where the base is watched.
case_changed_around() {
	start
	printf 'one of 2.0\n' >"$LOWER/one.new"
	mv "$LOWER/one.new" "$LOWER/one"
	must v refresh thing
	assert_equal retired "$(state_of a)" 'the patch, when refresh has returned'
	assert_bare
	assert_match 'found by refresh' "$(v log thing --json | jq -r '.[0].reason')" 'the journal'
	assert_match 'refresh thing' "$(fs_status thing '.patches[0].retired_by')" 'who found it'
}

case_changed_around_watched() {
	start --watch
	cat "$BASE/one" "$BASE/sub/deep" >/dev/null
	printf 'one of 2.0\n' >"$LOWER/one.new"
	mv "$LOWER/one.new" "$LOWER/one"
	await_state a retired
	assert_bare
	must v refresh thing
	assert_bare
}

# Changed around the mount, and not refreshed: found by the next switch all the same.
case_changed_around_and_applied() {
	start
	must v revert thing
	printf 'one of 2.0\n' >"$LOWER/one"
	assert_refused 1 "something else at 'one'" v apply thing
}

# Nobody but us takes the store's lock, for $1 seconds: what the daemon would do has to wait.
hold_lock() {
	(
		flock 9
		: >"$SCRATCH/locked"
		sleep "$1"
	) 9>"$STORE/lock" &
	HOLDER=$!
	fs_remember_pid $HOLDER
	fs_wait_for 10 test -e "$SCRATCH/locked" || fail 'the lock is not to be had'
	rm "$SCRATCH/locked"
}

# What the base has shown is never hidden again, nor does what was removed come back, whoever publishes a view meanwhile.
never_back() {
	start "$@"
	cat "$BASE/one" "$BASE/sub/deep" >/dev/null
	hold_lock 3
	printf 'one of 2.0\n' >"$BASE/one.new"
	must t mv "$BASE/one.new" "$BASE/one"
	must t rm "$BASE/added"
	while kill -0 $HOLDER 2>/dev/null; do
		assert_content 'one of 2.0' "$BASE/one"
		[ ! -e "$BASE/added" ] || fail 'what was removed is back'
	done
	await_state a retired
	assert_bare
}

case_never_back() { never_back; }
case_never_back_watched() { never_back --watch; }

# The same where the removal is all there is, and a refresh comes before the thread that follows the base.
case_removal_is_not_lost() {
	start --watch
	ls "$BASE" >/dev/null
	hold_lock 2
	must t rm "$BASE/added"
	printf 'one\n' >"$BASE/one.new"
	must t mv "$BASE/one.new" "$BASE/one" # the same bytes: that alone would leave the patch
	must v refresh thing
	[ ! -e "$BASE/added" ] || fail 'what was removed is back'
	await_state a retired
	assert_bare
	assert_match "'added' was removed" "$(fs_status thing '.patches[0].reason')" 'the reason'
	assert_match '^rm |refresh thing' "$(fs_status thing '.patches[0].retired_by') " 'who did it, or found it'
	# It is the base's no more than before: to apply it again is for somebody to decide.
	must v apply thing a
	assert_content added "$BASE/added"
	assert_equal applied "$(state_of a)" 'the patch, applied again'
}

bare_again() { ! fs_is_mounted "$BASE"; }

# The daemon dies before anything of it is written down: the next mount finds it.
case_killed_before_it_is_written_down() {
	start
	hold_lock 3
	printf 'one of 2.0\n' >"$BASE/one.new"
	must t mv "$BASE/one.new" "$BASE/one"
	assert_content 'one of 2.0' "$BASE/one"
	kill -KILL "$FS_DAEMON"
	wait "$FS_DAEMON" || :
	assert_equal applied "$(v log thing --json | jq -r '.[0].action')" 'the journal'
	fs_wait_for 5 bare_again || fail 'the dead mount stays'
	wait $HOLDER
	fs_mount thing "$BASE"
	assert_bare
	assert_equal retired "$(state_of a)" 'the patch'
	assert_equal retired "$(v log thing --json | jq -r '.[0].action')" 'the journal'
	must t git -C "$STORE/git" fsck --strict
}

# While the ref names what is refused, a change takes off what is served all the same; and it stays off when the ref comes back.
case_changed_while_refused() {
	start
	local bad good
	bad=$(g commit-tree -m bad "$(g rev-parse "refs/veneer/thing/base^{tree}")")
	good=$(fs_ref thing/active)
	must g update-ref refs/veneer/thing/active "$bad"
	refused() { [[ $(fs_status thing .health) == refused:* ]]; }
	fs_wait_for 20 refused || fail "it was not refused: $(fs_status thing .health)"
	assert_content 'two, patched' "$BASE/two"
	printf 'one of 2.0\n' >"$BASE/one.new"
	must t mv "$BASE/one.new" "$BASE/one"
	assert_content 'one of 2.0' "$BASE/one"
	bare() { [ "$(cat "$BASE/two")" = two ] && [ ! -e "$BASE/added" ]; }
	fs_wait_for 20 bare || fail "half of the patch is served: $(cat "$BASE/two")"
	must g update-ref refs/veneer/thing/active "$good"
	sleep 1.5
	assert_bare
	assert_refused 1 "something else at 'one'" v apply thing a
	assert_equal retired "$(state_of a)" 'the patch'
}

# The patch is off at once, also where it cannot be written down; that is done when it can be.
case_journal_cannot_be_written() {
	start
	chattr +i "$STORE/git/refs/veneer/thing/journal" 2>/dev/null || skip 'no immutable files on this filesystem'
	printf 'one of 2.0\n' >"$BASE/one.new"
	must t mv "$BASE/one.new" "$BASE/one"
	bare() { [ "$(cat "$BASE/two")" = two ] && [ ! -e "$BASE/added" ]; }
	if ! fs_wait_for 20 bare; then
		chattr -i "$STORE/git/refs/veneer/thing/journal"
		fail "half of the patch is served: $(cat "$BASE/two")"
	fi
	chattr -i "$STORE/git/refs/veneer/thing/journal"
	await_state a retired
	settled() { [ "$(fs_status thing .health)" = ok ] && [ "$(v log thing --json | jq -r '.[0].action')" = retired ]; }
	fs_wait_for 20 settled || fail "it was not written down: $(fs_status thing .health), $(v log thing --json | jq -r '.[0].action')"
	assert_bare
}

# Where the store cannot be locked at all, that is said; and what is late is done as soon as it can be.
case_store_cannot_be_locked() {
	start
	must mv "$STORE/lock" "$SCRATCH/lock"
	must mkdir "$STORE/lock"
	printf 'one of 2.0\n' >"$BASE/one.new"
	must t mv "$BASE/one.new" "$BASE/one"
	assert_content 'one of 2.0' "$BASE/one"
	said() { grep -q "could not be compared with it: store .*lock 'lock'" "$FS_LOG"; }
	fs_wait_for 20 said || fail "nothing was said: $(tail -n 3 "$FS_LOG")"
	must rmdir "$STORE/lock"
	must mv "$SCRATCH/lock" "$STORE/lock"
	await_state a retired
	assert_bare
}

# The file that a patch hides has another name, or is open from before: it is written in place.
case_hidden_file_is_written() {
	fs_setup
	make_component
	ln "$LOWER/two" "$LOWER/another"
	fs_mount thing "$BASE"
	exec 5<>"$BASE/one"
	must v apply thing
	printf 'two of 2.0\n' >"$BASE/another"
	await_state a retired
	assert_content 'two of 2.0' "$BASE/two"
	assert_bare
	printf 'two\n' >"$BASE/another"
	must v apply thing a
	assert_content 'one, patched' "$BASE/one"
	printf 'one of 2.0\n' >&5
	exec 5<&-
	await_state a retired
	assert_content 'one of 2.0' "$BASE/one"
	assert_bare
}

# What cannot be made leaves the base as it was, the file that the patch has deleted included.
case_failed_creation() {
	start
	: >"$LOWER/fixed"
	chattr +i "$LOWER/fixed" 2>/dev/null || skip 'no immutable files on this filesystem'
	if t ln "$BASE/fixed" "$BASE/gone" 2>/dev/null; then
		chattr -i "$LOWER/fixed"
		fail 'a link of an immutable file was made'
	fi
	chattr -i "$LOWER/fixed"
	assert_content gone "$LOWER/gone"
	assert_equal '' "$(ls -A "$LOWER" | grep '^\.veneer' || :)" 'what is left behind'
	must v revert thing
	assert_content gone "$BASE/gone"
}

# A directory of which the patch has deleted all that was in it looks empty, and can be removed.
case_emptied_directory() {
	fs_setup
	make_component
	rm "$NEXT/sub/deep"
	assert_equal b "$(fs_create thing -m 'empties it' --supersedes a --from "$NEXT")" 'its label'
	fs_mount thing "$BASE"
	must v apply thing b
	assert_equal '' "$(ls -A "$BASE/sub")" 'what is in it'
	must t rmdir "$BASE/sub"
	[ ! -e "$BASE/sub" ] || fail 'it is still there'
	[ ! -e "$LOWER/sub" ] || fail 'it is in the base'
	# The base has come nearer to the patch, which goes on.
	must v refresh thing
	assert_equal applied "$(state_of b)" 'the patch'
	[ ! -e "$BASE/sub" ] || fail 'it is back'
}

# The health of what is held comes back when a ref that was refused does.
case_hold_and_refused() {
	start
	must v policy set thing base-change hold
	printf 'one of 2.0\n' >"$BASE/one.new"
	must t mv "$BASE/one.new" "$BASE/one"
	health() { [[ $(fs_status thing .health) == "$1"* ]]; }
	fs_wait_for 20 health hold: || fail "it is not held: $(fs_status thing .health)"
	local good
	good=$(fs_ref thing/active)
	must g update-ref refs/veneer/thing/active "$(g commit-tree -m bad "$(g rev-parse "refs/veneer/thing/base^{tree}")")"
	fs_wait_for 20 health refused: || fail "it was not refused: $(fs_status thing .health)"
	must g update-ref refs/veneer/thing/active "$good"
	fs_wait_for 20 health hold: || fail "what is held is not said any more: $(fs_status thing .health)"
	must v policy set thing base-change fail
	must v refresh thing
	fs_wait_for 20 health fail: || fail "by the other policy: $(fs_status thing .health)"
	assert_content 'one, patched' "$BASE/one"
}

# Of two patches the one goes whose base has changed.
case_the_other_stays() {
	fs_setup
	make_component
	rm -rf "$NEXT"
	cp -a "$BASE" "$NEXT"
	printf 'beside, patched\n' >"$NEXT/beside"
	assert_equal b "$(fs_create thing -m 'the second' --from "$NEXT")" 'its label'
	fs_mount thing "$BASE"
	must v apply thing a b
	replace two 'two of 2.0'
	await_state a retired
	assert_equal applied "$(state_of b)" 'the second'
	assert_content 'beside, patched' "$BASE/beside"
	assert_content one "$BASE/one"
	assert_equal '1.0 (b)' "$(fs_status thing .version_label)" 'the version'
	assert_equal "$(v log thing --json | jq -r '.[0].labels')" b 'the journal'
}

# The base of today gets patches of its own, beside the old ones; apply picks by base version.
case_patches_for_a_newer_base() {
	start
	replace one 'one of 2.0'
	await_state a retired
	rm -rf "$NEXT"
	cp -a "$LOWER" "$NEXT"
	printf 'one of 2.0, patched\n' >"$NEXT/one"
	assert_refused 1 'has changed since it was recorded' v create thing -m 'too early' --from "$NEXT"
	must v add thing "$BASE" --base-version 2.0
	assert_refused 1 'declared already' v add thing "$BASE" --base-version 2.0
	assert_equal 2.0 "$(fs_status thing .version_label)" 'the version'
	assert_equal rebased "$(v log thing --json | jq -r '.[0].action')" 'the journal'
	assert_refused 1 "no patch for its base version '2.0'" v apply thing
	assert_refused 1 "made for another base, 1.0" v apply thing a
	assert_equal b "$(fs_create thing -m 'for 2.0' --from "$NEXT")" 'its label'
	must v apply thing
	assert_equal '2.0 (b)' "$(fs_status thing .version_label)" 'the version'
	assert_content 'one of 2.0, patched' "$BASE/one"
	assert_equal '1.0 2.0' "$(fs_status thing '.patches | map(.base_version) | join(" ")')" 'which patch is for which base'
	assert_match 'it was made for 1.0' "$(v status thing)" 'status'
	must v revert thing
	assert_bare
	must t git -C "$STORE/git" fsck --strict
}

# real packages, dpkg, and readers that open all the time: no open fails.
make_package() {
	local tree=$SCRATCH/package
	rm -rf "$tree"
	mkdir -p "$tree/DEBIAN" "$tree/opt/thing/lib"
	printf 'Package: thing\nVersion: %s\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: t\n' "$1" >"$tree/DEBIAN/control"
	local i
	for i in 1 2 3 4 5 6 7 8; do printf '%s of %s\n' "$i" "$2" >"$tree/opt/thing/lib/f$i"; done
	ln -s f1 "$tree/opt/thing/lib/current"
	chmod 4755 "$tree/opt/thing/lib/f8"
	must dpkg-deb --root-owner-group -b "$tree" "$SCRATCH/thing_$1.deb"
}

d() { t dpkg --root="$IMAGE" --force-not-root --force-bad-path --log=/dev/null "$@"; }

read_all() {
	local errors=0 i
	while [ ! -e "$SCRATCH/stop" ]; do
		for i in 1 2 3 4 5 6 7 8; do
			cat "$DIR/f$i" >/dev/null 2>>"$SCRATCH/reader-errors" || errors=$((errors + 1))
		done
	done
	echo $errors >"$SCRATCH/reader"
}

dpkg_case() {
	local state=$1 patched=$2 reader
	fs_setup
	command -v dpkg-deb >/dev/null || skip 'no dpkg here'
	IMAGE=$SCRATCH/image DIR=$SCRATCH/image/opt/thing/lib
	mkdir -p "$IMAGE/var/lib/dpkg/info" "$IMAGE/var/lib/dpkg/updates"
	: >"$IMAGE/var/lib/dpkg/status"
	make_package 1.0 base
	make_package 1.1 "$patched"
	make_package 2.0 newer
	must d -i "$SCRATCH/thing_1.0.deb"
	fs_component thing "$DIR" --root "$IMAGE" --base-version 1.0
	assert_equal a "$(fs_create thing -m 'the fix' --deb "$SCRATCH/thing_1.1.deb")" 'its label'
	fs_mount thing "$DIR"
	must v apply thing
	assert_content "1 of $patched" "$DIR/f1"
	read_all &
	reader=$!
	fs_remember_pid $reader
	must d -i "$SCRATCH/thing_$3.deb"
	sleep 0.2
	: >"$SCRATCH/stop"
	wait $reader
	assert_equal 0 "$(cat "$SCRATCH/reader")" "opens that failed ($(head -n 3 "$SCRATCH/reader-errors"))"
	await_state a "$state"
	local i
	for i in 1 2 3 4 5 6 7; do assert_content "$i of $4" "$DIR/f$i"; done
	assert_match 'dpkg' "$(v log thing --json | jq -r '.[0].reason + " " + (.[0].actor.command // .[0].command)')" 'the journal names dpkg'
	assert_equal '' "$(d --verify thing)" 'dpkg --verify'
	[ -z "$(find "$DIR" -name '*.dpkg-*')" ] || fail "dpkg left something behind: $(ls "$DIR")"
	must d -r thing
	[ ! -e "$DIR/f1" ] || fail 'f1 is still there'
	fs_umount thing "$DIR"
}

case_dpkg_installs_a_newer_version() { dpkg_case retired fixed 2.0 newer; }
case_dpkg_installs_what_the_patch_has() { dpkg_case absorbed fixed 1.1 fixed; }

# The package goes while its patch is applied, a set-id file among its files.
case_dpkg_removes() {
	fs_setup
	command -v dpkg-deb >/dev/null || skip 'no dpkg here'
	IMAGE=$SCRATCH/image DIR=$SCRATCH/image/opt/thing/lib
	mkdir -p "$IMAGE/var/lib/dpkg/info" "$IMAGE/var/lib/dpkg/updates"
	: >"$IMAGE/var/lib/dpkg/status"
	make_package 1.0 base
	make_package 1.1 fixed
	must d -i "$SCRATCH/thing_1.0.deb"
	: >"$DIR/stays"
	fs_component thing "$DIR" --root "$IMAGE" --base-version 1.0
	assert_equal a "$(fs_create thing -m 'the fix' --deb "$SCRATCH/thing_1.1.deb")" 'its label'
	fs_mount thing "$DIR"
	must v apply thing
	must d -r thing
	assert_equal stays "$(ls "$DIR")" 'what is left'
	await_state a retired
}

fs_main "$@"
