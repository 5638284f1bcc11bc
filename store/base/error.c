/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *error_text(int errnum)
{
	const char *text = strerrordesc_np(errnum);

	return text ? text : "unknown error";
}

int error_set(struct error *err, int code, const char *format, ...)
{
	if (err) {
		va_list args;

		va_start(args, format);
		vsnprintf(err->message, sizeof err->message, format, args);
		va_end(args);
		err->code = code;
	}
	return code;
}

int error_errno(struct error *err, int errnum, const char *format, ...)
{
	if (err) {
		va_list args;
		size_t used;

		va_start(args, format);
		vsnprintf(err->message, sizeof err->message, format, args);
		va_end(args);
		used = strlen(err->message);
		snprintf(err->message + used, sizeof err->message - used, ": %s", error_text(errnum));
		err->code = -errnum;
	}
	return -errnum;
}

int error_prefix(struct error *err, int code, const char *format, ...)
{
	if (err) {
		char rest[ERROR_MESSAGE_MAX];
		va_list args;
		size_t used;

		memcpy(rest, err->message, sizeof rest);
		va_start(args, format);
		vsnprintf(err->message, sizeof err->message, format, args);
		va_end(args);
		used = strlen(err->message);
		snprintf(err->message + used, sizeof err->message - used, ": %s", rest);
		err->code = code;
	}
	return code;
}
