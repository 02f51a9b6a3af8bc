using System.Text;
using Vmm.Devices.Memory;
using Vmm.Tests.Shared;

namespace Vmm.Boot.Tests;

public sealed class CommandLineTests
{
    [Theory]
    [InlineData(null, false, "console=ttyS0 reboot=k panic=-1 a=b")]
    [InlineData("", false, "console=ttyS0 reboot=k panic=-1 a=b")]
    [InlineData("quiet -- sh", false, "console=ttyS0 reboot=k panic=-1 a=b quiet -- sh")]
    [InlineData("quiet", true, "quiet")]
    [InlineData(null, true, "")]
    public void What_the_user_gives_is_added_or_replaces(string? given, bool only, string line) =>
        Assert.Equal(line, CommandLine.Compose(CommandLine.Default, given, only, "a=b"));

    [Theory]
    [InlineData(null, false, "dir/kernel")]
    [InlineData("", false, "dir/kernel")]
    [InlineData("a b=c", false, "dir/kernel a b=c")]
    [InlineData("a", true, "a")]
    [InlineData(null, true, "")]
    public void A_multiboot_kernel_gets_its_name_and_what_was_given(string? given, bool only, string line) =>
        Assert.Equal(line, CommandLine.ComposeMultiboot("dir/kernel", given, only));

    [Fact]
    public void A_million_lines_are_written_whole_with_their_end_or_refused_in_one_line()
    {
        using var test = new TestMemory(2 << 20);
        string[] pieces = ["a", "root=/dev/vda", " ", "\t", "\"x y\"", "--", "=", "\0", "\n", "\u00e9", "\ud83d\ude00", "\ud800", "nokaslr"];
        string[] longOnes = [new string('l', 1900), new string('\u20ac', 700), new string('m', (int)Layout.CommandLineRoom)];
        byte[] after = new byte[8];
        byte[] written = new byte[Layout.CommandLineRoom];
        var random = new Random(61);
        var text = new StringBuilder();
        int refused = 0;
        for (int i = 0; i < 1_000_000; i++)
        {
            text.Clear();
            for (int count = random.Next(6); count > 0; count--)
            {
                text.Append(random.Next(32) == 0 ? longOnes[random.Next(longOnes.Length)] : pieces[random.Next(pieces.Length)]);
            }

            string line = CommandLine.Compose(CommandLine.Default, text.ToString(), random.Next(2) == 0, pieces[random.Next(5)]);
            ulong limit = random.Next(4) == 0 ? (ulong)random.Next(4096) : CommandLine.LinuxLimit;
            try
            {
                CommandLine.Write(test.Memory, line, limit, "it");
                int length = Encoding.UTF8.GetByteCount(line);
                Span<byte> read = written.AsSpan(0, length + 1);
                test.Memory.Read(new GuestAddress(Layout.CommandLine), read);
                test.Memory.Read(new GuestAddress(Layout.CommandLine + Layout.CommandLineRoom), after);
                if ((ulong)length > limit || read.IndexOf((byte)0) != length || after.AsSpan().ContainsAnyExcept((byte)0))
                {
                    Assert.Fail($"input {i}: {length} bytes where {limit} are taken, or without their end");
                }
            }
            catch (BootException error)
            {
                refused += error.Message.Contains('\n', StringComparison.Ordinal) ? Inputs : 1;
            }
        }

        Assert.InRange(refused, 10_000, 990_000);
    }

    private const int Inputs = 1_000_000;
}
