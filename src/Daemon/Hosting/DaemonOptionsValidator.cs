using System.Globalization;
using System.Net;
using Microsoft.Extensions.Options;

namespace Vmm.Daemon.Hosting;

/// <summary>Looks at the options before anything starts; every fault has a line of its own, with its key.</summary>
internal sealed class DaemonOptionsValidator : IValidateOptions<DaemonOptions>
{
    // sun_path of unix(7), without the zero at its end.
    private const int MostSocketPath = 107;

    public ValidateOptionsResult Validate(string? name, DaemonOptions options)
    {
        List<string> faults = [.. Faults(options)];
        return faults.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(faults);
    }

    private static IEnumerable<string> Faults(DaemonOptions options)
    {
        foreach ((string key, string? path) in Paths(options))
        {
            if (path is not null && !Path.IsPathFullyQualified(path))
            {
                yield return $"{Key(key)} {path}: not an absolute path";
            }
        }

        if (options.Socket is { } socket && System.Text.Encoding.UTF8.GetByteCount(socket) > MostSocketPath)
        {
            yield return $"{Key("Socket")} {socket}: a socket's path has at most {MostSocketPath} bytes";
        }

        if (!TryParseMode(options.SocketMode, out _))
        {
            yield return $"{Key("SocketMode")} {options.SocketMode}: not a mode; give 0600, or 0660 with a group";
        }

        foreach ((string key, TimeSpan time) in ((string, TimeSpan)[])
            [("ScanInterval", options.ScanInterval), ("AnswerTimeout", options.AnswerTimeout), ("StartTimeout", options.StartTimeout)])
        {
            if (time < TimeSpan.FromMilliseconds(10) || time > TimeSpan.FromHours(1))
            {
                yield return $"{Key(key)} {time}: from 00:00:00.01 to 01:00:00";
            }
        }

        if (options.MostConnections is < 1 or > 100_000)
        {
            yield return $"{Key("MostConnections")} {options.MostConnections}: from 1 to 100000";
        }

        if (options.MostConnectionsPerUser is < 1 or > 100_000)
        {
            yield return $"{Key("MostConnectionsPerUser")} {options.MostConnectionsPerUser}: from 1 to 100000";
        }

        foreach (string fault in QuotaFaults("Quota", options.Quota))
        {
            yield return fault;
        }

        foreach ((string user, QuotaOptions quota) in options.Quotas)
        {
            if (!uint.TryParse(user, NumberStyles.None, CultureInfo.InvariantCulture, out _))
            {
                yield return $"{Key($"Quotas:{user}")}: users are given by number, as 1000 (id -u)";
            }

            foreach (string fault in QuotaFaults($"Quotas:{user}", quota))
            {
                yield return fault;
            }
        }

        foreach (string fault in TcpFaults(options.Tcp))
        {
            yield return fault;
        }
    }

    /// <summary>The mode of a socket, as 0660.</summary>
    public static bool TryParseMode(string text, out UnixFileMode mode)
    {
        mode = 0;
        foreach (char digit in text)
        {
            if (digit is < '0' or > '7' || text.Length > 4)
            {
                return false;
            }

            mode = (UnixFileMode)(((int)mode << 3) | (digit - '0'));
        }

        return text.Length > 0 && (int)mode <= 0x1ff;
    }

    private static string Key(string name) => $"{DaemonOptions.Section}:{name}";

    private static IEnumerable<(string Key, string? Path)> Paths(DaemonOptions options)
    {
        yield return ("Socket", options.Socket);
        yield return ("Program", options.Program);
        yield return ("StateHome", options.StateHome);
        yield return ("RuntimeHome", options.RuntimeHome);
        for (int i = 0; i < options.Files.Length; i++)
        {
            yield return ($"Files:{i}", options.Files[i]);
        }

        yield return ("Tcp:Certificate", options.Tcp?.Certificate);
        yield return ("Tcp:Key", options.Tcp?.Key);
        yield return ("Tcp:ClientCa", options.Tcp?.ClientCa);
    }

    private static IEnumerable<string> QuotaFaults(string key, QuotaOptions quota)
    {
        if (quota.Machines < 0)
        {
            yield return $"{Key(key)}:Machines {quota.Machines}: below 0";
        }

        if (quota.Cpus < 0)
        {
            yield return $"{Key(key)}:Cpus {quota.Cpus}: below 0";
        }

        if (quota.Memory is { } memory && !Sizes.TryParse(memory, out _))
        {
            yield return $"{Key(key)}:Memory {memory}: not a size; give bytes, or a number with K, M, G or T, for instance 8G";
        }
    }

    private static IEnumerable<string> TcpFaults(TcpOptions? tcp)
    {
        if (tcp is null)
        {
            yield break;
        }

        if (tcp.Address is null || !IPEndPoint.TryParse(tcp.Address, out IPEndPoint? endpoint) || endpoint.Port == 0)
        {
            yield return $"{Key("Tcp:Address")} {tcp.Address}: not an address with a port, as 127.0.0.1:7767";
        }

        foreach ((string key, string? path) in ((string, string?)[])
            [("Certificate", tcp.Certificate), ("Key", tcp.Key), ("ClientCa", tcp.ClientCa)])
        {
            if (path is null)
            {
                yield return $"{Key($"Tcp:{key}")} is missing: TCP is served with certificates only, the server's with its key"
                    + " and that of who signed the clients'";
            }
            else if (!File.Exists(path))
            {
                yield return $"{Key($"Tcp:{key}")} {path}: no such file, or it cannot be read";
            }
        }
    }
}
