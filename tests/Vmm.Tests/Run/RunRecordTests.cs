using System.Text;
using Vmm.Devices.State;
using Vmm.Devices.Tests.State;
using Vmm.Machines;
using Vmm.Run;
using Vmm.Run.Roots;

namespace Vmm.Tests.Run;

/// <summary>What a saved machine of vmm run knows of itself.</summary>
public sealed class RunRecordTests
{
    private static readonly MachineSpec Spec = new() { Kernel = "vmlinux" };

    private static readonly RunOptions Options = new()
    {
        Machine = Spec,
        Command = ["sh", "-c", "echo \"$A\"\n"],
        Environment = ["A=1 2", "B="],
        Hostname = "web",
        Directory = "/srv",
        User = "1000:5",
        Root = new RunRoot(RootKind.Disk, "root.img"),
    };

    [Fact]
    public void What_is_written_is_read()
    {
        RunOptions read = RunRecord.ToOptions(Text(Options), Spec);
        Assert.Equal(Options.Command, read.Command);
        Assert.Equal(Options.Environment, read.Environment);
        Assert.Equal(("web", "/srv", "1000:5", true), (read.Hostname, read.Directory, read.User, read.HasRoot));
        Assert.Equal("other", RunRecord.ToOptions(Text(Options), Spec with { Name = "other" }).Hostname);
        read = RunRecord.ToOptions(Text(new RunOptions { Machine = Spec, Command = [], Root = new RunRoot(RootKind.Busybox) }), Spec);
        Assert.Equal((0, null, null, false), (read.Command.Count, read.Directory, read.User, read.HasRoot));
    }

    [Theory]
    [InlineData("A=1 2", "A\\u0000=1", "agent.environment[0].text: has a NUL")]
    [InlineData("A=1 2", "=1", "agent.environment: is no list of NAME=VALUE")]
    [InlineData("\"version\":1", "\"version\":2", "agent.version: 2 is not known")]
    [InlineData("\"/srv\"", "7", "agent.directory: is no text")]
    public void What_cannot_be_is_refused_by_name(string what, string by, string problem)
    {
        string text = Text(Options).Replace(what, by, StringComparison.Ordinal);
        Assert.Contains(problem, Assert.Throws<StateException>(() => RunRecord.ToOptions(text, Spec)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_hostile_one_is_refused_by_name_or_is_one_that_could_be()
    {
        int refused = 0;
        for (int seed = 0; seed < 300; seed++)
        {
            byte[] mutated = StateMutation.Mutate(Encoding.UTF8.GetBytes(Text(Options)), new Random(seed));
            try
            {
                RunOptions read = RunRecord.ToOptions(Encoding.UTF8.GetString(mutated), Spec);
                Assert.All([.. read.Command, .. read.Environment], static text => Assert.DoesNotContain('\0', text));
            }
            catch (StateException error)
            {
                Assert.StartsWith("agent", error.Field, StringComparison.Ordinal);
                refused++;
            }
        }

        Assert.InRange(refused, 30, 299);
    }

    private static string Text(RunOptions options) => Encoding.UTF8.GetString(StateWriter.Save(new RunRecord(options)));
}
