/*
 * How the native binary gets memory; not linked into the library for vmm.dll.
 */
#include <errno.h>
#include <malloc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 0x1000, HEAP_PIECE = 0x10000, WRITTEN_DATA = 38 * PAGE, POPULATE_WRITE = 23 /* MADV_POPULATE_WRITE */ };

int __real_mprotect(void *start, size_t length, int protection);

extern char g_compilerEmbeddedSettingsBlob[] __attribute__((weak));    /* of the compiler */

static bool one_by_one;

/*
 * Makes pages present that are about to be written. Kernels before 5.14 do not have it, and go on with page faults.
 */
static void populate(void *start, size_t length)
{
    int before = errno;
    madvise(start, length, POPULATE_WRITE);
    errno = before;
}

/*
 * Before Main, as the runtime starts a thread: every thread would map an arena of its own for malloc(3), which hardly anything calls.
 * Machines in the background (MachineStart.Option), of which there may be hundreds, take only pages that they use: it is a fifth of
 * the heap of a fork.
 */
__attribute__((constructor)) static void choose(int count, char **arguments)
{
    mallopt(M_ARENA_MAX, 1);
    for (int i = 1; i < count && !one_by_one; i++)
        one_by_one = strcmp(arguments[i], "--machine-directory") == 0;
    if (!one_by_one && g_compilerEmbeddedSettingsBlob) {
        /* Before this symbol the compiler lays what a start writes here and there: where the static fields of each type are, and
           the cells of calls by an interface. One call instead of 30 page faults, 35 us of 1,700. */
        uintptr_t end = ((uintptr_t)g_compilerEmbeddedSettingsBlob + PAGE - 1) & -PAGE;
        populate((void *)(end - WRITTEN_DATA), WRITTEN_DATA);
    }
}

/*
 * The linker puts this in place of mprotect(2) (--wrap, Vmm.csproj). The collector makes its heap writable in pieces of 64 KiB and
 * writes each from its first to its last page: one call for the whole piece instead of 16 page faults.
 */
int __wrap_mprotect(void *start, size_t length, int protection)
{
    int result = __real_mprotect(start, length, protection);
    if (result == 0 && !one_by_one && length == HEAP_PIECE && protection == (PROT_READ | PROT_WRITE))
        populate(start, length);
    return result;
}
