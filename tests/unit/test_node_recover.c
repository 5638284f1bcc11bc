/* SPDX-License-Identifier: Apache-2.0 */
/* The node table taken over from a process that ended, or was killed between any two stores. */
#include "tests/unit/support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fs/node_internal.h"
#include "store/base/cleanup.h"

#define DEVICE 8u
#define ROOT_INODE 2u

static struct node_key key_of(ino_t inode)
{
	return node_key_of_base(DEVICE, inode);
}

static struct node_table *table_over(struct shared *shared)
{
	struct node_key root = key_of(ROOT_INODE);
	struct node_table *table = NULL;

	cr_assert_eq(node_table_new(&root, shared, &table), 0);
	return table;
}

static uint64_t look(struct node_table *table, uint64_t parent, const char *name, ino_t inode, mode_t type)
{
	struct node_key key = key_of(inode);
	uint64_t id = 0;

	if (node_look_up(table, parent, name, &key, type, NULL, &id) < 0)
		cr_assert_fail("look up '%s'", name);
	return id;
}

static void expect_path(struct node_table *table, uint64_t id, const char *wanted)
{
	cleanup_strbuf struct strbuf path = STRBUF_INIT;

	cr_assert_eq(node_path(table, id, &path), 0, "no path to '%s'", wanted);
	cr_assert_str_eq(strbuf_text(&path), wanted);
}

static struct content *content_make(unsigned number, size_t value_size)
{
	char target[] = "to somewhere";
	uint8_t value[5000];
	struct meta_xattr xattr = { .name = (char *)"user.a", .value = value, .size = value_size };
	struct view_entry entry = { .name = "f", .name_length = 1, .kind = VIEW_SYMLINK, .mode = S_IFLNK | 0777, .size = strlen(target),
		.target = target, .xattrs = &xattr, .xattr_count = value_size != 0, .identity = hash128_of(&number, sizeof number) };
	struct content *content;

	memset(value, (int)number, sizeof value);
	content = content_new(&entry);
	cr_assert(content);
	return content;
}

static void keep_handle(struct node_table *table, uint64_t id, uint32_t value)
{
	char memory[sizeof(struct file_handle) + sizeof value] __attribute__((aligned(8)));
	struct file_handle *handle = (struct file_handle *)memory;

	handle->handle_bytes = sizeof value;
	handle->handle_type = 1;
	memcpy(handle->f_handle, &value, sizeof value);
	cr_assert_eq(node_keep_handle(table, id, handle), 0);
}

/* The value in ID's handle; 0: it has none. */
static uint32_t handle_of(struct node_table *table, uint64_t id)
{
	cleanup_free struct file_handle *handle = node_handle(table, id);
	uint32_t value = 0;

	if (handle)
		memcpy(&value, handle->f_handle, sizeof value);
	return value;
}

Test(node_recover, handles)
{
	struct shared *shared = shared_new();
	struct node_table *table = table_over(shared);
	uint64_t one = look(table, NODE_ROOT, "one", 10, S_IFREG), two = look(table, NODE_ROOT, "two", 11, S_IFREG);

	cr_assert_eq(handle_of(table, one), 0);
	keep_handle(table, one, 7);
	keep_handle(table, two, 8);
	keep_handle(table, one, 9);
	cr_assert_eq(handle_of(table, one), 9);
	/* It has a name again. */
	look(table, NODE_ROOT, "one", 10, S_IFREG);
	cr_assert_eq(handle_of(table, one), 0);
	cr_assert_eq(handle_of(table, two), 8);
	node_forget(table, two, 1);
	cr_assert_eq(handle_of(table, two), 0);
	cr_assert_eq(node_keep_handle(table, two, (struct file_handle *)(char[64]){ 0 }), -ESTALE);
	node_table_free(table);
	shared_free(shared);
}

struct counted {
	int count;
	char text[200];
};

static bool add_name(void *arg, uint64_t parent, const char *name)
{
	struct counted *counted = arg;

	counted->count++;
	return false;
}

Test(node_recover, all_is_there)
{
	struct shared *shared = shared_new();
	struct node_table *table = table_over(shared);
	struct content *content = content_make(1, 5000);
	struct node_key key = node_key_of_view(&content->identity);
	uint64_t directory = look(table, NODE_ROOT, "d", 10, S_IFDIR), file = look(table, directory, "f", 11, S_IFREG), patched, gone, next;
	cleanup_node_info struct node_info info = NODE_INFO_INIT;
	cleanup_node_list struct node_list list = NODE_LIST_INIT;
	struct counted counted = { 0 };
	int32_t backing, surplus;

	look(table, directory, "other", 11, S_IFREG);
	cr_assert_eq(node_look_up(table, directory, "patched", &key, S_IFLNK, content, &patched), 0);
	gone = look(table, directory, "gone", 12, S_IFREG);
	node_set_pinned(table, gone, true);
	keep_handle(table, gone, 5);
	node_set_watched(table, directory);
	cr_assert_eq(node_backing_use(table, file, &backing), 0);
	cr_assert_eq(node_backing_offer(table, file, 77, &surplus), 77);
	node_forget(table, look(table, NODE_ROOT, "forgotten", 13, S_IFREG), 1);
	node_table_free(table);
	table = table_over(shared);

	cr_assert_eq(node_count(table), 5);
	expect_path(table, file, "d/other");
	expect_path(table, patched, "d/patched");
	cr_assert_eq(node_list_names(table, add_name, &counted, &list), 0);
	cr_assert_eq(counted.count, 4, "the alias, too");
	cr_assert_not(node_is_watched(table, directory));
	cr_assert(node_set_pinned(table, gone, true), "it was held");
	cr_assert_eq(handle_of(table, gone), 5);
	cr_assert_eq(node_get(table, patched, &info), 0);
	cr_assert_str_eq(info.content->target, content->target);
	cr_assert_eq(memcmp(&info.content->st, &content->st, sizeof content->st), 0);
	cr_assert(meta_xattrs_equal(&info.content->meta, &content->meta));
	cr_assert(hash128_equal(&info.content->identity, &content->identity));
	cr_assert_eq(look(table, directory, "other", 11, S_IFREG), file);
	cr_assert_eq(node_backing_use(table, file, &backing), 0);
	cr_assert_eq(backing, 77);
	cr_assert_eq(node_backing_drop(table, file), 0);
	cr_assert_eq(node_backing_drop(table, file), 77);
	/* Ids are not given again. */
	next = look(table, NODE_ROOT, "new", 20, S_IFREG);
	cr_assert_gt(next >> NODE_SLOT_BITS, gone >> NODE_SLOT_BITS);
	node_forget(table, next, 1);
	node_forget(table, file, 3);
	node_forget(table, patched, 1);
	node_forget(table, gone, 1);
	node_forget(table, directory, 1);
	cr_assert_eq(node_count(table), 1);
	node_table_free(table);
	content_unref(content);
	shared_free(shared);
}

/* What is in the memory is another base's, or damaged. */
Test(node_recover, not_ours)
{
	struct shared *shared = shared_new();
	struct node_table *table = table_over(shared), *other = NULL;
	struct node_key root = key_of(3);
	uint64_t ids[3] = { look(table, NODE_ROOT, "a", 10, S_IFREG), look(table, NODE_ROOT, "b", 11, S_IFREG),
		look(table, NODE_ROOT, "c", 12, S_IFREG) };

	cr_assert_eq(node_table_new(&root, shared, &other), -EIO);
	table->slots[ids[0] & SLOT_MASK].name = 0xfffffff0;
	table->slots[ids[1] & SLOT_MASK].parent = 12345;
	node_table_free(table);
	table = table_over(shared);
	cr_assert_eq(node_count(table), 2);
	expect_path(table, ids[2], "c");
	node_table_free(table);
	shared_free(shared);
}

/* ---- killed ---- */

enum { INODES = 60, NAMES = 20, ROUNDS = 600 };

/* What the process that is killed has done, as it says itself; BUSY is the inode that it is about. */
struct model {
	struct {
		uint64_t id;
		uint32_t lookups, opens;
		uint32_t name; /* of NAMES */
		uint32_t handle;
	} files[INODES];
	int busy; /* -1: nothing */
	unsigned long done;
	uint64_t random;
};

static uint64_t next_random(struct model *model)
{
	model->random = model->random * 6364136223846793005ull + 1442695040888963407ull;
	return model->random >> 33;
}

static void act(struct node_table *table, struct model *model)
{
	int i = (int)(next_random(model) % INODES);
	uint32_t name = (uint32_t)(next_random(model) % NAMES);
	struct content *content = i % 4 == 0 ? content_make((unsigned)i, (size_t)i * 80) : NULL;
	struct node_key key = content ? node_key_of_view(&content->identity) : key_of((ino_t)i + 100);
	char text[64];
	int32_t backing;
	uint64_t id = model->files[i].id;

	model->busy = i;
	snprintf(text, sizeof text, "a-name-of-some-length-%u", name);
	switch (next_random(model) % 7) {
	case 0:
	case 1:
		if (node_look_up(table, NODE_ROOT, text, &key, content ? S_IFLNK : S_IFREG, content, &id) < 0)
			_exit(3);
		model->files[i].id = id;
		model->files[i].name = name;
		model->files[i].handle = 0;
		model->files[i].lookups++;
		break;
	case 2:
		if (id && node_look_up_again(table, id, NODE_ROOT, text) == 0)
			model->files[i].lookups++;
		break;
	case 3:
		if (id && node_move(table, &key, NODE_ROOT, text) >= 0) {
			model->files[i].name = name;
			model->files[i].handle = 0;
		}
		break;
	case 4:
		if (id) {
			keep_handle(table, id, name + 1);
			model->files[i].handle = name + 1;
		}
		break;
	case 5:
		if (id && model->files[i].opens) {
			node_backing_drop(table, id);
			model->files[i].opens--;
		} else if (id && node_backing_use(table, id, &backing) == 0) {
			model->files[i].opens++;
		}
		break;
	default:
		if (id) {
			uint32_t count = model->files[i].lookups / 2 + 1;

			node_forget(table, id, count > model->files[i].lookups ? model->files[i].lookups : count);
			model->files[i].lookups -= count > model->files[i].lookups ? model->files[i].lookups : count;
		}
	}
	if (!model->files[i].lookups && !model->files[i].opens)
		memset(&model->files[i], 0, sizeof model->files[i]);
	content_unref(content);
	model->done++;
	model->busy = -1;
}

/* Whatever the process was about: what the node has was once stored for it. */
static void check_whole(struct node_table *table, const struct node *node, int i)
{
	const char *name = arena_at(table->names, node->name);
	unsigned number;

	if (sscanf(name, "a-name-of-some-length-%u", &number) != 1 || number >= NAMES)
		cr_assert_fail("file %d has the name '%.20s'", i, name);
	if (node->handle) {
		const struct file_handle *handle = arena_at(table->names, node->handle);

		if (handle->handle_bytes != 4 || handle->handle_type != 1 || handle_of(table, node->id) > NAMES)
			cr_assert_fail("file %d has a strange handle", i);
	}
	if (node->content) {
		struct content *content = content_make((unsigned)i, (size_t)i * 80);
		const struct content *found = node_contents_at(table->contents, node->content);

		if (!hash128_equal(&found->identity, &content->identity) || !meta_xattrs_equal(&found->meta, &content->meta))
			cr_assert_fail("file %d has another content", i);
		content_unref(content);
	}
}

static void check(struct node_table *table, struct model *model)
{
	for (int i = 0; i < INODES; i++) {
		const struct node *node = node_by_id(table, model->files[i].id);
		char text[64];

		if (i == model->busy) {
			/* In the middle of it: as it is now. */
			struct content *content = i % 4 == 0 ? content_make((unsigned)i, 0) : NULL;
			struct node_key key = content ? node_key_of_view(&content->identity) : key_of((ino_t)i + 100);
			uint64_t id = node_find(table, &key);

			content_unref(content);
			node = node_by_id(table, id);
			memset(&model->files[i], 0, sizeof model->files[i]);
			if (!node)
				continue;
			check_whole(table, node, i);
			model->files[i].id = id;
			model->files[i].lookups = node->lookups;
			model->files[i].opens = node->opens;
			model->files[i].handle = handle_of(table, id);
			model->files[i].name = (uint32_t)atoi((const char *)arena_at(table->names, node->name) + strlen("a-name-of-some-length-"));
			continue;
		}
		if (!model->files[i].id)
			continue;
		if (!node)
			cr_assert_fail("file %d is lost", i);
		snprintf(text, sizeof text, "a-name-of-some-length-%u", model->files[i].name);
		/* An assertion is a message to Criterion's runner, also where it holds. */
		if (strcmp(arena_at(table->names, node->name), text) != 0 || node->lookups != model->files[i].lookups ||
			node->opens != model->files[i].opens || handle_of(table, node->id) != model->files[i].handle)
			cr_assert_fail("file %d, '%s' is not as it was", i, text);
		check_whole(table, node, i);
	}
	model->busy = -1;
}

/* ---- at each store: the process is stepped instruction by instruction, and what it has stored by then is taken over ---- */

enum { STEPPED_OPERATIONS = 80 };

static size_t used_of(const struct shared *shared, enum shared_region region)
{
	const struct node_header *header = shared->at[SHARED_NODES];
	const uint32_t *first = shared->at[region];

	return region == SHARED_NODES ? (size_t)header->page_end * 4096 : region == SHARED_NAMES ? (size_t)first[0] * 4096 : 4096;
}

/* TO becomes what FROM is. Was it something else? */
static bool copy_shared(struct shared *to, const struct shared *from)
{
	bool changed = false;

	for (enum shared_region region = SHARED_NODES; region <= SHARED_ALIASES; region++) {
		size_t used = used_of(from, region) > used_of(to, region) ? used_of(from, region) : used_of(to, region);

		if (memcmp(to->at[region], from->at[region], used) == 0)
			continue;
		memcpy(to->at[region], from->at[region], used);
		changed = true;
	}
	return changed;
}

static __attribute__((noreturn)) void be_stepped(struct shared *shared, struct model *model)
{
	struct node_table *table = table_over(shared);

	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		_exit(4);
	raise(SIGSTOP);
	for (int i = 0; i < STEPPED_OPERATIONS; i++)
		act(table, model);
	_exit(0);
}

Test(node_recover, at_each_store, .timeout = 300)
{
	struct shared *shared = shared_new(), *last = shared_new(), *copy = shared_new();
	struct model *model = mmap(NULL, sizeof *model, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned long steps = 0, stores = 0;
	int status = 0;
	pid_t child;

	/* Nodes that share names, contents and a page with those to come. */
	model->busy = -1;
	model->random = 7;
	for (struct node_table *table = table_over(shared); model->done < 300;) {
		act(table, model);
		if (model->done == 300)
			node_table_free(table);
	}
	child = fork();
	cr_assert_geq(child, 0);
	if (child == 0)
		be_stepped(shared, model);
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFSTOPPED(status), "it cannot be traced");
	while (WIFSTOPPED(status)) {
		if (copy_shared(last, shared)) {
			struct model then = *model;
			struct node_table *table;

			copy_shared(copy, shared);
			table = table_over(copy);
			check(table, &then);
			node_table_free(table);
			stores++;
		}
		cr_assert_eq(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL), 0);
		waitpid(child, &status, 0);
		steps++;
	}
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
	cr_assert_gt(stores, STEPPED_OPERATIONS * 2ul);
	cr_log_info("%lu instructions, %lu times other memory", steps, stores);
	shared_free(shared);
	shared_free(last);
	shared_free(copy);
}

Test(node_recover, killed_at_any_store, .timeout = 120)
{
	struct shared *shared = shared_new();
	struct model *model = mmap(NULL, sizeof *model, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct node_table *table;
	unsigned busy = 0;

	model->busy = -1;
	model->random = 42;
	for (int round = 0; round < ROUNDS; round++) {
		pid_t child = fork();

		cr_assert_geq(child, 0);
		if (child == 0) {
			table = table_over(shared);
			for (;;)
				act(table, model);
		}
		nanosleep(&(struct timespec){ .tv_nsec = 300000 + (long)(next_random(model) % 1500000) }, NULL);
		cr_assert_eq(kill(child, SIGKILL), 0, "it ended by itself");
		waitpid(child, NULL, 0);
		table = table_over(shared);
		busy += model->busy >= 0;
		check(table, model);
		node_table_free(table);
	}
	cr_assert_gt(busy, ROUNDS / 10, "it was killed while it worked");
	cr_log_info("%lu operations, killed %u times within one", model->done, busy);
	/* Nothing is left over: neither nodes, nor names, nor contents. */
	table = table_over(shared);
	for (int i = 0; i < INODES; i++) {
		while (model->files[i].opens--)
			node_backing_drop(table, model->files[i].id);
		node_forget(table, model->files[i].id, model->files[i].lookups);
	}
	cr_assert_eq(node_count(table), 1);
	cr_assert_eq(aliases_count(table->aliases), 0);
	node_table_free(table);
	shared_free(shared);
}
