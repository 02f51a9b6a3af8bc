using System.Globalization;
using System.Text.RegularExpressions;
using Vmm.Backends.Agent;
using Vmm.Tests.Shared;

namespace Vmm.Tests.Agent;

/// <summary>The numbers of the protocol here and in the agent's C are the same.</summary>
public sealed partial class AgentProtocolTests
{
    private static readonly string Header = File.ReadAllText(Path.Combine(SourceTree.Root, "firmware/agent/protocol.h"));

    [Fact]
    public void Frame_types_are_those_of_the_agent()
    {
        Dictionary<string, uint> inC = Enumerators().Where(each => each.Key.StartsWith("FRAME_", StringComparison.Ordinal)).ToDictionary();
        foreach (string other in (string[])["FRAME_SYNC", "FRAME_HEADER", "FRAME_MOST"])
        {
            Assert.True(inC.Remove(other));
        }

        Assert.Equal(
            inC.OrderBy(each => each.Value).Select(each => (each.Key["FRAME_".Length..].Replace("_", "", StringComparison.Ordinal), each.Value)),
            Enum.GetValues<AgentFrameType>().Select(each => (each.ToString().ToUpperInvariant(), (uint)each)));
    }

    [Theory]
    [InlineData("PROTOCOL_VERSION", AgentProtocol.Version)]
    [InlineData("AGENT_PORT", AgentProtocol.Port)]
    [InlineData("FRAME_SYNC", AgentFrame.Sync)]
    [InlineData("FRAME_HEADER", AgentFrame.HeaderLength)]
    [InlineData("FRAME_MOST", AgentProtocol.MostContent)]
    [InlineData("ARGUMENTS_MOST", AgentProtocol.MostArguments)]
    [InlineData("MOUNT_OPTIONAL", (uint)AgentMountHow.Optional)]
    [InlineData("MOUNT_WAIT", (uint)AgentMountHow.Wait)]
    [InlineData("START_TERMINAL", (uint)AgentStartFlags.Terminal)]
    [InlineData("START_APPLETS", (uint)AgentStartFlags.Applets)]
    [InlineData("ENDED_EXIT", (uint)AgentEnding.Exit)]
    [InlineData("ENDED_SIGNAL", (uint)AgentEnding.Signal)]
    [InlineData("ENDED_EXEC", (uint)AgentEnding.Exec)]
    [InlineData("ENDED_DIRECTORY", (uint)AgentEnding.Directory)]
    [InlineData("ENDED_USER", (uint)AgentEnding.User)]
    [InlineData("ENDED_RESOURCES", (uint)AgentEnding.Resources)]
    public void Numbers_are_those_of_the_agent(string name, uint value) => Assert.Equal(Enumerators()[name], value);

    private static Dictionary<string, uint> Enumerators() => Enumerator().Matches(Header).ToDictionary(
        match => match.Groups["name"].Value,
        match => match.Groups["value"].Value is ['0', 'x', .. var hexadecimal]
            ? uint.Parse(hexadecimal, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture)
            : uint.Parse(match.Groups["value"].Value, CultureInfo.InvariantCulture));

    [GeneratedRegex(@"^    (?<name>[A-Z_]+) = (?<value>\w+),", RegexOptions.Multiline)]
    private static partial Regex Enumerator();
}
