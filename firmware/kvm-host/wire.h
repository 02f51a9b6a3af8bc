/*
 * What launch.c (outside) and agent.c (inside) say to each other over one virtio-serial port.
 *
 * Every frame is a header of 8 bytes and `length` bytes of content. One channel carries everything, so that the
 * exit code cannot arrive before the output that came first.
 */
#ifndef KVM_HOST_WIRE_H
#define KVM_HOST_WIRE_H

#include <stdint.h>

enum frame_type {
    /* outside -> inside */
    FRAME_SHARE = 's',    /* tag NUL path NUL: mount this writable directory */
    FRAME_CWD = 'c',      /* path NUL */
    FRAME_ENV = 'e',      /* NAME=VALUE NUL */
    FRAME_ARG = 'a',      /* one argument NUL */
    FRAME_CLOCK = 't',    /* struct timespec of CLOCK_REALTIME */
    FRAME_START = 'S',    /* uint32_t: 1 when the command gets a terminal, 0 for three pipes */
    FRAME_STDIN = 'I',    /* bytes; none means end of file */
    FRAME_WINDOW = 'W',   /* struct winsize */
    FRAME_SIGNAL = 'K',   /* uint32_t: signal for the command */
    /* inside -> outside */
    FRAME_STDOUT = 'O',   /* bytes */
    FRAME_STDERR = 'E',   /* bytes */
    FRAME_EXIT = 'X',     /* uint32_t: exit code as a shell would give it */
    FRAME_FAILED = 'F',   /* text NUL: the machine could not be set up */
};

struct frame {
    uint32_t type;
    uint32_t length;
};

enum { FRAME_MAX = 64 * 1024 };

#endif
