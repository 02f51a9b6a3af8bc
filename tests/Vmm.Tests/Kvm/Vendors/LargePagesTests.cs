using System.Globalization;
using Iced.Intel;
using Vmm.Boot;
using Vmm.Devices.Memory;
using Vmm.Kvm;
using Vmm.Kvm.Abi;
using Vmm.Machines;
using Vmm.Tests.Shared;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Tests.Kvm.Vendors;

/// <summary>Guest memory in pages of 2 MiB: fewer page faults and shorter walks (Intel SDM volume 3, "EPT Translation
/// Mechanism"; AMD APM volume 2, 15.25).</summary>
public sealed class LargePagesTests
{
    private const ulong LargePage = 2 << 20, First = 32 << 20, End = 64 << 20;

    /// <summary>Where this process has huge pages KVM maps them as such: that takes guest and host addresses that are equal modulo
    /// 2 MiB. Counted by KVM itself (KVM API 4.130, "pages_2m").</summary>
    [KvmFact]
    public unsafe void Memory_in_huge_pages_is_mapped_for_the_guest_in_huge_pages()
    {
        using var ram = new GuestRam(End);
        using KvmSystem kvm = KvmSystem.Open();
        using KvmVm vm = kvm.CreateVm();
        vm.SetRealModePages(new GuestAddress(Layout.KvmIdentityMap), new GuestAddress(Layout.KvmTss));
        vm.AddMemory(ram.Memory.Regions[0]);
        using Vcpu vcpu = vm.CreateVcpu(0, ram.Memory);
        ram.Memory.Write(new GuestAddress(TestGuest.LoadAddress), Assemble());
        SetFlat(vcpu);
        Assert.Equal(0, vcpu.Enter());
        Assert.Equal(KvmExitReason.KVM_EXIT_IO, vcpu.Run->ExitReason);

        // Not those with code: some Intel processors get small pages for it (kvm's nx_huge_pages).
        int huge = HugePages(ram.HostStart + (nint)First, (nint)(End - First));
        if (Available)
        {
            Assert.InRange(huge, 1, (int)(End / LargePage));
        }

        if (HostKinds.Detect() is HostKind.VtX or HostKind.AmdV && IsOn("ept", "npt"))
        {
            ulong mapped = KvmStatistics.Read(vm.Fd)["pages_2m"];
            Assert.True((int)mapped >= huge, $"{huge} huge pages, {mapped} of them in the guest's tables");
        }
    }

    /// <summary>Touches each 4 KiB between <see cref="First"/> and <see cref="End"/>.</summary>
    private static byte[] Assemble()
    {
        var code = new Assembler(32);
        Label loop = code.CreateLabel();
        code.mov(edi, (uint)First);
        code.Label(ref loop);
        code.mov(__dword_ptr[edi], edi);
        code.add(edi, 4096);
        code.cmp(edi, (uint)End);
        code.jb(loop);
        code.@out(GuestCode.ExitPort, al);
        using var bytes = new MemoryStream();
        code.Assemble(new StreamCodeWriter(bytes), TestGuest.LoadAddress);
        return bytes.ToArray();
    }

    /// <summary>Protected mode without paging, segments of 4 GiB.</summary>
    private static void SetFlat(Vcpu vcpu)
    {
        var data = new KvmSegment { Limit = uint.MaxValue, Selector = 0x10, Type = 3, Present = 1, Db = 1, S = 1, G = 1 };
        KvmSegment code = data;
        (code.Selector, code.Type) = (8, 0xb);
        KvmSregs sregs = vcpu.GetSregs();
        sregs.Cs = code;
        sregs.Ds = sregs.Es = sregs.Fs = sregs.Gs = sregs.Ss = data;
        sregs.Cr0 |= 1;
        vcpu.SetSregs(sregs);
        vcpu.SetRegs(new KvmRegs { Rip = TestGuest.LoadAddress, Rflags = 2 });
    }

    private static bool Available =>
        File.Exists("/sys/kernel/mm/transparent_hugepage/enabled")
        && !File.ReadAllText("/sys/kernel/mm/transparent_hugepage/enabled").Contains("[never]", StringComparison.Ordinal);

    private static bool IsOn(params string[] parameters) => parameters.Any(static name =>
        new[] { "kvm_intel", "kvm_amd" }.Any(module =>
            File.Exists($"/sys/module/{module}/parameters/{name}")
            && File.ReadAllText($"/sys/module/{module}/parameters/{name}").Trim() is "Y" or "1"));

    /// <summary>How many this process has of them in a range (proc_pid_smaps(5), AnonHugePages).</summary>
    private static int HugePages(nint start, nint length)
    {
        bool inside = false;
        long kib = 0;
        foreach (string line in File.ReadLines("/proc/self/smaps"))
        {
            if (line.Split(' ')[0].Split('-') is [string from, string to]
                && nint.TryParse(from, NumberStyles.HexNumber, null, out nint low)
                && nint.TryParse(to, NumberStyles.HexNumber, null, out nint high))
            {
                inside = low < start + length && high > start;
            }
            else if (inside && line.StartsWith("AnonHugePages:", StringComparison.Ordinal))
            {
                kib += long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture);
            }
        }

        return (int)(kib / 2048);
    }
}
