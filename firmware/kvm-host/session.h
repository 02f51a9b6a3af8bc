/* Commands inside the emulated host: one after the other for each port. */
#ifndef KVM_HOST_SESSION_H
#define KVM_HOST_SESSION_H

/* Takes commands from the port for ever. */
_Noreturn void serve_port(int port);

#endif
