/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Trailers as git-interpret-trailers(1) sees them: the last paragraph, never the first one (the
 * subject), when all of its lines are "Key: value" or continue one by an indent, or when one of them
 * is of those that git itself writes and at most three quarters of the lines are something else.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "store/git/internal.h"

struct line {
	const char *text;
	size_t len; /* without its newline */
};

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_key_letter(char c)
{
	return c == '-' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* The line at *AT, before END; *AT moves behind it. False at the end. */
static bool line_next(const char **at, const char *end, struct line *ret)
{
	const char *newline;

	if (*at >= end)
		return false;
	newline = memchr(*at, '\n', (size_t)(end - *at));
	*ret = (struct line){ *at, (size_t)((newline ? newline : end) - *at) };
	*at = newline ? newline + 1 : end;
	return true;
}

static bool line_blank(const struct line *line)
{
	for (size_t i = 0; i < line->len; i++)
		if (!is_space(line->text[i]))
			return false;
	return true;
}

/* Letters, digits, dashes, then perhaps blanks, then a colon: the length of the key; 0 is no trailer. */
static size_t line_key(const struct line *line, size_t *ret_colon)
{
	size_t key = 0, colon;

	while (key < line->len && is_key_letter(line->text[key]))
		key++;
	for (colon = key; colon < line->len && (line->text[colon] == ' ' || line->text[colon] == '\t');)
		colon++;
	if (key == 0 || colon == line->len || line->text[colon] != ':')
		return 0;
	*ret_colon = colon;
	return key;
}

static bool line_is_gits_own(const struct line *line)
{
	static const char *const prefixes[] = { "Signed-off-by: ", "(cherry picked from commit " };

	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
		if (line->len >= strlen(prefixes[i]) &&
			memcmp(line->text, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	return false;
}

static bool paragraph_is_trailers(const char *at, const char *end)
{
	size_t trailers = 0, others = 0, colon;
	bool gits_own = false, in_trailer = false;
	struct line line;

	while (line_next(&at, end, &line)) {
		if (line.text[0] == '#') { /* a comment of the editor, which git will strip */
			in_trailer = false;
		} else if (line_is_gits_own(&line)) {
			gits_own = in_trailer = true;
			trailers++;
		} else if (is_space(line.text[0])) {
			others += !in_trailer;
		} else {
			in_trailer = line_key(&line, &colon) > 0;
			trailers += in_trailer;
			others += !in_trailer;
		}
	}
	return trailers > 0 && (others == 0 || (gits_own && trailers * 3 >= others));
}

/* Where the trailers begin; the end of the text (without blank lines behind it, *RET_END) where there are none. */
static const char *trailers_find(const char *message, const char **ret_end)
{
	const char *at = message, *end = message, *paragraph = NULL;
	const char *text_end = message + strlen(message);
	bool blank_before = false;
	struct line line;

	while (line_next(&at, text_end, &line)) {
		if (line_blank(&line)) {
			blank_before = true;
			continue;
		}
		if (blank_before)
			paragraph = line.text; /* so never the first one */
		blank_before = false;
		end = at;
	}
	*ret_end = end;
	return paragraph && paragraph_is_trailers(paragraph, end) ? paragraph : end;
}

static void add_trimmed(struct strbuf *sb, const char *text, size_t len)
{
	while (len > 0 && is_space(*text)) {
		text++;
		len--;
	}
	while (len > 0 && is_space(text[len - 1]))
		len--;
	strbuf_add(sb, text, len);
}

/* The value from behind the colon on, its continuation lines joined by one space. */
static char *value_read(const struct line *first, size_t colon, const char *at, const char *end)
{
	cleanup_strbuf struct strbuf value = STRBUF_INIT;
	struct line line;

	strbuf_addstr(&value, "");
	add_trimmed(&value, first->text + colon + 1, first->len - colon - 1);
	while (line_next(&at, end, &line) && line.len > 0 && is_space(line.text[0])) {
		strbuf_addch(&value, ' ');
		add_trimmed(&value, line.text, line.len);
	}
	return strbuf_detach(&value, NULL);
}

void trailer_walk_begin(struct trailer_walk *walk, const char *message)
{
	walk->at = trailers_find(message, &walk->end);
}

int trailer_walk_next(struct trailer_walk *walk, const char *key, char **ret)
{
	struct line line;

	while (line_next(&walk->at, walk->end, &line)) {
		size_t colon;
		size_t len = line_key(&line, &colon);

		if (len != strlen(key) || strncasecmp(line.text, key, len) != 0)
			continue;
		*ret = value_read(&line, colon, walk->at, walk->end);
		return *ret ? 1 : -ENOMEM;
	}
	return 0;
}

char *trailer_get(const char *message, const char *key, size_t n)
{
	struct trailer_walk walk;
	char *value = NULL;

	trailer_walk_begin(&walk, message);
	while (trailer_walk_next(&walk, key, &value) == 1) {
		if (n-- == 0)
			return value;
		free(value);
	}
	return NULL;
}

void trailer_add(struct strbuf *message, const char *key, const char *value)
{
	const char *text = strbuf_text(message), *end;
	bool first = trailers_find(text, &end) == end;

	strbuf_truncate(message, (size_t)(end - text));
	if (message->len > 0 && message->buf[message->len - 1] != '\n')
		strbuf_addch(message, '\n');
	if (first)
		strbuf_addch(message, '\n');
	strbuf_addf(message, "%s: ", key);
	for (; *value; value++)
		strbuf_addch(message, *value == '\n' || *value == '\r' ? ' ' : *value);
	strbuf_addch(message, '\n');
}

char *message_body(const char *message)
{
	const char *end;
	size_t len = (size_t)(trailers_find(message, &end) - message);

	while (len > 0 && is_space(message[len - 1]))
		len--;
	return strndup(message, len);
}
