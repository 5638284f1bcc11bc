#!/bin/bash
# An object that is damaged on the disk is noticed before its bytes are handed out, and made again from git: each kind of damage, by each
# way that it is noticed, with both ways to serve.
. "$(dirname "$0")/lib.sh"

FILES='small block large program'

# patched_base [MOUNT-OPTION…]: $BASE with a patch over each of $FILES, which is in the store and not applied; not mounted.
patched_base() {
	BASE=$SCRATCH/base
	NEW=$SCRATCH/new
	local file
	mkdir "$BASE"
	for file in $FILES; do echo "old $file" >"$BASE/$file"; done
	echo plain >"$BASE/plain"
	fs_component thing "$BASE" --base-version 1
	cp -a "$BASE" "$NEW"
	echo new >"$NEW/small"
	fs_fill b 16384 >"$NEW/block"
	seq 100000 >"$NEW/large"
	sed 's/TAGGED-PROGRAM:./TAGGED-PROGRAM:B/' "$VENEER_TOOLS/tagged" >"$NEW/program"
	chmod 755 "$NEW/program"
	fs_create thing -m patch --from "$NEW" >/dev/null
}

digest() { (cd "$SCRATCH" && printf 'once\n' | tool holder "$1" | sed -n 's/^fd \([0-9a-f]*\).*/\1/p'); }

# object FILE: where its object is.
object() {
	local name
	name=$(digest "$NEW/$1")
	echo "$STORE/objects/${name:0:2}/${name:2}"
}

OBJECTS=
# Asked once, before anything is damaged.
find_objects() { for file in $FILES; do OBJECTS+=" $(object "$file")"; done; }

# damage KIND OBJECT
damage() {
	local size
	size=$(stat -c %s "$2" 2>/dev/null || echo 0)
	case $1 in
	flip) printf '\377' | dd of="$2" bs=1 seek=$((size / 2)) conv=notrunc status=none ;;
	tail) printf '\377' | dd of="$2" bs=1 seek=$((size - 1)) conv=notrunc status=none ;;
	truncate) truncate -s $((size / 2)) "$2" ;;
	append) echo more >>"$2" ;;
	delete) rm "$2" ;;
	directory) rm "$2"; mkdir "$2"; echo x >"$2/file" ;;
	symlink) rm "$2"; ln -s "$NEW/plain" "$2" ;;
	linked) ln -f "$2" "$SCRATCH/linked.${2##*/}"; printf '\377' | dd of="$2" bs=1 seek=2 conv=notrunc status=none ;;
	mode) printf '\377' | dd of="$2" bs=1 seek=1 conv=notrunc status=none; chmod 000 "$2" ;;
	*) fail "no such damage: $1" ;;
	esac
}
damage_all() {
	local path
	for path in $OBJECTS; do damage "$1" "$path"; done
}

# What the kernel has of the mount's files goes, so that they are read anew.
forget() {
	local file
	for file in $FILES; do t dd if="$BASE/$file" iflag=nocache count=0 status=none 2>/dev/null || :; done
}

all_right() {
	local file status=0
	for file in $FILES; do t cmp -s "$NEW/$file" "$BASE/$file" || return 1; done
	t "$BASE/program" || status=$?
	[ $status = 66 ]
}

# The journal has an entry, or some, that name each object, found so.
is_journalled() {
	local reasons path name
	reasons=$(v log thing --json | jq -r '.[] | select(.action == "healed") | .reason')
	grep -q -e "found $1" <<<"$reasons" || return 1
	for path in $OBJECTS; do
		name=${path#"$STORE/objects/"}
		grep -q -e "'$name'" <<<"$reasons" || return 1
	done
}
assert_journalled() {
	fs_wait_for 10 is_journalled "$1" || fail "$WHAT: the journal has no '$1' of all: $(v log thing --json | jq -c '.[] | [.action, .reason]')"
}
assert_whole() {
	local file path
	set -- $OBJECTS
	for file in $FILES; do
		[ -f "$1" ] && [ ! -L "$1" ] && cmp -s "$NEW/$file" "$1" || fail "$WHAT: object '$1' of '$file' is not whole: $(ls -l "$1")"
		shift
	done
}

# A world of its own, with all that there is to damage.
fresh() {
	fs_setup
	patched_base
	find_objects
}

kinds() { echo flip tail truncate append delete directory symlink mode; }
modes() { if fs_have_passthrough; then echo cached passthrough; else echo cached; fi; }

# control JSON: asks the daemon; prints the answer.
control() {
	t perl -MSocket -e 'socket(my $s, AF_UNIX, 5, 0) or die "socket: $!"; connect($s, sockaddr_un($ARGV[0])) or die "connect: $!";
		send($s, $ARGV[1], 0) // die "send: $!"; recv($s, my $answer, 65536, 0) // die "recv: $!"; print "$answer\n"' \
		"$STORE/run/thing.sock" "$1"
}

# ---- activations ----

# What is applied where nothing is mounted is whole before the ref moves.
case_apply_unmounted() {
	fresh
	local kind
	for kind in $(kinds); do
		WHAT="$kind, applied without a mount"
		damage_all "$kind"
		must v apply thing
		assert_whole
		[ "$kind" = delete ] || more_healed || fail "$WHAT: not in the journal"
		must v revert thing
	done
	assert_journalled 'by an activation'
}
healed_count() { v log thing --json | jq '[.[] | select(.action == "healed")] | length'; }

# activate WAY IO: with each kind of damage to what is not served, it is then served by that way, and right.
activate() {
	local way=$1 io=$2 kind commit
	commit=$(fs_ref thing/patches/a)
	for kind in $(kinds); do
		WHAT="$kind, $way, --io $io"
		must v apply thing
		must v revert thing
		damage_all "$kind"
		case $way in
		apply) must v apply thing ;;
		switch) must v switch thing a ;;
		rollback) must v rollback thing ;;
		git) g update-ref refs/veneer/thing/active "$commit" && fs_wait_for 10 serves "$commit" || fail "$WHAT: not followed" ;;
		esac
		assert_whole
		all_right || fail "$WHAT: wrong bytes"
		must v revert thing
		[ "$kind" = delete ] || fs_wait_for 10 more_healed || fail "$WHAT: not in the journal"
	done
	assert_journalled 'by an activation'
}
serves() { [ "$(fs_status thing .commit)" = "$1" ]; }
more_healed() {
	local now
	now=$(healed_count)
	[ "$now" -gt "${HEALED:-0}" ] && HEALED=$now
}

activations() {
	fresh
	fs_mount thing "$BASE" --io "$1" --scrub off
	local way
	for way in apply switch rollback git; do
		activate "$way" "$1"
	done
	fs_umount thing "$BASE"
}
case_activations_cached() { activations cached; }
case_activations_passthrough() {
	fs_have_passthrough || { fs_setup; skip "passthrough needs Linux 6.9, this is $(uname -r)"; }
	activations passthrough
}

case_mount() {
	fresh
	local kind io
	must v apply thing
	for io in $(modes); do
		for kind in $(kinds); do
			WHAT="$kind, mounted, --io $io"
			damage_all "$kind"
			fs_mount thing "$BASE" --io "$io" --scrub off
			assert_whole
			all_right || fail "$WHAT: wrong bytes"
			fs_wait_for 10 more_healed || fail "$WHAT: not in the journal"
			assert_match '^healed: 4 ' "$(fs_status thing .health)" "$WHAT: health"
			fs_umount thing "$BASE"
		done
	done
	assert_journalled 'at the mount'
}

case_worker_killed() {
	fresh
	local kind io
	must v apply thing
	for io in $(modes); do
		fs_mount thing "$BASE" --io "$io" --scrub off
		for kind in $(kinds); do
			WHAT="$kind, worker killed, --io $io"
			damage_all "$kind"
			kill -KILL "$(pgrep -P "$FS_DAEMON" -x veneer | head -n 1)"
			t stat "$BASE/no-such-name-$RANDOM" >/dev/null 2>&1 || :
			assert_whole
			all_right || fail "$WHAT: wrong bytes"
			fs_wait_for 10 more_healed || fail "$WHAT: not in the journal"
		done
		fs_umount thing "$BASE"
	done
	assert_journalled 'when a worker was replaced'
}

# ---- who reads ----

# In cached mode each byte that is read is known to be right; with passthrough what opens is of the right length.
case_reader() {
	fresh
	local kind io kinds
	must v apply thing
	for io in $(modes); do
		fs_mount thing "$BASE" --io "$io" --scrub off
		kinds=$(kinds)
		[ "$io" = cached ] || kinds='truncate append delete directory symlink'
		for kind in $kinds; do
			WHAT="$kind, read, --io $io"
			damage_all "$kind"
			forget
			all_right || fail "$WHAT: wrong bytes"
			assert_whole
			fs_wait_for 10 more_healed || fail "$WHAT: not in the journal"
		done
		fs_umount thing "$BASE"
	done
	assert_journalled 'by a reader'
}

# Any part of it: at odd offsets, at the end, in a mapping, and what is copied or linked from there.
case_parts() {
	fresh
	local object at copied
	object=$(object large)
	must v apply thing
	fs_mount thing "$BASE" --io cached --scrub off
	for at in 0 4095 16383 16384 65537 588894; do
		WHAT="offset $at"
		printf '\377' | dd of="$object" bs=1 seek=$at conv=notrunc status=none
		forget
		t dd if="$BASE/large" bs=1 skip=$((at - 3 < 0 ? 0 : at - 3)) count=5 status=none >"$SCRATCH/is"
		dd if="$NEW/large" bs=1 skip=$((at - 3 < 0 ? 0 : at - 3)) count=5 status=none >"$SCRATCH/should"
		cmp "$SCRATCH/should" "$SCRATCH/is" || fail "$WHAT: wrong bytes"
		cmp -s "$NEW/large" "$object" || fail "$WHAT: not mended"
	done
	# Where the file system would copy without reading.
	damage flip "$object"
	forget
	must t cp --reflink=auto "$BASE/large" "$BASE/copy"
	cmp "$NEW/large" "$BASE/copy" || fail 'a copy has the damage'
	fs_umount thing "$BASE"
}

# What the patch adds is copied to the base where it gets a second name there.
case_link() {
	fs_setup
	BASE=$SCRATCH/base NEW=$SCRATCH/new
	mkdir "$BASE"
	echo plain >"$BASE/plain"
	fs_component thing "$BASE"
	cp -a "$BASE" "$NEW"
	seq 100000 >"$NEW/large"
	fs_create thing -m patch --from "$NEW" >/dev/null
	must v apply thing
	fs_mount thing "$BASE" --io cached --scrub off
	damage flip "$(object large)"
	must t ln "$BASE/large" "$BASE/other"
	cmp "$NEW/large" "$BASE/other" || fail 'the link has the damage'
	fs_umount thing "$BASE"
}

# ---- who has it open, and the scrub ----

# start_holder FILE
start_holder() {
	coproc HOLDER { exec "$VENEER_TOOLS/holder" "$1"; }
	fs_remember_pid "$HOLDER_PID"
	local line
	read -r -t 10 -u "${HOLDER[0]}" line && [ "$line" = ready ] || fail 'no holder'
}
# holds: "fd DIGEST map DIGEST …", as it is now.
holds() {
	local line
	echo now >&"${HOLDER[1]}"
	read -r -t 10 -u "${HOLDER[0]}" line || fail 'the holder does not answer'
	echo "$line"
}
end_holder() {
	local fd=${HOLDER[1]}
	exec {fd}>&-
	wait "$HOLDER_PID" 2>/dev/null || :
}

case_scrub() {
	fresh
	local kind io name large
	must v apply thing
	name=$(digest "$NEW/large")
	for io in $(modes); do
		fs_mount thing "$BASE" --io "$io"
		start_holder "$BASE/large"
		for kind in flip truncate delete directory mode; do
			WHAT="$kind, scrub, --io $io"
			damage_all "$kind"
			control '{"operation":"heal"}' >/dev/null
			fs_wait_for 20 whole || fail "$WHAT: not whole after a round"
			fs_wait_for 10 more_healed || fail "$WHAT: not in the journal"
			all_right || fail "$WHAT: wrong bytes"
			assert_match "^fd $name map $name " "$(holds)" "$WHAT: who has it open and mapped"
		done
		end_holder
		fs_umount thing "$BASE"
	done
	assert_journalled 'by the scrub'
}
# A file with another name is replaced, not written: of the one that was damaged nothing is kept.
case_second_name() {
	fresh
	local io file
	must v apply thing
	for io in $(modes); do
		fs_mount thing "$BASE" --io "$io" --scrub off
		all_right || fail 'wrong bytes at first'
		# So that a descriptor is kept.
		for file in $FILES; do t dd if="$BASE/$file" of=/dev/null bs=2 count=1 status=none; done
		forget
		WHAT="a second name, --io $io"
		damage_all linked
		control '{"operation":"heal"}' >/dev/null
		fs_wait_for 20 whole || fail "$WHAT: not whole after a round"
		fs_wait_for 10 more_healed || fail "$WHAT: not in the journal"
		all_right || fail "$WHAT: wrong bytes"
		! cmp -s "$NEW/large" "$SCRATCH/linked.$(digest "$NEW/large" | cut -c 3-)" || fail "$WHAT: the other name was written to"
		rm "$SCRATCH"/linked.*
		fs_umount thing "$BASE"
	done
}
whole() { (assert_whole) 2>/dev/null; }

# Another process has found it, or has even made it again.
case_told() {
	fresh
	local kind io answer names
	must v apply thing
	names=$(for file in $FILES; do digest "$NEW/$file"; done | jq -R . | jq -sc .)
	for io in $(modes); do
		fs_mount thing "$BASE" --io "$io" --scrub off
		for kind in flip truncate delete; do
			WHAT="$kind, told, --io $io"
			damage_all "$kind"
			answer=$(control "{\"operation\":\"heal\",\"objects\":$names}")
			assert_equal '[true,4,0,0]' "$(jq -c '[.ok,.healed,.failed,.unknown]' <<<"$answer")" "$WHAT: the answer"
			assert_whole
			fs_wait_for 10 more_healed || fail "$WHAT: not in the journal"
			all_right || fail "$WHAT: wrong bytes"
		done
		answer=$(control "{\"operation\":\"heal\",\"objects\":$names}")
		assert_equal '[true,0,0,0]' "$(jq -c '[.ok,.healed,.failed,.unknown]' <<<"$answer")" 'the answer where all is well'
		answer=$(control '{"operation":"heal","objects":["00112233445566778899aabbccddeeff"]}')
		assert_equal '[true,0,0,1]' "$(jq -c '[.ok,.healed,.failed,.unknown]' <<<"$answer")" 'the answer for what is not served'
		assert_equal false "$(control '{"operation":"heal","objects":["zz"]}' | jq .ok)" 'the answer for what is no object'
		assert_equal false "$(control '{"operation":"heal","objects":7}' | jq .ok)" 'the answer for what is no list'
		fs_umount thing "$BASE"
	done
	assert_journalled 'by another process'
}

# Nobody asks and nobody reads: the scrub finds it by itself, also after the worker was killed; and goes away at once.
case_scrub_by_itself() {
	fresh
	must v apply thing
	WHAT='by itself'
	# Some 20 s for a round: what is damaged now is mostly still to come.
	fs_mount thing "$BASE" --io cached --scrub 64K
	assert_equal 65536 "$(fs_status thing .scrub)" 'the rate'
	damage_all flip
	kill -KILL "$(pgrep -P "$FS_DAEMON" -x veneer | head -n 1)"
	fs_wait_for 10 more_healed || fail 'a new worker does not look'
	fs_umount thing "$BASE"
	HEALED=$(healed_count)
	fs_mount thing "$BASE" --io cached --scrub 64K
	damage flip "$(last_object)"
	fs_wait_for 60 more_healed || fail "the scrub does not find it"
	fs_wait_for 60 round_has_ended || fail 'the round does not end'
	fs_umount thing "$BASE"
	# A file that takes a month: nobody waits for that.
	fs_mount thing "$BASE" --io cached --scrub 1
	sleep 0.5
	must v umount thing
	wait "$FS_DAEMON" || fail "status $?"
	FS_DAEMON=
}
# The one that a round comes to last.
last_object() { tr ' ' '\n' <<<"$OBJECTS" | sort | tail -n 1; }
round_has_ended() { [ "$(fs_status thing .scrubbed_at)" != null ]; }

case_scrub_option() {
	fresh
	local wrong
	for wrong in '' 0 x -1 1M5 8MB 99999999999G; do
		assert_refused 2 'scrub' v mount thing --scrub "$wrong"
	done
	fs_mount thing "$BASE" --scrub off
	assert_equal 0 "$(fs_status thing .scrub)" 'the rate when it is off'
	fs_umount thing "$BASE"
	fs_mount thing "$BASE"
	assert_equal 8388608 "$(fs_status thing .scrub)" 'the rate'
	assert_equal ok "$(fs_status thing .health)" 'health'
	assert_equal 0 "$(fs_status thing .healed)" 'healed'
	fs_umount thing "$BASE"
}

# ---- what cannot be healed ----

case_git_is_damaged_too() {
	fresh
	local blob object file io
	must v apply thing
	# All objects of git's by themselves, so that one can go.
	for file in "$STORE"/git/objects/pack/*.pack; do
		[ -e "$file" ] || continue
		mv "$file" "$SCRATCH/pack"
		rm -f "${file%.pack}".*
		g unpack-objects -q <"$SCRATCH/pack"
	done
	blob=$(g rev-parse refs/veneer/thing/active:large)
	file=$STORE/git/objects/${blob:0:2}/${blob:2}
	object=$(object large)
	for io in $(modes); do
		fs_mount thing "$BASE" --io "$io" --scrub off
		mv "$file" "$SCRATCH/blob"
		damage truncate "$object"
		forget
		! t cat "$BASE/large" >"$SCRATCH/got" 2>"$SCRATCH/error" || fail "--io $io: wrong bytes are handed out"
		assert_match 'Input/output error' "$(cat "$SCRATCH/error")" 'the error'
		cmp -n "$(stat -c %s "$SCRATCH/got")" "$SCRATCH/got" "$NEW/large" || fail 'wrong bytes before the error'
		assert_match '^damaged: .*cannot be made again' "$(fs_status thing .health)" 'health'
		assert_match 'who reads it gets an error' "$(cat "$FS_LOG")" 'the log'
		assert_content plain "$BASE/plain"
		assert_content new "$BASE/small"
		mv "$SCRATCH/blob" "$file"
		forget
		t cmp "$NEW/large" "$BASE/large" || fail 'it is not healed when git has it again'
		assert_match '^healed: ' "$(fs_status thing .health)" 'health afterwards'
		fs_umount thing "$BASE"
	done
}

# What cannot be made again is an error for who reads it, not the end of all that is served, whoever serves it by then.
worker_killed_and_lost() {
	local lost=$1 io=$2 blob file object
	fresh
	must v apply thing
	for file in "$STORE"/git/objects/pack/*.pack; do
		mv "$file" "$SCRATCH/pack"
		rm -f "${file%.pack}".*
		g unpack-objects -q <"$SCRATCH/pack"
	done
	blob=$(g rev-parse refs/veneer/thing/active:large)
	file=$STORE/git/objects/${blob:0:2}/${blob:2}
	object=$(object large)
	fs_mount thing "$BASE" --io "$io" --scrub off
	cp "$file" "$SCRATCH/blob"
	case $lost in
	missing) rm "$file" ;;
	damaged) chmod u+w "$file"; printf '\377\377' | dd of="$file" bs=1 seek=$(($(stat -c %s "$file") / 2)) conv=notrunc status=none ;;
	esac
	damage truncate "$object"
	kill -KILL "$(pgrep -P "$FS_DAEMON" -x veneer | head -n 1)"
	assert_content new "$BASE/small"
	assert_content plain "$BASE/plain"
	t cmp "$NEW/program" "$BASE/program" || fail 'another file is wrong'
	forget
	! t cat "$BASE/large" >"$SCRATCH/got" 2>"$SCRATCH/error" || fail 'wrong bytes are handed out'
	assert_match 'Input/output error' "$(cat "$SCRATCH/error")" 'the error'
	[ ! -s "$SCRATCH/got" ] || cmp -n "$(stat -c %s "$SCRATCH/got")" "$SCRATCH/got" "$NEW/large" || fail 'wrong bytes before the error'
	assert_match '^damaged: ' "$(fs_status thing .health)" 'health'
	assert_match 'could not begin|gets an error' "$(cat "$FS_LOG")" 'the log'
	! grep -q 'could not begin' "$FS_LOG" || fail 'a worker could not begin to serve'
	cat "$SCRATCH/blob" >"$SCRATCH/again"
	rm -f "$file"
	mv "$SCRATCH/again" "$file"
	forget
	t cmp "$NEW/large" "$BASE/large" || fail 'it is not healed when git has it again'
	all_right || fail 'wrong bytes'
	fs_umount thing "$BASE"
}
case_worker_killed_and_blob_missing() { worker_killed_and_lost missing cached; }
case_worker_killed_and_blob_damaged() { worker_killed_and_lost damaged cached; }
case_worker_killed_and_blob_missing_passthrough() {
	fs_have_passthrough || skip 'this kernel has no passthrough'
	worker_killed_and_lost missing passthrough
}

# While somebody else has the store, what is to be written down waits, and says what it says once.
case_many_while_locked() {
	fs_setup
	local i reason
	BASE=$SCRATCH/base NEW=$SCRATCH/new
	mkdir "$BASE" "$NEW"
	for i in $(seq 20); do echo "old $i" >"$BASE/$i"; echo "new $i" >"$NEW/$i"; done
	fs_component thing "$BASE" --base-version 1
	fs_create thing -m patch --from "$NEW" >/dev/null
	must v apply thing
	fs_mount thing "$BASE" --io cached --scrub off
	exec 9<>"$STORE/lock"
	flock 9
	for i in "$STORE"/objects/*/*; do damage flip "$i"; done
	for i in $(seq 20); do assert_content "new $i" "$BASE/$i"; done
	sleep 4
	exec 9>&-
	fs_wait_for 10 more_healed || fail 'not in the journal'
	reason=$(v log thing --json | jq -r '[.[] | select(.action == "healed") | .reason] | join("|")')
	assert_equal 1 "$(grep -o 'objects in all' <<<"$reason" | wc -l)" "how often it says how many there were in '$reason'"
	assert_match '; 20 objects in all' "$reason" 'the entry'
	fs_umount thing "$BASE"
}

# However many wait for a large object, others do not.
case_others_do_not_wait() {
	fs_setup
	local i pids='' waiting=0
	BASE=$SCRATCH/base NEW=$SCRATCH/new
	mkdir "$BASE" "$NEW"
	echo old >"$BASE/large"
	for i in 1 2 3; do echo "plain $i" | tee "$BASE/plain$i" >"$NEW/plain$i"; done
	head -c 150000000 /dev/urandom >"$NEW/large"
	fs_component thing "$BASE" --base-version 1
	fs_create thing -m patch --from "$NEW" >/dev/null
	must v apply thing
	fs_mount thing "$BASE" --io cached --scrub off
	[ "$(find "/proc/$(pgrep -P "$FS_DAEMON" -x veneer | head -n 1)/task" -maxdepth 1 | wc -l)" -lt 16 ] || skip 'so many threads that none is missed'
	truncate -s 4096 "$(find "$STORE/objects" -type f -size +100M)"
	for i in $(seq 8); do
		t dd if="$BASE/large" of="$SCRATCH/read$i" bs=4096 skip=$((i * 4000)) count=1 status=none &
		pids+=" $!"
		fs_remember_pid $!
	done
	sleep 0.3
	for i in 1 2 3; do assert_content "plain $i" "$BASE/plain$i"; done
	for i in $pids; do ! kill -0 "$i" 2>/dev/null || waiting=$((waiting + 1)); done
	[ $waiting = 8 ] || fail "others were served when $((8 - waiting)) of those who wait for the large object had it"
	for i in $pids; do wait "$i" || fail 'a reader got an error'; done
	for i in $(seq 8); do
		dd if="$NEW/large" bs=4096 skip=$((i * 4000)) count=1 status=none | cmp - "$SCRATCH/read$i" || fail 'wrong bytes'
	done
	fs_umount thing "$BASE"
}

# What is refused is not served, and what is served goes on.
case_activation_fails() {
	fresh
	local blob file
	must v apply thing
	must v revert thing
	for file in "$STORE"/git/objects/pack/*.pack; do
		mv "$file" "$SCRATCH/pack"
		rm -f "${file%.pack}".*
		g unpack-objects -q <"$SCRATCH/pack"
	done
	fs_mount thing "$BASE" --scrub off
	blob=$(g rev-parse refs/veneer/thing/patches/a:large)
	mv "$STORE/git/objects/${blob:0:2}/${blob:2}" "$SCRATCH/blob"
	damage flip "$(object large)"
	assert_refused 1 "large" v apply thing
	assert_content 'old large' "$BASE/large"
	assert_content 'old small' "$BASE/small"
	mv "$SCRATCH/blob" "$STORE/git/objects/${blob:0:2}/${blob:2}"
	must v apply thing
	all_right || fail 'wrong bytes'
	fs_umount thing "$BASE"
}

# ---- rot: the disk has other bytes, and no fingerprint tells ----

# A store on a filesystem in a file, beneath which bytes can be changed.
rotting_store() {
	fs_setup
	local image=$SCRATCH/image
	truncate -s 64M "$image"
	mkfs.ext4 -q -b 4096 "$image" 2>"$SCRATCH/said" || skip "no ext4 can be made: $(cat "$SCRATCH/said")"
	mkdir "$SCRATCH/disk"
	mount -o loop "$image" "$SCRATCH/disk" 2>"$SCRATCH/said" || skip "no loop device: $(cat "$SCRATCH/said")"
	fs_remember_mount "$SCRATCH/disk"
	STORE=$SCRATCH/disk/store
	IMAGE=$image
	patched_base
	find_objects
}

# rot OBJECT: a byte in the middle becomes another one on the disk, and nothing in memory has the old one.
rot() {
	local size at block
	size=$(stat -c %s "$1")
	at=$((size / 2))
	sync -f "$1"
	block=$(t filefrag -b4096 -v "$1" | awk -v wanted=$((at / 4096)) -F '[ :.]+' \
		'$2 ~ /^[0-9]+$/ && $3 <= wanted && wanted <= $4 { print $5 + wanted - $3; exit }')
	[ -n "$block" ] || fail "where '$1' lies is not known: $(filefrag -v "$1")"
	printf '\377' | dd of="$IMAGE" bs=1 seek=$((block * 4096 + at % 4096)) conv=notrunc status=none
	dd if="$1" iflag=nocache count=0 status=none
}
rot_all() {
	local path
	for path in $OBJECTS; do rot "$path"; done
}

is_rotten() { ! cmp -s "$NEW/$1" "$(object "$1")"; }

case_rot() {
	rotting_store
	local io before path
	must v apply thing
	path=$(object large)
	before=$(stat -c '%i %s %y %z' "$path")
	rot_all
	is_rotten large || fail 'the test does not damage anything'
	assert_equal "$before" "$(stat -c '%i %s %y %z' "$path")" 'the fingerprint'
	for io in $(modes); do
		WHAT="rot, mount, --io $io"
		rot_all
		fs_mount thing "$BASE" --io "$io" --scrub off
		all_right || fail "$WHAT: wrong bytes"
		fs_wait_for 10 more_healed || fail "$WHAT: not in the journal"
		WHAT="rot, worker killed, --io $io"
		rot_all
		kill -KILL "$(pgrep -P "$FS_DAEMON" -x veneer | head -n 1)"
		t stat "$BASE/no-such-name" >/dev/null 2>&1 || :
		all_right || fail "$WHAT: wrong bytes"
		fs_wait_for 10 more_healed || fail "$WHAT: not in the journal"
		WHAT="rot, scrub, --io $io"
		rot_all
		control '{"operation":"heal"}' >/dev/null
		fs_wait_for 20 more_healed || fail "$WHAT: not found"
		fs_wait_for 20 whole || fail "$WHAT: not whole"
		forget
		all_right || fail "$WHAT: wrong bytes"
		if [ "$io" = cached ]; then
			WHAT="rot, read, --io $io"
			rot_all
			forget
			all_right || fail "$WHAT: wrong bytes"
			fs_wait_for 10 more_healed || fail "$WHAT: not in the journal"
		fi
		# The disk itself is right again: nothing of this was in memory alone.
		dd if="$path" iflag=nocache count=0 status=none
		assert_whole
		fs_umount thing "$BASE"
	done
}

# Verified when it was applied, reverted, rotten since: what is activated anew is read anew.
case_rot_between_activations() {
	rotting_store
	local io
	for io in $(modes); do
		WHAT="rot between two activations, --io $io"
		fs_mount thing "$BASE" --io "$io" --scrub off
		must v apply thing
		must v revert thing
		rot_all
		# So long it is trusted (OBJECT_TRUSTED_SECONDS): in cached mode it is the reader who finds it then.
		if [ "$io" = cached ]; then
			must v apply thing
			all_right || fail "$WHAT, within seconds: wrong bytes"
			must v revert thing
			rot_all
		fi
		sleep 31
		must v apply thing
		assert_whole
		all_right || fail "$WHAT: wrong bytes"
		is_journalled_activation || fail "$WHAT: not in the journal"
		must v revert thing
		fs_umount thing "$BASE"
	done
}
is_journalled_activation() { fs_wait_for 10 is_journalled 'by an activation'; }

# The page cache has the right bytes, for somebody maps them; the disk does not: seen by the scrub alone, and mended.
case_rot_beneath_a_mapping() {
	rotting_store
	local path
	must v apply thing
	path=$(object large)
	fs_mount thing "$BASE" --io cached --scrub off
	start_holder "$path"
	holds >/dev/null
	rot "$path"
	cmp -s "$NEW/large" "$path" || skip 'the page cache was dropped beneath a mapping'
	control '{"operation":"heal"}' >/dev/null
	OBJECTS=" $path"
	fs_wait_for 20 is_journalled 'by the scrub' || fail 'the scrub does not see the disk'
	end_holder
	dd if="$path" iflag=nocache count=0 status=none
	cmp "$NEW/large" "$path" || fail 'the disk is not mended'
	fs_umount thing "$BASE"
}

fs_main "$@"
