#define _GNU_SOURCE
#include "terminal.h"

#include <signal.h>
#include <unistd.h>

void terminal_open(struct terminal *terminal)
{
    static const int preferred[] = { 1, 2, 0 };
    terminal->fd = -1;
    for (int each = 2; each >= 0; each--)
        if (isatty(preferred[each])) {
            terminal->streams |= 1u << preferred[each];
            terminal->fd = preferred[each];
        }
    if (terminal->fd >= 0 && tcgetattr(terminal->fd, &terminal->before) != 0) {
        terminal->fd = -1;
        terminal->streams = 0;
    }
}

/* A terminal that is not the controlling one has no foreground: it is ours to use. */
int terminal_in_foreground(const struct terminal *terminal)
{
    pid_t group = terminal->fd < 0 ? -1 : tcgetpgrp(terminal->fd);
    return terminal->fd >= 0 && (group < 0 || group == getpgrp());
}

/* In the background tcsetattr(3) would stop this process (SIGTTOU): it is not called there, and the signal is blocked in case the
 * process was put there since the check. */
static int set(const struct terminal *terminal, const struct termios *mode)
{
    sigset_t output, before;
    sigemptyset(&output);
    sigaddset(&output, SIGTTOU);
    sigprocmask(SIG_BLOCK, &output, &before);
    int done = terminal_in_foreground(terminal) ? tcsetattr(terminal->fd, TCSANOW, mode) : -1;
    sigprocmask(SIG_SETMASK, &before, NULL);
    return done;
}

void terminal_want(struct terminal *terminal, const struct termios *mode)
{
    terminal->wanted = *mode;
    terminal->wanted.c_lflag &= ~(tcflag_t)EXTPROC;
    /* The one inside makes no \r\n of \n, so that this one can. */
    if ((mode->c_lflag & (ICANON | ISIG)) != 0)
        terminal->wanted.c_oflag |= terminal->before.c_oflag & OPOST;
    terminal->is_wanted = 1;
    terminal->is_applied = 0;
    terminal_apply(terminal);
}

void terminal_apply(struct terminal *terminal)
{
    if (terminal->is_wanted && !terminal->is_applied)
        terminal->is_applied = set(terminal, &terminal->wanted) == 0;
}

void terminal_restore(struct terminal *terminal)
{
    if (terminal->is_applied)
        set(terminal, &terminal->before);
    terminal->is_applied = 0;
}

int terminal_is_read(const struct terminal *terminal)
{
    return terminal->is_applied && (terminal->wanted.c_lflag & ICANON) == 0 && terminal_in_foreground(terminal);
}
