/* Frames over vsock or, where the kernel has none, over the second serial port. */
#include "agent.h"

int link_fd = -1;
u32 link_window = WINDOW_VSOCK;

static int is_serial;
static int heard;                       /* vmm said something on this connection */
static u16 next_sent, next_received;

static u8 out[4 * (FRAME_HEADER + FRAME_MOST)];
static usize out_used;
static u8 in[8 * (FRAME_HEADER + FRAME_MOST)];
static usize in_used;

static u16 check_of(const struct frame *header)
{
    return (u16)crc32c(crc32c(0, header, 10), (const u8 *)header + 12, 4);
}

static void complain(const char *text)
{
    CALL(write, 2, text, strlen(text));
}

static int open_vsock(void)
{
    struct vsock_address address = { .family = AF_VSOCK_, .port = AGENT_PORT, .cid = 2 };
    int fd = (int)CALL(socket, AF_VSOCK_, SOCK_STREAM_ | SOCK_CLOEXEC_, 0);
    if (fd >= 0 && CALL(connect, fd, &address, sizeof address) != 0) {
        CALL(close, fd);
        return -1;
    }
    return fd;
}

/* Eight bits, nothing echoed or changed. */
static int open_serial(void)
{
    struct termios raw;
    const char *device = serial_device;
    if (device == NULL) {
        device = "/dev/ttyS1";
        CALL(mkdir, "/dev", 0755);
        CALL(mount, "dev", "/dev", "devtmpfs", 0, "mode=755");
    }
    int fd = (int)CALL(open, device, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || CALL(ioctl, fd, TCGETS, &raw) != 0)
        return -1;
    raw.c_iflag = raw.c_oflag = raw.c_lflag = 0;
    raw.c_cflag = CS8 | CREAD | CLOCAL | B115200;
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    CALL(ioctl, fd, TCSETS, &raw);
    return fd;
}

static void greet(void);

/* Nothing more comes over the connection. A machine that was saved before vmm said anything, or that was forked, goes on with
 * another vmm, which its kernel tells it by ending all connections: then a new one leads there. Else vmm is gone. */
static void lost(void)
{
    struct __kernel_timespec step = { .tv_nsec = 5000000l };
    if ((heard && !is_held) || is_serial || !is_init) {
        processes_kill();
        go_off();
    }
    CALL(close, link_fd);
    out_used = in_used = next_sent = next_received = 0;
    while ((link_fd = open_vsock()) < 0)
        CALL(nanosleep, &step, NULL);
    greet();
    if (is_held) {
        processes_report();
        link_send(0, FRAME_READY, "", 0);
    }
}

static void greet(void)
{
    struct new_utsname name;
    struct { u16 version, zero; u32 window; char text[200]; } hello = { PROTOCOL_VERSION, 0, link_window, { 0 } };
    const char *end = hello.text + sizeof hello.text;
    CALL(uname, &name);
    char *at = append(hello.text, end, name.sysname);
    at = append(append(at, end, " "), end, name.release);
    at = append(append(at, end, " "), end, name.machine);
    link_send(0, FRAME_HELLO, &hello, (usize)(at - (char *)&hello));
}

void link_open(void)
{
    if (link_fd < 0 && serial_device == NULL)
        link_fd = open_vsock();
    if (link_fd < 0) {
        link_fd = open_serial();
        is_serial = 1;
        link_window = WINDOW_SERIAL;
    }
    if (link_fd < 0) {
        complain("vmm-agent: this kernel has neither vsock (CONFIG_VIRTIO_VSOCKETS) nor /dev/ttyS1: no way to vmm\n");
        go_off();
    }
    greet();
}

void link_flush(void)
{
    for (usize done = 0; done < out_used;) {
        long count = CALL(write, link_fd, out + done, out_used - done);
        if (count == -EINTR || count == -EAGAIN)
            continue;
        if (count <= 0) {
            lost();
            done = 0;                       /* the greeting of the next connection */
            continue;
        }
        done += (usize)count;
    }
    out_used = 0;
}

u8 *link_reserve(usize *room)
{
    if (sizeof out - out_used < FRAME_HEADER + FRAME_MOST)
        link_flush();
    *room = FRAME_MOST;
    return out + out_used + FRAME_HEADER;
}

void link_put(u32 process, enum frame_type type, usize length)
{
    u8 *at = out + out_used;
    struct frame header = {
        .sync = FRAME_SYNC, .type = (u8)type, .sequence = next_sent++, .process = process, .length = (u16)length,
        .content = is_serial ? crc32c(0, at + FRAME_HEADER, length) : 0,
    };
    header.check = check_of(&header);
    memcpy(at, &header, sizeof header);
    out_used += FRAME_HEADER + length;
}

void link_send(u32 process, enum frame_type type, const void *content, usize length)
{
    usize room;
    u8 *at = link_reserve(&room);
    if (length > room)
        length = room;
    memcpy(at, content, length);
    link_put(process, type, length);
}

void link_send_text(u32 process, enum frame_type type, const char *text)
{
    link_send(process, type, text, strlen(text));
}

void link_note(const char *what, const char *name, long error)
{
    char text[300] = "", *at = text, *end = text + sizeof text - 1;
    at = append(append(append(at, end, what), end, " "), end, name);
    at = append_number(append(at, end, ": errno "), end, -error);
    *at = 0;
    link_send_text(0, FRAME_NOTE, text);
}

/* Takes frames out of what was read; bytes that begin none are skipped, which on a serial line may be anybody's. */
static void take_frames(void)
{
    usize at = 0;
    while (in_used - at >= FRAME_HEADER) {
        struct frame header;
        memcpy(&header, in + at, sizeof header);
        if (header.sync != FRAME_SYNC || header.length > FRAME_MOST || header.check != check_of(&header)) {
            at++;
            continue;
        }
        if (in_used - at < (usize)FRAME_HEADER + header.length)
            break;
        char *content = (char *)in + at + FRAME_HEADER;
        at += (usize)FRAME_HEADER + header.length;
        heard = 1;
        if (header.sequence != next_received++ || (is_serial && header.content != crc32c(0, content, header.length)))
            set_up_failed("bytes were lost on the way to the guest", "", -EIO);
        if (header.process == 0)
            handle_setup(header.type, content, header.length);
        else
            handle_process(header.process, header.type, content, header.length);
    }
    memmove(in, in + at, in_used - at);
    in_used -= at;
}

void link_receive(void)
{
    long count = CALL(read, link_fd, in + in_used, sizeof in - in_used);
    if (count == -EINTR || count == -EAGAIN)
        return;
    if (count <= 0) {
        lost();
        return;
    }
    in_used += (usize)count;
    take_frames();
}
