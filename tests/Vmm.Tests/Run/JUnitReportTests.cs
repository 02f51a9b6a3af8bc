using System.Diagnostics;
using System.Text;
using System.Xml.Linq;
using Vmm.Host;
using Vmm.Run.Results;

namespace Vmm.Tests.Run;

/// <summary>JUnit reports: their form, and several put together.</summary>
public sealed class JUnitReportTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("vmm-junit-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Reports_are_put_together_each_suite_once()
    {
        using (FileStream file = File.Create(At("a.xml")))
        {
            JUnitReport.Write(file, [Result("the name", RunOutcome.Passed)]);
        }

        File.WriteAllText(At("b.xml"), "<testsuite name='other' tests='3' failures='1' time='2.5'><testcase name='x'/></testsuite>");
        using var whole = new MemoryStream();
        Assert.Equal(new JUnitTotals(4, 1, 0, ""), JUnitMerge.Write(whole, [At("a.xml"), At("b.xml")]));
        XElement root = XDocument.Parse(Encoding.UTF8.GetString(whole.ToArray())).Root!;
        Assert.Equal(("4", "1"), (root.Attribute("tests")!.Value, root.Attribute("failures")!.Value));
        Assert.Equal(["the name", "other"], root.Elements("testsuite").Select(static each => each.Attribute("name")!.Value));

        // A shard that is given twice, and the whole among its parts.
        File.WriteAllBytes(At("whole.xml"), whole.ToArray());
        using var again = new MemoryStream();
        Assert.Equal(new JUnitTotals(4, 1, 3, ""), JUnitMerge.Write(again, [At("whole.xml"), At("a.xml"), At("b.xml"), At("a.xml")]));
        Assert.Equal(whole.ToArray(), again.ToArray());

        // The same name with another result is another suite.
        File.WriteAllText(At("c.xml"), "<testsuite name='other' tests='3' failures='0' time='2.5'><testcase name='x'/></testsuite>");
        Assert.Equal(new JUnitTotals(6, 1, 0, ""), JUnitMerge.Write(new MemoryStream(), [At("b.xml"), At("c.xml")]));
        Assert.Throws<UsageException>(() => JUnitMerge.Write(new MemoryStream(), [At("a.xml"), At("none.xml")]));
    }

    /// <summary>A machine that died leaves no report: that must not look like a shard whose tests passed.</summary>
    [Fact]
    public void A_shard_that_is_missing_is_told()
    {
        foreach (int number in (int[])[1, 3, 4])
        {
            using FileStream file = File.Create(At($"{number}.xml"));
            JUnitReport.Write(file, [], (number, 4));
        }

        Assert.Equal("shard 2/4", Merge(1, 3, 4).Missing);
        Assert.Equal("shard 1/4, shard 2/4", Merge(3, 4).Missing);
        using (FileStream file = File.Create(At("2.xml")))
        {
            JUnitReport.Write(file, [], (2, 4));
        }

        Assert.Equal("", Merge(1, 2, 3, 4).Missing);
        using (FileStream file = File.Create(At("2.xml")))
        {
            JUnitReport.Write(file, [], (7, 1_000_000_000));
        }

        Assert.EndsWith(" and 999999990 more", Merge(1, 2, 3, 4).Missing, StringComparison.Ordinal);
        JUnitTotals Merge(params int[] numbers) => JUnitMerge.Write(new MemoryStream(), [.. numbers.Select(number => At($"{number}.xml"))]);
    }

    /// <summary>As readers of JUnit files have it (Jenkins' schema, for instance): which elements and attributes there are, in which order;
    /// totals that are those of the elements; and whatever is in a text, no more of it than is bounded.</summary>
    [Fact]
    public void JUnit_has_the_form_that_its_readers_know()
    {
        string hostile = new([.. Enumerable.Range(0, 0x10000).Select(static c => (char)c)]);
        RunResult result = Result(hostile, RunOutcome.TestsFailed) with
        {
            Message = hostile,
            Kernel = new RunKernel(hostile, hostile),
            Complaints = [new RunComplaint("WARNING", 1, hostile, [hostile])],
            Tests = [.. Enum.GetValues<TestOutcome>().Select(outcome => new TestCase(hostile + "]]>", outcome, hostile + "\n" + hostile))],
            Console = [hostile, "]]>"],
        };
        using var bytes = new MemoryStream();
        JUnitReport.Write(bytes, [result, result with { Verdict = RunOutcome.VmmFailed, Tests = [] }], (2, 4));
        XElement root = XDocument.Parse(Encoding.UTF8.GetString(bytes.ToArray())).Root!;
        CheckForm(root, "name tests failures errors time", "testsuite");
        Assert.Equal("shard 2/4", root.Attribute("name")!.Value);
        foreach (XElement suite in root.Elements())
        {
            CheckForm(suite, "name tests failures errors skipped time timestamp", "properties testcase system-out");
            CheckForm(suite.Element("properties")!, "", "property");
            Assert.All(suite.Element("properties")!.Elements(), static each => CheckForm(each, "name value", ""));
            Assert.All(suite.Elements("testcase"), static each => CheckForm(each, "classname name time", "skipped failure error"));
            Assert.All(suite.Elements("testcase").Elements(), static each => CheckForm(each, "message", ""));
            foreach ((string attribute, string element) in ((string, string)[])
                [("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")])
            {
                Assert.Equal(suite.Attribute(attribute)!.Value, $"{suite.Descendants(element).Count()}");
            }
        }

        Assert.Equal(("7", "1", "3"), (root.Attribute("tests")!.Value, root.Attribute("failures")!.Value, root.Attribute("errors")!.Value));
    }

    private static void CheckForm(XElement element, string attributes, string elements)
    {
        Assert.Subset(attributes.Split(' ').ToHashSet(), element.Attributes().Select(static each => each.Name.LocalName).ToHashSet());
        string[] order = elements.Split(' ');
        int[] places = [.. element.Elements().Select(each => Array.IndexOf(order, each.Name.LocalName))];
        Assert.DoesNotContain(-1, places);
        Assert.Equal(places.Order(), places);
    }

    [Theory]
    [InlineData("<html/>", "is no JUnit file")]
    [InlineData("<testsuites>\n<testsuite>", "line ")]
    [InlineData("<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><testsuites>&e;</testsuites>", "a DTD")]
    [InlineData("", "is no ")]
    public void What_is_no_report_is_refused_with_its_place(string text, string message)
    {
        File.WriteAllText(At("bad.xml"), text);
        UsageException error = Assert.Throws<UsageException>(() => JUnitMerge.Write(new MemoryStream(), [At("bad.xml")]));
        Assert.Contains("bad.xml", error.Message, StringComparison.Ordinal);
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
    }

    /// <summary>The command itself: what it prints, its codes, and the file, which may be one of those that it reads.</summary>
    [Fact]
    public void The_command_merges_files_and_tells_what_is_missing()
    {
        foreach (int number in (int[])[1, 2])
        {
            using FileStream file = File.Create(At($"{number}.xml"));
            JUnitReport.Write(file, [Result($"test {number}", number == 1 ? RunOutcome.Passed : RunOutcome.Failed)], (number, 2));
        }

        Assert.Equal((0, "2 tests, 1 failed\n", ""), Merge("all.xml", "1.xml", "2.xml"));
        byte[] all = File.ReadAllBytes(At("all.xml"));
        Assert.Equal(["test 1", "test 2"], XDocument.Load(At("all.xml")).Root!.Elements().Select(static each => each.Attribute("name")!.Value));
        Assert.Equal((0, "2 tests, 1 failed\n", "vmm: 2 test suites came again as they were, and are in it once\n"), Merge("all.xml", "1.xml", "2.xml", "all.xml"));
        Assert.Equal(all, File.ReadAllBytes(At("all.xml")));
        Assert.Equal((1, "1 tests, 0 failed\n", "vmm: missing: shard 2/2; part.xml has what there is\n"), Merge("part.xml", "1.xml"));
        Assert.Equal((64, "", "vmm: none.xml: no such file\n"), Merge("all.xml", "1.xml", "none.xml"));
        Assert.Equal(69, Merge("/dev/full", "1.xml", "2.xml").Code);
        Assert.Equal(all, File.ReadAllBytes(At("all.xml")));
    }

    private (int Code, string Output, string Errors) Merge(string output, params string[] inputs)
    {
        var start = new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, "vmm.dll"), "junit", "merge", output, .. inputs])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = _folder,
        };
        using Process vmm = Process.Start(start)!;
        Task<string> said = vmm.StandardOutput.ReadToEndAsync();
        string errors = vmm.StandardError.ReadToEnd();
        vmm.WaitForExit();
        return (vmm.ExitCode, said.GetAwaiter().GetResult(), errors);
    }

    private string At(string name) => Path.Combine(_folder, name);

    private static RunResult Result(string name, RunOutcome verdict) => new()
    {
        Name = name,
        Command = [name],
        Verdict = verdict,
        Code = verdict == RunOutcome.Passed ? 0 : 1,
        Started = DateTimeOffset.UnixEpoch,
        Times = new RunTimes { Total = 1.5 },
        Kernel = new RunKernel("bzImage"),
    };
}
