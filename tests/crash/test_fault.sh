#!/bin/bash
# The tool that the tests of this folder stand on: it counts what a known program does, a kill comes before the call, a failure is one.
. "$(dirname "$0")/../fs/lib.sh"

# Two writes, a rename, a sync; something elsewhere, and something that changes nothing.
make_script() {
	fs_setup
	mkdir "$SCRATCH/d" "$SCRATCH/elsewhere"
	cat >"$SCRATCH/script" <<-'TEXT'
	cd "$1/d"
	printf one >a
	printf two >>a
	mv a b
	mkdir -p "$1/d"
	echo more >../elsewhere/c
	sync b
	ln -s b link
	rm link
	TEXT
}
run_fault() { tool fault --list "$SCRATCH/list" --report "$SCRATCH/report" --beneath "$SCRATCH/d" "$@"; }
script() { run_fault "$@" bash -e "$SCRATCH/script" "$SCRATCH"; }
names() { awk '{ printf "%s ", $2 }' "$SCRATCH/list"; }
# Of the list the number of the call, by the name of the call and of its path.
number_of() { awk -v call="$1" '$2 ~ call { print $1; exit }' "$SCRATCH/list"; }

case_counts() {
	make_script
	must script
	# The second opening finds the file, and makes nothing.
	assert_match '^(open|openat) write write rename(at|at2)? fsync symlink(at)? unlink(at)? $' "$(names)" 'the calls'
	assert_equal 'count 7' "$(cat "$SCRATCH/report")" 'the report'
	assert_match "^4 rename[a-z0-9]* $SCRATCH/d/a -> $SCRATCH/d/b$" "$(cat "$SCRATCH/list")" 'the list'
	assert_content onetwo "$SCRATCH/d/b"
}

case_status_goes_through() {
	local status=0
	make_script
	run_fault bash -c 'exit 7' || status=$?
	assert_equal 7 $status 'a status'
	status=0
	run_fault bash -c 'kill -USR1 $$' || status=$?
	assert_equal 138 $status 'a signal'
	status=0
	run_fault "$SCRATCH/missing" 2>/dev/null || status=$?
	assert_equal 124 $status 'a program that is not there'
}

case_kill_comes_before() {
	local n status
	for n in 1 2 3 4 5 6 7; do
		[ -n "${SCRATCH-}" ] && rm -rf "$SCRATCH/d" && mkdir "$SCRATCH/d" || make_script
		status=0
		script --kill $n || status=$?
		assert_equal 137 $status "killed at $n"
		assert_equal "count $n reached" "$(tr '\n' ' ' <"$SCRATCH/report" | sed 's/ $//')" 'the report'
		case $n in
		1) assert_equal '' "$(ls "$SCRATCH/d")" 'before the file was made' ;;
		2) assert_content '' "$SCRATCH/d/a" ;;
		3) assert_content one "$SCRATCH/d/a" ;;
		4) [ -e "$SCRATCH/d/a" ] && [ ! -e "$SCRATCH/d/b" ] || fail 'it was renamed' ;;
		5 | 6) [ -e "$SCRATCH/d/b" ] && [ ! -e "$SCRATCH/d/link" ] || fail "at $n: $(ls "$SCRATCH/d")" ;;
		7) [ -L "$SCRATCH/d/link" ] || fail 'the link was removed' ;;
		esac
	done
}

case_kill_after() {
	local status=0
	make_script
	script --kill-after 2 || status=$?
	assert_equal 137 $status 'killed'
	assert_content one "$SCRATCH/d/a"
}

case_fails() {
	local status=0
	make_script
	script --fail 2=ENOSPC 2>"$SCRATCH/err" || status=$?
	assert_equal 1 $status 'the script'
	assert_match 'No space left on device' "$(cat "$SCRATCH/err")" 'what it says'
	assert_content '' "$SCRATCH/d/a"
	rm "$SCRATCH/d/a"
	status=0
	script --fail 5=EIO 2>"$SCRATCH/err" || status=$?
	assert_match 'Input/output error' "$(cat "$SCRATCH/err")" 'what sync says'
	[ -e "$SCRATCH/d/b" ] || fail 'what came before was done'
}

# From there on nothing that needs room succeeds; what needs none does.
case_full_disk() {
	make_script
	run_fault --fail-from 2=ENOSPC bash -c 'cd "$1"; : >a; echo x >>a; echo y >>a; mkdir e; mv a b; ln -s x y; rm b' - "$SCRATCH/d" 2>"$SCRATCH/err" || :
	assert_equal 4 "$(grep -c 'No space left' "$SCRATCH/err")" 'failures: two writes, a directory, a link'
	assert_equal '' "$(ls "$SCRATCH/d")" 'renamed and removed all the same'
}

case_short_write() {
	make_script
	run_fault --short 2 perl -e 'open(my $f, ">", "$ARGV[0]/x"); my $n = syswrite($f, "abcdefgh"); exit($n == 4 ? 0 : 1)' "$SCRATCH/d" || fail 'not half of it'
	assert_content abcd "$SCRATCH/d/x"
}

case_not_reached() {
	local status=0
	make_script
	script --kill 8 || status=$?
	assert_equal 125 $status 'no eighth call'
	assert_content onetwo "$SCRATCH/d/b"
}

# All processes of the command are counted, and killed: those that it starts, and those that go on in the background.
case_children() {
	local status=0 child
	make_script
	run_fault --kill 2 bash -c 'sleep 1000 & echo $! >"$1/pid"; (echo x >"$1/x"); wait' - "$SCRATCH/d" || status=$?
	assert_equal 137 $status 'killed'
	run_fault bash -c '(echo x >"$1/x"); echo y | tee "$1/y" >/dev/null' - "$SCRATCH/d"
	assert_equal 'openat write openat write ' "$(names | sed 's/open /openat /g')" 'calls of children'
	rm -f "$SCRATCH"/d/*
	status=0
	run_fault --kill 3 bash -c 'sleep 1000 & echo $! >"$1/pid"; (echo x >"$1/x"); wait' - "$SCRATCH/d" || status=$?
	child=$(cat "$SCRATCH/d/pid")
	# Whoever has become its parent may still have to fetch its status.
	assert_match '^(Z|X|)$' "$(awk '/^State:/ { print $2 }' "/proc/$child/status" 2>/dev/null)" 'the state of a child'
}

# A process that is running already, with all its threads.
case_attach() {
	local status=0 server fault
	make_script
	mkfifo "$SCRATCH/orders"
	bash -c 'cd "$1"; while read -r word <../orders; do echo "$word" >"$word"; done' - "$SCRATCH/d" &
	server=$!
	fs_remember_pid $server
	tool fault --beneath "$SCRATCH/d" --kill 3 --attach $server >"$SCRATCH/said" &
	fault=$!
	fs_remember_pid $fault
	fs_wait_for 10 grep -q attached "$SCRATCH/said" || fail 'not attached'
	echo first >"$SCRATCH/orders"
	fs_wait_for 10 test -s "$SCRATCH/d/first" || fail 'it does not go on'
	echo second >"$SCRATCH/orders"
	wait $fault || status=$?
	assert_equal 0 $status 'fault'
	status=0
	wait $server || status=$?
	assert_equal 137 $status 'the process'
	[ ! -e "$SCRATCH/d/second" ] || fail 'the third call was done'
}

case_lets_go() {
	local status=0 server fault
	make_script
	sleep 1000 &
	server=$!
	fs_remember_pid $server
	"$VENEER_TOOLS/fault" --report "$SCRATCH/report" --beneath "$SCRATCH/d" --attach $server >"$SCRATCH/said" &
	fault=$!
	fs_wait_for 10 grep -q attached "$SCRATCH/said" || fail 'not attached'
	kill -TERM $fault
	wait $fault || status=$?
	assert_equal 0 $status 'fault'
	assert_equal 'count 0' "$(cat "$SCRATCH/report")" 'the report'
	kill -0 $server || fail 'the process is gone'
	assert_equal 0 "$(awk '/^TracerPid:/ { print $2 }' /proc/$server/status)" 'its tracer'
}

fs_main "$@"
