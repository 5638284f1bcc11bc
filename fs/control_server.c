/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/control_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fs/base_watch.h"
#include "fs/healer.h"
#include "fs/mounts.h"
#include "fs/scrub.h"
#include "fs/served_objects.h"
#include "fs/worker_state.h"
#include "store/base/cleanup.h"
#include "store/base/log.h"

#define CLIENTS_MAX 16

struct control_server {
	struct control_server_config config;
	char *socket_name;
	int listen_fd, stop_fd, detach_fd;
	pthread_t thread;
	bool running;
	struct pollfd fds[2 + CLIENTS_MAX]; /* stop, listen, clients; the thread's own */
};

/* No socket, and nobody kept from being the next to have one. Its own thread's, or after that has ended. */
static void stop_listening(struct control_server *server)
{
	if (server->listen_fd >= 0) {
		unlinkat(server->config.run_fd, server->socket_name, 0);
		close(server->listen_fd);
		keeper_drop(server->config.keeper, KEEP_LISTEN);
		server->listen_fd = -EBADF;
		server->fds[1].fd = -EBADF;
	}
	if (server->config.lock_fd >= 0)
		keeper_drop(server->config.keeper, KEEP_LOCK);
	control_unlock(server->config.run_fd, server->config.name, server->config.lock_fd);
	server->config.lock_fd = -EBADF;
}

static struct json_object *reply_error(int code, const struct error *err)
{
	struct json_object *reply = json_object_new_object();

	json_object_object_add(reply, "ok", json_object_new_boolean(0));
	json_object_object_add(reply, "code", json_object_new_int(-code));
	json_object_object_add(reply, "error", json_object_new_string(err->message));
	return reply;
}

static struct json_object *reply_ok(void)
{
	struct json_object *reply = json_object_new_object();

	json_object_object_add(reply, "ok", json_object_new_boolean(1));
	return reply;
}

static void add_number(struct json_object *object, const char *key, uint64_t value)
{
	json_object_object_add(object, key, json_object_new_int64((int64_t)value));
}

static void add_string(struct json_object *object, const char *key, const char *value)
{
	json_object_object_add(object, key, json_object_new_string(value));
}

static void add_watch(struct json_object *reply, struct base_watch *watch)
{
	struct base_watch_state state = { 0 };

	json_object_object_add(reply, "watch", json_object_new_boolean(watch != NULL));
	if (!watch)
		return;
	base_watch_state(watch, &state);
	add_number(reply, "watched_directories", state.directories);
	if (state.limited)
		add_string(reply, "watch_problem",
			"not all directories can be watched (see fs.inotify.max_user_watches, and the log): 'veneer refresh' shows what changed in the others");
}

static struct json_object *answer_status(struct control_server *server)
{
	struct session *session = server->config.session;
	struct json_object *reply = reply_ok(), *requests = json_object_new_object();
	char health[512], damage[512], hex[OID_HEX_LENGTH + 1], io_reason[IO_REASON_MAX];
	struct oid commit;

	switcher_state(server->config.switcher, &commit, health, sizeof health);
	oid_to_hex(&commit, hex);
	/* What the switcher has to say goes first, but damage that stays. */
	if (healer_health(server->config.healer, damage, sizeof damage) && (strcmp(health, "ok") == 0 || strncmp(damage, "damaged:", 8) == 0))
		snprintf(health, sizeof health, "%s", damage);
	healer_add_state(server->config.healer, reply);
	scrub_add_state(server->config.scrub, reply);
	add_string(reply, "commit", hex);
	add_string(reply, "health", health);
	/* While it watches, files are opened as in cached mode. */
	add_string(reply, "io", io_mode_name(io_choice_mode(&session->choice) == IO_PASSTHROUGH ? IO_PASSTHROUGH : IO_CACHED));
	io_choice_reason(&session->choice, io_reason);
	add_string(reply, "io_reason", io_reason);
	add_string(reply, "write", server->config.write);
	add_watch(reply, session->watch);
	add_number(reply, "pid", (uint64_t)getppid());
	add_number(reply, "worker", (uint64_t)getpid());
	add_number(reply, "workers", session->state->workers);
	add_string(reply, "program_version", session->state->program);
	add_number(reply, "protocol_minor", session->kernel_minor);
	add_string(reply, "invalidation", "exact");
	add_string(reply, "set_id_bits", session->kill_setid ? "daemon" : "kernel");
	add_number(reply, "nodes", node_count(overlay_nodes(session->overlay)));
	add_number(reply, "open_files", fdcache_open_count(overlay_fds(session->overlay)));
	add_number(reply, "notifications", atomic_load(&session->notifications));
	for (int kind = 0; kind < REQUEST_KINDS; kind++)
		add_number(requests, request_kind_name(kind), atomic_load(&session->requests[kind]));
	json_object_object_add(reply, "requests", requests);
	return reply;
}

/* ---- transitions ---- */

/* The names of a request: borrowed from it, the array the caller's. NULL: out of memory, or they are no texts. */
static const char **request_names(struct json_object *request)
{
	struct json_object *array = NULL;
	size_t count = 0;
	const char **names;

	if (json_object_object_get_ex(request, "names", &array) && json_object_is_type(array, json_type_array))
		count = json_object_array_length(array);
	names = calloc(count + 1, sizeof *names);
	for (size_t i = 0; names && i < count; i++) {
		struct json_object *name = json_object_array_get_idx(array, i);

		if (!json_object_is_type(name, json_type_string)) {
			free(names);
			return NULL;
		}
		names[i] = json_object_get_string(name);
	}
	return names;
}

static int parse_transition(struct json_object *request, struct transition_request *ret, struct error *err)
{
	struct json_object *kind = NULL, *all = NULL, *id = NULL;

	json_object_object_get_ex(request, "kind", &kind);
	json_object_object_get_ex(request, "all", &all);
	if (json_object_object_get_ex(request, "id", &id))
		ret->id = (uint64_t)json_object_get_int64(id);
	if (!json_object_is_type(kind, json_type_string) ||
		transition_kind_parse(json_object_get_string(kind), &ret->kind) < 0)
		return error_set(err, -EINVAL, "a transition of no kind that is known");
	if (ret->kind == TRANSITION_SWITCH && !ret->names[0])
		return error_set(err, -EINVAL, "a switch to nothing");
	ret->all = all && json_object_get_boolean(all);
	return 0;
}

/* Who asks, as the kernel knows it. */
static int read_peer(int fd, struct journal_actor *ret, struct error *err)
{
	struct ucred peer;
	socklen_t size = sizeof peer;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return error_errno(err, errno, "see who asks");
	return journal_actor_of(peer.pid, peer.uid, ret, err);
}

static struct json_object *answer_transition(struct control_server *server, int client_fd,
	struct json_object *request, int lock_fd)
{
	struct switcher *switcher = server->config.switcher;
	cleanup_free const char **names = request_names(request);
	struct transition_request transition = { .names = names };
	struct journal_actor actor = { 0 };
	struct json_object *row = NULL, *reply;
	cleanup_free char *text = NULL;
	struct error err = ERROR_INIT;
	int r = names ? parse_transition(request, &transition, &err) :
			error_set(&err, -EINVAL, "a transition with names that are none");

	if (r == 0)
		r = store_lock_confirm(switcher_store(switcher), lock_fd, &err);
	if (r == 0)
		r = read_peer(client_fd, &actor, &err);
	if (r == 0)
		r = switcher_transition(switcher, &transition, &actor, &row, &text, &err);
	journal_actor_release(&actor);
	if (r < 0)
		return reply_error(r, &err);
	reply = reply_ok();
	json_object_object_add(reply, "row", row);
	add_string(reply, "text", text);
	return reply;
}

static struct json_object *answer_refresh(struct control_server *server, int client_fd, int lock_fd)
{
	struct switcher *switcher = server->config.switcher;
	struct journal_actor actor = { 0 };
	struct error err = ERROR_INIT;
	struct refresh_counts counts;
	struct json_object *reply;
	int r = store_lock_confirm(switcher_store(switcher), lock_fd, &err);

	if (r == 0)
		r = read_peer(client_fd, &actor, &err);
	if (r == 0)
		r = switcher_refresh(switcher, &actor, &counts, &err);
	journal_actor_release(&actor);
	if (r < 0)
		return reply_error(r, &err);
	reply = reply_ok();
	add_number(reply, "directories", counts.directories);
	add_number(reply, "names", counts.names);
	add_number(reply, "files", counts.files);
	return reply;
}

/* ---- damage ---- */

/* The object HASH, as it is served now; VIEW_NONE: it is not. */
static uint32_t find_served(const struct view *view, const struct hash128 *hash)
{
	for (uint32_t i = 0; view && i < view_count(view); i++)
		if (view_at(view, i)->kind == VIEW_FILE && hash128_equal(&view_at(view, i)->object, hash))
			return i;
	return VIEW_NONE;
}

struct heal_counts {
	uint64_t healed, failed, unknown;
};

static int heal_one(struct control_server *server, const struct view *view, struct json_object *name, struct heal_counts *counts,
	struct error *err)
{
	const char *hex = json_object_is_type(name, json_type_string) ? json_object_get_string(name) : "";
	struct hash128 hash;
	uint32_t index;
	int r = 0;

	if (hash128_from_hex(hex, strlen(hex), &hash) < 0)
		return error_set(err, -EINVAL, "'%.64s' is no object", hex);
	index = find_served(view, &hash);
	if (index == VIEW_NONE)
		counts->unknown++;
	else
		r = healer_heal(server->config.healer, &hash, &view_at(view, index)->blob, view_at(view, index)->size, "by another process");
	counts->healed += r > 0;
	counts->failed += r < 0;
	/* Who has it open though it is not served any more has a use for right bytes, too. */
	if (r >= 0)
		healer_forget(server->config.healer, &hash);
	return 0;
}

static struct json_object *answer_heal(struct control_server *server, struct json_object *request)
{
	cleanup_view struct view *view = overlay_view(server->config.session->overlay);
	struct heal_counts counts = { 0, 0, 0 };
	struct json_object *objects = NULL, *reply;
	struct error err = ERROR_INIT;
	int r = 0;

	if (!json_object_object_get_ex(request, "objects", &objects)) {
		scrub_now(server->config.scrub);
		return reply_ok();
	}
	if (!json_object_is_type(objects, json_type_array))
		r = error_set(&err, -EINVAL, "objects that are none");
	for (size_t i = 0; r == 0 && i < json_object_array_length(objects); i++)
		r = heal_one(server, view, json_object_array_get_idx(objects, i), &counts, &err);
	if (r < 0)
		return reply_error(r, &err);
	reply = reply_ok();
	add_number(reply, "healed", counts.healed);
	add_number(reply, "failed", counts.failed);
	add_number(reply, "unknown", counts.unknown);
	return reply;
}

/* ---- all operations ---- */

/* The socket goes away before the answer: whoever mounts next finds none, and the lock free. */
static struct json_object *answer_detach(struct control_server *server)
{
	const struct control_server_config *config = &server->config;
	struct error err = ERROR_INIT;
	bool there = true, topmost;
	uint64_t one = 1;
	ssize_t written;
	int r = mounts_find_device(config->directory, config->device, &there, &topmost, &err);

	if (r == 0 && there)
		r = error_set(&err, -EBUSY, "component '%s' is still mounted on '%s'", config->name, config->directory);
	if (r < 0)
		return reply_error(r, &err);
	/* Before somebody else may have the socket's name. */
	SHARED_PUBLISH(config->session->state->detached, 1);
	stop_listening(server);
	written = write(server->detach_fd, &one, sizeof one);
	(void)written; /* a full counter is readable as well */
	return reply_ok();
}

/* The supervisor goes on from here, and this worker is ended by it. */
static struct json_object *answer_takeover(struct control_server *server, struct json_object *request, int channel)
{
	const struct worker_state *state = server->config.session->state;
	struct json_object *format = NULL;
	struct error err = ERROR_INIT;
	int r = 0;

	json_object_object_get_ex(request, "format", &format);
	if (!json_object_is_type(format, json_type_string) || channel < 0)
		r = error_set(&err, -EINVAL, "a takeover without a format, or without a channel");
	else if (strcmp(json_object_get_string(format), state->format) != 0)
		r = error_set(&err, -EPROTO, "the daemon of component '%s' (veneer %s) has its tables in another format than that program: "
			"take the mount off and mount it anew when that may be ('veneer umount %s', 'veneer mount %s')", server->config.name,
			state->program, server->config.name, server->config.name);
	if (r == 0)
		r = keeper_successor(server->config.keeper, channel);
	if (r < 0 && !err.code)
		error_errno(&err, -r, "tell the supervisor of component '%s'", server->config.name);
	return r < 0 ? reply_error(r, &err) : reply_ok();
}

static struct json_object *answer_objects(struct control_server *server, int *ret_fd)
{
	struct error err = ERROR_INIT;
	int r = served_objects_list(server->config.session->overlay, ret_fd, &err);

	return r < 0 ? reply_error(r, &err) : reply_ok();
}

/* The base, a descriptor of the answer's own. */
static struct json_object *answer_base(struct control_server *server, int *ret_fd)
{
	struct error err = ERROR_INIT;

	*ret_fd = fcntl(server->config.base_fd, F_DUPFD_CLOEXEC, 0);
	return *ret_fd < 0 ? reply_error(error_errno(&err, errno, "hand over the base"), &err) : reply_ok();
}

/* *RET_FD: what goes along, the caller's to close. */
static struct json_object *answer(struct control_server *server, int client_fd, struct json_object *request,
	int received_fd, int *ret_fd)
{
	struct json_object *value = NULL;
	struct error err = ERROR_INIT;
	const char *operation = "";

	if (json_object_is_type(request, json_type_object) &&
		json_object_object_get_ex(request, "operation", &value) && json_object_is_type(value, json_type_string))
		operation = json_object_get_string(value);
	if (strcmp(operation, "transition") == 0)
		return answer_transition(server, client_fd, request, received_fd);
	if (strcmp(operation, "status") == 0)
		return answer_status(server);
	if (strcmp(operation, "policy") == 0) {
		int r = switcher_load_policy(server->config.switcher, &err);

		return r < 0 ? reply_error(r, &err) : reply_ok();
	}
	if (strcmp(operation, "refresh") == 0)
		return answer_refresh(server, client_fd, received_fd);
	if (strcmp(operation, "heal") == 0)
		return answer_heal(server, request);
	if (strcmp(operation, "detach") == 0)
		return answer_detach(server);
	if (strcmp(operation, "takeover") == 0)
		return answer_takeover(server, request, received_fd);
	if (strcmp(operation, "base") == 0)
		return answer_base(server, ret_fd);
	if (strcmp(operation, "objects") == 0)
		return answer_objects(server, ret_fd);
	return reply_error(error_set(&err, -EINVAL, "no such operation: '%.64s'", operation), &err);
}

/* false: the client is gone. */
static bool serve_client(struct control_server *server, int fd)
{
	cleanup_free char *buf = malloc(CONTROL_PACKET_MAX + 1);
	cleanup_close int received_fd = -EBADF;
	cleanup_close int passed_fd = -EBADF;
	struct json_object *request, *reply;
	ssize_t n;

	if (!buf)
		return false;
	n = control_receive(fd, buf, CONTROL_PACKET_MAX, MSG_DONTWAIT, &received_fd);
	if (n <= 0)
		return n == -EAGAIN;
	buf[n] = '\0';
	request = json_tokener_parse(buf);
	reply = answer(server, fd, request, received_fd, &passed_fd);
	/* A client that has the answer may be the next who locks the store. */
	cleanup_closep(&received_fd);
	received_fd = -EBADF;
	/* A client that does not listen loses its answer; the daemon waits for nobody. */
	if (control_send(fd, json_object_to_json_string_ext(reply, JSON_C_TO_STRING_PLAIN), passed_fd, MSG_DONTWAIT) < 0)
		log_message(LOG_INFO, "a client of the control socket left without its answer");
	json_object_put(reply);
	json_object_put(request);
	return true;
}

/* Root, or whoever the daemon runs as, and nobody else. */
static bool may_ask(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof peer;

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
		(peer.uid == 0 || peer.uid == geteuid());
}

static void accept_client(struct control_server *server)
{
	int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	for (size_t i = 2; i < ARRAY_SIZE(server->fds) && may_ask(fd); i++) {
		if (server->fds[i].fd < 0) {
			server->fds[i].fd = fd;
			return;
		}
	}
	close(fd);
}

static void *control_loop(void *arg)
{
	struct control_server *server = arg;

	for (;;) {
		poll(server->fds, ARRAY_SIZE(server->fds), -1);
		if (server->fds[0].revents)
			return NULL;
		for (size_t i = 2; i < ARRAY_SIZE(server->fds); i++) {
			if (server->fds[i].fd >= 0 && server->fds[i].revents &&
				!serve_client(server, server->fds[i].fd)) {
				close(server->fds[i].fd);
				server->fds[i].fd = -EBADF;
			}
		}
		if (server->fds[1].revents)
			accept_client(server);
	}
}

static int listen_socket(struct control_server *server, struct error *err)
{
	struct sockaddr_un address;
	int r = control_address(server->config.run_fd, server->config.name, &address);

	if (r < 0)
		return error_errno(err, -r, "control socket '%s'", server->socket_name);
	/* The worker before has listened: who asked meanwhile waits in it. */
	server->listen_fd = keeper_kept(server->config.keeper, KEEP_LISTEN);
	if (server->listen_fd >= 0)
		return 0;
	server->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (server->listen_fd < 0)
		return error_errno(err, errno, "control socket '%s'", server->socket_name);
	/* What a killed daemon left: that none is alive says the lock, which is ours. */
	unlinkat(server->config.run_fd, server->socket_name, 0);
	if (bind(server->listen_fd, (struct sockaddr *)&address, sizeof address) < 0 ||
		fchmodat(server->config.run_fd, server->socket_name, 0600, 0) < 0 ||
		listen(server->listen_fd, CLIENTS_MAX) < 0)
		return error_errno(err, errno, "control socket '%s'", server->socket_name);
	r = keeper_hold(server->config.keeper, KEEP_LISTEN, server->listen_fd);
	return r < 0 ? error_errno(err, -r, "keep the control socket") : 0;
}

int control_server_start(const struct control_server_config *config, struct control_server **ret,
	struct error *err)
{
	struct control_server *server = calloc(1, sizeof *server);
	int r;

	if (!server) {
		control_unlock(config->run_fd, config->name, config->lock_fd);
		return error_errno(err, ENOMEM, "control socket of component '%s'", config->name);
	}
	server->config = *config;
	server->listen_fd = -EBADF;
	server->stop_fd = eventfd(0, EFD_CLOEXEC);
	server->detach_fd = eventfd(0, EFD_CLOEXEC);
	if (server->stop_fd < 0 || server->detach_fd < 0 ||
		asprintf(&server->socket_name, "%s.sock", config->name) < 0) {
		server->socket_name = NULL;
		control_server_stop(server);
		return error_errno(err, ENOMEM, "control socket of component '%s'", config->name);
	}
	r = listen_socket(server, err);
	for (size_t i = 0; i < ARRAY_SIZE(server->fds); i++)
		server->fds[i] = (struct pollfd){ -EBADF, POLLIN, 0 };
	server->fds[0].fd = server->stop_fd;
	server->fds[1].fd = server->listen_fd;
	if (r == 0) {
		r = pthread_create(&server->thread, NULL, control_loop, server);
		if (r != 0)
			r = error_errno(err, r, "start the thread of the control socket");
	}
	if (r < 0) {
		control_server_stop(server);
		return r;
	}
	server->running = true;
	*ret = server;
	return 0;
}

int control_server_detach_fd(const struct control_server *server)
{
	return server->detach_fd;
}

void control_server_stop(struct control_server *server)
{
	uint64_t one = 1;

	if (!server)
		return;
	if (server->running) {
		while (write(server->stop_fd, &one, sizeof one) < 0 && errno == EINTR)
			;
		pthread_join(server->thread, NULL);
	}
	for (size_t i = 2; i < ARRAY_SIZE(server->fds) && server->running; i++) {
		if (server->fds[i].fd >= 0)
			close(server->fds[i].fd);
	}
	stop_listening(server);
	if (server->stop_fd >= 0)
		close(server->stop_fd);
	if (server->detach_fd >= 0)
		close(server->detach_fd);
	free(server->socket_name);
	free(server);
}
