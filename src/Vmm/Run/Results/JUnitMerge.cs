using System.Globalization;
using System.Xml;
using Vmm.Boot;
using Vmm.Host;

namespace Vmm.Run.Results;

/// <summary>Merges JUnit files of vmm's shards or of other programs: each testsuite once, with totals in the root element.
/// </summary>
internal static class JUnitMerge
{
    private const int MostBytes = 1 << 28;

    private static readonly string[] Counts = ["tests", "failures", "errors", "skipped"];

    /// <param name="output">Gets the merged file.</param>
    /// <param name="inputs">Files.</param>
    /// <returns>The totals.</returns>
    /// <exception cref="UsageException">A file is not JUnit XML; the message names it, and the line.</exception>
    public static (int Tests, int Failed) Write(Stream output, IReadOnlyList<string> inputs)
    {
        // Read once, as one may be a pipe.
        List<(string Path, byte[] Bytes)> files = [.. inputs.Select(static path => (path, Read(path)))];
        var sums = new Dictionary<string, long>(StringComparer.Ordinal);
        double time = 0;
        foreach ((string, byte[]) input in files)
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

        using XmlTextWriter xml = JUnitReport.Create(output);
        xml.WriteStartDocument();
        xml.WriteStartElement("testsuites");
        foreach (string count in Counts)
        {
            xml.WriteAttributeString(count, sums.GetValueOrDefault(count).ToString(CultureInfo.InvariantCulture));
        }

        xml.WriteAttributeString("time", time.ToString("0.000", CultureInfo.InvariantCulture));
        foreach ((string, byte[]) input in files)
        {
            Visit(input, suite => xml.WriteNode(suite, defattr: false));
        }

        xml.WriteEndElement();
        xml.WriteWhitespace("\n");
        return ((int)sums.GetValueOrDefault("tests"), (int)(sums.GetValueOrDefault("failures") + sums.GetValueOrDefault("errors")));
    }

    /// <summary>Calls the visitor for each testsuite that is not inside another; it must leave the reader after it.</summary>
    private static void Visit((string Path, byte[] Bytes) file, Action<XmlReader> visit)
    {
        using var reader = new XmlTextReader(new MemoryStream(file.Bytes))
        {
            DtdProcessing = DtdProcessing.Prohibit,
            XmlResolver = null,
            WhitespaceHandling = WhitespaceHandling.None,
        };
        try
        {
            reader.MoveToContent();
            if (reader.Name is not ("testsuites" or "testsuite"))
            {
                throw new UsageException($"{file.Path}: is no JUnit file: it begins with <{reader.Name}>");
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
            // The error of a DTD has no line number.
            throw new UsageException(error.LineNumber == 0
                ? $"{file.Path}: is no JUnit file: it has a DTD, or nothing in it"
                : string.Create(
                    CultureInfo.InvariantCulture,
                    $"{file.Path}: line {error.LineNumber}, column {error.LinePosition}: is no XML that can be read"));
        }
    }

    private static byte[] Read(string path)
    {
        try
        {
            using FileStream file = File.OpenRead(path);
            using var bytes = new MemoryStream();
            byte[] part = new byte[1 << 16];
            for (int count; (count = file.Read(part)) > 0;)
            {
                bytes.Write(part, 0, count);
                if (bytes.Length > MostBytes)
                {
                    throw new UsageException($"{path}: is larger than {MostBytes >> 20} MiB, and no report");
                }
            }

            return bytes.ToArray();
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new UsageException($"{path}: {FileErrors.Describe(error)}");
        }
    }

    private static long Whole(string? text) =>
        long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long number) && number <= int.MaxValue ? number : 0;
}
