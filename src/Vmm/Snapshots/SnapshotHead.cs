using System.Globalization;
using System.Text;
using Vmm.Devices.State;
using Vmm.Host;

namespace Vmm.Snapshots;

/// <summary>What snapshot.json says: which machine, what it needs, and what the other files must be.</summary>
internal sealed record SnapshotHead
{
    public const int FormatVersion = 1;

    /// <summary>Bytes of the file at most.</summary>
    public const int MostBytes = 8 << 20;

    // The first field, of eight digits: the CRC-32C of the file with zeros in their place.
    private const string Start = "{\"checksum\":\"", Zeros = "00000000";

    /// <summary>vmm's version that wrote it.</summary>
    public required string Vmm { get; init; }

    public required SavedConfiguration Machine { get; init; }

    public required HostNeeds Host { get; init; }

    public required FileRecord State { get; init; }

    public required FileRecord Checksums { get; init; }

    public byte[] ToBytes()
    {
        var output = new System.Buffers.ArrayBufferWriter<byte>();
        using (var state = new StateWriter(output))
        {
            state.Write("checksum", Zeros);
            state.Version(FormatVersion);
            state.Write("vmm", Vmm);
            state.Write("machine", Machine.Write);
            state.Write("host", Host.Write);
            state.Write("state", State.Write);
            state.Write("memoryChecksums", Checksums.Write);
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
            Machine = SavedConfiguration.Read(state.Object("machine")),
            Host = HostNeeds.Read(state.Object("host")),
            State = FileRecord.Read(state.Object("state")),
            Checksums = FileRecord.Read(state.Object("memoryChecksums")),
        };
        state.End();
        return head.Checksums.Bytes == (ulong)MemoryChecksums.Count(head.Machine.Memory) * sizeof(uint)
            ? head
            : throw new StateException($"{Name}.memoryChecksums.bytes", "is not the number of chunks that the memory has, times four");
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
