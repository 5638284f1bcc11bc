/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "cli/help.h"
#include "cli/output.h"
#include "cli/text.h"
#include "store/base/cleanup.h"

static const struct column columns[] = {
	{ "name", "NAME", COLUMN_TEXT },
	{ "bytes", "SIZE", COLUMN_BYTES },
	{ "fixes", "FIXES", COLUMN_TEXT },
	{ "commit", "COMMIT", COLUMN_ID },
	{ "mounted", "MOUNTED", COLUMN_FLAG },
	{ "never", "NEVER", COLUMN_TEXT },
};

static struct json_object *make_row(const char *name, int64_t bytes, const char *const *fixes, bool mounted)
{
	struct json_object *row = json_object_new_object();
	struct oid oid = { { 0xab, 0xcd, 0xef, 0x01, 0x23, 0x45, 0x67 } };

	row_text(row, "name", name);
	row_number(row, "bytes", bytes);
	row_list(row, "fixes", fixes);
	row_oid(row, "commit", &oid);
	row_flag(row, "mounted", mounted);
	row_text(row, "never", NULL);
	return row;
}

static void expect_text(const struct strbuf *sb, const char *expected)
{
	cr_assert(!strbuf_failed(sb));
	cr_expect_str_eq(strbuf_text(sb), expected, "got:\n%s\nnot:\n%s", strbuf_text(sb), expected);
}

Test(output, a_table_is_aligned_and_has_no_empty_column)
{
	static const char *const fixes[] = { "CVE-1", "CVE-2", NULL };
	CLEANUP_ROW struct json_object *rows = json_object_new_array();
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;

	json_object_array_add(rows, make_row("ö", 512, fixes, true));
	json_object_array_add(rows, make_row("openssl", 3 << 19, NULL, false));
	output_table(&sb, columns, ARRAY_SIZE(columns), rows);
	expect_text(&sb, "NAME     SIZE     FIXES         COMMIT        MOUNTED\n"
			 "ö        512 B    CVE-1, CVE-2  abcdef012345  yes\n"
			 "openssl  1.5 MiB                abcdef012345  no\n");
}

Test(output, an_empty_table_is_empty)
{
	CLEANUP_ROW struct json_object *rows = json_object_new_array();
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;

	output_table(&sb, columns, ARRAY_SIZE(columns), rows);
	expect_text(&sb, "");
}

Test(output, a_record_leaves_out_what_is_not_there)
{
	CLEANUP_ROW struct json_object *row = make_row("openssl", 0, NULL, true);
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;

	output_record(&sb, columns, ARRAY_SIZE(columns), row);
	expect_text(&sb, "NAME:    openssl\nSIZE:    0 B\nCOMMIT:  abcdef012345\nMOUNTED: yes\n");
}

Test(output, json_has_whole_ids_raw_numbers_and_iso_times)
{
	CLEANUP_ROW struct json_object *row = make_row("a/b", 3 << 19, NULL, false);
	CLEANUP_ROW struct json_object *parsed = NULL;
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;

	row_time(row, "time", 1767323045, 6);
	output_json(&sb, row);
	cr_expect(strstr(strbuf_text(&sb), "\"name\": \"a/b\""), "%s", strbuf_text(&sb));
	cr_expect(strstr(strbuf_text(&sb), "\"bytes\": 1572864"), "%s", strbuf_text(&sb));
	cr_expect(strstr(strbuf_text(&sb), "\"abcdef0123456700000000000000000000000000\""), "%s",
		strbuf_text(&sb));
	cr_expect(strstr(strbuf_text(&sb), "\"2026-01-02T03:04:05.000006Z\""), "%s", strbuf_text(&sb));
	cr_expect(strstr(strbuf_text(&sb), "\"never\": null"), "%s", strbuf_text(&sb));
	parsed = json_tokener_parse(strbuf_text(&sb));
	cr_expect_not_null(parsed);
}

struct text_row {
	const char *text, *line, *lines, *utf8;
};

/* As a line, as text with its lines, and as JSON has it. */
static const struct text_row texts[] = {
	{ "plain", "plain", "plain", "plain" },
	{ "", "", "", "" },
	{ "Grüße →", "Grüße →", "Grüße →", "Grüße →" },
	{ "a\tb\nc", "a\\tb\\nc", "a\tb\nc", "a\tb\nc" },
	{ "\033[31mred", "\\x1b[31mred", "\\x1b[31mred", "\033[31mred" },
	{ "\x7f", "\\x7f", "\\x7f", "\x7f" },
	{ "\xc2\x9b" "31m", "\\xc2\\x9b31m", "\\xc2\\x9b31m", "\xc2\x9b" "31m" }, /* CSI as one character */
	{ "\xff\xfe", "\\xff\\xfe", "\\xff\\xfe", "\xef\xbf\xbd\xef\xbf\xbd" },
	{ "\xc0\xaf", "\\xc0\\xaf", "\\xc0\\xaf", "\xef\xbf\xbd\xef\xbf\xbd" }, /* overlong */
	{ "\xed\xa0\x80", "\\xed\\xa0\\x80", "\\xed\\xa0\\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
	{ "\xe0\x9f\xbf", "\\xe0\\x9f\\xbf", "\\xe0\\x9f\\xbf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
	{ "\xf0\x8f\xbf\xbf", "\\xf0\\x8f\\xbf\\xbf", "\\xf0\\x8f\\xbf\\xbf",
		"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
	{ "a\xe2\x86", "a\\xe2\\x86", "a\\xe2\\x86", "a\xef\xbf\xbd\xef\xbf\xbd" }, /* cut short */
	{ "\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80", "\\xf4\\x90\\x80\\x80",
		"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" }, /* beyond Unicode */
};

Test(text, hostile_bytes)
{
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		cleanup_strbuf struct strbuf line = STRBUF_INIT, lines = STRBUF_INIT, utf8 = STRBUF_INIT;

		text_add_printable(&line, texts[i].text, false);
		text_add_printable(&lines, texts[i].text, true);
		text_add_utf8(&utf8, texts[i].text);
		cr_expect_str_eq(strbuf_text(&line), texts[i].line, "row %zu: %s", i, strbuf_text(&line));
		cr_expect_str_eq(strbuf_text(&lines), texts[i].lines, "row %zu: %s", i, strbuf_text(&lines));
		cr_expect_str_eq(strbuf_text(&utf8), texts[i].utf8, "row %zu", i);
	}
}

struct number_row {
	uint64_t number;
	const char *count, *bytes, *duration;
};

static const struct number_row numbers[] = {
	{ 0, "0", "0 B", "0 µs" },
	{ 999, "999", "999 B", "1 µs" },
	{ 1023, "1,023", "1023 B", "1 µs" },
	{ 1024, "1,024", "1.0 KiB", "1 µs" },
	{ 4200000, "4,200,000", "4.0 MiB", "4.2 ms" },
	{ 1300000000, "1,300,000,000", "1.2 GiB", "1.3 s" },
	{ UINT64_MAX, "18,446,744,073,709,551,615", "16.0 EiB", "18446744073.7 s" },
};

Test(text, numbers)
{
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		cleanup_strbuf struct strbuf count = STRBUF_INIT, bytes = STRBUF_INIT, duration = STRBUF_INIT;

		text_add_count(&count, numbers[i].number);
		text_add_bytes(&bytes, numbers[i].number);
		text_add_duration(&duration, numbers[i].number);
		cr_expect_str_eq(strbuf_text(&count), numbers[i].count, "row %zu", i);
		cr_expect_str_eq(strbuf_text(&bytes), numbers[i].bytes, "row %zu", i);
		cr_expect_str_eq(strbuf_text(&duration), numbers[i].duration, "row %zu: %s", i,
			strbuf_text(&duration));
	}
}

Test(text, times)
{
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;

	text_add_time(&sb, 0, -1);
	cr_expect_str_eq(strbuf_text(&sb), "1970-01-01T00:00:00Z");
	strbuf_reset(&sb);
	text_add_time(&sb, INT64_MAX, 0);
	cr_expect_str_eq(strbuf_text(&sb), "");
}

Test(help, names_every_command_and_option)
{
	cleanup_strbuf struct strbuf overview = STRBUF_INIT, completion = STRBUF_INIT;

	help_overview(&overview);
	help_completion(&completion);
	for (const struct command *command = commands; command->name; command++) {
		cleanup_strbuf struct strbuf one = STRBUF_INIT;

		help_command(&one, command);
		cr_expect(strstr(strbuf_text(&overview), command->name), "%s", command->name);
		for (const struct option_spec *spec = command->options; spec->name; spec++) {
			cr_expect(strstr(strbuf_text(&one), spec->name), "%s --%s", command->name, spec->name);
			cr_expect(strstr(strbuf_text(&completion), spec->name), "%s --%s", command->name,
				spec->name);
		}
	}
}
