using System.Text.Json;
using System.Text.Json.Serialization;
using Microsoft.Win32.SafeHandles;
using Tmds.Linux;
using Vmm.Named;

namespace Vmm.Daemon.Machines;

/// <summary>What vmmd wants of a machine.json, which vmm keeps for each machine with a name. The rest is passed over.</summary>
internal sealed record MachineFile
{
    private const int MostBytes = 16 << 20;

    public required int Version { get; init; }

    public required string Kernel { get; init; }

    public required ulong Memory { get; init; }

    public required int Cpus { get; init; }

    public DateTimeOffset? Created { get; init; }

    public DateTimeOffset? Started { get; init; }

    /// <summary>Does it run in the foreground of the command that started it? It has no log, and is gone at its end.</summary>
    public bool Foreground { get; init; }

    /// <summary>Is it one of <c>vmm run</c>, whose log is what its command said, not the console?</summary>
    public bool HasAgent { get; init; }

    /// <summary>Of its last start; null where there are none.</summary>
    public IReadOnlyList<StartStep>? Steps { get; init; }

    /// <summary>Its runs before the last one, the oldest first; null where there are none.</summary>
    public IReadOnlyList<MachineRun>? Earlier { get; init; }

    public DateTimeOffset? Ended { get; init; }

    /// <summary>When it will be started again (<c>--restart</c>); null where it will not.</summary>
    public DateTimeOffset? Again { get; init; }

    /// <summary>How it ended, for people.</summary>
    public string? Verdict { get; init; }

    public int? ExitCode { get; init; }

    /// <summary>Whether a process has the machine's lock: vmm's sign that it runs.</summary>
    public static bool IsTaken(string directory)
    {
        try
        {
            using SafeFileHandle file = File.OpenHandle(Path.Combine(directory, "lock"), FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            return IsLocked(file);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    /// <summary>Whether some process has a lock on the first byte (fcntl_locking(2)).</summary>
    private static unsafe bool IsLocked(SafeFileHandle file)
    {
        var asked = new flock { l_type = (short)LibC.F_WRLCK, l_whence = (short)LibC.SEEK_SET, l_len = 1 };

        // SAFETY: one struct on this stack; the handle is open.
        return LibC.fcntl((int)file.DangerousGetHandle(), LibC.F_OFD_GETLK, &asked) == 0 && asked.l_type != LibC.F_UNLCK;
    }

    /// <param name="directory">Of the machine.</param>
    /// <param name="fault">One line, where it cannot be read.</param>
    public static MachineFile? Read(string directory, out string? fault)
    {
        string path = Path.Combine(directory, "machine.json");
        fault = null;
        try
        {
            using FileStream file = File.OpenRead(path);
            if (file.Length > MostBytes)
            {
                fault = "its machine.json is too long to be what vmm wrote";
                return null;
            }

            MachineFile? read = JsonSerializer.Deserialize(file, MachineFileJson.Default.MachineFile);
            if (read is { Version: 1 })
            {
                return read;
            }

            fault = $"its machine.json was written by another vmm (version {read?.Version})";
        }
        catch (JsonException)
        {
            fault = "its machine.json is damaged";
        }
        catch (Exception error) when (error is FileNotFoundException or DirectoryNotFoundException)
        {
            fault = "it has no machine.json";
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            fault = $"its machine.json cannot be read: {error.Message}";
        }

        return null;
    }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(MachineFile))]
internal sealed partial class MachineFileJson : JsonSerializerContext;
