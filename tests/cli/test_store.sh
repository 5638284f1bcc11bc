#!/bin/bash
# The store's commands without a mount: init, add, create, apply, revert, rollback, switch, log, show, diff, status.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

if [ "$(id -u)" != 0 ]; then
	echo 'SKIP test_store: needs root, for owners and set-id bits'
	exit 77
fi

IMAGE=$SCRATCH/image
DIR=$IMAGE/usr/lib
GIT=(git --git-dir="$VENEER_STORE/git")
mkdir -p "$DIR/sub"
ln -s usr/lib "$IMAGE/lib"
echo one >"$DIR/a"
echo two >"$DIR/sub/b"
printf 'program 1\n' >"$DIR/tool"
chown 0:7 "$DIR/tool"
chmod 4755 "$DIR/tool"
ln -s a "$DIR/link"
touch -d 2020-02-02T02:02:02Z "$DIR/a" "$DIR/sub/b" "$DIR/tool"

# A copy of the component's directory to edit, $1.
copy_base() {
	rm -rf "${SCRATCH:?}/$1"
	cp -a "$DIR" "$SCRATCH/$1"
}

ref() { "${GIT[@]}" rev-parse --verify -q "refs/veneer/comp/$1"; }
id_of() { awk '{ print $2 }' <<<"$OUT"; }

# Everything about the base directory on disk: it must never change.
fingerprint() { (cd "$DIR" && find . -printf '%p %y %m %U %G %s %T@ %C@ %l\n' | sort && find . -type f -exec sha256sum {} +); }
BEFORE=$(fingerprint)

# ---- init, add ----

ok init
expect_out "made a store at $VENEER_STORE"
check 'the store is closed to others' [ "$(stat -c %a "$VENEER_STORE")" = 700 ]
ok init --json
json .created false
ok status --json
json . '[]'
# A dry run refuses what the command refuses.
fails 1 "'/' cannot be a component's directory" add comp / --dry-run
fails 1 'lies inside the component' add comp "$SCRATCH" --dry-run
fails 1 'lies inside the store' add comp "$VENEER_STORE/objects" --dry-run
fails 1 'the base version' add comp /usr/lib --root "$IMAGE" --base-version ' x' --dry-run
ok add comp /usr/lib --root "$IMAGE" --base-version 1.0 --dry-run
expect_out '^\(dry run\) comp: '
ok status --json
json . '[]'
ok add comp /usr/lib --root "$IMAGE" --base-version 1.0 --json
json .path "$DIR"
json .root "$IMAGE"
json .snapshot touched
json .base "$(ref base)"
ok status comp --json
json '.[0] | keys_unsorted | map(select(. == ("name","path","mounted","io","base_version","version_label","active","patches","stale","health"))) | length' 10
json '.[0] | [.name, .path, .mounted, .io, .base_version, .version_label] | tojson' \
	"[\"comp\",\"$DIR\",false,null,\"1.0\",\"1.0\"]"
json '.[0].health' 'not mounted'
json '.[0].active' "$(ref base)"
ok status
expect_out '^comp +1\.0 +no +not mounted +0 +'

# ---- create --from ----

copy_base new
echo ONE >"$SCRATCH/new/a"
echo more >"$SCRATCH/new/sub/new"
rm "$SCRATCH/new/link"
ok create comp -m x --from "$SCRATCH/new" --dry-run --json
json '.files | map(.status + " " + .path) | join(",")' 'M a,D link,A sub/new'
json .label a
check 'a dry run makes no patch' [ -z "$(ref patches/a)" ]
cp -a "$SCRATCH/new" "$SCRATCH/forged"
echo x >"$SCRATCH/forged/"$'name\n  A  forged'
ok create comp -m x --from "$SCRATCH/forged" --dry-run
expect_out 'name\\n  A  forged'
fails 1 "the store's path is empty" --store '' status
ok create comp -m $'Grüße an a\n\nmore text' --from "$SCRATCH/new" --fixes CVE-2026-1 --fixes CVE-2026-2 \
	--restart one.service --restart two.service --reboot
expect_out '^a [0-9a-f]{40}$'
A=$(id_of)
check 'the ref of patch a' [ "$(ref patches/a)" = "$A" ]
check 'creating applies nothing' [ "$(ref active)" = "$(ref base)" ]
check 'the subject went through unchanged' [ "$("${GIT[@]}" log -1 --format=%s "$A")" = 'Grüße an a' ]
check 'the trailers are readable by git' [ "$("${GIT[@]}" log -1 --format='%(trailers:key=Fixes,valueonly,separator=%x2C)' "$A")" = CVE-2026-1,CVE-2026-2 ]

# ---- apply ----

ok apply comp --dry-run --json
json '.files | map(.status + " " + .path) | join(",")' 'M a,D link,A sub/new'
json '.restart | join(" ")' 'one.service two.service'
json .reboot true
json .to "$A"
check 'a dry run moves no ref' [ "$(ref active)" = "$(ref base)" ]
exec 7<"$DIR/a"
ok apply comp a --dry-run --json
json ".processes[] | select(.pid == $$) | .paths | join(\" \")" a
exec 7<&-
ok apply comp
expect_out '^1\.0 \(a\)  applied a: 3 paths in [0-9.]+ (µs|ms|s) \(not mounted\)$'
expect_out '^to be restarted: one.service, two.service$'
check 'a single patch is itself active' [ "$(ref active)" = "$A" ]
JOURNAL=$(ref journal)
ok apply comp --json
json .changed false
ok apply comp a
expect_out '^1\.0 \(a\)  already applied$'
check 'applying what is applied writes no journal' [ "$(ref journal)" = "$JOURNAL" ]
ok apply comp -q
check '-q is quiet' [ -z "$OUT" ]

# ---- diff, show, log ----

ok diff comp
expect_out '^\+ONE$'
expect_out '^deleted file mode 120000$'
ok diff comp --name-status
check 'name-status' [ "$OUT" = $'M\ta\nD\tlink\nA\tsub/new' ]
ok diff comp --stat
expect_out '3 files changed'
ok diff comp active base --name-status -- sub/
check 'other way round, limited' [ "$OUT" = $'D\tsub/new' ]
ok diff comp --json
json 'map(.status) | join("")' MDA
json '.[0].new_blob' "$(printf 'ONE\n' | git hash-object --stdin)"
ok diff comp active
check 'active against active' [ -z "$OUT" ]
ok show comp a
expect_out '^state: +applied$'
expect_out '^    Grüße an a$'
expect_out '^A  sub/new$'
ok show comp a --json
json .subject 'Grüße an a'
json .body 'more text'
json '.fixes | join(" ")' 'CVE-2026-1 CVE-2026-2'
json '.paths | length' 3
json '.time | test("^20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z$")' true
ok log comp --json
json '.[0].action' applied
json '.[0].labels' a
json '.[0].to' "$A"
json '.[0].actor.uid' 0
json '.[0].id' "$JOURNAL"
json '.[0].time | test("^20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\\.[0-9]{6}Z$")' true
json '.[-1].action' added
ok log comp -n 1
check 'one entry' [ "$(grep -c '^Time:' <<<"$OUT")" = 1 ]
expect_out "^applied $JOURNAL"

# ---- revert, rollback ----

ok revert comp
expect_out '^1\.0  reverted a: 3 paths'
check 'the base is active' [ "$(ref active)" = "$(ref base)" ]
ok rollback comp
check 'rolled back to a' [ "$(ref active)" = "$A" ]
ok rollback comp --json
json .version_label 1.0
check 'a second rollback returns' [ "$(ref active)" = "$(ref base)" ]
ok revert comp --all
expect_out '^1\.0  not applied: nothing to revert$'

# ---- a stack, with metadata ----

copy_base second
printf 'program 2\n' >"$SCRATCH/second/tool"
chown 0:7 "$SCRATCH/second/tool"
chmod 2755 "$SCRATCH/second/tool"
ok create comp -m second --from "$SCRATCH/second"
expect_out '^b '
check 'the ref of patch b' [ "$(ref patches/b)" = "$(id_of)" ]
copy_base third
echo TWO >"$SCRATCH/third/sub/b"
chmod 0600 "$SCRATCH/third/a"
ok create comp -m third --from "$SCRATCH/third" --label c-3
ok show comp b
expect_out '^M  tool$'
ok diff comp base b --name-status
check 'what only the grown base knows is no difference' [ "$OUT" = $'M\ttool' ]
ok diff comp base b
expect_out '^metadata tool$'
expect_out '^  mode 04755 → 02755$'
ok apply comp a b
expect_out '^1\.0 \(a, b\)  applied a, b: 4 paths'
AB=$(ref active)
ok revert comp a
BARE_B=$(ref active)
ok apply comp a --json
json .version_label '1.0 (b, a)'
ok revert comp --all
ok apply comp b
check 'reverting from the middle is composing without it' [ "$(ref active)" = "$BARE_B" ]
ok revert comp --all
ok apply comp a b
check 'the same stack is the same commit' [ "$(ref active)" = "$AB" ]
fails 1 "a.*c-3|c-3.*a" apply comp c-3
check 'a refused apply changes nothing' [ "$(ref active)" = "$AB" ]
ok status comp --json
json '.[0].version_label' '1.0 (a, b)'
json '.[0].patches | map(.label + ":" + .state) | join(" ")' 'a:applied b:applied c-3:available'
json '.[0].patches[0].fixes | length' 2
json '.[0].closed | join(" ")' 'CVE-2026-1 CVE-2026-2'

# ---- superseding ----

copy_base fourth
echo Uno >"$SCRATCH/fourth/a"
ok create comp -m fourth --from "$SCRATCH/fourth" --supersedes a
expect_out '^c '
ok status comp --json
json '.[0].patches[] | select(.label == "a").state' applied
ok apply comp c
expect_out '^1\.0 \(b, c\)'
ok status comp --json
json '.[0].patches[] | select(.label == "a").state' superseded

# ---- create --commit: plain git alone ----

git -C "$SCRATCH" clone -q "$VENEER_STORE/git" work 2>/dev/null
git -C "$SCRATCH/work" fetch -q origin '+refs/veneer/*:refs/veneer/*'
git -C "$SCRATCH/work" checkout -q --detach refs/veneer/comp/base
printf 'program by hand\n' >"$SCRATCH/work/tool"
git -C "$SCRATCH/work" commit -qam 'by hand'
git -C "$SCRATCH/work" push -q origin HEAD:refs/heads/hand
ok create comp -m 'by hand' --commit hand --label hand --supersedes b
ok apply comp hand
ok diff comp base hand
expect_out '^\+program by hand$'
check 'no mode is lost' eval '! grep -q "mode 04755" <<<"$OUT"'

# ---- somebody's own commit ----

ok switch comp hand~0
ok switch comp base --dry-run --json
json .changed true
ok revert comp --all
git -C "$SCRATCH/work" checkout -q --detach refs/veneer/comp/base
echo mine >"$SCRATCH/work/mine"
git -C "$SCRATCH/work" add mine
git -C "$SCRATCH/work" commit -qm 'my own'
git -C "$SCRATCH/work" push -q origin HEAD:refs/heads/own
OWN=$(git -C "$SCRATCH/work" rev-parse HEAD)
ok switch comp own
expect_out "^1\.0 \(commit ${OWN:0:7}"
check 'it is active' [ "$(ref active)" = "$OWN" ]
fails 1 "serves commit '${OWN:0:12}', which is no stack.*veneer revert comp --all" apply comp a
fails 1 'which is no stack.*veneer revert comp --all' revert comp a
ok rollback comp
check 'rolled back from it' [ "$(ref active)" = "$(ref base)" ]
ok rollback comp
check 'and forth' [ "$(ref active)" = "$OWN" ]
ok revert comp --all

# A ref that was moved with plain git while nothing was mounted: that was the last switch.
ok apply comp b
"${GIT[@]}" update-ref refs/veneer/comp/active "$OWN"
ok rollback comp
expect_out '^1\.0 \(b\)'

# ---- create --deb ----

if command -v dpkg-deb >/dev/null; then
	mkdir -p "$SCRATCH/pkg/DEBIAN" "$SCRATCH/pkg/lib/deep" "$SCRATCH/pkg/usr/share/doc"
	printf 'Package: tool\nVersion: 2\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: t\n' \
		>"$SCRATCH/pkg/DEBIAN/control"
	echo packaged >"$SCRATCH/pkg/lib/a"
	echo deep >"$SCRATCH/pkg/lib/deep/file"
	echo doc >"$SCRATCH/pkg/usr/share/doc/tool"
	dpkg-deb --root-owner-group -b "$SCRATCH/pkg" "$SCRATCH/tool.deb" >/dev/null
	run create comp -m package --deb "$SCRATCH/tool.deb" --label deb --supersedes c
	expect_status 0
	expect_out '^deb [0-9a-f]{40}$'
	expect_err "left out, as not below '$DIR'"
	expect_err 'usr/share/doc/tool'
	ok show comp deb
	expect_out '^M  a$'
	expect_out '^A  deep/file$'
	run create comp -m package --deb "$SCRATCH/tool.deb" --label deb2 --supersedes c --json
	expect_status 0
	json '.left_out | map(select(test("usr/share/doc/tool$"))) | length' 1
	json .label deb2
	rm -rf "$SCRATCH/pkg/lib"
	dpkg-deb --root-owner-group -b "$SCRATCH/pkg" "$SCRATCH/tool.deb" >/dev/null
	fails 1 "nothing|under|below" create comp -m package --deb "$SCRATCH/tool.deb"
else
	echo 'note: no dpkg-deb here: create --deb was not tried'
fi

RAN='git fsck --strict'
OUT=$("${GIT[@]}" fsck --strict 2>&1)
STATUS=$?
expect_status 0
check 'fsck finds nothing' eval '! grep -Eq "error|missing|broken|warning" <<<"$OUT"'

# ---- hostile commits are refused, named, and change nothing ----

ACTIVE=$(ref active)
TREE=$(printf '100644 blob %s\t.git\n' "$(echo x | "${GIT[@]}" hash-object -w --stdin)" | "${GIT[@]}" mktree)
EVIL=$("${GIT[@]}" commit-tree -p "$(ref base)" -m evil "$TREE")
fails 1 "\.git" switch comp "$EVIL"
fails 1 "\.git" create comp -m evil --commit "$EVIL"
FOREIGN=$("${GIT[@]}" commit-tree -m $'base: other\n\nKind: base\nComponent: other' "$(ref base)^{tree}")
fails 1 "component 'other'" switch comp "$FOREIGN"
check 'nothing has changed' [ "$(ref active)" = "$ACTIVE" ]

# ---- what is broken can be left ----

BLOB=$(echo 'soon gone' | "${GIT[@]}" hash-object -w --stdin)
TREE=$({ "${GIT[@]}" ls-tree "$(ref base)"; printf '100644 blob %s\tgone\n' "$BLOB"; } | "${GIT[@]}" mktree)
GONE=$("${GIT[@]}" commit-tree -p "$(ref base)" -m gone "$TREE")
rm -f "$VENEER_STORE/git/objects/${BLOB:0:2}/${BLOB:2}"
fails 1 "gone" switch comp "$GONE"
"${GIT[@]}" update-ref refs/veneer/comp/active "$GONE"
ok status comp --json
json '.[0].active' "$GONE"
ok revert comp --all --dry-run
ok revert comp --all
check 'the base again' [ "$(ref active)" = "$(ref base)" ]

# ---- a switch that cannot be journalled does not happen ----

ACTIVE=$(ref active) JOURNAL=$(ref journal)
echo garbage >"$VENEER_STORE/git/refs/veneer/comp/journal"
fails 1 'journal' apply comp b
check 'the ref is back where it was' [ "$(ref active)" = "$ACTIVE" ]
check 'the journal is as broken as before' [ "$(cat "$VENEER_STORE/git/refs/veneer/comp/journal")" = garbage ]
echo "$JOURNAL" >"$VENEER_STORE/git/refs/veneer/comp/journal"
ok apply comp b
ok revert comp

# ---- the whole ----

ok status comp --verbose
RAN='all of the above'
check 'the base directory is untouched' [ "$(fingerprint)" = "$BEFORE" ]

finish
