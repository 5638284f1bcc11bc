/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/service.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "fs/passing.h"
#include "store/base/cleanup.h"
#include "store/base/clock.h"
#include "store/base/log.h"

#define FIRST_PASSED_FD 3
#define PASSED_FDS_MAX 65536ul
#define NAME_MAX_BYTES 64
#define SURELY_TRIES 100
#define SURELY_WAIT_MS 50 /* after each: PID 1 may be busy */
#define NAME_PREFIX "veneer-"
#define KEPT_PREFIX NAME_PREFIX "kept-"

static const char *const region_names[SHARED_REGIONS] = {
	[SHARED_NODES] = NAME_PREFIX "nodes",
	[SHARED_NAMES] = NAME_PREFIX "names",
	[SHARED_ALIASES] = NAME_PREFIX "aliases",
	[SHARED_STATE] = NAME_PREFIX "state",
};

struct service {
	struct sockaddr_un address;
	socklen_t address_length;
	int fd;
	const struct shared *shared;
	struct keeper *keeper;
	bool ready;	     /* before that it is told of nothing else */
	pid_t untold;	     /* that it is ready, and by this process; 0: it is told */
	int regions_stored;
	bool warned;
	uint64_t round_ns;
};

struct service *service_new(const char *socket_path, const struct shared *shared, struct keeper *keeper)
{
	struct service *service;
	size_t length = strlen(socket_path);

	if (!length || length >= sizeof service->address.sun_path || (*socket_path != '/' && *socket_path != '@'))
		return NULL;
	service = calloc(1, sizeof *service);
	if (!service)
		return NULL;
	service->address.sun_family = AF_UNIX;
	memcpy(service->address.sun_path, socket_path, length + 1);
	service->address_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (*socket_path == '/'));
	if (*socket_path == '@')
		service->address.sun_path[0] = '\0';
	service->shared = shared;
	service->keeper = keeper;
	service->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (service->fd < 0) {
		free(service);
		return NULL;
	}
	return service;
}

void service_free(struct service *service)
{
	if (!service)
		return;
	close(service->fd);
	free(service);
}

/* TEXT, with FD (-EBADF: none). -EAGAIN: there is no room for it now. */
static int say(struct service *service, const char *text, int fd)
{
	const struct passing packet = { .data = text, .size = strlen(text), .fds = &fd, .fd_count = fd >= 0,
		.to = (const struct sockaddr *)&service->address, .to_length = service->address_length };
	int r = passing_send(service->fd, &packet, 0);

	if (r < 0 && r != -EAGAIN && !service->warned)
		log_message(LOG_WARNING, "the service manager cannot be told: %s", error_text(-r));
	service->warned |= r < 0 && r != -EAGAIN;
	return r;
}

static int store_nothing(void *arg, uint64_t key, int fd)
{
	return -EAGAIN;
}

/* poll(2) says nothing of the room that the other end of a socket has that is not connected. */
static void wait_for_room(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = SURELY_WAIT_MS * 1000000L }, NULL);
}

static int say_ready(struct service *service)
{
	char text[64];
	int r;

	snprintf(text, sizeof text, "READY=1\nMAINPID=%d", (int)service->untold);
	r = say(service, text, -EBADF);
	if (r != -EAGAIN)
		service->untold = 0;
	return r;
}

void service_ready(struct service *service, pid_t pid)
{
	if (!service)
		return;
	service->untold = pid;
	say_ready(service);
	service->ready = true;
	/* What is there by now need not wait for another round. */
	keeper_copy(service->keeper, store_nothing, store_nothing, service);
}

/* ---- what is kept ---- */

static int store(struct service *service, const char *name, int fd)
{
	char text[64 + NAME_MAX_BYTES];

	/* Not looked at: it would be let go of when the connection ends, or has something to read. */
	snprintf(text, sizeof text, "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name);
	return say(service, text, fd);
}

static int unstore(struct service *service, const char *name)
{
	char text[64 + NAME_MAX_BYTES];

	snprintf(text, sizeof text, "FDSTOREREMOVE=1\nFDNAME=%s", name);
	return say(service, text, -EBADF);
}

static void unstore_surely(struct service *service, const char *name)
{
	for (int tries = 0; tries < SURELY_TRIES && unstore(service, name) == -EAGAIN; tries++)
		wait_for_room();
}

static void kept_name(uint64_t key, char name[NAME_MAX_BYTES])
{
	snprintf(name, NAME_MAX_BYTES, KEPT_PREFIX "%016" PRIx64, key);
}

static int store_kept(void *arg, uint64_t key, int fd)
{
	char name[NAME_MAX_BYTES];

	kept_name(key, name);
	return store(arg, name, fd);
}

static int unstore_kept(void *arg, uint64_t key, int fd)
{
	char name[NAME_MAX_BYTES];

	kept_name(key, name);
	return unstore(arg, name);
}

int service_store(struct service *service)
{
	uint64_t now, next;
	bool unstored;

	if (!service || !service->ready)
		return -1;
	now = clock_monotonic_ns();
	next = service->round_ns + SERVICE_ROUND_MS * 1000000ull;
	if (now < next && service->round_ns)
		return (int)((next - now) / 1000000) + 1;
	service->round_ns = now;
	if (service->untold && say_ready(service) == -EAGAIN)
		return SERVICE_ROUND_MS;
	while (service->regions_stored < SHARED_REGIONS &&
		store(service, region_names[service->regions_stored], service->shared->fds[service->regions_stored]) == 0)
		service->regions_stored++;
	unstored = keeper_copy(service->keeper, store_kept, unstore_kept, service) || service->regions_stored < SHARED_REGIONS;
	return unstored ? SERVICE_ROUND_MS : -1;
}

void service_main_process(struct service *service, pid_t pid)
{
	char text[64];

	if (!service)
		return;
	/* Of what is gone, and is not told yet, the other one does not know. */
	keeper_copy(service->keeper, store_nothing, unstore_kept, service);
	snprintf(text, sizeof text, "MAINPID=%d", (int)pid);
	for (int tries = 0; tries < SURELY_TRIES && say(service, text, -EBADF) == -EAGAIN; tries++)
		wait_for_room();
}

static void forget_kept(void *arg, uint64_t key, int fd)
{
	unstore_kept(arg, key, fd);
}

void service_forget(struct service *service)
{
	if (!service || !service->ready)
		return;
	for (int i = 0; i < SHARED_REGIONS; i++)
		unstore(service, region_names[i]);
	keeper_copy(service->keeper, store_nothing, unstore_kept, service);
	keeper_each(service->keeper, forget_kept, service);
}

void service_disclaim(void)
{
	const char *socket = getenv("NOTIFY_SOCKET"), *names = getenv("LISTEN_FDNAMES");
	struct service *service = socket ? service_new(socket, NULL, NULL) : NULL;
	cleanup_free char *copy = names ? strdup(names) : NULL;
	char *rest = copy, *name;

	while (service && (name = strsep(&rest, ":"))) {
		if (strncmp(name, NAME_PREFIX, strlen(NAME_PREFIX)) == 0 && strlen(name) < NAME_MAX_BYTES)
			unstore_surely(service, name);
	}
	service_free(service);
}

/* ---- and given back ---- */

static bool parse_number(const char *text, int base, uint64_t max, uint64_t *ret)
{
	char *end;

	if (!text || !*text || strspn(text, "0123456789abcdef") != strlen(text))
		return false;
	errno = 0;
	*ret = strtoull(text, &end, base);
	return errno == 0 && !*end && *ret <= max;
}

/* One descriptor called NAME, which becomes somebody's. */
static void take(const char *name, int fd, int regions[SHARED_REGIONS], struct keeper *keeper)
{
	uint64_t key;

	fcntl(fd, F_SETFD, FD_CLOEXEC);
	for (int i = 0; i < SHARED_REGIONS; i++) {
		if (strcmp(name, region_names[i]) == 0 && regions[i] < 0) {
			regions[i] = fd;
			return;
		}
	}
	if (strncmp(name, KEPT_PREFIX, strlen(KEPT_PREFIX)) == 0 && parse_number(name + strlen(KEPT_PREFIX), 16, UINT64_MAX, &key))
		keeper_put(keeper, key, fd);
	else
		close(fd);
}

int service_adopt(struct shared **ret_shared, struct keeper **ret_keeper, struct error *err)
{
	const char *names = getenv("LISTEN_FDNAMES");
	cleanup_free char *copy = names ? strdup(names) : NULL;
	int regions[SHARED_REGIONS];
	struct keeper *keeper;
	uint64_t count, pid;
	char *rest = copy;
	bool any = false;
	int r;

	if (!copy || !parse_number(getenv("LISTEN_PID"), 10, INT32_MAX, &pid) || (pid_t)pid != getpid() ||
		!parse_number(getenv("LISTEN_FDS"), 10, PASSED_FDS_MAX, &count) || count == 0)
		return 0;
	keeper = keeper_new();
	if (!keeper)
		return error_errno(err, ENOMEM, "take what the service manager has kept");
	for (int i = 0; i < SHARED_REGIONS; i++)
		regions[i] = -EBADF;
	for (uint64_t i = 0; i < count && rest; i++)
		take(strsep(&rest, ":"), FIRST_PASSED_FD + (int)i, regions, keeper);
	for (int i = 0; i < SHARED_REGIONS; i++)
		any |= regions[i] >= 0;
	any |= keeper_count(keeper) > 0;
	r = any ? shared_adopt(regions, ret_shared) : 0;
	if (r < 0 || !any)
		keeper_free(keeper);
	if (r < 0)
		return error_set(err, r, "what the service manager has kept is not of this program: %s", error_text(-r));
	if (any) {
		keeper_is_copied(keeper);
		*ret_keeper = keeper;
	}
	return any;
}
