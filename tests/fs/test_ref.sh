#!/bin/bash
# The store is a git repository, and plain git drives it.
. "$(dirname "$0")/lib.sh"

make_component() {
	BASE=$SCRATCH/base NEW=$SCRATCH/new
	mkdir -p "$BASE/dir"
	echo base >"$BASE/file"
	echo base >"$BASE/dir/deep"
	echo untouched >"$BASE/other"
	printf '#!/bin/sh\necho base\n' >"$BASE/program"
	chown 65534:12 "$BASE/program"
	chmod 4755 "$BASE/program"
	cp -a "$BASE" "$NEW"
	echo patched >"$NEW/file"
	echo patched >"$NEW/dir/deep"
	echo added >"$NEW/dir/added"
	fs_component thing "$BASE" --base-version 1.0 "$@"
}

content_is() { [ "$(t cat "$BASE/file")" = "$1" ]; }

# git update-ref alone switches a live mount, within 100 ms of its return: of 20 times, 18 at least, for a busy machine may
# let anyone wait, and none is later than a second.
case_update_ref() {
	fs_setup
	make_component
	fs_create thing -m 'the patch' --from "$NEW" >/dev/null
	local base patch round returned seen target content times
	patch=$(fs_ref thing/patches/a)
	base=$(fs_ref thing/base)
	fs_mount thing "$BASE"
	assert_content base "$BASE/file"
	for round in $(seq 20); do
		if [ $((round % 2)) = 1 ]; then target=$patch content=patched; else target=$base content=base; fi
		coproc AWAIT { exec "$VENEER_TOOLS/await_content" "$BASE/file" "$content" 10; }
		fs_remember_pid "$AWAIT_PID"
		local answer pid=$AWAIT_PID
		exec {answer}<&"${AWAIT[0]}" # the coproc's own is closed with it
		read -r _ <&"$answer"
		g update-ref refs/veneer/thing/active "$target"
		returned=${EPOCHREALTIME/./}
		read -r seen <&"$answer" || fail "round $round: the mount never showed '$content'"
		wait "$pid"
		exec {answer}<&-
		echo $(((seen - returned) / 1000)) >>"$SCRATCH/milliseconds"
	done
	times=$(sort -n "$SCRATCH/milliseconds" | paste -sd ' ')
	echo "from the return of git update-ref to new content, ms: $times"
	if ! fs_sanitized; then
		[ "$(cut -d ' ' -f 18 <<<"$times")" -le 100 ] || fail 'a switch by git update-ref takes more than 100 ms'
		[ "$(cut -d ' ' -f 20 <<<"$times")" -le 1000 ] || fail 'a switch by git update-ref took more than a second'
	fi
	assert_content base "$BASE/dir/deep"
	[ ! -e "$BASE/dir/added" ] || fail 'an added file is there after the switch back'
	must g fsck --strict
}

# Listings that the kernel keeps are as new as what is looked up: names, types and inode numbers, however the names were known before.
case_listings() {
	fs_setup
	make_component
	rm "$NEW/other"
	mkdir "$NEW/other"
	echo in >"$NEW/other/in"
	# Of this directory no name that the kernel knows is served differently.
	mkdir "$BASE/lone" "$NEW/lone"
	echo stays | tee "$BASE/lone/stays" >"$NEW/lone/stays"
	echo added >"$NEW/lone/added"
	fs_create thing -m 'the patch' --from "$NEW" >/dev/null
	fs_mount thing "$BASE"
	local action directory
	for action in apply revert apply rollback; do
		for directory in . dir lone; do # twice: the second is the kernel's own
			t ls -aif "$BASE/$directory" >/dev/null
			t ls -aif "$BASE/$directory" >/dev/null
		done
		must v "$action" thing >/dev/null
		for directory in . dir lone; do
			(cd "$BASE/$directory" && t find . -mindepth 1 -maxdepth 1 -printf '%f %y\n' | sort) >"$SCRATCH/listed"
			(cd "$BASE/$directory" && t ls -i1 | awk '{ print $2, $1 }' | sort) >"$SCRATCH/numbers"
			(cd "$BASE/$directory" && for name in *; do t stat -c '%n %i' "$name"; done | sort) >"$SCRATCH/looked-up"
			assert_same_text "$SCRATCH/looked-up" "$SCRATCH/numbers" "inode numbers in $directory after $action"
			if [ "$action" = apply ]; then
				(cd "$NEW/$directory" && find . -mindepth 1 -maxdepth 1 -printf '%f %y\n' | sort) >"$SCRATCH/wanted"
				assert_same_text "$SCRATCH/wanted" "$SCRATCH/listed" "$directory after $action"
			fi
		done
	done
}

# A directory of the base is exchanged with another, again and again, while a patch for files in it is applied: what was found in
# the base for a switch is then looked at again, and after each switch its names are the patch's, whichever directory it is.
case_directory_moves_meanwhile() {
	fs_setup
	make_component
	fs_create thing -m 'the patch' --from "$NEW" >/dev/null
	fs_mount thing "$BASE"
	local round writer
	cp -a "$BASE/dir" "$BASE/twin"
	# While the patch is applied the exchange is refused.
	"$VENEER_TOOLS/exchange_names" "$BASE/dir" "$BASE/twin" "$BASE/dir/deep" "$BASE/dir/added" >"$SCRATCH/count" &
	writer=$!
	fs_remember_pid "$writer"
	for round in $(seq "$(fs_count 60 10)"); do
		must v apply thing >/dev/null
		assert_content patched "$BASE/dir/deep"
		assert_content added "$BASE/dir/added"
		assert_equal 'added deep' "$(t ls "$BASE/dir" | paste -sd ' ')" "round $round: what is listed"
		must v revert thing >/dev/null
		assert_content base "$BASE/dir/deep"
		[ ! -e "$BASE/dir/added" ] || fail "round $round: the added file is still there"
	done
	kill "$writer"
	wait "$writer" || fail 'who exchanges the directories has failed'
	[ "$(cat "$SCRATCH/count")" -gt "$round" ] || fail 'they were exchanged too seldom to say anything'
	echo "$(cat "$SCRATCH/count") exchanges"
}

# The same where refs are packed, and where the active ref goes away and comes back.
case_packed_refs() {
	fs_setup
	make_component
	fs_create thing -m 'the patch' --from "$NEW" >/dev/null
	fs_mount thing "$BASE"
	must g pack-refs --all
	g update-ref refs/veneer/thing/active refs/veneer/thing/patches/a
	fs_wait_for 5 content_is patched || fail 'not switched after git pack-refs'
	must g pack-refs --all
	sleep 0.3
	content_is patched || fail 'git pack-refs took the patch off'
	must g gc --quiet
	must v revert thing
	content_is base || fail 'revert after git gc'
	must g fsck --strict
}

# git diff base active is the forensic diff: exactly the patched paths and their meta.
case_diff_names_patched_paths() {
	fs_setup
	make_component
	rm "$NEW/other"
	chmod 600 "$NEW/program"
	fs_create thing -m 'the patch' --from "$NEW" >/dev/null
	must v apply thing
	g diff --name-only refs/veneer/thing/base refs/veneer/thing/active | grep -v '^\.veneer/' | sort >"$SCRATCH/paths"
	# The program's bytes are the same; git sees its executable bit.
	printf '%s\n' dir/added dir/deep file other program >"$SCRATCH/expected"
	assert_same_text "$SCRATCH/expected" "$SCRATCH/paths" 'paths of git diff base active'
	g diff --name-only refs/veneer/thing/base refs/veneer/thing/active | sed -n 's|^\.veneer/meta/||p' | sort |
		grep -vxF -e dir/added -e dir/deep -e file -e other -e program >"$SCRATCH/paths" || :
	: >"$SCRATCH/expected"
	assert_same_text "$SCRATCH/expected" "$SCRATCH/paths" 'meta of paths that no patch touches'
	g diff --stat refs/veneer/thing/base refs/veneer/thing/active | grep -q 'dir/deep' || fail 'git diff --stat fails'
	g log --format=%s -n 1 refs/veneer/thing/patches/a >"$SCRATCH/subject"
	assert_content 'the patch' "$SCRATCH/subject"
	assert_equal a "$(g log -n 1 --format='%(trailers:key=Label,valueonly)' refs/veneer/thing/patches/a | head -n 1)" 'trailer Label'
	must g fsck --strict
}

# A patch by plain git alone: a worktree of the base, an edit, a commit. It keeps what git cannot say.
case_plain_git_patch() {
	fs_setup
	make_component --snapshot full
	local tree=$SCRATCH/worktree commit
	must g worktree add --detach "$tree" refs/veneer/thing/base
	printf '#!/bin/sh\necho fixed\n' >"$tree/program"
	echo new >"$tree/dir/new"
	git -C "$tree" rm -q other
	git -C "$tree" add -A
	must git -C "$tree" commit -m 'fixed with plain git'
	commit=$(git -C "$tree" rev-parse HEAD)
	fs_mount thing "$BASE"
	assert_match '^a [0-9a-f]{40}$' "$(v create thing -m 'a fix' --commit "$commit")" "create's output"
	must v apply thing
	assert_equal fixed "$(t "$BASE/program")" 'output of the replaced program'
	assert_equal '4755 65534:12' "$(t stat -c '%a %u:%g' "$BASE/program")" 'mode and owner of the replaced setuid program'
	assert_equal '644 0:0' "$(t stat -c '%a %u:%g' "$BASE/dir/new")" 'mode and owner of an added file'
	[ ! -e "$BASE/other" ] || fail 'a file that the commit removed is still there'
	assert_content base "$BASE/file"
	must g fsck --strict
	must v revert thing
	assert_equal base "$(t "$BASE/program")" 'output of the program after revert'
	assert_content untouched "$BASE/other"
}

# A commit that says nothing of metadata at all: everything is inherited from the base's files.
case_plain_git_without_meta() {
	fs_setup
	make_component --snapshot full
	setfattr -n user.note -v kept "$BASE/program"
	local tree=$SCRATCH/worktree
	must g worktree add --detach "$tree" refs/veneer/thing/base
	printf '#!/bin/sh\necho fixed\n' >"$tree/program"
	git -C "$tree" rm -rqf .veneer
	git -C "$tree" add -A
	must git -C "$tree" commit -m 'no metadata'
	must v create thing -m 'a fix' --commit "$(git -C "$tree" rev-parse HEAD)"
	fs_mount thing "$BASE"
	must v apply thing
	assert_equal fixed "$(t "$BASE/program")" 'output of the replaced program'
	assert_equal '4755 65534:12' "$(t stat -c '%a %u:%g' "$BASE/program")" 'mode and owner inherited from the base'
	assert_equal kept "$(t getfattr -n user.note --only-values "$BASE/program")" 'attribute inherited from the base'
	assert_content untouched "$BASE/other"
}

# Metadata by hand, in .veneer/meta.
case_plain_git_meta() {
	fs_setup
	make_component --snapshot full
	local tree=$SCRATCH/worktree
	must g worktree add --detach "$tree" refs/veneer/thing/base
	mkdir -p "$tree/.veneer/meta/dir"
	printf 'mode 02750\nuid 7\ngid 8\nmtime 1000000000.000000005\n' >"$tree/.veneer/meta/file"
	printf 'type fifo\nmode 0600\n' >"$tree/.veneer/meta/dir/pipe"
	git -C "$tree" add -A
	must git -C "$tree" commit -m 'meta by hand'
	must v create thing -m 'meta' --commit "$(git -C "$tree" rev-parse HEAD)"
	fs_mount thing "$BASE"
	must v apply thing
	assert_equal '2750 7:8 1000000000.000000005' "$(t stat -c '%a %u:%g %.9Y' "$BASE/file")" 'metadata by hand'
	assert_content base "$BASE/file"
	assert_equal 'fifo 600' "$(t stat -c '%F %a' "$BASE/dir/pipe")" 'a fifo by hand'
}

# Every switch is in the journal, whoever made it.
case_journal() {
	fs_setup
	make_component
	fs_create thing -m 'the patch' --from "$NEW" >/dev/null
	fs_mount thing "$BASE"
	must v apply thing
	must v revert thing
	local before after
	before=$(g rev-list --first-parent --count refs/veneer/thing/journal)
	g update-ref refs/veneer/thing/active refs/veneer/thing/patches/a
	fs_wait_for 5 content_is patched || fail 'not switched by git update-ref'
	journal_grew() {
		after=$(g rev-list --first-parent --count refs/veneer/thing/journal)
		[ "$after" -gt "$before" ]
	}
	fs_wait_for 5 journal_grew || fail 'no journal entry for a switch by git update-ref'
	assert_equal "$(fs_ref thing/patches/a)" "$(g rev-parse refs/veneer/thing/journal^2)" 'what the newest entry switched to'
	must v log thing
	must g fsck --strict
}

# ... and go on being seen at once after that: git has removed the directory that was watched.
case_packed_refs_watched() {
	fs_setup
	make_component
	fs_create thing -m 'the patch' --from "$NEW" >/dev/null
	fs_mount thing "$BASE"
	must g pack-refs --all
	rmdir "$STORE/git/refs/veneer/thing/patches" "$STORE/git/refs/veneer/thing" 2>/dev/null || true
	local round begin late=0 target content
	for round in $(seq 10); do
		if [ $((round % 2)) = 1 ]; then target=thing/patches/a content=patched; else target=thing/base content=base; fi
		g update-ref refs/veneer/thing/active "refs/veneer/$target"
		begin=${EPOCHREALTIME/./}
		fs_wait_for 5 content_is "$content" || fail "round $round: not switched"
		[ $((${EPOCHREALTIME/./} - begin)) -le 400000 ] || late=$((late + 1))
	done
	fs_sanitized || [ "$late" -le 3 ] || fail "$late of 10 switches after git pack-refs came late, as if nobody watched"
}

health() { fs_status thing .health; }
health_is() { [[ "$(health)" = $1 ]]; }

# A commit that cannot be served is refused; what becomes of that when the ref, or the commit, is mended.
case_refused() {
	fs_setup
	make_component
	fs_create thing -m 'the patch' --from "$NEW" >/dev/null
	fs_mount thing "$BASE"
	local patch blob object
	# A commit made by plain git, of which a blob is missing.
	must g worktree add --detach "$SCRATCH/tree" refs/veneer/thing/base
	echo broken >"$SCRATCH/tree/file"
	git -C "$SCRATCH/tree" -c user.name=x -c user.email=x@y commit -qam broken
	patch=$(git -C "$SCRATCH/tree" rev-parse HEAD)
	blob=$(git -C "$SCRATCH/tree" rev-parse HEAD:file)
	object=$STORE/git/objects/${blob:0:2}/${blob:2}
	must mv "$object" "$SCRATCH/away"
	g update-ref refs/veneer/thing/active "$patch"
	fs_wait_for 5 health_is 'refused*' || fail "a commit without a blob is not refused: $(health)"
	assert_content base "$BASE/file"
	# Back to what is served: nothing is refused any more.
	g update-ref refs/veneer/thing/active refs/veneer/thing/base
	fs_wait_for 5 health_is ok || fail "the ref names what is served, and health is '$(health)'"
	# Refused again, and asked for by name: not "active already".
	g update-ref refs/veneer/thing/active "$patch"
	fs_wait_for 5 health_is 'refused*' || fail "a commit without a blob is not refused again: $(health)"
	assert_refused 1 "$blob" v switch thing "$patch"
	# What was missing is back.
	must mv "$SCRATCH/away" "$object"
	must v switch thing "$patch"
	assert_content broken "$BASE/file"
	health_is ok || fail "served, and health is '$(health)'"
	# Or nobody asks, and it is tried again.
	must v revert thing --all
	must mv "$object" "$SCRATCH/away"
	rm -r "$STORE"/objects/*
	g update-ref refs/veneer/thing/active "$patch"
	fs_wait_for 5 health_is 'refused*' || fail "a commit without a blob is not refused a third time: $(health)"
	must mv "$SCRATCH/away" "$object"
	fs_wait_for 30 content_is broken || fail 'a refused commit is not tried again'
}

# The active commit is lost: whatever leads away from it works, and status says it.
case_active_lost() {
	fs_setup
	make_component
	fs_create thing -m 'the patch' --from "$NEW" >/dev/null
	must v apply thing
	must g update-ref refs/veneer/thing/active "$(g rev-parse refs/veneer/thing/base^{tree})" 2>/dev/null ||
		echo "$(g rev-parse 'refs/veneer/thing/base^{tree}')" >"$STORE/git/refs/veneer/thing/active"
	must v status thing
	assert_refused 1 'revert thing --all' v apply thing a
	must v revert thing --all
	assert_equal 'base' "$(cat "$BASE/file")" 'the base'
	must v apply thing a
	echo "$(g rev-parse 'refs/veneer/thing/base^{tree}')" >"$STORE/git/refs/veneer/thing/active"
	must v switch thing a
	assert_equal "$(fs_ref thing/patches/a)" "$(fs_ref thing/active)" 'active after switch'
}

# A ref that is moved while a mount is starting is not missed.
case_moved_while_mounting() {
	fs_setup
	make_component
	fs_create thing -m 'the patch' --from "$NEW" >/dev/null
	fs_remember_mount "$BASE"
	local round
	for round in 1 2 3 4 5 6; do
		g update-ref refs/veneer/thing/active refs/veneer/thing/base
		v mount thing &
		sleep "0.0$((round * 2))"
		g update-ref refs/veneer/thing/active refs/veneer/thing/patches/a
		wait $!
		fs_remember_pid "$(fs_status thing .pid)"
		sleep 0.1
		fs_sanitized || content_is patched || fail "round $round: the old content is served after the mount"
		fs_wait_for 5 content_is patched || fail "round $round: the ref was not followed"
		must v umount thing
	done
}

# Following does not wait for whoever has the store, and what commands write into the journal is not written twice.
case_journal_of_commands() {
	fs_setup
	make_component
	fs_create thing -m 'the patch' --from "$NEW" >/dev/null
	fs_mount thing "$BASE"
	local before after begin
	(
		exec {lock}>>"$STORE/lock"
		flock "$lock"
		sleep 4
	) &
	sleep 0.5
	g update-ref refs/veneer/thing/active refs/veneer/thing/patches/a
	begin=${EPOCHREALTIME/./}
	fs_wait_for 5 content_is patched || fail 'not switched while another has the lock'
	g update-ref refs/veneer/thing/active refs/veneer/thing/base
	fs_wait_for 5 content_is base || fail 'not switched back while another has the lock'
	[ $((${EPOCHREALTIME/./} - begin)) -le 2500000 ] || fail 'following waits for the lock of the store'
	wait $!
	journal_count() { g rev-list --first-parent --count refs/veneer/thing/journal; }
	both_written() { [ "$(v log thing --json | t jq '[.[] | select(.reason == "the ref was moved")] | length')" = 2 ]; }
	fs_wait_for 5 both_written || fail "two moves of the ref are not two entries: $(v log thing)"
	before=$(journal_count)
	loop() { for _ in $(seq 10); do v -q apply thing a; v -q revert thing --all; done; }
	loop 2>/dev/null &
	loop 2>/dev/null
	wait $!
	sleep 1
	after=$(journal_count)
	both_written || fail "a command's switch was entered a second time: $(v log thing | head -40)"
	[ "$after" -gt "$before" ] || fail 'commands write no journal'
}

fs_main "$@"
