using System.Diagnostics;
using System.Formats.Tar;
using System.Text;
using Vmm.Backends.Shares;
using Vmm.Cli.Commands;
using Vmm.Host;
using Vmm.Run.Roots;
using Xunit;

namespace Vmm.Tests.Run;

/// <summary>What becomes a guest's root file system, and how it is packed.</summary>
public sealed class RunRootTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("vmm-root").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData(null, false, true, RootKind.Share)]
    [InlineData("none", false, true, RootKind.Busybox)]
    [InlineData("none", true, false, RootKind.Busybox)]
    [InlineData("/", false, true, RootKind.Share)]
    [InlineData("/tmp", false, false, RootKind.PackedDirectory)]
    [InlineData("/tmp", true, true, RootKind.PackedDirectory)]
    [InlineData(null, true, true, RootKind.PackedDirectory)]
    [InlineData("/bin/sh", false, true, RootKind.Disk)]
    internal void Chooses(string? root, bool pack, bool canShare, RootKind expected) =>
        Assert.Equal(expected, RunRoot.Choose(root, pack, canShare).Kind);

    [Theory]
    [InlineData("/", "/root/src", false, 1)]
    [InlineData("/", "/root/src", true, 2)]
    [InlineData("/", "/tmp/work", false, 2)]
    [InlineData("/", "/tmp", false, 2)]
    [InlineData("/", "/tmpfiles", false, 1)]
    [InlineData("/", "/run/user/0/x", false, 2)]
    [InlineData("/srv", "/root/src", false, 2)]
    [InlineData("/srv", "/", false, 1)]
    public void The_working_directory_is_shared_where_the_guest_would_not_see_it(string root, string here, bool isWritable, int shares)
    {
        ShareSpec[] all = [.. RunRootOptions.Shares(new RunRoot(RootKind.Share, root) { IsWorkWritable = isWritable }, here)];
        Assert.Equal(shares, all.Length);
        Assert.All(all.Skip(1), each => Assert.Equal((here, here, isWritable), (each.HostPath, each.GuestPath, each.IsWritable)));
    }

    [Fact]
    public void The_hosts_root_is_packed_only_when_asked_for()
    {
        UsageException error = Assert.Throws<UsageException>(() => RunRoot.Choose(null, pack: false, canShare: false));
        Assert.Contains("virtiofsd", error.Message, StringComparison.Ordinal);
        Assert.Contains("--root none", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Archives_are_distinguished_from_disks_by_their_first_bytes()
    {
        string tar = MakeArchive(("etc/name", "x"));
        Assert.Equal(RootKind.Archive, RunRoot.Choose(tar, pack: false, canShare: true).Kind);
        byte[] head = new byte[512];
        Assert.False(ArchiveFile.IsArchive(head));
        Assert.False(ArchiveFile.IsArchive([]));
        Assert.True(ArchiveFile.IsArchive([0x1f, 0x8b, 8, 0]));
        Assert.True(ArchiveFile.IsArchive("BZh91"u8));
        Assert.False(ArchiveFile.IsArchive("BZh"u8));
        "ustar"u8.CopyTo(head.AsSpan(257));
        Assert.True(ArchiveFile.IsArchive(head));
        Assert.False(ArchiveFile.IsArchive(head.AsSpan(0, 300)));
    }

    [Theory]
    [InlineData("short", "hello", "is neither a disk image nor a tar archive")]
    [InlineData("short.tar", "hello", "is no tar archive, or an empty one")]
    [InlineData("zeros.tar", "", "is no tar archive, or an empty one")]
    public void What_is_no_file_system_is_refused_before_the_boot(string name, string content, string said)
    {
        string path = Path.Combine(_folder, name);
        File.WriteAllBytes(path, [.. Encoding.ASCII.GetBytes(content), .. new byte[content.Length == 0 ? 10240 : 0]]);
        UsageException error = Assert.Throws<UsageException>(
            () => PackedRoot.Make(RunRoot.Choose(path, pack: false, canShare: true))?.Dispose());
        Assert.Equal($"--root {path}: {said}", error.Message);
    }

    [Fact]
    public void A_disk_with_partitions_is_refused_and_a_file_system_is_not()
    {
        string path = Path.Combine(_folder, "disk.img");
        byte[] disk = new byte[4096];
        "EFI PART"u8.CopyTo(disk.AsSpan(512));
        File.WriteAllBytes(path, disk);
        Assert.Contains("has partitions", Assert.Throws<UsageException>(() => DiskFileSystem.CheckMountable(path)).Message, StringComparison.Ordinal);

        disk = new byte[4096];
        (disk[510], disk[511], disk[450]) = (0x55, 0xaa, 0x83);
        Assert.True(DiskFileSystem.HasPartitions(disk));
        "FAT32   "u8.CopyTo(disk.AsSpan(82));
        Assert.False(DiskFileSystem.HasPartitions(disk));
        Assert.False(DiskFileSystem.HasPartitions(new byte[4096]));
        DiskFileSystem.CheckMountable("/bin/sh");
    }

    [Fact]
    public void A_directory_becomes_an_ext4_image_without_a_name()
    {
        string tree = Path.Combine(_folder, "tree");
        Directory.CreateDirectory(Path.Combine(tree, "sub"));
        File.WriteAllText(Path.Combine(tree, "sub", "file"), "content\n");
        using PackedRoot packed = PackedRoot.Make(new RunRoot(RootKind.PackedDirectory, tree))!;
        Assert.StartsWith("/proc/self/fd/", packed.Disk.Path);
        using FileStream image = File.OpenRead(packed.Disk.Path);
        byte[] magic = new byte[2];
        image.Position = 0x438;     // ext4's superblock at 1024, s_magic at 0x38
        image.ReadExactly(magic);
        Assert.Equal([0x53, 0xef], magic);
        Assert.True(image.Length >= 1 << 30, "no room for what the guest writes");
    }

    [Fact]
    public void An_archive_becomes_a_squashfs_image()
    {
        using PackedRoot packed = PackedRoot.Make(new RunRoot(RootKind.Archive, MakeArchive(("etc/name", "x"))))!;
        using FileStream image = File.OpenRead(packed.Disk.Path);
        byte[] magic = new byte[4];
        image.ReadExactly(magic);
        Assert.Equal("hsqs"u8.ToArray(), magic);
        Assert.True(packed.Disk.ReadOnly);
    }

    /// <summary>Wherever its links lead and whatever its devices are: only inside the guest.</summary>
    [Fact]
    public void An_archive_may_have_absolute_names_and_links_and_devices()
    {
        string tar = Path.Combine(_folder, "odd.tar");
        using (var writer = new TarWriter(File.Create(tar), TarEntryFormat.Ustar))
        {
            writer.WriteEntry(new UstarTarEntry(TarEntryType.RegularFile, "/etc/name") { DataStream = new MemoryStream("x"u8.ToArray()) });
            writer.WriteEntry(new UstarTarEntry(TarEntryType.SymbolicLink, "link") { LinkName = "/etc/shadow" });
            writer.WriteEntry(new UstarTarEntry(TarEntryType.HardLink, "hard") { LinkName = "/etc/name" });
            writer.WriteEntry(new UstarTarEntry(TarEntryType.BlockDevice, "dev/sda") { DeviceMajor = 8, DeviceMinor = 0 });
        }

        using PackedRoot packed = PackedRoot.Make(new RunRoot(RootKind.Archive, tar))!;
        using Process listing = Process.Start(
            new ProcessStartInfo("sh", ["-c", $"PATH=$PATH:/usr/sbin; sqfs2tar -s /proc/{Environment.ProcessId}/fd/{Path.GetFileName(packed.Disk.Path)} | tar tv"])
            {
                RedirectStandardOutput = true,
            })!;
        string said = listing.StandardOutput.ReadToEnd();
        Assert.Matches(@"(?m)^lrwx.* link -> /etc/shadow$", said);
        Assert.Matches(@"(?m)^-.* etc/name$", said);
        Assert.Matches(@"(?m)^b.* 8,0 .* dev/sda$", said);
        Assert.Contains(" hard", said, StringComparison.Ordinal);
        Assert.False(File.Exists("/hard"));
    }

    [Fact]
    public void An_archive_that_leaves_its_directory_or_is_cut_is_refused_in_one_line()
    {
        string tar = MakeArchive(("../../escape", "x"));
        UsageException error = Assert.Throws<UsageException>(() => PackedRoot.Make(new RunRoot(RootKind.Archive, tar)));
        Assert.StartsWith($"--root {tar}: cannot be packed: ", error.Message, StringComparison.Ordinal);
        Assert.Contains("escape", error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error.Message);

        string cut = MakeArchive(("file", new string('x', 100_000)));
        using (FileStream file = File.OpenWrite(cut))
        {
            file.SetLength(50_000);
        }

        Assert.Throws<UsageException>(() => PackedRoot.Make(new RunRoot(RootKind.Archive, cut)));
    }

    [Fact]
    public void What_shows_a_name_shows_no_control_characters()
    {
        string tar = MakeArchive(("../\u001b[31mred", "x"));
        UsageException error = Assert.Throws<UsageException>(() => PackedRoot.Make(new RunRoot(RootKind.Archive, tar)));
        Assert.DoesNotContain('\u001b', error.Message);
    }

    private string MakeArchive(params (string Name, string Content)[] files)
    {
        string path = Path.Combine(_folder, $"{Guid.NewGuid():N}.tar");
        using var writer = new TarWriter(File.Create(path), TarEntryFormat.Ustar);
        foreach ((string name, string content) in files)
        {
            writer.WriteEntry(new UstarTarEntry(TarEntryType.RegularFile, name)
            {
                DataStream = new MemoryStream(Encoding.UTF8.GetBytes(content)),
            });
        }

        return path;
    }
}
