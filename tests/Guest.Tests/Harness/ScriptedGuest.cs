using System.Security.Cryptography;

namespace Vmm.Guest.Tests.Harness;

/// <summary>One boot of the reference guest that runs a script and ends by itself; many tests look at what it said and
/// left. It starts when the first test asks.</summary>
public sealed class ScriptedGuest : IDisposable
{
    public const byte ExitCode = 37;
    public const int Cpus = 4;
    public const int RandomBytes = 64 << 20;
    public const int BufferedBytes = 1 << 20;

    // vda is the root, vdb an ext4 for the data, vdc this script, vdd random bytes. Those go by direct I/O, which has the
    // guest's kernel copy nothing: where it is emulated, copying 64 MiB takes a minute, and making up as much half an hour.
    private const string Script = """
        echo cpus=$(nproc)
        echo memory=$(awk '/MemTotal/ { print $2 }' /proc/meminfo)
        echo cmdline=$(cat /proc/cmdline)
        echo size=$(cat /sys/block/vdb/size)
        dd if=/dev/zero of=/dev/vdc bs=512 count=1 2>/dev/null
        echo readonly=$? flag=$(cat /sys/block/vdc/ro)
        mount -t ext4 /dev/vdb /mnt || exit 1
        dd if=/dev/vdd of=/mnt/random bs=1M iflag=direct oflag=direct 2>/dev/null || exit 2
        dd if=/dev/vdd of=/mnt/buffered bs=64k count=16 iflag=direct 2>/dev/null || exit 3
        umount /mnt
        for i in 1 2 3 4; do dd if=/dev/vdc of=/dev/null bs=4k count=256 iflag=direct 2>/dev/null; done

        """;

    private readonly TemporaryFolder _folder = new();
    private readonly byte[] _random = RandomNumberGenerator.GetBytes(RandomBytes);
    private readonly Lazy<VmmProcess.Ended> _ended;

    public ScriptedGuest() => _ended = new Lazy<VmmProcess.Ended>(Run);

    internal VmmProcess.Ended Ended => _ended.Value;

    internal string Root => _folder["rootfs.img"];

    /// <summary>SHA-256 of the first bytes that the guest was to write.</summary>
    internal string RandomSum(int bytes) => Convert.ToHexStringLower(SHA256.HashData(_random.AsSpan(0, bytes)));

    internal string Data => _folder["data.img"];

    internal string ScriptDisk => _folder["script.img"];

    internal string Scratch => _folder["scratch"];

    internal static byte[] ScriptDiskContent { get; } =
        GuestScript.Disk($"{Script}{GuestScript.CountRequests}exit {ExitCode}\n", 1 << 20);

    public void Dispose() => _folder.Dispose();

    private VmmProcess.Ended Run()
    {
        _folder.CopyOfRootfs("rootfs.img");
        HostTool.MakeExt4(Data, 160 << 20);
        _folder.Write("script.img", ScriptDiskContent);
        string random = _folder.Write("random.img", _random);
        return VmmProcess.Run(
            "--kernel", Product.Vmlinux, "--mem", "512M", "--cpus", $"{Cpus}", "--stats",
            "--disk", Root, "--disk", Data, "--disk", ScriptDisk + ",readonly", "--disk", random + ",readonly",
            "--cmdline", "quiet vmm.run=/dev/vdc seen=by-the-guest");
    }
}
