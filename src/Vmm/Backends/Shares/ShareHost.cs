using Vmm.Backends.VhostUser;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Vhost;
using Vmm.Host;

namespace Vmm.Backends.Shares;

/// <summary>The host's side of all shared directories of a machine.</summary>
internal sealed class ShareHost : IDisposable
{
    private const int Queues = 2;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    // On a busy host a program takes long to start. Where it ends instead, that is seen at once.
    private static readonly TimeSpan StartPatience = TimeSpan.FromSeconds(60);

    private static readonly TimeSpan BetweenLooks = TimeSpan.FromSeconds(5);

    private readonly EventLoop _loop;
    private readonly MemoryTable _memory;
    private readonly IDeviceLog _log;
    private readonly LoopTimer _look;
    private readonly List<Share> _shares = [];

    public ShareHost(EventLoop loop, MemoryTable memory, IDeviceLog log)
    {
        (_loop, _memory, _log) = (loop, memory, log);
        _look = new LoopTimer(loop, Look);
    }

    private sealed record Share(string Name, ShareSpec Spec, Virtiofsd Program, VhostUserBackend Backend)
    {
        public StallWatch Stall { get; } = new(BetweenLooks);
    }

    /// <summary>Starts the program that serves a share. It becomes ready while vmm does other things.</summary>
    /// <exception cref="UsageException">There is no such directory.</exception>
    /// <exception cref="HostException">The program is not installed.</exception>
    public FileSystem Open(ShareSpec spec)
    {
        string name = $"virtio-fs{_shares.Count}";
        string directory = spec.FindDirectory();
        Virtiofsd program = Virtiofsd.Start(directory, spec, "namespace");
        var backend = new VhostUserBackend(program.Socket, _loop, _memory, Patience, fault =>
        {
            program.Kill();         // in case it still runs and only does not answer
            _log.Warn(name, $"virtiofsd: {fault}; the guest gets I/O errors from {spec.HostPath}");
        });
        _shares.Add(new Share(name, spec, program, backend));
        return new FileSystem(name, spec.Tag!, backend);
    }

    /// <summary>Waits until all programs have answered.</summary>
    /// <exception cref="HostException">One does not.</exception>
    public void WaitUntilReady()
    {
        foreach (Share share in _shares)
        {
            try
            {
                share.Backend.Greet(Queues, StartPatience);
            }
            catch (VhostUserException error)
            {
                string words = share.Program.LastError();
                throw new HostException(
                    $"--share {share.Spec.HostPath}: virtiofsd: {(words.Length > 0 ? words : error.Message)}");
            }
        }

        _look.Set(BetweenLooks);
    }

    public void Dispose()
    {
        _look.Dispose();
        _shares.ForEach(static share => share.Backend.Dispose());
        _shares.ForEach(static share => share.Program.Dispose());
    }

    /// <summary>Reports a program that hangs. Nothing is ended: the guest's programs wait, as they would for a disk.</summary>
    private void Look()
    {
        foreach (Share share in _shares)
        {
            (int waiting, int answered) = share.Backend.Progress();
            if (share.Stall.Look(waiting, answered) is { } line)
            {
                _log.Warn(share.Name, $"virtiofsd of {share.Spec.HostPath}: {line}");
            }
        }

        _look.Set(BetweenLooks);
    }
}
