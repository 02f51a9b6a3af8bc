using Vmm.Backends.Agent;
using Vmm.Host;
using Vmm.Run;
using Vmm.Tests.Agent;

namespace Vmm.Tests.Run;

/// <summary>What is typed, on its way to a command of the agent's.</summary>
public sealed unsafe class StreamInputTests : IDisposable
{
    private readonly AgentHarness _agent = new();

    public void Dispose() => _agent.Dispose();

    [Fact]
    public void Ctrl_C_is_the_commands_and_three_of_them_within_a_second_end_the_machine()
    {
        (AgentProcess process, AgentHarness.Streams streams) = _agent.Start(
            new AgentCommand { Arguments = ["cat"], Environment = ["PATH=/usr/bin:/bin"] }, closesInput: false);
        _agent.Wait(() => process.GuestPid != 0);
        (FileDescriptor read, FileDescriptor write) = Pipe.Create();
        int ended = 0;
        using (read)
        using (write)
        using (var input = new StreamInput(_agent.Loop, read.Number, process, () => ended++))
        {
            Type("\x03\x03x"u8);
            Type("\x03\x03"u8);
            Type("a paste with \x03\x03\x03 in it"u8);
            Assert.Equal(0, ended);
            Type("x\x03"u8);
            Type("\x03\x03"u8);
            Assert.Equal(1, ended);

            void Type(ReadOnlySpan<byte> keys)
            {
                long before = streams.Output.Length;
                fixed (byte* start = keys)
                {
                    Assert.Equal(keys.Length, LibC.write(write.Number, start, keys.Length));
                }

                int length = keys.Length;
                _agent.Wait(() =>
                {
                    input.Continue();
                    return streams.Output.Length == before + length;
                });
            }
        }
    }

    [Fact]
    public void An_input_that_cannot_be_read_is_an_error_and_one_that_is_for_writing_only_is_empty()
    {
        Assert.Equal(ErrnoException.EISDIR, FailureOf("/", LibC.O_RDONLY)?.Errno);
        Assert.Null(FailureOf("/dev/null", LibC.O_WRONLY));
        Assert.Null(FailureOf("/dev/null", LibC.O_RDONLY));
    }

    private ErrnoException? FailureOf(string path, int flags)
    {
        (AgentProcess process, _) = _agent.Start(
            new AgentCommand { Arguments = ["cat"], Environment = ["PATH=/usr/bin:/bin"] }, closesInput: false);
        _agent.Wait(() => process.GuestPid != 0);
        using FileDescriptor file = FileDescriptor.Open(path, flags);
        using var input = new StreamInput(_agent.Loop, file.Number, process, escaped: null);
        return input.Failure;
    }
}
