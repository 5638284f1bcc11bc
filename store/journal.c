/* SPDX-License-Identifier: Apache-2.0 */
#include "store/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "store/base/cleanup.h"
#include "store/base/io.h"

#define LEAF_JOURNAL "journal"
#define ACTION_REFUSED "refused"
#define APPEND_ATTEMPTS 10
#define SHORT_ID 7
#define PROCESS_FILE_BYTES_MAX (2u << 20) /* the kernel's own limit is of this order */
#define TIME_TEXT_MAX 32

/* ---- the actor ---- */

void journal_actor_release(struct journal_actor *actor)
{
	free(actor->sudo_user);
	free(actor->command);
	actor->sudo_user = NULL;
	actor->command = NULL;
}

/* TEXT appended, control characters as \xHH, cut with "…" after JOURNAL_TEXT_MAX bytes. */
static void add_escaped(struct strbuf *sb, const char *text, size_t len)
{
	size_t start = sb->len;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		bool control = c < ' ' || c == 0x7f;

		if (sb->len - start + (control ? 4 : 1) > JOURNAL_TEXT_MAX) {
			/* Not in the middle of a character of UTF-8. */
			while (i > 0 && (text[i] & 0xc0) == 0x80 && (text[i - 1] & 0x80)) {
				strbuf_truncate(sb, sb->len - 1);
				i--;
			}
			strbuf_addstr(sb, "…");
			return;
		}
		if (control)
			strbuf_addf(sb, "\\x%02x", c);
		else
			strbuf_addch(sb, (char)c);
	}
}

static char *escaped(const char *text)
{
	cleanup_strbuf struct strbuf sb = STRBUF_INIT;

	add_escaped(&sb, text, strlen(text));
	return strbuf_detach(&sb, NULL);
}

/* All of /proc/PROCESS/LEAF, or what of it is not enormous. -ESRCH: there is no such process (any more). */
static int read_process_file(const char *process, const char *leaf, struct strbuf *sb, struct error *err)
{
	char path[64];
	cleanup_close int fd = -EBADF;
	int r;

	snprintf(path, sizeof path, "/proc/%s/%s", process, leaf);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return error_errno(err, errno == ENOENT ? ESRCH : errno, "open '%s'", path);
	r = io_read_all(fd, PROCESS_FILE_BYTES_MAX, sb);
	return r < 0 && r != -E2BIG ? error_errno(err, -r, "read '%s'", path) : 0;
}

static int read_command(const char *process, char **ret, struct error *err)
{
	cleanup_strbuf struct strbuf words = STRBUF_INIT, line = STRBUF_INIT;
	int r = read_process_file(process, "cmdline", &words, err);

	if (r < 0)
		return r;
	while (words.len > 0 && words.buf[words.len - 1] == '\0')
		strbuf_truncate(&words, words.len - 1);
	for (size_t i = 0; i < words.len; i++)
		if (words.buf[i] == '\0')
			words.buf[i] = ' ';
	add_escaped(&line, strbuf_text(&words), words.len);
	*ret = strbuf_detach(&line, NULL);
	return *ret ? 0 : error_errno(err, ENOMEM, "note who acts");
}

static bool parse_number(const char *text, uint64_t max, uint64_t *ret)
{
	char *end;
	unsigned long long value;

	if (!text || *text < '0' || *text > '9')
		return false;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || *end || value > max)
		return false;
	*ret = value;
	return true;
}

/* UINT32_MAX where the kernel has no audit or the session no login. */
static uint32_t read_login_uid(const char *process)
{
	cleanup_strbuf struct strbuf text = STRBUF_INIT;
	uint64_t uid;

	if (read_process_file(process, "loginuid", &text, NULL) < 0)
		return UINT32_MAX;
	return parse_number(strbuf_text(&text), UINT32_MAX, &uid) ? (uint32_t)uid : UINT32_MAX;
}

static int actor_of(const char *process, const char *sudo_user, struct journal_actor *actor, struct error *err)
{
	int r = read_command(process, &actor->command, err);

	if (r < 0)
		return r;
	actor->login_uid = read_login_uid(process);
	if (sudo_user && *sudo_user) {
		actor->sudo_user = escaped(sudo_user);
		if (!actor->sudo_user) {
			journal_actor_release(actor);
			return error_errno(err, ENOMEM, "note who acts");
		}
	}
	return 0;
}

int journal_actor_self(struct journal_actor *ret, struct error *err)
{
	struct journal_actor actor = { .uid = getuid(), .pid = getpid() };
	int r = actor_of("self", getenv("SUDO_USER"), &actor, err);

	if (r == 0)
		*ret = actor;
	return r;
}

/* The value of NAME= in an environment as /proc gives it; NULL: not there. */
static const char *environment_get(const struct strbuf *environment, const char *name)
{
	size_t length = strlen(name);

	for (size_t at = 0; at < environment->len; at += strlen(environment->buf + at) + 1)
		if (strncmp(environment->buf + at, name, length) == 0 && environment->buf[at + length] == '=')
			return environment->buf + at + length + 1;
	return NULL;
}

int journal_actor_of(pid_t pid, uid_t uid, struct journal_actor *ret, struct error *err)
{
	cleanup_strbuf struct strbuf environment = STRBUF_INIT;
	struct journal_actor actor = { .uid = uid, .pid = pid };
	char process[24];
	int r;

	snprintf(process, sizeof process, "%ld", (long)pid);
	r = read_process_file(process, "environ", &environment, err);
	if (r == 0)
		r = actor_of(process, environment_get(&environment, "SUDO_USER"), &actor, err);
	if (r == 0)
		*ret = actor;
	return r;
}

void journal_entry_release(struct journal_entry *entry)
{
	free(entry->action);
	free(entry->labels);
	free(entry->reason);
	journal_actor_release(&entry->actor);
	*entry = (struct journal_entry){ 0 };
}

/* ---- times ---- */

static int64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void format_time(int64_t time_us, char text[TIME_TEXT_MAX])
{
	time_t seconds = (time_t)(time_us / 1000000);
	struct tm tm;
	size_t len;

	gmtime_r(&seconds, &tm);
	len = strftime(text, TIME_TEXT_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + len, TIME_TEXT_MAX - len, ".%06" PRId64 "Z", time_us % 1000000);
}

static bool parse_time(const char *text, int64_t *ret)
{
	struct tm tm = { 0 };
	const char *rest = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
	int64_t microseconds = 0;

	if (!rest || *rest++ != '.')
		return false;
	for (size_t i = 0; i < 6; i++, rest++) {
		if (*rest < '0' || *rest > '9')
			return false;
		microseconds = microseconds * 10 + (*rest - '0');
	}
	if (strcmp(rest, "Z") != 0)
		return false;
	*ret = (int64_t)timegm(&tm) * 1000000 + microseconds;
	return true;
}

/* ---- append ---- */

static void add_text_trailer(struct strbuf *message, const char *key, const char *text)
{
	cleanup_free char *value = NULL;

	if (!text || !*text)
		return;
	value = escaped(text);
	if (value)
		trailer_add(message, key, value);
	else
		message->failed = true;
}

static void add_number_trailer(struct strbuf *message, const char *key, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof text, "%" PRIu64, value);
	trailer_add(message, key, text);
}

static void add_subject(struct strbuf *message, const struct journal_entry *entry)
{
	char from[OID_HEX_LENGTH + 1], to[OID_HEX_LENGTH + 1];

	oid_to_hex(&entry->from, from);
	oid_to_hex(&entry->to, to);
	strbuf_addf(message, "%s: ", entry->action);
	if (!oid_is_zero(&entry->from))
		strbuf_addf(message, "%.*s → ", SHORT_ID, from);
	strbuf_addf(message, "%.*s", SHORT_ID, to);
	if (entry->labels && *entry->labels)
		strbuf_addf(message, " (%s)", entry->labels);
	strbuf_addch(message, '\n');
}

static void format_message(const struct journal_entry *entry, const struct journal_actor *actor, int64_t time_us,
	struct strbuf *message)
{
	char id[OID_HEX_LENGTH + 1], time_text[TIME_TEXT_MAX];

	add_subject(message, entry);
	trailer_add(message, "Action", entry->action);
	oid_to_hex(&entry->from, id);
	trailer_add(message, "From", id);
	oid_to_hex(&entry->to, id);
	trailer_add(message, "To", id);
	add_text_trailer(message, "Labels", entry->labels);
	add_text_trailer(message, "Reason", entry->reason);
	format_time(time_us, time_text);
	trailer_add(message, "Time", time_text);
	add_number_trailer(message, "Actor-Uid", actor->uid);
	if (actor->login_uid != UINT32_MAX)
		add_number_trailer(message, "Actor-Login-Uid", actor->login_uid);
	add_number_trailer(message, "Actor-Pid", (uint64_t)actor->pid);
	add_text_trailer(message, "Actor-Sudo-User", actor->sudo_user);
	add_text_trailer(message, "Actor-Command", actor->command);
}

/* Behind TIP (NULL: the first entry), durable. */
static int write_entry(struct store *store, const struct oid *tip, const struct oid *served, const char *message,
	int64_t time_us, struct oid *ret, struct error *err)
{
	cleanup_commit struct commit commit = { 0 };
	struct oid parents[2];
	struct commit_spec spec = { .parents = parents, .message = message, .time = time_us / 1000000 };
	struct oid id;
	int r = repo_commit_read(store->repo, served, &commit, err);

	if (r == 0)
		r = repo_batch_begin(store->repo, err);
	if (r < 0)
		return r;
	spec.tree = commit.tree;
	if (tip)
		parents[spec.parent_count++] = *tip;
	parents[spec.parent_count++] = *served;
	r = repo_commit_write(store->repo, &spec, &id, err);
	if (r == 0)
		r = repo_batch_commit(store->repo, err);
	if (r < 0) {
		repo_batch_abort(store->repo);
		return r;
	}
	*ret = id;
	return 0;
}

/* As ACTOR; what DRAFT is to hold is durable then. */
static int prepare_as(struct store *store, const char *component, const struct journal_entry *entry,
	const struct journal_actor *actor, struct journal_draft *draft, struct error *err)
{
	cleanup_strbuf struct strbuf message = STRBUF_INIT;
	bool refused = strcmp(entry->action, ACTION_REFUSED) == 0;
	const struct oid *served = refused ? &entry->from : &entry->to;
	int64_t time_us = now_us();
	bool first;
	int r;

	component_ref(component, LEAF_JOURNAL, draft->ref);
	draft->update = (struct ref_update){ .name = draft->ref, .check = true };
	format_message(entry, actor, time_us, &message);
	if (strbuf_failed(&message))
		return error_errno(err, ENOMEM, "'%s'", draft->ref);
	r = repo_ref_read(store->repo, draft->ref, &draft->update.old_oid, err);
	first = r == -ENOENT;
	if (r < 0 && !first)
		return r;
	if (first)
		draft->update.old_oid = (struct oid){ { 0 } };
	return write_entry(store, first ? NULL : &draft->update.old_oid, served, strbuf_text(&message), time_us, &draft->update.new_oid,
		err);
}

int journal_prepare(struct store *store, const char *component, const struct journal_entry *entry, struct journal_draft *ret,
	struct error *err)
{
	struct journal_actor self = { 0 };
	struct error problem = ERROR_INIT; /* of one that does not exist yet: nothing to be said */
	int r = component_check_name(component, err);

	if (r < 0)
		return r;
	if (!entry->actor.command)
		r = journal_actor_self(&self, err);
	if (r < 0)
		return r;
	r = prepare_as(store, component, entry, entry->actor.command ? &entry->actor : &self, ret, &problem);
	journal_actor_release(&self);
	return r < 0 ? error_set(err, r, "write to the journal of '%s': %s", component, problem.message) : 0;
}

int journal_append(struct store *store, const char *component, const struct journal_entry *entry,
	struct error *err)
{
	struct error last = ERROR_INIT; /* of the last attempt: an earlier one's is no failure */
	struct journal_draft draft;
	int r = -EAGAIN;

	for (int attempt = 0; attempt < APPEND_ATTEMPTS && r == -EAGAIN; attempt++) {
		r = journal_prepare(store, component, entry, &draft, err);
		if (r < 0)
			return r;
		r = repo_refs_update(store->repo, &draft.update, 1, &last);
	}
	return r < 0 ? error_set(err, r, "write to the journal of '%s': %s", component, last.message) : 0;
}

/* ---- read ---- */

static bool read_id(const char *message, const char *key, struct oid *ret)
{
	cleanup_free char *value = trailer_get(message, key, 0);

	return value && oid_from_hex(value, strlen(value), ret) == 0;
}

static uint64_t read_number(const char *message, const char *key, uint64_t max, uint64_t fallback)
{
	cleanup_free char *value = trailer_get(message, key, 0);
	uint64_t number;

	return parse_number(value, max, &number) ? number : fallback;
}

/* The value, or "". NULL: out of memory. */
static char *read_text(const char *message, const char *key)
{
	char *value = trailer_get(message, key, 0);

	return value ? value : strdup("");
}

int journal_parse(const struct commit *commit, struct journal_entry *ret, struct error *err)
{
	cleanup_journal_entry struct journal_entry entry = { .id = commit->id };
	const char *message = commit->message;
	cleanup_free char *time_text = trailer_get(message, "Time", 0);
	char id[OID_HEX_LENGTH + 1];

	oid_to_hex(&commit->id, id);
	entry.action = trailer_get(message, "Action", 0);
	if (!entry.action || !read_id(message, "From", &entry.from) || !read_id(message, "To", &entry.to) ||
		!parse_time(time_text, &entry.time_us))
		return error_set(err, -EBADMSG,
			"journal entry '%s': Action, From, To or Time is missing or malformed", id);
	entry.labels = read_text(message, "Labels");
	entry.reason = read_text(message, "Reason");
	entry.actor.command = read_text(message, "Actor-Command");
	entry.actor.sudo_user = trailer_get(message, "Actor-Sudo-User", 0);
	entry.actor.uid = (uid_t)read_number(message, "Actor-Uid", UINT32_MAX, UINT32_MAX);
	entry.actor.login_uid = (uint32_t)read_number(message, "Actor-Login-Uid", UINT32_MAX, UINT32_MAX);
	entry.actor.pid = (pid_t)read_number(message, "Actor-Pid", INT32_MAX, 0);
	if (!entry.labels || !entry.reason || !entry.actor.command)
		return error_errno(err, ENOMEM, "journal entry '%s'", id);
	*ret = entry;
	entry = (struct journal_entry){ 0 };
	return 0;
}

int journal_each(struct store *store, const char *component, size_t limit, journal_fn fn, void *arg,
	struct error *err)
{
	struct error missing = ERROR_INIT;
	char ref[REF_NAME_MAX];
	struct oid at;
	int r = component_check_name(component, err);

	if (r < 0)
		return r;
	component_ref(component, LEAF_JOURNAL, ref);
	r = repo_ref_read(store->repo, ref, &at, &missing);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return error_set(err, r, "journal of '%s': %s", component, missing.message);
	for (size_t n = 0; limit == 0 || n < limit; n++) {
		cleanup_commit struct commit commit = { 0 };
		cleanup_journal_entry struct journal_entry entry = { 0 };

		r = repo_commit_read(store->repo, &at, &commit, err);
		if (r == 0)
			r = journal_parse(&commit, &entry, err);
		if (r < 0)
			return error_prefix(err, r == -ENOENT ? -EBADMSG : r, "journal of '%s'", component);
		r = fn(arg, &entry, err);
		if (r != 0)
			return r;
		/* The first entry has no entry before it: its one parent is what was switched to. */
		if (commit.parent_count < 2)
			return 0;
		at = commit.parents[0];
	}
	return 0;
}
