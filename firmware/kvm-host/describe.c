#define _GNU_SOURCE
#include "launch.h"

#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

void options_read(struct options *options, int count, char **words)
{
    int index = 1, shares = 0, variables = 0;
    *options = (struct options){ .timeout = 1e9, .silence = 1e9, .idle = 600 };
    options->shares = calloc((size_t)count + 1, sizeof(char *));
    options->variables = calloc((size_t)count + 1, sizeof(char *));
    for (; index < count && strcmp(words[index], "--command") != 0; index += 2) {
        char *name = words[index], *value = index + 1 < count ? words[index + 1] : "";
        if (strcmp(name, "--status") == 0 || strcmp(name, "--stop") == 0) {
            options->key = options->warm = name + 2;
            return;
        }
        if (strcmp(name, "--") == 0) {
            options->machine = words + index + 1;
            return;
        }
        if (strcmp(name, "--timeout") == 0)
            options->timeout = atof(value);
        else if (strcmp(name, "--silence") == 0)
            options->silence = atof(value);
        else if (strcmp(name, "--idle") == 0)
            options->idle = atof(value);
        else if (strcmp(name, "--verbose") == 0)
            options->verbose = 1;
        else if (strcmp(name, "--stays") == 0)
            options->stays = 1;
        else if (strcmp(name, "--local") == 0)
            options->key = value;
        else if (strcmp(name, "--start") == 0)
            options->key = value, options->warm = "start";
        else if (strcmp(name, "--env") == 0)
            options->variables[variables++] = value;
        else if (strcmp(name, "--share") == 0 && strchr(value, '=') != NULL)
            options->shares[shares++] = value;
        else
            launch_fail("unknown option");
    }
    options->command_count = index + 1 < count ? atoi(words[index + 1]) : 0;
    options->command = words + index + 2;
    if (options->command_count < 1 || index + 2 + options->command_count >= count)
        launch_fail("nothing to run");
    options->machine = options->command + options->command_count;
}

static void put_text(struct queue *sent, uint32_t type, const char *text)
{
    if (strlen(text) >= FRAME_MAX)
        launch_fail("an argument or a variable is too long");
    queue_frame(sent, type, text, strlen(text) + 1);
}

/* The command gets this process's user, groups, file mode mask and limits. */
static void describe_user(struct queue *sent)
{
    struct user_frame user = { .uid = geteuid(), .gid = getegid(), .mask = umask(0) };
    struct rlimit limits[LIMITS];
    gid_t groups[GROUPS_MAX];
    int count = getgroups(GROUPS_MAX, groups);
    umask(user.mask);
    user.count = count < 0 ? 0 : (uint32_t)count;
    for (uint32_t each = 0; each < user.count; each++)
        user.groups[each] = groups[each];
    queue_frame(sent, FRAME_USER, &user, sizeof user - sizeof user.groups + user.count * sizeof *user.groups);
    for (int each = 0; each < LIMITS; each++)
        getrlimit(each, &limits[each]);
    queue_frame(sent, FRAME_LIMITS, limits, sizeof limits);
}

void describe_command(const struct options *options, const struct start_frame *start, struct queue *sent)
{
    char here[4096];
    struct timespec time;
    put_text(sent, FRAME_OPEN, options->key != NULL ? options->key : "");
    if (options->key != NULL)
        describe_user(sent);
    for (char **each = options->shares; *each != NULL; each++) {
        char *path = strchr(*each, '=');
        *path = 0;
        queue_frame(sent, FRAME_SHARE, *each, strlen(*each) + strlen(path + 1) + 2);
    }
    for (int each = 0; each < options->command_count; each++)
        put_text(sent, FRAME_ARG, options->command[each]);
    for (char **each = options->variables; *each != NULL; each++)
        if (options->key != NULL)
            putenv(*each);
        else
            put_text(sent, FRAME_ENV, *each);
    for (char **each = environ; options->key != NULL && *each != NULL; each++)
        put_text(sent, FRAME_ENV, *each);
    if (getcwd(here, sizeof here) != NULL && here[0] == '/')
        put_text(sent, FRAME_CWD, here);
    else if (options->key != NULL)
        launch_fail("the working directory is gone");
    clock_gettime(CLOCK_REALTIME, &time);
    queue_frame(sent, FRAME_CLOCK, &time, sizeof time);
    queue_frame(sent, FRAME_START, start, sizeof *start);
}
