// Process 1 of a guest that is saved and restored under load: it writes to a disk with ext4, and has three streams of numbered messages
// with the host (TCP, UDP, vsock), all checked. It never forgets what it has done, so whatever a restored machine gets wrong shows.
// On port STATUS of its vsock it answers one letter: s, how far all have come; q, the same once the disk is unmounted; o, power off.
// On the kernel's command line: ip=dhcp LOAD_TCP=PORT LOAD_UDP=PORT, the ports of the host.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCK = 16384, BLOCKS = 128, FILES = 16, MESSAGE = 1024, STREAM = 5000, STATUS = 6000 };

// Shared by all processes.
static struct shared {
    volatile uint64_t disk, files, tcp, udp, vsock;         // steps that were done and checked
    volatile uint64_t reconnects, resends;
    volatile int stop, wrong;
    char why[200];
} *all;

static void wrong(const char *format, ...)
{
    if (__sync_fetch_and_add(&all->wrong, 1) == 0) {
        va_list rest;
        va_start(rest, format);
        vsnprintf(all->why, sizeof all->why, format, rest);
        va_end(rest);
        printf("WRONG %s\n", all->why);
    }
}

static void need(bool is, const char *what)
{
    if (!is) wrong("%s: %s", what, strerror(errno));
}

// The content that belongs to a number: the number, then what xorshift64* makes of it. (The host does the same.)
static void fill(void *at, size_t size, uint64_t number)
{
    uint64_t *word = at, x = number * 0x9e3779b97f4a7c15 + 1;
    word[0] = number;
    for (size_t i = 1; i < size / 8; i++) {
        x ^= x >> 12, x ^= x << 25, x ^= x >> 27;
        word[i] = x * 0x2545f4914f6cdd1d;
    }
}

static void check(const void *at, size_t size, uint64_t number, const char *what, unsigned where)
{
    static uint64_t expected[BLOCK / 8];
    fill(expected, size, number);
    if (memcmp(at, expected, size) != 0)
        wrong("%s %u holds %llu instead of %llu", what, where, *(unsigned long long *)at, (unsigned long long)number);
}

static unsigned any(void)
{
    static uint64_t x = 88172645463325252;
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    return x >> 32;
}

// Blocks of one file, past the page cache: the disk itself has to hold what this process knows.
static void write_blocks(void)
{
    uint64_t holds[BLOCKS] = {0};
    void *at = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int file = open("/data/blocks", O_RDWR | O_CREAT | O_DIRECT, 0600);
    need(file >= 0, "/data/blocks");
    for (uint64_t number = 1; !all->stop && !all->wrong; number++) {
        unsigned block = any() % BLOCKS, other = any() % BLOCKS;
        fill(at, BLOCK, number);
        need(pwrite(file, at, BLOCK, block * BLOCK) == BLOCK, "write");
        holds[block] = number;
        if (number % 8 == 0) need(fdatasync(file) == 0, "fdatasync");
        if (holds[other] != 0) {
            need(pread(file, at, BLOCK, other * BLOCK) == BLOCK, "read");
            check(at, BLOCK, holds[other], "block", other);
        }
        all->disk = number;
    }
    close(file);
}

// Small files that come and go: the journal is busy, and so is the page cache.
static void write_files(void)
{
    static char at[BLOCK];
    uint64_t holds[FILES] = {0};
    char name[32];
    for (uint64_t number = 1; !all->stop && !all->wrong; number++) {
        unsigned one = any() % FILES, size = 512 << (one % 5);
        sprintf(name, "/data/f%u", one);
        int file = open(name, O_RDWR, 0600);
        if (holds[one] != 0) {
            need(file >= 0 && read(file, at, size) == (ssize_t)size, name);
            check(at, size, holds[one], "file", one);
        }
        if (file >= 0) close(file);
        if (number % 3 == 0 && holds[one] != 0) {
            need(unlink(name) == 0, "unlink");
            holds[one] = 0;
        } else {
            fill(at, size, number);
            file = open("/data/new", O_WRONLY | O_CREAT | O_TRUNC, 0600);
            need(file >= 0 && write(file, at, size) == (ssize_t)size && (number % 4 != 0 || fsync(file) == 0), "/data/new");
            close(file);
            need(rename("/data/new", name) == 0, "rename");
            holds[one] = number;
        }
        all->files = number;
    }
}

static int connected(int family, const struct sockaddr *to, socklen_t length, int type)
{
    const struct timeval patience = {.tv_sec = 1};
    int s = socket(family, type | SOCK_CLOEXEC, 0);
    need(s >= 0, "socket");
    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(s, to, length) == 0) return s;
    close(s);
    return -1;
}

static bool get_all(int s, char *at, size_t size)
{
    for (ssize_t got; size > 0; at += got, size -= got)
        if ((got = recv(s, at, size, 0)) <= 0) return false;
    return true;
}

// One message at a time; the host sends back what belongs to the number's complement. A connection that ends is made again, and
// the number on which there was no answer is sent again.
static void stream(int family, const struct sockaddr *to, socklen_t length, volatile uint64_t *done, const char *what)
{
    static char at[MESSAGE];
    int s = -1;
    for (uint64_t number = 1; !all->stop && !all->wrong;) {
        if (s < 0 && (s = connected(family, to, length, SOCK_STREAM)) < 0) {
            usleep(20000);
            continue;
        }
        fill(at, MESSAGE, number);
        if (send(s, at, MESSAGE, MSG_NOSIGNAL) != MESSAGE || !get_all(s, at, MESSAGE)) {
            close(s);
            s = -1;
            __sync_fetch_and_add(&all->reconnects, 1);
            continue;
        }
        check(at, MESSAGE, ~number, what, family);
        *done = number++;
    }
}

static void datagrams(const struct sockaddr *to, socklen_t length)
{
    static char at[MESSAGE];
    int s = connected(AF_INET, to, length, SOCK_DGRAM);
    for (uint64_t number = 1; !all->stop && !all->wrong;) {
        struct pollfd wait = {.fd = s, .events = POLLIN};
        fill(at, MESSAGE, number);
        send(s, at, MESSAGE, 0);
        while (poll(&wait, 1, 200) > 0) {
            if (recv(s, at, MESSAGE, 0) != MESSAGE) continue;
            uint64_t of = ~*(uint64_t *)at;
            check(at, MESSAGE, ~of, "datagram", 0);
            if (of > number) wrong("an answer to datagram %llu, which was not sent before %llu", (unsigned long long)of, (unsigned long long)number);
            if (of != number) continue;         // to one that was sent twice
            all->udp = number++;
            goto next;
        }
        __sync_fetch_and_add(&all->resends, 1);
next:;
    }
}

// How often the kernel has heard that its machine goes on from a saved state (VMGenID). Only what it has said since the last time is
// read: all of its log takes an emulated kernel a second.
static int generations(void)
{
    enum { READ = 2, SIZE_UNREAD = 9 };
    static const char told[] = "crng reseeded due to virtual machine fork";
    static char log[1 << 16];
    static int count;
    while (klogctl(SIZE_UNREAD, NULL, 0) > 0) {
        int got = klogctl(READ, log, sizeof log - 1);
        need(got > 0, "klogctl");
        log[got > 0 ? got : 0] = 0;
        for (const char *at = log; (at = strstr(at, told)) != NULL; at++) count++;
    }
    return count;
}

static void serve(int children)
{
    struct sockaddr_vm here = {.svm_family = AF_VSOCK, .svm_port = STATUS, .svm_cid = VMADDR_CID_ANY};
    int listener = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    need(bind(listener, (void *)&here, sizeof here) == 0 && listen(listener, 8) == 0, "vsock listener");
    for (;;) {
        char letter, line[400];
        int s = accept(listener, NULL, NULL);
        if (s < 0) continue;
        while (recv(s, &letter, 1, 0) == 1) {
            if (letter == 'o') reboot(RB_POWER_OFF);
            if (letter == 'q' && !all->stop) {
                all->stop = 1;
                while (children > 0 && wait(NULL) > 0) children--;
                need(umount("/data") == 0, "umount");
            }
            int n = snprintf(line, sizeof line, "%llu %llu %llu %llu %llu %llu %llu %d %d %s\n", (unsigned long long)all->disk,
                (unsigned long long)all->files, (unsigned long long)all->tcp, (unsigned long long)all->udp, (unsigned long long)all->vsock,
                (unsigned long long)all->reconnects, (unsigned long long)all->resends, generations(), all->wrong, all->why);
            send(s, line, n, MSG_NOSIGNAL);
        }
        close(s);
    }
}

static in_addr_t gateway(void)
{
    char line[200], name[20];
    unsigned destination, through;
    FILE *routes = fopen("/proc/net/route", "r");
    while (routes && fgets(line, sizeof line, routes))
        if (sscanf(line, "%19s %x %x", name, &destination, &through) == 3 && destination == 0) return through;
    wrong("there is no default route");
    return 0;
}

static in_port_t port(const char *name)
{
    const char *value = getenv(name);
    need(value != NULL, name);
    return htons(value ? atoi(value) : 0);
}

int main(void)
{
    all = mmap(NULL, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    setvbuf(stdout, NULL, _IOLBF, 0);
    mkdir("/data", 0700), mkdir("/proc", 0755), mkdir("/dev", 0755);
    need(mount("proc", "/proc", "proc", 0, NULL) == 0, "/proc");
    need(mount("dev", "/dev", "devtmpfs", 0, NULL) == 0 || errno == EBUSY, "/dev");
    need(mount("/dev/vda", "/data", "ext4", 0, NULL) == 0, "/dev/vda");
    struct sockaddr_in tcp = {.sin_family = AF_INET, .sin_addr.s_addr = gateway(), .sin_port = port("LOAD_TCP")}, udp = tcp;
    udp.sin_port = port("LOAD_UDP");
    struct sockaddr_vm vsock = {.svm_family = AF_VSOCK, .svm_port = STREAM, .svm_cid = VMADDR_CID_HOST};
    if (fork() == 0) { write_blocks(); _exit(0); }
    if (fork() == 0) { write_files(); _exit(0); }
    if (fork() == 0) { stream(AF_INET, (void *)&tcp, sizeof tcp, &all->tcp, "tcp"); _exit(0); }
    if (fork() == 0) { stream(AF_VSOCK, (void *)&vsock, sizeof vsock, &all->vsock, "vsock"); _exit(0); }
    if (fork() == 0) { datagrams((void *)&udp, sizeof udp); _exit(0); }
    puts("loaded");
    serve(5);
}
