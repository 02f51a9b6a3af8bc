using System.Text;
using Vmm.Host;
using Vmm.Text;

namespace Vmm.Backends.Disks;

/// <summary>How writes of the guest are cached.</summary>
internal enum DiskCache
{
    /// <summary>The host's page cache; a flush makes durable.</summary>
    Writeback,

    /// <summary>Every write is durable when it completes.</summary>
    Writethrough,

    /// <summary>O_DIRECT: not the page cache, only the medium's own.</summary>
    None,

    /// <summary>Flushes are ignored: fast, but data is lost if the host crashes.</summary>
    Unsafe,
}

/// <summary><c>--disk PATH[,option...]</c>, checked as far as that goes without looking at files. A comma in a path or
/// value is written twice.</summary>
internal sealed record DiskSpec(string Path, bool ReadOnly = false)
{
    /// <summary>Is the path a descriptor of this process (/proc/self/fd), as for the image that vmm makes of a root directory? Other
    /// processes cannot open it.</summary>
    public bool IsOfThisProcess => Path.StartsWith("/proc/self/fd/", StringComparison.Ordinal);

    /// <summary>What may follow the path, for help and for errors.</summary>
    public static IReadOnlyList<ManualRow> Parts =>
    [
        new("readonly", "the guest cannot write to it; other machines may read it at the same time"),
        new("format=raw|qcow2", "how its bytes are stored; if not given, qcow2 where the name ends in .qcow2, else raw"),
        new("cache=writeback|writethrough|none|unsafe",
            "writeback (if not given): the host's page cache, made durable by the guest's flushes; writethrough: every write is "
            + "durable when it completes; none: without the page cache (O_DIRECT); unsafe: flushes are ignored, data is lost if the host crashes"),
        new("serial=TEXT", "what the guest sees as its serial number: up to 20 ASCII characters"),
        new("blocksize=BYTES", "a logical block: 512, 1024, 2048 or 4096 bytes"),
        new("queues=N", "virtqueues, 1 to 64; 1 if not given"),
        new("overlay=PATH", "writes go to this qcow2 image, which is made if there is none; the disk itself is only read"),
        new("ephemeral", "writes are discarded when the machine ends; the disk itself is only read"),
        new("backing=PATH", "a backing file outside the image's own directory that may be opened"),
        new("discard=on|off", "whether what the guest discards becomes free space in the file; on if not given"),
        new("iops=N", "at most so many requests a second"),
        new("bw=SIZE", "at most so many bytes a second"),
        new("fault=eio@RATE|latency@MS|torn@SECTOR",
            "faults for tests: a share of requests, 0 to 1, fails; each takes so much longer; a write across a sector's start "
            + "stops there"),
        new("seed=N", "the same seed fails the same requests"),
    ];

    /// <summary>Never guessed from the content: what <c>format=</c> says, else qcow2 for the extension .qcow2, else raw.</summary>
    public DiskFormat Format { get; init; }

    /// <summary>It comes from <c>format=</c>; else the content must not contradict it.</summary>
    public bool FormatIsGiven { get; init; }

    public DiskCache Cache { get; init; }

    /// <summary>ASCII, up to 20 characters.</summary>
    public string Serial { get; init; } = "";

    /// <summary>Bytes of a logical block; 0 for 512.</summary>
    public uint BlockSize { get; init; }

    public int Queues { get; init; } = 1;

    /// <summary>Writes go to this qcow2 image instead, which is made if there is none; the disk itself is only read.</summary>
    public string? Overlay { get; init; }

    /// <summary>Writes are discarded when the machine ends; the disk itself is only read.</summary>
    public bool Ephemeral { get; init; }

    /// <summary>The one backing file outside the image's own directory that may be opened.</summary>
    public string? Backing { get; init; }

    /// <summary>Discards free space in the file.</summary>
    public bool Discard { get; init; } = true;

    /// <summary>Requests a second; 0 for no limit.</summary>
    public ulong Iops { get; init; }

    /// <summary>Bytes a second; 0 for no limit.</summary>
    public ulong Bandwidth { get; init; }

    /// <summary>Faults made on purpose.</summary>
    public DiskFaults Faults { get; init; }

    /// <exception cref="UsageException">An option is unknown or wrong, or there is no path.</exception>
    public static DiskSpec Parse(string text)
    {
        List<string> parts = OptionText.Split(text);
        if (parts[0].Length == 0)
        {
            throw new UsageException($"--disk {text}: no path; write --disk PATH[,option...]");
        }

        // The form of other virtual machine monitors. A file with such a name is written ./path=x.
        if (OptionText.Parse(parts[0]) is ("path" or "file", { Length: > 0 } path))
        {
            throw new UsageException($"--disk {text}: the path comes first and has no name; did you mean --disk "
                + $"{string.Join(',', parts.Skip(1).Prepend(path))}? ({parts[0]} itself is ./{parts[0]})");
        }

        var spec = new DiskSpec(parts[0])
        {
            Format = DiskFormats.OfName(parts[0]),
        };
        for (int i = 1; i < parts.Count; i++)
        {
            (string option, string? value) = OptionText.Parse(parts[i]);
            spec = spec.With(text, option, value);
        }

        return spec.Check(text);
    }

    private DiskSpec With(string text, string option, string? value) => (option, value) switch
    {
        ("readonly" or "ro", null) => this with { ReadOnly = true },
        ("ephemeral", null) => this with { Ephemeral = true },
        ("format", not null) when DiskFormats.Parse(value) is { } format =>
            this with { Format = format, FormatIsGiven = true },
        ("cache", "writeback") => this with { Cache = DiskCache.Writeback },
        ("cache", "writethrough") => this with { Cache = DiskCache.Writethrough },
        ("cache", "none") => this with { Cache = DiskCache.None },
        ("cache", "unsafe") => this with { Cache = DiskCache.Unsafe },
        ("discard", "on") => this with { Discard = true },
        ("discard", "off") => this with { Discard = false },
        ("serial", { Length: <= 20 }) when Ascii.IsValid(value) => this with { Serial = value },
        ("serial", not null) => throw Wrong(text, "serial= takes up to 20 ASCII characters"),
        ("blocksize", not null) => this with
        {
            BlockSize = (uint)Number(text, option, value, 512, 4096) is var size && (size & (size - 1)) == 0
                ? size
                : throw Wrong(text, "blocksize= takes 512, 1024, 2048 or 4096"),
        },
        ("queues", not null) => this with { Queues = (int)Number(text, option, value, 1, 64) },
        ("overlay", { Length: > 0 }) => this with { Overlay = value },
        ("backing", { Length: > 0 }) => this with { Backing = value },
        ("iops", not null) => this with { Iops = Number(text, option, value, 1, 1_000_000_000) },
        ("bw", not null) => this with { Bandwidth = ByteSize.Parse(value, $"--disk {text}: bw") },
        ("fault", not null) => this with { Faults = DiskFaults.Parse(text, Faults, value) },
        ("seed", not null) => this with
        {
            Faults = Faults with { Seed = (int)Number(text, option, value, 0, int.MaxValue) },
        },
        ("format" or "cache" or "discard" or "serial" or "blocksize" or "queues" or "overlay" or "backing" or "iops"
            or "bw" or "fault" or "seed", _) => throw Wrong(text, $"'{option}' takes another value; there are: {ManualRow.List(Parts)}"),
        ("readonly" or "ro" or "ephemeral", _) => throw Wrong(text, $"'{option}' takes no value"),
        _ => throw Wrong(text, OptionText.Unknown(option, Parts)),
    };

    private DiskSpec Check(string text)
    {
        if (Ephemeral && Overlay is not null)
        {
            throw Wrong(text, "ephemeral and overlay= both say where writes go; give one");
        }

        if (ReadOnly && (Ephemeral || Overlay is not null))
        {
            throw Wrong(text, "readonly leaves nothing to write to an overlay; give one of the two");
        }

        return Backing is not null && Format != DiskFormat.Qcow2
            ? throw Wrong(text, "backing= goes with format=qcow2; a raw image has no backing file")
            : this;
    }

    private static ulong Number(string text, string option, string value, ulong least, ulong most) =>
        OptionText.Number(value, least, most) ?? throw Wrong(text, $"{option}= takes a number from {least} to {most}");

    private static UsageException Wrong(string text, string why) => new($"--disk {text}: {why}");
}
