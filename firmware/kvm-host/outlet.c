#define _GNU_SOURCE
#include "outlet.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

void outlets_reserve(void)
{
    int spare;
    while ((spare = open("/dev/null", O_RDWR)) >= 0 && spare <= 2)
        ;
    close(spare);
}

/* O_NONBLOCK belongs to a description that others share: this process opens one of its own where it can. */
void outlet_open(struct outlet *outlet, int fd, uint32_t stream)
{
    struct stat status;
    char path[32];
    outlet->fd = fd;
    outlet->stream = stream;
    if (fd < 0 || fstat(fd, &status) != 0)
        return;
    outlet->is_pipe = S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode);
    if (!S_ISFIFO(status.st_mode) && !S_ISCHR(status.st_mode))
        return;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    outlet->is_ours = own >= 0;
    if (own >= 0)
        outlet->fd = own;
}

void outlet_close(struct outlet *outlet, struct queue *answers)
{
    if (outlet->closed)
        return;
    outlet->closed = 1;
    outlet->waiting.start = outlet->waiting.end = 0;
    queue_frame(answers, FRAME_CLOSED, &outlet->stream, sizeof outlet->stream);
}

static ssize_t write_some(struct outlet *outlet)
{
    const char *bytes = outlet->waiting.bytes + outlet->waiting.start;
    size_t count = queue_length(&outlet->waiting);
    ssize_t done = send(outlet->fd, bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (done >= 0 || errno != ENOTSOCK)
        return done;
    /* poll(2) promises that a pipe takes PIPE_BUF bytes. */
    if (!outlet->is_ours && outlet->is_pipe && count > PIPE_BUF)
        count = PIPE_BUF;
    return write(outlet->fd, bytes, count);
}

void outlet_write(struct outlet *outlet, struct queue *answers)
{
    if (outlet->closed || queue_length(&outlet->waiting) == 0)
        return;
    ssize_t done = write_some(outlet);
    if (done < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (done < 0) {
        if (errno != EPIPE && outlet->stream != STREAM_ERROR)
            dprintf(2, "vmm: standard output: %s\n", strerror(errno));
        outlet_close(outlet, answers);
        return;
    }
    outlet->waiting.start += (size_t)done;
    struct credit_frame credit = { outlet->stream, (uint32_t)done };
    queue_frame(answers, FRAME_CREDIT, &credit, sizeof credit);
}
