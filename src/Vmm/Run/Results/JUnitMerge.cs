using System.Globalization;
using System.Xml;
using Vmm.Host;

namespace Vmm.Run.Results;

/// <summary>Puts JUnit files together, those of vmm's shards or of other programs: each testsuite once, with the sums on top.
/// </summary>
internal static class JUnitMerge
{
    private const long MostCharacters = 1L << 30;

    private static readonly string[] Counts = ["tests", "failures", "errors", "skipped"];

    /// <param name="output">Where the whole goes.</param>
    /// <param name="inputs">Files.</param>
    /// <returns>Of all.</returns>
    /// <exception cref="UsageException">One is no such file; names it, and the line.</exception>
    public static (int Tests, int Failed) Write(Stream output, IReadOnlyList<string> inputs)
    {
        var sums = new Dictionary<string, long>(StringComparer.Ordinal);
        double time = 0;
        foreach (string input in inputs)
        {
            Visit(input, suite =>
            {
                foreach (string count in Counts)
                {
                    sums[count] = sums.GetValueOrDefault(count) + Whole(suite.GetAttribute(count));
                }

                time += double.TryParse(suite.GetAttribute("time"), NumberStyles.Float, CultureInfo.InvariantCulture, out double seconds)
                    && double.IsFinite(seconds) ? seconds : 0;
                suite.Skip();
            });
        }

        using XmlWriter xml = XmlWriter.Create(output, JUnitReport.Settings);
        xml.WriteStartElement("testsuites");
        foreach (string count in Counts)
        {
            xml.WriteAttributeString(count, sums.GetValueOrDefault(count).ToString(CultureInfo.InvariantCulture));
        }

        xml.WriteAttributeString("time", time.ToString("0.000", CultureInfo.InvariantCulture));
        foreach (string input in inputs)
        {
            Visit(input, suite => xml.WriteNode(suite, defattr: false));
        }

        xml.WriteEndElement();
        return ((int)sums.GetValueOrDefault("tests"), (int)(sums.GetValueOrDefault("failures") + sums.GetValueOrDefault("errors")));
    }

    /// <summary>Shows each testsuite that is not within another; the visitor leaves the reader behind it.</summary>
    private static void Visit(string path, Action<XmlReader> visit)
    {
        var settings = new XmlReaderSettings
        {
            DtdProcessing = DtdProcessing.Prohibit,
            XmlResolver = null,
            MaxCharactersInDocument = MostCharacters,
            IgnoreWhitespace = true,
        };
        try
        {
            using FileStream file = File.OpenRead(path);
            using XmlReader reader = XmlReader.Create(file, settings);
            reader.MoveToContent();
            if (reader.Name is not ("testsuites" or "testsuite"))
            {
                throw new UsageException($"{path}: is no JUnit file: it begins with <{reader.Name}>");
            }

            while (!reader.EOF)
            {
                if (reader is { NodeType: XmlNodeType.Element, Name: "testsuite" })
                {
                    visit(reader);
                }
                else
                {
                    reader.Read();
                }
            }
        }
        catch (XmlException error)
        {
            // The size of the whole and a DTD are refused without a place.
            throw new UsageException(error.LineNumber == 0
                ? $"{path}: is no JUnit file: {error.Message}"
                : string.Create(
                    CultureInfo.InvariantCulture, $"{path}: line {error.LineNumber}, column {error.LinePosition}: is no XML that can be read"));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new UsageException($"{path}: {error.Message}");
        }
    }

    private static long Whole(string? text) =>
        long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long number) && number <= int.MaxValue ? number : 0;
}
