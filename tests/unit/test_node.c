/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/resident.h"
#include "tests/unit/support.h"

#include <errno.h>
#include <pthread.h>

#include "fs/node.h"
#include "store/base/cleanup.h"

#define DEVICE 8u
#define ROOT_INODE 2u

static struct node_key key_of(ino_t inode)
{
	return node_key_of_base(DEVICE, inode);
}

static struct node_table *table_make(void)
{
	struct node_key root = key_of(ROOT_INODE);
	struct node_table *table = NULL;

	cr_assert_eq(node_table_new(&root, NULL, &table), 0);
	return table;
}

static void table_freep(struct node_table **table)
{
	node_table_free(*table);
}
#define table_auto __attribute__((cleanup(table_freep))) struct node_table

/* A look-up of base inode INODE that must succeed: its id. */
static uint64_t look(struct node_table *table, uint64_t parent, const char *name, ino_t inode, mode_t type)
{
	struct node_key key = key_of(inode);
	uint64_t id = 0;
	int r = node_look_up(table, parent, name, &key, type, NULL, &id);

	/* An assertion is a message to Criterion's runner, also where it holds: not two for each of 200,000. */
	if (r != 0 || id == 0)
		cr_assert_fail("look up '%s': %d", name, r);
	return id;
}

static int try_look(struct node_table *table, uint64_t parent, const char *name, ino_t inode, mode_t type)
{
	struct node_key key = key_of(inode);
	uint64_t id;

	return node_look_up(table, parent, name, &key, type, NULL, &id);
}

static bool known(struct node_table *table, uint64_t id)
{
	cleanup_node_info struct node_info info = NODE_INFO_INIT;

	return node_get(table, id, &info) == 0;
}

static void expect_path(struct node_table *table, uint64_t id, const char *wanted)
{
	cleanup_strbuf struct strbuf path = STRBUF_INIT;

	cr_assert_eq(node_path(table, id, &path), 0);
	cr_assert_str_eq(strbuf_text(&path), wanted);
}

/* The content of a file of a patch with this identity. */
static struct content *content_make(const struct hash128 *identity)
{
	struct view_entry entry = { .name = "f", .name_length = 1, .kind = VIEW_FILE, .mode = S_IFREG | 0644, .size = 3,
		.identity = *identity };
	struct content *content = content_new(&entry);

	cr_assert(content);
	return content;
}

/* ---- life and death ---- */

Test(node, the_root_stays)
{
	table_auto *table = table_make();
	cleanup_node_info struct node_info info = NODE_INFO_INIT;

	node_forget(table, NODE_ROOT, 1);
	node_forget(table, NODE_ROOT, 1000);
	cr_assert_eq(node_get(table, NODE_ROOT, &info), 0);
	cr_assert_eq(info.type, S_IFDIR);
	cr_assert_eq(info.key.low, ROOT_INODE);
	cr_assert_not(node_key_is_view(&info.key));
	cr_assert_eq(node_count(table), 1);
	expect_path(table, NODE_ROOT, "");
	/* It can be found again below itself (a bind mount), but not be moved, nor be another type. */
	cr_assert_eq(try_look(table, NODE_ROOT, "loop", ROOT_INODE, S_IFDIR), -ELOOP);
	cr_assert_eq(try_look(table, NODE_ROOT, "file", ROOT_INODE, S_IFREG), -EIO);
	cr_assert_eq(node_count(table), 1);
}

Test(node, forget_counts_look_ups)
{
	table_auto *table = table_make();
	uint64_t id = look(table, NODE_ROOT, "a", 10, S_IFREG);

	for (int i = 0; i < 4; i++)
		cr_assert_eq(look(table, NODE_ROOT, "a", 10, S_IFREG), id);
	node_forget(table, id, 2);
	node_forget(table, id, 2);
	cr_assert(known(table, id));
	cr_assert_eq(node_count(table), 2);
	node_forget(table, id, 1);
	cr_assert_not(known(table, id));
	cr_assert_eq(node_count(table), 1);
	/* More than was counted, ids that never were, and one that was. */
	id = look(table, NODE_ROOT, "a", 10, S_IFREG);
	node_forget(table, id, UINT64_MAX);
	node_forget(table, id, 1);
	node_forget(table, 0, 1);
	node_forget(table, 12345, 1);
	node_forget(table, UINT64_MAX, 1);
	cr_assert_eq(node_count(table), 1);
}

Test(node, ids_are_never_used_again)
{
	table_auto *table = table_make();
	uint64_t last = NODE_ROOT;

	for (int i = 0; i < 10000; i++) {
		uint64_t id = look(table, NODE_ROOT, "a", 10 + (ino_t)i % 3, S_IFREG);

		if (id <= last)
			cr_assert_fail("%lu after %lu", (unsigned long)id, (unsigned long)last);
		node_forget(table, id, 1);
		if (known(table, id))
			cr_assert_fail("%lu is known still", (unsigned long)id);
		last = id;
	}
	cr_assert_eq(try_look(table, last, "child", 99, S_IFREG), -ESTALE);
	cr_assert_eq(node_find(table, &(struct node_key){ DEVICE, 10 }), 0);
}

Test(node, parents_live_while_children_do)
{
	table_auto *table = table_make();
	uint64_t a = look(table, NODE_ROOT, "a", 10, S_IFDIR), b = look(table, a, "b", 11, S_IFDIR);
	uint64_t c = look(table, b, "c", 12, S_IFREG), d = look(table, b, "d", 13, S_IFREG);

	node_forget(table, a, 1);
	node_forget(table, b, 1);
	cr_assert_eq(node_count(table), 5);
	expect_path(table, c, "a/b/c");
	node_forget(table, c, 1);
	cr_assert_eq(node_count(table), 4);
	expect_path(table, d, "a/b/d");
	/* Known again before the last child goes. */
	cr_assert_eq(look(table, NODE_ROOT, "a", 10, S_IFDIR), a);
	node_forget(table, d, 1);
	cr_assert_not(known(table, b));
	cr_assert(known(table, a));
	node_forget(table, a, 1);
	cr_assert_eq(node_count(table), 1);
}

/* ---- names ---- */

Test(node, hard_links_are_one_node)
{
	table_auto *table = table_make();
	uint64_t dir = look(table, NODE_ROOT, "dir", 10, S_IFDIR), one = look(table, NODE_ROOT, "one", 20, S_IFREG);
	struct node_key key = key_of(20);

	cr_assert_eq(look(table, dir, "two", 20, S_IFREG), one);
	cr_assert_eq(node_find(table, &key), one);
	cr_assert_eq(node_count(table), 3);
	/* The name that was seen last leads to it. */
	expect_path(table, one, "dir/two");
	cr_assert_eq(look(table, NODE_ROOT, "one", 20, S_IFREG), one);
	expect_path(table, one, "one");
	/* Its former parent does not live for it any more. */
	node_forget(table, dir, 1);
	cr_assert_not(known(table, dir));
	node_forget(table, one, 3);
	cr_assert_eq(node_count(table), 1);
}

Test(node, path_of_a_deep_chain)
{
	enum { DEPTH = 3000 };
	table_auto *table = table_make();
	cleanup_strbuf struct strbuf path = STRBUF_INIT;
	uint64_t ids[DEPTH], parent = NODE_ROOT;
	char name[256];

	memset(name, 'n', 255);
	name[255] = '\0';
	for (size_t i = 0; i < DEPTH; i++)
		parent = ids[i] = look(table, parent, name, 100 + i, S_IFDIR);
	strbuf_addstr(&path, "before:");
	cr_assert_eq(node_path(table, parent, &path), 0);
	cr_assert_eq(path.len, 7 + DEPTH * 256 - 1);
	cr_assert_eq(strncmp(path.buf, "before:nnn", 10), 0);
	for (size_t i = 1; i < DEPTH; i++)
		cr_assert_eq(path.buf[7 + i * 256 - 1], '/');
	cr_assert_eq(strlen(path.buf), path.len);
	/* All of them live for the last one, and go with it. */
	for (size_t i = 0; i < DEPTH - 1; i++)
		node_forget(table, ids[i], 1);
	cr_assert_eq(node_count(table), DEPTH + 1);
	node_forget(table, parent, 1);
	cr_assert_eq(node_count(table), 1);
	cr_assert_eq(node_path(table, parent, &path), -ESTALE);
}

Test(node, move)
{
	table_auto *table = table_make();
	uint64_t a = look(table, NODE_ROOT, "a", 10, S_IFDIR), b = look(table, a, "b", 11, S_IFDIR);
	uint64_t c = look(table, b, "c", 12, S_IFREG), d = look(table, NODE_ROOT, "d", 13, S_IFDIR);
	struct node_key key_a = key_of(10), key_b = key_of(11), unknown = key_of(99), root = key_of(ROOT_INODE);

	/* A directory takes along what is below it. */
	cr_assert_eq(node_move(table, &key_b, d, "moved"), 0);
	expect_path(table, c, "d/moved/c");
	/* Never below itself. */
	cr_assert_eq(node_move(table, &key_b, b, "x"), -ELOOP);
	cr_assert_eq(node_move(table, &key_a, a, "x"), -ELOOP);
	cr_assert_eq(node_move(table, &(struct node_key){ DEVICE, 13 }, b, "x"), -ELOOP);
	cr_assert_eq(try_look(table, b, "d", 13, S_IFDIR), -ELOOP);
	cr_assert_eq(node_move(table, &root, d, "x"), -ELOOP);
	expect_path(table, c, "d/moved/c");
	/* What is not known needs no move; a parent that is not known cannot be one. */
	cr_assert_eq(node_move(table, &unknown, d, "x"), 0);
	cr_assert_eq(node_move(table, &key_a, 12345, "x"), -ESTALE);
	/* To the same name: nothing; to another in the same directory. */
	cr_assert_eq(node_move(table, &key_b, d, "moved"), 0);
	cr_assert_eq(node_move(table, &key_b, d, "again"), 0);
	expect_path(table, c, "d/again/c");
	/* Counts are right: the old parent goes when it is forgotten, the new one stays. */
	node_forget(table, a, 1);
	cr_assert_not(known(table, a));
	node_forget(table, d, 1);
	node_forget(table, b, 1);
	cr_assert_eq(node_count(table), 4);
	node_forget(table, c, 1);
	cr_assert_eq(node_count(table), 1);
}

Test(node, a_move_frees_parents_that_lived_for_it)
{
	table_auto *table = table_make();
	uint64_t a = look(table, NODE_ROOT, "a", 10, S_IFDIR), b = look(table, a, "b", 11, S_IFDIR);
	uint64_t c = look(table, b, "c", 12, S_IFREG);
	struct node_key key = key_of(12);

	node_forget(table, a, 1);
	node_forget(table, b, 1);
	/* Into the grandparent, which lives for nothing but the chain that is about to go. */
	cr_assert_eq(node_move(table, &key, a, "c"), 0);
	expect_path(table, c, "a/c");
	cr_assert_not(known(table, b));
	cr_assert_eq(node_count(table), 3);
	cr_assert_eq(node_move(table, &key, NODE_ROOT, "c"), 0);
	cr_assert_eq(node_count(table), 2);
}

Test(node, known_by_its_last_name)
{
	table_auto *table = table_make();
	uint64_t dir = look(table, NODE_ROOT, "dir", 10, S_IFDIR), file = look(table, NODE_ROOT, "one", 20, S_IFREG);

	cr_assert(node_is_named(table, file, NODE_ROOT, "one"));
	look(table, dir, "two", 20, S_IFREG);
	cr_assert(node_is_named(table, file, dir, "two"));
	cr_assert_not(node_is_named(table, file, NODE_ROOT, "one"));
	cr_assert_not(node_is_named(table, file, NODE_ROOT, "two"));
	cr_assert_not(node_is_named(table, file, dir, "tw"));
	cr_assert_not(node_is_named(table, NODE_ROOT, NODE_ROOT, ""));
	cr_assert_not(node_is_named(table, 12345, dir, "two"));
	cr_assert_not(node_is_named(table, file, 12345, "two"));
}

/* ---- what a node is bound to ---- */

Test(node, another_type_is_another_node)
{
	table_auto *table = table_make();
	uint64_t file = look(table, NODE_ROOT, "x", 20, S_IFREG), link = look(table, NODE_ROOT, "x", 20, S_IFLNK);
	cleanup_node_info struct node_info info = NODE_INFO_INIT;
	struct node_key key = key_of(20);

	cr_assert_neq(file, link);
	cr_assert_eq(node_find(table, &key), link);
	cr_assert_eq(look(table, NODE_ROOT, "x", 20, S_IFLNK), link);
	/* The old one is known still, bound to nothing that could be found. */
	cr_assert_eq(node_get(table, file, &info), 0);
	cr_assert_eq(info.type, S_IFREG);
	cr_assert(info.key.high != key.high || info.key.low != key.low);
	node_forget(table, file, 1);
	cr_assert_not(known(table, file));
	cr_assert(known(table, link));
	node_forget(table, link, 2);
	cr_assert_eq(node_count(table), 1);
}

Test(node, contents_are_counted)
{
	table_auto *table = table_make();
	struct hash128 identity = hash128_of("one", 3);
	struct content *content = content_make(&identity);
	struct node_key key = node_key_of_view(&identity);
	uint64_t id, again, parent;
	char name[NAME_MAX + 1];

	cr_assert(node_key_is_view(&key));
	cr_assert_eq(node_look_up(table, NODE_ROOT, "f", &key, S_IFREG, content, &id), 0);
	cr_assert_eq(node_name(table, id, &parent, name), -ENOENT);
	cr_assert_eq(node_look_up(table, NODE_ROOT, "f", &key, S_IFREG, content, &again), 0);
	cr_assert_eq(id, again);
	cr_assert_eq(atomic_load(&content->users), 2);
	{
		cleanup_node_info struct node_info info = NODE_INFO_INIT;

		cr_assert_eq(node_get(table, id, &info), 0);
		cr_assert_eq(info.content, content);
		cr_assert_eq(atomic_load(&content->users), 3);
		/* Who has it keeps it when the node goes. */
		node_forget(table, id, 2);
		cr_assert_eq(atomic_load(&content->users), 2);
	}
	cr_assert_eq(atomic_load(&content->users), 1);
	/* The table's end is the end of what it holds. */
	cr_assert_eq(node_look_up(table, NODE_ROOT, "f", &key, S_IFREG, content, &id), 0);
	node_table_free(TAKE_PTR(table));
	cr_assert_eq(atomic_load(&content->users), 1);
	content_unref(content);
}

Test(node, contents_fill_gaps)
{
	enum { COUNT = 1000 };
	table_auto *table = table_make();
	struct content *contents[COUNT];
	uint64_t ids[COUNT];

	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < COUNT; i++) {
			struct hash128 identity = hash128_of(&i, sizeof i);
			struct node_key key = node_key_of_view(&identity);

			if (round > 0 && i % 3 != 0)
				continue;
			contents[i] = content_make(&identity);
			cr_assert_eq(node_look_up(table, NODE_ROOT, "f", &key, S_IFREG, contents[i], &ids[i]), 0);
			content_unref(contents[i]);
		}
		for (uint32_t i = 0; i < COUNT; i++) {
			cleanup_node_info struct node_info info = NODE_INFO_INIT;

			cr_assert_eq(node_get(table, ids[i], &info), 0);
			cr_assert_eq(info.content, contents[i]);
			cr_assert_eq(atomic_load(&info.content->users), 2);
		}
		for (uint32_t i = 0; i < COUNT; i += 3)
			node_forget(table, ids[i], 1);
		for (uint32_t i = 0; round == 2 && i < COUNT; i++)
			node_forget(table, ids[i], 1);
	}
	cr_assert_eq(node_count(table), 1);
}

/* Two identities that differ in the one bit which a key has no room for. */
Test(node, two_contents_of_one_key_are_refused)
{
	table_auto *table = table_make();
	struct hash128 one = hash128_of("one", 3), two = one;
	struct content *first, *second;
	struct node_key key_one, key_two;
	uint64_t id;

	two.bytes[7] ^= 0x80;
	first = content_make(&one);
	second = content_make(&two);
	key_one = node_key_of_view(&one);
	key_two = node_key_of_view(&two);
	cr_assert_eq(memcmp(&key_one, &key_two, sizeof key_one), 0);
	cr_assert_eq(node_look_up(table, NODE_ROOT, "f", &key_one, S_IFREG, first, &id), 0);
	cr_assert_eq(node_look_up(table, NODE_ROOT, "f", &key_two, S_IFREG, second, &id), -EIO);
	cr_assert_eq(atomic_load(&second->users), 1);
	cr_assert_eq(node_count(table), 2);
	content_unref(first);
	content_unref(second);
}

Test(node, keys_of_base_and_view_never_meet)
{
	struct hash128 zero = { { 0 } };
	struct node_key base = node_key_of_base(UINT64_MAX, 0), view = node_key_of_view(&zero);

	cr_assert_not(node_key_is_view(&base));
	cr_assert(node_key_is_view(&view));
}

/* ---- being told ---- */

struct reaped {
	uint64_t ids[8];
	size_t count;
};

static void note_reaped(void *arg, uint64_t id)
{
	struct reaped *reaped = arg;

	reaped->ids[reaped->count++ % 8] = id;
}

Test(node, reap_hears_of_each)
{
	table_auto *table = table_make();
	struct reaped reaped = { .count = 0 };
	uint64_t a, b, c;

	node_table_on_reap(table, note_reaped, &reaped);
	a = look(table, NODE_ROOT, "a", 10, S_IFDIR);
	b = look(table, a, "b", 11, S_IFDIR);
	c = look(table, b, "c", 12, S_IFREG);
	node_forget(table, a, 1);
	node_forget(table, b, 1);
	cr_assert_eq(reaped.count, 0);
	node_forget(table, c, 1);
	cr_assert_eq(reaped.count, 3);
	cr_assert(reaped.ids[0] == c && reaped.ids[1] == b && reaped.ids[2] == a, "children first");
}

Test(node, pinned)
{
	table_auto *table = table_make();
	uint64_t id = look(table, NODE_ROOT, "a", 10, S_IFREG);
	cleanup_node_info struct node_info info = NODE_INFO_INIT;

	cr_assert_eq(node_get(table, id, &info), 0);
	cr_assert_not(info.pinned);
	cr_assert_not(node_set_pinned(table, id, false), "no fd was kept before");
	cr_assert_not(node_set_pinned(table, id, true), "only a handle was");
	cr_assert(node_set_pinned(table, id, true));
	cr_assert(node_set_pinned(table, id, false));
	cr_assert(node_set_pinned(table, 12345, true));
	cr_assert_eq(node_get(table, id, &info), 0);
	cr_assert(info.pinned);
	cr_assert_eq(node_look_up_again(table, id, NODE_ROOT, "d"), -ESTALE);
	cr_assert_eq(node_look_up_again(table, 12345, NODE_ROOT, "x"), -ESTALE);
}

/* By a look-up or a rename a name is good again. */
Test(node, pinned_no_more)
{
	table_auto *table = table_make();
	uint64_t id = look(table, NODE_ROOT, "a", 10, S_IFREG), again;
	struct node_key key = key_of(10);

	for (int move = 0; move < 2; move++) {
		cleanup_node_info struct node_info info = NODE_INFO_INIT;

		node_set_pinned(table, id, true);
		if (move)
			cr_assert_eq(node_move(table, &key, NODE_ROOT, "b"), 1);
		else
			cr_assert_eq(node_look_up(table, NODE_ROOT, "a", &key, S_IFREG, NULL, &again), 1);
		cr_assert_eq(node_get(table, id, &info), 0);
		cr_assert_not(info.pinned);
		cr_assert_not(node_set_pinned(table, id, false), "the fd is not kept any more");
		cr_assert_eq(node_move(table, &key, NODE_ROOT, "c"), 1);
		cr_assert_eq(node_move(table, &key, NODE_ROOT, "d"), 0);
		cr_assert_eq(node_look_up_again(table, id, NODE_ROOT, "d"), 0);
	}
	node_forget(table, id, 3);
	cr_assert_eq(node_count(table), 2, "four look-ups");
	node_forget(table, id, 1);
	cr_assert_eq(node_count(table), 1);
}

Test(node, name)
{
	table_auto *table = table_make();
	uint64_t dir = look(table, NODE_ROOT, "d", 10, S_IFDIR), file = look(table, dir, "f", 11, S_IFREG), parent = 0;
	struct node_key key = key_of(11);
	char name[NAME_MAX + 1] = "", longest[NAME_MAX + 1] = "";

	cr_assert_eq(node_name(table, file, &parent, name), 0);
	cr_assert_str_eq(name, "f");
	cr_assert_eq(parent, dir);
	memset(longest, 'n', NAME_MAX);
	node_move(table, &key, NODE_ROOT, longest);
	cr_assert_eq(node_name(table, file, &parent, name), 0);
	cr_assert_str_eq(name, longest);
	cr_assert_eq(parent, NODE_ROOT);
	node_set_pinned(table, file, true);
	cr_assert_eq(node_name(table, file, &parent, name), -ESTALE, "its path is gone");
	cr_assert_eq(node_name(table, NODE_ROOT, &parent, name), -ESTALE);
	cr_assert_eq(node_name(table, 12345, &parent, name), -ESTALE);
}

/* ---- the walk ---- */

Test(node, walk)
{
	table_auto *table = table_make();
	cleanup_strbuf struct strbuf path = STRBUF_INIT;
	struct node_met node;
	uint64_t last = NODE_ROOT, gone;
	uint32_t slot = 0;

	cr_assert_eq(node_walk(table, &slot, &node, &path), 0, "the root alone");
	gone = look(table, NODE_ROOT, "gone", 99, S_IFREG);
	for (uint64_t i = 0; i < 200; i++) {
		char name[16];

		snprintf(name, sizeof name, "n%u", (unsigned)(i % 7));
		last = look(table, i % 50 ? last : NODE_ROOT, name, 100 + i, S_IFDIR);
	}
	node_forget(table, gone, 1);
	node_set_pinned(table, last, true);
	for (size_t met = 0; node_walk(table, &slot, &node, &path) > 0; met++) {
		cleanup_strbuf struct strbuf own = STRBUF_INIT;
		cleanup_strbuf struct strbuf above = STRBUF_INIT;

		cr_assert_eq(node_path(table, node.id, &own), 0);
		cr_assert_str_eq(path.buf, own.buf);
		cr_assert_eq(node_path(table, node.parent, &above), 0);
		cr_assert(strncmp(own.buf, strbuf_text(&above), above.len) == 0, "'%s' is not in '%s'", own.buf, above.buf);
		cr_assert(S_ISDIR(node.type) && !node.patched && node.pinned == (node.id == last));
		cr_assert_lt(met, 200);
		gone = met;
	}
	cr_assert_eq(gone, 199);
}

/* ---- backing files ---- */

Test(node, backing)
{
	table_auto *table = table_make();
	uint64_t id = look(table, NODE_ROOT, "a", 10, S_IFREG);
	int32_t backing = -1, surplus = -1;

	cr_assert_eq(node_backing_use(table, id, &backing), 0);
	cr_assert_eq(backing, 0, "none yet");
	cr_assert_eq(node_backing_use(table, id, &backing), 0);
	cr_assert_eq(backing, 0);
	cr_assert_eq(node_backing_offer(table, id, 7, &surplus), 7);
	cr_assert_eq(surplus, 0);
	/* The other one was slower: there is one already. */
	cr_assert_eq(node_backing_offer(table, id, 8, &surplus), 7);
	cr_assert_eq(surplus, 8);
	cr_assert_eq(node_backing_use(table, id, &backing), 0);
	cr_assert_eq(backing, 7);
	/* It is open: it lives, forgotten or not. */
	node_forget(table, id, 1);
	cr_assert(known(table, id));
	cr_assert_eq(node_backing_drop(table, id), 0);
	cr_assert_eq(node_backing_drop(table, id), 0);
	cr_assert_eq(node_backing_drop(table, id), 7, "the last closing hands it back");
	cr_assert_not(known(table, id));
	cr_assert_eq(node_backing_drop(table, id), 0);
	cr_assert_eq(node_backing_use(table, id, &backing), -ESTALE);
	cr_assert_eq(node_count(table), 1);
}

Test(node, backing_is_made_anew_after_the_last_closing)
{
	table_auto *table = table_make();
	uint64_t id = look(table, NODE_ROOT, "a", 10, S_IFREG);
	int32_t backing, surplus;

	for (int32_t round = 1; round < 4; round++) {
		cr_assert_eq(node_backing_use(table, id, &backing), 0);
		cr_assert_eq(backing, 0);
		cr_assert_eq(node_backing_offer(table, id, round, &surplus), round);
		cr_assert_eq(node_backing_drop(table, id), round);
		cr_assert_eq(node_backing_drop(table, id), 0, "one more than was opened");
	}
	/* An opening that failed to make one. */
	cr_assert_eq(node_backing_use(table, id, &backing), 0);
	cr_assert_eq(node_backing_drop(table, id), 0);
	cr_assert(known(table, id));
}

/* ---- size ---- */

static void fill_directory(struct node_table *table, uint64_t *ids, size_t count)
{
	uint64_t directory = NODE_ROOT;

	for (size_t i = 0; i < count; i++) {
		char name[64];

		if (i % 100 == 0) {
			snprintf(name, sizeof name, "directory-%zu", i);
			directory = ids[i] = look(table, NODE_ROOT, name, 1000 + i, S_IFDIR);
		} else {
			snprintf(name, sizeof name, "some-file-of-a-usual-length-%zu.so", i);
			ids[i] = look(table, directory, name, 1000 + i, S_IFREG);
		}
	}
}

Test(node, many)
{
	enum { COUNT = 200000 };
	table_auto *table = table_make();
	cleanup_free uint64_t *ids = calloc(COUNT, sizeof *ids);
	size_t before, full, after;

	memset(ids, 1, COUNT * sizeof *ids);
	before = resident_bytes();
	fill_directory(table, ids, COUNT);
	full = resident_bytes();
	cr_assert_eq(node_count(table), COUNT + 1);
	for (size_t i = 0; i < COUNT; i++) {
		struct node_key key = key_of(1000 + i);

		if (node_find(table, &key) != ids[i])
			cr_assert_fail("number %zu is not found", i);
	}
	/* 64 bytes a node, a name, a bucket: well below the 64 MiB that the daemon may take. */
	cr_assert_lt(full - before, COUNT * 160u * SHADOW, "%zu bytes a node", (full - before) / COUNT);
	/* In no order of theirs. */
	for (size_t i = 0; i < COUNT; i++)
		node_forget(table, ids[i * 7919 % COUNT], 1);
	after = resident_bytes();
	cr_assert_eq(node_count(table), 1);
	cr_assert_lt(after + (full - before) / SHADOW * 3 / 4, full, "%zu bytes before, %zu full, %zu after", before, full, after);
	/* And once more: from below. */
	fill_directory(table, ids, COUNT);
	cr_assert_lt(resident_bytes(), full + (4u << 20));
	cr_assert_eq(node_count(table), COUNT + 1);
}

/* ---- threads ---- */

enum { THREADS = 4, ROUNDS = 20000 };

static void *look_and_forget(void *arg)
{
	struct node_table *table = arg;
	unsigned random = (unsigned)(uintptr_t)&random >> 4;

	for (int i = 0; i < ROUNDS; i++) {
		cleanup_node_info struct node_info info = NODE_INFO_INIT;
		cleanup_strbuf struct strbuf path = STRBUF_INIT;
		uint64_t directory, file;
		char name[16];

		random = random * 1103515245u + 12345;
		snprintf(name, sizeof name, "d%u", random >> 16 & 3);
		directory = look(table, NODE_ROOT, name, 10 + (random >> 16 & 3), S_IFDIR);
		file = look(table, directory, "f", 20 + (random >> 20 & 15), S_IFREG);
		if (node_get(table, file, &info) != 0 || node_path(table, file, &path) != 0)
			cr_assert_fail("a node that was looked up is not there");
		node_forget(table, directory, 1);
		node_forget(table, file, 1);
	}
	return NULL;
}

Test(node, threads)
{
	table_auto *table = table_make();
	pthread_t threads[THREADS];

	for (size_t i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, look_and_forget, table), 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(node_count(table), 1);
}

/* ---- all names ---- */

static int compare_lines(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool not_c(void *arg, uint64_t parent, const char *name)
{
	return strcmp(name, "c") != 0;
}

/* "parent/name=inode", those of aliases with a star, in order. */
static void expect_names(struct node_table *table, bool all, const char *wanted)
{
	cleanup_node_list struct node_list list = NODE_LIST_INIT;
	cleanup_strbuf struct strbuf is = STRBUF_INIT;
	char lines[16][64], *order[16];

	cr_assert_eq(node_list_names(table, all ? NULL : not_c, NULL, &list), 0);
	cr_assert_leq(list.count, 16);
	for (size_t i = 0; i < list.count; i++) {
		snprintf(lines[i], sizeof lines[i], "%s%s=%d%s ", list.names[i].parent == NODE_ROOT ? "" : "d/",
			node_list_name(&list, &list.names[i]), (int)list.names[i].key.low, list.names[i].alias ? "*" : "");
		order[i] = lines[i];
	}
	qsort(order, list.count, sizeof *order, compare_lines);
	for (size_t i = 0; i < list.count; i++)
		strbuf_addstr(&is, order[i]);
	cr_assert_str_eq(strbuf_text(&is), wanted);
}

/* A file is known by each name that it was looked up by, a directory by the last. */
Test(node, names)
{
	table_auto *table = table_make();
	uint64_t dir = look(table, NODE_ROOT, "d", 10, S_IFDIR), file = look(table, NODE_ROOT, "a", 11, S_IFREG);
	struct node_key key = key_of(11);

	expect_names(table, true, "a=11 d=10 ");
	cr_assert_eq(look(table, dir, "b", 11, S_IFREG), file);
	cr_assert_eq(look(table, NODE_ROOT, "c", 11, S_IFREG), file);
	look(table, NODE_ROOT, "e", 10, S_IFDIR);
	expect_names(table, true, "a=11* c=11 d/b=11* e=10 ");
	expect_names(table, false, "a=11* d/b=11* e=10 ");
	look(table, NODE_ROOT, "a", 11, S_IFREG);
	expect_names(table, true, "a=11 c=11* d/b=11* e=10 ");
	/* A link made through the mount, and names that go through it. */
	cr_assert_eq(node_look_up_again(table, file, dir, "f"), 0);
	node_unalias(table, file, NODE_ROOT, "c");
	cr_assert_eq(node_move(table, &key, NODE_ROOT, "g"), 0);
	node_unalias(table, file, NODE_ROOT, "a");
	expect_names(table, true, "d/b=11* d/f=11* e=10 g=11 ");
	/* Its path is lost: the other names are not. */
	cr_assert_not(node_lose(table, file, NODE_ROOT, "a"));
	cr_assert_not(node_lose(table, file, dir, "g"));
	cr_assert(node_lose(table, file, NODE_ROOT, "g"));
	cr_assert_not(node_lose(table, file, NODE_ROOT, "g"));
	cr_assert_not(node_is_named(table, file, NODE_ROOT, "g"));
	expect_names(table, true, "d/b=11* d/f=11* e=10 ");
	cr_assert_eq(node_move(table, &key, dir, "b"), 1);
	expect_names(table, true, "d/b=11 d/f=11* e=10 ");
	node_forget(table, file, 100);
	expect_names(table, true, "e=10 ");
}

Test(node, watched)
{
	table_auto *table = table_make();
	uint64_t dir = look(table, NODE_ROOT, "d", 10, S_IFDIR);

	cr_assert_not(node_is_watched(table, dir));
	node_set_watched(table, dir);
	cr_assert(node_is_watched(table, dir));
	cr_assert_not(node_is_watched(table, NODE_ROOT));
	cr_assert(node_is_watched(table, 12345));
	node_set_watched(table, 12345);
}
