/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/processes.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/io.h"
#include "store/base/path.h"

#define DELETED " (deleted)"
#define PID_DIGITS_MAX 10

struct scan {
	const char *directory;
	enum process_use use;
	process_match_fn match;
	void *arg;
	struct processes *found;
};

static void process_release(struct process *process)
{
	for (size_t i = 0; i < process->path_count; i++)
		free(process->paths[i]);
	free(process->paths);
	free(process->command);
	*process = (struct process){ 0 };
}

void processes_release(struct processes *processes)
{
	for (size_t i = 0; i < processes->count; i++)
		process_release(&processes->list[i]);
	free(processes->list);
	*processes = (struct processes)PROCESSES_INIT;
}

static int process_add_path(struct process *process, const char *path)
{
	char **grown;

	for (size_t i = 0; i < process->path_count; i++)
		if (strcmp(process->paths[i], path) == 0)
			return 0;
	grown = reallocarray(process->paths, process->path_count + 1, sizeof *grown);
	if (!grown)
		return -ENOMEM;
	process->paths = grown;
	grown[process->path_count] = strdup(path);
	if (!grown[process->path_count])
		return -ENOMEM;
	process->path_count++;
	return 0;
}

/* What NAME, an absolute path as the kernel shows it, is below the directory; NULL: it is not. NAME is cut. */
static const char *relative_path(const struct scan *scan, char *name)
{
	size_t len = strlen(name), dir_len = strlen(scan->directory);
	const size_t deleted = strlen(DELETED);

	if (!path_is_beneath(name, scan->directory))
		return NULL;
	if (len > deleted && strcmp(name + len - deleted, DELETED) == 0)
		name[len - deleted] = '\0';
	name += dir_len;
	name += *name == '/';
	return *name ? name : NULL;
}

/* maps shows a newline in a name as \012. */
static void unescape_newlines(char *name)
{
	char *out = name;

	while (*name) {
		if (strncmp(name, "\\012", 4) == 0) {
			*out++ = '\n';
			name += 4;
		} else {
			*out++ = *name++;
		}
	}
	*out = '\0';
}

/* One line of maps: "address perms offset device inode   path". False: no file, or no such line. */
static bool parse_mapping(char *line, uint64_t *ret_inode, char **ret_name)
{
	char *at = line, *end;

	line[strcspn(line, "\n")] = '\0';
	for (int field = 0; field < 4; field++) {
		at += strcspn(at, " ");
		at += strspn(at, " ");
	}
	errno = 0;
	*ret_inode = strtoull(at, &end, 10);
	if (errno || end == at || *end != ' ')
		return false;
	*ret_name = end + strspn(end, " ");
	if (**ret_name != '/')
		return false;
	unescape_newlines(*ret_name);
	return true;
}

static int scan_maps(const struct scan *scan, int procfd, struct process *process)
{
	cleanup_close int fd = openat(procfd, "maps", O_RDONLY | O_CLOEXEC);
	cleanup_fclose FILE *file = NULL;
	cleanup_free char *line = NULL;
	size_t alloc = 0;
	int r = 0;

	if (fd < 0)
		return 0;
	file = fdopen(fd, "r");
	if (!file)
		return -errno;
	(void)TAKE_FD(fd);
	while (r == 0 && getline(&line, &alloc, file) > 0) {
		uint64_t inode;
		const char *path;
		char *name;

		if (!parse_mapping(line, &inode, &name))
			continue;
		path = relative_path(scan, name);
		if (path && scan->match(scan->arg, path, inode))
			r = process_add_path(process, path);
	}
	return r;
}

static int scan_open_files(const struct scan *scan, int procfd, struct process *process)
{
	cleanup_close int fd = openat(procfd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_closedir DIR *dir = NULL;
	const struct dirent *entry;
	int r = 0;

	if (fd < 0)
		return 0;
	dir = fdopendir(fd);
	if (!dir)
		return -errno;
	(void)TAKE_FD(fd);
	while (r == 0 && (entry = readdir(dir))) {
		char name[PATH_MAX];
		ssize_t len = readlinkat(dirfd(dir), entry->d_name, name, sizeof name - 1);
		const char *path;

		if (len <= 0)
			continue;
		name[len] = '\0';
		path = relative_path(scan, name);
		if (path && scan->match(scan->arg, path, 0))
			r = process_add_path(process, path);
	}
	return r;
}

/* The command line, words joined by spaces; the short name where there is none. */
static char *read_command(int procfd)
{
	char buf[PROCESS_COMMAND_MAX + 1];
	cleanup_close int fd = openat(procfd, "cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : io_read(fd, buf, PROCESS_COMMAND_MAX);

	if (len <= 0) {
		cleanup_close int short_fd = openat(procfd, "comm", O_RDONLY | O_CLOEXEC);

		len = short_fd < 0 ? 0 : io_read(short_fd, buf, PROCESS_COMMAND_MAX);
	}
	while (len > 0 && (buf[len - 1] == '\0' || buf[len - 1] == '\n'))
		len--;
	for (ssize_t i = 0; i < len; i++)
		if (buf[i] == '\0')
			buf[i] = ' ';
	return strndup(buf, len > 0 ? (size_t)len : 0);
}

static int processes_add(struct processes *processes, struct process *process)
{
	struct process *grown = reallocarray(processes->list, processes->count + 1, sizeof *grown);

	if (!grown)
		return -ENOMEM;
	processes->list = grown;
	grown[processes->count++] = *process;
	*process = (struct process){ 0 };
	return 0;
}

/* A process that ends while it is looked at is no error: it has nothing mapped any more. */
static int scan_process(const struct scan *scan, int procfd, pid_t pid)
{
	__attribute__((cleanup(process_release))) struct process process = { .pid = pid };
	int r = scan_maps(scan, procfd, &process);

	if (r == 0 && scan->use == PROCESS_MAPPED_OR_OPEN)
		r = scan_open_files(scan, procfd, &process);
	if (r < 0 || process.path_count == 0)
		return r;
	process.command = read_command(procfd);
	if (!process.command)
		return -ENOMEM;
	return processes_add(scan->found, &process);
}

static int compare_process(const void *a, const void *b)
{
	pid_t x = ((const struct process *)a)->pid, y = ((const struct process *)b)->pid;

	return (x > y) - (x < y);
}

/* 0: not the name of a process */
static pid_t parse_pid(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len > PID_DIGITS_MAX || strspn(name, "0123456789") != len)
		return 0;
	return (pid_t)strtoul(name, NULL, 10);
}

/* The parent of the process of PROCFD; 0: it is not known. */
static pid_t parent_of(int procfd)
{
	cleanup_close int fd = openat(procfd, "stat", O_RDONLY | O_CLOEXEC);
	char text[512];
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	const char *end;
	int parent = 0;

	if (n <= 0)
		return 0;
	text[n] = '\0';
	/* The command's name may hold anything. */
	end = strrchr(text, ')');
	return end && sscanf(end, ") %*c %d", &parent) == 1 ? (pid_t)parent : 0;
}

int processes_find(const char *directory, enum process_use use, pid_t except, process_match_fn match,
	void *arg, struct processes *ret, struct error *err)
{
	struct scan scan = { directory, use, match, arg, ret };
	cleanup_closedir DIR *dir = opendir("/proc");
	const struct dirent *entry;

	if (!dir)
		return error_errno(err, errno, "'/proc'");
	while ((entry = readdir(dir))) {
		pid_t pid = parse_pid(entry->d_name);
		cleanup_close int procfd = -EBADF;
		int r;

		if (pid == 0 || pid == except || pid == getpid())
			continue;
		procfd = openat(dirfd(dir), entry->d_name, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (procfd < 0 || (except && parent_of(procfd) == except))
			continue;
		r = scan_process(&scan, procfd, pid);
		if (r < 0)
			return error_errno(err, -r, "process %d", (int)pid);
	}
	if (ret->count > 0)
		qsort(ret->list, ret->count, sizeof *ret->list, compare_process);
	return 0;
}

/*
 * A mapping is stale when its inode is not the one that its path leads to now. Inode numbers do not
 * change over mounts and are never shared by base and store, so this holds also for what was mapped
 * before the component was mounted, and whatever device the kernel shows.
 */
static bool match_stale(void *arg, const char *path, uint64_t inode)
{
	const int *dirfd = arg;
	struct stat st;
	int r = path_stat(*dirfd, path, &st);

	if (r == -ENOENT || r == -ENOTDIR || r == -ELOOP)
		return true;
	return r == 0 && (uint64_t)st.st_ino != inode;
}

int processes_find_stale(const char *directory, struct processes *ret, struct error *err)
{
	cleanup_close int fd = open(directory, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return error_errno(err, errno, "'%s'", directory);
	return processes_find(directory, PROCESS_MAPPED, 0, match_stale, &fd, ret, err);
}

struct json_object *processes_rows(const struct processes *processes)
{
	struct json_object *rows = json_object_new_array();

	for (size_t i = 0; i < processes->count; i++) {
		const struct process *process = &processes->list[i];
		struct json_object *row = json_object_new_object(), *paths = json_object_new_array();

		for (size_t j = 0; j < process->path_count; j++)
			array_text(paths, process->paths[j]);
		row_number(row, "pid", process->pid);
		row_text(row, "command", process->command);
		row_object(row, "paths", paths);
		json_object_array_add(rows, row);
	}
	return rows;
}
