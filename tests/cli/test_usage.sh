#!/bin/bash
# Wrong usage is status 2 and bad input is status 1, each with one clear line that says what to do next.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

DIR=$SCRATCH/base
NEW=$SCRATCH/new
mkdir "$DIR" "$NEW"
echo old >"$DIR/file"
echo new >"$NEW/file"

# ---- wrong usage ----

fails 2 "no command is named: see 'veneer help'"
fails 2 "'frobnicate' is no command: see 'veneer help'" frobnicate
fails 2 "'publish' is no command" publish
fails 2 "'nosuch' is no command" help nosuch
fails 2 "apply: unknown option '--frob': see 'veneer help apply'" apply comp --frob
fails 2 "unknown option '--frob'" --frob apply comp
fails 2 'apply: the first argument is missing: usage: veneer apply NAME' apply
fails 2 'show: an argument is missing' show comp
fails 2 "rollback: one argument too many: 'x'" rollback comp x
fails 2 "--store needs a value: DIR" status --store
fails 2 "--store is given twice" --store /a status --store /b
fails 2 "--io: 'fast' is none of auto.cached.passthrough" mount comp --io fast
fails 2 "--write: 'back' is none of through.deny" mount comp --write=back
fails 2 "--snapshot: 'some' is none of touched.full" add comp "$DIR" --snapshot some
fails 2 "--json takes no value" status --json=yes
fails 2 "-n: 'x' is no number of entries" log comp -n x
fails 2 "-n: '0' is no number" log comp -n 0
fails 2 "-n: '-1' is no number" log comp -n -1
fails 2 "-n: '99999999999999999999999' is no number" log comp --count=99999999999999999999999
fails 2 '--all and a label exclude each other' revert comp a --all
fails 2 '--stat and --name-status exclude each other' diff comp --stat --name-status
fails 2 'a message is missing' create comp --from "$NEW"
fails 2 'a message is missing' create comp -m '' --from "$NEW"
fails 2 'a message is missing' create comp -m '  ' --from "$NEW"
fails 2 'nothing to make it of' create comp -m x
fails 2 'too many sources' create comp -m x --from "$NEW" --commit HEAD
fails 2 'too many sources' create comp -m x --from "$NEW" --deb a.deb
fails 2 '--from is given twice' create comp -m x --from "$NEW" --from "$NEW"
fails 2 "--fixes: 'CVE-1,CVE-2' is not one id" create comp -m x --from "$NEW" --fixes CVE-1,CVE-2
fails 2 'unknown option .--sign' create comp -m x --from "$NEW" --sign key
fails 2 'a message is missing' record comp -- true
fails 2 "record: no command to run: it stands behind '--'" record comp -m x
fails 2 'no command to run' record comp -m x --
fails 2 "one argument too many: 'true'" record comp -m x true
fails 2 "unknown option '--from'" record comp -m x --from "$NEW" -- true
fails 2 "--fixes: 'CVE-1,CVE-2' is not one id" record comp -m x --fixes CVE-1,CVE-2 -- true

# ---- bad input ----

fails 1 "no store at .*veneer --store .* init" status
fails 1 "no store at .*veneer --store .* init" --store "$SCRATCH/elsewhere" apply comp
ok init
fails 1 "no component 'comp'.*veneer add NAME DIR" apply comp
fails 1 "'\.\./x' cannot be a component's name" add ../x "$DIR"
fails 1 "'-' cannot be a component's name" apply -
fails 1 "'$SCRATCH/missing'.*No such file" add comp "$SCRATCH/missing"
fails 1 "'$DIR/file'.*Not a directory" add comp "$DIR/file"
fails 1 "'$SCRATCH/missing'.*No such file" add comp "$DIR" --root "$SCRATCH/missing"
fails 1 'No such file|does not lie beneath' add comp "$DIR" --root "$NEW"
fails 1 "the store '.*' lies inside the component's directory" add comp "$SCRATCH"
fails 1 'lies inside the store' add comp "$VENEER_STORE/objects"
ok add comp "$DIR" --base-version 1
fails 1 "there is a component 'comp' already" add comp "$DIR"
fails 1 "there is a component 'comp' already" add comp "$DIR" --dry-run
fails 1 "there is no component 'com'; there are: comp" status com
fails 1 "'$SCRATCH/missing'" create comp -m x --from "$SCRATCH/missing"
fails 1 "'$DIR/file'" create comp -m x --deb "$DIR/file"
fails 1 "'$SCRATCH/missing.deb'" create comp -m x --deb "$SCRATCH/missing.deb"
fails 1 "'nosuch'" create comp -m x --commit nosuch
fails 1 "has no patch 'zz'" create comp -m x --from "$NEW" --supersedes zz
fails 1 '.' create comp -m x --from "$DIR"
fails 1 'label' create comp -m x --from "$NEW" --label 'a b'
fails 1 "has no patch 'zz'" record comp -m x --supersedes zz -- touch "$SCRATCH/ran"
fails 1 'label' record comp -m x --label 'a b' -- touch "$SCRATCH/ran"
fails 1 "no component 'nosuch'" record nosuch -m x -- touch "$SCRATCH/ran"
check 'a command ran before the options were checked' [ ! -e "$SCRATCH/ran" ]
fails 1 "has no patch for its base version '1': make one with 'veneer create comp'" apply comp
fails 1 "'nosuch'" apply comp nosuch
fails 1 "'nosuch'" revert comp nosuch
fails 1 "no patch is applied to component 'comp'" revert comp
fails 1 'never switched: there is nothing to roll back to' rollback comp
fails 1 "'nosuch'" switch comp nosuch
fails 1 "'nosuch'" diff comp nosuch
fails 1 "has no patch 'nosuch': 'veneer status comp' lists them" show comp nosuch
fails 1 'paths are relative' diff comp -- /
fails 1 'is not mounted' umount comp
check 'nothing half-made is left' \
	[ "$(git --git-dir="$VENEER_STORE/git" for-each-ref --format='%(refname)' | wc -l)" -eq 3 ]

# Names that would speak to the terminal are shown harmlessly.
fails 1 'x1b' status $'\e[31mred'
case $ERR in
*$'\e'*) complain 'an escape sequence on stderr' ;;
esac

# What cannot be said is a failure.
RAN='veneer status >/dev/full'
OUT='' ERR=$("$VENEER" status --json 2>&1 >/dev/full)
STATUS=$?
expect_status 1
expect_err 'standard output.*No space left'

# Not root: where this can be tried.
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null && [ "$(stat -c %a "$(dirname "$VENEER")")" -ge 755 ]; then
	chmod 711 "$SCRATCH"
	RAN='veneer mount comp, as nobody'
	OUT='' ERR=$(setpriv --reuid 65534 --regid 65534 --clear-groups "$VENEER" mount comp 2>&1)
	STATUS=$?
	if [ $STATUS -ne 126 ] && [ $STATUS -ne 127 ]; then
		expect_status 1
		expect_err 'only root may mount'
	fi
fi

finish
