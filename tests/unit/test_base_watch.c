/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/overlay_scene.h"

#include <poll.h>
#include <sched.h>
#include <sys/wait.h>

#include "fs/base_watch.h"

#define WAIT_MS 5000

/* What was told: "PATH/NAME:what" of each change, in any order and number; "everything". */
struct told {
	struct node_table *nodes;
	pthread_mutex_t lock; /* guards the text */
	struct strbuf text;
};

static void tell(void *arg, struct refresh_change *changes, size_t count)
{
	struct told *told = arg;
	SCOPED_LOCK(&told->lock);

	if (!changes)
		strbuf_addstr(&told->text, " everything ");
	for (size_t i = 0; i < count; i++) {
		strbuf_addch(&told->text, ' ');
		node_path(told->nodes, changes[i].directory, &told->text);
		strbuf_addf(&told->text, "/%s:%s%s%s ", changes[i].name ? changes[i].name : "",
			changes[i].what & REFRESH_NAME ? "n" : "", changes[i].what & REFRESH_CONTENT ? "c" : "",
			changes[i].what & REFRESH_ATTRIBUTES ? "a" : "");
	}
}

static bool was_told(struct told *told, const char *wanted)
{
	SCOPED_LOCK(&told->lock);

	return strstr(strbuf_text(&told->text), wanted);
}

static void expect_told(struct told *told, const char *wanted)
{
	for (int waited = 0; !was_told(told, wanted); waited += 5) {
		if (waited > WAIT_MS)
			cr_assert_fail("no '%s' in: %s", wanted, strbuf_text(&told->text));
		poll(NULL, 0, 5);
	}
}

static void forget_told(struct told *told)
{
	SCOPED_LOCK(&told->lock);

	strbuf_reset(&told->text);
}

struct watch_scene {
	struct overlay_scene made;
	struct base_watch *watch;
	struct told told;
};

static struct watch_scene *watch_scene_make(const char *script)
{
	struct watch_scene *scene = calloc(1, sizeof *scene);

	scene->made = overlay_scene_make(script);
	scene->told = (struct told){ overlay_nodes(scene->made.overlay), PTHREAD_MUTEX_INITIALIZER, STRBUF_INIT };
	must_pass(base_watch_new(scene->made.overlay, &scene->watch, &err));
	return scene;
}

static void watch_scene_remove(struct watch_scene **scene)
{
	base_watch_free((*scene)->watch);
	strbuf_release(&(*scene)->told.text);
	overlay_scene_remove(&(*scene)->made);
	free(*scene);
}
#define watch_scene_auto __attribute__((cleanup(watch_scene_remove))) struct watch_scene

static void run_in_base(struct watch_scene *scene, const char *script)
{
	cleanup_free char *command = NULL;

	cr_assert_geq(asprintf(&command, "cd base; %s", script), 0);
	bench_run(&scene->made.scene.bench, command);
}

static struct base_watch_state state_of(struct watch_scene *scene)
{
	struct base_watch_state state;

	base_watch_state(scene->watch, &state);
	return state;
}

/* What happens before the thread is there is not lost. */
Test(base_watch, changes)
{
	watch_scene_auto *scene = watch_scene_make("mkdir -p d/e other; echo 1 >d/x; echo 1 >d/y; echo 1 >y");
	uint64_t d = find_id(scene->made.overlay, "d");

	base_watch_directory(scene->watch, d);
	base_watch_directory(scene->watch, d);
	base_watch_directory(NULL, d);
	base_watch_directory(scene->watch, 12345);
	cr_assert_eq(state_of(scene).directories, 2);
	cr_assert_not(state_of(scene).limited);
	run_in_base(scene, "echo 2 >y");
	cr_assert_eq(base_watch_start(scene->watch, tell, &scene->told), 0);
	expect_told(&scene->told, " /y:c ");
	forget_told(&scene->told);
	run_in_base(scene, "echo 2 >d/x; chmod 600 d/y; mkdir d/new; mv d/y d/z; rm d/x; ln d/z l; chmod 700 . d");
	expect_told(&scene->told, " d/x:c ");
	expect_told(&scene->told, " d/y:a ");
	expect_told(&scene->told, " d/new:n ");
	expect_told(&scene->told, " d/y:n ");
	expect_told(&scene->told, " d/z:n ");
	expect_told(&scene->told, " d/x:n ");
	expect_told(&scene->told, " /l:n ");
	expect_told(&scene->told, " /:a ");
	expect_told(&scene->told, " d/:a ");
	expect_told(&scene->told, " /d:a ");
	forget_told(&scene->told);
	/* Nothing of a directory that is not known; and reading is no change. */
	run_in_base(scene, "cat d/z >/dev/null; ls -lR >/dev/null; echo 1 >other/x; echo 1 >d/e/x; touch end");
	expect_told(&scene->told, " /end:n ");
	cr_assert_not(was_told(&scene->told, "x:"), "%s", scene->told.text.buf);
	cr_assert_not(was_told(&scene->told, "z:"), "%s", scene->told.text.buf);
}

/* It is watched until it is forgotten, and again when it is known again by another node. */
Test(base_watch, forgotten)
{
	watch_scene_auto *scene = watch_scene_make("mkdir d; for i in {1..200}; do mkdir d/$i; done");
	uint64_t d = find_id(scene->made.overlay, "d"), id;
	char path[16];

	cr_assert_eq(base_watch_start(scene->watch, tell, &scene->told), 0);
	base_watch_directory(scene->watch, d);
	for (int round = 0; round < 2; round++) {
		for (int i = 1; i <= 200; i++) {
			snprintf(path, sizeof path, "d/%d", i);
			base_watch_directory(scene->watch, find_id(scene->made.overlay, path));
		}
		cr_assert_eq(state_of(scene).directories, 202);
		for (int i = 1; i <= 200; i++) {
			snprintf(path, sizeof path, "d/%d", i);
			overlay_forget(scene->made.overlay, find_id(scene->made.overlay, path), 10);
		}
		cr_assert_eq(state_of(scene).directories, 2);
		run_in_base(scene, "touch d/7/x"); /* means nothing to anybody */
	}
	/* One of them is known again before its watch is taken off: it goes on. */
	base_watch_directory(scene->watch, find_id(scene->made.overlay, "d/7"));
	poll(NULL, 0, 1500);
	run_in_base(scene, "touch d/7/y d/8/y");
	expect_told(&scene->told, " d/7/y:n ");
	cr_assert_not(was_told(&scene->told, "d/8/"));
	/* Removed, and made anew: the watch goes with the last descriptor of it. */
	id = find_id(scene->made.overlay, "d/7");
	run_in_base(scene, "rm -r d/7; mkdir d/7");
	expect_told(&scene->told, " d/7:n ");
	fdcache_forget(overlay_fds(scene->made.overlay), id);
	for (int waited = 0; state_of(scene).directories != 2 && waited < WAIT_MS; waited += 5)
		poll(NULL, 0, 5);
	cr_assert_eq(state_of(scene).directories, 2);
}

Test(base_watch, too_much_at_once)
{
	watch_scene_auto *scene = watch_scene_make("echo 1 >x");
	cleanup_strbuf struct strbuf limit = STRBUF_INIT;
	char name[16];
	long events;

	must_pass(io_read_file_at(AT_FDCWD, "/proc/sys/fs/inotify/max_queued_events", 64, &limit, &err));
	events = strtol(limit.buf, NULL, 10);
	cr_assert(events > 0 && events < 1000000);
	for (long i = 0; i <= events; i++) {
		snprintf(name, sizeof name, "%ld", i % 2);
		if (mkdirat(scene->made.scene.basefd, name, 0755) < 0)
			unlinkat(scene->made.scene.basefd, name, AT_REMOVEDIR);
	}
	cr_assert_eq(base_watch_start(scene->watch, tell, &scene->told), 0);
	expect_told(&scene->told, " everything ");
}

static bool write_text(const char *path, const char *text)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

#define LIMITED_SKIP 77

/* In a process of its own, whose user namespace has a limit of its own. 0, or which check failed. */
static int check_limit(struct overlay_scene *made, const uint64_t *ids, size_t count)
{
	struct base_watch *watch = NULL;
	struct base_watch_state state;
	struct error err = ERROR_INIT;

	if (unshare(CLONE_NEWUSER) < 0 || !write_text("/proc/self/setgroups", "deny") || !write_text("/proc/self/uid_map", "0 0 1") ||
		!write_text("/proc/self/gid_map", "0 0 1") || !write_text("/proc/sys/user/max_inotify_watches", "3"))
		return LIMITED_SKIP;
	if (base_watch_new(made->overlay, &watch, &err) < 0)
		return 1;
	for (size_t i = 0; i < count; i++)
		base_watch_directory(watch, ids[i]);
	for (int round = 0; round < 2; round++) {
		base_watch_state(watch, &state);
		if (state.directories != 3 || !state.limited)
			return 2 + round;
		base_watch_all(watch);
	}
	if (!write_text("/proc/sys/user/max_inotify_watches", "100"))
		return 4;
	base_watch_all(watch);
	base_watch_state(watch, &state);
	base_watch_free(watch);
	return state.directories != 5 ? 5 : state.limited ? 6 : 0;
}

Test(base_watch, limit)
{
	overlay_scene_auto made = overlay_scene_make("mkdir a b c d");
	const uint64_t ids[] = { find_id(made.overlay, "a"), find_id(made.overlay, "b"), find_id(made.overlay, "c"), find_id(made.overlay, "d") };
	pid_t child = fork();
	int status = 0;

	if (child == 0)
		_exit(check_limit(&made, ids, ARRAY_SIZE(ids)));
	cr_assert_eq(waitpid(child, &status, 0), child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == LIMITED_SKIP)
		cr_skip_test("no user namespace with a limit of its own");
	cr_assert(WIFEXITED(status));
	cr_assert_eq(WEXITSTATUS(status), 0, "check %d", WEXITSTATUS(status));
}
