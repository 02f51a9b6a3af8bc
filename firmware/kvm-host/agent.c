/*
 * The first process of the emulated KVM host: loads the modules, lays a writable layer over the outer machine's
 * root file system, starts the command there and carries its streams. It never ends by itself: launch.c ends the
 * machine when the exit code has arrived.
 */
#define _GNU_SOURCE
#include "wire.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LIST_MAX = 4096 };

static int port = -1;
static char *arguments[LIST_MAX + 1], *environment[LIST_MAX + 1];
static int argument_count, environment_count;
static char directory[4096] = "/";

static void write_all(int fd, const void *bytes, size_t count)
{
    for (const char *next = bytes; count != 0;) {
        ssize_t done = write(fd, next, count);
        if (done < 0 && errno != EINTR && errno != EAGAIN)
            return;
        if (done > 0) {
            next += done;
            count -= (size_t)done;
        }
    }
}

static void send_frame(uint32_t type, const void *content, size_t length)
{
    struct frame header = { type, (uint32_t)length };
    write_all(port, &header, sizeof header);
    write_all(port, content, length);
}

static _Noreturn void fail(const char *format, ...)
{
    char text[512];
    int cause = errno;
    va_list list;
    va_start(list, format);
    int used = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (used >= 0 && used < (int)sizeof text)
        snprintf(text + used, sizeof text - (size_t)used, ": %s", strerror(cause));
    if (port >= 0)
        send_frame(FRAME_FAILED, text, strlen(text) + 1);
    dprintf(2, "kvm-host: %s\n", text);
    for (;;)
        pause();
}

static void must_mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)
{
    mkdir(target, 0755);
    if (mount(source, target, type, flags, data) != 0)
        fail("mount %s on %s (%s)", source, target, type);
}

/* /modules lists one file name a line, dependencies first. */
static void load_modules(void)
{
    FILE *list = fopen("/modules", "r");
    char name[256], path[300];
    if (list == NULL)
        fail("/modules");
    while (fgets(name, sizeof name, list) != NULL) {
        name[strcspn(name, "\n")] = 0;
        snprintf(path, sizeof path, "/lib/%s", name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || syscall(SYS_finit_module, fd, "", 0) != 0)
            dprintf(2, "kvm-host: %s: %s\n", name, strerror(errno));
        if (fd >= 0)
            close(fd);
    }
    fclose(list);
}

static void open_port(void)
{
    for (int tries = 0; tries < 5000; tries++) {
        port = open("/dev/vport0p1", O_RDWR | O_CLOEXEC);
        if (port >= 0)
            return;
        usleep(1000);
    }
    fail("/dev/vport0p1");
}

static void read_all(void *bytes, size_t count)
{
    for (char *next = bytes; count != 0;) {
        ssize_t done = read(port, next, count);
        if (done < 0 && errno != EINTR && errno != EAGAIN)
            fail("reading the port");
        if (done == 0)
            usleep(1000);
        if (done > 0) {
            next += done;
            count -= (size_t)done;
        }
    }
}

static char *copy_of(const char *content)
{
    char *copy = strdup(content);
    if (copy == NULL)
        fail("memory");
    return copy;
}

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

static void build_root(void)
{
    must_mount("host", "/lower", "9p", MS_RDONLY,
        "trans=virtio,version=9p2000.L,msize=512000,cache=loose,access=any");
    must_mount("upper", "/upper", "tmpfs", 0, "mode=755,size=75%");
    mkdir("/upper/data", 0755);
    mkdir("/upper/work", 0755);
    must_mount("root", "/root", "overlay", 0, "lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work");
    if (mount("/dev", "/root/dev", NULL, MS_MOVE, NULL) != 0 || mount("/proc", "/root/proc", NULL, MS_MOVE, NULL) != 0
        || mount("/sys", "/root/sys", NULL, MS_MOVE, NULL) != 0)
        fail("moving /dev, /proc and /sys");
    /* As switch_root(8) does it: who is merely chroot'ed may make no user namespace (user_namespaces(7)). */
    if (chdir("/root") != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0)
        fail("entering the root file system");
    must_mount("devpts", "/dev/pts", "devpts", 0, "mode=600,ptmxmode=666");
    must_mount("shm", "/dev/shm", "tmpfs", 0, "mode=1777");
    must_mount("run", "/run", "tmpfs", 0, "mode=755");
    mkdir("/dev/net", 0755);
    (void)!symlink("/proc/self/fd", "/dev/fd");
    (void)!symlink("/proc/self/fd/0", "/dev/stdin");
    (void)!symlink("/proc/self/fd/1", "/dev/stdout");
    (void)!symlink("/proc/self/fd/2", "/dev/stderr");
}

static void raise_loopback(void)
{
    struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) != 0)
        dprintf(2, "kvm-host: loopback: %s\n", strerror(errno));
    if (fd >= 0)
        close(fd);
}

/* Takes frames until FRAME_START and returns whether the command wants a terminal. */
static int receive_request(void)
{
    static char content[FRAME_MAX + 1];
    for (;;) {
        struct frame header;
        read_all(&header, sizeof header);
        if (header.length > FRAME_MAX) {
            errno = EMSGSIZE;
            fail("a frame of %u bytes", header.length);
        }
        read_all(content, header.length);
        content[header.length] = 0;
        switch (header.type) {
        case FRAME_SHARE: {
            const char *path = content + strlen(content) + 1;
            mkdir_parents(path);
            must_mount(content, path, "9p", 0, "trans=virtio,version=9p2000.L,msize=512000,cache=mmap,access=any");
            break;
        }
        case FRAME_CWD:
            snprintf(directory, sizeof directory, "%s", content);
            break;
        case FRAME_ENV:
            if (environment_count < LIST_MAX)
                environment[environment_count++] = copy_of(content);
            break;
        case FRAME_ARG:
            if (argument_count < LIST_MAX)
                arguments[argument_count++] = copy_of(content);
            break;
        case FRAME_CLOCK: {
            struct timespec now;
            memcpy(&now, content, sizeof now);
            clock_settime(CLOCK_REALTIME, &now);
            break;
        }
        case FRAME_START: {
            uint32_t terminal;
            memcpy(&terminal, content, sizeof terminal);
            return terminal != 0;
        }
        }
    }
}

static _Noreturn void become_command(void)
{
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    if (chdir(directory) != 0) {
        dprintf(2, "kvm-host: %s: %s\n", directory, strerror(errno));
        _exit(126);
    }
    environment[environment_count] = NULL;
    arguments[argument_count] = NULL;
    environ = environment;
    execvp(arguments[0], arguments);
    dprintf(2, "kvm-host: %s: %s\n", arguments[0], strerror(errno));
    _exit(errno == ENOENT ? 127 : 126);
}

struct streams {
    pid_t child;
    int input, output, error;    /* -1 when closed; with a terminal input and output are its master side */
};

static struct streams start_command(int terminal)
{
    struct streams streams = { .input = -1, .output = -1, .error = -1 };
    if (terminal) {
        int master;
        streams.child = forkpty(&master, NULL, NULL, NULL);
        if (streams.child == 0)
            become_command();
        streams.input = streams.output = master;
    } else {
        int in[2], out[2], err[2];
        if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0)
            fail("pipe");
        streams.child = fork();
        if (streams.child == 0) {
            setsid();
            dup2(in[0], 0);
            dup2(out[1], 1);
            dup2(err[1], 2);
            become_command();
        }
        close(in[0]);
        close(out[1]);
        close(err[1]);
        streams.input = in[1];
        streams.output = out[0];
        streams.error = err[0];
    }
    if (streams.child < 0)
        fail("fork");
    fcntl(streams.input, F_SETFL, O_NONBLOCK);
    return streams;
}

/* Returns the descriptor, or -1 when the stream has ended. */
static int forward(int fd, uint32_t type)
{
    static char bytes[FRAME_MAX];
    ssize_t count = read(fd, bytes, sizeof bytes);
    if (count > 0)
        send_frame(type, bytes, (size_t)count);
    return count > 0 || (count < 0 && (errno == EAGAIN || errno == EINTR)) ? fd : -1;
}

/* Input that the command has not taken yet; while there is some, the port is not read. */
static char pending[FRAME_MAX];
static size_t pending_start, pending_end;

static void close_input(struct streams *streams)
{
    if (streams->input >= 0 && streams->input != streams->output)
        close(streams->input);
    streams->input = -1;
}

static void push_input(struct streams *streams)
{
    ssize_t done = write(streams->input, pending + pending_start, pending_end - pending_start);
    if (done > 0)
        pending_start += (size_t)done;
    else if (done < 0 && errno != EAGAIN && errno != EINTR)
        pending_start = pending_end;                /* the command has closed its input */
}

static void receive_frame(struct streams *streams)
{
    struct frame header;
    read_all(&header, sizeof header);
    if (header.length > FRAME_MAX) {
        errno = EMSGSIZE;
        fail("a frame of %u bytes", header.length);
    }
    read_all(pending, header.length);
    pending_start = pending_end = 0;
    uint32_t number;
    switch (header.type) {
    case FRAME_STDIN:
        if (header.length == 0)
            close_input(streams);
        else if (streams->input >= 0)
            pending_end = header.length;
        break;
    case FRAME_WINDOW:
        ioctl(streams->output, TIOCSWINSZ, pending);
        break;
    case FRAME_SIGNAL:
        memcpy(&number, pending, sizeof number);
        kill(-streams->child, (int)number);
        break;
    }
}

static int wake[2];

static void on_child(int number)
{
    int cause = errno;
    (void)number;
    (void)!write(wake[1], "", 1);
    errno = cause;
}

/* Carries the streams until the command has ended and its output is drained; returns its exit code. */
static uint32_t carry(struct streams *streams)
{
    int status = 0, ended = 0;
    for (;;) {
        int waiting = pending_start != pending_end;
        struct pollfd watched[] = {
            { .fd = waiting ? -1 : port, .events = POLLIN },
            { .fd = waiting ? streams->input : -1, .events = POLLOUT },
            { .fd = streams->output, .events = POLLIN },
            { .fd = streams->error, .events = POLLIN },
            { .fd = wake[0], .events = POLLIN },
        };
        /* A process left behind may hold the pipes open for ever: when the command has ended, what comes
           within 100 ms is still carried. */
        int ready = poll(watched, sizeof watched / sizeof *watched, ended ? 100 : -1);
        if (ready < 0 && errno != EINTR)
            fail("poll");
        if (ended && (ready == 0 || (streams->output < 0 && streams->error < 0)))
            break;
        if (ready <= 0)
            continue;
        if (watched[2].revents != 0)
            streams->output = forward(streams->output, FRAME_STDOUT);
        if (watched[3].revents != 0)
            streams->error = forward(streams->error, FRAME_STDERR);
        if (watched[1].revents != 0)
            push_input(streams);
        if (watched[0].revents & POLLIN)
            receive_frame(streams);
        if (watched[4].revents != 0) {
            char drain[64];
            (void)!read(wake[0], drain, sizeof drain);
            for (int one; ; ) {
                pid_t gone = waitpid(-1, &one, WNOHANG);
                if (gone <= 0)
                    break;
                if (gone == streams->child) {
                    status = one;
                    ended = 1;
                    pending_start = pending_end;
                }
            }
        }
    }
    return (uint32_t)(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

int main(void)
{
    mkdir("/proc", 0755);
    mkdir("/sys", 0755);
    mkdir("/dev", 0755);
    mount("dev", "/dev", "devtmpfs", 0, "mode=755");
    int console = open("/dev/console", O_RDWR);
    if (console >= 0) {
        dup2(console, 0);
        dup2(console, 1);
        dup2(console, 2);
    }
    must_mount("proc", "/proc", "proc", 0, NULL);
    must_mount("sys", "/sys", "sysfs", 0, NULL);
    load_modules();
    open_port();
    build_root();
    raise_loopback();
    sethostname("kvm-host", 8);
    if (pipe2(wake, O_CLOEXEC | O_NONBLOCK) != 0)
        fail("pipe");
    signal(SIGCHLD, on_child);
    signal(SIGPIPE, SIG_IGN);
    struct streams streams = start_command(receive_request());
    uint32_t code = carry(&streams);
    sync();
    send_frame(FRAME_EXIT, &code, sizeof code);
    for (;;)
        pause();
}
