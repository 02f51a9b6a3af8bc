using System.Buffers.Binary;
using System.Text;
using Vmm.Boot;
using Vmm.Host;

namespace Vmm.Backends.Agent;

/// <summary>Gets the agent's messages about its machine. On the event loop's thread.</summary>
internal interface IAgentOwner
{
    /// <summary>The guest's kernel runs, and its agent has connected.</summary>
    /// <param name="kernel">Name, release and machine, as the guest says.</param>
    void Arrived(string kernel);

    /// <summary>A message for the user that is not an error.</summary>
    void Noted(string text);

    /// <summary>The machine cannot be set up as asked, or the agent is lost: no more events come.</summary>
    void Failed(string why);

    /// <summary>It answered a ping: all earlier messages are processed.</summary>
    void Answered()
    {
    }

    /// <summary>A process of the guest asks for so many forks of its machine.</summary>
    /// <returns>False where it may not: the agent broke the protocol.</returns>
    bool AskedForForks(uint count) => false;

    /// <summary>It answered <see cref="AgentSession.Shutdown"/>: everything is written to the disks.</summary>
    void SaidGoodbye();
}

/// <summary>The protocol with the agent in a guest: greeting, set-up, processes. Nothing that the guest sends can do more harm
/// than to end the session.</summary>
internal sealed class AgentSession(IAgentOwner owner) : IAgentLinkOwner, IDisposable
{
    private const int MostNoteLength = 500, MostNotes = 50;
    private const int MostProcesses = 16;
    private const uint LeastWindow = 256, MostWindow = 1 << 20;

    private readonly Dictionary<uint, AgentProcess> _processes = [];
    private readonly List<AgentLink> _candidates = [];
    private AgentLink? _link;
    private uint _window;
    private uint _lastProcess;
    private int _notes;
    private bool _isOver;

    /// <summary>Has the agent connected?</summary>
    public bool HasArrived => _link is not null;

    /// <summary>Is it connected by a serial line, for lack of vsock?</summary>
    public bool IsSerial => _link?.IsSerial ?? false;

    /// <summary>Called for each process that already runs when the agent of a forked machine connects; returns its owner. Null where no
    /// process may run then.</summary>
    public Func<uint, IAgentProcessOwner>? Adopt { get; set; }

    /// <summary>Adds a connection on which the agent may greet. The first on which it does is used.</summary>
    /// <param name="socket">Owned from now on; does not block.</param>
    public void Listen(EventLoop loop, FileDescriptor socket, bool isSerial) =>
        _candidates.Add(new AgentLink(loop, socket, isSerial, this));

    /// <summary>The machine went back to where it was saved, so its agent connects once more, and says what runs then (<see cref="Adopt"/>).
    /// While the loop is held.</summary>
    /// <param name="socket">For its new connection; owned from now on; does not block.</param>
    /// <returns>The processes that it had: their owners are to be told (<see cref="AgentProcess.TellLost"/>).</returns>
    public IReadOnlyList<AgentProcess> BeginAgain(EventLoop loop, FileDescriptor socket)
    {
        AgentProcess[] lost = [.. _processes.Values];
        _processes.Clear();
        Array.ForEach(lost, static process => process.Lose());
        _link?.Dispose();
        (_link, _lastProcess) = (null, 0);
        Listen(loop, socket, isSerial: false);
        return lost;
    }

    /// <summary>Adds a message about the machine; <see cref="Flush"/> sends it.</summary>
    public void Tell(AgentFrameType type, ReadOnlySpan<byte> content = default) => _link!.Send(type, 0, content);

    public void Flush() => _link!.Flush();

    /// <summary>Starts a command.</summary>
    public AgentProcess Start(AgentCommand command, IAgentProcessOwner processOwner)
    {
        uint id = ++_lastProcess;
        var process = new AgentProcess(_link!, id, processOwner, _window);
        _processes.Add(id, process);
        SendStrings(AgentFrameType.Arguments, id, command.Arguments);
        SendStrings(AgentFrameType.Environment, id, command.Environment);
        SendText(AgentFrameType.Directory, id, command.Directory);
        SendText(AgentFrameType.User, id, command.User);
        Span<byte> start = stackalloc byte[12];
        BinaryPrimitives.WriteUInt32LittleEndian(start, (uint)command.Flags);
        BinaryPrimitives.WriteUInt16LittleEndian(start[4..], command.Rows);
        BinaryPrimitives.WriteUInt16LittleEndian(start[6..], command.Columns);
        BinaryPrimitives.WriteUInt32LittleEndian(start[8..], AgentProtocol.OutputWindow);
        _link!.Send(AgentFrameType.Start, id, start);
        _link.Flush();
        return process;
    }

    /// <summary>Asks the guest to end all processes, write everything to its disks and power off.</summary>
    public void Shutdown()
    {
        Tell(AgentFrameType.Shutdown);
        Flush();
    }

    public void Dispose()
    {
        _isOver = true;
        _link?.Dispose();
        foreach (AgentLink candidate in _candidates)
        {
            candidate.Dispose();
        }
    }

    void IAgentLinkOwner.Take(AgentLink link, in AgentFrame frame, ReadOnlySpan<byte> content)
    {
        if (_isOver)
        {
            return;
        }

        if (_link is null)
        {
            Greet(link, frame, content);
        }
        else if (link == _link && !Take(frame, content))
        {
            Fail($"the guest's agent broke its protocol (frame 0x{(byte)frame.Type:x2} of {frame.Length} bytes)");
        }
    }

    void IAgentLinkOwner.Lost(AgentLink link, string why)
    {
        if (link == _link)
        {
            Fail(why);
        }
    }

    private static string Text(ReadOnlySpan<byte> bytes)
    {
        // A guest's text goes to the user's terminal: no control characters.
        string text = Encoding.UTF8.GetString(bytes[..Math.Min(bytes.Length, MostNoteLength)]);
        return string.Create(text.Length, text, (span, from) =>
        {
            for (int i = 0; i < span.Length; i++)
            {
                span[i] = char.IsControl(from[i]) ? '?' : from[i];
            }
        });
    }

    private void Greet(AgentLink link, in AgentFrame frame, ReadOnlySpan<byte> content)
    {
        if (frame.Type is AgentFrameType.Note && frame.Process == 0)
        {
            Note(content);      // of a module that could not be loaded
            return;
        }

        if (frame.Type is not AgentFrameType.Hello || content.Length < 8)
        {
            Fail("the first message from the guest is not the agent's greeting");
            return;
        }

        ushort version = BinaryPrimitives.ReadUInt16LittleEndian(content);
        _window = BinaryPrimitives.ReadUInt32LittleEndian(content[4..]);
        if (version != AgentProtocol.Version || _window is < LeastWindow or > MostWindow)
        {
            Fail($"the guest's agent speaks version {version} of the protocol, this vmm {AgentProtocol.Version}: they come from different builds");
            return;
        }

        _link = link;
        _candidates.Remove(link);
        owner.Arrived(Text(content[8..]));
    }

    private bool Take(in AgentFrame frame, ReadOnlySpan<byte> content)
    {
        if (frame.Process != 0)
        {
            if ((!_processes.TryGetValue(frame.Process, out AgentProcess? process) && !TryAdopt(frame, out process))
                || !process.Take(frame.Type, content))
            {
                return false;
            }

            if (process.HasEnded)
            {
                _processes.Remove(frame.Process);
            }

            return true;
        }

        switch (frame.Type)
        {
            case AgentFrameType.Note:
                Note(content);
                return true;
            case AgentFrameType.Failed when content.Length >= sizeof(uint):
                int errno = (int)(BinaryPrimitives.ReadUInt32LittleEndian(content) & 0xfff);
                Fail($"{Text(content[sizeof(uint)..])}: {System.Runtime.InteropServices.Marshal.GetPInvokeErrorMessage(errno)}");
                return true;
            case AgentFrameType.Ready:
                owner.Answered();
                return true;
            case AgentFrameType.Fork when content.Length == sizeof(uint):
                return owner.AskedForForks(BinaryPrimitives.ReadUInt32LittleEndian(content));
            case AgentFrameType.Bye:
                owner.SaidGoodbye();
                return true;
            default:
                return false;
        }
    }

    private bool TryAdopt(in AgentFrame frame, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out AgentProcess? process)
    {
        process = null;
        if (Adopt is not { } adopt || frame.Type is not AgentFrameType.Started || _processes.Count >= MostProcesses)
        {
            return false;
        }

        process = new AgentProcess(_link!, frame.Process, adopt(frame.Process), _window, isAdopted: true);
        _processes.Add(frame.Process, process);
        _lastProcess = Math.Max(_lastProcess, frame.Process);
        return true;
    }

    private void Note(ReadOnlySpan<byte> content)
    {
        if (_notes++ < MostNotes)
        {
            owner.Noted(Text(content));
        }
    }

    private void Fail(string why)
    {
        if (!_isOver)
        {
            _isOver = true;
            owner.Failed(why);
        }
    }

    /// <summary>Strings that end in 0, cut into frames wherever one is full.</summary>
    private void SendStrings(AgentFrameType type, uint id, IReadOnlyList<string> strings)
    {
        byte[] all = FileNames.ToBytes(string.Concat(strings.Select(static each => each + '\0')));
        for (int done = 0; done < all.Length; done += AgentProtocol.MostContent)
        {
            _link!.Send(type, id, all.AsSpan(done, Math.Min(AgentProtocol.MostContent, all.Length - done)));
        }
    }

    private void SendText(AgentFrameType type, uint id, string? text)
    {
        if (text is not null)
        {
            _link!.Send(type, id, FileNames.ToBytes(text));
        }
    }
}
