/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_TESTS_REPO_FIXTURE_H
#define VENEER_TESTS_REPO_FIXTURE_H

/*
 * What the tests of store/git share: a fresh repository in a scratch directory for each test, plain git
 * to compare with, and trees made of rows. Each test program has its own copy.
 */

#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/path.h"
#include "store/base/strbuf.h"
#include "store/git/repo.h"

#define must_pass(call)                                                                            \
	do {                                                                                       \
		int must_rc = (call);                                                              \
		cr_assert_eq(must_rc, 0, "%s: %d: %s", #call, must_rc, err.message);               \
	} while (0)

#define must_fail(call, code)                                                                      \
	do {                                                                                       \
		int must_rc = (call);                                                              \
		cr_assert_eq(must_rc, (code), "%s: %d instead of %d: %s", #call, must_rc, (code),  \
			err.message);                                                              \
		cr_assert(err.message[0], "%s: no message", #call);                                \
	} while (0)

#define must_name(text) cr_assert(strstr(err.message, (text)), "no '%s' in: %s", (text), err.message)

#define unused __attribute__((unused))

static char root[64], git_dir[96];
static struct repo *repo;
static struct error err;

/* Standard output of a shell command run in the scratch directory, without the final newline; it must succeed. */
unused static char *shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
unused static char *shell(const char *format, ...)
{
	cleanup_strbuf struct strbuf command = STRBUF_INIT;
	struct strbuf out = STRBUF_INIT;
	char buffer[4096];
	size_t got;
	va_list args;
	FILE *pipe;
	int status;

	strbuf_addf(&command, "cd %s && export GIT_DIR=%s HOME=%s && ", root, git_dir, root);
	va_start(args, format);
	strbuf_vaddf(&command, format, args);
	va_end(args);
	pipe = popen(command.buf, "r");
	cr_assert(pipe);
	strbuf_addstr(&out, "");
	while ((got = fread(buffer, 1, sizeof buffer, pipe)) > 0)
		strbuf_add(&out, buffer, got);
	status = pclose(pipe);
	cr_assert_eq(status, 0, "%s: status %d: %s", command.buf, status, out.buf);
	if (out.len > 0 && out.buf[out.len - 1] == '\n')
		strbuf_truncate(&out, out.len - 1);
	return strbuf_detach(&out, NULL);
}

unused static struct oid shell_oid(const char *command)
{
	cleanup_free char *hex = shell("%s", command);
	struct oid oid;

	cr_assert_eq(oid_from_hex(hex, strlen(hex), &oid), 0, "%s: %s", command, hex);
	return oid;
}

unused static const char *hex_of(const struct oid *oid)
{
	static char ring[8][OID_HEX_LENGTH + 1];
	static unsigned next;
	char *hex = ring[next++ % 8];

	oid_to_hex(oid, hex);
	return hex;
}

unused static void assert_oid(struct oid got, struct oid want)
{
	cr_assert(oid_equal(&got, &want), "%s instead of %s", hex_of(&got), hex_of(&want));
}

unused static void setup(void)
{
	snprintf(root, sizeof root, "/tmp/veneer-repo-XXXXXX");
	cr_assert(mkdtemp(root));
	snprintf(git_dir, sizeof git_dir, "%s/git", root);
	must_pass(repo_init(git_dir, &err));
	must_pass(repo_open(git_dir, &repo, &err));
}

unused static void teardown(void)
{
	repo_free(repo);
	repo = NULL;
	free(shell("cd / && rm -rf %s", root));
}


unused static struct oid blob(const char *text)
{
	struct oid oid;

	must_pass(repo_blob_write(repo, text, strlen(text), &oid, &err));
	return oid;
}

unused static void fsck(void)
{
	cleanup_free char *out = shell("git fsck --strict --no-dangling --no-progress 2>&1 | sed '/^notice: /d'");

	cr_assert_str_eq(out, "", "fsck: %s", out);
}

/* "mode path content" rows become changes; content is written as a blob. */
struct row {
	uint32_t mode;
	const char *path, *content;
};

unused static struct oid edit(const struct oid *base, const struct row *rows, size_t count)
{
	struct tree_change changes[64];
	struct oid oid;

	cr_assert_leq(count, ARRAY_SIZE(changes));
	for (size_t i = 0; i < count; i++) {
		changes[i] = (struct tree_change){ .path = rows[i].path, .mode = rows[i].mode };
		if (rows[i].mode)
			changes[i].oid = blob(rows[i].content);
	}
	must_pass(repo_tree_edit(repo, base, changes, count, &oid, &err));
	return oid;
}
#define EDIT(base, ...)                                                                            \
	edit((base), (const struct row[]){ __VA_ARGS__ },                                          \
		sizeof((const struct row[]){ __VA_ARGS__ }) / sizeof(struct row))

#define F TREE_MODE_FILE
#define X TREE_MODE_EXECUTABLE
#define L TREE_MODE_SYMLINK

/* Files, a link, and names that git and strcmp() sort differently. */
unused static struct oid sample(void)
{
	return EDIT(NULL, { F, "a.txt", "3" }, { L, "link", "a/two" }, { F, "a/b/one", "1" }, { F, "a-b", "4" },
		{ X, "run", "5" }, { F, "a.d/x", "6" }, { F, "a/two", "2" },
		{ F, ".veneer/meta/run", "mode 04755\n" });
}

#endif
