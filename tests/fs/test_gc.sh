#!/bin/bash
# veneer gc beside mounted components: what is served, open, labelled or in the journal stays, whatever else goes.
. "$(dirname "$0")/lib.sh"

gc_now() { v gc --grace 0 "$@"; }

# Everything in the store was written a day ago.
age() {
	find "$STORE/objects" "$STORE/git/objects" -exec touch -h -d '1 day ago' {} +
	# ctime cannot be set back; a grace of 0 means "before now".
	sleep 1.1
}

drop_caches() { sync; echo 2 >/proc/sys/vm/drop_caches; }

# A component with files that patches change, and a commit that nothing leads to.
scene() {
	fs_setup
	BASE=$SCRATCH/base
	mkdir -p "$BASE/dir"
	local i
	for i in 1 2 3; do fs_fill $i 20000 >"$BASE/file$i"; done
	echo base >"$BASE/dir/text"
	fs_component app "$BASE" --base-version 1.0
}

# patch LABEL BYTE: file1 and dir/text are something else.
patch() {
	cp -a "$BASE" "$SCRATCH/target"
	fs_fill "$2" 30000 >"$SCRATCH/target/file1"
	echo "text $1" >"$SCRATCH/target/dir/text"
	must v create app -m "patch $1" --label "$1" --from "$SCRATCH/target"
	rm -rf "$SCRATCH/target"
}

# forget LABEL: the patch, and all that ever told of it, as somebody who cleans up by hand does.
forget() {
	g update-ref -d "refs/veneer/app/patches/$1"
}

clean() {
	must v fsck
	local out
	out=$(g fsck --strict --no-dangling --no-progress 2>&1 | grep -v '^notice: ' || :)
	assert_equal '' "$out" 'git fsck'
}

has() { g cat-file -e "$1" 2>/dev/null; }

objects() { find "$STORE/objects" -type f | wc -l; }

# A writer that was cut short before the index of its pack: the next one makes the same pack, of which the half that is there is a part then.
case_same_pack_again() {
	scene
	patch a A
	local i pack
	for ((i = 0; i < 55; i++)); do must v apply app a; must v revert app; done
	age
	cp -a "$STORE" "$SCRATCH/before"
	must gc_now
	pack=$(ls "$STORE"/git/objects/pack/*.pack | xargs -n 1 basename | while read -r name; do [ -e "$SCRATCH/before/git/objects/pack/$name" ] || echo "$name"; done)
	[ -n "$pack" ] || fail 'nothing was packed'
	cp "$STORE/git/objects/pack/$pack" "$SCRATCH/$pack"
	rm -rf "$STORE"
	cp -a "$SCRATCH/before" "$STORE"
	cp "$SCRATCH/$pack" "$STORE/git/objects/pack/$pack"
	age
	must gc_now
	[ -e "$STORE/git/objects/pack/$pack" ] || fail "'$pack' was not made again"
	clean
}

case_unneeded_goes() {
	scene
	patch a A
	patch b B
	local gone kept
	gone=$(fs_ref app/patches/b) kept=$(fs_ref app/patches/a)
	must v apply app a
	forget b
	age
	assert_equal 4 "$(objects)" 'objects before'
	assert_match 'would free' "$(v gc --grace 0 --dry-run)" 'dry run'
	assert_equal 4 "$(objects)" 'objects after a dry run'
	has "$gone" || fail 'a dry run removed a commit'
	local plan done
	plan=$(gc_now --dry-run --json | jq -c '[.removed[] | [.kind, .name]] | sort')
	done=$(gc_now --json | jq -c '[.removed[] | [.kind, .name]] | sort')
	assert_equal "$plan" "$done" 'what was planned, and done'
	assert_equal 2 "$(objects)" 'objects after it'
	! has "$gone" || fail 'a commit that nothing leads to is still there'
	has "$kept" || fail 'a patch is gone'
	clean
	age
	assert_equal 'nothing to do' "$(gc_now)" 'a second gc'
	must v revert app
	must v apply app a
	clean
}

# What was applied once is in the journal, whatever became of its ref.
case_journal_keeps() {
	scene
	patch a A
	local commit
	commit=$(fs_ref app/patches/a)
	must v apply app a
	must v revert app
	forget a
	age
	must gc_now
	has "$commit" || fail 'a commit of the journal is gone'
	assert_equal 2 "$(objects)" 'objects of a commit of the journal'
	must v switch app "$commit"
	clean
}

case_grace() {
	scene
	patch a A
	local commit user
	commit=$(fs_ref app/patches/a)
	forget a
	assert_equal 'nothing to do' "$(v gc)" 'gc of what is young'
	has "$commit" || fail 'what is young is gone'
	assert_equal 2 "$(objects)" 'young objects'
	# Old, but for what plain git has written just now and not named yet; and what it has named.
	age
	user=$(g commit-tree -m 'just now' 'refs/veneer/app/base^{tree}')
	g tag keep "$(g commit-tree -m 'with a tag' 'refs/veneer/app/base^{tree}')"
	must v gc --grace 1
	has "$user" || fail "a commit that plain git has just written is gone"
	! has "$commit" || fail 'what is old is still there'
	age
	must gc_now
	! has "$user" || fail 'what is old by now is still there'
	has keep || fail "a user's tag is gone"
	clean
}

# What is old and not needed, but for what plain git has just written and not named yet.
case_young_names_old() {
	scene
	local loose packed blob first second
	loose=$(printf '100644 blob %s\tf\n' "$(echo loose | g hash-object -w --stdin)" | g mktree)
	blob=$(echo packed | g hash-object -w --stdin)
	packed=$(printf '100644 blob %s\tf\n' "$blob" | g mktree)
	printf '%s\n' "$packed" "$blob" | g pack-objects -q "$STORE/git/objects/pack/pack" >/dev/null
	g prune-packed
	age
	first=$(g commit-tree -m loose "$loose")
	second=$(g commit-tree -m packed "$packed")
	must v gc --grace 1
	g update-ref refs/heads/loose "$first"
	g update-ref refs/heads/packed "$second"
	clean
	g update-ref -d refs/heads/loose
	g update-ref -d refs/heads/packed
	age
	must gc_now
	! has "$loose" || fail 'what nothing leads to is still there'
	! has "$packed" || fail 'what nothing leads to is still there, in a pack'
	clean
}

# A push that was killed leaves a directory. One that is written into is no leftover, however old the directory is.
case_push_killed() {
	scene
	patch a A
	local left=$STORE/git/objects/tmp_objdir-incoming-aaaaaa going=$STORE/git/objects/tmp_objdir-incoming-bbbbbb
	mkdir -p "$left/pack" "$left/ab" "$going/pack"
	echo half >"$left/pack/tmp_pack_aaaaaa"
	echo half >"$going/pack/tmp_pack_bbbbbb"
	age
	echo more >>"$going/pack/tmp_pack_bbbbbb"
	assert_match 'tmp_objdir-incoming-aaaaaa' "$(v gc --grace 1 --dry-run)" 'what would go'
	must v gc --grace 1
	[ ! -e "$left" ] || fail 'what a push has left is still there'
	[ -e "$going/pack/tmp_pack_bbbbbb" ] || fail 'what is being pushed is gone'
	find "$going" -exec touch -d '1 day ago' {} +
	must v fsck --repair
	[ ! -e "$going" ] || fail 'what a push has left is still there after a repair'
	clean
}

case_worktree() {
	scene
	g worktree add -q --detach "$SCRATCH/work" refs/veneer/app/base
	echo staged >"$SCRATCH/work/staged"
	git -C "$SCRATCH/work" add staged
	local blob
	blob=$(git -C "$SCRATCH/work" rev-parse :staged)
	age
	must gc_now
	has "$blob" || fail 'what an index names is gone'
}

# Files of reverted patches that somebody has open keep their bytes, even where nothing but the kernel knows of them.
open_files() { # IO
	scene
	patch a A
	fs_mount app "$BASE" --io "$1"
	must v apply app a
	exec 7<"$BASE/file1" 8<"$BASE/dir/text"
	must v revert app
	# Nothing of the store knows the patch any more: neither a label nor the journal.
	forget a
	g update-ref refs/veneer/app/journal "$(g rev-list --first-parent refs/veneer/app/journal | tail -n 2 | head -n 1)"
	age
	must gc_now
	assert_equal 2 "$(objects)" 'objects of files that are open'
	drop_caches
	assert_equal "$(fs_fill A 30000 | sha256sum)" "$(t sha256sum <&7)" 'the bytes of a file that was open'
	assert_equal 'text a' "$(t cat <&8)" 'the bytes of another'
	exec 7<&- 8<&-
	fs_umount app "$BASE"
	must gc_now
	assert_equal 0 "$(objects)" 'objects when nobody has them open any more'
}

case_open_files_cached() {
	open_files cached
}

case_open_files_passthrough() {
	fs_have_passthrough || skip 'this kernel has no FUSE passthrough'
	open_files passthrough
}

# The packs that a daemon has open are removed: it goes on, and writes what it needs.
case_packs_removed() {
	scene
	patch a A
	fs_mount app "$BASE"
	local i before
	for i in $(seq 1 14); do
		patch "p$i" "$((i % 10))"
		g -c gc.auto=0 repack -dq # what was loose, as a pack
	done
	must v apply app a
	must v revert app
	before=$(ls "$STORE"/git/objects/pack/*.pack | sort)
	assert_equal true "$([ "$(wc -l <<<"$before")" -gt 10 ] && echo true)" 'more than ten packs before'
	age
	must gc_now
	assert_equal '' "$(comm -12 <(echo "$before") <(ls "$STORE"/git/objects/pack/*.pack | sort))" 'packs that are still there'
	assert_equal 1 "$(ls "$STORE"/git/objects/pack/*.pack | wc -l)" 'packs'
	assert_match '^0 objects' "$(g count-objects)" 'loose objects'
	for i in $(seq 1 14); do
		must v apply app "p$i"
		assert_equal "text p$i" "$(t cat "$BASE/dir/text")" "what p$i serves"
		must v revert app
	done
	must v apply app a
	assert_equal 'text a' "$(t cat "$BASE/dir/text")" 'what is served'
	clean
}

# The daemon has a pack open in which something lies that gc has dropped: it may not take it for stored.
case_dropped_is_written_again() {
	scene
	patch a A
	patch b B
	cp -a "$BASE" "$SCRATCH/target"
	fs_fill C 30000 >"$SCRATCH/target/file2"
	must v create app -m c --label c --from "$SCRATCH/target"
	fs_mount app "$BASE"
	must v apply app a c
	local composed journal
	composed=$(fs_ref app/active)
	must v revert app --all
	# The composition is forgotten, and lies in a pack that the daemon has open.
	journal=$(g rev-list --first-parent refs/veneer/app/journal | sed -n 3p)
	g update-ref refs/veneer/app/journal "$journal"
	g -c gc.auto=0 repack -adkfq
	must v apply app b
	must v revert app
	journal=$(g rev-list --first-parent refs/veneer/app/journal | sed -n 3p)
	g update-ref refs/veneer/app/journal "$journal"
	age
	must gc_now
	! has "$composed" || fail 'the composition is still there'
	must v apply app a c
	assert_equal "$composed" "$(fs_ref app/active)" 'the same composition'
	has "$composed" || fail 'the daemon took what was gone for stored'
	clean
}

# A daemon that is there and does not answer: nothing is removed.
case_silent_daemon() {
	scene
	patch a A
	fs_mount app "$BASE"
	forget a
	age
	local before worker
	before=$(objects)
	worker=$(fs_status app .worker)
	kill -STOP "$worker"
	fs_wait_for 5 grep -q '^State:.T' "/proc/$worker/status" || fail 'the worker does not stop'
	assert_refused 1 "component 'app' is mounted and does not answer" v gc --grace 0 || { kill -CONT "$worker"; return 1; }
	kill -CONT "$worker"
	assert_equal "$before" "$(objects)" 'objects'
	must gc_now
	assert_equal 0 "$(objects)" 'objects afterwards'
}

# gc in a loop beside switches in a loop and readers: nobody gets an error, and all is whole.
case_beside_switches() {
	scene
	patch a A
	patch b B
	fs_mount app "$BASE"
	local end reader
	end=$((SECONDS + $(fs_count 12 20)))
	( while [ $SECONDS -lt $end ]; do
		for f in "$BASE"/file* "$BASE"/dir/text; do t cat "$f" >/dev/null || echo "$f" >>"$SCRATCH/errors"; done
	done ) &
	reader=$!
	fs_remember_pid $reader
	( while [ $SECONDS -lt $end ]; do
		v gc --grace 0 -q >/dev/null 2>>"$SCRATCH/gc-errors" || echo failed >>"$SCRATCH/gc-errors"
	done ) &
	local collector=$!
	fs_remember_pid $collector
	local count=0
	while [ $SECONDS -lt $end ]; do
		must v apply app a
		assert_equal 'text a' "$(t cat "$BASE/dir/text")" 'what is served'
		must v revert app
		must v apply app b
		drop_caches
		assert_equal 'text b' "$(t cat "$BASE/dir/text")" 'what is served'
		must v revert app --all
		count=$((count + 4))
	done
	wait $reader $collector
	[ ! -s "$SCRATCH/errors" ] || fail "readers failed: $(sort "$SCRATCH/errors" | uniq -c)"
	[ ! -s "$SCRATCH/gc-errors" ] || fail "gc failed: $(sort "$SCRATCH/gc-errors" | uniq -c)"
	echo "$count switches"
	must gc_now
	clean
}

# Killed wherever: nothing that is needed is lost, and the next one goes on.
case_killed() {
	scene
	patch a A
	local i kills=0 pid
	for i in $(seq 1 12); do patch "p$i" "$((i % 10))"; g -c gc.auto=0 repack -dq; done
	must v apply app a
	cp -a "$STORE" "$SCRATCH/pristine"
	for i in $(seq 1 "$(fs_count 12 6)"); do
		rm -rf "$STORE"
		cp -a "$SCRATCH/pristine" "$STORE"
		g update-ref -d refs/veneer/app/patches/p5
		age
		"$VENEER" --store "$STORE" gc --grace 0 >/dev/null 2>&1 &
		pid=$!
		sleep "0.0$(printf %02d $((i + 2)))"
		kill -KILL $pid 2>/dev/null && kills=$((kills + 1))
		wait $pid 2>/dev/null || :
		clean
		must gc_now
		clean
		assert_equal 12 "$(g for-each-ref refs/veneer/app/patches | wc -l)" 'patches'
	done
	echo "$kills of $i were killed"
}

# So with a repair: the next one mends what is left.
case_repair_killed() {
	scene
	patch a A
	must v apply app a
	g -c gc.auto=0 repack -adfq
	g prune-packed
	local i kills=0 pid pack blob at object
	pack=$(ls "$STORE"/git/objects/pack/*.pack)
	blob=$(g rev-parse refs/veneer/app/patches/a:file1)
	at=$(g verify-pack -v "${pack%.pack}.idx" | awk -v id="$blob" '$1 == id { print $5 }')
	chmod u+w "$pack"
	printf '\377\377\377' | dd of="$pack" bs=1 seek=$((at + 12)) conv=notrunc status=none
	object=$(find "$STORE/objects" -type f -size -10k)
	rm "$object" "$STORE/git/refs/veneer/app/active"
	cp -a "$STORE" "$SCRATCH/pristine"
	for i in $(seq 1 "$(fs_count 30 10)"); do
		rm -rf "$STORE"
		cp -a "$SCRATCH/pristine" "$STORE"
		"$VENEER" --store "$STORE" fsck --repair >/dev/null 2>&1 &
		pid=$!
		sleep "0.0$(printf %02d $((i + 4)))"
		kill -KILL $pid 2>/dev/null && kills=$((kills + 1))
		wait $pid 2>/dev/null || :
		must v fsck --repair
		clean
	done
	echo "$kills of $i were killed"
}

# On a full disk nothing is removed, and what is there is whole.
case_disk_full() {
	fs_setup
	mkdir "$SCRATCH/disk" "$SCRATCH/base"
	mount -t tmpfs -o size=6m tmpfs "$SCRATCH/disk"
	fs_remember_mount "$SCRATCH/disk"
	STORE=$SCRATCH/disk/store BASE=$SCRATCH/base
	head -c 100000 /dev/urandom >"$BASE/file"
	fs_component app "$BASE"
	local i before
	for i in $(seq 1 12); do
		cp -a "$BASE" "$SCRATCH/target"
		head -c 100000 /dev/urandom >"$SCRATCH/target/file"
		for f in $(seq 1 20); do echo "$i $f" >"$SCRATCH/target/small$f"; done
		must v create app -m "patch $i" --label "p$i" --from "$SCRATCH/target"
		rm -rf "$SCRATCH/target"
	done
	must v apply app p1
	age
	dd if=/dev/zero of="$SCRATCH/disk/fill" bs=64k status=none 2>/dev/null || :
	before=$(cd "$STORE" && find . -type f ! -name lock | sort)
	assert_refused 1 'No space left' v gc --grace 0
	assert_equal "$before" "$(cd "$STORE" && find . -type f ! -name lock | sort)" 'files after a gc on a full disk'
	# A repair that has to write, too.
	local blob
	blob=$(g rev-parse refs/veneer/app/patches/p1:file)
	rm "$SCRATCH/disk/fill"
	clean
	local pack
	pack=$(ls "$STORE"/git/objects/pack/*.pack | while read -r p; do
		g verify-pack -v "${p%.pack}.idx" | grep -q "^$blob" && echo "$p" && break; done || :)
	if [ -n "$pack" ]; then
		chmod u+w "$pack"
		local at
		at=$(g verify-pack -v "${pack%.pack}.idx" | awk -v id="$blob" '$1 == id { print $5 }')
		printf '\377\377\377\377' | dd of="$pack" bs=1 seek=$((at + 500)) conv=notrunc status=none
		dd if=/dev/zero of="$SCRATCH/disk/fill" bs=64k status=none 2>/dev/null || :
		assert_refused 1 'No space left' v fsck --repair
		[ -e "$pack" ] || fail 'the damaged pack is gone, and nothing took its place'
		rm "$SCRATCH/disk/fill"
		must v fsck --repair
	fi
	clean
	must gc_now
	clean
}

# fsck while a component is mounted, with switches going on: nothing is found that is not there.
case_fsck_beside_switches() {
	scene
	patch a A
	fs_mount app "$BASE"
	local end
	end=$((SECONDS + $(fs_count 6 10)))
	( while [ $SECONDS -lt $end ]; do v apply app a -q && v revert app -q || echo failed >>"$SCRATCH/errors"; done ) >/dev/null &
	local switcher=$!
	fs_remember_pid $switcher
	while [ $SECONDS -lt $end ]; do
		assert_equal '[]' "$(v fsck --json | tr -d ' \n')" 'what fsck finds'
		must v fsck --repair
	done
	wait $switcher
	[ ! -s "$SCRATCH/errors" ] || fail 'a switch failed'
	fs_umount app "$BASE"
}

# A served object that was damaged beneath the mount is made again, and the blob of one from it.
case_fsck_mounted() {
	scene
	patch a A
	fs_mount app "$BASE"
	must v apply app a
	local object blob
	blob=$(g rev-parse refs/veneer/app/base:file1)
	local pack
	for pack in "$STORE"/git/objects/pack/*.pack; do # each object alone
		[ -e "$pack" ] || continue
		mv "$pack" "$SCRATCH/one.pack"
		rm -f "${pack%.pack}".*
		must g unpack-objects -q <"$SCRATCH/one.pack"
	done
	rm "$STORE/git/objects/${blob:0:2}/${blob:2}"
	object=$(find "$STORE/objects" -type f -size +20k)
	chmod u+w "$object"
	printf X | dd of="$object" bs=1 seek=100 conv=notrunc status=none
	chmod a-w "$object"
	! v fsck >"$SCRATCH/found" 2>&1 || fail 'fsck finds nothing'
	assert_match "git-object '$blob'" "$(cat "$SCRATCH/found")" 'what fsck finds'
	must v fsck --repair
	clean
	drop_caches
	assert_equal "$(fs_fill A 30000 | sha256sum)" "$(t sha256sum <"$BASE/file1")" 'what is served'
}

fs_main "$@"
