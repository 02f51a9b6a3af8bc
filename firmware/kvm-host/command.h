/* The state of one command inside, and its start. */
#ifndef KVM_HOST_COMMAND_H
#define KVM_HOST_COMMAND_H

#include "request.h"

struct session {
    int port;
    struct queue sent;                  /* frames that the port has not taken yet */
    struct inbox inbox;
    struct request request;
    pid_t child;
    int master;                         /* of the terminal; -1 without one */
    int input, output[STREAMS];         /* the pipes; -1 when closed */
    struct queue typed;                 /* input that the command has not taken yet */
    int input_ended, input_refused;
    uint64_t pushed;                    /* bytes of input that went into the pipe */
    uint32_t credit[STREAMS];
    int status, ended, gone;
    int may_have_changed;               /* a child has ended since the outer half was told which machines stay */
    char names[1024];                   /* of those machines, as it was told; empty while the command runs */
    int reports;                        /* of Unix sockets; -1 without */
};

void session_say(struct session *session, uint32_t type, const void *content, size_t length);

/* Ends the process of this session; the next session is a new process. */
_Noreturn void session_finish(struct session *session, const char *failure);

/* Starts the command with its terminal and pipes. */
void session_start(struct session *session);

#endif
