/* SPDX-License-Identifier: Apache-2.0 */
#include "store/tree_meta.h"

#include <errno.h>
#include <string.h>

#include "store/base/cleanup.h"
#include "store/base/path.h"

#define META_ROOT PATH_RESERVED "/meta"

int tree_meta_root(struct repo *repo, const struct oid *tree, struct oid *ret, struct error *err)
{
	cleanup_tree struct tree *root = NULL, *reserved = NULL;
	struct oid found = { { 0 } };
	struct tree_entry entry;
	int r;

	if (!oid_is_zero(tree)) {
		r = repo_tree_read(repo, tree, &root, err);
		if (r < 0)
			return error_prefix(err, -EBADMSG, "tree");
	}
	if (!root || !tree_find(root, PATH_RESERVED, &entry)) {
		*ret = found;
		return 0;
	}
	if (entry.mode != TREE_MODE_DIRECTORY)
		return error_set(err, -EBADMSG, "'%s' is not a directory", PATH_RESERVED);
	r = repo_tree_read(repo, &entry.oid, &reserved, err);
	if (r < 0)
		return error_prefix(err, -EBADMSG, "'%s'", PATH_RESERVED);
	for (size_t i = 0; i < tree_count(reserved); i++) {
		entry = tree_at(reserved, i);
		if (strcmp(entry.name, "meta") != 0 || entry.mode != TREE_MODE_DIRECTORY)
			return error_set(err, -EBADMSG, "'%s/%.100s': only the directory 'meta' may stand there",
				PATH_RESERVED, entry.name);
		found = entry.oid;
	}
	*ret = found;
	return 0;
}

char *tree_meta_path(const char *path, bool of_directory)
{
	struct strbuf sb = STRBUF_INIT;

	strbuf_addf(&sb, "%s%s%s%s", META_ROOT, *path ? "/" : "", path, of_directory ? META_DIRECTORY : "");
	return strbuf_detach(&sb, NULL);
}

int tree_meta_find(struct tree_cursor *meta, const char *path, struct tree_side *ret,
	bool *ret_of_directory, struct error *err)
{
	cleanup_strbuf struct strbuf below = STRBUF_INIT;
	struct tree_entry entry;
	bool of_directory = false;
	int r = tree_cursor_find(meta, path, &entry, err);

	if (r == 0 && entry.mode == TREE_MODE_DIRECTORY) {
		strbuf_addstr(&below, path);
		strbuf_addstr(&below, *path ? META_DIRECTORY : &META_DIRECTORY[1]);
		if (strbuf_failed(&below))
			return error_set(err, -ENOMEM, "out of memory");
		r = tree_cursor_find(meta, below.buf, &entry, err);
		of_directory = true;
	}
	if (r < 0)
		return error_prefix(err, r, "metadata of '%s'", path);
	ret->mode = entry.mode == TREE_MODE_DIRECTORY ? 0 : entry.mode;
	ret->oid = entry.oid;
	*ret_of_directory = of_directory;
	return 0;
}

int tree_blob_error(int code, const struct oid *oid, const char *path, const char *what,
	struct error *err)
{
	char hex[OID_HEX_LENGTH + 1];

	oid_to_hex(oid, hex);
	if (code == -ENOENT)
		return error_set(err, -EBADMSG, "%s '%s' of '%s' is missing", what, hex, path);
	return error_prefix(err, code == -ENOMEM ? code : -EBADMSG, "%s '%s' of '%s'", what, hex, path);
}

int tree_meta_read(struct repo *repo, const struct oid *oid, bool of_directory, const char *path,
	struct meta *ret, struct error *err)
{
	cleanup_strbuf struct strbuf text = STRBUF_INIT;
	cleanup_meta struct meta meta = META_INIT;
	int r = repo_blob_read(repo, oid, META_BYTES_MAX, &text, err);

	if (r < 0)
		return tree_blob_error(r, oid, path, "metadata blob", err);
	r = meta_parse(strbuf_text(&text), text.len, &meta, err);
	if (r < 0)
		return error_prefix(err, r, "metadata of '%s'", path);
	if (of_directory && (meta.present & META_TYPE) && meta.type != S_IFDIR)
		return error_set(err, -EBADMSG,
			"metadata of '%s%s': its place says 'type directory', it does not", path, META_DIRECTORY);
	if (of_directory) {
		meta.present |= META_TYPE;
		meta.type = S_IFDIR;
	}
	*ret = meta;
	meta = (struct meta)META_INIT;
	return 0;
}

int tree_meta_write(struct repo *repo, const struct meta *meta, struct oid *ret, struct error *err)
{
	cleanup_strbuf struct strbuf text = STRBUF_INIT;

	meta_format(meta, &text);
	if (strbuf_failed(&text))
		return error_set(err, -ENOMEM, "out of memory");
	return repo_blob_write(repo, strbuf_text(&text), text.len, ret, err);
}
