using System.Runtime.InteropServices;
using Iced.Intel;
using Vmm.Boot;
using Vmm.Devices.Memory;
using Vmm.Kvm;
using Vmm.Kvm.Abi;
using Vmm.Machines;
using Vmm.Tests.Shared;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Tests.Kvm.Vendors;

/// <summary>Vector registers, whose state differs in size from processor to processor: 576 bytes of XSAVE with SSE, 832 with AVX,
/// 2,688 with AVX-512.</summary>
public sealed unsafe class VectorStateTests
{
    private const ulong Pattern = 0x20_0000;

    /// <summary>A guest fills its first register as far as it goes. KVM hands each part back where leaf 0xD says (Intel SDM volume 1,
    /// "XSAVE Area"; the standard form, which KVM_GET_XSAVE2 has).</summary>
    [KvmFact]
    public void Each_part_of_a_vector_register_lies_where_leaf_0xD_says()
    {
        using var guest = new TestGuest(Emit);
        using Machine machine = Machine.Build(new MachineSpec { Kernel = guest.Path, Memory = 64UL << 20 });
        byte[] pattern = [.. Enumerable.Range(1, 64).Select(static i => (byte)i)];
        machine.Ram.Memory.Write(new GuestAddress(Pattern), pattern);
        Assert.Equal(MachineEnd.FromGuest(0), machine.Run());

        Vcpu vcpu = machine.Vcpus[0].Vcpu;
        const int Size = 1 << 16;
        byte* area = (byte*)NativeMemory.AlignedAlloc(Size, 4096);
        try
        {
            vcpu.GetXsave(area);
            var state = new Span<byte>(area, Size);
            Assert.Equal(pattern[..16], state.Slice(160, 16).ToArray());
            ulong xcr0 = HasXsave(vcpu) ? vcpu.GetXcr0() : 3;
            if ((xcr0 & 4) != 0)
            {
                Assert.Equal(pattern[16..32], state.Slice(Offset(vcpu, 2), 16).ToArray());
            }

            if ((xcr0 & 0x40) != 0)
            {
                Assert.Equal(pattern[32..], state.Slice(Offset(vcpu, 6), 32).ToArray());
            }
        }
        finally
        {
            NativeMemory.AlignedFree(area);
        }
    }

    private static bool HasXsave(Vcpu vcpu) => (vcpu.GetCpuid().First(static entry => entry.Function == 1).Ecx & 1 << 26) != 0;

    private static int Offset(Vcpu vcpu, uint component) =>
        (int)vcpu.GetCpuid().Single(entry => entry.Function == 0xd && entry.Index == component).Ebx;

    private static void Emit(Assembler code)
    {
        Label sse = code.CreateLabel(), avx = code.CreateLabel(), done = code.CreateLabel();
        code.mov(rax, cr0);
        code.and(eax, ~0xc);                    // no EM and TS
        code.or(eax, 2);                        // MP
        code.mov(cr0, rax);
        code.mov(rax, cr4);
        code.or(eax, 0x600);                    // OSFXSR, OSXMMEXCPT
        code.mov(cr4, rax);
        code.mov(esi, (uint)Pattern);
        code.mov(eax, 1);
        code.cpuid();
        code.test(ecx, 1 << 26);                // XSAVE
        code.jz(sse);
        code.test(ecx, 1 << 28);                // AVX
        code.jz(sse);
        code.mov(rax, cr4);
        code.or(eax, 1 << 18);                  // OSXSAVE
        code.mov(cr4, rax);
        code.mov(eax, 0xd);
        code.xor(ecx, ecx);
        code.cpuid();
        code.and(eax, 0xe7);                    // x87, SSE, AVX; AVX-512
        code.mov(ebx, eax);
        code.xor(edx, edx);
        code.xor(ecx, ecx);
        code.xsetbv();
        code.test(ebx, 0x40);
        code.jz(avx);
        code.vmovdqu64(zmm0, __zmmword_ptr[rsi]);
        code.jmp(done);
        code.Label(ref avx);
        code.vmovdqu(ymm0, __ymmword_ptr[rsi]);
        code.jmp(done);
        code.Label(ref sse);
        code.movdqu(xmm0, __xmmword_ptr[rsi]);
        code.Label(ref done);
        code.Exit(0);
    }
}
