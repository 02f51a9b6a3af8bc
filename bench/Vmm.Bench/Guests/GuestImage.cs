using System.Buffers.Binary;
using Vmm.Boot;
using Vmm.Kvm.Abi;

namespace Vmm.Bench.Guests;

/// <summary>A guest that times one thing again and again by its own time-stamp counter: its memory and the registers
/// that it starts with, the same for vmm's loop and for the one in C.</summary>
/// <remarks>
/// It starts in long mode, at CPL 0 or 3 at once, all of its memory and the first 4 GiB mapped one to one and open to
/// programs; so nothing need be set up by instructions of its own, which PVM hosts emulate slowly or not at all.
/// <code>
/// 1000 GDT   2000 IDT   3000 TSS of vCPU 0, 3800 of vCPU 1   4000 page tables   c000, d000 stacks for interrupts
/// e000, e800 stacks   f000 variables   1_0000 code   2_0000 the operand of the instruction   10_0000 samples
/// </code>
/// What it asks of the host: port 0x80 takes and answers a byte; 0x81 raises the interrupt; 0x82 ends a batch and waits for
/// the next. A write to <see cref="Kick"/> signals an eventfd, and the event loop raises the interrupt for it.
/// </remarks>
internal sealed class GuestImage
{
    public const ulong MemorySize = 2 << 20;
    public const ulong Samples = 0x10_0000;
    public const ulong Sink = 0xd200_0000, Kick = 0xd200_1000;
    public const byte SinkPort = 0x80, RaisePort = 0x81, GatePort = 0x82;

    /// <summary>Where the one MSI goes: vCPU 0, by its vector.</summary>
    public const uint MessageAddress = 0xfee0_0000, MessageData = InterruptVector;

    /// <summary>x87, SSE and AVX.</summary>
    public const ulong Xcr0 = 7;

    public const int MostSamples = 100_000;

    /// <summary>Variables: set by the handler; the deadline; ticks between deadlines; set once vCPU 1 listens.</summary>
    internal const ulong Flag = 0xf000, Deadline = 0xf040, Interval = 0xf080, PartnerReady = 0xf0c0;

    internal const ulong Operand = 0x2_0000;
    internal const byte InterruptVector = 0x40, IpiVector = 0x41, TimerVector = 0x42, ArmVector = 0x43;

    private const ulong Gdt = 0x1000, Idt = 0x2000, Tss = 0x3000, TssStride = 0x800, Tables = 0x4000;
    private const ulong InterruptStack = 0xc000, InterruptStackStride = 0x1000, Stack = 0xe000, StackStride = 0x800;
    private const ulong Code = 0x1_0000;

    // As Linux has them, which is what PVM hosts expect of a user program.
    private const ushort KernelCode = 0x10, KernelData = 0x18, UserData = 0x2b, UserCode = 0x33, TssSelector = 0x40;

    private readonly byte[] _memory = new byte[Operand + 0x1000];
    private readonly ulong[] _entries;

    /// <param name="scenario">What to time.</param>
    /// <param name="cpl">Where from: 0 or 3.</param>
    /// <param name="ticksPerMicrosecond">Of the guest's time-stamp counter.</param>
    public GuestImage(Scenario scenario, int cpl, ulong ticksPerMicrosecond)
    {
        Cpl = cpl;
        Vcpus = scenario.NeedsPartner ? 2 : 1;
        var program = new GuestProgram(scenario);
        byte[] code = program.Assemble(Code, out _entries, out ulong[] handlers);
        code.CopyTo(_memory, (int)Code);
        Put(Interval, ticksPerMicrosecond * 100);
        WriteTables();
        for (int i = 0; i < handlers.Length; i++)
        {
            WriteGate(InterruptVector + i, handlers[i]);
        }
    }

    public int Cpl { get; }

    public int Vcpus { get; }

    /// <summary>The memory from address 0; behind it all is zero.</summary>
    public ReadOnlySpan<byte> Memory => _memory;

    public KvmRegs Regs(int vcpu) => new()
    {
        Rip = _entries[vcpu],
        Rsp = Stack + ((ulong)vcpu * StackStride) + StackStride,
        Rflags = 0x202 | (Cpl == 3 ? 0x3000UL : 0),     // interrupts on; IOPL 3 lets programs use ports
    };

    /// <param name="vcpu">Its number.</param>
    /// <param name="fresh">As KVM made them: the APIC base is kept.</param>
    public KvmSregs Sregs(int vcpu, KvmSregs fresh, CpuFeatureSet features)
    {
        KvmSegment data = Segment(Cpl == 3 ? UserData : KernelData, 3, isLong: false);
        return new KvmSregs
        {
            Cs = Segment(Cpl == 3 ? UserCode : KernelCode, 11, isLong: true),
            Ds = data,
            Es = data,
            Fs = data,
            Gs = data,
            Ss = data,
            Tr = new KvmSegment
            {
                Selector = (ushort)(TssSelector + (vcpu * 16)),
                Base = Tss + ((ulong)vcpu * TssStride),
                Limit = 103,
                Type = 11,
                Present = 1,
            },
            Ldt = new KvmSegment { Unusable = 1 },
            Gdt = new KvmDtable { Base = Gdt, Limit = 0x5f },
            Idt = new KvmDtable { Base = Idt, Limit = 0xfff },
            Cr0 = 0x8005_0033,
            Cr3 = Tables,
            Cr4 = 0x620                 // PAE, OSFXSR, OSXMMEXCPT; then FSGSBASE and OSXSAVE
                | (features.Contains("fsgsbase") ? 1UL << 16 : 0) | (features.Contains("xsave") ? 1UL << 18 : 0),
            Efer = 0xd01,               // SCE, LME, LMA, NXE
            ApicBase = fresh.ApicBase,
        };
    }

    private KvmSegment Segment(ushort selector, byte type, bool isLong) => new()
    {
        Selector = selector,
        Limit = ~0u,
        Type = type,
        Present = 1,
        Dpl = (byte)Cpl,
        S = 1,
        L = isLong ? (byte)1 : (byte)0,
        Db = isLong ? (byte)0 : (byte)1,
        G = 1,
    };

    private void WriteTables()
    {
        // Code and data for both levels (Intel SDM volume 3, 3.4.5), then the TSSs (8.2.3).
        Put(Gdt + KernelCode, 0x00af_9b00_0000_ffff);
        Put(Gdt + KernelData, 0x00cf_9300_0000_ffff);
        Put(Gdt + UserData - 3, 0x00cf_f300_0000_ffff);
        Put(Gdt + UserCode - 3, 0x00af_fb00_0000_ffff);
        for (ulong i = 0; i < 2; i++)
        {
            ulong tss = Tss + (i * TssStride);
            Put(Gdt + TssSelector + (i * 16), 0x0000_8b00_0000_0067 | (tss << 16));
            Put(tss + 4, InterruptStack + ((i + 1) * InterruptStackStride));        // RSP0
        }

        // PML4 -> PDPT -> four directories of 2 MiB pages: present, writable, open to programs.
        Put(Tables, (Tables + 0x1000) | 7);
        for (ulong gib = 0; gib < 4; gib++)
        {
            ulong directory = Tables + 0x2000 + (gib * 0x1000);
            Put(Tables + 0x1000 + (gib * 8), directory | 7);
            for (ulong i = 0; i < 512; i++)
            {
                Put(directory + (i * 8), (gib << 30) | (i << 21) | 0xe7);
            }
        }
    }

    /// <summary>An interrupt gate (Intel SDM volume 3, 6.14.1).</summary>
    private void WriteGate(int vector, ulong handler)
    {
        ulong at = Idt + ((ulong)vector * 16);
        Put(at, (handler & 0xffff) | ((ulong)KernelCode << 16) | (0x8eUL << 40) | ((handler & 0xffff_0000) << 32));
        Put(at + 8, handler >> 32);
    }

    private void Put(ulong address, ulong value) =>
        BinaryPrimitives.WriteUInt64LittleEndian(_memory.AsSpan((int)address), value);
}
