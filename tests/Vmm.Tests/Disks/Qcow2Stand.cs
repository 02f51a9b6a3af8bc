using System.Runtime.InteropServices;
using Vmm.Backends.Disks;
using Vmm.Backends.Disks.Qcow2;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;

namespace Vmm.Tests.Disks;

/// <summary>A disk over files in memory, without an event loop, and a driver with its own idea of the content.</summary>
internal sealed unsafe class Qcow2Stand : IDiskCompletions
{
    private readonly Dictionary<int, DiskResult?> _results = [];
    private readonly List<GCHandle> _pins = [];
    private int _tag;

    public Qcow2Stand(MemoryFile file, DiskNode? backing = null)
    {
        File = file;
        Header = Qcow2Header.Read(file);
        Disk = new Qcow2Disk(file, Header, backing);
        Disk.Attach(this);
    }

    public MemoryFile File { get; }

    public Qcow2Header Header { get; }

    public Qcow2Disk Disk { get; }

    public bool AllOk => _results.Values.All(result => result == DiskResult.Ok);

    public bool AllDone => _results.Values.All(result => result is not null);

    /// <summary>Adds a request to the batch; the array is written or read in place, in uneven vectors.</summary>
    public int Add(DiskOperation kind, ulong offset, byte[]? data, ulong length = 0, DiskOptions options = DiskOptions.None)
    {
        int tag = _tag++;
        _results[tag] = null;
        nint vectors = 0;
        int count = 0;
        if (data is not null)
        {
            length = (ulong)data.Length;
            GCHandle pin = GCHandle.Alloc(data, GCHandleType.Pinned);
            var list = new List<IoVector>();
            int at = 0;
            int piece = (tag % 3) switch { 0 => data.Length, 1 => 512, _ => 1500 };
            while (at < data.Length)
            {
                int part = Math.Min(piece, data.Length - at);
                list.Add(new IoVector(pin.AddrOfPinnedObject() + at, (nuint)part));
                at += part;
            }

            IoVector[] array = GC.AllocateArray<IoVector>(list.Count, pinned: true);
            list.CopyTo(array);
            _pins.Add(pin);
            _pins.Add(GCHandle.Alloc(array));
            vectors = Marshal.UnsafeAddrOfPinnedArrayElement(array, 0);
            count = list.Count;
        }

        Disk.Enqueue(new DiskRequest(kind, tag, offset, length, vectors, count, options));
        return tag;
    }

    public void Submit()
    {
        Disk.Submit();
        Assert.True(AllDone, "a request was never completed");
        foreach (GCHandle pin in _pins)
        {
            pin.Free();
        }

        _pins.Clear();
    }

    public DiskResult Do(DiskOperation kind, ulong offset, byte[]? data, ulong length = 0, DiskOptions options = DiskOptions.None)
    {
        int tag = Add(kind, offset, data, length, options);
        Submit();
        return _results[tag]!.Value;
    }

    public byte[] Read(ulong offset, int length)
    {
        var data = new byte[length];
        Assert.Equal(DiskResult.Ok, Do(DiskOperation.Read, offset, data));
        return data;
    }

    public void Completed(ReadOnlySpan<DiskCompletion> completions)
    {
        foreach (DiskCompletion completion in completions)
        {
            Assert.Null(_results[completion.Tag]);
            _results[completion.Tag] = completion.Result;
        }
    }
}
