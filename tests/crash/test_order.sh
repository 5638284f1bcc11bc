#!/bin/bash
# In which order things reach the disk: no ref moves before everything that it leads to is there, by name and by content; no file gets its name
# before its content; and no command ends before its refs are durable. Read off the list of its system calls.
. "$(dirname "$0")/lib.sh"

# order_faults LIST: a line for each call that comes too early. Caches, locks of processes and the reserve do not matter.
order_faults() {
	sed 's/ (deleted)//g' "$1" | awk -v store="$STORE" '
		function parent(path) { sub(/\/[^\/]*$/, "", path); return path }
		function matters(path) { return index(path, store "/") == 1 && path !~ /^[^ ]*\/store\/(cache|run|lock|reserve)/ }
		function unsynced(below,   path) { for (path in dirty) if (index(path, below) == 1) return path; return "" }
		$2 ~ /^p?write/ && matters($3) { dirty[$3] }
		$2 ~ /^f(data)?sync$/ { delete dirty[$3] }
		$2 == "syncfs" { delete dirty }
		$2 ~ /^mkdir/ && matters($3) { dirty[parent($3)] }
		$2 ~ /^link/ { if ($3 in dirty) print "named before its content is on the disk: " $0; dirty[parent($5)] }
		$2 ~ /^rename/ && matters($5) {
			if ($3 in dirty) print "renamed before its content is on the disk: " $0
			dirty[parent($5)]
		}
		$2 ~ /^rename/ && $5 ~ /\/git\/refs\// {
			if ((path = unsynced(store "/git/objects")) != "") print "a ref moves before \x27" path "\x27 is on the disk: " $0
			if ((path = unsynced(store "/objects")) != "") print "a ref moves before \x27" path "\x27 is on the disk: " $0
			moved++
		}
		END {
			for (path in dirty) print "at the end not on the disk: " path
			if (!moved && !none) print "no ref has moved"
		}' none="${2-}"
}

# ordered WORD…: the command, and nothing in the wrong order.
ordered() {
	local said
	must tool fault --list "$SCRATCH/list" --beneath "$STORE" "$VENEER" --store "$STORE" "$@"
	said=$(order_faults "$SCRATCH/list" "${NO_REF-}")
	[ -z "$said" ] || fail "veneer $*: $said"
	echo "ORDER $*: $(wc -l <"$SCRATCH/list") calls" | sed "s,$WORLD/,,g" | cut -c1-100
}

case_commands() {
	world
	must v init
	ordered add thing "$WORLD/base" --base-version 1
	ordered create thing -m one --from "$WORLD/one"
	ordered create thing -m two --from "$WORLD/two"
	ordered apply thing a
	ordered apply thing b
	ordered revert thing a
	ordered rollback thing
	ordered switch thing base
	NO_REF=1 ordered policy set thing base-change hold
	must v apply thing a
	fs_fill n 2000 >"$WORLD/base/f4"
	ordered add thing "$WORLD/base" --base-version 2
	ordered add whole "$WORLD/two" --snapshot full
}

# A pack, for which there are more objects than are written one by one; and objects that one syncfs(2) makes durable.
case_many_files() {
	world
	local i
	cp -a "$WORLD/base" "$WORLD/many"
	for ((i = 0; i < 100; i++)); do fs_fill $((i % 10)) $((i + 1000)) >"$WORLD/many/d/n$i"; done
	fs_component thing "$WORLD/base" --base-version 1
	ordered create thing -m many --from "$WORLD/many"
	rm -rf "$STORE/objects/"*
	ordered apply thing a
}

# The worker of a mounted component.
case_mounted() {
	world_with_patches
	local fault said
	fs_mount thing "$WORLD/base"
	: >"$SCRATCH/said"
	"$VENEER_TOOLS/fault" --list "$SCRATCH/list" --beneath "$STORE" --attach "$(fs_status thing .worker)" >"$SCRATCH/said" &
	fault=$!
	fs_remember_pid $fault
	fs_wait_for 10 grep -q attached "$SCRATCH/said" || fail 'not attached'
	must v apply thing a
	must v revert thing
	kill -TERM $fault
	wait $fault || fail 'fault'
	said=$(order_faults "$SCRATCH/list")
	[ -z "$said" ] || fail "$said"
	fs_umount thing "$WORLD/base"
}

# What plain git has pushed, and a patch that is made of it.
case_pushed_with_git() {
	world_with_patches
	local said
	must git clone -q "$STORE/git" "$WORLD/clone"
	must git -C "$WORLD/clone" fetch -q origin 'refs/veneer/*:refs/veneer/*'
	must git -C "$WORLD/clone" checkout -q refs/veneer/thing/patches/a
	fs_fill g 300 >"$WORLD/clone/f1"
	must git -C "$WORLD/clone" commit -q -a -m 'with git'
	must tool fault --list "$SCRATCH/pushed" --beneath "$STORE" git -C "$WORLD/clone" push -q origin HEAD:refs/heads/mine
	said=$(order_faults "$SCRATCH/pushed" | grep '/[0-9a-f]\{38\}' || :)
	[ -z "$said" ] || fail "git push: $said"
	# Of a git that does not know what it is told, or a store of before.
	must git -C "$STORE/git" config core.fsync none
	fs_fill h 300 >"$WORLD/clone/f1"
	must git -C "$WORLD/clone" commit -q -a -m 'with git'
	must tool fault --list "$SCRATCH/pushed" --beneath "$STORE" git -C "$WORLD/clone" push -q origin HEAD:refs/heads/mine
	must tool fault --list "$SCRATCH/list" --beneath "$STORE" "$VENEER" --store "$STORE" create thing -m three --commit mine
	{ grep -v /refs/ "$SCRATCH/pushed"; cat "$SCRATCH/list"; } >"$SCRATCH/both"
	said=$(order_faults "$SCRATCH/both" | grep '^a ref moves' || :)
	[ -z "$said" ] || fail "create --commit: $said"
}

# init: one syncfs(2) behind all of it, and the repository gets its name after that.
case_init() {
	world
	local sync name
	must tool fault --list "$SCRATCH/list" --beneath "$WORLD" "$VENEER" --store "$STORE" init
	sync=$(awk '$2 == "syncfs" { n = $1 } END { print n + 0 }' "$SCRATCH/list")
	name=$(awk -v to="$STORE/git" '$2 ~ /^rename/ && $5 == to { n = $1 } END { print n + 0 }' "$SCRATCH/list")
	[ "$sync" -gt 0 ] && [ "$sync" -lt "$name" ] || fail "syncfs is call $sync, the rename call $name"
	assert_equal '' "$(awk -v sync="$sync" '$1 > sync && $2 !~ /^(fsync|rename)/' "$SCRATCH/list")" 'what comes after it'
	assert_match "^[0-9]* fsync $STORE$" "$(tail -n 1 "$SCRATCH/list")" 'the last call'
}

# Any sync that is left out of a list is found.
case_finds_what_is_missing() {
	world_with_patches
	local n
	must tool fault --list "$SCRATCH/list" --beneath "$STORE" "$VENEER" --store "$STORE" apply thing
	for n in $(awk '$2 ~ /sync/ && $3 !~ /\/(cache|run|reserve)/ { print $1 }' "$SCRATCH/list"); do
		awk -v n="$n" '$1 != n' "$SCRATCH/list" >"$SCRATCH/doctored"
		# git/objects is synced again and again: without one of them the next is in time.
		[ -n "$(order_faults "$SCRATCH/doctored")" ] || awk -v n="$n" -v o="$STORE/git/objects" '$1 == n && $3 == o { ok = 1 } END { exit !ok }' "$SCRATCH/list" ||
			fail "without call $n the order is right: $(sed -n "${n}p" "$SCRATCH/list")"
	done
}

crash_main "$@"
