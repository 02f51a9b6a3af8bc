using System.Runtime.InteropServices;
using Vmm.Devices.Memory;

namespace Vmm.Boot;

/// <summary>The page tables at the 64-bit entry: the first 4 GiB mapped to themselves with 2-MiB pages, which every
/// x86-64 processor has (Intel SDM volume 3, 4.5). The kernel, boot_params and command line lie within.</summary>
internal static class PageTables
{
    private const ulong Present = 1 << 0;
    private const ulong Writable = 1 << 1;
    private const ulong LargePage = 1 << 7;
    private const ulong LargePageSize = 0x20_0000;
    private const int Entries = 512;
    private const int Directories = 4;

    /// <summary>Writes them to <see cref="Layout.PageTables"/>.</summary>
    /// <returns>What CR3 is to hold.</returns>
    public static ulong Write(GuestMemory memory)
    {
        const ulong Pml4 = Layout.PageTables;
        const ulong Pdpt = Pml4 + Layout.PageSize;
        const ulong FirstDirectory = Pdpt + Layout.PageSize;

        memory.Write(new GuestAddress(Pml4), Pdpt | Present | Writable);
        Span<ulong> directory = stackalloc ulong[Entries];
        ulong page = 0;
        for (uint i = 0; i < Directories; i++)
        {
            foreach (ref ulong entry in directory)
            {
                entry = page | Present | Writable | LargePage;
                page += LargePageSize;
            }

            ulong address = FirstDirectory + (i * Layout.PageSize);
            memory.Write(new GuestAddress(Pdpt + (i * sizeof(ulong))), address | Present | Writable);
            memory.Write(new GuestAddress(address), MemoryMarshal.AsBytes(directory));
        }

        return Pml4;
    }
}
