/*
 * Stands in for KVM, to see what vmm itself costs, also where there is none: preloaded (LD_PRELOAD), it answers every
 * KVM ioctl at once, with one cheap system call each in its place, and KVM_RUN with as many port exits as STANDIN_EXITS
 * says, then with the guest's reset. With STANDIN_MREMAP=0 a second mapping of the same pages is other pages: for valgrind, which
 * cannot make one (scripts/start-order), while nothing in them is executed.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { RUN_SIZE = 3 * 4096, DATA_OFFSET = 4096, POST_CODE = 0x80, KEYBOARD_COMMAND = 0x64, RESET_LINE = 0xfe };

static struct kvm_run *run;
static long exits;

static int memfd(const char *name)
{
    return (int)syscall(SYS_memfd_create, name, MFD_CLOEXEC);
}

int open(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    int mode = va_arg(more, int);
    va_end(more);
    return strcmp(path, "/dev/kvm") == 0 ? memfd("kvm") : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) __attribute__((alias("open")));

void *mremap(void *old, size_t old_size, size_t size, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    void *at = va_arg(more, void *);
    va_end(more);
    if (old_size == 0 && getenv("STANDIN_MREMAP") != NULL)
        return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return (void *)syscall(SYS_mremap, old, old_size, size, flags, at);
}

static int capability(uintptr_t number)
{
    switch (number) {
    case KVM_CAP_MAX_VCPUS: return 1024;
    case KVM_CAP_MAX_VCPU_ID: return 4096;
    case KVM_CAP_NR_MEMSLOTS: return 32764;
    case KVM_CAP_SYNC_REGS: return 7;
    case KVM_CAP_XSAVE2: return 4096;
    default: return 1;
    }
}

static void cpuid(struct kvm_cpuid2 *table)
{
    static const uint32_t leaves[] = {
        0, 1, 2, 4, 7, 0xb, 0xd, 0x80000000, 0x80000001, 0x80000002, 0x80000003, 0x80000004, 0x80000008,
    };
    table->nent = sizeof leaves / sizeof *leaves;
    for (uint32_t i = 0; i < table->nent; i++) {
        struct kvm_cpuid_entry2 *entry = &table->entries[i];
        *entry = (struct kvm_cpuid_entry2){ .function = leaves[i] };
        __cpuid_count(leaves[i], 0, entry->eax, entry->ebx, entry->ecx, entry->edx);
    }
}

static int create_vcpu(void)
{
    int fd = memfd("vcpu");
    if (fd < 0 || ftruncate(fd, RUN_SIZE) != 0)
        return -1;
    exits = atol(getenv("STANDIN_EXITS") ? getenv("STANDIN_EXITS") : "0");
    run = mmap(NULL, RUN_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return run == MAP_FAILED ? -1 : fd;
}

static int port_exit(void)
{
    run->exit_reason = KVM_EXIT_IO;
    run->io.direction = KVM_EXIT_IO_OUT;
    run->io.size = 1;
    run->io.port = exits-- > 0 ? POST_CODE : KEYBOARD_COMMAND;
    run->io.count = 1;
    run->io.data_offset = DATA_OFFSET;
    ((uint8_t *)run)[DATA_OFFSET] = RESET_LINE;
    return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list more;
    va_start(more, request);
    uintptr_t argument = va_arg(more, uintptr_t);
    va_end(more);
    if (_IOC_TYPE(request) != KVMIO)
        return (int)syscall(SYS_ioctl, fd, request, argument);

    syscall(SYS_fcntl, fd, F_GETFD);
    switch (request) {
    case KVM_GET_API_VERSION: return KVM_API_VERSION;
    case KVM_CHECK_EXTENSION: return capability(argument);
    case KVM_GET_VCPU_MMAP_SIZE: return RUN_SIZE;
    case KVM_CREATE_VM: return memfd("vm");
    case KVM_CREATE_VCPU: return create_vcpu();
    case KVM_GET_SUPPORTED_CPUID: cpuid((struct kvm_cpuid2 *)argument); return 0;
    case KVM_GET_TSC_KHZ: return 2000000;
    case KVM_GET_MSRS:
    case KVM_SET_MSRS: return (int)((struct kvm_msrs *)argument)->nmsrs;
    case KVM_GET_SREGS: memset((void *)argument, 0, sizeof(struct kvm_sregs)); return 0;
    case KVM_RUN: return port_exit();
    default: return 0;
    }
}
