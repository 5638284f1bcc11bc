/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/control_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cleanup.h"

#define CONTROL_CONNECT_SECONDS 10 /* when nobody serves, and others wait already */
#define CONTROL_TIMEOUT_MS 120000 /* preparing a large patch reads and writes all of it */

struct control {
	int fd, run_fd; /* both owned */
	char *name; /* of the component, for messages */
	int received_fd;
	int timeout_ms;
};

static int connect_to(int run_fd, const char *name, int *ret, struct error *err)
{
	cleanup_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	const struct timeval patience = { .tv_sec = CONTROL_CONNECT_SECONDS };
	struct sockaddr_un address;
	int r = control_address(run_fd, name, &address);

	if (r < 0)
		return error_errno(err, -r, "control socket of component '%s'", name);
	if (fd < 0)
		return error_errno(err, errno, "control socket of component '%s'", name);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
		if (errno == ENOENT || errno == ECONNREFUSED)
			return error_set(err, -ENOENT,
				"component '%s' is not mounted; mount it with 'veneer mount %s'", name, name);
		if (errno == EAGAIN)
			return error_set(err, -ETIMEDOUT, "the daemon of component '%s' answers nobody: see the log", name);
		return error_errno(err, errno, "connect to the daemon of component '%s'", name);
	}
	*ret = TAKE_FD(fd);
	return 0;
}

int control_open(struct store *store, const char *name, struct control **ret, struct error *err)
{
	cleanup_control struct control *control = NULL;
	cleanup_close int fd = -EBADF;
	int r = connect_to(store->run_fd, name, &fd, err);

	if (r < 0)
		return r;
	control = calloc(1, sizeof *control);
	if (!control)
		return error_errno(err, ENOMEM, "control socket of component '%s'", name);
	control->fd = TAKE_FD(fd);
	control->received_fd = -EBADF;
	control->timeout_ms = CONTROL_TIMEOUT_MS;
	control->run_fd = fcntl(store->run_fd, F_DUPFD_CLOEXEC, 0);
	control->name = strdup(name);
	if (control->run_fd < 0 || !control->name)
		return error_errno(err, control->name ? errno : ENOMEM, "control socket of component '%s'", name);
	*ret = TAKE_PTR(control);
	return 0;
}

void control_close(struct control *control)
{
	if (control->received_fd >= 0)
		close(control->received_fd);
	if (control->run_fd >= 0)
		close(control->run_fd);
	close(control->fd);
	free(control->name);
	free(control);
}

void control_set_timeout(struct control *control, int timeout_ms)
{
	control->timeout_ms = timeout_ms;
}

const char *control_name(const struct control *control)
{
	return control->name;
}

int control_take_fd(struct control *control)
{
	return TAKE_FD(control->received_fd);
}

static int check_reply(struct control *control, struct json_object *reply, struct error *err)
{
	struct json_object *ok, *message, *code;
	const char *text = "no reason given";
	int r = -EIO;

	if (!json_object_is_type(reply, json_type_object) || !json_object_object_get_ex(reply, "ok", &ok))
		return error_set(err, -EBADMSG, "the daemon of component '%s' gave an answer that is none", control->name);
	if (json_object_get_boolean(ok))
		return 0;
	if (json_object_object_get_ex(reply, "error", &message))
		text = json_object_get_string(message);
	if (json_object_object_get_ex(reply, "code", &code) && json_object_get_int(code) > 0)
		r = -json_object_get_int(code);
	return error_set(err, r, "%s", text);
}

int control_call(struct control *control, struct json_object *request, int passed_fd,
	struct json_object **ret_reply, struct error *err)
{
	const char *text = json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN);
	cleanup_free char *buf = malloc(CONTROL_PACKET_MAX + 1);
	struct pollfd waiting = { control->fd, POLLIN, 0 };
	struct json_object *reply;
	ssize_t n;
	int r;

	if (!buf || !text)
		return error_errno(err, ENOMEM, "ask the daemon of component '%s'", control->name);
	r = control_send(control->fd, text, passed_fd, 0);
	if (r < 0)
		return error_errno(err, -r, "ask the daemon of component '%s'", control->name);
	do
		r = poll(&waiting, 1, control->timeout_ms);
	while (r < 0 && errno == EINTR);
	if (r == 0)
		return error_set(err, -ETIMEDOUT,
			"the daemon of component '%s' has not answered within %d s: see 'veneer status %s'", control->name,
			control->timeout_ms / 1000, control->name);
	cleanup_closep(&control->received_fd);
	n = r < 0 ? -errno : control_receive(control->fd, buf, CONTROL_PACKET_MAX, 0, &control->received_fd);
	if (n <= 0)
		return error_errno(err, n < 0 ? (int)-n : ECONNRESET,
			"the daemon of component '%s' did not answer: see 'veneer status %s'", control->name,
			control->name);
	buf[n] = '\0';
	reply = json_tokener_parse(buf);
	r = check_reply(control, reply, err);
	if (r == 0 && ret_reply)
		*ret_reply = reply;
	else
		json_object_put(reply);
	return r;
}

int control_simple(struct control *control, const char *operation, struct json_object **ret_reply,
	struct error *err)
{
	struct json_object *request = json_object_new_object();
	struct error problem = ERROR_INIT; /* of the last attempt */
	cleanup_close int fd = -EBADF;
	int r;

	if (!request)
		return error_errno(err, ENOMEM, "ask the daemon of component '%s'", control->name);
	json_object_object_add(request, "operation", json_object_new_string(operation));
	r = control_call(control, request, -EBADF, ret_reply, &problem);
	/* Its worker was killed; the next one is asked. */
	if ((r == -ECONNRESET || r == -EPIPE) && connect_to(control->run_fd, control->name, &fd, NULL) == 0) {
		close(control->fd);
		control->fd = TAKE_FD(fd);
		r = control_call(control, request, -EBADF, ret_reply, &problem);
	}
	json_object_put(request);
	return r < 0 ? error_set(err, r, "%s", problem.message) : 0;
}
