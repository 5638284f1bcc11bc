/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"

struct parser {
	struct options *options;
	const struct option_spec *const *tables;
	int argc;
	char *const *argv;
	int at; /* the word that is looked at */
	struct error *err;
};

void options_release(struct options *options)
{
	free(options->values);
	free(options->arguments);
	free(options->rest);
	*options = (struct options)OPTIONS_INIT;
}

static int words_add(const char ***words, size_t *count, const char *word, struct error *err)
{
	const char **grown = reallocarray(*words, *count + 2, sizeof *grown);

	if (!grown)
		return error_errno(err, ENOMEM, "command line");
	grown[(*count)++] = word;
	grown[*count] = NULL;
	*words = grown;
	return 0;
}

static const struct option_spec *find_long(const struct parser *parser, const char *name, size_t len)
{
	for (const struct option_spec *const *table = parser->tables; *table; table++)
		for (const struct option_spec *spec = *table; spec->name; spec++)
			if (strlen(spec->name) == len && memcmp(spec->name, name, len) == 0)
				return spec;
	return NULL;
}

static const struct option_spec *find_letter(const struct parser *parser, char letter)
{
	for (const struct option_spec *const *table = parser->tables; *table; table++)
		for (const struct option_spec *spec = *table; spec->name; spec++)
			if (spec->letter == letter)
				return spec;
	return NULL;
}

static bool choice_allowed(const char *choices, const char *value)
{
	size_t len = strlen(value);

	while (len > 0 && *choices) {
		size_t width = strcspn(choices, "|");

		if (width == len && memcmp(choices, value, len) == 0)
			return true;
		choices += width + (choices[width] == '|');
	}
	return false;
}

/* SHOWN is the option as the person wrote it. */
static int value_add(struct parser *parser, const struct option_spec *spec, const char *shown,
	const char *value)
{
	struct options *options = parser->options;
	struct option_value *grown;

	if (value && (spec->flags & OPTION_CHOICE) && !choice_allowed(spec->argument, value))
		return error_set(parser->err, -EINVAL, "%s: '%.100s' is none of %s", shown, value,
			spec->argument);
	if (value && !(spec->flags & (OPTION_REPEATS | OPTION_MANY)) && options_has(options, spec->name))
		return error_set(parser->err, -EINVAL, "%s is given twice", shown);
	grown = reallocarray(options->values, options->value_count + 1, sizeof *grown);
	if (!grown)
		return error_errno(parser->err, ENOMEM, "command line");
	options->values = grown;
	grown[options->value_count++] = (struct option_value){ spec, value };
	return 0;
}

/* The value is the next word, or with OPTION_MANY all up to the next option. */
static int values_follow(struct parser *parser, const struct option_spec *spec, const char *shown)
{
	int r;

	if (parser->at + 1 >= parser->argc)
		return error_set(parser->err, -EINVAL, "%s needs a value: %s", shown, spec->argument);
	r = value_add(parser, spec, shown, parser->argv[++parser->at]);
	while (r == 0 && (spec->flags & OPTION_MANY) && parser->at + 1 < parser->argc &&
		parser->argv[parser->at + 1][0] != '-')
		r = value_add(parser, spec, shown, parser->argv[++parser->at]);
	return r;
}

static int parse_long(struct parser *parser, const char *word)
{
	size_t len = strcspn(word + 2, "=");
	const struct option_spec *spec = find_long(parser, word + 2, len);
	const char *value = word[2 + len] == '=' ? word + 2 + len + 1 : NULL;
	char shown[64];

	if (!spec)
		return error_set(parser->err, -EINVAL, "unknown option '%.*s'", (int)(len + 2), word);
	snprintf(shown, sizeof shown, "--%s", spec->name);
	if (!spec->argument && value)
		return error_set(parser->err, -EINVAL, "%s takes no value", shown);
	if (spec->argument && !value)
		return values_follow(parser, spec, shown);
	return value_add(parser, spec, shown, value);
}

static int parse_letters(struct parser *parser, const char *word)
{
	for (const char *at = word + 1; *at; at++) {
		const struct option_spec *spec = find_letter(parser, *at);
		char shown[] = { '-', *at, '\0' };
		int r;

		if (!spec)
			return error_set(parser->err, -EINVAL, "unknown option '-%c' in '%.100s'", *at, word);
		if (spec->argument && at[1])
			return value_add(parser, spec, shown, at + 1);
		r = spec->argument ? values_follow(parser, spec, shown) :
				     value_add(parser, spec, shown, NULL);
		if (r < 0 || spec->argument)
			return r;
	}
	return 0;
}

static int parse_rest(struct parser *parser, enum options_mode mode)
{
	struct options *options = parser->options;
	int r = 0;

	while (r == 0 && ++parser->at < parser->argc) {
		const char *word = parser->argv[parser->at];

		r = mode == OPTIONS_KEEP_REST ?
			words_add(&options->rest, &options->rest_count, word, parser->err) :
			words_add(&options->arguments, &options->argument_count, word, parser->err);
	}
	return r;
}

int options_parse(struct options *options, const struct option_spec *const *tables,
	enum options_mode mode, int argc, char *const *argv, int *ret_used, struct error *err)
{
	struct parser parser = { options, tables, argc, argv, 0, err };
	int r = 0;

	for (; r == 0 && parser.at < argc; parser.at++) {
		const char *word = argv[parser.at];

		if (word[0] != '-' || word[1] == '\0') {
			if (mode == OPTIONS_UNTIL_WORD)
				break;
			r = words_add(&options->arguments, &options->argument_count, word, err);
		} else if (word[1] != '-') {
			r = parse_letters(&parser, word);
		} else if (word[2] != '\0') {
			r = parse_long(&parser, word);
		} else if (mode == OPTIONS_UNTIL_WORD) {
			return error_set(err, -EINVAL, "'--' stands where the command should be named");
		} else {
			r = parse_rest(&parser, mode);
			break;
		}
	}
	if (r < 0)
		return r;
	if (ret_used)
		*ret_used = parser.at;
	return 0;
}

bool options_has(const struct options *options, const char *name)
{
	for (size_t i = 0; i < options->value_count; i++)
		if (strcmp(options->values[i].spec->name, name) == 0)
			return true;
	return false;
}

const char *options_get(const struct options *options, const char *name)
{
	for (size_t i = options->value_count; i-- > 0;)
		if (strcmp(options->values[i].spec->name, name) == 0)
			return options->values[i].value;
	return NULL;
}

const char **options_all(const struct options *options, const char *name, size_t *ret_count)
{
	const char **all = calloc(options->value_count + 1, sizeof *all);
	size_t count = 0;

	if (!all)
		return NULL;
	for (size_t i = 0; i < options->value_count; i++)
		if (strcmp(options->values[i].spec->name, name) == 0)
			all[count++] = options->values[i].value;
	if (ret_count)
		*ret_count = count;
	return all;
}
