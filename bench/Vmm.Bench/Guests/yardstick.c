/*
 * The yardstick: the least that a program in C must do to run the benchmarks' guests (see GuestImage.cs for what they
 * may ask for). Reads the machine from a file; then runs one batch for each byte on standard input and writes
 * its samples, the guest's time-stamp counter differences of 32 bits each, to standard output.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SINK = 0x80, RAISE = 0x81, GATE = 0x82, FILTERED_MSR = 0xc0000082 };

struct machine {
    uint64_t memory, image, samples, kick, count, xcr0;
    uint32_t vcpus, cpuid, message_address, message_data;
};

struct vcpu {
    int fd;
    struct kvm_run *run;
};

static struct machine machine;
static uint8_t *memory;
static int irqfd, kickfd;

static int check(int result, const char *what)
{
    if (result < 0) {
        perror(what);
        exit(1);
    }
    return result;
}

static void *read_all(FILE *file, size_t size)
{
    void *data = malloc(size);
    if (data == NULL || fread(data, 1, size, file) != size) {
        fprintf(stderr, "the machine's file is short\n");
        exit(1);
    }
    return data;
}

static void signal_event(int fd)
{
    uint64_t one = 1;
    check((int)write(fd, &one, sizeof one), "write to eventfd");
}

static void gate(void)
{
    static int started;
    if (started && (fwrite(memory + machine.samples, 4, machine.count, stdout) != machine.count || fflush(stdout) != 0))
        exit(1);
    started = 1;
    if (getchar() == EOF)
        exit(0);
}

static void handle_port(struct kvm_run *run)
{
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    volatile uint8_t sink;
    switch (run->io.port) {
    case SINK:
        if (run->io.direction == KVM_EXIT_IO_OUT)
            sink = *data, (void)sink;
        else
            *data = 0xff;
        break;
    case RAISE:
        signal_event(irqfd);
        break;
    case GATE:
        gate();
        break;
    default:
        fprintf(stderr, "unexpected port %x\n", run->io.port);
        exit(1);
    }
}

static void *run_vcpu(void *argument)
{
    struct vcpu *vcpu = argument;
    struct kvm_run *run = vcpu->run;
    for (;;) {
        check(ioctl(vcpu->fd, KVM_RUN, 0), "KVM_RUN");
        switch (run->exit_reason) {
        case KVM_EXIT_IO:
            handle_port(run);
            break;
        case KVM_EXIT_MMIO:
            if (!run->mmio.is_write)
                memset(run->mmio.data, 0xff, sizeof run->mmio.data);
            break;
        case KVM_EXIT_X86_RDMSR:
        case KVM_EXIT_X86_WRMSR:
            run->msr.error = 0;
            break;
        default:
            fprintf(stderr, "unexpected exit %u\n", run->exit_reason);
            exit(1);
        }
    }
}

static void *run_events(void *argument)
{
    (void)argument;
    int epoll = check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    struct epoll_event event = { .events = EPOLLIN };
    check(epoll_ctl(epoll, EPOLL_CTL_ADD, kickfd, &event), "epoll_ctl");
    for (;;) {
        uint64_t value;
        check(epoll_wait(epoll, &event, 1, -1), "epoll_wait");
        check((int)read(kickfd, &value, sizeof value), "read of eventfd");
        signal_event(irqfd);
    }
    return NULL;
}

/* One MSI of its own GSI, raised by an irqfd; the table is replaced as a whole, and nothing else in it is used. */
static void route_interrupt(int vm)
{
    enum { GSI = 24 };
    struct { struct kvm_irq_routing head; struct kvm_irq_routing_entry entry; } table = {
        .head.nr = 1,
        .entry = { .gsi = GSI, .type = KVM_IRQ_ROUTING_MSI,
                   .u.msi = { .address_lo = machine.message_address, .data = machine.message_data } },
    };
    check(ioctl(vm, KVM_SET_GSI_ROUTING, &table), "KVM_SET_GSI_ROUTING");
    struct kvm_irqfd irq = { .fd = (uint32_t)irqfd, .gsi = GSI };
    check(ioctl(vm, KVM_IRQFD, &irq), "KVM_IRQFD");
}

static void filter_msr(int vm)
{
    struct kvm_enable_cap cap = { .cap = KVM_CAP_X86_USER_SPACE_MSR, .args = { KVM_MSR_EXIT_REASON_FILTER } };
    check(ioctl(vm, KVM_ENABLE_CAP, &cap), "KVM_CAP_X86_USER_SPACE_MSR");
    uint8_t allowed[8] = { 0 };
    struct kvm_msr_filter filter = {
        .ranges[0] = { .flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE, .nmsrs = 1, .base = FILTERED_MSR,
                       .bitmap = allowed },
    };
    check(ioctl(vm, KVM_X86_SET_MSR_FILTER, &filter), "KVM_X86_SET_MSR_FILTER");
}

int main(int argc, char **argv)
{
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (file == NULL || fread(&machine, sizeof machine, 1, file) != 1) {
        fprintf(stderr, "usage: yardstick MACHINE\n");
        return 1;
    }

    int kvm = check(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
    int vm = check(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
    memory = mmap(NULL, machine.memory, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct kvm_userspace_memory_region region = { .memory_size = machine.memory, .userspace_addr = (uintptr_t)memory };
    check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
    uint64_t identity = 0xfffbc000;
    check(ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity), "KVM_SET_IDENTITY_MAP_ADDR");
    check(ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000), "KVM_SET_TSS_ADDR");
    check(ioctl(vm, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
    irqfd = check(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd");
    kickfd = check(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd");
    route_interrupt(vm);
    filter_msr(vm);
    struct kvm_ioeventfd kick = { .addr = machine.kick, .len = 4, .fd = kickfd };
    check(ioctl(vm, KVM_IOEVENTFD, &kick), "KVM_IOEVENTFD");

    int size = check(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
    static struct vcpu vcpus[2];
    for (uint32_t i = 0; i < machine.vcpus && i < 2; i++) {
        int fd = check(ioctl(vm, KVM_CREATE_VCPU, i), "KVM_CREATE_VCPU");
        vcpus[i].fd = fd;
        vcpus[i].run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        struct kvm_cpuid2 *cpuid = calloc(1, sizeof *cpuid + (machine.cpuid * sizeof(struct kvm_cpuid_entry2)));
        struct kvm_cpuid_entry2 *entries = read_all(file, machine.cpuid * sizeof *entries);
        cpuid->nent = machine.cpuid;
        memcpy(cpuid->entries, entries, machine.cpuid * sizeof *entries);
        check(ioctl(fd, KVM_SET_CPUID2, cpuid), "KVM_SET_CPUID2");
        check(ioctl(fd, KVM_SET_SREGS, read_all(file, sizeof(struct kvm_sregs))), "KVM_SET_SREGS");
        check(ioctl(fd, KVM_SET_REGS, read_all(file, sizeof(struct kvm_regs))), "KVM_SET_REGS");
        struct kvm_xcrs xcrs = { .nr_xcrs = 1, .xcrs[0].value = machine.xcr0 };
        (void)ioctl(fd, KVM_SET_XCRS, &xcrs);       /* a processor without XSAVE has none */
        struct kvm_mp_state state = { .mp_state = KVM_MP_STATE_RUNNABLE };
        check(ioctl(fd, KVM_SET_MP_STATE, &state), "KVM_SET_MP_STATE");
    }
    memcpy(memory, read_all(file, machine.image), machine.image);

    pthread_t thread;
    check(-pthread_create(&thread, NULL, run_events, NULL), "pthread_create");
    if (machine.vcpus > 1)
        check(-pthread_create(&thread, NULL, run_vcpu, &vcpus[1]), "pthread_create");
    run_vcpu(&vcpus[0]);
    return 0;
}
