/*
 * Serves the page faults of guest memory that comes from a file (userfaultfd), and reads the rest of it meanwhile. Not in C#: a
 * thread that waits for a page may be in managed code, where the garbage collector cannot stop it. A collection that begins then
 * would stop the thread that brings the page, and neither would go on. This thread never enters managed code.
 *
 * Nothing is allocated once it serves. Documentation/admin-guide/mm/userfaultfd.rst, ioctl_userfaultfd(2).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "faults.h"

#define PATIENCE_MS 3000
#define HOST_CANNOT 70          /* ExitCodes.HostCannot */

static int fail(struct vmm_faults *f, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int count = snprintf(f->why, sizeof f->why, "%s: ", f->name);
    vsnprintf(f->why + count, sizeof f->why - (size_t)count, format, arguments);
    va_end(arguments);
    return -1;
}

static void wake_page(struct vmm_faults *f, uint64_t offset)
{
    struct uffdio_range page = { (uintptr_t)f->memory + offset, PAGE };
    (void)ioctl(f->faults, UFFDIO_WAKE, &page);
}

/* Puts zeros (no source) or bytes at an offset of memory, where nothing is yet. Under the lock. */
static int put(struct vmm_faults *f, uint64_t offset, uint64_t length, const unsigned char *source)
{
    while (length > 0) {
        uint64_t at = (uintptr_t)f->memory + offset;
        int64_t got;
        int result;
        if (source) {
            struct uffdio_copy copy = { .dst = at, .src = (uintptr_t)source, .len = length };
            result = ioctl(f->faults, UFFDIO_COPY, &copy);
            got = copy.copy;
        } else {
            struct uffdio_zeropage zeros = { .range = { at, length } };
            result = ioctl(f->faults, UFFDIO_ZEROPAGE, &zeros);
            got = zeros.zeropage;
        }
        if (result != 0 && got <= 0) {
            if (errno == EINTR || errno == EAGAIN)
                continue;
            if (errno != EEXIST)
                return fail(f, "the host cannot put it into guest memory: %s", strerror(errno));
            wake_page(f, offset);       /* it is there: somebody may wait since before it was */
            got = PAGE;
        }
        uint64_t step = result == 0 ? length : (uint64_t)got;
        offset += step;
        length -= step;
        source = source ? source + step : source;
    }
    return 0;
}

static int read_chunk(struct vmm_faults *f, uint64_t chunk, uint64_t length)
{
    uint64_t start = chunk * CHUNK;
    for (uint64_t done = 0; done < length;) {
        ssize_t got = pread(f->file, f->buffer + done, length - done, (off_t)(start + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail(f, "cannot be read: %s", strerror(errno));
        if (got == 0)
            return fail(f, "has become shorter while it was read");
        done += (uint64_t)got;
    }
    if (vmm_checksum(f->buffer, length) != f->checksums[chunk])
        return fail(f, "is damaged between its bytes %llu and %llu", (unsigned long long)start, (unsigned long long)(start + length));
    return 0;
}

static int serve_chunk(struct vmm_faults *f, uint64_t chunk)
{
    uint64_t length = chunk_length(f, chunk), start = chunk * CHUNK;
    int has_data = f->checksums[chunk] != 0;
    if (has_data && read_chunk(f, chunk, length) != 0)
        return -1;
    int result = 0;
    pthread_mutex_lock(&f->lock);
    for (uint64_t from = 0, to; from < length && result == 0; from = to) {
        unsigned char is_released = f->released[(start + from) / PAGE];
        for (to = from + PAGE; to < length && f->released[(start + to) / PAGE] == is_released;)
            to += PAGE;
        result = put(f, start + from, to - from, has_data && !is_released ? f->buffer + from : NULL);
    }
    pthread_mutex_unlock(&f->lock);
    f->there[chunk] = 1;
    f->left--;
    f->next = chunk + 1;        /* what lies behind it is likely to be wanted next */
    return result;
}

static int serve_fault(struct vmm_faults *f, uint64_t address)
{
    uint64_t offset = (address - (uintptr_t)f->memory) & -PAGE;
    if (!f->there[offset / CHUNK])
        return serve_chunk(f, offset / CHUNK);
    pthread_mutex_lock(&f->lock);
    int result = 0;
    if (f->released[offset / PAGE])
        result = put(f, offset, PAGE, NULL);
    else
        wake_page(f, offset);       /* it came while this fault was on its way */
    pthread_mutex_unlock(&f->lock);
    return result;
}

static int serve_faults(struct vmm_faults *f)
{
    struct uffd_msg messages[16];
    for (;;) {
        ssize_t got = read(f->faults, messages, sizeof messages);
        if (got < 0)
            return errno == EAGAIN ? 0 : errno == EINTR ? 0 : fail(f, "the host tells no page faults: %s", strerror(errno));
        for (size_t i = 0; i < (size_t)got / sizeof *messages; i++)
            if (messages[i].event == UFFD_EVENT_PAGEFAULT && serve_fault(f, messages[i].arg.pagefault.address) != 0)
                return -1;
    }
}

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000ll + time.tv_nsec;
}

static uint64_t next_chunk(const struct vmm_faults *f)
{
    const unsigned char *found = f->next < f->chunks ? memchr(f->there + f->next, 0, f->chunks - f->next) : NULL;
    return (uint64_t)((found ? found : (unsigned char *)memchr(f->there, 0, f->chunks)) - f->there);
}

/* Faults come first; between two chunks that it reads on its own it rests as long as the first took. */
static int serve_all(struct vmm_faults *f)
{
    struct pollfd waits[] = { { .fd = f->faults, .events = POLLIN }, { .fd = f->wake, .events = POLLIN } };
    while (f->left > 0) {
        int64_t before = now();
        int mode = __atomic_load_n(&f->mode, __ATOMIC_ACQUIRE);
        if (mode == STOP)
            return STOPPED;
        if (mode != ON_FAULTS && serve_chunk(f, next_chunk(f)) != 0)
            return FAILED;
        int64_t rest = mode == WITH_RESTS ? now() - before : 0;
        struct timespec limit = { rest / 1000000000, rest % 1000000000 };
        if (ppoll(waits, 2, mode == ON_FAULTS ? NULL : &limit, NULL) <= 0)
            continue;
        uint64_t count;
        if (waits[1].revents)
            (void)!read(f->wake, &count, sizeof count);
        if (waits[0].revents && serve_faults(f) != 0)
            return FAILED;
    }
    return WHOLE;
}

static void unregister(struct vmm_faults *f)
{
    for (size_t i = 0; i < f->run_count; i++) {
        struct uffdio_range range = { (uintptr_t)f->memory + f->runs[i].start, f->runs[i].length };
        (void)ioctl(f->faults, UFFDIO_UNREGISTER, &range);
    }
}

/* Whoever waits for a page goes on waiting, so that nothing runs on, or is written to a disk, with bytes that are not the guest's.
   Where that keeps vmm itself from ending, it ends here. */
static void end_soon(struct vmm_faults *f)
{
    int64_t limit = now() + PATIENCE_MS * 1000000ll;
    struct pollfd wait = { .fd = f->wake, .events = POLLIN };
    while (__atomic_load_n(&f->mode, __ATOMIC_ACQUIRE) != STOP) {
        int64_t rest = (limit - now()) / 1000000;
        uint64_t count;
        if (rest <= 0) {
            dprintf(2, "vmm: %s\n", f->why);
            _exit(HOST_CANNOT);
        }
        if (poll(&wait, 1, (int)rest + 1) > 0)
            (void)!read(f->wake, &count, sizeof count);
    }
}

void *vmm_faults_serve(void *argument)
{
    struct vmm_faults *f = argument;
    int state = serve_all(f);
    if (state == WHOLE)
        unregister(f);
    pthread_mutex_lock(&f->lock);
    f->state = state;
    pthread_cond_broadcast(&f->settled);
    pthread_mutex_unlock(&f->lock);
    (void)!write(f->done, &(uint64_t){ 1 }, sizeof(uint64_t));
    if (state == FAILED)
        end_soon(f);
    return NULL;
}
