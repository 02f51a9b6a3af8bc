using System.Text;
using Vmm.Devices.Memory;

namespace Vmm.Boot;

/// <summary>Starts a kernel as a multiboot loader does (Multiboot 0.6.96), in 32-bit protected mode.</summary>
internal static class MultibootLoader
{
    /// <summary>What EAX holds at the entry (3.2).</summary>
    private const uint BootloaderMagic = 0x2bad_b002;

    public static LoadedGuest Load(GuestMemory memory, KernelImage kernel, BootRequest request)
    {
        if (kernel.Multiboot is not { } header)
        {
            throw new BootException($"kernel {kernel.Name}: has no multiboot header: start it in another way");
        }

        // 3.1.3: the address fields go before the ELF headers. Without them KernelImage has seen to an ELF file.
        ElfImage image = header.Flat ?? kernel.Elf!;
        InitialRamDisk modules = request.Initrd;
        Placement placed = ElfKernel.Load(memory, kernel.Source, image, inBaseMemory: true).Placed;
        var room = new FreeRoom(memory, image);
        byte[] line = CommandLine.Encode(request.CommandLine, Layout.CommandLineRoom, kernel.Name);
        ulong lineAddress = room.Take(Layout.CommandLine, (ulong)line.Length);
        memory.Write(new GuestAddress(lineAddress), line);

        var writer = new StartInfoWriter(memory, room.Take(Layout.StartInfo, Layout.StartInfoRoom));
        ulong address = writer.Reserve<MultibootInfo>();
        MultibootModule[] list = LoadModules(memory, modules, new GuestAddress(room.End), writer);
        MultibootMmapEntry[] map = MemoryMap(memory, request);
        var info = new MultibootInfo
        {
            flags = MultibootInfo.Memory | MultibootInfo.CommandLine | MultibootInfo.Modules | MultibootInfo.MemoryMap
                | MultibootInfo.BootLoaderName,
            mem_lower = (uint)(Layout.Ebda >> 10), // in KiB, from 0 and from 1 MiB on
            mem_upper = (uint)((memory.Regions[0].Length - Layout.HighMemory) >> 10),
            cmdline = (uint)lineAddress,
            mods_count = (uint)list.Length,
            mods_addr = (uint)writer.Add<MultibootModule>(list),
            mmap_length = (uint)(map.Length * (map[0].size + sizeof(uint))),
            mmap_addr = (uint)writer.Add<MultibootMmapEntry>(map),
            boot_loader_name = (uint)writer.Add("vmm\0"u8),
        };
        memory.Write(new GuestAddress(address), info);

        return new LoadedGuest(
            EntryState.ProtectedMode(memory, placed.Entry, BootloaderMagic, (uint)address),
            EntryProtocol.Multiboot,
            (placed.Start, placed.End - placed.Start),
            list.Length == 0 ? default : (new GuestAddress(list[0].mod_start), list[^1].mod_end - list[0].mod_start));
    }

    /// <summary>Loads each file to a page of its own behind the kernel, where simple kernels, which map little
    /// memory, find it.</summary>
    private static MultibootModule[] LoadModules(
        GuestMemory memory, InitialRamDisk modules, GuestAddress kernelEnd, StartInfoWriter writer)
    {
        var list = new MultibootModule[modules.Files.Length];
        ulong end = memory.Regions[0].Length, next = kernelEnd.Value;
        for (int i = 0; i < list.Length; i++)
        {
            ImageSource file = modules.Files[i];
            ulong start = (next + Layout.PageSize - 1) & ~(Layout.PageSize - 1);
            if (start > end || (ulong)file.Length > end - start)
            {
                throw new BootException($"initrd {file.Name}: of {file.Length} bytes does not fit between "
                    + $"0x{next:x} and the end of memory at 0x{end:x}: give more --mem or a smaller file");
            }

            file.CopyTo(0, (ulong)file.Length, memory, new GuestAddress(start));
            next = start + (ulong)file.Length;
            list[i] = new MultibootModule
            {
                mod_start = (uint)start,
                mod_end = (uint)next,
                @string = (uint)writer.Add(FileNames.ToBytes(file.Name + '\0')),
            };
        }

        return list;
    }

    private static MultibootMmapEntry[] MemoryMap(GuestMemory memory, BootRequest request) =>
        Array.ConvertAll(E820Map.Build(memory, [.. request.Reserved]), range => new MultibootMmapEntry
        {
            size = 20,
            base_addr = range.Start.Value,
            length = range.Length,
            type = (uint)range.Type,
        });
}
