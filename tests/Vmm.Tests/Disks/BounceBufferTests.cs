using Vmm.Backends.Disks;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;
using Vmm.Host;

namespace Vmm.Tests.Disks;

/// <summary>cache=none where the host's sectors have 4096 bytes, whatever the file system here has.</summary>
public sealed class BounceBufferTests : IDisposable
{
    private static int Flags => LibC.O_RDWR | LibC.O_CLOEXEC;

    private readonly DiskRig _rig = new();

    public void Dispose() => _rig.Dispose();

    [Fact]
    public void Writes_to_parts_of_one_block_do_not_undo_each_other()
    {
        byte[] content = new byte[(64 << 10) + 1536];       // the last block is not whole
        new Random(1).NextBytes(content);
        string path = Open(content);
        var random = new Random(2);
        for (int round = 0; round < 50; round++)
        {
            var requests = new List<(DiskOperation, ulong, byte[]?, int, DiskOptions)>();
            for (int at = 0; at < content.Length;)
            {
                int length = Math.Min(content.Length - at, 512 * (random.Next(4) == 0 ? 16 : random.Next(1, 4)));
                byte[] data = new byte[length];
                random.NextBytes(data);
                data.CopyTo(content, at);
                requests.Add((DiskOperation.Write, (ulong)at, data, 0, DiskOptions.None));
                at += length;
            }

            DiskRig.Operation[] all = _rig.Start([.. requests]);
            _rig.Wait(all);
            Assert.All(all, static operation => Assert.Equal(DiskResult.Ok, operation.Result));
            Assert.Equal(content[512..], _rig.Read(512, content.Length - 512).Data);
        }

        _rig.Close();
        Assert.Equal(content, File.ReadAllBytes(path));     // and it did not grow
    }

    private string Open(byte[] content)
    {
        string path = _rig.File("disk.img", content);
        var buffered = new FileDescriptor(LibC.open(path, Flags, 0));
        var direct = new FileDescriptor(LibC.open(path, Flags | LibC.O_DIRECT, 0));
        _rig.Disk = new RawDisk(new DirectFile(path, buffered, direct, readOnly: false, _rig.Engine, align: 4096));
        return path;
    }
}
