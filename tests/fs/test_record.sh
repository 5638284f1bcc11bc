#!/bin/bash
# record: what a command changes below the component becomes a patch, whatever the change; nobody sees it before, and nothing is left.
. "$(dirname "$0")/lib.sh"

# In a chroot whose root is no mount point nothing can be kept private (veneer says so).
if ! awk '$5 == "/" { found = 1 } END { exit !found }' /proc/self/mountinfo; then
	echo "SKIP $(basename "$0" .sh): the root directory is no mount point"
	exit 77
fi

# Of every kind of thing something that can be changed.
make_base() {
	BASE=$SCRATCH/base
	export BASE SCRATCH
	mkdir -p "$BASE"/{dir/sub,moved/sub/deep,opaque/sub,gone/sub,links,kept,swap1,swap2,type}
	local name
	for name in file modes owner attribute capability acl truncated dir/one dir/two dir/sub/three moved/one moved/two \
		moved/sub/three moved/sub/deep/four opaque/old opaque/sub/old gone/x gone/sub/y links/a kept/one swap1/x swap2/y \
		renamed-file type/file type/dir-to-be; do
		echo "base $name" >"$BASE/$name"
	done
	ln "$BASE/links/a" "$BASE/links/b"
	ln -s kept "$BASE/symlink"
	ln -s gone "$BASE/relinked"
	mkfifo -m 620 "$BASE/fifo"
	mkdir "$BASE/type/dir" && : >"$BASE/type/dir/x"
	setfattr -n user.old -v old "$BASE/attribute"
	chmod 4755 "$BASE/modes"
	chmod 2775 "$BASE"
	find "$BASE" -mindepth 1 -exec touch -h -d '2020-01-01 12:00:00.5' {} +
	cp -a "$BASE" "$SCRATCH/plain-base"
	tree_listing -a "$BASE" >"$SCRATCH/base-before"
}

# A script that makes every change in "$BASE", and at its end writes down what it sees.
make_script() {
	cat >"$SCRATCH/script" <<-'EOF'
	set -e
	cd "$BASE"
	echo changed >file
	echo more >>dir/one
	rm dir/two
	: >truncated
	echo new >new-file; chmod 6711 new-file; chown 65534:65534 new-file; chmod 6711 new-file
	mkdir -p new/dir; echo in >new/dir/in; mknod new/null c 1 3; mkfifo new/fifo; chmod 1777 new/dir
	chmod 750 modes; chmod 700 kept
	chown 65534:100 owner
	setfattr -n user.note -v note attribute; setfattr -x user.old attribute
	setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 capability
	setfacl -m u:65534:r acl
	# Directories are renamed by rename(2), as anywhere, with what is changed in them before and after, and below.
	echo before >>moved/one
	perl -e 'rename "moved", "kept/elsewhere" or die $!'
	rm kept/elsewhere/two; echo added >kept/elsewhere/sub/added
	mv kept/elsewhere/sub/deep new/deep
	mv swap1 swap; mv swap2 swap1; mv swap swap2
	mv renamed-file dir/sub/renamed-file
	rm -r opaque; mkdir opaque; echo fresh >opaque/fresh
	rm -r gone
	echo through-a >>links/a; ln new-file links/new; ln dir/sub/three links/three
	ln -sfn dir relinked; ln -s nowhere dangling; rm symlink
	rm type/file; mkdir type/file; echo x >type/file/x
	rm -r type/dir; echo 'now a file' >type/dir
	rm type/dir-to-be; ln -s file type/dir-to-be
	rm fifo; echo 'was a fifo' >fifo
	# There and back again is no change.
	echo away >>dir/sub/back; rm dir/sub/back
	"$VENEER_TOOLS/tree_listing" -d -n "$BASE" >"$SCRATCH/seen"
	EOF
}

# Everything that a recording might leave behind.
assert_nothing_left() {
	local left
	left=$(find "$STORE/run" -mindepth 1 -name 'record-*')
	assert_equal '' "$left" "what $1 left in the store"
	! grep -F "$STORE" /proc/self/mountinfo || fail "$1 left a mount"
	! grep ' - overlay ' /proc/self/mountinfo | grep -F " $SCRATCH" || fail "$1 left a mount"
}

assert_base_untouched() {
	tree_listing -a "$BASE" >"$SCRATCH/base-after"
	assert_same_text "$SCRATCH/base-before" "$SCRATCH/base-after" "the base after $1"
}

assert_seen() {
	tree_listing -d -n "$BASE" >"$SCRATCH/served"
	assert_same_text "$SCRATCH/seen" "$SCRATCH/served" "$1"
}

have_overlay() {
	grep -qw overlay /proc/filesystems || modprobe overlay 2>/dev/null || skip 'this kernel has no overlayfs'
}

# label of a recording; its output goes to $SCRATCH/out and $SCRATCH/err.
record() {
	v record thing -m recorded "$@" >"$SCRATCH/out" 2>"$SCRATCH/err"
}

must_record() {
	record "$@" || fail "status $?: record $*: $(cat "$SCRATCH/err")"
	assert_nothing_left 'a recording'
}

# ---- every change ----

every_change() {
	have_overlay
	make_base
	make_script
	fs_component thing "$BASE"
	[ "$1" = none ] || fs_mount thing "$BASE" --io "$1"
	must_record -- bash "$SCRATCH/script"
	assert_match '^a [0-9a-f]{40}$' "$(cat "$SCRATCH/out")" 'what is printed'
	assert_equal '' "$(cat "$SCRATCH/err")" 'standard error'
	assert_equal "$(fs_ref thing/base)" "$(g rev-parse refs/veneer/thing/patches/a^)" 'the parent'
	if [ "$1" = none ]; then
		assert_base_untouched 'the recording'
		fs_mount thing "$BASE"
	fi
	assert_same_tree 'before the patch is applied' "$SCRATCH/plain-base" "$BASE" -d
	for _ in 1 2; do
		must v apply thing
		assert_seen 'the mount is what the command saw'
		must v revert thing
		assert_same_tree 'the mount, reverted' "$SCRATCH/plain-base" "$BASE" -d
	done
	must g fsck --strict
	fs_umount thing "$BASE"
	assert_same_tree 'the base after it all' "$SCRATCH/plain-base" "$BASE" -d
}

case_not_mounted() { fs_setup; every_change none; }
case_cached() { fs_setup; every_change cached; }
case_passthrough() {
	fs_setup
	fs_have_passthrough || skip "passthrough needs Linux 6.9, this is $(uname -r)"
	every_change passthrough
}

# The changes are those that create finds in an upper layer of somebody else's.
case_like_create() {
	fs_setup
	have_overlay
	make_base
	make_script
	sed -i '/tree_listing/d' "$SCRATCH/script"
	fs_component thing "$BASE"
	must_record -- bash "$SCRATCH/script"
	mkdir "$SCRATCH/upper" "$SCRATCH/work" "$SCRATCH/merged"
	chmod 2775 "$SCRATCH/upper"
	mount -t overlay overlay -o "lowerdir=$BASE,upperdir=$SCRATCH/upper,workdir=$SCRATCH/work,index=off,redirect_dir=on" \
		"$SCRATCH/merged"
	fs_remember_mount "$SCRATCH/merged"
	(BASE=$SCRATCH/merged; t bash "$SCRATCH/script")
	umount "$SCRATCH/merged"
	fs_create thing -m created --upper "$SCRATCH/upper" >/dev/null
	# Only the times of what is new differ.
	g ls-tree -r refs/veneer/thing/patches/a | grep -v '	\.veneer/' >"$SCRATCH/recorded"
	g ls-tree -r refs/veneer/thing/patches/b | grep -v '	\.veneer/' >"$SCRATCH/created"
	assert_same_text "$SCRATCH/created" "$SCRATCH/recorded" 'the tree of record is that of create'
}

# ---- while patches are applied ----

case_over_the_base() {
	fs_setup
	have_overlay
	make_base
	cp -a "$BASE" "$SCRATCH/new"
	echo patched >"$SCRATCH/new/file"
	mkdir "$SCRATCH/new/only-a" && echo a >"$SCRATCH/new/only-a/added"
	rm -r "$SCRATCH/new/opaque"
	fs_component thing "$BASE" --base-version 3
	fs_create thing -m one --from "$SCRATCH/new" >/dev/null
	fs_mount thing "$BASE"
	must v apply thing
	# The command sees the base: nothing of the patch gets into the new one.
	must_record -- sh -ec 'cat "$BASE/file" "$BASE/opaque/old"; ! test -e "$BASE/only-a"; cat "$BASE/file" >"$BASE/copy"; echo 1 >>"$BASE/dir/one"'
	assert_match '^base file$' "$(cat "$SCRATCH/out")" 'what the command read'
	assert_match "'thing' serves 3 \(a\); the command sees the base" "$(cat "$SCRATCH/err")" 'the note'
	assert_content patched "$BASE/file"
	assert_equal $'A\tcopy\nM\tdir/one' "$(v diff thing base b --name-status)" 'the paths of b'
	must v apply thing b
	assert_content 'base file' "$BASE/copy"
	assert_content patched "$BASE/file"
	must v revert thing a
	assert_equal $'base dir/one\n1' "$(t cat "$BASE/dir/one")" 'b alone'
	# The same path as a's: a conflict as of any two patches, or in its place.
	must v apply thing a
	must_record -q --label c -- sh -c 'echo mine >"$BASE/file"'
	assert_equal '' "$(cat "$SCRATCH/err")" 'the note, with -q'
	assert_refused 1 'file' v apply thing c
	must_record --label d --supersedes a -- sh -c 'echo mine >"$BASE/file"'
	must v apply thing d
	assert_content mine "$BASE/file"
	[ ! -e "$BASE/only-a" ] || fail 'what is superseded is still served'
}

# ---- how it ends ----

assert_ends() {
	local status=0
	record "${@:3}" || status=$?
	assert_equal "$1" "$status" "exit status of: ${*:3}"
	assert_match "$2" "$(cat "$SCRATCH/err")" "message of: ${*:3}"
	assert_equal '' "$(fs_ref thing/patches/a || :)" "a patch of: ${*:3}"
	assert_nothing_left "${*:3}"
}

case_status() {
	fs_setup
	have_overlay
	make_base
	fs_component thing "$BASE"
	echo 'not a program' >"$SCRATCH/plain" && chmod 644 "$SCRATCH/plain"
	printf '#!/no/such/shell\n' >"$SCRATCH/bad" && chmod 755 "$SCRATCH/bad"
	assert_ends 3 "veneer: 'sh' failed with exit status 3: no patch is made" -- sh -c 'rm -r "$BASE/dir"; exit 3'
	assert_ends 2 'exit status 2' -- sh -c 'exit 2'
	assert_ends 255 'exit status 255' -- sh -c 'exit 255'
	assert_ends 137 "veneer: 'sh' was ended by signal 9 \(Killed\)" -- sh -c 'echo 1 >"$BASE/x"; kill -9 $$'
	assert_ends 143 'signal 15' -- sh -c 'kill $$'
	assert_ends 127 "veneer: cannot run 'no-such-program': No such file" -- no-such-program -x
	assert_ends 127 'No such file' -- ''
	assert_ends 127 'No such file' -- "$SCRATCH/bad"
	assert_ends 126 'Permission denied' -- "$SCRATCH/plain"
	assert_ends 126 'Permission denied' -- "$SCRATCH"
	assert_ends 1 "'true' changed nothing below '$BASE': no patch is made" -- true
	assert_ends 1 'changed nothing' -- sh -c 'echo 1 >"$BASE/x"; rm "$BASE/x"; touch "$SCRATCH/elsewhere"'
	[ -e "$SCRATCH/elsewhere" ] || fail 'a change elsewhere was not real'
	assert_ends 1 'changed nothing|nothing differs' -- touch "$BASE/file"
	assert_ends 1 'changed nothing' --dry-run -- true
	assert_ends 1 "left out: mode, owner or attributes of '$BASE' itself" -- chmod 700 "$BASE"
	assert_ends 0 '^$' --dry-run -- sh -c 'rm "$BASE/file"; echo 1 >"$BASE/added"'
	assert_equal $'(dry run) patch a of \'thing\'\n  A  added\n  D  file' "$(cat "$SCRATCH/out")" 'the plan'
	assert_base_untouched 'all of it'
	must_record --json --fixes CVE-2026-1 -- rm "$BASE/file"
	assert_equal "thing a CVE-2026-1 $(fs_ref thing/patches/a)" \
		"$(jq -r '"\(.name) \(.label) \(.fixes[0]) \(.commit)"' "$SCRATCH/out")" 'JSON'
	# What would be refused in the end is refused at once.
	assert_refused 1 "there is a patch 'a' already" v record thing -m again --label a -- touch "$SCRATCH/ran"
	[ ! -e "$SCRATCH/ran" ] || fail 'the command ran although the label is taken'
	assert_refused 1 'only root may record' as_copy record thing -m x -- true
}

# The program as a user who can read store and directory, but may make no namespace.
as_copy() {
	cp "$VENEER" "$SCRATCH/veneer"
	t setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin "$SCRATCH/veneer" --store "$STORE" "$@"
}

# ---- signals ----

# begin_record SCRIPT: in the background, as RECORD, until the script has written its process id, COMMAND.
begin_record() {
	local tries=0
	rm -f "$SCRATCH/pid"
	SCRATCH=$SCRATCH BASE=$BASE "$VENEER" --store "$STORE" record thing -m recorded -- \
		bash -c "$1" >"$SCRATCH/out" 2>"$SCRATCH/err" &
	RECORD=$!
	fs_remember_pid "$RECORD"
	until [ -s "$SCRATCH/pid" ]; do
		kill -0 "$RECORD" 2>/dev/null || fail "it ended: $(cat "$SCRATCH/err")"
		[ $tries -lt 200 ] || fail 'the command did not begin'
		sleep 0.05
		tries=$((tries + 1))
	done
	COMMAND=$(cat "$SCRATCH/pid")
	KEEPER=$(awk '/^PPid/ { print $2 }' "/proc/$COMMAND/status")
}

end_record() {
	local status=0
	wait "$RECORD" || status=$?
	assert_equal "$1" "$status" "exit status after $2 ($(cat "$SCRATCH/err"))"
}

nothing_in_run() { [ -z "$(find "$STORE/run" -name 'record-*')" ]; }
is_gone() { ! kill -0 "$1" 2>/dev/null; }

case_signals() {
	fs_setup
	have_overlay
	make_base
	fs_component thing "$BASE"
	local waits='echo 1 >"$BASE/x"; echo $$ >"$SCRATCH/pid.new"; mv "$SCRATCH/pid.new" "$SCRATCH/pid"; while [ $SECONDS -lt 60 ]; do sleep 0.05; done'
	local signal
	for signal in TERM HUP; do
		begin_record "$waits"
		kill -$signal "$RECORD"
		end_record $((128 + $(kill -l $signal))) "SIG$signal"
		is_gone "$COMMAND" || fail "the command outlived SIG$signal"
		assert_nothing_left "SIG$signal"
	done
	# A command that has its own mind about it: the patch is made. (A shell's background jobs ignore SIGINT: so does the command.)
	begin_record 'trap "echo caught >\"\$BASE/caught\"; exit 0" TERM; '"$waits"
	kill -TERM "$RECORD"
	end_record 0 'a SIGTERM that is caught'
	assert_match '^a ' "$(cat "$SCRATCH/out")" 'the patch'
	assert_match caught "$(g ls-tree --name-only refs/veneer/thing/patches/a)" 'the patch'
	# Being stopped for a while makes no difference to anybody, after a signal was passed on either.
	begin_record 'trap "echo caught >>\"\$BASE/caught-too\"" TERM; echo $$ >"$SCRATCH/pid"; until [ -e "$SCRATCH/go" ]; do sleep 0.05; done'
	kill -TERM "$RECORD"
	sleep 0.3
	kill -STOP "$KEEPER" "$RECORD"
	sleep 0.1
	kill -CONT "$KEEPER" "$RECORD"
	sleep 0.3
	: >"$SCRATCH/go"
	end_record 0 'being stopped'
	assert_match caught-too "$(g ls-tree --name-only refs/veneer/thing/patches/b)" 'the patch after being stopped'
	# Whoever is killed, the other clears up; and the next clears up after both.
	begin_record "$waits"
	kill -KILL "$RECORD"
	end_record 137 'SIGKILL of the command line'
	fs_wait_for 10 is_gone "$COMMAND" || fail 'the command outlived who started it'
	fs_wait_for 10 nothing_in_run || fail 'something is left in the store'
	begin_record "$waits"
	kill -KILL "$KEEPER"
	end_record 1 'SIGKILL of the keeper'
	assert_match 'veneer: the process that keeps the command was killed' "$(cat "$SCRATCH/err")" 'the message'
	fs_wait_for 10 is_gone "$COMMAND" || fail 'the command outlived its keeper'
	assert_nothing_left 'SIGKILL of the keeper'
	begin_record "$waits"
	kill -STOP "$KEEPER"
	kill -KILL "$RECORD" "$KEEPER"
	end_record 137 'SIGKILL of both'
	fs_wait_for 10 is_gone "$COMMAND" || fail 'the command outlived both'
	! nothing_in_run || fail 'this test shows nothing: who cleared up?'
	record -- true || :
	assert_nothing_left 'the next recording'
	assert_base_untouched 'all of it'
}

# What is typed at a terminal reaches the command by itself, and only once; a shell with job control works.
case_terminal() {
	fs_setup
	have_overlay
	command -v script >/dev/null || skip 'no script(1) here'
	make_base
	fs_component thing "$BASE"
	cat >"$SCRATCH/command" <<-'EOF'
	open my $caught, ">>", "$ENV{SCRATCH}/caught" or die;
	# Not %SIG: perl would call that once for two signals.
	use POSIX;
	sigaction(SIGINT, POSIX::SigAction->new(sub { syswrite $caught, "INT\n" }));
	sub touch { open my $file, ">", shift or die; print $file @_ }
	touch("$ENV{SCRATCH}/begun");
	select undef, undef, undef, 0.05 until -e "$ENV{SCRATCH}/go";
	touch("$ENV{BASE}/tty", -t STDIN ? "a terminal" : "none");
	EOF
	mkfifo "$SCRATCH/keys"
	SHELL=/bin/sh t script -qec "exec '$VENEER' --store '$STORE' record thing -m typed -- perl '$SCRATCH/command'" /dev/null \
		<"$SCRATCH/keys" >"$SCRATCH/out" 2>&1 &
	RECORD=$!
	fs_remember_pid "$RECORD"
	exec 8>"$SCRATCH/keys"
	fs_wait_for 20 test -e "$SCRATCH/begun" || fail "it did not begin: $(cat "$SCRATCH/out")"
	printf '\003' >&8
	fs_wait_for 20 test -s "$SCRATCH/caught" || fail 'the command got no SIGINT'
	sleep 0.5
	: >"$SCRATCH/go"
	fs_wait_for 20 is_gone "$RECORD" || fail 'it did not end'
	exec 8>&-
	wait "$RECORD" || fail "status $?: $(cat "$SCRATCH/out")"
	assert_equal INT "$(cat "$SCRATCH/caught")" 'signals of one key'
	assert_match '^a terminal$' "$(g show refs/veneer/thing/patches/a:tty)" 'the terminal of the command'
	assert_nothing_left 'a terminal'
	exec 8<>"$SCRATCH/keys"
	SHELL=/bin/sh t script -qec "exec '$VENEER' --store '$STORE' record thing -m shell -- bash --norc -i" /dev/null \
		<"$SCRATCH/keys" >"$SCRATCH/out" 2>&1 &
	RECORD=$!
	fs_remember_pid "$RECORD"
	printf '%s\n' 'sleep 0.1 & fg' 'echo "$-" >"$BASE/flags"; exit 0' >&8
	fs_wait_for 20 is_gone "$RECORD" || fail "the shell did not end: $(cat "$SCRATCH/out")"
	exec 8>&-
	wait "$RECORD" || fail "status $?: $(cat "$SCRATCH/out")"
	assert_match '^[a-zA-Z]*i[a-zA-Z]*m' "$(g show refs/veneer/thing/patches/b:flags | tr -d H)" 'the flags of an interactive shell'
}

# One recording does not clear up after another that is alive; and each has its own changes.
case_two_at_once() {
	fs_setup
	have_overlay
	make_base
	fs_component thing "$BASE"
	begin_record 'echo one >"$BASE/one"; echo $$ >"$SCRATCH/pid"; until [ -e "$SCRATCH/go" ]; do sleep 0.05; done; cat "$BASE/one"; ! test -e "$BASE/two"'
	# The store is not locked meanwhile.
	T=20 record -- sh -c 'test ! -e "$BASE/one" && echo two >"$BASE/two"'
	assert_match '^a ' "$(cat "$SCRATCH/out")" 'the second, which ended first'
	: >"$SCRATCH/go"
	end_record 0 'two at once'
	assert_equal "$(g ls-tree --name-only refs/veneer/thing/patches/b | grep -v veneer)" one 'the paths of the first'
	assert_nothing_left 'two at once'
}

# ---- what the command leaves running ----

case_strays() {
	fs_setup
	have_overlay
	make_base
	fs_component thing "$BASE"
	fs_mount thing "$BASE"
	local seconds=$SECONDS
	# Two generations, one of them in a session of its own, that write until they are killed.
	must_record -- bash -c '
		writer() { exec 9>>"$BASE/$1"; echo $BASHPID >>"$SCRATCH/strays"; while [ $SECONDS -lt 60 ]; do echo x >&9; done; }
		writer stray1 & ( setsid bash -c "$(declare -f writer); writer stray2 & writer stray3" & )
		while [ ! -s "$BASE/stray1" ] || [ ! -s "$BASE/stray2" ] || [ ! -s "$BASE/stray3" ]; do sleep 0.05; done
		echo kept >"$BASE/kept/one"'
	[ $((SECONDS - seconds)) -lt 60 ] || fail 'it waited for the strays'
	assert_equal 3 "$(wc -l <"$SCRATCH/strays")" 'writers'
	assert_match "'bash' left 3 processes running: killed" "$(cat "$SCRATCH/err")" 'the note'
	local pid
	while read -r pid; do is_gone "$pid" || fail "a stray lives: $pid"; done <"$SCRATCH/strays"
	must v apply thing
	assert_content kept "$BASE/kept/one"
	t stat "$BASE/stray1" "$BASE/stray2" >/dev/null
}

# Somebody else has got hold of a file there: what he writes later may not get into the patch, so there is none.
case_foreign_writer() {
	fs_setup
	have_overlay
	make_base
	fs_component thing "$BASE"
	local waits='echo 1 >"$BASE/x"; echo $$ >"$SCRATCH/pid"; until [ -e "$SCRATCH/go" ]; do sleep 0.05; done'
	begin_record "$waits"
	exec 8>>"/proc/$COMMAND/root$BASE/file"
	: >"$SCRATCH/go"
	end_record 1 'a writer that is not ours'
	assert_match "veneer: a process that the command did not start still has a file below '$BASE' open" \
		"$(cat "$SCRATCH/err")" 'the message'
	assert_equal '' "$(fs_ref thing/patches/a || :)" 'a patch'
	assert_nothing_left 'a writer that is not ours'
	exec 8>&-
	# Reading is no harm, though it outlives the mount.
	rm "$SCRATCH/go"
	begin_record "$waits"
	exec 8<"/proc/$COMMAND/root$BASE/file"
	: >"$SCRATCH/go"
	end_record 0 'a reader that is not ours'
	assert_equal 'base file' "$(cat <&8)" 'what he reads'
	exec 8<&-
	assert_nothing_left 'a reader that is not ours'
	assert_base_untouched 'both'
}

# ---- where it runs ----

case_working_directory() {
	fs_setup
	have_overlay
	make_base
	cp -a "$BASE" "$SCRATCH/new"
	mkdir "$SCRATCH/new/of-a"
	fs_component thing "$BASE"
	fs_create thing -m one --from "$SCRATCH/new" >/dev/null
	local mounted
	for mounted in no yes; do
		cd "$BASE/dir/sub"
		must_record --label "in-$mounted" -- bash -c 'pwd; /bin/pwd; echo changed >three; echo up >../../up'
		assert_equal "$BASE/dir/sub"$'\n'"$BASE/dir/sub" "$(sed 2q "$SCRATCH/out")" 'the working directory'
		assert_content 'base dir/sub/three' three
		assert_equal $'A\tup\nM\tdir/sub/three' "$(v diff thing base "in-$mounted" --name-status | sort)" 'paths'
		cd "$BASE"
		must_record --label "root-$mounted" -- sh -c 'echo 1 >here'
		cd /
		must_record --label "slash-$mounted" -- sh -c 'test "$(pwd)" = / && echo 1 >"$BASE/here"'
		[ "$mounted" = yes ] || fs_mount thing "$BASE"
	done
	must v apply thing a
	cd "$BASE/of-a"
	assert_refused 1 "the working directory '$BASE/of-a' is not in the base" v record -q thing -m x -- touch "$SCRATCH/ran"
	[ ! -e "$SCRATCH/ran" ] || fail 'the command ran'
	cd /
	assert_nothing_left 'a working directory that is not there'
}

case_odd_paths() {
	fs_setup
	have_overlay
	make_base
	mkdir "$SCRATCH/a,b:c\\d e"
	mv "$BASE" "$SCRATCH/a,b:c\\d e/ba,se:upperdir=x\\054"
	BASE="$SCRATCH/a,b:c\\d e/ba,se:upperdir=x\\054"
	STORE="$SCRATCH/a,b:c\\d e/st,ore:\\x"
	make_script
	fs_component thing "$BASE"
	must_record -- bash "$SCRATCH/script"
	fs_mount thing "$BASE"
	must v apply thing
	assert_seen 'the mount is what the command saw'
	must_record --label b -- sh -c 'echo 1 >"$BASE/n,e:w"'
	assert_match 'n,e:w' "$(v diff thing base b --name-status)" 'the paths of b'
}

# Streams, environment, umask, descriptors and ignored signals are the caller's.
case_passed_through() {
	fs_setup
	have_overlay
	make_base
	fs_component thing "$BASE"
	local out fd
	out=$(umask 027; exec 7>"$SCRATCH/seven"; trap '' USR2
		echo input | A_VARIABLE='a b' t "$VENEER" --store "$STORE" record thing -m x -- bash -c '
		cat; echo "$A_VARIABLE"; echo error >&2; echo 7 >&7; umask; : >"$BASE/new"; ls /proc/$$/fd >"$SCRATCH/descriptors"; trap
		' 2>"$SCRATCH/err")
	assert_match $'^input$' "$(sed -n 1p <<<"$out")" 'standard input'
	assert_equal 'a b' "$(sed -n 2p <<<"$out")" 'the environment'
	assert_equal 0027 "$(sed -n 3p <<<"$out")" 'the umask'
	while read -r fd; do
		[ "$fd" -le 2 ] || [ "$fd" = 7 ] || [ -e "/proc/$$/fd/$fd" ] || fail "descriptor $fd is veneer's"
	done <"$SCRATCH/descriptors"
	assert_match "trap -- '' (SIG)?USR2" "$out" 'ignored signals'
	assert_equal error "$(cat "$SCRATCH/err")" 'standard error'
	assert_equal 7 "$(cat "$SCRATCH/seven")" 'another descriptor'
	assert_match '^a [0-9a-f]{40}$' "$(tail -n 1 <<<"$out")" 'the result'
	fs_mount thing "$BASE"
	must v apply thing
	assert_equal 640 "$(t stat -c %a "$BASE/new")" 'the mode of what the command made'
}

# Nobody else sees anything, neither the mount nor the changes; and the component can be taken off and mounted meanwhile.
case_private() {
	fs_setup
	have_overlay
	make_base
	fs_component thing "$BASE"
	fs_mount thing "$BASE"
	mount --make-shared "$BASE"
	cp /proc/self/mountinfo "$SCRATCH/mounts"
	begin_record 'echo mine >"$BASE/file"; mount -t tmpfs none /mnt; echo $$ >"$SCRATCH/pid"; until [ -e "$SCRATCH/go" ]; do sleep 0.05; done; cat "$BASE/file"'
	assert_content 'base file' "$BASE/file"
	assert_same_text "$SCRATCH/mounts" <(cat /proc/self/mountinfo) 'the mounts outside'
	# The namespace does not hold the filesystem: its daemon ends.
	fs_umount thing "$BASE"
	assert_content 'base file' "$BASE/file"
	fs_mount thing "$BASE"
	: >"$SCRATCH/go"
	end_record 0 'being mounted anew'
	assert_match '^mine$' "$(cat "$SCRATCH/out")" 'what the command saw in the end'
	must v apply thing
	assert_content mine "$BASE/file"
	assert_nothing_left 'the recording'
}

case_mount_beneath() {
	fs_setup
	have_overlay
	make_base
	fs_component thing "$BASE"
	mount -t tmpfs none "$BASE/dir/sub"
	fs_remember_mount "$BASE/dir/sub"
	assert_refused 1 "a mount at '$BASE/dir/sub' lies beneath" v record thing -m x -- touch "$SCRATCH/ran"
	[ ! -e "$SCRATCH/ran" ] || fail 'the command ran'
	assert_nothing_left 'a refusal'
}

# A base that cannot be written can be recorded over; what its mount forbids is forbidden.
case_read_only_base() {
	fs_setup
	have_overlay
	make_base
	mount --bind "$BASE" "$BASE"
	fs_remember_mount "$BASE"
	mount -o remount,bind,ro,nosuid,nodev "$BASE"
	fs_component thing "$BASE"
	must_record -- sh -ec 'echo 1 >"$BASE/new"; grep -F " $BASE " /proc/self/mountinfo | grep " - overlay " | grep -q nosuid,nodev'
	assert_match new "$(g ls-tree --name-only refs/veneer/thing/patches/a)" 'the patch'
}

# A directory may lie on an overlay, but not on an overlay over an overlay; and the store's may not lie on any.
case_on_overlays() {
	fs_setup
	have_overlay
	make_base
	local on_overlay=$STORE
	mkdir "$SCRATCH"/{lower,upper1,work1,over1,upper2,work2,over2}
	mount -t overlay overlay -o "lowerdir=$BASE,upperdir=$SCRATCH/upper1,workdir=$SCRATCH/work1" "$SCRATCH/over1"
	fs_remember_mount "$SCRATCH/over1"
	mount -t overlay overlay -o "lowerdir=$SCRATCH/over1,upperdir=$SCRATCH/upper2,workdir=$SCRATCH/work2" "$SCRATCH/over2"
	fs_remember_mount "$SCRATCH/over2"
	fs_component thing "$SCRATCH/over1"
	must v add deep "$SCRATCH/over2"
	v record thing -m one -- sh -c 'echo 1 >"$SCRATCH/over1/new"' >/dev/null
	[ ! -e "$SCRATCH/over1/new" ] || fail 'the overlay beneath was changed'
	assert_match new "$(g ls-tree --name-only refs/veneer/thing/patches/a)" 'the patch'
	assert_refused 1 "overlayfs cannot be laid over the directory.*give a changed copy of it to 'veneer create --from'" \
		v record deep -m one -- touch "$SCRATCH/ran"
	! find "$STORE/run" -name 'record-*' | grep . || fail 'something is left in the store'
	STORE=$SCRATCH/over1/store
	mkdir "$SCRATCH/other"
	fs_component other "$SCRATCH/other"
	assert_refused 1 'not supported as upperdir|the kernel.s log' v record other -m one -- touch "$SCRATCH/ran"
	! find "$STORE/run" -name 'record-*' | grep . || fail 'something is left in the store'
	[ ! -e "$SCRATCH/ran" ] || fail 'a command ran'
	STORE=$on_overlay
}

# ---- real work ----

case_real_work() {
	fs_setup
	have_overlay
	make_base
	mkdir -p "$SCRATCH/package/DEBIAN" "$SCRATCH/package/dir/sub" "$SCRATCH/package/usr"
	printf 'Package: small\nVersion: 1\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: small\n' \
		>"$SCRATCH/package/DEBIAN/control"
	echo 'packaged' >"$SCRATCH/package/dir/one"
	echo 'packaged' >"$SCRATCH/package/usr/program" && chmod 4755 "$SCRATCH/package/usr/program"
	ln -s one "$SCRATCH/package/dir/sub/link"
	dpkg-deb -Zgzip --root-owner-group -b "$SCRATCH/package" "$SCRATCH/small.deb" >/dev/null || skip 'no dpkg-deb here'
	fs_component thing "$BASE"
	fs_mount thing "$BASE"
	must_record -- sh -ec 'dpkg-deb -x "$SCRATCH/small.deb" "$BASE"; "$VENEER_TOOLS/tree_listing" -d -n "$BASE" >"$SCRATCH/seen"'
	must v apply thing
	# It also set the mode of the directory that it unpacked in.
	assert_match "left out: mode, owner or attributes of '$BASE' itself" "$(cat "$SCRATCH/err")" 'the note'
	sed -i 's/^\. directory 0755 /. directory 2775 /' "$SCRATCH/seen"
	assert_seen 'what dpkg-deb unpacked'
	must v revert thing
	must_record --label sed -- sh -ec 'sed -i s/base/SED/ "$BASE"/dir/* "$BASE/modes" 2>/dev/null || :; sed -i s/base/SED/ "$BASE/links/b"
		"$VENEER_TOOLS/tree_listing" -d -n "$BASE" >"$SCRATCH/seen"'
	must v apply thing sed
	assert_seen 'what sed -i left'
	assert_content 'SED dir/one' "$BASE/dir/one"
	assert_equal 4755 "$(t stat -c %a "$BASE/modes")" 'the mode after sed -i'
	assert_content 'base links/a' "$BASE/links/a"
	must v revert thing
	# Rights are those of the directory: who may not write there may not in the recording.
	assert_equal 1 "$(status=0; record -- setpriv --reuid=65534 --regid=65534 --clear-groups touch "$BASE/x" || status=$?; echo $status)" \
		'nobody writes'
	assert_match 'Permission denied' "$(cat "$SCRATCH/err")" 'nobody writes'
}

fs_main "$@"
