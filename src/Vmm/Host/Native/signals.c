/*
 * The handler of signals that vmm takes: writes a signal's number, as a byte, to the pipe that was given for it. Not in C#: a handler
 * may come while its thread is in managed code, where the runtime lets no managed method be called (UnmanagedCallersOnly).
 */
#include <errno.h>
#include <signal.h>
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
