#include "frames.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void queue_put(struct queue *queue, const void *bytes, size_t count)
{
    if (queue->start == queue->end)
        queue->start = queue->end = 0;
    if (queue->start > 1 << 20) {
        memmove(queue->bytes, queue->bytes + queue->start, queue->end - queue->start);
        queue->end -= queue->start;
        queue->start = 0;
    }
    if (queue->size - queue->end < count) {
        queue->size = queue->end + count + FRAME_MAX;
        queue->bytes = realloc(queue->bytes, queue->size);
        if (queue->bytes == NULL)
            abort();
    }
    if (count != 0)
        memcpy(queue->bytes + queue->end, bytes, count);
    queue->end += count;
}

void queue_frame(struct queue *queue, uint32_t type, const void *content, size_t length)
{
    struct frame header = { type, (uint32_t)length };
    queue_put(queue, &header, sizeof header);
    queue_put(queue, content, length);
}

int queue_write(struct queue *queue, int fd)
{
    while (queue->start != queue->end) {
        ssize_t done = write(fd, queue->bytes + queue->start, queue->end - queue->start);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return errno == EAGAIN ? 0 : -1;
        queue->start += (size_t)done;
    }
    return 0;
}

ssize_t inbox_read(struct inbox *inbox, int fd)
{
    memmove(inbox->bytes, inbox->bytes + inbox->taken, inbox->used - inbox->taken);
    inbox->used -= inbox->taken;
    inbox->taken = 0;
    ssize_t count = read(fd, inbox->bytes + inbox->used, sizeof inbox->bytes - inbox->used);
    if (count > 0)
        inbox->used += (size_t)count;
    return count;
}

int inbox_take(struct inbox *inbox, struct frame *header, char **content)
{
    static char taken[FRAME_MAX + 1];
    size_t there = inbox->used - inbox->taken;
    if (there < sizeof *header)
        return 0;
    memcpy(header, inbox->bytes + inbox->taken, sizeof *header);
    if (header->length > FRAME_MAX)
        return -1;
    if (there - sizeof *header < header->length)
        return 0;
    memcpy(taken, inbox->bytes + inbox->taken + sizeof *header, header->length);
    taken[header->length] = 0;
    inbox->taken += sizeof *header + header->length;
    *content = taken;
    return 1;
}
