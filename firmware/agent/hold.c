/* Forking a machine: all processes stop, so that none runs in a copy before that has random numbers, a name and a clock of its own. */
#include "agent.h"

enum { TASKS_MOST = 8192, STOPPED_MOST = 256, WAIT_STEPS = 1000 };

int is_held;

static struct task { int pid; char state; } tasks[TASKS_MOST];
static int stopped[STOPPED_MOST];       /* those that somebody else had stopped before */
static usize stopped_used;

/* struct linux_dirent64 (getdents64(2)). */
struct entry {
    u64 inode, next;
    u16 length;
    u8 type;
    char name[];
};

/* The state of a process as proc_pid_stat(5) has it; 0 for a kernel's thread, or where there is none. */
static char state_of(const char *name)
{
    char path[32] = "/proc/", text[512];
    const char *end = path + sizeof path - 1;
    *append(append(path + strlen(path), end, name), end, "/stat") = 0;
    int fd = (int)CALL(open, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    long length = CALL(read, fd, text, sizeof text - 1);
    CALL(close, fd);
    if (length <= 0)
        return 0;
    text[length] = 0;
    char *at = text + length;
    while (at > text && *at != ')')     /* a program may have any name, this too */
        at--;
    if (at + 4 >= text + length)
        return 0;
    const char *parent = at + 4;
    int of_kernel = parent[0] == '2' && parent[1] == ' ';
    return of_kernel || at[2] == 'Z' ? 0 : at[2];
}

/* Processes but this one and the kernel's, those that were started last behind. The kernel's threads, most of which are as old as
 * this process, are not looked at one by one. */
static usize list(int from)
{
    static u64 buffer[2048];
    usize count = 0;
    int fd = (int)CALL(open, "/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    for (long length; (length = CALL(getdents64, fd, buffer, sizeof buffer)) > 0;) {
        for (long at = 0; at < length;) {
            struct entry *entry = (struct entry *)((char *)buffer + at);
            long pid = number(entry->name);
            char state = pid >= from ? state_of(entry->name) : 0;
            if (state != 0 && count < TASKS_MOST)
                tasks[count++] = (struct task){ (int)pid, state };
            at += entry->length;
        }
    }
    CALL(close, fd);
    return count;
}

static int was_stopped(int pid)
{
    for (usize i = 0; i < stopped_used; i++)
        if (stopped[i] == pid)
            return 1;
    return 0;
}

void hold_machine(void)
{
    struct __kernel_timespec step = { .tv_nsec = 1000000l };
    if (is_held || !is_init)
        return;
    is_held = 1;
    stopped_used = 0;
    if (first_process == 0)
        return;
    usize count = list(first_process);
    for (usize i = 0; i < count; i++)
        if (tasks[i].state == 'T' && stopped_used < STOPPED_MOST)
            stopped[stopped_used++] = tasks[i].pid;
    CALL(kill, -1, SIGSTOP);
    /* A process that waits for a disk stops when the disk has answered; it runs no code before that. */
    for (int waited = 0; waited < WAIT_STEPS; waited++) {
        int running = 0;
        count = list(first_process);
        for (usize i = 0; i < count; i++)
            running |= tasks[i].state == 'R' || tasks[i].state == 'S';
        if (!running)
            return;
        CALL(nanosleep, &step, NULL);
    }
}

/* Children before their parents: a shell that waits for one is not to see it stopped. */
void let_go(u32 fork_number, u32 asked)
{
    if (!is_held)
        return;
    is_held = 0;
    if (asked)
        forks_settle(fork_number);
    else if (fork_number != 0)
        forks_settle(-EAGAIN);              /* whoever asked has asked the other machine's vmm */
    if (first_process == 0)
        return;
    for (usize count = list(stopped_used != 0 ? 2 : first_process); count-- > 0;)
        if (!was_stopped(tasks[count].pid))
            CALL(kill, tasks[count].pid, SIGCONT);
    if (stopped_used == 0)
        CALL(kill, -1, SIGCONT);            /* where numbers began again from the lowest */
    processes_reap();
}
