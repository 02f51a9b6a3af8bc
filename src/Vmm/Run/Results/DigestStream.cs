using Vmm.Host;

namespace Vmm.Run.Results;

/// <summary>Keeps of what is written a digest of 128 bits: FNV-1a (Fowler, Noll and Vo), which is enough against chance. (.NET's SHA would
/// load OpenSSL.)</summary>
internal sealed class DigestStream : SequentialStream
{
    private static readonly UInt128 Prime = new(1UL << 24, 0x13b);

    public UInt128 Value { get; private set; } = new(0x6c62272e07bb0142, 0x62b821756295c58d);

    public override bool CanWrite => true;

    public override void Write(ReadOnlySpan<byte> buffer)
    {
        UInt128 value = Value;
        foreach (byte each in buffer)
        {
            value = unchecked((value ^ each) * Prime);
        }

        Value = value;
    }
}
