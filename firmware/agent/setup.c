/* Sets the machine up before a command runs: a function for each kind of frame. */
#include "agent.h"

enum { WAIT_STEP_MS = 5, WAIT_MOST_MS = 10000 };

_Noreturn void set_up_failed(const char *what, const char *name, long error)
{
    struct { u32 error; char text[400]; } failed = { (u32)-error, { 0 } };
    const char *end = failed.text + sizeof failed.text;
    char *at = append(append(append(failed.text, end, what), end, *name != 0 ? " " : ""), end, name);
    link_send(0, FRAME_FAILED, &failed, (usize)(at - (char *)&failed));
    link_flush();
    processes_kill();
    if (!is_init)
        go_off();
    /* vmm reads it and ends the machine; a guest that went off first might be taken for one that crashed. */
    for (;;)
        CALL(pause);
}

/* /vmm/modules names one file a line, in the order in which they are to be loaded. */
void load_modules(void)
{
    static char list[32768];
    long length = 0;
    int fd = (int)CALL(open, "/vmm/modules", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    length = CALL(read, fd, list, sizeof list - 1);
    CALL(close, fd);
    for (char *line = list, *end = list + (length > 0 ? length : 0); line < end;) {
        char *stop = (char *)find(line, '\n', (usize)(end - line));
        if (stop == NULL)
            stop = end;
        *stop = 0;
        int module = (int)CALL(open, line, O_RDONLY | O_CLOEXEC);
        long error = module < 0 ? module : CALL(finit_module, module, "", 0);
        if (module >= 0)
            CALL(close, module);
        if (error != 0 && error != -EEXIST)
            link_note("module", line, error);
        line = stop + 1;
    }
}

static long make_directories(char *path, u32 mode)
{
    long error = CALL(mkdir, path, mode);
    if (error == -EEXIST)
        return 0;
    if (error != -ENOENT)
        return error;
    for (char *next = path + 1; *next != 0; next++) {
        if (*next == '/') {
            *next = 0;
            CALL(mkdir, path, 0755);
            *next = '/';
        }
    }
    error = CALL(mkdir, path, mode);
    return error == -EEXIST ? 0 : error;
}

static long mount_one(const char *source, const char *target, const char *type, u32 flags, const char *options)
{
    long error = CALL(mount, source, target, type, flags, options);
    /* A device that the host opened for reading only; squashfs and erofs do not write, either. */
    if ((error == -EACCES || error == -EROFS) && (flags & MS_RDONLY) == 0)
        error = CALL(mount, source, target, type, flags | MS_RDONLY, options);
    return error;
}

/* Tries the file systems that the kernel has for block devices: /proc/filesystems names them. */
static long mount_any(const char *source, const char *target, u32 flags, const char *options)
{
    static char names[4096];
    long error = -ENODEV;
    int fd = (int)CALL(open, "/proc/filesystems", O_RDONLY | O_CLOEXEC);
    long length = fd < 0 ? fd : CALL(read, fd, names, sizeof names - 1);
    if (fd >= 0)
        CALL(close, fd);
    for (char *line = names, *end = names + (length > 0 ? length : 0); line < end;) {
        char *stop = (char *)find(line, '\n', (usize)(end - line));
        if (stop == NULL)
            stop = end;
        *stop = 0;
        if (*line == '\t') {                /* the others begin with "nodev" */
            error = mount_one(source, target, line + 1, flags, options);
            if (error != -EINVAL && error != -ENODEV)
                return error;
        }
        line = stop + 1;
    }
    return error == -ENODEV ? -EINVAL : error;
}

static long do_mount(u32 how, u32 flags, const char *source, char *target, const char *type, const char *options)
{
    for (int waited = 0;; waited += WAIT_STEP_MS) {
        long error = equal(type, "auto") ? mount_any(source, target, flags, options)
                                         : mount_one(source, target, type, flags, options);
        if (error == -ENOENT && CALL(access, target, 0) != 0) {
            error = make_directories(target, 0755);
            if (error == 0)
                continue;
            return error;
        }
        if ((how & MOUNT_WAIT) == 0 || waited >= WAIT_MOST_MS || (error != -ENOENT && error != -ENXIO && error != -ENODEV))
            return error;
        struct __kernel_timespec step = { .tv_nsec = WAIT_STEP_MS * 1000000l };
        CALL(nanosleep, &step, NULL);
    }
}

/* As switch_root(8) does it: who is merely chroot'ed may make no user namespace (user_namespaces(7)). */
static void enter_root(const char *path)
{
    long error = CALL(chdir, path);
    if (error == 0)
        error = CALL(mount, ".", "/", NULL, MS_MOVE, NULL);
    if (error == 0)
        error = CALL(chroot, ".");
    if (error == 0)
        error = CALL(chdir, "/");
    if (error != 0)
        set_up_failed("entering the root file system", path, error);
}

static void write_file(const char *path, u32 mode, const char *content, usize length)
{
    int fd = (int)CALL(open, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    long error = fd < 0 ? fd : CALL(write, fd, content, length);
    if (fd >= 0)
        CALL(close, fd);
    if (error != (long)length)
        link_note("writing", path, error < 0 ? error : -EIO);
}

/* Machines that go on from one saved state would all have the same random numbers (random(4): RNDADDENTROPY counts them,
 * RNDRESEEDCRNG has the generator use them at once). */
static void add_entropy(const char *content, usize length)
{
    static const char device[] = "/vmm/random";
    struct { int bits, size; char bytes[ENTROPY_MOST]; } entropy = { (int)length * 8, (int)length, { 0 } };
    if (length == 0 || length > ENTROPY_MOST || !is_init)
        return;
    memcpy(entropy.bytes, content, length);
    CALL(mknod, device, S_IFCHR | 0600, 1 << 8 | 9);
    int fd = (int)CALL(open, device, O_WRONLY | O_CLOEXEC);
    if (fd < 0)                             /* the guest has another root by now, which has the device, and may be read-only */
        fd = (int)CALL(open, "/dev/urandom", O_WRONLY | O_CLOEXEC);
    long error = fd < 0 ? fd : CALL(ioctl, fd, RNDADDENTROPY, &entropy);
    if (error == 0)
        error = CALL(ioctl, fd, RNDRESEEDCRNG, 0);
    if (fd >= 0)
        CALL(close, fd);
    CALL(unlink, device);
    /* Nobody may have numbers that another has, too. */
    if (error != 0)
        set_up_failed("fresh random numbers", "", error);
}

/* Only where there is one: machine-id(5). */
static void set_machine_id(const char *content, usize length)
{
    static const char path[] = "/etc/machine-id";
    int fd = (int)CALL(open, path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    long error = fd < 0 ? fd : CALL(write, fd, content, length);
    if (fd >= 0) {
        CALL(write, fd, "\n", 1);
        CALL(close, fd);
    }
    if (error < 0 && error != -ENOENT)
        link_note("writing", path, error);
}

/* Gives a card another address: its driver has read the one that it had when the machine was saved. */
static void set_mac(const u8 *from, const u8 *to)
{
    enum { INDEX_MOST = 256 };
    struct interface_address request;
    int fd = (int)CALL(socket, AF_INET_, SOCK_DGRAM_ | SOCK_CLOEXEC_, 0);
    if (fd < 0)
        return;
    for (int index = 1; index <= INDEX_MOST; index++) {
        memset(&request, 0, sizeof request);
        memcpy(&request.family, &index, sizeof index);
        if (CALL(ioctl, fd, SIOCGIFNAME_, &request) != 0 || CALL(ioctl, fd, SIOCGIFHWADDR_, &request) != 0
            || request.family != ARPHRD_ETHER_ || memcmp(request.address, from, sizeof request.address) != 0)
            continue;
        memcpy(request.address, to, sizeof request.address);
        long error = CALL(ioctl, fd, SIOCSIFHWADDR_, &request);
        if (error != 0)
            link_note("a new address for", request.name, error);
        break;
    }
    CALL(close, fd);
}

static void raise_loopback(void)
{
    struct interface_request request = { .name = "lo", .flags = IFF_UP_ };
    int fd = (int)CALL(socket, AF_INET_, SOCK_DGRAM_ | SOCK_CLOEXEC_, 0);
    if (fd < 0)
        return;                             /* a kernel without a network */
    CALL(ioctl, fd, SIOCSIFFLAGS_, &request);
    CALL(close, fd);
}

static _Noreturn void shut_down(void)
{
    processes_kill();
    CALL(sync);
    if (is_init)
        CALL(mount, NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL);
    link_send(0, FRAME_BYE, "", 0);
    link_flush();
    go_off();
}

/* The next of several strings, each ending in 0; an empty one when there are no more. */
static char *next_string(char **at, const char *end)
{
    static char none[1];
    char *text = *at;
    const char *stop = text < end ? find(text, 0, (usize)(end - text)) : NULL;
    if (stop == NULL)
        return none;
    *at = (char *)stop + 1;
    return text;
}

static u32 next_u32(char **at, const char *end)
{
    u32 value = 0;
    if (end - *at >= (long)sizeof value) {
        memcpy(&value, *at, sizeof value);
        *at += sizeof value;
    }
    return value;
}

static void handle_mount(char *content, const char *end)
{
    u32 how = next_u32(&content, end), flags = next_u32(&content, end);
    char *source = next_string(&content, end), *target = next_string(&content, end);
    char *type = next_string(&content, end), *options = next_string(&content, end);
    long error = do_mount(how, flags, source, target, type, *options != 0 ? options : NULL);
    if (error == 0 || error == -EBUSY)      /* the kernel mounts /dev by itself (CONFIG_DEVTMPFS_MOUNT) */
        return;
    if (how & MOUNT_OPTIONAL)
        link_note("mounting", target, error);
    else
        set_up_failed("mounting", target, error);
}

void handle_setup(enum frame_type type, char *content, usize length)
{
    const char *end = content + length;
    struct __kernel_timespec clock;
    char *path;
    u32 mode;
    long error;
    switch (type) {
    case FRAME_CLOCK:
        if (length == sizeof clock && is_init) {
            memcpy(&clock, content, sizeof clock);
            CALL(clock_settime, 0, &clock);
        }
        break;
    case FRAME_ENTROPY:
        add_entropy(content, length);
        break;
    case FRAME_MACHINE_ID:
        if (is_init)
            set_machine_id(content, length);
        break;
    case FRAME_MAC:
        if (length == 12 && is_init)
            set_mac((const u8 *)content, (const u8 *)content + 6);
        break;
    case FRAME_HOSTNAME:
        CALL(sethostname, content, length);
        break;
    case FRAME_LOOPBACK:
        raise_loopback();
        break;
    case FRAME_MOUNT:
        handle_mount(content, end);
        break;
    case FRAME_MKDIR:
        mode = next_u32(&content, end);
        path = next_string(&content, end);
        error = make_directories(path, mode);
        if (error != 0)
            link_note("making directory", path, error);
        break;
    case FRAME_FILE:
        mode = next_u32(&content, end);
        path = next_string(&content, end);
        write_file(path, mode, content, (usize)(end - content));
        break;
    case FRAME_SYMLINK:
        path = next_string(&content, end);
        CALL(symlink, path, next_string(&content, end));
        break;
    case FRAME_ROOT:
        enter_root(next_string(&content, end));
        break;
    case FRAME_HOLD:
        hold_machine();
        link_send(0, FRAME_READY, "", 0);
        break;
    case FRAME_GO:
        mode = next_u32(&content, end);
        let_go(mode, next_u32(&content, end));
        break;
    case FRAME_FORKABLE:
        forks_allow();
        break;
    case FRAME_REFUSED:
        forks_settle(-(long)next_u32(&content, end));
        break;
    case FRAME_PING:
        link_send(0, FRAME_READY, content, length);
        break;
    case FRAME_SHUTDOWN:
        shut_down();
    default:
        break;
    }
}
