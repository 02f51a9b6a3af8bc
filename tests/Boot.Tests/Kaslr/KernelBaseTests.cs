using Vmm.Boot.Kaslr;

namespace Vmm.Boot.Tests.Kaslr;

public sealed class KernelBaseTests
{
    private const ulong Mib = 1 << 20;
    private const ulong Linked = 16 * Mib;

    [Fact]
    public void Every_place_where_the_kernel_fits_is_chosen_and_no_other()
    {
        // 17.1 MiB need nine slots of 2 MiB, of the 24 in 16..64 MiB: 16 choices. Of the 504 in 16..1024 MiB: 496.
        const ulong Need = (17 * Mib) + 1234;
        var physical = new HashSet<ulong>();
        var virtually = new HashSet<ulong>();
        for (ulong i = 0; i < 2000; i++)
        {
            KernelBase chosen = Choose(Need, limit: 64 * Mib, random: () => i);
            Assert.InRange(chosen.Physical, Linked, 64 * Mib - (18 * Mib));
            Assert.InRange(chosen.VirtualOffset, 0UL, KernelBase.KernelImageSize - Linked - (18 * Mib));
            Assert.Equal(0UL, chosen.Physical % (2 * Mib));
            Assert.Equal(0UL, chosen.VirtualOffset % (2 * Mib));
            physical.Add(chosen.Physical);
            virtually.Add(chosen.VirtualOffset);
        }

        Assert.Equal(16, physical.Count);
        Assert.Equal(496, virtually.Count);
    }

    [Fact]
    public void Physical_and_virtual_bases_are_drawn_independently_unless_they_are_coupled()
    {
        ulong draws = 0;
        KernelBase free = Choose(10 * Mib, 1024 * Mib, () => draws++ == 0 ? 7UL : 9UL);
        Assert.Equal(new KernelBase(Linked + (18 * Mib), 14 * Mib), free);
        Assert.Equal(2UL, draws);

        KernelBase coupled = KernelBase.Choose(Linked, 10 * Mib, 64 * Mib, 2 * Mib, isCoupled: true, () => 21);
        Assert.Equal(new KernelBase(Linked + (2 * Mib), 2 * Mib), coupled); // 20 slots are common to both
    }

    [Fact]
    public void The_kernels_own_alignment_is_kept_if_it_is_larger()
    {
        KernelBase chosen = KernelBase.Choose(Linked, 10 * Mib, 1024 * Mib, 16 * Mib, isCoupled: false, () => 3);
        Assert.Equal(new KernelBase(64 * Mib, 48 * Mib), chosen);
        KernelBase small = KernelBase.Choose(Linked, 10 * Mib, 1024 * Mib, 4096, isCoupled: false, () => 3);
        Assert.Equal(new KernelBase(22 * Mib, 6 * Mib), small);
    }

    [Theory]
    [InlineData(16UL, 32UL)] // exactly fits
    [InlineData(17UL, 32UL)]
    [InlineData(1UL, 8UL)] // the limit is below
    [InlineData(2000UL, 64UL)] // larger than all virtual space
    [InlineData(ulong.MaxValue >> 21, 64UL)]
    public void A_kernel_that_cannot_move_stays(ulong needMib, ulong limitMib)
    {
        KernelBase chosen = KernelBase.Choose(Linked, needMib * Mib, limitMib * Mib, 2 * Mib, isCoupled: true, () => 12345);
        Assert.Equal(new KernelBase(Linked, 0), chosen);
    }

    [Fact]
    public void The_systems_random_numbers_have_all_their_bits()
    {
        ulong ones = 0, zeros = 0;
        for (int i = 0; i < 100; i++)
        {
            ulong value = KernelBase.SystemRandom();
            ones |= value;
            zeros |= ~value;
        }

        Assert.Equal((ulong.MaxValue, ulong.MaxValue), (ones, zeros)); // a fair bit fails in 1 of 10^28 runs
    }

    private static KernelBase Choose(ulong need, ulong limit, Func<ulong> random) =>
        KernelBase.Choose(Linked, need, limit, 2 * Mib, isCoupled: false, random);
}
