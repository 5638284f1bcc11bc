/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_BASE_LOG_H
#define VENEER_BASE_LOG_H

/*
 * What a daemon says when nobody is there to hand an error to. Libraries return errors; only fs/ and
 * cli/ log, and store/ where it repairs damage, which is no error. Lines go to stderr, and to the
 * system log by a datagram that we compose ourselves: syslog(3) reads the time zone, which may lie
 * under our own mountpoint.
 */

#include <syslog.h> /* LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG */

/* IDENT (borrowed for ever) precedes each line. To_stderr: also there. Threads: call before they start. */
void log_open(const char *ident, int to_stderr, int max_level);
void log_close(void);
void log_message(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
