/* SPDX-License-Identifier: Apache-2.0 */
#include "store/component.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/path.h"
#include "store/baseline.h"
#include "store/journal.h"

#define REF_PREFIX "refs/veneer/"
#define LEAF_BASE "base"
#define LEAF_ACTIVE "active"

/* ---- names ---- */

static bool is_alphanumeric(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static const char *name_problem(const char *name)
{
	size_t len = strnlen(name, COMPONENT_NAME_MAX + 1);

	if (len == 0)
		return "it is empty";
	if (len > COMPONENT_NAME_MAX)
		return "it is longer than 64 bytes";
	if (!is_alphanumeric(name[0]))
		return "it does not begin with a letter or digit";
	for (size_t i = 0; i < len; i++)
		if (!is_alphanumeric(name[i]) && !strchr("._-+", name[i]))
			return "only letters, digits, '.', '_', '-' and '+' are allowed";
	/* git allows neither in a ref. */
	if (strstr(name, ".."))
		return "'..' is not allowed";
	if (len >= 5 && strcmp(name + len - 5, ".lock") == 0)
		return "'.lock' is not allowed at the end";
	return NULL;
}

int component_check_name(const char *name, struct error *err)
{
	const char *problem = name_problem(name);

	/* %.80s: a wrong name may be anything. */
	return problem ? error_set(err, -EINVAL, "'%.80s' cannot be a component's name: %s", name, problem) : 0;
}

void component_ref(const char *name, const char *leaf, char ref[REF_NAME_MAX])
{
	snprintf(ref, REF_NAME_MAX, REF_PREFIX "%s/%s", name, leaf);
}

void string_list_free(char **list)
{
	if (!list)
		return;
	for (size_t i = 0; list[i]; i++)
		free(list[i]);
	free(list);
}

struct name_list {
	char **names; /* owned, NULL-terminated */
	size_t count, alloc;
};

static int collect_name(void *arg, const char *ref, const struct oid *oid, struct error *err)
{
	struct name_list *list = arg;
	const char *name = ref + strlen(REF_PREFIX), *slash = strchr(name, '/');
	cleanup_free char *copy = NULL;

	if (!slash || strcmp(slash + 1, LEAF_BASE) != 0)
		return 0;
	copy = strndup(name, (size_t)(slash - name));
	if (!copy)
		return error_errno(err, ENOMEM, "list the components");
	if (name_problem(copy))
		return 0; /* not made by us */
	if (list->count + 2 > list->alloc) {
		size_t alloc = list->alloc ? list->alloc * 2 : 16;
		char **names = reallocarray(list->names, alloc, sizeof *names);

		if (!names)
			return error_errno(err, ENOMEM, "list the components");
		list->names = names;
		list->alloc = alloc;
	}
	list->names[list->count++] = TAKE_PTR(copy);
	list->names[list->count] = NULL;
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int component_list(struct store *store, char ***ret, size_t *ret_count, struct error *err)
{
	CLEANUP(string_list_freep) char **names = NULL;
	struct name_list list = { calloc(1, sizeof(char *)), 0, 1 };
	int r;

	if (!list.names)
		return error_errno(err, ENOMEM, "list the components");
	r = repo_refs_each(store->repo, REF_PREFIX, collect_name, &list, err);
	names = list.names;
	if (r < 0)
		return r;
	/* Refs come in the order of "a-b/base", "a/base". */
	qsort(names, list.count, sizeof *names, compare_names);
	*ret = TAKE_PTR(names);
	*ret_count = list.count;
	return 0;
}

/* ---- load ---- */

void component_free(struct component *component)
{
	if (!component)
		return;
	free(component->name);
	free(component->directory);
	free(component->root);
	free(component->base_version);
	free(component);
}

/* What a trailer's one line can carry and a person can read: no control characters, no blank at either end. */
static bool is_plain_text(const char *text)
{
	size_t len = strlen(text);

	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			return false;
	return len == 0 || (text[0] != ' ' && text[len - 1] != ' ');
}

static int unknown_component(struct store *store, const char *name, struct error *err)
{
	CLEANUP(string_list_freep) char **names = NULL;
	cleanup_strbuf struct strbuf all = STRBUF_INIT;
	size_t count;
	int r = component_list(store, &names, &count, err);

	if (r < 0)
		return r;
	if (count == 0)
		return error_set(err, -ENOENT,
			"there is no component '%s', nor any other: declare one with 'veneer add NAME DIR'", name);
	for (size_t i = 0; i < count; i++)
		strbuf_addf(&all, "%s%s", i ? ", " : "", names[i]);
	return error_set(err, -ENOENT, "there is no component '%s'; there are: %s", name, strbuf_text(&all));
}

static int parse_snapshot(const char *text, enum snapshot_kind *ret)
{
	if (text && strcmp(text, "touched") == 0)
		*ret = SNAPSHOT_TOUCHED;
	else if (text && strcmp(text, "full") == 0)
		*ret = SNAPSHOT_FULL;
	else
		return -EINVAL;
	return 0;
}

static bool is_absolute(const char *path)
{
	return path && path[0] == '/' && is_plain_text(path) && strnlen(path, PATH_MAX) < PATH_MAX;
}

/* The facts in the message of the base commit at component->base. */
static int parse_base(const struct commit *commit, struct component *component, struct error *err)
{
	cleanup_free char *name = trailer_get(commit->message, "Component", 0);
	cleanup_free char *snapshot = trailer_get(commit->message, "Snapshot", 0);
	char id[OID_HEX_LENGTH + 1];

	oid_to_hex(&commit->id, id);
	component->directory = trailer_get(commit->message, "Directory", 0);
	component->root = trailer_get(commit->message, "Root", 0);
	component->base_version = trailer_get(commit->message, "Base-Version", 0);
	if (!component->base_version)
		component->base_version = strdup("");
	if (!component->base_version)
		return error_errno(err, ENOMEM, "base commit '%s'", id);
	if (!commit_is_base(commit))
		return error_set(err, -EBADMSG, "commit '%s' is no base: it lacks the trailer 'Kind: base'", id);
	if (!name || strcmp(name, component->name) != 0)
		return error_set(err, -EBADMSG, "base commit '%s': 'Component' is not '%s'", id, component->name);
	if (!is_absolute(component->directory))
		return error_set(err, -EBADMSG, "base commit '%s': 'Directory' is no absolute path", id);
	if (!is_absolute(component->root))
		return error_set(err, -EBADMSG, "base commit '%s': 'Root' is no absolute path", id);
	if (parse_snapshot(snapshot, &component->snapshot) < 0)
		return error_set(err, -EBADMSG, "base commit '%s': 'Snapshot' is neither touched nor full", id);
	component->base_tree = commit->tree;
	return 0;
}

int component_load(struct store *store, const char *name, struct component **ret, struct error *err)
{
	cleanup_component struct component *component = NULL;
	cleanup_commit struct commit commit = { 0 };
	char ref[REF_NAME_MAX];
	int r = component_check_name(name, err);

	if (r < 0)
		return r;
	component = calloc(1, sizeof *component);
	if (!component || !(component->name = strdup(name)))
		return error_errno(err, ENOMEM, "component '%s'", name);
	component_ref(name, LEAF_BASE, ref);
	r = repo_ref_read(store->repo, ref, &component->base, err);
	if (r == -ENOENT)
		return unknown_component(store, name, err);
	if (r == 0)
		r = repo_commit_read(store->repo, &component->base, &commit, err);
	if (r == 0)
		r = parse_base(&commit, component, err);
	component_ref(name, LEAF_ACTIVE, ref);
	if (r == 0)
		r = repo_ref_read(store->repo, ref, &component->active, err);
	/* -ENOENT means "no such component" to our callers; a store that lost a commit or ref is broken. */
	if (r < 0)
		return error_prefix(err, r == -ENOENT ? -EBADMSG : r, "component '%s'", name);
	*ret = TAKE_PTR(component);
	return 0;
}

/* ---- bases ---- */

bool commit_is_base(const struct commit *commit)
{
	cleanup_free char *kind = trailer_get(commit->message, "Kind", 0);

	return kind && strcmp(kind, "base") == 0;
}

int component_owns_base(struct store *store, const struct component *component, const struct oid *base,
	bool *ret, struct error *err)
{
	struct oid at = component->base;

	for (unsigned i = 0; !oid_equal(&at, base); i++) {
		cleanup_commit struct commit commit = { 0 };
		int r = repo_commit_read(store->repo, &at, &commit, err);

		if (r < 0)
			return error_prefix(err, r, "base of '%s'", component->name);
		if (i == BASE_CHAIN_MAX || commit.parent_count == 0 || !commit_is_base(&commit)) {
			*ret = false;
			return 0;
		}
		at = commit.parents[0];
	}
	*ret = true;
	return 0;
}

int commit_find_base(struct store *store, const struct oid *commit, struct oid *ret_base,
	struct oid *ret_base_tree, struct error *err)
{
	struct oid at = *commit;
	char hex[OID_HEX_LENGTH + 1];
	uint64_t bytes = 0;

	oid_to_hex(commit, hex);
	for (unsigned i = 0; i < BASE_SEARCH_MAX; i++) {
		cleanup_commit struct commit found = { 0 };
		int r = repo_commit_read(store->repo, &at, &found, err);

		if (r < 0)
			return error_prefix(err, r, "look for the base of commit '%s'", hex);
		if (commit_is_base(&found)) {
			*ret_base = at;
			*ret_base_tree = found.tree;
			return 0;
		}
		if (found.parent_count == 0)
			return error_set(err, -EBADMSG, "commit '%s' stands on no base of a component", hex);
		bytes += found.size;
		if (bytes > BASE_SEARCH_BYTES)
			return error_set(err, -EBADMSG,
				"commit '%s' has no base among its nearest first parents, which are larger than %u bytes",
				hex, BASE_SEARCH_BYTES);
		at = found.parents[0];
	}
	return error_set(err, -EBADMSG, "commit '%s' has no base among its nearest %u first parents", hex,
		BASE_SEARCH_MAX);
}

int component_write_base(struct store *store, const struct component *component, const struct oid *tree,
	const struct oid *parent, int64_t time, struct oid *ret, struct error *err)
{
	cleanup_strbuf struct strbuf message = STRBUF_INIT;
	struct commit_spec spec = { .tree = *tree, .parents = parent, .parent_count = parent ? 1 : 0, .time = time };

	strbuf_addf(&message, "base: %s%s%s\n", component->name, *component->base_version ? " " : "",
		component->base_version);
	trailer_add(&message, "Kind", "base");
	trailer_add(&message, "Component", component->name);
	if (*component->base_version)
		trailer_add(&message, "Base-Version", component->base_version);
	trailer_add(&message, "Directory", component->directory);
	trailer_add(&message, "Root", component->root);
	trailer_add(&message, "Snapshot", component->snapshot == SNAPSHOT_FULL ? "full" : "touched");
	if (strbuf_failed(&message))
		return error_errno(err, ENOMEM, "base of component '%s'", component->name);
	spec.message = strbuf_text(&message);
	return repo_commit_write(store->repo, &spec, ret, err);
}

/* ---- add ---- */

/* realpath(3), and an fd of the directory there. */
static int resolve_directory(const char *path, const char *what, char **ret, int *ret_fd, struct error *err)
{
	cleanup_free char *canonical = realpath(path, NULL);
	cleanup_close int fd = -EBADF;

	if (!canonical)
		return error_errno(err, errno, "%s '%s'", what, path);
	fd = open(canonical, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return error_errno(err, errno, "%s '%s'", what, path);
	if (!is_plain_text(canonical))
		return error_set(err, -EINVAL, "%s '%s': control characters or a blank at the end", what, path);
	*ret = TAKE_PTR(canonical);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int check_place(const struct store *store, const struct component *component, struct error *err)
{
	const char *directory = component->directory;

	if (strcmp(directory, "/") == 0)
		return error_set(err, -EINVAL, "'/' cannot be a component's directory: name one below it");
	if (!path_is_beneath(directory, component->root))
		return error_set(err, -EINVAL, "the directory '%s' does not lie beneath the root '%s'", directory,
			component->root);
	if (path_is_beneath(store->path, directory))
		return error_set(err, -EINVAL,
			"the store '%s' lies inside the component's directory '%s': move the store out of it",
			store->path, directory);
	if (path_is_beneath(directory, store->path))
		return error_set(err, -EINVAL, "the component's directory '%s' lies inside the store '%s'",
			directory, store->path);
	return 0;
}

/* Is the name or the directory another's already? */
static int check_unique(struct store *store, const struct component *component, struct error *err)
{
	CLEANUP(string_list_freep) char **names = NULL;
	size_t count;
	int r = component_list(store, &names, &count, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < count; i++) {
		cleanup_component struct component *other = NULL;

		if (strcmp(names[i], component->name) == 0)
			return error_set(err, -EEXIST, "there is a component '%s' already", component->name);
		r = component_load(store, names[i], &other, err);
		if (r < 0)
			return r;
		if (strcmp(other->directory, component->directory) == 0)
			return error_set(err, -EEXIST, "the directory '%s' is that of component '%s' already",
				component->directory, other->name);
	}
	return 0;
}

/* Everything that SPEC says, checked; *RET_FD is the directory. */
static int component_from_spec(struct store *store, const struct component_spec *spec, struct component **ret,
	int *ret_fd, struct error *err)
{
	cleanup_component struct component *component = calloc(1, sizeof *component);
	const char *version = spec->base_version ? spec->base_version : "";
	cleanup_close int fd = -EBADF, rootfd = -EBADF;
	int r = component_check_name(spec->name, err);

	if (r < 0)
		return r;
	if (!component || !(component->name = strdup(spec->name)) || !(component->base_version = strdup(version)))
		return error_errno(err, ENOMEM, "component '%s'", spec->name);
	if (!is_plain_text(version) || strlen(version) > COMPONENT_VERSION_MAX)
		return error_set(err, -EINVAL,
			"the base version: control characters, blanks around it, or more than %d bytes",
			COMPONENT_VERSION_MAX);
	component->snapshot = spec->snapshot;
	r = resolve_directory(spec->root ? spec->root : "/", "the root", &component->root, &rootfd, err);
	if (r == 0)
		r = resolve_directory(spec->directory, "the directory", &component->directory, &fd, err);
	if (r == 0)
		r = check_place(store, component, err);
	if (r == 0)
		r = check_unique(store, component, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(component);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int component_add_check(struct store *store, const struct component_spec *spec, struct error *err)
{
	cleanup_component struct component *component = NULL;
	cleanup_close int fd = -EBADF;

	return component_from_spec(store, spec, &component, &fd, err);
}

/* The base tree and commit, on disk when this returns. */
static int write_first_base(struct store *store, const struct component *component, int basefd,
	progress_fn progress, void *arg, struct oid *ret, struct error *err)
{
	struct oid tree, commit;
	int r = repo_batch_begin(store->repo, err);

	if (r < 0)
		return r;
	if (component->snapshot == SNAPSHOT_FULL)
		r = baseline_full(store, basefd, progress, arg, &tree, err);
	else
		r = repo_tree_empty(store->repo, &tree, err);
	if (r == 0)
		r = component_write_base(store, component, &tree, NULL, (int64_t)time(NULL), &commit, err);
	if (r == 0)
		r = repo_batch_commit(store->repo, err);
	if (r < 0) {
		repo_batch_abort(store->repo);
		return r;
	}
	*ret = commit;
	return 0;
}

int component_add(struct store *store, const struct component_spec *spec, progress_fn progress, void *arg,
	struct error *err)
{
	cleanup_component struct component *component = NULL;
	char active[REF_NAME_MAX], base[REF_NAME_MAX];
	struct journal_entry entry = { .action = (char *)"added" };
	struct journal_draft journal;
	struct ref_update updates[3];
	cleanup_close int basefd = -EBADF;
	struct oid commit = { { 0 } };
	int r = component_from_spec(store, spec, &component, &basefd, err);

	if (r == 0)
		r = write_first_base(store, component, basefd, progress, arg, &commit, err);
	entry.to = commit;
	if (r == 0)
		r = journal_prepare(store, component->name, &entry, &journal, err);
	if (r < 0)
		return r;
	/* An active ref without a base is what a crash left behind: overwritten. */
	component_ref(component->name, LEAF_ACTIVE, active);
	component_ref(component->name, LEAF_BASE, base);
	updates[0] = (struct ref_update){ .name = active, .new_oid = commit };
	updates[1] = (struct ref_update){ .name = base, .new_oid = commit, .check = true };
	updates[2] = journal.update;
	r = repo_refs_update(store->repo, updates, 3, err);
	return r < 0 ? error_prefix(err, r, "component '%s'", component->name) : 0;
}
