using System.Buffers.Binary;
using Vmm.Assist;
using Vmm.Devices.Memory;
using Vmm.Host;
using Vmm.Kvm.Abi;
using Vmm.Tests.Shared;

namespace Vmm.Tests.Assist;

/// <summary>A vCPU without KVM: a 64-bit kernel at CPL 0 with everything enabled that this processor has, and its
/// memory identity-mapped through page tables at the top.</summary>
internal sealed class FakeCpu : IAssistCpu, IDisposable
{
    public const ulong MemorySize = 4 << 20;

    /// <summary>Where tests put code.</summary>
    public const ulong CodeAddress = 0x1000;

    /// <summary>Where tests put operands: four pages.</summary>
    public const ulong DataAddress = 0x10000;

    /// <summary>Not mapped.</summary>
    public const ulong Hole = 0x8000_0000;

    private const ulong Tables = MemorySize - 0x10000;

    private readonly TestMemory _memory = new(MemorySize);
    private readonly byte[] _xsave = new byte[Math.Max(4096, XsaveSize())];
    private KvmRegs _regs;
    private KvmSregs _sregs;

    public FakeCpu()
    {
        // PML4[0] -> PDPT[0] -> PD[0..1], two pages of 2 MiB; all of it supervisor and writable.
        Memory.Write(new GuestAddress(Tables), Tables + 0x1003);
        Memory.Write(new GuestAddress(Tables + 0x1000), Tables + 0x2003);
        Memory.Write(new GuestAddress(Tables + 0x2000), 0x83UL);
        Memory.Write(new GuestAddress(Tables + 0x2008), 0x20_0083UL);
        _sregs.Cr0 = 0x8005_0033;
        _sregs.Cr3 = Tables;
        _sregs.Cr4 = Bits.Cr4Pae | Bits.Cr4OsFxsr | Bits.Cr4OsXmmExcpt | Bits.Cr4OsXsave | Bits.Cr4FsGsBase
            | Bits.Cr4Smap | Bits.Cr4Smep;
        _sregs.Efer = 0xD01;
        _sregs.Cs = new KvmSegment { Selector = 0x10, L = 1, S = 1, Type = 11, Present = 1, Limit = ~0u };
        _sregs.Ds = _sregs.Es = _sregs.Ss = new KvmSegment { Selector = 0x18, S = 1, Type = 3, Present = 1, Limit = ~0u };
        _regs.Rip = CodeAddress;
        _regs.Rsp = 0x8000;
        _regs.Rflags = 2;
        Xcr0 = XsaveLayout.Host.UserMask;
        ResetXsave();
    }

    public GuestMemory Memory => _memory.Memory;

    public ref KvmRegs Regs => ref _regs;

    public ref KvmSregs Sregs => ref _sregs;

    public Span<byte> Xsave => _xsave;

    public ulong Xcr0 { get; set; }

    public Dictionary<uint, ulong> Msrs { get; } = new()
    {
        [Msr.KernelGsBase] = 0xFFFF_8880_0000_1000,
        [Msr.TscAux] = 0x1007,
        [Msr.Tsc] = 0x1234_5678_9ABC,
        [Msr.Star] = 0x0023_0010_0000_0000,
        [Msr.Lstar] = 0,
        [Msr.Sfmask] = 0x47700,
        [Msr.Xss] = 0,
        [Msr.UCet] = 0,
        [Msr.Pl3Ssp] = 0,
        [Msr.Pl0Ssp] = 0,
        [Msr.Pl1Ssp] = 0,
        [Msr.Pl2Ssp] = 0,
    };

    /// <summary>What was injected last.</summary>
    public (byte Vector, bool HasErrorCode, uint ErrorCode)? Injected { get; set; }

    public bool AreRegsDirty { get; set; }

    public bool AreSregsDirty { get; set; }

    public int XsaveStores { get; set; }

    public int Flushes { get; private set; }

    public void MarkRegsDirty() => AreRegsDirty = true;

    public void MarkSregsDirty() => AreSregsDirty = true;

    public Span<byte> LoadXsave() => _xsave;

    public void StoreXsave() => XsaveStores++;

    public bool TrySetXcr0(ulong value)
    {
        if ((value & ~XsaveLayout.Host.UserMask) != 0 || (value & 1) == 0)
        {
            return false;
        }

        Xcr0 = value;
        return true;
    }

    public bool TryGetMsr(uint index, out ulong value) => Msrs.TryGetValue(index, out value);

    public bool TrySetMsr(uint index, ulong value)
    {
        if (!Msrs.ContainsKey(index))
        {
            return false;
        }

        Msrs[index] = value;
        return true;
    }

    public void InjectException(byte vector, bool hasErrorCode, uint errorCode) =>
        Injected = (vector, hasErrorCode, errorCode);

    public bool TryFlushTlb()
    {
        Flushes++;
        return true;
    }

    /// <summary>The initial configuration of all components.</summary>
    public void ResetXsave()
    {
        Xsave.Clear();
        BinaryPrimitives.WriteUInt16LittleEndian(Xsave, XsaveLayout.FcwInitial);
        BinaryPrimitives.WriteUInt32LittleEndian(Xsave[XsaveLayout.MxcsrOffset..], XsaveLayout.MxcsrInitial);
        BinaryPrimitives.WriteUInt32LittleEndian(Xsave[XsaveLayout.MxcsrMaskOffset..], Processor.MxcsrMask);
    }

    /// <summary>Puts code at RIP.</summary>
    public void Load(ReadOnlySpan<byte> code)
    {
        _regs.Rip = CodeAddress;
        Memory.Write(new GuestAddress(CodeAddress), code);
    }

    public void Dispose() => _memory.Dispose();

    private static int XsaveSize()
    {
        int size = XsaveLayout.ExtendedOffset;
        for (int i = 2; i < 63; i++)
        {
            if ((XsaveLayout.Host.UserMask >> i & 1) != 0)
            {
                size = Math.Max(size, XsaveLayout.Host[i].Offset + XsaveLayout.Host[i].Size);
            }
        }

        return size;
    }
}
