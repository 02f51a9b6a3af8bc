/* What the outer half wants to be run. */
#ifndef KVM_HOST_REQUEST_H
#define KVM_HOST_REQUEST_H

#include "frames.h"

enum { LIST_MAX = 8192 };

struct request {
    char *arguments[LIST_MAX + 1], *environment[LIST_MAX + 1];
    int argument_count, environment_count;
    char directory[4096];
    struct user_frame user;
    int has_limits;
    struct rlimit limits[LIMITS];
    struct start_frame start;
};

/* Adds what a frame says. 1 when it is FRAME_START, -1 with a message for what cannot be done, else 0. */
int request_add(struct request *request, const struct frame *header, const char *content, char *message, size_t size);

/* Becomes the command, in the process that calls it. */
_Noreturn void request_exec(struct request *request);

#endif
