/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/resident.h"
#include "tests/unit/support.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>

#include "fs/handover.h"
#include "fs/worker_state.h"

enum { MANY = 300 };

struct world {
	int ends[2]; /* of who has the mount, and of who is to have it */
	struct shared *shared;
	struct keeper *keeper;
	struct shared *received;
	struct keeper *taken;
	int log_fd;
	int result;
	struct error err;
};

static void world_make(struct world *world)
{
	*world = (struct world){ .shared = shared_new(), .keeper = keeper_new(), .taken = keeper_new(), .log_fd = -EBADF, .err = ERROR_INIT };
	cr_assert(world->shared && world->keeper && world->taken);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, world->ends), 0);
}

static void world_free(struct world *world)
{
	for (int i = 0; i < 2; i++) {
		if (world->ends[i] >= 0)
			close(world->ends[i]);
	}
	if (world->log_fd >= 0)
		close(world->log_fd);
	keeper_free(world->keeper);
	keeper_free(world->taken);
	shared_free(world->shared);
	shared_free(world->received);
}

static int open_null(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* All of who is to have it. */
static void *go_on(void *arg)
{
	struct world *world = arg;

	world->result = handover_receive(world->ends[1], &world->received, &world->log_fd, &world->err);
	if (world->result == 0)
		world->result = handover_accept(world->ends[1], &world->err);
	if (world->result == 0)
		world->result = handover_take(world->ends[1], world->taken, &world->err);
	if (world->result == 0)
		world->result = handover_serves(world->ends[1], &world->err);
	return NULL;
}

/* Memory and descriptors come over, more of them than a packet holds, each with its key. */
Test(handover, all_comes_over)
{
	size_t before = open_descriptors();
	struct world world;
	pthread_t thread;
	struct stat st, kept;

	world_make(&world);
	worker_state_of(world.shared)->workers = 42;
	for (uint64_t key = 1; key <= MANY; key++)
		cr_assert_eq(keeper_put(world.keeper, key, key == 7 ? open("/dev/zero", O_RDONLY | O_CLOEXEC) : open_null()), 0);
	pthread_create(&thread, NULL, go_on, &world);
	must_pass(handover_offer(world.ends[0], getpid(), world.shared, STDERR_FILENO, &err));
	must_pass(handover_give(world.ends[0], world.keeper, &err));
	must_pass(handover_await(world.ends[0], &err));
	must_pass(handover_confirm(world.ends[0], &err));
	pthread_join(thread, NULL);
	cr_assert_eq(world.result, 0, "%s", world.err.message);
	cr_assert_eq(worker_state_of(world.received)->workers, 42);
	worker_state_of(world.received)->workers++;
	cr_assert_eq(worker_state_of(world.shared)->workers, 43, "it is the same memory");
	cr_assert(world.log_fd >= 0);
	cr_assert_eq(keeper_count(world.taken), MANY);
	cr_assert_eq(fstat(keeper_kept(world.taken, 7), &kept), 0);
	cr_assert_eq(stat("/dev/zero", &st), 0);
	cr_assert_eq(st.st_rdev, kept.st_rdev);
	world_free(&world);
	cr_assert_eq(open_descriptors(), before);
}

/* Without something to log to. */
Test(handover, nothing_to_log_to)
{
	struct world world;
	pthread_t thread;

	world_make(&world);
	pthread_create(&thread, NULL, go_on, &world);
	must_pass(handover_offer(world.ends[0], getpid(), world.shared, -EBADF, &err));
	close(world.ends[0]);
	world.ends[0] = -EBADF;
	pthread_join(thread, NULL);
	cr_assert_eq(world.result, -EPIPE, "%s", world.err.message);
	cr_assert_eq(world.log_fd, -EBADF);
	world_free(&world);
}

static void *refuse(void *arg)
{
	struct world *world = arg;
	struct error why = ERROR_INIT;

	world->result = handover_receive(world->ends[1], &world->received, &world->log_fd, &world->err);
	error_set(&why, -EXDEV, "it cannot be seen from here");
	handover_refuse(world->ends[1], &why);
	return NULL;
}

Test(handover, refused)
{
	struct world world;
	pthread_t thread;

	world_make(&world);
	pthread_create(&thread, NULL, refuse, &world);
	must_fail(-EXDEV, "it cannot be seen from here", handover_offer(world.ends[0], getpid(), world.shared, -EBADF, &err));
	pthread_join(thread, NULL);
	world_free(&world);
}

/* Who is known here by another number would not know the mount for its own. */
Test(handover, another_process_namespace)
{
	struct world world;
	pthread_t thread;

	world_make(&world);
	pthread_create(&thread, NULL, go_on, &world);
	must_fail(-EXDEV, "another process namespace", handover_offer(world.ends[0], getpid() + 1, world.shared, -EBADF, &err));
	close(world.ends[0]);
	world.ends[0] = -EBADF;
	pthread_join(thread, NULL);
	world_free(&world);
}

/* What is no packet of ours, and what is none of the place, ends it; descriptors that came along are closed. */
Test(handover, other_words)
{
	size_t before = open_descriptors();
	struct world world;

	world_make(&world);
	cr_assert_eq(send(world.ends[0], "hello", 5, 0), 5);
	must_fail(-EPROTO, "speaks otherwise", handover_receive(world.ends[1], &world.received, &world.log_fd, &err));
	must_pass(handover_accept(world.ends[0], &err));
	must_fail(-EPROTO, "something else", handover_receive(world.ends[1], &world.received, &world.log_fd, &err));
	cr_assert_eq(keeper_put(world.keeper, 1, open_null()), 0);
	must_pass(handover_give(world.ends[0], world.keeper, &err));
	must_fail(-EPROTO, "something else", handover_await(world.ends[1], &err));
	world_free(&world);
	cr_assert_eq(open_descriptors(), before);
}

/* Memory that is not as large as it has to be would end the process that reads it. */
Test(handover, memory_of_another_size)
{
	size_t before = open_descriptors();
	struct shared *shared = shared_new(), *received = NULL;
	int fds[SHARED_REGIONS];

	cr_assert(shared);
	for (int i = 0; i < SHARED_REGIONS; i++)
		fds[i] = dup(shared->fds[i]);
	cr_assert_eq(ftruncate(fds[SHARED_STATE], 4096), 0);
	cr_assert_eq(shared_adopt(fds, &received), -EPROTO);
	cr_assert_null(received);
	for (int i = 0; i < SHARED_REGIONS; i++)
		fds[i] = open_null();
	cr_assert_eq(shared_adopt(fds, &received), -EPROTO);
	for (int i = 0; i < SHARED_REGIONS; i++)
		fds[i] = -EBADF;
	cr_assert_eq(shared_adopt(fds, &received), -EPROTO);
	shared_free(shared);
	cr_assert_eq(open_descriptors(), before);
}
