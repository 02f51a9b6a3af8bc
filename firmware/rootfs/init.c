/*
 * Process 1 of the reference guest, and nothing else: mounts what a shell needs, starts one shell or one script on
 * the console, and takes the machine down when it ends. In C and without helpers, because on hosts where the
 * guest's kernel is emulated every fork and exec costs milliseconds.
 *
 * On the kernel's command line:
 *   vmm.run=PATH    run this script instead of a shell. When PATH is a block device, the script is its content up to
 *                   the first NUL byte.
 *   vmm.sh=BASE64   run this script, given in base64.
 * A script's exit status leaves through port 0xf4, where vmm ends with it; a machine without that port restarts.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/input.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_PORT = 0xf4 };

static char command_line[4096], script[1 << 20];
static char *const environment[] = {
    "PATH=/bin:/sbin:/usr/bin:/usr/sbin", "HOME=/root", "TERM=linux", "USER=root", "SHELL=/bin/sh", "PS1=vmm:\\w# ", NULL,
};

static void complain(const char *what)
{
    const char *why = strerrordesc_np(errno);
    struct { const char *text; } parts[] = { { "init: " }, { what }, { ": " }, { why }, { "\n" } };
    for (size_t index = 0; index < sizeof parts / sizeof *parts; index++)
        (void)!write(2, parts[index].text, strlen(parts[index].text));
}

static size_t read_file(const char *path, char *bytes, size_t size)
{
    size_t used = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        complain(path);
        return 0;
    }
    for (ssize_t count; used < size && (count = read(fd, bytes + used, size - used)) > 0; used += (size_t)count) {
        if (memchr(bytes + used, 0, (size_t)count) != NULL) {    /* what follows is padding */
            used += strlen(bytes + used);
            break;
        }
    }
    close(fd);
    return used;
}

/* The value of `name=` on the command line, or NULL. */
static char *option(const char *name)
{
    static char words[sizeof command_line];
    size_t length = strlen(name);
    memcpy(words, command_line, sizeof words);
    for (char *state, *word = strtok_r(words, " \n", &state); word != NULL; word = strtok_r(NULL, " \n", &state))
        if (strncmp(word, name, length) == 0 && word[length] == '=')
            return word + length + 1;
    return NULL;
}

static size_t decode_base64(const char *text, char *bytes, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t collected = 0;
    int bits = 0;
    size_t used = 0;
    for (const char *found; *text != 0 && (found = strchr(digits, *text)) != NULL; text++) {
        collected = collected << 6 | (uint32_t)(found - digits);
        bits += 6;
        if (bits >= 8 && used < size) {
            bits -= 8;
            bytes[used++] = (char)(collected >> bits);
        }
    }
    return used;
}

static void try_mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)
{
    if (mount(source, target, type, flags, data) != 0 && errno != EBUSY)
        complain(target);
}

/* A session of its own on the console, so that Ctrl-C and job control work. */
static _Noreturn void become(char *const arguments[])
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    ioctl(0, TIOCSCTTY, 1);
    (void)!chdir("/root");
    execve(arguments[0], arguments, environment);
    complain(arguments[0]);
    _exit(127);
}

static pid_t start(int *is_script)
{
    size_t length = 0;
    struct stat status;
    char *path = option("vmm.run");
    char *run[] = { "/bin/sh", path, NULL }, *shell[] = { "/bin/sh", NULL };
    *is_script = 1;
    if (path == NULL) {
        char *encoded = option("vmm.sh");
        if (encoded != NULL)
            length = decode_base64(encoded, script, sizeof script);
        else
            *is_script = 0;
    } else if (stat(path, &status) == 0 && S_ISBLK(status.st_mode)) {
        length = read_file(path, script, sizeof script);
    }
    if (length != 0) {
        int file = open("/tmp/script", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
        if (file < 0 || write(file, script, length) != (ssize_t)length)
            complain("/tmp/script");
        close(file);
        run[1] = "/tmp/script";
    }
    pid_t child = fork();
    if (child == 0)
        become(*is_script ? run : shell);
    return child;
}

static _Noreturn void take_down(int code, int power_off)
{
    struct timespec patience = { .tv_sec = 1 };
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    kill(-1, SIGTERM);
    kill(-1, SIGCONT);
    while (waitpid(-1, NULL, WNOHANG) >= 0 && sigtimedwait(&child, NULL, &patience) > 0)
        ;
    kill(-1, SIGKILL);
    sync();
    if (mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL) != 0)
        complain("remounting / read-only");
    if (code >= 0 && ioperm(EXIT_PORT, 1, 1) == 0)
        outb((unsigned char)code, EXIT_PORT);
    /* Without ACPI, switching off would only halt the processors. */
    reboot(power_off && access("/sys/firmware/acpi", F_OK) == 0 ? RB_POWER_OFF : RB_AUTOBOOT);
    for (;;)
        pause();
}

/* Signals as busybox's reboot, poweroff and halt send them to process 1; SIGIO comes from the power button. */
static void watch(pid_t child, int is_script, const sigset_t *signals, int button)
{
    for (;;) {
        int status, number = sigwaitinfo(signals, NULL);
        struct input_event event;
        switch (number) {
        case SIGTERM:
            take_down(-1, 0);
        case SIGUSR1:
        case SIGUSR2:
            take_down(-1, 1);
        case SIGIO:
            while (read(button, &event, sizeof event) == sizeof event)
                if (event.type == EV_KEY && event.code == KEY_POWER && event.value == 1)
                    take_down(-1, 1);
            break;
        case SIGCHLD:
            for (pid_t gone; (gone = waitpid(-1, &status, WNOHANG)) > 0;) {
                int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
                if (gone == child)
                    take_down(is_script ? code : -1, 1);
            }
        }
    }
}

int main(void)
{
    int is_script;
    sigset_t signals;
    sigemptyset(&signals);
    const int watched[] = { SIGCHLD, SIGTERM, SIGUSR1, SIGUSR2, SIGIO };
    for (size_t index = 0; index < sizeof watched / sizeof *watched; index++)
        sigaddset(&signals, watched[index]);
    sigprocmask(SIG_BLOCK, &signals, NULL);

    try_mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    try_mount("sys", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    try_mount("dev", "/dev", "devtmpfs", MS_NOSUID, "mode=755");
    mkdir("/dev/pts", 0755);
    try_mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "mode=620,ptmxmode=666");
    try_mount("tmp", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
    if (mount(NULL, "/", NULL, MS_REMOUNT | MS_NOATIME, NULL) != 0)
        complain("remounting / for writing");
    sethostname("vmm", 3);
    read_file("/proc/cmdline", command_line, sizeof command_line - 1);

    int button = open("/dev/input/event0", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (button >= 0 && (fcntl(button, F_SETOWN, getpid()) != 0 || fcntl(button, F_SETFL, O_ASYNC | O_NONBLOCK) != 0))
        complain("power button");
    pid_t child = start(&is_script);
    watch(child, is_script, &signals, button);
}
