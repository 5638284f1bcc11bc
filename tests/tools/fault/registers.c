/* SPDX-License-Identifier: Apache-2.0 */

/* The one file that knows the architecture. */

#include "tests/tools/fault/fault.h"

#include <elf.h>
#include <errno.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>

#if defined(__x86_64__)

static int registers_get(pid_t thread, struct user_regs_struct *ret)
{
	return ptrace(PTRACE_GETREGS, thread, NULL, ret) < 0 ? -errno : 0;
}

static int registers_put(pid_t thread, const struct user_regs_struct *registers)
{
	return ptrace(PTRACE_SETREGS, thread, NULL, registers) < 0 ? -errno : 0;
}

/* A call with the number -1 is none, and what stands in the register of results is left. */
int registers_refuse(pid_t thread, int error)
{
	struct user_regs_struct registers;
	int r = registers_get(thread, &registers);

	if (r < 0)
		return r;
	registers.orig_rax = (unsigned long long)-1;
	registers.rax = (unsigned long long)-error;
	return registers_put(thread, &registers);
}

int registers_set_argument(pid_t thread, int index, uint64_t value)
{
	struct user_regs_struct registers;
	int r = registers_get(thread, &registers);
	unsigned long long *const places[CALL_ARGUMENTS] = { &registers.rdi, &registers.rsi, &registers.rdx, &registers.r10, &registers.r8,
		&registers.r9 };

	if (r < 0)
		return r;
	*places[index] = value;
	return registers_put(thread, &registers);
}

#elif defined(__aarch64__)

static int set_general(pid_t thread, int index, uint64_t value)
{
	struct user_regs_struct registers;
	struct iovec all = { &registers, sizeof registers };

	if (ptrace(PTRACE_GETREGSET, thread, (void *)NT_PRSTATUS, &all) < 0)
		return -errno;
	registers.regs[index] = value;
	return ptrace(PTRACE_SETREGSET, thread, (void *)NT_PRSTATUS, &all) < 0 ? -errno : 0;
}

int registers_refuse(pid_t thread, int error)
{
	int number = -1;
	struct iovec all = { &number, sizeof number };

	if (ptrace(PTRACE_SETREGSET, thread, (void *)NT_ARM_SYSTEM_CALL, &all) < 0)
		return -errno;
	return set_general(thread, 0, (uint64_t)-(int64_t)error);
}

int registers_set_argument(pid_t thread, int index, uint64_t value)
{
	return set_general(thread, index, value);
}

#else

int registers_refuse(pid_t thread, int error)
{
	return -ENOSYS;
}

int registers_set_argument(pid_t thread, int index, uint64_t value)
{
	return -ENOSYS;
}

#endif
