/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/source_support.h"

#include <errno.h>

#include "store/base/io.h"
#include "store/policy.h"

/* The file of component NAME, as somebody else has dropped it in. */
static void drop_in(const struct bench *bench, const char *name, const void *bytes, size_t length)
{
	cleanup_close int fd = -EBADF;

	mkdir(path_in(bench->dir, "store/policy"), 0700);
	fd = open(path_in(bench->dir, "store/policy"), O_PATH | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(fd, 0);
	must_pass(io_write_file_at(fd, name, bytes, length, 0600, &err));
}

struct text_row {
	const char *text;
	enum base_change wanted;
	unsigned line; /* of what is wrong; 0: nothing is */
};

Test(policy, texts)
{
	static const struct text_row rows[] = {
		{ "", BASE_CHANGE_RETIRE, 0 },
		{ "\n\n", BASE_CHANGE_RETIRE, 0 },
		{ "# nothing\n", BASE_CHANGE_RETIRE, 0 },
		{ "base-change retire\n", BASE_CHANGE_RETIRE, 0 },
		{ "base-change hold\n", BASE_CHANGE_HOLD, 0 },
		{ "base-change fail\n", BASE_CHANGE_FAIL, 0 },
		{ "base-change fail", BASE_CHANGE_FAIL, 0 },
		{ "  base-change\t hold  # for the exam\n", BASE_CHANGE_HOLD, 0 },
		{ "base-change hold#x\n", BASE_CHANGE_HOLD, 0 },
		{ "#base-change hold\n", BASE_CHANGE_RETIRE, 0 },
		{ "base-change hold\r\n", BASE_CHANGE_HOLD, 0 },
		{ "base-change hold\nbase-change fail\n", BASE_CHANGE_FAIL, 0 },
		{ "base-change\n", 0, 1 },
		{ "base-change hold on\n", 0, 1 },
		{ "base-change Hold\n", 0, 1 },
		{ "base-change holds\n", 0, 1 },
		{ "base_change hold\n", 0, 1 },
		{ "base-changes hold\n", 0, 1 },
		{ "hold\n", 0, 1 },
		{ "base-change #hold\n", 0, 1 },
		{ "# one\n\nbase-change hold\nhealth none\n", 0, 4 },
		{ "base-change holdholdholdholdholdholdholdhold\n", 0, 1 },
		{ "base-change holdholdholdholdholdholdholdhol hold\n", 0, 1 },
		{ "base-changebase-changebase-changebase-change hold\n", 0, 1 },
		{ "\x7f" "ELF\n", 0, 1 },
	};
	bench_auto bench = bench_make();

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct text_row *row = &rows[i];
		struct policy policy = { .base_change = 99 };
		struct error err = ERROR_INIT;
		char place[64];
		int r;

		drop_in(&bench, "app", row->text, strlen(row->text));
		r = policy_load(bench.store, "app", &policy, &err);
		if (row->line == 0) {
			cr_expect_eq(r, 0, "'%s': %s", row->text, err.message);
			cr_expect_eq(policy.base_change, row->wanted, "'%s': %d", row->text, policy.base_change);
			continue;
		}
		snprintf(place, sizeof place, "/policy/app', line %u:", row->line);
		cr_expect_eq(r, -EINVAL, "'%s': %d", row->text, r);
		cr_expect(strstr(err.message, place), "'%s': no \"%s\" in: %s", row->text, place, err.message);
		cr_expect_eq(policy.base_change, 99, "'%s': untouched on failure", row->text);
	}
}

Test(policy, defaults_where_nobody_has_decided)
{
	bench_auto bench = bench_make();
	struct policy policy = { .base_change = 99 };

	must_pass(policy_load(bench.store, "app", &policy, &err));
	cr_expect_eq(policy.base_change, BASE_CHANGE_RETIRE, "no directory");
	drop_in(&bench, "other", "base-change hold\n", 17);
	policy.base_change = 99;
	must_pass(policy_load(bench.store, "app", &policy, &err));
	cr_expect_eq(policy.base_change, BASE_CHANGE_RETIRE, "another's");
}

Test(policy, nothing_is_guessed)
{
	static const char text[] = "base-change hold\n\0base-change fail\n";
	bench_auto bench = bench_make();
	struct policy policy = { .base_change = 99 };
	cleanup_free char *large = malloc(POLICY_BYTES_MAX + 1);

	drop_in(&bench, "app", text, sizeof text - 1);
	must_fail(-EINVAL, "policy/app': a NUL byte", policy_load(bench.store, "app", &policy, &err));
	memset(large, '\n', POLICY_BYTES_MAX + 1);
	drop_in(&bench, "app", large, POLICY_BYTES_MAX);
	must_pass(policy_load(bench.store, "app", &policy, &err));
	policy.base_change = 99;
	drop_in(&bench, "app", large, POLICY_BYTES_MAX + 1);
	must_fail(-E2BIG, "component 'app'", policy_load(bench.store, "app", &policy, &err));
	bench_run(&bench, "cd store/policy; rm app; ln -s ../lock app");
	must_fail(-ELOOP, "component 'app'", policy_load(bench.store, "app", &policy, &err));
	bench_run(&bench, "cd store/policy; rm app; mkdir app");
	must_fail(-EINVAL, "component 'app'", policy_load(bench.store, "app", &policy, &err));
	bench_run(&bench, "cd store; rmdir policy/app policy; ln -s /etc policy");
	must_fail(-ENOTDIR, "component 'app'", policy_load(bench.store, "app", &policy, &err));
	cr_expect_eq(policy.base_change, 99, "untouched on failure");
}

Test(policy, names)
{
	static const char *const names[] = { "retire", "hold", "fail" };
	enum base_change change;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		cr_expect_str_eq(base_change_name((enum base_change)i), names[i]);
		cr_expect_eq(base_change_parse(names[i], &change), 0, "%s", names[i]);
		cr_expect_eq(change, i, "%s", names[i]);
	}
	cr_expect_eq(base_change_parse("", &change), -EINVAL);
	cr_expect_eq(base_change_parse("retired", &change), -EINVAL);
	cr_expect_eq(change, BASE_CHANGE_FAIL, "untouched on failure");
}

Test(policy, what_is_saved_is_loaded)
{
	bench_auto bench = bench_make();

	for (int i = BASE_CHANGE_FAIL; i >= BASE_CHANGE_RETIRE; i--) {
		const struct policy policy = { .base_change = (enum base_change)i };
		struct policy loaded = { .base_change = 99 };

		must_pass(policy_save(bench.store, "app", &policy, &err));
		must_pass(policy_load(bench.store, "app", &loaded, &err));
		cr_expect_eq((int)loaded.base_change, i);
	}
	bench_run(&bench, "test \"$(stat -c %a store/policy store/policy/app | tr '\\n' ' ')\" = '700 600 '");
	bench_run(&bench, "test \"$(ls -A store/policy)\" = app");
}
