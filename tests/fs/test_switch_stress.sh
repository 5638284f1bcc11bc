#!/bin/bash
# Thousands of switches, by every way there is, while four processes open, stat, read, map, list and execute; and all that can happen
# to a mount at once: switches, kills of the worker, refreshes, objects that are damaged, a base that is replaced.
# What is judged, and how, is in tests/tools/switch_stress.c.
. "$(dirname "$0")/lib.sh"
export VENEER_CASE_SECONDS=${VENEER_CASE_SECONDS:-1000}

# state DIR LETTER: the directory in state A or B.
make_state() {
	local dir=$1 state=$2 i size
	mkdir -p "$dir/patched" "$dir/plain"
	for i in 0 1 2 3 4 5 6 7; do
		if [ "$state" = A ]; then size=$((65536 + 4321 * i)); else size=$((131072 + 1234 * i)); fi
		fs_fill "$state" $size >"$dir/patched/$i"
		fs_fill U 65536 >"$dir/plain/$i"
	done
	sed "s/TAGGED-PROGRAM:./TAGGED-PROGRAM:$state/" "$VENEER_TOOLS/tagged" >"$dir/patched/run"
	sed "s/TAGGED-PROGRAM:./TAGGED-PROGRAM:U/" "$VENEER_TOOLS/tagged" >"$dir/plain/run"
	chmod 755 "$dir/patched/run" "$dir/plain/run"
	if [ "$state" = B ]; then echo only >"$dir/patched/only"; fi
}

# stress IO COUNT SECONDS: COUNT switches, in at most so many seconds.
stress() {
	local io=$1 count=$2 seconds=$3 status=0 command git
	BASE=$SCRATCH/base
	make_state "$BASE" A
	make_state "$SCRATCH/new" B
	fs_component thing "$BASE"
	fs_create thing -m B --from "$SCRATCH/new" >/dev/null
	fs_mount thing "$BASE" --io "$io"
	command="$VENEER --store $STORE -q"
	# Moved by plain git, a ref is followed a moment later (how soon is test_ref's matter): wait for that.
	git=$SCRATCH/move-ref
	cat >"$git" <<-SCRIPT
		#!/bin/bash
		git -C "$STORE/git" update-ref refs/veneer/thing/active "\$1" || exit 1
		want=\$(git -C "$STORE/git" rev-parse "\$1")
		for ((try = 0; try < 600; try++)); do
			[ "\$($command status thing --verbose --json | jq -r '.[0].commit')" != "\$want" ] || exit 0
			sleep 0.02
		done
		echo "the daemon does not follow the ref to \$1" >&2
		exit 1
	SCRIPT
	chmod 755 "$git"
	T=$((seconds + 60)) tool switch_stress "$BASE" "$count" "$seconds" \
		"$command apply thing" "$command revert thing" \
		"$command switch thing refs/veneer/thing/patches/a" "$command rollback thing" \
		"$command apply thing a" "$command switch thing refs/veneer/thing/base" \
		"$command apply thing" "$command revert thing --all" \
		"$command switch thing refs/veneer/thing/patches/a" "$command revert thing a" \
		"$git refs/veneer/thing/patches/a" "$git refs/veneer/thing/base" || status=$?
	[ $status -ne 3 ] || fail "the time was over before $count switches were done"
	[ $status -eq 0 ] || fail "switching under load, --io $io"
	must g fsck --strict
	fs_umount thing "$BASE"
}

case_cached() {
	fs_setup
	stress cached "${VENEER_SWITCHES:-$(fs_count 2000 150)}" "$(fs_count 900 1800)"
}

case_passthrough() {
	fs_setup
	fs_have_passthrough || skip "passthrough needs Linux 6.9, this is $(uname -r)"
	stress passthrough "$((${VENEER_SWITCHES:-$(fs_count 1000 150)} / 2))" "$(fs_count 600 1200)"
}

# ---- everything at once ----

# The step that switch_stress runs for each switch: in what order, and with what besides, is left to chance. A command whose worker is
# killed beneath it does not know what became of it: then it is looked at what is served, and another way is taken.
write_step() {
	cat >"$SCRATCH/step" <<-'SCRIPT'
		#!/bin/bash
		# step there|back IO
		side=$BASE/side/file
		veneer() { timeout 60 "$VENEER" --store "$STORE" -q "$@"; }
		did() { echo "$1" >>"$SCRATCH/operations"; }
		one_of() { local n=$((RANDOM % $# + 1)); echo "${!n}"; }
		worker() { pgrep -P "$DAEMON" -x veneer | head -n 1; }
		object() { local all=("$STORE"/objects/??/*); echo "${all[RANDOM % ${#all[@]}]}"; }

		damage() {
			local object kind
			object=$(object)
			[ -f "$object" ] || return 0
			# Who has it open reads that very file, with passthrough: it may vanish, and not be written to.
			kind=$(one_of delete directory)
			[ "$1" != cached ] || kind=$(one_of flip truncate delete directory)
			case $kind in
			flip) printf '\377' | dd of="$object" bs=1 seek=$((RANDOM % 4000)) conv=notrunc status=none ;;
			truncate) truncate -s 1000 "$object" ;;
			delete) rm -f "$object" ;;
			directory) rm -f "$object"; mkdir "$object" 2>/dev/null || : ;;
			esac
			did "damage: $kind"
		}

		# As a package manager does: a patched file gets another content, which is seen at once; then the old one is back.
		change_base() {
			[ "$(veneer status thing --json | jq -r '.[0].patches[] | select(.label == "side") | .state')" = applied ] || { veneer apply thing side 2>/dev/null || :; }
			echo "newer $RANDOM" >"$side.new" && mv "$side.new" "$side" || { echo "the base cannot be replaced" >&2; exit 1; }
			[[ $(cat "$side") == newer* ]] || { echo "after a newer base '$(cat "$side")' is shown" >&2; exit 1; }
			did 'base replaced'
			# Sometimes for long enough that the patch retires.
			[ $((RANDOM % 3)) -gt 0 ] || sleep 0.3
			echo old >"$side.new" && mv "$side.new" "$side"
		}

		disturb() {
			case $((RANDOM % 8)) in
			0 | 1) kill -KILL "$(worker)" 2>/dev/null && did 'worker killed' ;;
			2) { sleep "0.00$((RANDOM % 10))"; kill -KILL "$(worker)"; } 2>/dev/null & did 'worker killed within a switch' ;;
			3) veneer refresh thing 2>/dev/null && did refresh ;;
			4 | 5) damage "$1" ;;
			6) change_base ;;
			7) if [ -n "$GC" ]; then veneer gc >/dev/null && did gc; else damage "$1"; fi ;;
			esac
		}

		# The bytes that are served say which state it is.
		serves() { [ "$(head -c 1 "$BASE/patched/0")" = "$1" ]; }
		git_moves() {
			git -C "$STORE/git" update-ref refs/veneer/thing/active "$1" || return 1
			local try
			for ((try = 0; try < 100; try++)); do
				[ "$(veneer status thing --verbose --json 2>/dev/null | jq -r '.[0].commit')" != "$(git -C "$STORE/git" rev-parse "$1")" ] || return 0
				sleep 0.02
			done
			return 1
		}
		go() {
			case $1 in
			apply) veneer apply thing a ;;
			revert) veneer revert thing a ;;
			all) veneer revert thing --all ;;
			rollback) veneer rollback thing ;;
			switch) veneer switch thing "$2" ;;
			git) git_moves "$3" ;;
			esac 2>>"$SCRATCH/refused"
		}

		disturb "$2"
		for ((try = 0; try < 50; try++)); do
			if [ "$1" = there ]; then
				way=$(one_of apply apply switch rollback git) want=B
				go "$way" a refs/veneer/thing/patches/a && done=yes || done=
			else
				way=$(one_of revert all switch rollback git) want=A
				go "$way" base refs/veneer/thing/base && done=yes || done=
			fi
			wait
			# Of one that fails it is not known what it has done; one that succeeds may have led elsewhere, as a rollback can.
			if [ -n "$done" ] && serves $want; then did "$way"; exit 0; fi
			[ $try -lt 5 ] || sleep 0.1
		done
		echo "$1: no way leads there; the last was $way: $(tail -n 3 "$SCRATCH/refused")" >&2
		exit 1
	SCRIPT
	chmod 755 "$SCRATCH/step"
}

descriptors() { ls "/proc/$1/fd" | wc -l; }
resident() { awk '/^VmRSS:/ { print $2 }' "/proc/$1/status"; }
worker_process() { pgrep -P "$FS_DAEMON" -x veneer | head -n 1; }

# Until it is killed: what the worker takes, of each that lives for a while.
watch_worker() {
	local pid
	set +eE
	trap - ERR
	while sleep 0.3; do
		pid=$(worker_process)
		[ -z "$pid" ] || echo "$(descriptors "$pid") $(resident "$pid")" >>"$SCRATCH/worker"
	done 2>/dev/null
}
# largest FROM TO COLUMN: of the samples in that part (in hundredths).
largest() {
	awk -v from="$1" -v to="$2" -v column="$3" '{ v[NR] = $column } END { for (i = 1; i <= NR; i++)
		if (i > NR * from / 100 && i <= NR * to / 100 && v[i] > max) max = v[i]; print max + 0 }' "$SCRATCH/worker"
}

# everything IO SECONDS
everything() {
	local io=$1 seconds=$2 status=0 fds kib fds_after kib_after watcher switches
	BASE=$SCRATCH/base
	make_state "$BASE" A
	mkdir "$BASE/side"
	echo old >"$BASE/side/file"
	cp -a "$BASE" "$SCRATCH/new"
	rm -r "$SCRATCH/new/patched" "$SCRATCH/new/plain"
	make_state "$SCRATCH/new" B
	fs_component thing "$BASE"
	fs_create thing -m B --label a --from "$SCRATCH/new" >/dev/null
	rm -r "$SCRATCH/new"
	cp -a "$BASE" "$SCRATCH/new"
	echo patched >"$SCRATCH/new/side/file"
	fs_create thing -m side --label side --from "$SCRATCH/new" >/dev/null
	fs_mount thing "$BASE" --io "$io" --scrub 64M
	write_step
	: >"$SCRATCH/operations"; : >"$SCRATCH/refused"; : >"$SCRATCH/worker"
	export BASE STORE SCRATCH DAEMON=$FS_DAEMON GC=
	! v help | grep -q '^ *gc ' || GC=yes
	fds=$(descriptors "$FS_DAEMON") kib=$(resident "$FS_DAEMON")
	watch_worker &
	watcher=$!
	fs_remember_pid $watcher
	T=$((seconds + 300)) tool switch_stress "$BASE" 1000000 "$seconds" \
		"$SCRATCH/step there $io" "$SCRATCH/step back $io" >"$SCRATCH/said" || status=$?
	kill $watcher 2>/dev/null || :
	cat "$SCRATCH/said"
	sort "$SCRATCH/operations" | uniq -c | sort -rn
	[ $status -eq 3 ] || [ $status -eq 0 ] || fail "--io $io: status $status"
	switches=$(sed -n 's/^\([0-9]*\) switches.*/\1/p' "$SCRATCH/said")
	echo "$switches switches: one a minute would take $((switches / 60)) hours and $((switches % 60)) minutes (a day has 1,440)"
	echo "retired: $(v log thing --json | jq '[.[] | select(.action == "retired")] | length') times"
	echo "the store has $(du -sk "$STORE" | cut -f 1) KiB; workers: $(fs_status thing .workers); healed: $(fs_status thing .healed)"
	must g fsck --strict
	fs_wait_for 2 no_more "$fds" || echo 2 >/proc/sys/vm/drop_caches
	fs_wait_for 10 no_more "$fds" || fail "descriptors of the supervisor: $fds before, $(descriptors "$FS_DAEMON") after"
	fds_after=$(descriptors "$FS_DAEMON") kib_after=$(resident "$FS_DAEMON")
	echo "supervisor: $fds descriptors and $kib KiB before, $fds_after and $kib_after after; worker, first and last third: $(largest 0 33 1) and $(largest 67 100 1) descriptors, $(largest 0 33 2) and $(largest 67 100 2) KiB"
	if ! fs_sanitized; then
		[ "$kib_after" -le $((kib + 4096)) ] || fail "memory of the supervisor: $kib KiB before, $kib_after after"
		[ "$(largest 67 100 2)" -le $(($(largest 0 33 2) * 2 + 16384)) ] || fail 'the worker grows'
		[ "$(largest 67 100 1)" -le $(($(largest 0 33 1) * 2 + 64)) ] || fail 'the worker collects descriptors'
	fi
	fs_umount thing "$BASE"
}
no_more() { [ "$(descriptors "$FS_DAEMON")" -le "$1" ]; }

case_everything_cached() {
	fs_setup
	everything cached "${VENEER_EVERYTHING_SECONDS:-40}"
}

case_everything_passthrough() {
	fs_setup
	fs_have_passthrough || skip "passthrough needs Linux 6.9, this is $(uname -r)"
	everything passthrough "${VENEER_EVERYTHING_SECONDS:-40}"
}

# Not one of the cases: scripts/test --soak MINUTES asks for it, with both ways to serve in turn.
soak() {
	fs_setup
	everything "${VENEER_SOAK_IO:-cached}" $((${VENEER_SOAK:-1} * 60))
}

VENEER_CASE_SECONDS=${VENEER_CASE_SECONDS:-1000}
fs_main "$@"
