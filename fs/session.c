/* SPDX-License-Identifier: Apache-2.0 */
#define FUSE_USE_VERSION FUSE_MAKE_VERSION(3, 14)
#include <fuse3/fuse_lowlevel.h>

#include "fs/session.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fs/creds.h"
#include "fs/kernel_abi.h"
#include "fs/notifier.h"
#include "fs/ops.h"
#include "fs/passthrough.h"
#include "fs/read_ahead_directories.h"
#include "fs/read_ahead_files.h"
#include "fs/worker_state.h"
#include "store/base/cleanup.h"
#include "store/base/log.h"
#include "store/base/thread.h"

struct session_thread {
	pthread_t thread;
	struct session *session;
	struct mailbox *mailbox;
};

static const char *const kind_names[REQUEST_KINDS] = {
	[REQUEST_LOOKUP] = "lookup",
	[REQUEST_FORGET] = "forget",
	[REQUEST_GETATTR] = "getattr",
	[REQUEST_SETATTR] = "setattr",
	[REQUEST_READLINK] = "readlink",
	[REQUEST_CREATE] = "create",
	[REQUEST_MKNOD] = "mknod",
	[REQUEST_MKDIR] = "mkdir",
	[REQUEST_SYMLINK] = "symlink",
	[REQUEST_LINK] = "link",
	[REQUEST_UNLINK] = "unlink",
	[REQUEST_RMDIR] = "rmdir",
	[REQUEST_RENAME] = "rename",
	[REQUEST_OPEN] = "open",
	[REQUEST_READ] = "read",
	[REQUEST_WRITE] = "write",
	[REQUEST_FLUSH] = "flush",
	[REQUEST_RELEASE] = "release",
	[REQUEST_FSYNC] = "fsync",
	[REQUEST_OPENDIR] = "opendir",
	[REQUEST_READDIR] = "readdir",
	[REQUEST_READDIRPLUS] = "readdirplus",
	[REQUEST_FSYNCDIR] = "fsyncdir",
	[REQUEST_STATFS] = "statfs",
	[REQUEST_GETXATTR] = "getxattr",
	[REQUEST_LISTXATTR] = "listxattr",
	[REQUEST_SETXATTR] = "setxattr",
	[REQUEST_REMOVEXATTR] = "removexattr",
	[REQUEST_FALLOCATE] = "fallocate",
	[REQUEST_LSEEK] = "lseek",
	[REQUEST_COPY_FILE_RANGE] = "copy_file_range",
	[REQUEST_IOCTL] = "ioctl",
};

const char *request_kind_name(enum request_kind kind)
{
	return kind_names[kind];
}

/* ---- what passes by ---- */

static void see_init_request(struct session *session, const void *packet, size_t length)
{
	const struct fuse_in_header *header = packet;
	const struct fuse_init_in *init = (const void *)(header + 1);

	if (length < sizeof *header + 16 || header->opcode != FUSE_INIT)
		return;
	if (!session->state->init_length && length <= sizeof session->state->init) {
		memcpy(session->state->init, packet, length);
		SHARED_PUBLISH(session->state->init_length, (uint32_t)length);
	}
	session->kernel_minor = init->minor;
	session->kernel_flags = init->flags;
	if (init->flags & ABI_INIT_EXT && length >= sizeof *header + 20)
		session->kernel_flags |= (uint64_t)init->flags2 << 32;
	session->passthrough = session->passthrough_wanted && session->kernel_flags & ABI_INIT_PASSTHROUGH;
	atomic_store_explicit(&session->init_unique, header->unique, memory_order_release);
}

/*
 * SETXATTR with flags (7.33), as libfuse reads it: without. The one flag that there is goes to the flags of setxattr(2). Returns
 * the new length.
 */
static size_t narrow_setxattr(void *packet, size_t length)
{
	struct fuse_in_header *header = packet;
	struct fuse_setxattr_in *in = (void *)(header + 1);
	char *compatible = (char *)in + FUSE_COMPAT_SETXATTR_IN_SIZE, *name = (char *)(in + 1);

	if (length < sizeof *header + sizeof *in || header->opcode != FUSE_SETXATTR)
		return length;
	in->flags &= ~SETXATTR_KILL_SGID;
	if (in->setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID)
		in->flags |= SETXATTR_KILL_SGID;
	memmove(compatible, name, length - (size_t)(name - (char *)packet));
	header->len -= (uint32_t)(name - compatible);
	return length - (size_t)(name - compatible);
}

/* What WRITE and SETATTR say of set-id bits, to where libfuse hands it on. */
static void hand_kill_on(void *packet, size_t length)
{
	struct fuse_in_header *header = packet;
	struct fuse_setattr_in *setattr = (void *)(header + 1);
	struct fuse_write_in *write = (void *)(header + 1);

	if (header->opcode == FUSE_WRITE && length >= sizeof *header + sizeof *write) {
		write->flags &= ~WRITE_KILL_SETID;
		if (write->write_flags & FUSE_WRITE_KILL_SUIDGID)
			write->flags |= WRITE_KILL_SETID;
	} else if (header->opcode == FUSE_SETATTR && length >= sizeof *header + sizeof *setattr) {
		setattr->mode &= ~SETATTR_KILL_SETID;
		if (setattr->valid & FATTR_KILL_SUIDGID)
			setattr->mode |= SETATTR_KILL_SETID;
	}
}

/* What was read, as libfuse is to have it; the new length. */
static size_t see_request(struct session *session, void *packet, size_t length)
{
	if (!atomic_load_explicit(&session->init_unique, memory_order_acquire)) {
		see_init_request(session, packet, length);
		return length;
	}
	if (session->kill_setid)
		hand_kill_on(packet, length);
	return session->setxattr_extended ? narrow_setxattr(packet, length) : length;
}

/* The kernel goes by the answer that the first worker has given it; if this libfuse would give another, it would speak of other things. */
static ssize_t keep_init_reply(struct session *session, const void *reply, size_t length)
{
	struct worker_state *state = session->state;

	if (session->init_again) {
		session->init_differs = length != state->init_reply_length || memcmp(reply, state->init_reply, length) != 0;
	} else if (length <= sizeof state->init_reply) {
		memcpy(state->init_reply, reply, length);
		SHARED_PUBLISH(state->init_reply_length, (uint32_t)length);
	}
	return (ssize_t)(sizeof(struct fuse_out_header) + length);
}

/* The reply to INIT, with what libfuse did not ask for. The kernel has had it where this is not the first worker. */
static ssize_t write_init_reply(int fd, const struct iovec *iov, struct session *session)
{
	struct abi_init_out reply;
	struct iovec changed[2] = { iov[0], { &reply, iov[1].iov_len } };
	ssize_t length;

	memset(&reply, 0, sizeof reply);
	memcpy(&reply, iov[1].iov_base, iov[1].iov_len < sizeof reply ? iov[1].iov_len : sizeof reply);
	if (session->setxattr_extended)
		reply.flags |= FUSE_SETXATTR_EXT;
	if (session->kill_setid)
		reply.flags |= FUSE_HANDLE_KILLPRIV_V2;
	if (session->passthrough) {
		reply.flags |= (uint32_t)ABI_INIT_EXT;
		reply.flags2 |= (uint32_t)(ABI_INIT_PASSTHROUGH >> 32);
		reply.max_stack_depth = session->stack_depth;
	}
	length = keep_init_reply(session, &reply, iov[1].iov_len);
	return session->init_again ? length : writev(fd, changed, 2);
}

/* The kernel does not know the request that this thread answered last: it has had its answer, or was given up. */
static _Thread_local bool answer_refused;

static ssize_t write_device(int fd, struct iovec *iov, int count, void *userdata)
{
	struct session *session = userdata;
	const struct fuse_out_header *header = iov[0].iov_base;
	ssize_t written;

	if (header->unique && !header->error && count == 2 && iov[1].iov_len >= 24 &&
		header->unique == atomic_load_explicit(&session->init_unique, memory_order_acquire)) {
		/* Before the kernel has the answer: what it then sends is read after this. */
		session->setxattr_extended = session->kernel_flags & FUSE_SETXATTR_EXT &&
			iov[1].iov_len == sizeof(struct abi_init_out);
		session->kill_setid = session->kernel_flags & FUSE_HANDLE_KILLPRIV_V2 &&
			iov[1].iov_len == sizeof(struct abi_init_out);
		atomic_store_explicit(&session->init_unique, UINT64_MAX, memory_order_release);
		if (iov[1].iov_len == sizeof(struct abi_init_out))
			return write_init_reply(fd, iov, session);
		/* Of kernels that know little: the same from every libfuse. */
		if (session->init_again)
			return (ssize_t)header->len;
	}
	written = writev(fd, iov, count);
	answer_refused = written < 0 && errno == ENOENT;
	return written;
}

/* By threads that read for themselves: libfuse asks for one. */
static ssize_t read_nothing(int fd, void *buf, size_t length, void *userdata)
{
	errno = EINTR;
	return -1;
}

/* ---- life ---- */

int session_new(const struct session_config *config, struct session **ret, struct error *err)
{
	static const struct fuse_custom_io io = { .writev = write_device, .read = read_nothing };
	char name[] = "veneer";
	char *argv[] = { name, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	read_ahead_open_fn open = (read_ahead_open_fn)overlay_base_directory;
	struct session *session = calloc(1, sizeof *session);
	int r;

	if (!session) {
		close(config->device_fd);
		return error_errno(err, ENOMEM, "start a session");
	}
	session->overlay = config->overlay;
	session->state = config->state;
	session->watch = config->watch;
	session->healer = config->healer;
	session->turn = (struct turn)TURN_INIT;
	pthread_mutex_init(&session->spare_lock, NULL);
	io_choice_init(&session->choice);
	session->passthrough_wanted = config->passthrough;
	session->stack_depth = config->stack_depth;
	session->verbose = config->verbose;
	session->device_fd = config->device_fd;
	session->listings = readdir_cache_new();
	session->files_ahead = read_ahead_new(&read_ahead_files, open, config->overlay);
	session->directories_ahead = read_ahead_new(&read_ahead_directories, open, config->overlay);
	session->done_fd = eventfd(0, EFD_CLOEXEC);
	session->fuse = fuse_session_new(&args, ops_table(), ops_table_size(), session);
	fuse_opt_free_args(&args);
	if (!session->listings || !session->files_ahead || !session->directories_ahead || session->done_fd < 0 || !session->fuse) {
		session_free(session);
		return error_errno(err, ENOMEM, "start a session");
	}
	r = fuse_session_custom_io(session->fuse, &io, config->device_fd);
	if (r != 0) {
		session_free(session);
		return error_errno(err, r < 0 ? -r : EIO, "attach libfuse to /dev/fuse");
	}
	session->device_fd = -EBADF; /* libfuse closes it */
	*ret = session;
	return 0;
}

static int session_fd(const struct session *session)
{
	return fuse_session_fd(session->fuse);
}

static bool is_forget(const struct mailbox *mailbox)
{
	const struct fuse_in_header *header = (const void *)mailbox->packet;

	return header->opcode == FUSE_FORGET || header->opcode == FUSE_BATCH_FORGET;
}

/* A request into MAILBOX, which is empty. Its length; 0: the connection has ended. */
static size_t receive(struct session *session, struct mailbox *mailbox)
{
	for (;;) {
		ssize_t n = read(session_fd(session), mailbox->packet, MAILBOX_PACKET_MAX);

		if (n >= (ssize_t)sizeof(struct fuse_in_header))
			return (size_t)n;
		/* ENOENT: it was given up while it was read. */
		if (n < 0 && (errno == EINTR || errno == ENOENT || errno == EAGAIN)) {
			mailbox_empty(mailbox);
			continue;
		}
		if (n < 0 && errno != ENODEV)
			log_message(LOG_ERR, "requests cannot be read: %s", error_text(errno));
		return 0;
	}
}

/*
 * What is in MAILBOX, LENGTH bytes, is worked on. There it stays as the kernel sent it, but for bits that are set once more if it is
 * worked on again; what would be moved is a copy.
 */
static void process(struct session *session, struct mailbox *mailbox, size_t length)
{
	const struct fuse_in_header *header = (const void *)mailbox->packet;
	struct fuse_buf buf = { .mem = mailbox->packet };

	if (header->opcode == FUSE_SETXATTR && length <= sizeof mailbox->scratch)
		buf.mem = memcpy(mailbox->scratch, mailbox->packet, length);
	buf.size = see_request(session, buf.mem, length);
	fuse_session_process_buf(session->fuse, &buf);
}

static void give_back(void *arg, enum mailbox_credit kind, uint64_t id)
{
	struct session *session = arg;

	if (kind == MAILBOX_LOOKUP)
		overlay_forget(session->overlay, id, 1);
	else if (kind == MAILBOX_OPEN)
		passthrough_release(session, id);
}

static void refuse(struct session *session, const struct mailbox *mailbox)
{
	const struct fuse_in_header *header = (const void *)mailbox->packet;
	struct fuse_out_header out = { .len = sizeof out, .error = -EIO, .unique = header->unique };

	log_message(LOG_ERR, "a request (operation %u) over which %u workers have crashed is answered with an error", header->opcode,
		mailbox->crashes);
	answer_refused = write(session_fd(session), &out, sizeof out) < 0;
}

static bool is_rename(const struct mailbox *mailbox)
{
	const struct fuse_in_header *header = (const void *)mailbox->packet;

	return header->opcode == FUSE_RENAME || header->opcode == FUSE_RENAME2;
}

/* What a worker that has died left here. */
static void process_again(struct session *session, struct mailbox *mailbox)
{
	const struct fuse_in_header *header = (const void *)mailbox->packet;

	answer_refused = false;
	if (!mailbox_again(mailbox, session->state->crashed))
		refuse(session, mailbox);
	else
		process(session, mailbox, header->len);
	mailbox_settle(mailbox, !answer_refused, give_back, session);
}

static void thread_ended(struct session *session)
{
	uint64_t one = 1;

	if (atomic_fetch_sub(&session->running, 1) == 1) {
		ssize_t written = write(session->done_fd, &one, sizeof one);

		(void)written;
	}
}

static void *serve(void *arg)
{
	struct session_thread *self = arg;
	struct session *session = self->session;
	struct mailbox *mailbox = self->mailbox;
	bool mine = false; /* the turn */

	if (creds_thread_init() < 0)
		log_message(LOG_WARNING, "no umask of its own for a thread: files are created with mode bits as asked");
	mailbox_take(mailbox);
	if (mailbox_is_full(mailbox))
		process_again(session, mailbox);
	while (!fuse_session_exited(session->fuse)) {
		size_t length;

		mailbox_empty(mailbox);
		turn_take(&session->turn, &mine);
		length = receive(session, mailbox);
		if (!length)
			break;
		mailbox_read(mailbox, length);
		if (!is_forget(mailbox))
			turn_give(&session->turn, &mine);
		process(session, mailbox, length);
	}
	mailbox_empty(mailbox);
	turn_give(&session->turn, &mine);
	thread_ended(session);
	return NULL;
}

static uint64_t count_now(void *arg, enum mailbox_count what, uint64_t id)
{
	struct session *session = arg;

	return node_counts(overlay_nodes(session->overlay), id, what == MAILBOX_OPENS || what == MAILBOX_CLOSES);
}

/* libfuse, and we, learn what the kernel said when the connection began. */
static int init_again(struct session *session, struct error *err)
{
	struct fuse_buf buf = { .mem = session->state->init, .size = session->state->init_length };

	session->init_again = true;
	buf.size = see_request(session, buf.mem, buf.size);
	fuse_session_process_buf(session->fuse, &buf);
	if (!session_ready(session))
		return error_set(err, -EPROTO, "libfuse did not take what the kernel had told the worker before");
	if (session->init_differs)
		return error_set(err, -EPROTO, "this libfuse would have settled other things with the kernel than the one before");
	return 0;
}

static int notify_spoiled(void *session, uint64_t id)
{
	return session_notify_inode(session, id);
}

/* By this thread. */
static void answer_now(struct session *session, struct mailbox *mailbox)
{
	mailbox_take(mailbox);
	process_again(session, mailbox);
	mailbox_leave();
}

/* Of those whose threads there are none for, or that come first. */
static bool is_answered_apart(const struct session *session, unsigned i)
{
	const struct mailbox *mailbox = &session->state->mailboxes[i];

	/* Those of threads that serve already are theirs alone to look at. */
	return i >= session->thread_count && mailbox_is_full(mailbox) && (session->started || session->state->crashed || is_rename(mailbox));
}

static void *answer_all(void *arg)
{
	struct session *session = arg;

	if (creds_thread_init() < 0)
		log_message(LOG_WARNING, "no umask of its own for a thread: files are created with mode bits as asked");
	for (unsigned i = 0; i < MAILBOXES; i++) {
		if (is_answered_apart(session, i))
			answer_now(session, &session->state->mailboxes[i]);
	}
	return NULL;
}

/*
 * Before anybody else works: a rename that was made, and that the node table does not know of: others will look for what was moved. And
 * after a crash all, one after the other: the one over which the next crash comes is the one. When the others work (STARTED): what is left.
 *
 * Never by the first thread: it is by its PR_SET_PDEATHSIG that this process goes with its supervisor, and who assumes somebody's ids loses that.
 */
static int answer_apart(struct session *session)
{
	pthread_t thread;
	int r = 0;

	for (unsigned i = 0; i < MAILBOXES; i++) {
		if (!is_answered_apart(session, i))
			continue;
		r = thread_start(&thread, answer_all, session);
		if (r == 0)
			pthread_join(thread, NULL);
		break;
	}
	return r;
}

int session_start(struct session *session, unsigned threads, struct error *err)
{
	int r;

	threads = threads < MAILBOXES ? threads : MAILBOXES;
	session->threads = calloc(MAILBOXES, sizeof *session->threads);
	if (!session->threads)
		return error_errno(err, ENOMEM, "start %u threads", threads);
	r = session->state->init_length ? init_again(session, err) : 0;
	if (r < 0)
		return r;
	for (unsigned i = 0; i < MAILBOXES; i++)
		mailbox_resolve(&session->state->mailboxes[i], count_now, session);
	r = notifier_new(notify_spoiled, session, &session->state->notices, &session->notifier);
	if (r < 0)
		return error_errno(err, -r, "start a thread");
	r = answer_apart(session);
	if (r < 0)
		return error_errno(err, -r, "start a thread");
	atomic_store(&session->running, threads);
	for (unsigned i = 0; i < threads && r == 0; i++) {
		session->threads[i].session = session;
		session->threads[i].mailbox = &session->state->mailboxes[i];
		r = thread_start(&session->threads[i].thread, serve, &session->threads[i]);
		if (r == 0)
			session->thread_count++;
	}
	if (r != 0 && session->thread_count == 0)
		return error_errno(err, -r, "start a thread");
	/* Fewer threads than wanted serve as well. */
	if (session->thread_count < threads)
		atomic_fetch_sub(&session->running, threads - session->thread_count);
	session->started = true;
	if (answer_apart(session) < 0)
		log_message(LOG_ERR, "requests of the worker before wait for the next one: no thread can be started");
	return 0;
}

/* One more of those that are counted as running; false: none is, and the connection has ended. */
static bool run_one_more(struct session *session)
{
	unsigned running = atomic_load(&session->running);

	while (running && !atomic_compare_exchange_weak(&session->running, &running, running + 1))
		;
	return running > 0;
}

/* A mailbox that is full is one of the worker before, which is answered without a thread of its own. */
static void start_spare(struct session *session)
{
	struct session_thread *spare = &session->threads[session->thread_count];

	if (session->thread_count == MAILBOXES || mailbox_is_full(&session->state->mailboxes[session->thread_count]) || !run_one_more(session))
		return;
	spare->session = session;
	spare->mailbox = &session->state->mailboxes[session->thread_count];
	if (thread_start(&spare->thread, serve, spare) == 0)
		session->thread_count++;
	else
		thread_ended(session);
}

void session_wait_begin(struct session *session)
{
	SCOPED_LOCK(&session->spare_lock);

	if (++session->waiting >= session->thread_count)
		start_spare(session);
}

void session_wait_end(struct session *session)
{
	SCOPED_LOCK(&session->spare_lock);

	session->waiting--;
}

bool session_ready(struct session *session)
{
	return atomic_load_explicit(&session->init_unique, memory_order_acquire) == UINT64_MAX;
}

void session_wait(struct session *session)
{
	unsigned count;

	{
		SCOPED_LOCK(&session->spare_lock);

		count = session->thread_count;
		session->thread_count = 0;
	}
	for (unsigned i = 0; i < count; i++)
		pthread_join(session->threads[i].thread, NULL);
	notifier_free(session->notifier);
	session->notifier = NULL;
}

void session_free(struct session *session)
{
	if (!session)
		return;
	notifier_free(session->notifier);
	if (session->fuse)
		fuse_session_destroy(session->fuse);
	if (session->device_fd >= 0)
		close(session->device_fd);
	readdir_cache_free(session->listings);
	read_ahead_free(session->files_ahead);
	read_ahead_free(session->directories_ahead);
	if (session->done_fd >= 0)
		close(session->done_fd);
	free(session->threads);
	pthread_mutex_destroy(&session->spare_lock);
	free(session);
}

int session_backing_open(struct session *session, const struct abi_backing_map *map)
{
	int backing = ioctl(session_fd(session), ABI_DEV_IOC_BACKING_OPEN, map);

	return backing < 0 ? -errno : backing;
}

void session_backing_close(struct session *session, int32_t backing)
{
	uint32_t id = (uint32_t)backing;

	if (ioctl(session_fd(session), ABI_DEV_IOC_BACKING_CLOSE, &id) < 0)
		log_message(LOG_WARNING, "backing file %d could not be let go of: %s", backing, error_text(errno));
}

/* ---- notices ---- */

void session_notices_begin(struct session *session)
{
	turn_begin(&session->turn);
}

void session_notices_end(struct session *session)
{
	turn_end(&session->turn);
}

int session_notify_entry(struct session *session, uint64_t parent, const char *name)
{
	atomic_fetch_add_explicit(&session->notifications, 1, memory_order_relaxed);
	readdir_cache_drop(session->listings, parent);
	return fuse_lowlevel_notify_inval_entry(session->fuse, parent, name, strlen(name));
}

bool session_can_expire(const struct session *session)
{
	return session->kernel_flags & ABI_INIT_EXPIRE;
}

/* Said by ourselves: libfuse's own call has other arguments in each of its versions. */
int session_notify_expire(struct session *session, uint64_t parent, const char *name)
{
	const size_t length = strlen(name);
	struct abi_inval_entry_out body = { parent, (uint32_t)length, ABI_INVAL_EXPIRE_ONLY };
	struct fuse_out_header header = { .len = (uint32_t)(sizeof header + sizeof body + length + 1),
		.error = FUSE_NOTIFY_INVAL_ENTRY };
	struct iovec iov[3] = { { &header, sizeof header }, { &body, sizeof body }, { (void *)name, length + 1 } };

	atomic_fetch_add_explicit(&session->notifications, 1, memory_order_relaxed);
	readdir_cache_drop(session->listings, parent);
	return writev(session_fd(session), iov, 3) < 0 ? -errno : 0;
}

int session_notify_inode(struct session *session, uint64_t id)
{
	atomic_fetch_add_explicit(&session->notifications, 1, memory_order_relaxed);
	readdir_cache_drop(session->listings, id);
	return fuse_lowlevel_notify_inval_inode(session->fuse, id, 0, 0);
}

int session_notify_attributes(struct session *session, uint64_t id)
{
	atomic_fetch_add_explicit(&session->notifications, 1, memory_order_relaxed);
	return fuse_lowlevel_notify_inval_inode(session->fuse, id, -1, 0);
}

void session_node_spoiled(struct session *session, uint64_t id)
{
	if (notifier_add(session->notifier, id) < 0)
		log_message(LOG_ERR, "what is shown of a file may stay old: %s", error_text(ENOMEM));
}
