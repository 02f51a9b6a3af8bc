using System.Diagnostics;
using System.IO.Compression;
using System.Runtime.InteropServices;
using System.Text;
using Vmm.Boot.Unpack;

namespace Vmm.Boot.Tests.Unpack;

/// <summary>Made-up payloads and the bzImages around them.</summary>
internal static class Packed
{
    /// <summary>What the streams in <see cref="Streams"/> unpack to: 424 bytes.</summary>
    public static byte[] Text { get; } = Encoding.ASCII.GetBytes(
        string.Concat(Enumerable.Repeat("The quick brown fox jumps over the lazy dog. ", 8))
        + string.Concat(Enumerable.Repeat("0123456789abcdef", 4)));

    /// <summary><see cref="Text"/> as packed by each tool with the options of the kernel's build: gzip -9, bzip2 -9,
    /// lzma -9, xz --check=crc32 --x86 --lzma2=dict=32MiB, lz4 -l -9, zstd -22 --ultra, lzop -9.</summary>
    public static IReadOnlyDictionary<string, byte[]> Streams { get; } = new Dictionary<string, string>
    {
        ["Gzip"] = "H4sIAAAAAAACAwvJSFUoLM1MzlZIKsovz1NIy69QyCrNLShWyC9LLVIoAUrnJFZVKqTkp+sphIwqJlexgaGRsYmpmbmFZWJSckpqGql8ADxQ0TeoAQAA",
        ["Bzip2"] = "QlpoOTFBWSZTWW8N1HUAAD+bgEABf+AEAD////AwALgMGmjTTCYmTAQNMMGmjTTCYmTAQNMCqknpBiGmjRppkGmaiYXCQwEh1GQmGQvFF8KjecDiVnIsOZ0KYQptPIuJx3MR4IjEMTQdicfBmPY0E4oEw1CQoERgLBmIioVjQREhIViH4Wj+LuSKcKEg3huo6g==",
        ["Lzma"] = "XQAAAAT//////////wAqGgiiAyVm8Ut4xaIF/y7m2dIgGq00+OId6EE2+twGabs85BA0Jwnrs2bj7TeY7ZJfRoUykYwptKd3N+5dYoTXHIQg73Qyv//lnsAA",
        ["Xz"] = "/Td6WFoAAAFpIt42AgEEACEBGgAByYCz4AGnAEddACoaCKIDJWbxS3jFogX/LubZ0iAarTT44h3oQTb63AZpuzzkEDQnCeuzZuPtN5jtkl9GhTKRjCm0p3c37l1ihNcchCC3PXAAAAA8UNE3AAFfqAMAAABGFW9sPjANiwIAAAAAAVla",
        ["Lz4"] = "AiFMGE4AAAD/HlRoZSBxdWljayBicm93biBmb3gganVtcHMgb3ZlciB0aGUgbGF6eSBkb2cuIC0A/yn/ATAxMjM0NTY3ODlhYmNkZWYQABhQYmNkZWY=",
        ["Zstd"] = "KLUv/QSITQIA1ANUaGUgcXVpY2sgYnJvd24gZm94IGp1bXBzIG92ZXIgdGhlIGxhenkgZG9nLiAwMTIzNDU2Nzg5YWJjZGVmAgCaGa3iQFWVAetLYV4=",
        ["Lzo"] = LzopOfText,
    }.ToDictionary(pair => pair.Key, pair => Convert.FromBase64String(pair.Value));

    private const string LzopOfText = "iUxaTwANChoKEEAgoAlAAwkDAAANAACBpGsDaWAAAAAAADS3A9IAAAGoAAAAS9ebksExVGhlIHF1aWNrIGJyb3duIGZveCBqdW1wcyBvdmVyIHRYAwdsYXp5IGRvZy4gIAAbsAANMDEyMzQ1Njc4OWFiY2RlZiAPPAARAAAAAAAA";

    /// <summary>The codec, or null on a system without its library.</summary>
    public static Codec? CodecOf(string compression) =>
        Codec.TryCreate(Enum.Parse<Compression>(compression), SystemLibraries.Default, out _);

    /// <summary>A stream with the unpacked size behind it, as the kernel's build makes it.</summary>
    public static byte[] WithSize(byte[] stream, uint size)
    {
        byte[] payload = [.. stream, 0, 0, 0, 0];
        MemoryMarshal.Write(payload.AsSpan(stream.Length), size);
        return payload;
    }

    /// <summary>A gzip payload, which ends in its size by itself.</summary>
    public static byte[] Gzip(byte[] bytes)
    {
        using var memory = new MemoryStream();
        using (var gzip = new GZipStream(memory, CompressionLevel.Fastest))
        {
            gzip.Write(bytes);
        }

        return memory.ToArray();
    }

    /// <summary>A bzImage around a payload.</summary>
    public static byte[] BzImage(byte[] payload, uint initSize = 0x20_0000)
    {
        int length = (MadeUp.PayloadOffset + payload.Length + 15) & ~15;
        byte[] file = MadeUp.BzImage(Math.Max(length, MadeUp.KernelLength))
            .With(0x24c, payload.Length).With(0x260, Math.Max(initSize, (uint)length));
        payload.CopyTo(file, ((MadeUp.SetupSects + 1) * 512) + MadeUp.PayloadOffset);
        return file;
    }

    /// <summary>Runs a program.</summary>
    public static byte[] Run(string tool, string arguments, byte[] input)
    {
        using Process process = Process.Start(new ProcessStartInfo(tool, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        })!;
        Task write = Task.Run(() =>
        {
            using Stream to = process.StandardInput.BaseStream;
            to.Write(input);
        });
        using var output = new MemoryStream();
        process.StandardOutput.BaseStream.CopyTo(output);
        write.GetAwaiter().GetResult();
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
        return output.ToArray();
    }
}
