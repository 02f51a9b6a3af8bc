/*
 * Starts Bochs and stands between it and launch.c: what launch writes to its socket goes to the mailbox disk, what the
 * inner half wrote there goes back. Bochs ends with this process, and this process with launch.
 *
 * usage: bridge SOCKET DISK BOCHS ARGUMENT...
 */
#define _GNU_SOURCE
#include "mailbox.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MILLISECONDS = 4 };              /* between two looks at the disk */

static int port, disk;

static _Noreturn void fail(const char *what)
{
    dprintf(1, "kvm-host: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Bochs' display is a terminal that nobody looks at. */
static pid_t start_bochs(char **arguments, int *display)
{
    struct winsize window = { .ws_row = 25, .ws_col = 80 };
    pid_t parent = getpid(), child = forkpty(display, NULL, NULL, &window);
    if (child < 0)
        fail("forkpty");
    if (child > 0)
        return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    setenv("TERM", "linux", 1);
    execvp(arguments[0], arguments);
    dprintf(2, "%s: %s\n", arguments[0], strerror(errno));
    _exit(127);
}

/* From launch to the disk. */
static void pass_inwards(void)
{
    static struct sector sectors[BATCH];
    static uint32_t written;
    char bytes[BATCH * SECTOR_BYTES];
    ssize_t count = recv(port, bytes, sizeof bytes, MSG_DONTWAIT);
    if (count == 0)
        exit(0);
    if (count < 0)
        return;
    uint32_t used = sectors_fill(sectors, written + 1, bytes, (size_t)count);
    uint64_t at = INWARDS_AT + (uint64_t)written * SECTOR;
    if (at + (uint64_t)used * SECTOR > OUTWARDS_AT) {
        errno = ENOSPC;
        fail("more than 1 GiB of input");
    }
    if (pwrite(disk, sectors, (size_t)used * SECTOR, (off_t)at) != (ssize_t)((size_t)used * SECTOR))
        fail("the mailbox disk");
    written += used;
}

/* From the disk to launch, as much as is there. */
static void pass_outwards(void)
{
    static struct sector sectors[BATCH];
    static uint32_t taken;
    for (;;) {
        ssize_t count = pread(disk, sectors, sizeof sectors, (off_t)(OUTWARDS_AT + (uint64_t)taken * SECTOR));
        if (count < 0)
            fail("the mailbox disk");
        uint32_t here = (uint32_t)count / SECTOR, next = 0;
        for (; next < here && sector_has(&sectors[next], taken + 1); next++, taken++) {
            const char *bytes = sectors[next].bytes;
            for (size_t left = sectors[next].length; left != 0;) {
                ssize_t done = send(port, bytes, left, MSG_NOSIGNAL);      /* blocks: launch always reads */
                if (done < 0 && errno != EINTR)
                    exit(0);
                if (done > 0) {
                    bytes += done;
                    left -= (size_t)done;
                }
            }
        }
        if (next < here || here == 0)
            return;
    }
}

int main(int count, char **words)
{
    if (count < 4)
        return 1;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    port = atoi(words[1]);
    fcntl(port, F_SETFD, FD_CLOEXEC);
    disk = open(words[2], O_RDWR | O_CLOEXEC);
    if (disk < 0)
        fail(words[2]);
    int display;
    pid_t bochs = start_bochs(words + 3, &display);
    for (;;) {
        char shown[4096];
        struct pollfd watched[] = { { .fd = port, .events = POLLIN }, { .fd = display, .events = POLLIN } };
        if (poll(watched, 2, MILLISECONDS) < 0 && errno != EINTR)
            fail("poll");
        if (watched[1].revents != 0)
            (void)!read(display, shown, sizeof shown);
        if (watched[0].revents != 0)
            pass_inwards();
        pass_outwards();
        int status;
        if (waitpid(bochs, &status, WNOHANG) == bochs) {
            dprintf(1, "kvm-host: Bochs ended with %s %d\n", WIFEXITED(status) ? "code" : "signal",
                WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
            return 1;
        }
    }
}
