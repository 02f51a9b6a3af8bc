using Vmm.Boot;
using Vmm.Kvm;
using Vmm.Machines.Slots;

namespace Vmm.Machines;

/// <summary>The kernel's command line of one machine.</summary>
internal static class GuestCommandLine
{
    /// <summary>Linux: vmm's defaults, what the devices and the host need, then what the user gave: in Linux the last one wins.
    /// </summary>
    /// <param name="guestWords">Of <see cref="IMachineGuest"/>, which mounts its own root file system; null without one.</param>
    public static string Compose(
        MachineSpec options, KernelImage kernel, IVirtioSlots slots, HostKind host, IReadOnlyList<string>? guestWords = null)
    {
        if (KernelLoader.ProtocolFor(kernel, options.Entry) == EntryProtocol.Multiboot)
        {
            return CommandLine.ComposeMultiboot(kernel.Name, options.CommandLine, options.CommandLineOnly);
        }

        // Kernels with ACPI find devices on mmio in its tables; the words are for those without.
        List<string> added = slots is MmioSlots mmio ? [.. mmio.Parameters] : [];
        if (guestWords is not null)
        {
            added.AddRange(guestWords);
        }
        else if (options.Disks.Count > 0 && options.Initrds.Count == 0)
        {
            added.Add("root=/dev/vda");
            added.Add(options.Disks[0].ReadOnly ? "ro" : "rw");
        }

        if (host == HostKind.Pvm)
        {
            added.AddRange(PvmKernel.Words);
        }

        string start = options.Console == ConsoleKind.Virtio ? CommandLine.WithVirtioConsole : CommandLine.Default;
        return CommandLine.Compose(start, options.CommandLine, options.CommandLineOnly, [.. added]);
    }
}
