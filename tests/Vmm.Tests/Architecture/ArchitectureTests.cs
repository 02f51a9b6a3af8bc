using System.Runtime.InteropServices;
using System.Text.RegularExpressions;
using Vmm.Tests.Shared;
using Xunit.Abstractions;

namespace Vmm.Tests.Architecture;

/// <summary>Arrows between the folders of src/ run one way (docs/architecture.md). Read from what the compiler made of
/// them.</summary>
public sealed partial class ArchitectureTests(ITestOutputHelper output)
{
    private static readonly ArchUnitNET.Domain.Architecture Compiled = FolderGraph.Load();

    /// <summary>What each folder may use. Devices and Boot are assemblies of their own, so the compiler sees to it that they use
    /// nothing of src/Vmm.</summary>
    private static readonly Dictionary<string, string[]> MayUse = new(StringComparer.Ordinal)
    {
        ["Vmm"] = ["Cli", "Machines", "Host", "Boot", "Kvm"],
        ["Cli"] = ["Run", "Control", "Named", "Snapshots", "Kernels", "Machines", "Backends", "Insight", "Assist", "Kvm", "Text", "Host", "Boot", "Devices"],
        ["Run"] = ["Control", "Snapshots", "Kernels", "Machines", "Backends", "Insight", "Kvm", "Text", "Host", "Boot", "Devices"],
        ["Control"] = ["Snapshots", "Machines", "Backends", "Insight", "Kvm", "Text", "Host", "Boot", "Devices"],
        ["Snapshots"] = ["Machines", "Backends", "Kvm", "Text", "Host", "Boot", "Devices"],
        ["Named"] = ["Text", "Host", "Boot"],
        ["Machines"] = ["Backends", "Insight", "Assist", "Kvm", "Text", "Host", "Boot", "Devices"],
        ["Backends"] = ["Text", "Host", "Devices", "Boot"],
        ["Insight"] = ["Kvm", "Text", "Host", "Devices", "Boot"],
        ["Assist"] = ["Kvm", "Host", "Devices", "Boot"],
        ["Kvm"] = ["Host", "Devices", "Boot"],
        ["Kernels"] = ["Text", "Host", "Boot"],
        ["Text"] = ["Host", "Boot"],
        ["Host"] = ["Devices", "Boot"],
        ["Boot"] = ["Devices"],
        ["Devices"] = [],
    };

    [Fact]
    public void Arrows_between_folders_run_one_way()
    {
        var rooms = new FolderGraph(Compiled, Room);
        output.WriteLine(rooms.ToString());
        string[] wrong =
        [
            .. rooms.Arrows
                .Where(arrow => !MayUse.TryGetValue(arrow.From, out string[]? may) || !may.Contains(arrow.To))
                .Select(arrow => $"{arrow.From} -> {arrow.To}: {string.Join("; ", rooms.Reasons(arrow.From, arrow.To))}"),
        ];
        Assert.True(wrong.Length == 0, $"not allowed:\n{string.Join('\n', wrong)}\nthe graph:\n{rooms}");
    }

    [Fact]
    public void No_folder_depends_on_itself_through_others()
    {
        var rooms = new FolderGraph(Compiled, Room);
        Assert.True(rooms.FindCycle() is null, $"a cycle: {string.Join(" -> ", rooms.FindCycle() ?? [])}\nthe graph:\n{rooms}");
    }

    [Fact]
    public void The_namespace_of_a_file_is_its_folder()
    {
        string source = Path.Combine(SourceTree.Root, "src");
        var wrong = new List<string>();
        foreach (string file in Directory.EnumerateFiles(source, "*.cs", SearchOption.AllDirectories))
        {
            string folder = Path.GetRelativePath(source, Path.GetDirectoryName(file)!);
            Match declared = Namespace().Match(File.ReadAllText(file));
            string expected = folder == "Vmm" || folder.StartsWith("Vmm/", StringComparison.Ordinal) ? folder : $"Vmm/{folder}";
            if (declared.Success && declared.Groups[1].Value != expected.Replace('/', '.'))
            {
                wrong.Add($"{folder}/{Path.GetFileName(file)} says {declared.Groups[1].Value}");
            }
        }

        Assert.True(wrong.Count == 0, string.Join('\n', wrong));
    }

    /// <summary>Nested types belong to their outer type.</summary>
    [Fact]
    public void No_two_types_have_the_same_name()
    {
        var homes = new Dictionary<string, SortedSet<string>>(StringComparer.Ordinal);
        foreach (string file in Directory.EnumerateFiles(Path.Combine(SourceTree.Root, "src"), "*.cs", SearchOption.AllDirectories))
        {
            string text = File.ReadAllText(file);
            foreach (Match declared in TopLevelType().Matches(text))
            {
                (CollectionsMarshal.GetValueRefOrAddDefault(homes, declared.Groups[1].Value, out _) ??= new(StringComparer.Ordinal))
                    .Add(Namespace().Match(text).Groups[1].Value);
            }
        }

        Assert.Contains("MachineRecord", homes.Keys);
        string[] twice = [.. homes.Where(static type => type.Value.Count > 1).Select(static type => $"{type.Key}: {string.Join(", ", type.Value)}")];
        Assert.True(twice.Length == 0, string.Join('\n', twice));
    }

    /// <summary>The first folder below src/Vmm, or the assembly: <c>Vmm.Backends.Disks</c> is in Backends.</summary>
    private static string? Room(string name) =>
        name == "Vmm" ? "Vmm"
        : name.StartsWith("Vmm.", StringComparison.Ordinal) ? name.Split('.')[1]
        : null;

    [GeneratedRegex(@"^namespace ([\w.]+);", RegexOptions.Multiline)]
    private static partial Regex Namespace();

    [GeneratedRegex(@"^(?:[a-z]+ )*(?:class|struct|record|enum|interface|delegate [\w<>\[\]?,* ]+) (\w+)", RegexOptions.Multiline)]
    private static partial Regex TopLevelType();
}
