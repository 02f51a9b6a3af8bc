using System.Text;
using Vmm.Insight.Complaints;
using Vmm.Tests.Shared;

namespace Vmm.Tests.Insight;

public sealed class ComplaintWatchTests
{
    private readonly ComplaintWatch _watch = new();
    private readonly List<Complaint> _found = [];

    public ComplaintWatchTests() => _watch.Found += _found.Add;

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(1000)]
    public void Lines_are_put_together_however_they_come(int pieces)
    {
        byte[] log = Encoding.UTF8.GetBytes(
            "hello\r\n\r\n# [    1.000000] kernel BUG at a.c:1!\r\n[    1.000001] invalid opcode: 0000 [#1] SMP\r\nbye");
        for (int at = 0; at < log.Length; at += pieces)
        {
            _watch.Sent(log.AsSpan(at, Math.Min(pieces, log.Length - at)));
        }

        Assert.Equal(
            [
                new Complaint(ComplaintKind.Bug, 2, "kernel BUG at a.c:1!"),
                new(ComplaintKind.Oops, 3, "invalid opcode: 0000 [#1] SMP"),
            ],
            _found);
    }

    [Fact]
    public void A_progress_bar_without_newlines_hides_nothing()
    {
        for (int i = 0; i < 100; i++)
        {
            Say($"\r{i,3} % done");
        }

        Say("\rKernel panic - not syncing: x\r\n");
        Assert.Equal("Kernel panic - not syncing: x", Assert.Single(_found).Text);
    }

    [Fact]
    public void A_line_without_end_is_searched_in_pieces_of_fixed_length()
    {
        Say(new string('x', 100 * ComplaintWatch.LongestLine));
        Say("[    1.234567] kernel BUG at a.c:1!\n");
        Assert.Single(_found);
    }

    [Fact]
    public void What_is_kept_of_a_line_is_bounded_and_safe_to_print()
    {
        Say("Kernel panic - not syncing: \e[31mred\a\u202e" + new string('x', 400) + "\n");
        string text = Assert.Single(_found).Text;
        Assert.StartsWith("Kernel panic - not syncing: ?[31mred??xxx", text, StringComparison.Ordinal);
        Assert.InRange(text.Length, 100, Complaint.LongestText + 3);
    }

    [Fact]
    public void Ordinary_lines_allocate_nothing()
    {
        byte[] line = "[    1.234567] virtio_blk virtio0: [vda] 2048 512-byte logical blocks (1.05 MB/1.00 MiB)\r\n"u8.ToArray();
        Assert.Equal(0, Allocations.Least(() =>
        {
            for (int i = 0; i < 10_000; i++)
            {
                _watch.Sent(line);
                foreach (ref readonly byte value in line.AsSpan())
                {
                    _watch.Sent(new ReadOnlySpan<byte>(in value));
                }
            }
        }));
        Assert.Empty(_found);
    }

    private void Say(string text) => _watch.Sent(Encoding.UTF8.GetBytes(text));
}
