/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/support.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "fs/service.h"

#define TAKEN_MAX 65536

/* A service manager, and a service that speaks to it. */
struct world {
	int manager;
	struct shared *shared;
	struct keeper *keeper;
	struct service *service;
	size_t filled; /* messages of somebody else's */
};

static void world_make(struct world *world)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char path[64];

	*world = (struct world){ .shared = shared_new(), .keeper = keeper_new() };
	snprintf(path, sizeof path, "@veneer-test-service-%d", (int)getpid());
	memcpy(address.sun_path + 1, path + 1, strlen(path) - 1);
	world->manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	cr_assert_eq(bind(world->manager, (void *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path))), 0);
	world->service = service_new(path, world->shared, world->keeper);
	cr_assert(world->shared && world->keeper && world->service);
}

static void world_free(struct world *world)
{
	service_free(world->service);
	keeper_free(world->keeper);
	shared_free(world->shared);
	close(world->manager);
}

/* It has no room for another message. */
static void fill(struct world *world)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address;
	socklen_t length = sizeof address;

	cr_assert_eq(getsockname(world->manager, (void *)&address, &length), 0);
	while (sendto(fd, "X=1", 3, 0, (void *)&address, length) == 3)
		world->filled++;
	close(fd);
}

/* All that it was told, one line each; how many messages there were. */
static size_t take(struct world *world, char text[TAKEN_MAX])
{
	size_t count = 0, length = 0;
	ssize_t n;

	while ((n = recv(world->manager, text + length, TAKEN_MAX - 1 - length, 0)) > 0) {
		length += (size_t)n;
		text[length++] = '\n';
		count++;
	}
	text[length] = '\0';
	return count;
}

static void pass_ms(long ms)
{
	nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
}

/* A busy manager is told later, and nobody waits for it. */
Test(service, ready_when_there_is_room)
{
	static char text[TAKEN_MAX];
	struct world world;

	world_make(&world);
	fill(&world);
	service_ready(world.service, 4711);
	cr_assert_gt(service_store(world.service), 0);
	take(&world, text);
	cr_assert_not(strstr(text, "READY=1"));
	pass_ms(SERVICE_ROUND_MS + 50);
	service_store(world.service);
	take(&world, text);
	cr_assert(strstr(text, "READY=1\nMAINPID=4711"), "%s", text);
	cr_assert(strstr(text, "veneer-state"));
	world_free(&world);
}

static void *make_room(void *arg)
{
	const struct world *world = arg;
	char text[16];

	pass_ms(300);
	recv(world->manager, text, sizeof text, 0);
	return NULL;
}

Test(service, main_process_when_there_is_room)
{
	static char text[TAKEN_MAX];
	struct world world;
	pthread_t thread;

	world_make(&world);
	fill(&world);
	cr_assert_eq(pthread_create(&thread, NULL, make_room, &world), 0);
	service_main_process(world.service, 4712);
	pthread_join(thread, NULL);
	take(&world, text);
	cr_assert(strstr(text, "MAINPID=4712"), "%s", text);
	world_free(&world);
}
