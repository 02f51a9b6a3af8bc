namespace Vmm.Boot.Tests;

public sealed class BzImageTests
{
    [Fact]
    public void A_good_image_is_understood()
    {
        using KernelImage kernel = MadeUp.Open(MadeUp.BzImage());
        Assert.Equal(KernelKind.BzImage, kernel.Kind);
        BzImage image = kernel.BzImage!;
        Assert.Equal(0x020f, image.ProtocolVersion);
        Assert.Equal((MadeUp.SetupSects + 1) * 512, image.ProtectedModeOffset);
        Assert.Equal(MadeUp.KernelLength, image.ProtectedModeLength);
        Assert.Equal(image.ProtectedModeOffset + MadeUp.PayloadOffset, image.PayloadOffset);
        Assert.Equal(MadeUp.PayloadLength, image.PayloadLength);
        Assert.Equal(2047u, image.CmdlineSize);
        Assert.True(image.IsRelocatable);
    }

    [Fact]
    public void Cut_at_any_byte_it_is_refused()
    {
        byte[] whole = MadeUp.BzImage();
        // The last paragraph may be missing, as syssize counts whole ones only.
        for (int length = 1; length <= whole.Length - 16; length++)
        {
            MadeUp.Wrong(whole[..length]);
        }

        MadeUp.Open(whole[..^15]).Dispose();
    }

    [Fact]
    public void A_signature_behind_the_kernel_does_not_count()
    {
        using KernelImage kernel = MadeUp.Open([.. MadeUp.BzImage(), .. new byte[1000]]);
        Assert.Equal(MadeUp.KernelLength, kernel.BzImage!.ProtectedModeLength);
    }

    [Fact]
    public void No_setup_sects_means_four()
    {
        byte[] file = MadeUp.BzImage().With(0x1f1, (byte)0);
        using KernelImage kernel = MadeUp.Open(file);
        Assert.Equal(5 * 512, kernel.BzImage!.ProtectedModeOffset);
    }

    [Fact]
    public void A_header_of_protocol_2_12_without_kernel_info_is_enough()
    {
        byte[] file = MadeUp.BzImage().With(0x206, (ushort)0x020c).With(0x201, (byte)0x66).With(0x268, 0xdead_beefu);
        using KernelImage kernel = MadeUp.Open(file);
        Assert.Equal(0u, kernel.BzImage!.Header.kernel_info_offset);
    }

    [Theory]
    [InlineData(0x1f1, 1, 0xff, "setup_sects 255")]
    [InlineData(0x1f4, 4, 0x10_0000, "cut short")] // syssize
    [InlineData(0x1f4, 4, 0, "no 64-bit entry")]
    [InlineData(0x1f4, 4, 0x20, "no 64-bit entry")]
    [InlineData(0x1f4, 4, 0xffff_ffff, "cut short")]
    [InlineData(0x1fe, 2, 0x55aa, "damaged setup header")]
    [InlineData(0x201, 1, 0x10, "ends at 0x212")]
    [InlineData(0x206, 2, 0x020b, "boot protocol 2.11")]
    [InlineData(0x206, 2, 0, "boot protocol 0.00")]
    [InlineData(0x211, 1, 0, "zImage")]
    [InlineData(0x230, 4, 0, "kernel_alignment")]
    [InlineData(0x230, 4, 0x30_0000, "kernel_alignment")]
    [InlineData(0x230, 4, 0x800, "kernel_alignment")]
    [InlineData(0x236, 2, 0x3e, "32-bit kernel")] // xloadflags
    [InlineData(0x248, 4, 0x1001, "payload")]
    [InlineData(0x248, 4, 0xffff_ffff, "payload")]
    [InlineData(0x24c, 4, 0, "payload")] // an offset without a length
    [InlineData(0x24c, 4, 0xd01, "payload")]
    [InlineData(0x24c, 4, 0xffff_ffff, "payload")]
    [InlineData(0x258, 8, 0xf_f000, "pref_address")]
    [InlineData(0x258, 8, 0x100_0001, "pref_address")]
    [InlineData(0x258, 8, 0xc000_0000, "pref_address")]
    [InlineData(0x258, 8, -4096, "pref_address")]
    [InlineData(0x260, 4, 0xfff, "init_size")]
    [InlineData(0x260, 4, 0xffff_ffff, "init_size")]
    public void Absurd_values_are_refused_by_name(int offset, int size, long value, string named)
    {
        byte[] file = MadeUp.BzImage();
        BitConverter.GetBytes(value)[..size].CopyTo(file, offset);
        Assert.Contains(named, MadeUp.Wrong(file), StringComparison.Ordinal);
    }

    /// <summary>memtest86+ 6 has no payload, and its kernel_alignment is of no use to it.</summary>
    [Fact]
    public void Fields_that_may_be_zero_have_their_defaults()
    {
        byte[] file = MadeUp.BzImage().With(0x248, 0UL).With(0x258, 0UL).With(0x260, 0u).With(0x238, 0u).With(0x22c, 0u)
            .With(0x234, (byte)0).With(0x230, 0u);
        using KernelImage kernel = MadeUp.Open(file);
        BzImage image = kernel.BzImage!;
        Assert.False(image.HasPayload);
        Assert.Equal((0x10_0000UL, (ulong)MadeUp.KernelLength), (image.PrefAddress, image.InitSize));
        Assert.Equal((255u, 0x37ff_ffffu), (image.CmdlineSize, image.InitrdAddrMax));
    }

    [Theory]
    [InlineData(0x23c)]
    [InlineData(0x250)]
    [InlineData(0x264)]
    public void Fields_behind_the_headers_end_are_code_and_not_read(int end)
    {
        byte[] file = MadeUp.BzImage().With(0x201, (byte)(end - 0x202));
        file.AsSpan(end, 0x26c - end).Fill(0xcc);
        using KernelImage kernel = MadeUp.Open(file);
        Assert.Equal(end >= 0x250, kernel.BzImage!.HasPayload);
        Assert.Equal(end >= 0x264 ? 0x20_0000UL : (ulong)MadeUp.KernelLength, kernel.BzImage!.InitSize);
        Assert.Equal(0u, kernel.BzImage!.Header.handover_offset);
    }

    [Fact]
    public void Other_files_are_recognised()
    {
        Assert.Contains("gunzip", MadeUp.Wrong([0x1f, 0x8b, 8, 0]), StringComparison.Ordinal);
        byte[] arm64 = [.. new byte[56], .. "ARM\x64"u8, .. new byte[4]];
        Assert.Contains("give one for x86-64", MadeUp.Wrong(arm64), StringComparison.Ordinal);
        Assert.Contains("give a bzImage or a vmlinux", MadeUp.Wrong([0]), StringComparison.Ordinal);
        Assert.Contains("give a bzImage or a vmlinux", MadeUp.Wrong(new byte[4096]), StringComparison.Ordinal);
    }
}
