/*
 * The first process of the emulated KVM host: loads the modules, mounts the outer machine's files (the real ones, or
 * with a writable layer over them), and has a process for each port that runs commands (session.c). It never ends by
 * itself: the outer half ends the machine.
 */
#define _GNU_SOURCE
#include "session.h"
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int port = -1;

static _Noreturn void fail(const char *format, ...)
{
    char text[512];
    int cause = errno;
    va_list list;
    va_start(list, format);
    int used = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (used >= 0 && used < (int)sizeof text)
        snprintf(text + used, sizeof text - (size_t)used, ": %s", strerror(cause));
    if (port >= 0) {
        struct frame header = { FRAME_FAILED, (uint32_t)strlen(text) + 1 };
        (void)!write(port, &header, sizeof header);
        (void)!write(port, text, header.length);
    }
    dprintf(2, "kvm-host: %s\n", text);
    for (;;)
        pause();
}

static void must_mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)
{
    mkdir(target, 0755);
    if (mount(source, target, type, flags, data) != 0)
        fail("mount %s on %s (%s)", source, target, type);
}

/* /modules lists one file name a line, dependencies first. */
static void load_modules(void)
{
    FILE *list = fopen("/modules", "r");
    char name[256], path[300];
    if (list == NULL)
        fail("/modules");
    while (fgets(name, sizeof name, list) != NULL) {
        name[strcspn(name, "\n")] = 0;
        snprintf(path, sizeof path, "/lib/%s", name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || syscall(SYS_finit_module, fd, "", 0) != 0)
            dprintf(2, "kvm-host: %s: %s\n", name, strerror(errno));
        if (fd >= 0)
            close(fd);
    }
    fclose(list);
}

/* Ports appear one by one. -1 when this one does not. */
static int open_port(int number)
{
    char path[32];
    snprintf(path, sizeof path, "/dev/vport0p%d", number);
    for (int tries = 5000; tries > 0; tries--) {
        int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
        if (fd >= 0)
            return fd;
        usleep(1000);
    }
    return -1;
}

/* A word of the kernel's command line, which firmware/kvm-host's scripts write. */
static int was_asked_for(const char *word)
{
    char line[4096] = "";
    int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t count = fd < 0 ? -1 : read(fd, line, sizeof line - 1);
    if (fd >= 0)
        close(fd);
    return count > 0 && strstr(line, word) != NULL;
}

/* The outer machine's files with a layer over them that takes what is written, in memory. */
static void mount_layered(void)
{
    must_mount("host", "/lower", "9p", MS_RDONLY,
        "trans=virtio,version=9p2000.L,msize=512000,cache=loose,access=any");
    must_mount("upper", "/upper", "tmpfs", 0, "mode=755,size=75%");
    mkdir("/upper/data", 0755);
    mkdir("/upper/work", 0755);
    must_mount("root", "/root", "overlay", 0, "lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work");
}

static void build_root(void)
{
    int real = was_asked_for("vmm.files=real");
    if (real)
        must_mount("host", "/root", "9p", 0, "trans=virtio,version=9p2000.L,msize=512000,cache=mmap,access=any");
    else
        mount_layered();
    if (mount("/dev", "/root/dev", NULL, MS_MOVE, NULL) != 0 || mount("/proc", "/root/proc", NULL, MS_MOVE, NULL) != 0
        || mount("/sys", "/root/sys", NULL, MS_MOVE, NULL) != 0)
        fail("moving /dev, /proc and /sys");
    /* As switch_root(8) does it: who is merely chroot'ed may make no user namespace (user_namespaces(7)). */
    if (chdir("/root") != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0)
        fail("entering the root file system");
    must_mount("devpts", "/dev/pts", "devpts", 0, "mode=600,ptmxmode=666");
    must_mount("shm", "/dev/shm", "tmpfs", 0, "mode=1777");
    if (!real)
        must_mount("run", "/run", "tmpfs", 0, "mode=755");
    mkdir("/dev/net", 0755);
    chmod("/dev/kvm", 0666);
    chmod("/dev/net/tun", 0666);
    (void)!symlink("/proc/self/fd", "/dev/fd");
    (void)!symlink("/proc/self/fd/0", "/dev/stdin");
    (void)!symlink("/proc/self/fd/1", "/dev/stdout");
    (void)!symlink("/proc/self/fd/2", "/dev/stderr");
}

static void raise_interface(const char *name, const char *address, const char *mask)
{
    struct ifreq request = { .ifr_flags = IFF_UP | IFF_RUNNING };
    struct sockaddr_in *part = (struct sockaddr_in *)&request.ifr_addr;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), failed = 0;
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    failed |= ioctl(fd, SIOCSIFFLAGS, &request);
    if (address != NULL) {
        *part = (struct sockaddr_in){ .sin_family = AF_INET };
        inet_pton(AF_INET, address, &part->sin_addr);
        failed |= ioctl(fd, SIOCSIFADDR, &request);
        inet_pton(AF_INET, mask, &part->sin_addr);
        failed |= ioctl(fd, SIOCSIFNETMASK, &request);
    }
    if (failed != 0)
        dprintf(2, "kvm-host: %s: %s\n", name, strerror(errno));
    close(fd);
}

/* QEMU's user network: this machine's connections are made by QEMU outside. Its addresses are always the same. */
static void join_network(void)
{
    struct rtentry route = { .rt_flags = RTF_UP | RTF_GATEWAY };
    struct sockaddr_in any = { .sin_family = AF_INET }, gateway = any;
    raise_interface("eth0", "10.0.2.15", "255.255.255.0");
    inet_pton(AF_INET, "10.0.2.2", &gateway.sin_addr);
    memcpy(&route.rt_dst, &any, sizeof any);
    memcpy(&route.rt_genmask, &any, sizeof any);
    memcpy(&route.rt_gateway, &gateway, sizeof gateway);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (ioctl(fd, SIOCADDRT, &route) != 0)
        dprintf(2, "kvm-host: default route: %s\n", strerror(errno));
    close(fd);
    /* The name servers of the outer machine may be on its loopback. */
    int names = open("/dev/resolv.conf", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    dprintf(names, "nameserver 10.0.2.3\n");
    close(names);
    if (mount("/dev/resolv.conf", "/etc/resolv.conf", NULL, MS_BIND, NULL) != 0)
        dprintf(2, "kvm-host: /etc/resolv.conf: %s\n", strerror(errno));
}

int main(void)
{
    mkdir("/proc", 0755);
    mkdir("/sys", 0755);
    mkdir("/dev", 0755);
    mount("dev", "/dev", "devtmpfs", 0, "mode=755");
    int console = open("/dev/console", O_RDWR);
    if (console >= 0) {
        dup2(console, 0);
        dup2(console, 1);
        dup2(console, 2);
    }
    must_mount("proc", "/proc", "proc", 0, NULL);
    must_mount("sys", "/sys", "sysfs", 0, NULL);
    load_modules();
    int ports[PORTS_MAX], count = was_asked_for("vmm.sessions=many") ? PORTS_MAX : 1;
    for (int each = 0; each < count; each++)
        ports[each] = open_port(each + 1);
    port = ports[0];
    if (port < 0)
        fail("/dev/vport0p1");
    build_root();
    raise_interface("lo", NULL, NULL);
    if (was_asked_for("vmm.network=user"))
        join_network();
    sethostname("kvm-host", 8);
    for (int each = 0; each < count; each++)
        if (ports[each] >= 0 && fork() == 0)
            serve_port(ports[each]);
    for (;;)
        if (wait(NULL) < 0)
            pause();
}
