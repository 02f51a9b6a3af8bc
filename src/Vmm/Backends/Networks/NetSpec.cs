using System.Globalization;
using System.Text;
using Vmm.Host;
using Vmm.Text;

namespace Vmm.Backends.Networks;

/// <summary>What a network card is connected to.</summary>
internal enum NetMode
{
    /// <summary>The host's network, through passt.</summary>
    User,

    /// <summary>A tap interface.</summary>
    Tap,

    /// <summary>Another VM.</summary>
    Socket,
}

/// <summary><c>--net MODE[,option...]</c>, checked as far as that goes without looking at the host. A comma in a value is
/// written twice.</summary>
internal sealed record NetSpec(NetMode Mode)
{
    /// <summary>The modes, for help and for errors.</summary>
    public static IReadOnlyList<ManualRow> Modes =>
    [
        new("user", "the host's network without privileges, through passt(1); the guest has an address by DHCP"),
        new("tap=NAME", "a tap interface of the host, made for as long as vmm runs if there is none"),
        new("socket=PATH", "a link to another machine: the first one listens (QEMU's -netdev stream)"),
    ];

    /// <summary>What may follow it, for help and for errors.</summary>
    public static IReadOnlyList<ManualRow> Parts =>
    [
        new("mac=ADDRESS", "if not given, derived from --name or the first disk's path, and the card's number"),
        new("mtu=BYTES", "what the guest is told: 68 to 65535"),
        new("queues=N", "pairs of virtqueues, with tap= only: 1 to 16; 1 if not given"),
        new("publish=[ADDRESS:]PORT[:GUESTPORT]", "with user: a port of the host, TCP and UDP, to forward to the guest; several "
            + "times if wanted"),
        new("pps=N", "at most so many frames a second, each way"),
        new("bw=SIZE", "at most so many bytes a second, each way"),
        new("loss=RATE", "this share of frames is lost, each way: 0 to 1"),
        new("delay=MS", "each frame comes so much later, each way"),
        new("seed=N", "the same seed loses the same frames"),
    ];

    private const int MostInterfaceName = 15;       // IFNAMSIZ without the zero

    /// <summary>The interface or the path; empty for <see cref="NetMode.User"/>.</summary>
    public string Target { get; init; } = "";

    /// <summary>Six bytes; null: derived from the machine's name.</summary>
    public byte[]? Mac { get; init; }

    /// <summary>The MTU that the guest is told; 0 for none.</summary>
    public ushort Mtu { get; init; }

    /// <summary>Queue pairs, 1 to 16.</summary>
    public int Queues { get; init; } = 1;

    /// <summary>Ports of the host that lead to the guest.</summary>
    public IReadOnlyList<PublishedPort> Published { get; init; } = [];

    /// <summary>Frames a second each way; 0 for no limit.</summary>
    public ulong FrameLimit { get; init; }

    /// <summary>Bytes a second each way; 0 for no limit.</summary>
    public ulong Bandwidth { get; init; }

    /// <summary>Faults made on purpose.</summary>
    public NetFaults Faults { get; init; }

    /// <exception cref="UsageException">An option is unknown or wrong, or the mode is.</exception>
    public static NetSpec Parse(string text)
    {
        List<string> parts = OptionText.Split(text);
        NetSpec spec = OptionText.Parse(parts[0]) switch
        {
            // passt takes segments of any length, and long ones are more efficient.
            ("user", null) => new NetSpec(NetMode.User) { Mtu = 65520 },
            ("tap", { Length: > 0 } name) when IsInterfaceName(name) => new NetSpec(NetMode.Tap) { Target = name },
            ("tap", not null) => throw Wrong(text, $"tap= takes the name of an interface, up to {MostInterfaceName} characters"),
            ("socket", { Length: > 0 } path) => new NetSpec(NetMode.Socket) { Target = path },
            (var mode, _) => throw Wrong(
                text, $"no such mode '{parts[0]}'{Suggestion.Aside(mode, Modes)}; there are {ManualRow.List(Modes)}"),
        };
        foreach (string part in parts.Skip(1))
        {
            (string option, string? value) = OptionText.Parse(part);
            spec = spec.With(text, option, value);
        }

        return spec.Check(text);
    }

    private NetSpec With(string text, string option, string? value) => (option, value) switch
    {
        ("mac", not null) => this with
        {
            Mac = MacAddress.TryParse(value)
                ?? throw Wrong(text, "mac= takes six bytes, not multicast, for instance 52:54:00:12:34:56"),
        },
        ("mtu", not null) => this with { Mtu = (ushort)Number(text, option, value, 68, 65535) },
        ("queues", not null) => this with { Queues = (int)Number(text, option, value, 1, 16) },
        ("publish", not null) => this with
        {
            Published =
            [
                .. Published,
                PublishedPort.TryParse(value) ?? throw Wrong(
                    text, "publish= takes [ADDRESS:]PORT[:GUESTPORT], for instance 8080:80 or 127.0.0.1:8080:80"),
            ],
        },
        ("pps", not null) => this with { FrameLimit = Number(text, option, value, 1, 1_000_000_000) },
        ("bw", not null) => this with
        {
            Bandwidth = ByteSize.Parse(value, $"--net {text}: bw") is > 0 and var rate
                ? rate
                : throw Wrong(text, "bw= must be above zero; loss=1 loses all frames"),
        },
        ("loss", not null) => this with { Faults = Faults with { LossRate = Rate(text, value) } },
        ("delay", not null) => this with
        {
            Faults = Faults with { DelayMilliseconds = (int)Number(text, option, value, 0, 60_000) },
        },
        ("seed", not null) => this with { Faults = Faults with { Seed = (int)Number(text, option, value, 0, int.MaxValue) } },
        ("mac" or "mtu" or "queues" or "publish" or "pps" or "bw" or "loss" or "delay" or "seed", _) =>
            throw Wrong(text, $"'{option}' takes a value; there are: {ManualRow.List(Parts)}"),
        _ => throw Wrong(text, OptionText.Unknown(option, Parts)),
    };

    private NetSpec Check(string text)
    {
        if (Queues > 1 && Mode != NetMode.Tap)
        {
            throw Wrong(text, "queues= goes with tap=; the others have one");
        }

        if (Published.Count > 0 && Mode != NetMode.User)
        {
            throw Wrong(text, "publish= goes with user; behind tap= and socket= the guest has an address of its own");
        }

        PublishedPort? twice = Published.GroupBy(port => (port.Address, port.Port)).FirstOrDefault(g => g.Count() > 1)?.First();
        return twice is null ? this : throw Wrong(text, $"port {twice.Port} is published twice");
    }

    private static bool IsInterfaceName(string name) =>
        Encoding.UTF8.GetByteCount(name) <= MostInterfaceName && name is not ("." or "..")
        && !name.Any(c => c is '/' or ':' or '%' || char.IsWhiteSpace(c) || char.IsControl(c));

    private static double Rate(string text, string value) =>
        double.TryParse(value, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double rate) && rate <= 1
            ? rate
            : throw Wrong(text, "loss= takes a share from 0 to 1, for instance 0.01");

    private static ulong Number(string text, string option, string value, ulong least, ulong most) =>
        OptionText.Number(value, least, most) ?? throw Wrong(text, $"{option}= takes a number from {least} to {most}");

    private static UsageException Wrong(string text, string why) => new($"--net {text}: {why}");
}

/// <summary>Faults of a line that a tester asks for; the default is none.</summary>
/// <param name="LossRate">Share of frames that are lost, each way, 0 to 1.</param>
/// <param name="DelayMilliseconds">Each frame comes so much later, each way.</param>
/// <param name="Seed">The same seed loses the same frames.</param>
internal readonly record struct NetFaults(double LossRate, int DelayMilliseconds, int Seed)
{
    public bool Any => LossRate > 0 || DelayMilliseconds > 0;
}
