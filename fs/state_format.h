/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENEER_FS_STATE_FORMAT_H
#define VENEER_FS_STATE_FORMAT_H

/*
 * What outlives a worker (fs/shared.h) is read by the next one, which may be another program (fs/takeover.h). It may only if
 * both mean the same by every byte: a number, raised by whoever changes what something means, and the sizes and places of what lies
 * there, by which a change is noticed for which nobody has raised it.
 */

#define STATE_FORMAT_MAX 160u

#ifndef STATE_FORMAT_NUMBER
#define STATE_FORMAT_NUMBER 1u
#endif

/* This program's: one word, shorter than STATE_FORMAT_MAX. */
const char *state_format(void);

#endif
