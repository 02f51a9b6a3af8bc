#define _GNU_SOURCE
#include "background.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* What this process was given open, a pipe's other end for instance, stays with who gave it. All of its own is to be closed by
   exec(3), which tells them apart. */
static void close_given(void)
{
    DIR *list = opendir("/proc/self/fd");
    for (struct dirent *each; list != NULL && (each = readdir(list)) != NULL;) {
        int fd = atoi(each->d_name);
        if (fd > 2 && (fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0)
            close(fd);
    }
    if (list != NULL)
        closedir(list);
}

int background_fork(struct terminal *terminal, struct outlet *outlets)
{
    pid_t child = fork();
    if (child != 0)
        return child < 0 ? -1 : 1;
    setsid();
    (void)!chdir("/");
    for (int each = 0; each < STREAMS; each++) {
        if (outlets[each].fd > 2)
            close(outlets[each].fd);
        outlets[each].fd = -1;
        outlets[each].closed = 1;
    }
    if (terminal->fd > 2)
        close(terminal->fd);
    *terminal = (struct terminal){ .fd = -1 };
    int none = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd < 3; fd++)
        dup2(none, fd);
    close(none);
    close_given();
    return 0;
}
