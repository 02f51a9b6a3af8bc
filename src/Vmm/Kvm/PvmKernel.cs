namespace Vmm.Kvm;

/// <summary>The kernel command line of guests on PVM hosts, where KVM emulates each instruction of the kernel.</summary>
internal static class PvmKernel
{
    /// <summary>Words for Linux's command line.</summary>
    public static IReadOnlyList<string> Words { get; } =
    [
        // The landing for SYSCALL must be in the page tables of every process (SyscallLanding).
        "nopti",

        // By number, since kernels before 5.18 know no names. ERMS and FSRM: KVM's emulator does one element of a string
        // instruction at a time, 1 us each. Without these two Linux moves 8 bytes with each instead of one; copying was
        // measured 2.2 times, clearing 3 times as fast. POPCNT: the emulator lacks it, so each one is an exit (300 of the 2,758
        // exits that the reference kernel needed up to init); Linux's replacement is a dozen instructions.
        "clearcpuid=297,580,151",
    ];
}
