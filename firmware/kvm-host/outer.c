#define _GNU_SOURCE
#include "outer.h"
#include "peers.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static struct { uint32_t number; int fd; } listeners[OUTER_MAX];
static int count;
static uint32_t next_number = 2;                /* even: ours; odd: the other end's */

static int make_socket(struct sockaddr_un *address, const char *path)
{
    *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof address->sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(address->sun_path, path);
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static void add(uint32_t number, int fd)
{
    for (int each = 0; each < count; each++)
        if (listeners[each].number == number) {         /* a machine was started again: the file is another one now */
            close(listeners[each].fd);
            listeners[each].fd = fd;
            return;
        }
    listeners[count].number = number;
    listeners[count++].fd = fd;
}

/* The file is there already, made by the kernel inside, but no socket of this machine's belongs to it: one takes its place. */
static void on_listen(uint32_t number, const char *path)
{
    struct sockaddr_un address;
    struct stat status;
    int fd = make_socket(&address, path);
    if (fd < 0 || count == OUTER_MAX || lstat(path, &status) != 0 || !S_ISSOCK(status.st_mode) || unlink(path) != 0
        || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || chmod(path, status.st_mode & 07777) != 0
        || listen(fd, 128) != 0) {
        dprintf(2, "vmm: %s: cannot be reached from outside the emulated host: %s\n", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return;
    }
    add(number, fd);
}

static void on_publish(const struct publish_frame *publish)
{
    char host[64], service[16];
    int one = 1, only_v6 = (int)publish->only_v6, family = publish->address.ss_family;
    socklen_t length = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    const struct sockaddr *address = (const struct sockaddr *)&publish->address;
    int fd = count == OUTER_MAX ? -1 : socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (family == AF_INET6)
            setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only_v6, sizeof only_v6);
    }
    if (fd >= 0 && bind(fd, address, length) == 0 && listen(fd, 128) == 0) {
        add(publish->number, fd);
        return;
    }
    int cause = errno;
    getnameinfo(address, length, host, sizeof host, service, sizeof service, NI_NUMERICHOST | NI_NUMERICSERV);
    dprintf(2, "vmm: TCP port %s at %s is open in the emulated host only: %s\n", service, host, strerror(cause));
    if (fd >= 0)
        close(fd);
}

static void on_dial(uint32_t number, const char *path, struct queue *sent)
{
    struct sockaddr_un address;
    uint32_t answer[2] = { number, 0 };
    int fd = make_socket(&address, path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        answer[1] = (uint32_t)errno;
        if (fd >= 0)
            close(fd);
    }
    queue_frame(sent, FRAME_DIALED, answer, sizeof answer);
    if (answer[1] == 0)
        peer_add(number, fd, sent);
}

void outer_frame(const struct frame *header, const char *content, struct queue *sent)
{
    struct publish_frame publish;
    uint32_t number;
    if (header->length <= sizeof number)
        return;
    if (header->type == FRAME_PUBLISH && header->length == sizeof publish) {
        memcpy(&publish, content, sizeof publish);
        on_publish(&publish);
        return;
    }
    memcpy(&number, content, sizeof number);
    if (header->type == FRAME_LISTEN)
        on_listen(number, content + sizeof number);
    else if (header->type == FRAME_DIAL)
        on_dial(number, content + sizeof number, sent);
}

int outer_watch(struct pollfd *watched)
{
    for (int each = 0; each < count; each++)
        watched[each] = (struct pollfd){ .fd = listeners[each].fd, .events = POLLIN };
    return count;
}

void outer_turn(const struct pollfd *watched, int watched_count, struct queue *sent)
{
    for (int each = 0; each < watched_count; each++) {
        int fd = watched[each].revents == 0 ? -1 : accept4(listeners[each].fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            continue;
        uint32_t call[2] = { listeners[each].number, next_number };
        next_number += 2;
        queue_frame(sent, FRAME_CALL, call, sizeof call);
        peer_add(call[1], fd, sent);
    }
}
