/* Machines that a command has left in the background (vmm run -d): they run on when it has ended. */
#ifndef KVM_HOST_STAY_H
#define KVM_HOST_STAY_H

#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

/* Is this the process of such a machine? */
int stay_is_machine(pid_t process);

/* The next child of this process, 0 behind the last. The list is NULL before the first, and of no use behind the last. */
pid_t next_child(FILE **list);

/* The names of those among the children of this process, with a space between, as far as they fit. Returns how many there are. */
int stay_names(char *names, size_t size);

/* Sends all of them a signal. */
void stay_signal(int number);

#endif
