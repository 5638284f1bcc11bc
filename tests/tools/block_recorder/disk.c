/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The disk as a filesystem with two files. One thread: the order of the log is the order in which requests took effect. A flush waits for
 * nobody, since a filesystem has waited for its writes before it sends one.
 *
 * A loop device writes to us when memory is short, so nothing here may wait for memory that only such a write would free: what is
 * touched is locked, and the kernel is told (PR_SET_IO_FLUSHER). The log must not lie on the filesystem that is recorded.
 */
#define FUSE_USE_VERSION 31

#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "tests/tools/block_recorder/log.h"
#include "tests/tools/block_recorder/verbs.h"

#define DISK_PATH "/disk"
#define MARK_PATH "/mark"

struct disk {
	uint8_t *data;
	uint64_t size;
	int log_fd;
};

static struct disk *this_disk(void)
{
	return fuse_get_context()->private_data;
}

static bool is_disk(const char *path)
{
	return strcmp(path, DISK_PATH) == 0;
}

static void *disk_init(struct fuse_conn_info *connection, struct fuse_config *config)
{
	config->direct_io = 1; /* nothing stays in a page cache of ours: each request comes as it was sent */
	config->kernel_cache = 0;
	config->attr_timeout = config->entry_timeout = 3600;
	return this_disk();
}

static int disk_getattr(const char *path, struct stat *st, struct fuse_file_info *file)
{
	memset(st, 0, sizeof *st);
	st->st_nlink = 1;
	if (strcmp(path, "/") == 0) {
		st->st_mode = S_IFDIR | 0700;
		return 0;
	}
	st->st_mode = S_IFREG | 0600;
	if (is_disk(path))
		st->st_size = (off_t)this_disk()->size;
	return is_disk(path) || strcmp(path, MARK_PATH) == 0 ? 0 : -ENOENT;
}

static int disk_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t offset, struct fuse_file_info *file,
	enum fuse_readdir_flags flags)
{
	fill(buf, ".", NULL, 0, 0);
	fill(buf, "..", NULL, 0, 0);
	fill(buf, &DISK_PATH[1], NULL, 0, 0);
	fill(buf, &MARK_PATH[1], NULL, 0, 0);
	return 0;
}

static int disk_truncate(const char *path, off_t size, struct fuse_file_info *file)
{
	return is_disk(path) ? -EPERM : 0; /* a shell opens the mark with O_TRUNC */
}

static int disk_read(const char *path, char *buf, size_t size, off_t offset, struct fuse_file_info *file)
{
	const struct disk *disk = this_disk();

	if (!is_disk(path) || (uint64_t)offset >= disk->size)
		return 0;
	if (size > disk->size - (uint64_t)offset)
		size = (size_t)(disk->size - (uint64_t)offset);
	memcpy(buf, disk->data + offset, size);
	return (int)size;
}

static int disk_mark(struct disk *disk, const char *text, size_t size)
{
	size_t length = size > 0 && text[size - 1] == '\n' ? size - 1 : size;
	int r = log_append(disk->log_fd, RECORD_MARK, 0, 0, text, length);

	return r < 0 ? r : (int)size;
}

static int disk_write(const char *path, const char *data, size_t size, off_t offset, struct fuse_file_info *file)
{
	struct disk *disk = this_disk();
	int r;

	if (!is_disk(path))
		return disk_mark(disk, data, size);
	if ((uint64_t)offset > disk->size || size > disk->size - (uint64_t)offset)
		return -ENOSPC;
	r = log_append(disk->log_fd, RECORD_WRITE, (uint64_t)offset, size, data, size);
	if (r < 0)
		return r;
	memcpy(disk->data + offset, data, size);
	return (int)size;
}

static int disk_fsync(const char *path, int datasync, struct fuse_file_info *file)
{
	return is_disk(path) ? log_append(this_disk()->log_fd, RECORD_FLUSH, 0, 0, NULL, 0) : 0;
}

static void zero(uint8_t *at, uint64_t length)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	/* Whole pages are given back. */
	if ((uintptr_t)at % page != 0 || length % page != 0 || madvise(at, length, MADV_DONTNEED_LOCKED) < 0)
		memset(at, 0, length);
}

/* What the block layer discards, or wants to be zeroes. */
static int disk_fallocate(const char *path, int mode, off_t offset, off_t length, struct fuse_file_info *file)
{
	struct disk *disk = this_disk();
	int r;

	if (!is_disk(path) || !(mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)))
		return -EOPNOTSUPP;
	if ((uint64_t)offset > disk->size || (uint64_t)length > disk->size - (uint64_t)offset)
		return -ENOSPC;
	r = log_append(disk->log_fd, RECORD_ZERO, (uint64_t)offset, (uint64_t)length, NULL, 0);
	if (r == 0)
		zero(disk->data + offset, (uint64_t)length);
	return r;
}

static const struct fuse_operations operations = {
	.init = disk_init,
	.getattr = disk_getattr,
	.readdir = disk_readdir,
	.truncate = disk_truncate,
	.read = disk_read,
	.write = disk_write,
	.fsync = disk_fsync,
	.fallocate = disk_fallocate,
};

static int serve(struct disk *disk, const char *mountpoint)
{
	char *words[] = { "block_recorder", "-o", "fsname=block_recorder" };
	struct fuse_args args = FUSE_ARGS_INIT(ARRAY_SIZE(words), words);
	struct fuse *fuse = fuse_new(&args, &operations, sizeof operations, disk);
	int r;

	fuse_opt_free_args(&args);
	if (!fuse)
		return complain(0, "no filesystem could be made");
	if (fuse_mount(fuse, mountpoint) != 0) {
		fuse_destroy(fuse);
		return complain(0, "'%s' could not be mounted", mountpoint);
	}
	r = fuse_loop(fuse);
	fuse_unmount(fuse);
	fuse_destroy(fuse);
	return r == 0 ? 0 : complain(r < 0 ? -r : 0, "'%s': the loop ended", mountpoint);
}

int verb_record(const char *mountpoint, const char *log, uint64_t size)
{
	struct disk disk = { .size = size, .log_fd = -EBADF };
	int r;

	disk.data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (disk.data == MAP_FAILED)
		return complain(errno, "a disk of %llu bytes", (unsigned long long)size);
	r = log_writer_open(log, size, &disk.log_fd);
	if (r < 0)
		return complain(-r, "make '%s'", log);
	/* Both may be forbidden: then it must do without. */
	(void)mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
	(void)prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
	r = serve(&disk, mountpoint);
	close(disk.log_fd);
	return r;
}
