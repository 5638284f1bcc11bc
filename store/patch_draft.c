/* SPDX-License-Identifier: Apache-2.0 */
/* Writing a patch down: its label, its message, its commit, its refs. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"
#include "store/journal.h"
#include "store/patch_internal.h"
#include "store/stack.h"

#define VALUE_MAX 255u /* bytes of a CVE id, a label, a unit's name */

void patch_draft_release(struct patch_draft *draft)
{
	patch_list_release(&draft->list);
	free(draft->message);
	draft->message = NULL;
}

/* ---- what is given ---- */

/* One word: it becomes (part of) the value of a trailer, and lists are split at blanks and commas. */
static int check_word(const char *what, const char *word, struct error *err)
{
	size_t len = strnlen(word, VALUE_MAX + 1);
	bool good = len > 0 && len <= VALUE_MAX;

	for (size_t i = 0; good && i < len; i++)
		good = (unsigned char)word[i] > ' ' && word[i] != ',' && word[i] != 0x7f;
	return good ? 0 : error_set(err, -EINVAL, "'%.80s' cannot be %s: one word of at most %u bytes is expected",
				  word, what, VALUE_MAX);
}

static int check_words(const char *what, const char *const *words, struct error *err)
{
	for (size_t i = 0; words && words[i]; i++) {
		int r = check_word(what, words[i], err);

		if (r == 0 && i == PATCH_VALUES_MAX)
			r = error_set(err, -E2BIG, "more than %u times %s", PATCH_VALUES_MAX, what);
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_spec(const struct patch_draft *draft, struct error *err)
{
	const struct patch_spec *spec = draft->spec;
	int r = check_words("something that a patch fixes", spec->fixes, err);

	if (r == 0)
		r = check_words("a unit to restart", spec->restart, err);
	for (const char *const *label = spec->supersedes; r == 0 && label && *label; label++) {
		if (!patch_find(&draft->list, *label))
			r = error_set(err, -ENOENT, "there is no patch '%.80s' that could be superseded", *label);
		else if (strcmp(*label, draft->label) == 0)
			r = error_set(err, -EINVAL, "patch '%s' cannot supersede itself", *label);
	}
	return r;
}

/* The trailer in MESSAGE that only we may write, or NULL. */
static const char *reserved_trailer(const char *message)
{
	static const char *const reserved[] = { "Kind", "Component", "Base-Version", "Directory", "Root",
		"Snapshot", "Label", "Labels", "Sequence", "Digest" };

	for (size_t i = 0; i < ARRAY_SIZE(reserved); i++) {
		cleanup_free char *value = trailer_get(message, reserved[i], 0);

		if (value)
			return reserved[i];
	}
	return NULL;
}

/* Does a line of TEXT say to git that a patch begins there, and the message, trailers and all, was before it? */
static bool has_divider(const char *text)
{
	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, "---", 3) == 0 && (line[3] == '\0' || strchr(" \t\n\v\f\r", line[3])))
			return true;
	}
	return false;
}

/* The words of MESSAGE or, where there is none, of the commit (an amended patch brings our trailers along: they go). */
static int draft_message(struct patch_draft *draft, const char *message, struct error *err)
{
	const char *given = draft->spec->message;
	const char *reserved = given ? reserved_trailer(given) : NULL;
	const char *text = given ? given : message ? message : "";
	size_t len;

	if (reserved)
		return error_set(err, -EINVAL, "the message has a trailer '%s:', which veneer writes itself",
			reserved);
	text += strspn(text, " \t\r\n");
	for (len = strlen(text); len > 0 && strchr(" \t\r\n", text[len - 1]);)
		len--;
	if (len == 0)
		return error_set(err, -EINVAL, "a patch needs a message: say in one line what it is for");
	if (len > PATCH_MESSAGE_MAX / 2)
		return error_set(err, -EINVAL, "the message is longer than %u bytes", PATCH_MESSAGE_MAX / 2);
	if (has_divider(text))
		return error_set(err, -EINVAL,
			"the message has a line '---', after which git reads no trailers: give one without it");
	draft->message = !given && reserved_trailer(text) ? message_body(text) : strndup(text, len);
	return draft->message ? 0 : error_set(err, -ENOMEM, "out of memory");
}

static int draft_label(struct patch_draft *draft, struct error *err)
{
	const char *label = draft->spec->label;
	int r;

	if (!label) {
		patch_next_label(&draft->list, draft->label);
		return 0;
	}
	r = patch_check_label(label, err);
	if (r < 0)
		return r;
	if (patch_find(&draft->list, label))
		return error_set(err, -EEXIST, "there is a patch '%s' already", label);
	snprintf(draft->label, sizeof draft->label, "%s", label);
	return 0;
}

int patch_draft_begin(struct store *store, const struct component *component, const struct patch_spec *spec,
	const char *message, struct patch_draft *ret, struct error *err)
{
	cleanup_patch_draft struct patch_draft draft = { .spec = spec, .sequence = 1 };
	int r = patch_list_load(store, component, &draft.list, err);

	if (r == 0)
		r = draft_label(&draft, err);
	if (r == 0)
		r = check_spec(&draft, err);
	if (r == 0)
		r = draft_message(&draft, message, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < draft.list.count; i++)
		if (draft.list.patches[i].sequence >= draft.sequence)
			draft.sequence = draft.list.patches[i].sequence + 1;
	if (draft.sequence == 0)
		return error_set(err, -EOVERFLOW, "component '%s' has no sequence number left", component->name);
	*ret = draft;
	draft = (struct patch_draft)PATCH_DRAFT_INIT;
	return 0;
}

/* ---- the commit ---- */

static void add_trailers(struct strbuf *message, const char *key, const char *const *values)
{
	for (; values && *values; values++)
		trailer_add(message, key, *values);
}

/* The draft's message with our trailers. */
static int whole_message(const struct component *component, const struct patch_draft *draft, struct strbuf *message,
	struct error *err)
{
	char sequence[24];

	snprintf(sequence, sizeof sequence, "%" PRIu64, draft->sequence);
	strbuf_addf(message, "%s\n", draft->message);
	trailer_add(message, "Component", component->name);
	if (*component->base_version)
		trailer_add(message, "Base-Version", component->base_version);
	trailer_add(message, "Label", draft->label);
	trailer_add(message, "Sequence", sequence);
	add_trailers(message, "Fixes", draft->spec->fixes);
	add_trailers(message, "Supersedes", draft->spec->supersedes);
	add_trailers(message, "Restart", draft->spec->restart);
	if (draft->spec->reboot)
		trailer_add(message, "Reboot", "yes");
	if (strbuf_failed(message))
		return error_set(err, -ENOMEM, "out of memory");
	if (message->len > PATCH_MESSAGE_MAX)
		return error_set(err, -E2BIG, "the message and its trailers are longer than %u bytes",
			PATCH_MESSAGE_MAX);
	return 0;
}

int patch_draft_write(struct store *store, const struct component *component, const struct patch_draft *draft,
	const struct commit_spec *commit, struct oid *ret, struct error *err)
{
	cleanup_strbuf struct strbuf message = STRBUF_INIT;
	struct commit_spec spec = *commit;
	int r = whole_message(component, draft, &message, err);

	if (r < 0)
		return r;
	spec.message = strbuf_text(&message);
	return repo_commit_write(store->repo, &spec, ret, err);
}

int patch_check_spec(struct store *store, const struct component *component, const struct patch_spec *spec,
	struct error *err)
{
	cleanup_patch_draft struct patch_draft draft = PATCH_DRAFT_INIT;
	cleanup_strbuf struct strbuf message = STRBUF_INIT;
	int r = patch_draft_begin(store, component, spec, NULL, &draft, err);

	return r < 0 ? r : whole_message(component, &draft, &message, err);
}

/* ---- the refs ---- */

int patch_draft_publish(struct store *store, struct component *component, const struct patch_draft *draft,
	const struct oid *commit, const struct oid *base, const struct oid *base_tree, struct error *err)
{
	const struct base_publication publication = { .base = base, .base_tree = base_tree, .action = "recomposed",
		.label = draft->label, .patch = commit };

	return base_publish(store, component, &draft->list, &publication, err);
}
