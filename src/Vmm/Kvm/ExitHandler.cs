using Vmm.Devices.Bus;
using Vmm.Kvm.Abi;

namespace Vmm.Kvm;

/// <summary>Decides what to do about one exit of one vCPU. Works on the shared page alone, so that tests need no KVM.</summary>
/// <remarks>Nothing is allocated here unless the machine ends. Called on the vCPU's thread only.</remarks>
/// <param name="posted">Posted port writes, which are delivered before each exit is handled; null where KVM posts none.</param>
internal sealed unsafe class ExitHandler(
    KvmRun* run, AddressBus ports, AddressBus memory, IExitAssist assist, PostedPortWrites? posted = null)
{
    private const byte IoOut = 1;
    private const int ReasonCount = 64;
    private const uint SuberrorEmulation = 1;
    private const ulong FlagInstructionBytes = 1;

    private readonly long[] _counts = new long[ReasonCount];

    /// <summary>Number of exits, indexed by exit reason.</summary>
    public ReadOnlySpan<long> Counts => _counts;

    /// <summary>Number of all exits.</summary>
    public long Total
    {
        get
        {
            long total = 0;
            foreach (long count in _counts)
            {
                total += count;
            }

            return total;
        }
    }

    /// <summary>Handles the exit that the page describes.</summary>
    /// <returns>Null to continue with KVM_RUN; else why the guest stopped.</returns>
    public GuestStop? Handle()
    {
        posted?.Deliver();
        KvmExitReason reason = run->ExitReason;
        _counts[(uint)reason < ReasonCount ? (int)reason : 0]++;
        switch (reason)
        {
            case KvmExitReason.KVM_EXIT_IO:
                run->KvmValidRegs = 0; // no registers needed for this exit, so probably not for the next either
                HandlePort();
                return null;
            case KvmExitReason.KVM_EXIT_MMIO:
                run->KvmValidRegs = 0;
                HandleMemory();
                return null;
            case KvmExitReason.KVM_EXIT_X86_RDMSR:
            case KvmExitReason.KVM_EXIT_X86_WRMSR:
                // error = 1 makes KVM inject #GP (KVM API section 5, KVM_EXIT_X86_RDMSR).
                run->MsrError = assist.HandleMsr(reason == KvmExitReason.KVM_EXIT_X86_WRMSR) ? (byte)0 : (byte)1;
                return null;
            case KvmExitReason.KVM_EXIT_INTERNAL_ERROR:
                return HandleInternalError();
            case KvmExitReason.KVM_EXIT_INTR:
            case KvmExitReason.KVM_EXIT_IRQ_WINDOW_OPEN:
                return null;
            case KvmExitReason.KVM_EXIT_SHUTDOWN:
                return GuestStop.Crashed("triple fault" + assist.Where());
            case KvmExitReason.KVM_EXIT_HLT:
                // Cannot happen with the in-kernel interrupt controllers; a test machine without them gets here.
                return GuestStop.Crashed("HLT without an interrupt controller" + assist.Where());
            case KvmExitReason.KVM_EXIT_SYSTEM_EVENT:
                return HandleSystemEvent();
            case KvmExitReason.KVM_EXIT_FAIL_ENTRY:
                ulong why = run->FailEntryHardwareEntryFailureReason;
                return GuestStop.Crashed(
                    $"the processor refused to enter it (reason 0x{why:x}; {EntryFailure.Explain(why)})" + assist.Where());
            default:
                return GuestStop.Crashed($"KVM came back with {reason}, which vmm does not know" + assist.Where());
        }
    }

    /// <summary>KVM_RUN was interrupted by a kick.</summary>
    public GuestStop? AfterKick() => assist.AfterKick();

    private void HandlePort()
    {
        int size = run->IoSize;
        byte* data = (byte*)run + run->IoDataOffset;
        bool isWrite = run->IoDirection == IoOut;

        // INS and OUTS come with a count: each element is an access of its own.
        for (uint left = run->IoCount; left > 0; left--)
        {
            // SAFETY: KVM put io.count elements of io.size bytes at io.data_offset of the page it shares with us.
            var element = new Span<byte>(data, size);
            if (isWrite)
            {
                ports.Write(run->IoPort, element);
            }
            else
            {
                ports.Read(run->IoPort, element);
            }

            data += size;
        }

        if (isWrite)
        {
            posted?.Written(run->IoPort);
        }
    }

    private void HandleMemory()
    {
        // SAFETY: mmio.data has eight bytes and KVM never sets len above that.
        var data = new Span<byte>(run->MmioData, (int)Math.Min(run->MmioLen, 8));
        if (run->MmioIsWrite != 0)
        {
            memory.Write(run->MmioPhysAddr, data);
        }
        else
        {
            memory.Read(run->MmioPhysAddr, data);
        }
    }

    private GuestStop? HandleInternalError()
    {
        if (run->InternalSuberror != SuberrorEmulation)
        {
            return GuestStop.Crashed($"KVM internal error, suberror {run->InternalSuberror}" + assist.Where());
        }

        bool hasBytes = run->InternalNdata >= 1 && (run->EmulationFailureFlags & FlagInstructionBytes) != 0;
        int count = hasBytes ? Math.Min((int)run->EmulationFailureInsnSize, 15) : 0;

        // SAFETY: the array in the page has 15 bytes.
        return assist.Complete(new ReadOnlySpan<byte>(run->EmulationFailureInsnBytes, count));
    }

    private GuestStop HandleSystemEvent()
    {
        // KVM_SYSTEM_EVENT_SHUTDOWN, _RESET, _CRASH (KVM API section 5).
        return run->SystemEventType switch
        {
            1 => GuestStop.PoweredOff,
            2 => GuestStop.Reset,
            _ => GuestStop.Crashed($"system event {run->SystemEventType}" + assist.Where()),
        };
    }
}

/// <summary>What the exit handler needs to know of the assist and of the vCPU's registers.</summary>
internal interface IExitAssist
{
    /// <summary>Finishes the instruction at which KVM's emulator gave up.</summary>
    /// <param name="bytes">Its bytes as far as KVM knows them; may be empty.</param>
    /// <returns>Null when the guest can go on.</returns>
    GuestStop? Complete(ReadOnlySpan<byte> bytes);

    /// <summary>A filtered MSR, described in the shared page. False makes it a #GP.</summary>
    bool HandleMsr(bool isWrite);

    GuestStop? AfterKick();

    /// <summary>For error messages: <c> at RIP 0x..., CR3 ...</c>.</summary>
    string Where();
}
