/* The outer half of a command whose machines stay: it goes on in the background for their sockets and signals. */
#ifndef KVM_HOST_BACKGROUND_H
#define KVM_HOST_BACKGROUND_H

#include "outlet.h"
#include "terminal.h"

/* Makes the process that goes on. 0 in it: it has neither terminal nor streams; 1 in the one that was there, which is to end as the
   command did; -1 with errno. */
int background_fork(struct terminal *terminal, struct outlet *outlets);

#endif
