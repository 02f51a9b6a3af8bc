using System.Runtime.InteropServices;
using Vmm.Backends.Disks;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;
using Vmm.Host;

namespace Vmm.Tests.Disks;

/// <summary>A running event loop with a disk on it, and a driver that waits for each request or for many.</summary>
internal sealed unsafe class DiskRig : IDiskCompletions, IDisposable
{
    private readonly Dictionary<int, Operation> _waiting = [];
    private int _nextTag;
    private DiskNode? _disk;

    public DiskRig(bool ioUring = true)
    {
        Directory = System.IO.Directory.CreateTempSubdirectory("vmm-disk-").FullName;
        Engine = new FileEngine(Loop, ioUring);
        Loop.Failed += error => Failure = error;
    }

    public EventLoop Loop { get; } = new();

    public FileEngine Engine { get; }

    public string Directory { get; }

    public Exception? Failure { get; private set; }

    /// <summary>The longest batch of completions.</summary>
    public int LargestBatch { get; private set; }

    public DiskNode Disk
    {
        get => _disk!;
        set
        {
            _disk = value;
            value.Attach(this);
            Loop.Start();
        }
    }

    public string File(string name, byte[] content)
    {
        string path = Path.Combine(Directory, name);
        System.IO.File.WriteAllBytes(path, content);
        return path;
    }

    public sealed class Operation
    {
        public ManualResetEventSlim Done { get; } = new();
        public DiskResult Result { get; set; }
        public nint Buffer { get; set; }
        public IoVector[] Vectors { get; set; } = [];
        public int Length { get; set; }

        public byte[] Bytes => new ReadOnlySpan<byte>((void*)Buffer, Length).ToArray();
    }

    /// <summary>Starts requests in one batch.</summary>
    public Operation[] Start(params (DiskOperation Kind, ulong Offset, byte[]? Data, int Length, DiskOptions Options)[] requests)
    {
        var operations = new Operation[requests.Length];
        using var posted = new ManualResetEventSlim();
        for (int i = 0; i < requests.Length; i++)
        {
            var (kind, _, data, length, _) = requests[i];
            var operation = new Operation { Length = data?.Length ?? length };
            if (kind is DiskOperation.Read or DiskOperation.Write)
            {
                operation.Buffer = (nint)NativeMemory.AlignedAlloc((nuint)Math.Max(operation.Length, 1), 4096);
                data?.CopyTo(new Span<byte>((void*)operation.Buffer, operation.Length));
                operation.Vectors = Split(operation.Buffer, operation.Length);
            }

            operations[i] = operation;
        }

        Loop.Post(() =>
        {
            for (int i = 0; i < requests.Length; i++)
            {
                var (kind, offset, _, length, options) = requests[i];
                Operation operation = operations[i];
                int tag = _nextTag++;
                _waiting.Add(tag, operation);
                Disk.Enqueue(new DiskRequest(
                    kind, tag, offset, kind == DiskOperation.Flush ? 0 : (ulong)operation.Length,
                    operation.Vectors.Length == 0 ? 0 : Marshal.UnsafeAddrOfPinnedArrayElement(operation.Vectors, 0),
                    operation.Vectors.Length, options));
            }

            Disk.Submit();
            posted.Set();
        });
        Assert.True(posted.Wait(60_000), "the loop hangs: " + Failure);
        return operations;
    }

    public void Wait(params Operation[] operations)
    {
        foreach (Operation operation in operations)
        {
            Assert.True(operation.Done.Wait(60_000), "a request was never completed: " + Failure);
        }
    }

    public (DiskResult Result, byte[] Data) Read(ulong offset, int length)
    {
        Operation operation = Start((DiskOperation.Read, offset, null, length, DiskOptions.None))[0];
        Wait(operation);
        return (operation.Result, operation.Bytes);
    }

    public DiskResult Write(ulong offset, byte[] data, DiskOptions options = DiskOptions.None) =>
        Do(DiskOperation.Write, offset, data, 0, options);

    public DiskResult Flush() => Do(DiskOperation.Flush, 0, null, 0, DiskOptions.None);

    public DiskResult Do(DiskOperation kind, ulong offset, byte[]? data, int length, DiskOptions options)
    {
        Operation operation = Start((kind, offset, data, length, options))[0];
        Wait(operation);
        return operation.Result;
    }

    public void Completed(ReadOnlySpan<DiskCompletion> completions)
    {
        LargestBatch = Math.Max(LargestBatch, completions.Length);
        foreach (DiskCompletion completion in completions)
        {
            Assert.True(_waiting.Remove(completion.Tag, out Operation? operation), "completed twice");
            operation.Result = completion.Result;
            operation.Done.Set();
        }
    }

    /// <summary>Stops the loop and closes the disk, as a machine does at its end.</summary>
    public void Close()
    {
        Loop.Stop();
        _disk?.Close();
        _disk?.Dispose();
        _disk = null;
    }

    public void Dispose()
    {
        Close();
        Engine.Dispose();
        Loop.Dispose();
        System.IO.Directory.Delete(Directory, recursive: true);
    }

    /// <summary>Uneven pieces, as a guest's scatter lists are; seldom more than one for short requests.</summary>
    private static IoVector[] Split(nint buffer, int length)
    {
        int pieces = length >= 4096 ? 5 : 1;
        IoVector[] vectors = GC.AllocateArray<IoVector>(pieces, pinned: true);
        int at = 0;
        for (int i = 0; i < pieces; i++)
        {
            int part = i == pieces - 1 ? length - at : 512 * (i + 1) % (length / pieces + 1) / 512 * 512;
            vectors[i] = new IoVector(buffer + at, (nuint)part);
            at += part;
        }

        return vectors;
    }
}
