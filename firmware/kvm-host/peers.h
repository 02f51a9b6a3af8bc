/* Connections of Unix sockets that reach from the emulated host to this machine: both ends of the wire carry them alike. */
#ifndef KVM_HOST_PEERS_H
#define KVM_HOST_PEERS_H

#include "frames.h"

#include <poll.h>

enum { PEERS_MAX = 64, PEER_WINDOW = 64 * 1024 };

/* Carries the bytes of a connected socket from now on; the other end knows it by the same number. -1 when there are too many:
   the socket is closed then, and the other end told. */
int peer_add(uint32_t number, int fd, struct queue *sent);

/* Takes FRAME_PEER_DATA, _CREDIT and _END. */
void peer_frame(const struct frame *header, const char *content, struct queue *sent);

/* What to wait for; returns how many were filled in, at most PEERS_MAX. */
int peers_watch(struct pollfd *watched);
void peers_turn(const struct pollfd *watched, int count, struct queue *sent);

#endif
