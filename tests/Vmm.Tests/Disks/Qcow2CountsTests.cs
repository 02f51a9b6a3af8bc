using Vmm.Backends.Disks.Qcow2;

namespace Vmm.Tests.Disks;

public sealed class Qcow2CountsTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(6)]
    public void Words_at_a_time_give_what_one_by_one_does(int order)
    {
        var random = new Random(order);
        int width = 1 << order;
        for (int round = 0; round < 50; round++)
        {
            var block = new byte[512];
            int counts = 512 * 8 / width;
            for (int i = 0; i < counts; i++)
            {
                ulong count = random.Next(20) == 0 && round % 5 != 0 ? 0 : 1ul << random.Next(width);
                Qcow2Counts.Write(block, i * width, order, count);
                Assert.Equal(count, Qcow2Counts.Read(block, i * width, order));
            }

            int[] zeros = [.. Enumerable.Range(0, counts).Where(i => Qcow2Counts.Read(block, i * width, order) == 0)];
            Assert.Equal(zeros.Length, Qcow2Counts.CountZeros(block, order));
            for (int from = 0; from < counts; from += 1 + random.Next(9))
            {
                int expected = zeros.FirstOrDefault(at => at >= from, -1);
                Assert.Equal(expected, Qcow2Counts.IndexOfZero(block, from, order));
            }
        }
    }
}
