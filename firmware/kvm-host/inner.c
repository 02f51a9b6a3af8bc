#define _GNU_SOURCE
#include "inner.h"
#include "peers.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/magic.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { LISTENERS_MAX = 64, DIALS_MAX = 64 };

static struct listener {
    char *path;                                 /* NULL: a TCP port */
    struct sockaddr_storage address;
} listeners[LISTENERS_MAX];                     /* by number */
static int listener_count;

static struct dial {
    uint64_t report;                            /* of a connect(2) that waits; 0 when free */
    uint32_t number;
    int fd, flags;                              /* of the caller */
} dials[DIALS_MAX];
static uint32_t next_number = 1;                /* odd: ours; even: the other end's */

void inner_report(int channel)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_connect, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_listen, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof code / sizeof *code, code };
    int fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    char room[CMSG_SPACE(sizeof fd)] = { 0 };
    struct iovec one = { "", 1 };
    struct msghdr message = { .msg_iov = &one, .msg_iovlen = 1 };
    if (fd >= 0) {
        message.msg_control = room;
        message.msg_controllen = sizeof room;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        *header = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
        memcpy(CMSG_DATA(header), &fd, sizeof fd);
    }
    sendmsg(channel, &message, 0);
    close(channel);
    if (fd >= 0)
        close(fd);
}

int inner_open(int channel)
{
    int fd = -1;
    char byte, room[CMSG_SPACE(sizeof fd)] = { 0 };
    struct iovec one = { &byte, 1 };
    struct msghdr message = { .msg_iov = &one, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room };
    ssize_t got = recvmsg(channel, &message, MSG_CMSG_CLOEXEC);
    struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (header != NULL && header->cmsg_type == SCM_RIGHTS)
        memcpy(&fd, CMSG_DATA(header), sizeof fd);
    close(channel);
    return fd;
}

static void answer(int reports, uint64_t report, int error, uint32_t flags)
{
    struct seccomp_notif_resp response = { .id = report, .error = -error, .flags = flags };
    ioctl(reports, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

/* Makes a path whole that is relative to a process's working directory. -1 when it is none. */
static int whole_path(char *whole, size_t size, pid_t process, const char *path)
{
    char link[64], directory[4096];
    if (path[0] == 0)
        return -1;
    if (path[0] == '/')
        return snprintf(whole, size, "%s", path) < (int)size ? 0 : -1;
    snprintf(link, sizeof link, "/proc/%d/cwd", (int)process);
    ssize_t length = readlink(link, directory, sizeof directory - 1);
    if (length < 0)
        return -1;
    directory[length] = 0;
    return snprintf(whole, size, "%s/%s", directory, path) < (int)size ? 0 : -1;
}

/* Does the file belong to the machine outside? What lies below /dev/shm, for instance, does not: nobody outside can reach it. */
static int is_outside(const char *path)
{
    struct statfs status;
    return statfs(path, &status) == 0 && status.f_type == V9FS_MAGIC;
}

/* The listener at this place, if there was one before (a machine that is started again listens again), or a new one. */
static int listener_at(const char *path, const struct sockaddr_storage *address)
{
    for (int each = 0; each < listener_count; each++) {
        const struct listener *one = &listeners[each];
        if (path != NULL ? one->path != NULL && strcmp(one->path, path) == 0
            : one->path == NULL && memcmp(&one->address, address, sizeof *address) == 0)
            return each;
    }
    return listener_count;
}

static void on_listen(int fd, pid_t process, struct queue *sent)
{
    struct publish_frame publish = { 0 };
    struct sockaddr_un address = { 0 };
    socklen_t length = sizeof publish.address, size = sizeof publish.only_v6;
    char frame[sizeof(uint32_t) + 4200], *path = frame + sizeof(uint32_t);
    if (getsockname(fd, (struct sockaddr *)&publish.address, &length) != 0)
        return;
    if (publish.address.ss_family == AF_INET || publish.address.ss_family == AF_INET6) {
        int place = listener_at(NULL, &publish.address);
        if (place < listener_count || place == LISTENERS_MAX)
            return;
        getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &publish.only_v6, &size);
        publish.number = (uint32_t)place;
        listeners[listener_count++].address = publish.address;
        queue_frame(sent, FRAME_PUBLISH, &publish, sizeof publish);
        return;
    }
    memcpy(&address, &publish.address, sizeof address - 1);
    if (address.sun_family != AF_UNIX || length <= offsetof(struct sockaddr_un, sun_path)
        || whole_path(path, 4200, process, address.sun_path) != 0 || !is_outside(path))
        return;
    uint32_t place = (uint32_t)listener_at(path, NULL);
    if (place == LISTENERS_MAX)
        return;
    if (place == (uint32_t)listener_count)
        listeners[listener_count++].path = strdup(path);
    memcpy(frame, &place, sizeof place);
    queue_frame(sent, FRAME_LISTEN, frame, sizeof place + strlen(path) + 1);
}

/* 0: the call continues unchanged; 1: it is answered, or will be. */
static int on_connect(const struct seccomp_notif *report, int fd, struct queue *sent)
{
    struct sockaddr_un address = { 0 };
    size_t length = report->data.args[2];
    char path[64], frame[sizeof(uint32_t) + 4200];
    struct stat status;
    snprintf(path, sizeof path, "/proc/%u/mem", report->pid);
    int memory = open(path, O_RDONLY | O_CLOEXEC);
    if (length > sizeof address - 1)
        length = sizeof address - 1;
    ssize_t got = memory < 0 ? -1 : pread(memory, &address, length, (off_t)report->data.args[1]);
    close(memory);
    int type = 0;
    socklen_t size = sizeof type;
    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size);
    if (got <= (ssize_t)offsetof(struct sockaddr_un, sun_path) || address.sun_family != AF_UNIX || type != SOCK_STREAM
        || whole_path(frame + sizeof(uint32_t), 4200, (pid_t)report->pid, address.sun_path) != 0
        || stat(frame + sizeof(uint32_t), &status) != 0 || !S_ISSOCK(status.st_mode) || !is_outside(frame + sizeof(uint32_t)))
        return 0;
    for (int each = 0; each < listener_count; each++)
        if (listeners[each].path != NULL && strcmp(listeners[each].path, frame + sizeof(uint32_t)) == 0)
            return 0;
    struct dial *dial = dials;
    while (dial < dials + DIALS_MAX && dial->report != 0)
        dial++;
    if (dial == dials + DIALS_MAX)
        return 0;
    *dial = (struct dial){ report->id, next_number, (int)report->data.args[0], fcntl(fd, F_GETFL) };
    next_number += 2;
    memcpy(frame, &dial->number, sizeof dial->number);
    queue_frame(sent, FRAME_DIAL, frame, sizeof(uint32_t) + strlen(frame + sizeof(uint32_t)) + 1);
    return 1;
}

/* A report names the thread; pidfd_open(2) wants the process. */
static pid_t process_of(uint32_t thread)
{
    char path[64], line[256];
    int process = (int)thread;
    snprintf(path, sizeof path, "/proc/%u/status", thread);
    FILE *status = fopen(path, "re");
    while (status != NULL && fgets(line, sizeof line, status) != NULL)
        if (sscanf(line, "Tgid: %d", &process) == 1)
            break;
    if (status != NULL)
        fclose(status);
    return process;
}

void inner_turn(int reports, struct queue *sent)
{
    struct seccomp_notif report = { 0 };
    if (ioctl(reports, SECCOMP_IOCTL_NOTIF_RECV, &report) != 0)
        return;
    int process = (int)syscall(SYS_pidfd_open, process_of(report.pid), 0);
    int fd = process < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, process, (int)report.data.args[0], 0);
    int handled = 0;
    if (fd >= 0 && report.data.nr == SYS_listen)
        on_listen(fd, (pid_t)report.pid, sent);
    else if (fd >= 0)
        handled = on_connect(&report, fd, sent);
    if (!handled)
        answer(reports, report.id, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
    close(fd);
    close(process);
}

static int connect_to(const struct listener *listener)
{
    struct sockaddr_un local = { .sun_family = AF_UNIX };
    struct sockaddr_storage address = listener->address;
    int fd = socket(listener->path != NULL ? AF_UNIX : address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), failed;
    if (listener->path != NULL) {
        snprintf(local.sun_path, sizeof local.sun_path, "%s", listener->path);
        failed = connect(fd, (struct sockaddr *)&local, sizeof local);
    } else {
        failed = connect(fd, (struct sockaddr *)&address, sizeof address);      /* the unspecified address is this host's */
    }
    if (failed == 0)
        return fd;
    close(fd);
    return -1;
}

/* Somebody outside has connected to a socket that is listened at inside. */
static void on_call(uint32_t listener, uint32_t number, struct queue *sent)
{
    int fd = listener < (uint32_t)listener_count ? connect_to(&listeners[listener]) : -1;
    if (fd >= 0)
        peer_add(number, fd, sent);
    else
        queue_frame(sent, FRAME_PEER_END, &number, sizeof number);
}

/* The socket outside is connected: one end of a pair takes the place of the caller's. */
static void on_dialed(int reports, struct dial *dial, uint32_t error, struct queue *sent)
{
    int pair[2];
    if (error == ECONNREFUSED || error == ENOENT) {
        /* Nobody there either: let the kernel inside say so, or find who listens there since. */
        answer(reports, dial->report, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
    } else if (error != 0) {
        answer(reports, dial->report, (int)error, 0);
    } else if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0) {
        fcntl(pair[0], F_SETFL, dial->flags & O_NONBLOCK);
        struct seccomp_notif_addfd add = { .id = dial->report, .flags = SECCOMP_ADDFD_FLAG_SETFD, .srcfd = (uint32_t)pair[0],
            .newfd = (uint32_t)dial->fd, .newfd_flags = O_CLOEXEC };
        int added = ioctl(reports, SECCOMP_IOCTL_NOTIF_ADDFD, &add);
        answer(reports, dial->report, added < 0 ? ECONNREFUSED : 0, 0);
        close(pair[0]);
        peer_add(dial->number, pair[1], sent);
    } else {
        answer(reports, dial->report, ECONNREFUSED, 0);
    }
    dial->report = 0;
}

void inner_frame(int reports, const struct frame *header, const char *content, struct queue *sent)
{
    uint32_t words[2];
    if (header->length < sizeof words)
        return;
    memcpy(words, content, sizeof words);
    if (header->type == FRAME_CALL)
        on_call(words[0], words[1], sent);
    for (struct dial *dial = dials; header->type == FRAME_DIALED && dial < dials + DIALS_MAX; dial++)
        if (dial->report != 0 && dial->number == words[0])
            on_dialed(reports, dial, words[1], sent);
}
