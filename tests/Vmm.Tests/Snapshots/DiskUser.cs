using System.Runtime.InteropServices;
using Vmm.Backends.Disks;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;
using Vmm.Machines;

namespace Vmm.Tests.Snapshots;

/// <summary>Uses the first disk of a machine that runs, in the place of a driver in the guest, which must have none.</summary>
internal sealed class DiskUser : IDiskCompletions
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly TaskCompletionSource<DiskResult> _done = new();

    public static void Write(Machine machine, ulong offset, byte[] bytes) => new DiskUser().Do(machine, DiskOperation.Write, offset, bytes);

    public static byte[] Read(Machine machine, ulong offset, int length)
    {
        byte[] bytes = new byte[length];
        new DiskUser().Do(machine, DiskOperation.Read, offset, bytes);
        return bytes;
    }

    public void Completed(ReadOnlySpan<DiskCompletion> completions) => _done.SetResult(completions[0].Result);

    private unsafe void Do(Machine machine, DiskOperation operation, ulong offset, byte[] bytes)
    {
        IoVector[] vectors = GC.AllocateArray<IoVector>(1, pinned: true);
        fixed (byte* first = bytes)
        {
            // SAFETY: the bytes are pinned until the disk has answered.
            vectors[0] = new IoVector((nint)first, (nuint)bytes.Length);
            machine.Loop.Post(() =>
            {
                DiskNode disk = machine.Disks[0].Disk.Backend;
                disk.Attach(this);
                disk.Enqueue(new DiskRequest(
                    operation, 0, offset, (ulong)bytes.Length, Marshal.UnsafeAddrOfPinnedArrayElement(vectors, 0), 1, DiskOptions.None));
                disk.Submit();
            });
            Assert.True(_done.Task.Wait(Patience));
        }

        Assert.Equal(DiskResult.Ok, _done.Task.Result);
    }
}
