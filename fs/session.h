/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_SESSION_H
#define VENEER_FS_SESSION_H

/*
 * A session with the kernel: one connection to /dev/fuse, the libfuse session that speaks over it, and
 * the threads that serve it. All state of a mounted component hangs here; handlers find it by
 * fuse_req_userdata().
 *
 * libfuse reads and writes through our own functions (fuse_session_custom_io), by which we see INIT
 * go by: what the kernel offers beyond what this libfuse knows (passthrough, setxattr with flags, that set-id
 * bits are ended by us) is read from the request and asked for in the reply. What requests then say that this libfuse
 * drops, their handlers get in a bit that nothing else uses.
 *
 * Calling sequence: session_new() → session_start() (threads serve from here on) → session_wait() →
 * session_free().
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/io_choice.h"
#include "fs/mount_options.h"
#include "fs/overlay.h"
#include "fs/read_ahead.h"
#include "fs/readdir.h"
#include "fs/turn.h"
#include "store/base/error.h"

/* Requests are counted by kind, so that "the kernel answers by itself" can be seen. */
enum request_kind {
	REQUEST_LOOKUP,
	REQUEST_FORGET,
	REQUEST_GETATTR,
	REQUEST_SETATTR,
	REQUEST_READLINK,
	REQUEST_CREATE,
	REQUEST_MKNOD,
	REQUEST_MKDIR,
	REQUEST_SYMLINK,
	REQUEST_LINK,
	REQUEST_UNLINK,
	REQUEST_RMDIR,
	REQUEST_RENAME,
	REQUEST_OPEN,
	REQUEST_READ,
	REQUEST_WRITE,
	REQUEST_FLUSH,
	REQUEST_RELEASE,
	REQUEST_FSYNC,
	REQUEST_OPENDIR,
	REQUEST_READDIR,
	REQUEST_READDIRPLUS,
	REQUEST_FSYNCDIR,
	REQUEST_STATFS,
	REQUEST_GETXATTR,
	REQUEST_LISTXATTR,
	REQUEST_SETXATTR,
	REQUEST_REMOVEXATTR,
	REQUEST_FALLOCATE,
	REQUEST_LSEEK,
	REQUEST_COPY_FILE_RANGE,
	REQUEST_IOCTL,
	REQUEST_KINDS,
};
const char *request_kind_name(enum request_kind kind);

struct fuse_session;
struct healer;
struct worker_state;

/* In the flags that the setxattr handler gets: the caller is not in the file's group, and a new ACL clears its set-gid bit. */
#define SETXATTR_KILL_SGID (1u << 30)
/* In fi->flags of the write handler: the caller has no CAP_FSETID. */
#define WRITE_KILL_SETID (1u << 30)
/* In the mode that the setattr handler gets, also where no mode is set: the change ends set-id bits. */
#define SETATTR_KILL_SETID (1u << 31)

struct session {
	struct overlay *overlay;
	struct worker_state *state; /* borrowed */
	struct readdir_cache *listings;
	struct read_ahead *files_ahead, *directories_ahead;
	struct fuse_session *fuse;
	struct base_watch *watch;  /* borrowed; NULL: changes around the mount are not watched */
	struct healer *healer;	   /* borrowed; whoever makes damaged objects again; NULL: nobody */
	struct notifier *notifier; /* while the threads serve */
	int device_fd; /* /dev/fuse; owned by FUSE once that is set */
	bool verbose;
	struct io_choice choice; /* how files are opened */

	/* Set while INIT is answered, before any other request: read only afterwards. */
	bool passthrough_wanted;  /* the mount's choice */
	bool passthrough;	  /* the kernel agreed */
	unsigned stack_depth;	  /* of the base's and the store's filesystem, plus one */
	bool open_unneeded;	  /* OPEN may be answered ENOSYS */
	bool opendir_unneeded;
	bool setxattr_extended;	  /* SETXATTR comes with flags of its own */
	bool kill_setid;	  /* the kernel leaves it to us to end set-id bits (fs/setid.h) */
	bool has_acl;
	bool init_again;	  /* it is what the worker before was told */
	bool init_differs;	  /* and would have been answered otherwise */
	uint32_t kernel_minor;	  /* of protocol 7 */
	uint64_t kernel_flags;	  /* as INIT offered them */
	/*
	 * 0 until INIT was read, its number until it was answered, then UINT64_MAX. The store that follows the answer
	 * publishes all of the above; each thread loads it after each read of the device, and session_ready() for the rest.
	 */
	atomic_ullong init_unique;

	atomic_ullong requests[REQUEST_KINDS];
	atomic_ullong notifications;

	struct turn turn; /* to read requests, while the kernel is told of a switch */
	struct session_thread *threads; /* owned; MAILBOXES */
	pthread_mutex_t spare_lock; /* guards the next two once the threads serve */
	unsigned thread_count;
	unsigned waiting; /* threads between session_wait_begin() and _end() */
	bool started;	  /* so many threads there will be, but for spare ones */
	int done_fd; /* eventfd: readable when the connection has ended */
	atomic_uint running;
};

struct session_config {
	int device_fd; /* handed over */
	struct worker_state *state; /* borrowed: what outlives this process */
	struct overlay *overlay;
	struct base_watch *watch; /* borrowed; NULL: none */
	struct healer *healer;	  /* borrowed; NULL: none */
	bool passthrough;
	unsigned stack_depth;
	bool verbose;
};

int session_new(const struct session_config *config, struct session **ret, struct error *err);
/*
 * What the worker before was told by INIT is told again, and threads serve; first of all each answers what that worker had left in its
 * mailbox. THREADS: MAILBOXES at most, and as many in each worker.
 */
int session_start(struct session *session, unsigned threads, struct error *err);
/* Was INIT answered? Then what it settled may be read. */
bool session_ready(struct session *session);
/*
 * Around what may keep a handler for long: where all threads are kept so, another one serves, and stays, as far as there are mailboxes. After
 * session_start().
 */
void session_wait_begin(struct session *session);
void session_wait_end(struct session *session);
/* All threads have ended (done_fd was readable). */
void session_wait(struct session *session);
void session_free(struct session *session);

/* The ioctls of passthrough: a backing id (> 0) or a negative errno; and let go of one. */
struct abi_backing_map;
int session_backing_open(struct session *session, const struct abi_backing_map *map);
void session_backing_close(struct session *session, int32_t backing);

/*
 * ---- notices to the kernel: never from a thread that a handler waits for ----
 * 0; -ENOENT: the kernel does not know it, and has nothing to forget; or another negative errno: it may not have been told.
 */

/* Around the notices of one switch, of which there may be many: see fs/turn.h. */
void session_notices_begin(struct session *session);
void session_notices_end(struct session *session);
/* The name leads nowhere known any more: it is looked up again. Directory PARENT's listing too. */
int session_notify_entry(struct session *session, uint64_t parent, const char *name);
/* The name is looked up at its next use, and kept with what is mounted on it if it leads where it led. Where the kernel knows how. */
int session_notify_expire(struct session *session, uint64_t parent, const char *name);
bool session_can_expire(const struct session *session);
/* Soon, by a thread of its own: the pages and attributes of node ID are not what it has. The one that a handler may call. */
void session_node_spoiled(struct session *session, uint64_t id);
/* Attributes and cached pages (of a directory: its listing) are stale. */
int session_notify_inode(struct session *session, uint64_t id);
/* Attributes alone are. */
int session_notify_attributes(struct session *session, uint64_t id);

#endif
