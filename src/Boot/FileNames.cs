using System.Buffers;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;

namespace Vmm.Boot;

/// <summary>File names are bytes in Linux, mostly but not always UTF-8, and strings in .NET. This class converts between both
/// without loss: a byte that is no part of valid UTF-8 is the lone surrogate U+DC00
/// plus its value (as Python's "surrogateescape" does, PEP 383).</summary>
public static class FileNames
{
    private const char FirstEscape = '\udc80';
    private const char LastEscape = '\udcff';
    private const int EscapeBase = 0xdc00;

    /// <summary>The name as a string.</summary>
    public static string FromBytes(ReadOnlySpan<byte> bytes)
    {
        if (System.Text.Unicode.Utf8.IsValid(bytes))
        {
            return Encoding.UTF8.GetString(bytes);
        }

        var text = new StringBuilder(bytes.Length);
        while (!bytes.IsEmpty)
        {
            OperationStatus status = Rune.DecodeFromUtf8(bytes, out Rune rune, out int count);
            if (status == OperationStatus.Done)
            {
                text.Append(rune.ToString());
            }
            else
            {
                foreach (byte each in bytes[..count])
                {
                    text.Append((char)(EscapeBase + each));
                }
            }

            bytes = bytes[count..];
        }

        return text.ToString();
    }

    /// <summary>The name as bytes, without a zero behind it. Other lone surrogates become U+FFFD, as in all of .NET.</summary>
    public static byte[] ToBytes(string name)
    {
        if (!name.AsSpan().ContainsAnyInRange(FirstEscape, LastEscape))
        {
            return Encoding.UTF8.GetBytes(name);
        }

        var bytes = new List<byte>(name.Length);
        Span<byte> encoded = stackalloc byte[4];
        ReadOnlySpan<char> left = name;
        while (!left.IsEmpty)
        {
            OperationStatus status = Rune.DecodeFromUtf16(left, out Rune rune, out int count);
            if (status != OperationStatus.Done && left[0] is >= FirstEscape and <= LastEscape)
            {
                bytes.Add((byte)(left[0] - EscapeBase));
            }
            else
            {
                bytes.AddRange(encoded[..rune.EncodeToUtf8(encoded)]);
            }

            left = left[count..];
        }

        return [.. bytes];
    }

    /// <summary>The arguments of this process as they were given: .NET reads them as UTF-8 and replaces invalid bytes by
    /// U+FFFD. Costs nothing if there are none.</summary>
    /// <param name="arguments">What .NET made of the last of them.</param>
    public static string[] Arguments(string[] arguments)
    {
        if (!Array.Exists(arguments, static argument => argument.Contains('\ufffd', StringComparison.Ordinal)))
        {
            return arguments;
        }

        try
        {
            return Arguments(arguments, File.ReadAllBytes("/proc/self/cmdline"));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return arguments;
        }
    }

    /// <summary>A variable of this process's environment, as it was given; null where it is not set.</summary>
    public static string? Variable(string name)
    {
        string? value = Environment.GetEnvironmentVariable(name);
        if (value is null || !value.Contains('\ufffd', StringComparison.Ordinal))
        {
            return value;
        }

        try
        {
            return Variable(name, File.ReadAllBytes("/proc/self/environ")) ?? value;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return value;
        }
    }

    /// <summary>Is it UTF-8 in bytes, so that JSON can have it?</summary>
    public static bool IsText(string name)
    {
        ReadOnlySpan<char> left = name;
        while (!left.IsEmpty)
        {
            if (Rune.DecodeFromUtf16(left, out _, out int count) != OperationStatus.Done)
            {
                return false;
            }

            left = left[count..];
        }

        return true;
    }

    /// <param name="environment">proc(5), /proc/pid/environ: each variable and a zero.</param>
    internal static string? Variable(string name, ReadOnlySpan<byte> environment)
    {
        ReadOnlySpan<byte> start = ToBytes(name + "=");
        foreach (Range range in environment.Split((byte)0))
        {
            if (environment[range].StartsWith(start))
            {
                return FromBytes(environment[range][start.Length..]);
            }
        }

        return null;
    }

    /// <param name="commandLine">proc(5), /proc/pid/cmdline: each argument and a zero.</param>
    internal static string[] Arguments(string[] arguments, ReadOnlySpan<byte> commandLine)
    {
        var names = new List<string>();
        while (commandLine.IndexOf((byte)0) is >= 0 and int end)
        {
            names.Add(FromBytes(commandLine[..end]));
            commandLine = commandLine[(end + 1)..];
        }

        // What is before them is the program, and for the tests its host.
        int before = names.Count - arguments.Length;
        return before < 0 ? arguments : [.. names[before..]];
    }
}

/// <summary>A string as the C library wants the name of a file (<see cref="FileNames"/>): its bytes and a zero, for one call.</summary>
public unsafe ref struct FileNameBytes : IDisposable
{
    /// <summary>Bytes that the caller's stack gives; longer names are on the heap.</summary>
    public const int OnStack = 512;

    private byte* _allocated;

    /// <param name="stack">On the caller's stack: it does not move.</param>
    public FileNameBytes(string name, Span<byte> stack)
    {
        if (!name.AsSpan().ContainsAnyInRange('\ud800', '\udfff') && name.Length * 3 < stack.Length)
        {
            stack[Encoding.UTF8.GetBytes(name, stack)] = 0;

            // SAFETY: on the stack, see above.
            Start = (byte*)Unsafe.AsPointer(ref MemoryMarshal.GetReference(stack));
            return;
        }

        byte[] bytes = FileNames.ToBytes(name);

        // SAFETY: room for the bytes and the zero behind them.
        Start = _allocated = (byte*)NativeMemory.AllocZeroed((nuint)bytes.Length + 1);
        bytes.CopyTo(new Span<byte>(Start, bytes.Length));
    }

    public byte* Start { get; }

    public void Dispose()
    {
        // SAFETY: allocated above, and freed once; null is allowed.
        NativeMemory.Free(_allocated);
        _allocated = null;
    }
}
