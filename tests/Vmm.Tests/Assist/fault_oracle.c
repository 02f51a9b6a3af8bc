// Runs one instruction per case and reports which signal it raised: what user mode shows of its faults.
// Standard input and output: an array of struct test_case.
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

struct test_case {
    uint8_t image[3072];    // XSAVE area, standard format
    uint8_t memory[256];    // the operand's surroundings, at a multiple of 64
    uint8_t code[16];
    uint32_t offset;        // of RBX in memory
    uint32_t signal;        // out: 0 for none
    uint32_t mxcsr;         // out
    uint32_t reserved[25];
} __attribute__((aligned(64)));

static struct test_case current;
static sigjmp_buf back;
uint32_t mxcsr, plain_mxcsr = 0x1f80;

static void caught(int number, siginfo_t *info, void *context)
{
    (void)info;
    mxcsr = ((ucontext_t *)context)->uc_mcontext.fpregs->mxcsr;
    siglongjmp(back, number);
}

void *target;
static uint8_t *operand;

// RAX and RDX are all ones, RBX points at the operand, the other registers are 0.
static void run(void)
{
    int64_t low = -1, high = -1;
    asm volatile(
        "push %%rbp\n\t"
        "xrstor64 %[image]\n\t"
        "mov %[operand], %%rbx\n\t"
        "xor %%ecx, %%ecx\n\t"
        "xor %%ebp, %%ebp\n\t"
        "xor %%esi, %%esi\n\t"
        "xor %%edi, %%edi\n\t"
        "xor %%r8d, %%r8d\n\t"
        "xor %%r9d, %%r9d\n\t"
        "xor %%r10d, %%r10d\n\t"
        "xor %%r11d, %%r11d\n\t"
        "xor %%r12d, %%r12d\n\t"
        "xor %%r13d, %%r13d\n\t"
        "xor %%r14d, %%r14d\n\t"
        "xor %%r15d, %%r15d\n\t"
        "call *target(%%rip)\n\t"
        "stmxcsr mxcsr(%%rip)\n\t"
        "ldmxcsr plain_mxcsr(%%rip)\n\t"
        "fninit\n\t"
        "pop %%rbp\n\t"
        : "+a"(low), "+d"(high)
        : [image] "m"(current.image), [operand] "m"(operand)
        : "rbx", "rcx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
}

int main(void)
{
    struct sigaction action = { .sa_sigaction = caught, .sa_flags = SA_SIGINFO | SA_NODEFER };
    static const int numbers[] = { SIGSEGV, SIGILL, SIGFPE, SIGBUS, SIGTRAP };
    for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaction(numbers[i], &action, 0);
    uint8_t *code = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (code == MAP_FAILED)
        return 1;
    while (fread(&current, sizeof current, 1, stdin) == 1) {
        memcpy(code, current.code, sizeof current.code);
        target = code;
        operand = current.memory + current.offset;
        int number = sigsetjmp(back, 1);
        if (number == 0)
            run();
        current.signal = (uint32_t)number;
        current.mxcsr = mxcsr;
        fwrite(&current, sizeof current, 1, stdout);
    }
    return 0;
}
