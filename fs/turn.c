/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/turn.h"

#include "store/base/cleanup.h"

void turn_take(struct turn *turn, bool *mine)
{
	if (*mine || !atomic_load_explicit(&turn->burst, memory_order_relaxed))
		return;
	SCOPED_LOCK(&turn->lock);
	while (turn->taken && atomic_load(&turn->burst))
		pthread_cond_wait(&turn->free, &turn->lock);
	if (!atomic_load(&turn->burst))
		return;
	turn->taken = true;
	*mine = true;
}

void turn_give(struct turn *turn, bool *mine)
{
	if (!*mine)
		return;
	SCOPED_LOCK(&turn->lock);
	turn->taken = false;
	*mine = false;
	pthread_cond_signal(&turn->free);
}

void turn_begin(struct turn *turn)
{
	SCOPED_LOCK(&turn->lock);

	atomic_store(&turn->burst, true);
}

void turn_end(struct turn *turn)
{
	SCOPED_LOCK(&turn->lock);

	atomic_store(&turn->burst, false);
	pthread_cond_broadcast(&turn->free);
}
