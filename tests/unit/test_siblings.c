/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>

#include "fs/readdir.h"
#include "fs/siblings.h"

#define NAME_SIZE 16
#define WINDOW 32u

static const struct siblings_kind files = { DT_REG, WINDOW, WINDOW };

struct many {
	struct temporary_directory dir;
	int fd;
	struct siblings *siblings;
};

static struct many many_make(unsigned count)
{
	struct many many = { .dir = temporary_directory_make() };

	many.fd = open(many.dir.path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(many.fd, 0);
	for (unsigned i = 0; i < count; i++) {
		char name[NAME_SIZE];
		int fd;

		snprintf(name, sizeof name, "f%05u", i);
		fd = openat(many.fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		if (fd < 0)
			cr_assert_fail("make '%s'", name);
		close(fd);
	}
	cr_assert_eq(siblings_list(many.fd, &files, &many.siblings), 0);
	return many;
}

static void many_remove(struct many *many)
{
	siblings_free(many->siblings);
	close(many->fd);
	temporary_directory_remove(&many->dir);
}
#define many_auto __attribute__((cleanup(many_remove))) struct many

static void clear_all(struct many *many)
{
	char command[80];

	snprintf(command, sizeof command, "find %s -type f -delete", many->dir.path);
	cr_assert_eq(system(command), 0);
}

static void step(struct many *many, unsigned number)
{
	char name[NAME_SIZE];

	snprintf(name, sizeof name, "f%05u", number);
	siblings_step(many->siblings, name);
}

/* Are the files FROM…TO-1, and no others, what comes next? */
static void expect_next(struct many *many, unsigned from, unsigned to)
{
	cleanup_strbuf struct strbuf names = STRBUF_INIT, expected = STRBUF_INIT;
	size_t count = siblings_next(many->siblings, &names);

	for (unsigned i = from; i < to; i++) {
		strbuf_addf(&expected, "f%05u", i);
		strbuf_addch(&expected, '\0');
	}
	cr_assert_eq(count, to - from, "%zu names, not %u: %s…", count, to - from, strbuf_text(&names));
	cr_assert_eq(names.len, expected.len);
	cr_assert_eq(memcmp(strbuf_text(&names), strbuf_text(&expected), names.len), 0, "'%s…', not '%s…'", strbuf_text(&names),
		strbuf_text(&expected));
}

Test(siblings, sorted_by_name)
{
	many_auto many = many_make(200);

	step(&many, 10);
	expect_next(&many, 0, 0);
	step(&many, 11);
	expect_next(&many, 12, 16);
	/* Wider each time, up to the widest. */
	step(&many, 12);
	expect_next(&many, 16, 21);
	step(&many, 13);
	expect_next(&many, 21, 30);
	step(&many, 14);
	expect_next(&many, 30, 15 + WINDOW);
	/* Not before half of it is read. */
	step(&many, 18);
	expect_next(&many, 0, 0);
	step(&many, 22);
	step(&many, 26);
	step(&many, 29);
	expect_next(&many, 0, 0);
	step(&many, 30);
	expect_next(&many, 15 + WINDOW, 31 + WINDOW);
}

/* What was said is not said again to who jumps forward in it; it is to who goes back before it. */
Test(siblings, jumps)
{
	many_auto many = many_make(200);

	step(&many, 10);
	step(&many, 11);
	expect_next(&many, 12, 16);
	step(&many, 12);
	expect_next(&many, 16, 21);
	step(&many, 13 + SIBLINGS_STEP_MAX);
	expect_next(&many, 0, 0);
	step(&many, 14 + SIBLINGS_STEP_MAX);
	expect_next(&many, 21, 23);
	step(&many, 15 + SIBLINGS_STEP_MAX);
	expect_next(&many, 23, 28);
	step(&many, 2);
	step(&many, 3);
	expect_next(&many, 4, 8);
}

Test(siblings, never_more_than_the_widest_window_ahead)
{
	many_auto many = many_make(500);
	unsigned said = 0;

	for (unsigned i = 0; i < 500; i++) {
		cleanup_strbuf struct strbuf names = STRBUF_INIT;
		size_t count;

		step(&many, i);
		count = siblings_next(many.siblings, &names);
		if (count > 0 && said == 0)
			said = i + 1;
		said += (unsigned)count;
		cr_assert_leq(said, i + 1 + WINDOW, "at %u", i);
		cr_assert_leq(said, 500u, "at %u", i);
		if (i > 1 && i < 499)
			cr_assert_gt(said, i + 1, "at %u nothing was ahead", i);
	}
	cr_assert_eq(said, 500u, "each once");
}

static int compare_offsets(const void *a, const void *b)
{
	uint64_t left = readdir_offset(a, strlen(a)), right = readdir_offset(b, strlen(b));

	return left < right ? -1 : left > right;
}

#define LISTED_MAX 60u

/* The names of files FROM…FROM+COUNT-1 as the mount lists them. */
struct listed {
	char names[LISTED_MAX][NAME_SIZE];
};

static struct listed listed_make(unsigned from, unsigned count)
{
	struct listed listed;

	cr_assert_leq(count, LISTED_MAX);
	for (unsigned i = 0; i < count; i++)
		snprintf(listed.names[i], NAME_SIZE, "f%05u", from + i);
	qsort(listed.names, count, NAME_SIZE, compare_offsets);
	return listed;
}

/* Are the names FROM…TO-1 of LISTED, and no others, what comes next? */
static void expect_listed(struct many *many, const struct listed *listed, unsigned from, unsigned to)
{
	cleanup_strbuf struct strbuf names = STRBUF_INIT, expected = STRBUF_INIT;

	for (unsigned i = from; i < to; i++)
		strbuf_add(&expected, listed->names[i], strlen(listed->names[i]) + 1);
	cr_assert_eq(siblings_next(many->siblings, &names), to - from);
	cr_assert_eq(names.len, expected.len);
	cr_assert_eq(memcmp(names.buf, expected.buf, names.len), 0, "'%s…', not '%s…'", names.buf, expected.buf);
}

/* As the mount lists them, whatever order the directory itself has. */
Test(siblings, as_the_mount_lists_them)
{
	many_auto many = many_make(LISTED_MAX);
	struct listed listed = listed_make(0, LISTED_MAX);

	for (unsigned i = 0; i < 3; i++)
		siblings_step(many.siblings, listed.names[i]);
	expect_listed(&many, &listed, 3, 3 + SIBLINGS_WINDOW_MIN);
}

Test(siblings, no_order_and_none_any_more)
{
	many_auto many = many_make(200);

	step(&many, 10);
	step(&many, 150);
	expect_next(&many, 0, 0);
	step(&many, 150);
	expect_next(&many, 0, 0);
	/* Some are passed over; too many are not a step. */
	step(&many, 150 + SIBLINGS_STEP_MAX);
	expect_next(&many, 155, 159);
	step(&many, 155 + SIBLINGS_STEP_MAX);
	expect_next(&many, 0, 0);
	/* What is not there is no step, and ends none. */
	cr_assert_not(siblings_step(many.siblings, "absent"));
	cr_assert_not(siblings_step(many.siblings, ""));
	cr_assert(siblings_step(many.siblings, "f00159"));
	step(&many, 160);
	expect_next(&many, 161, 165);
	/* Backwards: a run of its own, which begins small. */
	step(&many, 20);
	step(&many, 21);
	expect_next(&many, 22, 26);
	/* The last one. */
	step(&many, 198);
	step(&many, 199);
	expect_next(&many, 0, 0);
}

Test(siblings, regular_files_alone)
{
	many_auto many = many_make(1);
	CLEANUP(siblings_freep) struct siblings *siblings = NULL;

	cr_assert_eq(mkdirat(many.fd, "f00001", 0755), 0);
	cr_assert_eq(symlinkat("f00000", many.fd, "f00002"), 0);
	cr_assert_eq(mkfifoat(many.fd, "f00003", 0644), 0);
	close(openat(many.fd, "f00004", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
	close(openat(many.fd, "f00005", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
	cr_assert_eq(siblings_list(many.fd, &files, &siblings), 0);
	siblings_free(many.siblings);
	many.siblings = TAKE_PTR(siblings);
	step(&many, 0);
	step(&many, 4);
	expect_next(&many, 5, 6);
}

static const struct siblings_kind directories = { DT_DIR, SIBLINGS_WINDOW_MIN, 1 };

/* MANY's directory, with directories FROM…FROM+COUNT-1 in it and a file. */
static void make_directories(struct many *many, unsigned from, unsigned count)
{
	CLEANUP(siblings_freep) struct siblings *siblings = NULL;

	clear_all(many);
	for (unsigned i = 0; i < count; i++) {
		char name[NAME_SIZE];

		snprintf(name, sizeof name, "f%05u", from + i);
		if (mkdirat(many->fd, name, 0755) < 0)
			cr_assert_fail("make '%s'", name);
	}
	close(openat(many->fd, "f00001a", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
	cr_assert_eq(siblings_list(many->fd, &directories, &siblings), 0);
	siblings_free(many->siblings);
	many->siblings = TAKE_PTR(siblings);
}

/* One at a time, up to so many as the window is wide; those that the reader passes in the meantime are not said. */
Test(siblings, directories_one_at_a_time)
{
	many_auto many = many_make(1);

	make_directories(&many, 0, 100);
	cr_assert_not(siblings_step(many.siblings, "."));
	cr_assert_not(siblings_step(many.siblings, ".."));
	cr_assert_not(siblings_step(many.siblings, "f00001a"));
	step(&many, 10);
	cr_assert_not(siblings_due(many.siblings));
	step(&many, 11);
	for (unsigned i = 12; i < 12 + SIBLINGS_WINDOW_MIN; i++) {
		cr_assert(siblings_due(many.siblings));
		expect_next(&many, i, i + 1);
	}
	cr_assert_not(siblings_due(many.siblings));
	expect_next(&many, 0, 0);
	step(&many, 12);
	expect_next(&many, 16, 17);
	expect_next(&many, 0, 0);
	step(&many, 16);
	step(&many, 20);
	expect_next(&many, 21, 22);
	/* The last. */
	step(&many, 97);
	step(&many, 98);
	expect_next(&many, 99, 100);
	cr_assert_not(siblings_due(many.siblings));
	expect_next(&many, 0, 0);
}

/* Where a reading begins, the first is a step, and no other is. */
Test(siblings, who_begins_with_the_first)
{
	many_auto many = many_make(LISTED_MAX);
	struct listed listed = listed_make(0, LISTED_MAX);

	step(&many, 0);
	expect_next(&many, 0, 0);
	siblings_begin(many.siblings);
	expect_next(&many, 0, 0);
	step(&many, 0);
	expect_next(&many, 1, 5);
	siblings_begin(many.siblings);
	step(&many, 1);
	expect_next(&many, 0, 0);
	siblings_begin(many.siblings);
	siblings_step(many.siblings, listed.names[1]);
	expect_next(&many, 0, 0);
	siblings_begin(many.siblings);
	siblings_step(many.siblings, listed.names[0]);
	expect_listed(&many, &listed, 1, 5);
}

/* A step in both orders: it goes on as the mount lists, for who begins has listed. */
Test(siblings, two_orders_at_once)
{
	many_auto many = many_make(1);
	struct listed listed;
	unsigned from = 0;

	for (;; from++) {
		char first[NAME_SIZE], second[NAME_SIZE];

		listed = listed_make(from, 12);
		snprintf(first, sizeof first, "f%05u", from);
		snprintf(second, sizeof second, "f%05u", from + 1);
		if (strcmp(listed.names[0], first) == 0 && strcmp(listed.names[1], second) != 0)
			break;
	}
	make_directories(&many, from, 12);
	siblings_begin(many.siblings);
	step(&many, from);
	expect_listed(&many, &listed, 1, 2);
}

Test(siblings, too_many_and_no_directory)
{
	many_auto many = many_make(SIBLINGS_MAX);
	CLEANUP(siblings_freep) struct siblings *siblings = NULL;

	step(&many, 0);
	step(&many, 1);
	expect_next(&many, 2, 6);
	close(openat(many.fd, "more", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
	cr_assert_eq(siblings_list(many.fd, &files, &siblings), -EFBIG);
	cr_assert_null(siblings);
	/* Few of them, with names as long as names may be. */
	clear_all(&many);
	for (unsigned i = 0; i < SIBLINGS_TEXT_MAX / NAME_MAX + 2; i++) {
		char name[NAME_MAX + 1];

		snprintf(name, sizeof name, "%0*u", NAME_MAX, i);
		close(openat(many.fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
	}
	cr_assert_eq(siblings_list(many.fd, &files, &siblings), -EFBIG);
	cr_assert_null(siblings);
	cr_assert_eq(siblings_list(-EBADF, &files, &siblings), -EBADF);
}
