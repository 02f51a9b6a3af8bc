/* The inner half of the mailbox (mailbox.h). */
#ifndef VT_X_PUMP_H
#define VT_X_PUMP_H

/* Carries bytes between the mailbox disk at `path` and the socket `port` for ever. */
_Noreturn void pump(const char *path, int port);

#endif
