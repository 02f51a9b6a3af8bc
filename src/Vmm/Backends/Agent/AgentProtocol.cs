using Vmm.Backends.Console;

namespace Vmm.Backends.Agent;

/// <summary>Numbers of the protocol between vmm and its agent in the guest: firmware/agent/protocol.h has the same, and
/// docs/agent-protocol.md explains them.</summary>
internal static class AgentProtocol
{
    public const ushort Version = 1;

    /// <summary>The vsock port at the host's CID.</summary>
    public const uint Port = 7766;

    /// <summary>Bytes of content that a frame has at most.</summary>
    public const int MostContent = 32768;

    /// <summary>Bytes of one process's arguments and environment together.</summary>
    public const int MostArguments = 2 << 20;

    /// <summary>Bytes of entropy that are taken at once.</summary>
    public const int MostEntropy = 64;

    /// <summary>Bytes of an output stream that may be in flight: what vmm can buffer.</summary>
    public const uint OutputWindow = 256 << 10;
}

/// <summary>What a frame says; the content of each is in protocol.h.</summary>
internal enum AgentFrameType : byte
{
    // From the agent.
    Hello = 0x01,
    Note = 0x02,
    Failed = 0x03,
    Ready = 0x04,
    Started = 0x05,
    Output = 0x06,
    Error = 0x07,
    InputCredit = 0x08,
    InputClosed = 0x09,
    Exited = 0x0a,
    Bye = 0x0b,
    Fork = 0x0c,

    // From vmm, about the machine.
    Forkable = 0x40,
    Clock = 0x41,
    Hostname = 0x42,
    Loopback = 0x43,
    Mount = 0x44,
    Mkdir = 0x45,
    File = 0x46,
    Symlink = 0x47,
    Root = 0x48,
    Ping = 0x49,
    Shutdown = 0x4a,
    Entropy = 0x4b,
    MachineId = 0x4c,
    Mac = 0x4d,
    Refused = 0x4e,
    Hold = 0x4f,
    Go = 0x50,

    // From vmm, about a process.
    Arguments = 0x51,
    Environment = 0x52,
    Directory = 0x53,
    User = 0x54,
    Start = 0x55,
    Input = 0x56,
    OutputCredit = 0x57,
    ErrorCredit = 0x58,
    Signal = 0x59,
    Window = 0x5a,
    OutputClosed = 0x5b,
    ErrorClosed = 0x5c,
}

/// <summary>How the agent mounts something.</summary>
[Flags]
internal enum AgentMountHow : uint
{
    None = 0,

    /// <summary>A failure is reported but not fatal.</summary>
    Optional = 1,

    /// <summary>The device may take a while to appear.</summary>
    Wait = 2,
}

[Flags]
internal enum AgentStartFlags : uint
{
    None = 0,

    /// <summary>The process gets a terminal instead of three pipes.</summary>
    Terminal = 1,

    /// <summary>Commands that are not in PATH are looked for in /bin/busybox.</summary>
    Applets = 2,
}

/// <summary>How a process ended.</summary>
internal enum AgentEnding : uint
{
    /// <summary>By itself: the value is its exit code.</summary>
    Exit = 0,

    /// <summary>The value is the signal.</summary>
    Signal = 1,

    /// <summary>It never ran: the value is the errno of execve(2).</summary>
    Exec = 2,

    /// <summary>The errno of chdir(2).</summary>
    Directory = 3,

    /// <summary>There is no such user, or the agent cannot become it.</summary>
    User = 4,

    /// <summary>No pipe, no process, no terminal: the errno.</summary>
    Resources = 5,

    /// <summary>It is gone: its machine went back to where it was saved (<c>vmm rewind</c>). No agent says that.</summary>
    Rewound = 6,
}
