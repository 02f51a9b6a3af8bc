using System.Text;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Vsock;
using Vmm.Host;
using Vmm.Text;

namespace Vmm.Backends.Sockets;

/// <summary><c>--vsock PATH[,cid=N]</c>, checked as far as that goes without looking at the host. A comma in the path is
/// written twice.</summary>
/// <param name="Path">Path of the Unix socket at which programs of the host ask for a port of the guest.</param>
/// <param name="Cid">The guest's address.</param>
internal sealed record VsockSpec(string Path, uint Cid)
{
    public const uint LeastCid = VirtioVsock.HostCid + 1;
    private const uint MostCid = uint.MaxValue - 1;

    /// <summary>What may follow the path, for help and for errors.</summary>
    public static IReadOnlyList<ManualRow> Parts => [new("cid=N", "the guest's own address; 3 if not given")];

    /// <exception cref="UsageException">An option is unknown or wrong, or the path cannot be one.</exception>
    public static VsockSpec Parse(string text)
    {
        List<string> parts = OptionText.Split(text);
        var spec = new VsockSpec(parts[0], LeastCid);
        if (spec.Path.Length == 0)
        {
            throw Wrong(text, "takes the path of a socket to make, for instance /tmp/vm.sock");
        }

        if (Encoding.UTF8.GetByteCount(spec.PathOf(uint.MaxValue)) > UnixSocket.MostPathBytes)
        {
            throw Wrong(text, $"the path with a port behind it is longer than {UnixSocket.MostPathBytes} bytes; give a shorter one");
        }

        foreach (string part in parts.Skip(1))
        {
            spec = OptionText.Parse(part) switch
            {
                ("cid", not null and var value) => spec with
                {
                    Cid = (uint)(OptionText.Number(value, LeastCid, MostCid)
                        ?? throw Wrong(text, $"cid= takes a number from {LeastCid} to {MostCid}")),
                },
                ("cid", null) => throw Wrong(text, "'cid' takes a value"),
                (var option, _) => throw Wrong(text, OptionText.Unknown(option, Parts)),
            };
        }

        return spec;
    }

    /// <summary>Where a program of the host listens for the guest's connections to a port.</summary>
    public string PathOf(uint port) => $"{Path}_{port}";

    private static UsageException Wrong(string text, string why) => new($"--vsock {text}: {why}");
}
