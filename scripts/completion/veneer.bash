# bash completion for veneer(8). Made by 'veneer help --completion'; not edited by hand.

_veneer_commands='init add create record mount umount takeover apply revert rollback switch policy status refresh log show diff fsck gc help version'

_veneer_options()
{
	case $1 in
	init) echo '' ;;
	add) echo ' --base-version --root --snapshot --dry-run' ;;
	create) echo ' --message -m --from --deb --upper --commit --label --fixes --restart --reboot --supersedes --dry-run' ;;
	record) echo ' --message -m --label --fixes --restart --reboot --supersedes --dry-run' ;;
	mount) echo ' --io --write --on-failure --scrub --watch --foreground --dry-run' ;;
	umount) echo ' --dry-run' ;;
	takeover) echo ' --dry-run' ;;
	apply) echo ' --dry-run' ;;
	revert) echo ' --all --dry-run' ;;
	rollback) echo ' --dry-run' ;;
	switch) echo ' --dry-run' ;;
	policy) echo '' ;;
	status) echo '' ;;
	refresh) echo '' ;;
	log) echo ' --count -n' ;;
	show) echo '' ;;
	diff) echo ' --stat --name-status' ;;
	fsck) echo ' --repair' ;;
	gc) echo ' --grace --dry-run' ;;
	help) echo ' --completion' ;;
	version) echo '' ;;
	esac
	echo ' --store --json --quiet -q --verbose -v --help -h --version'
}

# The values of a key of 'veneer status --json': names and labels.
_veneer_ask()
{
	veneer "${store[@]}" status "${@:2}" --json 2>/dev/null |
		sed -n 's/^ *"'"$1"'": *"\(.*\)",\{0,1\}$/\1/p'
}

_veneer()
{
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
	local command='' name='' rest='' store=() i

	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--store) store=(--store "${COMP_WORDS[++i]}") ;;
		--) rest=$i; break ;;
		-*) ;;
		*) if [[ -z $command ]]; then command=${COMP_WORDS[i]}
			elif [[ -z $name ]]; then name=${COMP_WORDS[i]}; fi ;;
		esac
	done
	case $before in
	--store) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
	--root) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
	--snapshot) mapfile -t COMPREPLY < <(compgen -W 'touched full' -- "$word"); return ;;
	--from) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
	--deb) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
	--upper) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
	--io) mapfile -t COMPREPLY < <(compgen -W 'auto cached passthrough' -- "$word"); return ;;
	--write) mapfile -t COMPREPLY < <(compgen -W 'through deny' -- "$word"); return ;;
	--on-failure) mapfile -t COMPREPLY < <(compgen -W 'base closed' -- "$word"); return ;;
	esac
	if [[ $command == record && -n $rest && $COMP_CWORD -eq $((rest + 1)) ]]; then
		mapfile -t COMPREPLY < <(compgen -c -- "$word")
	elif [[ -n $rest ]]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
	elif [[ $word == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_veneer_options "$command")" -- "$word")
	elif [[ -z $command ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$_veneer_commands" -- "$word")
	elif [[ $command == help ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$_veneer_commands" -- "$word")
	elif [[ -z $name && $command != add ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_veneer_ask name)" -- "$word")
	elif [[ $command == @(apply|revert|show) ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_veneer_ask label "$name")" -- "$word")
	elif [[ $command == @(switch|diff) ]]; then
		mapfile -t COMPREPLY < <(compgen -W "base active $(_veneer_ask label "$name")" -- "$word")
	else
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
	fi
}
complete -o filenames -F _veneer veneer
