#!/bin/bash
# The help of every command, the man page and the completion script say the same.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

MAN=$SOURCE/docs/man/veneer.8
COMPLETION=$SOURCE/scripts/completion/veneer.bash

# The long options that help shows between the line "$1" and the next empty one.
help_options() {
	awk -v title="$1" '$0 == title { on = 1; next } on && /^$/ { exit } on' <<<"$OUT" |
		sed -nE 's/^  (-[a-z], )?(--[a-z-]+).*/\2/p' | sort
}

# The section $1 of the man page, its heading included.
man_section() {
	awk -v name="$1" '
		/^\.S[SH] / {
			heading = $0; sub(/^\.S[SH] "?/, "", heading); sub(/"$/, "", heading)
			on = heading == name || index(heading, name " ") == 1
			if (on) print heading
			next
		}
		on' "$MAN" | sed 's/\\-/-/g'
}

# The long options that a section tags: the line after .TP.
man_options() {
	man_section "$1" | grep -A1 '^\.TP' | grep -oE -- '--[a-z-]+' | sort -u
}

compare() {
	check "$1: help has '${2//$'\n'/ }', $4 has '${3//$'\n'/ }'" [ "$2" = "$3" ]
}

ok help
commands=$(sed -nE 's/^  ([a-z]+) .*/\1/p' <<<"$OUT")
check 'twenty-one commands are listed' [ "$(wc -w <<<"$commands")" -eq 21 ]
documented=$(sed -nE '/^\.SH COMMANDS/,/^\.SH OPTIONS/s/^\.SS "?([a-z]+).*/\1/p' "$MAN")
compare 'the commands' "$commands" "$documented" 'the man page'

for command in $commands; do
	ok help "$command"
	by_name=$OUT
	compare "$command" "$(help_options options:)" "$(man_options "$command")" 'the man page'
	compare "$command, common options" "$(help_options 'options of every command:')" \
		"$(man_options 'OPTIONS OF EVERY COMMAND')" 'the man page'
	usage=$(sed -n '1s/^usage: veneer //p' <<<"$OUT")
	heading=$(man_section "$command" | head -n 1)
	# The usage of these takes two lines, and their headings in the man page leave the options to the text.
	[[ $command == @(create|record) ]] || compare "usage of $command" "$usage" "$heading" 'the man page'
	for option in $(help_options options:); do
		check "completion lacks $command $option" grep -q -- "	$command) echo .* $option" "$COMPLETION"
	done
	ok "$command" --help
	check "'$command --help' is not 'help $command'" [ "$OUT" = "$by_name" ]
done

ok help --completion
check "scripts/completion/veneer.bash is not what 'veneer help --completion' prints" \
	[ "$OUT" = "$(cat "$COMPLETION")" ]

ok help --json
json 'map(.name) | join(" ")' "$(echo $commands)"
json '.[] | select(.name == "create") | .options[] | select(.name == "fixes") | .repeatable' true
json '[.[] | select(.name == "create" or .name == "record") | .options | map(.name)] | .[0] - .[1] | join(" ")' \
	'from deb upper commit'
ok --help
check '--help is not help' [ "$OUT" = "$("$VENEER" help)" ]
ok version
expect_out '^veneer: [0-9]+\.[0-9]+\.[0-9]+$'
ok --version
expect_out '^veneer: [0-9]+'

# The completion script at work: words before the cursor, then what is offered.
complete_words() {
	COMP_WORDS=("$@")
	COMP_CWORD=$(($# - 1))
	COMPREPLY=()
	_veneer
	OUT=$(printf '%s\n' "${COMPREPLY[@]}" | sort)
	RAN="completion of: $*"
}
veneer() { "$VENEER" "$@"; }
# shellcheck source=scripts/completion/veneer.bash
. "$COMPLETION"

mkdir "$SCRATCH/base"
echo 1 >"$SCRATCH/base/file"
cp -a "$SCRATCH/base" "$SCRATCH/new"
echo 2 >"$SCRATCH/new/file"
ok init
ok add comp "$SCRATCH/base"
ok create comp -m two --from "$SCRATCH/new" --label fix1

complete_words veneer ro
expect_out '^rollback$'
complete_words veneer help st
expect_out '^status$'
complete_words veneer apply --d
expect_out '^--dry-run$'
complete_words veneer mount comp --io ''
check 'the choices of --io' [ "$(echo $OUT)" = 'auto cached passthrough' ]
complete_words veneer apply ''
expect_out '^comp$'
complete_words veneer apply comp f
expect_out '^fix1$'
complete_words veneer apply comp b
check 'base is no patch' [ -z "$OUT" ]
complete_words veneer switch comp b
expect_out '^base$'
mkdir "$SCRATCH/with space"
complete_words veneer create comp --from "$SCRATCH/with"
check 'a directory with a space is one word' [ "$OUT" = "$SCRATCH/with space" ]
complete_words veneer record comp -m x -- mkfif
expect_out '^mkfifo$'
complete_words veneer record comp -m x -- ls "$SCRATCH/with"
check 'what follows the command is a file' [ "$OUT" = "$SCRATCH/with space" ]
complete_words veneer diff comp -- --s
check 'no options behind --' [ -z "$OUT" ]
unset VENEER_STORE
complete_words veneer --store "$SCRATCH/store" apply comp f
expect_out '^fix1$'

finish
