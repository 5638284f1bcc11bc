#!/bin/bash
# The package manager works through the mount: a Debian system made by debootstrap, its /usr/lib and /usr/share mounted over, in
# which apt-get and dpkg install, divert, upgrade, reinstall, downgrade, remove and purge real packages. The oracle is a copy of the
# same system without a mount: after each step both have the same tree, and at the end the same image.
#
# Environment, besides that of lib.sh:
#
#	VENEER_PACKAGES=full       30 packages and more; else a short form
#	VENEER_PACKAGES_IO=MODE    cached (default), passthrough or auto: the --io of the mounts
#	VENEER_PACKAGES_CACHE=DIR  keep the image and the packages there for the next run; else they are removed at the end
#
# Calling sequence, of a case:
#
#	packages_begin                     # $SCRATCH/plain and $SCRATCH/mounted, two copies of one image; $DEBS
#	packages_mount "$SCRATCH/mounted"
#	packages_step STEP                 # step_STEP below, in both at the same time; says how long each took
#	packages_compare_mounted STEP      # while mounted
#	packages_umount "$SCRATCH/mounted"
#	packages_compare_images            # the whole images
#
# What may differ, and nothing else:
# * An mtime that is not older than the run is shown as "late" (tree_listing -t): what scripts make, and directories in which names
#   came or went. What dpkg unpacks has its package's times, which are compared to the nanosecond. A time is late in both or in none.
# * The content (not the size) of the files in VOLATILE below, which has times, addresses or inode numbers in it. All of them are
#   outside the mounts.
# * In what the steps say: the clock that tzdata's scripts print.
#
# A profiler of the whole machine (perf record -a) gives files that programs map a second name, in its own cache: link counts differ.
. "$(dirname "$0")/lib.sh"
. "$FS_SOURCE/scripts/lib.sh"

# Where the components are, relative to the image.
COMPONENTS=(usr/lib usr/share)

# Packages of the short form, and those that the full form has besides; what they depend on comes with them.
PACKAGES_SHORT='perl-base tzdata xz-utils openssl libexpat1 file gettext-base python3-minimal libcap2-bin'
PACKAGES_FULL='ca-certificates man-db locales libutempter0 shared-mime-info dbus perl'

# The content of these differs between any two runs: logs with times, caches with times or inode numbers of others.
VOLATILE='\./var/(log/dpkg|log/alternatives|log/apt/history|log/apt/term)\.log|\./var/cache/(ldconfig/aux-cache|apt/(src)?pkgcache\.bin)'

packages_full() { [ "${VENEER_PACKAGES-}" = full ]; }
packages_names() { if packages_full; then echo "$PACKAGES_SHORT $PACKAGES_FULL"; else echo "$PACKAGES_SHORT"; fi; }

# ---- the image and the packages ----

# MIRROR and CODENAME of the system that this runs on, as apt has them.
packages_mirror() {
	command -v debootstrap >/dev/null || skip 'debootstrap is not installed'
	command -v apt-get >/dev/null || skip 'this is no Debian: no apt-get'
	[ "$(. /etc/os-release && echo "$ID")" = debian ] || skip 'this is no Debian'
	CODENAME=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
	MIRROR=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
		awk -v codename="$CODENAME" '$2 == codename && $3 == "main" { print $1; exit }')
	[ -n "$MIRROR" ] || skip "apt knows no mirror of '$CODENAME' main: is there none, or was apt-get update not run?"
}

# Is it the network that failed, as LOG has it?
packages_no_network() {
	grep -qE "Failed getting release file|Couldn't download|Failed to fetch|Could not resolve|Could not connect|Connection (failed|timed out)" "$1"
}

# $1: the image, once made.
packages_make_image() {
	local log=$SCRATCH/debootstrap.log
	[ ! -e "$1.made" ] || return 0
	rm -rf --one-file-system "$1"
	if ! T=600 t unshare --mount debootstrap --variant=minbase "$CODENAME" "$1" "$MIRROR" >"$log" 2>&1; then
		! packages_no_network "$log" || skip "debootstrap finds no network: $(grep '^E:' "$log" | tail -n 1)"
		tail -n 20 "$log" >&2
		fail 'debootstrap failed'
	fi
	rm -f "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*_*
	# No services, no documentation of which locale to make, no random id, no network.
	printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d"
	chmod 755 "$1/usr/sbin/policy-rc.d"
	echo 'en_US.UTF-8 UTF-8' >"$1/etc/locale.gen"
	echo 0123456789abcdef0123456789abcdef >"$1/etc/machine-id"
	mkdir "$1/debs"
	touch "$1.made"
}

# packages_download IMAGE DIR [apt-get's options]: the packages and what they need, as apt on this system would install them in IMAGE.
packages_download() {
	local image=$1 dir=$2 log=$SCRATCH/download.log
	shift 2
	mkdir -p "$dir/partial"
	# shellcheck disable=SC2046 # a list of words
	if ! T=300 t apt-get -y -q --no-install-recommends -o APT::Sandbox::User=root -o Debug::NoLocking=1 \
		-o Dir::State::status="$image/var/lib/dpkg/status" -o Dir::State::extended_states=/dev/null \
		-o Dir::Cache::archives="$dir" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
		--download-only --reinstall "$@" install $(packages_names) >"$log" 2>&1; then
		! packages_no_network "$log" || skip "apt-get finds no network: $(grep '^E:' "$log" | tail -n 1)"
		tail -n 20 "$log" >&2
		fail 'apt-get cannot download the packages'
	fi
	rm -rf "$dir/partial" "$dir/lock"
}

# packages_index DIR: makes it a repository for apt.
packages_index() {
	local deb
	for deb in "$1"/*.deb; do
		dpkg-deb -f "$deb"
		printf 'Filename: %s/%s\nSize: %s\nSHA256: %s\n\n' "$(basename "$1")" "$(basename "$deb")" \
			"$(stat -c %s "$deb")" "$(sha256sum <"$deb" | cut -c1-64)"
	done >"$1/Packages"
}

# $1: the image, $2: where old/ and new/ are made: of each package the release's version, and the newest.
packages_make_debs() {
	local deb name
	[ ! -e "$2.made" ] || return 0
	rm -rf "$2"
	packages_download "$1" "$2/old" -t "$CODENAME"
	cp -al "$2/old" "$2/new"
	packages_download "$1" "$2/new"
	# Where there is a newer one, the old one goes from new/.
	for deb in "$2"/old/*.deb; do
		name=$(basename "$deb")
		set -- "$1" "$2" "$2/new/${name%%_*}"_*.deb
		[ $# -eq 3 ] || rm "$2/new/$name"
	done
	packages_index "$2/old"
	packages_index "$2/new"
	touch "$2.made"
}

# Names of the packages of $DEBS/$1.
packages_list() { (cd "$DEBS/$1" && printf '%s\n' *.deb | sed 's/_.*//'); }

packages_begin() {
	local form=short
	fs_setup
	BEGIN=$SECONDS
	! packages_full || form=full
	packages_mirror
	packages_make_image "$VENEER_PACKAGES_CACHE/image"
	DEBS=$VENEER_PACKAGES_CACHE/debs-$form
	packages_make_debs "$VENEER_PACKAGES_CACHE/image" "$DEBS"
	UPGRADES=$(comm -13 <(cd "$DEBS/old" && printf '%s\n' *.deb | sort) <(cd "$DEBS/new" && printf '%s\n' *.deb | sort) | wc -l)
	cp -a --reflink=auto "$VENEER_PACKAGES_CACHE/image" "$SCRATCH/plain"
	cp -a --reflink=auto "$VENEER_PACKAGES_CACHE/image" "$SCRATCH/mounted"
	mkdir "$SCRATCH/logs"
	# An mtime of now is late from the next whole second on.
	sleep 1.1
	LATE=$(date +%s)
	echo "packages: $(packages_list new | wc -l), of $UPGRADES two versions; made ready in $((SECONDS - BEGIN)) s"
}

# ---- mounts ----

packages_component() { echo "${1//\//-}"; }

# packages_mount IMAGE: each component of it; what is beneath them stays visible in $SCRATCH/beneath.
packages_mount() {
	local component
	mkdir "$SCRATCH/beneath"
	mount --bind "$1" "$SCRATCH/beneath"
	mount --make-private "$SCRATCH/beneath"
	fs_remember_mount "$SCRATCH/beneath"
	DAEMONS=() DEVICES=()
	for component in "${COMPONENTS[@]}"; do
		fs_component "$(packages_component "$component")" "$1/$component" --root "$1"
		fs_mount "$(packages_component "$component")" "$1/$component" --io "${VENEER_PACKAGES_IO:-cached}"
		DAEMONS+=("$FS_DAEMON")
		DEVICES+=("$(awk -v dir="$1/$component" '$5 == dir { print $3 }' /proc/self/mountinfo)")
	done
}

packages_ended() { [[ $(ps -o stat= -p "$1") =~ ^(Z.*)?$ ]]; }

# A mount lives on where another mount namespace has a copy of it: then the daemon does, too, and who has it is said.
packages_umount() {
	local i component
	for i in "${!COMPONENTS[@]}"; do
		component=${COMPONENTS[i]}
		must v umount "$(packages_component "$component")"
		! fs_is_mounted "$1/$component" || fail "'$1/$component' is still mounted"
		if ! fs_wait_for 60 packages_ended "${DAEMONS[i]}"; then
			grep -lE "^[0-9]+ [0-9]+ ${DEVICES[i]} " /proc/[0-9]*/mountinfo >&2 || echo 'no process has it mounted' >&2
			ps -L -o tid,stat,wchan:32,comm -p "${DAEMONS[i]}" >&2
			fail "the daemon of $component goes on a minute after the unmount"
		fi
		wait "${DAEMONS[i]}" || fail "the daemon of $component ended badly: $(tail -n 3 "$FS_LOG")"
	done
	umount "$SCRATCH/beneath"
}

# ---- what is done ----

# packages_in IMAGE: a shell script from standard input, in IMAGE, with a /proc and processes of its own, and no network.
packages_in() {
	T=600 t unshare --mount --pid --fork --kill-child --net --mount-proc="$1/proc" \
		bash -c 'mount --bind "$2" "$1/debs" && mount --bind /dev "$1/dev" && exec chroot "$1" /usr/bin/env -i \
			PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C TZ=UTC DEBIAN_FRONTEND=noninteractive \
			SOURCE_DATE_EPOCH=1700000000 PYTHONHASHSEED=0 NAMES="$3" FULL="$4" /bin/sh -eu /dev/stdin' \
		bash "$1" "$DEBS" "$(packages_names)" "$(packages_full && echo 1)"
}

# packages_step_in SIDE STEP: in the image $SCRATCH/SIDE; what it said is in $SCRATCH/logs.
packages_step_in() {
	local begin log=$SCRATCH/logs/$2-$1
	begin=$(date +%s%N)
	if ! { declare -f step_repository "step_$2"; echo "step_$2"; echo 'dpkg --verify; dpkg --audit'; } |
		packages_in "$SCRATCH/$1" >"$log" 2>&1; then
		tail -n 30 "$log" >&2
		fail "step '$2' failed in $SCRATCH/$1"
	fi
	echo $((($(date +%s%N) - begin) / 1000000)) >"$log.ms"
}

# packages_step STEP: in both images, neither of which is left alone where it fails in the other.
packages_step() {
	local pid status=0
	packages_step_in plain "$1" &
	pid=$!
	(packages_step_in mounted "$1") || status=1
	wait "$pid" || status=1
	[ $status -eq 0 ] || exit 1
	printf '%-10s plain %6d ms, mounted %6d ms\n' "$1" "$(cat "$SCRATCH/logs/$1-plain.ms")" "$(cat "$SCRATCH/logs/$1-mounted.ms")"
}

# These run in the image.
step_repository() {
	echo "deb [trusted=yes] file:/debs $1/" >/etc/apt/sources.list
	printf 'Dpkg::Use-Pty "0";\nAPT::Install-Recommends "0";\nAPT::Sandbox::User "root";\n' >/etc/apt/apt.conf.d/99test
	apt-get -q update
}

# dpkg alone: installed anew, and reinstalled.
step_dpkg() {
	cd /debs/old || return
	dpkg -i perl-base_*.deb tzdata_*.deb libmagic-mgc_*.deb libmagic1*_*.deb file_*.deb gettext-base_*.deb
}

step_install() {
	step_repository old
	apt-get -q -y install $NAMES
}

# What administrators and maintainer scripts do beside it: diversions, overrides, capabilities, links.
step_local() {
	dpkg-divert --local --rename --add /usr/lib/file/magic.mgc
	dpkg-divert --local --rename --divert /usr/share/elsewhere --add "$(dpkg -L tzdata | grep -m 1 '^/usr/share/zoneinfo/.*Berlin$')"
	dpkg-statoverride --add --update root adm 2751 "$(dpkg -S '/usr/lib/*/abc.py' | sed 's/.*: //; q')"
	mkdir -p /usr/lib/local/made
	cp -p /usr/bin/openssl /usr/lib/local/made/tool
	setcap cap_net_raw+ep /usr/lib/local/made/tool
	ln /usr/lib/local/made/tool /usr/lib/local/hard
	ln -s made/tool /usr/lib/local/soft
	cp -a /usr/share/perl5 /usr/share/perl5-copy
	mv /usr/share/perl5-copy /usr/lib/local/moved
	cp -al /usr/share/zoneinfo /usr/share/zoneinfo-linked
	# dpkg --verify has something to say.
	echo 'a local line' >>/usr/share/doc/xz-utils/copyright
	rm /usr/share/doc/openssl/copyright
	if [ -n "$FULL" ]; then
		locale-gen
	fi
}

step_upgrade() {
	step_repository new
	apt-get -q -y upgrade
	apt-get -q -y dist-upgrade
}

step_reinstall() {
	apt-get -q -y install --reinstall gettext-base libmagic-mgc ${FULL:+tzdata perl-base} \
		$(ls /debs/new | sed -n 's/^\(libpython3[^_]*\)_.*/\1/p')
	dpkg -i /debs/new/file_*.deb /debs/new/openssl_*.deb
	dpkg-divert --local --rename --remove /usr/lib/file/magic.mgc
}

# Back, half of it left unpacked, and forward again.
step_downgrade() {
	dpkg --unpack /debs/old/libexpat1_*.deb /debs/old/libssl3*.deb /debs/old/xz-utils_*.deb ${FULL:+/debs/old/tzdata_*.deb}
	dpkg --configure -a
	apt-get -q -y upgrade
}

step_remove() {
	dpkg -r file
	apt-get -q -y remove libmagic1 gettext-base python3-minimal
	if [ -n "$FULL" ]; then
		apt-get -q -y remove man-db shared-mime-info dbus perl
	fi
}

step_purge() {
	apt-get -q -y purge python3-minimal file
	apt-get -q -y autoremove --purge
	dpkg --purge tzdata
	if [ -n "$FULL" ]; then
		apt-get -q -y purge locales ca-certificates man-db dbus
	fi
	rm -r /usr/lib/local /usr/share/zoneinfo-linked/Europe
}

STEPS='dpkg install local upgrade reinstall downgrade remove purge'

# ---- what is compared ----

# packages_listing DIR OUTPUT: all that must be the same in both.
packages_listing() { T=300 tree_listing -g -t "$LATE" "$1" >"$2" || fail "listing '$1' failed"; }

# What STEP said, dpkg --verify at its end; the clock of tzdata's scripts apart.
packages_said() { sed -E 's/^((Local time|Universal Time) is now:).*/\1 …/' "$SCRATCH/logs/$1-$2"; }

# The components of both, after STEP; and through the mount exactly what is beneath it, inode numbers and ctimes included.
packages_compare_mounted() {
	local component plain=$SCRATCH/listing-plain mounted=$SCRATCH/listing-mounted
	for component in "${COMPONENTS[@]}"; do
		T=300 tree_listing -a -g "$SCRATCH/beneath/$component" >"$plain"
		T=300 tree_listing -a -g "$SCRATCH/mounted/$component" >"$mounted"
		assert_same_text "$plain" "$mounted" "after '$1': $component through the mount is not what is beneath it"
		packages_listing "$SCRATCH/plain/$component" "$plain"
		packages_listing "$SCRATCH/beneath/$component" "$mounted"
		assert_same_text "$plain" "$mounted" "after '$1': $component is not as without a mount"
	done
	packages_said "$1" plain >"$plain"
	packages_said "$1" mounted >"$mounted"
	assert_same_text "$plain" "$mounted" "step '$1' said something else"
}

packages_compare_images() {
	local side
	for side in plain mounted; do
		packages_listing "$SCRATCH/$side" "$SCRATCH/listing-$side.all"
		sed -E "s,^(($VOLATILE) file .*) xxh3=[0-9a-f]+,\1," "$SCRATCH/listing-$side.all" >"$SCRATCH/listing-$side"
	done
	assert_same_text "$SCRATCH/listing-plain" "$SCRATCH/listing-mounted" 'the images differ'
}

# ---- cases ----

# What is said to be compared is: of two equal images one is changed, once for each thing that is to be seen.
case_comparison() {
	local change file
	fs_setup
	mkdir -p "$SCRATCH/plain/usr/share/dir" "$SCRATCH/plain/var/log"
	for file in file other; do
		echo 'some content' >"$SCRATCH/plain/usr/share/dir/$file"
		ln "$SCRATCH/plain/usr/share/dir/$file" "$SCRATCH/plain/usr/share/dir/$file-linked"
	done
	ln -s file "$SCRATCH/plain/usr/share/dir/soft"
	echo '12:00:01 done' >"$SCRATCH/plain/var/log/dpkg.log"
	sleep 1.1
	LATE=$(date +%s)
	while read -r change; do
		rm -rf "$SCRATCH/mounted"
		cp -a "$SCRATCH/plain" "$SCRATCH/mounted"
		# A time of the run, and the content of a log, are no difference.
		touch "$SCRATCH/plain/usr/share/dir"
		(cd "$SCRATCH/mounted/usr/share/dir" && touch . && echo '12:00:02 done' >../../../var/log/dpkg.log &&
			touch -r "$SCRATCH/plain/var/log/dpkg.log" ../../../var/log/dpkg.log)
		packages_compare_images
		(cd "$SCRATCH/mounted/usr/share/dir" && eval "$change")
		! (packages_compare_images) 2>/dev/null || fail "not seen: $change"
	done <<-'TEXT'
		printf X | dd of=file bs=1 seek=3 conv=notrunc status=none && touch -r other file
		touch -d @1000000000 file
		touch -d @1000000000.000000001 file && touch -d @1000000000 "$SCRATCH/plain/usr/share/dir/file"
		touch file
		touch -h -d @1000000000 soft
		chmod 4644 file
		chown 1 file
		chgrp 1 file
		setfattr -n user.x -v y file
		setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 other
		setfacl -m u:1:r file
		ln -sf other soft && touch -h -r "$SCRATCH/plain/usr/share/dir/soft" soft
		ln -f file-linked kept && mv file-linked swap && mv other-linked file-linked && mv swap other-linked && rm kept
		ln file one-more
		rm other
		mkdir empty
		chmod 700 .
		touch -d @1000000000 .
		echo more >>../../../var/log/dpkg.log
		chmod 600 ../../../var/log/dpkg.log
	TEXT
}

case_as_without() {
	local step
	packages_begin
	packages_mount "$SCRATCH/mounted"
	for step in $STEPS; do
		packages_step "$step"
		packages_compare_mounted "$step"
	done
	# Each of the steps did what it is for.
	assert_match '^\?\?5\?+ +/usr/share/doc/xz-utils/copyright' "$(cat "$SCRATCH/logs/local-mounted")" 'dpkg --verify of a changed file'
	assert_match '^missing +/usr/share/doc/openssl/copyright' "$(cat "$SCRATCH/logs/local-mounted")" 'dpkg --verify of a file that is gone'
	packages_umount "$SCRATCH/mounted"
	packages_compare_images
	echo "compared: $(wc -l <"$SCRATCH/listing-plain") names; installed, upgraded and reinstalled $(packages_count Unpacking) times, removed $(packages_count Removing)"
}

# ---- with patches on files of the packages ----

# The package of libssl in $DEBS/$1.
libssl_deb() { find "$DEBS/$1" -name 'libssl3*.deb' | head -n 1; }

step_patched_install() { dpkg -i /debs/old/libssl3*.deb /debs/old/libexpat1_*.deb; }
step_patched_newer() { dpkg -i /debs/newer/libssl3*.deb; }
step_patched_same() { dpkg -i /debs/new/libssl3*.deb /debs/new/libexpat1_*.deb; }
step_patched_purge() { dpkg --purge --force-depends libexpat1 "$(dpkg -S '/usr/lib/*/libssl.so.3' | sed 's/:.*//')"; }

# $DEBS/newer: libssl once more, of a version that nobody has: all its files have other bytes.
packages_make_newer() {
	local tree=$SCRATCH/newer file
	[ ! -e "$DEBS/newer.made" ] || return 0
	rm -rf "$DEBS/newer"
	mkdir "$DEBS/newer"
	dpkg-deb -R "$(libssl_deb new)" "$tree"
	sed -i 's/^Version: .*/&+newer1/' "$tree/DEBIAN/control"
	find "$tree/usr" -type f -print | while read -r file; do printf 'newer' >>"$file"; done
	(cd "$tree" && find usr -type f -print0 | xargs -0 md5sum >DEBIAN/md5sums)
	must dpkg-deb --root-owner-group -b "$tree" "$DEBS/newer"
	touch "$DEBS/newer.made"
}

# Whoever opens a file of the packages, again and again, until $SCRATCH/stop is there.
packages_read() {
	local errors=0 file
	while [ ! -e "$SCRATCH/stop" ]; do
		for file in "$@"; do
			cat "$file" >/dev/null 2>>"$SCRATCH/read-errors" || errors=$((errors + 1))
		done
	done
	echo $errors >"$SCRATCH/read"
}

# patched_begin: old versions in both images, the new ones as patch a of usr-lib in the one that is mounted, and a reader.
patched_begin() {
	local deb
	packages_begin
	[ "$(basename "$(libssl_deb old)")" != "$(basename "$(libssl_deb new)")" ] || skip 'apt knows one version of libssl only'
	packages_make_newer
	packages_step patched_install
	packages_mount "$SCRATCH/mounted"
	assert_equal a "$(fs_create usr-lib -m 'security update' --fixes CVE-2026-1 --deb "$(libssl_deb new)" "$DEBS"/new/libexpat1_*.deb \
		2>/dev/null)" 'label'
	must v apply usr-lib
	mkdir "$SCRATCH/unpacked"
	for deb in "$(libssl_deb new)" "$DEBS"/new/libexpat1_*.deb; do dpkg-deb -x "$deb" "$SCRATCH/unpacked"; done
	PATCHED=$(cd "$SCRATCH/unpacked" && find usr/lib -type f -o -type l | sort)
	for file in $PATCHED; do must cmp "$SCRATCH/unpacked/$file" "$SCRATCH/mounted/$file"; done
	# shellcheck disable=SC2046 # a list of words
	packages_read $(printf "$SCRATCH/mounted/%s " $PATCHED) &
	READER=$!
	fs_remember_pid "$READER"
}

# patched_end STATE: what became of the patch; the reader met no error; the journal names dpkg.
patched_end() {
	sleep 0.2
	: >"$SCRATCH/stop"
	wait "$READER"
	assert_equal 0 "$(cat "$SCRATCH/read")" "opens that failed ($(head -n 3 "$SCRATCH/read-errors"))"
	taken_off() { [ "$(fs_status usr-lib '.patches[0].state')" = "$1" ]; }
	fs_wait_for 20 taken_off "$1" || fail "the patch is $(fs_status usr-lib '.patches[0].state'), not $1"
	assert_equal "$1" "$(v log usr-lib --json | jq -r '.[0].action')" 'the journal'
	assert_match dpkg "$(fs_status usr-lib '.patches[0].retired_by')" 'who did it'
}

case_patched_and_upgraded() {
	local file
	patched_begin
	packages_step patched_newer
	patched_end retired
	# All that is served is the newer package's, what else the patch changed is the base's; dpkg --verify and the rest as without a mount.
	for file in $PATCHED; do
		case $file in
		*libexpat*) must cmp "$SCRATCH/plain/$file" "$SCRATCH/mounted/$file" ;;
		*) must cmp "$SCRATCH/newer/$file" "$SCRATCH/mounted/$file" ;;
		esac
	done
	packages_compare_mounted patched_newer
	! grep -E '^[?.]{2}5|^missing' "$SCRATCH/logs/patched_newer-mounted" || fail 'dpkg --verify finds something'
	# A patch for the base of today; and the packages go, with it on their files.
	must v add usr-lib "$SCRATCH/mounted/usr/lib" --root "$SCRATCH/mounted" --base-version 2
	assert_equal b "$(fs_create usr-lib -m 'for the newer one' --deb "$(libssl_deb new)" 2>/dev/null)" 'label'
	must v apply usr-lib
	assert_equal '2 (b)' "$(fs_status usr-lib .version_label)" 'version'
	packages_step patched_purge
	gone() { [ "$(fs_status usr-lib .version_label)" = 2 ]; }
	fs_wait_for 20 gone || fail "after the purge: $(fs_status usr-lib .version_label)"
	packages_compare_mounted patched_purge
	packages_umount "$SCRATCH/mounted"
	packages_compare_images
}

case_patched_and_absorbed() {
	patched_begin
	packages_step patched_same
	patched_end absorbed
	for file in $PATCHED; do must cmp "$SCRATCH/unpacked/$file" "$SCRATCH/mounted/$file"; done
	packages_compare_mounted patched_same
	packages_umount "$SCRATCH/mounted"
	packages_compare_images
}

# How many lines of what the steps said begin with $1.
packages_count() { cat "$SCRATCH"/logs/*-mounted | grep -c "^$1 "; }

if [ "${1-}" != --case ] && [ -z "${VENEER_PACKAGES_CACHE-}" ]; then
	VENEER_PACKAGES_CACHE=$(mktemp -d "${VENEER_SCRATCH:-/var/tmp}/veneer-packages.XXXXXX")
	trap 'rm -rf --one-file-system "$VENEER_PACKAGES_CACHE"' EXIT
	trap 'exit 130' INT TERM
fi
export VENEER_PACKAGES_CACHE
! packages_full || export VENEER_CASE_SECONDS=${VENEER_CASE_SECONDS:-1500}
fs_main "$@"
