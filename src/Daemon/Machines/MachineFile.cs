using System.Text.Json;
using System.Text.Json.Serialization;
using Microsoft.Win32.SafeHandles;
using Vmm.Daemon.Hosting;

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

    public DateTimeOffset? Ended { get; init; }

    /// <summary>How it ended, for people.</summary>
    public string? Verdict { get; init; }

    public int? ExitCode { get; init; }

    /// <summary>Whether a process has the machine's lock: vmm's sign that it runs.</summary>
    public static bool IsTaken(string directory)
    {
        try
        {
            using SafeFileHandle file = File.OpenHandle(Path.Combine(directory, "lock"), FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            return Native.IsLocked(file);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return false;
        }
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
