/* SPDX-License-Identifier: Apache-2.0 */
#include "store/policy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/io.h"

#define POLICY_DIRECTORY "policy"

static const char *const base_change_names[] = {
	[BASE_CHANGE_RETIRE] = "retire",
	[BASE_CHANGE_HOLD] = "hold",
	[BASE_CHANGE_FAIL] = "fail",
};

const char *base_change_name(enum base_change change)
{
	return base_change_names[change];
}

int base_change_parse(const char *name, enum base_change *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(base_change_names); i++) {
		if (strcmp(name, base_change_names[i]) == 0) {
			*ret = (enum base_change)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* -ENOENT: nobody has decided anything yet. */
static int open_directory(struct store *store)
{
	int fd = openat(store->fd, POLICY_DIRECTORY, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int parse_line(char *line, struct policy *policy)
{
	char key[32], value[32], more;
	int words;

	line[strcspn(line, "#")] = '\0';
	words = sscanf(line, "%31s %31s %c", key, value, &more);
	if (words <= 0)
		return 0;
	return words == 2 && strcmp(key, "base-change") == 0 ? base_change_parse(value, &policy->base_change) : -EINVAL;
}

static int parse(const struct store *store, const char *component, char *text, struct policy *ret, struct error *err)
{
	unsigned number = 1;

	for (char *line = text, *next; line; line = next, number++) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		if (parse_line(line, ret) < 0)
			return error_set(err, -EINVAL,
				"'%s/" POLICY_DIRECTORY "/%s', line %u: 'base-change retire', 'hold' or 'fail' is expected",
				store->path, component, number);
	}
	return 0;
}

int policy_load(struct store *store, const char *component, struct policy *ret, struct error *err)
{
	cleanup_strbuf struct strbuf text = STRBUF_INIT;
	cleanup_close int directory = open_directory(store);
	struct policy policy = { .base_change = BASE_CHANGE_RETIRE };
	struct error problem = ERROR_INIT;
	int r = directory;

	if (r >= 0)
		r = io_read_file_at(directory, component, POLICY_BYTES_MAX, &text, &problem);
	if (r < 0 && r != -ENOENT)
		return error_set(err, r, "read the policy of component '%s' in '%s/" POLICY_DIRECTORY "': %s", component, store->path,
			*problem.message ? problem.message : error_text(-r));
	if (text.len && memchr(text.buf, '\0', text.len))
		return error_set(err, -EINVAL, "'%s/" POLICY_DIRECTORY "/%s': a NUL byte", store->path, component);
	r = text.len ? parse(store, component, text.buf, &policy, err) : 0;
	if (r == 0)
		*ret = policy;
	return r;
}

int policy_save(struct store *store, const char *component, const struct policy *policy, struct error *err)
{
	cleanup_strbuf struct strbuf text = STRBUF_INIT;
	cleanup_close int directory = -EBADF;
	int r;

	strbuf_addf(&text, "base-change %s\n", base_change_name(policy->base_change));
	if (strbuf_failed(&text))
		return error_set(err, -ENOMEM, "out of memory");
	if (mkdirat(store->fd, POLICY_DIRECTORY, 0700) < 0 && errno != EEXIST)
		return error_errno(err, errno, "make '%s/" POLICY_DIRECTORY "'", store->path);
	r = io_sync_dir(store->fd);
	if (r < 0)
		return error_errno(err, -r, "sync '%s'", store->path);
	directory = open_directory(store);
	if (directory < 0)
		return error_errno(err, -directory, "open '%s/" POLICY_DIRECTORY "'", store->path);
	return io_write_file_at(directory, component, text.buf, text.len, 0600, err);
}
