using Vmm.Backends.Console;
using Vmm.Backends.Disks;
using Vmm.Devices.Legacy;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Balloon;
using Vmm.Devices.Virtio.Block;
using Vmm.Devices.Virtio.Vhost;
using Vmm.Host;
using Vmm.Text;

namespace Vmm.Machines;

/// <summary>Changes to a machine's devices, and questions to them, while it runs. Any thread.</summary>
internal sealed partial class Machine
{
    /// <summary>The memory balloon; null where there is none.</summary>
    public VirtioBalloon? Balloon => _devices.Balloon;

    /// <inheritdoc cref="GuestDevices.Programs"/>
    public IEnumerable<VhostDevice> Programs => _devices.Programs;

    /// <summary>The last output of the console; null where there is no control socket.</summary>
    public ConsoleTape? ConsoleTape { get; private set; }

    /// <summary>The port at which the guest's console takes input.</summary>
    public ISerialInput ConsoleInput { get; private set; } = null!;

    /// <summary>Sets how much memory the guest is to use, by the balloon. The guest gives what it can, and takes pages back before it
    /// would kill programs for lack of memory.</summary>
    /// <param name="bytes">Memory that the guest is to have; a multiple of 4096, at most what the machine was given.</param>
    /// <exception cref="UsageException">There is no balloon, or the size is wrong.</exception>
    public void SetBalloonTarget(ulong bytes)
    {
        VirtioBalloon balloon = RequireBalloon();
        if (bytes == 0 || bytes > Ram.Memory.Size || bytes % 4096 != 0)
        {
            throw new UsageException(
                $"{ByteSize.Format(bytes)}: the guest can have 4K to {ByteSize.Format(Ram.Memory.Size)} of memory, in steps of 4K");
        }

        balloon.Target = Ram.Memory.Size - bytes;
    }

    /// <summary>The guest's last figures about its memory; null before the first. Also asks for new ones, which the next call
    /// returns if the guest answers.</summary>
    /// <exception cref="UsageException">There is no balloon.</exception>
    public BalloonStatistics? BalloonStatistics()
    {
        VirtioBalloon balloon = RequireBalloon();
        BalloonStatistics? last = balloon.Statistics;
        balloon.AskForStatistics();
        return last;
    }

    /// <summary>Makes a disk longer, and tells the guest. On the event loop's thread; waits until the host has made the change
    /// durable.</summary>
    /// <param name="index">Index in <see cref="Disks"/>.</param>
    /// <param name="bytes">More than it has now; a multiple of its block size.</param>
    /// <exception cref="UsageException">There is no such disk, it cannot grow, or the size is wrong.</exception>
    public void ResizeDisk(int index, ulong bytes)
    {
        if ((uint)index >= (uint)Disks.Count)
        {
            throw new UsageException($"disk {index}: the machine has {Disks.Count} that vmm serves, counted from 0");
        }

        (VirtioBlock device, OpenDisk disk) = Disks[index];
        string name = $"disk {index}, {disk.Backend.File.Path}";
        if (disk.Options.ReadOnly || disk.Backend.IsReadOnly)
        {
            throw new UsageException($"{name}: it is read-only");
        }

        if (bytes <= disk.Backend.Length || bytes % disk.Options.BlockSize != 0 || bytes > long.MaxValue)
        {
            throw new UsageException($"{name}: has {disk.Backend.Length} bytes; give more than that (it can only grow), and a multiple "
                + $"of {disk.Options.BlockSize}");
        }

        if (disk.Backend.Grow(bytes) is { } problem)
        {
            throw new UsageException($"{name}: {problem}");
        }

        device.Grow();
    }

    /// <summary>The terminal may have another size: a console of virtio is told.</summary>
    public void TakeTerminalSize()
    {
        if (Console is { VirtioPort: not null } console)
        {
            (ushort rows, ushort columns) = console.Size;
            _devices.Console!.SetSize(columns, rows);
        }
    }

    /// <summary>Tells the guest how large its console is.</summary>
    /// <returns>False where it is a serial port, which has no size.</returns>
    public bool ResizeConsole(ushort rows, ushort columns)
    {
        _devices.Console?.SetSize(columns, rows);
        return _devices.Console is not null && Console?.VirtioPort is not null;
    }

    private VirtioBalloon RequireBalloon() =>
        Balloon ?? throw new UsageException("the machine has no memory balloon; start it with --balloon");

    /// <summary>Forks that the guest asks for; null where it may ask for none.</summary>
    public ForkRequests? ForkRequests { get; private set; }

    /// <summary>The port for them; null where <see cref="ForkRequests"/> is.</summary>
    public ForkPort? ForkPort { get; private set; }

    private void AddForkPort()
    {
        if (_spec.MostForks is { } most)
        {
            ForkRequests requests = ForkRequests = Own(new ForkRequests(Loop, _spec.Control!, most));
            ForkPort = State.Add("fork", new ForkPort(count => Loop.Post(() => requests.Ask(count, result => ForkPort!.Settle(result)))));
            Ports.Add(ForkPort.Port, ForkPort.PortCount, ForkPort);
        }
    }
}
