/* The main loop of a warm host: passes commands that arrive at its socket to the agent's ports. */
#ifndef KVM_HOST_SWITCH_H
#define KVM_HOST_SWITCH_H

#include "machine.h"

/* Waits until the agent takes commands. -1 when the machine ends before or the time is over. */
int switch_wait_ready(struct machine *machine, double patience);

/* Returns when the host was told to stop, was idle for so many seconds, or its machine has ended. */
void switch_run(struct machine *machine, int ports, int listener, const char *key, double idle);

#endif
