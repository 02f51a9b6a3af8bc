/*
 * One command inside the emulated host: started with a pseudo-terminal for those of its standard streams that are
 * terminals outside and pipes for the others, carried until it has ended, and then nothing of it is left.
 */
#define _GNU_SOURCE
#include "command.h"
#include "session.h"
#include "inner.h"
#include "peers.h"
#include "stay.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

void session_say(struct session *session, uint32_t type, const void *content, size_t length)
{
    queue_frame(&session->sent, type, content, length);
}

static void flush_port(struct session *session)
{
    while (queue_length(&session->sent) != 0 && queue_write(&session->sent, session->port) == 0) {
        struct pollfd writable = { .fd = session->port, .events = POLLOUT };
        poll(&writable, 1, 1000);
    }
}

static void read_port(struct session *session)
{
    ssize_t count = inbox_read(&session->inbox, session->port);
    if (count == 0)
        usleep(10000);                  /* nobody is connected outside */
}

/* The process for the next command begins to read where a frame begins. */
static void read_whole_frame(struct session *session)
{
    struct frame header;
    char *content;
    for (;;) {
        while (inbox_take(&session->inbox, &header, &content) > 0)
            ;
        if (session->inbox.taken == session->inbox.used)
            return;
        struct pollfd readable = { .fd = session->port, .events = POLLIN };
        poll(&readable, 1, -1);
        read_port(session);
    }
}

static struct exit_frame end_of(const struct session *session)
{
    struct exit_frame end = { .status = session->status };
    int left = 0;
    if (session->input >= 0 && ioctl(session->input, FIONREAD, &left) != 0)
        left = 0;
    end.taken = session->pushed - (uint64_t)left;
    return end;
}

/* Ends the process of this session; the next session is a new process. */
_Noreturn void session_finish(struct session *session, const char *failure)
{
    struct exit_frame end = end_of(session);
    read_whole_frame(session);
    sync();                             /* memory-mapped files of 9p; the rest is outside already */
    if (failure != NULL)
        session_say(session, FRAME_FAILED, failure, strlen(failure) + 1);
    session_say(session, FRAME_EXIT, &end, sizeof end);
    flush_port(session);
    _exit(0);
}

static void receive_request(struct session *session)
{
    char message[4200], *content;
    struct frame header;
    int open = 0;
    for (;;) {
        int taken = inbox_take(&session->inbox, &header, &content);
        if (taken < 0)
            session_finish(session, "the agent was sent nonsense");
        if (taken == 0) {
            struct pollfd readable = { .fd = session->port, .events = POLLIN };
            poll(&readable, 1, -1);
            read_port(session);
            continue;
        }
        /* What comes before FRAME_OPEN was for the command before. */
        if (header.type == FRAME_OPEN) {
            open = 1;
        } else if (open && header.type == FRAME_GONE) {
            session_finish(session, NULL);
        } else if (open) {
            int added = request_add(&session->request, &header, content, message, sizeof message);
            if (added < 0)
                session_finish(session, message);
            if (added > 0)
                return;
        }
    }
}

static int terminal_takes_input(const struct session *session)
{
    return (session->request.start.terminals & 1u << STREAM_IN) != 0;
}

static void close_input(struct session *session)
{
    if (session->input >= 0)
        close(session->input);
    session->input = -1;
}

static void push_input(struct session *session)
{
    int *fd = terminal_takes_input(session) ? &session->master : &session->input;
    size_t before = queue_length(&session->typed);
    if (*fd >= 0 && !session->input_refused && queue_write(&session->typed, *fd) != 0)
        session->input_refused = 1;     /* nobody will read it */
    struct credit_frame taken = { STREAM_IN, (uint32_t)(before - queue_length(&session->typed)) };
    session->pushed += taken.bytes;
    if (taken.bytes != 0)
        session_say(session, FRAME_CREDIT, &taken, sizeof taken);
    /* The pipe holds one page, so it is empty when it can be written to. Not closed sooner: then nothing would tell how
       much of it the command has left unread. */
    int left = 0;
    if (session->input_ended && queue_length(&session->typed) == 0 && session->input >= 0
        && ioctl(session->input, FIONREAD, &left) == 0 && left == 0)
        close_input(session);
}

static void on_frame(struct session *session, const struct frame *header, const char *content)
{
    struct credit_frame credit;
    struct timespec now;
    uint32_t number;
    switch (header->type) {
    case FRAME_STDIN:
        if (header->length == 0)
            session->input_ended = 1;
        queue_put(&session->typed, content, header->length);
        push_input(session);
        break;
    case FRAME_CREDIT:
        memcpy(&credit, content, sizeof credit);
        if (credit.stream < STREAMS)
            session->credit[credit.stream] += credit.bytes;
        break;
    case FRAME_CLOSED:
        memcpy(&number, content, sizeof number);
        if (number < STREAMS && session->output[number] >= 0) {
            close(session->output[number]);
            session->output[number] = -1;
        }
        break;
    case FRAME_WINDOW:
        if (session->master >= 0)
            ioctl(session->master, TIOCSWINSZ, content);
        break;
    case FRAME_CLOCK:
        memcpy(&now, content, sizeof now);
        clock_settime(CLOCK_REALTIME, &now);
        break;
    case FRAME_SIGNAL:
        memcpy(&number, content, sizeof number);
        if (!session->ended)
            kill(-session->child, (int)number);
        else if (session->names[0] != 0)
            stay_signal((int)number);
        session_say(session, FRAME_HEARD, NULL, 0);
        break;
    case FRAME_GONE:
        session->gone = 1;
        break;
    case FRAME_CALL:
    case FRAME_DIALED:
        inner_frame(session->reports, header, content, &session->sent);
        break;
    case FRAME_PEER_DATA:
    case FRAME_PEER_CREDIT:
    case FRAME_PEER_END:
        peer_frame(header, content, &session->sent);
        break;
    }
}

static void forward(struct session *session, uint32_t stream, int *fd, uint32_t type)
{
    char bytes[PIECE_MAX + 1], *first = bytes;
    size_t room = session->credit[stream] < PIECE_MAX ? session->credit[stream] : PIECE_MAX;
    int packets = stream == STREAM_TERMINAL && session->request.start.mirrored;
    ssize_t count = read(*fd, bytes, room + (size_t)packets);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count <= 0) {
        close(*fd);
        *fd = -1;
        return;
    }
    if (packets) {
        struct termios mode;
        if ((bytes[0] & TIOCPKT_IOCTL) && tcgetattr(*fd, &mode) == 0)
            session_say(session, FRAME_MODE, &mode, sizeof mode);
        first++;
        count--;
    }
    if (count > 0) {
        session->credit[stream] -= (uint32_t)count;
        session_say(session, type, first, (size_t)count);
    }
}

static void reap(struct session *session)
{
    int status;
    pid_t gone;
    while ((gone = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
        session->may_have_changed = 1;
        if (gone != session->child || session->ended)
            continue;
        if (WIFSTOPPED(status)) {
            uint32_t number = (uint32_t)WSTOPSIG(status);
            session_say(session, FRAME_STOPPED, &number, sizeof number);
        } else {
            session->status = status;
            session->ended = 1;
            session_say(session, FRAME_ENDED, NULL, 0);
        }
    }
}

/* All that the command started is a child of this process, or becomes one (PR_SET_CHILD_SUBREAPER). */
static void end_descendants(struct session *session, int but_machines)
{
    for (;;) {
        FILE *list = NULL;
        pid_t one;
        int found = 0, status;
        while ((one = next_child(&list)) != 0) {
            if (but_machines && stay_is_machine(one))
                continue;
            kill(one, SIGKILL);
            found = 1;
        }
        if (!found)
            return;
        if (waitpid(-1, &status, 0) == session->child && !session->ended)
            session->status = status;
    }
}

/* Of a command that has ended: are there machines that stay? The outer half is told which, whenever that has changed. */
static int has_machines(struct session *session)
{
    struct exit_frame end = end_of(session);
    char names[sizeof session->names], frame[sizeof end + sizeof names];
    session->may_have_changed = 0;
    if (!session->request.start.may_stay || session->status != 0 || stay_names(names, sizeof names) == 0)
        return 0;
    if (strcmp(names, session->names) != 0) {
        strcpy(session->names, names);
        memcpy(frame, &end, sizeof end);
        strcpy(frame + sizeof end, names);
        session_say(session, FRAME_STAYS, frame, sizeof end + strlen(names) + 1);
    }
    return 1;
}

static void carry(struct session *session, int signals)
{
    struct signalfd_siginfo info;
    struct frame header;
    char *content;
    for (;;) {
        int *input = terminal_takes_input(session) ? &session->master : &session->input;
        int waiting = (queue_length(&session->typed) != 0 || session->input_ended) && !session->input_refused
            && !session->ended;
        struct pollfd watched[7 + PEERS_MAX] = {
            { .fd = session->port, .events = (short)(POLLIN | (queue_length(&session->sent) != 0 ? POLLOUT : 0)) },
            { .fd = signals, .events = POLLIN },
            { .fd = session->credit[STREAM_OUT] ? session->output[STREAM_OUT] : -1, .events = POLLIN },
            { .fd = session->credit[STREAM_ERROR] ? session->output[STREAM_ERROR] : -1, .events = POLLIN },
            { .fd = session->credit[STREAM_TERMINAL] ? session->master : -1, .events = POLLIN },
            { .fd = waiting ? *input : -1, .events = POLLOUT },
            { .fd = session->reports, .events = POLLIN },
        };
        int peers = peers_watch(watched + 7);
        if (session->ended && session->master < 0 && session->output[STREAM_OUT] < 0 && session->output[STREAM_ERROR] < 0
            && (session->names[0] == 0 || session->may_have_changed) && !has_machines(session)) {
            end_descendants(session, 0);
            return;
        }
        if (poll(watched, (nfds_t)(7 + peers), -1) < 0)
            continue;
        if (watched[2].revents)
            forward(session, STREAM_OUT, &session->output[STREAM_OUT], FRAME_STDOUT);
        if (watched[3].revents)
            forward(session, STREAM_ERROR, &session->output[STREAM_ERROR], FRAME_STDERR);
        if (watched[4].revents)
            forward(session, STREAM_TERMINAL, &session->master, FRAME_TERMINAL);
        if (watched[5].revents)
            push_input(session);
        peers_turn(watched + 7, peers, &session->sent);
        if (watched[6].revents & POLLIN)
            inner_turn(session->reports, &session->sent);
        else if (watched[6].revents) {
            close(session->reports);
            session->reports = -1;
        }
        if (watched[0].revents & POLLOUT)
            queue_write(&session->sent, session->port);
        if (watched[0].revents & POLLIN)
            read_port(session);
        while (inbox_take(&session->inbox, &header, &content) > 0)
            on_frame(session, &header, content);
        if (watched[1].revents && read(signals, &info, sizeof info) > 0) {
            reap(session);
            if (session->ended)
                end_descendants(session, session->request.start.may_stay && session->status == 0);
        }
        if (session->gone) {
            end_descendants(session, 0);
            return;
        }
    }
}

static _Noreturn void run_session(int port)
{
    static struct session session;
    sigset_t caught;
    session.port = port;
    session.reports = -1;
    session.master = session.input = session.output[STREAM_OUT] = session.output[STREAM_ERROR] = -1;
    session.output[STREAM_IN] = session.output[STREAM_TERMINAL] = -1;
    session.request.user.mask = 022;
    for (int stream = 0; stream < STREAMS; stream++)
        session.credit[stream] = STREAM_WINDOW;
    setsid();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTTOU, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    receive_request(&session);
    sigemptyset(&caught);
    sigaddset(&caught, SIGCHLD);
    sigprocmask(SIG_BLOCK, &caught, NULL);
    int signals = signalfd(-1, &caught, SFD_CLOEXEC | SFD_NONBLOCK);
    session_start(&session);
    carry(&session, signals);
    session_finish(&session, NULL);
}

_Noreturn void serve_port(int port)
{
    struct frame ready = { FRAME_READY, 0 };
    /* The kernel hears that somebody is at the other end some time after it has found the port, the later the more ports there are. */
    while (write(port, &ready, sizeof ready) < 0 && (errno == EAGAIN || errno == EINTR))
        usleep(1000);
    for (;;) {
        pid_t child = fork();
        if (child == 0)
            run_session(port);
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
            ;
        if (child < 0)
            sleep(1);
    }
}
