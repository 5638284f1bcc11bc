/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/support.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "fs/setid.h"
#include "store/base/cleanup.h"

#define FILE_GROUP 1002
#define OTHER_GROUP 1003

/* ---- who the caller is ---- */

/* A process with these ids and groups, which lives until process_end(). */
static pid_t process_begin(uid_t uid, gid_t gid, const gid_t *groups, size_t count)
{
	int ready[2];
	char byte = 0;
	pid_t pid;

	cr_assert_eq(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	cr_assert(pid >= 0);
	if (pid == 0) {
		alarm(60); /* whatever becomes of the test */
		if (setgroups(count, groups) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
			_exit(1);
		if (write(ready[1], &byte, 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	close(ready[1]);
	cr_assert_eq(read(ready[0], &byte, 1), 1, "the process did not become who it should be");
	close(ready[0]);
	return pid;
}

static void process_end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

Test(setid, a_callers_groups_and_rights_are_seen)
{
	static const gid_t some[] = { 7, FILE_GROUP, 4000000000u };
	pid_t user = process_begin(1001, OTHER_GROUP, some, ARRAY_SIZE(some));
	pid_t root = process_begin(0, 0, NULL, 0);
	const struct caller user_caller = { user, 1001, OTHER_GROUP }, root_caller = { root, 0, 0 };
	cleanup_free gid_t *groups = NULL;
	cleanup_free gid_t *none = NULL;
	size_t count = 0, none_count = 1;

	groups = caller_groups(&user_caller, &count);
	none = caller_groups(&root_caller, &none_count);
	cr_assert_eq(count, ARRAY_SIZE(some));
	cr_assert_eq(memcmp(groups, some, sizeof some), 0);
	cr_assert_eq(none_count, 0);
	cr_assert(!caller_has_fsetid(&user_caller));
	cr_assert(caller_has_fsetid(&root_caller));
	cr_assert(!caller_is_in_chown(&user_caller));
	cr_assert(caller_is_owner(&user_caller, 1001));
	cr_assert(!caller_is_owner(&user_caller, 1002));
	cr_assert(caller_is_owner(&root_caller, 1002));
	cr_assert(caller_is_in_group(&user_caller, FILE_GROUP));
	cr_assert(caller_is_in_group(&user_caller, OTHER_GROUP));
	cr_assert(!caller_is_in_group(&root_caller, FILE_GROUP));
	cr_assert(setid_ends(&(const struct stat){ .st_mode = S_IFREG | 04644, .st_gid = FILE_GROUP }, &user_caller));
	cr_assert(setid_ends(&(const struct stat){ .st_mode = S_IFREG | 02755, .st_gid = FILE_GROUP }, &user_caller));
	cr_assert(setid_ends(&(const struct stat){ .st_mode = S_IFREG | 02644, .st_gid = 8 }, &user_caller));
	cr_assert(!setid_ends(&(const struct stat){ .st_mode = S_IFREG | 02644, .st_gid = FILE_GROUP }, &user_caller));
	/* Root who acts for somebody, and somebody who got the number of another: what /proc says is not his. */
	cr_assert(!caller_has_fsetid(&(const struct caller){ root, 1001, OTHER_GROUP }));
	cr_assert_null(caller_groups(&(const struct caller){ user, 1002, OTHER_GROUP }, &none_count));
	cr_assert_eq(none_count, 0);
	process_end(user);
	process_end(root);
}

Test(setid, of_an_unknown_caller_the_user_id_decides)
{
	static const pid_t pids[] = { 0, -1, 0x7fffffff };
	size_t count = 1;

	for (size_t i = 0; i < ARRAY_SIZE(pids); i++) {
		const struct caller user = { pids[i], 1001, OTHER_GROUP }, root = { pids[i], 0, 0 };

		cr_assert(!caller_has_fsetid(&user));
		cr_assert(caller_has_fsetid(&root));
		cr_assert(!caller_is_in_chown(&root));
		cr_assert_null(caller_groups(&user, &count));
		cr_assert_eq(count, 0);
	}
}

/* ---- what is left of the bits ---- */

struct row {
	mode_t mode;
	bool member;
	mode_t wanted;
};

static const struct row rows[] = {
	{ 0777, false, 0777 },
	{ 04777, false, 0777 },
	{ 06777, true, 0777 },
	{ 02767, false, 0767 },
	{ 02767, true, 02767 },
	{ 06767, true, 02767 },
	{ 06767, false, 0767 },
};

static mode_t mode_of(int fd)
{
	struct stat st;

	cr_assert_eq(fstat(fd, &st), 0);
	return st.st_mode & 07777;
}

static void set_up(int fd, const struct row *row)
{
	cr_assert_eq(fchown(fd, 0, FILE_GROUP), 0);
	cr_assert_eq(fchmod(fd, row->mode), 0);
}

/* Each row: written as the caller; then as ourselves, who have everything again. */
Test(setid, the_filesystem_beneath_ends_them)
{
	temporary_directory_auto dir = temporary_directory_make();
	cleanup_close int fd = open(path_in(dir, "file"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	static const gid_t file_group[] = { FILE_GROUP };
	pid_t member = process_begin(1001, OTHER_GROUP, file_group, 1);
	pid_t stranger = process_begin(1001, OTHER_GROUP, NULL, 0);

	cr_assert(fd >= 0);
	creds_thread_init();
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct caller caller = { rows[i].member ? member : stranger, 1001, OTHER_GROUP };
		cleanup_creds struct creds creds = CREDS_INIT;
		struct stat st;

		set_up(fd, &rows[i]);
		cr_assert_eq(fstat(fd, &st), 0);
		cr_assert_eq(setid_begin(&creds, &st, &caller), 0, "row %zu", i);
		cr_assert_eq(pwrite(fd, "x", 1, 0), 1, "row %zu", i);
		creds_restore(&creds);
		cr_assert_eq(mode_of(fd), rows[i].wanted, "row %zu: %o", i, mode_of(fd));
		set_up(fd, &rows[i]);
		cr_assert_eq(pwrite(fd, "x", 1, 0), 1, "row %zu", i);
		cr_assert_eq(mode_of(fd), rows[i].mode, "row %zu, as ourselves: %o", i, mode_of(fd));
		cr_assert_eq(syscall(SYS_getgroups, 0, NULL), 0, "row %zu", i);
		cr_assert_eq((gid_t)syscall(SYS_setfsgid, -1), 0, "row %zu", i);
	}
	process_end(member);
	process_end(stranger);
}
