using Vmm.Backends.Agent;
using Vmm.Host;

namespace Vmm.Tests.Agent;

/// <summary>vmm's side of the protocol against guests that send anything.</summary>
public sealed class AgentSessionTests : IAgentOwner, IAgentProcessOwner, IDisposable
{
    private readonly EventLoop _loop = new();
    private AgentSession _session;
    private FileDescriptor _guest;
    private ushort _sequence;
    private string? _kernel, _failure;
    private int _notes, _wrote, _ended, _started;
    private AgentEnding _how;

    public AgentSessionTests() => (_session, _guest) = Open();

    public void Dispose()
    {
        _session.Dispose();
        _guest.Dispose();
        _loop.Dispose();
    }

    [Fact]
    public void A_greeting_comes_first()
    {
        Hello();
        Assert.Equal("Linux 6.1 x86_64", _kernel);
        Reopen();
        Say(AgentFrameType.Note, 0, "a module"u8);      // the one exception
        Hello();
        Assert.Equal((1, null), (_notes, _failure));
        Reopen();
        Say(AgentFrameType.Ready, 0, []);
        Assert.NotNull(_failure);
    }

    [Fact]
    public void Another_version_is_distinguished_from_this_one()
    {
        Say(AgentFrameType.Hello, 0, [2, 0, 0, 0, 0, 0, 1, 0]);
        Assert.Contains("version 2", _failure, StringComparison.Ordinal);
    }

    [Fact]
    public void More_output_than_there_is_credit_for_ends_it()
    {
        Hello();
        AgentProcess process = Start();
        byte[] block = new byte[AgentProtocol.MostContent];
        for (int i = 0; i < AgentProtocol.OutputWindow / AgentProtocol.MostContent; i++)
        {
            Say(AgentFrameType.Output, process.Id, block);
        }

        Assert.Equal(((int)AgentProtocol.OutputWindow, null), (_wrote, _failure));
        Say(AgentFrameType.Output, process.Id, [1]);
        Assert.NotNull(_failure);
    }

    [Fact]
    public void More_credit_than_there_was_input_ends_it()
    {
        Hello();
        AgentProcess process = Start();
        Say(AgentFrameType.InputCredit, process.Id, [1, 0, 0, 0]);
        Assert.NotNull(_failure);
    }

    [Fact]
    public void Frames_of_a_process_that_has_ended_or_never_was_are_ignored()
    {
        Hello();
        AgentProcess process = Start();
        Say(AgentFrameType.Exited, process.Id, new byte[32]);
        Assert.Equal((1, null), (_ended, _failure));
        Say(AgentFrameType.Output, process.Id, [1]);
        Assert.NotNull(_failure);
        Reopen();
        Hello();
        Say(AgentFrameType.Output, 77, [1]);
        Assert.NotNull(_failure);
    }

    [Fact]
    public void A_machine_that_goes_back_loses_its_processes_and_its_agent_connects_again()
    {
        Hello();
        AgentProcess lost = Start();
        (FileDescriptor ours, FileDescriptor theirs) = UnixSocket.CreatePair();
        AgentProcess[] processes = [.. _session.BeginAgain(_loop, ours)];
        Assert.Equal([lost], processes);
        Assert.True(lost.HasEnded);
        Assert.True(lost.ReserveInput().IsEmpty);
        lost.Signal(15);
        lost.PutInput(0);
        processes[0].TellLost();
        Assert.Equal((1, AgentEnding.Rewound), (_ended, _how));
        Assert.False(_session.HasArrived);

        _guest.Dispose();       // what its old connection says or how that ends is nobody's business
        (_guest, _sequence, _kernel, _started) = (theirs, 0, null, 0);
        _session.Adopt = _ => this;
        Hello();
        Say(AgentFrameType.Started, lost.Id, [9, 0, 0, 0]);
        Say(AgentFrameType.Output, lost.Id, "x"u8);
        Assert.Equal(("Linux 6.1 x86_64", 1, 1, null), (_kernel, _started, _wrote, _failure));
        Say(AgentFrameType.Exited, lost.Id, [6, .. new byte[31]]);      // only vmm itself says that
        Assert.Equal(1, _ended);
        Assert.NotNull(_failure);
    }

    [Fact]
    public void A_guests_text_has_no_control_characters()
    {
        Say(AgentFrameType.Hello, 0, [1, 0, 0, 0, 0, 0, 1, 0, .. "\x1b[2Jx\r\n"u8]);
        Assert.Equal("?[2Jx??", _kernel);
    }

    [Fact]
    public void Any_frames_are_handled()
    {
        var random = new Random(2);
        for (int round = 0; round < 300; round++)
        {
            Reopen();
            Hello();
            AgentProcess process = Start();
            for (int i = 0; i < 30 && _failure is null; i++)
            {
                byte[] content = new byte[random.Next(4) == 0 ? random.Next(2000) : random.Next(40)];
                random.NextBytes(content);
                Say((AgentFrameType)random.Next(16), random.Next(3) == 0 ? (uint)random.Next() : (uint)random.Next(2) * process.Id, content);
            }
        }
    }

    [Fact]
    public void Any_bytes_are_handled()
    {
        var random = new Random(4);
        for (int round = 0; round < 300; round++)
        {
            Reopen();
            Hello();
            byte[] noise = new byte[AgentFrame.HeaderLength + random.Next(5000)];
            random.NextBytes(noise);
            Write(noise);
            Assert.NotNull(_failure);
        }
    }

    void IAgentOwner.Arrived(string kernel) => _kernel = kernel;

    void IAgentOwner.Noted(string text) => _notes++;

    void IAgentOwner.Failed(string why) => _failure = why;

    void IAgentOwner.SaidGoodbye()
    {
    }

    void IAgentProcessOwner.Started(AgentProcess process) => _started++;

    void IAgentProcessOwner.Wrote(AgentProcess process, bool isError, ReadOnlySpan<byte> bytes) => _wrote += bytes.Length;

    void IAgentProcessOwner.WantsInput(AgentProcess process)
    {
    }

    void IAgentProcessOwner.ClosedInput(AgentProcess process)
    {
    }

    void IAgentProcessOwner.Ended(AgentProcess process, in AgentExit exit) => (_ended, _how) = (_ended + 1, exit.How);

    private AgentProcess Start()
    {
        AgentProcess process = _session.Start(new AgentCommand { Arguments = ["true"] }, this);
        Say(AgentFrameType.Started, process.Id, [9, 0, 0, 0]);
        Assert.Equal(1, _started);
        return process;
    }

    private void Hello() => Say(AgentFrameType.Hello, 0, [1, 0, 0, 0, 0, 0, 1, 0, .. "Linux 6.1 x86_64"u8]);

    private (AgentSession Session, FileDescriptor Guest) Open()
    {
        var session = new AgentSession(this);
        (FileDescriptor ours, FileDescriptor theirs) = UnixSocket.CreatePair();
        session.Listen(_loop, ours, isSerial: false);
        return (session, theirs);
    }

    private void Reopen()
    {
        _session.Dispose();
        _guest.Dispose();
        (_session, _guest) = Open();
        (_sequence, _kernel, _failure) = (0, null, null);
        _started = 0;
    }

    private void Say(AgentFrameType type, uint process, ReadOnlySpan<byte> content)
    {
        byte[] frame = new byte[AgentFrame.HeaderLength + content.Length];
        new AgentFrame(type, _sequence++, process, content.Length, 0).Write(frame);
        content.CopyTo(frame.AsSpan(AgentFrame.HeaderLength));
        Write(frame);
    }

    private unsafe void Write(byte[] bytes)
    {
        fixed (byte* start = bytes)
        {
            // SAFETY: the whole array, which is pinned. A session that has ended reads no more: that is no error here.
            _ = LibC.write(_guest.Number, start, bytes.Length);
        }

        while (_loop.Turn(0) > 0)
        {
        }
    }
}
