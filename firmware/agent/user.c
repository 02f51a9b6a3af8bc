/* Users and groups by name, from the guest's own /etc/passwd and /etc/group. Runs in the child only. */
#include "agent.h"

enum { GROUPS_MOST = 64, FIELDS_MOST = 8 };

static char file[262144];
static usize file_length;

static void read_file(const char *path)
{
    file_length = 0;
    int fd = (int)CALL(open, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    for (long count; (count = CALL(read, fd, file + file_length, sizeof file - 1 - file_length)) > 0;)
        file_length += (usize)count;
    CALL(close, fd);
}

/* Cuts the line at `*at` into fields and moves on; returns how many. */
static int next_line(char **at, char **fields)
{
    char *end = file + file_length, *stop = (char *)find(*at, '\n', (usize)(end - *at));
    int count = 0;
    if (stop == NULL)
        stop = end;
    *stop = 0;
    for (char *next = *at; next != NULL && count < FIELDS_MOST;) {
        fields[count++] = next;
        next = (char *)find(next, ':', (usize)(stop - next));
        if (next != NULL)
            *next++ = 0;
    }
    *at = stop + 1;
    return count;
}

/* Is `name` in a list with commas? */
static int is_member(const char *list, const char *name)
{
    usize length = strlen(name);
    for (const char *next = list; *next != 0;) {
        const char *comma = find(next, ',', strlen(next));
        usize size = comma != NULL ? (usize)(comma - next) : strlen(next);
        if (size == length && memcmp(next, name, length) == 0)
            return 1;
        next += comma != NULL ? size + 1 : size;
    }
    return 0;
}

int become_user(const char *user, char *home, usize room)
{
    char name[256], *fields[FIELDS_MOST], *group = NULL;
    u32 groups[GROUPS_MOST];
    usize group_count = 0;
    int found = 0;
    usize length = strlen(user);
    if (length >= sizeof name)
        return -EINVAL;
    memcpy(name, user, length + 1);
    char *colon = (char *)find(name, ':', length);
    if (colon != NULL) {
        *colon = 0;
        group = colon + 1;
    }
    long uid = number(name), gid = -1;
    read_file("/etc/passwd");
    for (char *at = file; at < file + file_length && !found;) {
        if (next_line(&at, fields) < 6 || !(uid >= 0 ? number(fields[2]) == uid : equal(fields[0], name)))
            continue;
        found = 1;
        uid = number(fields[2]);
        gid = number(fields[3]);
        if (strlen(fields[0]) < sizeof name)
            memcpy(name, fields[0], strlen(fields[0]) + 1);
        if (strlen(fields[5]) < room)
            memcpy(home, fields[5], strlen(fields[5]) + 1);
    }
    if (uid < 0)
        return -ESRCH;                      /* no number, and nobody has that name */
    if (gid < 0)
        gid = uid;
    if (group != NULL)
        gid = number(group);
    if (group != NULL || found)
        read_file("/etc/group");
    for (char *at = file; (group != NULL || found) && at < file + file_length;) {
        if (next_line(&at, fields) < 4)
            continue;
        if (group != NULL && gid < 0 && equal(fields[0], group))
            gid = number(fields[2]);
        if (found && group == NULL && group_count < GROUPS_MOST && is_member(fields[3], name))
            groups[group_count++] = (u32)number(fields[2]);
    }
    if (gid < 0)
        return -ESRCH;
    long error = CALL(setgroups, group_count, groups);
    if (error == 0)
        error = CALL(setgid, gid);
    if (error == 0)
        error = CALL(setuid, uid);
    return (int)error;
}
