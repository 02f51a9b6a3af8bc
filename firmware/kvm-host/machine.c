#define _GNU_SOURCE
#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

/* Not CLOCK_MONOTONIC, which stands still while this machine sleeps. */
double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_BOOTTIME, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Reads both clocks with as little as possible between them. */
static void read_clocks(uint64_t *ticks, double *seconds)
{
    uint64_t best = UINT64_MAX;
    for (int tries = 0; tries < 20; tries++) {
        struct timespec time;
        uint64_t start = __rdtsc();
        clock_gettime(CLOCK_MONOTONIC_RAW, &time);
        uint64_t end = __rdtsc();
        if (end - start < best) {
            best = end - start;
            *ticks = start + best / 2;
            *seconds = (double)time.tv_sec + (double)time.tv_nsec / 1e9;
        }
    }
}

/* Under TCG the guest counts this machine's own TSC. Its kernel would calibrate it against the emulated PIT, which
   fails on a busy machine and then hangs, so we tell it. */
static long tsc_kilohertz(void)
{
    uint64_t first, last;
    double start, end;
    read_clocks(&first, &start);
    usleep(20000);
    read_clocks(&last, &end);
    return (long)((double)(last - first) / (end - start) / 1000);
}

static char *replace(char *text, const char *mark, long number)
{
    char *filled, *found = strstr(text, mark);
    if (found == NULL)
        return text;
    if (asprintf(&filled, "%.*s%ld%s", (int)(found - text), text, number, found + strlen(mark)) < 0)
        abort();
    return filled;
}

static _Noreturn void become_machine(char **arguments, int log, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(EXIT_HOST);
    setpgid(0, 0);               /* Ctrl-C in the terminal reaches us, and we end it */
    int none = open("/dev/null", O_RDWR);
    dup2(none, 0);
    dup2(log >= 0 ? log : none, 1);
    dup2(log >= 0 ? log : none, 2);
    sigset_t all;
    sigemptyset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    execvp(arguments[0], arguments);
    dprintf(2, "%s: %s\n", arguments[0], strerror(errno));
    _exit(EXIT_HOST);
}

int machine_start(struct machine *machine, char **arguments, int ports)
{
    int inner[PORTS_MAX], count = 0;
    for (int each = 0; each < ports; each++) {
        int sockets[2];
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) != 0)
            return -1;
        fcntl(sockets[0], F_SETFD, FD_CLOEXEC);
        fcntl(sockets[0], F_SETFL, O_NONBLOCK);
        machine->ports[each] = sockets[0];
        inner[each] = sockets[1];
    }
    long kilohertz = tsc_kilohertz();
    while (arguments[count] != NULL)
        count++;
    char **all = calloc((size_t)count + 4 * PORTS_MAX + 1, sizeof *all);
    for (int each = 0; each < count; each++)
        all[each] = replace(replace(arguments[each], "@PORT@", inner[0]), "@TSC_KHZ@", kilohertz);
    for (int each = 1; each < ports; each++) {
        all[count++] = "-chardev";
        if (asprintf(&all[count++], "socket,id=agent%d,fd=%d", each + 1, inner[each]) < 0)
            abort();
        all[count++] = "-device";
        if (asprintf(&all[count++], "virtserialport,chardev=agent%d,nr=%d,name=agent%d", each + 1, each + 1, each + 1) < 0)
            abort();
    }
    machine->log = memfd_create("kvm-host-log", MFD_CLOEXEC);
    pid_t parent = getpid();
    machine->pid = fork();
    if (machine->pid == 0)
        become_machine(all, machine->log, parent);
    for (int each = 0; each < ports; each++)
        close(inner[each]);
    free(all);
    return machine->pid < 0 ? -1 : 0;
}

void machine_end(struct machine *machine)
{
    if (machine->pid > 0) {
        kill(machine->pid, SIGKILL);
        waitpid(machine->pid, NULL, 0);
    }
    machine->pid = -1;
}

void machine_tell(const struct machine *machine, int fd)
{
    char bytes[4096];
    off_t end = machine->log < 0 ? 0 : lseek(machine->log, 0, SEEK_END);
    off_t from = end > (off_t)sizeof bytes ? end - (off_t)sizeof bytes : 0;
    ssize_t count = end == 0 ? 0 : pread(machine->log, bytes, sizeof bytes, from);
    if (count > 0)
        (void)!write(fd, bytes, (size_t)count);
}
