using System.Text;
using Vmm.Devices.Memory;

namespace Vmm.Boot;

/// <summary>The kernel's command line.</summary>
public static class CommandLine
{
    /// <summary>The default for a guest of this machine: a serial console; reset by the keyboard controller, which ends
    /// vmm; and a panic that ends it at once.</summary>
    public const string Default = $"console=ttyS0 {Ends}";

    /// <summary>The default where the console is virtio-console.</summary>
    public const string WithVirtioConsole = $"console=hvc0 {Ends}";

    private const string Ends = "reboot=k panic=-1";

    /// <summary>COMMAND_LINE_SIZE of Linux on x86, without the terminating zero, for kernels without a header that
    /// says it.</summary>
    internal const uint LinuxLimit = 2047;

    /// <summary>Puts the command line together. What the user gives comes last: Linux lets the last value of an
    /// option win, and all that follows a lone "--" goes to init.</summary>
    /// <param name="start"><see cref="Default"/> or <see cref="WithVirtioConsole"/>.</param>
    /// <param name="given">--cmdline, or null.</param>
    /// <param name="only">--cmdline-only: take it as it is.</param>
    /// <param name="added">What the machine adds of its own, such as virtio_mmio.device=...</param>
    public static string Compose(string start, string? given, bool only, params ReadOnlySpan<string> added)
    {
        if (only)
        {
            return given ?? "";
        }

        var line = new StringBuilder(start);
        foreach (string word in added)
        {
            line.Append(' ').Append(word);
        }

        if (!string.IsNullOrWhiteSpace(given))
        {
            line.Append(' ').Append(given);
        }

        return line.ToString();
    }

    /// <summary>What a multiboot loader hands over: the kernel's own name, which such kernels skip as programs do with
    /// argv[0] (Multiboot 0.6.96, 3.3, "cmdline"; QEMU and GRUB do the same), then what the user gave. Linux's words
    /// mean nothing there.</summary>
    /// <param name="kernel">The kernel's path.</param>
    /// <param name="given">--cmdline, or null.</param>
    /// <param name="only">--cmdline-only: take it as it is.</param>
    public static string ComposeMultiboot(string kernel, string? given, bool only) => only
        ? given ?? ""
        : string.IsNullOrWhiteSpace(given) ? kernel : $"{kernel} {given}";

    /// <summary>Writes it to <see cref="Layout.CommandLine"/>, with its terminating zero, if it is at most
    /// <paramref name="limit"/> bytes without it.</summary>
    /// <exception cref="BootException">It is longer, or cannot be written as a C string.</exception>
    internal static void Write(GuestMemory memory, string line, ulong limit, string kernel) =>
        memory.Write(new GuestAddress(Layout.CommandLine), Encode(line, limit, kernel));

    /// <summary>The bytes to write, with the terminating zero.</summary>
    /// <exception cref="BootException">As above.</exception>
    internal static byte[] Encode(string line, ulong limit, string kernel)
    {
        if (line.Contains('\0', StringComparison.Ordinal))
        {
            throw new BootException("command line: holds a NUL character: remove it");
        }

        byte[] bytes = Encoding.UTF8.GetBytes(line + '\0');
        limit = Math.Min(limit, Layout.CommandLineRoom - 1);
        if ((ulong)bytes.Length - 1 > limit)
        {
            throw new BootException(
                $"command line: is {bytes.Length - 1} bytes long, kernel {kernel} takes {limit}: shorten it");
        }

        return bytes;
    }
}
