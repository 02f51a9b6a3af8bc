using System.Globalization;
using Vmm.Daemon.Api;
using Vmm.Daemon.Hosting;
using Vmm.Named;

namespace Vmm.Daemon.Machines;

/// <summary>From a request to vmm's command line. Every value stands behind its option's '=', so that none can become an option.</summary>
internal sealed class MachineCommandLine
{
    // Said always, so that what is counted is what the machine has.
    private const long DefaultMemory = 256L << 20;

    private const int MostCpus = 1024, MostItems = 64, MostText = 4096, MostWords = 1024;

    private readonly List<string> _words = [];
    private readonly Dictionary<string, string[]> _faults = [];
    private readonly FileRights _files;
    private readonly Peer _peer;

    private MachineCommandLine(FileRights files, Peer peer) => (_files, _peer) = (files, peer);

    public long Memory { get; private set; } = DefaultMemory;

    public int Cpus { get; private set; } = 1;

    public IReadOnlyList<string> Words => _words;

    /// <exception cref="RequestException">Something of it cannot be.</exception>
    public static MachineCommandLine Of(MachineRequest request, FileRights files, Peer peer)
    {
        var line = new MachineCommandLine(files, peer);
        line.Add(request);
        return line._faults.Count == 0 ? line : throw new RequestException(line._faults);
    }

    private void Add(MachineRequest request)
    {
        bool isRun = request.Command is { Count: > 0 };
        if (!MachineName.IsValid(request.Name))
        {
            Fault("name", "takes 1 to 63 of a-z, 0-9, '-', '_' and '.', the first a letter or a digit");
        }

        if (isRun)
        {
            _words.AddRange(["run", "--config=none"]);
        }

        _words.Add("--detach");
        if (request.Profile == true)
        {
            _words.Add("--profile");        // what it prints at the end goes to the log
        }

        Option("name", request.Name, "name");
        Resources(request);
        if (request.Kernel is { } kernel)
        {
            if (kernel.Contains('/', StringComparison.Ordinal))
            {
                CheckFile("kernel", kernel);
            }

            Option("kernel", kernel, "kernel");
        }
        else if (!isRun)
        {
            Fault("kernel", "is missing: without a command there must be one");
        }

        if (request.KernelCommandLine is { } text)
        {
            Option("cmdline", text, "kernelCommandLine");
        }

        if (request.Restart is { } restart)
        {
            Option("restart", restart, "restart");
        }

        Each("initrds", request.Initrds, (field, path) =>
        {
            CheckFile(field, path);
            Option("initrd", path, field);
        });
        Each("disks", request.Disks, Disk);
        Each("networks", request.Networks, Network);
        Each("shares", request.Shares, Share);
        if (isRun)
        {
            Run(request);
        }
        else if (request is not { Root: null, Environment: null, User: null, WorkingDirectory: null, Hostname: null })
        {
            Fault("command", "is missing: root, environment, user, workingDirectory and hostname are about a command");
        }
    }

    private void Resources(MachineRequest request)
    {
        if (request.Memory is { } memory)
        {
            if (Sizes.TryParse(memory, out long bytes) && bytes > 0)
            {
                Memory = bytes;
            }
            else
            {
                Fault("memory", "is no size: give bytes, or a number with K, M or G, for instance 512M");
            }
        }

        if (request.Cpus is { } cpus)
        {
            Cpus = cpus;
            if (cpus is < 1 or > MostCpus)
            {
                Fault("cpus", $"takes 1 to {MostCpus}");
            }
        }

        _words.Add($"--mem={Sizes.Format(Memory)}");
        _words.Add(string.Create(CultureInfo.InvariantCulture, $"--cpus={Cpus}"));
    }

    private void Disk(string field, MachineDisk disk)
    {
        CheckFile($"{field}.path", disk.Path);
        CheckPart($"{field}.path", disk.Path, ',');
        if (disk.Format is not (null or "raw" or "qcow2"))
        {
            Fault($"{field}.format", "is raw or qcow2");
        }

        Option(
            "disk",
            disk.Path + (disk.ReadOnly ? ",readonly" : "") + (disk.Ephemeral ? ",ephemeral" : "")
                + (disk.Format is { } format ? $",format={format}" : ""),
            field);
    }

    private void Network(string field, MachineNetwork network)
    {
        string value = network.Mode;
        if (network.Mode == "tap" && network.Tap is { } tap)
        {
            if (!_peer.IsAdministrator)
            {
                Fault($"{field}.mode", "tap is for vmmd's own user only");
            }

            CheckPart($"{field}.tap", tap, ',');
            value = $"tap={tap}";
        }
        else if (network.Mode != "user")
        {
            Fault($"{field}.mode", "is user, or tap with the interface in tap");
        }

        foreach (string port in network.Publish ?? [])
        {
            CheckPart($"{field}.publish", port, ',');
            value += $",publish={port}";
        }

        if (network.Mac is { } mac)
        {
            CheckPart($"{field}.mac", mac, ',');
            value += $",mac={mac}";
        }

        Option("net", value, field);
    }

    private void Share(string field, MachineShare share)
    {
        CheckFile($"{field}.path", share.Path);
        CheckPart($"{field}.path", share.Path, ',', ':');
        CheckPart($"{field}.mountAt", share.MountAt, ',', ':');
        Option("share", $"{share.Path}:{share.MountAt}{(share.Writable ? ",rw" : "")}", field);
    }

    private void Run(MachineRequest request)
    {
        if (request.Root is { } root)
        {
            if (root != "none")
            {
                CheckFile("root", root);
            }

            Option("root", root, "root");
        }
        else if (!_peer.IsAdministrator)
        {
            Fault("root", "is missing: this host's own file system is for vmmd's own user only; there is 'none', too");
        }

        foreach ((string name, string value) in request.Environment ?? new Dictionary<string, string>())
        {
            if (name.Length == 0 || name.Contains('=', StringComparison.Ordinal))
            {
                Fault("environment", "has a name that is none");
            }

            Option("env", $"{name}={value}", "environment");
        }

        (string Option, string Field, string? Value)[] texts =
            [("user", "user", request.User), ("workdir", "workingDirectory", request.WorkingDirectory), ("hostname", "hostname", request.Hostname)];
        foreach ((string option, string field, string? value) in texts)
        {
            if (value is not null)
            {
                Option(option, value, field);
            }
        }

        _words.Add("--");
        if (request.Command!.Count > MostWords)
        {
            Fault("command", $"has more than {MostWords} words");
            return;
        }

        foreach (string word in request.Command)
        {
            CheckText("command", word, MostText * 16);
            _words.Add(word);
        }
    }

    private void Each<T>(string field, IReadOnlyList<T>? items, Action<string, T> add)
    {
        if (items?.Count > MostItems)
        {
            Fault(field, $"are more than {MostItems}");
            return;
        }

        for (int i = 0; i < items?.Count; i++)
        {
            if (items[i] is null)
            {
                Fault($"{field}[{i}]", "is null");
                continue;
            }

            add($"{field}[{i}]", items[i]);
        }
    }

    private void Option(string option, string value, string field)
    {
        CheckText(field, value, MostText);
        _words.Add($"--{option}={value}");
    }

    private void CheckFile(string field, string path)
    {
        if (_files.Fault(path.Length > MostText ? "..." : path) is { } fault)
        {
            Fault(field, fault);
        }
    }

    /// <summary>vmm's options have parts, between commas.</summary>
    private void CheckPart(string field, string? text, params ReadOnlySpan<char> separators)
    {
        if (string.IsNullOrEmpty(text) || text.AsSpan().ContainsAny(separators))
        {
            Fault(field, $"is empty, or has one of these in it: {string.Join(' ', separators.ToArray())}");
        }
    }

    /// <param name="text">An element of a list may be null.</param>
    private void CheckText(string field, string? text, int most)
    {
        if (text is null)
        {
            Fault(field, "is null");
        }
        else if (text.Length > most || text.Contains('\0', StringComparison.Ordinal))
        {
            Fault(field, $"is longer than {most} characters, or has a NUL in it");
        }
    }

    private void Fault(string field, string text) => _faults.TryAdd(field, [text]);
}
