/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/table.h"

#include <string.h>

#define DRY_RUN { "dry-run", 0, NULL, "Show what would be done, and do nothing.", 0 }
/* Of every command that makes a patch. */
#define MESSAGE { "message", 'm', "MSG", "What the patch is for; its first line is the subject.", 0 }
#define PATCH_FACTS \
	{ "label", 0, "L", "The patch's label (default: the next free one of a, b, ...).", 0 }, \
	{ "fixes", 0, "CVE", "What the patch fixes, one id each.", OPTION_REPEATS }, \
	{ "restart", 0, "UNIT", "A unit that has to be restarted to use it.", OPTION_REPEATS }, \
	{ "reboot", 0, NULL, "It is in full effect only after a reboot.", 0 }, \
	{ "supersedes", 0, "L", "A patch that it takes the place of.", OPTION_REPEATS }
#define PATCH_FACTS_USAGE "[--label L] [--fixes CVE]... [--restart UNIT]... [--reboot] [--supersedes L]..."
#define OPTIONS_END { NULL, 0, NULL, NULL, 0 }

const struct option_spec global_options[] = {
	{ "store", 0, "DIR", "Use the store at DIR (default: VENEER_STORE, else /var/lib/veneer).", 0 },
	{ "json", 0, NULL, "Print the result as JSON.", 0 },
	{ "quiet", 'q', NULL, "Print nothing but what was asked for, and errors.", 0 },
	{ "verbose", 'v', NULL, "Print more.", 0 },
	{ "help", 'h', NULL, "Print help.", 0 },
	{ "version", 0, NULL, "Print the version.", 0 },
	OPTIONS_END,
};

static const struct option_spec no_options[] = { OPTIONS_END };

static const struct option_spec dry_run_options[] = { DRY_RUN, OPTIONS_END };

static const struct option_spec add_options[] = {
	{ "base-version", 0, "V", "The version of what lies in DIR, as status shows it.", 0 },
	{ "root", 0, "R", "DIR is part of the system image at R (default: /).", 0 },
	{ "snapshot", 0, "touched|full",
		"Record what patches touch (default), or everything: a forensic baseline.", OPTION_CHOICE },
	DRY_RUN,
	OPTIONS_END,
};

static const struct option_spec create_options[] = {
	MESSAGE,
	{ "from", 0, "DIR", "The component directory as it should be.", 0 },
	{ "deb", 0, "FILE", "What these packages would install under the component; several files may follow.",
		OPTION_MANY },
	{ "upper", 0, "DIR", "An overlayfs upper layer over the component.", 0 },
	{ "commit", 0, "REV", "A commit made with plain git.", 0 },
	PATCH_FACTS,
	DRY_RUN,
	OPTIONS_END,
};

static const struct option_spec record_options[] = {
	MESSAGE,
	PATCH_FACTS,
	{ "dry-run", 0, NULL, "Run COMMAND, show what the patch would hold, and make none.", 0 },
	OPTIONS_END,
};

static const struct option_spec mount_options[] = {
	{ "io", 0, "auto|cached|passthrough", "How file data is served (default: auto).", OPTION_CHOICE },
	{ "write", 0, "through|deny",
		"Writes to what is not patched go to the base (default), or nothing may be written.",
		OPTION_CHOICE },
	{ "on-failure", 0, "base|closed",
		"When the daemon fails or is killed, show the bare directory (default), or leave a dead mount.",
		OPTION_CHOICE },
	{ "scrub", 0, "off|RATE", "Read what is served from the disk, to see whether it is whole, at RATE bytes a second (default: 8M).", 0 },
	{ "watch", 0, NULL, "See changes around the mount at once, not only after refresh.", 0 },
	{ "foreground", 0, NULL, "Serve in this process until the mount is taken off.", 0 },
	DRY_RUN,
	OPTIONS_END,
};

static const struct option_spec revert_options[] = {
	{ "all", 0, NULL, "Take all patches off: the bare base.", 0 },
	DRY_RUN,
	OPTIONS_END,
};

static const struct option_spec log_options[] = {
	{ "count", 'n', "COUNT", "At most COUNT entries.", 0 },
	OPTIONS_END,
};

static const struct option_spec diff_options[] = {
	{ "stat", 0, NULL, "Show how much changed in each file.", 0 },
	{ "name-status", 0, NULL, "Show paths only: added, modified, deleted, type changed, metadata changed.", 0 },
	OPTIONS_END,
};

static const struct option_spec fsck_options[] = {
	{ "repair", 0, NULL, "Mend what can be mended.", 0 },
	OPTIONS_END,
};

static const struct option_spec gc_options[] = {
	{ "grace", 0, "HOURS", "Leave what is younger, whoever needs it (default: 336, two weeks).", 0 },
	DRY_RUN,
	OPTIONS_END,
};

static const struct option_spec help_options[] = {
	{ "completion", 0, NULL, "Print the completion script for bash.", 0 },
	OPTIONS_END,
};

const struct command commands[] = {
	{ "init", "", "make the store", NULL, cmd_init, 0, 0, false, no_options },
	{ "add", "NAME DIR [--base-version V] [--root R] [--snapshot touched|full] [--dry-run]",
		"declare a component: a name for one directory",
		"With --root, DIR may be given as a path of this system or as one inside the image. Of a component that is declared already,\n"
		"--base-version says that its base is another version now, and records it anew.",
		cmd_add, 2, 2, false, add_options },
	{ "create",
		"NAME -m MSG (--from DIR | --deb FILE... | --upper DIR | --commit REV)\n"
		"    " PATCH_FACTS_USAGE " [--dry-run]",
		"make a patch; prints its label and commit",
		"Nothing is served differently before the patch is applied.", cmd_create, 1, 1, false,
		create_options },
	{ "record", "NAME -m MSG\n    " PATCH_FACTS_USAGE " [--dry-run]\n    -- COMMAND [ARGUMENT]...",
		"make a patch of what a command changes",
		"COMMAND sees the component's base copy-on-write; nobody else sees what it changes there.\n"
		"Changes elsewhere are real, and are not recorded. If it fails, so does this, with its exit status.",
		cmd_record, 1, 1, true, record_options },
	{ "mount", "NAME [--io auto|cached|passthrough] [--write through|deny] [--on-failure base|closed] "
	"[--scrub off|RATE] [--watch] [--foreground] [--dry-run]",
		"mount the component over its directory", "Returns when the mount answers.", cmd_mount, 1, 1,
		false, mount_options },
	{ "umount", "NAME [--dry-run]", "take the mount off: the bare directory is back",
		"Files that are open in it can be used until they are closed.", cmd_umount, 1, 1, false,
		dry_run_options },
	{ "takeover", "NAME [--dry-run]", "serve a mounted component by this program, in place of the one that does",
		"For an upgrade of veneer itself: nothing is unmounted, and no operation fails.", cmd_takeover, 1, 1, false,
		dry_run_options },
	{ "apply", "NAME [L...] [--dry-run]", "apply patches; without a label the newest",
		"--dry-run is the plan: files, processes, units, reboot.", cmd_apply, 1, ARGUMENTS_ANY, false,
		dry_run_options },
	{ "revert", "NAME [L... | --all] [--dry-run]",
		"take patches off; without a label the one applied last", NULL, cmd_revert, 1, ARGUMENTS_ANY,
		false, revert_options },
	{ "rollback", "NAME [--dry-run]", "return to the state before the last switch",
		"A rollback is a switch too: a second one returns to where you were.", cmd_rollback, 1, 1,
		false, dry_run_options },
	{ "switch", "NAME REV [--dry-run]", "serve any commit",
		"REV is base, a label, or whatever git understands.", cmd_switch, 2, 2, false,
		dry_run_options },
	{ "policy", "show NAME | set NAME base-change retire|hold|fail", "show or decide what becomes of a patch whose base changes",
		"retire (default): a newer base always wins. hold: the patch goes on hiding it. fail: it cannot be changed.", cmd_policy, 2, 4,
		false, no_options },
	{ "status", "[NAME] [--verbose]",
		"show version with label, patches, stale processes, health", NULL, cmd_status, 0, 1, false,
		no_options },
	{ "refresh", "NAME", "show what was changed around the mount",
		"Only needed where the directory was changed by a path that does not lead through the mount,\n"
		"and the mount was made without --watch.",
		cmd_refresh, 1, 1, false, no_options },
	{ "log", "NAME [-n COUNT]", "show every switch: when and by whom, and why where a reason was noted", NULL, cmd_log, 1, 1, false,
		log_options },
	{ "show", "NAME L", "show a patch: its facts and its paths", NULL, cmd_show, 2, 2, false,
		no_options },
	{ "diff", "NAME [A [B]] [--stat | --name-status] [-- PATH...]", "show how two states differ",
		"A and B are base, active, a label, or whatever git understands; without B it is A against\n"
		"active, without both base against active.",
		cmd_diff, 1, 3, true, diff_options },
	{ "fsck", "[--repair] [NAME...]", "check that the store is whole",
		"Every ref, commit, tree, metadata, journal entry and served object; of components alone where they are named.",
		cmd_fsck, 0, ARGUMENTS_ANY, false, fsck_options },
	{ "gc", "[--grace HOURS] [--dry-run]", "remove what nothing needs any more",
		"Whatever a ref, the journal, a mounted component or an open file needs stays.", cmd_gc, 0, 0, false, gc_options },
	{ "help", "[COMMAND]", "explain a command, or list them all", NULL, cmd_help, 0, 1, false,
		help_options },
	{ "version", "", "print the version", NULL, cmd_version, 0, 0, false, no_options },
	{ NULL, NULL, NULL, NULL, NULL, 0, 0, false, NULL },
};

const struct command *command_find(const char *name)
{
	for (const struct command *command = commands; command->name; command++)
		if (strcmp(command->name, name) == 0)
			return command;
	return NULL;
}
