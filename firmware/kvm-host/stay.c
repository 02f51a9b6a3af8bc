#define _GNU_SOURCE
#include "stay.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* What vmm gives the process of a machine in the background (src/Vmm/Named/MachineStart.cs); its value ends with the name. */
static const char option[] = "--machine-directory";

/* The command line of a process: words, each ended by a NUL. Returns its length. */
static size_t read_words(pid_t process, char *words, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)process);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t count = fd < 0 ? -1 : read(fd, words, size - 1);
    if (fd >= 0)
        close(fd);
    words[count > 0 ? count : 0] = 0;
    return count > 0 ? (size_t)count : 0;
}

/* NULL when it is no machine's process. */
static const char *name_of(pid_t process)
{
    static char words[16384];
    size_t length = read_words(process, words, sizeof words);
    for (char *word = words; word < words + length; word += strlen(word) + 1) {
        char *value = word + strlen(word) + 1;
        if (strcmp(word, option) == 0 && value < words + length) {
            char *slash = strrchr(value, '/');
            return slash == NULL ? value : slash + 1;
        }
        if (strcmp(word, "--") == 0)
            return NULL;
    }
    return NULL;
}

int stay_is_machine(pid_t process)
{
    return name_of(process) != NULL;
}

pid_t next_child(FILE **list)
{
    int one;
    if (*list == NULL)
        *list = fopen("/proc/thread-self/children", "re");
    if (*list != NULL && fscanf(*list, "%d", &one) == 1)
        return one;
    if (*list != NULL)
        fclose(*list);
    return 0;
}

int stay_names(char *names, size_t size)
{
    FILE *list = NULL;
    size_t used = 0;
    pid_t one;
    int count = 0;
    names[0] = 0;
    while ((one = next_child(&list)) != 0) {
        const char *name = name_of(one);
        if (name == NULL)
            continue;
        if (used + strlen(name) + 2 <= size)
            used += (size_t)snprintf(names + used, size - used, "%s%s", used == 0 ? "" : " ", name);
        count++;
    }
    return count;
}

void stay_signal(int number)
{
    FILE *list = NULL;
    pid_t one;
    while ((one = next_child(&list)) != 0)
        if (stay_is_machine(one))
            kill(one, number);
}
