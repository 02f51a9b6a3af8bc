/*
 * Runs a command once and tells how it went: timed SECONDS MARKER FAILURE LOG COMMAND...
 *
 * Prints five words: nanoseconds from exec to the end, or to MARKER in its output if that is not empty; its largest
 * resident memory in KiB; up to MARKER, exits of its VM by KVM's debugfs, or "-", and those that went to user space by
 * KVM's trace event (those of all VMs of the machine), or "-"; and "ok", "timeout", "failed" (FAILURE was seen in its
 * output) or "exit-N". The output is kept in LOG. What is not over by then is killed.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* The sum over the VMs of the process; -1 where debugfs does not tell. */
static long long count_exits(pid_t pid)
{
    char pattern[96];
    long long sum = -1;
    glob_t found;
    snprintf(pattern, sizeof pattern, "/sys/kernel/debug/kvm/%d-*/exits", pid);
    if (glob(pattern, 0, NULL, &found) != 0)
        return -1;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        FILE *file = fopen(found.gl_pathv[i], "r");
        long long value;
        if (file != NULL && fscanf(file, "%lld", &value) == 1)
            sum = (sum < 0 ? 0 : sum) + value;
        if (file != NULL)
            fclose(file);
    }
    globfree(&found);
    return sum;
}

#define USER_EXITS "/sys/kernel/tracing/events/kvm/kvm_userspace_exit/"

/* Has the kernel count these exits by reason; "!" before the trigger ends that. */
static void set_trigger(const char *text)
{
    int file = open(USER_EXITS "trigger", O_WRONLY);
    if (file >= 0) {
        if (write(file, text, strlen(text)) < 0)
            perror(USER_EXITS "trigger");
        close(file);
    }
}

/* All that was counted; -1 where the kernel does not tell. */
static long long count_user_exits(void)
{
    char line[128];
    long long hits = -1;
    FILE *file = fopen(USER_EXITS "hist", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, " Hits: %lld", &hits) == 1)
            break;
    if (file != NULL)
        fclose(file);
    return hits;
}

static void print_count(long long value)
{
    if (value >= 0)
        printf(" %lld", value);
    else
        printf(" -");
}

int main(int argc, char **argv)
{
    if (argc < 6) {
        fprintf(stderr, "usage: timed SECONDS MARKER FAILURE LOG COMMAND...\n");
        return 2;
    }

    const char *marker = argv[2], *failure = argv[3], *outcome = NULL;
    int pipes[2], log = open(argv[4], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (log < 0 || pipe2(pipes, O_CLOEXEC) < 0) {
        perror("timed");
        return 2;
    }

    if (*marker)
        set_trigger("hist:keys=reason");
    uint64_t start = now(), end = 0, limit = (uint64_t)atoi(argv[1]) * 1000000000;
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_RDONLY);
        setpgid(0, 0);
        dup2(null, 0);
        dup2(pipes[1], 1);
        dup2(pipes[1], 2);
        execvp(argv[5], argv + 5);
        perror(argv[5]);
        _exit(127);
    }
    close(pipes[1]);

    static char seen[1 << 20];
    size_t length = 0, overlap = strlen(marker) + strlen(failure);
    long long exits = -1, user_exits = -1;
    while (outcome == NULL) {
        uint64_t passed = now() - start;
        struct pollfd wait = { .fd = pipes[0], .events = POLLIN };
        if (passed >= limit) {
            outcome = "timeout";
            break;
        }
        if (poll(&wait, 1, (int)((limit - passed) / 1000000) + 1) <= 0)
            continue;
        ssize_t got = read(pipes[0], seen + length, sizeof seen - 1 - length);
        if (got <= 0)
            break;                  /* its end, or more output than anyone wants */
        /* Only what is new, and what it may be the rest of: output comes a character at a time. */
        const char *from = seen + (length > overlap ? length - overlap : 0);
        length += (size_t)got;
        seen[length] = 0;
        if (*failure && strstr(from, failure) != NULL)
            outcome = "failed";
        else if (*marker && strstr(from, marker) != NULL)
            outcome = "ok", end = now(), user_exits = count_user_exits(), exits = count_exits(child);
    }

    if (outcome != NULL)
        kill(-child, SIGKILL);
    if (write(log, seen, length) != (ssize_t)length)     /* once, afterwards: it may lie behind a slow file system */
        perror(argv[4]);
    int status;
    struct rusage usage;
    wait4(child, &status, 0, &usage);
    if (end == 0)
        end = now();
    if (*marker)
        set_trigger("!hist:keys=reason");
    char code[32];
    if (outcome == NULL) {
        snprintf(code, sizeof code, "exit-%d", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
        outcome = *marker == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? "ok" : code;
    }
    printf("%llu %ld", (unsigned long long)(end - start), usage.ru_maxrss);
    print_count(exits);
    print_count(user_exits);
    printf(" %s\n", outcome);
    return 0;
}
