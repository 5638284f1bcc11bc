/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/options.h"
#include "cli/table.h"
#include "store/base/cleanup.h"
#include "store/base/strbuf.h"

#define WORDS_MAX 12

static const struct option_spec specs[] = {
	{ "store", 0, "DIR", "", 0 },
	{ "message", 'm', "MSG", "", 0 },
	{ "deb", 0, "FILE", "", OPTION_MANY },
	{ "fixes", 0, "CVE", "", OPTION_REPEATS },
	{ "io", 0, "auto|cached", "", OPTION_CHOICE },
	{ "quiet", 'q', NULL, "", 0 },
	{ "verbose", 'v', NULL, "", 0 },
	{ NULL, 0, NULL, NULL, 0 },
};
static const struct option_spec *const tables[] = { specs, NULL };

struct row {
	const char *words[WORDS_MAX]; /* NULL-terminated */
	enum options_mode mode;
	const char *yield; /* "name=value … | arguments | rest"; NULL: an error is expected */
	const char *problem; /* is in the message */
};

static const struct row rows[] = {
	{ { "a", "b" }, OPTIONS_WHOLE, "| a b |", NULL },
	{ { NULL }, OPTIONS_WHOLE, "| |", NULL },
	{ { "--store", "/s", "x" }, OPTIONS_WHOLE, "store=/s | x |", NULL },
	{ { "--store=/s" }, OPTIONS_WHOLE, "store=/s | |", NULL },
	{ { "--store=" }, OPTIONS_WHOLE, "store= | |", NULL },
	{ { "--store=a=b" }, OPTIONS_WHOLE, "store=a=b | |", NULL },
	{ { "-m", "text", "-qv" }, OPTIONS_WHOLE, "message=text quiet verbose | |", NULL },
	{ { "-mtext" }, OPTIONS_WHOLE, "message=text | |", NULL },
	{ { "-qmtext" }, OPTIONS_WHOLE, "quiet message=text | |", NULL },
	{ { "-m", "-q" }, OPTIONS_WHOLE, "message=-q | |", NULL },
	{ { "-q", "-q" }, OPTIONS_WHOLE, "quiet quiet | |", NULL },
	{ { "n", "--deb", "a", "b", "-q", "c" }, OPTIONS_WHOLE, "deb=a deb=b quiet | n c |", NULL },
	{ { "--deb=a", "b" }, OPTIONS_WHOLE, "deb=a | b |", NULL },
	{ { "--deb", "a", "--deb", "b" }, OPTIONS_WHOLE, "deb=a deb=b | |", NULL },
	{ { "--fixes", "1", "n", "--fixes", "2" }, OPTIONS_WHOLE, "fixes=1 fixes=2 | n |", NULL },
	{ { "--io", "cached" }, OPTIONS_WHOLE, "io=cached | |", NULL },
	{ { "a", "--", "-q", "--x" }, OPTIONS_WHOLE, "| a -q --x |", NULL },
	{ { "a", "--", "-q", "--" }, OPTIONS_KEEP_REST, "| a | -q --", NULL },
	{ { "a", "-" }, OPTIONS_WHOLE, "| a - |", NULL },
	{ { "-q", "apply", "-v" }, OPTIONS_UNTIL_WORD, "quiet | |", NULL },
	{ { "--nope" }, OPTIONS_WHOLE, NULL, "unknown option '--nope'" },
	{ { "--nope=1" }, OPTIONS_WHOLE, NULL, "unknown option '--nope'" },
	{ { "--stor", "/s" }, OPTIONS_WHOLE, NULL, "unknown option '--stor'" },
	{ { "-qx" }, OPTIONS_WHOLE, NULL, "unknown option '-x'" },
	{ { "--quiet=1" }, OPTIONS_WHOLE, NULL, "--quiet takes no value" },
	{ { "--store" }, OPTIONS_WHOLE, NULL, "--store needs a value: DIR" },
	{ { "-qm" }, OPTIONS_WHOLE, NULL, "-m needs a value: MSG" },
	{ { "--deb" }, OPTIONS_WHOLE, NULL, "--deb needs a value: FILE" },
	{ { "--store", "a", "--store", "b" }, OPTIONS_WHOLE, NULL, "--store is given twice" },
	{ { "-m", "a", "--message=b" }, OPTIONS_WHOLE, NULL, "--message is given twice" },
	{ { "--io", "cach" }, OPTIONS_WHOLE, NULL, "'cach' is none of auto|cached" },
	{ { "--io=auto|cached" }, OPTIONS_WHOLE, NULL, "is none of auto|cached" },
	{ { "--io=" }, OPTIONS_WHOLE, NULL, "is none of auto|cached" },
	{ { "--", "apply" }, OPTIONS_UNTIL_WORD, NULL, "'--' stands where" },
};

static void describe(const struct options *options, struct strbuf *sb)
{
	for (size_t i = 0; i < options->value_count; i++) {
		const struct option_value *value = &options->values[i];

		strbuf_addf(sb, "%s%s%s ", value->spec->name, value->value ? "=" : "",
			value->value ? value->value : "");
	}
	strbuf_addstr(sb, "|");
	for (size_t i = 0; i < options->argument_count; i++)
		strbuf_addf(sb, " %s", options->arguments[i]);
	strbuf_addstr(sb, " |");
	for (size_t i = 0; i < options->rest_count; i++)
		strbuf_addf(sb, " %s", options->rest[i]);
}

static void try_row(size_t index)
{
	const struct row *row = &rows[index];
	cleanup_options struct options options = OPTIONS_INIT;
	cleanup_strbuf struct strbuf yield = STRBUF_INIT;
	struct error err = ERROR_INIT;
	int argc = 0, used = -1, r;

	while (row->words[argc])
		argc++;
	r = options_parse(&options, tables, row->mode, argc, (char *const *)row->words, &used, &err);
	if (!row->yield) {
		cr_expect_eq(r, -EINVAL, "row %zu: returned %d", index, r);
		cr_expect(strstr(err.message, row->problem), "row %zu: '%s' lacks '%s'", index, err.message,
			row->problem);
		return;
	}
	cr_assert_eq(r, 0, "row %zu: %s", index, err.message);
	describe(&options, &yield);
	cr_expect_str_eq(strbuf_text(&yield), row->yield, "row %zu: '%s', not '%s'", index,
		strbuf_text(&yield), row->yield);
	if (row->mode != OPTIONS_UNTIL_WORD)
		cr_expect_eq(used, argc, "row %zu: used %d", index, used);
}

Test(options, rows)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		try_row(i);
}

Test(options, stops_at_the_first_word)
{
	char *const words[] = { "-q", "--store", "/s", "apply", "-x" };
	cleanup_options struct options options = OPTIONS_INIT;
	int used = -1;

	cr_assert_eq(options_parse(&options, tables, OPTIONS_UNTIL_WORD, 5, words, &used, NULL), 0);
	cr_expect_eq(used, 3);
	cr_expect_str_eq(options_get(&options, "store"), "/s");
	cr_expect(options_has(&options, "quiet"));
	cr_expect(!options_has(&options, "verbose"));
	cr_expect_null(options_get(&options, "message"));
}

Test(options, all_values_in_order)
{
	char *const words[] = { "--deb", "a", "b", "--fixes", "x", "--deb=c" };
	cleanup_options struct options options = OPTIONS_INIT;
	const char **all;
	size_t count = 0;

	cr_assert_eq(options_parse(&options, tables, OPTIONS_WHOLE, 6, words, NULL, NULL), 0);
	all = options_all(&options, "deb", &count);
	cr_assert_eq(count, 3);
	cr_expect_str_eq(all[0], "a");
	cr_expect_str_eq(all[2], "c");
	cr_expect_null(all[3]);
	free(all);
}

/* A name or letter that a command shares with the options of every command would never be reached. */
Test(options, the_table_is_unambiguous)
{
	for (const struct command *command = commands; command->name; command++)
		for (const struct option_spec *spec = command->options; spec->name; spec++) {
			for (const struct option_spec *global = global_options; global->name; global++) {
				cr_expect_str_neq(spec->name, global->name, "%s", command->name);
				cr_expect(!spec->letter || spec->letter != global->letter, "%s: -%c",
					command->name, spec->letter);
			}
			for (const struct option_spec *other = command->options; other != spec; other++) {
				cr_expect_str_neq(spec->name, other->name, "%s", command->name);
				cr_expect(!spec->letter || spec->letter != other->letter, "%s: -%c",
					command->name, spec->letter);
			}
		}
}

struct line {
	const char *words[WORDS_MAX];
	const char *command; /* "": none is needed; NULL: wrong usage */
	const char *store;
	bool json;
};

static const struct line lines[] = {
	{ { "veneer", "apply", "x" }, "apply", "/default", false },
	{ { "veneer", "--store", "/s", "--json", "apply", "x" }, "apply", "/s", true },
	{ { "veneer", "apply", "x", "--json", "--store=/s" }, "apply", "/s", true },
	{ { "veneer", "--help" }, "", "/default", false },
	{ { "veneer", "--version" }, "", "/default", false },
	{ { "veneer", "apply", "--help" }, "apply", "/default", false },
	{ { "veneer", "diff", "x", "a", "b", "--", "p", "q", "r" }, "diff", "/default", false },
	{ { "veneer" }, NULL, NULL, false },
	{ { "veneer", "--json" }, NULL, NULL, false },
	{ { "veneer", "appl", "x" }, NULL, NULL, false },
	{ { "veneer", "apply" }, NULL, NULL, false },
	{ { "veneer", "rollback", "x", "y" }, NULL, NULL, false },
	{ { "veneer", "--store", "/a", "apply", "x", "--store", "/b" }, NULL, NULL, false },
	{ { "veneer", "apply", "x", "--all" }, NULL, NULL, false },
	{ { "veneer", "--dry-run", "apply", "x" }, NULL, NULL, false },
};

Test(context, command_lines)
{
	setenv("VENEER_STORE", "/default", 1);
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		const struct line *line = &lines[i];
		cleanup_context struct context ctx = CONTEXT_INIT;
		struct error err = ERROR_INIT;
		int argc = 0, r;

		while (line->words[argc])
			argc++;
		r = context_parse(&ctx, argc, (char *const *)line->words, &err);
		if (!line->command) {
			cr_expect_eq(r, -EINVAL, "line %zu: returned %d", i, r);
			cr_expect(ctx.wrong_usage, "line %zu: '%s' is no usage error", i, err.message);
			cr_expect(strstr(err.message, "veneer help"), "line %zu: '%s' names no next step", i,
				err.message);
			continue;
		}
		cr_assert_eq(r, 0, "line %zu: %s", i, err.message);
		cr_expect_str_eq(ctx.command ? ctx.command->name : "", line->command, "line %zu", i);
		cr_expect_str_eq(ctx.store_path, line->store, "line %zu", i);
		cr_expect_eq(ctx.json, line->json, "line %zu", i);
	}
}
