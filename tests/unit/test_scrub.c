/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/overlay_scene.h"

#include "fs/scrub.h"
#include "fs/session.h"
#include "fs/worker_state.h"
#include "store/base/clock.h"
#include "store/object.h"

/* ---- what there is to read ---- */

Test(scrub, each_object_once_in_order)
{
	overlay_scene_auto made = overlay_scene_make("mkdir d; for i in 1 2 3 4 5 6 7; do echo old $i >d/$i; done; echo gone >gone");
	cleanup_scrub_list struct scrub_list list = SCRUB_LIST_INIT;
	struct hash128 place = { { 0 } };
	const struct scrub_object *object;
	size_t met = 0;

	cr_assert_eq(scrub_list_make(NULL, &list), 0);
	cr_assert_eq(list.count, 0);
	cr_assert_null(scrub_list_after(&list, &place));
	scrub_list_release(&list);
	patch(&made, "a", "for i in 1 2 3 4 5; do echo new $i >d/$i; done; cp d/1 d/6; ln -sf x d/7; mkfifo d/8; rm gone");
	cr_assert_eq(scrub_list_make(made.view, &list), 0);
	cr_assert_eq(list.count, 5);
	while ((object = scrub_list_after(&list, &place))) {
		cr_assert_lt(memcmp(&place, &object->hash, sizeof place), 0);
		cr_assert_eq(object->size, strlen("new 1\n"));
		place = object->hash;
		met++;
	}
	cr_assert_eq(met, 5);
	/* Any place will do, also one where there is nothing (any more). */
	place = list.objects[2].hash;
	place.bytes[15] ^= 1;
	object = scrub_list_after(&list, &place);
	cr_assert(object == &list.objects[2] || object == &list.objects[3]);
	memset(&place, 0xff, sizeof place);
	cr_assert_null(scrub_list_after(&list, &place));
}

Test(scrub, the_rate_is_kept)
{
	static const struct {
		uint64_t bytes, elapsed_ms, rate, wait_ms;
	} rows[] = {
		{ 0, 0, 1, 0 },
		{ 1 << 20, 0, 8 << 20, 125 },
		{ 1 << 20, 100, 8 << 20, 25 },
		{ 1 << 20, 125, 8 << 20, 0 },
		{ 1 << 20, 10000, 8 << 20, 0 },
		{ 1, 0, 1, 1000 },
		{ 4ull << 30, 0, 1, (4ull << 30) * 1000 },
		{ 4ull << 30, 1000, SCRUB_RATE_MAX, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		cr_assert_eq(scrub_wait_ms(rows[i].bytes, rows[i].elapsed_ms * 1000000, rows[i].rate), rows[i].wait_ms, "row %zu: %ju", i,
			(uintmax_t)scrub_wait_ms(rows[i].bytes, rows[i].elapsed_ms * 1000000, rows[i].rate));
}

/* ---- the thread ---- */

struct scrub_scene {
	struct overlay_scene made;
	struct worker_state *state;
	struct healer *healer;
	struct session *session;
};

static struct scrub_scene scrub_scene_make(void)
{
	struct scrub_scene scene = { .made = overlay_scene_make("mkdir d; for i in 1 2 3 4; do echo old $i >d/$i; done") };

	patch(&scene.made, "a", "for i in 1 2 3 4; do { echo $i; head -c 100000 /dev/zero; } >d/$i; done");
	scene.state = aligned_alloc(_Alignof(struct worker_state), sizeof *scene.state);
	cr_assert_not_null(scene.state);
	memset(scene.state, 0, sizeof *scene.state);
	scene.session = calloc(1, sizeof *scene.session);
	scene.session->overlay = scene.made.overlay;
	scene.healer = healer_new(scene.made.scene.bench.store->path, "thing", scene.state);
	return scene;
}

static void scrub_scene_remove(struct scrub_scene *scene)
{
	healer_free(scene->healer);
	free(scene->session);
	free(scene->state);
	overlay_scene_remove(&scene->made);
}
#define scrub_scene_auto __attribute__((cleanup(scrub_scene_remove))) struct scrub_scene

static struct scrub *start(struct scrub_scene *scene, uint64_t rate)
{
	struct scrub *scrub = NULL;

	must_pass(scrub_start(rate, scene->made.scene.bench.store->objects_fd, scene->session, scene->healer, scene->state, &scrub, &err));
	return scrub;
}

static struct json_object *state_of(struct scrub_scene *scene, struct scrub *scrub)
{
	struct json_object *row = json_object_new_object();

	healer_add_state(scene->healer, row);
	scrub_add_state(scrub, row);
	return row;
}

static int64_t healed(struct scrub_scene *scene, struct scrub *scrub)
{
	struct json_object *row = state_of(scene, scrub), *value = NULL;
	int64_t count;

	cr_assert(json_object_object_get_ex(row, "healed", &value));
	count = json_object_get_int64(value);
	json_object_put(row);
	return count;
}

static bool has_ended(struct scrub_scene *scene, struct scrub *scrub)
{
	struct json_object *row = state_of(scene, scrub), *value = NULL;
	bool ended;

	json_object_object_get_ex(row, "scrubbed_at", &value);
	ended = value;
	json_object_put(row);
	return ended;
}

static void damage_objects(struct scrub_scene *scene)
{
	bench_run(&scene->made.scene.bench, "for f in store/objects/*/*; do printf X | dd of=$f bs=1 seek=70000 conv=notrunc status=none; done");
}

#define AWAIT(condition)                                                                           \
	({                                                                                         \
		for (int tries_ = 0; tries_ < 10000 && !(condition); tries_++)                     \
			usleep(1000);                                                              \
		cr_assert(condition);                                                              \
	})

Test(scrub, what_is_damaged_is_healed)
{
	scrub_scene_auto scene = scrub_scene_make();
	struct scrub *scrub;

	damage_objects(&scene);
	scrub = start(&scene, SCRUB_BYTES_PER_SECOND);
	AWAIT(has_ended(&scene, scrub));
	cr_assert_eq(healed(&scene, scrub), 4);
	/* The next round is not due; but somebody asks for one. */
	damage_objects(&scene);
	usleep(20000);
	cr_assert_eq(healed(&scene, scrub), 4);
	scrub_now(scrub);
	AWAIT(healed(&scene, scrub) == 8);
	scrub_stop(scrub);
}

Test(scrub, off_until_somebody_asks)
{
	scrub_scene_auto scene = scrub_scene_make();
	struct scrub *scrub;

	damage_objects(&scene);
	scrub = start(&scene, 0);
	usleep(50000);
	cr_assert_eq(healed(&scene, scrub), 0);
	scrub_now(scrub);
	AWAIT(healed(&scene, scrub) == 4);
	scrub_stop(scrub);
}

/* The next worker goes on where the last one was, and not from the beginning. */
Test(scrub, the_place_is_kept)
{
	scrub_scene_auto scene = scrub_scene_make();
	cleanup_scrub_list struct scrub_list list = SCRUB_LIST_INIT;
	struct scrub *scrub;

	cr_assert_eq(scrub_list_make(scene.made.view, &list), 0);
	damage_objects(&scene);
	scene.state->scrub_began = 1;
	scene.state->scrub_place = list.objects[1].hash;
	scrub = start(&scene, SCRUB_BYTES_PER_SECOND);
	AWAIT(healed(&scene, scrub) == 2);
	AWAIT(has_ended(&scene, scrub));
	scrub_stop(scrub);
	for (size_t i = 0; i < list.count; i++)
		cr_assert_eq(object_verify(scene.made.scene.bench.store->objects_fd, &list.objects[i].hash, list.objects[i].size, NULL) == 0,
			i >= 2, "object %zu", i);
}

/* However slow it is, it is stopped at once, in the midst of a round. */
Test(scrub, it_is_stopped_while_it_waits, .timeout = 60)
{
	scrub_scene_auto scene = scrub_scene_make();
	struct scrub *scrub = start(&scene, 1);

	usleep(100000);
	cr_assert_not(has_ended(&scene, scrub));
	scrub_stop(scrub);
	scrub_stop(NULL);
}

/* What git has lost as well is remembered, until it is whole or nobody is served it. */
Test(healer, health)
{
	scrub_scene_auto scene = scrub_scene_make();
	cleanup_scrub_list struct scrub_list list = SCRUB_LIST_INIT;
	char health[512];

	cr_assert_eq(scrub_list_make(scene.made.view, &list), 0);
	cr_assert_eq(healer_start(scene.healer, scene.session, NULL), 0);
	cr_assert_not(healer_health(scene.healer, health, sizeof health));
	damage_objects(&scene);
	cr_assert_lt(healer_heal(scene.healer, &list.objects[0].hash, &list.objects[1].blob, list.objects[0].size, "by a test"), 0);
	cr_assert(healer_health(scene.healer, health, sizeof health));
	cr_assert_eq(strncmp(health, "damaged: ", 9), 0, "%s", health);
	cr_assert_eq(healer_heal(scene.healer, &list.objects[0].hash, &list.objects[0].blob, list.objects[0].size, "by a test"), 1);
	cr_assert_eq(healer_heal(scene.healer, &list.objects[0].hash, &list.objects[0].blob, list.objects[0].size, "by a test"), 0);
	cr_assert(healer_health(scene.healer, health, sizeof health));
	cr_assert_eq(strncmp(health, "healed: 1 ", 10), 0, "%s", health);
	cr_assert_lt(healer_heal(scene.healer, &list.objects[2].hash, &list.objects[1].blob, list.objects[2].size, "by a test"), 0);
	publish(&scene.made, NULL);
	cr_assert(healer_health(scene.healer, health, sizeof health));
	cr_assert_eq(strncmp(health, "healed: 1 ", 10), 0, "what is not served: %s", health);
	scene.state->healed_us -= (HEALER_SHOWN_SECONDS + 1) * 1000000ll;
	cr_assert_not(healer_health(scene.healer, health, sizeof health));
	healer_stop(scene.healer);
}
