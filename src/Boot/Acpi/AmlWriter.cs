using System.Buffers.Binary;

namespace Vmm.Boot.Acpi;

/// <summary>Writes ACPI Machine Language (ACPI 6.5, chapter 20), as much of it as vmm's DSDT needs. Blocks take what
/// goes inside them as a delegate; their length is put in front once it is known.</summary>
/// <remarks>
/// Why a builder and not bytes that iasl made: the table follows the machine (number of CPUs, PCI windows behind
/// the memory, interrupt routes, virtio-mmio devices), so precompiled bytes would have to be patched at offsets that
/// move with every edit and repeated for each CPU; and building vmm would need iasl. A test has iasl read the result.
/// </remarks>
internal sealed class AmlWriter(TableWriter bytes)
{
    private const byte NameOp = 0x08, BytePrefix = 0x0a, WordPrefix = 0x0b, DWordPrefix = 0x0c, StringPrefix = 0x0d,
        QWordPrefix = 0x0e, ScopeOp = 0x10, BufferOp = 0x11, PackageOp = 0x12, MethodOp = 0x14, DualNamePrefix = 0x2e,
        MultiNamePrefix = 0x2f, ExtOpPrefix = 0x5b, DeviceOp = 0x82, Arg0Op = 0x68, OrOp = 0x7d, NotifyOp = 0x86,
        CreateDWordFieldOp = 0x8a, LEqualOp = 0x93, IfOp = 0xa0, ReturnOp = 0xa4;

    private const byte Serialized = 8;

    /// <summary>Scope (path) { body }</summary>
    public void Scope(string path, Action body)
    {
        bytes.U8(ScopeOp);
        Block(() =>
        {
            NameString(path);
            body();
        });
    }

    /// <summary>Device (name) { body }</summary>
    public void Device(string name, Action body)
    {
        bytes.U8(ExtOpPrefix);
        bytes.U8(DeviceOp);
        Block(() =>
        {
            NameString(name);
            body();
        });
    }

    /// <summary>Method (name, arguments, Serialized) { body }</summary>
    public void Method(string name, int arguments, Action body)
    {
        bytes.U8(MethodOp);
        Block(() =>
        {
            NameString(name);
            bytes.U8(arguments | Serialized);
            body();
        });
    }

    /// <summary>Name (name, ...): the value is what is written next.</summary>
    public AmlWriter Name(string name)
    {
        bytes.U8(NameOp);
        NameString(name);
        return this;
    }

    /// <summary>An integer in its shortest form.</summary>
    public void Integer(ulong value)
    {
        switch (value)
        {
            case 0 or 1:
                bytes.U8((byte)value);              // ZeroOp, OneOp
                break;
            case <= byte.MaxValue:
                bytes.U8(BytePrefix);
                bytes.U8((byte)value);
                break;
            case <= ushort.MaxValue:
                bytes.U8(WordPrefix);
                bytes.U16((ushort)value);
                break;
            case <= uint.MaxValue:
                bytes.U8(DWordPrefix);
                bytes.U32((uint)value);
                break;
            default:
                bytes.U8(QWordPrefix);
                bytes.U64(value);
                break;
        }
    }

    /// <summary>Zero-terminated ASCII.</summary>
    public void String(string text)
    {
        bytes.U8(StringPrefix);
        bytes.Ascii(text, text.Length);
        bytes.U8(0);
    }

    /// <summary>EISAID ("PNP0A08"): three letters of five bits, four hexadecimal digits, the high byte first
    /// (19.3.4).</summary>
    public void EisaId(string id)
    {
        uint letters = (uint)((id[0] - '@') << 10 | (id[1] - '@') << 5 | (id[2] - '@'));
        bytes.U8(DWordPrefix);
        bytes.U32(BinaryPrimitives.ReverseEndianness(letters << 16 | Convert.ToUInt32(id[3..], 16)));
    }

    /// <summary>Package () { elements }, each written by one call.</summary>
    public void Package(params ReadOnlySpan<Action> elements)
    {
        Action[] all = elements.ToArray();
        bytes.U8(PackageOp);
        Block(() =>
        {
            bytes.U8(all.Length);
            foreach (Action element in all)
            {
                element();
            }
        });
    }

    /// <summary>Package () { integers }</summary>
    public void Package(params ReadOnlySpan<ulong> integers) =>
        Package([.. integers.ToArray().Select<ulong, Action>(value => () => Integer(value))]);

    /// <summary>Buffer () { contents }</summary>
    public void Buffer(ReadOnlySpan<byte> contents)
    {
        byte[] all = contents.ToArray();
        bytes.U8(BufferOp);
        Block(() =>
        {
            Integer((ulong)all.Length);
            bytes.Bytes(all);
        });
    }

    /// <summary>ResourceTemplate () { resources }</summary>
    public void ResourceTemplate(Action<AmlResources> resources)
    {
        var template = new TableWriter();
        resources(new AmlResources(template));
        template.U8(0x79);                          // end tag (6.4.2.9); a checksum of 0 is always taken as right
        template.U8(0);
        Buffer(template.Written);
    }

    /// <summary>CreateDWordField (Arg, offset, name)</summary>
    public void CreateDWordField(int argument, ulong offset, string name)
    {
        bytes.U8(CreateDWordFieldOp);
        Argument(argument);
        Integer(offset);
        NameString(name);
    }

    /// <summary>If (LEqual (Arg, Buffer () { expected })) { body }</summary>
    public void IfArgumentIs(int argument, ReadOnlySpan<byte> expected, Action body)
    {
        byte[] all = expected.ToArray();
        bytes.U8(IfOp);
        Block(() =>
        {
            bytes.U8(LEqualOp);
            Argument(argument);
            Buffer(all);
            body();
        });
    }

    /// <summary>name |= bits</summary>
    public void OrInto(string name, ulong bits)
    {
        bytes.U8(OrOp);
        NameString(name);
        Integer(bits);
        NameString(name);
    }

    /// <summary>Notify (device, value)</summary>
    public void Notify(string device, ulong value)
    {
        bytes.U8(NotifyOp);
        NameString(device);
        Integer(value);
    }

    /// <summary>Return (Arg)</summary>
    public void ReturnArgument(int argument)
    {
        bytes.U8(ReturnOp);
        Argument(argument);
    }

    private void Argument(int number) => bytes.U8(Arg0Op + number);

    /// <summary>20.2.2: names of up to four characters, padded with underscores; "\" in front for the root.</summary>
    private void NameString(string path)
    {
        if (path.StartsWith('\\'))
        {
            bytes.U8('\\');
            path = path[1..];
        }

        string[] segments = path.Split('.');
        if (segments.Length == 2)
        {
            bytes.U8(DualNamePrefix);
        }
        else if (segments.Length > 2)
        {
            bytes.U8(MultiNamePrefix);
            bytes.U8(segments.Length);
        }

        foreach (string segment in segments)
        {
            bytes.Ascii(segment, 4, (byte)'_');
        }
    }

    /// <summary>20.2.4: PkgLength counts itself and what follows; one byte up to 63, else the low nibble and up to
    /// three bytes more.</summary>
    private void Block(Action body)
    {
        int start = bytes.Length;
        body();
        int length = bytes.Length - start;
        if (length + 1 <= 0x3f)
        {
            bytes.Insert(start, 1)[0] = (byte)(length + 1);
            return;
        }

        int more = length + 2 <= 0xfff ? 1 : length + 3 <= 0xf_ffff ? 2 : 3;
        length += 1 + more;
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, 0xfff_ffff);
        Span<byte> prefix = bytes.Insert(start, 1 + more);
        prefix[0] = (byte)(more << 6 | (length & 0xf));
        for (int i = 1; i <= more; i++)
        {
            prefix[i] = (byte)(length >> (4 + (8 * (i - 1))));
        }
    }
}
