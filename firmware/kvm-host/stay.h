/* Machines that a command has left in the background (vmm run -d): they run on when it has ended. */
#ifndef KVM_HOST_STAY_H
#define KVM_HOST_STAY_H

#include <stddef.h>
#include <sys/types.h>

/* Is this the process of such a machine? */
int stay_is_machine(pid_t process);

/* The names of those among the children of this process, with a space between, as far as they fit. Returns how many there are. */
int stay_names(char *names, size_t size);

/* Sends all of them a signal. */
void stay_signal(int number);

#endif
