/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/support.h"

#include <fcntl.h>

#include "fs/io_choice.h"
#include "store/base/cleanup.h"

#define MIB (1024u * 1024u)

static bool possible(void *arg)
{
	++*(unsigned *)arg;
	return true;
}

static bool impossible(void *arg)
{
	++*(unsigned *)arg;
	return false;
}

static enum io_mode watch(struct io_choice *choice, bool (*fn)(void *arg), unsigned *asked, unsigned opens, uint64_t size)
{
	io_choice_init(choice);
	io_choice_watch(choice, "because", fn, asked);
	for (unsigned i = 0; i < opens; i++)
		io_choice_see(choice, size);
	return io_choice_mode(choice);
}

static void expect_reason(struct io_choice *choice, const char *words)
{
	char reason[IO_REASON_MAX];

	io_choice_reason(choice, reason);
	cr_expect(strstr(reason, words), "'%s' does not say '%s'", reason, words);
}

Test(io_choice, watches_until_it_knows)
{
	struct io_choice choice;
	unsigned asked = 0;

	cr_assert_eq(watch(&choice, possible, &asked, IO_WATCHED_OPENS - 1, 100 * MIB), IO_AUTO);
	expect_reason(&choice, "because; watching: 63 of 64 opens seen");
	cr_assert_eq(asked, 0);
	io_choice_see(&choice, 100 * MIB);
	cr_assert_eq(io_choice_mode(&choice), IO_PASSTHROUGH);
	cr_assert_eq(asked, 1);
	expect_reason(&choice, "large files are opened: 102400 KiB on average, of the first 64");
	/* For the rest of the mount's life. */
	for (unsigned i = 0; i < 10000; i++)
		io_choice_see(&choice, 1);
	cr_assert_eq(io_choice_mode(&choice), IO_PASSTHROUGH);
	cr_assert_eq(asked, 1);
}

Test(io_choice, small_files_are_cached)
{
	struct io_choice choice;
	unsigned asked = 0;

	cr_assert_eq(watch(&choice, possible, &asked, IO_WATCHED_OPENS, IO_LARGE_MEAN_BYTES - 1), IO_CACHED);
	expect_reason(&choice, "no large files are opened");
	cr_assert_eq(asked, 0, "nobody asks for what is not wanted");
	cr_assert_eq(watch(&choice, possible, &asked, IO_WATCHED_OPENS, IO_LARGE_MEAN_BYTES), IO_PASSTHROUGH);
}

Test(io_choice, what_is_not_to_be_had)
{
	struct io_choice choice;
	unsigned asked = 0;

	cr_assert_eq(watch(&choice, impossible, &asked, IO_WATCHED_OPENS, 100 * MIB), IO_CACHED);
	expect_reason(&choice, "not to be had");
	cr_assert_eq(asked, 1);
}

Test(io_choice, settled)
{
	struct io_choice choice;

	io_choice_init(&choice);
	cr_assert_eq(io_choice_mode(&choice), IO_CACHED);
	io_choice_settle(&choice, IO_PASSTHROUGH, "asked for");
	cr_assert_eq(io_choice_mode(&choice), IO_PASSTHROUGH);
	expect_reason(&choice, "asked for");
}

static void make_file(int fd, const char *name, off_t size)
{
	cleanup_close int file = openat(fd, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

	cr_assert(file >= 0 && ftruncate(file, size) == 0, "%s", name);
}

Test(io_choice, survey)
{
	temporary_directory_auto root = temporary_directory_make();
	cleanup_close int fd = open(root.path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	char reason[IO_REASON_MAX], name[32];
	struct io_survey found;

	io_survey_base(fd, &found);
	cr_assert_eq(found.files, 0);
	cr_assert_not(io_survey_decide(&found, reason), "nothing speaks for watching: %s", reason);
	cr_assert_eq(mkdirat(fd, "a", 0755), 0);
	cr_assert_eq(mkdirat(fd, "a/b", 0755), 0);
	make_file(fd, "a/b/small", MIB - 1);
	make_file(fd, "a/large", MIB);
	cr_assert_eq(symlinkat("large", fd, "a/link"), 0);
	io_survey_base(fd, &found);
	cr_assert_eq(found.files, 2);
	cr_assert_eq(found.bytes, 2 * MIB - 1);
	cr_assert_eq(found.large_bytes, MIB);
	cr_assert(io_survey_decide(&found, reason));
	cr_assert(strstr(reason, "50 % of the bytes of 2 files"), "%s", reason);
	make_file(fd, "a/other", MIB / 2);
	io_survey_base(fd, &found);
	cr_assert_not(io_survey_decide(&found, reason), "%s", reason);
	/* However large the directory is. */
	for (unsigned i = 0; i < 4000; i++) {
		snprintf(name, sizeof name, "f%u", i);
		make_file(fd, name, 1);
	}
	io_survey_base(fd, &found);
	cr_assert_lt(found.files, 2001);
}
