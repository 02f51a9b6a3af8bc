using System.Buffers.Binary;
using Vmm.Backends.Shares;
using Vmm.Backends.VhostUser;
using Vmm.Devices.Memory;
using Vmm.Host;
using Vmm.Tests.Shared;

namespace Vmm.Tests.VhostUser;

public sealed class ShareTests
{
    private const uint Init = 26, Create = 35, Lookup = 1;

    [Theory]
    [InlineData("./src:/src", "./src", "/src", false, null)]
    [InlineData("/a:/b,rw", "/a", "/b", true, null)]
    [InlineData("/a:b:/c d,tag=x,rw", "/a:b", "/c d", true, "x")]
    [InlineData("/a,,b:/c,ro", "/a,b", "/c", false, null)]
    public void A_share_is_parsed(string text, string host, string guest, bool writable, string? tag) =>
        Assert.Equal(new ShareSpec(host, guest, writable, tag), ShareSpec.Parse(text));

    [Theory]
    [InlineData("/a", "takes a directory of this host and an absolute path in the guest")]
    [InlineData("", "takes a directory of this host")]
    [InlineData(":/b", "takes a directory of this host")]
    [InlineData("/a:b", "takes a directory of this host")]
    [InlineData("/a:/b,", "no such option ''")]
    [InlineData("/a:/b,rx", "no such option 'rx'")]
    [InlineData("/a:/b,rw=1", "'rw' takes no value")]
    [InlineData("/a:/b,tag=", "tag= takes 1 to 36 bytes")]
    [InlineData("/a:/b,tag=0123456789012345678901234567890123456", "tag= takes 1 to 36 bytes")]
    public void A_wrong_one_is_one_line(string text, string says)
    {
        string message = Assert.Throws<UsageException>(() => ShareSpec.Parse(text)).Message;
        Assert.Contains(says, message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    [Fact]
    public void Tags_go_by_position_and_are_unique()
    {
        IReadOnlyList<ShareSpec> shares = ShareSpec.WithTags([ShareSpec.Parse("/a:/b"), ShareSpec.Parse("/a:/c,tag=x"), ShareSpec.Parse("/a:/d")]);
        Assert.Equal(["share0", "x", "share2"], shares.Select(static share => share.Tag));
        Assert.Throws<UsageException>(() => ShareSpec.WithTags([ShareSpec.Parse("/a:/b,tag=share1"), ShareSpec.Parse("/a:/c")]));
    }

    [Fact]
    public void A_path_that_is_no_directory_is_reported()
    {
        Assert.Throws<UsageException>(() => ShareSpec.Parse("/nowhere/at/all:/x").FindDirectory());
        Assert.Throws<UsageException>(() => ShareSpec.Parse("/etc/passwd:/x").FindDirectory());
    }

    /// <summary>The one that is installed, and the one in Rust, which Debian has from 13 on.</summary>
    [VirtiofsdTheory]
    [InlineData(false)]
    [InlineData(true)]
    public void Virtiofsd_serves_requests_over_a_real_ring_and_cannot_write_to_a_read_only_tree(bool fetched)
    {
        string? chosen = fetched ? $"{RustVirtiofsd.Directory}/virtiofsd" : null;
        using var place = new SharedTree();
        foreach (bool writable in (bool[])[true, false])
        {
            using Virtiofsd program = Virtiofsd.Start(place.Path, new ShareSpec(place.Path, "/x", writable, null), "namespace", chosen);
            using (var rig = new VhostRig((loop, memory, tell) =>
                new VhostUserBackend(program.Socket, loop, memory, TimeSpan.FromSeconds(60), tell)))
            {
                rig.Start();
                byte[] init = new byte[64];
                BinaryPrimitives.WriteUInt32LittleEndian(init, 7);
                BinaryPrimitives.WriteUInt32LittleEndian(init.AsSpan(4), 31);
                ulong answer = Ask(rig, 0, Init, 1, init.AsSpan(0, 16));
                Assert.Equal(0, rig.Read<int>(answer + 4));
                Assert.Equal(7u, rig.Read<uint>(answer + 16));

                answer = Ask(rig, 1, Lookup, 2, "file, one\0"u8);
                Assert.Equal(0, rig.Read<int>(answer + 4));

                // struct fuse_create_in: flags, mode, umask, open_flags; then the name.
                byte[] create = new byte[16 + 4];
                BinaryPrimitives.WriteUInt32LittleEndian(create, 2);
                BinaryPrimitives.WriteUInt32LittleEndian(create.AsSpan(4), 0x81a4);
                "new\0"u8.CopyTo(create.AsSpan(16));
                answer = Ask(rig, 2, Create, 3, create);
                const int ReadOnlyFileSystem = -30;
                Assert.Equal(writable ? 0 : ReadOnlyFileSystem, rig.Read<int>(answer + 4));
                Assert.Equal(writable, File.Exists($"{place.Path}/new"));
                rig.Device.Status = 0;
                Assert.Equal(0u, rig.Device.Status);
                Assert.Empty(rig.Told);
            }

            File.Delete($"{place.Path}/new");
        }
    }

    private static ulong Ask(VhostRig rig, int place, uint opcode, ulong unique, ReadOnlySpan<byte> body)
    {
        ushort before = rig.UsedIndex(1);
        ulong answer = rig.Request(1, place, opcode, unique, body);
        rig.Write(answer - 0x800 + 16, 1UL);        // nodeid: the root
        rig.Device.NotifyQueue(1);
        rig.Until(() => rig.UsedIndex(1) != before);
        rig.Until(() => rig.Interrupts.Count > 0);
        Assert.Equal(unique, rig.Read<ulong>(answer + 8));
        return answer;
    }
}

internal sealed class SharedTree : IDisposable
{
    public SharedTree()
    {
        Path = Directory.CreateTempSubdirectory("vmm test, with: ").FullName;
        File.WriteAllText($"{Path}/file, one", "text");
    }

    public string Path { get; }

    public void Dispose() => Directory.Delete(Path, recursive: true);
}

internal sealed class VirtiofsdTheoryAttribute : TheoryAttribute
{
    public VirtiofsdTheoryAttribute()
    {
        if (!File.Exists("/usr/lib/qemu/virtiofsd") && !File.Exists("/usr/libexec/virtiofsd"))
        {
            Skip = "virtiofsd is not installed";
        }
        else if (LibC.geteuid() != 0)
        {
            Skip = "needs root, as namespaces of users may be switched off";
        }
    }
}
