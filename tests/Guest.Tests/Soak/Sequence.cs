using System.Buffers.Binary;
using System.Globalization;

namespace Vmm.Guest.Tests.Soak;

/// <summary>The numbers of a guest's messages, as the host sees them: each is the last one again or the next one. Only a machine that was
/// restored goes back, to where it was when it was saved.</summary>
internal sealed class Sequence(string name)
{
    private readonly Lock _lock = new();
    private ulong _last, _least, _most;
    private bool _mayGoBack;
    private string? _wrong;

    /// <summary>The last one that came.</summary>
    public ulong Last
    {
        get
        {
            lock (_lock)
            {
                return _last;
            }
        }
    }

    /// <summary>What came and should not have; null for nothing.</summary>
    public string? Wrong
    {
        get
        {
            lock (_lock)
            {
                return _wrong;
            }
        }
    }

    /// <summary>A machine is restored that was saved after <paramref name="least"/> had come, and before the one behind
    /// <paramref name="most"/>. What the one before it has sent may still come.</summary>
    public void GoBack(ulong least, ulong most)
    {
        lock (_lock)
        {
            (_least, _most, _mayGoBack) = (least, most, true);
        }
    }

    /// <summary>The machine that was restored has gone on.</summary>
    public void IsBack()
    {
        lock (_lock)
        {
            _mayGoBack = false;
        }
    }

    /// <summary>A message came. Its answer is made in its place.</summary>
    public void Answer(Span<byte> message)
    {
        ulong number = BinaryPrimitives.ReadUInt64LittleEndian(message);
        Span<byte> expected = stackalloc byte[message.Length];
        Fill(expected, number);
        bool isRight = expected.SequenceEqual(message);
        lock (_lock)
        {
            // A message whose answer the saved machine had not had comes again.
            bool goesOn = number == _last || number == _last + 1;
            bool isBack = !goesOn && _mayGoBack && number >= Math.Max(_least, 1) && number <= _most + 1;
            if (!isRight || !(goesOn || isBack))
            {
                _wrong ??= string.Create(
                    CultureInfo.InvariantCulture, $"{name}: {number} came after {_last} (saved from {_least} to {_most}), content right: {isRight}");
            }

            _mayGoBack &= !isBack;
            _last = number;
        }

        Fill(message, ~number);
    }

    /// <summary>The content that belongs to a number: that, then xorshift64* (as in load.c).</summary>
    private static void Fill(Span<byte> at, ulong number)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(at, number);
        ulong x = unchecked((number * 0x9e37_79b9_7f4a_7c15) + 1);
        for (int i = sizeof(ulong); i < at.Length; i += sizeof(ulong))
        {
            x ^= x >> 12;
            x ^= x << 25;
            x ^= x >> 27;
            BinaryPrimitives.WriteUInt64LittleEndian(at[i..], unchecked(x * 0x2545_f491_4f6c_dd1d));
        }
    }
}
