#define _GNU_SOURCE
#include "launch.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>

int signals_catch(int local)
{
    static const int caught[] = {
        SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD, SIGWINCH, SIGUSR1, SIGUSR2, SIGALRM, SIGXCPU, SIGTSTP, SIGCONT,
    };
    sigset_t set;
    sigemptyset(&set);
    for (size_t each = 0; each < sizeof caught / sizeof *caught; each++)
        if (local || (caught[each] != SIGTSTP && caught[each] != SIGCONT))
            sigaddset(&set, caught[each]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

_Noreturn void signals_die_of(int number)
{
    sigset_t all;
    prctl(PR_SET_DUMPABLE, 0);                    /* the core would be this process's */
    sigfillset(&all);
    sigdelset(&all, number);
    sigprocmask(SIG_SETMASK, &all, NULL);
    signal(number, SIG_DFL);
    raise(number);
    exit(128 + number);
}
