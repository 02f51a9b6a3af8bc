/*
 * In place of QEMU and the agent in it: runs the sessions of the emulated host on this machine, at the ports that the launcher hands over,
 * so that the switch of a warm host is tested in a second. usage: as QEMU, of whose arguments only `socket,...,fd=N` are looked at.
 */
#define _GNU_SOURCE
#include "../../firmware/kvm-host/session.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* This machine's clock is right. */
int clock_settime(clockid_t clock, const struct timespec *time)
{
    (void)clock;
    (void)time;
    return 0;
}

/* All that runs in a machine ends with it. */
pid_t fork(void)
{
    pid_t made = (pid_t)syscall(SYS_fork);
    if (made == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return made;
}

int main(int count, char **words)
{
    for (int each = 1; each < count; each++) {
        char *fd = strstr(words[each], ",fd=");
        int port = fd == NULL ? -1 : atoi(fd + 4);
        if (port < 0 || fork() != 0)
            continue;
        fcntl(port, F_SETFL, O_NONBLOCK);
        fcntl(port, F_SETFD, FD_CLOEXEC);
        serve_port(port);
    }
    while (wait(NULL) > 0)
        ;
}
