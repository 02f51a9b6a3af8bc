/*
 * The outer half of the emulated KVM host: starts QEMU with the arguments after `--`, sends the agent inside what
 * to run, carries its streams, and ends with its exit code. Whatever happens to this process, QEMU ends with it.
 *
 * usage: launch [--timeout SECONDS] [--silence SECONDS] [--share TAG=PATH]... [--env NAME=VALUE]... [--log FILE]
 *               --command COUNT COMMAND ARGUMENT... QEMU ARGUMENT...
 * In QEMU's arguments @PORT@ stands for the descriptor of the socket that the agent's port belongs to, @TSC_KHZ@
 * for the rate of this machine's time stamp counter.
 */
#define _GNU_SOURCE
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

enum { EXIT_HOST = 125, EXIT_TIMEOUT = 124 };

static pid_t machine = -1;
static const char *log_path;
static struct termios before;
static int is_raw;

static void end_machine(void)
{
    if (is_raw)
        tcsetattr(0, TCSADRAIN, &before);
    is_raw = 0;
    if (machine > 0) {
        kill(machine, SIGKILL);
        waitpid(machine, NULL, 0);
    }
    machine = -1;
}

static _Noreturn void finish(int code, const char *message)
{
    end_machine();
    if (message != NULL)
        dprintf(2, "kvm-host: %s\n", message);
    if (message != NULL && log_path != NULL) {
        char bytes[4096];
        int log = open(log_path, O_RDONLY);
        ssize_t count = 0;
        if (log >= 0 && lseek(log, 0, SEEK_END) > (off_t)sizeof bytes)
            lseek(log, -(off_t)sizeof bytes, SEEK_END);
        else if (log >= 0)
            lseek(log, 0, SEEK_SET);
        while (log >= 0 && (count = read(log, bytes, sizeof bytes)) > 0)
            (void)!write(2, bytes, (size_t)count);
    }
    exit(code);
}

/* What the agent has not taken yet. Writing must never block: the agent may be waiting for us to read. */
static char *queue;
static size_t queue_start, queue_end, queue_size;

static void send_frame(uint32_t type, const void *content, size_t length)
{
    struct frame header = { type, (uint32_t)length };
    if (queue_start == queue_end)
        queue_start = queue_end = 0;
    if (queue_size - queue_end < sizeof header + length) {
        queue_size = queue_end + sizeof header + length + FRAME_MAX;
        queue = realloc(queue, queue_size);
        if (queue == NULL)
            finish(EXIT_HOST, "out of memory");
    }
    memcpy(queue + queue_end, &header, sizeof header);
    if (length != 0)
        memcpy(queue + queue_end + sizeof header, content, length);
    queue_end += sizeof header + length;
}

static void send_text(uint32_t type, const char *text)
{
    if (strlen(text) >= FRAME_MAX)
        finish(EXIT_HOST, "an argument or a variable is too long");
    send_frame(type, text, strlen(text) + 1);
}

static void send_window(void)
{
    struct winsize window;
    if (ioctl(0, TIOCGWINSZ, &window) == 0)
        send_frame(FRAME_WINDOW, &window, sizeof window);
}

static void write_all(int fd, const char *bytes, size_t count)
{
    while (count != 0) {
        ssize_t done = write(fd, bytes, count);
        if (done < 0 && errno == EAGAIN) {
            struct pollfd writable = { .fd = fd, .events = POLLOUT };
            poll(&writable, 1, -1);
        } else if (done < 0 && errno != EINTR) {
            finish(128 + SIGPIPE, NULL);
        } else if (done > 0) {
            bytes += done;
            count -= (size_t)done;
        }
    }
}

static char inbox[sizeof(struct frame) + FRAME_MAX];
static size_t inbox_used;

static void handle_frames(void)
{
    size_t start = 0;
    struct frame header;
    while (inbox_used - start >= sizeof header) {
        memcpy(&header, inbox + start, sizeof header);
        if (header.length > FRAME_MAX)
            finish(EXIT_HOST, "the agent sent nonsense");
        if (inbox_used - start - sizeof header < header.length)
            break;
        const char *content = inbox + start + sizeof header;
        uint32_t code;
        switch (header.type) {
        case FRAME_STDOUT:
            write_all(1, content, header.length);
            break;
        case FRAME_STDERR:
            write_all(2, content, header.length);
            break;
        case FRAME_EXIT:
            memcpy(&code, content, sizeof code);
            finish((int)code, NULL);
        case FRAME_FAILED:
            finish(EXIT_HOST, content);
        }
        start += sizeof header + header.length;
    }
    memmove(inbox, inbox + start, inbox_used - start);
    inbox_used -= start;
}

/* Reads both clocks with as little as possible between them. */
static void read_clocks(uint64_t *ticks, double *seconds)
{
    uint64_t best = UINT64_MAX;
    for (int tries = 0; tries < 20; tries++) {
        struct timespec time;
        uint64_t start = __rdtsc();
        clock_gettime(CLOCK_MONOTONIC_RAW, &time);
        uint64_t end = __rdtsc();
        if (end - start < best) {
            best = end - start;
            *ticks = start + best / 2;
            *seconds = (double)time.tv_sec + (double)time.tv_nsec / 1e9;
        }
    }
}

/* Under TCG the guest counts this machine's own TSC. Its kernel would calibrate it against the emulated PIT, which
   fails on a busy machine and then hangs, so we tell it. */
static long tsc_kilohertz(void)
{
    uint64_t first, last;
    double start, end;
    read_clocks(&first, &start);
    usleep(20000);
    read_clocks(&last, &end);
    return (long)((double)(last - first) / (end - start) / 1000);
}

static char *replace(char *text, const char *mark, long number)
{
    char *filled, *found = strstr(text, mark);
    if (found == NULL)
        return text;
    if (asprintf(&filled, "%.*s%ld%s", (int)(found - text), text, number, found + strlen(mark)) < 0)
        finish(EXIT_HOST, "out of memory");
    return filled;
}

static void start_machine(char **arguments, int inner, pid_t parent)
{
    long kilohertz = tsc_kilohertz();
    for (char **each = arguments; *each != NULL; each++)
        *each = replace(replace(*each, "@PORT@", inner), "@TSC_KHZ@", kilohertz);
    machine = fork();
    if (machine < 0)
        finish(EXIT_HOST, "fork failed");
    if (machine != 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(EXIT_HOST);
    setpgid(0, 0);               /* Ctrl-C in the terminal reaches us, and we end it */
    int log = log_path == NULL ? -1 : open(log_path, O_WRONLY | O_CREAT | O_APPEND, 0644);
    int none = open("/dev/null", O_RDWR);
    dup2(none, 0);
    dup2(log >= 0 ? log : none, 1);
    dup2(log >= 0 ? log : none, 2);
    sigset_t all;
    sigemptyset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    execvp(arguments[0], arguments);
    dprintf(2, "%s: %s\n", arguments[0], strerror(errno));
    _exit(EXIT_HOST);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void on_signal(int signals, int terminal)
{
    struct signalfd_siginfo info;
    char message[64];
    if (read(signals, &info, sizeof info) != sizeof info)
        return;
    switch (info.ssi_signo) {
    case SIGWINCH:
        if (terminal)
            send_window();
        break;
    case SIGCHLD:
        if (waitpid(machine, NULL, WNOHANG) == machine) {
            machine = -1;
            finish(EXIT_HOST, "the emulated machine ended before the command did; its log:");
        }
        break;
    default:
        snprintf(message, sizeof message, "ended by signal %u", info.ssi_signo);
        end_machine();
        dprintf(2, "kvm-host: %s\n", message);
        exit(128 + (int)info.ssi_signo);
    }
}

/* The deadline is for all, the patience for the time in which nothing at all comes from inside. */
static _Noreturn void carry(int port, int signals, int terminal, double deadline, double patience)
{
    static char input[FRAME_MAX];
    int source = 0;
    double heard = now();
    for (;;) {
        double left = deadline - now();
        if (left <= 0)
            finish(EXIT_TIMEOUT, "time limit reached; the emulated machine was stopped; its log:");
        if (heard + patience <= now())
            finish(EXIT_TIMEOUT, "silent for too long; the emulated machine was stopped; its log:");
        if (left > heard + patience - now())
            left = heard + patience - now();
        int waiting = queue_start != queue_end;
        struct pollfd watched[] = {
            { .fd = port, .events = (short)(POLLIN | (waiting ? POLLOUT : 0)) },
            { .fd = waiting ? -1 : source, .events = POLLIN },
            { .fd = signals, .events = POLLIN },
        };
        if (poll(watched, 3, (int)(left < 1e6 ? left * 1000 + 1 : 1e9)) < 0 && errno != EINTR)
            finish(EXIT_HOST, "poll failed");
        if (watched[2].revents != 0)
            on_signal(signals, terminal);
        if (watched[0].revents & POLLOUT) {
            ssize_t done = send(port, queue + queue_start, queue_end - queue_start, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (done > 0)
                queue_start += (size_t)done;
        }
        if (watched[0].revents & POLLIN) {
            ssize_t count = recv(port, inbox + inbox_used, sizeof inbox - inbox_used, MSG_DONTWAIT);
            if (count > 0) {
                heard = now();
                inbox_used += (size_t)count;
                handle_frames();
            }
        } else if (watched[0].revents & POLLHUP) {
            usleep(10000);                          /* SIGCHLD follows */
        }
        if (watched[1].revents != 0) {
            ssize_t count = read(0, input, sizeof input);
            if (count > 0)
                send_frame(FRAME_STDIN, input, (size_t)count);
            else if (count == 0 || (errno != EAGAIN && errno != EINTR)) {
                send_frame(FRAME_STDIN, NULL, 0);
                source = -1;
            }
        }
    }
}

int main(int count, char **words)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);    /* the script that started us was killed: nobody waits for the result */
    double timeout = 1e9, silence = 1e9;
    int sockets[2], index = 1;
    uint32_t terminal = isatty(0) && isatty(1);
    char here[4096];
    for (; index + 1 < count && strcmp(words[index], "--command") != 0; index += 2) {
        char *value = words[index + 1];
        if (strcmp(words[index], "--timeout") == 0) {
            timeout = atof(value);
        } else if (strcmp(words[index], "--silence") == 0) {
            silence = atof(value);
        } else if (strcmp(words[index], "--log") == 0) {
            log_path = value;
        } else if (strcmp(words[index], "--env") == 0) {
            send_text(FRAME_ENV, value);
        } else if (strcmp(words[index], "--share") == 0) {
            char *path = strchr(value, '=');
            if (path == NULL || strlen(value) + 2 > FRAME_MAX)
                finish(EXIT_HOST, "--share needs TAG=PATH");
            *path = 0;
            send_frame(FRAME_SHARE, value, strlen(value) + strlen(path + 1) + 2);
        } else {
            finish(EXIT_HOST, "unknown option");
        }
    }
    int arguments = index + 1 < count ? atoi(words[index + 1]) : 0;
    index += 2;
    if (arguments < 1 || index + arguments >= count)
        finish(EXIT_HOST, "nothing to run");
    for (; arguments > 0; arguments--)
        send_text(FRAME_ARG, words[index++]);
    if (getcwd(here, sizeof here) != NULL)
        send_text(FRAME_CWD, here);
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    send_frame(FRAME_CLOCK, &time, sizeof time);
    send_frame(FRAME_START, &terminal, sizeof terminal);
    if (terminal)
        send_window();

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) != 0)
        finish(EXIT_HOST, "socketpair failed");
    fcntl(sockets[0], F_SETFD, FD_CLOEXEC);
    sigset_t caught;
    sigemptyset(&caught);
    sigaddset(&caught, SIGINT);
    sigaddset(&caught, SIGTERM);
    sigaddset(&caught, SIGHUP);
    sigaddset(&caught, SIGQUIT);
    sigaddset(&caught, SIGCHLD);
    sigaddset(&caught, SIGWINCH);
    sigprocmask(SIG_BLOCK, &caught, NULL);
    signal(SIGPIPE, SIG_IGN);
    int signals = signalfd(-1, &caught, SFD_CLOEXEC | SFD_NONBLOCK);
    start_machine(words + index, sockets[1], getpid());
    close(sockets[1]);
    if (terminal && tcgetattr(0, &before) == 0) {
        struct termios raw = before;
        cfmakeraw(&raw);
        is_raw = tcsetattr(0, TCSADRAIN, &raw) == 0;
    }
    carry(sockets[0], signals, (int)terminal, now() + timeout, silence);
}
