/*
 * The first process of the emulated VT-x host. Its root is the initramfs that run gathered, so there is nothing to mount
 * but the kernel's own file systems. Commands come through the mailbox disk; session.c runs them.
 */
#define _GNU_SOURCE
#include "pump.h"
#include "../session.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
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

static void complain(const char *what)
{
    dprintf(2, "kvm-host: %s: %s\n", what, strerror(errno));
}

static void mount_on(const char *target, const char *type, const char *data)
{
    mkdir(target, 0755);
    if (mount(type, target, type, 0, data) != 0)
        complain(target);
}

/* /modules lists one file name a line, dependencies first. */
static void load_modules(void)
{
    FILE *list = fopen("/modules", "re");
    char name[256], path[300];
    if (list == NULL) {
        complain("/modules");
        return;
    }
    while (fgets(name, sizeof name, list) != NULL) {
        name[strcspn(name, "\n")] = 0;
        snprintf(path, sizeof path, "/modules.d/%s", name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || syscall(SYS_finit_module, fd, "", 0) != 0)
            complain(name);
        if (fd >= 0)
            close(fd);
        unlink(path);                   /* memory is scarce here */
    }
    fclose(list);
}

static void raise_loopback(void)
{
    struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) != 0)
        complain("loopback");
    if (fd >= 0)
        close(fd);
}

int main(void)
{
    mount_on("/dev", "devtmpfs", "mode=755");
    int console = open("/dev/console", O_RDWR);
    if (console >= 0) {
        dup2(console, 0);
        dup2(console, 1);
        dup2(console, 2);
    }
    mount_on("/proc", "proc", NULL);
    mount_on("/sys", "sysfs", NULL);
    load_modules();
    mount_on("/dev/pts", "devpts", "mode=600,ptmxmode=666");
    mount_on("/dev/shm", "tmpfs", "mode=1777");
    mount_on("/run", "tmpfs", "mode=755");
    mkdir("/tmp", 01777);
    chmod("/tmp", 01777);
    chmod("/dev/kvm", 0666);
    (void)!symlink("/proc/self/fd", "/dev/fd");
    (void)!symlink("/proc/self/fd/0", "/dev/stdin");
    (void)!symlink("/proc/self/fd/1", "/dev/stdout");
    (void)!symlink("/proc/self/fd/2", "/dev/stderr");
    raise_loopback();
    sethostname("kvm-host", 8);

    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        complain("socketpair");
    if (fork() == 0) {
        close(ends[1]);
        pump("/dev/sda", ends[0]);
    }
    close(ends[0]);
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    if (fork() == 0)
        serve_port(ends[1]);
    for (;;)
        if (wait(NULL) < 0)
            pause();
}
