using Vmm.Boot.Unpack;

namespace Vmm.Boot.Tests.Unpack;

/// <summary>Payloads with wrong sizes, cut off, or that expand without end, a million of them: the answer is a payload or one line, and
/// neither more memory is taken than the payload's own nor more written than it declares.</summary>
public sealed class DamagedPayloadTests
{
    private const int Inputs = 1_000_000;
    private const int MostUnpacked = 1024;

    [Fact]
    public void A_million_damaged_payloads_are_refused_or_unpacked_within_what_they_declare()
    {
        // LZ4: the quickest of all, so that what is around the decoder is what is tested.
        byte[][] payloads = [Packed.WithSize(Packed.Streams["Lz4"], 424), Packed.WithSize(Packed.Streams["Lzo"], 424)];
        byte[] bad = new byte[1024];
        byte[] output = new byte[MostUnpacked];
        var source = new MemoryImageSource("it", bad);
        var libraries = new Remembered();
        var random = new Random(51);
        int refused = 0, unpacked = 0;
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < Inputs; i++)
        {
            byte[] good = payloads[i & 1];
            good.CopyTo(bad, 0);
            for (int changes = random.Next(3); changes >= 0; changes--)
            {
                // The magic numbers, the declared size at the end, or anywhere.
                int at = random.Next(4) switch { 0 => random.Next(8), 1 => good.Length - 4 + random.Next(4), _ => random.Next(good.Length) };
                bad[at] = (byte)(random.Next(3) switch { 0 => 0, 1 => 0xff, _ => random.Next(256) });
            }

            source.Reset(bad.AsMemory(0, random.Next(8) == 0 ? random.Next(good.Length + 1) : good.Length));

            // Where the header said that the payload is: mostly the truth.
            long offset = random.Next(16) == 0 ? random.Next(-2, good.Length + 2) : 0;
            long length = random.Next(16) == 0 ? random.Next(good.Length + 9) : source.Length - offset;
            string? wrong = PackedPayload.TryRead(source, offset, length, libraries, out PackedPayload? payload);
            if ((wrong is null) != (payload is not null))
            {
                Assert.Fail($"input {i}: neither payload nor reason, or both: {wrong}");
            }

            if (payload is null)
            {
                refused++;
                continue;
            }

            using (payload)
            {
                if (payload.Obstacle is null && payload.UnpackedSize <= MostUnpacked)
                {
                    unpacked += payload.Unpack(output.AsSpan(0, (int)payload.UnpackedSize)) is null ? 1 : 0;
                }
            }
        }

        // A few small objects and a message for each, whatever size the payload declares.
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, Inputs * 1024L);
        Assert.InRange(refused, Inputs / 100, Inputs - (Inputs / 100));
        Assert.InRange(unpacked, Inputs / 100, Inputs - (Inputs / 100));
    }

    /// <summary>Opening a library anew for each input would be most of the time.</summary>
    private sealed class Remembered : SystemLibraries
    {
        private readonly Dictionary<(string, string), nint> _found = [];

        public override nint Find(string library, string function)
        {
            if (!_found.TryGetValue((library, function), out nint address))
            {
                _found[(library, function)] = address = base.Find(library, function);
            }

            return address;
        }
    }
}
