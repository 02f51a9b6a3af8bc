using Vmm.Devices.Virtio;
using Vmm.Host;

namespace Vmm.Backends.Networks;

/// <summary>The host's network without privileges (<c>user</c>): passt does TCP and UDP, DHCP and the rest.</summary>
internal sealed class PasstNet : StreamNet
{
    private const string Option = "--net user";

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);

    private readonly Passt _passt;
    private readonly IDeviceLog _log;

    /// <param name="passt">Owned from now on.</param>
    public PasstNet(EventLoop loop, Passt passt, IDeviceLog log)
        : base(loop)
    {
        _passt = passt;
        _log = log;
        Open(passt.Socket);
    }

    /// <inheritdoc cref="Passt.ProcessId"/>
    public int? ProcessId => _passt.ProcessId;

    /// <exception cref="HostException">passt ended with an error.</exception>
    public void WaitUntilReady()
    {
        _passt.WaitUntilReady();
        if (_passt.IsLocalOnly)
        {
            _log.Warn(Option, "this host has no network; the guest reaches only the host itself, at 10.0.2.2");
        }
    }

    public override void Dispose()
    {
        bool isGone = HangUp(Patience);
        base.Dispose();
        if (!isGone)
        {
            _log.Warn(Option, "passt does not end; it keeps running");
        }

        _passt.Dispose(wait: isGone);
    }

    protected override void Lost(string? fault)
    {
        _log.Warn(Option, fault is null
            ? "passt has ended; the card has no network any more"
            : $"passt sent invalid data ({fault}); the card has no network any more");
        Card.SetLink(false);
    }
}
