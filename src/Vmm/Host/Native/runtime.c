/*
 * What the runtime of the native binary does at every start and vmm has no use for. The linker puts these in place of the
 * runtime's (--wrap, Vmm.csproj); not linked into the library for vmm.dll.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

enum { PAGE = 0x1000 };

extern void *__libc_stack_end;          /* of the C library: where the first thread began */

int __real_madvise(void *start, size_t length, int advice);
int __real_pthread_getattr_np(pthread_t thread, pthread_attr_t *attributes);

/*
 * The collector keeps memory that it has only reserved out of core dumps, and what it takes in them: twenty calls at a start, each
 * of which splits or joins mappings. Linux leaves out by itself what was never written. 55 us of 1,700. Nothing else in vmm gives
 * these two.
 */
int __wrap_madvise(void *start, size_t length, int advice)
{
    return advice == MADV_DONTDUMP || advice == MADV_DODUMP ? 0 : __real_madvise(start, length, advice);
}

/*
 * void InitializeCGroup(): the collector looks for a container's limit of memory, by which it would collect less rarely. Its heap is a
 * few MiB, collected after each 4 MiB that were allocated (GCgen0size, Vmm.csproj).
 */
void __wrap__Z16InitializeCGroupv(void)
{
}

/*
 * void InitializeCpuCGroup(): the same for processors. Where vmm wants to know it asks HostProcessors. Both read and take apart
 * /proc/self/mountinfo and /proc/self/cgroup: together 165 us of 1,700.
 */
void __wrap__Z19InitializeCpuCGroupv(void)
{
}

/*
 * Of the first thread the C library looks for the stack in /proc/self/maps: 35 us. The runtime wants to know between which addresses
 * its frames lie: from where the thread began down to the limit.
 */
int __wrap_pthread_getattr_np(pthread_t thread, pthread_attr_t *attributes)
{
    struct rlimit limit;
    if (gettid() != getpid() || getrlimit(RLIMIT_STACK, &limit) != 0 || limit.rlim_cur >= (uintptr_t)__libc_stack_end)
        return __real_pthread_getattr_np(thread, attributes);
    uintptr_t top = ((uintptr_t)__libc_stack_end + PAGE - 1) & -PAGE;
    size_t size = limit.rlim_cur & -PAGE;
    int error = pthread_attr_init(attributes);
    return error != 0 ? error : pthread_attr_setstack(attributes, (void *)(top - size), size);
}
