/*
 * A network card's other side over vhost-user, with one host on its network that answers ARP and pings for every address:
 * vhost-user-net SOCKET. It serves one connection and ends with it; 0 where frames went both ways.
 *
 * Nothing of vmm's is in it: the messages are those of QEMU's interop/vhost-user, the rings those of virtio 1.2, section 2.7.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    GET_FEATURES = 1, SET_MEM_TABLE = 5, SET_VRING_NUM = 8, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE, SET_VRING_KICK,
    SET_VRING_CALL, GET_PROTOCOL_FEATURES = 15, GET_QUEUE_NUM = 17,
    REPLY = 5, WANTS_REPLY = 8,
    HEAD = 12, FRAME_MOST = 2048, REGIONS_MOST = 8, DESC_NEXT = 1,
};

static const uint8_t own_mac[6] = { 2, 0, 0, 0, 0, 2 };

struct region { uint64_t guest, size, user, offset; char *here; };
struct descriptor { uint64_t address; uint32_t length; uint16_t flags, next; };
struct available { uint16_t flags, index, ring[]; };
struct used { uint16_t flags, index; struct { uint32_t id, length; } ring[]; };

static struct queue {
    struct descriptor *descriptors;
    struct available *available;
    struct used *used;
    uint32_t size;
    uint16_t next;
    int kick, call;
} queues[2] = { { .kick = -1, .call = -1 }, { .kick = -1, .call = -1 } };

static struct region regions[REGIONS_MOST];
static uint32_t region_count;
static unsigned long answered;

static _Noreturn void fail(const char *what) { perror(what); exit(1); }

static void *at(uint64_t address, int is_user)
{
    for (uint32_t i = 0; i < region_count; i++) {
        uint64_t start = is_user ? regions[i].user : regions[i].guest;
        if (address >= start && address - start < regions[i].size)
            return regions[i].here + (address - start);
    }
    fprintf(stderr, "no memory at %llx\n", (unsigned long long)address);
    exit(1);
}

static void map_memory(const char *payload, const int *fds)
{
    memcpy(&region_count, payload, 4);
    if (region_count > REGIONS_MOST)
        exit(1);
    for (uint32_t i = 0; i < region_count; i++) {
        memcpy(regions + i, payload + 8 + 32 * i, 32);
        char *start = mmap(NULL, regions[i].size + regions[i].offset, PROT_READ | PROT_WRITE, MAP_SHARED, fds[i], 0);
        if (start == MAP_FAILED)
            fail("mmap");
        regions[i].here = start + regions[i].offset;
        close(fds[i]);
    }
}

static void finish(struct queue *queue, uint16_t head, uint32_t written)
{
    uint64_t one = 1;
    uint16_t index = queue->used->index;
    queue->used->ring[index % queue->size].id = head;
    queue->used->ring[index % queue->size].length = written;
    __atomic_store_n(&queue->used->index, index + 1, __ATOMIC_RELEASE);
    if (queue->call >= 0 && write(queue->call, &one, 8) != 8)
        fail("call");
}

static int take(struct queue *queue, uint16_t *head)
{
    if (queue->available == NULL || __atomic_load_n(&queue->available->index, __ATOMIC_ACQUIRE) == queue->next)
        return 0;
    *head = queue->available->ring[queue->next++ % queue->size];
    return 1;
}

/* The frame's bytes, behind virtio's header, out of or into a chain. */
static uint32_t copy(struct queue *queue, uint16_t head, char *frame, uint32_t length, int into)
{
    uint32_t done = 0;
    for (struct descriptor *each = queue->descriptors + head;; each = queue->descriptors + each->next) {
        uint32_t part = each->length < length - done ? each->length : length - done;
        char *there = at(each->address, 0);
        memcpy(into ? there : frame + done, into ? frame + done : there, part);
        done += part;
        if (done == length || !(each->flags & DESC_NEXT))
            return done;
    }
}

/* Makes the answer of a frame; returns 0 where there is none. */
static int answer(uint8_t *frame, uint32_t length)
{
    uint8_t keep[4];
    if (length >= 42 && frame[12] == 8 && frame[13] == 6 && frame[21] == 1) {      /* ARP, a request (RFC 826) */
        memcpy(keep, frame + 38, 4);
        memcpy(frame + 32, frame + 22, 10);
        memcpy(frame + 22, own_mac, 6);
        memcpy(frame + 28, keep, 4);
        frame[21] = 2;
    } else if (length >= 42 && frame[12] == 8 && frame[13] == 0 && frame[23] == 1 && frame[34] == 8) {      /* an echo request (RFC 792) */
        memcpy(keep, frame + 26, 4);
        memcpy(frame + 26, frame + 30, 4);
        memcpy(frame + 30, keep, 4);
        uint32_t sum = ((uint32_t)frame[36] << 8 | frame[37]) + 0x800;
        sum = (sum & 0xffff) + (sum >> 16);
        frame[34] = 0;
        frame[36] = (uint8_t)(sum >> 8);
        frame[37] = (uint8_t)sum;
        answered++;
    } else {
        return 0;
    }
    memcpy(frame, frame + 6, 6);
    memcpy(frame + 6, own_mac, 6);
    return 1;
}

static void serve_frames(void)
{
    static char frame[FRAME_MOST];
    uint16_t head, room;
    while (take(queues + 1, &head)) {
        uint32_t length = copy(queues + 1, head, frame, sizeof frame, 0);
        finish(queues + 1, head, 0);
        if (length > HEAD && answer((uint8_t *)frame + HEAD, length - HEAD) && take(queues, &room)) {
            memset(frame, 0, HEAD);
            frame[10] = 1;      /* num_buffers */
            finish(queues, room, copy(queues, room, frame, length, 1));
        }
    }
}

/* One message; 0 at the connection's end. */
static int serve_message(int connection)
{
    uint32_t head[3], reply[3] = { 0, REPLY, 8 };
    char payload[512] = { 0 };
    union { struct cmsghdr header; char room[CMSG_SPACE(sizeof(int) * REGIONS_MOST)]; } control;
    int fds[REGIONS_MOST] = { -1, -1, -1, -1, -1, -1, -1, -1 };
    struct iovec vector = { head, sizeof head };
    struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    if (recvmsg(connection, &message, MSG_WAITALL) != sizeof head)
        return 0;
    struct cmsghdr *came = CMSG_FIRSTHDR(&message);
    if (came != NULL && came->cmsg_type == SCM_RIGHTS)
        memcpy(fds, CMSG_DATA(came), came->cmsg_len - CMSG_LEN(0));
    if (head[2] > sizeof payload || (head[2] != 0 && recv(connection, payload, head[2], MSG_WAITALL) != (ssize_t)head[2]))
        return 0;
    uint32_t index, number;
    uint64_t value = 0, address[3];
    memcpy(&index, payload, 4);
    memcpy(&number, payload + 4, 4);
    struct queue *queue = queues + (index & 1);
    int replies = (head[1] & WANTS_REPLY) != 0;
    switch (head[0]) {
    case GET_FEATURES: value = 1ull << 32 | 1ull << 30; replies = 1; break;
    case GET_PROTOCOL_FEATURES: value = 1 << 0 | 1 << 3; replies = 1; break;       /* MQ, REPLY_ACK */
    case GET_QUEUE_NUM: value = 2; replies = 1; break;
    case SET_MEM_TABLE: map_memory(payload, fds); break;
    case SET_VRING_NUM: queue->size = number; break;
    case SET_VRING_BASE: queue->next = (uint16_t)number; break;
    case SET_VRING_KICK: queue->kick = fds[0]; break;
    case SET_VRING_CALL: queue->call = fds[0]; break;
    case SET_VRING_ADDR:
        memcpy(address, payload + 8, sizeof address);
        queue->descriptors = at(address[0], 1);
        queue->used = at(address[1], 1);
        queue->available = at(address[2], 1);
        break;
    case GET_VRING_BASE:
        value = index | (uint64_t)queue->next << 32;
        queue->available = NULL;
        queue->kick = -1;
        replies = 1;
        break;
    }
    reply[0] = head[0];
    struct iovec parts[2] = { { reply, sizeof reply }, { &value, sizeof value } };
    if (replies && writev(connection, parts, 2) != sizeof reply + sizeof value)
        return 0;
    return 1;
}

int main(int count, char **arguments)
{
    struct sockaddr_un name = { .sun_family = AF_UNIX };
    if (count != 2)
        return 64;
    snprintf(name.sun_path, sizeof name.sun_path, "%s", arguments[1]);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&name, sizeof name) != 0 || listen(listener, 1) != 0)
        fail(arguments[1]);
    int connection = accept(listener, NULL, NULL);
    for (;;) {
        struct pollfd watched[3] = {
            { .fd = connection, .events = POLLIN }, { .fd = queues[0].kick, .events = POLLIN }, { .fd = queues[1].kick, .events = POLLIN },
        };
        uint64_t kicks;
        if (poll(watched, 3, -1) < 0)
            fail("poll");
        for (int i = 1; i < 3; i++)
            if (watched[i].revents != 0 && read(watched[i].fd, &kicks, 8) < 0)
                fail("kick");
        serve_frames();
        if (watched[0].revents != 0 && !serve_message(connection))
            break;
    }
    printf("%lu\n", answered);
    return answered != 0 ? 0 : 1;
}
