/* SPDX-License-Identifier: Apache-2.0 */

/*
 * tagged: a program whose exit status is one byte of its own file. A test copies it and changes the
 * byte behind "TAGGED-PROGRAM:" to say which state of a patched directory the copy belongs to: who
 * runs it learns which bytes the kernel really mapped.
 *
 *     sed 's/TAGGED-PROGRAM:./TAGGED-PROGRAM:B/' tagged > copy; copy; echo $?     # 66, a 'B'
 *
 * With an argument it first waits for the end of its standard input, so that it can be replaced
 * while it runs; the pages it then needs are read late.
 */

#include <string.h>
#include <unistd.h>

static const volatile char tag[] = "TAGGED-PROGRAM:?";
static const volatile char filler[256 * 1024] = "pages that nobody reads before the program is told to go on";

int main(int argc, char **argv)
{
	char byte;
	int sum = 0;

	if (argc > 1) {
		while (read(STDIN_FILENO, &byte, 1) > 0)
			;
		for (size_t i = 0; i < sizeof filler; i += 4096)
			sum += filler[i];
	}
	return sum < 0 ? 1 : (unsigned char)tag[sizeof tag - 2];
}
