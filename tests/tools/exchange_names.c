/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exchange_names A B FILE...: exchange A and B and then open each FILE, again and again, until SIGTERM; what is refused is tried again.
 * Then it prints how often they were exchanged.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static volatile sig_atomic_t ended;

static void end(int signal)
{
	(void)signal;
	ended = 1;
}

int main(int argc, char **argv)
{
	const struct sigaction action = { .sa_handler = end };
	unsigned long count = 0;

	if (argc < 4) {
		fprintf(stderr, "usage: exchange_names A B FILE...\n");
		return 2;
	}
	sigaction(SIGTERM, &action, NULL);
	while (!ended) {
		count += renameat2(AT_FDCWD, argv[1], AT_FDCWD, argv[2], RENAME_EXCHANGE) == 0;
		for (int i = 3; i < argc; i++) {
			int fd = open(argv[i], O_RDONLY | O_CLOEXEC);

			if (fd >= 0)
				close(fd);
		}
	}
	printf("%lu\n", count);
	return 0;
}
