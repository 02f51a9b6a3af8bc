#define _GNU_SOURCE
#include "command.h"
#include "inner.h"

#include <fcntl.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static void must_pipe(struct session *session, int ends[2])
{
    if (pipe2(ends, O_CLOEXEC) != 0)
        session_finish(session, "no pipes left in the emulated host");
}

/* The process of the session leads it and is the parent of the command, whose process group so is no orphan: it can be
   stopped (setpgid(2), "orphaned process group"). */
void session_start(struct session *session)
{
    const struct start_frame *start = &session->request.start;
    int slave = -1, ends[STREAMS][2], given[3];
    if (start->terminals != 0) {
        struct termios mode = start->mode;
        if (start->mirrored) {
            /* The terminal outside edits lines, echoes and makes signals; this one only keeps the settings. */
            mode.c_oflag &= ~(tcflag_t)OPOST;
            mode.c_lflag |= EXTPROC;
        }
        if (openpty(&session->master, &slave, NULL, &mode, &start->window) != 0)
            session_finish(session, "no pseudo-terminals left in the emulated host");
        int packets = start->mirrored != 0;
        ioctl(session->master, TIOCPKT, &packets);
        ioctl(slave, TIOCSCTTY, 0);
        (void)!fchown(slave, session->request.user.uid, session->request.user.gid);
        fcntl(session->master, F_SETFD, FD_CLOEXEC);
        fcntl(session->master, F_SETFL, O_NONBLOCK);
    }
    for (int stream = 0; stream < 3; stream++) {
        if (start->terminals & 1u << stream) {
            given[stream] = slave;
            continue;
        }
        must_pipe(session, ends[stream]);
        given[stream] = ends[stream][stream == STREAM_IN ? 0 : 1];
        if (stream == STREAM_IN) {
            session->input = ends[stream][1];
            fcntl(session->input, F_SETPIPE_SZ, 4096);
        } else {
            session->output[stream] = ends[stream][0];
        }
        fcntl(ends[stream][stream == STREAM_IN ? 1 : 0], F_SETFL, O_NONBLOCK);
    }
    int channel[2] = { -1, -1 };
    if (start->mirrored && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) != 0)
        session_finish(session, "no sockets left in the emulated host");
    session->child = fork();
    if (session->child < 0)
        session_finish(session, "no processes left in the emulated host");
    if (session->child == 0) {
        setpgid(0, 0);
        if (slave >= 0)
            tcsetpgrp(slave, getpid());
        for (int stream = 0; stream < 3; stream++)
            dup2(given[stream], stream);
        for (int stream = 0; stream < 3; stream++)
            if (given[stream] > 2)
                close(given[stream]);
        if (start->mirrored)
            inner_report(channel[1]);
        request_exec(&session->request);
    }
    close(channel[1]);
    session->reports = start->mirrored ? inner_open(channel[0]) : -1;
    setpgid(session->child, session->child);
    if (slave >= 0) {
        tcsetpgrp(slave, session->child);
        close(slave);
    }
    for (int stream = 0; stream < 3; stream++)
        if (given[stream] != slave)
            close(given[stream]);
    session_say(session, FRAME_STARTED, NULL, 0);
}
