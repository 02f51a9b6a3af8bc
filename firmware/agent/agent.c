/*
 * Process 1 of a guest that `vmm run` made: connects to vmm, sets the machine up as vmm says, runs commands for it and
 * carries their streams. All decisions are vmm's; this is what does the work inside.
 *
 * `agent --fd N` speaks over descriptor N instead, `agent --serial PATH` over that terminal, and both touch nothing of
 * the machine by themselves: for tests.
 */
#include "agent.h"

int is_init = 1;
const char *serial_device;

static void on_child(int signal) { (void)signal; }

/* What a signal handler returns to (rt_sigreturn(2)). */
__asm__(".text\nsignal_return:\nmov $15, %eax\nsyscall\n");
void signal_return(void);

_Noreturn void go_off(void)
{
    if (is_init) {
        /* Without ACPI, switching off would only halt the processors; vmm ends the machine either way. */
        CALL(reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_POWER_OFF, 0);
        CALL(reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_RESTART, 0);
    }
    for (;;)
        CALL(exit_group, 0);
}

/* All signals are blocked but while waiting, and then all but this one: nothing else wakes or ends process 1. */
static void take_signals(void)
{
    struct sigaction action = { .sa_handler = on_child, .sa_flags = SA_RESTORER | SA_NOCLDSTOP, .sa_restorer = signal_return };
    u64 all = ~0ul;
    CALL(rt_sigprocmask, SIG_SETMASK, &all, 0, sizeof all);
    CALL(rt_sigaction, SIGCHLD, &action, 0, sizeof all);
}

static _Noreturn void serve(void)
{
    static struct pollfd watched[2 + PROCESSES_MOST * 3];
    u64 all_but_child = ~(1ul << (SIGCHLD - 1));
    for (;;) {
        int timeout = -1;
        watched[0] = (struct pollfd){ .fd = link_fd, .events = POLLIN };
        int held = is_held;                 /* what the processes' pipes still have goes to whoever lets them go */
        watched[1] = forks_watch();
        usize count = held ? 1 : 2 + processes_watch(watched + 2, &timeout);
        struct __kernel_timespec wait = { .tv_sec = timeout / 1000, .tv_nsec = timeout % 1000 * 1000000l };
        link_flush();
        long ready = CALL(ppoll, watched, count, timeout < 0 ? NULL : &wait, &all_but_child, sizeof all_but_child);
        if (ready == -EINTR) {
            if (!held)
                processes_reap();
            continue;
        }
        if (!held)
            processes_serve(watched + 2, ready > 0 ? count - 2 : 0);
        if (!held && ready > 0 && watched[1].revents != 0)
            forks_serve();
        if (ready > 0 && watched[0].revents != 0)
            link_receive();
    }
}

/* By that name it is another program: /run/vmm-fork. */
static int is_fork_program(const char *path)
{
    static const char name[] = "vmm-fork";
    usize length = strlen(path), own = sizeof name - 1;
    return length >= own && equal(path + length - own, name) && (length == own || path[length - own - 1] == '/');
}

/* The stack as the kernel lays it out: count, arguments, NULL, environment (System V ABI 3.4.1). */
__attribute__((used)) _Noreturn void begin(long *stack)
{
    long count = stack[0];
    char **arguments = (char **)(stack + 1);
    if (count > 0 && is_fork_program(arguments[0]))
        ask_for_forks(count == 2 ? arguments[1] : "");
    take_signals();
    if (count == 3 && equal(arguments[1], "--fd")) {
        is_init = 0;
        link_fd = (int)number(arguments[2]);
    } else if (count == 3 && equal(arguments[1], "--serial")) {
        is_init = 0;
        serial_device = arguments[2];
    } else {
        load_modules();
    }
    link_open();
    serve();
}

__asm__(".text\n.globl _start\n_start:\nxor %ebp, %ebp\nmov %rsp, %rdi\nand $-16, %rsp\ncall begin\n");
