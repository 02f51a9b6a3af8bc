using Vmm.Machines;

namespace Vmm.Tests.Snapshots;

/// <summary>The bitmap of a memory's pages.</summary>
public sealed class PageSetTests
{
    private const ulong Page = PageSet.PageBytes;

    [Fact]
    public void It_is_what_a_plain_set_is()
    {
        var random = new Random(17);
        foreach (ulong pages in (ulong[])[1, 63, 64, 65, 128, 1000])
        {
            var set = new PageSet(pages * Page);
            var plain = new SortedSet<ulong>();
            for (int round = 0; round < 50; round++)
            {
                ulong first = (ulong)random.NextInt64((long)pages), count = (ulong)random.NextInt64((long)(pages - first) + 1);
                if (round % 3 == 2)
                {
                    set.Remove(first);
                    plain.Remove(first);
                    continue;
                }

                count = Math.Min(count, 90);
                set.Add(first, count);
                plain.UnionWith(Enumerable.Range((int)first, (int)count).Select(static page => (ulong)page));
                Assert.Equal(plain, Members(set));
                Assert.Equal((ulong)plain.Count, set.Count);
                Assert.Equal(plain, set.Runs().SelectMany(static run => Enumerable.Range((int)run.First, (int)run.Count)).Select(static page => (ulong)page));
                Assert.DoesNotContain(set.Runs(), run => set.Contains(run.First + run.Count));
            }

            Assert.Equal(plain, Members(PageSet.FromBytes(set.ToBytes(), pages * Page)!));
            var other = new PageSet(pages * Page);
            other.Add(0);
            other.Add(set);
            plain.Add(0);
            Assert.Equal(plain, Members(other));
            for (int chunk = 0; (ulong)chunk * 16 < pages; chunk++)
            {
                int expected = plain.Where(page => page / 16 == (ulong)chunk).Sum(static page => 1 << (int)(page % 16));
                Assert.Equal(expected, other.Sixteen(chunk));
            }

            other.Clear();
            Assert.Equal(0ul, other.Count);
        }
    }

    [Fact]
    public void Pages_behind_the_end_are_refused()
    {
        var set = new PageSet(10 * Page);
        set.Add(10, 0);
        Assert.Throws<ArgumentOutOfRangeException>(() => set.Add(10));
        Assert.Throws<ArgumentOutOfRangeException>(() => set.Add(0, 11));
        Assert.Throws<ArgumentOutOfRangeException>(() => set.Add(1, ulong.MaxValue));
        Assert.False(set.Contains(10));
        Assert.NotNull(PageSet.FromBytes([0xff, 0x03], 10 * Page));
        Assert.Null(PageSet.FromBytes([0xff, 0x04], 10 * Page));
        Assert.Null(PageSet.FromBytes([0xff], 10 * Page));
        Assert.Null(PageSet.FromBytes([0xff, 0x03, 0], 10 * Page));
    }

    private static IEnumerable<ulong> Members(PageSet set)
    {
        for (ulong page = 0; page < set.Pages; page++)
        {
            if (set.Contains(page))
            {
                yield return page;
            }
        }
    }
}
