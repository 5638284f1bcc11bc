/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/output.h"

#include <string.h>

#include "cli/text.h"
#include "store/base/cleanup.h"

#define ID_SHOWN 12
#define COLUMN_GAP 2

static struct json_object *text_new(const char *text)
{
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;

	text_add_utf8(&sb, text);
	return json_object_new_string_len(strbuf_text(&sb), (int)sb.len);
}

void row_text(struct json_object *row, const char *key, const char *text)
{
	json_object_object_add(row, key, text ? text_new(text) : NULL);
}

void row_number(struct json_object *row, const char *key, int64_t number)
{
	json_object_object_add(row, key, json_object_new_int64(number));
}

void row_flag(struct json_object *row, const char *key, bool flag)
{
	json_object_object_add(row, key, json_object_new_boolean(flag));
}

void row_oid(struct json_object *row, const char *key, const struct oid *oid)
{
	char hex[OID_HEX_LENGTH + 1];

	if (!oid || oid_is_zero(oid)) {
		row_text(row, key, NULL);
		return;
	}
	oid_to_hex(oid, hex);
	row_text(row, key, hex);
}

void row_time(struct json_object *row, const char *key, int64_t seconds, int microseconds)
{
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;

	text_add_time(&sb, seconds, microseconds);
	row_text(row, key, sb.len ? strbuf_text(&sb) : NULL);
}

void row_list(struct json_object *row, const char *key, const char *const *list)
{
	struct json_object *array = json_object_new_array();

	for (; list && *list; list++)
		array_text(array, *list);
	json_object_object_add(row, key, array);
}

void row_object(struct json_object *row, const char *key, struct json_object *object)
{
	json_object_object_add(row, key, object);
}

void array_text(struct json_object *array, const char *text)
{
	json_object_array_add(array, text_new(text));
}

static void add_plain(struct strbuf *sb, struct json_object *value)
{
	if (json_object_is_type(value, json_type_boolean))
		strbuf_addstr(sb, json_object_get_boolean(value) ? "yes" : "no");
	else
		text_add_printable(sb, json_object_get_string(value), false);
}

/* "open 12, read 3": counters by name, those at zero left out. */
static void add_counters(struct strbuf *sb, struct json_object *object)
{
	const char *gap = "";

	json_object_object_foreach(object, key, value)
	{
		if (json_object_get_int64(value) == 0)
			continue;
		strbuf_addstr(sb, gap);
		text_add_printable(sb, key, false);
		strbuf_addch(sb, ' ');
		text_add_count(sb, (uint64_t)json_object_get_int64(value));
		gap = ", ";
	}
}

static void add_list(struct strbuf *sb, struct json_object *array)
{
	for (size_t i = 0; i < json_object_array_length(array); i++) {
		if (i > 0)
			strbuf_addstr(sb, ", ");
		add_plain(sb, json_object_array_get_idx(array, i));
	}
}

/* The text of one field, "" for null. */
static void add_field(struct strbuf *sb, const struct column *column, struct json_object *row)
{
	struct json_object *value = NULL;
	bool array;

	if (!json_object_object_get_ex(row, column->key, &value) || !value)
		return;
	array = json_object_is_type(value, json_type_array);
	switch (column->format) {
	case COLUMN_ID:
		strbuf_addf(sb, "%.*s", ID_SHOWN, json_object_get_string(value));
		break;
	case COLUMN_BYTES:
		text_add_bytes(sb, (uint64_t)json_object_get_int64(value));
		break;
	case COLUMN_DURATION:
		text_add_duration(sb, (uint64_t)json_object_get_int64(value));
		break;
	case COLUMN_COUNT:
		text_add_count(sb, array ? json_object_array_length(value) :
					   (uint64_t)json_object_get_int64(value));
		break;
	case COLUMN_TEXT:
	case COLUMN_FLAG:
		if (array)
			add_list(sb, value);
		else if (json_object_is_type(value, json_type_object))
			add_counters(sb, value);
		else
			add_plain(sb, value);
		break;
	}
}

static void add_spaces(struct strbuf *sb, size_t count)
{
	strbuf_addf(sb, "%*s", (int)count, "");
}

/* The width of a column; 0: nothing to show in it. */
static size_t column_width(const struct column *column, struct json_object *rows)
{
	cleanup_strbuf struct strbuf field = STRBUF_INIT;
	size_t widest = 0;

	for (size_t i = 0; i < json_object_array_length(rows); i++) {
		size_t width;

		strbuf_reset(&field);
		add_field(&field, column, json_object_array_get_idx(rows, i));
		width = text_width(strbuf_text(&field));
		widest = width > widest ? width : widest;
	}
	if (widest > 0 && text_width(column->title) > widest)
		widest = text_width(column->title);
	return widest;
}

/* One line; ROW NULL: the titles. The last column is not padded. */
static void add_line(struct strbuf *sb, const struct column *columns, const size_t *widths, size_t count,
	struct json_object *row)
{
	cleanup_strbuf struct strbuf field = STRBUF_INIT;
	size_t owed = 0; /* padding, paid when more text follows */

	for (size_t i = 0; i < count; i++) {
		size_t width;

		if (widths[i] == 0)
			continue;
		strbuf_reset(&field);
		if (row)
			add_field(&field, &columns[i], row);
		else
			strbuf_addstr(&field, columns[i].title);
		width = text_width(strbuf_text(&field));
		if (width > 0) {
			add_spaces(sb, owed);
			strbuf_addstr(sb, strbuf_text(&field));
			owed = 0;
		}
		owed += widths[i] - width + COLUMN_GAP;
	}
	strbuf_addch(sb, '\n');
}

void output_table(struct strbuf *sb, const struct column *columns, size_t count,
	struct json_object *rows)
{
	cleanup_free size_t *widths = calloc(count, sizeof *widths);

	if (json_object_array_length(rows) == 0)
		return;
	if (!widths) {
		sb->failed = true;
		return;
	}
	for (size_t i = 0; i < count; i++)
		widths[i] = column_width(&columns[i], rows);
	add_line(sb, columns, widths, count, NULL);
	for (size_t i = 0; i < json_object_array_length(rows); i++)
		add_line(sb, columns, widths, count, json_object_array_get_idx(rows, i));
}

void output_record(struct strbuf *sb, const struct column *columns, size_t count,
	struct json_object *row)
{
	size_t widest = 0;

	for (size_t i = 0; i < count; i++)
		if (text_width(columns[i].title) > widest)
			widest = text_width(columns[i].title);
	for (size_t i = 0; i < count; i++) {
		cleanup_strbuf struct strbuf field = STRBUF_INIT;

		add_field(&field, &columns[i], row);
		if (field.len == 0)
			continue;
		strbuf_addf(sb, "%s:", columns[i].title);
		add_spaces(sb, widest - text_width(columns[i].title) + 1);
		strbuf_addf(sb, "%s\n", strbuf_text(&field));
	}
}

void output_json(struct strbuf *sb, struct json_object *value)
{
	strbuf_addstr(sb, json_object_to_json_string_ext(value,
				  JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
					  JSON_C_TO_STRING_NOSLASHESCAPE));
	strbuf_addch(sb, '\n');
}
