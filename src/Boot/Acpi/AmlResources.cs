namespace Vmm.Boot.Acpi;

/// <summary>Writes resource descriptors (ACPI 6.5, 6.4) into a template.</summary>
internal sealed class AmlResources(TableWriter bytes)
{
    private const byte Memory = 0, BusNumber = 2;

    // General flags of the address space descriptors: a bridge hands it on, both ends fixed, positive decode.
    private const byte ProducerFixed = 0x0c;
    private const byte Consumer = 0x01;
    private const byte ReadWrite = 0x01;

    /// <summary>IO (Decode16, first, first, 1, count)</summary>
    public void Ports(int first, int count)
    {
        bytes.U8(0x47);
        bytes.U8(1);
        bytes.U16(first);
        bytes.U16(first);
        bytes.U8(1);
        bytes.U8(count);
    }

    /// <summary>IRQNoFlags () {irq}: edge triggered, active high, not shared, as on the ISA bus.</summary>
    public void IsaIrq(int irq)
    {
        bytes.U8(0x22);
        bytes.U16(1 << irq);
    }

    /// <summary>Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) {gsi}</summary>
    public void Interrupt(int gsi)
    {
        bytes.U8(0x89);
        bytes.U16(6);
        bytes.U8(Consumer | 2);       // edge triggered
        bytes.U8(1);
        bytes.U32((uint)gsi);
    }

    /// <summary>Memory32Fixed (ReadWrite, first, length)</summary>
    public void Memory32Fixed(uint first, uint length)
    {
        bytes.U8(0x86);
        bytes.U16(9);
        bytes.U8(ReadWrite);
        bytes.U32(first);
        bytes.U32(length);
    }

    /// <summary>WordBusNumber (ResourceProducer, ...) of buses 0 to <paramref name="last"/>.</summary>
    public void BusNumbers(int last)
    {
        Header(0x88, 13, BusNumber, 0);
        bytes.U16(0);
        bytes.U16(0);
        bytes.U16(last);
        bytes.U16(0);
        bytes.U16(last + 1);
    }

    /// <summary>DWordMemory (ResourceProducer, ..., NonCacheable, ReadWrite)</summary>
    public void MemoryWindow32(uint first, uint length)
    {
        Header(0x87, 23, Memory, ReadWrite);
        bytes.U32(0);
        bytes.U32(first);
        bytes.U32(first + (length - 1));
        bytes.U32(0);
        bytes.U32(length);
    }

    /// <summary>QWordMemory (ResourceProducer, ..., NonCacheable, ReadWrite)</summary>
    public void MemoryWindow64(ulong first, ulong length) => QWord(ProducerFixed, first, length);

    /// <summary>QWordMemory (ResourceConsumer, ...): memory addresses that the device itself answers at.</summary>
    public void MemoryFixed64(ulong first, ulong length) => QWord(ProducerFixed | Consumer, first, length);

    private void QWord(byte general, ulong first, ulong length)
    {
        Header(0x8a, 43, Memory, ReadWrite, general);
        bytes.U64(0);
        bytes.U64(first);
        bytes.U64(first + (length - 1));
        bytes.U64(0);
        bytes.U64(length);
    }

    private void Header(byte tag, int length, byte type, byte flags, byte general = ProducerFixed)
    {
        bytes.U8(tag);
        bytes.U16(length);
        bytes.U8(type);
        bytes.U8(general);
        bytes.U8(flags);
    }
}
