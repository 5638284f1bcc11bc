# shellcheck shell=bash
# Taking samples: which rows are wanted, one measurement, its requests, what could not be measured, and the machine.

ROUND=0

# rows_select PATTERN,…: into WANTED, by name or by group.
rows_select() {
	local name group rest pattern patterns
	declare -gA WANTED=()
	IFS=, read -r -a patterns <<<"$1"
	while IFS=$'\t' read -r name group rest; do
		for pattern in "${patterns[@]}"; do
			# shellcheck disable=SC2053 # a pattern on purpose
			[[ $name == $pattern || $group == $pattern ]] && WANTED[$name]=1 WANTED[group:$group]=1
		done
	done <"$SCRATCH/rows"
	[ ${#WANTED[@]} -gt 0 ] || die "--rows '$1': no such row; --list shows them"
}

wanted() { [ -n "${WANTED[$1]-}" ]; }

# phase GROUP SECONDS FUNCTION: where a row of the group is wanted. SECONDS: when it should have ended in a quick run of all rows.
phase() {
	local start=$SECONDS
	wanted "group:$1" || return 0
	DEADLINE=''
	[ "$mode" != quick ] || [ "$patterns" != '*' ] || DEADLINE=$((STARTED + $2))
	section "$1"
	"$3"
	say "  $((SECONDS - start)) seconds"
}

# rounds_run FUNCTION FIRST [LAST]: FUNCTION once a round, from round FIRST on; samples of round 0 only warm, and do not count. A quick
# run ends when it must: where a phase's time is over, the rounds that are left are not run, and that is said.
rounds_run() {
	local function=$1 last=${3:-$ROUNDS} start
	for ((ROUND = $2; ROUND <= last; ROUND++)); do
		say "  $([ "$ROUND" -gt 0 ] && echo "round $ROUND of $last" || echo 'warming')"
		start=$SECONDS
		"$function"
		if [ -n "$DEADLINE" ] && [ "$ROUND" -gt 0 ] && [ "$ROUND" -lt "$last" ] && [ $((SECONDS * 2 - start)) -gt "$DEADLINE" ]; then
			say "  no time in a quick run for more than round $ROUND of $last"
			break
		fi
	done
}

# sample ROW SYSTEM VALUE
sample() {
	[ "$ROUND" -gt 0 ] && wanted "$1" || return 0
	printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$SCRATCH/samples"
}

# skip ROW SYSTEM REASON: in the report instead of a figure.
skip() {
	wanted "$1" || return 0
	say "  $1, $2: not measured: $3"
	printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$SCRATCH/skips"
}

# number COMMAND…: into NUMBERS, the numbers that it prints.
number() {
	NUMBERS=()
	timeout -k 5 900 "$@" >"$SCRATCH/numbers" 2>"$SCRATCH/error" </dev/null || {
		[ -s "$SCRATCH/error" ] || echo "'$1' failed or took more than 900 seconds" >"$SCRATCH/error"
		return 1
	}
	read -r -a NUMBERS <"$SCRATCH/numbers"
}

# measure ROW SYSTEM TAG COMMAND…: one sample, and the requests that it cost where the daemon can tell.
measure() {
	local row=$1 system=$2 tag=$3 counted=''
	shift 3
	wanted "$row" || return 0
	if [[ $system == veneer-* && $ROUND != 0 ]]; then
		counted=1
		requests_note "$row" "$system" "$tag"
	fi
	if ! number "$@"; then
		skip "$row" "$system" "$(head -n 1 "$SCRATCH/error")"
		return 0
	fi
	sample "$row" "$system" "${NUMBERS[0]}"
	[ -z "$counted" ] || requests_note "$row" "$system" "$tag"
}

# warm ROW TIMES COMMAND…: at once before a sample of a warm row: what a machine that takes idle pages back has taken since the last round
# is brought in again. What reads a file changes its access time, which the next stat must ask for: hence TIMES.
warm() {
	local row=$1 times=$2
	shift 2
	wanted "$row" && [ "$ROUND" -gt 0 ] || return 0
	while [ $((times--)) -gt 0 ]; do
		number "$@" || return 0
	done
}

# requests_note ROW SYSTEM TAG: the daemon's counters as they are now; the summary takes them in pairs, before and after.
requests_note() {
	printf '"%s"\n"%s"\n' "$1" "$2" >>"$SCRATCH/requests"
	veneer status "$3-$2" --json --verbose >>"$SCRATCH/requests" 2>/dev/null || echo '[]' >>"$SCRATCH/requests"
}

machine_load() { printf 'load\t%s\n' "$(cut -d' ' -f1-3 /proc/loadavg)"; }

# A kernel that pages out what has been idle for a while makes warm things cold between two rounds.
machine_reclaim() {
	if grep -qsx pageout /sys/kernel/mm/damon/admin/kdamonds/*/contexts/*/schemes/*/action ||
		grep -qsx Y /sys/module/damon_reclaim/parameters/enabled; then
		echo 'idle pages are taken back (DAMON)'
	else
		echo 'only under pressure'
	fi
}

machine_note() {
	local busy
	printf 'mode\t%s\n' "$mode"
	printf 'rounds\t%s\n' "$ROUNDS"
	printf 'started\t%s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
	printf 'kernel\t%s\n' "$(uname -sr)"
	printf 'distribution\t%s\n' "$(. /etc/os-release && echo "$PRETTY_NAME")"
	printf 'processor\t%s\n' "$(awk -F': ' '/^model name/ { print $2; exit }' /proc/cpuinfo)"
	printf 'processors\t%s\n' "$(nproc)"
	printf 'hypervisor\t%s\n' "$(awk '/^flags/ { print / hypervisor/ ? "yes" : "no"; exit }' /proc/cpuinfo)"
	printf 'memory_mib\t%s\n' "$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo)"
	printf 'filesystem\t%s\n' "$(df --output=fstype "$SCRATCH" | tail -n 1)"
	printf 'reclaim\t%s\n' "$(machine_reclaim)"
	printf 'veneer\t%s\n' "$("$VENEER" version | head -n 1)"
	printf 'commit\t%s\n' "$(git -C "$VENEER_SOURCE" describe --always --dirty 2>/dev/null || echo unknown)"
	for package in fuse-overlayfs bindfs ostree git dpkg libfuse3-3; do
		printf '%s\t%s\n' "$package" "$(dpkg-query -W -f '${Version}' "$package" 2>/dev/null || echo -)"
	done
	machine_load
	busy=$(awk -v n="$(nproc)" '{ print ($1 > 0.5 * n) }' /proc/loadavg)
	if [ "$busy" = 1 ]; then
		say "this machine is busy (load $(cut -d' ' -f1 /proc/loadavg)): the figures will not say much" >&2
	fi
}
