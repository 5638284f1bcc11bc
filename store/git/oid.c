/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "store/base/hash.h"
#include "store/git/internal.h"

void oid_to_hex(const struct oid *oid, char hex[OID_HEX_LENGTH + 1])
{
	hex_encode(oid->id, sizeof oid->id, hex);
}

const char *oid_hex(const struct oid *oid, char *hex)
{
	oid_to_hex(oid, hex);
	return hex;
}

int oid_from_hex(const char *hex, size_t len, struct oid *ret)
{
	struct oid oid;

	if (len != OID_HEX_LENGTH || hex_decode(hex, len, oid.id) < 0)
		return -EINVAL;
	*ret = oid;
	return 0;
}

bool oid_equal(const struct oid *a, const struct oid *b)
{
	return memcmp(a->id, b->id, sizeof a->id) == 0;
}

bool oid_is_zero(const struct oid *oid)
{
	static const struct oid zero;

	return oid_equal(oid, &zero);
}

git_oid oid_to_git(const struct oid *oid)
{
	git_oid git = { 0 };

	memcpy(git.id, oid->id, sizeof oid->id);
	return git;
}

struct oid oid_from_git(const git_oid *git)
{
	struct oid oid;

	memcpy(oid.id, git->id, sizeof oid.id);
	return oid;
}

static int failure_code(int rc, const git_error *last, int fallback)
{
	switch (rc) {
	case GIT_ENOTFOUND:
		return -ENOENT;
	case GIT_EEXISTS:
		return -EEXIST;
	case GIT_EAMBIGUOUS:
	case GIT_EINVALIDSPEC:
		return -EINVAL;
	case GIT_ELOCKED:
		return -EBUSY;
	case GIT_EMISMATCH:
		return -EBADMSG;
	}
	if (last && last->klass == GIT_ERROR_NOMEMORY)
		return -ENOMEM;
	if (last && last->klass == GIT_ERROR_OS)
		return -EIO;
	return fallback;
}

int git_failure(struct error *err, int rc, int fallback, const char *format, ...)
{
	const git_error *last = libgit2.error_last();
	char text[ERROR_MESSAGE_MAX / 2];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	return error_set(err, failure_code(rc, last, fallback), "%s: %s", text,
		last && last->message ? last->message : "unknown error of libgit2");
}

const char *text_show(const char *text, char shown[SHOWN_MAX])
{
	static const char ellipsis[] = "…";
	size_t used = 0;

	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (used + 4 + sizeof ellipsis > SHOWN_MAX) {
			memcpy(shown + used, ellipsis, sizeof ellipsis);
			return shown;
		}
		if (c < 0x20 || c == 0x7f)
			used += (size_t)snprintf(shown + used, SHOWN_MAX - used, "\\%03o", c);
		else
			shown[used++] = (char)c;
	}
	shown[used] = '\0';
	return shown;
}
