using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Bench.Guests;

/// <summary>The code of a <see cref="GuestImage"/>: batches of samples on vCPU 0, a partner on vCPU 1, handlers.</summary>
/// <remarks>On vCPU 0, R15 counts the samples that are left, RDI is where the next one goes, RSI the operand. In the
/// timer's scenarios the handler takes the samples, and the code that was interrupted only waits.</remarks>
internal sealed class GuestProgram(Scenario scenario)
{
    private const uint Apic = 0xfee0_0000, Spurious = 0xf0, EndOfInterrupt = 0xb0, LvtTimer = 0x320;
    private const uint TscDeadlineMode = 2 << 17, TscDeadlineMsr = 0x6e0;

    private readonly Assembler _code = new(64);

    /// <param name="origin">The address of the code.</param>
    /// <param name="entries">Where each vCPU starts.</param>
    /// <param name="handlers">One for each vector from <see cref="GuestImage.InterruptVector"/>.</param>
    public byte[] Assemble(ulong origin, out ulong[] entries, out ulong[] handlers)
    {
        Label[] starts = [_code.CreateLabel(), _code.CreateLabel()];
        Label flag = _code.CreateLabel(), timer = _code.CreateLabel(), arm = _code.CreateLabel();
        WriteBatches(ref starts[0]);
        WritePartner(ref starts[1]);
        WriteFlagHandler(ref flag);
        WriteTimerHandler(ref timer, ref arm);
        using var bytes = new MemoryStream();
        AssemblerResult result = _code.Assemble(
            new StreamCodeWriter(bytes), origin, BlockEncoderOptions.ReturnNewInstructionOffsets);
        entries = [result.GetLabelRIP(starts[0]), result.GetLabelRIP(starts[1])];
        ulong onFlag = result.GetLabelRIP(flag);
        handlers = [onFlag, onFlag, result.GetLabelRIP(timer), result.GetLabelRIP(arm)];
        return bytes.ToArray();
    }

    private void WriteBatches(ref Label start)
    {
        Label batch = _code.CreateLabel(), sample = _code.CreateLabel();
        _code.Label(ref start);
        _code.mov(r13d, Apic);
        _code.mov(__dword_ptr[r13 + Spurious], 0x1ff);                  // switched on
        _code.mov(__dword_ptr[r13 + LvtTimer], TscDeadlineMode | GuestImage.TimerVector);
        _code.mov(esi, (uint)GuestImage.Operand);
        _code.mov(r12d, (uint)GuestImage.Sink);
        _code.mov(r11d, (uint)GuestImage.Kick);
        _code.mov(r10d, (uint)GuestImage.Flag);
        _code.xor(ecx, ecx);
        if (scenario.NeedsPartner)
        {
            // An interrupt that comes before the partner's APIC is switched on would be lost.
            Label again = _code.CreateLabel();
            _code.Label(ref again);
            _code.pause();
            _code.cmp(__dword_ptr[GuestImage.PartnerReady], 0);
            _code.je(again);
        }

        scenario.Before?.Invoke(_code);
        _code.Label(ref batch);
        _code.@out(GuestImage.GatePort, al);
        _code.mov(r15d, scenario.Count);
        _code.mov(edi, (uint)GuestImage.Samples);
        if (scenario.HandlerSamples)
        {
            scenario.Write(_code);
            _code.jmp(batch);
            return;
        }

        // The low half of the counter is enough for differences below a second.
        _code.Label(ref sample);
        _code.rdtsc();
        _code.mov(r14d, eax);
        scenario.Write(_code);
        _code.rdtsc();
        _code.sub(eax, r14d);
        _code.mov(__dword_ptr[rdi], eax);
        _code.add(rdi, 4);
        _code.dec(r15d);
        _code.jnz(sample);
        _code.jmp(batch);
    }

    /// <summary>vCPU 1: waits for interprocessor interrupts, halted or spinning.</summary>
    private void WritePartner(ref Label start)
    {
        Label wait = _code.CreateLabel();
        _code.Label(ref start);
        _code.mov(r13d, Apic);
        _code.mov(__dword_ptr[r13 + Spurious], 0x1ff);
        _code.mov(r10d, (uint)GuestImage.Flag);
        _code.mov(__dword_ptr[GuestImage.PartnerReady], 1);
        _code.Label(ref wait);
        if (scenario.PartnerHalts)
        {
            _code.sti();
            _code.hlt();
        }
        else
        {
            _code.pause();
        }

        _code.jmp(wait);
    }

    private void WriteFlagHandler(ref Label start)
    {
        _code.Label(ref start);
        _code.mov(__dword_ptr[r10], 1);
        _code.mov(__dword_ptr[r13 + EndOfInterrupt], 0);
        _code.iretq();
    }

    /// <summary>How late is it? Then the next deadline, an interval from now.</summary>
    private void WriteTimerHandler(ref Label timer, ref Label arm)
    {
        Label done = _code.CreateLabel();
        _code.Label(ref timer);
        _code.rdtsc();
        _code.sub(eax, __dword_ptr[GuestImage.Deadline]);
        _code.mov(__dword_ptr[rdi], eax);
        _code.add(rdi, 4);
        _code.dec(r15d);
        _code.jz(done);
        _code.Label(ref arm);
        _code.rdtsc();
        _code.shl(rdx, 32);
        _code.or(rax, rdx);
        _code.add(rax, __qword_ptr[GuestImage.Interval]);
        _code.mov(__qword_ptr[GuestImage.Deadline], rax);
        _code.mov(rdx, rax);
        _code.shr(rdx, 32);
        _code.mov(ecx, TscDeadlineMsr);
        _code.wrmsr();
        _code.Label(ref done);
        _code.mov(__dword_ptr[r13 + EndOfInterrupt], 0);
        _code.iretq();
    }
}
