/* A standard stream of ours that the command writes to. Writing to it never blocks this process. */
#ifndef KVM_HOST_OUTLET_H
#define KVM_HOST_OUTLET_H

#include "frames.h"

struct outlet {
    int fd, is_pipe, is_ours;   /* ours: a description of its own, which does not block */
    uint32_t stream;
    struct queue waiting;
    int closed;                 /* nobody reads it any more */
};

/* Descriptors 0 to 2 are open from now on: nothing else gets their numbers. */
void outlets_reserve(void);

void outlet_open(struct outlet *outlet, int fd, uint32_t stream);

/* Writes what can be written and tells the agent through `answers`. Does nothing for an outlet without a descriptor. */
void outlet_write(struct outlet *outlet, struct queue *answers);

/* The reader has gone. */
void outlet_close(struct outlet *outlet, struct queue *answers);

#endif
