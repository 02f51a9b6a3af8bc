/*
 * The protocol between vmm and its agent in the guest; docs/agent-protocol.md explains it, src/Vmm/Backends/Agent is the
 * other side. Numbers are little-endian. AgentProtocolTests compares these values with those of vmm.
 */
#ifndef AGENT_PROTOCOL_H
#define AGENT_PROTOCOL_H

enum {
    PROTOCOL_VERSION = 1,
    AGENT_PORT = 7766,              /* of vsock, at CID 2 */

    FRAME_SYNC = 0xc5,
    FRAME_HEADER = 16,
    FRAME_MOST = 32768,             /* bytes of content */

    PROCESSES_MOST = 16,
    ARGUMENTS_MOST = 2097152,       /* bytes of one process's arguments and environment together */
    WINDOW_VSOCK = 262144,          /* bytes on their way in one stream */
    WINDOW_SERIAL = 4096,
    ENTROPY_MOST = 64,
};

/*
 *  0  u8   FRAME_SYNC
 *  1  u8   type
 *  2  u16  sequence: counts the frames of a direction, from 0
 *  4  u32  process: whose frame it is; 0 is the machine
 *  8  u16  length of the content
 * 10  u16  check: the lower half of the CRC-32C of bytes 0 to 9 and 12 to 15
 * 12  u32  CRC-32C of the content on a serial line; 0 on vsock
 */
struct frame {
    unsigned char sync, type;
    unsigned short sequence;
    unsigned process;
    unsigned short length, check;
    unsigned content;
};

enum frame_type {
    /* From the agent. */
    FRAME_HELLO = 0x01,             /* u16 version, u16 0, u32 window, text: sysname release machine */
    FRAME_NOTE = 0x02,              /* text for the user */
    FRAME_FAILED = 0x03,            /* u32 errno, text: what of the set-up failed; nothing follows */
    FRAME_READY = 0x04,             /* answers FRAME_PING */
    FRAME_STARTED = 0x05,           /* u32 pid */
    FRAME_OUTPUT = 0x06,            /* bytes; none: the end */
    FRAME_ERROR = 0x07,             /* bytes; none: the end */
    FRAME_INPUT_CREDIT = 0x08,      /* u32: so many more bytes may come */
    FRAME_INPUT_CLOSED = 0x09,      /* nobody will read more */
    FRAME_EXITED = 0x0a,            /* u32 how, u32 value, u64 user us, u64 system us, u64 most resident KiB */
    FRAME_BYE = 0x0b,               /* all is written; the machine goes off */
    FRAME_FORK = 0x0c,              /* u32: a process asks for so many forks of the machine; go or refused answers */

    /* From vmm. */
    FRAME_FORKABLE = 0x40,          /* let processes ask for forks */
    FRAME_CLOCK = 0x41,             /* i64 seconds, i64 nanoseconds since 1970 */
    FRAME_HOSTNAME = 0x42,          /* text */
    FRAME_LOOPBACK = 0x43,          /* bring lo up */
    FRAME_MOUNT = 0x44,             /* u32 flags (MOUNT_...), u32 flags of mount(2), source 0 target 0 type 0 options 0 */
    FRAME_MKDIR = 0x45,             /* u32 mode, path 0: with its parents */
    FRAME_FILE = 0x46,              /* u32 mode, path 0 content */
    FRAME_SYMLINK = 0x47,           /* target 0 path 0 */
    FRAME_ROOT = 0x48,              /* path 0: becomes /, with what is mounted below it */
    FRAME_PING = 0x49,
    FRAME_SHUTDOWN = 0x4a,          /* end all processes, write everything, go off */
    FRAME_ENTROPY = 0x4b,           /* up to ENTROPY_MOST bytes of the host's, for a machine that was saved */
    FRAME_MACHINE_ID = 0x4c,        /* 32 hexadecimal digits for /etc/machine-id, where there is one */
    FRAME_MAC = 0x4d,               /* 6 bytes: a card's address; 6 bytes: the one that it gets */
    FRAME_REFUSED = 0x4e,           /* u32 errno: no forks */
    FRAME_HOLD = 0x4f,              /* stop all processes: the machine is about to be forked; ready answers */
    FRAME_GO = 0x50,                /* u32: 0 for the machine that was forked, else the fork's number; u32 1: the guest asked for it */

    FRAME_ARGUMENTS = 0x51,         /* strings, each ending in 0; may be cut anywhere and go on in the next frame */
    FRAME_ENVIRONMENT = 0x52,       /* the same */
    FRAME_DIRECTORY = 0x53,         /* path 0 */
    FRAME_USER = 0x54,              /* name or number [: group] 0 */
    FRAME_START = 0x55,             /* u32 flags (START_...), u16 rows, u16 columns, u32 window */
    FRAME_INPUT = 0x56,             /* bytes; none: the end */
    FRAME_OUTPUT_CREDIT = 0x57,     /* u32 */
    FRAME_ERROR_CREDIT = 0x58,      /* u32 */
    FRAME_SIGNAL = 0x59,            /* u32 number, to the process's group */
    FRAME_WINDOW = 0x5a,            /* u16 rows, u16 columns */
    FRAME_OUTPUT_CLOSED = 0x5b,     /* nobody reads it any more: the process gets SIGPIPE */
    FRAME_ERROR_CLOSED = 0x5c,
};

enum mount_flag {
    MOUNT_OPTIONAL = 1,             /* a failure is no more than a note */
    MOUNT_WAIT = 2,                 /* the device may take a while to appear */
};

enum start_flag {
    START_TERMINAL = 1,
    START_APPLETS = 2,              /* what PATH does not have /bin/busybox may */
};

enum ending {
    ENDED_EXIT = 0,                 /* value: its exit code */
    ENDED_SIGNAL = 1,               /* value: the signal */
    ENDED_EXEC = 2,                 /* value: errno of execve(2); it never ran */
    ENDED_DIRECTORY = 3,            /* errno of chdir(2) */
    ENDED_USER = 4,                 /* errno: there is no such user, or it may not be taken on */
    ENDED_RESOURCES = 5,            /* errno of pipe(2), fork(2) or the terminal */
};

#endif
