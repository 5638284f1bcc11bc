# shellcheck shell=bash
# The switch: apply and revert of few and many paths in a large base, against git checkout, ostree checkout and dpkg -i.

# switch_upper PATHS BASE: the new content of that many of the base's files.
switch_upper() {
	local upper=$SCRATCH/upper-$1-$2
	[ -e "$upper" ] ||
		"$TOOLS/bench_tree" "$upper" "$2" --mean-bytes 200 --version 2 --only "$1"
	(cd "$upper" && find . -type f | sort) >"$upper.list"
}

# Every base has the file 0, and every patch changes it.
SWITCH_FILE=d0000/s0/f000000

# ---- veneer ----

# veneer_base BASE PATHS…: the component switch-BASE, mounted in the default mode, with a patch for each number of paths, named n1, n100, …
veneer_base() {
	local base=$1 at name=switch-$1 paths
	at=$SCRATCH/m/switch/$base
	base_data "$base"
	mkdir -p "$at"
	mount --bind "$SCRATCH/base-$base" "$at"
	veneer -q add "$name" "$at" --base-version 1
	shift
	for paths in "$@"; do
		switch_upper "$paths" "$base"
		step 300 "$VENEER" --store "$STORE" -q create "$name" -m benchmark --label "n$paths" \
			--upper "$SCRATCH/upper-$paths-$base"
	done
	veneer -q mount "$name"
	SWITCH_SYSTEM=veneer-$(veneer status "$name" --json | jq -r '.[0].io')
	printf 'switch\t%s\n' "$SWITCH_SYSTEM" >>"$SCRATCH/defaults"
	walk "$at"
}

# walk DIR: into NUMBERS; find with stat of all.
walk() { number "$TOOLS/bench_time" -- find "$1" -size +1000000k; }

# What was written before is on the disk: who asks for his own to be there would wait for it too (fsync commits all of a journal).
settle() { step 120 sync -f "$SCRATCH"; }

# veneer_switch BASE PATHS VERSION ROW COMMAND…: one switch with the caches of its paths full, and what follows from it.
veneer_switch() {
	local at=$SCRATCH/m/switch/$1 list=$SCRATCH/upper-$2-$1.list version=$3 row=$4 share
	shift 4
	settle
	number "$TOOLS/bench_files" open "$at" "$list" 1 1 || return 0
	if ! number "$TOOLS/bench_time" --output "$SCRATCH/reply" --then "$at/$SWITCH_FILE" "version $version file 0" -- \
		"$VENEER" --store "$STORE" --json "$@"; then
		skip "$row" "$SWITCH_SYSTEM" "$(head -n 1 "$SCRATCH/error")"
		return 0
	fi
	sample "$row" "$SWITCH_SYSTEM" "${NUMBERS[0]}"
	sample "$row-read" "$SWITCH_SYSTEM" "${NUMBERS[1]}"
	share=$(jq -r '.daemon_nanoseconds // empty' "$SCRATCH/reply")
	[ -z "$share" ] || sample "$row-daemon" "$SWITCH_SYSTEM" "$share"
	wanted "$row-walk" || return 0
	walk "$at" || return 0
	sample "$row-walk" "$SWITCH_SYSTEM" "${NUMBERS[0]}"
}

veneer_round() {
	local base=$SIZE_SWITCH_BASE paths=$1 name=switch-$SIZE_SWITCH_BASE
	if wanted "apply-$paths-first"; then
		# A daemon that has seen nothing of the patch: it reads it from git, and each of its objects.
		veneer -q umount "$name"
		veneer -q mount "$name"
		walk "$SCRATCH/m/switch/$base" || return 0
		veneer_switch "$base" "$paths" 2 "apply-$paths-first" apply "$name" "n$paths"
		veneer -q revert "$name"
		walk "$SCRATCH/m/switch/$base"
	fi
	veneer_switch "$base" "$paths" 2 "apply-$paths" apply "$name" "n$paths"
	veneer_switch "$base" "$paths" 1 "revert-$paths" revert "$name"
	wanted "rollback-$paths" || return 0
	veneer -q apply "$name" "n$paths"
	veneer_switch "$base" "$paths" 1 "rollback-$paths" rollback "$name"
}

# ---- git checkout ----

git_base() {
	local work=$SCRATCH/git-work paths
	"$TOOLS/bench_tree" "$work" "$SIZE_SWITCH_BASE" --mean-bytes 200
	git_quiet -C "$work" init
	git_quiet -C "$work" add -A
	git_quiet -C "$work" commit -m base
	for paths in "$@"; do
		git_quiet -C "$work" checkout -b "n$paths" main
		cp -r "$SCRATCH/upper-$paths-$SIZE_SWITCH_BASE/." "$work/"
		git_quiet -C "$work" commit -a -m "$paths"
		git_quiet -C "$work" checkout main
	done
	walk "$work"
}

# peer_switch SYSTEM ROW DIR VERSION COMMAND…
peer_switch() {
	local system=$1 row=$2 at=$3 version=$4
	shift 4
	wanted "$row" || return 0
	settle
	if ! number "$TOOLS/bench_time" --then "$at/$SWITCH_FILE" "version $version file 0" -- "$@"; then
		skip "$row" "$system" "$(head -n 1 "$SCRATCH/error")"
		return 0
	fi
	sample "$row" "$system" "${NUMBERS[0]}"
	sample "$row-read" "$system" "${NUMBERS[1]}"
	wanted "$row-walk" || return 0
	walk "$at" || return 0
	sample "$row-walk" "$system" "${NUMBERS[0]}"
}

git_round() {
	local work=$SCRATCH/git-work git=(env GIT_CONFIG_GLOBAL=/dev/null git -c gc.auto=0 -C "$SCRATCH/git-work")
	peer_switch git "apply-$1" "$work" 2 "${git[@]}" checkout -q "n$1"
	peer_switch git "revert-$1" "$work" 1 "${git[@]}" checkout -q main
	wanted "rollback-$1" || return 0
	"${git[@]}" checkout -q "n$1"
	peer_switch git "rollback-$1" "$work" 1 "${git[@]}" checkout -q -
}

# ---- ostree checkout -H: a whole tree of hard links beside the old one ----

ostree_base() {
	local repo=$SCRATCH/ostree paths
	step 60 ostree --repo="$repo" init --mode=bare
	step 900 ostree --repo="$repo" commit -b base --tree="dir=$SCRATCH/base-$SIZE_SWITCH_BASE"
	for paths in "$@"; do
		step 900 ostree --repo="$repo" commit -b "n$paths" --tree=ref=base \
			--tree="dir=$SCRATCH/upper-$paths-$SIZE_SWITCH_BASE"
	done
}

ostree_round() {
	local at=$SCRATCH/ostree-tree
	peer_switch ostree "apply-$1" "$at" 2 ostree --repo="$SCRATCH/ostree" checkout -H "n$1" "$at"
	rm -rf "$at"
	peer_switch ostree "revert-$1" "$at" 1 ostree --repo="$SCRATCH/ostree" checkout -H base "$at"
	rm -rf "$at"
}

# ---- dpkg -i of a package with these files, in a root of its own ----

DPKG=(dpkg --force-all --log=/dev/null)

# dpkg_package VERSION PATHS TREE
dpkg_package() {
	local package=$SCRATCH/package
	mkdir -p "$package/DEBIAN" "$package/opt"
	printf 'Package: bench-n%s\nVersion: %s\nArchitecture: all\nMaintainer: Bench <bench@example.org>\nDescription: files\n' \
		"$2" "$1" >"$package/DEBIAN/control"
	cp -r "$3" "$package/opt/tree"
	: >"$package/opt/bench-n$2" # its own: a package none of whose files is its own disappears
	step 300 dpkg-deb --root-owner-group -b "$package" "$SCRATCH/n$2-$1.deb"
	rm -rf "$package"
}

dpkg_base() {
	local root=$SCRATCH/dpkg-root paths
	for paths in "$@"; do
		"$TOOLS/bench_tree" "$SCRATCH/old" "$SIZE_SWITCH_BASE" --mean-bytes 200 --only "$paths"
		dpkg_package 1 "$paths" "$SCRATCH/old"
		dpkg_package 2 "$paths" "$SCRATCH/upper-$paths-$SIZE_SWITCH_BASE"
		rm -rf "$SCRATCH/old"
	done
	mkdir -p "$root/opt" "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates"
	: >"$root/var/lib/dpkg/status"
	"$TOOLS/bench_tree" "$root/opt/tree" "$SIZE_SWITCH_BASE" --mean-bytes 200
	for paths in "$@"; do # the old version is what is installed before
		step 300 "${DPKG[@]}" "--root=$root" -i "$SCRATCH/n$paths-1.deb"
	done
}

dpkg_round() {
	local root=$SCRATCH/dpkg-root at=$SCRATCH/dpkg-root/opt/tree
	peer_switch dpkg "apply-$1" "$at" 2 "${DPKG[@]}" "--root=$root" -i "$SCRATCH/n$1-2.deb"
	peer_switch dpkg "revert-$1" "$at" 1 "${DPKG[@]}" "--root=$root" -i "$SCRATCH/n$1-1.deb"
}

# ---- the phases ----

phase_switch() {
	# shellcheck disable=SC2086 # lists of words
	set -- $SIZES_SWITCH
	say '  preparing'
	veneer_base "$SIZE_SWITCH_BASE" "$@"
	git_base "$@"
	ostree_base "$@"
	dpkg_base "$@"
	rounds_run switch_round 1
	veneer_base_remove "$SIZE_SWITCH_BASE"
	rm -rf "$SCRATCH/git-work" "$SCRATCH/ostree" "$SCRATCH/dpkg-root"
}

switch_round() {
	local paths
	for paths in $SIZES_SWITCH; do
		wanted "apply-$paths" || wanted "revert-$paths" || wanted "rollback-$paths" || continue
		veneer_round "$paths"
		git_round "$paths"
		ostree_round "$paths"
		dpkg_round "$paths"
	done
}

veneer_base_remove() {
	step 60 "$VENEER" --store "$STORE" -q umount "switch-$1"
	umount "$SCRATCH/m/switch/$1"
}

# The same number of paths in small and large bases: what grows, and what must not.
phase_growth() {
	local base
	say '  preparing'
	STORE_MAIN=$STORE STORE=$SCRATCH/store-growth
	veneer -q init
	for base in $SIZES_GROWTH; do
		veneer_base "$base" "$SIZE_GROWTH_PATHS"
	done
	rounds_run growth_round 1
	for base in $SIZES_GROWTH; do
		veneer_base_remove "$base"
	done
	STORE=$STORE_MAIN
}

growth_round() {
	local base
	for base in $SIZES_GROWTH; do
		veneer_switch "$base" "$SIZE_GROWTH_PATHS" 2 "apply-$SIZE_GROWTH_PATHS-in-$base" \
			apply "switch-$base" "n$SIZE_GROWTH_PATHS"
		veneer -q revert "switch-$base"
		walk "$SCRATCH/m/switch/$base"
	done
}
