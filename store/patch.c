/* SPDX-License-Identifier: Apache-2.0 */
#include "store/patch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"
#include "store/patch_internal.h"

#define PATCHES_MAX 100000u /* refs below patches/ */

static void patch_release(struct patch *patch)
{
	free(patch->label);
	free(patch->base_version);
	free(patch->subject);
	free(patch->body);
	free(patch->author);
	string_list_free(patch->fixes);
	string_list_free(patch->supersedes);
	string_list_free(patch->restart);
	memset(patch, 0, sizeof *patch);
}

void patch_list_release(struct patch_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		patch_release(&list->patches[i]);
	free(list->patches);
	free(list->problem);
	*list = (struct patch_list)PATCH_LIST_INIT;
}

/* What names something else wherever a label or a commit is expected. */
static bool is_reserved(const char *label)
{
	static const char *const reserved[] = { "active", "base", "HEAD" };

	for (size_t i = 0; i < ARRAY_SIZE(reserved); i++)
		if (strcmp(label, reserved[i]) == 0)
			return true;
	return false;
}

int patch_check_label(const char *label, struct error *err)
{
	struct error ignored = ERROR_INIT;

	if (is_reserved(label))
		return error_set(err, -EINVAL, "'%s' cannot be a label: it names something else", label);
	/* git allows no ref that ends with a dot. */
	if (*label && label[strlen(label) - 1] == '.')
		return error_set(err, -EINVAL, "'%.80s' cannot be a label: '.' is not allowed at the end", label);
	if (component_check_name(label, &ignored) < 0 || strlen(label) > PATCH_LABEL_MAX)
		return error_set(err, -EINVAL,
			"'%.80s' cannot be a label: letters, digits, '.', '_', '-', '+', at most %d, the first a letter or digit",
			label, PATCH_LABEL_MAX);
	return 0;
}

/* ---- one patch ---- */

struct string_list {
	char **strings; /* owned, NULL-terminated */
	size_t count, alloc;
};

static void list_release(struct string_list *list)
{
	string_list_free(list->strings);
}

static int list_add(struct string_list *list, const char *text, size_t len)
{
	if (list->count + 1 >= list->alloc) {
		size_t alloc = list->alloc ? list->alloc * 2 : 4;
		char **strings = reallocarray(list->strings, alloc, sizeof *strings);

		if (!strings)
			return -ENOMEM;
		list->strings = strings;
		list->alloc = alloc;
		list->strings[list->count] = NULL;
	}
	if (!text)
		return 0;
	list->strings[list->count] = strndup(text, len);
	if (!list->strings[list->count])
		return -ENOMEM;
	list->strings[++list->count] = NULL;
	return 0;
}

/* One trailer may hold several values, with blanks or commas between them. */
static int list_add_values(struct string_list *list, const char *value)
{
	static const char separators[] = " \t,";

	for (const char *at = value + strspn(value, separators); *at; at += strspn(at, separators)) {
		size_t len = strcspn(at, separators);

		if (list->count == PATCH_VALUES_MAX)
			return -E2BIG;
		if (list_add(list, at, len) < 0)
			return -ENOMEM;
		at += len;
	}
	return 0;
}

/* All values of the trailer KEY. */
static int read_values(const char *message, const char *key, char ***ret, struct error *err)
{
	CLEANUP(list_release) struct string_list list = { NULL, 0, 0 };
	int r = list_add(&list, NULL, 0);
	struct trailer_walk walk;

	trailer_walk_begin(&walk, message);
	while (r == 0) {
		cleanup_free char *value = NULL;

		r = trailer_walk_next(&walk, key, &value);
		if (r == 0)
			break;
		if (r > 0)
			r = list_add_values(&list, value);
	}
	if (r == -E2BIG)
		return error_set(err, -EBADMSG, "more than %u values of the trailer '%s:'", PATCH_VALUES_MAX, key);
	if (r < 0)
		return error_set(err, r, "out of memory");
	*ret = TAKE_PTR(list.strings);
	return 0;
}

/* 0 where there is no number. */
static uint64_t read_sequence(const char *message)
{
	cleanup_free char *value = trailer_get(message, "Sequence", 0);
	uint64_t number = 0;

	for (const char *at = value ? value : ""; *at; at++) {
		if (*at < '0' || *at > '9' || number > (UINT64_MAX - 9) / 10)
			return 0;
		number = number * 10 + (uint64_t)(*at - '0');
	}
	return number;
}

/* Subject and body of what message_body() left. */
static int read_text(const char *message, struct patch *patch)
{
	cleanup_free char *text = message_body(message);
	const char *rest;

	if (!text)
		return -ENOMEM;
	rest = text + strcspn(text, "\n");
	patch->subject = strndup(text, (size_t)(rest - text));
	patch->body = strdup(rest + strspn(rest, "\n"));
	return patch->subject && patch->body ? 0 : -ENOMEM;
}

static int read_lists(const char *message, struct patch *patch, struct error *err)
{
	int r = read_values(message, "Fixes", &patch->fixes, err);

	if (r == 0)
		r = read_values(message, "Supersedes", &patch->supersedes, err);
	if (r == 0)
		r = read_values(message, "Restart", &patch->restart, err);
	return r;
}

static int read_facts(const struct commit *commit, struct patch *patch)
{
	cleanup_free char *reboot = trailer_get(commit->message, "Reboot", 0);
	int r = read_text(commit->message, patch);

	if (r < 0)
		return r;
	patch->base_version = trailer_get(commit->message, "Base-Version", 0);
	if (!patch->base_version)
		patch->base_version = strdup("");
	patch->author = strdup(commit->author ? commit->author : "");
	patch->sequence = read_sequence(commit->message);
	patch->reboot = reboot && strcmp(reboot, "yes") == 0;
	patch->time = commit->time;
	patch->tree = commit->tree;
	patch->parent = commit->parents[0];
	return patch->base_version && patch->author ? 0 : -ENOMEM;
}

/* What plain git has made says nothing of it. */
static int check_component(const struct commit *commit, const char *name, struct error *err)
{
	cleanup_free char *owner = trailer_get(commit->message, "Component", 0);

	if (!owner || strcmp(owner, name) == 0)
		return 0;
	return error_set(err, -EBADMSG, "its commit is of component '%.80s', not of '%s'", owner, name);
}

static int patch_read(struct repo *repo, const char *name, const char *label, const struct oid *oid, struct patch *ret,
	struct error *err)
{
	cleanup_commit struct commit commit = { 0 };
	int r = patch_check_label(label, err);

	if (r == 0)
		r = repo_commit_read(repo, oid, &commit, err);
	if (r < 0)
		return error_prefix(err, r == -ENOENT ? -EBADMSG : r, "patch '%.80s'", label);
	if (commit.parent_count == 0)
		return error_set(err, -EBADMSG, "patch '%s': its commit has no parent, so no base", label);
	if (strlen(commit.message) > PATCH_MESSAGE_MAX)
		return error_set(err, -EBADMSG, "patch '%s': its message is longer than %u bytes", label,
			PATCH_MESSAGE_MAX);
	r = check_component(&commit, name, err);
	if (r < 0)
		return error_prefix(err, r, "patch '%s'", label);
	ret->commit = *oid;
	ret->label = strdup(label);
	if (!ret->label || read_facts(&commit, ret) < 0)
		return error_set(err, -ENOMEM, "patch '%s': out of memory", label);
	r = read_lists(commit.message, ret, err);
	return r < 0 ? error_prefix(err, r, "patch '%s'", label) : 0;
}

/* Plain git says nothing of a label; who says one says the ref's. */
static int check_own_label(struct repo *repo, const struct oid *oid, const char *label, struct error *err)
{
	cleanup_commit struct commit commit = { 0 };
	cleanup_free char *own = NULL;
	int r = repo_commit_read(repo, oid, &commit, err);

	if (r < 0)
		return r;
	own = trailer_get(commit.message, "Label", 0);
	if (!own || strcmp(own, label) == 0)
		return 0;
	return error_set(err, -EBADMSG, "patch '%s': its commit says that its label is '%.80s'", label, own);
}

int patch_verify(struct store *store, const char *name, const char *label, const struct oid *oid, struct error *err)
{
	struct patch patch = { .label = NULL };
	int r = patch_read(store->repo, name, label, oid, &patch, err);

	patch_release(&patch);
	return r < 0 ? r : check_own_label(store->repo, oid, label, err);
}

/* ---- the list ---- */

struct loading {
	struct repo *repo;
	const char *component;
	struct patch_list *list;
	size_t alloc, prefix;
};

/* The last patch of the list could not be read. */
static int leave_out(struct patch_list *list, const struct error *problem)
{
	patch_release(&list->patches[--list->count]);
	list->broken++;
	if (!list->problem)
		list->problem = strdup(problem->message);
	return list->problem ? 0 : -ENOMEM;
}

static int load_one(void *arg, const char *name, const struct oid *oid, struct error *err)
{
	struct loading *loading = arg;
	struct patch_list *list = loading->list;
	struct error problem = ERROR_INIT;
	int r;

	if (list->count == PATCHES_MAX)
		return error_set(err, -E2BIG, "more than %u patches", PATCHES_MAX);
	if (list->count == loading->alloc) {
		size_t alloc = loading->alloc ? loading->alloc * 2 : 16;
		struct patch *patches = reallocarray(list->patches, alloc, sizeof *patches);

		if (!patches)
			return error_set(err, -ENOMEM, "out of memory");
		list->patches = patches;
		loading->alloc = alloc;
	}
	/* Counted before it is read: what is half read is released with the rest. */
	memset(&list->patches[list->count++], 0, sizeof *list->patches);
	r = patch_read(loading->repo, loading->component, name + loading->prefix, oid,
		&list->patches[list->count - 1], &problem);
	if (r < 0 && r != -ENOMEM)
		r = leave_out(list, &problem);
	return r < 0 ? error_set(err, r, "out of memory") : 0;
}

static int patch_order(const void *a, const void *b)
{
	const struct patch *x = a, *y = b;

	if (x->sequence != y->sequence)
		return x->sequence < y->sequence ? -1 : 1;
	if (x->time != y->time)
		return x->time < y->time ? -1 : 1;
	return strcmp(x->label, y->label);
}

int patch_list_load(struct store *store, const struct component *component, struct patch_list *ret,
	struct error *err)
{
	cleanup_patch_list struct patch_list list = PATCH_LIST_INIT;
	struct loading loading = { .repo = store->repo, .component = component->name, .list = &list };
	char prefix[REF_NAME_MAX];
	int r;

	component_ref(component->name, "patches/", prefix);
	loading.prefix = strlen(prefix);
	r = repo_refs_each(store->repo, prefix, load_one, &loading, err);
	if (r < 0)
		return error_prefix(err, r, "component '%s'", component->name);
	if (list.count > 1)
		qsort(list.patches, list.count, sizeof *list.patches, patch_order);
	*ret = list;
	list = (struct patch_list)PATCH_LIST_INIT;
	return 0;
}

const struct patch *patch_find(const struct patch_list *list, const char *label)
{
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->patches[i].label, label) == 0)
			return &list->patches[i];
	return NULL;
}

const struct patch *patch_find_commit(const struct patch_list *list, const struct oid *commit)
{
	for (size_t i = 0; i < list->count; i++)
		if (oid_equal(&list->patches[i].commit, commit))
			return &list->patches[i];
	return NULL;
}

/* ---- the next label ---- */

/* a is 1, z 26, aa 27, …; 0 for what is no label of that form, or a long one. */
static uint64_t label_ordinal(const char *label)
{
	uint64_t ordinal = 0;
	size_t len = strspn(label, "abcdefghijklmnopqrstuvwxyz");

	if (label[len] != '\0' || len > 6)
		return 0;
	for (; *label; label++)
		ordinal = ordinal * 26 + (uint64_t)(*label - 'a') + 1;
	return ordinal;
}

static void ordinal_label(uint64_t ordinal, char *label)
{
	char reversed[PATCH_LABEL_MAX];
	size_t len = 0;

	for (; ordinal > 0 && len < sizeof reversed; ordinal = (ordinal - 1) / 26)
		reversed[len++] = (char)('a' + (ordinal - 1) % 26);
	for (size_t i = 0; i < len; i++)
		label[i] = reversed[len - 1 - i];
	label[len] = '\0';
}

void patch_next_label(const struct patch_list *list, char *label)
{
	/* A word ("fix", "hotfix") has this form too; what is far ahead of the count was not counted. */
	const uint64_t limit = 26 + 4 * (uint64_t)list->count;
	uint64_t greatest = 0;

	for (size_t i = 0; i < list->count; i++) {
		uint64_t ordinal = label_ordinal(list->patches[i].label);

		if (ordinal > greatest && ordinal <= limit)
			greatest = ordinal;
	}
	do
		ordinal_label(++greatest, label);
	while (patch_find(list, label));
}

bool patch_is_superseded(const struct patch_list *list, const struct patch *patch)
{
	for (size_t i = 0; i < list->count; i++)
		for (char **label = list->patches[i].supersedes; *label; label++)
			if (strcmp(*label, patch->label) == 0 && &list->patches[i] != patch)
				return true;
	return false;
}
