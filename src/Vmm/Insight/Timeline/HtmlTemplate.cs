using System.Text;

namespace Vmm.Insight.Timeline;

/// <summary>An HTML page with fields to fill in, embedded in vmm as a file. <c>{{name}}</c> becomes a text, escaped;
/// <c>{{#name}}...{{/name}}</c> is written once for each element of a list, with that element's fields. A line break right after
/// a list's tag is not written.</summary>
/// <remarks>This is the part of Mustache (mustache(5)) that one page needs; the .NET libraries for it find fields by reflection,
/// which NativeAOT does not keep.</remarks>
internal sealed class HtmlTemplate(string template)
{
    /// <summary>Reads it from the executable: only when a page is asked for.</summary>
    /// <param name="resource">Its LogicalName in Vmm.csproj.</param>
    public static HtmlTemplate Load(string resource)
    {
        using Stream stream = typeof(HtmlTemplate).Assembly.GetManifestResourceStream(resource)
            ?? throw new InvalidOperationException($"vmm was built without {resource}");
        using var reader = new StreamReader(stream);
        return new HtmlTemplate(reader.ReadToEnd());
    }

    /// <summary>The page.</summary>
    /// <exception cref="KeyNotFoundException">The template names a field that is not there.</exception>
    /// <exception cref="FormatException">A tag of the template has no end.</exception>
    public string Fill(HtmlFields fields)
    {
        var page = new StringBuilder();
        Fill(page, template, fields);
        return page.ToString();
    }

    private static void Fill(StringBuilder page, ReadOnlySpan<char> part, HtmlFields fields)
    {
        while (part.IndexOf("{{") is >= 0 and int start)
        {
            page.Append(part[..start]);
            part = part[(start + 2)..];
            string tag = Take(ref part, "}}").ToString();
            if (!tag.StartsWith('#'))
            {
                page.Append(Html.Escape(fields.Text(tag)));
                continue;
            }

            string name = tag[1..];
            SkipLineBreak(ref part);
            ReadOnlySpan<char> body = Take(ref part, $"{{{{/{name}}}}}");
            SkipLineBreak(ref part);
            foreach (HtmlFields element in fields.List(name))
            {
                Fill(page, body, element);
            }
        }

        page.Append(part);
    }

    /// <summary>What comes before <paramref name="end"/>; <paramref name="part"/> is what comes after it.</summary>
    private static ReadOnlySpan<char> Take(ref ReadOnlySpan<char> part, string end)
    {
        int length = part.IndexOf(end);
        if (length < 0)
        {
            throw new FormatException($"{end} is missing");
        }

        ReadOnlySpan<char> taken = part[..length];
        part = part[(length + end.Length)..];
        return taken;
    }

    private static void SkipLineBreak(ref ReadOnlySpan<char> part)
    {
        if (part.StartsWith('\n'))
        {
            part = part[1..];
        }
    }
}
