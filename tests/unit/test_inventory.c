/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/repo_fixture.h"

#include "store/git/inventory.h"
#include "store/git/reach.h"
#include "store/git/ref_files.h"

/* ---- ids ---- */

Test(oid_set, each_once_in_order)
{
	cleanup_oid_set struct oid_set set = OID_SET_INIT;
	struct oid oid = { { 0 } };
	size_t number;

	cr_assert(!oid_set_find(&set, &oid, NULL));
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 5000; i++) {
			memcpy(oid.id + 10, &i, sizeof i); /* all begin alike: they collide */
			oid.id[0] = (uint8_t)i;
			cr_assert_eq(oid_set_add(&set, &oid, &number), round == 0);
			cr_assert_eq(number, i);
			cr_assert(oid_set_find(&set, &oid, &number));
			cr_assert_eq(number, i);
		}
	}
	cr_assert_eq(set.count, 5000);
}

/* ---- objects ---- */

/* Some commits of a file that changes little: what makes git write deltas. */
static void history(void)
{
	free(shell("git init -q --bare %s 2>/dev/null; mkdir -p w; cd w; seq 1 3000 >big; "
		   "export GIT_WORK_TREE=$PWD GIT_INDEX_FILE=$PWD/../index GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a "
		   "GIT_COMMITTER_EMAIL=a@b; for i in 1 2 3 4 5 6; do echo $i >>big; mkdir -p d$i; echo $i >d$i/small; git add .; "
		   "git commit -qm $i; done; git tag -am tagged v1; git update-ref refs/heads/main HEAD",
		git_dir));
}

static struct inventory *load(bool scan)
{
	struct inventory *inventory = NULL;

	must_pass(inventory_load(git_dir, scan, &inventory, &err));
	return inventory;
}

/* Every object that git lists can be read, and is what git says that it is. */
static size_t compare_all(const struct inventory *inventory)
{
	cleanup_free char *list = shell("git cat-file --batch-all-objects --batch-check");
	size_t count = 0;
	char *save = NULL;

	for (char *line = strtok_r(list, "\n", &save); line; line = strtok_r(NULL, "\n", &save), count++) {
		cleanup_raw_object struct raw_object object = RAW_OBJECT_INIT;
		char hex[64], kind[16];
		size_t size;
		struct oid oid;

		cr_assert_eq(sscanf(line, "%63s %15s %zu", hex, kind, &size), 3);
		cr_assert_eq(oid_from_hex(hex, strlen(hex), &oid), 0);
		cr_assert(inventory_has(inventory, &oid), "%s", line);
		cr_assert_eq(inventory_read(inventory, &oid, SIZE_MAX / 2, &object), 0, "%s", line);
		cr_assert_str_eq(raw_kind_name(object.kind), kind);
		cr_assert_eq(object.size, size);
		cr_assert_eq(inventory_read(inventory, &oid, size - (size > 0), &object), size > 0 ? -E2BIG : 0, "%s", line);
	}
	return count;
}

Test(inventory, reads_loose_and_packed, .init = setup, .fini = teardown)
{
	size_t loose, packed;

	history();
	{
		cleanup_inventory struct inventory *inventory = load(false);

		cr_assert_eq(inventory->pack_count, 0);
		loose = compare_all(inventory);
		cr_assert_eq(inventory->copies, loose);
	}
	free(shell("git repack -adfq --depth=20; git prune-packed"));
	free(shell("git verify-pack -v $GIT_DIR/objects/pack/*.idx | grep -q 'chain length = [1-9]'"));
	{
		cleanup_inventory struct inventory *inventory = load(false);

		cr_assert_eq(inventory->pack_count, 1);
		cr_assert_eq(inventory->loose.count, 0);
		packed = compare_all(inventory);
		cr_assert_eq(packed, loose);
	}
	/* The same without the index, and with references to bases by name. */
	free(shell("cd $GIT_DIR/objects/pack; chmod u+w *.idx; printf X | dd of=$(ls *.idx) bs=1 seek=1200 conv=notrunc status=none"));
	{
		cleanup_inventory struct inventory *inventory = load(false), *scanned = load(true);

		cr_assert(inventory->packs[0].problem);
		cr_assert_null(inventory->packs[0].file);
		cr_assert(scanned->packs[0].problem && scanned->packs[0].unreadable);
		cr_assert_eq(scanned->copies, packed);
	}
}

Test(inventory, a_delta_by_reference, .init = setup, .fini = teardown)
{
	history();
	free(shell("git -c repack.useDeltaBaseOffset=false repack -adfq; git prune-packed"));
	{
		cleanup_inventory struct inventory *inventory = load(false);

		cr_assert_gt(compare_all(inventory), 20);
	}
}

Test(inventory, a_whole_copy_is_found_behind_a_damaged_one, .init = setup, .fini = teardown)
{
	size_t copies[4];
	struct oid oid;
	cleanup_raw_object struct raw_object object = RAW_OBJECT_INIT;

	history();
	oid = shell_oid("git rev-parse HEAD:d1/small");
	free(shell("git repack -aq; p=$(ls $GIT_DIR/objects/pack/*.pack); chmod u+w $p; o=$(git verify-pack -v $p | awk -v i=%s '$1 == i { print $5 }'); "
		   "printf '\\377' | dd of=$p bs=1 seek=$((o + 4)) conv=notrunc status=none",
		hex_of(&oid)));
	{
		cleanup_inventory struct inventory *inventory = load(false);

		cr_assert_eq(inventory_find(inventory, &oid, copies, 4), 2);
		cr_assert_eq(inventory_read_copy(inventory, copies[0], 100, &object), -EBADMSG);
		cr_assert_eq(inventory_read_copy(inventory, copies[1], 100, &object), 0);
		raw_object_release(&object);
		cr_assert_eq(inventory_read(inventory, &oid, 100, &object), 0);
		raw_object_release(&object);
	}
	free(shell("git prune-packed"));
	{
		cleanup_inventory struct inventory *inventory = load(false);

		cr_assert_eq(inventory_read(inventory, &oid, 100, &object), -EBADMSG);
		oid.id[3] ^= 1;
		cr_assert_eq(inventory_read(inventory, &oid, 100, &object), -ENOENT);
	}
}

/* Whatever byte is flipped or cut off: an error, never another object, and no crash. */
Test(inventory, hostile_packs, .init = setup, .fini = teardown)
{
	cleanup_free char *size_text = NULL;
	unsigned long size;

	history();
	free(shell("git repack -adfq; git prune-packed; cp -a $GIT_DIR/objects/pack good"));
	size_text = shell("stat -c %%s good/*.pack");
	size = strtoul(size_text, NULL, 10);
	for (unsigned long at = 0; at < size; at += size / 97 + 1) {
		cleanup_inventory struct inventory *inventory = NULL;

		free(shell("rm -rf $GIT_DIR/objects/pack; cp -a good $GIT_DIR/objects/pack; cd $GIT_DIR/objects/pack; chmod u+w *; "
			   "printf '\\%03lo' | dd of=$(ls *.pack) bs=1 seek=%lu conv=notrunc status=none",
			at % 256, at));
		inventory = load(true);
		for (size_t copy = 0; copy < inventory->copies; copy++) {
			cleanup_raw_object struct raw_object object = RAW_OBJECT_INIT;

			inventory_read_copy(inventory, copy, 1 << 20, &object);
		}
	}
	for (unsigned long keep = 0; keep < size; keep += size / 13 + 1) {
		cleanup_inventory struct inventory *inventory = NULL;

		free(shell("rm -rf $GIT_DIR/objects/pack; cp -a good $GIT_DIR/objects/pack; cd $GIT_DIR/objects/pack; chmod u+w *; truncate -s %lu *.pack", keep));
		inventory = load(true);
		cr_assert(inventory->packs[0].problem);
	}
}

Test(inventory, what_lies_about, .init = setup, .fini = teardown)
{
	cleanup_inventory struct inventory *inventory = NULL;
	size_t leftovers = 0;

	history();
	free(shell("git repack -adq; cd $GIT_DIR/objects; touch pack/tmp_pack_x pack/pack-1.idx tmp_obj_y 00zz pack/notes; mkdir -p 12; touch 12/tmp_obj_z 12/short; "
		   "cp pack/pack-*.pack pack/pack-0.pack; touch pack/multi-pack-index"));
	inventory = load(false);
	cr_assert_eq(inventory->pack_count, 1);
	for (size_t i = 0; i < inventory->stray_count; i++)
		leftovers += inventory->strays[i].leftover;
	cr_assert_eq(inventory->stray_count, 8);
	cr_assert_eq(leftovers, 5);
}

/* ---- refs ---- */

Test(ref_files, all_of_them, .init = setup, .fini = teardown)
{
	cleanup_ref_files struct ref_files files = REF_FILES_INIT, again = REF_FILES_INIT;
	const struct ref_file *ref;
	struct oid head;

	history();
	head = shell_oid("git rev-parse HEAD");
	free(shell("git update-ref refs/heads/packed HEAD~1; git pack-refs --all; git update-ref refs/heads/packed HEAD; git symbolic-ref refs/heads/link refs/heads/main; "
		   "git symbolic-ref refs/heads/lost refs/heads/nowhere; echo nonsense >$GIT_DIR/refs/heads/bad; : >$GIT_DIR/refs/heads/empty; "
		   "touch -d '1 minute ago' $GIT_DIR/refs/heads/x.lock; git rev-parse HEAD~2 >$GIT_DIR/ORIG_HEAD"));
	must_pass(ref_files_load(git_dir, &files, &err));
	ref = ref_files_find(&files, "refs/heads/packed");
	cr_assert(ref && ref->loose && !ref->problem);
	assert_oid(ref->oid, head);
	ref = ref_files_find(&files, "refs/heads/link");
	cr_assert(ref && !ref->problem);
	assert_oid(ref->oid, head);
	cr_assert(ref_files_find(&files, "refs/heads/lost")->problem);
	cr_assert(ref_files_find(&files, "refs/heads/bad")->problem);
	cr_assert(ref_files_find(&files, "refs/heads/empty")->problem);
	cr_assert(ref_files_find(&files, "refs/tags/v1"));
	cr_assert_null(ref_files_find(&files, "refs/heads/none"));
	cr_assert_eq(files.lock_count, 1);
	cr_assert_geq(files.other_count, 1);
	must_pass(ref_files_load(git_dir, &again, &err));
	cr_assert(ref_files_equal(&files, &again));
	ref_files_release(&again);
	free(shell("git update-ref refs/heads/packed HEAD~1"));
	must_pass(ref_files_load(git_dir, &again, &err));
	cr_assert(!ref_files_equal(&files, &again));
}

/* ---- what is reached ---- */

Test(reach, all_that_git_reaches, .init = setup, .fini = teardown)
{
	cleanup_inventory struct inventory *inventory = NULL;
	cleanup_reach struct reach reach = REACH_INIT;
	cleanup_free char *count = NULL;
	struct reach_way way;
	struct oid tag, blob;
	size_t number;

	history();
	tag = shell_oid("git rev-parse v1");
	blob = shell_oid("git rev-parse HEAD:d3/small");
	inventory = load(false);
	cr_assert_eq(reach_add(&reach, &tag, RAW_NONE, "refs/tags/v1", false), 0);
	must_pass(reach_walk(&reach, inventory, NULL, NULL, &err));
	count = shell("git rev-list --objects v1 | wc -l");
	cr_assert_eq(reach.ids.count, strtoul(count, NULL, 10));
	for (size_t i = 0; i < reach.ids.count; i++)
		cr_assert_eq(reach.items[i].state, REACH_WHOLE);
	cr_assert(oid_set_find(&reach.ids, &blob, &number));
	cr_assert_eq(reach_way(&reach, number, &way), 0);
	cr_assert_str_eq(way.path, "d3/small");
	cr_assert_str_eq(way.name, "refs/tags/v1");
	assert_oid(way.commit, shell_oid("git rev-parse HEAD"));
	free(way.path);
}

Test(reach, what_is_missing_is_told, .init = setup, .fini = teardown)
{
	cleanup_inventory struct inventory *inventory = NULL;
	cleanup_reach struct reach reach = REACH_INIT;
	struct oid head, tree, blob, other;
	size_t number;

	history();
	head = shell_oid("git rev-parse HEAD");
	tree = shell_oid("git rev-parse HEAD:d2");
	blob = shell_oid("git rev-parse HEAD:big");
	other = shell_oid("git rev-parse HEAD:d4/small");
	free(shell("cd $GIT_DIR/objects; for i in %s %s; do rm $(echo $i | sed 's|^..|&/|'); done", hex_of(&tree), hex_of(&blob)));
	inventory = load(false);
	cr_assert_eq(reach_add(&reach, &head, RAW_COMMIT, "head", false), 0);
	/* What a tree names as a blob is none. */
	cr_assert_eq(reach_add(&reach, &other, RAW_TREE, "wrong", true), 0);
	must_pass(reach_walk(&reach, inventory, NULL, NULL, &err));
	cr_assert(oid_set_find(&reach.ids, &tree, &number));
	cr_assert_eq(reach.items[number].state, REACH_MISSING);
	cr_assert(oid_set_find(&reach.ids, &blob, &number));
	cr_assert_eq(reach.items[number].state, REACH_MISSING);
	cr_assert(!reach.items[number].optional);
	cr_assert(oid_set_find(&reach.ids, &other, &number));
	cr_assert_eq(reach.items[number].state, REACH_OTHER_KIND);
}
