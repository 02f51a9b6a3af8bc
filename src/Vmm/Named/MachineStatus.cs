using System.Text.Json.Serialization;

namespace Vmm.Named;

/// <summary>One machine, as seen at one moment.</summary>
internal sealed record MachineStatus
{
    [JsonIgnore]
    public MachineFolder Folder { get; init; } = null!;

    public string Name => Folder.Name;

    public required MachineStateName State { get; init; }

    /// <summary>For people: how it ended, or what is wrong; null where there is nothing to say.</summary>
    public string? Detail { get; init; }

    /// <summary>Null where it cannot be read.</summary>
    [JsonIgnore]
    public MachineRecord? Record { get; init; }

    public string? Kernel => Record?.Kernel;

    /// <summary>Bytes.</summary>
    public ulong? Memory => Record?.Memory;

    public int? Cpus => Record?.Cpus;

    public int? Pid => IsLive ? Record?.Pid : null;

    public int? ExitCode => IsLive ? null : Record?.ExitCode;

    public DateTimeOffset? Started => Record?.Started;

    public DateTimeOffset? Ended => IsLive ? null : Record?.Ended;

    /// <summary>Seconds since it was up; null where it does not run.</summary>
    public double? Uptime { get; init; }

    /// <summary>Seconds of processor time that its process used.</summary>
    public double? CpuTime { get; init; }

    /// <summary>Returns of its vCPUs to vmm so far.</summary>
    public long? Exits { get; init; }

    /// <summary>The same a second: on average, or since the last look.</summary>
    public double? ExitRate { get; init; }

    /// <summary>Bytes of its process in memory.</summary>
    public long? Resident { get; init; }

    /// <summary>Is there a process?</summary>
    [JsonIgnore]
    public bool IsLive => State < MachineStateName.Exited;

    /// <summary>Looks at the directory alone; asks no machine.</summary>
    public static MachineStatus Of(MachineFolder folder)
    {
        bool isRunning = folder.IsRunning;
        MachineRecord record;
        try
        {
            record = folder.Read();
        }
        catch (RecordException error)
        {
            return new MachineStatus { Folder = folder, State = MachineStateName.Damaged, Detail = error.Message };
        }

        if (isRunning)
        {
            return new MachineStatus
            {
                Folder = folder,
                Record = record,
                State = record.Again is not null ? MachineStateName.Restarting
                    : record.Started is null ? MachineStateName.Starting
                    : folder.IsToStop ? MachineStateName.Stopping
                    : MachineStateName.Running,
                Detail = record.Again is null ? null : record.Verdict,
                Uptime = record.Again is null && record.Started is { } since ? Math.Max(0, (DateTimeOffset.UtcNow - since).TotalSeconds) : null,
            };
        }

        bool hasEnded = record.ExitCode is not null;
        return new MachineStatus
        {
            Folder = folder,
            Record = record,
            State = hasEnded ? MachineStateName.Exited : MachineStateName.Dead,
            Detail = hasEnded ? record.Verdict
                : (record.Boot is { } boot && boot != MachineRecord.BootOfHost ? "the host restarted" : "its vmm was killed") + Left(folder, record),
        };
    }

    /// <summary>What a killed vmm left, for people.</summary>
    private static string Left(MachineFolder folder, MachineRecord record) =>
        Directory.Exists(folder.RuntimePath(record)) ? $"; it left {folder.RuntimePath(record)}" : "";
}
