#define _GNU_SOURCE
#include "request.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void mkdir_parents(const char *path)
{
    char part[4096];
    snprintf(part, sizeof part, "%s", path);
    for (char *next = part + 1; (next = strchr(next, '/')) != NULL; next++) {
        *next = 0;
        mkdir(part, 0755);
        *next = '/';
    }
    mkdir(part, 0755);
}

static int mount_share(const char *tag, const char *path, char *message, size_t size)
{
    mkdir_parents(path);
    if (mount(tag, path, "9p", 0, "trans=virtio,version=9p2000.L,msize=512000,cache=mmap,access=any") == 0)
        return 0;
    snprintf(message, size, "mounting %s: %s", path, strerror(errno));
    return -1;
}

static int list_add(char **list, int *count, const char *text)
{
    if (*count >= LIST_MAX || (list[*count] = strdup(text)) == NULL)
        return -1;
    list[++*count] = NULL;
    return 0;
}

int request_add(struct request *request, const struct frame *header, const char *content, char *message, size_t size)
{
    struct timespec now;
    int full = 0;
    switch (header->type) {
    case FRAME_USER:
        if (header->length <= sizeof request->user)
            memcpy(&request->user, content, header->length);
        break;
    case FRAME_LIMITS:
        request->has_limits = header->length == sizeof request->limits;
        if (request->has_limits)
            memcpy(request->limits, content, sizeof request->limits);
        break;
    case FRAME_SHARE:
        return mount_share(content, content + strlen(content) + 1, message, size);
    case FRAME_CWD:
        snprintf(request->directory, sizeof request->directory, "%s", content);
        break;
    case FRAME_ENV:
        full = list_add(request->environment, &request->environment_count, content);
        break;
    case FRAME_ARG:
        full = list_add(request->arguments, &request->argument_count, content);
        break;
    case FRAME_CLOCK:
        memcpy(&now, content, sizeof now);
        clock_settime(CLOCK_REALTIME, &now);
        break;
    case FRAME_START:
        memcpy(&request->start, content, sizeof request->start);
        if (request->argument_count != 0)
            return 1;
        snprintf(message, size, "no command");
        return -1;
    }
    if (full != 0)
        snprintf(message, size, "too many arguments or variables");
    return full;
}

static void become_user(const struct request *request)
{
    const struct user_frame *user = &request->user;
    for (int each = 0; request->has_limits && each < LIMITS; each++)
        setrlimit(each, &request->limits[each]);         /* one that this kernel does not allow stays as it is */
    gid_t groups[GROUPS_MAX];
    uint32_t count = user->count < GROUPS_MAX ? user->count : GROUPS_MAX;
    for (uint32_t each = 0; each < count; each++)
        groups[each] = user->groups[each];
    umask(user->mask);
    if (user->uid != 0 && (setgroups(count, groups) != 0 || setgid(user->gid) != 0 || setuid(user->uid) != 0)) {
        dprintf(2, "kvm-host: becoming user %u: %s\n", user->uid, strerror(errno));
        _exit(126);
    }
}

_Noreturn void request_exec(struct request *request)
{
    sigset_t none;
    sigemptyset(&none);
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    become_user(request);
    if (chdir(request->directory) != 0) {
        dprintf(2, "kvm-host: %s: %s\n", request->directory, strerror(errno));
        _exit(126);
    }
    environ = request->environment;
    execvp(request->arguments[0], request->arguments);
    dprintf(2, "kvm-host: %s: %s\n", request->arguments[0], strerror(errno));
    _exit(errno == ENOENT ? 127 : 126);
}
