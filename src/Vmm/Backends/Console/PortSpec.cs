using Vmm.Boot;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Console;
using Vmm.Host;

namespace Vmm.Backends.Console;

/// <summary>One <c>--port</c>: a stream of bytes between programs of the guest and of the host.</summary>
/// <param name="Name">What the guest finds it by: /sys/class/virtio-ports/*/name, and with udev /dev/virtio-ports/NAME.</param>
/// <param name="Path">Path of the Unix socket at which vmm listens on the host.</param>
internal sealed record PortSpec(string Name, string Path)
{
    /// <exception cref="UsageException">It is no NAME=PATH.</exception>
    public static PortSpec Parse(string text)
    {
        int equals = text.IndexOf('=', StringComparison.Ordinal);
        string name = equals < 0 ? "" : text[..equals], path = text[(equals + 1)..];
        if (equals < 0 || path.Length == 0 || FileNames.ToBytes(path).Length > UnixSocket.MostPathBytes)
        {
            throw new UsageException(
                $"--port {text}: takes NAME=PATH, with the path of a socket of 1 to {UnixSocket.MostPathBytes} bytes");
        }

        return name.Length is > 0 and <= ConsolePort.MostNameBytes && name.All(IsAllowed)
            ? new PortSpec(name, path)
            : throw new UsageException($"--port {text}: a name has 1 to {ConsolePort.MostNameBytes} letters, digits, and . - _");
    }

    /// <exception cref="UsageException">There are too many, or two of one name or path.</exception>
    public static IReadOnlyList<PortSpec> Check(IReadOnlyList<PortSpec> ports)
    {
        if (ports.Count >= VirtioConsole.MostPorts)
        {
            throw new UsageException($"--port: {ports.Count} of them; a machine has up to {VirtioConsole.MostPorts - 1}");
        }

        for (int i = 0; i < ports.Count; i++)
        {
            for (int j = 0; j < i; j++)
            {
                if (ports[i].Name == ports[j].Name || ports[i].Path == ports[j].Path)
                {
                    throw new UsageException($"--port {ports[i].Name}={ports[i].Path}: its name or path is there twice");
                }
            }
        }

        return ports;
    }

    private static bool IsAllowed(char each) => char.IsAsciiLetterOrDigit(each) || each is '.' or '-' or '_';
}
