/*
 * The outer half of the emulated KVM host: starts QEMU with the arguments after the command's (or takes a warm host),
 * sends the agent inside what to run, carries its streams and signals, and ends as the command did; QEMU ends with it.
 *
 * usage: launch [--local KEY] [--timeout SECONDS] [--silence SECONDS] [--share TAG=PATH]... [--env NAME=VALUE]...
 *               [--stays 1 --idle SECONDS] [--verbose 1] --command COUNT COMMAND ARGUMENT... QEMU ARGUMENT...
 *        launch --start KEY --idle SECONDS -- QEMU ARGUMENT...
 *        launch --status | --stop
 *
 * With --local the command seems to run on this machine: as this user, with this environment, its terminal and its
 * signals; in a warm host of the same version (KEY) if there is one. Without, a signal ends the machine. With --stays the warm host is
 * started if there is none, and machines that the command leaves run on: a process stays in the background for them.
 */
#define _GNU_SOURCE
#include "launch.h"
#include "background.h"
#include "machine.h"
#include "outer.h"
#include "outlet.h"
#include "peers.h"
#include "terminal.h"
#include "warm.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXIT_UNAVAILABLE = 69 };

/* How long the emulated host may take to say that it has got a signal. */
static const double PATIENCE = 15;

static struct machine machine = { .pid = -1, .log = -1 };
static struct terminal terminal;
static struct outlet outlets[STREAMS];
static int port = -1, local, verbose;
static struct queue sent;
static struct inbox inbox;
static uint32_t input_credit = STREAM_WINDOW, unheard_signal;
static uint64_t input_read;
static int input_ended, has_started, has_ended, is_over, is_left, is_background;
static struct exit_frame result;
static int progress_shown;
static double unheard;                  /* since when that signal has no answer; 0 for none */

static void hide_progress(void)
{
    if (progress_shown)
        (void)!write(2, "\r\033[K", 4);
    progress_shown = 0;
}

static void leave(void)
{
    hide_progress();
    terminal_restore(&terminal);
    machine_end(&machine);
}

static _Noreturn void finish(int code, const char *message)
{
    leave();
    if (message != NULL)
        dprintf(2, "%s: %s\n", local ? "vmm" : "kvm-host", message);
    if (message != NULL || verbose)
        machine_tell(&machine, 2);
    exit(code);
}

_Noreturn void launch_fail(const char *message)
{
    finish(local ? EXIT_UNAVAILABLE : EXIT_HOST, message);
}

/* Ends as a process without a handler for the signal does. */
static _Noreturn void die_of(int number)
{
    leave();
    if (!local) {
        dprintf(2, "kvm-host: ended by signal %d\n", number);
        exit(128 + number);
    }
    signals_die_of(number);
}

static _Noreturn void finish_as_command(void)
{
    struct stat status;
    if (local && fstat(0, &status) == 0 && S_ISREG(status.st_mode) && input_read > result.taken)
        lseek(0, -(off_t)(input_read - result.taken), SEEK_CUR);
    if (WIFSIGNALED(result.status) && local)
        die_of(WTERMSIG(result.status));
    finish(WIFSIGNALED(result.status) ? 128 + WTERMSIG(result.status) : WEXITSTATUS(result.status), NULL);
}

static void send_signal(int number)
{
    uint32_t content = (uint32_t)number;
    queue_frame(&sent, FRAME_SIGNAL, &content, sizeof content);
    if (unheard == 0)
        unheard = now();
    unheard_signal = content;
}

static void send_window(void)
{
    struct winsize window;
    if (terminal.fd >= 0 && ioctl(terminal.fd, TIOCGWINSZ, &window) == 0)
        queue_frame(&sent, FRAME_WINDOW, &window, sizeof window);
}

/* Stops this process as `number` would have; goes on when somebody continues it. */
static void stop_by(int number)
{
    sigset_t one;
    hide_progress();
    terminal_restore(&terminal);
    sigemptyset(&one);
    sigaddset(&one, number);
    signal(number, SIG_DFL);
    raise(number);
    sigprocmask(SIG_UNBLOCK, &one, NULL);         /* here */
    sigprocmask(SIG_BLOCK, &one, NULL);
    if (terminal_in_foreground(&terminal))
        tcgetattr(terminal.fd, &terminal.before);
    terminal_apply(&terminal);
    send_window();
    send_signal(SIGCONT);
}

static void handle_frame(const struct frame *header, const char *content)
{
    struct credit_frame credit;
    struct termios mode;
    uint32_t number;
    struct outlet *outlet = NULL;
    switch (header->type) {
    case FRAME_STARTED:
        has_started = 1;
        hide_progress();
        break;
    case FRAME_STDOUT: outlet = &outlets[STREAM_OUT]; break;
    case FRAME_STDERR: outlet = &outlets[STREAM_ERROR]; break;
    case FRAME_TERMINAL: outlet = &outlets[STREAM_TERMINAL]; break;
    case FRAME_MODE:
        memcpy(&mode, content, sizeof mode);
        terminal_want(&terminal, &mode);
        break;
    case FRAME_STOPPED:
        memcpy(&number, content, sizeof number);
        if (local)
            stop_by((int)number);
        break;
    case FRAME_CREDIT:
        memcpy(&credit, content, sizeof credit);
        input_credit += credit.bytes;
        break;
    case FRAME_HEARD:
        unheard = 0;
        break;
    case FRAME_ENDED:
        has_ended = 1;
        break;
    case FRAME_STAYS:
    case FRAME_EXIT:
        memcpy(&result, content, sizeof result);
        is_over = header->type == FRAME_EXIT;
        is_left = !is_over;
        break;
    case FRAME_LISTEN:
    case FRAME_PUBLISH:
    case FRAME_DIAL:
        outer_frame(header, content, &sent);
        break;
    case FRAME_PEER_DATA:
    case FRAME_PEER_CREDIT:
    case FRAME_PEER_END:
        peer_frame(header, content, &sent);
        break;
    case FRAME_FAILED:
        launch_fail(content);
    }
    if (outlet != NULL && !outlet->closed) {
        queue_put(&outlet->waiting, content, header->length);
        outlet_write(outlet, &sent);
    }
}

static void on_signal(int signals)
{
    struct signalfd_siginfo info;
    if (read(signals, &info, sizeof info) != sizeof info)
        return;
    int number = (int)info.ssi_signo;
    switch (number) {
    case SIGWINCH:
        send_window();
        break;
    case SIGCHLD:
        if (machine.pid > 0 && waitpid(machine.pid, NULL, WNOHANG) == machine.pid) {
            machine.pid = -1;
            launch_fail("the emulated machine ended before the command did; its log:");
        }
        break;
    case SIGCONT:
        terminal_apply(&terminal);
        if (local && has_started)
            send_signal(SIGCONT);
        break;
    default:
        if (local && has_started && (!has_ended || is_background))
            send_signal(number);
        else if (number == SIGTSTP)
            stop_by(number);
        else
            die_of(number);
    }
}

static void read_input(void)
{
    static char bytes[PIECE_MAX];
    size_t room = input_credit < PIECE_MAX ? input_credit : PIECE_MAX;
    ssize_t count = read(0, bytes, room);
    if (count > 0) {
        input_credit -= (uint32_t)count;
        input_read += (uint64_t)count;
        queue_frame(&sent, FRAME_STDIN, bytes, (size_t)count);
    } else if (count == 0 || (errno != EAGAIN && errno != EINTR)) {
        queue_frame(&sent, FRAME_STDIN, NULL, 0);
        input_ended = 1;
    }
}

static int wants_input(void)
{
    if (input_ended || input_credit == 0 || has_ended)
        return 0;
    return (terminal.streams & 1) == 0 || terminal_is_read(&terminal);
}

/* Seconds until the next look at the clock. */
static double next_look(double deadline, double silent)
{
    double left = deadline - now();
    if (silent - now() < left)
        left = silent - now();
    if (terminal.is_wanted && !terminal.is_applied && left > 1)
        left = 1;                       /* the shell may give us the terminal without a signal */
    if ((unheard != 0 || (!has_started && local)) && left > 1)
        left = 1;
    return left < 0 ? 0 : left;
}

static void show_progress(double began)
{
    if (!local || has_started || !isatty(2) || !terminal_in_foreground(&terminal) || now() - began < 1)
        return;
    dprintf(2, "\rvmm: starting the emulated host, %.0f s ('vmm host start' keeps one)", now() - began);
    progress_shown = 1;
}

static void read_port(double *heard)
{
    struct frame header;
    char *content;
    int taken;
    ssize_t count = inbox_read(&inbox, port);
    if (count == 0 && machine.pid <= 0)
        launch_fail("the emulated host ended before the command did");
    if (count == 0)
        usleep(10000);                  /* SIGCHLD follows */
    if (count > 0)
        *heard = now();
    while ((taken = inbox_take(&inbox, &header, &content)) > 0)
        handle_frame(&header, content);
    if (taken < 0)
        launch_fail("the agent sent nonsense");
}

/* The timeout is for all, the silence for the time in which nothing at all comes from inside. */
static _Noreturn void carry(int signals, double timeout, double silence)
{
    double began = now(), heard = began;
    for (;;) {
        struct pollfd watched[3 + STREAMS + OUTER_MAX + PEERS_MAX] = {
            { .fd = is_over ? -1 : port, .events = (short)(POLLIN | (queue_length(&sent) != 0 ? POLLOUT : 0)) },
            { .fd = wants_input() ? 0 : -1, .events = POLLIN },
            { .fd = signals, .events = POLLIN },
        };
        int unwritten = 0;
        for (int each = 0; each < STREAMS; each++) {
            struct outlet *outlet = &outlets[each];
            int waiting = !outlet->closed && queue_length(&outlet->waiting) != 0;
            unwritten |= waiting;
            watched[3 + each].fd = outlet->closed || (!waiting && !outlet->is_pipe) ? -1 : outlet->fd;
            watched[3 + each].events = waiting ? POLLOUT : 0;
        }
        if (is_over && !unwritten)
            finish_as_command();
        if (is_left && !is_background && !unwritten) {
            int forked = background_fork(&terminal, outlets);
            if (forked == 1)
                finish_as_command();
            if (forked < 0)
                launch_fail("no process can be made that stays for the machine");
            is_background = 1;
            continue;
        }
        struct pollfd *of_outer = watched + 3 + STREAMS;
        int outer = outer_watch(of_outer), peers = peers_watch(of_outer + outer);
        double left = next_look(began + timeout, heard + silence);
        if (poll(watched, (nfds_t)(3 + STREAMS + outer + peers), left < 1e6 ? (int)(left * 1000) + 1 : -1) < 0 && errno != EINTR)
            launch_fail("poll failed");
        if (now() >= began + timeout)
            finish(EXIT_TIMEOUT, "time limit reached; the emulated machine was stopped; its log:");
        if (now() >= heard + silence)
            finish(EXIT_TIMEOUT, "silent for too long; the emulated machine was stopped; its log:");
        if (unheard != 0 && now() >= unheard + PATIENCE && unheard_signal != SIGCONT) {
            dprintf(2, "vmm: the emulated host does not answer\n");
            die_of((int)unheard_signal);
        }
        terminal_apply(&terminal);
        show_progress(began);
        outer_turn(of_outer, outer, &sent);
        peers_turn(of_outer + outer, peers, &sent);
        if (watched[2].revents)
            on_signal(signals);
        if (watched[0].revents & POLLOUT && queue_write(&sent, port) != 0)
            sent.start = sent.end = 0;              /* its end is read next */
        if (watched[0].revents & (POLLIN | POLLHUP))
            read_port(&heard);
        if (watched[1].revents)
            read_input();
        for (int each = 0; each < STREAMS; each++) {
            if (watched[3 + each].revents & POLLERR && outlets[each].is_pipe)
                outlet_close(&outlets[each], &sent);
            else if (watched[3 + each].revents)
                outlet_write(&outlets[each], &sent);
        }
    }
}

static void open_streams(void)
{
    terminal_open(&terminal);
    /* Not --local: a terminal only for who has it both ways, and in its raw mode from the beginning. */
    if (!local && (terminal.streams & 3) != 3) {
        terminal.streams = 0;
        terminal.fd = -1;
    } else if (!local) {
        terminal.streams = 7;
    }
    for (int stream = 0; stream < STREAMS; stream++)
        outlet_open(&outlets[stream], -1, (uint32_t)stream);
    if (terminal.fd >= 0)
        outlet_open(&outlets[STREAM_TERMINAL], terminal.fd, STREAM_TERMINAL);
    for (int stream = STREAM_OUT; stream <= STREAM_ERROR; stream++)
        if ((terminal.streams & 1u << stream) == 0)
            outlet_open(&outlets[stream], stream, (uint32_t)stream);
}

int main(int count, char **words)
{
    struct options options;
    options_read(&options, count, words);
    local = options.key != NULL;
    verbose = options.verbose;
    if (options.warm != NULL)
        return warm_command(&options);
    outlets_reserve();
    port = options.stays ? warm_ensure(&options) : local ? warm_connect() : -1;
    open_streams();
    int signals = signals_catch(local);
    struct start_frame start = { .terminals = terminal.streams, .mirrored = (uint32_t)local, .may_stay = (uint32_t)options.stays };
    if (terminal.fd >= 0) {
        start.mode = terminal.before;
        ioctl(terminal.fd, TIOCGWINSZ, &start.window);
    }
    describe_command(&options, &start, &sent);
    if (port < 0) {
        if (machine_start(&machine, options.machine, 1) != 0)
            launch_fail("QEMU could not be started");
        port = machine.ports[0];
    }
    if (!local && terminal.fd >= 0) {
        struct termios raw = terminal.before;
        cfmakeraw(&raw);
        terminal_want(&terminal, &raw);
    }
    carry(signals, options.timeout, options.silence);
}
