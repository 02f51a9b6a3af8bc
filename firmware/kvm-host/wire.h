/*
 * What launch.c (outside) and agent.c (inside) say to each other over a virtio-serial port, directly or through the
 * switch of a warm host (warm.c), which passes frames on as they are.
 *
 * Every frame is a header of 8 bytes and `length` bytes of content. One channel carries everything, so that the
 * end of a command cannot arrive before the output that came first.
 *
 * Streams have credit: a side sends at most STREAM_WINDOW bytes of a stream that the other has not reported as taken
 * (FRAME_CREDIT). So a stream that nobody reads stops itself and neither the others nor signals.
 */
#ifndef KVM_HOST_WIRE_H
#define KVM_HOST_WIRE_H

#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <termios.h>

/* Ports of a warm host: so many commands run at once. */
enum { PORTS_MAX = 30 };

enum frame_type {
    /* outside -> the switch of a warm host */
    FRAME_STATUS = '?',   /* nothing; answered by FRAME_STDOUT and FRAME_EXIT */
    FRAME_STOP = '!',     /* nothing; answered by FRAME_STDOUT where machines are stopped; the connection ends when the host
                             has */

    /* outside -> inside: first FRAME_OPEN, then what describes the command, then FRAME_START */
    FRAME_OPEN = 'o',     /* text NUL: which version of these programs */
    FRAME_USER = 'u',     /* struct user_frame; root without it */
    FRAME_LIMITS = 'l',   /* struct rlimit[LIMITS] */
    FRAME_SHARE = 's',    /* tag NUL path NUL: mount this writable directory */
    FRAME_CWD = 'c',      /* path NUL */
    FRAME_ENV = 'e',      /* NAME=VALUE NUL */
    FRAME_ARG = 'a',      /* one argument NUL */
    FRAME_CLOCK = 't',    /* struct timespec of CLOCK_REALTIME; at any time */
    FRAME_START = 'S',    /* struct start_frame */
    FRAME_STDIN = 'I',    /* bytes; none means end of file */
    FRAME_WINDOW = 'W',   /* struct winsize */
    FRAME_SIGNAL = 'K',   /* uint32_t: signal for the command, or the machines that stay; answered by FRAME_HEARD */
    FRAME_CLOSED = 'C',   /* uint32_t: nobody reads this stream any more */
    FRAME_GONE = 'G',     /* nothing: whoever started the command is gone */

    /* inside -> outside */
    FRAME_READY = 'r',    /* nothing: a command may come */
    FRAME_STARTED = 'b',  /* nothing: the command runs */
    FRAME_STDOUT = 'O',   /* bytes */
    FRAME_STDERR = 'E',   /* bytes */
    FRAME_TERMINAL = 'T', /* bytes that the command wrote to its terminal */
    FRAME_MODE = 'm',     /* struct termios that the command's terminal now has */
    FRAME_STOPPED = 'Z',  /* uint32_t: the signal that stopped the command */
    FRAME_HEARD = 'h',    /* nothing */
    FRAME_ENDED = 'd',    /* nothing: the command has ended; what it wrote may still come */
    FRAME_STAYS = 'k',    /* struct exit_frame, names NUL: the command has ended, machines that it started run on. Again
                             when the names have changed; FRAME_EXIT follows when the last one has ended */
    FRAME_EXIT = 'X',     /* struct exit_frame: the last one */
    FRAME_FAILED = 'F',   /* text NUL: the command or the machine could not be set up */

    /* sockets (inner.h, outer.h) */
    FRAME_LISTEN = 'L',   /* uint32_t listener, path NUL: the command listens there */
    FRAME_PUBLISH = 'N',  /* struct publish_frame: the command listens at this TCP port */
    FRAME_CALL = 'A',     /* uint32_t listener, uint32_t connection: somebody outside connected there */
    FRAME_DIAL = 'D',     /* uint32_t connection, path NUL: the command connects there */
    FRAME_DIALED = 'Y',   /* uint32_t connection, uint32_t: an errno or 0 */
    FRAME_PEER_DATA = 'p',   /* uint32_t connection, bytes */
    FRAME_PEER_CREDIT = 'w', /* struct peer_frame */
    FRAME_PEER_END = 'q',    /* uint32_t connection: no more bytes come from here */

    /* both ways */
    FRAME_CREDIT = 'R',   /* struct credit_frame */
};

struct frame {
    uint32_t type;
    uint32_t length;
};

enum {
    FRAME_MAX = 132 * 1024,              /* execve(2): an argument or a variable has at most 128 KiB */
    PIECE_MAX = 32 * 1024,               /* of a stream in a frame */
    STREAM_WINDOW = 256 * 1024,
    LIMITS = 16,
    GROUPS_MAX = 1024,
};

/* Streams in FRAME_CREDIT and FRAME_CLOSED: the numbers of the descriptors, and the terminal's output. */
enum { STREAM_IN, STREAM_OUT, STREAM_ERROR, STREAM_TERMINAL, STREAMS };

struct user_frame {
    uint32_t uid, gid, mask, count;
    uint32_t groups[GROUPS_MAX];         /* only `count` of them are sent */
};

struct start_frame {
    uint32_t terminals;                  /* bit N: descriptor N is a terminal */
    uint32_t mirrored;                   /* the terminal outside does the work of the line discipline */
    uint32_t may_stay;                   /* machines that the command leaves in the background run on */
    uint32_t reserved;
    struct termios mode;                 /* of the terminal outside */
    struct winsize window;
};

struct credit_frame {
    uint32_t stream, bytes;
};

struct peer_frame {
    uint32_t number, bytes;
};

struct publish_frame {
    uint32_t number, only_v6;
    struct sockaddr_storage address;
};

struct exit_frame {
    int32_t status;                      /* as wait(2) gives it */
    uint32_t reserved;
    uint64_t taken;                      /* bytes of standard input that the command has read */
};

#endif
