/*
 * What C# calls of faults.c.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "faults.h"

#ifndef USERFAULTFD_IOC_NEW             /* headers before Linux 6.1 */
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

#define MOST_RUNS 4096          /* each makes two mappings of one; a process may have 65530 */
#define HUGE_PAGE (2ull << 20)

/* A userfaultfd that has the faults of the kernel too, KVM's among them; UFFD_USER_MODE_ONLY would make them errors. */
int vmm_faults_open(void)
{
    int faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    if (faults < 0) {
        int error = errno;
        int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
        faults = device < 0 ? -1 : ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
        if (device >= 0)
            close(device);
        if (faults < 0) {
            errno = error;
            return -1;
        }
    }
    struct uffdio_api api = { .api = UFFD_API };
    if (ioctl(faults, UFFDIO_API, &api) != 0) {
        int error = errno;
        close(faults);
        errno = error;
        return -1;
    }
    return faults;
}

/* Chunks without data stay as they are, zeros from the kernel, unless they are few between others. */
static void find_runs(struct vmm_faults *f)
{
    uint64_t gap = f->length / MOST_RUNS > HUGE_PAGE ? f->length / MOST_RUNS : HUGE_PAGE;
    memset(f->there, 1, f->chunks);
    for (uint64_t chunk = 0; chunk < f->chunks; chunk++) {
        if (f->checksums[chunk] == 0)
            continue;
        uint64_t start = chunk * CHUNK;
        struct run *last = f->run_count > 0 ? &f->runs[f->run_count - 1] : NULL;
        if (!last || start - (last->start + last->length) > gap) {
            last = &f->runs[f->run_count++];
            last->start = start;
        }
        last->length = start + chunk_length(f, chunk) - last->start;
    }
    for (size_t i = 0; i < f->run_count; i++) {
        uint64_t first = f->runs[i].start / CHUNK, count = (f->runs[i].length + CHUNK - 1) / CHUNK;
        memset(f->there + first, 0, count);
        f->left += count;
    }
}

static int set_up(struct vmm_faults *f, const uint32_t *checksums)
{
    f->checksums = malloc(f->chunks * sizeof *checksums);
    f->there = malloc(f->chunks);
    f->released = calloc(1, f->length / PAGE);
    f->runs = calloc(MOST_RUNS + 1, sizeof *f->runs);
    f->buffer = aligned_alloc(PAGE, CHUNK);
    f->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    f->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!f->checksums || !f->there || !f->released || !f->runs || !f->buffer || f->wake < 0 || f->done < 0)
        return -1;
    memcpy(f->checksums, checksums, f->chunks * sizeof *checksums);
    find_runs(f);
    for (size_t i = 0; i < f->run_count; i++) {
        struct uffdio_register range = {
            .range = { (uintptr_t)f->memory + f->runs[i].start, f->runs[i].length },
            .mode = UFFDIO_REGISTER_MODE_MISSING,
        };
        if (ioctl(f->faults, UFFDIO_REGISTER, &range) != 0)
            return -1;
    }
    return 0;
}

static int start_thread(struct vmm_faults *f)
{
    sigset_t all, before;
    pthread_attr_t attributes;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 128 * 1024);
    errno = pthread_create(&f->thread, &attributes, vmm_faults_serve, f);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (errno != 0)
        return -1;
    pthread_setname_np(f->thread, "vmm-memory");
    return 0;
}

static void discard(struct vmm_faults *f)
{
    if (f->wake >= 0)
        close(f->wake);
    if (f->done >= 0)
        close(f->done);
    free(f->checksums);
    free(f->there);
    free(f->released);
    free(f->runs);
    free(f->buffer);
    free(f);
}

/* Begins to serve the faults of memory that nobody has touched. The descriptors stay the caller's. NULL: errno. */
struct vmm_faults *vmm_faults_start(
    int faults, int file, const char *name, unsigned char *memory, uint64_t length, const uint32_t *checksums)
{
    struct vmm_faults *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    *f = (struct vmm_faults){ .faults = faults, .file = file, .wake = -1, .done = -1, .memory = memory, .length = length,
                              .chunks = (length + CHUNK - 1) / CHUNK };
    snprintf(f->name, sizeof f->name, "%s", name);
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->settled, NULL);
    if (set_up(f, checksums) != 0 || start_thread(f) != 0) {
        int error = errno;
        discard(f);
        errno = error;
        return NULL;
    }
    return f;
}

/* Readable once it does not serve any more. */
int vmm_faults_done(struct vmm_faults *f)
{
    return f->done;
}

static void set_mode(struct vmm_faults *f, int mode)
{
    int before = __atomic_load_n(&f->mode, __ATOMIC_RELAXED);
    while (before < mode && !__atomic_compare_exchange_n(&f->mode, &before, mode, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        ;
    (void)!write(f->wake, &(uint64_t){ 1 }, sizeof(uint64_t));
}

/* Reads what nobody has asked for, too. */
void vmm_faults_read_on(struct vmm_faults *f, int without_rests)
{
    set_mode(f, without_rests ? WITHOUT_RESTS : WITH_RESTS);
}

/* Gives pages back to the host: they read as zeros from then on. */
int vmm_faults_release(struct vmm_faults *f, uint64_t offset, uint64_t length)
{
    pthread_mutex_lock(&f->lock);
    memset(f->released + offset / PAGE, 1, length / PAGE);
    int result = madvise(f->memory + offset, length, MADV_DONTNEED);
    pthread_mutex_unlock(&f->lock);
    return result;
}

/* Returns what became of it, once something did. */
int vmm_faults_wait(struct vmm_faults *f)
{
    pthread_mutex_lock(&f->lock);
    while (f->state == SERVES)
        pthread_cond_wait(&f->settled, &f->lock);
    int state = f->state;
    pthread_mutex_unlock(&f->lock);
    return state;
}

/* Of one that failed, for the user. */
const char *vmm_faults_why(struct vmm_faults *f)
{
    return f->why;
}

/* When nobody uses the memory any more. */
void vmm_faults_stop(struct vmm_faults *f)
{
    set_mode(f, STOP);
    pthread_join(f->thread, NULL);
    discard(f);
}
