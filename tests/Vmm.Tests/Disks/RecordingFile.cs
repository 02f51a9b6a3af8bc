namespace Vmm.Tests.Disks;

/// <summary>A file in memory that remembers each write and each barrier, so that any crash can be played.</summary>
internal sealed class RecordingFile : MemoryFile
{
    private readonly List<(ulong Offset, byte[]? Data)> _log = [];
    private readonly byte[] _initial;

    public RecordingFile(byte[] content, int seed)
        : base(content.Length, seed)
    {
        content.CopyTo(Bytes, 0);
        _initial = content;
    }

    /// <summary>Writes and barriers so far.</summary>
    public int Count => _log.Count;

    /// <summary>The file after a crash behind this many of them.</summary>
    /// <param name="powerLoss">Null: the process was killed, and every write before is there. Else the host lost power:
    /// any of the writes after the last barrier may be missing.</param>
    public byte[] After(int count, Random? powerLoss)
    {
        int durable = count;
        if (powerLoss is not null)
        {
            durable = _log.FindLastIndex(Math.Max(count - 1, 0), entry => entry.Data is null) + 1;
        }

        byte[] bytes = _initial.ToArray();
        for (int i = 0; i < count; i++)
        {
            (ulong offset, byte[]? data) = _log[i];
            if (data is null || (i >= durable && powerLoss!.Next(2) == 0))
            {
                continue;
            }

            int end = (int)offset + data.Length;
            if (end > bytes.Length)
            {
                Array.Resize(ref bytes, end);
            }

            data.CopyTo(bytes, (int)offset);
        }

        return bytes;
    }

    public override void Punch(ulong offset, ulong length)
    {
        if (offset < Length)
        {
            Store(offset, new byte[Math.Min(length, Length - offset)]);
        }
    }

    protected override void Store(ulong offset, ReadOnlySpan<byte> data)
    {
        _log.Add((offset, data.ToArray()));
        base.Store(offset, data);
    }

    protected override void Barrier() => _log.Add((0, null));
}
