using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.Intrinsics.X86;

namespace Vmm.Assist;

/// <summary>Answers of CPUID.</summary>
internal readonly record struct CpuidAnswer(uint Eax, uint Ebx, uint Ecx, uint Edx);

/// <summary>The layout of state components in an XSAVE area (Intel SDM volume 1, 13.4 and 13.5). Sizes and offsets come from
/// the processor (CPUID leaf 0xD); only those of the legacy region are fixed.</summary>
internal sealed class XsaveLayout
{
    public const int X87 = 0, Sse = 1, Avx = 2, ZmmHi256 = 6, Hi16Zmm = 7, Pkru = 9, CetUser = 11, CetSupervisor = 12;

    /// <summary>Offsets in the legacy region and the header.</summary>
    public const int MxcsrOffset = 24, MxcsrMaskOffset = 28, X87RegistersOffset = 32, XmmOffset = 160,
        HeaderOffset = 512, ExtendedOffset = 576;

    public const ulong Compacted = 1UL << 63;

    /// <summary>MXCSR after reset and in its initial configuration: all exceptions masked.</summary>
    public const uint MxcsrInitial = 0x1F80;

    /// <summary>The x87 control word in its initial configuration.</summary>
    public const ushort FcwInitial = 0x037F;

    private readonly Component[] _components = new Component[63];

    /// <param name="leaf">CPUID leaf 0xD by subleaf.</param>
    public XsaveLayout(Func<int, CpuidAnswer> leaf)
    {
        CpuidAnswer main = leaf(0), more = leaf(1);
        UserMask = ((ulong)main.Edx << 32) | main.Eax;
        SupervisorMask = ((ulong)more.Edx << 32) | more.Ecx;
        for (int i = 2; i < _components.Length; i++)
        {
            if (((UserMask | SupervisorMask) >> i & 1) != 0)
            {
                CpuidAnswer answer = leaf(i);
                _components[i] = new Component(
                    (int)answer.Eax, (int)answer.Ebx, (answer.Ecx & 1) != 0, (answer.Ecx & 2) != 0);
            }
        }
    }

    /// <summary>The layout of this processor.</summary>
    public static XsaveLayout Host { get; } = new(subleaf =>
    {
        (int eax, int ebx, int ecx, int edx) = X86Base.CpuId(0xD, subleaf);
        return new CpuidAnswer((uint)eax, (uint)ebx, (uint)ecx, (uint)edx);
    });

    /// <summary>Components that XCR0 can enable.</summary>
    public ulong UserMask { get; }

    /// <summary>Components that IA32_XSS can enable.</summary>
    public ulong SupervisorMask { get; }

    /// <summary>Size, standard offset and alignment of component 2 or higher; size 0 if the processor lacks it.</summary>
    public Component this[int component] => _components[component];

    /// <summary>Where a component of 2 or higher lies in a compacted area that has the components of
    /// <paramref name="xcompBv"/> (13.4.3).</summary>
    public int CompactedOffset(ulong xcompBv, int component)
    {
        int offset = ExtendedOffset;
        for (ulong left = xcompBv & ~(Compacted | 3); left != 0; left &= left - 1)
        {
            int i = BitOperations.TrailingZeroCount(left);
            if (_components[i].IsAligned)
            {
                offset = (offset + 63) & ~63;
            }

            if (i == component)
            {
                break;
            }

            offset += _components[i].Size;
        }

        return offset;
    }

    /// <summary>PKRU of an image in the standard format; 0, its initial value, if it is not there.</summary>
    public uint ReadPkru(ReadOnlySpan<byte> image)
    {
        Component pkru = _components[Pkru];
        bool isThere = pkru.Size != 0 && pkru.Offset + 4 <= image.Length
            && (BinaryPrimitives.ReadUInt64LittleEndian(image[HeaderOffset..]) >> Pkru & 1) != 0;
        return isThere ? BinaryPrimitives.ReadUInt32LittleEndian(image[pkru.Offset..]) : 0;
    }

    /// <returns>false if the image has no place for PKRU.</returns>
    public bool TryWritePkru(Span<byte> image, uint value)
    {
        Component pkru = _components[Pkru];
        if (pkru.Size == 0 || pkru.Offset + pkru.Size > image.Length)
        {
            return false;
        }

        BinaryPrimitives.WriteUInt64LittleEndian(image[pkru.Offset..], value);
        Span<byte> bits = image[HeaderOffset..];
        BinaryPrimitives.WriteUInt64LittleEndian(
            bits, BinaryPrimitives.ReadUInt64LittleEndian(bits) | (1UL << Pkru));
        return true;
    }

    /// <summary>One state component.</summary>
    /// <param name="Size">Bytes.</param>
    /// <param name="Offset">In the standard format; 0 for a supervisor component, which has none.</param>
    /// <param name="IsSupervisor">Managed by XSAVES and XRSTORS alone.</param>
    /// <param name="IsAligned">Starts at a multiple of 64 in the compacted format.</param>
    public readonly record struct Component(int Size, int Offset, bool IsSupervisor, bool IsAligned);
}
