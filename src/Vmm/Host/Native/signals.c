/*
 * The handler of signals that vmm takes: writes a signal's number, as a byte, to the pipe that was given for it. Not in C#: a handler
 * may come while its thread is in managed code, where the runtime lets no managed method be called (UnmanagedCallersOnly).
 * Another one is for the time after a machine's end.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

static volatile int pipes[NSIG];

static void write_number(int number)
{
    int before = errno;
    unsigned char byte = (unsigned char)number;
    (void)!write(pipes[number], &byte, 1);      /* does not block; a full pipe loses it */
    errno = before;
}

/* Gives a signal its pipe; returns the one that it had, 0 for none. */
int vmm_signal_pipe(int number, int pipe)
{
    int before = pipes[number];
    pipes[number] = pipe;
    return before;
}

/* For sigaction(2). */
void (*vmm_signal_handler(void))(int)
{
    return write_number;
}

static _Atomic long long held_until;        /* nanoseconds of CLOCK_MONOTONIC */

static void end_unless_held(int number)
{
    int before = errno;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec * 1000000000LL + now.tv_nsec >= held_until) {
        signal(number, SIG_DFL);
        raise(number);                          /* delivered when this handler returns */
    }

    errno = before;
}

/* For sigaction(2): does nothing up to a time, and what the signal does by default after that. */
void (*vmm_held_signal_handler(void))(int)
{
    return end_unless_held;
}

void vmm_hold_signals(long long until)
{
    held_until = until;
}
