using Iced.Intel;
using Vmm.Boot.Tests;
using Vmm.Guest.Tests.Harness;
using Vmm.Tests.Shared;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Guest.Tests;

/// <summary>Kernels that people write and run under QEMU to test processors and memory.</summary>
public sealed class TestKernelTests
{
    /// <summary>What kvm-unit-tests does before its first test: started by multiboot at 4 MiB, it asks fw_cfg how many CPUs
    /// there are, takes its arguments from behind the kernel's name, prints by the serial port and ends by port 0xf4.
    /// </summary>
    [KvmFact]
    public void A_kernel_in_the_manner_of_kvm_unit_tests_runs()
    {
        using var folder = new TemporaryFolder();
        string kernel = folder.Write("vmexit.flat", UnitTest());
        VmmProcess.Ended ended = VmmProcess.Run("--kernel", kernel, "--mem", "64M", "--cpus", "4", "--cmdline", "cpuid");
        Assert.Equal(new VmmProcess.Ended(3, $"4 {kernel} cpuid", ""), ended);
    }

    private static byte[] UnitTest()
    {
        const uint Base = 0x40_0000;
        var a = new Assembler(32);
        Label letter = a.CreateLabel(), wait = a.CreateLabel(), end = a.CreateLabel(), put = a.CreateLabel();
        a.mov(esp, Base + 0x1_0000);
        a.mov(esi, __dword_ptr[ebx + 16]);      // cmdline
        a.mov(dx, 0x510);
        a.mov(ax, 5);                           // FW_CFG_NB_CPUS
        a.@out(dx, ax);
        a.mov(dx, 0x511);
        a.@in(al, dx);
        a.add(al, (byte)'0');
        a.call(put);
        a.mov(al, (byte)' ');
        a.call(put);
        a.Label(ref letter);
        a.mov(al, __byte_ptr[esi]);
        a.inc(esi);
        a.test(al, al);
        a.je(end);
        a.call(put);
        a.jmp(letter);
        a.Label(ref end);
        a.mov(eax, 3);                          // (1 << 1) | 1: failed
        a.@out(0xf4, eax);
        a.hlt();

        a.Label(ref put);
        a.mov(cl, al);
        a.mov(dx, 0x3fd);
        a.Label(ref wait);
        a.@in(al, dx);
        a.test(al, 0x20);
        a.je(wait);
        a.mov(dx, 0x3f8);
        a.mov(al, cl);
        a.@out(dx, al);
        a.ret();
        byte[] header = MultibootKernel.Header(0);
        using var code = new MemoryStream();
        a.Assemble(new StreamCodeWriter(code), Base + (uint)header.Length);
        byte[] body = [.. header, .. code.ToArray()];
        return MadeUp.Elf32(Base + (uint)header.Length, new MadeUp.Part(Base, (ulong)body.Length, 0x1_0000, Bytes: body));
    }
}
