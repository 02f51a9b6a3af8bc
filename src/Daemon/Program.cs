using System.Net.Sockets;
using Microsoft.Extensions.Options;
using Vmm.Daemon.Hosting;

const int Usage = 64, InternalError = 70, HostCannot = 71;

if (args is ["--help"] or ["-h"])
{
    Console.Out.Write(DaemonHelp.Text);
    return 0;
}

if (args is ["--version"] or ["-V"])
{
    Console.Out.WriteLine($"vmmd {DaemonHelp.Version}");
    return 0;
}

try
{
    DaemonHelp.CheckArguments(args);
    await using WebApplication app = DaemonHost.Build(args);
    using OwnedSocket? socket = await DaemonHost.StartAsync(app);
    await app.WaitForShutdownAsync();
    return 0;
}
catch (OptionsValidationException error)
{
    foreach (string failure in error.Failures)
    {
        Console.Error.WriteLine($"vmmd: {failure}");
    }

    return Usage;
}
catch (ConfigurationException error)
{
    Console.Error.WriteLine($"vmmd: {error.Message}");
    return Usage;
}
catch (Exception error) when (error is IOException or UnauthorizedAccessException or SocketException)
{
    Console.Error.WriteLine($"vmmd: {error.Message}");
    return HostCannot;
}
catch (Exception error)
{
    Console.Error.WriteLine($"vmmd: {error}");
    return InternalError;
}
