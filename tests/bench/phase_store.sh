# shellcheck shell=bash
# A full snapshot of the small files: veneer, git and ostree, each into an empty repository.

phase_store() {
	small_data
	find "$SCRATCH/small" -type f -exec cat {} + >/dev/null
	printf 'store\tveneer\n' >>"$SCRATCH/defaults"
	rounds_run store_round 1
}

store_round() {
	local at=$SCRATCH/snapshot git
	mkdir "$at"
	STORE=$at/store veneer -q init
	store_measure veneer "$at/store" "$VENEER" --store "$at/store" -q add snapshot "$SCRATCH/small" --snapshot full
	rm -rf "$at/store"

	git="git -c user.name=Bench -c user.email=bench@example.org -c gc.auto=0 --git-dir=$at/git --work-tree=$SCRATCH/small"
	git_quiet --git-dir="$at/git" init
	store_measure git "$at/git" env GIT_CONFIG_GLOBAL=/dev/null sh -c "$git add -A && $git commit -q -m snapshot"
	rm -rf "$at/git"

	step 60 ostree --repo="$at/ostree" init --mode=bare
	store_measure ostree "$at/ostree" ostree --repo="$at/ostree" commit -b snapshot --tree="dir=$SCRATCH/small"
	rm -rf "$at"
}

# store_measure SYSTEM DIR COMMAND…
store_measure() {
	local system=$1 dir=$2
	shift 2
	sync
	if ! number "$TOOLS/bench_time" -- "$@"; then
		skip snapshot "$system" "$(head -n 1 "$SCRATCH/error")"
		return 0
	fi
	sample snapshot "$system" "${NUMBERS[0]}"
	sample snapshot-size "$system" "$(du -s --block-size=1 "$dir" | cut -f1)"
}
