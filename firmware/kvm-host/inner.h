/* Sockets of the command inside. Unix sockets and TCP ports that it listens at are opened outside, too; Unix sockets that it
   connects to and does not listen at itself are those outside. */
#ifndef KVM_HOST_INNER_H
#define KVM_HOST_INNER_H

#include "frames.h"

/* In the process that becomes the command: has its listen(2) and connect(2) reported. `channel` is one end of a pair of Unix
   sockets. */
void inner_report(int channel);

/* In its parent: the descriptor on which reports come; -1 when there are none. */
int inner_open(int channel);

/* Takes a report. */
void inner_turn(int reports, struct queue *sent);

/* Takes FRAME_CALL and FRAME_DIALED. */
void inner_frame(int reports, const struct frame *header, const char *content, struct queue *sent);

#endif
