/*
 * Runs a command and afterwards brings out what it changed below the shared directories: as a cpio archive on a disk of
 * its own, which run unpacks. Its exit code is the command's.
 *
 * usage: bring DISK DIRECTORY... -- COMMAND ARGUMENT...
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { DISK_BUFFER = 128 * 1024 };

static FILE *archive;
static struct timespec began;
static const char *disk;

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "kvm-host: %s: %s\n", what, strerror(errno));
    exit(125);
}

static int is_before(const struct timespec *one, const struct timespec *other)
{
    return one->tv_sec != other->tv_sec ? one->tv_sec < other->tv_sec : one->tv_nsec < other->tv_nsec;
}

static void pad(size_t written)
{
    fwrite("\0\0\0", 1, (4 - written % 4) % 4, archive);
}

/* A header of the "newc" format (Linux: driver-api/early-userspace/buffer-format.rst); the path without its slash. */
static void add_header(const char *path, const struct stat *about, size_t size)
{
    static unsigned inode;
    size_t name = strlen(path) + 1;
    fprintf(archive, "070701%08x%08x%08x%08x%08x%08x%08zx%08x%08x%08x%08x%08zx%08x", ++inode, about->st_mode,
        about->st_uid, about->st_gid, 1, (unsigned)about->st_mtime, size, 0, 0, 0, 0, name, 0);
    fwrite(path, 1, name, archive);
    pad(110 + name);
}

static void add_content(const char *path, size_t size)
{
    static char bytes[65536];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    for (size_t left = size; left != 0;) {
        ssize_t count = fd < 0 ? -1 : read(fd, bytes, left < sizeof bytes ? left : sizeof bytes);
        if (count < 0)
            fail(path);
        if (count == 0) {               /* it became shorter meanwhile */
            memset(bytes, 0, sizeof bytes);
            count = (ssize_t)(left < sizeof bytes ? left : sizeof bytes);
        }
        fwrite(bytes, 1, (size_t)count, archive);
        left -= (size_t)count;
    }
    close(fd);
    pad(size);
}

static int add(const char *path, const struct stat *about, int kind, struct FTW *where)
{
    (void)kind, (void)where;
    if (!is_before(&began, &about->st_ctim))
        return 0;
    char target[4096];
    if (S_ISREG(about->st_mode) && about->st_size < 0xffffffffL) {
        add_header(path + 1, about, (size_t)about->st_size);
        add_content(path, (size_t)about->st_size);
    } else if (S_ISDIR(about->st_mode)) {
        add_header(path + 1, about, 0);
    } else if (S_ISLNK(about->st_mode)) {
        ssize_t length = readlink(path, target, sizeof target);
        if (length < 0)
            fail(path);
        add_header(path + 1, about, (size_t)length);
        fwrite(target, 1, (size_t)length, archive);
        pad((size_t)length);
    } else {
        fprintf(stderr, "kvm-host: %s is left behind: no file, directory or symbolic link\n", path);
    }
    return 0;
}

static int note_newest(const char *path, const struct stat *about, int kind, struct FTW *where)
{
    (void)path, (void)kind, (void)where;
    if (is_before(&began, &about->st_ctim))
        began = about->st_ctim;
    return 0;
}

/* What the command changes is stamped later than anything that is there: the clock was set after the initramfs had been
   unpacked, perhaps back, and files are stamped by the coarse clock, which may lag by a tick. */
static void note_beginning(char **directories, int count)
{
    struct timespec now;
    for (int index = 0; index < count; index++)
        nftw(directories[index], note_newest, 16, FTW_PHYS);
    clock_gettime(CLOCK_REALTIME, &now);
    if (is_before(&now, &began))
        clock_settime(CLOCK_REALTIME, &began);
    do {
        usleep(1000);
        clock_gettime(CLOCK_REALTIME_COARSE, &now);
    } while (!is_before(&began, &now));
}

static void bring_out(char **directories, int count)
{
    static const struct stat none;
    static char buffer[DISK_BUFFER];
    archive = fopen(disk, "we");
    if (archive == NULL)
        fail(disk);
    setvbuf(archive, buffer, _IOFBF, sizeof buffer);
    for (int index = 0; index < count; index++)
        if (nftw(directories[index], add, 16, FTW_PHYS) != 0 && errno != ENOENT)
            fail(directories[index]);
    add_header("TRAILER!!!", &none, 0);
    if (fflush(archive) != 0 || fsync(fileno(archive)) != 0)
        fail("bringing out the results");
}

int main(int count, char **words)
{
    int last = 2, status;
    while (last < count && strcmp(words[last], "--") != 0)
        last++;
    if (last + 1 >= count)
        return 125;
    disk = words[1];

    note_beginning(words + 2, last - 2);
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0) {
        execvp(words[last + 1], words + last + 1);
        fprintf(stderr, "kvm-host: %s: %s\n", words[last + 1], strerror(errno));
        _exit(errno == ENOENT ? 127 : 126);
    }
    /* What the terminal or the outer half sends goes to the whole process group; it is the command that answers. */
    static const int left_alone[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
    for (size_t index = 0; index < sizeof left_alone / sizeof *left_alone; index++)
        signal(left_alone[index], SIG_IGN);
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            fail("waitpid");
    bring_out(words + 2, last - 2);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
