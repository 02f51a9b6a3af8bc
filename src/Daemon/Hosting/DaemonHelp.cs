using System.Reflection;

namespace Vmm.Daemon.Hosting;

/// <summary>What vmmd says about itself.</summary>
internal static class DaemonHelp
{
    /// <summary>Short names on the command line of what is used most.</summary>
    public static readonly Dictionary<string, string> Switches = new()
    {
        ["--socket"] = "Vmmd:Socket",
        ["--program"] = "Vmmd:Program",
        ["--state-home"] = "Vmmd:StateHome",
        ["--runtime-home"] = "Vmmd:RuntimeHome",
    };

    public const string Text = """
        vmmd: a long-lived host for vmm's machines

        usage: vmmd [--socket PATH] [--program PATH] [--state-home DIRECTORY] [--runtime-home DIRECTORY]
                    [--contentRoot DIRECTORY] [--SECTION:KEY VALUE]...

          --socket PATH              the Unix socket; $XDG_RUNTIME_DIR/vmmd/vmmd.sock if not given
          --program PATH             vmm; beside vmmd, or on PATH, if not given
          --state-home DIRECTORY     the machines' XDG_STATE_HOME; vmmd's own if not given
          --runtime-home DIRECTORY   the machines' XDG_RUNTIME_DIR; vmmd's own if not given
          --contentRoot DIRECTORY    where appsettings.json is; ~/.config/vmmd or /etc/vmmd if not given
          --SECTION:KEY VALUE        any other setting, as --Vmmd:Quota:Machines 10
          --help, --version

        Settings may be variables, too: Vmmd__Quota__Machines=10. The command line comes before these, these before
        appsettings.json. vmmd may be killed and started again at any time: machines are processes of their own, and
        go on. docs/daemon.md tells all settings and the API, which is described at /openapi/v1.json.

          curl --unix-socket $XDG_RUNTIME_DIR/vmmd/vmmd.sock http://vmmd/v1/machines

        """;

    public static string Version { get; } =
        typeof(DaemonHelp).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+')[0] ?? "?";

    /// <summary>.NET's own reader of command lines leaves out what it does not understand.</summary>
    /// <exception cref="ConfigurationException">There is something else than settings.</exception>
    public static void CheckArguments(string[] args)
    {
        for (int i = 0; i < args.Length; i++)
        {
            string key = args[i].Split('=', 2)[0];
            if (!key.StartsWith("--", StringComparison.Ordinal))
            {
                throw new ConfigurationException($"{args[i]}: not a setting; they are given as --KEY VALUE ('vmmd --help' tells more)");
            }

            if (!Switches.ContainsKey(key) && key is not ("--contentRoot" or "--environment") && !key.Contains(':', StringComparison.Ordinal))
            {
                throw new ConfigurationException($"{key}: no such setting ('vmmd --help' tells more)");
            }

            if (key.Length == args[i].Length && ++i == args.Length)
            {
                throw new ConfigurationException($"{key}: its value is missing");
            }
        }
    }
}
