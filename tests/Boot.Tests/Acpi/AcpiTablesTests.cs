using System.Text;
using Vmm.Boot.Acpi;
using Vmm.Devices.Memory;
using Vmm.Tests.Shared;

namespace Vmm.Boot.Tests.Acpi;

public sealed class AcpiTablesTests
{
    private static readonly GuestAddress Bios = new(0xe0000);

    /// <summary>Writes the tables and finds them again as a kernel does, checking every checksum on the way.</summary>
    private static Dictionary<string, byte[]> Tables(AcpiOptions options)
    {
        using var test = new TestMemory(0x200000);
        Assert.True(AcpiTables.TryWrite(test.Memory, Bios, 0x100000, options, out int used));

        byte[] rsdp = Read(test, Bios.Value, 36);
        Assert.Equal("RSD PTR "u8.ToArray(), rsdp[..8]);
        Assert.Equal(0, Checksum.Of(rsdp.AsSpan(0, 20)));
        Assert.Equal(0, Checksum.Of(rsdp));
        Assert.Equal(2, rsdp[15]);

        var tables = new Dictionary<string, byte[]>();
        byte[] xsdt = Table(BitConverter.ToUInt64(rsdp, 24));
        for (int at = 36; at < xsdt.Length; at += 8)
        {
            Table(BitConverter.ToUInt64(xsdt, at));
        }

        byte[] fadt = tables["FACP"];
        Assert.Equal(BitConverter.ToUInt32(fadt, 40), BitConverter.ToUInt64(fadt, 140));
        Table(BitConverter.ToUInt64(fadt, 140));
        uint facs = BitConverter.ToUInt32(fadt, 36);
        Assert.Equal(0u, facs % 64);
        tables.Add("FACS", Read(test, facs, 64));
        Assert.Equal("FACS"u8.ToArray(), tables["FACS"][..4]);

        foreach (byte beyond in Read(test, Bios.Value + (ulong)used, 64))
        {
            Assert.Equal(0, beyond);
        }

        return tables;

        byte[] Table(ulong at)
        {
            byte[] table = Read(test, at, BitConverter.ToInt32(Read(test, at + 4, 4)));
            Assert.True(at + (ulong)table.Length <= Bios.Value + (ulong)used);
            Assert.Equal(0, Checksum.Of(table));
            tables.Add(Encoding.ASCII.GetString(table, 0, 4), table);
            return table;
        }
    }

    private static byte[] Read(TestMemory test, ulong at, int length)
    {
        byte[] bytes = new byte[length];
        test.Memory.Read(new GuestAddress(at), bytes);
        return bytes;
    }

    [Theory]
    [InlineData("1", "XSDT FACP APIC MCFG SPCR DSDT FACS")]
    [InlineData("255", "XSDT FACP APIC MCFG SPCR DSDT FACS")]
    [InlineData("4096", "XSDT FACP APIC MCFG SPCR DSDT FACS")]
    [InlineData("mmio", "XSDT FACP APIC SPCR DSDT FACS")]
    public void A_kernel_finds_every_table_and_every_table_adds_up(string machine, string names) =>
        Assert.Equal(names.Split(' '), Tables(Machines.Named(machine)).Keys);

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(255)]
    [InlineData(256)]
    [InlineData(300)]
    public void The_madt_lists_each_processor_once_in_the_form_its_id_needs(int cpus)
    {
        var found = new List<uint>();
        var others = new List<int>();
        ReadOnlySpan<byte> rest = Tables(Machines.Named($"{cpus}"))["APIC"].AsSpan(44);
        while (rest.Length > 0)
        {
            switch (rest[0])
            {
                case 0:
                    Assert.True(rest[3] < 255);
                    Assert.Equal(rest[2], rest[3]);
                    found.Add(rest[3]);
                    break;
                case 9:
                    Assert.Equal(BitConverter.ToUInt32(rest[4..]), BitConverter.ToUInt32(rest[12..]));
                    Assert.True(BitConverter.ToUInt32(rest[4..]) >= 255);
                    found.Add(BitConverter.ToUInt32(rest[4..]));
                    break;
                case 2:
                    Assert.Equal([2, 10, 0, 9, 9, 0, 0, 0, 0x0d, 0], rest[..10].ToArray());
                    goto default;
                default:
                    others.Add(rest[0]);
                    break;
            }

            rest = rest[rest[1]..];
        }

        Assert.Equal(Enumerable.Range(0, cpus).Select(id => (uint)id), found);
        Assert.Equal(cpus > 255 ? [1, 2, 4, 0xa] : [1, 2, 4], others);
    }

    [Fact]
    public void The_fadt_says_what_exists_and_no_more()
    {
        byte[] fadt = Tables(Machines.Named("pci"))["FACP"];
        Assert.Equal(276, fadt.Length);
        Assert.Equal(6, fadt[8]);
        Assert.Equal(9, BitConverter.ToUInt16(fadt, 46));
        Assert.Equal(
            [0x600u, 0x604u, 0x608u, 0x610u],
            new[] { 56, 64, 76, 80 }.Select(at => BitConverter.ToUInt32(fadt, at)));
        Assert.Equal([4, 2, 0, 4, 4, 0], fadt[88..94]);
        Assert.Equal(0x15, BitConverter.ToUInt16(fadt, 109));
        uint flags = BitConverter.ToUInt32(fadt, 112);
        Assert.Equal(0u, flags >> 4 & 1);               // the power button is fixed hardware
        Assert.Equal(0u, flags >> 20 & 1);              // and so is the rest
        Assert.Equal(0u, flags >> 8 & 1);               // the timer has 24 bits
        Assert.Equal(1u, flags >> 10 & 1);
        Assert.Equal((0xcf9UL, 6), (BitConverter.ToUInt64(fadt, 120), fadt[128]));
    }

    [Fact]
    public void Tables_may_lie_apart_from_the_pointer()
    {
        using var test = new TestMemory(0x100000);
        int used = AcpiTables.Write(
            test.Memory, new GuestAddress(0xf5550), new GuestAddress(0x80000), 0x4000, Machines.Named("2"));
        Assert.False(AcpiTables.TryWrite(test.Memory, Bios, 0, Machines.Named("2"), out int size));
        Assert.Equal(size - 64, used);
        ulong xsdt = BitConverter.ToUInt64(Read(test, 0xf5550, 36), 24);
        Assert.Equal("XSDT"u8.ToArray(), Read(test, xsdt, 4));
        Assert.InRange(xsdt, 0x80000UL, 0x84000UL);
    }

    [Fact]
    public void What_does_not_fit_or_is_not_aligned_is_refused_and_nothing_is_written()
    {
        using var test = new TestMemory(0x100000);
        AcpiOptions options = Machines.Named("300");
        Assert.False(AcpiTables.TryWrite(test.Memory, Bios, 0, options, out int size));
        Assert.False(AcpiTables.TryWrite(test.Memory, Bios, size - 1, options, out int needed));
        Assert.Equal(size, needed);
        Assert.Throws<ArgumentException>(() => AcpiTables.TryWrite(test.Memory, Bios + 16, size, options, out _));
        Assert.Throws<ArgumentException>(
            () => AcpiTables.Write(test.Memory, Bios, new GuestAddress(0x80000), size - 65, options));
        Assert.Throws<ArgumentException>(
            () => AcpiTables.Write(test.Memory, Bios, new GuestAddress(0xffff_ffc0), size, options));
        Assert.Throws<GuestMemoryException>(
            () => AcpiTables.TryWrite(test.Memory, new GuestAddress(0xfffc0), size, options, out _));
        Assert.Throws<ArgumentOutOfRangeException>(
            () => AcpiTables.TryWrite(test.Memory, Bios, size, new AcpiOptions { Cpus = 0 }, out _));
        Assert.Throws<ArgumentOutOfRangeException>(
            () => AcpiTables.TryWrite(test.Memory, Bios, size, new AcpiOptions { Cpus = 4097 }, out _));
        Assert.Equal(new byte[0x20000], Read(test, Bios.Value, 0x20000));
        Assert.True(AcpiTables.TryWrite(test.Memory, Bios, size, options, out needed));
        Assert.Equal(size, needed);
    }

    /// <summary>iasl reads every table, finds nothing to complain about, and compiles what it read back to the same
    /// bytes (but for its own name in the header).</summary>
    [IaslTheory]
    [InlineData("1")]
    [InlineData("pci")]
    [InlineData("255")]
    [InlineData("300")]
    [InlineData("high ecam")]
    [InlineData("mmio")]
    [InlineData("high generation")]
    public void Iasl_disassembles_and_recompiles_every_table_without_complaint(string machine)
    {
        DirectoryInfo directory = Directory.CreateTempSubdirectory("vmm-acpi-");
        try
        {
            foreach ((string name, byte[] table) in Tables(Machines.Named(machine)))
            {
                File.WriteAllBytes(Path.Combine(directory.FullName, name + ".dat"), table);
                NoComplaint(Iasl.Run(directory.FullName, "-d", name + ".dat"));
                string source = File.ReadAllText(Path.Combine(directory.FullName, name + ".dsl"));
                Assert.DoesNotContain("Invalid", source, StringComparison.OrdinalIgnoreCase);
                Assert.DoesNotContain("Incorrect", source, StringComparison.Ordinal);
                Assert.DoesNotContain("Unknown", source, StringComparison.Ordinal);

                NoComplaint(Iasl.Run(directory.FullName, "-oa", name + ".dsl"));
                byte[] again = File.ReadAllBytes(Path.Combine(directory.FullName, name + ".aml"));
                Assert.Equal(WithoutCompiler(name, table), WithoutCompiler(name, again));
            }
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }

    [IaslTheory]
    [InlineData("pci", "Device (PCI0)", "EisaId (\"PNP0A08\") /* PCI Express Bus */", "Method (_OSC, 4, Serialized)",
        "0xC0000000,", "0xCFFFFFFF,", "0x0000000200000000,", "0x00000011FFFFFFFF,", "EisaId (\"PNP0501\")",
        "\"ACPI0007\"", "Name (\\_S5, Package (0x04)", "Memory32Fixed (ReadWrite,", "EisaId (\"PNP0B00\")",
        "\"QEMU0001\"", "0x0505,             // Range Minimum", "\"QEMU0002\"", "0x0510,             // Range Minimum",
        "ToUUID (\"33db4d5b-1ff7-401c-9657-7441c03dd766\")", "Device (VGEN)", "\"VM_Gen_Counter\"", "Method (_E05, 0, Serialized)",
        "Notify (\\_SB.VGEN, 0x80)")]
    [InlineData("mmio", "Device (V013)", "\"LNRO0005\"", "0xD1013000,",
        "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, )")]
    public void The_dsdt_says_what_was_meant(string machine, params string[] lines)
    {
        DirectoryInfo directory = Directory.CreateTempSubdirectory("vmm-acpi-");
        try
        {
            File.WriteAllBytes(Path.Combine(directory.FullName, "DSDT.dat"), Tables(Machines.Named(machine))["DSDT"]);
            Iasl.Run(directory.FullName, "-d", "DSDT.dat");
            string source = File.ReadAllText(Path.Combine(directory.FullName, "DSDT.dsl"));
            foreach (string line in lines)
            {
                Assert.Contains(line, source, StringComparison.Ordinal);
            }
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }

    /// <summary>ACPICA, the interpreter that Linux has, runs the method: PCI's request comes back whole, another is
    /// refused with "unrecognised UUID".</summary>
    [AcpiExecTheory]
    [InlineData("5B4DDB33F71F1C4096577441C03DD766", "01 00 00 00 1F 00 00 00 1D 00 00 00")]
    [InlineData("00112233445566778899AABBCCDDEEFF", "05 00 00 00 1F 00 00 00 1D 00 00 00")]
    public void The_guest_gets_the_pci_features_that_it_asks_for(string uuid, string answer)
    {
        DirectoryInfo directory = Directory.CreateTempSubdirectory("vmm-acpi-");
        try
        {
            File.WriteAllBytes(Path.Combine(directory.FullName, "DSDT.dat"), Tables(Machines.Named("pci"))["DSDT"]);
            string output = Iasl.Exec(
                directory.FullName, $@"execute \_SB.PCI0._OSC ({uuid}) 1 3 (010000001F0000001D000000)");
            Assert.Contains(answer, output, StringComparison.Ordinal);
            Assert.DoesNotContain("Error", output, StringComparison.Ordinal);
            Assert.DoesNotContain("Warning", output, StringComparison.Ordinal);
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }

    /// <summary>Where drivers find the generation ID: lower half, upper half.</summary>
    [AcpiExecTheory]
    [InlineData("pci", "00000000000DF100", "0000000000000000")]
    [InlineData("high generation", "0000000034567898", "0000000000000012")]
    public void The_guest_is_told_the_address_of_its_generation_id(string machine, string lower, string upper)
    {
        DirectoryInfo directory = Directory.CreateTempSubdirectory("vmm-acpi-");
        try
        {
            File.WriteAllBytes(Path.Combine(directory.FullName, "DSDT.dat"), Tables(Machines.Named(machine))["DSDT"]);
            string output = Iasl.Exec(directory.FullName, @"evaluate \_SB.VGEN.ADDR");
            int first = output.IndexOf(lower, StringComparison.Ordinal);
            Assert.True(first > 0 && output.IndexOf(upper, first, StringComparison.Ordinal) > first, output);
            Assert.Contains("VM_GEN_COUNTER", Iasl.Exec(directory.FullName, @"evaluate \_SB.VGEN._CID"), StringComparison.Ordinal);
            output = Iasl.Exec(directory.FullName, @"execute \_GPE._E05");
            Assert.DoesNotContain("Error", output, StringComparison.Ordinal);
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }

    private static void NoComplaint(string output)
    {
        foreach (string line in output.Split('\n'))
        {
            bool summary = line.Contains("0 Errors, 0 Warnings, 0 Remarks", StringComparison.Ordinal);
            bool complaint = new[] { "Error", "Warning", "Remark" }.Any(word => line.Contains(word, StringComparison.Ordinal));
            Assert.True(summary || !complaint, output);
        }
    }

    /// <summary>The table with checksum, creator and its revision blanked; the FACS has none of them.</summary>
    private static byte[] WithoutCompiler(string name, byte[] table)
    {
        byte[] copy = [.. table];
        if (name != "FACS")
        {
            copy[9] = 0;
            copy.AsSpan(28, 8).Clear();
        }

        return copy;
    }
}
