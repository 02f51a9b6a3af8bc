using System.CommandLine;
using System.Text;
using Vmm.Backends.Disks;
using Vmm.Cli.Commands;
using Vmm.Host;

namespace Vmm.Tests.Disks;

/// <summary>What a file is opened as is what the user said or its name says, and its content does not contradict
/// that.</summary>
public sealed class ImageContentTests : IDisposable
{
    private readonly DiskRig _rig = new();

    public void Dispose() => _rig.Dispose();

    public static TheoryData<string, int, string, string> Containers => new()
    {
        { "QFI\u00fb\0\0\0\u0003", 0, "a qcow2 image", "format=qcow2" },
        { "QFI\u00fb\0\0\0\u0001", 0, "a qcow image of version 1", "qemu-img convert -f qcow " },
        { "KDMV\u0001\0\0\0", 0, "a VMDK image", "qemu-img convert -f vmdk" },
        { "COWD\u0001\0\0\0", 0, "a VMDK image", "qemu-img convert -f vmdk" },
        { "# Disk DescriptorFile\n", 0, "a VMDK image", "qemu-img convert -f vmdk" },
        { "vhdxfile", 0, "a VHDX image", "qemu-img convert -f vhdx" },
        { "\u007f\u0010\u00da\u00be", 64, "a VDI image", "qemu-img convert -f vdi" },
        { "conectix", 0, "a VHD image", "qemu-img convert -f vpc" },
        { "conectix", 65536 - 512, "a VHD image", "qemu-img convert -f vpc" },
        { "LUKS\u00ba\u00be\0\u0002", 0, "encrypted with LUKS", "cryptsetup open" },
        { "\u001f\u008b\u0008", 0, "compressed by gzip", "gzip -dc" },
        { "\u0028\u00b5\u002f\u00fd", 0, "compressed by zstd", "zstd -dc" },
        { "\u00fd7zXZ\0", 0, "compressed by xz", "xz -dc" },
    };

    [Theory]
    [MemberData(nameof(Containers))]
    public void A_container_is_not_taken_for_a_raw_disk(string magic, int at, string what, string remedy)
    {
        string path = _rig.File("disk.img", With(magic, at));
        foreach (string options in (string[])["", ",readonly", ",ephemeral"])
        {
            string message = Refused(path + options);
            Assert.Contains(what, message, StringComparison.Ordinal);
            Assert.Contains(remedy, message, StringComparison.Ordinal);
            Assert.Contains("format=raw", message, StringComparison.Ordinal);
            Assert.DoesNotContain('\n', message);
        }

        using var host = new DiskHost(_rig.Loop);
        Assert.Equal(65536ul, host.Open(DiskSpec.Parse(path + ",format=raw")).Backend.Length);
    }

    [Theory]
    [InlineData("disk.qcow2", "", "its name says qcow2", "add 'format=raw'")]
    [InlineData("disk.QCow2", "", "its name says qcow2", "add 'format=raw'")]
    [InlineData("disk.img", ",format=qcow2", "format=qcow2 was given", "give 'format=raw'")]
    [InlineData("disk.qcow2", ",format=qcow2", "format=qcow2 was given", "give 'format=raw'")]
    public void A_raw_disk_that_is_called_qcow2_gets_advice_that_helps(
        string name, string options, string because, string advice)
    {
        string path = _rig.File(name, new byte[65536]);
        string message = Refused(path + options);
        Assert.Contains(because, message, StringComparison.Ordinal);
        Assert.Contains(advice, message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("disk.qcow2")]
    [InlineData("disk.QCOW2")]
    [InlineData("disk.img,format=qcow2")]
    public void A_qcow2_image_opens_by_its_extension_in_any_case_or_by_format(string spec)
    {
        Create(Path.Combine(_rig.Directory, spec.Split(',')[0]), "1M", "--format", "qcow2");
        using var host = new DiskHost(_rig.Loop);
        Assert.Equal(1ul << 20, host.Open(DiskSpec.Parse(Path.Combine(_rig.Directory, spec))).Backend.Length);
    }

    [Fact]
    public void A_child_that_create_made_is_not_opened_as_raw()
    {
        _rig.File("base.img", new byte[1 << 20]);
        string child = Path.Combine(_rig.Directory, "child.img");
        Create(child, "2M", "-b", "base.img");
        Assert.Contains("format=qcow2", Refused(child), StringComparison.Ordinal);
        using var host = new DiskHost(_rig.Loop);
        Assert.Equal(2ul << 20, host.Open(DiskSpec.Parse(child + ",format=qcow2")).Backend.Length);
    }

    [Fact]
    public void A_backing_file_is_recorded_as_what_it_is()
    {
        string qcow2 = Path.Combine(_rig.Directory, "base.img");
        Create(qcow2, "1M", "--format", "qcow2");
        string child = Path.Combine(_rig.Directory, "child.qcow2");
        UsageException refused = Assert.Throws<UsageException>(() => Create(child, "1M", "-b", "base.img"));
        Assert.Contains("a qcow2 image", refused.Message, StringComparison.Ordinal);
        Assert.Contains("--backing-format qcow2", refused.Message, StringComparison.Ordinal);
        Assert.Contains("--backing-format raw", refused.Message, StringComparison.Ordinal);
        Assert.False(File.Exists(child));

        Create(child, "1M", "-b", "base.img", "--backing-format", "qcow2");
        Assert.Equal("qcow2", BackingFormat(child));
        string other = Path.Combine(_rig.Directory, "other.qcow2");
        Create(other, "1M", "-b", "base.img", "--backing-format", "raw");
        Assert.Equal("raw", BackingFormat(other));
        Create(Path.Combine(_rig.Directory, "BASE.QCOW2"), "1M");
        string third = Path.Combine(_rig.Directory, "third.qcow2");
        Create(third, "1M", "-b", "BASE.QCOW2");
        Assert.Equal("qcow2", BackingFormat(third));

        _rig.File("raw.img", new byte[65536]);
        UsageException wrong = Assert.Throws<UsageException>(
            () => Create(Path.Combine(_rig.Directory, "x.qcow2"), "1M", "-b", "raw.img", "--backing-format", "qcow2"));
        Assert.Contains("no qcow2 image", wrong.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_backing_file_without_a_given_format_is_checked()
    {
        string backing = Path.Combine(_rig.Directory, "base.img");
        Create(backing, "1M", "--format", "qcow2");
        string child = Path.Combine(_rig.Directory, "child.qcow2");
        Create(child, "1M", "-b", "base.img", "--backing-format", "raw");

        // As images of older tools are: without the extension that names the format ("raw" becomes an unknown one).
        byte[] bytes = File.ReadAllBytes(child);
        int at = bytes.AsSpan().IndexOf((byte[])[0xe2, 0x79, 0x2a, 0xca]);
        bytes[at] = 0x11;
        File.WriteAllBytes(child, bytes);
        string message = Refused(child);
        Assert.Contains("a qcow2 image", message, StringComparison.Ordinal);
        Assert.Contains("rebase -u -F qcow2", message, StringComparison.Ordinal);
    }

    private static void Create(params string[] arguments)
    {
        var configuration = new InvocationConfiguration { EnableDefaultExceptionHandler = false };
        ParseResult result = DiskCommand.Create().Parse(["create", .. arguments]);
        Assert.Empty(result.Errors);
        Assert.Equal(0, result.Invoke(configuration));
    }

    private static string BackingFormat(string path)
    {
        byte[] bytes = File.ReadAllBytes(path);
        int at = bytes.AsSpan().IndexOf((byte[])[0xe2, 0x79, 0x2a, 0xca]);
        return Encoding.ASCII.GetString(bytes, at + 8, bytes[at + 7]);
    }

    private string Refused(string spec)
    {
        using var host = new DiskHost(_rig.Loop);
        return Assert.Throws<UsageException>(() => host.Open(DiskSpec.Parse(spec))).Message;
    }

    private static byte[] With(string magic, int at)
    {
        var bytes = new byte[65536];
        Encoding.Latin1.GetBytes(magic).CopyTo(bytes, at);
        return bytes;
    }
}
