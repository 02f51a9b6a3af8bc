using System.Text.Json.Serialization;

namespace Vmm.Control;

/// <param name="Timeout">Seconds that the guest may take; 0 for as long as it likes; null for --stop-timeout.</param>
[JsonUnmappedMemberHandling(JsonUnmappedMemberHandling.Disallow)]
internal sealed record StopArguments(double? Timeout = null);

/// <param name="Disk">Its place among the machine's disks, from 0.</param>
/// <param name="Bytes">More than it has now.</param>
[JsonUnmappedMemberHandling(JsonUnmappedMemberHandling.Disallow)]
internal sealed record DiskArguments(int Disk, ulong Bytes);

/// <param name="Bytes">Memory that the guest is to keep.</param>
[JsonUnmappedMemberHandling(JsonUnmappedMemberHandling.Disallow)]
internal sealed record BalloonArguments(ulong Bytes);

/// <param name="Directory">A whole path, of what does not exist yet.</param>
/// <param name="Stop">End the machine once it is saved, with its disks as they were then.</param>
/// <param name="Live">Copy its memory while it runs.</param>
/// <param name="Diff">A whole path, of the snapshot from which only the differences are saved; null to save all.</param>
[JsonUnmappedMemberHandling(JsonUnmappedMemberHandling.Disallow)]
internal sealed record SnapshotArguments(string Directory, bool Stop = false, bool Live = false, string? Diff = null);

/// <param name="Files">Whole paths of empty files: for memory, for state, and for the overlay of each disk that has one.</param>
/// <param name="Asked">The guest itself asked for it (<c>--fork-port</c>): it is told once it is done.</param>
[JsonUnmappedMemberHandling(JsonUnmappedMemberHandling.Disallow)]
internal sealed record ForkArguments(IReadOnlyList<string> Files, bool Asked = false);

/// <param name="Data">Base64; empty at the end.</param>
[JsonUnmappedMemberHandling(JsonUnmappedMemberHandling.Disallow)]
internal sealed record InputArguments(uint Stream, byte[] Data);

/// <param name="Fd">1: standard output, 2: standard error.</param>
/// <param name="Bytes">So much more may come.</param>
[JsonUnmappedMemberHandling(JsonUnmappedMemberHandling.Disallow)]
internal sealed record CreditArguments(uint Stream, int Fd, uint Bytes);

/// <param name="Signal">Its number, 1 to 64.</param>
[JsonUnmappedMemberHandling(JsonUnmappedMemberHandling.Disallow)]
internal sealed record SignalArguments(uint Stream, int Signal);

[JsonUnmappedMemberHandling(JsonUnmappedMemberHandling.Disallow)]
internal sealed record ResizeArguments(uint Stream, ushort Rows, ushort Columns);

/// <param name="Fd">1 or 2: nobody reads it any more. Null: nor anything else of the stream.</param>
[JsonUnmappedMemberHandling(JsonUnmappedMemberHandling.Disallow)]
internal sealed record CloseArguments(uint Stream, int? Fd = null);

/// <param name="Replay">Begin with what the guest said last.</param>
[JsonUnmappedMemberHandling(JsonUnmappedMemberHandling.Disallow)]
internal sealed record ConsoleArguments(bool Replay = false);

/// <summary>A process to be started in the guest.</summary>
[JsonUnmappedMemberHandling(JsonUnmappedMemberHandling.Disallow)]
internal sealed record ExecArguments
{
    /// <summary>The program and its arguments.</summary>
    public required IReadOnlyList<string> Args { get; init; }

    /// <summary><c>NAME=VALUE</c>, beside what the command of <c>vmm run</c> has.</summary>
    public IReadOnlyList<string> Env { get; init => field = value ?? []; } = [];      // the generated reader sets null where it is missing

    /// <summary>Where it starts; null for where the command of <c>vmm run</c> did. Likewise <see cref="User"/>.</summary>
    public string? Cwd { get; init; }

    public string? User { get; init; }

    /// <summary>Give it a terminal.</summary>
    public bool Tty { get; init; }

    public ushort Rows { get; init; }

    public ushort Columns { get; init; }
}
