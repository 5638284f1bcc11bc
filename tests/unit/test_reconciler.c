/* SPDX-License-Identifier: Apache-2.0 */
/* With a session whose /dev/fuse is one end of a socket: what the kernel is told comes out at the other. */
#include "tests/unit/overlay_scene.h"

#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <time.h>

#include "fs/worker_state.h"
#include "fs/overlay_target.h"
#include "fs/reconciler.h"
#include "store/journal.h"
#include "store/policy.h"

struct daemon_scene {
	struct overlay_scene made;
	struct reconciler *reconciler;
	struct session *session;
	struct shared *shared;
	struct switcher *switcher;
	int kernel; /* our end */
};

static void greet(int kernel)
{
	struct {
		struct fuse_in_header header;
		struct fuse_init_in init;
	} request = { { .len = sizeof request, .opcode = FUSE_INIT, .unique = 2 }, { .major = 7, .minor = 31, .max_readahead = 65536 } };
	char reply[4096];

	cr_assert_eq(write(kernel, &request, sizeof request), (ssize_t)sizeof request);
	cr_assert_gt(read(kernel, reply, sizeof reply), 0);
}

/* LABELS of two patches: a (one, two), b (three), which are served. */
static atomic_uint unseen; /* how often it was told that something may have changed which nobody saw */

static void tell(void *arg, enum overlay_event event, const char *path, pid_t pid, uid_t uid)
{
	if (event == OVERLAY_UNSEEN)
		atomic_fetch_add(&unseen, 1);
	reconciler_tell(arg, event, path, pid, uid);
}

static struct daemon_scene daemon_scene_make(const char *labels)
{
	struct daemon_scene scene = { .made = { .scene = scene_make("for i in one two three; do echo -n 1 >$i; done; mkdir open; echo -n 2 >open/x; echo -n 2 >open/y") } };
	struct scene *base = &scene.made.scene;
	struct ref_update update = { .name = "refs/veneer/app/active" };
	struct overlay_config config = { .base_fd = base->basefd, .objects_fd = base->bench.store->objects_fd, .fd_capacity = 16,
		.event = tell };
	struct session_config session = { .device_fd = -EBADF };
	int ends[2];

	scene_patch(base, "a", "echo -n a >one; echo -n a >two");
	scene_patch(base, "b", "echo -n b >three");
	update.new_oid = scene_compose(base, labels);
	must_pass(repo_refs_update(base->bench.store->repo, &update, 1, &err));
	base->component->active = update.new_oid;
	scene.made.view = scene_view(base, &update.new_oid);
	config.event_arg = scene.reconciler = reconciler_new();
	cr_assert_eq(overlay_new(&config, scene.made.view, &scene.made.overlay), 0);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	scene.kernel = ends[0];
	session.device_fd = ends[1];
	session.overlay = scene.made.overlay;
	scene.shared = shared_new();
	session.state = worker_state_of(scene.shared);
	must_pass(session_new(&session, &scene.session, &err));
	must_pass(session_start(scene.session, 1, &err));
	greet(scene.kernel);
	must_pass(switcher_new(base->bench.store, base->component, base->basefd, scene.session, scene.made.view, &scene.switcher, &err));
	return scene;
}

static void daemon_scene_remove(struct daemon_scene *scene)
{
	reconciler_stop(scene->reconciler);
	close(scene->kernel);
	session_wait(scene->session);
	switcher_free(scene->switcher);
	session_free(scene->session);
	shared_free(scene->shared);
	overlay_scene_remove(&scene->made);
	reconciler_free(scene->reconciler);
}

#define daemon_scene_auto __attribute__((cleanup(daemon_scene_remove))) struct daemon_scene

static void start(struct daemon_scene *scene)
{
	must_pass(reconciler_start(scene->reconciler, scene->switcher, &err));
}

/* What was told is looked at before it returns. */
static void stop(struct daemon_scene *scene)
{
	reconciler_stop(scene->reconciler);
}

static void replace(struct daemon_scene *scene, const char *from, const char *name)
{
	struct overlay *overlay = scene->made.overlay;
	uint64_t open = find_id(overlay, "open");

	cr_assert_eq(GUARDED(overlay, overlay_rename(&guard, open, from, NODE_ROOT, name, 0)), 0, "'%s'", name);
}

static void expect_shown(struct daemon_scene *scene, const char *path, const char *content)
{
	expect_content(scene->made.overlay, find_id(scene->made.overlay, path), content);
}

static void expect_state(struct daemon_scene *scene, const char *labels, const char *health)
{
	struct oid served, wanted = *labels ? scene_compose(&scene->made.scene, labels) : scene->made.scene.component->base, active;
	char text[512];

	switcher_state(scene->switcher, &served, text, sizeof text);
	cr_expect(oid_equal(&served, &wanted), "not '%s' is served", labels);
	must_pass(repo_ref_read(scene->made.scene.bench.store->repo, "refs/veneer/app/active", &active, &err));
	cr_expect(oid_equal(&active, &wanted), "active is not '%s'", labels);
	cr_expect(strstr(text, health), "no '%s' in: %s", health, text);
}

/* Names that the kernel was told to look up again, with blanks around them. */
static void names_told(struct daemon_scene *scene, struct strbuf *sb)
{
	strbuf_addch(sb, ' ');
	while (poll(&(struct pollfd){ scene->kernel, POLLIN, 0 }, 1, 100) > 0) {
		char packet[4096] = "";
		ssize_t n = read(scene->kernel, packet, sizeof packet - 1);
		const struct fuse_out_header *header = (const void *)packet;
		const size_t name = sizeof *header + sizeof(struct fuse_notify_inval_entry_out);

		cr_assert_gt(n, 0);
		if (header->unique == 0 && header->error == FUSE_NOTIFY_INVAL_ENTRY)
			strbuf_addf(sb, "%s ", packet + name);
	}
}

static int keep_first(void *arg, const struct journal_entry *entry, struct error *err)
{
	strbuf_addf(arg, "%s: %s", entry->action, entry->reason ? entry->reason : "");
	return 1;
}

static void set_policy(struct daemon_scene *scene, enum base_change change)
{
	const struct policy policy = { .base_change = change };

	must_pass(policy_save(scene->made.scene.bench.store, "app", &policy, &err));
	must_pass(switcher_load_policy(scene->switcher, &err));
}

Test(reconciler, a_patch_retires_as_a_whole)
{
	daemon_scene_auto scene = daemon_scene_make("a b");
	cleanup_strbuf struct strbuf told = STRBUF_INIT, entry = STRBUF_INIT;

	replace(&scene, "x", "one");
	expect_shown(&scene, "one", "2");
	expect_shown(&scene, "two", "a");
	start(&scene);
	stop(&scene);
	expect_state(&scene, "b", "ok");
	expect_shown(&scene, "one", "2");
	expect_shown(&scene, "two", "1");
	expect_shown(&scene, "three", "b");
	names_told(&scene, &told);
	cr_expect(strstr(strbuf_text(&told), " one ") && strstr(strbuf_text(&told), " two "), "told:%s", strbuf_text(&told));
	journal_each(scene.made.scene.bench.store, "app", 0, keep_first, &entry, NULL);
	cr_expect_str_eq(strbuf_text(&entry), "retired: a: the base has something else at 'one' ('one' was replaced)");
}

/* Replaced by what was there before: nothing retires, and the view is served as it was made. */
Test(reconciler, what_fits_still_is_shown_again)
{
	daemon_scene_auto scene = daemon_scene_make("a b");

	bench_run(&scene.made.scene.bench, "echo -n 1 >base/open/x");
	replace(&scene, "x", "one");
	expect_shown(&scene, "one", "1");
	start(&scene);
	stop(&scene);
	expect_state(&scene, "a b", "ok");
	expect_shown(&scene, "one", "a");
}

Test(reconciler, what_is_held_is_said_and_shown_at_each_name)
{
	daemon_scene_auto scene = daemon_scene_make("a b");
	cleanup_strbuf struct strbuf told = STRBUF_INIT;
	struct follow_report report;

	set_policy(&scene, BASE_CHANGE_HOLD);
	replace(&scene, "x", "one");
	replace(&scene, "y", "three");
	start(&scene);
	stop(&scene);
	expect_state(&scene, "a b", "hold: the base has something else at 'one'");
	expect_shown(&scene, "one", "a");
	names_told(&scene, &told);
	cr_expect(strstr(strbuf_text(&told), " one ") && strstr(strbuf_text(&told), " three "), "told:%s", strbuf_text(&told));
	/* Nor does it go unsaid when the ref is looked at. */
	cr_expect_eq(switcher_follow(scene.switcher, &report), FOLLOW_NOTHING);
	expect_state(&scene, "a b", "hold: the base has something else at 'one'");
}

/* The store's lock is somebody else's for a while: nothing is lost. */
Test(reconciler, it_is_tried_again)
{
	daemon_scene_auto scene = daemon_scene_make("a b");
	cleanup_close int lock = (int)must_pass(store_lock(scene.made.scene.bench.store, 1000, &err));
	struct oid served, b = scene_compose(&scene.made.scene, "b");
	char health[64];

	replace(&scene, "x", "one");
	start(&scene);
	nanosleep(&(struct timespec){ .tv_nsec = 300000000 }, NULL);
	switcher_state(scene.switcher, &served, health, sizeof health);
	cr_expect_not(oid_equal(&served, &b));
	close(TAKE_FD(lock));
	for (int i = 0; i < 100 && !oid_equal(&served, &b); i++) {
		nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
		switcher_state(scene.switcher, &served, health, sizeof health);
	}
	cr_expect(oid_equal(&served, &b));
}

Test(reconciler, stopping_does_not_wait_for_a_lock)
{
	daemon_scene_auto scene = daemon_scene_make("a b");
	cleanup_close int lock = (int)must_pass(store_lock(scene.made.scene.bench.store, 1000, &err));
	const time_t before = time(NULL);

	cr_assert_geq(lock, 0);
	start(&scene);
	replace(&scene, "x", "one");
	stop(&scene);
	cr_expect_leq(time(NULL) - before, RECONCILER_LOCK_MS / 1000 + 4);
	reconciler_stop(NULL);
	reconciler_free(NULL);
	expect_shown(&scene, "one", "2");
}

/* Somebody's own commit that the base has altogether. */
Test(reconciler, a_commit_that_is_no_stack)
{
	daemon_scene_auto scene = daemon_scene_make("");
	cleanup_strbuf struct strbuf entry = STRBUF_INIT;
	struct ref_update update = { .name = "refs/veneer/app/active" };
	struct follow_report report;

	update.new_oid = scene_commit(&scene.made.scene, "refs/veneer/app/base", "echo -n 2 >one");
	must_pass(repo_refs_update(scene.made.scene.bench.store->repo, &update, 1, &err));
	cr_assert_eq(switcher_follow(scene.switcher, &report), FOLLOW_SWITCHED, "%s", report.reason);
	replace(&scene, "x", "one");
	start(&scene);
	stop(&scene);
	expect_state(&scene, "", "ok");
	journal_each(scene.made.scene.bench.store, "app", 0, keep_first, &entry, NULL);
	cr_expect_str_eq(strbuf_text(&entry), "absorbed: the base has all of it ('one' was replaced)");
}

struct churn {
	struct overlay *overlay;
	atomic_bool started, stop;
};

static void *churn_names(void *arg)
{
	struct churn *churn = arg;

	while (!atomic_load(&churn->stop)) {
		overlay_names_changed(churn->overlay);
		atomic_store(&churn->started, true);
	}
	return NULL;
}

static void move_and_follow(struct daemon_scene *scene, const struct oid *commit)
{
	const struct ref_update update = { .name = "refs/veneer/app/active", .new_oid = *commit };
	struct follow_report report;

	must_pass(repo_refs_update(scene->made.scene.bench.store->repo, &update, 1, &err));
	cr_assert_eq(switcher_follow(scene->switcher, &report), FOLLOW_SWITCHED, "%s", report.reason);
}

/*
 * What the view before did not hide is changed between the comparison and the swap: nobody is told by name, so it is looked at again. On a busy
 * machine the other thread does not come to anything in that time: then it is done again.
 */
Test(reconciler, changes_while_a_switch_goes_on_are_looked_at)
{
	daemon_scene_auto scene = daemon_scene_make("a");
	struct churn churn = { .overlay = scene.made.overlay };
	const struct oid before = scene.made.scene.component->active, after = scene_compose(&scene.made.scene, "a b");
	unsigned told = atomic_load(&unseen);
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, churn_names, &churn), 0);
	while (!atomic_load(&churn.started))
		sched_yield();
	move_and_follow(&scene, &after);
	for (int tries = 0; atomic_load(&unseen) == told && tries < 200; tries++) {
		move_and_follow(&scene, &before);
		told = atomic_load(&unseen);
		move_and_follow(&scene, &after);
	}
	cr_assert_neq(atomic_load(&unseen), told, "in 200 switches nothing changed meanwhile");
	atomic_store(&churn.stop, true);
	pthread_join(thread, NULL);
	bench_run(&scene.made.scene.bench, "echo -n 2 >base/three"); /* as if it had been then */
	start(&scene);
	stop(&scene);
	expect_state(&scene, "a", "ok");
}
