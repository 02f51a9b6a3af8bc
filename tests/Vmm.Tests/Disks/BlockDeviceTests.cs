using Vmm.Backends.Disks;
using Vmm.Boot;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;
using Vmm.Host;

namespace Vmm.Tests.Disks;

/// <summary>Disks and kernels on block devices of the host.</summary>
public sealed class BlockDeviceTests : IDisposable
{
    private readonly DiskRig _rig = new();

    public void Dispose() => _rig.Dispose();

    [LoopFact]
    public void The_sectors_of_the_host_do_not_become_the_guests()
    {
        byte[] content = new byte[1 << 20];
        new Random(1).NextBytes(content);
        string file = _rig.File("disk.img", content);
        using LoopDevice loop = LoopDevice.Create(file, "--sector-size", "4096");
        using var host = new DiskHost(_rig.Loop);
        OpenDisk open = host.Open(DiskSpec.Parse($"{loop.Path},cache=none"));
        Assert.Equal(512u, open.Options.BlockSize);
        Assert.Equal(4096u, open.Options.PhysicalBlockSize);
        _rig.Disk = open.Backend;

        // Sectors on their own, neighbours in one block at the same time, and long ones that begin in the middle.
        var random = new Random(2);
        for (int round = 0; round < 20; round++)
        {
            var requests = new List<(DiskOperation, ulong, byte[]?, int, DiskOptions)>();
            for (int i = 0; i < 24; i++)
            {
                int at = i < 16 ? 512 * i : (i - 15) * 100 * 1024 + (512 * random.Next(8));
                byte[] data = new byte[i < 16 ? 512 : 512 * random.Next(1, 190)];
                random.NextBytes(data);
                data.CopyTo(content, at);
                requests.Add((DiskOperation.Write, (ulong)at, data, 0, DiskOptions.None));
            }

            DiskRig.Operation[] all = _rig.Start([.. requests]);
            _rig.Wait(all);
            Assert.All(all, static operation => Assert.Equal(DiskResult.Ok, operation.Result));
            int from = 512 * random.Next(1000);
            Assert.Equal(content[from..(from + 150_016)], _rig.Read((ulong)from, 150_016).Data);
        }

        Assert.Equal(DiskResult.Ok, _rig.Do(DiskOperation.WriteZeroes, 512, null, 9000 / 512 * 512, DiskOptions.Unmap));
        content.AsSpan(512, 9000 / 512 * 512).Clear();
        Assert.Equal(DiskResult.Ok, _rig.Do(DiskOperation.Discard, 512, null, 1024, DiskOptions.None));     // no whole sector
        Assert.Equal(DiskResult.Ok, _rig.Flush());
        Assert.Equal(content, _rig.Read(0, content.Length).Data);
        _rig.Close();
        Assert.Equal(content, File.ReadAllBytes(file));
    }

    [LoopFact]
    public void A_read_only_device_is_not_attached_for_writing()
    {
        using LoopDevice loop = LoopDevice.Create(_rig.File("disk.img", new byte[1 << 20]), "--read-only");
        using var host = new DiskHost(_rig.Loop);
        Assert.Contains(
            "add ',readonly'",
            Assert.Throws<UsageException>(() => host.Open(DiskSpec.Parse(loop.Path))).Message,
            StringComparison.Ordinal);
        Assert.True(host.Open(DiskSpec.Parse(loop.Path + ",readonly")).Backend.IsReadOnly);
    }

    [LoopFact]
    public void A_kernel_is_read_from_a_device()
    {
        byte[] content = new byte[1 << 20];
        new Random(3).NextBytes(content);
        using LoopDevice loop = LoopDevice.Create(_rig.File("kernel", content));
        using ImageSource source = ImageSource.OpenFile(loop.Path, "kernel");
        Assert.Equal(content.Length, source.Length);
        byte[] read = new byte[content.Length];
        Assert.True(source.TryRead(0, read));
        Assert.Equal(content, read);
    }
}
