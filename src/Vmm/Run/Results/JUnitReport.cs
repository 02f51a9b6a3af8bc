using System.Globalization;
using System.Text;
using System.Xml;

namespace Vmm.Run.Results;

/// <summary>Results as JUnit XML, which CI systems show. There is no standard; this is what Jenkins, GitLab and GitHub's actions
/// read: a testsuite for each run, a testcase for each test in it, or one for the run itself.</summary>
internal static class JUnitReport
{
    /// <param name="shard">I and N of <c>--shard I/N</c>, which the root's name tells, so that who merges misses none; null where all was
    /// run.</param>
    public static void Write(Stream stream, IReadOnlyList<RunResult> results, (int Number, int Of)? shard = null)
    {
        using XmlTextWriter xml = Create(stream);
        xml.WriteStartDocument();
        xml.WriteStartElement("testsuites");
        if (shard is { } part)
        {
            xml.WriteAttributeString("name", JUnitShards.NameOf(part));
        }

        xml.WriteAttributeString("tests", Number(results.Sum(static each => Cases(each).Count)));
        xml.WriteAttributeString("failures", Number(results.Sum(each => Count(each, IsFailure))));
        xml.WriteAttributeString("errors", Number(results.Sum(each => Count(each, IsError))));
        xml.WriteAttributeString("time", Seconds(results.Sum(static each => each.Times.Total)));
        foreach (RunResult result in results)
        {
            Write(xml, result);
        }

        xml.WriteEndElement();
        xml.WriteWhitespace("\n");
    }

    /// <summary>(XmlWriter.Create would add three megabytes of schema code to the binary.)</summary>
    internal static XmlTextWriter Create(Stream stream) =>
        new(stream, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false)) { Formatting = Formatting.Indented };

    private static void Write(XmlWriter xml, RunResult result)
    {
        IReadOnlyList<TestCase> cases = Cases(result);
        xml.WriteStartElement("testsuite");
        xml.WriteAttributeString("name", Valid(result.Name));
        xml.WriteAttributeString("tests", Number(cases.Count));
        xml.WriteAttributeString("failures", Number(Count(result, IsFailure)));
        xml.WriteAttributeString("errors", Number(Count(result, IsError)));
        xml.WriteAttributeString("skipped", Number(Count(result, IsSkipped)));
        xml.WriteAttributeString("time", Seconds(result.Times.Total));
        xml.WriteAttributeString("timestamp", result.Started.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss", CultureInfo.InvariantCulture));
        WriteProperties(xml, result);
        foreach (TestCase test in cases)
        {
            Write(xml, result, test, cases.Count == 1);
        }

        if (result.Console.Count > 0)
        {
            xml.WriteElementString("system-out", Valid(string.Join('\n', result.Console)));
        }

        xml.WriteEndElement();
    }

    private static void WriteProperties(XmlWriter xml, RunResult result)
    {
        xml.WriteStartElement("properties");
        Property("command", string.Join(' ', result.Command));
        Property("kernel", result.Kernel.Release ?? result.Kernel.Path);
        Property("code", Number(result.Code));
        foreach (RunComplaint complaint in result.Complaints)
        {
            Property(complaint.Kind, complaint.Text);
        }

        xml.WriteEndElement();

        void Property(string name, string value)
        {
            xml.WriteStartElement("property");
            xml.WriteAttributeString("name", name);
            xml.WriteAttributeString("value", Valid(value));
            xml.WriteEndElement();
        }
    }

    private static void Write(XmlWriter xml, RunResult result, TestCase test, bool isOnlyOne)
    {
        xml.WriteStartElement("testcase");
        xml.WriteAttributeString("classname", Valid(result.Name));
        xml.WriteAttributeString("name", Valid(test.Name));
        if (isOnlyOne)
        {
            xml.WriteAttributeString("time", Seconds(result.Times.Command ?? result.Times.Total));
        }

        string? element = IsFailure(test.Outcome) ? "failure" : IsError(test.Outcome) ? "error"
            : IsSkipped(test.Outcome) ? "skipped" : null;
        if (element is not null)
        {
            string text = Valid(test.Message ?? "");
            xml.WriteStartElement(element);
            xml.WriteAttributeString("message", text.Split('\n')[^1]);
            if (element != "skipped")
            {
                xml.WriteString(text);
            }

            xml.WriteEndElement();
        }

        xml.WriteEndElement();
    }

    /// <summary>The tests found in its output; and the run itself, if there are none or it failed for another reason.</summary>
    private static IReadOnlyList<TestCase> Cases(RunResult result)
    {
        if ((result.Verdict == RunOutcome.Passed && result.Tests.Count > 0)
            || (result.Verdict == RunOutcome.TestsFailed && result.Tests.Any(static test => test.Outcome.IsFailure())))
        {
            return result.Tests;
        }

        TestOutcome outcome = result.Verdict switch
        {
            RunOutcome.Passed => TestOutcome.Pass,
            RunOutcome.Failed or RunOutcome.TestsFailed or RunOutcome.Complained or RunOutcome.Panicked => TestOutcome.Fail,
            _ => TestOutcome.Error,
        };
        string message = result.Message ?? string.Create(CultureInfo.InvariantCulture, $"the command ended with {result.Code}");
        return [.. result.Tests, new TestCase("run", outcome, message)];
    }

    private static int Count(RunResult result, Func<TestOutcome, bool> isSuch) => Cases(result).Count(test => isSuch(test.Outcome));

    private static bool IsFailure(TestOutcome outcome) => outcome == TestOutcome.Fail;

    private static bool IsError(TestOutcome outcome) => outcome is TestOutcome.Error or TestOutcome.Timeout;

    private static bool IsSkipped(TestOutcome outcome) => outcome is TestOutcome.Skip or TestOutcome.ExpectedFail;

    private static string Number(int number) => number.ToString(CultureInfo.InvariantCulture);

    private static string Seconds(double seconds) => seconds.ToString("0.000", CultureInfo.InvariantCulture);

    /// <summary>XML 1.0, section 2.2: most control characters cannot be written at all.</summary>
    internal static string Valid(string text)
    {
        var valid = new StringBuilder(text.Length);
        for (int i = 0; i < text.Length; i++)
        {
            if (XmlConvert.IsXmlChar(text[i]))
            {
                valid.Append(text[i]);
            }
            else if (i + 1 < text.Length && XmlConvert.IsXmlSurrogatePair(text[i + 1], text[i]))
            {
                valid.Append(text[i]).Append(text[++i]);
            }
            else
            {
                valid.Append('?');
            }
        }

        return valid.ToString();
    }
}
