#!/bin/bash
# veneer fsck: one thing is broken at a time, exactly that is named, --repair mends what can be mended, and afterwards both veneer and
# git find nothing.
. "$(dirname "$0")/lib.sh"

PRISTINE=$SCRATCH/pristine BASE=$SCRATCH/base
export GIT_DIR=$VENEER_STORE/git

# ---- a store to break ----

patch_of() { # LABEL SCRIPT: a patch of what SCRIPT makes of a copy of the base
	rm -rf "$SCRATCH/target"
	cp -a "$BASE" "$SCRATCH/target"
	(cd "$SCRATCH/target" && eval "$2")
	ok create app -m "patch $1" --label "$1" --from "$SCRATCH/target"
}

mkdir -p "$BASE/lib"
echo one >"$BASE/lib/one"
echo two >"$BASE/lib/two"
ln -s one "$BASE/lib/link"
head -c 150000 /dev/urandom >"$BASE/big"
ok init
ok add app "$BASE" --base-version 1.0
ok add whole "$BASE/lib" --base-version 1.0 --snapshot full
patch_of a 'echo ONE >lib/one; ln -sf two lib/link'
patch_of b 'echo TWO >lib/two; head -c 160000 /dev/urandom >big'
ok apply app a
ok apply app b
ok revert app a
ok apply app a
cp -a "$VENEER_STORE" "$PRISTINE"

restore() {
	rm -rf "$VENEER_STORE"
	cp -a "$PRISTINE" "$VENEER_STORE"
}

ref() { git rev-parse --verify -q "$1"; }
active() { ref refs/veneer/app/active; }
loose() { echo "$GIT_DIR/objects/${1:0:2}/${1:2}"; }
git_is_clean() { [ -z "$(git fsck --strict --no-dangling --no-progress 2>&1 | grep -v -e '^notice: ')" ]; }

# flip FILE OFFSET: one byte is another one.
flip() {
	local mode
	mode=$(stat -c %a "$1")
	chmod u+w "$1"
	printf '%b' "\\x$(printf %02x $((0x$(xxd -s "$2" -l 1 -p "$1") ^ 0xff)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
	chmod "$mode" "$1"
}

# The findings as "severity kind subject", each on a line.
found() {
	jq -r '.[] | [.severity, .kind, .subject] | join(" ")' <<<"$OUT" | sed "s|$VENEER_STORE/||" | sort
}

# names STATUS EXPECTED: `fsck --json` ends with STATUS, and finds exactly those.
names() {
	run fsck --json
	expect_status "$1"
	check "found '$(found | tr '\n' ';')', not '$2'" [ "$(found)" = "$2" ]
}

is_clean() {
	run fsck --json
	expect_status 0
	json length 0
	check 'git fsck finds something' git_is_clean
}

# mends [COUNT]: --repair mends everything (COUNT findings), and nothing is left to find.
mends() {
	run fsck --repair --json
	expect_status 0
	json 'map(select(.repaired | not)) | length' 0
	[ -z "${1-}" ] || json length "$1"
	is_clean
}

command -v jq >/dev/null || { echo 'SKIP test_fsck: needs jq'; exit 77; }
command -v xxd >/dev/null || { echo 'SKIP test_fsck: needs xxd'; exit 77; }

# ---- nothing wrong ----

is_clean
run fsck
expect_out '^0 errors, 0 warnings, 0 repaired; looked at 8 refs, '
ok fsck app
ok fsck -q
check '-q prints something' [ -z "$OUT" ]
fails 1 "there is no component 'nobody'" fsck nobody
VENEER_STORE=$SCRATCH/none fails 1 'there is no store' fsck

# ---- the store's directories, and what lies about ----

restore
chmod 0755 "$VENEER_STORE"
names 1 "error directory $VENEER_STORE"
mends 1
check 'the mode is not 0700' [ "$(stat -c %a "$VENEER_STORE")" = 700 ]

restore
rm -rf "$VENEER_STORE/cache"
names 0 'warning directory cache'
mends 1

restore
touch -d '2 hours ago' "$VENEER_STORE/cache/.tmp-0123456789abcdef" "$VENEER_STORE/objects/.tmp-0123456789abcdef" \
	"$GIT_DIR/objects/pack/tmp_pack_abcdef" "$GIT_DIR/refs/veneer/app/active.lock"
touch "$VENEER_STORE/cache/.tmp-fedcba9876543210" "$GIT_DIR/objects/pack/tmp_pack_young"
mkdir -p "$VENEER_STORE/run/record-0123456789abcdef/upper"
names 0 'warning leftover cache/.tmp-0123456789abcdef
warning leftover git/objects/pack/tmp_pack_abcdef
warning leftover git/refs/veneer/app/active.lock
warning leftover objects/.tmp-0123456789abcdef
warning leftover run/record-0123456789abcdef'
mends 5
check 'a young temporary file was removed' [ -e "$VENEER_STORE/cache/.tmp-fedcba9876543210" ]

restore
flip "$VENEER_STORE/cache/blobs" 3
names 0 'warning cache cache/blobs'
mends 1

restore
touch "$VENEER_STORE/notes" "$VENEER_STORE/objects/readme"
names 0 'warning stray notes
warning stray objects/readme'

restore
rm "$GIT_DIR/HEAD"
names 1 'error store git'
mends 1

# What is cut short in `init` and in `add` is no damage.
restore
mkdir "$GIT_DIR.new"
names 0 'warning leftover git.new'
mends 1

restore
git update-ref -d refs/veneer/whole/base
git update-ref -d refs/veneer/whole/journal
names 0 'warning journal refs/veneer/whole/journal
warning ref refs/veneer/whole/base'
mends 2

# ---- refs ----

restore
BEFORE=$(active)
rm "$GIT_DIR/refs/veneer/app/active"
names 1 'error ref refs/veneer/app/active'
mends 1
check 'active is not what the journal has' [ "$(active)" = "$BEFORE" ]
ok log app -n 1 --json
json '.[0].action' healed
json '.[0].from' null
json '.[0].to' "$BEFORE"
ok status app

restore
echo nonsense >"$GIT_DIR/refs/veneer/app/active"
names 1 'error ref refs/veneer/app/active'
mends 1
check 'active is not what the journal has' [ "$(active)" = "$BEFORE" ]

restore
: >"$GIT_DIR/refs/veneer/app/active"
names 1 'error ref refs/veneer/app/active'
mends 1

# What it names is nothing that can be served.
restore
git update-ref refs/veneer/app/active "$(git commit-tree -m 'on no base' "$(ref 'refs/veneer/app/active^{tree}')")"
names 1 'error ref refs/veneer/app/active
warning journal refs/veneer/app/journal'
mends
check 'active is not what the journal has' [ "$(active)" = "$BEFORE" ]

restore
rm "$GIT_DIR/refs/veneer/app/base"
names 1 'error ref refs/veneer/app/base'
mends 1

restore
echo 1234567890123456789012345678901234567890 >"$GIT_DIR/refs/veneer/app/patches/a"
names 1 'error ref refs/veneer/app/patches/a
warning composition refs/veneer/app/active'
json '.[0].remedy | test("update-ref")' true
run fsck --repair
expect_status 1
expect_err 'has 1 error that is not repaired'

restore
git update-ref refs/veneer/app/patches/b "$(ref 'refs/veneer/app/active^{tree}:lib/two')" 2>/dev/null ||
	ref 'refs/veneer/app/active^{tree}:lib/two' >"$GIT_DIR/refs/veneer/app/patches/b"
names 1 'error ref refs/veneer/app/patches/b
warning composition refs/veneer/app/active'

restore
git update-ref refs/veneer/app/other "$(active)"
git update-ref refs/veneer/..x/base "$(active)" 2>/dev/null || git update-ref refs/veneer/-x/base "$(active)"
names 0 'warning ref refs/veneer/-x/base
warning ref refs/veneer/app/other'

restore
git update-ref refs/veneer/app/patches/c "$(ref refs/veneer/app/patches/a)"
names 1 'error patch refs/veneer/app/patches/c'

# ---- git's objects ----

# A loose tree, of which there is no other copy: nothing makes it again.
restore
TREE=$(ref 'refs/veneer/app/patches/a:lib')
if [ -e "$(loose "$TREE")" ]; then
	flip "$(loose "$TREE")" 12
	names 1 "error git-object $TREE"
	json '.[0].problem | test("damaged: needed at .lib. of commit")' true
	run fsck --repair --json
	expect_status 1
	json "map(select(.subject == \"$TREE\")) | .[0].repaired" false
	json "map(select(.subject == \"$TREE\")) | .[0].remedy | test(\"backup\")" true
fi

# A blob, damaged and then missing: from the object that is served.
for how in damaged missing; do
	restore
	BLOB=$(ref 'refs/veneer/app/patches/a:lib/one')
	if [ $how = damaged ]; then flip "$(loose "$BLOB")" 5; else rm -f "$(loose "$BLOB")"; fi
	names 1 "error git-object $BLOB"
	json '.[0].problem | test("lib/one")' true
	json '.[0].component' app
	mends 1
done

# A blob of the base: from the base.
restore
BLOB=$(ref 'refs/veneer/app/base:lib/two')
rm -f "$(loose "$BLOB")"
names 1 "error git-object $BLOB"
mends 1
restore
rm -f "$(loose "$BLOB")"
mv "$BASE" "$BASE.away"
run fsck --repair --json
expect_status 1
json "map(select(.subject == \"$BLOB\")) | .[0].repaired" false
mv "$BASE.away" "$BASE"

# A symlink's target.
restore
BLOB=$(ref 'refs/veneer/app/base:lib/link')
rm -f "$(loose "$BLOB")"
names 1 "error git-object $BLOB"
mends 1

# Cut short, and empty.
for size in 3 0; do
	restore
	BLOB=$(ref 'refs/veneer/app/patches/a:lib/one')
	chmod u+w "$(loose "$BLOB")"
	truncate -s $size "$(loose "$BLOB")"
	names 1 "error git-object $BLOB"
	mends 1
done

# A commit is gone: what it means for others is not told once more.
restore
COMMIT=$(ref refs/veneer/app/patches/a)
rm -f "$(loose "$COMMIT")"
run fsck --json
expect_status 1
json "map(select(.subject == \"refs/veneer/app/patches/a\")) | length" 1

# ---- packs ----

packed() { # all in one pack, with deltas
	restore
	git -c gc.auto=0 -c repack.writeBitmaps=false repack -adfq
	PACK=$(ls "$GIT_DIR"/objects/pack/*.pack)
	[ "$(git count-objects -v | sed -n 's/^count: //p')" = 0 ] || git prune-packed -q
}

offset_of() { git verify-pack -v "${PACK%.pack}.idx" | awk -v id="$1" '$1 == id { print $(NF > 5 ? 5 : 5) }'; }

packed
is_clean
BLOB=$(ref 'refs/veneer/app/patches/b:big')
flip "$PACK" $(($(offset_of "$BLOB") + 1000))
names 1 "error git-object $BLOB"
json '.[0].problem | test("pack/pack-")' true
mends 1
check 'the damaged pack is still there' [ ! -e "$PACK" ]
check 'the damaged pack was put aside' [ ! -e "$GIT_DIR/damaged" ]

# The damaged copy is in the pack, a whole one is loose.
packed
flip "$PACK" $(($(offset_of "$BLOB") + 1000))
cp -a "$PRISTINE/git/objects/pack/." "$GIT_DIR/objects/pack/"
names 1 "error git-object $BLOB"
mends 1

# Of a pack with a damaged object one other is left, which becomes loose; a damaged copy of it lies there already, and is no such thing.
restore
TREE=$(ref 'refs/veneer/app/base^{tree}')
EXTRA=$(head -c 5000 /dev/urandom | git hash-object -w --stdin)
PACK=$(printf '%s\n' "$TREE" "$EXTRA" | git pack-objects -q "$SCRATCH/pack")
rm -f "$(loose "$EXTRA")"
mkdir "$SCRATCH/packs"
mv "$GIT_DIR"/objects/pack/* "$SCRATCH/packs/"
for pack in "$SCRATCH"/packs/*.pack; do git unpack-objects -q <"$pack"; done
mv "$SCRATCH/pack-$PACK".* "$GIT_DIR/objects/pack/"
PACK=$GIT_DIR/objects/pack/pack-$PACK.pack
flip "$PACK" $(($(offset_of "$EXTRA") + 1000))
flip "$(loose "$TREE")" 20
run fsck --repair --json
check 'the last copy of a tree is gone' git cat-file -e "$TREE"
is_clean

# Nothing makes a tree again: what can be read is saved, the rest put aside.
packed
TREE=$(ref 'refs/veneer/app/base^{tree}')
flip "$PACK" $(($(offset_of "$TREE") + 6))
run fsck --json
expect_status 1
json "map(select(.subject == \"$TREE\")) | length" 1
run fsck --repair --json
expect_status 1
check 'the damaged pack is still in the way' [ ! -e "$PACK" ]
check 'the damaged pack was not put aside' [ -e "$GIT_DIR/damaged/$(basename "$PACK")" ]

# An index is damaged, and gone.
packed
flip "${PACK%.pack}.idx" 1100
names 1 "error git-pack objects/pack/$(basename "$PACK")"
mends 1

packed
rm -f "${PACK%.pack}.idx" "${PACK%.pack}.rev"
run fsck --json
expect_status 1

# ---- what commits say ----

commit_with() { # MESSAGE-FROM PARENT SCRIPT: a commit over PARENT's tree, changed by SCRIPT in a temporary index
	local index=$SCRATCH/index
	rm -f "$index"
	GIT_INDEX_FILE=$index git read-tree "$2"
	GIT_INDEX_FILE=$index eval "$3"
	git log -1 --format=%B "$1" | git commit-tree -p "$2" "$(GIT_INDEX_FILE=$index git write-tree)"
}

restore
LINE=$(git show refs/veneer/app/patches/a:.veneer/meta/lib/one | sed 's/^object xxh3-128:..../object xxh3-128:0000/')
META=$(git hash-object -w --stdin <<<"$LINE")
git update-ref refs/veneer/app/patches/a "$(commit_with refs/veneer/app/patches/a refs/veneer/app/patches/a \
	"git update-index --cacheinfo 100644,$META,.veneer/meta/lib/one")"
run fsck --json
expect_status 1
json 'map(select(.kind == "metadata")) | length' 1
json 'map(select(.kind == "metadata"))[0].problem | test("lib/one")' true

restore
META=$(git hash-object -w --stdin <<<'mood sunny')
PLAIN=$(git commit-tree -m 'by hand' "$(ref 'refs/veneer/app/base^{tree}')")
git update-ref refs/veneer/app/patches/c "$(commit_with "$PLAIN" refs/veneer/app/base \
	"git update-index --add --cacheinfo 100644,$META,.veneer/meta/lib/one" )"
names 1 'error patch refs/veneer/app/patches/c'
json '.[0].problem | test("lib/one")' true

restore
EVIL=$(printf '100644 blob %s\t.veneer\n' "$(git hash-object -w --stdin <<<x)" | git mktree)
EVIL=$(printf '040000 tree %s\tsub\n' "$EVIL" | git mktree)
git update-ref refs/veneer/app/patches/c "$(git commit-tree -m evil -p refs/veneer/app/base "$EVIL")"
names 1 'error patch refs/veneer/app/patches/c'

# A composition that is none.
restore
git update-ref refs/veneer/app/active "$(git log -1 --format=%B "$(active)" |
	git commit-tree -p refs/veneer/app/base -p refs/veneer/app/patches/b -p refs/veneer/app/patches/a "$(ref 'refs/veneer/app/base^{tree}')")"
names 1 'error composition refs/veneer/app/active
warning journal refs/veneer/app/journal'

# ---- the journal ----

entry() { # SED-SCRIPT PARENT…: the newest entry's message, altered
	local script=$1
	shift
	git log -1 --format=%B refs/veneer/app/journal | sed "$script" |
		git commit-tree "$@" "$(ref 'refs/veneer/app/active^{tree}')"
}

restore
git update-ref refs/veneer/app/active "$(ref refs/veneer/app/patches/a)"
names 0 'warning journal refs/veneer/app/journal'
mends 1
ok log app -n 1 --json
json '.[0].action' switched

restore
J=$(entry '/^Time:/d' -p refs/veneer/app/journal -p "$(active)")
git update-ref refs/veneer/app/journal "$J"
names 1 "error journal $J"

restore
J=$(entry '' -p refs/veneer/app/journal -p refs/veneer/app/patches/a)
git update-ref refs/veneer/app/journal "$J"
names 1 "error journal $J"

restore
J=$(git log -1 --format=%B refs/veneer/app/journal | git commit-tree -p refs/veneer/app/journal -p "$(active)" "$(ref 'refs/veneer/app/base^{tree}')")
git update-ref refs/veneer/app/journal "$J"
names 1 "error journal $J"

restore
J=$(entry 's/^Time: ..../Time: 2001/' -p refs/veneer/app/journal -p "$(active)")
git update-ref refs/veneer/app/journal "$J"
names 0 "warning journal $J"

restore
OTHER=$(git commit-tree -m 'by hand' -p refs/veneer/app/base "$(ref 'refs/veneer/app/base^{tree}')")
J=$(entry "s/^From: .*/From: $OTHER/" -p refs/veneer/app/journal -p "$(active)")
git update-ref refs/veneer/app/journal "$J"
names 0 "warning journal $J"

restore
git update-ref -d refs/veneer/app/journal
names 0 'warning journal refs/veneer/app/journal'
mends 1

# ---- served objects ----

restore
OBJECT=$(cd "$VENEER_STORE" && find objects -type f -size +50k)
flip "$VENEER_STORE/$OBJECT" 70000
names 1 "error object $OBJECT"
mends 1

restore
rm "$VENEER_STORE/$OBJECT"
names 1 "error object $OBJECT"
json '.[0].problem | test("needed by")' true
mends 1
ok log app -n 1 --json
json '.[0].action' healed
json '.[0].reason | test("1 served object again")' true

restore
chmod 0644 "$VENEER_STORE/$OBJECT"
names 0 "warning object $OBJECT"
mends 1

restore
mkdir -p "$VENEER_STORE/objects/00"
echo x >"$VENEER_STORE/objects/00/000000000000000000000000000000"
chmod 0444 "$VENEER_STORE/objects/00/000000000000000000000000000000"
names 1 'error object objects/00/000000000000000000000000000000'
mends 1

restore
rm -rf "$VENEER_STORE/objects"
run fsck --repair
expect_status 0
is_clean

# ---- others are looked at all the same; a component alone ----

restore
BLOB=$(ref refs/veneer/whole/base:two)
echo nonsense >"$GIT_DIR/refs/veneer/whole/base"
echo nonsense >"$GIT_DIR/refs/veneer/whole/active"
chmod 0644 "$VENEER_STORE/$OBJECT"
names 1 "error ref refs/veneer/whole/active
error ref refs/veneer/whole/base
warning object $OBJECT"
ok fsck app
run fsck whole
expect_status 1
mends 3

finish
