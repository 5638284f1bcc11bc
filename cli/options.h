/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_CLI_OPTIONS_H
#define VENEER_CLI_OPTIONS_H

/*
 * Command lines, parsed by tables: small and strict. `--name VALUE`, `--name=VALUE`, `-x VALUE`,
 * `-xVALUE`, flags in clusters (`-qv`), `--` ends the options. Nothing is abbreviated and nothing is
 * guessed: whatever the tables do not say is an error, -EINVAL, with a sentence for the person.
 */

#include <stdbool.h>
#include <stddef.h>

#include "store/base/error.h"

enum option_flags {
	OPTION_REPEATS = 1 << 0, /* may be given several times */
	OPTION_MANY = 1 << 1,	 /* takes every following word up to the next option (implies REPEATS) */
	OPTION_CHOICE = 1 << 2,	 /* ARGUMENT lists what is allowed: "auto|cached|passthrough" */
};

/* A table ends with an entry whose name is NULL. */
struct option_spec {
	const char *name;     /* long, without dashes */
	char letter;	      /* short; 0: none */
	const char *argument; /* "DIR"; NULL: a flag */
	const char *help;     /* one sentence */
	unsigned flags;	      /* enum option_flags */
};

/* Where options stop, and what becomes of the words behind `--`. */
enum options_mode {
	OPTIONS_UNTIL_WORD, /* stop at the first word that is no option */
	OPTIONS_WHOLE,	    /* words behind `--` are arguments like the others */
	OPTIONS_KEEP_REST,  /* words behind `--` are kept apart, in REST */
};

struct option_value {
	const struct option_spec *spec;
	const char *value; /* borrowed from argv; NULL for a flag */
};

/* All text is borrowed from argv. */
struct options {
	struct option_value *values; /* owned, in the order given */
	size_t value_count;
	const char **arguments; /* owned, NULL-terminated after a parse */
	size_t argument_count;
	const char **rest; /* owned; behind `--`, with OPTIONS_KEEP_REST */
	size_t rest_count;
};
#define OPTIONS_INIT { NULL, 0, NULL, 0, NULL, 0 }
void options_release(struct options *options);
#define cleanup_options __attribute__((cleanup(options_release)))

/*
 * Parse ARGV[0…ARGC) by TABLES (NULL-terminated) and add what is found to OPTIONS, which may hold the
 * yield of an earlier parse. *RET_USED (may be NULL): words consumed; less than ARGC only with
 * OPTIONS_UNTIL_WORD.
 */
int options_parse(struct options *options, const struct option_spec *const *tables,
	enum options_mode mode, int argc, char *const *argv, int *ret_used, struct error *err);

bool options_has(const struct options *options, const char *name);
/* The value of the option; NULL where it was not given. */
const char *options_get(const struct options *options, const char *name);
/* All values in order, NULL-terminated; the caller frees the array, not the text. NULL: out of memory. */
const char **options_all(const struct options *options, const char *name, size_t *ret_count);

#endif
