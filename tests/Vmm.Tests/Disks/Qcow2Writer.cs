using System.Globalization;
using Vmm.Backends.Disks;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;

namespace Vmm.Tests.Disks;

/// <summary>A process of its own that writes to an image until it is killed. It tells each
/// flush that is done, in a line, before it goes on.</summary>
internal static class Qcow2Writer
{
    public const string Command = "qcow2-writer";
    public const string Flushed = "flushed";

    /// <summary>What is done next: the same for the same seed, here and in the test.</summary>
    public sealed class Script(int seed)
    {
        public const int DiskBytes = 4 << 20;

        private readonly Random _random = new(seed);

        /// <summary>Operations that do not overlap; none means a flush.</summary>
        public (int Offset, int Length, byte[]? Data, DiskOptions Options)[] Next()
        {
            if (_random.Next(4) == 0)
            {
                return [];
            }

            var batch = new (int Offset, int Length, byte[]? Data, DiskOptions Options)[_random.Next(1, 9)];
            int room = DiskBytes / 512 / batch.Length;
            for (int i = 0; i < batch.Length; i++)
            {
                int from = _random.Next(room);
                int length = Math.Min(room - from, _random.Next(1, 300)) * 512;
                int offset = ((i * room) + from) * 512;
                byte[]? data = null;
                DiskOptions options = _random.Next(2) == 0 ? DiskOptions.Unmap : DiskOptions.None;
                if (_random.Next(5) != 0)
                {
                    data = new byte[length];
                    _random.NextBytes(data);
                    options = DiskOptions.None;
                }

                batch[i] = (offset, length, data, options);
            }

            return batch;
        }
    }

    public static int Run(string image, string seed, string flushes)
    {
        using var rig = new DiskRig();
        rig.Disk = new DiskImages(rig.Engine, DiskSpec.Parse(image)).Open(out _);
        var script = new Script(int.Parse(seed, CultureInfo.InvariantCulture));
        int last = int.Parse(flushes, CultureInfo.InvariantCulture);
        for (int done = 0; done < last;)
        {
            var batch = script.Next();
            if (batch.Length != 0)
            {
                DiskRig.Operation[] operations = rig.Start(
                [
                    .. batch.Select(each => (
                        each.Data is null ? DiskOperation.WriteZeroes : DiskOperation.Write,
                        (ulong)each.Offset, each.Data, each.Length, each.Options)),
                ]);
                rig.Wait(operations);
                Assert.All(operations, static operation => Assert.Equal(DiskResult.Ok, operation.Result));
            }
            else
            {
                Assert.Equal(DiskResult.Ok, rig.Flush());
                System.Console.WriteLine($"{Flushed} {++done}");
            }
        }

        Thread.Sleep(Timeout.Infinite);     // until it is killed
        return 0;
    }
}
