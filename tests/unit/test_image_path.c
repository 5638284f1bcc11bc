/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/source_support.h"

#include <errno.h>

#include "store/image_divert.h"
#include "store/image_owner.h"
#include "store/image_path.h"

static const char image_script[] =
	"mkdir -p image/usr/lib/x86 image/etc image/opt/app/sub outside; cd image;"
	"ln -s usr/lib lib; ln -s /usr/lib/x86 usr/lib64; ln -s ../../../../../outside etc/out;"
	"ln -s loop2 loop1; ln -s loop1 loop2; : > etc/file; ln -s nowhere/else dangling;"
	"ln -s /opt/app app; ln -s ../sub/. opt/app/link; ln -s . here";

static const struct row {
	const char *path;
	bool parent; /* image_path_resolve_parent() */
	const char *wanted;
} rows[] = {
	{ "", false, "" },
	{ "usr/lib", false, "usr/lib" },
	{ "lib", false, "usr/lib" },
	{ "lib", true, "lib" },
	{ "lib/x86/libc.so", true, "usr/lib/x86/libc.so" },
	{ "lib64/x", true, "lib64/x" },
	{ "usr/lib64/x", true, "usr/lib/x86/x" },
	{ "lib/../lib64/x", true, "usr/lib/x86/x" },
	{ "here/here/lib/y", true, "usr/lib/y" },
	{ "../../usr/lib", false, "usr/lib" },
	{ "etc/out/x", true, "outside/x" }, /* no way out of the image */
	{ "new/dir/file", true, "new/dir/file" },
	{ "usr//./lib/", false, "usr/lib" },
	{ "etc/file/x", true, "etc/file/x" },
	{ "dangling/x", true, "nowhere/else/x" },
	{ "app/link/x", true, "opt/sub/x" },
	{ "coming/x", true, "usr/lib/x" },
	{ "coming", true, "coming" },
	{ "etc/x", true, "etc/x" }, /* a directory stays one, whatever is to come */
	{ "dangling2/x", true, "usr/lib/x" },
};

static const char *coming(void *arg, const char *path)
{
	static const char *const links[][2] = { { "coming", "lib" }, { "etc", "usr" }, { "dangling2", "coming" } };

	for (size_t i = 0; i < ARRAY_SIZE(links); i++)
		if (strcmp(links[i][0], path) == 0)
			return links[i][1];
	return NULL;
}

static struct image image_open(const struct bench *bench, const char *directory)
{
	char path[256];

	snprintf(path, sizeof path, "image/%s", directory);
	return (struct image){ .rootfd = bench_open(bench, "image"), .directory = directory,
		.basefd = bench_open(bench, path), .link = coming };
}

static void image_close(struct image *image)
{
	close(image->rootfd);
	close(image->basefd);
}

Test(image_path, resolves_as_chroot_would)
{
	bench_auto bench = bench_make();

	bench_run(&bench, image_script);
	for (int base = 0; base < 2; base++) {
		CLEANUP(image_close) struct image image = image_open(&bench, base ? "opt/app" : "");

		for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
			cleanup_free char *is = NULL;

			if (rows[i].parent)
				must_pass(image_path_resolve_parent(&image, rows[i].path, &is, &err));
			else
				must_pass(image_path_resolve(&image, rows[i].path, &is, &err));
			cr_assert_str_eq(is, rows[i].wanted, "'%s' is '%s', not '%s'", rows[i].path, is,
				rows[i].wanted);
		}
	}
}

Test(image_path, refuses_what_has_no_end)
{
	bench_auto bench = bench_make();
	char name[300] = "", *is = NULL;

	bench_run(&bench, image_script);
	memset(name, 'n', sizeof name - 1);
	CLEANUP(image_close) struct image image = image_open(&bench, "");
	must_fail(-ELOOP, "'/loop1'", image_path_resolve(&image, "loop1", &is, &err));
	must_fail(-ENAMETOOLONG, "nnn", image_path_resolve(&image, name, &is, &err));
	cr_assert_null(is);
}

/* A mount may stand over the component: below it, the base is what counts. */
Test(image_path, looks_at_the_base_below_the_component)
{
	bench_auto bench = bench_make();
	cleanup_free char *is = NULL;

	bench_run(&bench, image_script);
	bench_run(&bench, "mkdir -p other/real; ln -s real other/sub");
	CLEANUP(image_close) struct image image = { .rootfd = bench_open(&bench, "image"), .directory = "opt/app",
		.basefd = bench_open(&bench, "other") };
	must_pass(image_path_resolve(&image, "app/sub/x", &is, &err));
	cr_assert_str_eq(is, "opt/app/real/x");
}

Test(image_path, tells_inside_from_outside)
{
	static const struct {
		const char *directory, *path, *wanted;
	} table[] = {
		{ "usr/lib", "usr/lib/x", "x" },
		{ "usr/lib", "usr/lib", "" },
		{ "usr/lib", "usr/lib64/x", NULL },
		{ "usr/lib", "usr", NULL },
		{ "", "usr", "usr" },
		{ "", "", "" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct image image = { .directory = table[i].directory };
		const char *is = image_path_in_component(&image, table[i].path);

		cr_assert((!is && !table[i].wanted) || (is && table[i].wanted && strcmp(is, table[i].wanted) == 0),
			"row %zu: '%s'", i, is ? is : "(outside)");
	}
}

/* ---- owners ---- */

Test(image_path, owners_are_those_of_the_image)
{
	bench_auto bench = bench_make();
	cleanup_image_owners struct image_owners *owners = NULL;
	const struct image_override *override;
	uid_t uid = 0;
	gid_t gid = 0;

	bench_run(&bench, image_script);
	bench_run(&bench,
		"cd image; mkdir -p var/lib/dpkg private; ln -s /private/group etc/group;"
		"printf 'root:x:0:0::/:/bin/sh\\nbad\\n:x:5:\\nneg:x:-1:\\nbig:x:4294967295:\\nweb:x:33:34:web\\n' > etc/passwd;"
		"printf 'web:x:34:\\nshadow:x:42:' > private/group;"
		"printf 'root shadow 2755 /usr/bin/chage\\n#7 #8 640 /etc/a b\\nnobody root 644 /x\\nroot root 9 /y\\nroot\\n'"
		" > var/lib/dpkg/statoverride");
	CLEANUP(image_close) struct image image = image_open(&bench, "");
	must_pass(image_owners_load(&image, &owners, &err));
	cr_assert(image_owners_user(owners, "web", &uid) && uid == 33);
	cr_assert(image_owners_group(owners, "web", &gid) && gid == 34);
	cr_assert(image_owners_group(owners, "shadow", &gid) && gid == 42);
	for (const char *const *name = (const char *const[]){ "bad", "", "neg", "big", "shadow", NULL }; *name; name++)
		cr_assert(!image_owners_user(owners, *name, &uid), "'%s'", *name);
	override = image_owners_override(owners, "usr/bin/chage");
	cr_assert(override && override->uid == 0 && override->gid == 42 && override->mode == 02755);
	override = image_owners_override(owners, "etc/a b");
	cr_assert(override && override->uid == 7 && override->gid == 8 && override->mode == 0640);
	cr_assert_null(image_owners_override(owners, "x"));
	cr_assert_null(image_owners_override(owners, "y"));
}

/* Three lines a record; what is no record, or leads about, diverts nothing. */
Test(image_path, diversions)
{
	static const struct {
		const char *path, *package, *wanted;
	} table[] = {
		{ "usr/bin/a", "p", "usr/bin/a.distrib" }, { "usr/bin/a", "q", "usr/bin/a" },
		{ "usr/bin/a", "", "usr/bin/a.distrib" }, { "usr/bin/b", "p", "b" }, { "usr/bin/b", ":", "b" },
		{ "x", "p", "x" }, { "y", "p", "y" }, { "z", "p", "z" }, { "last", "p", "last" }, { "", "p", "" },
	};
	bench_auto bench = bench_make();
	struct image_diversions *diversions = NULL;

	bench_run(&bench, image_script);
	bench_run(&bench,
		"cd image; mkdir -p var/lib/dpkg; printf '%s\n' /usr/bin/b /b : /x ../etc/x : /y /a/../y : /z / : "
		"/usr/bin/a /usr/bin/a.distrib q /last /unfinished > var/lib/dpkg/diversions");
	CLEANUP(image_close) struct image image = image_open(&bench, "");
	must_pass(image_diversions_load(&image, &diversions, &err));
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		const char *to = image_diversions_find(diversions, table[i].path, table[i].package);

		cr_expect_str_eq(to, table[i].wanted, "row %zu: %s", i, to);
	}
	image_diversions_free(diversions);
}

Test(image_path, an_image_without_accounts_knows_nobody)
{
	bench_auto bench = bench_make();
	cleanup_image_owners struct image_owners *owners = NULL;
	uid_t uid;

	bench_run(&bench, "mkdir -p image/etc; mkfifo image/etc/passwd");
	CLEANUP(image_close) struct image image = image_open(&bench, "");
	must_pass(image_owners_load(&image, &owners, &err));
	cr_assert(!image_owners_user(owners, "root", &uid));
	cr_assert_null(image_owners_override(owners, "x"));
}
