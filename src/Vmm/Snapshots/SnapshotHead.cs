using System.Globalization;
using System.Text;
using Vmm.Devices.State;
using Vmm.Host;
using Vmm.Machines;

namespace Vmm.Snapshots;

/// <summary>What snapshot.json says: which machine, what it needs, and what the other files must be.</summary>
internal sealed record SnapshotHead
{
    public const int FormatVersion = 1;

    /// <summary>Bytes of the file at most.</summary>
    public const int MostBytes = 8 << 20;

    private const int IdBytes = 16;

    // The first field, of eight digits: the CRC-32C of the file with zeros in their place.
    private const string Start = "{\"checksum\":\"", Zeros = "00000000";

    /// <summary>vmm's version that wrote it.</summary>
    public required string Vmm { get; init; }

    /// <summary>32 digits by chance: the moment that was saved. A diff with its base merged in has the diff's. Empty where an older
    /// vmm wrote it.</summary>
    public string Id { get; init; } = "";

    public required SavedConfiguration Machine { get; init; }

    public required HostNeeds Host { get; init; }

    public required FileRecord State { get; init; }

    public required FileRecord Checksums { get; init; }

    /// <summary>Of a diff: what it is a diff to; null where it is whole.</summary>
    public BaseRecord? Base { get; init; }

    /// <summary>A new <see cref="Id"/>.</summary>
    public static string NewId()
    {
        byte[] bytes = new byte[IdBytes];
        SystemRandom.Fill(bytes);
        return Convert.ToHexStringLower(bytes);
    }

    public byte[] ToBytes()
    {
        var output = new System.Buffers.ArrayBufferWriter<byte>();
        using (var state = new StateWriter(output))
        {
            state.Write("checksum", Zeros);
            state.Version(FormatVersion);
            state.Write("vmm", Vmm);
            if (Id.Length > 0)
            {
                state.Write("id", Id);
            }

            state.Write("machine", Machine.Write);
            state.Write("host", Host.Write);
            state.Write("state", State.Write);
            state.Write("memoryChecksums", Checksums.Write);
            if (Base is { } record)
            {
                state.Write("base", record.Write);
            }
        }

        byte[] bytes = output.WrittenSpan.ToArray();
        WriteDigits(bytes, Crc32C.Of(bytes));
        return bytes;
    }

    /// <exception cref="StateException">It is damaged, or of another version.</exception>
    public static SnapshotHead Parse(byte[] bytes)
    {
        const string Name = "snapshot";
        if (!bytes.AsSpan().StartsWith(Encoding.ASCII.GetBytes(Start)) || bytes.Length < Start.Length + Zeros.Length)
        {
            throw new StateException(Name, "is not what vmm writes");
        }

        string digits = Encoding.ASCII.GetString(bytes, Start.Length, Zeros.Length);
        byte[] zeroed = [.. bytes];
        WriteDigits(zeroed, 0);
        if (digits != Digits(Crc32C.Of(zeroed)))
        {
            throw new StateException($"{Name}.checksum", "does not fit: the file is damaged");
        }

        StateReader state = StateReader.Parse(bytes, Name);
        state.String("checksum", Zeros.Length);
        state.Version(FormatVersion);
        var head = new SnapshotHead
        {
            Vmm = state.String("vmm", 64),
            Id = state.Has("id") ? ReadId(state) : "",
            Machine = SavedConfiguration.Read(state.Object("machine")),
            Host = HostNeeds.Read(state.Object("host")),
            State = FileRecord.Read(state.Object("state")),
            Checksums = FileRecord.Read(state.Object("memoryChecksums")),
            Base = state.Has("base") ? BaseRecord.Read(state.Object("base")) : null,
        };
        state.End();
        if (head.Checksums.Bytes != (ulong)MemoryChecksums.Count(head.Machine.Memory) * sizeof(uint))
        {
            throw new StateException($"{Name}.memoryChecksums.bytes", "is not the number of chunks that the memory has, times four");
        }

        return head.Base is null || head.Base.Pages.Bytes == (ulong)PageSet.ByteCount(head.Machine.Memory)
            ? head
            : throw new StateException($"{Name}.base.pages.bytes", "is not the number of pages that the memory has, by eight");
    }

    /// <summary>Reads an <see cref="Id"/>.</summary>
    internal static string ReadId(StateReader state)
    {
        string id = state.String("id", IdBytes * 2);
        return id.Length == IdBytes * 2 && id.All(char.IsAsciiHexDigitLower) ? id : throw state.Refuse("id", "is not 32 digits");
    }

    private static string Digits(uint checksum) => checksum.ToString("x8", CultureInfo.InvariantCulture);

    private static void WriteDigits(byte[] bytes, uint checksum) =>
        Encoding.ASCII.GetBytes(Digits(checksum)).CopyTo(bytes, Start.Length);
}

/// <summary>Another file of the snapshot.</summary>
/// <param name="Bytes">Its length.</param>
/// <param name="Checksum">CRC-32C.</param>
internal sealed record FileRecord(ulong Bytes, uint Checksum)
{
    public static FileRecord Of(ReadOnlySpan<byte> content) => new((ulong)content.Length, Crc32C.Of(content));

    public void Write(StateWriter state)
    {
        state.Write("bytes", Bytes);
        state.Write("crc32c", Checksum);
    }

    public static FileRecord Read(StateReader state)
    {
        var file = new FileRecord(state.UInt64("bytes", 0, (ulong)StateReader.MostBytes), state.UInt32("crc32c"));
        state.End();
        return file;
    }
}
