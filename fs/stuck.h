/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_STUCK_H
#define VENEER_FS_STUCK_H

#include <stdbool.h>
#include <sys/types.h>

#define STUCK_LOOKS 5
#define STUCK_PAUSE_MS 100

/*
 * Does a thread of process PID wait for a disk that does not answer (uninterruptible sleep in proc_pid_stat(5), the same one at each of STUCK_LOOKS
 * looks, in which it never ran)? To end it would take until the disk does. Returns at once where no thread sleeps so.
 */
bool process_is_stuck(pid_t pid);

/*
 * Was process PID killed, and cannot end, for the kernel holds what is left of its threads in uninterruptible sleep? None of them ever runs the
 * program's own code again: SIGKILL waits for it on its way back. What it sleeps in may have to wait for another process to serve: a notice to the kernel waits for
 * a directory that somebody has locked who waits for an answer.
 */
bool process_lingers(pid_t pid);

#endif
