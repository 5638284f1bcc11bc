/* SPDX-License-Identifier: Apache-2.0 */
#include "store/fsck_active.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"
#include "store/journal.h"
#include "store/target.h"
#include "store/view.h"

#define CHOICES_MAX 4096u /* entries of the journal that are tried */

static bool can_load(struct fsck *fsck, const char *name, const struct oid *commit, struct error *err)
{
	cleanup_view struct view *view = NULL;

	return view_load_of(fsck->store, name, commit, &view, err) == 0;
}

int fsck_active_problem(struct fsck *fsck, const char *name, const struct oid *active, struct strbuf *sb, struct error *err)
{
	struct error problem = ERROR_INIT;
	int whole;

	if (!active || can_load(fsck, name, active, &problem))
		return 0;
	/* What is damaged is told once; what is left here is what that means. */
	whole = fsck_is_whole(fsck, active);
	if (whole < 0)
		return error_errno(err, -whole, "look at component '%s'", name);
	if (!whole && !fsck->options->repair)
		return 0;
	strbuf_addf(sb, "what it names cannot be served: %s", problem.message);
	return strbuf_failed(sb) ? error_errno(err, ENOMEM, "look at component '%s'", name) : 0;
}

struct choice {
	struct fsck *fsck;
	const char *name;
	struct oid *ret;
};

static int look_at_entry(void *arg, const struct journal_entry *entry, struct error *err)
{
	struct choice *choice = arg;
	const struct oid *served = strcmp(entry->action, "refused") == 0 ? &entry->from : &entry->to;

	if (oid_is_zero(served) || !can_load(choice->fsck, choice->name, served, NULL))
		return 0;
	*choice->ret = *served;
	return 1;
}

int fsck_active_choose(struct fsck *fsck, const char *name, struct oid *ret, bool *ret_base, struct error *err)
{
	struct choice choice = { fsck, name, ret };
	char ref[REF_NAME_MAX];
	int r = journal_each(fsck->store, name, CHOICES_MAX, look_at_entry, &choice, NULL);

	if (r == -ENOMEM)
		return error_errno(err, ENOMEM, "journal of '%s'", name);
	*ret_base = r != 1;
	if (r == 1)
		return 1;
	component_ref(name, "base", ref);
	if (repo_ref_read(fsck->store->repo, ref, ret, NULL) < 0 || !can_load(fsck, name, ret, NULL))
		return 0;
	return 1;
}

char *fsck_labels(struct fsck *fsck, const char *name, const struct oid *commit)
{
	cleanup_target struct target target = TARGET_INIT;
	struct stack stack = { .known = false };

	target.store = fsck->store;
	target.store_borrowed = true;
	if (target_load(&target, name, NULL) < 0 || stack_read(fsck->store, target.component, &target.patches, commit, &stack, NULL) < 0)
		return strdup("");
	return target_labels(&target, &stack, " ");
}

int fsck_active_note(struct fsck *fsck, const char *name, const struct oid *from, const struct oid *to, const char *problem,
	bool to_base, char **ret_done, struct error *err)
{
	cleanup_free char *labels = fsck_labels(fsck, name, to), *reason = NULL, *done = NULL;
	struct journal_entry entry = { .to = *to, .action = (char *)"healed", .labels = labels };
	struct error unwritten = ERROR_INIT;
	char hex[OID_HEX_LENGTH + 1];

	oid_to_hex(to, hex);
	if (from)
		entry.from = *from;
	if (!labels || asprintf(&reason, "the ref active was not to be used: %s", problem) < 0) {
		reason = NULL;
		return error_errno(err, ENOMEM, "journal of '%s'", name);
	}
	entry.reason = reason;
	/* What is served has been settled, whatever becomes of its record. */
	if (journal_append(fsck->store, name, &entry, &unwritten) < 0 && fsck_is_fatal(unwritten.code))
		return error_set(err, unwritten.code, "%s", unwritten.message);
	if (asprintf(&done, "set to %s, '%.12s'%s%s", to_base ? "the base" : "the newest commit of the journal that can be loaded", hex,
		    unwritten.code ? "; the journal does not say so: " : "", unwritten.message) < 0)
		return error_errno(err, ENOMEM, "journal of '%s'", name);
	*ret_done = TAKE_PTR(done);
	return 0;
}
