namespace Vmm.Boot.Inspect;

/// <summary>The options of a kernel's configuration that vmm's guests use.</summary>
internal static class ConfigNeeds
{
    /// <summary>One option.</summary>
    /// <param name="Option">With its CONFIG_ prefix.</param>
    /// <param name="IsNeeded">Do most guests need it?</param>
    /// <param name="Missing">The consequence if it is missing.</param>
    /// <param name="IsDriver">May it be a module in an initramfs?</param>
    /// <param name="Within">The option that it depends on, without which it is not reported; or null.</param>
    private readonly record struct Need(string Option, bool IsNeeded, string Missing, bool IsDriver, string? Within);

    private static readonly Need[] All =
    [
        Driver("CONFIG_VIRTIO_PCI", needed: true, "disk and network will not appear, unless with --transport mmio", within: "CONFIG_PCI"),
        Driver("CONFIG_VIRTIO_BLK", needed: true, "the disk will not appear"),
        Driver("CONFIG_EXT4_FS", needed: true, "an ext4 root file system cannot be mounted"),
        BuiltIn("CONFIG_PCI", needed: true, "no device on PCI will appear: use --transport mmio"),
        BuiltIn("CONFIG_SERIAL_8250_CONSOLE", needed: true, "nothing will be printed: there is no console on ttyS0"),
        BuiltIn("CONFIG_BINFMT_ELF", needed: true, "no program can be started, not even init"),
        BuiltIn("CONFIG_BLK_DEV_INITRD", needed: true, "an initramfs (--initrd) is ignored"),
        BuiltIn("CONFIG_DEVTMPFS", needed: true, "/dev will be empty unless your initramfs fills it"),
        BuiltIn("CONFIG_ACPI", needed: true,
            "no power button: poweroff and SIGTERM will not end the guest cleanly; PCI is found by its ports only"),
        Driver("CONFIG_VIRTIO_NET", needed: false, "the network will not appear"),
        Driver("CONFIG_HW_RANDOM_VIRTIO", needed: false, "the guest gets no random numbers from the host, and may wait for its own"),
        Driver("CONFIG_VIRTIO_MMIO", needed: false, "devices will not appear with --transport mmio"),
        Driver("CONFIG_VIRTIO_VSOCKETS", needed: false,
            "--vsock has no effect, and vmm run reaches its agent by the second serial port, which is slow"),
        Driver("CONFIG_VIRTIO_FS", needed: false,
            "directories cannot be shared (--share); vmm run --pack makes an image of the root directory instead"),
        Driver("CONFIG_OVERLAY_FS", needed: false,
            "vmm run cannot make a directory or an archive the root file system; --pack makes a disk image of a directory instead"),
        Driver("CONFIG_SQUASHFS", needed: false, "vmm run cannot make an archive the root file system"),
        BuiltIn("CONFIG_PCI_MSI", needed: false, "disk and network are slower: they share interrupts instead of using MSI-X",
            within: "CONFIG_PCI"),
        BuiltIn("CONFIG_KVM_GUEST", needed: false, "the guest does not know that it is one: its clock is slower and less exact"),
        BuiltIn("CONFIG_SMP", needed: false, "it uses only one CPU"),
        BuiltIn("CONFIG_RANDOMIZE_BASE", needed: false, "its addresses cannot be randomized (KASLR)"),
        BuiltIn("CONFIG_PVH", needed: false, "it cannot be started by PVH; vmm uses the 64-bit entry unless told otherwise"),
        BuiltIn("CONFIG_DEVTMPFS_MOUNT", needed: false, "without an initramfs nothing mounts /dev before init runs"),
    ];

    /// <summary>What is not built in, in the order of the list above.</summary>
    public static IReadOnlyList<ConfigFinding> Check(KernelConfig config)
    {
        var lacks = new List<ConfigFinding>();
        foreach (Need need in All)
        {
            bool isModule = config.IsModule(need.Option);
            if (config.IsBuiltIn(need.Option) || (need.Within is not null && !config.IsBuiltIn(need.Within)))
            {
                continue;
            }

            string consequence = isModule && need.IsDriver
                ? $"it must be in your initramfs, or {need.Missing}"
                : need.Missing;
            lacks.Add(new ConfigFinding(need.Option, isModule, need.IsNeeded, consequence));
        }

        return lacks;
    }

    private static Need Driver(string option, bool needed, string missing, string? within = null) =>
        new(option, needed, missing, IsDriver: true, within);

    private static Need BuiltIn(string option, bool needed, string missing, string? within = null) =>
        new(option, needed, missing, IsDriver: false, within);
}
