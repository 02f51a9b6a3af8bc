using System.Globalization;
using System.Xml;
using Vmm.Boot;
using Vmm.Host;

namespace Vmm.Run.Results;

/// <summary>Merges JUnit files of vmm's shards or of other programs: each testsuite once, with totals in the root element. A suite that
/// comes again as it was, since a file was given twice or the whole is merged again, is left out.</summary>
internal static class JUnitMerge
{
    private const int MostBytes = 1 << 28;

    private static readonly string[] Counts = ["tests", "failures", "errors"];

    /// <param name="output">Gets the merged file.</param>
    /// <param name="inputs">Files.</param>
    /// <exception cref="UsageException">A file is not JUnit XML; the message names it, and the line.</exception>
    public static JUnitTotals Write(Stream output, IReadOnlyList<string> inputs)
    {
        // Read once, as one may be a pipe.
        List<(string Path, byte[] Bytes)> files = [.. inputs.Select(static path => (path, Read(path)))];
        var shards = new JUnitShards();
        var sums = new Dictionary<string, long>(StringComparer.Ordinal);
        var seen = new HashSet<UInt128>();
        var isAgain = new List<bool>();
        double time = 0;
        foreach ((string, byte[]) input in files)
        {
            Visit(input, shards.Add, suite =>
            {
                long[] counts = [.. Counts.Select(count => Whole(suite.GetAttribute(count)))];
                double seconds = Seconds(suite.GetAttribute("time"));
                isAgain.Add(!seen.Add(Digest(suite)));
                if (isAgain[^1])
                {
                    return;
                }

                for (int i = 0; i < Counts.Length; i++)
                {
                    sums[Counts[i]] = sums.GetValueOrDefault(Counts[i]) + counts[i];
                }

                time += seconds;
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
        int place = 0;
        foreach ((string, byte[]) input in files)
        {
            Visit(input, static _ => { }, suite =>
            {
                if (isAgain[place++])
                {
                    suite.Skip();
                }
                else
                {
                    xml.WriteNode(suite, defattr: false);
                }
            });
        }

        xml.WriteEndElement();
        xml.WriteWhitespace("\n");
        return new JUnitTotals(
            sums.GetValueOrDefault("tests"), sums.GetValueOrDefault("failures") + sums.GetValueOrDefault("errors"), isAgain.Count(static again => again),
            shards.Missing());
    }

    /// <summary>Calls the visitor for each testsuite that is not inside another; it must leave the reader after it.</summary>
    /// <param name="begin">Hears the root's name.</param>
    private static void Visit((string Path, byte[] Bytes) file, Action<string?> begin, Action<XmlReader> visit)
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

            if (reader.Name == "testsuites")
            {
                begin(reader.GetAttribute("name"));
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

    /// <summary>What tells two suites apart: all that is in them. Leaves the reader behind the suite.</summary>
    private static UInt128 Digest(XmlReader suite)
    {
        var digest = new DigestStream();
        using (XmlTextWriter xml = JUnitReport.Create(digest))
        {
            xml.WriteNode(suite, defattr: false);
        }

        return digest.Value;
    }

    private static double Seconds(string? text) =>
        double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double seconds) && double.IsFinite(seconds) ? seconds : 0;

    private static long Whole(string? text) =>
        long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long number) && number <= int.MaxValue ? number : 0;
}

/// <summary>What is in a merged report.</summary>
/// <param name="Failed">Failures and errors.</param>
/// <param name="Again">Suites that were left out because they came again.</param>
/// <param name="Missing">Shards that are missing, for people; empty for none.</param>
internal readonly record struct JUnitTotals(long Tests, long Failed, int Again, string Missing);
