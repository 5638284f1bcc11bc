/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_BASE_ERROR_H
#define VENEER_BASE_ERROR_H

/*
 * Errors: a negative errno for the program, one complete sentence for the person.
 *
 * Error handling: a fallible function returns 0 or a negative errno; its last parameter is a
 * `struct error *` on the caller's stack, which may be NULL. On failure it holds a message, on
 * success it is untouched. On the way up context is put in front, never in place of what is there:
 *
 *     object 'ab12…': hash mismatch   →   apply 'a': object 'ab12…': hash mismatch
 *
 * Messages are lower case, without a full stop; paths and ids stand in 'ticks'.
 */

#define ERROR_MESSAGE_MAX 2048

struct error {
	int code; /* the negative errno that the failing function returned; 0: nothing failed */
	char message[ERROR_MESSAGE_MAX];
};

#define ERROR_INIT { 0, "" }

/* Store CODE (a negative errno) and the formatted message; returns CODE. */
int error_set(struct error *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The same for a failed system call: the text of ERRNUM (positive) is appended after ": ". Returns -ERRNUM. */
int error_errno(struct error *err, int errnum, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Put "context: " before the message that is there; returns CODE unchanged. */
int error_prefix(struct error *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The English text of a positive errno. Reads no locale files (see design: nothing under the mount). */
const char *error_text(int errnum);

#endif
