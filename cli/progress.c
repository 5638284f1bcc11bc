/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/progress.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "cli/text.h"

#define PROGRESS_EVERY_MS 100
#define WIPE "\r\033[K"

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void progress_begin(struct progress *progress, const struct context *ctx, const char *what)
{
	*progress = (struct progress){
		.active = !ctx->quiet && !ctx->json && isatty(STDERR_FILENO),
		.what = what,
	};
	if (!progress->active)
		return;
	fprintf(stderr, WIPE "%s ...", what);
	progress->shown = true;
	progress->shown_at_ms = now_ms();
}

void progress_update(void *arg, uint64_t done_files, uint64_t done_bytes)
{
	struct progress *progress = arg;
	cleanup_strbuf struct strbuf line = STRBUF_INIT;
	uint64_t now;

	if (!progress->active)
		return;
	now = now_ms();
	if (now - progress->shown_at_ms < PROGRESS_EVERY_MS)
		return;
	text_add_count(&line, done_files);
	strbuf_addstr(&line, " files, ");
	text_add_bytes(&line, done_bytes);
	fprintf(stderr, WIPE "%s: %s", progress->what, strbuf_text(&line));
	progress->shown = true;
	progress->shown_at_ms = now;
}

void progress_show(void *arg, const char *what, uint64_t done_files, uint64_t done_bytes)
{
	struct progress *progress = arg;

	progress->what = what;
	progress_update(progress, done_files, done_bytes);
}

void progress_end(struct progress *progress)
{
	if (progress->shown)
		fputs(WIPE, stderr);
	progress->shown = false;
}
