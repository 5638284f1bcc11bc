/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_CLI_PATCH_STATE_H
#define VENEER_CLI_PATCH_STATE_H

/*
 * Where patches stand. What is not applied is compared with the base as it is on disk, so that nothing can be out of date. When it came to
 * that, and who did it, the journal knows; and of a patch whose added file was removed, it alone knows.
 */

#include <json-c/json.h>

#include "store/target.h"

struct patch_state {
	/* "applied"; "superseded": another patch says so; "absorbed": the base has all of it; "retired": the base has something else; "available" */
	const char *name;
	char *reason;	 /* owned; absorbed, retired: what the base has; NULL */
	int64_t time_us; /* it was taken off then, in microseconds since the epoch; 0: the journal does not say */
	char *command;	 /* owned; of whoever changed the base; NULL: not known */
};

/*
 * Of each patch of TARGET, in its order; the caller frees the array by patch_states_free(). BASEFD: its directory beneath any mount;
 * negative: it cannot be looked at.
 */
int patch_states_find(const struct target *target, int basefd, struct patch_state **ret, struct error *err);
void patch_states_free(struct patch_state *states, size_t count); /* NULL is fine */

/* state, reason, retired_at, retired_by of one patch into ROW. */
void patch_state_fill(const struct patch_state *state, struct json_object *row);
/* For people: a sentence on why PATCH is retired or absorbed, and what to do; nothing for others. */
void patch_state_explain(const struct target *target, const struct patch *patch, const struct patch_state *state, struct strbuf *ret);

#endif
