/* The other end of inner.h, on this machine. */
#ifndef KVM_HOST_OUTER_H
#define KVM_HOST_OUTER_H

#include "frames.h"

#include <poll.h>

enum { OUTER_MAX = 64 };

/* Takes FRAME_LISTEN, FRAME_PUBLISH and FRAME_DIAL. */
void outer_frame(const struct frame *header, const char *content, struct queue *sent);

/* What to wait for, at most OUTER_MAX. */
int outer_watch(struct pollfd *watched);
void outer_turn(const struct pollfd *watched, int count, struct queue *sent);

#endif
