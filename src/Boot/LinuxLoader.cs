using System.Runtime.CompilerServices;
using Vmm.Boot.Kaslr;
using Vmm.Boot.Unpack;
using Vmm.Devices.Memory;

namespace Vmm.Boot;

/// <summary>Starts Linux by its 64-bit boot protocol (Documentation/arch/x86/boot.rst).</summary>
internal static class LinuxLoader
{
    // A vmlinux has no setup header; this is the value in the header of every x86-64 kernel.
    private const uint DefaultInitrdAddrMax = 0x7fff_ffff;
    private const uint DefaultKernelAlignment = 0x100_0000;
    private const ushort DefaultVersion = 0x020f;

    public static LoadedGuest Load(GuestMemory memory, KernelImage kernel, BootRequest request)
    {
        if (kernel.Kind is KernelKind.Elf32 or KernelKind.Flat)
        {
            throw new BootException(
                $"kernel {kernel.Name}: is no 64-bit kernel: give a bzImage or a vmlinux for x86-64");
        }

        InitialRamDisk initrd = request.Initrd;
        SetupHeader header = kernel.BzImage?.Header ?? HeaderForVmlinux();
        uint highestInitrd = kernel.BzImage?.InitrdAddrMax ?? header.initrd_addr_max;
        ulong limit = initrd.KernelLimit(memory, highestInitrd);
        ElfKernel? elf = ElfKernel.TryLoad(
            memory, kernel, request, limit, isCoupled: false, out UnpackReport? unpacked);
        Placement placed = elf?.Placed ?? PlaceBzImage(memory, kernel, kernel.BzImage!);
        CommandLine.Write(
            memory, request.CommandLine, kernel.BzImage?.CmdlineSize ?? header.cmdline_size, kernel.Name);
        GuestAddress initrdAddress = default;
        if (initrd.Size != 0)
        {
            initrdAddress = initrd.Load(memory, placed.End, highestInitrd);
        }

        header.type_of_loader = SetupHeader.LoaderUndefined;
        header.code32_start = (uint)placed.Start.Value;
        header.cmd_line_ptr = (uint)Layout.CommandLine;
        header.ramdisk_image = (uint)initrdAddress.Value; // low memory: the ext_ fields stay 0
        header.ramdisk_size = (uint)initrd.Size;
        header.loadflags |= unpacked is { Kaslr: KaslrOutcome.Randomized } ? SetupHeader.KASLR_FLAG : (byte)0;
        header.setup_data = WriteSetupData(memory, request.RngSeed.Span);
        WriteBootParams(memory, header, request);

        return new LoadedGuest(
            EntryState.LongMode(memory, placed.Entry, rsi: Layout.BootParams),
            EntryProtocol.Linux64,
            (placed.Start, placed.End - placed.Start),
            (initrdAddress, initrd.Size))
        { Unpacked = unpacked };
    }

    /// <summary>Loads the protected-mode part, which unpacks itself.</summary>
    private static Placement PlaceBzImage(GuestMemory memory, KernelImage kernel, BzImage bzImage)
    {
        // A relocatable kernel unpacks itself where it was loaded, but not below pref_address; another one is
        // loaded at 1 MiB and unpacks itself to pref_address (boot.rst, "init_size").
        ulong alignment = bzImage.KernelAlignment;
        ulong runtime = bzImage.IsRelocatable
            ? (bzImage.PrefAddress + alignment - 1) & ~(alignment - 1)
            : bzImage.PrefAddress;
        ulong load = bzImage.IsRelocatable ? runtime : Layout.HighMemory;
        ulong length = (ulong)bzImage.ProtectedModeLength;
        ulong end = Math.Max(runtime + bzImage.InitSize, load + length);
        if (end > memory.Regions[0].Length)
        {
            throw new BootException($"kernel {kernel.Name}: needs memory up to {Mib(end)} MiB, there are "
                + $"{Mib(memory.Regions[0].Length)} MiB below the hole: give more --mem or a smaller kernel");
        }

        kernel.Source.CopyTo(bzImage.ProtectedModeOffset, length, memory, new GuestAddress(load));
        return new Placement(new GuestAddress(load), new GuestAddress(end), new GuestAddress(load + BzImage.Entry64));
    }

    /// <summary>The setup header of a vmlinux: the fields that the kernel reads.</summary>
    private static SetupHeader HeaderForVmlinux() => new()
    {
        boot_flag = SetupHeader.BootFlag,
        header = SetupHeader.Magic,
        version = DefaultVersion,
        loadflags = SetupHeader.LOADED_HIGH,
        initrd_addr_max = DefaultInitrdAddrMax,
        kernel_alignment = DefaultKernelAlignment,
        cmdline_size = CommandLine.LinuxLimit,
        xloadflags = SetupHeader.XLF_KERNEL_64,
    };

    /// <summary>Writes the list of setup_data (boot.rst, "setup_data"): one node with the seed, or none.</summary>
    /// <returns>Its address, or 0.</returns>
    private static ulong WriteSetupData(GuestMemory memory, ReadOnlySpan<byte> seed)
    {
        if (seed.IsEmpty)
        {
            return 0;
        }

        ulong headerSize = (ulong)Unsafe.SizeOf<SetupData>();
        ArgumentOutOfRangeException.ThrowIfGreaterThan((ulong)seed.Length, Layout.PageSize - headerSize);
        var node = new SetupData { type = SetupData.SETUP_RNG_SEED, len = (uint)seed.Length };
        memory.Write(new GuestAddress(Layout.SetupData), node);
        memory.Write(new GuestAddress(Layout.SetupData + headerSize), seed);
        return Layout.SetupData;
    }

    private static void WriteBootParams(GuestMemory memory, in SetupHeader header, BootRequest request)
    {
        E820Range[] map = E820Map.Build(memory, [.. request.Reserved]);
        if (map.Length > E820Table.MaxEntries)
        {
            throw new BootException($"memory map: has {map.Length} entries, Linux takes {E820Table.MaxEntries}");
        }

        // All else is zero: in particular the sentinel, which tells the kernel that it may trust the page.
        var parameters = new BootParams
        {
            acpi_rsdp_addr = request.AcpiRsdp?.Value ?? 0,
            hdr = header,
            e820_entries = (byte)map.Length,
        };
        for (int i = 0; i < map.Length; i++)
        {
            parameters.e820_table[i] = new BootE820Entry
            {
                addr = map[i].Start.Value,
                size = map[i].Length,
                type = (uint)map[i].Type,
            };
        }

        memory.Write(new GuestAddress(Layout.BootParams), parameters);
    }

    private static ulong Mib(ulong bytes) => (bytes + 0xf_ffff) >> 20;
}
