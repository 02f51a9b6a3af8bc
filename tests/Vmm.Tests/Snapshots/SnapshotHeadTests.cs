using System.Text;
using Vmm.Devices.State;
using Vmm.Devices.Tests.State;
using Vmm.Host;
using Vmm.Snapshots;

namespace Vmm.Tests.Snapshots;

/// <summary>snapshot.json, which anybody may have written.</summary>
public sealed class SnapshotHeadTests
{
    internal const string Example = """
        {"checksum":"00000000","version":1,"vmm":"0.1.0","machine":{"kernel":"/boot/vmlinuz","memory":67108864,"cpus":2,"cpu":"host",
        "pci":true,"virtioConsole":false,"sharedMemory":false,"rng":true,"balloon":false,"packed":false,
        "disks":[{"option":"/srv/a,,b.img,readonly","files":[{"path":"/srv/a,b.img","deviceMajor":8,"deviceMinor":1,"inode":77,
        "size":1048576,"modifiedSeconds":1700000000,"modifiedNanoseconds":5}],"overlay":false}],
        "nets":[{"option":"user,mac=02:00:00:00:00:01,mtu=65520"}],"vsock":"/run/v.sock,cid=5","ports":[{"option":"agent=/run/p.sock"}]},
        "host":{"vendor":"GenuineIntel","features":"fpu sse2","capabilities":"KVM_CAP_XSAVE2","tscKhz":2000000},
        "state":{"bytes":12,"crc32c":34},"memoryChecksums":{"bytes":4096,"crc32c":56}}
        """;

    [Fact]
    public void What_is_written_is_read()
    {
        SnapshotHead head = SnapshotHead.Parse(Signed(Example));
        Assert.Equal(Signed(Example.ReplaceLineEndings("")), head.ToBytes());
        Assert.Equal("/srv/a,b.img", head.Machine.Disks[0].Files[0].Path);
        Assert.Equal("/srv/a,b.img", head.Machine.ToSpec(new Replacements()).Disks[0].Path);
        Assert.True(head.Machine.ToSpec(new Replacements()).Disks[0].ReadOnly);
        Assert.Equal(5u, head.Machine.ToSpec(new Replacements()).Vsock!.Cid);
        Assert.Equal("fpu sse2".Split(' '), head.Host.Features);
    }

    [Fact]
    public void A_bit_that_is_flipped_anywhere_is_found()
    {
        byte[] whole = Signed(Example);
        for (int i = 0; i < whole.Length * 8; i++)
        {
            byte[] flipped = [.. whole];
            flipped[i / 8] ^= (byte)(1 << (i % 8));
            StateException error = Assert.Throws<StateException>(() => SnapshotHead.Parse(flipped));
            Assert.StartsWith("snapshot", error.Field, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void One_that_is_cut_anywhere_is_refused()
    {
        byte[] whole = Signed(Example);
        for (int length = 0; length < whole.Length; length++)
        {
            Assert.Throws<StateException>(() => SnapshotHead.Parse(whole[..length]));
            Assert.Throws<StateException>(() => SnapshotHead.Parse(Signed(Encoding.UTF8.GetString(whole[..length]))));
        }
    }

    [Theory]
    [InlineData("\"version\":1", "\"version\":2", "snapshot.version", "2 is not known to this vmm")]
    [InlineData("\"memory\":67108864", "\"memory\":67108865", "snapshot.machine.memory", "no multiple of 4096")]
    [InlineData("\"memory\":67108864", "\"memory\":18446744073709551615", "snapshot.machine.memory", "is no number from")]
    [InlineData("\"memory\":67108864", "\"memory\":134217728", "snapshot.memoryChecksums.bytes", "number of chunks")]
    [InlineData("\"cpus\":2", "\"cpus\":0", "snapshot.machine.cpus", "is no number from 1")]
    [InlineData("\"cpus\":2", "\"cpus\":2,\"cpus\":3", "snapshot.machine.cpus", "is there twice")]
    [InlineData("\"inode\":77,", "", "snapshot.machine.disks[0].files[0].inode", "is missing")]
    [InlineData("\"tscKhz\":2000000", "\"tscKhz\":-1", "snapshot.host.tscKhz", "is no number")]
    [InlineData("\"vmm\":\"0.1.0\"", "\"vmm\":\"0.1.0\",\"id\":\"0123456789abcdef0123456789abcdeF\"", "snapshot.id", "is not 32 digits")]
    [InlineData("\"crc32c\":56}", "\"crc32c\":56},\"base\":7", "snapshot.base", "is no object")]
    [InlineData("\"crc32c\":56}", "\"crc32c\":56},\"base\":{\"directory\":\"b\",\"id\":\"0123456789abcdef0123456789abcdef\",\"memoryChecksums\":{\"bytes\":4096,\"crc32c\":1},\"pages\":{\"bytes\":2047,\"crc32c\":2}}", "snapshot.base.pages.bytes", "number of pages")]
    [InlineData("\"bytes\":12", "\"bytes\":99999999999", "snapshot.state.bytes", "is no number")]
    public void A_field_that_cannot_be_is_named(string what, string by, string field, string problem)
    {
        StateException error = Assert.Throws<StateException>(
            () => SnapshotHead.Parse(Signed(Example.Replace(what, by, StringComparison.Ordinal))));
        Assert.Equal(field, error.Field);
        Assert.Contains(problem, error.Message, StringComparison.Ordinal);
    }

    /// <summary>With the right checksum, as an attacker would write it.</summary>
    [Fact]
    public void A_hostile_one_is_refused_by_name_or_says_what_a_user_could_have_typed()
    {
        int refused = 0, read = 0;
        for (int seed = 0; seed < 3000; seed++)
        {
            byte[] mutated = StateMutation.Mutate(Encoding.UTF8.GetBytes(Example), new Random(seed));
            try
            {
                SnapshotHead head = SnapshotHead.Parse(Signed(Encoding.UTF8.GetString(mutated)));
                read++;
                _ = head.Machine.ToSpec(new Replacements());
            }
            catch (StateException error)
            {
                Assert.StartsWith("snapshot", error.Field, StringComparison.Ordinal);
                refused++;
            }
            catch (Vmm.Host.UsageException error)
            {
                Assert.DoesNotContain('\n', error.Message);
            }
        }

        Assert.InRange(refused, 500, 3000);
        Assert.InRange(read, 100, 3000);
    }

    /// <summary>The text with the checksum that it should have; as it is where it has no place for one.</summary>
    internal static byte[] Signed(string text)
    {
        const int Place = 13;
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        if (bytes.Length < Place + 8 || !text.StartsWith("{\"checksum\":\"", StringComparison.Ordinal))
        {
            return bytes;
        }

        "00000000"u8.CopyTo(bytes.AsSpan(Place));
        Encoding.ASCII.GetBytes($"{Crc32C.Of(bytes):x8}").CopyTo(bytes, Place);
        return bytes;
    }
}
