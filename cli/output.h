/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_CLI_OUTPUT_H
#define VENEER_CLI_OUTPUT_H

/*
 * One row, two printers. A command fills rows with typed fields under their JSON keys; columns say
 * which of them a person sees, under what title and in what form. `--json` prints the rows whole: raw
 * numbers, full ids, ISO 8601 UTC times. (The idea is btrfs-progs' format-output.)
 *
 * Rows are json_objects owned by the caller; CLEANUP_ROW releases one.
 */

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/base/strbuf.h"
#include "store/git/repo.h"

enum column_format {
	COLUMN_TEXT,	 /* text, numbers; a list is joined by ", "; an object is its counters: "open 12, read 3" */
	COLUMN_ID,	 /* the first 12 digits */
	COLUMN_FLAG,	 /* "yes", "no" */
	COLUMN_BYTES,	 /* "1.5 MiB" */
	COLUMN_DURATION, /* nanoseconds: "4.2 ms" */
	COLUMN_COUNT,	 /* how many a list has, or a number with separators */
};

struct column {
	const char *key;   /* in the row */
	const char *title; /* for people */
	enum column_format format;
};

static inline void row_putp(struct json_object **row)
{
	json_object_put(*row); /* NULL is fine */
}
#define CLEANUP_ROW __attribute__((cleanup(row_putp)))

/* ---- filling a row; each replaces what was at KEY ---- */

void row_text(struct json_object *row, const char *key, const char *text); /* NULL: null */
void row_number(struct json_object *row, const char *key, int64_t number);
void row_flag(struct json_object *row, const char *key, bool flag);
void row_oid(struct json_object *row, const char *key, const struct oid *oid); /* zero or NULL: null */
void row_time(struct json_object *row, const char *key, int64_t seconds, int microseconds);
void row_list(struct json_object *row, const char *key, const char *const *list); /* NULL-terminated, or NULL: [] */
void row_object(struct json_object *row, const char *key, struct json_object *object); /* takes OBJECT */
/* Append text to an array. */
void array_text(struct json_object *array, const char *text);

/* ---- printing ---- */

/* A table with a line of titles; ROWS is an array. Columns that are empty in every row are left out. */
void output_table(struct strbuf *sb, const struct column *columns, size_t count,
	struct json_object *rows);
/* "title: value" lines; fields that are null or empty are left out. */
void output_record(struct strbuf *sb, const struct column *columns, size_t count,
	struct json_object *row);
void output_json(struct strbuf *sb, struct json_object *value);

#endif
