/* QEMU: started here, and ended whatever happens to the process that started it. */
#ifndef KVM_HOST_MACHINE_H
#define KVM_HOST_MACHINE_H

#include "wire.h"

#include <sys/types.h>

enum { EXIT_HOST = 125, EXIT_TIMEOUT = 124 };

struct machine {
    pid_t pid;                  /* -1 when there is none */
    int log;                    /* what QEMU and the agent said; a file without a name */
    int ports[PORTS_MAX];       /* our ends */
};

/* `arguments` is QEMU's command line, in which @PORT@ stands for the descriptor of the first port and @TSC_KHZ@ for the
   rate of this machine's time stamp counter; further ports are added to it. 0, or -1 with errno. */
int machine_start(struct machine *machine, char **arguments, int ports);

void machine_end(struct machine *machine);

/* Writes the end of the machine's output to `fd`. */
void machine_tell(const struct machine *machine, int fd);

double now(void);

#endif
