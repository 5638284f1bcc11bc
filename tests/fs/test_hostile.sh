#!/bin/bash
# Commits made to do harm: each is refused, the message names what is wrong, and the mount goes on serving.
. "$(dirname "$0")/lib.sh"

make_mounted() {
	fs_setup
	BASE=$SCRATCH/base
	mkdir -p "$BASE/dir"
	echo base >"$BASE/file"
	echo base >"$BASE/dir/deep"
	cp -a "$BASE" "$SCRATCH/new"
	echo good >"$SCRATCH/new/file"
	fs_component thing "$BASE" --snapshot full
	fs_create thing -m good --from "$SCRATCH/new" >/dev/null
	must v apply thing
	fs_mount thing "$BASE"
	BASE_COMMIT=$(fs_ref thing/base)
	BASE_TREE=$(g rev-parse "$BASE_COMMIT^{tree}")
	GOOD=$(fs_ref thing/active)
	BLOB=$(echo evil | g hash-object -w --stdin)
}

# tree_entry MODE NAME ID: the raw bytes of an entry, which no git command would write.
tree_entry() {
	printf '%s %s\0' "$1" "$2"
	# shellcheck disable=SC2059 # the format is made of hex escapes
	printf "$(sed 's/../\\x&/g' <<<"$3")"
}

# raw_tree <entries: the id of a tree object of exactly those bytes
raw_tree() { g hash-object -t tree -w --literally --stdin; }

# with_base MODE NAME ID: the base's tree with one entry more, made by mktree where that is possible.
with_base() {
	{ g ls-tree "$BASE_TREE"; printf '%s %s %s\t%s\n' "$1" "$([ "$1" = 040000 ] && echo tree || echo blob)" "$3" "$2"; } |
		g mktree --missing
}

commit_of() { g commit-tree -p "$BASE_COMMIT" -m hostile "$1"; }

still_serving() {
	assert_content good "$BASE/file"
	assert_content base "$BASE/dir/deep"
	t ls -R "$BASE" >/dev/null
	assert_equal "$GOOD" "$(fs_status thing .active)" 'what is served, as status says it'
}

# refused PATTERN COMMIT: by every way in.
refused() {
	local pattern=$1 commit=$2
	assert_refused 1 "$pattern" v switch thing "$commit"
	assert_equal "$GOOD" "$(fs_ref thing/active)" 'the active ref after a refused switch'
	still_serving
	assert_refused 1 "$pattern" v create thing -m hostile --commit "$commit"
	# By the ref alone: git has moved it, the mount does not follow.
	g update-ref refs/veneer/thing/active "$commit"
	sleep 0.4
	assert_content good "$BASE/file"
	assert_content base "$BASE/dir/deep"
	kill -0 "$FS_DAEMON" || fail 'the daemon died of a hostile commit'
	g update-ref refs/veneer/thing/active "$GOOD"
	sleep 0.2
	still_serving
	must v revert thing
	assert_content base "$BASE/file"
	must v apply thing
	still_serving
}

# The same door, without the ways around it.
refused_briefly() {
	assert_refused 1 "$1" v switch thing "$2"
	assert_equal "$GOOD" "$(fs_ref thing/active)" 'the active ref after a refused switch'
	still_serving
}

case_dot_dot() {
	make_mounted
	refused '\.\.' "$(commit_of "$({ tree_entry 100644 .. "$BLOB"; } | raw_tree)")"
}

case_dot_git() {
	make_mounted
	refused '\.git' "$(commit_of "$({ tree_entry 100644 .git "$BLOB"; } | raw_tree)")"
	refused_briefly '\.[gG][iI][tT]' "$(commit_of "$({ tree_entry 100644 .GiT "$BLOB"; } | raw_tree)")"
}

case_slash_in_a_name() {
	make_mounted
	refused 'a/b|/' "$(commit_of "$({ tree_entry 100644 a/b "$BLOB"; } | raw_tree)")"
	refused_briefly '.' "$(commit_of "$({ tree_entry 100644 '' "$BLOB"; } | raw_tree)")"
	refused_briefly '.' "$(commit_of "$({ tree_entry 100644 . "$BLOB"; } | raw_tree)")"
}

case_reserved_name_inside() {
	make_mounted
	local inner
	inner=$(tree_entry 100644 .veneer "$BLOB" | raw_tree)
	refused '\.veneer' "$(commit_of "$(with_base 040000 sub "$inner")")"
}

# An absolute symlink as an ancestor: a tree that holds a symlink and a directory of one name.
case_symlink_ancestor() {
	make_mounted
	local target inner
	target=$(printf /etc | g hash-object -w --stdin)
	inner=$(tree_entry 100644 passwd "$BLOB" | raw_tree)
	refused 'link' "$(commit_of "$({ tree_entry 120000 link "$target"; tree_entry 40000 link "$inner"; } | raw_tree)")"
	[ -s /etc/passwd ] || fail '/etc/passwd!'
	# And an honest absolute symlink where the base has a directory, beneath which the meta speaks: nothing of the
	# outside is reached.
	local meta tree
	meta=$(printf 'mode 0777\n' | g hash-object -w --stdin)
	tree=$(tree_entry 100644 passwd "$meta" | raw_tree)
	tree=$(tree_entry 40000 dir "$tree" | raw_tree)
	tree=$(tree_entry 40000 meta "$tree" | raw_tree)
	local commit before
	commit=$(commit_of "$({ tree_entry 40000 .veneer "$tree"; tree_entry 120000 dir "$target"; tree_entry 100644 file "$BLOB"; } | raw_tree)")
	before=$(stat -c '%a %Y %Z' /etc/passwd)
	v switch thing "$commit" >/dev/null 2>&1 || :
	assert_equal "$before" "$(stat -c '%a %Y %Z' /etc/passwd)" '/etc/passwd'
	must v switch thing "$GOOD"
	still_serving
}

case_long_name() {
	make_mounted
	refused 'long|255|bytes' "$(commit_of "$({ tree_entry 100644 "$(fs_fill n 5000)" "$BLOB"; } | raw_tree)")"
	refused_briefly 'long|255|bytes' "$(commit_of "$(with_base 100644 "$(fs_fill n 256)" "$BLOB")")"
}

# deep_tree BLOB DEPTH: the id of a tree with BLOB that deep. Every level is an object of its own: the pack is written here,
# since any git command would take minutes.
deep_tree() {
	perl -MDigest::SHA=sha1 -MCompress::Zlib=adler32 -e '
		my ($blob, $depth) = @ARGV;
		my ($id, $mode, $pack) = (pack("H*", $blob), "100644", pack("a4 N N", "PACK", 2, $depth));
		for (1 .. $depth) {
			my $tree = "$mode a\0$id";
			my $size = length $tree;
			# three bits of type (2, a tree), the size in 4 and then 7 bits; a zlib stream of one stored block
			$pack .= pack("C C n C v v a* N", 0x80 | 2 << 4 | $size & 15, $size >> 4, 0x7801, 1, $size,
				$size ^ 0xffff, $tree, adler32($tree));
			$id = sha1("tree $size\0$tree");
			$mode = "40000";
		}
		open my $git, "|-", "git", "-C", $ARGV[2], "index-pack", "--stdin" or die;
		print $git $pack, sha1($pack);
		close $git or die;
		print STDERR unpack("H*", $id), "\n"' "$1" "$2" "$STORE/git" 2>&1 >/dev/null | tail -n 1
}

case_deep_nesting() {
	make_mounted
	local tree
	tree=$(deep_tree "$BLOB" 100000)
	assert_match '^[0-9a-f]{40}$' "$tree" 'the deep tree'
	refused 'deep' "$(commit_of "$tree")"
	refused_briefly 'deep' "$(commit_of "$(deep_tree "$BLOB" 300)")"
}

case_missing_blob() {
	make_mounted
	local missing=1234567890123456789012345678901234567890
	refused "$missing|missing" "$(commit_of "$(with_base 100644 missing "$missing")")"
	refused_briefly "${missing:0:7}" "$(commit_of "$(with_base 040000 missing "$missing")")"
}

case_missing_commit() {
	make_mounted
	assert_refused 1 '1111111' v switch thing 1111111111111111111111111111111111111111
	assert_refused 1 'no-such-branch' v switch thing no-such-branch
	still_serving
}

case_damaged_blob() {
	make_mounted
	local commit file
	commit=$(commit_of "$(with_base 100644 evil "$BLOB")")
	file=$STORE/git/objects/${BLOB:0:2}/${BLOB:2}
	chmod u+w "$file"
	printf 'damaged' | dd of="$file" bs=1 seek=3 conv=notrunc status=none
	refused "${BLOB:0:7}|evil" "$commit"
}

case_wrong_type() {
	make_mounted
	# A blob where a tree is said to be, and a submodule, which a directory cannot hold.
	refused 'sub' "$(commit_of "$({ tree_entry 40000 sub "$BLOB"; } | raw_tree)")"
	refused_briefly 'module' "$(commit_of "$({ tree_entry 160000 module "$GOOD"; } | raw_tree)")"
	assert_refused 1 '.' v switch thing "$BASE_TREE"
	assert_refused 1 '.' v switch thing "$BLOB"
	still_serving
}

# commit_with_meta PATH BLOB: the base, a file PATH (one name), and its meta.
commit_with_meta() {
	local tree
	tree=$(tree_entry 100644 "$1" "$2" | raw_tree)
	tree=$(tree_entry 40000 meta "$tree" | raw_tree)
	commit_of "$({ tree_entry 40000 .veneer "$tree"; tree_entry 100644 "$1" "$BLOB"; } | raw_tree)"
}

case_meta() {
	make_mounted
	local line meta
	for line in 'garbage' 'mode 99999' 'mode 0644x' 'uid -1' 'uid 99999999999999999999' 'mtime never' 'mtime 1.9999999999999' \
		'type dragon' 'type char 1' 'xattr user.x base64:***' 'xattr user.x' 'object xxh3-128:zz 1' "mode 0644$(printf '\r')" \
		'object xxh3-128:00000000000000000000000000000000 99' "xattr $(fs_fill n 300) base64:AA=="; do
		meta=$(printf '%s\n' "$line" | g hash-object -w --stdin)
		echo "meta: ${line:0:60}"
		assert_refused 1 'file' v switch thing "$(commit_with_meta file "$meta")"
		still_serving
	done
	meta=$(head -c 300000 /dev/urandom | g hash-object -w --stdin)
	refused 'file' "$(commit_with_meta file "$meta")"
}

case_meta_of_100_megabytes() {
	make_mounted
	local meta rss
	meta=$(fs_fill x 100000000 | fold -w 60 | g hash-object -w --stdin)
	refused 'file' "$(commit_with_meta file "$meta")"
	fs_sanitized || {
		rss=$(awk '/^VmHWM/ { print $2 }' "/proc/$FS_DAEMON/status")
		[ "$rss" -lt 65536 ] || fail "the daemon once took $rss kB for a meta blob that it refuses"
	}
}

# No ancestry to a base of this component; a ref that is no commit at all.
case_strangers() {
	make_mounted
	local commit
	commit=$(g commit-tree -m 'no parent' "$BASE_TREE")
	refused 'base' "$commit"
	echo garbage >"$STORE/git/refs/veneer/thing/active"
	sleep 0.4
	assert_content good "$BASE/file"
	kill -0 "$FS_DAEMON" || fail 'the daemon died of a garbage ref'
	rm "$STORE/git/refs/veneer/thing/active"
	sleep 0.4
	assert_content good "$BASE/file"
	g update-ref refs/veneer/thing/active "$GOOD"
	sleep 0.2
	still_serving
}

# What is no command to the control socket, or one without the store's lock.
case_control_socket() {
	make_mounted
	local socket=$STORE/run/thing.sock message
	assert_equal 700 "$(stat -c %a "$STORE")" 'mode of the store'
	for message in '' '{' 'null' '[]' '{"operation":1}' '{"operation":"dance"}' \
		'{"operation":"transition"}' '{"operation":"transition","kind":"dance"}' '{"operation":"transition","kind":1}' \
		'{"operation":"transition","kind":"switch","names":[]}' '{"operation":"transition","kind":"switch","names":[1]}' \
		'{"operation":"transition","kind":"switch","names":"x"}' '{"operation":"detach"}' \
		'{"operation":"transition","kind":"revert","names":[],"all":true}' "$(fs_fill '[' 60000)"; do
		printf '%s' "$message" | t perl -MSocket -e '
			socket(S, PF_UNIX, SOCK_SEQPACKET, 0) && connect(S, sockaddr_un($ARGV[0])) or die "connect: $!";
			local $/; my $message = <STDIN>; send(S, $message, 0); shutdown(S, 1); recv(S, my $answer, 65536, 0); print $answer' \
			"$socket" >"$SCRATCH/answer" 2>&1 || :
		! grep -q '"ok": *true' "$SCRATCH/answer" || fail "accepted: ${message:0:60}"
		still_serving
	done
	as_nobody "$VENEER" --store "$STORE" status >/dev/null 2>&1 && fail 'an ordinary user may use the store'
	still_serving
}

fs_main "$@"
