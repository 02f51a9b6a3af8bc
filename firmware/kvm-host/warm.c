#define _GNU_SOURCE
#include "warm.h"
#include "machine.h"
#include "switch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXIT_UNAVAILABLE = 69, SESSIONS = PORTS_MAX };

/* How long a start may take, on a busy machine, too. */
static const double START_PATIENCE = 300;

static int is_ours(const char *path)
{
    struct stat status;
    if (lstat(path, &status) != 0)
        return 0;
    errno = EPERM;
    return S_ISDIR(status.st_mode) && status.st_uid == geteuid() && (status.st_mode & 077) == 0;
}

const char *warm_directory(int make)
{
    static char path[90];                       /* a socket's path has 108 bytes */
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    if (runtime != NULL && runtime[0] == '/' && strlen(runtime) < sizeof path - 8 && is_ours(runtime))
        snprintf(path, sizeof path, "%s/vmm", runtime);
    else
        snprintf(path, sizeof path, "/tmp/vmm-%u", (unsigned)geteuid());
    if (make && mkdir(path, 0700) != 0 && errno != EEXIST)
        return NULL;
    return is_ours(path) ? path : NULL;
}

struct sockaddr_un warm_address(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    const char *directory = warm_directory(0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s/host.sock", directory == NULL ? "" : directory);
    return address;
}

int warm_connect(void)
{
    if (warm_directory(0) == NULL)
        return -1;
    struct sockaddr_un address = warm_address();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0) {
        fcntl(fd, F_SETFL, O_NONBLOCK);
        return fd;
    }
    close(fd);
    return -1;
}

/* Asks the host one thing, and prints what it says until it hangs up. -1 without a host. */
static int ask(uint32_t question, int quiet)
{
    static struct inbox inbox;
    struct frame header = { question, 0 };
    char *content;
    int fd = warm_connect(), answered = -1;
    if (fd < 0)
        return -1;
    fcntl(fd, F_SETFL, 0);
    (void)!write(fd, &header, sizeof header);
    inbox.used = inbox.taken = 0;
    while (inbox_read(&inbox, fd) > 0)
        while (inbox_take(&inbox, &header, &content) > 0) {
            answered = 0;
            if (header.type == FRAME_STDOUT && !quiet)
                (void)!write(1, content, header.length);
        }
    close(fd);
    return question == FRAME_STOP ? 0 : answered;
}

/* The lock is on the directory itself: nothing to leave behind. -1 when somebody else has it. */
static int lock_directory(void)
{
    for (int tries = 0; tries < 100; tries++) {
        const char *path = warm_directory(1);
        int fd = path == NULL ? -1 : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct stat locked, there;
        if (fd < 0 && errno == ENOENT)
            continue;                           /* removed just now by a host that ended */
        if (fd < 0)
            launch_fail(path == NULL ? "the directory of the warm host (XDG_RUNTIME_DIR/vmm, else /tmp/vmm-UID) cannot be made, or "
                "is somebody else's" : strerror(errno));
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            close(fd);
            return -1;
        }
        if (fstat(fd, &locked) == 0 && stat(path, &there) == 0 && locked.st_ino == there.st_ino)
            return fd;
        close(fd);
    }
    launch_fail("the directory of the warm host does not stay");
}

static void remove_traces(void)
{
    const char *path = warm_directory(0);
    if (path == NULL)
        return;
    unlink(warm_address().sun_path);
    rmdir(path);
}

/* A process that does nothing until the host has gone, and then removes what it left, if it could not do so itself. */
static int start_sweeper(void)
{
    int ends[2];
    char byte;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    if (fork() != 0) {
        close(ends[0]);
        return ends[1];
    }
    setsid();
    prctl(PR_SET_NAME, "vmm-host-sweep");
    close_range(ends[0] + 1, ~0u, 0);
    close_range(3, (unsigned)ends[0] - 1, 0);
    while (read(ends[0], &byte, 1) < 0)
        ;
    const char *path = warm_directory(0);
    int fd = path == NULL ? -1 : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* A killed process gives up its files in no order that can be relied on: its lock may go after this pipe. Who still has
       the lock after that time is the next host, which removes its traces itself. */
    for (int tries = 0; fd >= 0 && tries < 500; tries++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
            remove_traces();
            break;
        }
        usleep(10000);
    }
    _exit(0);
}

/* The host itself. What goes wrong before it is ready is told through `ready`, as is that it is: "+". */
static _Noreturn void be_host(const struct options *options, int ready)
{
    struct machine machine = { .pid = -1, .log = -1 };
    setsid();
    (void)!chdir("/");
    int none = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; fd++)
        dup2(none, fd);
    int lock = lock_directory();
    if (lock < 0) {
        (void)!write(ready, "=", 1);
        _exit(0);
    }
    struct sockaddr_un address = warm_address();
    unlink(address.sun_path);
    int sweeper = start_sweeper();
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0
        || machine_start(&machine, options->machine, SESSIONS) != 0) {
        dprintf(ready, "-%s\n", strerror(errno));
    } else if (switch_wait_ready(&machine, START_PATIENCE) != 0) {
        dprintf(ready, "-its machine did not come up; its log:\n");
        machine_tell(&machine, ready);
    } else if (listen(listener, 128) == 0) {
        (void)!write(ready, "+", 1);
        close(ready);
        switch_run(&machine, SESSIONS, listener, options->key, options->idle);
    }
    machine_end(&machine);
    remove_traces();
    (void)sweeper;
    _exit(0);
}

static int start(const struct options *options)
{
    double began = now();
    for (;;) {
        int ends[2];
        char answer[4200];
        size_t used = 0;
        ssize_t count;
        if (ask(FRAME_STATUS, 1) == 0) {
            printf("vmm: the emulated host runs already\n");
            return 0;
        }
        if (pipe2(ends, O_CLOEXEC) != 0)
            launch_fail("no pipe");
        pid_t child = fork();
        if (child == 0) {
            close_range(3, (unsigned)ends[1] - 1, 0);
            close_range((unsigned)ends[1] + 1, ~0u, 0);
            be_host(options, ends[1]);
        }
        close(ends[1]);
        if (isatty(2))
            dprintf(2, "vmm: starting the emulated host...\n");
        while (used < sizeof answer - 1 && (count = read(ends[0], answer + used, sizeof answer - 1 - used)) > 0) {
            used += (size_t)count;
            if (answer[0] == '+' || answer[0] == '=')
                break;
        }
        close(ends[0]);
        answer[used] = 0;
        if (answer[0] == '+') {
            printf("vmm: the emulated host runs (process %d); it ends after %.0f idle seconds, or by 'vmm host stop'\n", (int)child,
                options->idle);
            return 0;
        }
        if (answer[0] != '=') {
            dprintf(2, "vmm: the emulated host did not start: %s", used > 1 ? answer + 1 : "it was killed\n");
            return EXIT_UNAVAILABLE;
        }
        /* Somebody else starts one, or ends one: wait for that. */
        if (now() - began > START_PATIENCE)
            launch_fail("another process has been starting the emulated host for too long");
        usleep(100000);
    }
}

/* What it says is no output of the command that needs it. */
static _Noreturn void exec_start(const struct options *options)
{
    char idle[32];
    int count = 0;
    while (options->machine[count] != NULL)
        count++;
    char **words = calloc((size_t)count + 7, sizeof *words);
    char *first[] = { "launch", "--start", (char *)options->key, "--idle", idle, "--" };
    snprintf(idle, sizeof idle, "%.3f", options->idle);
    memcpy(words, first, sizeof first);
    memcpy(words + 6, options->machine, (size_t)count * sizeof *words);
    dup2(2, 1);
    execv("/proc/self/exe", words);
    _exit(EXIT_UNAVAILABLE);
}

int warm_ensure(const struct options *options)
{
    int port = warm_connect(), status = -1;
    if (port >= 0)
        return port;
    /* By executing the program anew, so that lists of processes show the host's own command line. */
    pid_t starter = fork();
    if (starter == 0)
        exec_start(options);
    if (starter < 0 || waitpid(starter, &status, 0) != starter || status != 0)
        exit(WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_UNAVAILABLE);
    port = warm_connect();
    if (port < 0)
        launch_fail("the emulated host ended at once");
    return port;
}

int warm_command(const struct options *options)
{
    if (strcmp(options->warm, "start") == 0)
        return start(options);
    if (strcmp(options->warm, "status") == 0) {
        if (ask(FRAME_STATUS, 0) == 0)
            return 0;
        printf("no emulated host is running; 'vmm host start' starts one\n");
        return 1;
    }
    if (ask(FRAME_STOP, 0) != 0)
        printf("no emulated host was running\n");
    return 0;
}
