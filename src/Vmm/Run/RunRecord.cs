using System.Text;
using Vmm.Devices.State;
using Vmm.Machines;
using Vmm.Run.Roots;

namespace Vmm.Run;

/// <summary>What is kept with a saved machine of <c>vmm run</c>: what runs in it, and what commands that are started later get.</summary>
internal sealed class RunRecord : ISavedState
{
    private const int MostWords = 256 * 1024, MostText = 128 * 1024;

    private IReadOnlyList<string> _command = [], _environment = [];
    private string _hostname = "", _directory = "", _user = "";
    private bool _hasRoot;

    private RunRecord()
    {
    }

    public RunRecord(RunOptions options)
    {
        (_command, _environment, _hostname) = (options.Command, options.Environment, options.Hostname);
        (_directory, _user, _hasRoot) = (options.Directory ?? "", options.User ?? "", options.HasRoot);
    }

    /// <summary>The options of the run that goes on.</summary>
    /// <param name="record">As <see cref="IMachineGuest.Record"/> tells it; not trusted.</param>
    /// <param name="machine">To be made here; its name, if it has one, is also the guest's.</param>
    /// <exception cref="StateException">It is damaged.</exception>
    public static RunOptions ToOptions(string record, MachineSpec machine)
    {
        var kept = new RunRecord();
        StateReader.Load(Encoding.UTF8.GetBytes(record), "agent", kept);
        return new RunOptions
        {
            Machine = machine,
            Command = kept._command,
            Root = new RunRoot(kept._hasRoot ? RootKind.Disk : RootKind.Busybox),
            Environment = kept._environment,
            Hostname = machine.Name ?? kept._hostname,
            Directory = kept._directory.Length > 0 ? kept._directory : null,
            User = kept._user.Length > 0 ? kept._user : null,
        };
    }

    /// <inheritdoc/>
    public void Save(StateWriter state)
    {
        state.Version(1);
        Write(state, "command", _command);
        Write(state, "environment", _environment);
        state.Write("hostname", _hostname);
        state.Write("directory", _directory);
        state.Write("user", _user);
        state.Write("hasRoot", _hasRoot);
    }

    /// <inheritdoc/>
    public void Load(StateReader state)
    {
        state.Version(1);
        _command = Texts(state, "command");
        _environment = Texts(state, "environment");
        if (_environment.FirstOrDefault(static each => each.IndexOf('=', StringComparison.Ordinal) <= 0) is not null)
        {
            throw state.Refuse("environment", "is no list of NAME=VALUE");
        }

        _hostname = Text(state, "hostname");
        _directory = Text(state, "directory");
        _user = Text(state, "user");
        _hasRoot = state.Boolean("hasRoot");
    }

    private static void Write(StateWriter state, string name, IReadOnlyList<string> texts) =>
        state.Write(name, texts, static (fields, text) => fields.Write("text", text));

    private static string[] Texts(StateReader state, string name) =>
    [
        .. state.List(name, 0, MostWords).Select(static fields =>
        {
            string text = Text(fields, "text");
            fields.End();
            return text;
        }),
    ];

    /// <summary>A NUL would end a string of the agent's protocol.</summary>
    private static string Text(StateReader state, string name)
    {
        string text = state.String(name, MostText);
        return text.Contains('\0', StringComparison.Ordinal) ? throw state.Refuse(name, "has a NUL") : text;
    }
}
