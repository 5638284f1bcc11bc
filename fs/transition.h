/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_TRANSITION_H
#define VENEER_FS_TRANSITION_H

/*
 * From "apply a", "revert", "roll back", "switch to that commit" to a commit, and the switch to it. It is
 * done by the daemon of a mounted component (fs/control.h), which has the store open and the library loaded, else by
 * the command itself; this is the code of both.
 *
 * Calling sequence: target_load(); transition_resolve(), after which a batch is open that holds what is not
 * written yet (a dry run ends here); transition_perform().
 */

#include <json-c/json.h>

#include "fs/activate.h"
#include "store/target.h"

enum transition_kind { TRANSITION_APPLY, TRANSITION_REVERT, TRANSITION_ROLLBACK, TRANSITION_SWITCH };

/* "apply", …; NULL: no such kind */
const char *transition_kind_name(enum transition_kind kind);
/* -EINVAL: no such name */
int transition_kind_parse(const char *name, enum transition_kind *ret);

struct transition_request {
	enum transition_kind kind;
	/* Borrowed, NULL-terminated. Apply: none is the newest patch. Revert: none is the one applied last. Switch: one revision. */
	const char *const *names;
	bool all; /* revert: to the bare base */
	uint64_t id; /* the same where it is asked for again, because it is not known what has become of it; 0: none */
};

struct transition {
	const char *action;    /* for the journal: "applied", "reverted", "rolled-back", "switched", "retired", "absorbed" */
	struct strbuf what;    /* for people: "applied a" */
	const char *unchanged; /* for people, where nothing had to be done: "already applied" */
	struct strbuf reason;  /* for the journal; empty: none */
	struct oid commit;
	bool composed;	       /* COMMIT is to be composed of STACK */
	struct stack stack;    /* what COMMIT is a stack of */
};
#define TRANSITION_INIT { .what = STRBUF_INIT, .reason = STRBUF_INIT }
void transition_release(struct transition *transition);
#define cleanup_transition __attribute__((cleanup(transition_release)))

/* Nothing is written: a new composition lives in the open batch alone. TARGET's store locked. */
int transition_resolve(struct target *target, const struct transition_request *request, struct transition *ret,
	struct error *err);

/*
 * Write what is new, switch, and report in *RET_ROW (json_object_put() by the caller): name,
 * version_label, from, to, changed, paths, live, total_nanoseconds (of this call), daemon_nanoseconds, restart, reboot.
 * *RET_TEXT, the caller's: what was done, for people. SERVER and ACTOR as in struct activation.
 */
int transition_perform(struct target *target, const struct transition *transition,
	const struct activation_server *server, const struct journal_actor *actor, struct json_object **ret_row,
	char **ret_text, struct error *err);

/*
 * What transition_perform() would have reported of a transition from FROM to what is active, WHAT for people, whose worker was killed before it could. TARGET: as
 * it is now. PATHS are served differently.
 */
int transition_report_done(const struct target *target, const char *what, const struct oid *from, uint64_t paths,
	struct json_object **ret_row, char **ret_text, struct error *err);

/* The parts of a row that a plan has as well: name, version_label, from, to, restart, reboot. */
int transition_add_state(const struct target *target, const struct transition *transition,
	struct json_object *row, const struct oid *from, struct error *err);

#endif
