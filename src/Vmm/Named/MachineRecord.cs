using System.Text.Json;
using System.Text.Json.Serialization;
using Vmm.Boot;
using Vmm.Host;
using Vmm.Named.Limits;
using Vmm.Named.Logs;

namespace Vmm.Named;

/// <summary>What is kept of a machine with a name: machine.json in its directory, for people, and for vmm to start it again.
/// </summary>
/// <remarks>What is not required may be missing in the file: the generated reader then sets it to null. Written by who starts the machine, then by the machine itself, always beside the old one and renamed. Times are UTC.
/// </remarks>
internal sealed record MachineRecord
{
    /// <summary>Raised when an older vmm would misunderstand the file.</summary>
    public const int CurrentVersion = 1;

    public const string FileName = "machine.json";

    private const int MostBytes = 16 << 20, MostEarlier = 16;

    public required int Version { get; init; }

    /// <summary>The same as its directory's.</summary>
    public required string Name { get; init; }

    /// <summary>vmm's options and the guest's command, without what makes it start in the background.</summary>
    public required IReadOnlyList<string> CommandLine { get; init; }

    /// <summary>Where it was started: relative paths begin there.</summary>
    public required string Directory { get; init; }

    /// <summary>Is it a machine of <c>vmm run</c>, with vmm's agent in it?</summary>
    public required bool HasAgent { get; init; }

    /// <summary>Does it run in the foreground, as a part of the command that started it? It has no log then, is started by nobody else,
    /// and is removed at its end.</summary>
    public bool Foreground { get; init; }

    /// <summary>As the user called it.</summary>
    public required string Kernel { get; init; }

    /// <summary>Bytes.</summary>
    public required ulong Memory { get; init; }

    public required int Cpus { get; init; }

    /// <summary>Ports of this host that lead into it, as <c>127.0.0.1:8080:80</c>.</summary>
    public IReadOnlyList<string> Ports { get; init => field = value ?? []; } = [];

    /// <summary><c>no</c>, <c>always</c>, <c>on-failure</c> or <c>on-failure:N</c>.</summary>
    public string Restart { get; init => field = value ?? RestartPolicy.NoText; } = RestartPolicy.NoText;

    /// <summary>How often it was started anew by that since somebody started it.</summary>
    public int Restarts { get; init; }

    /// <summary>Seconds that it has to shut down before it is ended.</summary>
    public required double StopTimeout { get; init; }

    /// <summary>Processors that it gets at most; null for no limit.</summary>
    public double? CpuLimit { get; init; }

    /// <summary>Bytes from which on memory is taken back from it; null for no limit.</summary>
    public ulong? MemoryHigh { get; init; }

    /// <summary>What it reads and writes of block devices at most; null for no limit.</summary>
    public IoLimit? IoLimit { get; init; }

    /// <summary>Directories of the control groups that hold those limits.</summary>
    public IReadOnlyList<string> Cgroups { get; init => field = value ?? []; } = [];

    /// <summary>Where the directory with its control socket is: <c>/run/user/1000/vmm</c>.</summary>
    public required string Runtime { get; init; }

    public required DateTimeOffset Created { get; init; }

    /// <summary>When it was up last; null if it never was.</summary>
    public DateTimeOffset? Started { get; init; }

    /// <summary>The steps of its last start, in order; empty before it was up.</summary>
    public IReadOnlyList<StartStep> Steps { get; init => field = value ?? []; } = [];

    /// <summary>Its runs before this one, the oldest first; no more than the last few.</summary>
    public IReadOnlyList<MachineRun> Earlier { get; init => field = value ?? []; } = [];

    /// <summary>When it ended last; null while it runs, and if it was killed.</summary>
    public DateTimeOffset? Ended { get; init; }

    /// <summary>The process that runs it, or ran it last; 0 before it is started.</summary>
    public int Pid { get; init; }

    /// <summary>Of the host's boot in which that process was (/proc/sys/kernel/random/boot_id).</summary>
    public string? Boot { get; init; }

    /// <summary>How it ended, for people; null where <see cref="Ended"/> is.</summary>
    public string? Verdict { get; init; }

    /// <summary>What its vmm ended with; null where <see cref="Ended"/> is.</summary>
    public int? ExitCode { get; init; }

    /// <summary>It will be started again at this time; null where it will not.</summary>
    public DateTimeOffset? Again { get; init; }

    /// <summary>What it said, in its directory.</summary>
    public string Log { get; init => field = value ?? LogFormat.FileName; } = LogFormat.FileName;

    /// <summary>Of the boot that this host is in.</summary>
    public static string BootOfHost => SmallFile.BootId ?? "";

    /// <summary>All limits.</summary>
    [JsonIgnore]
    public MachineLimits Limits
    {
        get => new(CpuLimit, MemoryHigh, IoLimit);
        init => (CpuLimit, MemoryHigh, IoLimit) = (value.Cpu, value.MemoryHigh, value.Io);
    }

    private MachineRun LastRun => new() { Started = Started, Steps = Steps, Ended = Ended, ExitCode = ExitCode, Verdict = Verdict };

    /// <summary>What it is when it is started again: its last run is one of the earlier ones.</summary>
    public MachineRecord Anew() => this with
    {
        Earlier = Started is null && Ended is null
            ? Earlier
            : [.. Earlier.TakeLast(MostEarlier - 1), LastRun],
        Started = null,
        Steps = [],
        Ended = null,
        Verdict = null,
        ExitCode = null,
        Again = null,
    };

    /// <param name="directory">Of the machine.</param>
    /// <exception cref="RecordException">It is not there, damaged, or of another version.</exception>
    public static MachineRecord Read(string directory)
    {
        string path = Path.Combine(directory, FileName);
        try
        {
            using FileStream file = File.OpenRead(path);
            if (file.Length > MostBytes)
            {
                throw new RecordException($"{path}: is too long to be what vmm wrote");
            }

            using JsonDocument document = JsonDocument.Parse(file);
            if (document.RootElement.ValueKind != JsonValueKind.Object
                || !document.RootElement.TryGetProperty("version", out JsonElement version) || !version.TryGetInt32(out int number))
            {
                throw new RecordException($"{path}: is damaged: it has no version");
            }

            if (number != CurrentVersion)
            {
                throw new RecordException($"{path}: was written by another vmm (version {number}; this one knows {CurrentVersion})");
            }

            MachineRecord? record = document.RootElement.Deserialize(MachineRecordJson.Default.MachineRecord);
            return record is not null && record.Check() ? record : throw new RecordException($"{path}: is damaged");
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException or FormatException)
        {
            throw new RecordException($"{path}: is damaged: {(error as JsonException)?.Path ?? "not JSON"}");
        }
        catch (Exception error) when (FileErrors.Describe(error) is { } why)
        {
            throw new RecordException($"{path}: {why}", isMissing: error is FileNotFoundException or DirectoryNotFoundException);
        }
    }

    /// <summary>Writes it beside the old one and puts it in its place. Where the disk is full it is written over the old one: how a machine
    /// ended is not to be lost for that.</summary>
    /// <param name="directory">Of the machine.</param>
    /// <exception cref="HostException">It cannot be written to.</exception>
    public void Write(string directory)
    {
        string path = Path.Combine(directory, FileName);
        string beside = string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{path}.{Environment.ProcessId}.new");   // others may write one, too
        byte[] content = [.. JsonSerializer.SerializeToUtf8Bytes(this, MachineRecordJson.Default.MachineRecord), (byte)'\n'];
        try
        {
            using (FileStream file = PrivateFiles.Create(beside))
            {
                file.Write(content);
            }

            File.Move(beside, path, overwrite: true);
        }
        catch (Exception error) when (FileErrors.Describe(error) is { } why)
        {
            PrivateFiles.TryDelete(beside);
            if (!PrivateFiles.IsFull(error) || !PrivateFiles.TryWriteOver(path, content))
            {
                throw new HostException($"{path}: {why}{FileErrors.Remedy(error.HResult)}");
            }
        }
    }

    /// <summary>Whoever can write there is the user; still what would lead elsewhere is refused.</summary>
    private bool Check() => MachineName.IsValid(Name) && Runtime is ['/', ..] && Directory is ['/', ..] && CommandLine.Count > 0
        && CommandLine.All(static word => word is not null && !word.Contains('\0', StringComparison.Ordinal))
        && Ports.All(static port => port is not null && port.Contains(':', StringComparison.Ordinal)) && Steps.All(static step => step is not null)
        && RestartPolicy.TryParse(Restart, out _) && Log == LogFormat.FileName && Cpus > 0 && StopTimeout is >= 0 and < 1e9
        && Cgroups.All(static group => Path.GetFileName(group)?.StartsWith("vmm-", StringComparison.Ordinal) == true);
}

/// <summary>A machine.json that cannot be used.</summary>
/// <param name="isMissing">There is none.</param>
internal sealed class RecordException(string message, bool isMissing = false) : Exception(message)
{
    public bool IsMissing { get; } = isMissing;
}

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    WriteIndented = true,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    RespectNullableAnnotations = true,
    RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(MachineRecord))]
internal sealed partial class MachineRecordJson : JsonSerializerContext;
