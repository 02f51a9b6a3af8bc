using System.Text.Json;
using Iced.Intel;
using Vmm.Backends.Agent;
using Vmm.Control;
using Vmm.Devices.Memory;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Tests.Kvm;
using Vmm.Tests.Shared;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Tests.Control;

/// <summary>A machine whose guest has an agent, here the test, is saved: its programs are stopped as late as that can be.</summary>
[Collection(Alone.Name)]
public sealed class HeldGuestTests : IDisposable
{
    private const ulong Counter = 0x20_0000;

    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-held-").FullName;
    private readonly TestGuest _code = new(static code =>
    {
        Label loop = code.CreateLabel();
        code.mov(rdi, Counter);
        code.Label(ref loop);
        code.inc(__qword_ptr[rdi]);
        code.jmp(loop);
    });

    private string Saved => Path.Combine(_directory, "snap");

    public void Dispose()
    {
        _code.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    [KvmFact]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    public void Programs_are_stopped_once_memory_is_copied_and_go_on_with_the_machine()
    {
        var guest = new FakeGuest();
        using var stand = new Stand(this, guest);
        long copied = -1;
        guest.Holds = () =>
        {
            // Of the memory file that is still being written.
            string memory = Path.Combine($"{Saved}.partial", "memory");
            copied = HostFile.TryStatus(memory, out Statx status) ? (long)status.Blocks : 0;
            return null;
        };
        JsonElement saved = stand.Client.Ask("snapshot", JsonElement.Parse($$"""{"directory":"{{Saved}}","live":true}"""));
        ControlSchema.Check("result-snapshot", saved.GetRawText());
        Assert.Equal(["hold", "go"], guest.Heard);
        if (!saved.TryGetProperty("note", out _))
        {
            Assert.True(copied > 0, $"{copied} blocks of memory were there when programs were stopped");
        }

        Assert.InRange(saved.GetProperty("held").GetDouble(), 0, 60);
        stand.WaitUntilItCounts();
    }

    [KvmFact]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    public void Where_the_agent_does_not_answer_nothing_is_saved_and_the_machine_goes_on()
    {
        var guest = new FakeGuest { Holds = static () => "the guest's agent does not answer" };
        using var stand = new Stand(this, guest);
        foreach (string how in (string[])["\"live\":true", "\"live\":false", "\"stop\":true"])
        {
            guest.Heard.Clear();
            HostException error = Assert.Throws<HostException>(
                () => stand.Client.Ask("snapshot", JsonElement.Parse($$"""{ "directory": "{{Saved}}", {{how}} }""")));
            Assert.Contains("the guest's agent does not answer", error.Message, StringComparison.Ordinal);
            Assert.Equal(["hold", "go"], guest.Heard);
            Assert.Empty(Directory.GetDirectories(_directory));
            stand.WaitUntilItCounts();
        }
    }

    [KvmFact]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    public void It_goes_back_to_its_snapshot_and_is_there_when_its_agent_has_answered()
    {
        const ulong Written = 20 << 20;
        var guest = new FakeGuest();
        using var stand = new Stand(this, guest);
        Assert.Contains("no snapshot", Assert.Throws<HostException>(() => stand.Client.Ask("rewind")).Message, StringComparison.Ordinal);
        stand.Client.Ask("snapshot", JsonElement.Parse($$"""{"directory":"{{Saved}}"}"""));
        for (int i = 0; i < 3; i++)
        {
            guest.Heard.Clear();
            stand.Write(Written, 7);
            Task<JsonElement> back = Task.Run(() => stand.Client.Ask("rewind"));
            Assert.True(SpinWait.SpinUntil(() => guest.Heard.Contains("when back"), TimeSpan.FromSeconds(60)));
            Assert.False(back.IsCompleted);
            Assert.Contains("goes back to its snapshot", stand.Raw.Ask("""{"id":2,"command":"stop"}"""), StringComparison.Ordinal);
            guest.WhenItIs!();
            ControlSchema.Check("result-rewind", back.Result.GetRawText());
            Assert.Equal(["went back", "when back"], guest.Heard);
            Assert.Equal(0UL, stand.Read(Written));
            stand.WaitUntilItCounts();
        }

        stand.Client.Ask("pause");
        Assert.Contains("paused", Assert.Throws<HostException>(() => stand.Client.Ask("rewind")).Message, StringComparison.Ordinal);
        stand.Client.Ask("resume");
    }

    /// <summary>Whoever saves it must not wait for an answer then.</summary>
    [KvmFact]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    public void A_machine_that_ends_while_its_programs_are_to_be_stopped_ends()
    {
        var guest = new FakeGuest { NeverAnswers = true };
        using (var stand = new Stand(this, guest))
        {
            stand.Raw.Say($$"""{"id":1,"command":"snapshot","arguments":{"directory":"{{Saved}}","live":true} }""" + "\n");
            Assert.True(SpinWait.SpinUntil(() => guest.Heard.Count > 0, TimeSpan.FromSeconds(60)));
        }

        Assert.Empty(Directory.GetDirectories(_directory));
    }

    /// <summary>A machine that runs with its control socket, until this is disposed of.</summary>
    private sealed class Stand : IDisposable
    {
        private readonly ControlSocket _socket;
        private readonly Machine _machine;
        private readonly ControlServer _server;
        private readonly Task<MachineEnd> _run;

        public Stand(HeldGuestTests test, FakeGuest guest)
        {
            string path = Path.Combine(test._directory, "c.sock");
            var spec = new MachineSpec { Kernel = test._code.Path, Memory = 64UL << 20, Control = path };
            _socket = ControlSocket.Open(spec)!;
            _machine = Machine.Build(spec);
            _server = _socket.Serve(_machine, "1.2.3", guest);
            _run = Task.Run(_machine.Run);
            WaitUntilItCounts();
            Client = new ControlClient(path, "db", TimeSpan.FromMinutes(3));       // an emulated host that is busy takes its time
            Raw = new ControlStand.Client(path);
        }

        public ControlClient Client { get; }

        public ControlStand.Client Raw { get; }

        public void WaitUntilItCounts() => _machine.WaitForMore(Counter, 1001);

        public void Dispose()
        {
            Client.Dispose();
            Raw.Dispose();
            _machine.End(MachineEnd.Killed);
            Assert.True(_run.Wait(TimeSpan.FromSeconds(60)));
            Assert.True(Task.Run(_server.Dispose).Wait(TimeSpan.FromSeconds(60)));
            _machine.Dispose();
            _socket.Dispose();
        }

        public ulong Read(ulong address) => _machine.Ram.Memory.Read<ulong>(new GuestAddress(address));

        public void Write(ulong address, ulong value) => _machine.Ram.Memory.Write(new GuestAddress(address), value);
    }

    private sealed class FakeGuest : IControlledGuest
    {
        public event Action? Began
        {
            add { }
            remove { }
        }

        /// <summary>What it is told.</summary>
        public List<string> Heard { get; } = [];

        /// <summary>Why they do not stand still; null when they do.</summary>
        public Func<string?> Holds { get; set; } = static () => null;

        public bool NeverAnswers { get; init; }

        public bool IsBooting => false;

        public bool HasAgent => true;

        public bool CanHold => true;

        public AgentProcess Start(ExecArguments arguments, IAgentProcessOwner owner) => throw new NotSupportedException();

        public void Hold(Action<string?> held)
        {
            Heard.Add("hold");
            if (!NeverAnswers)
            {
                held(Holds());
            }
        }

        public bool HasOrigin => false;

        public void WentBack(bool toOrigin) => Heard.Add("went back");

        public void WhenBack(Action back)
        {
            Heard.Add("when back");
            WhenItIs = back;
        }

        /// <summary>What it is to call once it is back.</summary>
        public Action? WhenItIs { get; private set; }

        public void LetGo(bool hasAsked) => Heard.Add("go");

        public bool Stop() => false;

        public void Kill()
        {
            // The test does that.
        }
    }
}
