/*
 * A warm host: an emulated host that stays, with a Unix socket at which commands arrive. Socket and lock lie in a directory
 * that only its user may enter; who holds the lock on the directory is the host.
 */
#ifndef KVM_HOST_WARM_H
#define KVM_HOST_WARM_H

#include "launch.h"

/* Connects to this user's warm host; -1 when there is none. */
int warm_connect(void);

/* Connects to it, and starts it first if there is none. Ends this process where that fails. */
int warm_ensure(const struct options *options);

/* vmm host start, status, stop; returns the exit code. */
int warm_command(const struct options *options);

/* The directory; made when `make` says so. NULL with errno when it cannot be, or is not only this user's. */
const char *warm_directory(int make);

/* The address of the socket in it. */
struct sockaddr_un warm_address(void);

#endif
