/* SPDX-License-Identifier: Apache-2.0 */

/*
 * tree_listing [-a] [-d] [-g] [-i] [-n] [-t SECONDS] DIR: everything a user can see of a directory tree, one line an entry, sorted,
 * so that two trees are equal exactly when `diff` of their listings is silent. Names are escaped,
 * content is shown by its XXH3-128.
 *
 *     -a  all that tells whether anyone touched the tree: ctime and inode number as well
 *     -d  leave out what a package manager changes of a directory in passing: its mtime
 *     -g  groups of hard links as well: of a file that has several names the first one in this listing; and link counts of
 *         directories
 *     -i  inode numbers as well
 *     -n  leave out link counts: a copy need not have its original's hard links
 *     -t  an mtime from SECONDS (of the epoch) on is shown as "late": two runs of the same thing differ in it, and in no other
 */

#include <fcntl.h>
#include <inttypes.h>
#include <search.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "store/base/cleanup.h"
#include "store/base/hash.h"
#include "store/base/io.h"

#define NAMES_BYTES_MAX 65536

struct listing {
	bool all, no_directory_times, groups, inodes, no_links;
	time_t late; /* 0: no mtime is */
	void *linked; /* of -g: a tree of struct linked */
	bool failed;
};

/* A file that has several names, and the first of them. */
struct linked {
	dev_t dev;
	ino_t ino;
	char *path;
};

static int compare_linked(const void *a, const void *b)
{
	const struct linked *one = a, *two = b;

	if (one->dev != two->dev)
		return one->dev < two->dev ? -1 : 1;
	return one->ino < two->ino ? -1 : one->ino > two->ino;
}

static void free_linked(void *pointer)
{
	struct linked *linked = pointer;

	free(linked->path);
	free(linked);
}

/* The first name of the file that PATH is, in the order of the listing. */
static const char *first_name(struct listing *listing, const struct stat *st, const char *path)
{
	struct linked key = { st->st_dev, st->st_ino, NULL }, *made;
	struct linked **found = tfind(&key, &listing->linked, compare_linked);

	if (found)
		return (*found)->path;
	made = malloc(sizeof *made);
	if (!made)
		abort();
	*made = (struct linked){ st->st_dev, st->st_ino, strdup(path) };
	if (!made->path || !tsearch(made, &listing->linked, compare_linked))
		abort();
	return made->path;
}

static void print_escaped(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c <= ' ' || c >= 127 || c == '\\')
			printf("\\%03o", c);
		else
			putchar(c);
	}
}

static void complain(struct listing *listing, const char *path, const char *what)
{
	fprintf(stderr, "tree_listing: %s: %s: %s\n", path, what, strerror(errno));
	listing->failed = true;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void print_xattrs(struct listing *listing, const char *proc, const char *path)
{
	cleanup_free char *names = malloc(NAMES_BYTES_MAX), *value = malloc(NAMES_BYTES_MAX);
	char *sorted[1024];
	size_t count = 0;
	ssize_t len = llistxattr(proc, names, NAMES_BYTES_MAX);

	if (len < 0 && errno != ENOTSUP)
		complain(listing, path, "llistxattr");
	for (ssize_t at = 0; at < len && count < ARRAY_SIZE(sorted); at += (ssize_t)strlen(names + at) + 1)
		sorted[count++] = names + at;
	qsort(sorted, count, sizeof sorted[0], compare_names);
	for (size_t i = 0; i < count; i++) {
		ssize_t size = lgetxattr(proc, sorted[i], value, NAMES_BYTES_MAX);

		if (size < 0) {
			complain(listing, path, sorted[i]);
			continue;
		}
		printf(" ");
		print_escaped(sorted[i], strlen(sorted[i]));
		printf("=");
		for (ssize_t b = 0; b < size; b++)
			printf("%02x", (unsigned char)value[b]);
	}
}

static void print_content(struct listing *listing, int parent, const char *name, const char *path)
{
	cleanup_close int fd = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	cleanup_hash128 struct hash128_state *state = hash128_new();
	/* An odd size: reads begin at offsets that no page boundary has. */
	cleanup_free char *buffer = malloc(100003);
	char hex[HASH128_HEX_LENGTH + 1];
	uint64_t total = 0;
	ssize_t n;

	if (fd < 0 || !state || !buffer) {
		complain(listing, path, "open");
		return;
	}
	while ((n = io_read(fd, buffer, 100003)) > 0) {
		hash128_update(state, buffer, (size_t)n);
		total += (uint64_t)n;
	}
	if (n < 0) {
		errno = (int)-n;
		complain(listing, path, "read");
	}
	struct hash128 hash = hash128_final(state);
	hash128_to_hex(&hash, hex);
	printf(" read=%" PRIu64 " xxh3=%s", total, hex);
}

static void print_entry(struct listing *listing, int parent, const char *name, const char *path,
	const struct stat *st)
{
	static const char *const types[] = { [S_IFREG >> 12] = "file", [S_IFDIR >> 12] = "directory",
		[S_IFLNK >> 12] = "symlink", [S_IFIFO >> 12] = "fifo", [S_IFSOCK >> 12] = "socket",
		[S_IFCHR >> 12] = "char", [S_IFBLK >> 12] = "block" };
	const char *type = types[(st->st_mode & S_IFMT) >> 12];
	char target[4097];
	ssize_t len;

	print_escaped(path, strlen(path));
	printf(" %s %04o %u:%u", type ? type : "?", st->st_mode & 07777, st->st_uid, st->st_gid);
	if (S_ISDIR(st->st_mode) && listing->no_directory_times)
		;
	else if (listing->late && st->st_mtim.tv_sec >= listing->late)
		printf(" mtime=late");
	else
		printf(" mtime=%lld.%09ld", (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
	if (listing->all)
		printf(" ctime=%lld.%09ld", (long long)st->st_ctim.tv_sec, st->st_ctim.tv_nsec);
	if (listing->all || listing->inodes)
		printf(" inode=%llu", (unsigned long long)st->st_ino);
	if (S_ISDIR(st->st_mode) ? listing->groups : !listing->no_links)
		printf(" nlink=%lu", (unsigned long)st->st_nlink);
	if (listing->groups && !S_ISDIR(st->st_mode) && st->st_nlink > 1) {
		const char *first = first_name(listing, st, path);

		printf(" first=");
		print_escaped(first, strlen(first));
	}
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
		printf(" rdev=%u:%u", major(st->st_rdev), minor(st->st_rdev));
	if (S_ISREG(st->st_mode) || S_ISLNK(st->st_mode))
		printf(" size=%lld", (long long)st->st_size);
	if (S_ISLNK(st->st_mode)) {
		len = readlinkat(parent, name, target, sizeof target);
		if (len < 0)
			complain(listing, path, "readlink");
		printf(" target=");
		print_escaped(target, len < 0 ? 0 : (size_t)len);
	}
	if (S_ISREG(st->st_mode))
		print_content(listing, parent, name, path);
}

static void list_entry(struct listing *listing, int parent, const char *name, const char *path);

static void list_directory(struct listing *listing, int parent, const char *name, const char *path)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	cleanup_closedir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	cleanup_free char **names = NULL;
	size_t count = 0, alloc = 0;
	struct dirent *entry;

	if (!dir) {
		complain(listing, path, "open directory");
		return;
	}
	while ((errno = 0, entry = readdir(dir))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (count == alloc) {
			alloc = alloc ? alloc * 2 : 64;
			names = reallocarray(names, alloc, sizeof *names);
		}
		if (!names)
			abort();
		names[count++] = strdup(entry->d_name);
	}
	if (errno)
		complain(listing, path, "readdir");
	if (count)
		qsort(names, count, sizeof *names, compare_names);
	for (size_t i = 0; i < count; i++) {
		cleanup_free char *child = names[i], *below = NULL;

		if (asprintf(&below, "%s/%s", path, child) < 0)
			abort();
		list_entry(listing, dirfd(dir), child, below);
	}
}

static void list_entry(struct listing *listing, int parent, const char *name, const char *path)
{
	cleanup_close int fd = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	char proc[64];
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		complain(listing, path, "stat");
		return;
	}
	/* The parent's fd keeps names short enough, however deep the tree is. */
	snprintf(proc, sizeof proc, "/proc/self/fd/%d", parent);
	cleanup_free char *beneath = NULL;
	if (asprintf(&beneath, "%s/%s", proc, name) < 0)
		abort();
	print_entry(listing, parent, name, path, &st);
	print_xattrs(listing, beneath, path);
	putchar('\n');
	if (S_ISDIR(st.st_mode))
		list_directory(listing, parent, name, path);
}

int main(int argc, char **argv)
{
	struct listing listing = { .all = false };
	char *end;
	int option;

	while ((option = getopt(argc, argv, "adgint:")) != -1)
		switch (option) {
		case 'a': listing.all = true; break;
		case 'd': listing.no_directory_times = true; break;
		case 'g': listing.groups = true; break;
		case 'i': listing.inodes = true; break;
		case 'n': listing.no_links = true; break;
		case 't':
			listing.late = (time_t)strtoll(optarg, &end, 10);
			if (end == optarg || *end || listing.late <= 0)
				return 2;
			break;
		default: return 2;
		}
	if (optind + 1 != argc) {
		fprintf(stderr, "usage: tree_listing [-a] [-d] [-g] [-i] [-n] [-t SECONDS] DIR\n");
		return 2;
	}
	cleanup_close int root = open(argv[optind], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0) {
		perror(argv[optind]);
		return 1;
	}
	list_entry(&listing, root, ".", ".");
	tdestroy(listing.linked, free_linked);
	return listing.failed;
}
