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
static volatile sig_atomic_t waiting;       /* the number of a signal that is to do what it does by default when SIGALRM comes */

static void end_by(int number)
{
    signal(number, SIG_DFL);
    raise(number);                          /* delivered when this handler returns */
}

static void end_by_waiting(int alarm)
{
    (void)alarm;
    end_by(waiting);
}

static void wait_for(int number, unsigned seconds)
{
    if (waiting == 0) {
        waiting = number;
        signal(SIGALRM, end_by_waiting);
        alarm(seconds);
    }
}

static void end_unless_held(int number)
{
    const long long second = 1000000000;
    int before = errno;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long long left = held_until - now.tv_sec * second - now.tv_nsec;
    if (left <= 0) {
        end_by(number);
    } else {
        wait_for(number, (unsigned)(left / second) + 1);
    }

    errno = before;
}

static void write_number_and_wait(int number)
{
    write_number(number);
    wait_for(number, 10);
}

/* For sigaction(2): up to a time the signal waits, and after that it does what it does by default. */
void (*vmm_held_signal_handler(void))(int)
{
    return end_unless_held;
}

/* For sigaction(2): as vmm_signal_handler, and what the signal does by default, if nobody has called vmm_hold_signals for ten seconds. */
void (*vmm_early_signal_handler(void))(int)
{
    return write_number_and_wait;
}

/* 0: no longer. No signal waits any more. */
void vmm_hold_signals(long long until)
{
    held_until = until;
    if (waiting != 0) {
        alarm(0);
        waiting = 0;
    }
}
