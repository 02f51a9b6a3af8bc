namespace Vmm.Control;

/// <summary>How a machine is.</summary>
internal sealed record ControlStatus
{
    public required MachineCondition State { get; init; }

    public string? Name { get; init; }

    public required int Pid { get; init; }

    public required string Kernel { get; init; }

    /// <summary>Bytes.</summary>
    public required ulong Memory { get; init; }

    public required int Cpus { get; init; }

    /// <summary>Seconds since the guest's first instruction; 0 before.</summary>
    public required double Uptime { get; init; }

    /// <summary>Does the agent of <c>vmm run</c> answer?</summary>
    public required bool Agent { get; init; }
}

/// <summary>What a machine has used so far.</summary>
internal sealed record ControlStatistics
{
    /// <summary>Returns to user space, of each vCPU.</summary>
    public required IReadOnlyList<long> Exits { get; init; }

    /// <summary>The same of all vCPUs by reason, as KVM calls it: <c>IO</c>, <c>MMIO</c>. Only those that were.</summary>
    public required IReadOnlyDictionary<string, long> ExitsByReason { get; init; }

    /// <summary>The same by reason and device, with how long each kept its vCPU out of the guest. Only of a machine that was started with
    /// <c>--profile</c>: to time an exit costs.</summary>
    public IReadOnlyList<ExitFigures>? ExitsByDevice { get; init; }

    /// <summary>Seconds of processor time, guest included.</summary>
    public required double CpuTime { get; init; }

    /// <summary>Bytes that are in memory now, guest's included.</summary>
    public required long Resident { get; init; }

    /// <summary>Null where there is none.</summary>
    public BalloonFigures? Balloon { get; init; }

    public required IReadOnlyList<DiskFigures> Disks { get; init; }

    public required IReadOnlyList<NetFigures> Nets { get; init; }
}

/// <summary>Exits of one reason for one device.</summary>
/// <param name="Reason"><c>IO</c>, <c>MMIO</c>.</param>
/// <param name="Device"><c>COM1</c>, <c>virtio-blk0</c>; empty where the exit is for none.</param>
/// <param name="Time">Seconds in user space, from the exit until the guest went on.</param>
/// <param name="Below">How many took less than 2^10, 2^12 and so on to 2^30 nanoseconds: each counts those before it, too.</param>
internal sealed record ExitFigures(string Reason, string Device, long Count, double Time, IReadOnlyList<long> Below)
{
    public const int LeastPower = 10, MostPower = 30, PowerStep = 2;
}

/// <param name="Target">Bytes that the guest is to keep.</param>
/// <param name="Actual">Bytes that it has, as it says.</param>
/// <param name="Released">Bytes that went back to the host so far, again and again.</param>
/// <param name="Free">Bytes that nothing in the guest uses, as it said last; null before.</param>
/// <param name="Available">Bytes that its programs could get.</param>
internal sealed record BalloonFigures(ulong Target, ulong Actual, ulong Released, ulong? Free = null, ulong? Available = null);

/// <summary>Requests of the guest to one disk.</summary>
internal sealed record DiskFigures(string Name, ulong Bytes, long Reads, long Writes, long Flushes, long Discards);

/// <summary>One network card, from the guest's side.</summary>
internal sealed record NetFigures(
    string Name, long SentFrames, long SentBytes, long SendDropped, long ReceivedFrames, long ReceivedBytes, long ReceiveDropped);

/// <param name="Told">The guest was told; false: nothing in it listens, so it was ended.</param>
internal sealed record ControlStopping(bool Told);

/// <param name="Pause">Seconds that the guest stood still, all together.</param>
/// <param name="Stops">How often it did.</param>
/// <param name="LongestPause">Seconds of the longest time.</param>
/// <param name="Memory">Bytes of its memory that were written; the rest is zero.</param>
/// <param name="Held">Seconds that its programs were stopped by vmm's agent; null where there is none.</param>
/// <param name="Note">What could not be done as asked; null for nothing.</param>
internal sealed record ControlSaved(double Pause, int Stops, double LongestPause, ulong Memory, double? Held = null, string? Note = null);

/// <param name="Pause">Seconds that the guest stood still.</param>
/// <param name="Memory">Bytes of its memory that were put back.</param>
internal sealed record ControlRewound(double Pause, ulong Memory);

/// <param name="Stream">Its number on this connection.</param>
/// <param name="InputWindow">Bytes of input that may come without credit.</param>
/// <param name="OutputWindow">Bytes of each output that come without credit.</param>
internal sealed record ControlOpened(uint Stream, uint InputWindow, uint OutputWindow)
{
    /// <summary>Can a machine have said it?</summary>
    public bool IsPossible() => Stream > 0 && OutputWindow > 0;
}

/// <summary>What makes another machine like it, which goes on from a copy of its memory.</summary>
internal sealed record ControlForkPlan
{
    /// <summary>Of the vmm that runs it, without the program.</summary>
    public required IReadOnlyList<string> CommandLine { get; init; }

    /// <summary>Where that was started.</summary>
    public required string Directory { get; init; }

    public string? Name { get; init; }

    public required string Kernel { get; init; }

    /// <summary>Bytes.</summary>
    public required ulong Memory { get; init; }

    public required int Cpus { get; init; }

    /// <summary>Is it one of <c>vmm run</c>?</summary>
    public required bool Agent { get; init; }

    /// <summary>Seconds.</summary>
    public required double StopTimeout { get; init; }

    /// <summary>How many ephemeral disks it has.</summary>
    public required int Overlays { get; init; }
}

/// <param name="Pause">Seconds that the guest stood still.</param>
/// <param name="Memory">Bytes of its memory that were copied; the rest is zero.</param>
internal sealed record ControlForked(double Pause, ulong Memory);
