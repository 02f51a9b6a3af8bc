using Vmm.Guest.Tests.Harness;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>Disks of both formats, sockets and the entropy device under Linux's own drivers, over each transport: booted once for
/// each, one of them with packed rings.</summary>
public sealed class DeviceGuestTests
{
    private const int SyncedWrites = 20;
    private const int Reads = 5000;
    private const int Spoken = 300_000;
    private const uint HostPort = 1000, GuestPort = 52;
    private const string ReadDisk = "virtio-blk4", IdleDisk = "virtio-blk5";

    // vda root, vdb ext4 in a raw file, vdc ext4 in qcow2, vdd tools, vde to read and to write through, vdf this script.
    // fio is given one thread: where the guest's kernel is emulated, forking with so many libraries costs seconds.
    private static readonly string Script = $$"""
        mount -t ext4 -o ro /dev/vdd /mnt || exit 1
        for at in dev proc tmp; do mount -o bind /$at /mnt/$at; done
        socat="chroot /mnt /usr/bin/socat -t 60"
        $socat VSOCK-LISTEN:{{GuestPort}} PIPE &
        dd if=/dev/urandom of=/tmp/said bs=1000 count={{Spoken / 1000}} 2>/dev/null
        $socat - VSOCK-CONNECT:2:{{HostPort}} </tmp/said >/tmp/heard
        cmp /tmp/said /tmp/heard; echo socket=$?
        $socat - VSOCK-CONNECT:2:1 </dev/null 2>/dev/null; echo nobody=$?
        wait
        mount -t ext4 /dev/vdb /mnt/raw && mount -t ext4 /dev/vdc /mnt/qcow2 || exit 2
        for disk in raw qcow2; do
            chroot /mnt /usr/bin/fio --name=verify --filename=/$disk/file --size=1M --bs=4k --rw=randwrite --direct=1 \
                --ioengine=libaio --iodepth=8 --verify=crc32c --verify_fatal=1 --thread --disk_util=0 >/tmp/fio 2>&1
            echo fio-$disk=$?
            grep -E 'err=|verify:|READ|WRITE' /tmp/fio
        done
        umount /mnt/raw /mnt/qcow2
        chroot /mnt /usr/bin/dd if=/dev/zero of=/dev/vde bs=4k count={{SyncedWrites}} oflag=dsync 2>/dev/null
        echo synced=$?
        dd if=/dev/vde of=/dev/null bs=4k count={{Reads}} iflag=direct 2>/dev/null
        echo read=$?
        echo packed=$(cut -c35 /sys/block/vdb/device/features)
        echo rng=$(cat /sys/class/misc/hw_random/rng_current)
        echo entropy=$(dd if=/dev/hwrng bs=64 count=16 2>/dev/null | sha256sum | cut -c1-64)
        echo entropy-again=$(dd if=/dev/hwrng bs=64 count=16 2>/dev/null | sha256sum | cut -c1-64)
        exit 0

        """;

    [KvmTheory]
    [InlineData("pci", false)]
    [InlineData("mmio", true)]
    public async Task Linux_verifies_syncs_speaks_and_draws_entropy(string transport, bool packed)
    {
        using var folder = new TemporaryFolder();
        string raw = folder["raw.img"], qcow2 = folder["disk.qcow2"];
        HostTool.MakeExt4(raw, 64 << 20);
        HostTool.Do("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow2);
        string plain = folder.WriteSparse("plain.img", Reads * 4096L);
        string script = folder.Write("script.img", GuestScript.Disk(Script, 1 << 16));
        byte[] said = new byte[Spoken];
        new Random(1).NextBytes(said);
        using var programs = new VsockPrograms(folder["sockets"], HostPort, GuestPort, said);
        VmmProcess.Ended ended = VmmProcess.Run(
        [
            "--kernel", Product.Vmlinux, "--mem", "192M", "--vsock", folder["sockets"], "--stats", "--rng", "--transport", transport, .. Packed(packed),
            "--disk", Product.Rootfs + ",ephemeral", "--disk", raw, "--disk", qcow2, "--disk", Product.Tools + ",readonly",
            "--disk", plain, "--disk", script + ",readonly", "--cmdline", "quiet vmm.run=/dev/vdf",
        ]);
        Assert.True(ended.Code == 0, $"{ended.Code}:\n{ended.Output}{ended.Error}");

        Assert.Equal("0", GuestScript.Value(ended.Output, "socket"));
        Assert.Equal("1", GuestScript.Value(ended.Output, "nobody"));
        Assert.Equal(Spoken, await programs.Echoed);
        Assert.Equal(said, await programs.Heard);
        Assert.False(File.Exists(folder["sockets"]));
        Assert.Contains($"virtio-vsock0: 2 connections; {2 * Spoken} bytes sent, {2 * Spoken} bytes received", ended.Error, StringComparison.Ordinal);

        Assert.Equal("0", GuestScript.Value(ended.Output, "fio-raw"));
        Assert.Equal("0", GuestScript.Value(ended.Output, "fio-qcow2"));
        HostTool.AssertClean(raw);
        HostTool.Do("qemu-img", "check", qcow2);
        string content = folder["content.img"];
        HostTool.Do("qemu-img", "convert", "-f", "qcow2", "-O", "raw", qcow2, content);
        HostTool.AssertClean(content);

        Assert.Equal(packed ? "1" : "0", GuestScript.Value(ended.Output, "packed"));
        AssertSynced(ended);
        Assert.StartsWith("virtio_rng", GuestScript.Value(ended.Output, "rng"), StringComparison.Ordinal);
        string entropy = GuestScript.Value(ended.Output, "entropy");
        Assert.Equal(64, entropy.Length);
        Assert.NotEqual(entropy, GuestScript.Value(ended.Output, "entropy-again"));
        if (transport == "pci")
        {
            AssertNoExitsForRequests(ended);
        }
    }

    private static string[] Packed(bool packed) => packed ? ["--packed"] : [];

    /// <summary>Each synchronous write of the guest is made durable outside, by one fdatasync.</summary>
    private static void AssertSynced(VmmProcess.Ended ended)
    {
        Assert.Equal("0", GuestScript.Value(ended.Output, "synced"));
        long flushes = Figures.OfDisk(ReadDisk, "flushes", ended.Error);
        Assert.InRange(flushes, SyncedWrites, SyncedWrites + 4);
        Assert.Equal(flushes, Figures.OfDisk(ReadDisk, "fdatasync", ended.Error));
    }

    /// <summary>What is left beside setting up, which costs an idle disk as much, is below 0.01 for a request.</summary>
    private static void AssertNoExitsForRequests(VmmProcess.Ended ended)
    {
        Assert.Equal("0", GuestScript.Value(ended.Output, "read"));
        Assert.InRange(Figures.OfDisk(ReadDisk, "reads", ended.Error), Reads, long.MaxValue);
        long more = Figures.AccessesOf(ReadDisk, ended.Error) - Figures.AccessesOf(IdleDisk, ended.Error);
        Assert.InRange(more, long.MinValue, Reads / 100);
    }
}
