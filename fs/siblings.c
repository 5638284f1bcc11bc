/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/siblings.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/readdir.h"
#include "store/base/cleanup.h"

enum { LISTED, SORTED, ORDERS };

struct order {
	uint32_t *names; /* owned; where each begins in the text */
	int64_t position; /* of the last step */
	int64_t step;	  /* how far it went */
	uint32_t said;	  /* those before it were said, or passed */
	uint32_t window;
	bool widens;  /* with the next step: some were said since the last */
	unsigned run; /* so many steps in a row */
};

struct siblings {
	const struct siblings_kind *kind;
	struct strbuf text; /* the names, each with its NUL */
	uint32_t *listed;   /* owned; for each of the sorted its position in the listing */
	uint32_t count;
	struct order orders[ORDERS];
};

void siblings_free(struct siblings *siblings)
{
	if (!siblings)
		return;
	for (unsigned i = 0; i < ORDERS; i++)
		free(siblings->orders[i].names);
	free(siblings->listed);
	strbuf_release(&siblings->text);
	free(siblings);
}

static const char *name_at(const struct siblings *siblings, unsigned order, uint32_t position)
{
	return siblings->text.buf + siblings->orders[order].names[position];
}

static bool is_wanted(const struct siblings *siblings, const struct dirent *entry)
{
	if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
		return false;
	return entry->d_type == siblings->kind->type || entry->d_type == DT_UNKNOWN;
}

/* The names alone; their places are made when the text moves no more. */
static int read_names(struct siblings *siblings, DIR *directory)
{
	const struct dirent *entry;

	while ((errno = 0, entry = readdir(directory)) != NULL) {
		if (!is_wanted(siblings, entry))
			continue;
		if (siblings->count == SIBLINGS_MAX || siblings->text.len > SIBLINGS_TEXT_MAX)
			return -EFBIG;
		siblings->count++;
		strbuf_add(&siblings->text, entry->d_name, strlen(entry->d_name) + 1);
	}
	if (errno)
		return -errno;
	return strbuf_failed(&siblings->text) ? -ENOMEM : 0;
}

static int sorted_compare(const void *a, const void *b, void *arg)
{
	const struct siblings *siblings = arg;

	return strcmp(name_at(siblings, LISTED, *(const uint32_t *)a), name_at(siblings, LISTED, *(const uint32_t *)b));
}

struct place {
	uint64_t offset;
	uint32_t name;
};

/* As readdir_list() has them, names of one hash included. */
static int listed_compare(const void *a, const void *b, void *text)
{
	const struct place *left = a, *right = b;

	if (left->offset != right->offset)
		return left->offset < right->offset ? -1 : 1;
	return strcmp((const char *)text + left->name, (const char *)text + right->name);
}

static int sort_listed(const struct siblings *siblings, uint32_t *ret)
{
	cleanup_free struct place *places = calloc(siblings->count + 1, sizeof *places);
	uint32_t at = 0;

	if (!places)
		return -ENOMEM;
	for (uint32_t i = 0; i < siblings->count; i++) {
		size_t length = strlen(siblings->text.buf + at);

		places[i] = (struct place){ readdir_offset(siblings->text.buf + at, length), at };
		at += (uint32_t)length + 1;
	}
	qsort_r(places, siblings->count, sizeof *places, listed_compare, siblings->text.buf);
	for (uint32_t i = 0; i < siblings->count; i++)
		ret[i] = places[i].name;
	return 0;
}

static int make_orders(struct siblings *siblings)
{
	uint32_t *listed = siblings->listed = calloc(siblings->count + 1, sizeof *listed);
	int r;

	for (unsigned i = 0; i < ORDERS; i++) {
		siblings->orders[i].names = calloc(siblings->count + 1, sizeof(uint32_t));
		siblings->orders[i].position = INT32_MIN;
		if (!siblings->orders[i].names)
			return -ENOMEM;
	}
	if (!listed)
		return -ENOMEM;
	r = sort_listed(siblings, siblings->orders[LISTED].names);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < siblings->count; i++)
		listed[i] = i;
	qsort_r(listed, siblings->count, sizeof *listed, sorted_compare, siblings);
	for (uint32_t i = 0; i < siblings->count; i++)
		siblings->orders[SORTED].names[i] = siblings->orders[LISTED].names[listed[i]];
	return 0;
}

int siblings_open(int directory, const char *name)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
	int fd = openat(directory, name, flags | O_NOATIME);

	if (fd < 0 && errno == EPERM)
		fd = openat(directory, name, flags);
	return fd < 0 ? -errno : fd;
}

int siblings_list(int directory, const struct siblings_kind *kind, struct siblings **ret)
{
	CLEANUP(siblings_freep) struct siblings *siblings = calloc(1, sizeof *siblings);
	cleanup_close int fd = siblings_open(directory, ".");
	cleanup_closedir DIR *stream = NULL;
	int r;

	if (!siblings)
		return -ENOMEM;
	if (fd < 0)
		return fd;
	stream = fdopendir(fd);
	if (!stream)
		return -errno;
	(void)TAKE_FD(fd);
	siblings->kind = kind;
	r = read_names(siblings, stream);
	if (r == 0)
		r = make_orders(siblings);
	if (r == 0)
		*ret = TAKE_PTR(siblings);
	return r;
}

static bool find_sorted(const struct siblings *siblings, const char *name, uint32_t *ret)
{
	uint32_t from = 0, to = siblings->count;

	while (from < to) {
		uint32_t middle = from + (to - from) / 2;
		int order = strcmp(name, name_at(siblings, SORTED, middle));

		if (order == 0) {
			*ret = middle;
			return true;
		}
		if (order < 0)
			to = middle;
		else
			from = middle + 1;
	}
	return false;
}

static void order_step(struct order *order, uint32_t position, uint32_t widest)
{
	int64_t step = position - order->position;

	if (step > 0 && step <= SIBLINGS_STEP_MAX) {
		order->run++;
		if (order->widens && order->window < widest)
			order->window *= 2;
		order->widens = false;
	} else if (step != 0) {
		order->run = 0;
		order->window = SIBLINGS_WINDOW_MIN;
		order->widens = false;
		/* Forward among those that were said: they need not be said again. */
		if (step < 0 || position >= order->said)
			order->said = 0;
	}
	order->position = position;
	order->step = step;
	if (order->said <= position)
		order->said = position + 1;
}

void siblings_begin(struct siblings *siblings)
{
	/* So that a step to the first is as far as one may go, and one to the second is too far. */
	for (unsigned i = 0; i < ORDERS; i++)
		siblings->orders[i] = (struct order){ .names = siblings->orders[i].names, .window = SIBLINGS_WINDOW_MIN,
			.position = -(int64_t)SIBLINGS_STEP_MAX };
}

bool siblings_step(struct siblings *siblings, const char *name)
{
	uint32_t sorted;

	if (!find_sorted(siblings, name, &sorted))
		return false;
	order_step(&siblings->orders[SORTED], sorted, siblings->kind->window);
	order_step(&siblings->orders[LISTED], siblings->listed[sorted], siblings->kind->window);
	return true;
}

/* In which the longer run is; of two as long the one in which the last step was shorter. */
static unsigned order_of(const struct siblings *siblings)
{
	const struct order *listed = &siblings->orders[LISTED], *sorted = &siblings->orders[SORTED];

	if (listed->run != sorted->run)
		return listed->run > sorted->run ? LISTED : SORTED;
	return listed->step <= sorted->step ? LISTED : SORTED;
}

/* So many of ORDER may be said now. */
static uint32_t room_in(const struct siblings *siblings, const struct order *order)
{
	const uint32_t at_once = siblings->kind->at_once, half = (order->window + 1) / 2;
	uint32_t next, room;

	if (!order->run)
		return 0;
	/* They were said up to here, from the one after the last step on, or from a wider window of another run. */
	next = (uint32_t)order->position + 1;
	if (order->said - next > order->window)
		return 0;
	room = order->window - (order->said - next);
	if (room < (at_once < half ? at_once : half))
		return 0;
	if (room > siblings->count - order->said)
		room = siblings->count - order->said;
	return room < at_once ? room : at_once;
}

bool siblings_due(const struct siblings *siblings)
{
	return room_in(siblings, &siblings->orders[order_of(siblings)]) > 0;
}

size_t siblings_next(struct siblings *siblings, struct strbuf *ret)
{
	unsigned which = order_of(siblings);
	struct order *order = &siblings->orders[which];
	uint32_t count = room_in(siblings, order);

	for (uint32_t i = 0; i < count; i++) {
		const char *name = name_at(siblings, which, order->said++);

		strbuf_add(ret, name, strlen(name) + 1);
	}
	order->widens |= count > 0;
	return strbuf_failed(ret) ? 0 : count;
}
