using System.Buffers.Binary;
using System.Numerics;
using Iced.Intel;
using Vmm.Assist;
using Vmm.Devices.Memory;
using Vmm.Host;
using Xunit.Abstractions;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Tests.Assist;

public sealed partial class XsaveTests
{
    [Theory]
    [InlineData("xsave64", 8UL, false)]
    [InlineData("xrstor64", 32UL, false)]
    [InlineData("xsavec64", 1UL, false)]
    public void A_misaligned_area_is_a_general_protection_fault(string name, ulong offset, bool isPlain) =>
        AssertFault(name, () => _cpu.Regs.Rbx += offset, GuestFault.GpVector, !isPlain);

    [Fact]
    public void Without_osxsave_there_is_no_such_instruction() =>
        AssertFault("xsave64", () => _cpu.Sregs.Cr4 &= ~Bits.Cr4OsXsave, GuestFault.Ud, hasErrorCode: false);

    [Fact]
    public void A_set_task_switched_flag_means_device_not_available() =>
        AssertFault("xrstor64", () => _cpu.Sregs.Cr0 |= Bits.Cr0Ts, GuestFault.Nm, hasErrorCode: false);

    [Fact]
    public void Supervisor_forms_are_for_the_kernel() =>
        AssertFault("xsaves64", () => _cpu.Sregs.Cs.Selector = 0x33, GuestFault.GpVector, hasErrorCode: true);

    [Theory]
    [InlineData("xrstor64", 512, 1UL << 40)]                          // XSTATE_BV beyond XCR0
    [InlineData("xrstor64", 520, 1UL)]                                // XCOMP_BV without bit 63
    [InlineData("xrstor64", 528, 1UL)]                                // reserved, standard
    [InlineData("xrstor64", 520, XsaveLayout.Compacted | 1UL << 40)]  // XCOMP_BV beyond XCR0
    [InlineData("xrstor64", 24, 0xFFFF_0000_0000UL | 0x8000_0000)]    // reserved bits of MXCSR
    [InlineData("xrstors64", 520, 0UL)]                               // standard format
    public void A_bad_header_is_a_general_protection_fault(string name, int offset, ulong value) =>
        AssertFault(
            name,
            () =>
            {
                _cpu.Regs.Rax = _cpu.Regs.Rdx = ulong.MaxValue;
                _cpu.Memory.Write(new GuestAddress(FakeCpu.DataAddress) + (ulong)offset, value);
            },
            GuestFault.GpVector,
            hasErrorCode: true);

    [Fact]
    public void Compacted_state_must_be_within_its_own_bitmap() =>
        AssertFault(
            "xrstor64",
            () =>
            {
                var area = new GuestAddress(FakeCpu.DataAddress);
                _cpu.Memory.Write(area + 512, 3UL);
                _cpu.Memory.Write(area + 520, XsaveLayout.Compacted | 1);
            },
            GuestFault.GpVector,
            hasErrorCode: true);

    [Fact]
    public void An_area_that_is_not_mapped_faults_and_is_left_alone()
    {
        byte[] pattern = new byte[4096];
        pattern.AsSpan().Fill(0xA5);
        ulong lastPage = FakeCpu.MemorySize - 4096;
        _cpu.Memory.Write(new GuestAddress(lastPage), pattern);

        // A second translation of the last page with nothing behind it: at 1 GiB.
        ulong tables = _cpu.Sregs.Cr3;
        _cpu.Memory.Write(new GuestAddress(tables + 0x1008), tables + 0x3003);
        _cpu.Memory.Write(new GuestAddress(tables + 0x3000), tables + 0x4003);
        _cpu.Memory.Write(new GuestAddress(tables + 0x4000), lastPage | 3);
        _random.FillImage(_cpu.Xsave, ulong.MaxValue, 0x1F80);
        Start(ulong.MaxValue);
        _cpu.Regs.Rbx = 0x4000_0000 + 4096 - 512;
        using var assist = new InstructionAssist(_cpu);
        Assert.Equal(AssistKind.Injected, assist.TryHandle(Encode("xsave64")).Kind);

        Assert.Equal((GuestFault.PfVector, true, 2u), _cpu.Injected);
        Assert.Equal(0x4000_1000UL, _cpu.Sregs.Cr2);
        byte[] after = new byte[4096];
        _cpu.Memory.Read(new GuestAddress(lastPage), after);
        Assert.Equal(pattern, after);
    }

    private void AssertFault(string name, Action spoil, byte vector, bool hasErrorCode)
    {
        byte[]? code = Encode(name);
        if (code is null)
        {
            output.WriteLine($"SKIPPED: this processor has no {name}");
            return;
        }

        Start(7);
        spoil();
        byte[] image = _cpu.Xsave.ToArray();
        using var assist = new InstructionAssist(_cpu);
        Assert.Equal(AssistKind.Injected, assist.TryHandle(code).Kind);
        Assert.Equal((vector, hasErrorCode, 0u), _cpu.Injected);
        Assert.Equal(FakeCpu.CodeAddress, _cpu.Regs.Rip);
        Assert.Equal(image, _cpu.Xsave.ToArray());
    }
}
