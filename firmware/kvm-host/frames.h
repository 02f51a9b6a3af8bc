/* Frames on their way: a queue of bytes to be written, and a box in which arriving frames are put together. */
#ifndef KVM_HOST_FRAMES_H
#define KVM_HOST_FRAMES_H

#include "wire.h"

#include <stddef.h>

struct queue {
    char *bytes;
    size_t start, end, size;
};

/* Never blocks; ends the process where there is no memory. */
void queue_put(struct queue *queue, const void *bytes, size_t count);
void queue_frame(struct queue *queue, uint32_t type, const void *content, size_t length);

/* Writes what the descriptor takes now. -1 with errno when it can take nothing ever again. */
int queue_write(struct queue *queue, int fd);

static inline size_t queue_length(const struct queue *queue)
{
    return queue->end - queue->start;
}

struct inbox {
    char bytes[sizeof(struct frame) + FRAME_MAX];
    size_t used, taken;
};

/* Reads once. 0 at the end of the stream, -1 with errno, else a number above 0. */
ssize_t inbox_read(struct inbox *inbox, int fd);

/* Takes the next whole frame. Its content is followed by a NUL and stays until the next call, whatever the inbox.
   0 when there is no whole frame yet, -1 when it makes no sense. */
int inbox_take(struct inbox *inbox, struct frame *header, char **content);

#endif
