using Vmm.Boot.Unpack;
using Vmm.Devices.Memory;

namespace Vmm.Boot;

/// <summary>Starts a kernel at the entry point that its ELF note names, in 32-bit protected mode (Xen's
/// docs/misc/pvh.pandoc; Linux takes it in arch/x86/platform/pvh).</summary>
internal static class PvhLoader
{
    /// <summary>The highest address that the last byte of an initramfs may have.</summary>
    private const ulong HighestInitrd = Layout.LowMemoryEnd - 1;

    public static LoadedGuest Load(GuestMemory memory, KernelImage kernel, BootRequest request)
    {
        InitialRamDisk initrd = request.Initrd;
        ulong limit = initrd.KernelLimit(memory, HighestInitrd);
        ElfKernel? elf = ElfKernel.TryLoad(memory, kernel, request, limit, isCoupled: true, out UnpackReport? unpacked);
        if (elf is null)
        {
            throw new BootException(
                $"kernel {kernel.Name}: is a bzImage that unpacks itself, which has no PVH entry: give the vmlinux"
                + (unpacked?.Obstacle is string obstacle ? $", as vmm cannot unpack it ({obstacle})" : ""));
        }

        GuestAddress entry = EntryOf(kernel, elf);
        Placement placed = elf.Placed;
        CommandLine.Write(memory, request.CommandLine, CommandLine.LinuxLimit, kernel.Name);
        GuestAddress initrdAddress = default;
        if (initrd.Size != 0)
        {
            initrdAddress = initrd.Load(memory, placed.End, HighestInitrd);
        }

        WriteStartInfo(memory, request, initrdAddress, initrd.Size);
        return new LoadedGuest(
            EntryState.ProtectedMode(memory, entry, eax: 0, ebx: (uint)Layout.StartInfo),
            EntryProtocol.Pvh,
            (placed.Start, placed.End - placed.Start),
            (initrdAddress, initrd.Size))
        { Unpacked = unpacked };
    }

    private static GuestAddress EntryOf(KernelImage kernel, ElfKernel elf)
    {
        ElfNotes notes = elf.Image.Notes;
        if (notes.PvhEntry is not uint entry)
        {
            string wrong = notes.Damage ?? "has no PVH entry note (CONFIG_PVH)";
            throw new BootException($"kernel {kernel.Name}: {wrong}: start it in another way");
        }

        if (!elf.Image.Holds(entry))
        {
            throw new BootException($"kernel {kernel.Name}: has its PVH entry 0x{entry:x} in none of its segments");
        }

        // The 32-bit code behind the entry takes its physical addresses from relocated virtual ones; both moved alike.
        return new GuestAddress(entry) + elf.Displacement;
    }

    private static void WriteStartInfo(
        GuestMemory memory, BootRequest request, GuestAddress initrdAddress, ulong initrdSize)
    {
        var writer = new StartInfoWriter(memory);
        ulong address = writer.Reserve<HvmStartInfo>();
        var info = new HvmStartInfo
        {
            magic = HvmStartInfo.Magic,
            version = 1,
            cmdline_paddr = Layout.CommandLine,
            rsdp_paddr = request.AcpiRsdp?.Value ?? 0,
        };
        if (initrdSize != 0)
        {
            info.nr_modules = 1;
            info.modlist_paddr = writer.Add(new HvmModlistEntry { paddr = initrdAddress.Value, size = initrdSize });
        }

        E820Range[] map = E820Map.Build(memory, [.. request.Reserved]);
        var entries = new HvmMemmapTableEntry[map.Length];
        for (int i = 0; i < map.Length; i++)
        {
            entries[i] = new HvmMemmapTableEntry
            {
                addr = map[i].Start.Value,
                size = map[i].Length,
                type = (uint)map[i].Type,
            };
        }

        info.memmap_entries = (uint)entries.Length;
        info.memmap_paddr = writer.Add<HvmMemmapTableEntry>(entries);
        memory.Write(new GuestAddress(address), info);
    }
}
