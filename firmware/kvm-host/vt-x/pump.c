/* The inner half of the mailbox: carries bytes between a socket and the disk, in a process of its own. */
#define _GNU_SOURCE
#include "pump.h"
#include "mailbox.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* How long the disk is left alone when nothing comes: looking there costs the command some 20 us each. */
enum { MILLISECONDS_MIN = 2, MILLISECONDS_MAX = 100 };

static _Noreturn void fail(const char *what)
{
    dprintf(2, "kvm-host: %s: %s\n", what, strerror(errno));
    _exit(1);
}

/* Returns whether something came. `block` is aligned for O_DIRECT. */
static int pass_inwards(int disk, int port, struct sector *block)
{
    static uint32_t taken, wanted = 1;
    ssize_t count = pread(disk, block, wanted * SECTOR, (off_t)(INWARDS_AT + (uint64_t)taken * SECTOR));
    if (count < 0)
        fail("reading the mailbox disk");
    uint32_t here = (uint32_t)count / SECTOR, next = 0;
    for (; next < here && sector_has(&block[next], taken + 1); next++, taken++) {
        const char *bytes = block[next].bytes;
        for (size_t left = block[next].length; left != 0;) {
            ssize_t done = write(port, bytes, left);
            if (done < 0 && errno != EINTR)
                _exit(0);
            if (done > 0) {
                bytes += done;
                left -= (size_t)done;
            }
        }
    }
    wanted = next == here ? BATCH : 1;
    return next != 0;
}

static void pass_outwards(int disk, int port, struct sector *block)
{
    static uint32_t written;
    char bytes[BATCH * SECTOR_BYTES];
    ssize_t count = recv(port, bytes, sizeof bytes, MSG_DONTWAIT);
    if (count == 0)
        _exit(0);
    if (count < 0)
        return;
    uint32_t used = sectors_fill(block, written + 1, bytes, (size_t)count);
    size_t length = (size_t)used * SECTOR;
    if (pwrite(disk, block, length, (off_t)(OUTWARDS_AT + (uint64_t)written * SECTOR)) != (ssize_t)length)
        fail("writing the mailbox disk");
    written += used;
}

_Noreturn void pump(const char *path, int port)
{
    struct sector *block = aligned_alloc(4096, BATCH * SECTOR);
    int disk = -1, patience = MILLISECONDS_MIN;
    for (int tries = 0; disk < 0 && tries < 5000; tries++) {
        disk = open(path, O_RDWR | O_CLOEXEC | O_DIRECT);
        if (disk < 0)
            usleep(1000);
    }
    if (disk < 0 || block == NULL)
        fail(path);
    for (;;) {
        struct pollfd watched = { .fd = port, .events = POLLIN };
        if (poll(&watched, 1, patience) > 0)
            pass_outwards(disk, port, block);
        if (pass_inwards(disk, port, block))
            patience = MILLISECONDS_MIN;
        else if (watched.revents == 0 && patience < MILLISECONDS_MAX)
            patience *= 2;
    }
}
