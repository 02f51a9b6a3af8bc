using System.Buffers;
using System.IO.Compression;
using System.Text;

namespace Vmm.Boot.Inspect;

/// <summary>The configuration that a kernel was built with (.config).</summary>
public sealed class KernelConfig
{
    /// <summary>Most bytes of text: real ones have a quarter of a MiB.</summary>
    internal const int MostText = 4 << 20;

    // kernel/configs.c: the markers around the gzip stream of CONFIG_IKCONFIG.
    private static ReadOnlySpan<byte> StartMarker => "IKCFG_ST"u8;
    private static ReadOnlySpan<byte> EndMarker => "IKCFG_ED"u8;

    private readonly Dictionary<string, char> _options;

    private KernelConfig(Dictionary<string, char> options) => _options = options;

    /// <summary>Is it built in?</summary>
    public bool IsBuiltIn(string option) => _options.GetValueOrDefault(option) == 'y';

    /// <summary>Is it built as a module?</summary>
    public bool IsModule(string option) => _options.GetValueOrDefault(option) == 'm';

    /// <summary>Finds the configuration that is embedded in an unpacked kernel (CONFIG_IKCONFIG).</summary>
    /// <returns>Null if there is none, or a damaged one.</returns>
    public static KernelConfig? Find(ReadOnlySpan<byte> kernel)
    {
        while (kernel.IndexOf(StartMarker) is var start and >= 0)
        {
            kernel = kernel[(start + StartMarker.Length)..];
            // The marker's own name may be among the kernel's strings: a gzip header has to follow.
            if (kernel is [0x1f, 0x8b, ..])
            {
                int end = kernel.IndexOf(EndMarker);
                return end is >= 0 and <= MostText ? Unpack(kernel[..end]) : null;
            }
        }

        return null;
    }

    /// <summary>Where the configuration of a kernel's file is: <c>config-VERSION</c> beside <c>vmlinuz-VERSION</c>, as distributions have it, or
    /// <c>.config</c> at the top of the tree that it was built in.</summary>
    /// <returns>Null where the file's name says neither.</returns>
    public static string? PathBeside(string kernel)
    {
        string name = Path.GetFileName(kernel);
        string directory = Path.GetDirectoryName(Path.GetFullPath(kernel)) ?? "/";
        if (name == "vmlinux")
        {
            return Path.Combine(directory, ".config");
        }

        if (name == "bzImage")
        {
            return directory.EndsWith("/arch/x86/boot", StringComparison.Ordinal) || directory.EndsWith("/arch/x86_64/boot", StringComparison.Ordinal)
                ? Path.GetFullPath("../../../.config", directory)
                : null;
        }

        int dash = name.IndexOf('-', StringComparison.Ordinal);
        return dash > 0 && name.StartsWith("vmlinu", StringComparison.Ordinal)
            ? Path.Combine(directory, string.Concat("config", name.AsSpan(dash)))
            : null;
    }

    /// <summary>Reads a configuration file, as distributions put it beside their kernels.</summary>
    /// <returns>Null if there is none, or it cannot be read.</returns>
    public static KernelConfig? Read(string path)
    {
        try
        {
            using FileStream file = File.OpenRead(path);
            return Parse(file);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            return null;
        }
    }

    /// <summary>Reads the lines "CONFIG_A=y" and "CONFIG_B=m" of at most <see cref="MostText"/> bytes; all others,
    /// among them "# CONFIG_C is not set", say nothing that matters here.</summary>
    internal static KernelConfig Parse(Stream text)
    {
        var options = new Dictionary<string, char>(StringComparer.Ordinal);
        byte[] bytes = ArrayPool<byte>.Shared.Rent(1 << 16);
        try
        {
            Parse(text, bytes, options);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(bytes);
        }

        return new KernelConfig(options);
    }

    private static void Parse(Stream text, byte[] bytes, Dictionary<string, char> options)
    {
        int held = 0, total = 0, count;
        while (total < MostText && (count = text.Read(bytes.AsSpan(held))) != 0)
        {
            total += count;
            held += count;
            Span<byte> left = bytes.AsSpan(0, held);
            while (left.IndexOf((byte)'\n') is var end and >= 0)
            {
                ParseLine(left[..end], options);
                left = left[(end + 1)..];
            }

            // A line that fills the whole buffer is no option.
            held = left.Length == bytes.Length ? 0 : left.Length;
            left[..held].CopyTo(bytes);
        }

        ParseLine(bytes.AsSpan(0, held), options);
    }

    private static void ParseLine(ReadOnlySpan<byte> line, Dictionary<string, char> options)
    {
        if (line.StartsWith("CONFIG_"u8) && line is [.., (byte)'=', (byte)'y' or (byte)'m'])
        {
            options[Encoding.ASCII.GetString(line[..^2])] = (char)line[^1];
        }
    }

    private static unsafe KernelConfig? Unpack(ReadOnlySpan<byte> packed)
    {
        // SAFETY: the stream reads only packed.Length bytes, and only while they are pinned here.
        fixed (byte* input = packed)
        {
            using var memory = new UnmanagedMemoryStream(input, packed.Length);
            using var gzip = new GZipStream(memory, CompressionMode.Decompress);
            try
            {
                return Parse(gzip);
            }
            catch (InvalidDataException)
            {
                return null;
            }
        }
    }
}
