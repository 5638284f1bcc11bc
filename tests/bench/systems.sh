# shellcheck shell=bash
# The systems under test: how each is laid over a base, taken off again, and asked for its requests and memory.
#
# A base is laid at $SCRATCH/m/TAG/SYSTEM/usr, for native by a bind mount, so that all paths are equally long. Where an upper directory is
# given, overlayfs and fuse-overlayfs have a copy of it as their upper layer, and veneer has it as an applied patch.

FUSE_SYSTEMS='fuse-overlayfs bindfs veneer-cached veneer-passthrough'
SYSTEMS="native overlayfs $FUSE_SYSTEMS"

# place TAG SYSTEM: into PLACE, its mountpoint. No subshells here: in a quick run they would be most of the work.
place() { PLACE=$SCRATCH/m/$1/$2/usr; }

# step SECONDS COMMAND…: nothing here waits for ever; output only where it fails.
step() {
	timeout -k 5 "$@" >"$SCRATCH/step" 2>&1 </dev/null || {
		local status=$?
		tail -n 20 "$SCRATCH/step" >&2
		return $status
	}
}

veneer() { timeout -k 5 300 "$VENEER" --store "$STORE" "$@" </dev/null; }

# system_prepare SYSTEM TAG BASE [UPPER]: all that is not part of mounting.
system_prepare() {
	local extra=$SCRATCH/m/$2/$1 name=$2-$1
	local at=$extra/usr
	[ ! -e "$extra/base" ] || return 0
	mkdir -p "$at" "$extra/upper" "$extra/work"
	ln -s "$3" "$extra/base"
	case $1 in
	overlayfs | fuse-overlayfs)
		[ -z "${4-}" ] || cp -a "$4/." "$extra/upper/"
		;;
	veneer-*)
		mount --bind "$3" "$at" || return 1
		step 60 "$VENEER" --store "$STORE" -q add "$name" "$at" --base-version 1 || return 1
		[ -z "${4-}" ] ||
			step 120 "$VENEER" --store "$STORE" -q create "$name" -m 'benchmark' --label a --upper "$4" ||
			return 1
		;;
	esac
}

# system_mount_command SYSTEM TAG: into COMMAND, the one command that mounts.
system_mount_command() {
	local extra=$SCRATCH/m/$2/$1
	local at=$extra/usr
	case $1 in
	native) COMMAND=(mount --bind "$extra/base/" "$at") ;;
	overlayfs)
		COMMAND=(mount -t overlay overlay -o
			"lowerdir=$(readlink "$extra/base"),upperdir=$extra/upper,workdir=$extra/work" "$at")
		;;
	fuse-overlayfs)
		COMMAND=(fuse-overlayfs -o
			"lowerdir=$(readlink "$extra/base"),upperdir=$extra/upper,workdir=$extra/work" "$at")
		;;
	bindfs) COMMAND=(bindfs "$(readlink "$extra/base")" "$at") ;;
	veneer-*) COMMAND=("$VENEER" --store "$STORE" -q mount "$2-$1" --io "${1#veneer-}") ;;
	esac
}

# system_mount SYSTEM TAG BASE [UPPER]
system_mount() {
	system_prepare "$@" || return 1
	system_mount_command "$1" "$2"
	step 60 "${COMMAND[@]}" || return 1
	if [[ $1 == veneer-* && -n ${4-} ]]; then
		step 120 "$VENEER" --store "$STORE" -q apply "$2-$1" a || return 1
	fi
}

# system_umount SYSTEM TAG: the mount goes, and its daemon has ended.
system_umount() {
	local at=$SCRATCH/m/$2/$1/usr pids
	pids=$(system_pids "$1" "$2")
	case $1 in
	veneer-*) step 60 "$VENEER" --store "$STORE" -q umount "$2-$1" ;;
	*) step 60 umount "$at" ;;
	esac || {
		umount -l "$at"
		return 1
	}
	pids_await "$pids"
}

# pids_await PIDS: until they have ended, be they reaped or not.
pids_await() {
	local pid try
	for pid in $1; do
		for ((try = 0; try < 500; try++)); do
			[ -e "/proc/$pid/exe" ] || break
			sleep 0.01
		done
	done
}

# system_remove SYSTEM TAG: after umount, what system_prepare made.
system_remove() {
	local extra=$SCRATCH/m/$2/$1
	if [[ $1 == veneer-* ]] && mountpoint -q "$extra/usr"; then
		umount "$extra/usr" || return 1
	fi
	rm -rf --one-file-system "$extra"
}

# systems_mount TAG BASE [UPPER]: all of them; those that cannot be are named, and left out of MOUNTED_SYSTEMS.
systems_mount() {
	local system
	MOUNTED_SYSTEMS=''
	if system_prepare veneer-cached "$@"; then default_probe "$1"; fi
	for system in $SYSTEMS; do
		if system_mount "$system" "$@" 2>"$SCRATCH/error"; then
			MOUNTED_SYSTEMS+=" $system"
		else
			say "  $system: cannot be mounted: $(head -n 1 "$SCRATCH/error")"
			printf '%s\t%s\t%s\n' "$1" "$system" "$(head -n 1 "$SCRATCH/error")" >>"$SCRATCH/skips"
		fi
	done
}

systems_umount() {
	local system
	for system in $MOUNTED_SYSTEMS; do
		system_umount "$system" "$1" || say "  $system: umount failed"
		system_remove "$system" "$1"
	done
	MOUNTED_SYSTEMS=''
}

# default_probe TAG: what --io auto comes to over this base, noted for the targets that speak of the default mode. The component TAG-veneer-cached
# is there and not mounted.
default_probe() {
	local name=$1-veneer-cached io
	veneer -q mount "$name" --io auto || return 0
	io=$(veneer status "$name" --json | jq -r '.[0].io')
	system_umount veneer-cached "$1"
	printf '%s\tveneer-%s\n' "$1" "$io" >>"$SCRATCH/defaults"
}

# system_pids SYSTEM TAG: its daemon's processes.
system_pids() {
	local at=$SCRATCH/m/$2/$1/usr
	case $1 in
	fuse-overlayfs | bindfs) pgrep -f -- "^$1 .*$at\$" ;;
	veneer-*) pgrep -f -- "--store $STORE .*mount $2-$1 " ;;
	esac || :
}

# system_memory SYSTEM TAG: bytes, each shared page counted once (PSS).
system_memory() {
	local pid
	for pid in $(system_pids "$1" "$2"); do
		cat "/proc/$pid/smaps_rollup" 2>/dev/null
	done | awk '/^Pss:/ { sum += $2 } END { if (sum) print sum * 1024 }'
}

drop_caches() {
	sync
	echo "${1:-3}" >/proc/sys/vm/drop_caches
}
