# shellcheck shell=bash
# What scripts/test and scripts/demo share: the packages, messages, building.

VENEER_SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# shellcheck disable=SC2034 # used by those who source this
# What a build needs on Debian 12 and 13, then what tests and demo need besides.
BUILD_PACKAGES='gcc libc6-dev make cmake ninja-build pkg-config libfuse3-dev libgit2-dev libxxhash-dev
	libarchive-dev libjson-c-dev zlib1g-dev libdeflate-dev nettle-dev'
# shellcheck disable=SC2034
RUN_PACKAGES='fuse3 git mount util-linux'
# shellcheck disable=SC2034
TEST_PACKAGES='libcriterion-dev attr acl jq procps e2fsprogs xz-utils util-linux-extra debootstrap
	xfsprogs btrfs-progs'
# shellcheck disable=SC2034
CLANG_PACKAGES='clang'

if [ -t 1 ] && [ -z "${NO_COLOR-}" ]; then
	LIB_BOLD=$'\e[1m' LIB_RESET=$'\e[0m'
else
	LIB_BOLD='' LIB_RESET=''
fi

# A heading of a section.
section() { printf '\n%s== %s%s\n' "$LIB_BOLD" "$*" "$LIB_RESET"; }
say() { printf '%s\n' "$*"; }
die() {
	printf '%s: %s\n' "$(basename "$0")" "$*" >&2
	exit 1
}

lib_require_root() {
	[ "$(id -u)" = 0 ] || die "must run as root: it installs packages and mounts filesystems; try: sudo $0"
}

# lib_require_fuse: /dev/fuse can be opened; loads the module where that helps.
lib_have_fuse() {
	[ -e /dev/fuse ] || modprobe fuse 2>/dev/null || :
	[ -e /dev/fuse ] && (: <>/dev/fuse) 2>/dev/null
}

lib_installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# lib_install PACKAGE…: those that are missing, with apt-get; nothing is touched where none is.
lib_install() {
	local package missing=()
	command -v dpkg-query >/dev/null || die "this is no Debian: install by hand what it has of: $*"
	for package in "$@"; do
		lib_installed "$package" || missing+=("$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	lib_require_root
	say "installing: ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	lib_quiet apt-get update || die 'apt-get update failed: see above'
	lib_quiet apt-get install -y --no-install-recommends "${missing[@]}" ||
		die "apt-get install failed: install by hand: ${missing[*]}"
}

# lib_quiet COMMAND…: its output only where it fails.
lib_quiet() {
	local log status=0
	log=$(mktemp)
	"$@" >"$log" 2>&1 </dev/null || status=$?
	[ $status -eq 0 ] || tail -n 40 "$log" >&2
	rm -f "$log"
	return $status
}

# lib_build PRESET [cmake's options]: configures and builds into build/PRESET. Warnings are shown, and are errors.
lib_build() {
	local preset=$1
	shift
	(cd "$VENEER_SOURCE" && lib_quiet cmake --preset "$preset" "$@" && lib_quiet cmake --build --preset "$preset") ||
		die "building preset '$preset' failed"
}

# lib_deb_versions PACKAGE: "OLD NEW", two different versions that apt can download: that of the stable release and that of its
# security updates; where apt knows no such pair, or the release has overtaken its updates, the lowest and the highest.
# Status 1 where there are no two.
lib_deb_versions() {
	command -v apt-cache >/dev/null || return 1
	local version stable='' security='' old='' new=''
	stable=$(apt-cache madison "$1" 2>/dev/null | awk -F' *[|] *' '$3 ~ / [a-z]+\/main .*Packages/ { print $2; exit }')
	security=$(apt-cache madison "$1" 2>/dev/null | awk -F' *[|] *' '$3 ~ /-security\/main .*Packages/ { print $2; exit }')
	if [ -n "$stable" ] && [ -n "$security" ] && dpkg --compare-versions "$stable" lt "$security"; then
		echo "$stable $security"
		return 0
	fi
	for version in $(apt-cache madison "$1" 2>/dev/null | awk -F'|' '/Packages$/ { gsub(/ /, "", $2); print $2 }'); do
		if [ -z "$old" ] || dpkg --compare-versions "$version" lt "$old"; then old=$version; fi
		if [ -z "$new" ] || dpkg --compare-versions "$version" gt "$new"; then new=$version; fi
	done
	[ -n "$old" ] && [ "$old" != "$new" ] || return 1
	echo "$old $new"
}

# lib_deb_download PACKAGE VERSION DIR: prints the path of the downloaded .deb.
lib_deb_download() {
	local dir=$3/$1-${2//[^A-Za-z0-9.+~-]/_}
	mkdir -p "$dir"
	(cd "$dir" && lib_quiet timeout 180 apt-get -o APT::Sandbox::User=root download "$1=$2") || return 1
	set -- "$dir"/*.deb
	[ -f "$1" ] || return 1
	echo "$1"
}

# lib_deb_unpack DEB ROOT: what dpkg would put into the system image ROOT, through its own symlinks (merged /usr).
lib_deb_unpack() {
	dpkg-deb --fsys-tarfile "$1" | tar -x -p --same-owner --keep-directory-symlink -C "$2"
}
