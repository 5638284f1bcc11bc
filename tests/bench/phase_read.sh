# shellcheck shell=bash
# Reading and writing through the mount: small files warm and cold, a large file, real programs, writes.

small_data() {
	[ ! -e "$SCRATCH/small" ] || return 0
	"$TOOLS/bench_tree" "$SCRATCH/small" "$SIZE_FILES" --mean-bytes "$SIZE_MEAN_BYTES"
	"$TOOLS/bench_tree" "$SCRATCH/small-upper" "$SIZE_FILES" --mean-bytes "$SIZE_MEAN_BYTES" --version 2 \
		--only "$SIZE_PATCH"
	(cd "$SCRATCH/small" && find . -type f | sort >"$SCRATCH/small-list" && tr '\n' '\0' <"$SCRATCH/small-list" >"$SCRATCH/small-list0")
}

phase_small() {
	small_data
	systems_mount small "$SCRATCH/small" "$SCRATCH/small-upper"
	rounds_run small_round 0
	systems_umount small
}

small_round() {
	local system files=$TOOLS/bench_files list=$SCRATCH/small-list passes
	for system in $MOUNTED_SYSTEMS; do
		small_passes "$system"
		place small "$system"
		warm open-warm 1 "$files" open "$PLACE" "$list" 1 1
		measure open-warm "$system" small "$files" open "$PLACE" "$list" "$passes" 1
	done
	for system in $MOUNTED_SYSTEMS; do
		small_passes "$system"
		place small "$system"
		warm parallel-warm 1 "$files" open "$PLACE" "$list" 1 1
		measure parallel-warm "$system" small "$files" open "$PLACE" "$list" "$passes" 4
	done
	for system in $MOUNTED_SYSTEMS; do
		small_passes "$system"
		place small "$system"
		warm missing-warm 1 "$files" missing "$PLACE" "$list" 1 1
		measure missing-warm "$system" small "$files" missing "$PLACE" "$list" "$passes" 1
	done
	for system in $MOUNTED_SYSTEMS; do
		place small "$system"
		warm cat-warm "$SIZE_WARM" "$TOOLS/bench_time" --directory "$PLACE" -- xargs -0 -a "${list}0" cat
		measure cat-warm "$system" small "$TOOLS/bench_time" --directory "$PLACE" -- xargs -0 -a "${list}0" cat
	done
	for system in $MOUNTED_SYSTEMS; do
		place small "$system"
		warm find-warm 1 "$TOOLS/bench_time" --directory "$PLACE" -- find . -size +1000000k
		measure find-warm "$system" small "$TOOLS/bench_time" --directory "$PLACE" -- find . . . -size +1000000k
	done
}

# Those that need a round trip for each open take long enough in one pass; all figures are a file's.
small_passes() {
	case $1 in
	fuse-overlayfs | bindfs | veneer-passthrough) passes=1 ;;
	*) passes=$SIZE_PASSES ;;
	esac
	[ "$ROUND" -gt 0 ] || passes=1
}

# ---- cold: the daemon fresh, the kernel's caches dropped ----

phase_cold() {
	local row system
	if [ -z "$DROP" ]; then
		for row in find-cold open-cold; do
			for system in $SYSTEMS; do
				skip $row "$system" 'this kernel or container does not let caches be dropped'
			done
		done
		return 0
	fi
	small_data
	systems_mount cold "$SCRATCH/small" "$SCRATCH/small-upper"
	rounds_run cold_round 1
	systems_umount cold
}

cold_round() {
	local system
	for system in $MOUNTED_SYSTEMS; do
		cold_remount find-cold "$system" || continue
		measure find-cold "$system" cold "$TOOLS/bench_time" --directory "$PLACE" -- find . -size +1000000k
	done
	for system in $MOUNTED_SYSTEMS; do
		cold_remount open-cold "$system" || continue
		measure open-cold "$system" cold "$TOOLS/bench_files" open "$PLACE" "$SCRATCH/small-list" 1 1
	done
}

cold_remount() {
	local row=$1 system=$2
	wanted "$row" || return 1
	if ! system_umount "$system" cold || ! system_mount "$system" cold "$SCRATCH/small"; then
		skip "$row" "$system" 'could not be mounted again'
		return 1
	fi
	place cold "$system"
	drop_caches
	# What measures is not what is measured.
	number "$TOOLS/bench_time" -- find --version || :
	cat "$TOOLS/bench_files" "$SCRATCH/small-list" "$VENEER" >/dev/null
}

# ---- one large file ----

phase_large() {
	mkdir "$SCRATCH/large"
	dd if=/dev/zero of="$SCRATCH/large/file" bs=1M count="$SIZE_LARGE_MIB" status=none
	systems_mount large "$SCRATCH/large"
	rounds_run large_round 0
	systems_umount large
	rm -rf "$SCRATCH/large"
}

large_round() {
	local system
	for system in $MOUNTED_SYSTEMS; do
		place large "$system"
		warm sequential-warm 1 "$TOOLS/bench_data" sequential "$PLACE/file" 1
		measure sequential-warm "$system" large "$TOOLS/bench_data" sequential "$PLACE/file" 3
	done
	for system in $MOUNTED_SYSTEMS; do
		place large "$system"
		warm mmap-warm 2 "$TOOLS/bench_data" mmap "$PLACE/file" "$SIZE_PAGES"
		measure mmap-warm "$system" large "$TOOLS/bench_data" mmap "$PLACE/file" "$SIZE_PAGES"
	done
}

# ---- real programs: their interpreter, libraries, modules and headers lie under the mount ----

PYTHON_MODULES='argparse,ast,base64,bisect,calendar,cmd,codecs,collections,configparser,contextlib,copy,csv,dataclasses,datetime'
PYTHON_MODULES+=',decimal,difflib,email,enum,fnmatch,fractions,functools,getopt,glob,gzip,hashlib,heapq,html,inspect,json,logging'
PYTHON_MODULES+=',pathlib,pickle,random,re,shutil,socket,subprocess,tempfile,textwrap,threading'
PERL_MODULES='POSIX File::Find Data::Dumper Getopt::Long Storable Encode IO::Socket Time::HiRes List::Util File::Temp'

# usr_copy PATH…: to the same place in the image's /usr.
usr_copy() {
	local path target
	for path in "$@"; do
		[ -e "$path" ] || continue
		path=$(readlink -f "$(dirname "$path")")/$(basename "$path")
		[ "${path#/usr/}" != "$path" ] || continue
		target=$USR/${path#/usr/}
		mkdir -p "$(dirname "$target")"
		if [ -d "$path" ]; then
			cp -a "$path" "$(dirname "$target")/"
		else
			cp -L --preserve=mode,timestamps "$path" "$target"
		fi
	done
}

# The libraries that what is in the image asks for, until nothing more is asked for; and the loader itself.
usr_libraries() {
	local known='' wanted loader
	ldconfig -p | awk '/=>/ && !($1 in seen) { seen[$1]; print $1, $NF }' >"$SCRATCH/libraries"
	loader=$(readelf -l /usr/bin/env | sed -n 's/.*interpreter: \(.*\)]/\1/p')
	mkdir -p "$USR$(dirname "$loader")"
	cp -L "$loader" "$USR$loader"
	while :; do
		wanted=$(find "$USR/bin" "$USR/lib" -type f \( -name '*.so*' -o -path '*/bin/*' -o -name cc1 -o -name git \) \
			-exec readelf -d {} + 2>/dev/null | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort -u)
		[ "$wanted" != "$known" ] || break
		known=$wanted
		awk 'NR == FNR { path[$1] = $2; next } $1 in path { print path[$1] }' "$SCRATCH/libraries" - <<<"$wanted" |
			sed 's|^/lib|/usr/lib|; s|^/usr/usr|/usr|; s|^/||' | (cd / && xargs cp -L --parents -t "$SCRATCH")
	done
}

# A system image that has just these programs. Its /usr is the base; what changes is outside of it.
programs_data() {
	local gcc headers=$SCRATCH/headers.c header
	USR=$SCRATCH/usr
	mkdir -p "$USR/bin" "$USR/sbin" "$USR/lib" "$USR/lib64"
	gcc=$(dirname "$(gcc -print-libgcc-file-name)")
	usr_copy /usr/bin/python3 /usr/bin/perl /usr/bin/gcc /usr/bin/git "$gcc/cc1" "$gcc/include" \
		/usr/lib/python3.[0-9]* /usr/lib/git-core/git /usr/share/perl /usr/lib/*/perl /usr/lib/*/perl-base /usr/share/perl-base
	usr_libraries
	for header in aio argp arpa/inet assert complex ctype dirent dlfcn elf err errno error fcntl fenv fnmatch ftw getopt glob grp \
		iconv inttypes langinfo libgen limits link locale malloc math mntent net/if netdb netinet/in netinet/tcp poll \
		pthread pwd regex sched search semaphore setjmp signal spawn stdint stdio stdlib string sys/epoll sys/eventfd \
		sys/file sys/inotify sys/ipc sys/mman sys/mount sys/param sys/ptrace sys/resource sys/select sys/socket sys/stat \
		sys/statvfs sys/time sys/types sys/uio sys/un sys/wait syslog termios time unistd wchar; do
		echo "#include <$header.h>"
	done >"$headers"
	gcc -M -D_GNU_SOURCE "$headers" | tr ' ' '\n' | grep '^/usr/include/' | sort -u |
		(cd / && sed 's|^/||' | xargs cp -L --preserve=mode,timestamps --parents -t "$SCRATCH")
}

# programs_image SYSTEM: what lies around the mount, at the parent of its place.
programs_image() {
	local image=$SCRATCH/m/programs/$1 name
	for name in bin sbin lib lib64; do
		ln -sfn usr/$name "$image/$name"
	done
	mkdir -p "$image/dev" "$image/etc" "$image/tmp" "$image/repository"
	[ -e "$image/dev/null" ] || mknod -m 666 "$image/dev/null" c 1 3
	cp "$SCRATCH/headers.c" "$image/tmp/"
	ldconfig -r "$image"
	"$TOOLS/bench_tree" "$image/repository" 200 --mean-bytes 1000
	git_quiet -C "$image/repository" init
	git_quiet -C "$image/repository" add -A
	git_quiet -C "$image/repository" commit -m initial
}

git_quiet() {
	GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null lib_quiet timeout -k 5 600 git -c gc.auto=0 -c user.name=Bench \
		-c user.email=bench@example.org -c init.defaultBranch=main "$@"
}

phase_programs() {
	local system
	programs_data
	systems_mount programs "$USR"
	for system in $MOUNTED_SYSTEMS; do
		programs_image "$system"
	done
	# Readahead goes on reading where an earlier run stopped: one run does not bring all of a program in.
	ROUND=0
	programs_round
	rounds_run programs_round 0
	systems_umount programs
	rm -rf "$USR"
}

programs_round() {
	local system modules=() module
	for module in $PERL_MODULES; do
		modules+=("-M$module")
	done
	for system in $MOUNTED_SYSTEMS; do
		program start-python "$system" /usr/bin/python3 -S -c "import $PYTHON_MODULES"
	done
	for system in $MOUNTED_SYSTEMS; do
		program start-perl "$system" /usr/bin/perl "${modules[@]}" -e 1
	done
	for system in $MOUNTED_SYSTEMS; do
		program start-preprocessor "$system" /usr/bin/gcc -E -D_GNU_SOURCE /tmp/headers.c
	done
	for system in $MOUNTED_SYSTEMS; do
		program start-git "$system" /usr/bin/git -C /repository status
	done
}

# program ROW SYSTEM COMMAND…
program() {
	local row=$1 system=$2 count=$SIZE_STARTS
	local run=(env -i LC_ALL=C HOME=/ PATH=/usr/bin PYTHONDONTWRITEBYTECODE=1
		"$TOOLS/bench_time" --root "$SCRATCH/m/programs/$system")
	shift 2
	[ "$ROUND" -gt 0 ] || count=1
	warm "$row" "$SIZE_WARM" "${run[@]}" -- "$@"
	measure "$row" "$system" programs "${run[@]}" --count "$count" -- "$@"
}

# ---- writes: every system over a base of its own ----

phase_write() {
	local system
	"$TOOLS/bench_tree" "$SCRATCH/unpack" "$SIZE_UNPACK" --mean-bytes 4000
	tar -C "$SCRATCH/unpack" -cf "$SCRATCH/unpack.tar" .
	rm -rf "$SCRATCH/unpack"
	MOUNTED_SYSTEMS=''
	for system in $SYSTEMS; do
		mkdir -p "$SCRATCH/write/$system/directory"
		if system_mount "$system" write "$SCRATCH/write/$system" 2>"$SCRATCH/error"; then
			MOUNTED_SYSTEMS+=" $system"
		else
			skip unpack "$system" "$(head -n 1 "$SCRATCH/error")"
		fi
	done
	if [[ $MOUNTED_SYSTEMS == *veneer-cached* ]] && system_umount veneer-cached write; then
		default_probe write
		system_mount veneer-cached write "$SCRATCH/write/veneer-cached"
	fi
	rounds_run write_round 1
	systems_umount write
	rm -rf "$SCRATCH/write"
}

write_round() {
	local system at
	for system in $MOUNTED_SYSTEMS; do
		place write "$system"
		at=$PLACE/directory/round-$ROUND
		mkdir "$at"
		sync
		measure unpack "$system" write "$TOOLS/bench_time" -- tar -C "$at" -xf "$SCRATCH/unpack.tar"
		step 120 rm -rf "$at"
	done
	for system in $MOUNTED_SYSTEMS; do
		place write "$system"
		at=$PLACE/directory/file
		measure fsync "$system" write "$TOOLS/bench_data" fsync "$at" "$SIZE_FSYNC"
		step 60 rm -f "$at"
	done
}
