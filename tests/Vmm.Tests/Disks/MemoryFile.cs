using System.Runtime.InteropServices;
using Vmm.Devices.Virtio;
using Vmm.Host;

namespace Vmm.Tests.Disks;

/// <summary>A file in memory whose operations are done by <see cref="Submit"/>, in an order that a seed decides.</summary>
internal unsafe class MemoryFile(int length, int? shuffleSeed = null) : BlockFile
{
    private readonly List<FileIo> _started = [];
    private readonly Random? _order = shuffleSeed is { } seed ? new Random(seed) : null;
    private readonly List<IFileIoOwner> _owners = [];
    private bool _running;

    public byte[] Bytes { get; private set; } = new byte[length];

    public override string Path => "memory";

    public override ulong Length => (ulong)Bytes.Length;

    public override bool IsReadOnly => false;

    public override void AddOwner(IFileIoOwner owner) => _owners.Add(owner);

    public override void Start(FileIo io) => _started.Add(io);

    public override void Submit()
    {
        if (_running)
        {
            return;
        }

        _running = true;
        while (_started.Count > 0)
        {
            int index = _order?.Next(_started.Count) ?? 0;
            FileIo io = _started[index];
            _started.RemoveAt(index);
            Run(io);
            io.Owner.Finished(io);
            if (_started.Count == 0 || _order?.Next(3) == 0)
            {
                foreach (IFileIoOwner owner in _owners)
                {
                    owner.Deliver();
                }
            }
        }

        _running = false;
    }

    public override void Drain() => Submit();

    public override bool TryRead(ulong offset, Span<byte> data)
    {
        data.Clear();
        if (offset < Length)
        {
            int count = (int)Math.Min((ulong)data.Length, Length - offset);
            Bytes.AsSpan((int)offset, count).CopyTo(data);
        }

        return true;
    }

    public override bool TryWrite(ulong offset, ReadOnlySpan<byte> data)
    {
        Store(offset, data);
        return true;
    }

    public override bool TryFlush()
    {
        Barrier();
        return true;
    }

    public override bool TrySetLength(ulong length)
    {
        byte[] bytes = Bytes;
        Array.Resize(ref bytes, (int)length);
        Bytes = bytes;
        return true;
    }

    public override void Dispose()
    {
    }

    /// <summary>One write reaches the file.</summary>
    protected virtual void Store(ulong offset, ReadOnlySpan<byte> data)
    {
        if (offset + (ulong)data.Length > Length)
        {
            TrySetLength(offset + (ulong)data.Length);
        }

        data.CopyTo(Bytes.AsSpan((int)offset));
    }

    /// <summary>All before is durable.</summary>
    protected virtual void Barrier()
    {
    }

    protected virtual int Allocate(FileIo io)
    {
        if ((io.Flags & LibC.FALLOC_FL_PUNCH_HOLE) != 0 && io.Offset < Length)
        {
            int count = (int)Math.Min(io.Left, Length - io.Offset);
            Store(io.Offset, new byte[count]);
        }

        return 0;
    }

    private void Run(FileIo io)
    {
        switch (io.Operation)
        {
            case FileOperation.Sync:
                Barrier();
                io.Advance(0);
                return;
            case FileOperation.Allocate:
                io.Advance(-Allocate(io));
                return;
        }

        if (io.Operation == FileOperation.Write)
        {
            Write(io);
            return;
        }

        long moved;
        do
        {
            (nint vectors, int count) = io.Current;
            moved = 0;
            for (int i = 0; i < count; i++)
            {
                IoVector vector = ((IoVector*)vectors)[i];
                var bytes = new Span<byte>((void*)vector.Base, (int)vector.Length);
                ulong at = io.Offset + (ulong)moved;
                int there = at >= Length ? 0 : (int)Math.Min((ulong)bytes.Length, Length - at);
                Bytes.AsSpan((int)Math.Min(at, Length), there).CopyTo(bytes);
                moved += there;
                if (there < bytes.Length)
                {
                    break;
                }
            }
        }
        while (!io.Advance(moved));
    }

    /// <summary>Page by page, whatever the vectors are: sectors are written whole or not at all.</summary>
    private void Write(FileIo io)
    {
        var data = new List<byte>();
        (nint vectors, int count) = io.Current;
        for (int i = 0; i < count; i++)
        {
            IoVector vector = ((IoVector*)vectors)[i];
            data.AddRange(new ReadOnlySpan<byte>((void*)vector.Base, (int)vector.Length));
        }

        byte[] all = [.. data];
        for (int at = 0; at < all.Length;)
        {
            int part = Math.Min(all.Length - at, 4096 - (int)((io.Offset + (ulong)at) % 4096));
            Store(io.Offset + (ulong)at, all.AsSpan(at, part));
            at += part;
        }

        io.Advance(all.Length);
    }
}
