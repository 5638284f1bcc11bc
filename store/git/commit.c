/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <string.h>

#include "store/git/internal.h"

/* Headers beside the parents: author, committer, signature. */
#define COMMIT_HEADERS_MAX (1u << 18)
#define COMMIT_BYTES_MAX (COMMIT_MESSAGE_MAX + COMMIT_HEADERS_MAX + COMMIT_PARENTS_MAX * 48u)

void commit_release(struct commit *commit)
{
	free(commit->parents);
	free(commit->message);
	free(commit->author);
	*commit = (struct commit){ .parent_count = 0 };
}

static int commit_fill(const git_commit *git, struct commit *commit, struct error *err)
{
	const git_signature *author = libgit2.commit_author(git);

	if (strlen(libgit2.commit_message(git)) > COMMIT_MESSAGE_MAX)
		return error_set(err, -EBADMSG, "commit '%s': message longer than %u bytes",
			OID_HEX(&commit->id), COMMIT_MESSAGE_MAX);
	commit->tree = oid_from_git(libgit2.commit_tree_id(git));
	commit->parents = calloc(commit->parent_count + 1, sizeof *commit->parents);
	commit->message = strdup(libgit2.commit_message(git));
	if (asprintf(&commit->author, "%s <%s>", author->name, author->email) < 0)
		commit->author = NULL;
	if (!commit->parents || !commit->message || !commit->author)
		return error_errno(err, ENOMEM, "commit '%s'", OID_HEX(&commit->id));
	for (size_t i = 0; i < commit->parent_count; i++)
		commit->parents[i] = oid_from_git(libgit2.commit_parent_id(git, (unsigned)i));
	commit->time = libgit2.commit_time(git);
	commit->offset_minutes = libgit2.commit_time_offset(git);
	return 0;
}

int repo_commit_read(struct repo *repo, const struct oid *oid, struct commit *ret, struct error *err)
{
	cleanup_commit struct commit commit = { .id = *oid };
	CLEANUP(git_commit_freep) git_commit *git = NULL;
	git_oid id = oid_to_git(oid);
	uint64_t size;
	int rc;

	rc = object_header(repo, oid, GIT_OBJECT_COMMIT, &size, err);
	if (rc < 0)
		return rc;
	if (size > COMMIT_BYTES_MAX)
		return error_set(err, -EBADMSG, "commit '%s' has %llu bytes, more than the %u allowed",
			OID_HEX(oid), (unsigned long long)size, COMMIT_BYTES_MAX);
	rc = libgit2.commit_lookup(&git, repo->git, &id);
	if (rc < 0)
		return git_failure(err, rc, -EBADMSG, "commit '%s'", OID_HEX(oid));
	commit.size = size;
	commit.parent_count = libgit2.commit_parentcount(git);
	if (commit.parent_count > COMMIT_PARENTS_MAX)
		return error_set(err, -EBADMSG, "commit '%s' has %zu parents, more than the %u allowed",
			OID_HEX(oid), commit.parent_count, COMMIT_PARENTS_MAX);
	rc = commit_fill(git, &commit, err);
	if (rc < 0)
		return rc;
	*ret = commit;
	commit = (struct commit){ .parent_count = 0 };
	return 0;
}

/* What would end a name or its line early has no place in it: the same letters that git leaves out. */
static void add_clean(struct strbuf *sb, const char *text)
{
	size_t len = strlen(text);

	while (len > 0 && (unsigned char)*text <= ' ') {
		text++;
		len--;
	}
	while (len > 0 && (unsigned char)text[len - 1] <= ' ')
		len--;
	for (size_t i = 0; i < len; i++)
		if (!strchr("<>\n\r", text[i]))
			strbuf_addch(sb, text[i]);
}

static void add_person(struct strbuf *sb, const char *role, const struct commit_spec *spec)
{
	strbuf_addf(sb, "%s ", role);
	add_clean(sb, spec->name ? spec->name : "veneer");
	strbuf_addstr(sb, " <");
	add_clean(sb, spec->mail ? spec->mail : "veneer@localhost");
	strbuf_addf(sb, "> %" PRId64 " +0000\n", spec->time);
}

/* Written as text here: equal inputs must give an equal id, whatever libgit2 does in the next version. */
int repo_commit_write(struct repo *repo, const struct commit_spec *spec, struct oid *ret, struct error *err)
{
	cleanup_strbuf struct strbuf raw = STRBUF_INIT;
	size_t message_len = strlen(spec->message), size;
	char *data;

	if (spec->parent_count > COMMIT_PARENTS_MAX || message_len > COMMIT_MESSAGE_MAX - 1)
		return error_set(err, -E2BIG, "a commit of %zu parents and %zu bytes of message is too large",
			spec->parent_count, message_len);
	if (spec->time < 0)
		return error_set(err, -EINVAL, "a commit of %" PRId64 ": before 1970", spec->time);
	strbuf_addf(&raw, "tree %s\n", OID_HEX(&spec->tree));
	for (size_t i = 0; i < spec->parent_count; i++)
		strbuf_addf(&raw, "parent %s\n", OID_HEX(&spec->parents[i]));
	add_person(&raw, "author", spec);
	add_person(&raw, "committer", spec);
	strbuf_addch(&raw, '\n');
	strbuf_add(&raw, spec->message, message_len);
	if (message_len == 0 || spec->message[message_len - 1] != '\n')
		strbuf_addch(&raw, '\n');
	if (strbuf_failed(&raw))
		return error_errno(err, ENOMEM, "a commit of %zu parents", spec->parent_count);
	data = strbuf_detach(&raw, &size);
	return batch_put(repo, GIT_OBJECT_COMMIT, data, size, ret, err);
}

int repo_resolve(struct repo *repo, const char *rev, struct oid *ret, struct error *err)
{
	CLEANUP(git_object_freep) git_object *object = NULL;
	CLEANUP(git_object_freep) git_object *commit = NULL;
	int rc;

	rc = libgit2.revparse_single(&object, repo->git, rev);
	if (rc == GIT_ENOTFOUND)
		return error_set(err, -ENOENT, "'%s' names no commit in '%s'", SHOW(rev), repo->path);
	if (rc < 0)
		return git_failure(err, rc, -EINVAL, "'%s'", SHOW(rev));
	rc = libgit2.object_peel(&commit, object, GIT_OBJECT_COMMIT);
	if (rc < 0)
		return error_set(err, -EBADMSG, "'%s' names a %s, not a commit", SHOW(rev),
			libgit2.object_type2string(libgit2.object_type(object)));
	*ret = oid_from_git(libgit2.object_id(commit));
	return 0;
}
