using System.Buffers.Binary;
using Vmm.Backends.Disks;
using Vmm.Backends.Disks.Qcow2;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;
using Vmm.Host;

namespace Vmm.Tests.Disks;

public sealed class Qcow2ImageTests : IDisposable
{
    private readonly DiskRig _rig = new();

    public void Dispose() => _rig.Dispose();

    [QemuTheory]
    [InlineData(512ul)]
    [InlineData(1ul << 30)]
    [InlineData((3ul << 40) + 512)]
    [InlineData(1ul << 46)]
    public void A_new_image_is_clean_and_of_its_size(ulong size)
    {
        string path = InDirectory("new.qcow2");
        Qcow2Image.Create(path, size);
        QemuImg.CheckIsClean(path);
        Assert.Contains($"({size} bytes)", QemuImg.Run("info", path).Output, StringComparison.Ordinal);
        Assert.Contains(
            "is there already", Assert.Throws<UsageException>(() => Qcow2Image.Create(path, size)).Message, StringComparison.Ordinal);
    }

    [QemuFact]
    public void A_new_image_names_its_backing_file()
    {
        string backing = _rig.File("base.img", Pattern(65536, 1));
        string path = InDirectory("new.qcow2");
        Qcow2Image.Create(path, 131072, "base.img");
        string info = QemuImg.Run("info", path).Output;
        Assert.Contains("backing file: base.img", info, StringComparison.Ordinal);
        Assert.Contains("backing file format: raw", info, StringComparison.Ordinal);
        QemuImg.CheckIsClean(path);
        Open(path);
        byte[] expected = new byte[131072];
        Pattern(65536, 1).CopyTo(expected, 0);
        Assert.Equal(expected, _rig.Read(0, 131072).Data);
        Assert.NotNull(backing);
    }

    [Theory]
    [InlineData(0ul)]
    [InlineData(1000ul)]
    [InlineData(1ul << 52)]
    public void A_size_that_cannot_be_is_refused(ulong size) =>
        Assert.Throws<UsageException>(() => Qcow2Image.Create(InDirectory("new.qcow2"), size));

    [QemuTheory]
    [InlineData("cluster_size=65536")]
    [InlineData("cluster_size=65536,compression_type=zstd")]
    [InlineData("cluster_size=4096")]
    [InlineData("cluster_size=2097152")]
    public void Compressed_clusters_are_read_and_may_be_overwritten(string options)
    {
        // Half of it compressible, a part not at all.
        byte[] content = Pattern(4 << 20, 2);
        for (int i = 0; i < content.Length; i++)
        {
            content[i] = (i >> 16) % 3 == 0 ? content[i] : (byte)(content[i] & 3);
        }

        string raw = _rig.File("content.raw", content);
        string path = InDirectory("packed.qcow2");
        (int code, string output) = QemuImg.Run("convert", "-c", "-O", "qcow2", "-o", options, raw, path);
        Assert.True(code == 0, output);
        Open(path);
        Assert.Equal(content, _rig.Read(0, content.Length).Data);
        byte[] data = Pattern(100_352, 3);
        Assert.Equal(DiskResult.Ok, _rig.Write(1 << 20, data));
        Assert.Equal(DiskResult.Ok, _rig.Write(512, data));
        Assert.Equal(DiskResult.Ok, _rig.Do(DiskOperation.Discard, 2 << 20, null, 1 << 20, DiskOptions.None));
        data.CopyTo(content, 1 << 20);
        data.CopyTo(content, 512);
        Array.Clear(content, 2 << 20, 1 << 20);
        if (options.EndsWith("2097152", StringComparison.Ordinal))
        {
            Pattern(4 << 20, 2).AsSpan(2 << 20, 1 << 20).CopyTo(content.AsSpan(2 << 20));
            for (int i = 2 << 20; i < 3 << 20; i++)
            {
                content[i] = (i >> 16) % 3 == 0 ? content[i] : (byte)(content[i] & 3);
            }
        }

        Assert.Equal(content, _rig.Read(0, content.Length).Data);
        _rig.Close();
        File.WriteAllBytes(raw, content);
        QemuImg.CheckIsClean(path);
        QemuImg.IsSame(path, raw);
    }

    [QemuTheory]
    [InlineData("")]
    [InlineData(",cache=none")]
    [InlineData(",cache=unsafe")]
    [InlineData(",cache=writethrough")]
    public void Many_requests_at_once_on_a_real_file_leave_a_clean_image(string options)
    {
        string path = InDirectory("disk.qcow2");
        const int Size = 16 << 20;
        Qcow2Image.Create(path, Size);
        Open(path, options);
        byte[] twin = new byte[Size];
        var random = new Random(4);
        for (int round = 0; round < 10; round++)
        {
            var requests = new List<(DiskOperation, ulong, byte[]?, int, DiskOptions)>();
            for (int i = 0; i < 128; i++)
            {
                int at = (i * 131072) + (random.Next(64) * 512);
                byte[] data = Pattern(random.Next(2) == 0 ? 4096 : 512 * random.Next(1, 128), random.Next());
                data.CopyTo(twin, at);
                requests.Add((DiskOperation.Write, (ulong)at, data, 0, DiskOptions.None));
            }

            DiskRig.Operation[] all = _rig.Start([.. requests]);
            _rig.Wait(all);
            Assert.All(all, operation => Assert.Equal(DiskResult.Ok, operation.Result));
            Assert.Equal(DiskResult.Ok, _rig.Flush());
        }

        Assert.Equal(twin, _rig.Read(0, Size).Data);
        _rig.Close();
        QemuImg.CheckIsClean(path);
        QemuImg.IsSame(path, _rig.File("twin.raw", twin));
    }

    [QemuFact]
    public void An_overlay_takes_the_writes_and_the_disk_stays_as_it_was()
    {
        byte[] content = Pattern(1 << 20, 5);
        string path = _rig.File("base.img", content);
        string overlay = InDirectory("changes.qcow2");
        byte[] data = Pattern(4096, 6);
        using (var host = new DiskHost(_rig.Loop))
        {
            var disk = (DiskNode)host.Open(DiskSpec.Parse($"{path},overlay={overlay}")).Backend;
            Assert.False(disk.IsReadOnly);
            _rig.Disk = disk;
            Assert.Equal(DiskResult.Ok, _rig.Write(8192, data));
            data.CopyTo(content, 8192);
            Assert.Equal(content, _rig.Read(0, content.Length).Data);
            _rig.Close();
        }

        Assert.Equal(Pattern(1 << 20, 5), File.ReadAllBytes(path));
        QemuImg.CheckIsClean(overlay);

        using var again = new DiskRig();
        string other = again.File("other.img", content);
        using var secondHost = new DiskHost(again.Loop);
        Assert.Contains(
            "has another backing file",
            Assert.Throws<UsageException>(() => secondHost.Open(DiskSpec.Parse($"{other},overlay={overlay}"))).Message,
            StringComparison.Ordinal);
        again.Disk = (DiskNode)secondHost.Open(DiskSpec.Parse($"{path},overlay={overlay}")).Backend;
        Assert.Equal(content, again.Read(0, content.Length).Data);
        again.Close();
    }

    [Fact]
    public void What_is_written_to_an_ephemeral_disk_is_there_until_it_is_closed()
    {
        byte[] content = Pattern((1 << 20) + 512, 7);
        string path = _rig.File("base.img", content);
        using var host = new DiskHost(_rig.Loop);
        var disk = (DiskNode)host.Open(DiskSpec.Parse(path + ",ephemeral")).Backend;
        _rig.Disk = disk;
        byte[] data = Pattern(70_144, 8);
        Assert.Equal(DiskResult.Ok, _rig.Write(4608, data));
        Assert.Equal(DiskResult.Ok, _rig.Flush());
        byte[] expected = (byte[])content.Clone();
        data.CopyTo(expected, 4608);
        Assert.Equal(expected, _rig.Read(0, content.Length).Data);
        _rig.Close();
        Assert.Equal(content, File.ReadAllBytes(path));
        Assert.Equal(["base.img"], Directory.GetFiles(_rig.Directory).Select(Path.GetFileName));
    }

    [QemuFact]
    public void A_chain_of_images_is_read_through_and_closed()
    {
        byte[] content = Pattern(1 << 20, 9);
        _rig.File("a.raw", content);
        QemuImg.Create(InDirectory("b.qcow2"), "cluster_size=4096", "2M", "-b", "a.raw", "-F", "raw");
        (int code, string output) = QemuImg.RunIo("-c", "write -P 7 64k 100k", InDirectory("b.qcow2"));
        Assert.True(code == 0, output);
        QemuImg.Create(InDirectory("c.qcow2"), "cluster_size=65536", "3M", "-b", "b.qcow2", "-F", "qcow2");
        byte[] expected = new byte[3 << 20];
        content.CopyTo(expected, 0);
        expected.AsSpan(65536, 102_400).Fill(7);
        Open(InDirectory("c.qcow2"));
        Assert.Equal(expected, _rig.Read(0, expected.Length).Data);
        Assert.Equal(DiskResult.Ok, _rig.Write(66_048, Pattern(512, 10)));
        Pattern(512, 10).CopyTo(expected, 66_048);
        Assert.Equal(expected, _rig.Read(0, expected.Length).Data);
        _rig.Close();
        QemuImg.CheckIsClean(InDirectory("c.qcow2"));
        QemuImg.IsSame(InDirectory("c.qcow2"), _rig.File("twin.raw", expected));
    }

    [QemuFact]
    public void A_backing_file_is_opened_only_where_the_user_allows()
    {
        using var elsewhere = new DiskRig();
        string secret = elsewhere.File("secret", Pattern(65536, 11));
        string path = InDirectory("top.qcow2");
        QemuImg.Create(path, "compat=1.1", "64K", "-u", "-b", secret, "-F", "raw");
        Assert.Contains($"backing={secret}", Message(path), StringComparison.Ordinal);

        string link = InDirectory("link.raw");
        File.CreateSymbolicLink(link, secret);
        string linked = InDirectory("linked.qcow2");
        QemuImg.Create(linked, "compat=1.1", "64K", "-u", "-b", "link.raw", "-F", "raw");
        Assert.Contains("not in its directory", Message(linked), StringComparison.Ordinal);

        Open(path, $",backing={secret}");
        Assert.Equal(Pattern(65536, 11), _rig.Read(0, 65536).Data);
    }

    [QemuFact]
    public void What_cannot_be_used_is_refused_by_name()
    {
        string Made(string name, string options, params string[] more)
        {
            QemuImg.Create(InDirectory(name), options, "1M", more);
            return InDirectory(name);
        }

        Assert.Contains("extended L2", Message(Made("e.qcow2", "extended_l2=on")), StringComparison.Ordinal);
        Assert.Contains(
            "external data file", Message(Made("d.qcow2", $"data_file={InDirectory("data")}")), StringComparison.Ordinal);
        string snapshots = Made("s.qcow2", "compat=1.1");
        Assert.Equal(0, QemuImg.Run("snapshot", "-c", "one", snapshots).Code);
        Assert.Contains("internal snapshots", Message(snapshots), StringComparison.Ordinal);
        Assert.Contains("encrypted", Message(Patched("c.qcow2", 32, 4, 1)), StringComparison.Ordinal);
        Assert.Contains("bit 17", Message(Patched("f.qcow2", 72, 8, 1ul << 17)), StringComparison.Ordinal);
        Assert.Contains("corrupt", Message(Patched("k.qcow2", 72, 8, 2)), StringComparison.Ordinal);
        Assert.Contains("version 4", Message(Patched("v.qcow2", 4, 4, 4)), StringComparison.Ordinal);
        Assert.Contains("no qcow2 image", Message(_rig.File("raw.qcow2", new byte[65536])), StringComparison.Ordinal);
        Assert.Contains("L1 table", Message(Patched("l.qcow2", 40, 8, 1ul << 40)), StringComparison.Ordinal);
        Assert.Contains("L1 table", Message(Patched("m.qcow2", 36, 4, 0xffffffff)), StringComparison.Ordinal);
        Assert.Contains("refcount table", Message(Patched("r.qcow2", 56, 4, 0xffffffff)), StringComparison.Ordinal);
        Assert.Contains("overlap", Message(Patched("o.qcow2", 40, 8, 65536)), StringComparison.Ordinal);
        Assert.Contains("too large", Message(Patched("z.qcow2", 24, 8, 1ul << 62)), StringComparison.Ordinal);

        string self = InDirectory("self.qcow2");
        QemuImg.Create(self, "compat=1.1", "1M", "-u", "-b", "self.qcow2", "-F", "qcow2");
        Assert.Contains("another machine writes", Message(self), StringComparison.Ordinal);
        Assert.Contains("more than 16", Message(self, ",readonly"), StringComparison.Ordinal);
    }

    [QemuFact]
    public void An_image_that_lazy_refcounts_left_dirty_is_counted_anew()
    {
        string path = InDirectory("lazy.qcow2");
        QemuImg.Create(path, "lazy_refcounts=on,cluster_size=4096", "16M");
        QemuImg.RunIo("-c", "write -P 5 0 1M", "-c", "write -P 6 5M 300k", "-c", "abort", path);
        Assert.True((File.ReadAllBytes(path)[79] & 1) != 0, "qemu-io left it clean");
        Open(path);
        byte[] expected = new byte[16 << 20];
        expected.AsSpan(0, 1 << 20).Fill(5);
        expected.AsSpan(5 << 20, 300 << 10).Fill(6);
        Assert.Equal(expected, _rig.Read(0, expected.Length).Data);
        Assert.Equal(DiskResult.Ok, _rig.Write(8 << 20, Pattern(1 << 20, 12)));
        Pattern(1 << 20, 12).CopyTo(expected, 8 << 20);
        _rig.Close();
        QemuImg.CheckIsClean(path);
        QemuImg.IsSame(path, _rig.File("twin.raw", expected));
    }

    [QemuTheory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void A_damaged_image_gives_errors_and_nothing_worse(int seed)
    {
        string path = InDirectory("seed.qcow2");
        QemuImg.Create(path, "cluster_size=4096", "4M");
        (int code, string output) = QemuImg.RunIo(
            "-c", "write -P 1 0 1M", "-c", "write -z 1M 64k", "-c", "write -c -P 3 2M 4k", "-c", "discard 64k 64k", path);
        Assert.True(code == 0, output);
        byte[] good = File.ReadAllBytes(path);
        int tables = Enumerable.Range(0, 8).Sum(_ => 4096);
        var random = new Random(seed);
        int opened = 0;
        for (int i = 0; i < 150; i++)
        {
            var file = new MemoryFile(good.Length, i);
            good.CopyTo(file.Bytes, 0);
            for (int flips = random.Next(1, 6); flips > 0; flips--)
            {
                // Tables more often than data, high bytes of entries as often as low ones.
                int at = random.Next(3) == 0 ? random.Next(112) : random.Next(tables);
                file.Bytes[at] = (byte)(random.Next(2) == 0 ? random.Next(256) : file.Bytes[at] ^ (1 << random.Next(8)));
            }

            Qcow2Stand stand;
            try
            {
                stand = new Qcow2Stand(file);
            }
            catch (UsageException error)
            {
                Assert.DoesNotContain('\n', error.Message);
                continue;
            }

            if (stand.Disk.Length > 64 << 20)
            {
                continue;
            }

            opened++;
            for (int step = 0; step < 20; step++)
            {
                ulong offset = (ulong)random.Next((int)Math.Min(stand.Disk.Length, 4 << 20) / 512) * 512;
                int length = (int)Math.Min(stand.Disk.Length - offset, (ulong)random.Next(1, 65) * 512);
                stand.Add(
                    (DiskOperation)random.Next(5) is var kind && kind == DiskOperation.Flush ? DiskOperation.Flush : kind,
                    kind == DiskOperation.Flush ? 0 : offset,
                    kind is DiskOperation.Read or DiskOperation.Write ? new byte[length] : null,
                    kind == DiskOperation.Flush ? 0 : (ulong)length);
                stand.Submit();
            }

            try
            {
                stand.Disk.Close();
            }
            catch (HostException)
            {
                // tables that could not be written: said, not hidden
            }

            Assert.True(file.Bytes.Length < 64 << 20, "it grew beyond reason");
        }

        Assert.True(opened > 20);
    }

    private static byte[] Pattern(int length, int seed)
    {
        var data = new byte[length];
        new Random(seed).NextBytes(data);
        return data;
    }

    private string InDirectory(string name) => Path.Combine(_rig.Directory, name);

    private void Open(string path, string options = "")
    {
        var host = new DiskHost(_rig.Loop);
        _rig.Disk = (DiskNode)host.Open(DiskSpec.Parse(path + options)).Backend;
    }

    private string Message(string path, string options = "")
    {
        using var host = new DiskHost(_rig.Loop);
        return Assert.Throws<UsageException>(() => host.Open(DiskSpec.Parse(path + options))).Message;
    }

    private string Patched(string name, int offset, int length, ulong value)
    {
        string path = InDirectory(name);
        QemuImg.Create(path, "compat=1.1", "1M");
        byte[] bytes = File.ReadAllBytes(path);
        Span<byte> field = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64BigEndian(field, value);
        field[(8 - length)..].CopyTo(bytes.AsSpan(offset));
        File.WriteAllBytes(path, bytes);
        return path;
    }
}
